"""Whether a device computes what it should: against float64, and against the CPU of the machine.

    PYTHONPATH=. python benchmarks/gpu_checks.py            # one card, 3 minutes
    PYTHONPATH=. python benchmarks/gpu_checks.py --small    # any machine

Programs are solved on the device, their steps with float32 products and with the ones that are its
default (TF32 on a GPU), and judged by `adversary/` in float64 on the host. All else is done twice,
on the device and on the CPU in the same process, and compared: networks, strengths chosen,
gradients, features of the embedded backbone, guided tokens. The quickstart's accuracy is compared
with the recorded one. On a machine without another device both sides are the same.

A row a check: its figure, what it may be at most (a dash where it is only told), and whether it
held. A check that raised, or for which the rest of the budget is too short, stays with its reason.
Exits with 1 where one did not hold.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from adversary.answers import answers_of
from adversary.bounds import dual_bound
from adversary.phase1 import certified_value
from adversary.program import program_of
from gpu_sides import TOLERANCE, Sides, Sizes
from reporting import RESULTS, Measured, Recorder, figure, markdown, origin, parser_of, say

from coala_jax import Config, Status, certify, cronos, select, solve
from coala_jax._status import SUCCESSES
from coala_jax.decoding import (
    PAPER,
    Generation,
    GenerationConfig,
    TextRewardModel,
    best_of_n,
    guided_generate,
)
from coala_jax.quickstart import tutoring_rows
from coala_jax.quickstart._demo import demo_pairs, embedded_backbone
from coala_jax.quickstart._tutoring import EVAL_PAIRS, TRAIN_PAIRS
from coala_jax.selection import Grid
from coala_jax.study._experiment import Settings, run_experiment

# A gap of 1e-3 leaves outputs free by a few per cent of their norm: the root of it.
OUTPUTS_MAY_DIFFER = 0.05
# Rounding of a float32 sum over all rows, as a share of the bound.
CERTIFY_MAY_DIFFER = 1e-4
GRADIENTS_MAY_DIFFER = 0.05
STRENGTHS = (0.2, 0.1, 0.05)
# Of features by dtype: float32 products, and roundings of half precision through four layers.
FEATURES_MAY_DIFFER = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
# Held-out pairs of the quickstart that rounding may turn.
ACCURACY_MAY_DIFFER = 0.01
# The products that jax may be asked to make by default; float32 features name their own.
TF32 = "tensorfloat32"
COLUMNS = ("check", "of", "figure", "at most", "held", "seconds", "detail")


WHOLE = Sizes(2000, 128, 16, 64, 8, 48, 4, TRAIN_PAIRS, EVAL_PAIRS)
SMALL = Sizes(60, 4, 3, 4, 2, 6, 2, 60, 20)


class Found(NamedTuple):
    """What a check found.

    Attributes:
        figure: what counts.
        at_most: what it may be; None where it is only told.
        detail: beside it.
        sound: whether all else was as it should be.
    """

    figure: float
    at_most: float | None
    detail: str
    sound: bool = True

    @property
    def held(self) -> bool:
        """Whether the check held; a figure that is not finite never does."""
        within = self.at_most is None or self.figure <= self.at_most
        return bool(self.sound and np.isfinite(self.figure) and within)


def main(argv: list[str] | None = None) -> int:
    """Run the checks; gives the exit code.

    Args:
        argv: the command line without the program; that of the process if None.
    """
    arguments = _arguments(argv)
    sizes = SMALL if arguments.small else WHOLE
    recorder = Recorder(arguments, {"sizes": sizes._asdict()}, _table)
    side = Sides(sizes)
    for name, of, check in checks(side):
        if arguments.only and name not in arguments.only:
            continue

        def measure(check: Callable[[], Found] = check) -> Measured:
            start = time.perf_counter()
            found = check()
            seconds = time.perf_counter() - start
            return Measured({**found._asdict(), "held": found.held, "seconds": seconds})

        recorder.measure({"part": name, "model": of}, measure)
        say(recorder.rows[-1])
    sys.stdout.write(recorder.table())
    return 0 if all(row.get("held") for row in recorder.rows) else 1


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    out = Path(os.environ.get("OUT", RESULTS))
    parser = parser_of(__doc__, "gpu_checks", out)
    parser.add_argument("--small", action="store_true", help="tiny sizes")
    parser.add_argument("--only", nargs="+", metavar="CHECK", help="these checks alone")
    parser.add_argument("--budget", type=float, default=300.0, help="seconds for everything")
    return parser.parse_args(argv)


def checks(sides: Sides) -> list[tuple[str, str, Callable[[], Found]]]:
    """Names of the checks, of what, and what makes each."""
    highest, default = sides.config(), sides.config(precision="default")
    bent = sides.config(phase1_loss="bradley_terry", linear_path=True)
    greedy = GenerationConfig().with_options(temperature=0.0)
    paper = PAPER.with_options(scale=1.0)
    part = functools.partial
    return [
        ("solve", "highest", part(check_solve, sides, highest)),
        ("solve", "default", part(check_solve, sides, default, told=True)),
        ("certify", "highest", part(check_certify, sides, highest)),
        ("certify", "default", part(check_certify, sides, default)),
        ("network as the CPU's", "highest", part(check_outputs, sides, highest)),
        ("network as the CPU's", "default", part(check_outputs, sides, default, told=True)),
        ("features as the CPU's", "float32", part(check_features, sides, "float32")),
        ("features as the CPU's", "float32 in TF32", part(check_features, sides, "float32", TF32)),
        ("features as the CPU's", "bfloat16", part(check_features, sides, "bfloat16")),
        ("features as the CPU's", "float16", part(check_features, sides, "float16")),
        ("tokens as the CPU's", "greedy", part(check_tokens, sides, greedy)),
        ("tokens as the CPU's", "sampled", part(check_tokens, sides, GenerationConfig())),
        ("tokens as the CPU's", "the paper's form", part(check_tokens, sides, paper)),
        ("best of n as the CPU's", "sampled", part(check_best_of_n, sides)),
        ("quickstart", "seed 0", part(check_quickstart, sides)),
        ("cronos", "gated_relu", part(check_cronos, sides, sides.config(model="gated_relu"))),
        ("cronos", "bradley_terry, linear path", part(check_cronos, sides, bent)),
        ("vmap of solve", "group_lasso", part(check_vmap, sides)),
        ("gradient of solve", "group_lasso", part(check_gradient, sides)),
        ("select", "as the CPU's", part(check_select, sides)),
    ]


def _gap(sides: Sides, config: Config, certificate: Any) -> float:
    """The relative gap that a certificate proves, all of it in float64 on the host."""
    params = jax.tree.map(float, sides.params)
    answers = answers_of(sides.features, config, params)
    program = program_of(answers, certificate, config, params)
    value, outside = certified_value(program, certificate)
    if outside:
        raise ValueError(f"{outside} products of the certificate's weights are outside their cones")
    bound = dual_bound(program, certificate.dual_point, certificate.multipliers)
    return float((value - bound) / abs(bound))


def _judged(
    sides: Sides, config: Config, certificate: Any, stats: Any, told: bool = False
) -> Found:
    """The gap of a certificate, beside what the solver says of it."""
    status = Status(int(stats.status))
    detail = (
        f"{status.name.lower()}, {int(stats.iterations)} steps, reported gap "
        f"{float(stats.relative_gap):.3e}"
    )
    at_most = None if told else 1.01 * TOLERANCE
    return Found(_gap(sides, config, certificate), at_most, detail, told or status in SUCCESSES)


def check_solve(sides: Sides, config: Config, told: bool = False) -> Found:
    """The gap of both phases' certificate in float64."""
    found = sides.solution(sides.device, config)
    return _judged(sides, config, found.certificate, found.stats.phase1, told)


