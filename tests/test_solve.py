"""The public face: solve bare, under jit and vmap, statuses, dtypes and bad input."""

import dataclasses
import re

import chex
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import coala_jax
from coala_jax import Config, Params, PreferenceFeatures, SolveError, Status, solve
from tests.helpers import draw_pairs, random_head

# One small static setting for all tests, so that they share compilations.
CONFIG = Config(n_gates=4, max_iterations=500, max_epochs=300)
PAIRS, WIDTH = 40, 3
FEATURES, OTHERS = (draw_pairs(seed, PAIRS, WIDTH, dtype="float32") for seed in (0, 1))
HEAD = random_head(WIDTH)


def status_of(params: Params = Params(), features: PreferenceFeatures = FEATURES) -> Status:
    return Status(int(solve(params, features, config=CONFIG).status))


def test_two_arguments_are_enough():
    solution = solve(Params(), FEATURES)
    assert int(solution.status) == Status.SOLVED
    assert solution.raise_for_status() is solution
    assert solution.head(FEATURES.chosen).shape == (PAIRS,)
    assert solution.head.theta1.shape == (WIDTH, 2 * Config().n_gates)


def test_the_head_orders_training_pairs_better_than_chance():
    head = solve(Params(), FEATURES, config=CONFIG).head
    assert np.mean(np.asarray(head(FEATURES.chosen) > head(FEATURES.rejected))) > 0.6


def test_the_same_key_gives_the_same_head_and_another_key_another():
    same = [solve(Params(), FEATURES, config=CONFIG, key=jax.random.key(1)).head for _ in range(2)]
    chex.assert_trees_all_equal(*same)
    other = solve(Params(), FEATURES, config=CONFIG, key=jax.random.key(2)).head
    assert not np.allclose(same[0].theta1, other.theta1)


