"""An analysis from files to figures; the key is opened once everything else is fixed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from coala_jax._version import __version__
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.blind._analysis import Findings, find
from coala_jax.evaluation.blind._choices import people_of
from coala_jax.evaluation.blind._key import read_key
from coala_jax.evaluation.blind._plan import Plan, read_plan
from coala_jax.evaluation.blind._submissions import SetAside, read_submissions, submission_files

PACKAGES = ("coala_jax.evaluation.blind", "coala_jax.evaluation.statistics")


class Commitment(NamedTuple):
    """What is fixed before the key is opened.

    Attributes:
        plan_sha256: of the plan.
        code_sha256: of the sources of the analysis.
        answers_sha256: of the files of answers, in the order of their hashes.
        version: of the package.
    """

    plan_sha256: str
    code_sha256: str
    answers_sha256: str
    version: str


class Analysis(NamedTuple):
    """An analysed study.

    Attributes:
        plan: that it followed.
        changed_plan: SHA-256 of the plan that was made with the study, where it is another one.
        commitment: what was fixed before the key was opened.
        files: SHA-256 of every file of answers.
        people: how many count.
        set_aside: files and people who do not.
        findings: the figures.
    """

    plan: Plan
    changed_plan: str | None
    commitment: Commitment
    files: Mapping[str, str]
    people: int
    set_aside: tuple[SetAside, ...]
    findings: Findings


def analyse(
    answers: Sequence[Path],
    plan_file: Path,
    key_file: Path,
    *,
    committed: Callable[[Commitment], object],
) -> Analysis:
    """Analyse a study as its plan says.

    Args:
        answers: files, or folders of files.
        plan_file: of `write_study`.
        key_file: likewise; opened once the answers are read, checked and hashed.
        committed: told what is fixed, before the key is opened.

    Raises:
        EvaluationError: a plan or a key that is none or of another study, or answers of which none
            counts.
        OSError: a file that cannot be read.
    """
    plan = read_plan(plan_file)
    read = read_submissions(submission_files(answers), plan.study)
    commitment = Commitment(
        plan.sha256,
        code_sha256(),
        hashlib.sha256("".join(sorted(read.hashes.values())).encode()).hexdigest(),
        __version__,
    )
    committed(commitment)
    key = read_key(key_file, plan.study)
    people = people_of(read.counted, key, plan.exclusions)
    set_aside = read.set_aside + people.set_aside
    if not people.counted:
        reasons = "; ".join(f"{one.name}: {one.reason}: {one.detail}" for one in set_aside)
        raise EvaluationError(
            f"answers: nobody is left after the exclusions of the plan: {reasons}"
        )
    return Analysis(
        plan,
        None if key.plan_sha256 == plan.sha256 else key.plan_sha256,
        commitment,
        read.hashes,
        len(people.counted),
        set_aside,
        find(people.counted, plan),
    )


def code_sha256() -> str:
    """SHA-256 of the sources of the analysis, file by file in the order of their names."""
    found = hashlib.sha256()
    for package in PACKAGES:
        files = {file.name: file for file in resources.files(package).iterdir()}
        for name in sorted(name for name in files if name.endswith(".py")):
            found.update(f"{package}/{name}\n".encode() + files[name].read_bytes())
    return found.hexdigest()
