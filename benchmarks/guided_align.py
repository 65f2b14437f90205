"""Whether guided decoding aligns: directness, reward and perplexity on the embedded backbone.

    PYTHONPATH=. python benchmarks/guided_align.py    # the measured table, 10 minutes

A head is trained as the quickstart does, on pairs about some concepts; the prompts ask one question
for every aspect of the concepts that it never saw (220 prompts). An answer is *direct* where it has
the asked aspect's own terms and more of them than of any other aspect (`tools.tutoring_truth`): a
rule that knows the truth and that the head does not. The scale of every method is chosen on as many
prompts about training concepts; all scales are shown on the held-out ones. Methods share the draws,
top-p, top-k and temperature; intervals are clustered by pair of neighbouring concepts and
differences are paired. Perplexity is that of the responses' tokens under the frozen backbone.
``evaluations`` are tokens that the backbone ran a prompt, with the reward of every response;
best-of-n is there with 16 samples and with as many as cost what the guided responses do.

Writes a Markdown table, its JSON and a picture.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from likelihood import response_log_probs
from reporting import account, finish, interval, markdown, origin, parser_of, say

from coala_jax._intervals import cluster_interval
from coala_jax.backbones import load_backbone
from coala_jax.decoding import (
    PAPER,
    Generation,
    GenerationConfig,
    TextRewardModel,
    best_of_n,
    guided_generate,
)
from coala_jax.features._tokens import encode_prompts
from coala_jax.quickstart._concepts import Concept
from coala_jax.quickstart._demo import demo_pairs, embedded_backbone
from coala_jax.quickstart._tutoring import EVAL_PAIRS, TRAIN_PAIRS, TutoringSplit, tutoring_rows
from coala_jax.study._experiment import Settings, run_experiment
from tools.tutoring_truth import PlainQuestion, is_direct, plain_questions

SCALES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
LONGEST_ANSWER = 72
SAMPLES = 16
# Rows that run together: where one row is guided, branches of all of them run.
BATCH_SIZE = 8


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
    Method("token by token, 2 candidates", {"guide_every": 1, "num_candidates": 2}),
    Method(
        "token by token, 2 candidates, prefix as it stands",
        {"guide_every": 1, "num_candidates": 2, "scored": "prefix"},
    ),
    # Controls: what few candidates do without a head.
    Method("top-k of 2 without a head", {"top_k": 2}, (0.0,)),
    Method("top-k of 5 without a head", {"top_k": 5}, (0.0,)),
    Method("best candidate", {"choice": "best"}, (1.0,)),
    Method("token by token, lookahead of 12", AHEAD),
    Method("token by token, lookahead of 24", {**AHEAD, "lookahead": 24}),
    Method("best candidate, lookahead of 12", {**AHEAD, "choice": "best"}, (1.0,)),
    Method("blocks of 5, best of 8", {"continuations": 8}, (1.0,)),
    Method("blocks of 16, best of 8", {"continuations": 8, "guide_every": 16}, (1.0,)),
)


def main() -> None:
    """Run the benchmark."""
    parser = parser_of(__doc__, "guided-align")
    parser.add_argument("--seed", type=int, default=0, help="of rows, held-out concepts and draws")
    parser.add_argument("--train-pairs", type=int, default=TRAIN_PAIRS)
    parser.add_argument("--prompts", type=int, default=None, help="of each part (default: all)")
    parser.add_argument("--methods", nargs="+", choices=[m.name for m in METHODS], default=None)
    arguments = parser.parse_args()
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
    say(found[-1])
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
            say(row)
        matched = round(tried[best]["held out"].evaluations / plain["held out"].evaluations)
        found += bench.best_of(max(matched, 1), plain["held out"], f"as much as {method.name}")
        say(found[-1])
    found += bench.best_of(SAMPLES, plain["held out"], "")
    say(found[-1])
    result = account(prompts=len(asked["held out"]), seed=arguments.seed, rows=found)
    finish(arguments, result, _table(result))
    _draw(arguments.out / f"{arguments.name}.png", found)


def _trained_model(arguments: argparse.Namespace) -> tuple[TutoringSplit, TextRewardModel]:
    """Rows and reward model of the quickstart."""
    train = arguments.train_pairs
    rows = tutoring_rows(arguments.seed, train, min(EVAL_PAIRS, train))
    demo = demo_pairs(rows, embedded_backbone(), "last")
    experiment = run_experiment(demo.pairs, demo.held_out, Settings(seed=arguments.seed), say)
    backbone = load_backbone(embedded_backbone())
    return rows, TextRewardModel(backbone, experiment.head, experiment.identity)


def _questions(
    arguments: argparse.Namespace, wanted: Callable[[Concept], bool]
) -> list[PlainQuestion]:
    questions = [q for q in plain_questions(arguments.seed) if wanted(q.concept)]
    return questions[: arguments.prompts]


class _Answers(NamedTuple):
    """Per prompt: whether direct, reward, mean log probability a token, tokens; then a mean."""

    direct: np.ndarray
    reward: np.ndarray
    log_prob: np.ndarray
    tokens: np.ndarray
    evaluations: float
    guided_steps: float
    near_ties: int
    seconds: float


class _Bench:
    """A model and questions, the same draws for all methods."""

    def __init__(self, model: TextRewardModel, asked: dict[str, list[PlainQuestion]], seed: int):
        self.model, self.asked = model, asked
        self.key = jax.random.key(seed)

    def config(self, options: dict[str, Any]) -> GenerationConfig:
        return PAPER.with_options(max_new_tokens=LONGEST_ANSWER, **options)

    def answer(self, part: str, options: dict[str, Any]) -> _Answers:
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
        self, part: str, made: Sequence[Generation], evaluations: Sequence[int], seconds: float
    ) -> _Answers:
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


def _table(result: dict[str, Any]) -> str:
    columns = ("method", "scale", "direct", "minus plain", "reward", "perplexity", "tokens")
    head = (
        f"{result['prompts']} prompts about held-out concepts, seed {result['seed']}; "
        f"{origin(result)}. 95 % intervals by pair of concepts; * the scale chosen on training "
        "concepts."
    )
    rows = map(_cells, result["rows"])
    return markdown(head, (*columns, "evaluations", "guided steps"), rows)


def _cells(row: dict[str, Any]) -> list[str]:
    mark = " *" if row["chosen"] else ""
    return [
        row["method"],
        f"{row['scale']:g}{mark}" if row["scale"] else "",
        interval(row["direct"]),
        "" if row["method"] == "plain" else interval(row["direct_minus_plain"]),
        f"{row['reward']['mean']:+.2f}",
        f"{row['perplexity']:.2f}",
        f"{row['tokens']:.0f}",
        f"{row['evaluations']:.0f}",
        f"{row['guided_steps']:.1f}",
    ]


def _draw(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Directness against perplexity, a line a method, a point a scale."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        say("no picture: pip install '.[plot]'")
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


if __name__ == "__main__":
    main()
