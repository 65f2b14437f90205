"""Files of answers that a server receives: one a participant, none ever overwritten."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from coala_jax._files import write_files
from coala_jax.evaluation.blind._coding import place_of
from coala_jax.evaluation.blind._submissions import BrokenSubmission, parse_submission

# More than any study has, and than one participant sends: whoever floods the server fills no disk.
MOST_FILES = 20_000
MOST_OF_ONE = 20


class Kept(NamedTuple):
    """What became of a submission.

    Attributes:
        name: of its file.
        number: how many files of the participant there are up to it.
        new: whether it was written now; the same bytes are kept once.
    """

    name: str
    number: int
    new: bool


class FullInboxError(Exception):
    """There are as many files as may be."""


class Inbox:
    """A folder of answers to one study, of which this is the only writer."""

    def __init__(self, folder: Path, page: Mapping[str, Any]) -> None:
        """Open a folder, which is made if missing.

        Args:
            folder: may hold answers of an earlier run.
            page: what the page of the study embeds.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._page, self._lock = folder, page, threading.Lock()

    def keep(self, content: bytes) -> Kept:
        """Write a submission as it came: ``CODE.json``, a later one of that code ``CODE.2.json``.

        Args:
            content: what the page posted.

        Raises:
            BrokenSubmission: it is none of this study, or was changed on the way.
            FullInboxError: there are too many files, of this participant or of all.
            OSError: it cannot be written.
        """
        submission = parse_submission(content, "the answers", self._page["study"])
        code = submission.participant
        place = place_of(self._page["study"], code, self._page["codes"], len(self._page["places"]))
        if place is None or place != submission.place:
            raise BrokenSubmission("unknown participant", "the code is not one of this study")
        with self._lock:
            for number in itertools.count(1):
                path = self._folder / (f"{code}.json" if number == 1 else f"{code}.{number}.json")
                if not path.exists():
                    break
                if path.read_bytes() == content:
                    return Kept(path.name, number, new=False)
            if number > MOST_OF_ONE or sum(1 for _ in self._folder.iterdir()) >= MOST_FILES:
                raise FullInboxError(code)
            write_files({path: content})
        return Kept(path.name, number, new=True)
