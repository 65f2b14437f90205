"""The report of a study: as one JSON object, and as Markdown for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from coala_jax._intervals import Interval
from coala_jax.evaluation._interval_text import interval_text
from coala_jax.evaluation.blind._analyse import Analysis
from coala_jax.evaluation.blind._analysis import Comparison, Findings

METHODS = (
    "A win rate is the share of choices for the first system; a tie is half.",
    "Intervals are clustered by participant and by prompt (Cameron, Gelbach and Miller 2011, with "
    "Student's t of the fewer of both less one; never narrower than by one of them alone). That "
    "of self-consistency is clustered by participant, at 95 %; that of alpha by prompt, and by "
    "participant where people differ.",
    "p is the largest of three, two-sided: sign flips of whole prompts, sign flips of whole "
    "participants, and Student's t of the win rate's interval; corrected by Holm over the "
    "comparisons. Where people and prompts both vary, sign flips of one alone reject too often.",
    "Variance shares are what a choice owes to its person and to its prompt; a next study's size "
    "follows from them.",
    "Alpha is Krippendorff's for nominal values; agreement is the share of equal votes among "
    "pairs of people on one prompt, with ties and without them.",
)


def report_fields(analysis: Analysis) -> dict[str, Any]:
    """The report as one JSON object; what could not be computed is null."""
    found = analysis.findings
    return {
        "study": analysis.plan.study,
        "planned": analysis.changed_plan is None,
        "planned_sha256": analysis.changed_plan or analysis.commitment.plan_sha256,
        "commitment": analysis.commitment._asdict(),
        "people": analysis.people,
        "set_aside": [one._asdict() for one in analysis.set_aside],
        "comparisons": [_comparison_fields(one) for one in found.comparisons],
        "davidson": None
        if found.davidson is None
        else {
            "strengths": {name: one._asdict() for name, one in found.davidson.strengths.items()},
            "log_tie": found.davidson.tie._asdict(),
        },
        "without_davidson": found.without_davidson,
        "left_chosen": found.left._asdict(),
        "longer_chosen": found.longer._asdict(),
        "self_consistency": {**found.consistent._asdict(), "repeats": found.repeats},
        "seconds_a_pair": dict(zip(("low", "median", "high"), found.seconds, strict=True)),
        "plan": asdict(analysis.plan),
        "files": dict(analysis.files),
        "methods": METHODS,
    }


def report_lines(analysis: Analysis) -> list[str]:
    """The report as lines of Markdown."""
    plan, found = analysis.plan, analysis.findings
    level = f"{100 * plan.level:g} %"
    lines = [f"# Blind study {plan.study}", ""]
    if analysis.changed_plan is not None:
        lines += [
            "**The plan was changed after the study was made: what follows is exploratory.** Made "
            f"with the plan {analysis.changed_plan}, analysed by {analysis.commitment.plan_sha256}",
            "",
        ]
    lines += [
        f"{_counted(analysis.people, 'person')} counted, "
        f"{_counted(len(analysis.set_aside), 'file')} set aside"
        f"{_reasons(one.reason for one in analysis.set_aside)}.",
        "",
        f"| comparison | win rate of the first, {level} | won / tied / lost | people, prompts "
        "| p (Holm) | alpha | agreement (without ties) | mean characters | variance: person, prompt"
        " |",
        "|---|---|---|---|---|---|---|---|---|",
        *map(_comparison_row, found.comparisons),
        "",
        *_davidson_lines(found),
        f"- Left answer chosen: {percent(found.left)}. Chance is 50 %.",
        f"- Longer answer chosen: {percent(found.longer)}.",
        f"- Same answer to a pair shown again: {percent(found.consistent, 'person')} of "
        f"{found.repeats} repeats.",
        f"- Seconds for a pair, by the median of each person: {found.seconds[1]:.1f} "
        f"(quartiles {found.seconds[0]:.1f} and {found.seconds[2]:.1f}).",
        "",
        "## How it was done",
        "",
        *(f"- {text}" for text in METHODS),
        f"- People were asked: {plan.wording['question']} Consent: {plan.wording['consent']}; "
        f"instructions: {plan.wording['instructions']}; checks: {plan.wording['checks']}.",
        f"- Pairs with the same text, which were not shown: {plan.identical}.",
        *(
            f"- Answers of {name}: {one['file']}, SHA-256 {one['sha256'] or 'of no single file'}."
            for name, one in plan.answers.items()
        ),
        f"- Fixed before the key was opened: plan {analysis.commitment.plan_sha256}, code "
        f"{analysis.commitment.code_sha256} of version {analysis.commitment.version}, answers "
        f"{analysis.commitment.answers_sha256}.",
    ]
    if analysis.set_aside:
        lines += ["", "## Set aside", ""]
        lines += [f"- {one.name}: {one.reason}: {one.detail}." for one in analysis.set_aside]
    return lines


def percent(interval: Interval, cluster: str = "question") -> str:
    """A share with its interval by cluster, in percent; "unknown" where there is none."""
    return interval_text(interval, 1, unit=" %", scale=100, cluster=cluster)


def alpha_text(one: Comparison) -> str:
    """Alpha with its interval, or why one of them is not known."""
    return interval_text(one.alpha) + (f" ({one.without_alpha})" if one.without_alpha else "")


def comparison_line(one: Comparison) -> str:
    """A comparison in one line, for the terminal."""
    return (
        f"{one.first} over {one.second}: {percent(one.win_rate)}, p {figure(one.p_holm)} "
        f"({one.won} won, {one.tied} tied, {one.lost} lost; {one.participants} people, "
        f"{one.prompts} prompts)"
    )


def _comparison_row(one: Comparison) -> str:
    cells = (
        f"{one.first} over {one.second}",
        percent(one.win_rate),
        f"{one.won} / {one.tied} / {one.lost}",
        f"{one.participants}, {one.prompts}",
        figure(one.p_holm),
        alpha_text(one),
        f"{share(one.agreement.share)} ({share(one.agreement_without_ties.share)})",
        f"{one.characters[0]:.0f}, {one.characters[1]:.0f}",
        ", ".join(figure(part) for part in one.variance_shares),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _davidson_lines(found: Findings) -> list[str]:
    if found.without_davidson is not None:
        return [f"No strengths by Davidson's model: {found.without_davidson}.", ""]
    if found.davidson is None:
        return []
    ranked = sorted(found.davidson.strengths.items(), key=lambda one: -one[1].mean)
    return [
        "| system | log strength (Davidson) |",
        "|---|---|",
        *(f"| {name} | {interval_text(one)} |" for name, one in ranked),
        "",
        f"Log of the tie parameter: {interval_text(found.davidson.tie)}.",
        "",
    ]


def _comparison_fields(one: Comparison) -> dict[str, Any]:
    return one._asdict() | {
        "win_rate": one.win_rate._asdict(),
        "alpha": one.alpha._asdict(),
        "variance_shares": one.variance_shares._asdict(),
        "agreement": {**one.agreement._asdict(), "share": one.agreement.share},
        "agreement_without_ties": {
            **one.agreement_without_ties._asdict(),
            "share": one.agreement_without_ties.share,
        },
    }


def figure(value: float) -> str:
    """A number in two digits; "unknown" of none."""
    return "unknown" if value != value else f"{value:.2g}"


def share(value: float) -> str:
    """A share in whole percent; "unknown" of none."""
    return "unknown" if value != value else f"{100 * value:.0f} %"


def _counted(count: int, what: str) -> str:
    plural = {"person": "people"}.get(what, f"{what}s")
    return f"{count} {what if count == 1 else plural}"


def _reasons(reasons: Iterable[str]) -> str:
    counts = Counter(reasons)
    return f" ({', '.join(f'{reason} {count}' for reason, count in counts.items())})" * bool(counts)
