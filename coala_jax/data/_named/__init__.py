"""Data sets by name: those of the COALA paper, with its counts and its split, and others.

A data set is one file here, an import and a place in ``KNOWN_SETS``: `load_named`, the names and
the help of `coala-jax data get`, and what its messages list come from it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from coala_jax.data._answer_groups import AnswerGroup, answer_groups
from coala_jax.data._errors import DataError
from coala_jax.data._named._edufeedback import EDUFEEDBACK
from coala_jax.data._named._helpsteer import HELPSTEER
from coala_jax.data._named._imdb import IMDB
from coala_jax.data._named._known_set import KnownSet
from coala_jax.data._named._nectar import NECTAR
from coala_jax.data._named._ultrafeedback import ULTRAFEEDBACK
from coala_jax.data._options import Pairs, RowOptions, require_options
from coala_jax.data._reading import rows_of_source
from coala_jax.data._rows import PreferenceRow, RowSet
from coala_jax.data._sources import Source, open_source
from coala_jax.data._sources._row import SourceRow, columns_of, first_rows
from coala_jax.data._split import Split, split_by_group, split_by_prompt

KNOWN_SETS: Mapping[str, KnownSet] = {
    known.name: known for known in (EDUFEEDBACK, ULTRAFEEDBACK, IMDB, HELPSTEER, NECTAR)
}
# The paper trains on 90 % and holds out the rest.
EVAL_FRACTION = 0.1
# Between attributes of which the mean is meant.
AND = "+"

__all__ = ["EVAL_FRACTION", "KNOWN_SETS", "KnownSet", "NamedRows", "load_named", "split_named"]


class NamedRows(NamedTuple):
    """The pairs of a known data set.

    Attributes:
        known: what is known of it.
        row_set: usable pairs and what was set aside.
        attribute: by what responses were judged; empty where there is no choice.
        pairs: as of ``RowOptions``: which pairs these are.
    """

    known: KnownSet
    row_set: RowSet
    attribute: str = ""
    pairs: Pairs = "one"

    @property
    def paper(self) -> int | None:
        """How many pairs the paper counts; None where these are not its pairs."""
        return self.known.pairs if self.pairs == "one" else None

    @property
    def difference(self) -> int | None:
        """How many pairs more than the paper counts; below 0 where there are fewer."""
        return None if self.paper is None else len(self.row_set.rows) - self.paper

    def groups(self) -> list[AnswerGroup]:
        """The groups of answers; none where these are pairs."""
        return answer_groups(self.row_set.rows) if self.pairs == "groups" else []

    def check(self) -> str:
        """One line that says how far the pairs are from the paper's count, or what groups hold."""
        if groups := self.groups():
            most = max(len(group.answers) for group in groups)
            return (
                f"{len(groups):,} groups of up to {most} answers; "
                f"pairs of answers that are tied: {sum(group.tied for group in groups):,}"
            )
        count, difference = len(self.row_set.rows), self.difference
        if self.paper is None or difference is None:
            return f"{count:,} pairs"
        if difference == 0:
            return f"{count:,} pairs, as in the paper"
        more = "more" if difference > 0 else "fewer"
        share = abs(difference) / self.paper
        return (
            f"{count:,} pairs, {abs(difference):,} ({share:.1%}) {more} than the paper's "
            f"{self.paper:,}"
        )


def load_named(
    name: str,
    source: str | os.PathLike[str] | None = None,
    attribute: str | None = None,
    options: RowOptions = RowOptions(),
) -> NamedRows:
    r"""Load a data set by name.

    Args:
        name: one of `KNOWN_SETS`.
        source: a copy of its repository or one file of it; None takes the hub.
        attribute: by what responses are judged, where there is a choice, or several joined by
            ``+``, whose mean counts; None takes the first, which in HelpSteer is the paper's.
        options: how its rows are read; ``download`` is needed where ``source`` is None. ``pairs``
            other than ``one`` are of all answers to a prompt, which UltraFeedback has in another
            repository. Which config, split and format is the set's own matter.

    Returns:
        The pairs, with the paper's count to compare with; conversations keep their messages.

    Raises:
        DataError: an unknown name or attribute, no such source, columns that are not the documented
            ones, all answers of a set that has pairs alone, or no usable row.

    Example:
        >>> import json
        >>> from pathlib import Path
        >>> from coala_jax.data import load_named  # of the hub: options=RowOptions(download=True)
        >>> text = "It is a film of two hours, and I found it {}."
        >>> reviews = [{"text": text.format(said), "label": label}
        ...     for label, said in enumerate(("long", "short"))]
        >>> _ = Path("imdb.jsonl").write_text("\n".join(map(json.dumps, reviews)))
        >>> named = load_named("imdb", "imdb.jsonl")
        >>> [(row.prompt, row.chosen, row.rejected) for row in named.row_set.rows[:1]]
        [('It is a film of two hours, and', 'I found it short.', 'I found it long.')]
        >>> print(named.check())
        2 pairs, 24,998 (100.0%) fewer than the paper's 25,000
    """
    require_options(options, RowOptions)
    if name not in KNOWN_SETS:
        raise DataError(f"name={name!r} must be one of {', '.join(KNOWN_SETS)}")
    known = _known(KNOWN_SETS[name], options.pairs)
    attributes = _attributes(known, attribute)
    options = replace(
        options, config=known.config, split=known.split, format=known.format, keep_messages=True
    )
    opened = _open(known, source, options)
    seen, rows = first_rows(opened.rows)
    _require_columns(known, opened.name, seen)
    made = opened._replace(rows=iter(known.rows(_distinct(rows, opened), attributes)))
    return NamedRows(known, rows_of_source(made, options), AND.join(attributes), options.pairs)


