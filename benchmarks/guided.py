"""Guided decoding on the embedded backbone: does it align, and what does it cost?

    python benchmarks/guided.py align    # plain, guided, best-of-n: the measured table, 10 minutes
    python benchmarks/guided.py cost     # seconds a token against plain sampling and torch

``align``: a head is trained as the quickstart does, on pairs about some concepts; the prompts ask
one question for every aspect of the concepts that it never saw (220 prompts). An answer is *direct*
where it has the asked aspect's own terms and more of them than of any other aspect
(`coala_jax.quickstart._truth`): a rule that knows the truth and that the head does not. The scale
of every method is chosen on as many prompts about training concepts; all scales are shown on the
held-out ones. Methods share the draws, top-p, top-k and temperature; intervals are clustered by
pair of neighbouring concepts and differences are paired. Perplexity is that of the responses'
tokens under the frozen backbone. ``evaluations`` are tokens that the backbone ran a prompt, with
the reward of every response; best-of-n is there with 16 samples and with as many as cost what the
guided responses do.

``cost``: steps on prompts of 12 to 30 tokens that never end, compile time apart, in a process that
is bound to one core, contenders in turns, the median of several. ``full`` pools (top-p 1) hold all
candidates; ``nucleus`` ones (top-p 0.9) what the backbone leaves of them, as in use. Torch: the
same weights in transformers' GPT-2 with its own cache, one token a call, sampling by multinomial
from the same pool, in the fewest operations that do so.

Writes a Markdown table, its JSON and, for ``align``, a picture.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).resolve().parent / "results"
SCALES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
LONGEST_ANSWER = 72
SAMPLES = 16
# Rows that run together: where one row is guided, branches of all of them run.
BATCH_SIZE = 8
COST_STEPS = 128
COST_BATCHES = (1, 8)
COST_REPEATS = 7


class Method(NamedTuple):
    """A way to guide.

    Attributes:
        name: in the table.
        options: of `coala_jax.decoding.GenerationConfig`, but for the scale.
        scales: to try; methods without one have a single entry.
    """

    name: str
    options: dict[str, Any]
    scales: tuple[float, ...] = SCALES[1:]


AHEAD = {"guide_every": 1, "lookahead": 12, "num_candidates": 8}
METHODS = (
    Method("guided", {}),
    Method("guided, token by token", {"guide_every": 1}),
    Method("guided, prefix as it stands", {"scored": "prefix"}),
    Method("guided, 5 candidates", {"num_candidates": 5}),
    Method("exponential", {"reweighting": "exponential"}),
    Method("exponential of raw rewards", {"reweighting": "raw"}),
    Method("best candidate", {"choice": "best"}, (1.0,)),
    Method("token by token, lookahead of 12", AHEAD),
    Method("token by token, lookahead of 24", {**AHEAD, "lookahead": 24}),
    Method("best candidate, lookahead of 12", {**AHEAD, "choice": "best"}, (1.0,)),
    Method("blocks of 5, best of 8", {"continuations": 8}, (1.0,)),
    Method("blocks of 16, best of 8", {"continuations": 8, "guide_every": 16}, (1.0,)),
)


def main() -> None:
    """Run a part of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    align = parts.add_parser("align", help="directness, reward and perplexity")
    align.add_argument("--seed", type=int, default=0, help="of rows, held-out concepts and draws")
    align.add_argument("--train-pairs", type=int, default=None)
    align.add_argument("--prompts", type=int, default=None, help="of each part (default: all)")
    align.add_argument("--methods", nargs="+", choices=[m.name for m in METHODS], default=None)
    cost = parts.add_parser("cost", help="seconds a token")
    cost.add_argument("--batches", type=int, nargs="+", default=list(COST_BATCHES))
    cost.add_argument("--steps", type=int, default=COST_STEPS)
    cost.add_argument("--repeats", type=int, default=COST_REPEATS)
    for part in (align, cost):
        part.add_argument("--out", type=Path, default=RESULTS)
        part.add_argument("--name", default=None, help="of the files under --out")
    arguments = parser.parse_args()
    run = {"align": _align, "cost": _cost}[arguments.part]
    name = arguments.name or f"guided-{arguments.part}"
    run(arguments, arguments.out / name)


