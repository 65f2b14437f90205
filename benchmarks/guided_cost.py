"""What guided decoding costs: milliseconds a step on one core, against plain sampling and torch.

    PYTHONPATH=. python benchmarks/guided_cost.py                  # the embedded backbone
    PYTHONPATH=. python benchmarks/guided_cost.py --model DIR --name guided-cost-NAME

Steps on prompts of 12 to 30 tokens that never end, compile time apart, in a process that is bound
to one core, contenders in turns, the median of several. ``full`` pools (top-p 1) hold all
candidates; ``nucleus`` ones (top-p 0.9) what the backbone leaves of them, as in use. Torch: the
same weights in transformers' model with its own cache, one token a call, sampling by multinomial
from the same pool, in the fewest operations that do so.

Writes a Markdown table and its JSON.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reporting import account, markdown, origin, parser_of, save, say


def main() -> None:
    """Run the benchmark."""
    parser = parser_of(__doc__, "guided-cost")
    parser.add_argument("--model", type=Path, help="a checkpoint folder of a causal model")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--candidates", type=int, nargs="+", default=[50, 5], help="at every fifth")
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7, help="of each, the median counts")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # before jax and torch start their threads
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rows = _measure(arguments)
    asked = {name: getattr(arguments, name) for name in ("steps", "repeats")}
    result = account(
        model=arguments.model.resolve().name if arguments.model else "embedded", **asked, rows=rows
    )
    save(arguments, result, _table(result))
    sys.stdout.write(_table(result))


def _measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    from coala_jax.backbones import load_backbone
    from coala_jax.decoding import PAPER, GenerationConfig, TextRewardModel
    from coala_jax.features._settings import ExtractSettings, feature_identity
    from coala_jax.quickstart._demo import embedded_backbone
    from tools.tutoring_truth import plain_questions

    folder = arguments.model or embedded_backbone()
    backbone = load_backbone(folder)
    # An id that is never drawn, so that no response ends.
    unused = backbone.config.vocab_size - 1
    tokenizer = replace(backbone.tokenizer, end_id=unused, more_end_ids=())
    backbone = replace(backbone, tokenizer=tokenizer)
    settings = ExtractSettings(pooling="last")
    head = _random_head(backbone.config.hidden_size)
    model = TextRewardModel(backbone, head, feature_identity(backbone, settings))
    prompts = [question.prompt for question in plain_questions(0)]
    base = PAPER.with_options(max_new_tokens=arguments.steps)
    contenders: dict[str, Any] = {
        "plain": base.with_options(scale=0.0),
        "the default: 2 candidates at every token": GenerationConfig().with_options(
            max_new_tokens=arguments.steps
        ),
        **{
            f"{candidates} candidates, {scored}, {pools}": base.with_options(
                scale=1.0,
                scored=scored,
                num_candidates=candidates,
                top_p=1.0 if pools == "full" else 0.9,
            )
            for candidates in arguments.candidates
            for scored in ("prefix", "closed")
            for pools in ("full", "nucleus")
        },
    }
    rows = []
    for batch in arguments.batches:
        runs = {
            name: _steps_of(model, prompts[:batch], config) for name, config in contenders.items()
        }
        if torch_run := _torch_steps(backbone, folder, prompts[:batch], contenders["plain"]):
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
            say(rows[-1])
    return rows


def _random_head(width: int) -> Any:
    import numpy as np

    from coala_jax._head import ConvexHead

    rng = np.random.default_rng(0)
    shapes = (width, 32), (32,), (32,), (width,)
    return ConvexHead(*(rng.standard_normal(shape).astype(np.float32) for shape in shapes))


def _steps_of(model: Any, prompts: Sequence[str], config: Any) -> Callable[[], float]:
    """Seconds of all steps of a batch whose prompts have run."""
    import jax

    from coala_jax.decoding._plan import make_plan
    from coala_jax.decoding._session import Request, Session

    plan = make_plan(model, [config])
    encoded = model.backbone.tokenizer.encode_batch(list(prompts))
    slots = plan.slots(max(map(len, encoded)) + plan.new_tokens)
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


def _torch_steps(
    backbone: Any, folder: Path, prompts: Sequence[str], config: Any
) -> Callable[[], float] | None:
    """The same by transformers and torch, or None without them."""
    try:
        import torch
        from transformers import AutoModelForCausalLM
    except ModuleNotFoundError:
        say("torch is not installed: left out")
        return None

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
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


def _table(result: dict[str, Any]) -> str:
    head = (
        f"{result['steps']} steps, the median of {result['repeats']} in turns, one core; "
        f"{origin(result)}."
    )
    rows = (
        [row["batch"], row["contender"], f"{row['ms_a_step']:.3f}", f"{row['ratio']:.2f}"]
        for row in result["rows"]
    )
    return markdown(head, ("batch", "contender", "ms a step", "over plain"), rows)


if __name__ == "__main__":
    main()
