"""What a judge was told, beside each judgment, and a note where it was told so in our own words."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from coala_jax.evaluation._benchmark_rows import BenchmarkRow
from coala_jax.evaluation._errors import EvaluationError

# Name of words that stand in this package and in no file of a benchmark.
OWN_WORDING = "coala-jax's own words"
# The field of a judgment that holds its `Wording`; files that others made have none.
WORDING_FIELD = "judge_wording"


class Wording(NamedTuple):
    """What a judge was told.

    Attributes:
        name: of the file it is from, or `OWN_WORDING`.
        sha256: of that file, or of our own words.
    """

    name: str
    sha256: str

    def fields(self) -> dict[str, Any]:
        """What a judgment that is written has beside it."""
        return {WORDING_FIELD: self._asdict()}


def own_wording(*texts: str) -> Wording:
    """Our own words to a judge, of which any change is another checksum.

    Args:
        texts: all that it is told, in order, with the names of what is filled in.
    """
    return Wording(OWN_WORDING, hashlib.sha256("\0".join(texts).encode()).hexdigest())


def read_wording(row: BenchmarkRow) -> Wording | None:
    """What the judge of a judgment was told; None where its row does not say.

    Raises:
        EvaluationError: the field holds anything but a name and a checksum.
    """
    value = row.fields.get(WORDING_FIELD)
    if value is None:
        return None
    fields = value if isinstance(value, Mapping) else {}
    name, sha256 = (fields.get(each) for each in Wording._fields)
    if not (isinstance(name, str) and isinstance(sha256, str)):
        raise EvaluationError(
            f"{row.place}: {WORDING_FIELD} is {value!r}, an object of the texts name and sha256 is "
            "expected"
        )
    return Wording(name, sha256)


def own_wording_warnings(
    wordings: Iterable[Wording | None], tables: Iterable[str] = itertools.repeat("")
) -> list[str]:
    """Notes where some judgments were made in our own words, else none.

    Args:
        wordings: of each judgment, as `read_wording` gives them.
        tables: name of the table in which each one counts; without names there is one table.
    """
    known = [(table, each) for table, each in zip(tables, wordings, strict=False) if each]
    own = [(table, each.sha256[:16]) for table, each in known if each.name == OWN_WORDING]
    notes = own_words_note(len(own))
    if 0 < len(own) < len(known):
        notes.append(
            f"{len(known) - len(own)} others were made in other words: they are not comparable "
            "with these either"
        )
    return notes + several_words_notes(own)


def several_words_notes(versions: Iterable[tuple[str, str]]) -> list[str]:
    """A note of each table whose judgments were made in several versions of our own words.

    Args:
        versions: of each judgment in our own words, its table and what tells the version.
    """
    found: dict[str, Counter[str]] = {}
    for table, version in versions:
        found.setdefault(table, Counter())[version] += 1
    return [
        f"{table + ': ' if table else ''}judgments in {len(counts)} versions of {OWN_WORDING} ("
        + ", ".join(f"{version}: {count}" for version, count in counts.items())
        + ") stand in one table: not comparable with one another; judge all in one version"
        for table, counts in found.items()
        if len(counts) > 1
    ]


def own_words_note(count: int) -> list[str]:
    """A note where so many judgments were made in our own words; none of none."""
    if not count:
        return []
    return [
        f"{count} judgments were made in {OWN_WORDING}: not comparable with published ones, which "
        "were made in the benchmark's"
    ]
