"""Problems of pairs to catch the solver with, of the families of `pair_families.py`.

A problem is known by family, index and seed. Its index alone decides shapes and `Config`, so that
problems of one index share a compiled program, whatever their family; the first indices differ
most.
"""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from adversary.pair_families import FAMILIES, Draft, Shape, both, gaussian
from numpy.random import Generator

from coala_jax import Config, GroupFeatures, Params, PreferenceFeatures

LOSSES = ("squared", "bradley_terry", "logistic", "squared_hinge", "huber")
KINDS = [(loss, model) for loss in LOSSES for model in ("relu", "gated_relu")]
OBJECTIVES = ("pairwise", "pointwise", "none")
# Every kind meets every shape. The rest is drawn, so that it depends on neither: this share in
# float64, this one with absolute strengths, and this one with a linear path.
X64_SHARE, ABSOLUTE_SHARE, PATH_SHARE = 0.2, 0.3, 0.5
# The first stream of random numbers by which every two levels of two factors meet.
_STREAM = 0
# Of the certified gap, in float32 and in float64.
TOLERANCES = {False: (1e-2, 1e-3), True: (1e-3, 1e-5)}


SHAPES = (
    Shape(60, 5, 8),
    Shape(2, 1, 1),
    Shape(200, 6, 8),
    Shape(24, 48, 8),
    Shape(100, 4, 16),
    Shape(3, 2, 4),
    Shape(400, 3, 4),
    Shape(20, 3, 8),
)


class Setting(NamedTuple):
    """What a compiled program depends on; the first number of a shape is of pairs or of groups."""

    shape: Any
    config: Config
    x64: bool

    def __str__(self) -> str:
        config = self.config
        parts = ["x".join(map(str, self.shape)), config.model, config.phase1_loss]
        parts += [config.phase2_objective, config.strength_unit, "x64" if self.x64 else "float32"]
        parts += [config.advantage] * config.loss.grouped + ["path"] * config.linear_path
        return " ".join(parts)


class FuzzProblem(NamedTuple):
    """One problem.

    Attributes:
        name: ``family:index``.
        setting: shapes and `Config`.
        features: pairs or groups, with numpy leaves.
        params: Python floats.
        valid: whether the solver may take it; else it must end in NOT_FINITE_INPUT.
        plain: whether `Params` are the defaults, margins with their gamma.
        seed: of the key.
    """

    name: str
    setting: Setting
    features: PreferenceFeatures | GroupFeatures
    params: Params
    valid: bool
    plain: bool
    seed: int


def setting_of(index: int) -> Setting:
    """Shapes and `Config` of an index."""
    turn, place = divmod(index, len(SHAPES))
    loss, model = KINDS[(index + turn) % len(KINDS)]
    rng = np.random.default_rng([_STREAM, index])
    config = Config(
        n_gates=SHAPES[place].gates,
        model=model,
        phase1_loss=loss,
        phase2_objective=str(rng.choice(OBJECTIVES)),
        strength_unit="absolute" if rng.random() < ABSOLUTE_SHARE else "lambda_max",
        linear_path=bool(rng.random() < PATH_SHARE),
    )
    return Setting(SHAPES[place], config, bool(rng.random() < X64_SHARE))


SETTINGS = [setting_of(index) for index in range(len(SHAPES) * len(KINDS))]


def settings_of(_: str) -> list[Setting]:
    """The settings that a family goes through."""
    return SETTINGS


def problem_of(
    family: str, index: int, seed: int = 0, setting: Setting | None = None
) -> FuzzProblem:
    """The problem of a name under a seed, in the setting of its index or in this one."""
    if family == "issue":
        setting, draft = ISSUE[index]
        return _problem(f"{family}:{index}", setting, draft, plain=False, seed=seed)
    setting = setting or SETTINGS[index % len(SETTINGS)]
    rng = np.random.default_rng([seed, zlib.crc32(family.encode()), index])
    draft = FAMILIES[family](rng, setting.shape)
    keep_defaults = bool(rng.random() < 0.5)
    if not keep_defaults:
        draft = draft._replace(params=other_params(rng, draft.params, TOLERANCES[setting.x64]))
    plain = draft.params._replace(gamma=Params().gamma) == Params()
    return _problem(f"{family}:{index}", setting, draft, plain=plain, seed=seed)


def _problem(name: str, setting: Setting, draft: Draft, *, plain: bool, seed: int) -> FuzzProblem:
    dtype = draft.dtype or ("float64" if setting.x64 else "float32")
    per_pair = "float64" if setting.x64 else "float32"
    strength = draft.params.group_lasso
    if setting.config.strength_unit == "absolute":
        # lambda_max is a fifth or so of the number of rows.
        strength = 0.4 * setting.shape.pairs * strength
    return FuzzProblem(
        name=name,
        setting=setting,
        features=PreferenceFeatures(
            draft.chosen.astype(jnp.dtype(dtype)),
            draft.rejected.astype(jnp.dtype(dtype)),
            None if draft.weight is None else draft.weight.astype(per_pair),
            None if draft.margin is None else draft.margin.astype(per_pair),
        ),
        params=draft.params._replace(group_lasso=float(strength)),
        valid=draft.valid,
        plain=plain,
        seed=seed,
    )


def other_params(rng: Generator, params: Params, tolerances: tuple[float, ...]) -> Params:
    """Strengths from 0 to 2, one of the tolerances, and a ridge of the linear path."""
    strength = rng.choice(
        [
            10 ** rng.uniform(-3, 0),
            rng.uniform(0, 2),
            rng.choice([0.0, 0.5, 0.9, 0.999, 1 - 1e-6, 1.0]),
        ]
    )
    changed = {"group_lasso": float(strength), "gap_tolerance": float(rng.choice(tolerances))}
    changed["linear_ridge"] = float(10 ** rng.uniform(-3, 1))
    if params.group_lasso != Params().group_lasso:  # the family's own
        del changed["group_lasso"]
    return params._replace(**changed)


def _issue_problems() -> list[tuple[Setting, Draft]]:
    """Those that made false claims before there was an adversary."""
    rng = np.random.default_rng(0)
    tiny = Draft(
        np.array([[0.0024003962], [0.33966628]]),
        np.array([[0.0024003899], [0.33966538]]),
        weight=np.array([0.0631, 4.311]),
        params=Params(group_lasso=1e-3),
    )
    shape = Shape(200, 6, 8)
    plain = gaussian(rng, shape)
    noisy = plain._replace(rejected=plain.chosen + 1e-6 * rng.standard_normal(plain.chosen.shape))
    ones = np.ones(shape.pairs)
    centred = gaussian(rng, Shape(100, 4, 16))

    def moved(offset: float) -> Draft:
        return both(centred, lambda side: side + np.array([offset, 0, 0, 0]))

    drafts = [
        (Shape(2, 1, 1), tiny),
        (shape, plain._replace(params=Params(beta=1e-4, ridge=1e-8))),
        (shape, noisy._replace(params=Params(group_lasso=0.9))),
        (shape, plain._replace(params=Params(group_lasso=0.999))),
        (shape, plain._replace(weight=1e37 * ones)),
        (shape, plain._replace(weight=-ones, valid=False)),
        *((Shape(100, 4, 16), moved(k)) for k in (1e4, 1e5, 9e5)),
        (Shape(100, 4, 16), moved(100)._replace(dtype="bfloat16")),
    ]
    return [
        (Setting(shape, Config(n_gates=shape.gates, model=model), x64=False), draft)
        for model in ("relu", "gated_relu")
        for shape, draft in drafts
    ]


ISSUE = _issue_problems()
