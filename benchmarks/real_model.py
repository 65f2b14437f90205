"""What heads and guided decoding are worth on a real model and real text.

    python ../shared/tools/gemma3_270m.py GEMMA     # Gemma 3 270M, the folder GEMMA/hf
    PYTHONPATH=. python benchmarks/real_model.py --model GEMMA/hf --out OUT
    PYTHONPATH=. python benchmarks/real_model.py --model GEMMA/hf --out OUT --parts pairs

Parts: ``sentiment``, whether guidance makes reviews positive (sentiment_task.py, sentiment_runs.py,
sentiment_report.py); ``pairs``, held-out accuracy on preference pairs over layers and poolings
(layer_accuracy.py); and ``cost``, of extraction and generation against torch (model_cost.py), which
wants a machine that does nothing else. Everything is made in pieces of under ten minutes, files
under OUT: a run that was ended, or whose ``--minutes`` are over, goes on when it is started again.
After every run the tables of what is whole are written to ``--results``. Sentiment needs
scikit-learn and vaderSentiment.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reporting import RESULTS, SHARED_FOLDER, save, say

PARTS = ("sentiment", "pairs", "cost")
# Of Gemma 3 270M, which has 18: from a third on, where reviews are told apart, to the last.
LAYERS = (6, 10, 14, -1)


def main() -> None:
    """Make what is missing, then the tables."""
    arguments = _arguments()
    for part in arguments.parts:
        {"sentiment": _sentiment, "pairs": _pairs, "cost": _cost}[part](arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="folder of a causal model")
    parser.add_argument("--data", type=Path, default=SHARED_FOLDER / "data")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pieces")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the tables")
    parser.add_argument("--name", default="real-model", help="of the files under --results")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin nothing after")
    parser.add_argument("--seed", type=int, default=0, help="of parts, prompts and draws")
    parser.add_argument(
        "--layers", type=int, nargs="+", default=list(LAYERS), help="to choose from"
    )
    parser.add_argument("--prompts", type=int, default=200, help="held out, of reviews")
    parser.add_argument("--development-prompts", type=int, default=50, help="to choose scales by")
    parser.add_argument("--pairs", type=int, default=None, help="of reviews (default: all)")
    parser.add_argument("--methods", nargs="+", default=None, help="of the table (default: all)")
    parser.add_argument("--value-prompts", type=int, default=352, help="of values; 0: no such head")
    parser.add_argument("--value-head", type=Path, default=None, help="of values (default: made)")
    parser.add_argument("--batch-size", type=int, default=50, help="prompts that run together")
    parser.add_argument("--rows", type=int, default=1000, help="the most pairs of a set")
    parser.add_argument("--splits", type=int, default=5, help="of each set of pairs")
    parser.add_argument("--engine", choices=("jax", "torch"), default="jax", help="of the pairs")
    arguments = parser.parse_args()
    arguments.end = time.monotonic() + 60 * arguments.minutes
    # Folders of one machine are no part of how it is made again.
    places = {str(arguments.model): "MODEL", str(arguments.data): "DATA", str(arguments.out): "OUT"}
    arguments.command = shlex.join(["python", *(places.get(word, word) for word in sys.argv)])
    return arguments


def _sentiment(arguments: argparse.Namespace) -> None:
    from sentiment_report import draw, result_of, table
    from sentiment_runs import Sentiment

    task = Sentiment(arguments)
    task.make()
    result = result_of(task)
    if result is None:
        say("sentiment: plain sampling is not finished, so there is no table; run it again")
        return
    name = f"{arguments.name}-sentiment"
    save(argparse.Namespace(out=arguments.results, name=name), result, table(result))
    draw(arguments.results / f"{name}.png", result["rows"])


def _pairs(arguments: argparse.Namespace) -> None:
    from layer_accuracy import result_of, table

    _keep(arguments, "pairs", result_of(arguments), table)


def _cost(arguments: argparse.Namespace) -> None:
    from model_cost import result_of, table

    _keep(arguments, "cost", result_of(arguments), table)


def _keep(
    arguments: argparse.Namespace,
    part: str,
    result: dict[str, Any] | None,
    table: Callable[[dict[str, Any]], str],
) -> None:
    """Write a part's table, where anything of it is whole."""
    if result is None:
        say(f"{part}: nothing of it is finished, so there is no table; run it again")
        return
    places = argparse.Namespace(out=arguments.results, name=f"{arguments.name}-{part}")
    save(places, result, table(result))


if __name__ == "__main__":
    main()
