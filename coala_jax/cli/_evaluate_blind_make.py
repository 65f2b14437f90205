"""`coala-jax evaluate blind make`: a page that asks people which of two answers is better."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

from coala_jax._intervals import LEVEL
from coala_jax.cli._derived_options import add_fields, from_options
from coala_jax.cli._judged_inputs import ANSWERS_HELP, add_questions, matched_answers
from coala_jax.cli._output import report, warning_line
from coala_jax.cli._parser import (
    UsageError,
    fraction,
    natural_number,
    non_negative_number,
    positive_integer,
)
from coala_jax.evaluation.blind._design import Design
from coala_jax.evaluation.blind._plan import Exclusions
from coala_jax.evaluation.blind._wording import DEFAULT_WORDING, Wording, read_words

EXAMPLE = """  coala-jax evaluate blind make --answers coala=coala.jsonl --answers dpo=dpo.jsonl \\
      --participants 60 --out study"""
# As many pairs as people read with care in half an hour.
USUAL_ITEMS = 25
SECRET_BYTES = 32
DESIGN, DRAWN = Design(places=2, items=6), ("repeats", "checks")
RULES = tuple(Exclusions.__dataclass_fields__)
TAKES = {"most_failed_checks": natural_number, "fewest_seconds": non_negative_number}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--answers",
        action="append",
        required=True,
        metavar="NAME=FILE",
        help=f"a system and its answers, given for two systems or more; {ANSWERS_HELP}",
    )
    add_questions(parser)
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help="for page, plan, key and codes"
    )
    parser.add_argument(
        "--participants",
        type=positive_integer,
        required=True,
        metavar="N",
        help="how many people prompts, pairs and sides are balanced for",
    )
    parser.add_argument(
        "--items",
        type=positive_integer,
        metavar="N",
        help=f"prompts that each of them judges (default: all, at most {USUAL_ITEMS})",
    )
    add_fields(parser, Design, DRAWN, takes=dict.fromkeys(DRAWN, natural_number), defaults=DESIGN)
    parser.add_argument(
        "--checks-file",
        metavar="FILE",
        help="rows with prompt, good and bad; without it a check is an answer beside the same "
        "words in random order",
    )
    page = parser.add_argument_group("page")
    page.add_argument("--title", default=DEFAULT_WORDING.title, help="(default: %(default)s)")
    page.add_argument(
        "--question", default=DEFAULT_WORDING.question, help="of every pair (default: %(default)s)"
    )
    page.add_argument(
        "--consent", metavar="FILE", help="text that people agree to (default: one of ours)"
    )
    page.add_argument(
        "--instructions", metavar="FILE", help="text that says what to do (default: one of ours)"
    )
    page.add_argument(
        "--any-code",
        action="store_true",
        help="people bring codes of their own, as from Prolific (?PROLIFIC_PID=...); without it "
        "each takes one of codes.txt",
    )
    page.add_argument(
        "--completion-url", metavar="URL", help="where the page leads at its end, as to Prolific"
    )
    plan = parser.add_argument_group("plan of the analysis")
    plan.add_argument(
        "--compare",
        action="append",
        default=[],
        metavar="FIRST:SECOND",
        help="a comparison; may be repeated (default: all pairs of systems)",
    )
    plan.add_argument(
        "--level", type=fraction, default=LEVEL, help="of intervals (default: %(default)s)"
    )
    add_fields(plan, Exclusions, RULES, takes=TAKES)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.evaluation.blind._make import plan_study, read_checks, write_study
    from coala_jax.evaluation.blind._study import make_study, systems_named

    sources = [_named(text, "=", "--answers NAME=FILE") for text in arguments.answers]
    names, files_of_answers = zip(*sources, strict=True)
    if len(set(names)) < len(names):
        raise UsageError(f"--answers: {', '.join(names)} must be different names")
    prompts, answers = matched_answers(files_of_answers, names, arguments.questions)
    items = arguments.items or min(len(prompts), USUAL_ITEMS)
    design = from_options(arguments, Design, places=arguments.participants, items=items)
    study = make_study(
        prompts,
        answers,
        design,
        secret=secrets.token_bytes(SECRET_BYTES),
        checks=read_checks(Path(arguments.checks_file)) if arguments.checks_file else (),
        wording=_wording(arguments),
        any_code=arguments.any_code,
        completion_url=arguments.completion_url,
    )
    plan = plan_study(
        study,
        answers,
        design,
        from_options(arguments, Exclusions),
        level=arguments.level,
        comparisons=[_named(text, ":", "--compare FIRST:SECOND") for text in arguments.compare],
    )
    files = write_study(Path(arguments.out), study, plan)
    named = systems_named(study.page, [one.system for one in answers])
    lines = [*map(warning_line, _warnings(named, len(prompts), arguments.level))]
    if study.identical:
        lines.append(f"{study.identical} pairs of answers are the same text and are not shown")
    lines += [
        f"study {plan.study}: {plan.trials} pairs for each of {design.places} people",
        f"page   {files.page}",
        f"plan   {files.plan}  SHA-256 {plan.sha256}",
        f"key    {files.key}  (keep it away from the answers until they are in)",
    ]
    if files.codes is not None:
        lines.append(f"codes  {files.codes}")
    result = {
        "study": plan.study,
        "pairs_a_person": plan.trials,
        "identical": study.identical,
        "systems_named": named,
        "plan_sha256": plan.sha256,
        "files": files._asdict(),
    }
    return report(arguments, result, lines)


def _wording(arguments: argparse.Namespace) -> Wording:
    """The words of the page: ours, where the options name no others."""
    files = {name: getattr(arguments, name) for name in ("consent", "instructions")}
    read = {name: read_words(Path(file)) for name, file in files.items() if file is not None}
    return DEFAULT_WORDING._replace(title=arguments.title, question=arguments.question, **read)


def _warnings(named: Mapping[str, int], prompts: int, level: float) -> Iterator[str]:
    """What must be known before people are asked.

    Args:
        named: how many texts of the page name each system.
        prompts: how many there are.
        level: of the intervals.
    """
    for name, count in named.items():
        yield f"{count} texts of the page name {name}, which may tell whose they are"
    least = 2.0 ** (1 - prompts)
    if least > 1 - level:
        yield (
            f"with {prompts} prompts no p-value can be below {least:.2g}, whatever people choose; "
            "draw more prompts (`blind size` says how many people they need)"
        )


def _named(text: str, mark: str, form: str) -> tuple[str, str]:
    first, _, second = text.partition(mark)
    if not first or not second:
        raise UsageError(f"{text!r}: give {form}")
    return first, second
