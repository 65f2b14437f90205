"""The hand-written concept base: fields of study, their concepts, five aspects of each.

Concepts come in pairs of neighbours that are easily confused. Every aspect is one sentence with a
few terms of its own, which no other aspect of the same concept uses: by them an answer shows what
it is about.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, NamedTuple

ASPECTS = ("definition", "mechanism", "example", "mistake", "contrast")
CONCEPT_FOLDER = "concepts"


class AspectText(NamedTuple):
    """What there is to say about one aspect, and the lower-case terms that only it uses."""

    text: str
    terms: tuple[str, ...]


class Concept(NamedTuple):
    """A concept of a field of study.

    Attributes:
        name: as a term, such as ``sunk cost``; no two concepts share it.
        phrase: as it stands in a sentence, such as ``a sunk cost``.
        field: the field of study.
        neighbour: name of the concept it is most easily confused with, of the same field.
        aspects: a text for each of ``ASPECTS``.
    """

    name: str
    phrase: str
    field: str
    neighbour: str
    aspects: Mapping[str, AspectText]

    @property
    def group(self) -> str:
        """Key that the concept shares with its neighbour alone."""
        return f"{self.field}/{'+'.join(sorted((self.name, self.neighbour)))}"


@cache
def load_concepts() -> tuple[Concept, ...]:
    """The concept base, fields and concepts in a fixed order; tests hold its files to its rules."""
    folder = resources.files(__package__).joinpath(CONCEPT_FOLDER)
    files = [file for file in folder.iterdir() if file.name.endswith(".json")]
    return tuple(
        concept
        for file in sorted(files, key=lambda file: file.name)
        for concept in parse_field(json.loads(file.read_text(encoding="utf-8")))
    )


def parse_field(fields: Mapping[str, Any]) -> list[Concept]:
    """Concepts of a field, from the parsed JSON object of its file.

    Raises:
        KeyError: a key that is absent.
        TypeError: a value that is no text where text should be.
    """
    field = _text(fields["field"])
    return [_parse_concept(entry, field) for entry in fields["concepts"]]


def _parse_concept(entry: Mapping[str, Any], field: str) -> Concept:
    aspects = {
        aspect: AspectText(
            _text(entry[aspect]["text"]), tuple(_text(term) for term in entry[aspect]["terms"])
        )
        for aspect in ASPECTS
    }
    return Concept(
        name=_text(entry["name"]),
        phrase=_text(entry["phrase"]),
        field=field,
        neighbour=_text(entry["neighbour"]),
        aspects=MappingProxyType(aspects),
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise TypeError(f"expected text, got {value!r}")
    return value
