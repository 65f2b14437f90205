"""Problems to catch the solver with: families of features, weights and parameters.

A problem is known by family, index and seed. Its index alone decides shapes and `Config`, so that
problems of one index share a compiled program, whatever their family; the first indices differ
most.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
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


class Shape(NamedTuple):
    """Pairs, features and gates."""

    pairs: int
    width: int
    gates: int


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


class _Draft(NamedTuple):
    """What a family makes: features in float64, and what differs from the defaults.

    `params.group_lasso` is a share of lambda_max; the float type is `dtype`, or that of the solver.
    """

    chosen: np.ndarray
    rejected: np.ndarray
    weight: np.ndarray | None = None
    margin: np.ndarray | None = None
    params: Params = Params()
    dtype: str | None = None
    valid: bool = True


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


def _problem(name: str, setting: Setting, draft: _Draft, *, plain: bool, seed: int) -> FuzzProblem:
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


def _gaussian(rng: Generator, shape: Shape) -> _Draft:
    size = shape.pairs, shape.width
    shift = rng.choice([0.0, 0.3, 1.0])
    return _Draft(rng.standard_normal(size) + shift, rng.standard_normal(size))


def _columns(rng: Generator, shape: Shape) -> np.ndarray:
    """Some of the columns, at least one."""
    chosen = rng.random(shape.width) < 0.5
    chosen[rng.integers(shape.width)] = True
    return chosen


def _both(draft: _Draft, change: Callable[[np.ndarray], np.ndarray]) -> _Draft:
    return draft._replace(chosen=change(draft.chosen), rejected=change(draft.rejected))


def _scaled(rng: Generator, shape: Shape) -> _Draft:
    scale = 10 ** rng.uniform(-30, 30, shape.width)
    return _both(_gaussian(rng, shape), lambda side: side * scale)


def _offset(rng: Generator, shape: Shape) -> _Draft:
    """Means of 1e2 to 1e8 deviations, beyond what the dtype can tell apart."""
    size = 10 ** rng.uniform(2, 8, shape.width) * rng.choice([-1, 1], shape.width)
    offset = np.where(_columns(rng, shape), size, 0)
    scale = 10 ** rng.uniform(-2, 2)
    return _both(_gaussian(rng, shape), lambda side: scale * (side + offset))


def _constant(rng: Generator, shape: Shape) -> _Draft:
    value = rng.choice([-1, 1], shape.width) * 10 ** rng.uniform(-20, 20, shape.width)
    fixed = _columns(rng, shape)
    return _both(_gaussian(rng, shape), lambda side: np.where(fixed, value, side))


def _duplicate(rng: Generator, shape: Shape) -> _Draft:
    source = rng.integers(max(1, shape.width // 2), size=shape.width)
    factor = rng.choice([1.0, -1.0, 2.0, 1e3], shape.width)
    return _both(_gaussian(rng, shape), lambda side: side[:, source] * factor)


def _heavy_tails(rng: Generator, shape: Shape) -> _Draft:
    size = shape.pairs, shape.width
    freedom = rng.choice([0.5, 1.0, 2.0])
    return _Draft(rng.standard_t(freedom, size) + 0.5, rng.standard_t(freedom, size))


def _one_hot(rng: Generator, shape: Shape) -> _Draft:
    eye = np.eye(max(shape.width, 2))[:, : shape.width]
    sides = [eye[rng.integers(len(eye), size=shape.pairs)] for _ in range(2)]
    return _Draft(*sides)


def _low_rank(rng: Generator, shape: Shape) -> _Draft:
    rank = int(rng.integers(1, max(2, shape.width // 2 + 1)))
    mixing = rng.standard_normal((rank, shape.width))
    return _both(_gaussian(rng, shape._replace(width=rank)), lambda side: side @ mixing)


def _near_duplicate_rows(rng: Generator, shape: Shape) -> _Draft:
    """A few rows, again and again, with noise of 1e-7 to 1e-2 or none."""
    kinds = int(rng.integers(1, 5))
    noise = rng.choice([0.0, 10 ** rng.uniform(-7, -2)])
    base = rng.standard_normal((2, kinds, shape.width))
    picked = rng.integers(kinds, size=shape.pairs)
    return _Draft(*(base[:, picked] + noise * rng.standard_normal((2, shape.pairs, shape.width))))


def _nearly_equal(rng: Generator, shape: Shape) -> _Draft:
    """Chosen as rejected, up to noise of 1e-7 to 1e-2."""
    noise = 10 ** rng.uniform(-7, -2)
    draft = _gaussian(rng, shape)
    return draft._replace(rejected=draft.chosen + noise * rng.standard_normal(draft.chosen.shape))


def _equal(rng: Generator, shape: Shape) -> _Draft:
    """All, or all but one or a few pairs, without any difference."""
    draft = _gaussian(rng, shape)
    differ = rng.random(shape.pairs) < rng.choice([0.0, 0.1])
    return draft._replace(rejected=np.where(differ[:, None], draft.rejected, draft.chosen))


def _contradictory(rng: Generator, shape: Shape) -> _Draft:
    """Half of the pairs, or all but a few, are others the other way round."""
    draft = _gaussian(rng, shape)
    half = shape.pairs // 2
    order = np.r_[np.arange(half), np.arange(half), np.arange(shape.pairs - 2 * half)]
    swap = np.r_[np.zeros(half), np.ones(half), np.zeros(shape.pairs - 2 * half)]
    swap = np.where(rng.random(shape.pairs) < rng.choice([0.0, 0.1]), 1 - swap, swap) > 0
    chosen, rejected = draft.chosen[order], draft.rejected[order]
    return _Draft(
        np.where(swap[:, None], rejected, chosen), np.where(swap[:, None], chosen, rejected)
    )


def _separable(rng: Generator, shape: Shape) -> _Draft:
    draft = _gaussian(rng, shape)
    return draft._replace(chosen=draft.chosen + 10 ** rng.uniform(0.5, 3))


def _weights(rng: Generator, shape: Shape) -> _Draft:
    """Zeros, and ordinary ones from exponential to two orders apart."""
    weight = rng.exponential(size=shape.pairs) * 10 ** rng.uniform(-1, 1, shape.pairs)
    weight[rng.random(shape.pairs) < 0.3] = 0
    weight[rng.integers(shape.pairs)] = 1
    return _gaussian(rng, shape)._replace(weight=weight)


def _wide_weights(rng: Generator, shape: Shape) -> _Draft:
    """From 1e-30 to 1e30, or all of one extreme size."""
    spread = 10 ** rng.uniform(-30, 30, shape.pairs)
    same = rng.uniform(0.5, 1, shape.pairs) * rng.choice([1e-37, 1e-30, 1e30, 1e37, 3e38])
    return _gaussian(rng, shape)._replace(weight=spread if rng.random() < 0.5 else same)


def _dominant_weight(rng: Generator, shape: Shape) -> _Draft:
    weight = np.ones(shape.pairs)
    weight[rng.integers(shape.pairs)] = 10 ** rng.uniform(1, 8)
    return _gaussian(rng, shape)._replace(weight=weight)


def _bad_weights(rng: Generator, shape: Shape) -> _Draft:
    """Negative ones, logarithms, none above zero, no numbers: none may be taken."""
    positive = rng.uniform(0.1, 1, shape.pairs)
    one = np.where(np.arange(shape.pairs) == rng.integers(shape.pairs), 1.0, 0.0)
    kinds = (
        -positive,
        np.log(positive),
        0 * positive,
        positive - 2 * one,
        np.where(one, np.inf, positive),
    )
    kinds += (np.where(one, np.nan, positive), -1e37 * positive)
    return _gaussian(rng, shape)._replace(weight=kinds[rng.integers(len(kinds))], valid=False)


def _bad_features(rng: Generator, shape: Shape) -> _Draft:
    """One entry that is no number, or none that is finite."""
    draft = _gaussian(rng, shape)
    place = rng.integers(shape.pairs), rng.integers(shape.width)
    side = draft[int(rng.integers(2))]
    side[place] = rng.choice([np.nan, np.inf, -np.inf])
    return draft._replace(valid=False)


def _margins(rng: Generator, shape: Shape) -> _Draft:
    margin = rng.standard_normal(shape.pairs) * 10 ** rng.uniform(-1, 1.5)
    params = Params(gamma=float(rng.choice([0.0, rng.normal(), 5 * rng.normal()])))
    return _gaussian(rng, shape)._replace(margin=margin, params=params)


def _small_losses(rng: Generator, shape: Shape) -> _Draft:
    """Losses that are next to zero: at the start by their gamma, or once every row is fitted."""
    low = Params(gamma=-float(10 ** rng.uniform(0.5, 1.7)))
    weak = Params(group_lasso=float(10 ** rng.uniform(-7, -3)))
    return _gaussian(rng, shape)._replace(params=low if rng.random() < 0.5 else weak)


def _second_phase(rng: Generator, shape: Shape) -> _Draft:
    """Scales, ridges and steps of Phase II."""
    params = Params(
        beta=float(10 ** rng.uniform(-5, 2)),
        ridge=float(10 ** rng.uniform(-9, 1)),
        learning_rate=float(10 ** rng.uniform(-3, -0.5)),
    )
    return _gaussian(rng, shape)._replace(params=params)


def _half(dtype: str) -> Callable[[Generator, Shape], _Draft]:
    def family(rng: Generator, shape: Shape) -> _Draft:
        """Means of up to 1e2 deviations in half precision."""
        offset = rng.choice([0, 1], shape.width) * 10 ** rng.uniform(0, 2, shape.width)
        scale = 10 ** rng.uniform(-2, 2)
        draft = _both(_gaussian(rng, shape), lambda side: scale * (side + offset))
        return draft._replace(dtype=dtype)

    return family


def _mixed(rng: Generator, shape: Shape) -> _Draft:
    """Columns of one family with weights and margins of others."""
    columns = (_offset, _scaled, _heavy_tails, _low_rank, _duplicate, _constant, _contradictory)
    draft = columns[rng.integers(len(columns))](rng, shape)
    weights = (_weights, _dominant_weight, _margins)[rng.integers(3)](rng, shape)
    return draft._replace(weight=weights.weight, margin=weights.margin, params=weights.params)


FAMILIES: dict[str, Callable[[Generator, Shape], _Draft]] = {
    "gaussian": _gaussian,
    "scaled": _scaled,
    "offset": _offset,
    "constant": _constant,
    "duplicate": _duplicate,
    "heavy-tails": _heavy_tails,
    "one-hot": _one_hot,
    "low-rank": _low_rank,
    "near-duplicate-rows": _near_duplicate_rows,
    "nearly-equal": _nearly_equal,
    "equal": _equal,
    "contradictory": _contradictory,
    "separable": _separable,
    "weights": _weights,
    "wide-weights": _wide_weights,
    "dominant-weight": _dominant_weight,
    "bad-weights": _bad_weights,
    "bad-features": _bad_features,
    "margins": _margins,
    "second-phase": _second_phase,
    "float16": _half("float16"),
    "bfloat16": _half("bfloat16"),
    "mixed": _mixed,
    "small-losses": _small_losses,
}


def _issue_problems() -> list[tuple[Setting, _Draft]]:
    """Those that made false claims before there was an adversary."""
    rng = np.random.default_rng(0)
    tiny = _Draft(
        np.array([[0.0024003962], [0.33966628]]),
        np.array([[0.0024003899], [0.33966538]]),
        weight=np.array([0.0631, 4.311]),
        params=Params(group_lasso=1e-3),
    )
    shape = Shape(200, 6, 8)
    plain = _gaussian(rng, shape)
    noisy = plain._replace(rejected=plain.chosen + 1e-6 * rng.standard_normal(plain.chosen.shape))
    ones = np.ones(shape.pairs)
    centred = _gaussian(rng, Shape(100, 4, 16))

    def moved(offset: float) -> _Draft:
        return _both(centred, lambda side: side + np.array([offset, 0, 0, 0]))

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
