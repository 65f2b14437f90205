"""What a file of preference pairs gives away before anything is trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from coala_jax.data import PreferenceRow, eval_mask, joint_keys, prompt_sha256
from coala_jax.data.split import normalise_prompt
from coala_jax.study.baselines import FOLDS, TIE, folds_of, ordered
from coala_jax.study.intervals import Interval, cluster_interval
from coala_jax.study.pairs import BY_GROUP, BY_PROMPT
from coala_jax.study.vocabulary import (
    HOW_TO_INSTALL,
    can_probe,
    count_words,
    fit_vocabulary_probe,
)

# The ends, the quartiles, and the lengths that all but a twentieth keep within.
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
# A warning wants an interval that excludes chance, and a distance from it that matters.
SKEW_THAT_MATTERS = 0.05
PROBE_THAT_MATTERS = 0.1
ONE_KEY = "all rows belong together: nothing can be held out"
NOTHING_LEFT = "every held-out row shares a prompt or group with the training rows"
TOO_LITTLE = "too little text: no word is in two training responses"
# What the usual split holds out, for the count of prompts that a split by row tears apart.
ROW_SPLIT_FRACTION = 0.2


class Lengths(NamedTuple):
    """(n,) lengths of the texts of n rows, in one unit."""

    prompt: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray


class Repeats(NamedTuple):
    """Rows that say what others say; texts are compared without case, spacing, Unicode's forms.

    Attributes:
        rows: rows with the prompt, chosen and rejected of an earlier row.
        contradictions: rows for which there is a row of the same prompt and responses, the other
            way round.
        prompts: rows whose prompt another row has too.
        both_sides: rows with a response that is chosen in one row and rejected in another.
    """

    rows: int
    contradictions: int
    prompts: int
    both_sides: int


class Leaks(NamedTuple):
    """What two parts of a split share.

    Attributes:
        prompts: distinct prompts in both parts.
        groups: distinct groups in both parts; None where the rows name none.
        rows: held-out rows with such a prompt or group.
        held_out: held-out rows in all.
    """

    prompts: int
    groups: int | None
    rows: int
    held_out: int


class Accuracy(NamedTuple):
    """How often a rule picks the chosen response of rows whose keys it was not fitted on.

    Attributes:
        interval: share of rows with its 95 % interval, a tie counts half; None where there is none.
        rows: rows that were held out.
        why_not: why there is no figure.
    """

    interval: Interval | None
    rows: int = 0
    why_not: str = ""


class Inspection(NamedTuple):
    """The figures of a file of pairs.

    Attributes:
        rows: how many there are; of both parts where a held-out file was given.
        prompts: distinct prompts.
        split_by: what is never split: ``group`` (and prompt) or ``prompt``.
        keys: how many of these there are.
        characters: lengths in characters.
        tokens: lengths in tokens; None without a tokenizer.
        longer: share of rows whose chosen response has more characters, with its interval.
        shorter: share of rows whose chosen response has fewer.
        balance: as ``longer``, equal lengths counted half: 0.5 where length says nothing.
        repeats: rows that repeat others.
        leaks: what the held-out file shares with the training file; None where there is none.
        row_split_leaks: the same of a random split by row of these rows, which is a common mistake.
        length_rule: accuracy of preferring the longer response, or the shorter one, as training
            rows say.
        vocabulary_probe: accuracy of a linear probe on TF-IDF.
        held_out: how rows were held out for the two.
    """

    rows: int
    prompts: int
    split_by: str
    keys: int
    characters: Lengths
    tokens: Lengths | None
    longer: Interval
    shorter: float
    balance: Interval
    repeats: Repeats
    leaks: Leaks | None
    row_split_leaks: Leaks
    length_rule: Accuracy
    vocabulary_probe: Accuracy
    held_out: str


def inspect_pairs(
    rows: Sequence[PreferenceRow],
    held_out: Sequence[PreferenceRow] = (),
    *,
    token_counts: Callable[[Sequence[str]], Sequence[int]] | None = None,
    seed: int = 0,
) -> Inspection:
    """Measure what can be known of preference pairs without a model.

    Accuracies are of unseen prompts: by folds, so that every row is held out once, or on
    ``held_out`` where it is given, but for rows that share a prompt or group with ``rows``. Rows
    count alike, whatever their weights.

    Args:
        rows: one row or more, to train on where ``held_out`` is given.
        held_out: the other part of a split that was made elsewhere.
        token_counts: texts to their lengths in tokens.
        seed: of the folds and of the split by row.

    Returns:
        The figures.

    Raises:
        ValueError: no rows.
    """
    if not rows:
        raise ValueError("rows: none to inspect")
    given = [*rows, *held_out]
    prompts = [prompt_sha256(row.prompt) for row in given]
    groups = [row.group for row in given if row.group is not None]
    grouped = len(groups) == len(given)
    keys = joint_keys(groups, prompts) if grouped else prompts
    characters = _lengths(given, lambda texts: [len(text) for text in texts])
    chosen, rejected = characters.chosen, characters.rejected
    is_held_out = np.arange(len(given)) >= len(rows)
    leaks = _leaks(prompts, groups if grouped else None, is_held_out) if held_out else None
    by_row = eval_mask([str(number) for number in range(len(given))], ROW_SPLIT_FRACTION, seed)
    if held_out:
        parts = _given_part(keys, is_held_out)
        manner = "the held-out file, without rows that share a prompt or group with the other"
    else:
        parts = list(_fold_parts(keys, seed))
        manner = f"{len(parts)} folds by {BY_GROUP if grouped else BY_PROMPT}"
    nothing = NOTHING_LEFT if held_out else ONE_KEY
    return Inspection(
        rows=len(given),
        prompts=len(set(prompts)),
        split_by=BY_GROUP if grouped else BY_PROMPT,
        keys=len(set(keys)),
        characters=characters,
        tokens=None if token_counts is None else _lengths(given, token_counts),
        longer=_share((chosen > rejected).astype(np.float64), keys),
        shorter=float(np.mean(chosen < rejected)),
        balance=_share(ordered(chosen, rejected), keys),
        repeats=_repeats(given),
        leaks=leaks,
        row_split_leaks=_leaks(prompts, groups if grouped else None, by_row),
        length_rule=_length_rule(characters, keys, parts, nothing),
        vocabulary_probe=_vocabulary_probe(given, keys, parts, nothing),
        held_out=manner,
    )


def length_is_skewed(found: Inspection) -> bool:
    """Whether length tells chosen from rejected by enough to mind."""
    return _off_chance(found.balance, SKEW_THAT_MATTERS)


def length_sentence(found: Inspection) -> str:
    """In how many rows chosen is the longer response, or the shorter one if that is more often."""
    side, share = "longer", found.longer.mean
    if found.shorter > share:
        side, share = "shorter", found.shorter
    advice = ": compare every accuracy with the length rule's" if length_is_skewed(found) else ""
    return f"chosen is the {side} one in {percent(share)} of rows{advice}"


def other_warnings(found: Inspection) -> list[str]:
    """What else to know before training; sentences without text of the rows in them."""
    warnings = []
    if found.leaks is not None and found.leaks.rows:
        shared = "prompt or group" if found.split_by == BY_GROUP else "prompt"
        warnings.append(
            f"{found.leaks.rows:,} of {found.leaks.held_out:,} held-out rows have a {shared} that "
            "is also trained on: they are not unseen"
        )
    if found.repeats.contradictions:
        warnings.append(
            f"{found.repeats.contradictions:,} rows contradict another row: the same prompt and "
            "responses, the other one chosen"
        )
    if found.repeats.rows:
        warnings.append(f"{found.repeats.rows:,} rows repeat an earlier row")
    probe = found.vocabulary_probe.interval
    if probe is not None and _off_chance(probe, PROBE_THAT_MATTERS):
        warnings.append(
            f"words alone pick chosen in {percent(probe.mean)} of unseen rows: a reward that is no "
            "better may have learned vocabulary alone"
        )
    return warnings


def percent(share: float) -> str:
    """A share as ``71 %``."""
    return f"{100 * share:.0f} %"


def quantiles(lengths: np.ndarray) -> dict[str, float]:
    """`QUANTILES` and the mean of (n,) lengths, by name."""
    names = ("min", "5%", "25%", "median", "75%", "95%", "max")
    values = np.quantile(lengths, QUANTILES)
    named = {name: float(value) for name, value in zip(names, values, strict=True)}
    return named | {"mean": float(lengths.mean())}


def inspection_report(found: Inspection) -> dict[str, Any]:
    """The figures as JSON values; no text of the rows is among them."""

    def lengths(given: Lengths | None) -> dict[str, Any] | None:
        if given is None:
            return None
        return {part: quantiles(values) for part, values in given._asdict().items()}

    def accuracy(given: Accuracy) -> dict[str, Any]:
        interval = None if given.interval is None else given.interval._asdict()
        return {"accuracy": interval, "rows": given.rows, "why_not": given.why_not or None}

    return {
        "warnings": [length_sentence(found)] * length_is_skewed(found) + other_warnings(found),
        "rows": found.rows,
        "prompts": found.prompts,
        "chosen_longer": found.longer._asdict(),
        "chosen_shorter": found.shorter,
        "characters": lengths(found.characters),
        "tokens": lengths(found.tokens),
        "repeats": found.repeats._asdict(),
        "leaks": None if found.leaks is None else found.leaks._asdict(),
        "leaks_of_a_split_by_row": found.row_split_leaks._asdict(),
        "held_out": {"how": found.held_out, "by": found.split_by, "keys": found.keys},
        "length_rule": accuracy(found.length_rule),
        "vocabulary_probe": accuracy(found.vocabulary_probe),
    }


class _Part(NamedTuple):
    """Rows to fit on and rows to judge, as masks."""

    train: np.ndarray
    test: np.ndarray


def _fold_parts(keys: Sequence[str], seed: int) -> Iterator[_Part]:
    fold = folds_of(keys, FOLDS, seed)
    if fold.max() == 0:
        return
    for number in range(fold.max() + 1):
        yield _Part(fold != number, fold == number)


def _given_part(keys: Sequence[str], is_held_out: np.ndarray) -> list[_Part]:
    trained = {key for key, out in zip(keys, is_held_out, strict=True) if not out}
    test = np.array([key not in trained for key in keys])
    return [_Part(~is_held_out, test)] if test.any() else []


def _lengths(
    rows: Sequence[PreferenceRow], measure: Callable[[Sequence[str]], Sequence[int]]
) -> Lengths:
    return Lengths(
        *(
            np.asarray(measure([getattr(row, part) for row in rows]), np.int64)
            for part in Lengths._fields
        )
    )


def _share(values: np.ndarray, keys: Sequence[str]) -> Interval:
    """Mean and interval of values from 0 to 1, clustered by key, within what a share can be."""
    return Interval(*(float(np.clip(end, 0.0, 1.0)) for end in cluster_interval(values, keys)))


def _off_chance(share: Interval, distance: float) -> bool:
    """Whether a share differs from one half by more than its error, and by enough to matter."""
    beyond = share.low > TIE or share.high < TIE
    return beyond and abs(share.mean - TIE) >= distance


def _repeats(rows: Sequence[PreferenceRow]) -> Repeats:
    texts = [
        tuple(normalise_prompt(text) for text in (row.prompt, row.chosen, row.rejected))
        for row in rows
    ]
    distinct = set(texts)
    prompts = Counter(prompt for prompt, _, _ in texts)
    both = {chosen for _, chosen, _ in texts} & {rejected for _, _, rejected in texts}
    return Repeats(
        rows=len(texts) - len(distinct),
        contradictions=sum(
            (prompt, rejected, chosen) in distinct for prompt, chosen, rejected in texts
        ),
        prompts=sum(prompts[prompt] > 1 for prompt, _, _ in texts),
        both_sides=sum(chosen in both or rejected in both for _, chosen, rejected in texts),
    )


def _leaks(prompts: Sequence[str], groups: Sequence[str] | None, is_held_out: np.ndarray) -> Leaks:
    shared_prompts = _shared(prompts, is_held_out)
    shared_groups = None if groups is None else _shared(groups, is_held_out)
    rows = sum(
        bool(out)
        and (
            prompts[number] in shared_prompts
            or (groups is not None and groups[number] in (shared_groups or ()))
        )
        for number, out in enumerate(is_held_out)
    )
    return Leaks(
        prompts=len(shared_prompts),
        groups=None if shared_groups is None else len(shared_groups),
        rows=rows,
        held_out=int(is_held_out.sum()),
    )


def _shared(names: Sequence[str], is_held_out: np.ndarray) -> set[str]:
    """Names that stand in both parts."""
    marked = list(zip(names, is_held_out.tolist(), strict=True))
    return {name for name, out in marked if out} & {name for name, out in marked if not out}


def _length_rule(
    lengths: Lengths, keys: Sequence[str], parts: Sequence[_Part], nothing: str
) -> Accuracy:
    longer = ordered(lengths.chosen, lengths.rejected)

    def judged(part: _Part) -> np.ndarray:
        prefers_longer = longer[part.train].mean() >= TIE
        return longer[part.test] if prefers_longer else 1 - longer[part.test]

    return _accuracy(judged, keys, parts, nothing)


def _vocabulary_probe(
    rows: Sequence[PreferenceRow], keys: Sequence[str], parts: Sequence[_Part], nothing: str
) -> Accuracy:
    if not can_probe():
        return Accuracy(None, why_not=HOW_TO_INSTALL)
    counts = count_words([row.chosen for row in rows] + [row.rejected for row in rows])
    chosen, rejected = counts[: len(rows)], counts[len(rows) :]

    def judged(part: _Part) -> np.ndarray | None:
        probe = fit_vocabulary_probe(chosen[part.train], rejected[part.train])
        if probe is None:
            return None
        return ordered(probe.rewards(chosen[part.test]), probe.rewards(rejected[part.test]))

    return _accuracy(judged, keys, parts, nothing)


def _accuracy(
    judged: Callable[[_Part], np.ndarray | None],
    keys: Sequence[str],
    parts: Sequence[_Part],
    nothing: str,
) -> Accuracy:
    """Accuracy over the test rows of all parts; no row is in two."""
    if not parts:
        return Accuracy(None, why_not=nothing)
    correct = np.full(len(keys), np.nan)
    for part in parts:
        values = judged(part)
        if values is None:
            return Accuracy(None, why_not=TOO_LITTLE)
        correct[part.test] = values
    tested = np.isfinite(correct)
    tested_keys = [key for key, is_tested in zip(keys, tested, strict=True) if is_tested]
    return Accuracy(_share(correct[tested], tested_keys), int(tested.sum()))
