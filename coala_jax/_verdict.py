"""Whether a head is of use: what it does on unseen pairs, beside what it has to beat."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from coala_jax._accuracy import TIE, margin_accuracy
from coala_jax._calibration import calibration_error, log_losses
from coala_jax._intervals import Interval, cluster_interval, share_interval

LOG_TWO = math.log(2)
# Half of the last digit that is printed.
_SHOWN = 5e-4


class Rival(NamedTuple):
    """A simpler rule on the same unseen pairs.

    Attributes:
        name: for people.
        accuracy: share of the pairs that it orders right.
        head_minus: accuracy of the head less that, pair by pair.
    """

    name: str
    accuracy: float
    head_minus: Interval


class Verdict(NamedTuple):
    """What unseen pairs say of a head.

    Attributes:
        accuracy: share of unseen pairs ordered right, ties half; its interval is clustered by key.
        log_loss: mean Bradley-Terry log loss of unseen pairs at the head's temperature, nats; a
            half for every pair has log 2.
        calibration_error: expected calibration error at that temperature.
        train_accuracy: of the pairs that the head was trained on; NaN where they are not known.
        rivals: the linear probe, and the length rule where lengths are known.
        warnings: plain sentences; none where nothing speaks against the head.
    """

    accuracy: Interval
    log_loss: Interval
    calibration_error: float
    train_accuracy: float
    rivals: tuple[Rival, ...]
    warnings: tuple[str, ...]


class Unseen(NamedTuple):
    """Unseen pairs: (n,) reward differences of the head, keys, and weights or None."""

    margins: np.ndarray
    keys: tuple[str, ...]
    weight: np.ndarray | None


def judge(
    unseen: Unseen,
    rivals: dict[str, np.ndarray],
    *,
    temperature: float,
    train_accuracy: float,
    notes: tuple[str, ...] = (),
) -> Verdict:
    """The verdict on a head.

    Args:
        unseen: pairs that it was not trained on.
        rivals: by name, (n,) of 1, 0.5 and 0: what simpler rules order right of them.
        temperature: of the head.
        train_accuracy: of the head.
        notes: warnings that others have.
    """
    margins, keys, weight = unseen
    correct = margin_accuracy(margins)
    accuracy = share_interval(correct, keys, weight)
    losses = cluster_interval(log_losses(margins, temperature), keys, weight)
    compared = tuple(
        Rival(
            name,
            cluster_interval(right, keys, weight).mean,
            cluster_interval(correct - right, keys, weight),
        )
        for name, right in rivals.items()
    )
    counted = keys if weight is None else [keys[at] for at in np.flatnonzero(weight)]
    groups = len(set(counted)) if len(set(counted)) < len(counted) else None
    warnings = (*_warnings(accuracy, losses, compared, groups), *notes)
    error = calibration_error(margins, temperature, weight)
    return Verdict(accuracy, losses, error, train_accuracy, compared, warnings)


def _warnings(
    accuracy: Interval, log_loss: Interval, rivals: tuple[Rival, ...], groups: int | None
) -> list[str]:
    """What a user must know before the head is used.

    Args:
        accuracy: of unseen pairs.
        log_loss: of unseen pairs.
        rivals: on them.
        groups: how many the pairs make, where some belong together.
    """
    warnings, of_groups = [], "" if groups is None else f" over {groups} groups of pairs"
    if math.isnan(accuracy.low):
        warnings.append(
            f"accuracy on unseen pairs is {accuracy.mean:.3f}, and all of them belong together, so "
            "that there is no interval: nothing shows that this head orders others"
        )
    elif not accuracy.low > TIE:
        warnings.append(
            f"accuracy on unseen pairs is {accuracy.mean:.3f}, and its interval{of_groups} reaches "
            f"chance ({TIE}): nothing shows that this head orders them"
        )
    for rival in rivals:
        if rival.head_minus.mean < -_SHOWN:
            warnings.append(
                f"the {rival.name} orders more unseen pairs: {rival.accuracy:.3f}, head less that "
                f"{bracketed(rival.head_minus, '+.3f')}"
            )
    if log_loss.mean > LOG_TWO:
        warnings.append(
            f"log loss on unseen pairs is {log_loss.mean:.3f}, above that of a coin "
            f"({LOG_TWO:.3f}): its probabilities mislead"
        )
    return warnings


def verdict_lines(verdict: Verdict, source: str) -> list[str]:
    """A verdict for people, warnings last.

    Args:
        verdict: of a head.
        source: which pairs it speaks of.
    """
    accuracy, loss = verdict.accuracy, verdict.log_loss
    rivals = "".join(f", {rival.name} {rival.accuracy:.3f}" for rival in verdict.rivals)
    known = not math.isnan(verdict.train_accuracy)
    trained = f", on pairs trained on {verdict.train_accuracy:.3f}" if known else ""
    return [
        f"accuracy {bracketed(accuracy)} on {source}; chance {TIE:.3f}{rivals}{trained}",
        f"log loss {bracketed(loss)}, chance {LOG_TWO:.3f}; calibration error "
        f"{verdict.calibration_error:.3f}",
        *(f"warning: {warning}" for warning in verdict.warnings),
    ]


def bracketed(interval: Interval, form: str = ".3f") -> str:
    """A mean with the ends of its interval in brackets, and `[unknown]` where there are none."""
    mean, low, high = (format(round(end, 3) + 0.0, form) for end in interval)  # no -0.000
    return f"{mean} [unknown]" if math.isnan(interval.low) else f"{mean} [{low}, {high}]"
