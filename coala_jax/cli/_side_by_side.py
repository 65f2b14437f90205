"""Texts beside each other at a terminal, drawn again as they grow; one after another in a pipe."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Sequence
from itertools import zip_longest

from coala_jax._unseen import printable

GUTTER = " | "
# Where a terminal does not tell how large it is.
FALLBACK = (80, 24)
# Lines that stay free above and below what is drawn again.
MARGIN = 3


def side_by_side(titles: Sequence[str], texts: Sequence[str], width: int) -> list[str]:
    """Lines of columns of equal width that together take at most ``width`` characters.

    Args:
        titles: (n,) headings.
        texts: (n,) texts; their line breaks stay.
        width: of all columns.
    """
    each = max((width - len(GUTTER) * (len(texts) - 1)) // len(texts), 1)
    columns = [
        [*_wrap(title, each)[:1], "-" * each, *_wrap(text, each)]
        for title, text in zip(titles, texts, strict=True)
    ]
    return [
        GUTTER.join(cell + " " * (each - text_width(cell)) for cell in row).rstrip()
        for row in zip_longest(*columns, fillvalue="")
    ]


def text_width(text: str) -> int:
    """Cells that a text takes on a terminal: two for wide characters, none for combining ones."""
    return sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _wrap(text: str, width: int) -> list[str]:
    """Lines of at most so many cells, broken at spaces where there are any."""
    lines = []
    for paragraph in printable(text).expandtabs().split("\n"):
        line, taken = "", 0
        for character in paragraph:
            cells = _cells(character)
            if taken + cells > width:
                head, space, tail = line.rpartition(" ")
                if character == " " or not space or not head.strip():
                    head, tail = line, ""
                lines.append(head)
                line = tail if character != " " else ""
                taken = text_width(line)
                if character == " ":
                    continue
            line, taken = line + character, taken + cells
        lines.append(line)
    return lines


class Columns:
    """Columns on stdout."""

    def __init__(self, titles: Sequence[str]):
        """Draw nothing yet."""
        self._titles, self._texts, self._drawn = list(titles), [""] * len(titles), 0

    def show(self, texts: Sequence[str]) -> None:
        """Draw the texts so far; in a pipe they wait for `finish`."""
        self._texts = list(texts)
        if sys.stdout.isatty():
            size = shutil.get_terminal_size(FALLBACK)
            lines = side_by_side(self._titles, texts, size.columns - 1)
            self._draw(lines[: max(size.lines - MARGIN, 1)])

    def finish(self, titles: Sequence[str]) -> None:
        """Draw all of the texts under their last titles."""
        self._titles = list(titles)
        if sys.stdout.isatty():
            width = shutil.get_terminal_size(FALLBACK).columns - 1
            self._draw(side_by_side(self._titles, self._texts, width))
        else:
            for title, text in zip(self._titles, self._texts, strict=True):
                shown = text.replace("\n", "\\n") or "(empty)"
                print(f"{title}: {shown}")

    def _draw(self, lines: Sequence[str]) -> None:
        up = f"\x1b[{self._drawn}A\x1b[J" if self._drawn else ""
        sys.stdout.write(up + "".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
        self._drawn = len(lines)