def check_cronos(sides: Sides, config: Config) -> Found:
    """The gap of Phase I alone, of another program."""
    with jax.default_device(sides.device):
        made = cronos(sides.params, sides.features, config=config, key=jax.random.key(0))
    found = jax.tree.map(np.asarray, made)
    return _judged(sides, config, found.certificate, found.stats)


def check_certify(sides: Sides, config: Config) -> Found:
    """How far the gap of `certify`, on the device, is from that in float64."""
    certificate = sides.solution(sides.device, config).certificate
    with jax.default_device(sides.device):
        report = certify(sides.params, sides.features, certificate, config=config)
    gap, exact = float(report.relative_gap), _gap(sides, config, certificate)
    # Its own dual point may be the better one: only a smaller gap than the true one is false.
    return Found(exact - gap, CERTIFY_MAY_DIFFER, f"certify {gap:.3e}, float64 {exact:.3e}")


def check_outputs(sides: Sides, config: Config, told: bool = False) -> Found:
    """Relative difference of the head's reward differences from those of a solve on the CPU."""
    ours, reference = (
        _margins(sides, sides.solution(*of).head)
        for of in ((sides.device, config), (sides.cpu, sides.config()))
    )
    same_side = float(np.mean((ours > 0) == (reference > 0)))
    detail = f"{same_side:.4f} of the pairs are ordered alike"
    return Found(_difference(ours, reference), None if told else OUTPUTS_MAY_DIFFER, detail)


