"""One measured head: split in two, solve, compare with the baselines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from coala_jax._accuracy import pairwise_accuracy
from coala_jax._calibration import given_temperature
from coala_jax._errors import CoalaError
from coala_jax._group_inputs import prepare_for
from coala_jax._head import Head
from coala_jax._processes import own_part
from coala_jax._solution import Phase2History, RewardMetrics
from coala_jax._status import SolveError, Status
from coala_jax._stored_rows import FeatureRows, stored
from coala_jax._types import Config, Params, PreferenceFeatures, float_dtype
from coala_jax._verdict import Unseen, Verdict, judge
from coala_jax.convex._memory import refuse_rows_that_cannot_fit
from coala_jax.features import FeatureIdentity
from coala_jax.preference import reward_metrics
from coala_jax.selection import Choice, choose_strengths
from coala_jax.selection._choose import require_better_chosen
from coala_jax.study._all_pairs import of_all_processes
from coala_jax.study._baselines import (
    LengthRule,
    LinearProbe,
    fit_length_rule,
    fit_linear_probe,
)
from coala_jax.study._constant_columns import constant_columns, constant_columns_warning
from coala_jax.study._hold_out import require_two_parts
from coala_jax.study._on_devices import OnDevices, on_devices
from coala_jax.study._pair_set import BY_ROW, PairSet
from coala_jax.study._timed_phases import TimedPhases, run_phases

Say = Callable[[str], None]


class Settings(NamedTuple):
    """What decides a solve beside its data.

    Attributes:
        params: scalars; those that are selected are not read.
        config: static settings.
        seed: of the gates, minibatches and folds.
        select: whether the strengths are chosen on left-out groups of the training pairs.
    """

    params: Params = Params()
    config: Config = Config()
    seed: int = 0
    select: bool = False


class Correct(NamedTuple):
    """Held-out pairs that each method orders right: (n,) of 1, 0.5 (a tie) and 0, or None."""

    head: np.ndarray
    probe: np.ndarray | None
    length: np.ndarray | None


class Experiment(NamedTuple):
    """A head and all that was measured of it.

    Attributes:
        settings: what it was made with, chosen strengths included.
        choice: how the strengths were chosen; None where they were given.
        phases: results and times of the solver.
        head: the aligned head: that of Phase II, or that of Phase I where the strengths were given
            and Phase II made the log loss of held-out pairs worse.
        temperature: what turns its reward differences into probabilities; where no left-out pairs
            have fitted one, 1 / beta after Phase II and 1 without.
        verdict: what held-out pairs say of it.
        train: the training pairs.
        eval: the held-out pairs.
        metrics: of the head, on training and held-out pairs, before and after Phase II.
        probe: the linear baseline; None where the training rows have a single key.
        length_rule: the length baseline; None without text.
        correct: held-out pairs that head and baselines order right.
        margins: (n,) reward differences of held-out pairs, chosen less rejected.
        constant_columns: feature columns that were ignored.
        width: number of feature columns.
    """

    settings: Settings
    choice: Choice | None
    phases: TimedPhases
    head: Head
    temperature: float
    verdict: Verdict
    train: PairSet
    eval: PairSet
    metrics: SplitMetrics
    probe: LinearProbe | None
    length_rule: LengthRule | None
    correct: Correct
    margins: np.ndarray
    constant_columns: tuple[int, ...]
    width: int

    @property
    def identity(self) -> FeatureIdentity | None:
        """How its features were made."""
        return self.train.identity

    @property
    def history(self) -> Phase2History:
        """Phase II, one entry an epoch, without the unused end of the arrays."""
        return self.phases.phase2.history.trim()


class SplitMetrics(NamedTuple):
    """Reward metrics of the head on both parts, and where Phase II began."""

    train: RewardMetrics
    eval: RewardMetrics
    train_initial: RewardMetrics
    eval_initial: RewardMetrics


def run_experiment(
    pairs: PairSet, held_out: np.ndarray, settings: Settings, say: Say
) -> Experiment:
    """Solve on the training pairs and measure on the held-out ones.

    Of several processes each has pairs of its own, and all of them call this together: the features
    stay where they were read, and all get the same experiment but for the times. Several devices
    have a part of the pairs each.

    Args:
        pairs: all pairs of this process.
        held_out: (n,) booleans, of the pairs of all processes; no key may be on both sides.
        settings: parameters, configuration and seed.
        say: takes lines for people: warnings and progress.

    Returns:
        The experiment, whatever the status of its phases.

    Raises:
        FeatureError: a split that leaks or leaves too little, or features without any variance.
        CoalaError: a parameter out of its range.
        SolveError: the iteration broke down; there is no head to keep.
    """
    # Parts are named and not copied.
    pairs = pairs._replace(chosen=stored(pairs.chosen), rejected=stored(pairs.rejected))
    everyone = of_all_processes(pairs)
    require_two_parts(everyone, held_out)
    settings.config.require_phases_agree()
    _require_better_chosen(settings, everyone)
    masks = ~held_out, held_out
    known = [everyone.take(mask) for mask in masks]
    _refuse_what_cannot_fit(known[0], pairs, settings.config)
    columns = constant_columns(pairs.take(~own_part(held_out, len(pairs.keys))))
    train, held = (
        _placed(one, pairs, mask, settings.config) for one, mask in zip(known, masks, strict=True)
    )
    _say_what_is_solved(everyone, train.known, held.known, columns, say)
    key, choice = jax.random.key(settings.seed), None
    if settings.select:
        say("choosing strengths on left-out groups of the training pairs")
        keys = train.fitted.keys(train.known.feature_keys(settings.config))
        given = (settings.params, train.fitted.features, keys)
        choice = choose_strengths(*given, config=settings.config, key=key)
        settings = settings._replace(params=choice.params, config=choice.config)
    solved_for = train.fitted.features, held.fitted.features
    phases = run_phases(settings.params, *solved_for, settings.config, key)
    _require_usable(phases)
    head, notes = _kept_head(phases, choice)
    say("fitting the baselines")
    probe = fit_linear_probe(train.known, settings.seed, train.pairs)
    length_rule = fit_length_rule(train.known)
    chosen, rejected = held.rewards(head)
    correct = Correct(
        head=pairwise_accuracy(chosen, rejected),
        probe=None if probe is None else probe.correct(held.known, held.pairs),
        length=None if length_rule is None else length_rule.correct(held.known),
    )
    margins = chosen - rejected
    rivals = {"linear probe": correct.probe, "length rule": correct.length}
    metrics = _split_metrics(phases, head, train, held, settings.params)
    temperature = _temperature(settings, choice, head is phases.phase2.head)
    verdict = judge(
        Unseen(margins, held.known.keys, held.known.weight),
        {name: right for name, right in rivals.items() if right is not None},
        temperature=temperature,
        train_accuracy=float(metrics.train.accuracy),
        notes=notes,
    )
    return Experiment(
        settings,
        choice,
        phases,
        head,
        temperature,
        verdict,
        train.known,
        held.known,
        metrics,
        probe,
        length_rule,
        correct,
        margins,
        columns,
        pairs.chosen.shape[1],
    )


class _Part(NamedTuple):
    """A part of the pairs of all processes, and its features where they are worked on.

    Attributes:
        known: what is known of the pairs beside their features.
        pairs: the features, as pairs.
        fitted: what `solve` takes, pairs or groups.
    """

    known: PairSet
    pairs: OnDevices
    fitted: OnDevices

    def rewards(self, head: Head) -> tuple[np.ndarray, np.ndarray]:
        """(n,) rewards of the chosen and of the rejected responses."""
        return self.pairs.of_sides(type(head).__call__, head)


def _placed(known: PairSet, pairs: PairSet, wanted: np.ndarray, config: Config) -> _Part:
    """The wanted of the pairs of all processes, of whose features this one has its own."""
    part, compact = pairs.take(own_part(wanted, len(pairs.keys))), config.rows == "compact"

    def side(rows: FeatureRows) -> Any:
        return stored(rows) if compact else stored(rows).astype(float_dtype())

    sides = side(part.chosen), side(part.rejected)
    placed = on_devices(PreferenceFeatures(*sides, part.weight, part.margin), compact=compact)
    if part.groups is None or not config.loss.grouped:
        return _Part(known, placed, placed)
    return _Part(known, placed, on_devices(part.groups, compact=compact))


def _say_what_is_solved(
    everyone: PairSet, train: PairSet, held: PairSet, columns: tuple[int, ...], say: Say
) -> None:
    """Warnings of the features and the split, and how many pairs there are of either part."""
    if columns:
        say(f"warning: {constant_columns_warning(train, columns)}")
    if everyone.split_by == BY_ROW:
        say(
            f"warning: {everyone.source}: no prompts and no groups, so rows are split by row; this "
            "leaks where pairs share a prompt: give --groups or --data"
        )
    made_of = "" if everyone.prefix_of is None else f" ({len(everyone.chosen)} beginnings of all)"
    if everyone.groups is not None:
        made_of = f" (of the members of {len(everyone.groups.responses)} groups)"
    say(
        f"solving on {train.pair_count()} pairs, {held.pair_count()} held out by "
        f"{everyone.split_by}{made_of}"
    )


def _temperature(settings: Settings, choice: Choice | None, is_of_phase2: bool) -> float:
    """What turns reward differences of the kept head into log-odds."""
    if choice is not None:
        return choice.candidate.temperature
    after_phase2 = is_of_phase2 and settings.config.phase2_objective != "none"
    return given_temperature(float(settings.params.beta), after_phase2)


def _refuse_what_cannot_fit(train: PairSet, own: PairSet, config: Config) -> None:
    """`refuse_rows_that_cannot_fit` before any of them is read, in the dtype that they have."""
    refuse_rows_that_cannot_fit(
        train.responses(config), own.chosen.shape[1], own.chosen.dtype, config, len(jax.devices())
    )


def _require_better_chosen(settings: Settings, pairs: PairSet) -> None:
    """`require_better_chosen` of the pairs of all processes, whose features it does not read."""
    if pairs.groups is not None and settings.config.loss.grouped:
        return
    nothing = np.zeros((len(pairs.keys), 1), np.float32)
    known = PreferenceFeatures(nothing, nothing, pairs.weight, pairs.margin)
    require_better_chosen(settings.config, settings.params, prepare_for(settings.config, known))


def _kept_head(phases: TimedPhases, choice: Choice | None) -> tuple[Head, tuple[str, ...]]:
    """The head that an experiment keeps, and what a user must know of it."""
    notes = [] if choice is None else [*choice.notes]
    held_out = phases.phase2.history.eval
    assert held_out is not None  # run_phases always gives held-out pairs
    before, after = (float(held_out.log_loss[at]) for at in (0, int(phases.phase2.stats.epochs)))
    # What left-out pairs have chosen is not for the held-out ones to change.
    if choice is not None or after <= before:
        return phases.phase2.head, tuple(notes)
    notes.append(
        f"Phase II raised the log loss of held-out pairs from {before:.3f} to {after:.3f}: the "
        "head of Phase I is kept"
    )
    return phases.phase1.head, tuple(notes)


def _require_usable(phases: TimedPhases) -> None:
    if phases.status in (Status.INVALID_PARAMETER, Status.NOT_FINITE_INPUT):
        raise CoalaError(phases.status.text)
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(phases.phase2.head)):
        name, text = phases.status.name.lower(), phases.status.text
        raise SolveError(f"no head was written; {name}: {text}")


def _split_metrics(
    phases: TimedPhases, head: Head, train: _Part, held: _Part, params: Params
) -> SplitMetrics:
    """Metrics of the head itself, as anyone who loads it would find them."""
    history = phases.phase2.history
    last = int(phases.phase2.stats.epochs) if head is phases.phase2.head else 0
    assert history.eval is not None  # run_phases always gives held-out pairs

    def final(part: _Part, trace: RewardMetrics) -> RewardMetrics:
        return reward_metrics(
            *part.rewards(head),
            loss=trace.loss[last],
            log_loss=trace.log_loss[last],
            beta=params.beta,
            weight=part.known.weight,
        )

    def initial(trace: RewardMetrics) -> RewardMetrics:
        return RewardMetrics(*(values[0] for values in trace))

    return SplitMetrics(
        train=final(train, history.train),
        eval=final(held, history.eval),
        train_initial=initial(history.train),
        eval_initial=initial(history.eval),
    )