# --- does it align


def _align(arguments: argparse.Namespace, out: Path) -> None:
    rows, model = _trained_model(arguments)
    groups = {str(row.group) for row in rows.eval}
    asked = {
        "held out": _questions(arguments, lambda concept: concept.group in groups),
        "training": _questions(arguments, lambda concept: concept.group not in groups),
    }
    asked["training"] = asked["training"][
        :: max(len(asked["training"]) // len(asked["held out"]), 1)
    ]
    bench = _Bench(model, asked, arguments.seed)
    plain = {part: bench.answer(part, {"scale": 0.0}) for part in asked}
    found = [bench.row("plain", 0.0, plain["held out"], plain["held out"], chosen=True)]
    _say(found[-1])
    for method in METHODS:
        if arguments.methods and method.name not in arguments.methods:
            continue
        tried = {
            scale: {part: bench.answer(part, {**method.options, "scale": scale}) for part in asked}
            for scale in method.scales
        }
        best = max(tried, key=lambda scale: tried[scale]["training"].direct.mean())
        for scale, answers in tried.items():
            row = bench.row(
                method.name, scale, answers["held out"], plain["held out"], scale == best
            )
            found.append(row)
            _say(row)
        matched = round(tried[best]["held out"].evaluations / plain["held out"].evaluations)
        found += bench.best_of(max(matched, 1), plain["held out"], f"as much as {method.name}")
        _say(found[-1])
    found += bench.best_of(SAMPLES, plain["held out"], "")
    _say(found[-1])
    result = _account({"prompts": len(asked["held out"]), "seed": arguments.seed, "rows": found})
    _write(out, result, _align_table(result))
    _draw(out.with_suffix(".png"), found)


def _trained_model(arguments: argparse.Namespace) -> tuple[Any, Any]:
    """Rows and reward model of the quickstart."""
    from coala_jax.backbones import load_backbone
    from coala_jax.decoding import TextRewardModel
    from coala_jax.quickstart._demo import demo_pairs, embedded_backbone
    from coala_jax.quickstart._tutoring import EVAL_PAIRS, TRAIN_PAIRS, tutoring_rows
    from coala_jax.study._experiment import Settings, run_experiment

    train = arguments.train_pairs or TRAIN_PAIRS
    rows = tutoring_rows(arguments.seed, train, min(EVAL_PAIRS, train))
    demo = demo_pairs(rows, embedded_backbone(), "last")
    experiment = run_experiment(demo.pairs, demo.held_out, Settings(seed=arguments.seed), _say)
    backbone = load_backbone(embedded_backbone())
    return rows, TextRewardModel(backbone, experiment.head, experiment.identity)


def _questions(arguments: argparse.Namespace, wanted: Callable[[Any], bool]) -> list[Any]:
    from coala_jax.quickstart._tutoring import plain_questions

    questions = [q for q in plain_questions(arguments.seed) if wanted(q.concept)]
    return questions[: arguments.prompts]


class _Answers(NamedTuple):
    """Per prompt: whether direct, reward, mean log probability a token, tokens; then a mean."""

    direct: Any
    reward: Any
    log_prob: Any
    tokens: Any
    evaluations: float
    guided_steps: float
    near_ties: int
    seconds: float


class _Bench:
    """A model and questions, the same draws for all methods."""

    def __init__(self, model: Any, asked: dict[str, list[Any]], seed: int):
        import jax

        self.model, self.asked = model, asked
        self.key = jax.random.key(seed)

    def config(self, options: dict[str, Any]) -> Any:
        from coala_jax.decoding._config import GenerationConfig

        return GenerationConfig.from_options(max_new_tokens=LONGEST_ANSWER, **options)

    def answer(self, part: str, options: dict[str, Any]) -> _Answers:
        from coala_jax.decoding._generate import guided_generate

        prompts = [question.prompt for question in self.asked[part]]
        start = time.perf_counter()
        made = guided_generate(
            self.model,
            prompts,
            self.config(options),
            self.key,
            batch_size=BATCH_SIZE,
        )
        seconds = time.perf_counter() - start
        return self._judge(part, made, [one.evaluations for one in made], seconds)

    def best_of(self, n: int, plain: _Answers, note: str) -> list[dict[str, Any]]:
        from coala_jax.decoding._best_of import best_of_n

        prompts = [question.prompt for question in self.asked["held out"]]
        start = time.perf_counter()
        config = self.config({"scale": 0.0})
        ordered = best_of_n(self.model, prompts, n, config, self.key)
        seconds = time.perf_counter() - start
        # A prompt runs once for the samples of it.
        spent = [
            sum(s.evaluations - s.prompt_tokens for s in o) + o[0].prompt_tokens for o in ordered
        ]
        answers = self._judge("held out", [samples[0] for samples in ordered], spent, seconds)
        name = f"best of {n}" + (f" ({note})" if note else "")
        return [self.row(name, 0.0, answers, plain, True)]

    def _judge(
        self, part: str, made: Sequence[Any], evaluations: Sequence[int], seconds: float
    ) -> _Answers:
        import numpy as np

        from coala_jax.decoding._likelihood import response_log_probs
        from coala_jax.decoding._prompts import encode_prompts
        from coala_jax.quickstart._truth import is_direct

        backbone, questions = self.model.backbone, self.asked[part]
        texts = [question.prompt for question in questions]
        prompts = encode_prompts(backbone.tokenizer, texts, self.model.settings.template)
        log_probs = response_log_probs(backbone, prompts, [one.tokens for one in made])
        return _Answers(
            direct=np.array(
                [
                    is_direct(m.text, q.concept, q.aspect)
                    for m, q in zip(made, questions, strict=True)
                ]
            ),
            reward=np.array([one.reward for one in made]),
            log_prob=np.array([each.sum() for each in log_probs]),
            tokens=np.array([len(each) for each in log_probs]),
            evaluations=float(np.mean(evaluations)),
            guided_steps=float(np.mean([one.guided_steps for one in made])),
            near_ties=sum(one.near_ties for one in made),
            seconds=seconds,
        )

    def row(
        self, method: str, scale: float, answers: _Answers, plain: _Answers, chosen: bool
    ) -> dict[str, Any]:
        import numpy as np

        from coala_jax.study._intervals import cluster_interval

        clusters = [question.concept.group for question in self.asked["held out"]]
        gain = answers.direct.astype(float) - plain.direct
        return {
            "method": method,
            "scale": scale,
            "chosen": bool(chosen),
            "direct": cluster_interval(answers.direct.astype(float), clusters)._asdict(),
            "direct_minus_plain": cluster_interval(gain, clusters)._asdict(),
            "reward": cluster_interval(answers.reward, clusters)._asdict(),
            "perplexity": float(np.exp(-answers.log_prob.sum() / answers.tokens.sum())),
            "tokens": float(answers.tokens.mean()),
            "evaluations": answers.evaluations,
            "guided_steps": answers.guided_steps,
            "near_ties": answers.near_ties,
            "seconds": answers.seconds,
        }


def _align_table(result: dict[str, Any]) -> str:
    columns = (
        "method", "scale", "direct", "minus plain", "reward", "perplexity", "tokens",
        "evaluations", "guided steps",
    )  # fmt: skip
    lines = [_cells(columns), _cells(["---"] * len(columns))]
    for row in result["rows"]:
        mark = " *" if row["chosen"] and row["scale"] else ""
        lines.append(
            _cells(
                [
                    row["method"],
                    f"{row['scale']:g}{mark}" if row["scale"] else "",
                    _interval(row["direct"]),
                    "" if row["method"] == "plain" else _interval(row["direct_minus_plain"]),
                    f"{row['reward']['mean']:+.2f}",
                    f"{row['perplexity']:.2f}",
                    f"{row['tokens']:.0f}",
                    f"{row['evaluations']:.0f}",
                    f"{row['guided_steps']:.1f}",
                ]
            )
        )
    head = (
        f"{result['prompts']} prompts about held-out concepts, seed {result['seed']}; "
        f"{result['date']}, {result['device']}, jax {result['versions']['jax']}. 95 % intervals by "
        "pair of concepts; * the scale chosen on training concepts.\n"
    )
    return "\n".join([head, *lines, ""])


def _draw(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Directness against perplexity, a line a method, a point a scale."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        _say("no picture: pip install 'coala-jax[plot]'")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 6), constrained_layout=True)
    markers = "osv^D<>phX*"
    methods = list(dict.fromkeys(row["method"] for row in rows))
    for number, method in enumerate(methods):
        own = [row for row in rows if row["method"] == method]
        x, y = [row["perplexity"] for row in own], [row["direct"]["mean"] for row in own]
        alone = method.startswith("best of") or method == "plain"
        axes.plot(
            x,
            y,
            marker=markers[number % len(markers)],
            linestyle="none" if alone else "-",
            label=method,
            markerfacecolor="none" if method.startswith("best of") else None,
        )
        for row in own:
            if row["scale"] and len(own) > 1:
                axes.annotate(
                    f"{row['scale']:g}",
                    (row["perplexity"], row["direct"]["mean"]),
                    textcoords="offset points",
                    xytext=(4, 4),
                    fontsize=7,
                )
    axes.set_xlabel("perplexity of the responses under the frozen backbone")
    axes.set_ylabel("direct answers")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


# --- what does it cost


def _cost(arguments: argparse.Namespace, out: Path) -> None:
    if hasattr(os, "sched_setaffinity"):  # before jax and torch start their threads
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from coala_jax.backbones import load_backbone
    from coala_jax.decoding import TextRewardModel
    from coala_jax.decoding._config import GenerationConfig
    from coala_jax.features._settings import ExtractSettings, feature_identity
    from coala_jax.quickstart._demo import embedded_backbone
    from coala_jax.quickstart._tutoring import plain_questions

    backbone = load_backbone(embedded_backbone())
    # An id that is never drawn, so that no response ends.
    unused = backbone.config.vocab_size - 1
    backbone = replace(backbone, tokenizer=replace(backbone.tokenizer, end_id=unused))
    settings = ExtractSettings(pooling="last")
    model = TextRewardModel(backbone, _random_head(128), feature_identity(backbone, settings))
    prompts = [question.prompt for question in plain_questions(0)]
    base = GenerationConfig.from_options(max_new_tokens=arguments.steps)
    contenders: dict[str, Any] = {
        "plain": base.with_options(scale=0.0),
        **{
            f"{candidates} candidates, {scored}, {pools}": base.with_options(
                scale=1.0,
                scored=scored,
                num_candidates=candidates,
                top_p=1.0 if pools == "full" else 0.9,
            )
            for candidates in (50, 5)
            for scored in ("prefix", "closed")
            for pools in ("full", "nucleus")
        },
    }
    rows = []
    for batch in arguments.batches:
        runs = {
            name: _steps_of(model, prompts[:batch], config) for name, config in contenders.items()
        }
        if torch_run := _torch_steps(backbone, prompts[:batch], contenders["plain"]):
            runs["torch, plain"] = torch_run
        times: dict[str, list[float]] = {name: [] for name in runs}
        for run in runs.values():
            run()  # compiles
        for _ in range(arguments.repeats):
            for name, run in runs.items():
                times[name].append(run())
        for name, seconds in times.items():
            each = 1e3 * statistics.median(seconds) / arguments.steps
            plain = 1e3 * statistics.median(times["plain"]) / arguments.steps
            rows.append(
                {"batch": batch, "contender": name, "ms_a_step": each, "ratio": each / plain}
            )
            _say(rows[-1])
    result = _account({"steps": arguments.steps, "repeats": arguments.repeats, "rows": rows})
    _write(out, result, _cost_table(result))


def _random_head(width: int) -> Any:
    import numpy as np

    from coala_jax._head import ConvexHead

    rng = np.random.default_rng(0)
    first = rng.standard_normal((width, 32)).astype(np.float32)
    return ConvexHead(first, *(rng.standard_normal(32).astype(np.float32) for _ in range(2)))


def _steps_of(model: Any, prompts: Sequence[str], config: Any) -> Callable[[], float]:
    """Seconds of all steps of a batch whose prompts have run."""
    import jax

    from coala_jax.decoding._plan import make_plan, slots_needed
    from coala_jax.decoding._session import Request, Session

    plan = make_plan(model, [config])
    encoded = model.backbone.tokenizer.encode_batch(list(prompts))
    slots = slots_needed(plan, max(map(len, encoded)))
    session = Session(model, plan, len(prompts), slots)
    keys = [jax.random.fold_in(jax.random.key(0), number) for number in range(len(prompts))]

    def run() -> float:
        requests = [Request(ids, config, key) for ids, key in zip(encoded, keys, strict=True)]
        session.admit(requests, range(len(requests)))
        session.progress()  # waits for the prompts
        start = time.perf_counter()
        progress = session.advance(config.sampling.max_new_tokens)
        seconds = time.perf_counter() - start
        if not (progress.length == config.sampling.max_new_tokens).all():
            raise RuntimeError("a response ended early")
        return seconds

    return run


def _torch_steps(backbone: Any, prompts: Sequence[str], config: Any) -> Callable[[], float] | None:
    """The same by transformers and torch, or None without them."""
    try:
        import torch
        from transformers import GPT2LMHeadModel
    except ModuleNotFoundError:
        _say("torch is not installed: left out")
        return None
    from coala_jax.quickstart._demo import embedded_backbone

    torch.set_num_threads(1)
    model = GPT2LMHeadModel.from_pretrained(embedded_backbone(), dtype=torch.float32).eval()
    encoded = backbone.tokenizer.encode_batch(list(prompts))
    longest = max(map(len, encoded))
    pad = backbone.tokenizer.pad_id
    tokens = torch.tensor([[pad] * (longest - len(ids)) + ids for ids in encoded])
    mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in encoded])

    @torch.inference_mode()
    def run() -> float:
        whole = mask
        made = model(tokens, attention_mask=whole, position_ids=(whole.cumsum(1) - 1).clamp(min=0))
        start = time.perf_counter()
        for _ in range(config.sampling.max_new_tokens):
            top, places = made.logits[:, -1].topk(config.sampling.top_k)
            shares = top.softmax(-1)
            reached = shares.cumsum(-1) - shares
            shares = torch.where(reached < config.sampling.top_p, shares, 0)
            drawn = places.gather(1, torch.multinomial(shares, 1))
            whole = torch.cat([whole, torch.ones_like(drawn)], 1)
            made = model(
                drawn,
                attention_mask=whole,
                position_ids=whole.sum(1, keepdim=True) - 1,
                past_key_values=made.past_key_values,
            )
        return time.perf_counter() - start

    return run


