"""Lines that cannot be scored: counted by reason and written as they are met."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import BinaryIO

from coala_jax._files import partial_path
from coala_jax.data import DataError, SetAsideRow
from coala_jax.data._writing import set_aside_fields


class SetAside:
    """What was set aside of a source that is read row by row.

    Attributes:
        counts: how many lines for each reason.
        first: the number of the first line for each reason.
        path: where all of them go; None keeps none.
    """

    def __init__(self, path: Path | None) -> None:
        """Nothing so far; the file is begun with its first line."""
        self.path, self.counts = path, Counter[str]()
        self.first: dict[str, int] = {}
        self._file: BinaryIO | None = None

    def add(self, line: SetAsideRow) -> None:
        """Count a line and write it."""
        self.counts[line.reason] += 1
        self.first.setdefault(line.reason, line.number)
        if self.path is None:
            return
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = partial_path(self.path).open("wb")
        self._file.write(json.dumps(set_aside_fields(line), default=str).encode() + b"\n")

    def require_usable(self, source: str, rows: int) -> None:
        """Raise where nothing usable was read.

        Raises:
            DataError: names the source, the counts by reason and the first line of each.
        """
        if rows:
            return
        if not self.counts:
            raise DataError(f"{source}: holds no rows")
        reasons = "; ".join(
            f"{reason}: {count} (first in line {self.first[reason]})"
            for reason, count in sorted(self.counts.items())
        )
        raise DataError(f"{source}: no usable row; set aside: {reasons}")

    def finish(self) -> Path | None:
        """Give the file its name, over what an earlier run left there; None where there is none."""
        if self._file is not None and self.path is not None:
            self._file.close()
            partial_path(self.path).replace(self.path)
            self._file = None
            return self.path
        if self.path is not None and self.path.exists():
            self.path.write_bytes(b"")
        return None

    def close(self) -> None:
        """Remove a file that was not finished: the next run meets the same lines again."""
        if self._file is not None and self.path is not None:
            self._file.close()
            partial_path(self.path).unlink(missing_ok=True)
