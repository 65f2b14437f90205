"""Problems of groups to catch the solver with, of the families of `group_families.py`.

As those of pairs are (`problems.py`), known by family, index and seed.
"""

from __future__ import annotations

import zlib

import jax.numpy as jnp
import numpy as np
from adversary.group_families import FAMILIES, Draft, GroupShape
from adversary.problems import (
    ABSOLUTE_SHARE,
    PATH_SHARE,
    TOLERANCES,
    X64_SHARE,
    FuzzProblem,
    Setting,
    other_params,
)

from coala_jax import Config, GroupFeatures, Params, PreferenceFeatures

LOSSES = ("listwise", "plackett_luce", "group_squared")
KINDS = [(loss, model) for loss in LOSSES for model in ("relu", "gated_relu")]
ADVANTAGES = ("centered", "standardized", "leave_one_out", "rank")
OBJECTIVES = ("pairwise", "none")
# The first stream of random numbers by which every two levels of two factors meet.
_STREAM = 10


SHAPES = (
    GroupShape(30, 4, 5, 8),
    GroupShape(2, 2, 1, 1),
    GroupShape(60, 3, 6, 8),
    GroupShape(12, 16, 4, 8),
    GroupShape(100, 2, 3, 4),
    GroupShape(3, 5, 2, 4),
    GroupShape(8, 3, 24, 8),
    GroupShape(40, 8, 4, 16),
)


def setting_of(index: int) -> Setting:
    """Shapes and `Config` of an index."""
    turn, place = divmod(index, len(SHAPES))
    loss, model = KINDS[(place + turn) % len(KINDS)]
    rng = np.random.default_rng([_STREAM, index])
    config = Config(
        n_gates=SHAPES[place].gates,
        model=model,
        phase1_loss=loss,
        advantage=ADVANTAGES[(place // 2 + turn) % len(ADVANTAGES)],
        phase2_objective=str(rng.choice(OBJECTIVES)),
        strength_unit="absolute" if rng.random() < ABSOLUTE_SHARE else "lambda_max",
        linear_path=bool(rng.random() < PATH_SHARE),
    )
    return Setting(SHAPES[place], config, bool(rng.random() < X64_SHARE))


SETTINGS = [setting_of(index) for index in range(len(SHAPES) * len(KINDS))]
_OF_TWO = [setting for setting in SETTINGS if setting.shape.members == 2]


def settings_of(family: str) -> list[Setting]:
    """The settings that a family goes through; that of pairs those of two members."""
    return _OF_TWO if family == "group-pairs" else SETTINGS


def problem_of(
    family: str, index: int, seed: int = 0, setting: Setting | None = None
) -> FuzzProblem:
    """The problem of a name under a seed, in the setting of its index or in this one."""
    known = settings_of(family)
    setting = setting or known[index % len(known)]
    rng = np.random.default_rng([seed, zlib.crc32(family.encode()), index])
    draft = FAMILIES[family](rng, setting.shape)
    keep_defaults = bool(rng.random() < 0.5)
    if not keep_defaults:
        draft = draft._replace(params=other_params(rng, draft.params, TOLERANCES[setting.x64]))
    strength = draft.params.group_lasso
    if setting.config.strength_unit == "absolute":
        strength = strength * _usual_lambda_max(draft, setting)
    return FuzzProblem(
        name=f"{family}:{index}",
        setting=setting,
        features=_features(draft, "float64" if setting.x64 else "float32"),
        params=draft.params._replace(group_lasso=float(strength)),
        valid=draft.valid,
        plain=draft.params == Params(),
        seed=seed,
    )


def _features(draft: Draft, dtype: str) -> GroupFeatures | PreferenceFeatures:
    responses = draft.responses.astype(jnp.dtype(draft.dtype or dtype))
    weight = None if draft.weight is None else draft.weight.astype(dtype)
    if draft.are_pairs:
        return PreferenceFeatures(responses[:, 0], responses[:, 1], weight)
    known = draft.scores.astype(jnp.dtype(draft.score_dtype or dtype))
    scores, ranks = (None, known) if draft.are_ranks else (known, None)
    return GroupFeatures(responses, scores, ranks, draft.mask, weight)


def _usual_lambda_max(draft: Draft, setting: Setting) -> float:
    """About that: the root of the sum of squares of the pulls, which are of the scores' size."""
    groups, members = draft.scores.shape
    spread = 1.0
    if setting.config.phase1_loss == "group_squared" and setting.config.advantage in _OF_SIZE:
        mask = np.ones(draft.scores.shape, bool) if draft.mask is None else draft.mask
        members_of = zip(draft.scores, mask, strict=True)
        spread = max(float(np.ptp(own[there])) for own, there in members_of if there.any())
    return 0.1 * groups * np.sqrt(members) * spread


_OF_SIZE = ("centered", "leave_one_out")
