"""`RewardModel`: the head as scikit-learn's users know a model, on top of `select` and `solve`."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from coala_jax._accuracy import margin_accuracy
from coala_jax._calibration import given_temperature, log_losses
from coala_jax._containers import as_matrix, as_pairs, as_vector, as_weights, labels_of
from coala_jax._errors import CoalaError
from coala_jax._head import Head, HeadError
from coala_jax._head_files import (
    ACCOUNT,
    RESPONSE,
    SCORES,
    TRAINED_ON,
    HeadFileError,
    known_scores,
    load_head,
    save_head,
)
from coala_jax._json import valid_json
from coala_jax._solution import Solution
from coala_jax._solve import solve
from coala_jax._status import Status
from coala_jax._types import (
    Config,
    Params,
    PreferenceFeatures,
    settings_record,
)
from coala_jax._verdict import Unseen, Verdict, judge, verdict_lines
from coala_jax._version import __version__
from coala_jax.data import PromptFingerprint
from coala_jax.selection import SELECTED, Choice, choose_strengths
from coala_jax.selection._choose import group_names

_FOLDS = "left-out groups of the training pairs"


class NotFittedError(CoalaError, AttributeError):
    """A model was asked before `fit`."""


class RewardModel:
    """A reward on frozen features, fitted to preference pairs (COALA, arXiv 2605.23244).

    `fit` chooses the strengths on left-out groups, solves both phases with them on all pairs and
    keeps what the left-out pairs say: `report` shows it, and the temperature that they fit makes
    `predict_proba` a probability. Follows scikit-learn: parameters in the constructor, `fit`
    returns self, `clone` and `GroupKFold` work, and so does `cross_val_score(model, chosen,
    rejected, groups=groups, cv=GroupKFold(), params={"groups": groups})`, pairs being (chosen,
    rejected) and `params` what `fit` is given.

    Args:
        params: scalars of the solve; with `select` the strengths among them are not read.
        config: static settings of the solve.
        select: whether to choose the strengths; without, those of `params` are solved with, and no
            temperature is fitted.
        random_state: seed of gates and folds.

    Attributes:
        head_: the head, a function of (..., d) features.
        solution_: what `solve` gave, with status and certificate.
        choice_: what `select` chose, and from what; None without `select`.
        temperature_: what divides reward differences to make them log-odds.
        n_features_in_: d.

    Raises:
        TypeError, CoalaError: by a method, features that are texts, not finite, or of another
            width, number or columns than were fitted; no head yet, by `fit` or `load`.

    Example:
        >>> import coala_jax, numpy as np
        >>> rng = np.random.default_rng(0)
        >>> chosen, rejected = rng.normal(0.5, 1, (64, 4)), rng.normal(0, 1, (64, 4))
        >>> model = coala_jax.RewardModel().fit(chosen, rejected)
        >>> model.score(chosen, rejected) > 0.6
        True
        >>> verdict = model.verdict()  # a `coala_jax.Verdict`, of the pairs that folds left out
        >>> verdict.accuracy.low < verdict.accuracy.mean < verdict.accuracy.high
        True
    """

    def __init__(
        self,
        *,
        params: Params = Params(),
        config: Config = SELECTED,
        select: bool = True,
        random_state: int = 0,
    ) -> None:
        self.params = params
        self.config = config
        self.select = select
        self.random_state = random_state

    def fit(
        self,
        chosen: Any,
        rejected: Any,
        *,
        groups: Sequence[Hashable] | None = None,
        sample_weight: Any = None,
        margin: Any = None,
    ) -> RewardModel:
        """Fit to n pairs; row j of both answers the same prompt.

        Args:
            chosen: (n, d) features of the preferred responses: an array, a DataFrame, a tensor or a
                list of rows.
            rejected: (n, d) features of the other ones.
            groups: (n,) names, such as prompts; pairs of one group are never split by the folds.
                None where every pair is a group of its own, but for copies of it.
            sample_weight: (n,) weights of the pairs, or None.
            margin: (n,) extra margins of the pairs, or None.

        Returns:
            The model itself.

        Raises:
            TypeError, CoalaError: what does not fit, by name.
            SolveError: no head came of it. Tolerances that were not met show in
                `solution_.status`, and in `report`.
        """
        if not isinstance(self.select, bool):
            raise CoalaError(f"select={self.select!r} must be True or False")
        features = as_pairs(chosen, rejected)
        self._columns = labels_of(chosen, "columns")
        pairs = len(features.chosen)
        names = None if groups is None else group_names(groups, pairs)
        if sample_weight is not None:
            features = features._replace(weight=as_weights("sample_weight", sample_weight, pairs))
        if margin is not None:
            features = features._replace(margin=as_vector("margin", margin, pairs))
        key = jax.random.key(_seed(self.random_state))
        params, config, choice = self.params, self.config, None
        if self.select:
            choice = choose_strengths(params, features, names, config=config, key=key)
            params, config = choice.params, choice.config
        solution = solve(params, features, config=config, key=key)
        useless = (Status.INVALID_PARAMETER, Status.NOT_FINITE_INPUT)
        finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(solution.head))
        if not finite or Status(int(solution.status)) in useless:
            solution.raise_for_status()
        self.solution_: Solution = solution
        self.choice_: Choice | None = choice
        given = given_temperature(float(params.beta), config.phase2_objective != "none")
        self.temperature_ = given if choice is None else choice.candidate.temperature
        self._fitted_with = params, config
        self._weight = features.weight
        self._set_head(solution.head)
        self._account: dict[str, Any] = {}
        self._train_accuracy = float(np.average(self._right(features), weights=features.weight))
        return self

    def rewards(self, features: Any) -> np.ndarray:
        """Rewards of responses: (n, d) features, whatever holds them -> (n,) float64.

        Only differences of answers to one prompt mean something; `decision_function` has these in
        units of log-odds.
        """
        self._require_columns("features", features)
        return np.asarray(self._head()(as_matrix("features", features)), float)

    def decision_function(self, chosen: Any, rejected: Any) -> np.ndarray:
        """Log-odds that the first response of each pair is preferred: (n,) float64."""
        features = self._pairs(chosen, rejected)
        return self._margins(features) / self.temperature_

    def predict_proba(self, chosen: Any, rejected: Any) -> np.ndarray:
        """(n, 2) probabilities that the second and that the first response is preferred.

        As for scikit-learn's classes 0 and 1; rows add up to 1.
        """
        odds = self.decision_function(chosen, rejected)
        return np.exp(-np.stack([log_losses(-odds), log_losses(odds)], axis=1))

    def predict(self, chosen: Any, rejected: Any) -> np.ndarray:
        """(n,) 1 where the first response has the higher reward, else 0."""
        return (self.decision_function(chosen, rejected) > 0).astype(int)

    def score(self, chosen: Any, rejected: Any, sample_weight: Any = None) -> float:
        """Share of the pairs ordered right, ties half."""
        features = self._pairs(chosen, rejected)
        weight = None
        if sample_weight is not None:
            weight = as_weights("sample_weight", sample_weight, len(features.chosen))
        return float(np.average(self._right(features), weights=weight))

    def verdict(
        self, chosen: Any = None, rejected: Any = None, groups: Sequence[Hashable] | None = None
    ) -> Verdict:
        """What unseen pairs say of the model: accuracy, log loss, calibration, warnings.

        Args:
            chosen: (n, d) features of pairs that `fit` has not seen; None means the pairs that its
                folds left out, judged by strengths and temperature that the other folds choose.
            rejected: likewise.
            groups: (n,) names of theirs.

        Returns:
            The verdict.

        Raises:
            CoalaError: no folds to speak of, and no pairs given; a side or groups alone.
        """
        choice: Choice | None = getattr(self, "choice_", None)
        if chosen is None and (rejected is not None or groups is not None):
            raise CoalaError("chosen is missing: give both sides of the pairs, or nothing")
        if chosen is not None:
            features = self._pairs(chosen, rejected)
            margins, weight, temperature = self._margins(features), None, self.temperature_
            names = group_names(groups, len(margins))
            rivals: dict[str, np.ndarray] = {}
        else:
            self._head()
            if choice is None or choice.odds is None:
                raise CoalaError(self._unjudged())
            margins, temperature = choice.odds, 1.0
            weight = None if self._weight is None else np.asarray(self._weight)
            names, rivals = choice.groups, {}
            if choice.linear_odds is not None:
                rivals["linear probe"] = margin_accuracy(choice.linear_odds)
        return judge(
            Unseen(margins, names, weight),
            rivals,
            temperature=temperature,
            train_accuracy=getattr(self, "_train_accuracy", float("nan")),
            notes=() if choice is None else choice.notes,
        )

    def _unjudged(self) -> str:
        """Why no training pairs were left out, and what to do; empty where some were."""
        choice: Choice | None = getattr(self, "choice_", None)
        if choice is not None and choice.odds is not None:
            return ""
        why = () if choice is None else choice.notes
        mend = "give chosen and rejected features of pairs that the model has not seen"
        return "; ".join(("no pairs were left out by folds", *why, mend))

    def report(
        self, chosen: Any = None, rejected: Any = None, groups: Sequence[Hashable] | None = None
    ) -> str:
        """`verdict` in a few lines, and how the solve ended; arguments and errors are its own.

        Where `fit` left out no pairs and none are given, the first line says why there is no
        verdict.
        """
        bare = chosen is rejected is groups is None and hasattr(self, "solution_")
        if bare and (why := self._unjudged()):
            lines = [f"no verdict: {why}"]
        else:
            source = _FOLDS if chosen is None else "pairs given"
            lines = verdict_lines(self.verdict(chosen, rejected, groups), source)
        if hasattr(self, "solution_"):
            if self.choice_ is not None:
                lines.append(f"chosen: {self.choice_}")
            lines.append(repr(self.solution_))
        return "\n".join(lines)

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        identity: Mapping[str, Any] | None = None,
        trained_on: str | None = None,
        scores: str | None = None,
    ) -> None:
        """Write the head with its temperature: `head.safetensors`, `head.json`, a model card.

        Args:
            folder: made if missing.
            overwrite: whether a head that is there may be replaced.
            identity: how its features were made, as `head.json` says it; None where they are bare
                arrays, and no text can be scored.
            trained_on: `text` of the `coala_jax.data.PromptFingerprint` of its training prompts,
                by which scores of the same prompts are told apart; None where it is not known.
            scores: `"prefix"` where it was fitted to pairs of `coala_jax.features.prefix_pairs`, so
                that whole responses are not scored with it; None means what it was loaded with, or
                `"response"`.

        Raises:
            HeadFileError: a head is there.
            HeadError: another value of ``scores``.
        """
        self._head()
        if (Path(folder) / ACCOUNT).exists() and not overwrite:
            raise HeadFileError(f"{folder}: a head is there; give overwrite=True to replace it")
        info: dict[str, Any] = {"coala_jax": __version__, "temperature": self.temperature_}
        known = self._account  # of the head that was loaded
        if hasattr(self, "solution_"):
            info |= settings_record(*self._fitted_with) | {"result": self._result()}
        else:
            info |= {name: known[name] for name in ("params", "config", "result") if name in known}
        if trained_on is not None:
            PromptFingerprint.from_text(trained_on)
        info["identity"] = known.get("identity") if identity is None else dict(identity)
        info[TRAINED_ON] = known.get(TRAINED_ON) if trained_on is None else trained_on
        reads = known.get(SCORES, RESPONSE) if scores is None else known_scores(scores)
        if reads != RESPONSE:
            info[SCORES] = reads
        save_head(folder, self._head(), valid_json(info))

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, download: bool = False) -> RewardModel:
        """A model that `save`, or a command, has written; it scores, and knows no training pairs.

        Args:
            folder: of the head, or its hub id, ``ORG/NAME`` or ``ORG/NAME@REVISION``.
            download: fetch what the hub's cache lacks of an id; without it nothing is fetched.

        Raises:
            HeadFileError: no usable head.
        """
        head, metadata = load_head(folder, download=download)
        model = cls()
        try:
            scale = metadata.log_odds_scale
        except HeadError as error:
            raise HeadFileError(f"{folder}/head.json: {error}") from None
        # As it stands there: a quotient of one over a quotient may differ in its last digit.
        model.temperature_ = metadata.document.get("temperature", 1 / scale)
        model._set_head(head)
        model._account = dict(metadata.document)
        return model

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's parameters, as scikit-learn asks for them."""
        names = ("params", "config", "select", "random_state")
        return {name: getattr(self, name) for name in names}

    def set_params(self, **parameters: Any) -> RewardModel:
        """Change parameters of the constructor; gives the model itself.

        Raises:
            CoalaError: a name that is none of them.
        """
        for name in parameters:
            if name not in self.get_params():
                raise CoalaError(f"{name} is no parameter of RewardModel: {[*self.get_params()]}")
        for name, value in parameters.items():
            setattr(self, name, value)
        return self

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks of a model that does not inherit from its own."""
        from sklearn.utils import Tags, TargetTags

        return Tags(estimator_type=None, target_tags=TargetTags(required=True))

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there is a head."""
        return hasattr(self, "head_")

    def __repr__(self) -> str:
        fitted = ""
        if hasattr(self, "head_"):
            fitted = f": {type(self.head_).__name__} of {self.n_features_in_} features"
        return f"RewardModel(select={self.select}, random_state={self.random_state}){fitted}"

    def _result(self) -> dict[str, Any]:
        """How the solve ended and what left-out pairs say, as the commands record it."""
        result: dict[str, Any] = {
            "status": Status(int(self.solution_.status)).name.lower(),
            "train": {"rewards/accuracies": self._train_accuracy},
        }
        if self.choice_ is None or self.choice_.odds is None:
            return result
        found = self.verdict()
        rivals = {rival.name: rival for rival in found.rivals}
        linear = rivals.get("linear probe")
        return result | {
            "warnings": list(found.warnings),
            "left_out": {
                "rewards/accuracies": found.accuracy.mean,
                "accuracy_interval": found.accuracy._asdict(),
                "calibrated_log_loss": found.log_loss._asdict(),
                "calibration_error": found.calibration_error,
            },
            "baseline": None
            if linear is None
            else {
                "linear_probe_accuracy": linear.accuracy,
                "head_minus_linear_probe": linear.head_minus._asdict(),
            },
        }

    def _set_head(self, head: Head) -> None:
        self.head_ = head
        self.n_features_in_ = int(np.shape(head.theta1)[0])

    def _head(self) -> Head:
        if not hasattr(self, "head_"):
            raise NotFittedError("this RewardModel has no head yet: call fit(chosen, rejected)")
        return self.head_

    def _pairs(self, chosen: Any, rejected: Any) -> PreferenceFeatures:
        """Pairs to judge, of the columns that were fitted."""
        self._require_columns("chosen", chosen)
        return as_pairs(chosen, rejected)

    def _require_columns(self, name: str, value: Any) -> None:
        fitted, columns = getattr(self, "_columns", None), labels_of(value, "columns")
        if fitted is not None and columns is not None and columns != fitted:
            raise CoalaError(
                f"{name} must have the columns that were fitted, in their order: {fitted[:5]}...; "
                f"got {columns[:5]}..."
            )

    def _margins(self, features: PreferenceFeatures) -> np.ndarray:
        head = self._head()
        chosen, rejected = (np.asarray(head(side), np.float64) for side in features[:2])
        margins: np.ndarray = chosen - rejected
        return margins

    def _right(self, features: PreferenceFeatures) -> np.ndarray:
        return margin_accuracy(self._margins(features))


def _seed(random_state: Any) -> int:
    whole = isinstance(random_state, int | np.integer) and not isinstance(random_state, bool)
    if not whole or not 0 <= random_state < 2**32:
        raise CoalaError(
            f"random_state must be an integer from 0 to 2**32 - 1, got {random_state!r}"
        )
    return int(random_state)
