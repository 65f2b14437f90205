"""The figures of a file of pairs as one HTML page that loads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coala_jax._templates import templates_of
from coala_jax.data import PreferenceRow
from coala_jax.study._charts import accuracy_chart, length_histogram, ratio_histogram
from coala_jax.study._inspection import Inspection, Lengths
from coala_jax.study._inspection_words import (
    accuracy_text,
    length_is_skewed,
    length_sentence,
    other_warnings,
    percent,
    quantiles,
    repeat_lines,
)
from coala_jax.study._simple_rules import Accuracy


def inspection_page(
    name: str, found: Inspection, command: str, examples: Sequence[PreferenceRow] = ()
) -> str:
    """The page: warnings, lengths, what simple rules reach, repeats and leaks, examples.

    Args:
        name: of the file, for the title.
        found: its figures.
        command: the command line that made the page.
        examples: rows to show in full; no other text of the data is on the page.

    Returns:
        HTML without references to anything outside it; all text escaped.
    """
    lengths = {"Characters": found.characters, "Tokens": found.tokens}
    rules = {
        "length rule: the longer or the shorter response": found.length_rule,
        "words alone: linear probe on TF-IDF": found.vocabulary_probe,
    }
    template = templates_of("coala_jax.study", percent=percent).get_template("inspection.html.j2")
    return template.render(
        name=name,
        found=found,
        command=command,
        examples=examples,
        skewed=length_is_skewed(found),
        length_sentence=length_sentence(found),
        warnings=other_warnings(found),
        charts=_charts(found.characters, rules),
        lengths={
            unit: {part: quantiles(values) for part, values in some._asdict().items()}
            for unit, some in lengths.items()
            if some is not None
        },
        rules={name: accuracy_text(rule) for name, rule in rules.items()},
        repeats=repeat_lines(found),
    )


def _charts(lengths: Lengths, rules: Mapping[str, Accuracy]) -> dict[str, str]:
    sides = {"chosen": lengths.chosen, "rejected": lengths.rejected}
    intervals = {name: rule.interval for name, rule in rules.items() if rule.interval is not None}
    return {
        "lengths": length_histogram(
            sides, "characters", "Histogram of the lengths of chosen and rejected responses"
        ),
        "ratios": ratio_histogram(**sides, title="Histogram of chosen length over rejected length"),
        "prompts": length_histogram(
            {"prompt": lengths.prompt}, "characters", "Histogram of the lengths of prompts"
        ),
        "accuracies": accuracy_chart(
            intervals,
            "Accuracy of simple rules on unseen rows",
            "unseen rows in which chosen is picked",
        )
        if intervals
        else "",
    }
