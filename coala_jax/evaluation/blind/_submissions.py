"""Files of answers: read, checked and hashed before the key is opened."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from coala_jax._json import RepeatedKey, unique_keys
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.blind._study import ANSWERS_FORMAT

# As the page takes them; a server makes names of files of them.
PARTICIPANT = re.compile(r"[A-Za-z0-9_-]{1,64}")
LEFT, TIE, RIGHT = "left", "tie", "right"
# Fields of the file of a participant, and of an answer in it, with their types.
FIELDS: Mapping[str, tuple[type, ...]] = {
    "format": (str,),
    "study": (str,),
    "participant": (str,),
    "place": (int,),
    "agreed": (str,),
    "begun": (str,),
    "ended": (str, type(None)),
    "planned": (int,),
    "complete": (bool,),
    "parameters": (dict,),
    "trials": (list,),
    "sha256": (str,),
}
TRIAL_FIELDS: Mapping[str, tuple[type, ...]] = {
    "item": (str,),
    "left": (str,),
    "right": (str,),
    "choice": (str,),
    "milliseconds": (int,),
    "at": (str,),
}


class Answered(NamedTuple):
    """One answer of a participant.

    Attributes:
        item: code of the prompt.
        left: code of the answer on the left.
        right: code of the other.
        choice: "left", "tie" or "right".
        milliseconds: that the pair was in sight.
    """

    item: str
    left: str
    right: str
    choice: str
    milliseconds: int


class Submission(NamedTuple):
    """What a participant handed in.

    Attributes:
        file: its name.
        file_sha256: of its bytes.
        participant: code.
        place: number of the place in the study.
        begun: when, as the participant's clock had it.
        complete: whether all pairs were answered.
        trials: the answers, in order.
    """

    file: str
    file_sha256: str
    participant: str
    place: int
    begun: str
    complete: bool
    trials: tuple[Answered, ...]


class SetAside(NamedTuple):
    """A file, or a participant, that does not count.

    Attributes:
        name: of the file.
        reason: a few words that others have too.
        detail: what was found.
    """

    name: str
    reason: str
    detail: str


class BrokenSubmission(EvaluationError):
    """A file of answers that cannot be used: why, in words that others have too."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def submission_files(paths: Iterable[Path]) -> list[Path]:
    """The files that are meant: each itself, and of a folder its ``.json`` files.

    Raises:
        EvaluationError: no such file or folder, or no file in it.
    """
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not inside or not inside[0].is_file():
            raise EvaluationError(f"{path}: no file of answers; give files, or a folder of them")
        found += inside
    return found


def parse_submission(content: bytes, name: str, study: str) -> Submission:
    """A file of answers, checked as far as it can be without the key.

    Args:
        content: its bytes.
        name: for messages.
        study: id of the study.

    Raises:
        BrokenSubmission: not readable, of another study, or changed since the page wrote it.
    """
    try:
        record = json.loads(content, object_pairs_hook=unique_keys)
    except (RepeatedKey, ValueError, RecursionError) as error:
        raise BrokenSubmission("unreadable", f"no JSON ({error})") from error
    if not isinstance(record, dict) or record.get("format") != ANSWERS_FORMAT:
        raise BrokenSubmission("unreadable", "no answers that a page of a study wrote")
    if record.get("study") != study:
        raise BrokenSubmission("another study", f"of study {record.get('study')!r}, not {study!r}")
    if record.get("sha256") != record_sha256(record):
        raise BrokenSubmission("edited", "its checksum is not that of what it holds")
    _require_types(record, FIELDS)
    if not PARTICIPANT.fullmatch(record["participant"]):
        raise BrokenSubmission("unreadable", "its participant code has other marks than codes have")
    trials = record["trials"]
    for trial in trials:
        if not isinstance(trial, dict):
            raise BrokenSubmission("unreadable", "an answer is no JSON object")
        _require_types(trial, TRIAL_FIELDS)
        if trial["choice"] not in (LEFT, TIE, RIGHT) or trial["milliseconds"] < 0:
            raise BrokenSubmission("unreadable", f"an answer is {trial['choice']!r}")
    return Submission(
        name,
        hashlib.sha256(content).hexdigest(),
        record["participant"],
        record["place"],
        record["begun"],
        record["complete"] and len(trials) == record["planned"],
        tuple(Answered(*(trial[field] for field in Answered._fields)) for trial in trials),
    )


def record_sha256(record: Mapping[str, Any]) -> str:
    """The checksum of a file of answers: of all that stands before it, as the page writes it."""
    rest = {name: value for name, value in record.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, separators=(",", ":")).encode()).hexdigest()


class Read(NamedTuple):
    """Files of answers, read.

    Attributes:
        counted: one of each participant, by their codes.
        set_aside: files that do not count.
        hashes: SHA-256 of every file, by name.
    """

    counted: tuple[Submission, ...]
    set_aside: tuple[SetAside, ...]
    hashes: Mapping[str, str]


def read_submissions(files: Sequence[Path], study: str) -> Read:
    """Read files of answers and choose one of each participant.

    Of a participant's files the complete one that was begun first counts; without a complete one,
    the first.

    Args:
        files: to be read.
        study: id of the study.

    Raises:
        OSError: a file cannot be read.
        EvaluationError: none of them can be used.
    """
    found: list[Submission] = []
    set_aside: list[SetAside] = []
    hashes = {}
    for file in files:
        content = file.read_bytes()
        hashes[str(file)] = hashlib.sha256(content).hexdigest()
        try:
            found.append(parse_submission(content, str(file), study))
        except BrokenSubmission as error:
            set_aside.append(SetAside(str(file), error.reason, error.detail))
    counted: dict[str, Submission] = {}
    for one in sorted(found, key=lambda one: (not one.complete, one.begun, one.file)):
        first = counted.setdefault(one.participant, one)
        if first is not one:
            same = first.file_sha256 == one.file_sha256
            reason = "copy of another file" if same else "second file of a participant"
            set_aside.append(
                SetAside(one.file, reason, f"{one.participant} counts by {first.file}")
            )
    if not counted:
        reasons = Counter(one.reason for one in set_aside)
        said = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
        raise EvaluationError(
            f"{len(files)} files: none holds answers to study {study} that count ({said}); give "
            "the files that its page wrote"
        )
    in_order = sorted(counted.values(), key=lambda one: one.participant)
    return Read(tuple(in_order), tuple(set_aside), hashes)


def _require_types(record: Mapping[str, Any], fields: Mapping[str, tuple[type, ...]]) -> None:
    for name, kinds in fields.items():
        value = record.get(name)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise BrokenSubmission("unreadable", f"{name} is {str(value)[:40]!r}")