def _margins(sides: Sides, head: Any) -> np.ndarray:
    """Reward differences of all pairs, on the CPU."""
    with jax.default_device(sides.cpu):
        return np.asarray(head(sides.features.chosen)) - np.asarray(head(sides.features.rejected))


def _difference(ours: np.ndarray, reference: np.ndarray) -> float:
    """||ours - reference|| / ||reference||."""
    ours, reference = np.asarray(ours, np.float64), np.asarray(reference, np.float64)
    return float(np.linalg.norm(ours - reference) / np.linalg.norm(reference))


def check_vmap(sides: Sides) -> Found:
    """Largest difference of a swept solve's margins from those of single ones."""

    def at(strength: jax.Array, config: Config) -> Any:
        params = sides.params._replace(group_lasso=strength)
        return solve(params, sides.features, config=config, key=jax.random.key(0))

    def swept(strength: jax.Array) -> Any:
        return at(strength, sides.config(sweep="lockstep"))

    with jax.default_device(sides.device):
        found = jax.tree.map(np.asarray, jax.jit(jax.vmap(swept))(jnp.asarray(STRENGTHS)))
        single = [
            jax.tree.map(np.asarray, at(jnp.float32(each), sides.config())) for each in STRENGTHS
        ]
    differences = [
        _difference(
            _margins(sides, jax.tree.map(lambda leaf, place=place: leaf[place], found.head)),
            _margins(sides, one.head),
        )
        for place, one in enumerate(single)
    ]
    names = sorted({Status(int(status)).name.lower() for status in found.status})
    sound = all(Status(int(status)) in SUCCESSES for status in found.status)
    return Found(max(differences), OUTPUTS_MAY_DIFFER, ", ".join(names), sound)


def check_gradient(sides: Sides) -> Found:
    """The derivative of the mean margin by the strength, against that on the CPU."""

    def mean_margin(strength: jax.Array) -> jax.Array:
        params = sides.params._replace(group_lasso=strength)
        head = solve(params, sides.features, config=sides.config(), key=jax.random.key(0)).head
        return jnp.mean(head(sides.features.chosen) - head(sides.features.rejected))

    slopes = []
    for device in (sides.device, sides.cpu):
        with jax.default_device(device):
            slopes.append(float(jax.grad(mean_margin)(jnp.float32(STRENGTHS[-1]))))
    ours, reference = slopes
    detail = f"{ours:.5g}, CPU {reference:.5g}"
    return Found(abs(ours - reference) / abs(reference), GRADIENTS_MAY_DIFFER, detail)


def check_select(sides: Sides) -> Found:
    """How far the chosen strengths are from those chosen on the CPU, in logarithms."""
    grid = Grid(strengths=(0.3, 0.1), linear_ridges=(1.0, 0.1), ridges=(1e-2,))
    chosen = []
    for device in (sides.device, sides.cpu):
        with jax.default_device(device):
            found = select(sides.params, sides.features, grid=grid, folds=2, key=jax.random.key(0))
        params = found.choice.params
        strengths = params.group_lasso, params.linear_ridge, params.ridge
        chosen.append((np.asarray(strengths, float), Status(int(found.solution.status))))
    (ours, status), (reference, _) = chosen
    detail = f"{status.name.lower()}; group_lasso, linear_ridge, ridge {ours.tolist()}"
    return Found(float(np.max(abs(np.log(ours / reference)))), 0.0, detail, status in SUCCESSES)


