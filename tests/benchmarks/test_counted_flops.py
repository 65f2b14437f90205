"""Counts of products that ran: by hand, by formula, by XLA without loops, and of `select`."""

import math
from importlib import resources
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from coala_jax import Params, PreferenceFeatures, select, solve
from coala_jax.convex import cronos_init, cronos_step
from coala_jax.convex._cronos import cronos_problem
from coala_jax.convex._flops import admm_flops
from coala_jax.convex._program import Program
from coala_jax.losses import SQUARED
from coala_jax.selection import SELECTED, Grid

N = 6
PRODUCT = 2 * N**3
SQUARE = jnp.asarray(np.random.default_rng(0).standard_normal((N, N)) / 4, jnp.float32)
DEFINITE = SQUARE @ SQUARE.T + jnp.eye(N)


@pytest.fixture(scope="module", autouse=True)
def benchmarks():
    """The folder of the scripts, which import each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        yield


def count(function, *arguments):
    """Its operations, bare and under jit; its values are those of the plain run."""
    from counted_flops import counted

    plain = function(*arguments)
    (value, bare), (compiled, jitted) = (
        counted(each, *arguments) for each in (function, jax.jit(function))
    )
    for found in (value, compiled):
        for mine, theirs in zip(*map(jax.tree.leaves, (found, plain)), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    assert bare == jitted
    return bare


def repeat(times, x):
    """So many products, by a loop whose end is not known before."""
    return lax.while_loop(lambda s: s[0] < times, lambda s: (s[0] + 1, SQUARE @ s[1]), (0, x))[1]


@pytest.mark.parametrize("times", [0, 1, 7])
def test_a_while_loop_counts_as_often_as_it_turns(times):
    assert count(repeat, times, SQUARE) == times * PRODUCT


def test_the_condition_of_a_loop_counts_once_more_than_its_body():
    def shrink(x):
        return lax.while_loop(lambda x: (x @ x)[0, 0] > 1, lambda x: x / 2, x)

    assert count(shrink, 5 * jnp.eye(N)) == 4 * PRODUCT


def test_loops_within_loops_multiply():
    def twice(times, x):
        return lax.fori_loop(0, times, lambda i, x: repeat(i, x), x)

    assert count(twice, 5, SQUARE) == (0 + 1 + 2 + 3 + 4) * PRODUCT


def test_a_batch_of_loops_runs_until_the_last_one_is_done():
    times = jnp.array([2, 7, 0])
    assert count(jax.vmap(repeat, (0, None)), times, SQUARE) == 3 * 7 * PRODUCT


def test_a_batched_condition_is_asked_twice_a_turn():
    def shrink(x):
        return lax.while_loop(lambda x: (x @ x)[0, 0] > 1, lambda x: x / 2, x)

    x = jnp.stack([5 * jnp.eye(N), jnp.eye(N)])
    assert count(jax.vmap(shrink), x) == 2 * (2 * 3 + 1) * PRODUCT


def test_a_scan_counts_by_its_length():
    def states(x):
        return lax.scan(lambda x, row: (SQUARE @ x, row @ x), x, SQUARE[:4])

    assert count(states, SQUARE) == 4 * (PRODUCT + 2 * N**2)


def test_a_scan_of_loops_counts_every_turn():
    def states(x):
        return lax.scan(lambda x, n: (repeat(n, x), x), x, jnp.arange(4), reverse=True)

    assert count(states, SQUARE) == (0 + 1 + 2 + 3) * PRODUCT


@pytest.mark.parametrize(("index", "products"), [(0, 0), (1, 1), (2, 3)])
def test_of_a_conditional_the_branch_that_was_taken_counts(index, products):
    branches = [lambda x: x, lambda x: x @ x, lambda x: repeat(3, x)]
    assert count(lambda i, x: lax.switch(i, branches, x), index, SQUARE) == products * PRODUCT


def test_of_several_platforms_this_one_counts():
    def here(x):
        return lax.platform_dependent(x, cpu=lambda x: x @ x, cuda=lambda x: x @ x, tpu=repeat_once)

    def repeat_once(x):
        return repeat(1, x)

    assert count(here, SQUARE) == PRODUCT


def test_a_gradient_counts_its_products():
    def loss(x):
        return jnp.sum(jnp.tanh(SQUARE @ x))

    assert count(jax.value_and_grad(loss), SQUARE) == 2 * PRODUCT


def test_what_is_computed_again_for_a_gradient_counts_again():
    @jax.checkpoint
    def layer(x):
        return jnp.tanh(SQUARE @ jnp.tanh(SQUARE @ x))

    # Two products forward, two again, two backward.
    assert count(jax.value_and_grad(lambda x: layer(x).sum()), SQUARE) == 6 * PRODUCT


def test_custom_rules_count_what_they_run():
    @jax.custom_vjp
    def square(x):
        return x @ x

    square.defvjp(lambda x: (x @ x, x), lambda x, slope: (repeat(3, slope),))
    assert count(square, SQUARE) == PRODUCT
    assert count(jax.value_and_grad(lambda x: square(x).sum()), SQUARE) == 4 * PRODUCT


def test_factorisations_count_by_their_formulas():
    assert count(jnp.linalg.cholesky, DEFINITE) == N**3 // 3
    assert count(jax.vmap(jnp.linalg.cholesky), jnp.stack([DEFINITE] * 3)) == 3 * (N**3 // 3)
    right = SQUARE[:, :2]
    solve_triangular = jax.scipy.linalg.solve_triangular
    assert count(lambda a, b: solve_triangular(a, b, lower=True), DEFINITE, right) == 2 * N**2
    # LU, and a triangular solve with each factor.
    assert count(jnp.linalg.solve, DEFINITE, right) == 2 * N**3 // 3 + 2 * 2 * N**2
    assert count(jnp.linalg.eigh, DEFINITE) == 9 * N**3
    assert count(jnp.linalg.qr, SQUARE) == 2 * 2 * (2 * N**3 // 3)


def test_a_convolution_is_the_products_of_its_windows():
    image, kernel = jnp.ones((2, 3, 8, 8)), jnp.ones((5, 3, 2, 2))
    flops = count(lambda x, k: lax.conv(x, k, (1, 1), "VALID"), image, kernel)
    assert flops == 2 * (2 * 5 * 7 * 7) * (3 * 2 * 2)


def test_what_nothing_depends_on_does_not_count():
    def wasteful(x):
        x @ x
        return jax.jit(lambda x: (SQUARE @ x, x @ x))(x)[0]

    from counted_flops import counted

    assert counted(jax.jit(wasteful), SQUARE).flops == PRODUCT


def test_counts_beyond_32_bits_are_exact():
    def long(times):
        big = jnp.zeros((1024, 1024))
        return lax.while_loop(lambda s: s[0] < times, lambda s: (s[0] + 1, big @ s[1]), (0, big))[0]

    from counted_flops import counted

    assert counted(jax.jit(long), 5).flops == 5 * 2 * 1024**3 > 2**32


def test_parts_are_counted_apart_and_the_innermost_counts():
    from counted_flops import REST, counting

    @jax.jit
    def inner(x):
        return repeat(2, x)

    @jax.jit
    def outer(x):
        return inner(SQUARE @ x)

    with counting(["inner", "outer"]) as flops:
        outer(SQUARE) @ SQUARE
    assert dict(flops) == {"inner": 2 * PRODUCT, "outer": PRODUCT, REST: PRODUCT}


def test_what_is_not_known_is_refused_by_name():
    from counted_flops import UncountedError, counted

    with pytest.raises(UncountedError, match="svd"):
        counted(jnp.linalg.svd, SQUARE)

    def host(x):
        return jax.pure_callback(lambda x: x @ x, x, x)

    with pytest.raises(UncountedError, match="pure_callback"):
        counted(jax.jit(host), SQUARE)
    mesh = jax.sharding.Mesh(jax.devices()[:1], ("rows",))
    nothing = jax.sharding.PartitionSpec()
    spread = jax.shard_map(lambda x: x @ x, mesh=mesh, in_specs=nothing, out_specs=nothing)
    with pytest.raises(UncountedError, match="shard_map"):
        counted(jax.jit(spread), SQUARE)
    ready = jax.jit(lambda x: x @ x).lower(SQUARE).compile()
    with pytest.raises(UncountedError, match="ahead of time"):
        counted(ready, SQUARE)
    np.testing.assert_allclose(ready(SQUARE), SQUARE @ SQUARE, rtol=1e-5)


def test_code_without_loops_is_what_xla_counts():
    """Wide enough that what is elementwise is small."""
    from counted_flops import counted

    def layers(weights, x):
        for weight in weights:
            x = jax.nn.relu(x @ weight)
        return (x**2).sum()

    run = jax.jit(jax.value_and_grad(layers))
    inputs = jnp.full((3, 96, 96), 0.1), jnp.ones((64, 96))
    xla = run.lower(*inputs).compile().cost_analysis()["flops"]
    assert counted(run, *inputs).flops == pytest.approx(xla, rel=0.1)


@pytest.mark.parametrize("model", ["relu", "gated_relu"])
def test_admm_steps_are_what_the_formula_says(model):
    from counted_flops import counted

    rows, width, gates, steps = 400, 100, 6, 5
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((rows, width)), jnp.float32)
    patterns = jnp.asarray(rng.random((gates, rows)) < 0.5, jnp.float32)
    labels = jnp.asarray(np.sign(rng.standard_normal(rows)), jnp.float32)
    program = Program(x, patterns, labels, jnp.ones(rows), jnp.asarray(1.0), SQUARED, model)
    problem = cronos_problem(program, jnp.asarray(1.0))
    run = jax.jit(lambda s: lax.fori_loop(0, steps, lambda _, s: cronos_step(problem, s, 20), s))
    state, flops = counted(run, cronos_init(problem))
    assert int(state.iterations) == steps
    formula = admm_flops(steps, int(state.cg_iterations), rows, width, gates, model)
    assert flops == pytest.approx(formula, rel=0.1)


def backbone_of(family, fields):
    from flax import nnx

    from coala_jax.backbones._families import FAMILIES

    config = FAMILIES[family].read_config({"model_type": family, **fields})
    return config, FAMILIES[family].make(config, nnx.Rngs(0), jnp.float32)


def embedded():
    from coala_jax.backbones import load_backbone

    return load_backbone(Path(str(resources.files("coala_jax.quickstart"))) / "backbone")


LLAMA = {
    **{"vocab_size": 31, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128},
}


@pytest.mark.parametrize("layers", [(-1,), (0, 2)])
def test_a_pass_is_what_its_formula_says(layers):
    from backbone_flops import extraction_count

    from coala_jax.backbones._flops import pass_flops

    model, tokens = embedded(), jnp.ones((2, 48), jnp.int32)
    pairs = [(model.config, model.module), backbone_of("llama", LLAMA)]
    for config, module in pairs:
        formula = pass_flops(config, 2, 48, layers)
        assert extraction_count(module, tokens, layers) == pytest.approx(formula, rel=0.1)


@pytest.mark.slow
def test_generation_takes_a_pass_a_token():
    from backbone_flops import countable
    from counted_flops import counted

    from coala_jax.decoding import GenerationConfig, Sampling, guided_generate

    model, key = embedded(), jax.random.key(0)

    def generate(tokens):
        config = GenerationConfig(Sampling(scale=0.0, max_new_tokens=tokens))
        return counted(lambda: guided_generate(countable(model), ["A cell"], config, key))

    few, more = generate(2), generate(4)
    assert [len(each.value[0].tokens) for each in (few, more)] == [2, 4]
    config = model.config
    weights = config.depth * config.matrix_weights + config.vocab_size * config.hidden_size
    assert more.flops - few.flops == pytest.approx(2 * 2 * weights, rel=0.25)


def made(pairs=40, width=8):
    from head_flops import made_pairs

    return made_pairs(pairs, width)


GRID = Grid(strengths=(0.5, 0.1), linear_ridges=(1.0, 0.1), ridges=(0.1,))


@pytest.mark.slow
def test_a_counted_selection_is_the_plain_one():
    from head_flops import STAGES, counted_select

    features = made()
    plain = select(Params(), features, grid=GRID)
    found = counted_select(Params(), features, grid=GRID)
    assert str(found.selection.choice) == str(plain.choice)
    for mine, theirs in zip(found.selection.choice.table, plain.choice.table, strict=True):
        np.testing.assert_allclose(mine.log_loss, theirs.log_loss, rtol=1e-4)
    solutions = found.selection.solution, plain.solution
    assert int(solutions[0].status) == int(solutions[1].status)
    rewards = [solution.head(features.chosen) for solution in solutions]
    np.testing.assert_allclose(*rewards, atol=1e-4 * float(jnp.abs(rewards[1]).max()))
    assert sum(found.stages.values()) == sum(found.functions.values())
    assert min(found.functions[name] for name in STAGES) > 0


@pytest.mark.slow
def test_a_solve_has_no_products_outside_its_phases():
    from counted_flops import REST, counting

    with counting(["_cronos", "_finetune"]) as flops:
        solve(Params(), made(), config=SELECTED)
    assert flops.pop(REST, 0) == 0
    assert len(flops) == 2 and min(flops.values()) > 0


def test_made_pairs_have_a_reward():
    features = made(200)
    assert isinstance(features, PreferenceFeatures)
    assert np.abs(features.chosen[:, 0]).mean() > np.abs(features.rejected[:, 0]).mean()
    assert math.isfinite(float(np.sum(features.chosen)))