@pytest.mark.slow
def test_vmap_over_every_leaf_gives_what_single_solves_give():
    """Element k of the batch changes leaf k alone.

    In float64: the best of two certificates that agree to seven digits is a matter of rounding.
    """
    config = Config(n_gates=3, max_iterations=200, max_epochs=50, sweep="lockstep")
    with jax.enable_x64(True):
        base = jnp.asarray(Params())
        batch = base + jnp.diag(0.3 * base + 1e-3)
        swept = jax.vmap(lambda leaves: solve(Params(*leaves), FEATURES, config=config))(batch)
        for index, leaves in enumerate(batch):
            single = solve(Params(*leaves), FEATURES, config=config)
            element = jax.tree.map(lambda leaf, i=index: leaf[i], swept)
            chex.assert_trees_all_close(element.stats, single.stats, rtol=1e-6, atol=1e-8)
            chex.assert_trees_all_close(element.head, single.head, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", Params._fields)
def test_vmap_over_any_one_leaf_traces(name):
    values = jnp.asarray([0.5, 0.6])
    sweep = jax.vmap(lambda x: solve(Params()._replace(**{name: x}), FEATURES, config=CONFIG))
    assert jax.eval_shape(sweep, values).status.shape == (2,)


def test_one_bad_element_does_not_spoil_a_sweep():
    rhos = jnp.asarray([1.0, -1.0, jnp.nan, 2.0])
    swept = jax.vmap(lambda rho: solve(Params(rho=rho), FEATURES, config=CONFIG))(rhos)
    bad = Status.INVALID_PARAMETER
    assert [Status(int(s)) for s in swept.status] == [Status.SOLVED, bad, bad, Status.SOLVED]
    assert np.isfinite(np.asarray(swept.stats.phase1.relative_gap)[[0, 3]]).all()
    with pytest.raises(SolveError, match=r"2 of 4 elements failed: invalid_parameter: a leaf"):
        swept.raise_for_status()


def test_a_new_value_of_any_leaf_never_recompiles():
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(params, features):
        return solve(params, features, config=CONFIG).status

    for factor in (1.0, 1.1, 1.2):
        params = jax.tree.map(lambda leaf, f=factor: jnp.asarray(leaf * f), Params())
        run.eval_shape(params, draw_pairs(int(10 * factor), PAIRS, WIDTH, dtype="float32"))


def test_eager_calls_share_one_compilation():
    from coala_jax._solve import _solve

    solve(Params(), FEATURES, config=CONFIG)
    before = _solve._cache_size()
    solve(Params(rho=0.7, group_lasso=0.1), OTHERS, config=CONFIG)
    assert _solve._cache_size() == before


def test_features_closed_over_by_a_callers_jit_work():
    inside = jax.jit(lambda: solve(Params(), FEATURES, config=CONFIG).stats.phase1.primal_value)()
    outside = solve(Params(), FEATURES, config=CONFIG).stats.phase1.primal_value
    assert float(inside) == pytest.approx(float(outside), rel=1e-3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_every_float_dtype_comes_in_and_float32_comes_out(dtype):
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    solution = solve(Params(), draw_pairs(0, PAIRS, WIDTH, dtype=kind), config=CONFIG)
    assert int(solution.status) == Status.SOLVED
    floats = [
        leaf for leaf in jax.tree.leaves(solution) if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    assert {str(leaf.dtype) for leaf in floats} == {"float32"}


def test_x64_computes_in_float64():
    with jax.enable_x64(True):
        solution = solve(Params(), FEATURES, config=CONFIG)
        assert solution.head.theta1.dtype == jnp.float64
        assert int(solution.status) == Status.SOLVED


def test_history_is_as_long_as_the_caps_and_nan_after_the_end():
    solution = solve(Params(), FEATURES, config=CONFIG, eval_features=OTHERS)
    trace = np.asarray(solution.history.phase1.relative_gap)
    checks = int(solution.stats.phase1.iterations) // CONFIG.check_every
    assert trace.shape == (CONFIG.max_iterations // CONFIG.check_every,)
    # Infinite up to the first certificate, whose bound is zero.
    assert not np.isnan(trace[:checks]).any()
    assert np.isfinite(trace[checks - 1])
    assert np.isnan(trace[checks:]).all()
    epochs = int(solution.stats.phase2.epochs)
    for metrics in (solution.history.phase2.train, solution.history.phase2.eval):
        for values in metrics:
            assert values.shape == (CONFIG.max_epochs + 1,)
            assert np.isfinite(np.asarray(values[: epochs + 1])).all()
            assert np.isnan(np.asarray(values[epochs + 1 :])).all()


def test_iteration_limit_is_not_solved():
    solution = solve(Params(gap_tolerance=0.0), FEATURES, config=CONFIG)
    assert int(solution.status) == Status.ITERATION_LIMIT
    with pytest.raises(SolveError, match=r"iteration_limit: Phase I reached Config\.max_iter"):
        solution.raise_for_status()


def test_epoch_limit_is_not_solved():
    assert status_of(Params(learning_rate=1e-9)) == Status.EPOCH_LIMIT


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("field", ["chosen", "rejected", "margin", "weight"])
def test_not_finite_input_gives_its_status_and_no_gap(field, value):
    features = FEATURES._replace(
        weight=np.ones(PAIRS, np.float32), margin=np.zeros(PAIRS, np.float32)
    )
    array = np.array(getattr(features, field))
    array[3] = value
    solution = solve(Params(), features._replace(**{field: array}), config=CONFIG)
    assert int(solution.status) == Status.NOT_FINITE_INPUT
    assert int(solution.stats.phase1.iterations) == 0


@pytest.mark.parametrize(
    ("leaf", "value"),
    [
        ("rho", 0.0),
        ("rho", np.inf),
        ("group_lasso", -0.1),
        ("group_lasso", np.nan),
        ("beta", -1.0),
        ("ridge", 0.0),
        ("learning_rate", 0.0),
        ("weight_decay", -1e-3),
        ("gap_tolerance", -1.0),
        ("gamma", np.nan),
    ],
)
def test_a_leaf_out_of_range_gives_a_status(leaf, value):
    assert status_of(Params()._replace(**{leaf: value})) == Status.INVALID_PARAMETER


@pytest.mark.parametrize("strength", [1.0, 1.7])
def test_a_strength_at_or_above_lambda_max_is_the_zero_network(strength):
    assert status_of(Params(group_lasso=strength)) == Status.ZERO_NETWORK


def test_identical_chosen_and_rejected_are_the_zero_network():
    assert status_of(features=FEATURES._replace(rejected=FEATURES.chosen)) == Status.ZERO_NETWORK


def test_an_absolute_strength_is_the_same_program():
    fraction = solve(Params(group_lasso=0.2), FEATURES, config=CONFIG)
    strength = float(fraction.stats.phase1.group_lasso_strength)
    absolute_config = dataclasses.replace(CONFIG, strength_unit="absolute")
    absolute = solve(Params(group_lasso=strength), FEATURES, config=absolute_config)
    assert int(absolute.status) == Status.SOLVED
    assert float(absolute.stats.phase1.group_lasso_strength) == strength
    assert float(absolute.stats.phase1.primal_value) == pytest.approx(
        float(fraction.stats.phase1.primal_value), rel=1e-2
    )
    assert np.isnan(float(absolute.stats.phase1.lambda_max))


@pytest.mark.parametrize(
    ("factor", "status"), [(1.05, Status.NOTHING_TO_EXPLAIN), (100.0, Status.ZERO_NETWORK)]
)
def test_an_absolute_strength_above_lambda_max_gives_the_zero_network(factor, status):
    strength = factor * float(solve(Params(), FEATURES, config=CONFIG).stats.phase1.lambda_max)
    config = dataclasses.replace(CONFIG, strength_unit="absolute")
    solution = solve(Params(group_lasso=strength), FEATURES, config=config)
    assert int(solution.status) == status
    assert not np.any(np.asarray(solution.head.theta2))


@pytest.mark.parametrize(
    ("features", "error", "message"),
    [
        ((np.zeros((4, 2)), np.zeros((4, 3))), ValueError, r"features\.chosen and .* \(4, 3\)"),
        ((np.zeros((4, 2)), np.zeros((5, 2))), ValueError, r"row j of each"),
        ((np.zeros(4), np.zeros(4)), ValueError, r"must both be \(n, d\)"),
        ((np.zeros((1, 2)), np.zeros((1, 2))), ValueError, r"1 pairs of 2 features; at least 2"),
        ((np.zeros((4, 0)), np.zeros((4, 0))), ValueError, r"one feature"),
        ((np.zeros((4, 2), int), np.zeros((4, 2), int)), TypeError, r"chosen has dtype int"),
        (([[1.0]], [[2.0]]), TypeError, r"must be a jax or numpy array, got list"),
        (
            (np.zeros((4, 2)), np.zeros((4, 2)), np.ones(3)),
            ValueError,
            r"features\.weight .*\(4,\)",
        ),
    ],
)
def test_misshapen_features_raise_and_name_the_argument(features, error, message):
    with pytest.raises(error, match=message):
        solve(Params(), PreferenceFeatures(*features))


def test_wrong_containers_raise():
    with pytest.raises(TypeError, match=r"must be coala_jax\.PreferenceFeatures"):
        solve(Params(), (np.zeros((4, 2)), np.zeros((4, 2))))
    with pytest.raises(TypeError, match=r"must be coala_jax\.Params"):
        solve({"rho": 1.0}, FEATURES)
    with pytest.raises(ValueError, match=r"params\.rho must be a scalar, got shape \(2,\)"):
        solve(Params(rho=jnp.ones(2)), FEATURES)
    with pytest.raises(ValueError, match=r"eval_features\.chosen"):
        solve(
            Params(),
            FEATURES,
            config=CONFIG,
            eval_features=PreferenceFeatures(np.zeros((4, 2)), np.zeros((3, 2))),
        )


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("n_gates", 0, "n_gates=0 must be at least 1"),
        ("max_epochs", 2.5, "max_epochs=2.5 must be an integer"),
        ("batch_size", True, "batch_size=True must be an integer or None"),
        ("batch_size", 0, "batch_size=0 must be at least 1"),
        ("check_every", 5000, "exceeds max_iterations"),
        ("linear_path", "no", "linear_path=.no. must be True or False"),
        ("model", "gated", "one of relu"),
        ("strength_unit", "relative", "one of lambda_max, absolute"),
        ("phase2_objective", "listwise", "one of pairwise, pointwise"),
        ("precision", "tf32", "one of highest, high, default"),
    ],
)
def test_a_bad_config_field_is_named(field, value, message):
    with pytest.raises(ValueError, match=message):
        Config(**{field: value})


def test_explicit_gates_of_the_wrong_width_raise():
    with pytest.raises(ValueError, match=r"gates must be \(P, 4\)"):
        coala_jax.cronos(Params(), FEATURES, gates=np.zeros((5, 3)))


@pytest.mark.parametrize(
    "call",
    [
        lambda config: solve(Params(), FEATURES, config=config),
        lambda config: coala_jax.cronos(Params(), FEATURES, config=config),
        lambda config: coala_jax.finetune(Params(), HEAD, FEATURES, config=config),
        lambda config: coala_jax.evaluate(Params(), HEAD, FEATURES, config=config),
        lambda config: coala_jax.refine_gates(Params(), FEATURES, config=config),
        lambda config: coala_jax.regularization_path(Params(), FEATURES, [0.5], config=config),
        lambda config: coala_jax.certify(Params(), FEATURES, None, config=config),
        lambda config: coala_jax.select(Params(), FEATURES, config=config),
        lambda config: coala_jax.RewardModel(config=config).fit(*FEATURES[:2]),
    ],
)
def test_a_config_of_another_class_is_named(call):
    for config in ({"n_gates": 4}, "relu", None):
        kind = type(config).__name__
        with pytest.raises(TypeError, match=rf"config must be coala_jax\.Config, got {kind}"):
            call(config)


@pytest.mark.parametrize("value", ["0.1", None, {}])
def test_a_leaf_that_is_no_number_is_named(value):
    with pytest.raises(TypeError, match=r"params\.rho must be a number, got"):
        solve(Params(rho=value), FEATURES)


EXPLICIT = jax.make_mesh((1,), ("rows",), axis_types=(AxisType.Explicit,))


def on_mesh(array, *spec, mesh=EXPLICIT):
    return jax.device_put(array, NamedSharding(mesh, PartitionSpec(*spec)))


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("features.chosen", lambda pairs: solve(Params(), pairs)),
        ("features.chosen", lambda pairs: jax.jit(lambda x: solve(Params(), x))(pairs)),
        ("features.chosen", lambda pairs: coala_jax.cronos(Params(), pairs)),
        ("features.chosen", lambda pairs: coala_jax.select(Params(), pairs)),
        ("features.chosen", lambda pairs: coala_jax.refine_gates(Params(), pairs)),
        ("features.chosen", lambda pairs: coala_jax.accuracy(HEAD, pairs)),
        ("features.chosen", lambda pairs: coala_jax.regularization_path(Params(), pairs, [0.5])),
        ("features.weight", lambda pairs: solve(Params(), FEATURES._replace(weight=pairs.weight))),
        ("eval_features.chosen", lambda pairs: solve(Params(), FEATURES, eval_features=pairs)),
    ],
)
def test_features_that_are_split_over_an_explicit_axis_are_refused_by_name(name, call):
    pairs = PreferenceFeatures(
        on_mesh(FEATURES.chosen, "rows"),
        on_mesh(FEATURES.rejected, None, "rows"),
        on_mesh(np.ones(len(FEATURES.chosen), np.float32), "rows"),
    )
    with pytest.raises(
        ValueError, match=rf"{name} is split over the mesh axis 'rows', which is exp"
    ):
        call(pairs)
    with pytest.raises(ValueError, match=r"gates is split over the mesh axis 'rows'"):
        coala_jax.cronos(Params(), FEATURES, gates=on_mesh(np.ones((2, 4)), "rows"))