def check_features(sides: Sides, dtype: str, precision: str | None = None) -> Found:
    """Relative error of pooled features against float32 on the CPU."""
    reference = sides.pooled(sides.cpu, "float32")
    found = _difference(sides.pooled(sides.device, dtype, precision), reference)
    detail = f"{reference.shape[0]} texts"
    if dtype != "float32":
        own = _difference(sides.pooled(sides.cpu, dtype), reference)
        detail += f"; the CPU's own {dtype} {own:.2e}"
    return Found(found, FEATURES_MAY_DIFFER[dtype], detail)


def check_tokens(sides: Sides, config: GenerationConfig) -> Found:
    """Responses that part from the CPU's without a near tie."""
    config = config.with_options(max_new_tokens=sides.sizes.new_tokens)

    def make(model: TextRewardModel, prompts: list[str]) -> list[Generation]:
        return guided_generate(model, prompts, config, jax.random.key(0))

    return _parted(*(sides.generated(device, make) for device in (sides.device, sides.cpu)))


def check_best_of_n(sides: Sides) -> Found:
    """The best of n samples that are other texts than the CPU's without a near tie."""
    config = GenerationConfig().with_options(scale=0.0, max_new_tokens=sides.sizes.new_tokens)

    def make(model: TextRewardModel, prompts: list[str]) -> list[Generation]:
        samples = sides.sizes.samples
        return [best[0] for best in best_of_n(model, prompts, samples, config, jax.random.key(0))]

    return _parted(*(sides.generated(device, make) for device in (sides.device, sides.cpu)))


def _parted(ours: Sequence[Generation], reference: Sequence[Generation]) -> Found:
    """Responses that differ though neither side reports a near tie."""
    pairs = list(zip(ours, reference, strict=True))
    other = [(one, two) for one, two in pairs if one.tokens != two.tokens]
    unexplained = [one for one, two in other if not one.near_ties + two.near_ties]
    detail = f"{len(pairs) - len(other)} of {len(pairs)} responses are the same"
    same = [(one, two) for one, two in pairs if one.tokens == two.tokens]
    moved = [abs(float(one.reward or 0) - float(two.reward or 0)) for one, two in same]
    if moved:
        detail += f", their rewards within {max(moved):.1e}"
    return Found(len(unexplained), 0, detail)


def check_quickstart(sides: Sides) -> Found:
    """Held-out accuracy of the quickstart, against the recorded one of the same size."""
    rows = tutoring_rows(0, sides.sizes.train_pairs, sides.sizes.eval_pairs)
    with jax.default_device(sides.device):
        demo = demo_pairs(rows, embedded_backbone(), "last")
        experiment = run_experiment(demo.pairs, demo.held_out, Settings(), say)
    accuracy = float(np.mean(experiment.correct.head))
    status = experiment.phases.status
    detail = f"{status.name.lower()}, accuracy {accuracy:.4f}"
    if sides.sizes != WHOLE:
        return Found(accuracy, None, detail, status in SUCCESSES)
    recorded = json.loads((RESULTS / "quickstart.json").read_text("utf-8"))["rows"]
    (expected,) = [row["head"]["mean"] for row in recorded if row["seed"] == "0"]
    detail += f", recorded {expected:.4f}"
    return Found(abs(accuracy - expected), ACCURACY_MAY_DIFFER, detail, status in SUCCESSES)


def _table(result: dict[str, Any]) -> str:
    head = f"{origin(result)}; {result['seconds']:.0f} s in all."
    return markdown(head, COLUMNS, map(_cells, result["rows"]))


def _cells(row: dict[str, Any]) -> list[str]:
    held = "yes" if row.get("held") else "NO"
    figures = [figure(row.get(name), ".3g") for name in ("figure", "at_most")]
    seconds = figure(row.get("seconds"), ".1f")
    return [row["part"], row["model"], *figures, held, seconds, row["failure"] or row["detail"]]


if __name__ == "__main__":
    sys.exit(main())
