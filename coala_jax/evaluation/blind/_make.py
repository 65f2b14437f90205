"""The files of a study: its page, the plan of its analysis, and its key."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from coala_jax._files import write_files
from coala_jax._json import json_text
from coala_jax.evaluation._benchmark_rows import Answers, benchmark_rows
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.blind._checks import Check
from coala_jax.evaluation.blind._design import Design
from coala_jax.evaluation.blind._page import study_page
from coala_jax.evaluation.blind._plan import Exclusions, Plan
from coala_jax.evaluation.blind._study import Study

PAGE_NAME, PLAN_NAME, KEY_NAME, CODES_NAME = "page.html", "plan.json", "key.json", "codes.txt"
OWNER_ALONE = 0o600


class StudyFiles(NamedTuple):
    """Where the files of a study are.

    Attributes:
        page: to be given to people.
        plan: of the analysis; to be published, or kept with a date, before the first answer.
        key: to be kept away from whoever collects the answers.
        codes: of the participants, one a line; None where they bring their own.
    """

    page: Path
    plan: Path
    key: Path
    codes: Path | None


def plan_study(
    study: Study,
    answers: Sequence[Answers],
    design: Design,
    exclusions: Exclusions,
    *,
    level: float,
    comparisons: Sequence[tuple[str, str]] = (),
) -> Plan:
    """The plan of a study's analysis.

    Args:
        study: made of the answers by the design.
        answers: of the systems.
        design: of the places.
        exclusions: whose answers do not count.
        level: coverage of the intervals.
        comparisons: pairs of systems; none is all pairs.

    Raises:
        EvaluationError: a comparison of systems that are not there.
    """
    systems = [one.system for one in answers]
    return Plan(
        study=study.page["study"],
        comparisons=tuple(comparisons) or tuple(itertools.combinations(systems, 2)),
        exclusions=exclusions,
        level=level,
        design=asdict(design),
        trials=design.items + design.repeats + design.checks,
        answers={one.system: {"file": one.name, "sha256": one.sha256} for one in answers},
        wording=study.wording,
        identical=study.identical,
    )


def write_study(folder: Path, study: Study, plan: Plan) -> StudyFiles:
    """Write the files of a study into a folder of its own.

    Raises:
        EvaluationError: the folder holds a study already, whose key would be lost.
        OSError: a file cannot be written.
    """
    key_path = folder / KEY_NAME
    if key_path.exists():
        raise EvaluationError(
            f"{key_path}: there is a study, and without this key its answers say nothing; give "
            "another --out"
        )
    page = study_page(study.page).encode()
    key = study.key | {
        "page_sha256": hashlib.sha256(page).hexdigest(),
        "plan_sha256": plan.sha256,
        "answers": plan.answers,
    }
    codes = "".join(f"{code}\n" for code in study.page["codes"])
    files = {
        key_path: json_text(key).encode(),
        folder / PLAN_NAME: plan.text.encode(),
        folder / PAGE_NAME: page,
    }
    if codes:
        files[folder / CODES_NAME] = codes.encode()
    write_files(files)
    key_path.chmod(OWNER_ALONE)
    return StudyFiles(
        folder / PAGE_NAME, folder / PLAN_NAME, key_path, folder / CODES_NAME if codes else None
    )


def read_checks(path: Path) -> list[Check]:
    """Checks of attention from a file: rows with ``prompt``, ``good`` and ``bad``.

    Raises:
        DataError: no such file.
        EvaluationError: a row without one of them.
    """
    return [Check(*(row.text(name) for name in Check._fields)) for row in benchmark_rows(path)]
