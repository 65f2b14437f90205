"""The pairs of a cell of benchmarks/methods.py: trained on, chosen by, held out; the same for all.

Pairs that do not fit the length are left out, since trainers cut them otherwise than this package
does. Both see the same tokens: a response has the space before it that this package's template
puts there, and each side adds its end token.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from methods_plan import PLACES, DataSet, Plan, PlanError, rooted

from coala_jax._files import file_sha256, write_text
from coala_jax._json import json_text
from coala_jax.backbones import Tokenizer
from coala_jax.backbones._tokenizer import tokenizer_sha256
from coala_jax.data import PreferenceRow, RowOptions, load_named, read_rows, split_named
from coala_jax.data._split import eval_mask, text_sha256
from coala_jax.features import TextTemplate
from coala_jax.features._tokens import RESPONSE_FIELD, TokenSequence, encode_texts, response_text
from coala_jax.quickstart import tutoring_rows

TEMPLATE = TextTemplate()
SIDES = ("chosen", "rejected")
# Training pairs, which are the fitted and the development ones together, and held-out pairs.
TRAIN, FITTED, DEVELOPMENT, HELD_OUT = PARTS = ("train", "fitted", "development", "held-out")
INFO = "rows.json"
# A tokenizer may add a start token where this package adds none.
SPARE_TOKENS = 1
# Added to the seed of a split, to draw the development part.
DEVELOPMENT_SEED = 1_000_000
# Beyond every context: lengths are wanted, not cuts.
UNBOUNDED = 1 << 30


class Rows(NamedTuple):
    """Rows of a part, in files that TRL reads too.

    Attributes:
        path: JSON lines of ``id``, ``key``, ``prompt``, ``chosen`` and ``rejected``.
        rows: what it holds.
    """

    path: Path
    rows: tuple[dict[str, str], ...]

    @property
    def records(self) -> list[dict[str, str]]:
        """The rows as `coala_jax.data.read_rows` takes them."""
        return [{**row, "group": row["key"]} for row in self.rows]

    @property
    def keys(self) -> list[str]:
        """(n,) what intervals are clustered by: groups where rows have one, else prompts."""
        return [row["key"] for row in self.rows]

    def sequences(self, tokenizer: Tokenizer) -> dict[str, list[TokenSequence]]:
        """The token ids of prompts with their responses, by side."""
        prompts = [row["prompt"] for row in self.rows]
        return {
            side: encode_texts(
                tokenizer, prompts, [row[side] for row in self.rows], TEMPLATE, UNBOUNDED
            )
            for side in SIDES
        }


def read_part(folder: Path, part: str) -> Rows:
    """A part that `write_parts` wrote."""
    path = folder / f"{part}.jsonl"
    lines = path.read_text("utf-8").splitlines()
    return Rows(path, tuple(json.loads(line) for line in lines))


def made_from(plan: Plan, name: str, seed: int, checkpoint: Path) -> dict[str, Any]:
    """All that decides the rows of a data set, but for what lies on the hub.

    Args:
        plan: says how much, and what is left out.
        name: of the data set.
        seed: of the split.
        checkpoint: whose tokenizer counts lengths.
    """
    data = plan.sets[name]
    source = data.source if data.data is None else data.data
    path = None if source is None else Path(rooted(source))
    return {
        "set": {field: value for field, value in vars(data).items() if field not in PLACES},
        "seed": seed,
        **{field: getattr(plan, field) for field in ("max_length", "held_out", "development")},
        # A file may lie anywhere; of a folder or an id the name has to do.
        "data": file_sha256(path) if path is not None and path.is_file() else source,
        "tokenizer": tokenizer_sha256(checkpoint),
    }


def require_made_from(folder: Path, wanted: dict[str, Any]) -> bool:
    """Whether a folder has rows.

    Raises:
        PlanError: it has some of other settings, data or tokenizer; names which.
    """
    path = folder / INFO
    if not path.exists():
        return False
    known = json.loads(path.read_text("utf-8")).get("made from", {})
    if others := [field for field in wanted if known.get(field) != wanted[field]]:
        raise PlanError(
            f"{folder} was made from another {', '.join(others)}; give another --out, or delete "
            f"{folder.parent} with all that stands on these rows"
        )
    return True


def write_parts(
    plan: Plan,
    name: str,
    seed: int,
    tokenizer: Tokenizer,
    folder: Path,
    origin: dict[str, Any],
    download: bool = False,
) -> None:
    """Split a data set of a plan and write its parts, and ``rows.json`` with their sizes.

    Args:
        plan: says how much, and what is left out.
        name: of the data set.
        seed: of the split, and of generated rows.
        tokenizer: of the model, by which lengths count.
        folder: to write to.
        origin: what `made_from` says of it.
        download: fetch what the hub's cache lacks.

    Raises:
        DataError: no such data, or no usable row.
        ValueError: a part without rows.
    """
    data = plan.sets[name]
    found = {
        part: [_plain(row, tokenizer) for row in rows]
        for part, rows in _split(plan, data, seed, download).items()
    }
    fitting = {part: _fitting(rows, tokenizer, plan.max_length) for part, rows in found.items()}
    train = _first(fitting[TRAIN], data.train, seed)
    # Another seed than the split's, which has left no key of a low hash in this part.
    keys = [row["key"] for row in train]
    development = eval_mask(keys, plan.development, seed + DEVELOPMENT_SEED)
    parts = {
        TRAIN: train,
        FITTED: [row for row, out in zip(train, development, strict=True) if not out],
        DEVELOPMENT: [row for row, out in zip(train, development, strict=True) if out],
        HELD_OUT: _first(fitting[HELD_OUT], data.held_out, seed),
    }
    for part, rows in parts.items():
        if not rows:
            raise ValueError(
                f"sets.{name}: no {part} pair of at most {plan.max_length} tokens; raise "
                "max_length or give more pairs"
            )
        write_text(folder / f"{part}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    left_out = sum(len(found[part]) - len(fitting[part]) for part in found)
    sizes: dict[str, Any] = {part: len(rows) for part, rows in parts.items()}
    sizes["prompts held out"] = len({row["key"] for row in parts[HELD_OUT]})
    write_text(folder / INFO, json_text({**sizes, "left out": left_out, "made from": origin}))


def rows_of(data: DataSet, download: bool = False) -> tuple[PreferenceRow, ...]:
    """All rows of a data set that is not generated; conversations are written as plain text.

    Raises:
        DataError: no such data, or no usable row.
    """
    options = RowOptions(download=download)
    if data.known is not None:
        source = None if data.source is None else rooted(data.source)
        return load_named(data.known, source, options=options).row_set.rows
    assert data.data is not None  # `read_plan` has checked it
    return read_rows(rooted(data.data), options).rows


def _split(
    plan: Plan, data: DataSet, seed: int, download: bool
) -> dict[str, tuple[PreferenceRow, ...]]:
    if data.tutoring:
        assert data.train is not None and data.held_out is not None
        made = tutoring_rows(seed, data.train, data.held_out)
        return {TRAIN: made.train, HELD_OUT: made.eval}
    split = split_named(rows_of(data, download), plan.held_out, seed)
    return {TRAIN: split.train, HELD_OUT: split.eval}


def _plain(row: PreferenceRow, tokenizer: Tokenizer) -> dict[str, str]:
    """A row as TRL takes it: what stands behind the prompt, with its space."""
    responses = {
        side: TEMPLATE.response.replace(
            RESPONSE_FIELD, response_text(tokenizer, getattr(row, side))
        )
        for side in SIDES
    }
    key = text_sha256(row.prompt) if row.group is None else row.group
    return {"id": row.id, "key": key, "prompt": row.prompt, **responses}


def _fitting(
    rows: Sequence[dict[str, str]], tokenizer: Tokenizer, most: int
) -> list[dict[str, str]]:
    """Rows whose two texts differ in their tokens, of which each has at most so many."""
    sides = Rows(Path(), tuple(rows)).sequences(tokenizer)
    pairs = zip(*((one.tokens for one in side) for side in sides.values()), strict=True)
    return [
        row
        for row, (chosen, rejected) in zip(rows, pairs, strict=True)
        if chosen != rejected and max(len(chosen), len(rejected)) + SPARE_TOKENS <= most
    ]


def _first(rows: Iterable[dict[str, str]], count: int | None, seed: int) -> list[dict[str, str]]:
    """So many rows of an order by hash."""

    def place(row: dict[str, str]) -> bytes:
        return hashlib.sha256(f"{seed}:{row['id']}".encode()).digest()

    return sorted(rows, key=place)[:count]