def test_features_on_an_explicit_mesh_that_are_whole_on_each_device_are_solved():
    whole = PreferenceFeatures(*(on_mesh(side) for side in FEATURES[:2]))
    found = solve(Params(), whole, config=CONFIG)
    expected = solve(Params(), FEATURES, config=CONFIG)
    np.testing.assert_allclose(found.head.theta1, expected.head.theta1, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_the_mend_of_an_explicit_axis_is_one():
    auto = jax.make_mesh((1,), ("rows",), axis_types=(AxisType.Auto,))
    split = PreferenceFeatures(*(on_mesh(side, "rows", mesh=auto) for side in FEATURES[:2]))
    assert np.isfinite(solve(Params(), split, config=CONFIG).head.theta1).all()


def test_every_status_has_a_text():
    assert all(len(status.text) > 20 for status in Status)


# Libraries that an exported solve calls: Cholesky factors, and eigenvalues.
CUSTOM_CALLS = {"cuda": {"cusolver_potrf_ffi", "cusolver_syevd_ffi"}, "tpu": {"Eigh"}}


@pytest.mark.parametrize("platform", CUSTOM_CALLS)
def test_a_solve_is_exported_for_accelerators_with_known_custom_calls_alone(platform):
    """`jax.export` lowers it where there is none, and takes no call that may change its meaning."""
    export = pytest.importorskip("jax.export")
    config = dataclasses.replace(CONFIG, linear_path=True)
    scalar, side = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((), (PAIRS, WIDTH)))
    run = jax.jit(lambda params, features: solve(params, features, config=config).head)
    made = export.export(run, platforms=[platform])(
        Params(*[scalar] * len(Params._fields)), PreferenceFeatures(side, side)
    )
    assert made.platforms == (platform,)
    assert (WIDTH, 2 * CONFIG.n_gates) in [leaf.shape for leaf in made.out_avals]
    called = set(re.findall(r"custom_call @([\w.$]+)", made.mlir_module()))
    called -= {"Sharding", "shape_assertion", "mhlo.topk"}  # jax's own, in 0.8 too
    assert called <= CUSTOM_CALLS[platform]