def _cost_table(result: dict[str, Any]) -> str:
    columns = ("batch", "contender", "ms a step", "over plain")
    lines = [_cells(columns), _cells(["---"] * len(columns))]
    lines += [
        _cells([row["batch"], row["contender"], f"{row['ms_a_step']:.3f}", f"{row['ratio']:.2f}"])
        for row in result["rows"]
    ]
    head = (
        f"{result['steps']} steps, the median of {result['repeats']} in turns, one core; "
        f"{result['date']}, {result['device']}, jax {result['versions']['jax']}.\n"
    )
    return "\n".join([head, *lines, ""])


# --- both


def _account(fields: dict[str, Any]) -> dict[str, Any]:
    from coala_jax._machine import device, versions

    date = datetime.now(UTC).date().isoformat()
    return {"date": date, "device": device(), "versions": versions(), **fields}


def _write(out: Path, result: dict[str, Any], table: str) -> None:
    from coala_jax._files import write_text
    from coala_jax._json import json_text

    write_text(out.with_suffix(".json"), json_text(result))
    write_text(out.with_suffix(".md"), table)
    sys.stdout.write(table)


def _interval(fields: dict[str, float]) -> str:
    return f"{fields['mean']:.3f} [{fields['low']:.3f}, {fields['high']:.3f}]"


def _cells(cells: Any) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _say(line: Any) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
