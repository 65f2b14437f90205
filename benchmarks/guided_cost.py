"""What guided decoding costs: milliseconds a step, against plain sampling and torch.

    PYTHONPATH=. python benchmarks/guided_cost.py                  # the embedded backbone
    PYTHONPATH=. python benchmarks/guided_cost.py --model DIR --name guided-cost-NAME

Steps on prompts of 12 to 30 tokens that never end, compile time apart, in a process that is bound
to so many cores, contenders in turns, the median of several. ``full`` pools (top-p 1) hold all
candidates; ``nucleus`` ones (top-p 0.9) what the backbone leaves of them, as in use. Torch: the
same weights in transformers' model with its own cache, one token a call, sampling by multinomial
from the same pool, in the fewest operations that do so. ``--memory`` adds peak memory: the resident
set of a process of its own that loads the model and runs one contender once.

Writes a Markdown table and its JSON.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reporting import account, figure, finish, markdown, origin, parser_of, say

PLAIN, DEFAULT = "plain", "the default: 2 candidates at every token"
TORCH = "torch, plain"
KIB = 1024

Run = Callable[[], float]


def main() -> None:
    """Run the benchmark."""
    parser = parser_of(__doc__, "guided-cost")
    parser.add_argument("--model", type=Path, help="a checkpoint folder of a causal model")
    parser.add_argument("--cores", type=int, nargs="+", default=[1], help="processes are bound to")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--candidates", type=int, nargs="+", default=[50, 5], help="at every fifth")
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7, help="of each, the median counts")
    parser.add_argument("--memory", action="store_true", help="measure peaks too")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        cores = arguments.worker["cores"]
        if hasattr(os, "sched_setaffinity"):  # before jax and torch start their threads
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
        sys.stdout.write(json.dumps(_work(arguments)) + "\n")
        return
    rows = []
    for cores in arguments.cores:
        rows += [{"cores": cores, **row} for row in _start(cores=cores, measure=None)]
    peaks = {}
    if arguments.memory:
        for contender in (PLAIN, DEFAULT, TORCH):
            peaks[contender] = _start(cores=min(arguments.cores), measure=contender)
    asked = {name: getattr(arguments, name) for name in ("steps", "repeats", "batches")}
    model = arguments.model.resolve().name if arguments.model else "embedded"
    result = account(model=model, **asked, rows=rows, peak_bytes=peaks)
    finish(arguments, result, _table(result))


def _start(**job: Any) -> Any:
    """What a worker, a process of its own with this one's options, gives for a job."""
    options = [*sys.argv[1:], "--worker", json.dumps(job)]
    finished = subprocess.run(
        [sys.executable, __file__, *options], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(finished.stdout.splitlines()[-1])


def _work(arguments: argparse.Namespace) -> Any:
    """In a worker: rows of the table, or the peak of a contender, None where it is missing."""
    measured = arguments.worker["measure"]
    if measured is None:
        rows = []
        for batch in arguments.batches:
            runs = _runs(arguments, batch)
            rows += _measure({name: make() for name, make in runs.items()}, batch, arguments)
        return rows
    run = _runs(arguments, max(arguments.batches)).get(measured)
    if run is None:
        return None
    run()()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB


def _runs(arguments: argparse.Namespace, batch: int) -> dict[str, Callable[[], Run]]:
    """What makes each contender ready to run its steps with so many rows."""
    from coala_jax.backbones import load_backbone
    from coala_jax.decoding import PAPER, GenerationConfig, TextRewardModel
    from coala_jax.features._settings import ExtractSettings, feature_identity
    from coala_jax.quickstart._demo import embedded_backbone
    from tools.tutoring_truth import plain_questions

    folder = arguments.model or embedded_backbone()
    prompts = [question.prompt for question in plain_questions(0)][:batch]
    base = PAPER.with_options(max_new_tokens=arguments.steps)
    contenders: dict[str, Any] = {
        PLAIN: base.with_options(scale=0.0),
        DEFAULT: GenerationConfig().with_options(max_new_tokens=arguments.steps),
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

    @functools.cache
    def model() -> Any:
        backbone = load_backbone(folder)
        # An id that is never drawn, so that no response ends.
        unused = backbone.config.vocab_size - 1
        tokenizer = replace(backbone.tokenizer, end_id=unused, more_end_ids=())
        backbone = replace(backbone, tokenizer=tokenizer)
        head = _random_head(backbone.config.hidden_size)
        identity = feature_identity(backbone, ExtractSettings(pooling="last"))
        return TextRewardModel(backbone, head, identity)

    def ours(config: Any) -> Run:
        return _steps_of(model(), prompts, config)

    runs = {name: functools.partial(ours, config) for name, config in contenders.items()}
    if importlib.util.find_spec("torch"):
        cores = arguments.worker["cores"]
        runs[TORCH] = lambda: _torch_steps(folder, prompts, contenders[PLAIN], cores)
    else:
        say("torch is not installed: left out")
    return runs


def _measure(
    runs: Mapping[str, Run], batch: int, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Rows of contenders that take turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()  # compiles
    for _ in range(arguments.repeats):
        for name, run in runs.items():
            times[name].append(run())
    each = {name: 1e3 * statistics.median(own) / arguments.steps for name, own in times.items()}
    rows = [
        {
            "batch": batch,
            "contender": name,
            "ms_a_step": milliseconds,
            "tokens_per_second": 1e3 * batch / milliseconds,
            "ratio": milliseconds / each[PLAIN],
        }
        for name, milliseconds in each.items()
    ]
    for row in rows:
        say(row)
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


def _torch_steps(folder: Path, prompts: Sequence[str], config: Any, threads: int) -> Run:
    """The same by transformers and torch."""
    import torch
    from transformers import AutoModelForCausalLM

    from coala_jax.backbones._tokenizer import load_tokenizer

    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = load_tokenizer(folder)
    encoded = tokenizer.encode_batch(list(prompts))
    longest = max(map(len, encoded))
    pad = tokenizer.pad_id
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
        f"{result['steps']} steps of {result['model']}, the median of {result['repeats']} in "
        f"turns; {origin(result)}."
    )
    peaks = {name: figure(peak, ".0f", 1e6) for name, peak in result["peak_bytes"].items()}
    if peaks:
        cores = min(row["cores"] for row in result["rows"])
        head += (
            f" Peak memory, {max(result['batches'])} rows, in a process of its own, cores "
            f"{cores}: {', '.join(f'{name} {peak} MB' for name, peak in peaks.items())}."
        )
    rows = (
        [
            *(row["cores"], row["batch"], row["contender"]),
            *(f"{row['ms_a_step']:.3f}", f"{row['tokens_per_second']:.1f}", f"{row['ratio']:.2f}"),
        ]
        for row in result["rows"]
    )
    columns = ("cores", "batch", "contender", "ms a step", "tokens/s", "over plain")
    return markdown(head, columns, rows)


if __name__ == "__main__":
    main()