def split_named(
    rows: tuple[PreferenceRow, ...], eval_fraction: float = EVAL_FRACTION, seed: int = 0
) -> Split:
    """Split pairs by prompt, and by group where all rows have one; never by row.

    Args:
        rows: of `load_named`.
        eval_fraction: share of the prompts or groups to hold out, on average; the paper's is 0.1.
        seed: another seed, another split.

    Returns:
        The two parts.

    Raises:
        DataError: ``eval_fraction`` out of range.

    Example:
        >>> from coala_jax.data import read_rows, split_named
        >>> rows = [{"prompt": f"{n}?", "chosen": f"{n}", "rejected": "-1"} for n in range(20)]
        >>> split = split_named(read_rows(rows).rows, eval_fraction=0.2)
        >>> len(split.train) + len(split.eval)
        20
    """
    groups = {row.id: row.group for row in rows if row.group is not None}
    if len(groups) < len(rows):
        return split_by_prompt(rows, eval_fraction, seed)
    return split_by_group(rows, groups, eval_fraction, seed)


def _known(known: KnownSet, pairs: Pairs) -> KnownSet:
    """The set itself, or where more than one pair a prompt is asked for that with all answers."""
    if pairs == "one":
        return known
    if not _has_several(known):
        several = [each.name for each in KNOWN_SETS.values() if _has_several(each)]
        raise DataError(
            f"pairs={pairs!r}: {known.name} has no more than pairs; leave it out, or take "
            f"{' or '.join(several)}"
        )
    return known.whole or known


def _has_several(known: KnownSet) -> bool:
    return known.whole is not None or known.format != "preference"


def _attributes(known: KnownSet, given: str | None) -> tuple[str, ...]:
    if given is None:
        return known.attributes[:1]
    attributes = tuple(given.split(AND))
    there = ", ".join(known.attributes) or "none to choose from; leave it out"
    if known.whole is not None:
        there += ", or take all its answers with pairs='groups' (--pairs groups)"
    for attribute in attributes:
        if attribute not in known.attributes or attributes.count(attribute) > 1:
            raise DataError(f"attribute={given!r}: {known.name} has {there}")
    return attributes


def _open(known: KnownSet, source: str | os.PathLike[str] | None, options: RowOptions) -> Source:
    if source is None:
        return open_source(known.hub_id, options)
    if options.revision is not None:
        raise DataError(
            f"revision={options.revision!r}: {source} is a copy, only the hub has revisions; leave "
            "it out"
        )
    path = Path(source)
    if not path.is_dir():
        return open_source(path)
    inner = known.config if known.config and (path / known.config).is_dir() else None
    return open_source(path, replace(options, config=inner))


def _require_columns(known: KnownSet, name: str, rows: list[Mapping[str, Any]]) -> None:
    there = columns_of(rows)
    lost = [[column for column in layout if column not in there] for layout in known.layouts]
    if there and all(lost):
        nearest = min(lost, key=len)
        documented = " or ".join(", ".join(layout) for layout in known.layouts)
        raise DataError(
            f"{name}: no column {', '.join(nearest)}; {known.hub_id} is documented to have "
            f"{documented}, this has {', '.join(there)}"
        )


def _distinct(rows: Iterator[SourceRow], source: Source) -> Iterator[SourceRow]:
    """Rows numbered on through all files, so that numbers tell them apart."""
    if source.root is None:
        return rows
    return (row._replace(number=number) for number, row in enumerate(rows, start=1))
