"""What comes out of a solve: statuses, figures, traces, and metrics of any head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import coala_jax
from coala_jax import CoalaError, Config, Params, SolveError, Status, evaluate, refine_gates, solve
from coala_jax.losses import HUBER, Loss
from tests.helpers import draw_pairs

CONFIG = Config(n_gates=3, max_iterations=500, max_epochs=300)
FEATURES, OTHERS = (draw_pairs(seed, 30, 3, dtype="float32") for seed in (0, 1))
PARAMS = Params(group_lasso=0.1, gamma=0.3)


@pytest.fixture(scope="module")
def solution():
    return solve(PARAMS, FEATURES, config=CONFIG, eval_features=OTHERS)


@pytest.fixture(scope="module")
def sweep():
    """Solved, a zero network, and an invalid parameter."""
    strengths = jnp.asarray([0.1, 1.5, jnp.nan])
    return jax.vmap(lambda s: solve(Params(group_lasso=s), FEATURES, config=CONFIG))(strengths)


def test_statuses_print_by_name_and_say_whether_they_pass():
    assert f"{Status.SOLVED}" == str(Status.SOLVED) == "SOLVED"
    assert f"{Status.BREAKDOWN:>12}" == "   BREAKDOWN"
    assert f"{Status.BREAKDOWN:d}" == str(int(Status.BREAKDOWN))
    assert {status for status in Status if status.ok} == {
        Status.SOLVED,
        Status.SOLVED_WITHOUT_GAP,
    }


def test_a_solution_prints_its_status_and_the_size_of_its_head(solution):
    assert repr(solution) == "Solution(status=SOLVED, head=ConvexHead(3 -> 6 -> 1))"


def test_the_summary_has_every_figure_of_both_phases_once(solution):
    lines = solution.summary().splitlines()
    assert lines[0] == repr(solution)
    phases = solution.stats
    names = ["phase1", *phases.phase1._fields, "phase2", *phases.phase2._fields]
    assert [line.split()[0] for line in lines[1:]] == names
    assert f"{float(phases.phase2.loss):.4g}" in lines[-3]


def test_a_sweep_prints_how_many_ended_how(sweep):
    assert "1 SOLVED, 1 ZERO_NETWORK, 1 INVALID_PARAMETER" in repr(sweep)
    steps = sweep.stats.phase1.iterations
    assert f"iterations            0 .. {int(steps.max())}\n" in sweep.summary()
    with pytest.raises(SolveError, match="2 of 3 elements failed: zero_network: .*; invalid_par"):
        sweep.raise_for_status()


def test_solutions_print_under_a_transformation():
    seen = []

    def traced(strength):
        found = solve(Params(group_lasso=strength), FEATURES, config=CONFIG)
        seen.append((repr(found), found.summary()))
        return found.status

    jax.jit(traced)(0.1)
    assert "ConvexHead(3 -> 6 -> 1)" in seen[0][0]


def test_solutions_of_shapes_alone_or_of_nothing_print(solution):
    shapes = jax.eval_shape(lambda: solve(PARAMS, FEATURES, config=CONFIG))
    assert "ConvexHead(3 -> 6 -> 1)" in repr(shapes)
    assert "ShapeDtypeStruct" in shapes.summary()
    assert "status=None" in repr(jax.tree.map(lambda _: None, solution))


@pytest.mark.parametrize("phase", ["first", "second"])
def test_each_phase_raises_for_its_own_status(phase):
    config = Config(n_gates=3, max_iterations=25, max_epochs=1)
    tight = Params(gap_tolerance=1e-9, excess_tolerance=1e-12)
    first = coala_jax.cronos(tight, FEATURES, config=config)
    if phase == "first":
        ended, reason = first, "iteration_limit"
    else:
        ended, reason = (
            coala_jax.finetune(tight, first.head, FEATURES, config=config),
            "epoch_limit",
        )
    with pytest.raises(SolveError, match=f"the solve failed: {reason}"):
        ended.raise_for_status()
    assert reason.upper() in repr(ended) and reason.upper() in ended.summary()


def test_a_trimmed_history_ends_with_the_last_entry(solution):
    whole, history = solution.history, solution.history.trim()
    certificates = int(solution.stats.phase1.iterations) // CONFIG.check_every
    assert history.phase1.relative_gap.shape == (certificates,)
    assert history.phase2.train.loss.shape == (int(solution.stats.phase2.epochs) + 1,)
    assert history.phase2.eval.accuracy.shape == history.phase2.train.loss.shape
    assert history.phase1.relative_gap[-1] == solution.stats.phase1.relative_gap
    assert not any(np.isnan(leaf).any() for leaf in jax.tree.leaves(history))
    assert whole.phase1.iteration.shape == (CONFIG.max_iterations // CONFIG.check_every,)


def test_the_history_of_a_sweep_is_not_trimmed_but_that_of_an_element_is(sweep):
    with pytest.raises(CoalaError, match=r"history: trim\(\) takes that of one solve"):
        sweep.history.trim()
    element = jax.tree.map(lambda leaf: leaf[2], sweep.history).trim()
    assert element.phase1.iteration.shape == (0,)
    assert element.phase2.train.loss.shape == (1,)


def test_evaluate_is_what_the_history_records(solution):
    last = jax.tree.map(lambda trace: trace[-1], solution.history.phase2.trim())
    for pairs, recorded in ((FEATURES, last.train), (OTHERS, last.eval)):
        found = evaluate(PARAMS, solution.head, pairs, config=CONFIG)
        np.testing.assert_allclose(found, recorded, rtol=1e-4)


def test_evaluate_makes_no_figures_of_what_solve_would_not_take(solution):
    negative = OTHERS._replace(weight=-np.ones(30))
    assert all(np.isnan(metric) for metric in evaluate(PARAMS, solution.head, negative))
    with pytest.raises(TypeError, match="head must be a ConvexHead or a GatedHead.*got Solution"):
        evaluate(PARAMS, solution, OTHERS)


def test_evaluate_is_the_loss_of_eq_6_by_hand(solution):
    margins = solution.head(OTHERS.chosen) - solution.head(OTHERS.rejected)
    expected = np.mean(np.logaddexp(0, 0.3 - np.asarray(margins, np.float64)))
    found = evaluate(PARAMS, solution.head, OTHERS)
    assert float(found.log_loss) == pytest.approx(expected, rel=1e-5)
    correct = np.where(margins == 0, 0.5, margins > 0)  # a tie counts half
    assert float(found.accuracy) == pytest.approx(correct.mean())


def test_a_batch_of_heads_is_refused_where_one_is_needed(sweep, tmp_path):
    refused = pytest.raises(CoalaError, match=r"head: its theta2 is \(3, 6\), a batch of heads")
    with refused:
        evaluate(PARAMS, sweep.head, OTHERS)
    with refused:
        coala_jax.finetune(PARAMS, sweep.head, OTHERS)
    with refused:
        coala_jax.save_head(tmp_path / "head", sweep.head, {})
    assert not (tmp_path / "head").exists()


def test_a_loss_may_be_given_itself():
    by_name, given = (
        coala_jax.cronos(
            PARAMS, FEATURES, config=Config(n_gates=3, max_iterations=25, phase1_loss=loss)
        )
        for loss in ("huber", Loss(*HUBER))
    )
    np.testing.assert_array_equal(given.head.theta1, by_name.head.theta1)


@pytest.mark.parametrize("field", ["phase1_loss", "strength_unit"])
def test_a_field_of_another_type_is_named_when_the_config_is_made(field):
    with pytest.raises(CoalaError, match=rf"{field}.* must be one of"):
        Config(**{field: ["squared"]})


def test_the_old_name_of_the_unit_is_read():
    assert Config(strength_unit="critical") == Config(strength_unit="lambda_max")


def test_gates_may_be_given(solution):
    gates = solution.certificate.gates
    again = solve(PARAMS, FEATURES, config=CONFIG, gates=gates, eval_features=OTHERS)
    expected = np.asarray(solution.head(OTHERS.chosen))
    found = np.asarray(again.head(OTHERS.chosen))
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
    for misshapen in (np.zeros((3, 3)), np.zeros((0, 4))):
        with pytest.raises(CoalaError, match=r"gates must be \(P, 4\)"):
            solve(PARAMS, FEATURES, config=CONFIG, gates=misshapen)
    poisoned = solve(PARAMS, FEATURES, config=CONFIG, gates=np.full((3, 4), np.nan))
    assert int(poisoned.status) == Status.NOT_FINITE_INPUT


def test_no_round_of_refinement_is_the_plain_solution(solution):
    plain = refine_gates(PARAMS, FEATURES, config=CONFIG, eval_features=OTHERS, max_rounds=0)
    np.testing.assert_array_equal(plain.certificate.gates, solution.certificate.gates)
    # The phases are compiled apart, and so rounded otherwise.
    expected = np.asarray(solution.head(OTHERS.chosen))
    found = np.asarray(plain.head(OTHERS.chosen))
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
    assert int(plain.status) == Status.SOLVED


def test_refined_gates_lower_the_objective_and_both_phases_are_solved(solution):
    refined = refine_gates(PARAMS, FEATURES, config=CONFIG, eval_features=OTHERS).raise_for_status()
    first, last = solution.stats.phase1, refined.stats.phase1
    assert float(last.primal_value) < float(first.primal_value)
    # Of its own first round; `solve` is compiled apart, and so may round it otherwise.
    plain = refine_gates(PARAMS, FEATURES, config=CONFIG, eval_features=OTHERS, max_rounds=0)
    assert last.group_lasso_strength == plain.stats.phase1.group_lasso_strength
    np.testing.assert_allclose(last.group_lasso_strength, first.group_lasso_strength, rtol=1e-6)
    assert refined.history.trim().phase2.eval.accuracy.size > 1
