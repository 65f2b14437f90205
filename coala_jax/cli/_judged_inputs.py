"""Options and words that the commands share which ask a judge about files of answers."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from coala_jax._intervals import Interval
from coala_jax.cli._output import excerpt, warning_line
from coala_jax.cli._parser import UsageError
from coala_jax.evaluation._interval_text import interval_text

if TYPE_CHECKING:
    from coala_jax.evaluation._matched_answers import Matched
    from coala_jax.evaluation.judge._prompts import JudgePrompt, Kind
    from coala_jax.evaluation.judge._verdicts import Unread

# Of a figure of one question.
ALONE = "a single question has no interval"
ANSWERS_HELP = (
    "rows of AlpacaEval, Arena-Hard or MT-Bench, lines of `generate` (FILE:plain or FILE:guided) "
    "or `best-of-n`, or rows of prompt or id with completion, response, output, answer or text"
)


def add_questions(parser: argparse.ArgumentParser) -> None:
    """Add ``--questions``, which `matched_answers` reads."""
    parser.add_argument(
        "--questions",
        metavar="FILE",
        help="rows of id and prompt, where the answers do not say what was asked",
    )


def add_judged_inputs(parser: argparse.ArgumentParser) -> None:
    """Add questions, prompts of the judge, and the output."""
    add_questions(parser)
    parser.add_argument(
        "--prompts",
        metavar="FILE",
        help="prompts of judges in FastChat's format (default: our own wording)",
    )
    parser.add_argument(
        "--prompt", metavar="NAME", help="which of --prompts (default: the only one that fits)"
    )
    parser.add_argument("--out", metavar="FILE", help="JSONL of verdicts to write, one a question")


def matched_answers(
    sources: Sequence[str], names: Sequence[str] | None, questions: str | None
) -> Matched:
    """Questions and answers of files, by the same ids; two systems never have one name."""
    from coala_jax.evaluation._answer_formats import read_answer_file
    from coala_jax.evaluation._matched_answers import match_answers, read_questions

    given: Sequence[str | None] = names or [None] * len(sources)
    files = [read_answer_file(*pair) for pair in zip(sources, given, strict=True)]
    found = match_answers(files, None if questions is None else read_questions(questions))
    systems = [answers.system for answers in found.answers]
    if len(set(systems)) < len(systems):
        raise UsageError(f"both files are answers of {systems[0]!r}; tell them apart with --names")
    return found


def judge_prompt(arguments: argparse.Namespace, kind: Kind, own: JudgePrompt) -> JudgePrompt:
    """The prompt that the options name, or our own."""
    from coala_jax.evaluation.judge._prompts import choose_judge_prompt

    if arguments.prompts is None:
        if arguments.prompt is not None:
            raise UsageError("--prompt names one of a file: give --prompts too, or leave it out")
        return own
    return choose_judge_prompt(arguments.prompts, arguments.prompt, kind)


def files_account(matched: Matched) -> list[dict[str, Any]]:
    """Which answers were judged, as JSON."""
    return [
        {"system": each.system, "file": each.name, "sha256": each.sha256}
        for each in matched.answers
    ]


def unread_lines(unread: Unread) -> list[str]:
    """What of the replies could not be read, for people."""
    from coala_jax.evaluation.judge._readable import hint

    if not unread.counts:
        return []
    counts = ", ".join(f"{count:,} {problem}" for problem, count in unread.counts.items())
    return [
        warning_line(f"not read: {counts}; one of them: {excerpt(unread.example or '')!r}. ")
        + hint(unread)
    ]


def prompt_line(prompt: Mapping[str, Any]) -> str:
    """Which prompt the judge was given."""
    source = "" if prompt["file"] is None else f" of {prompt['file']}"
    return f"prompt: {prompt['name']}{source} (sha256 of its text: {prompt['text_sha256'][:16]}...)"


def share_text(share: Interval) -> str:
    """A share with its interval, in percent."""
    return interval_text(share, 1, unit=" %", scale=100, alone=ALONE)
