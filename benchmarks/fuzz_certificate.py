"""An adversary of the solver: random problems, and every claim judged on the saved head in float64.

    python benchmarks/fuzz_certificate.py                   # benchmarks/results/fuzz-certificate.md
    python benchmarks/fuzz_certificate.py --groups          # .../fuzz-certificate-groups.md
    python benchmarks/fuzz_certificate.py --problems 500 --families offset scaled
    python benchmarks/fuzz_certificate.py --replay offset:3

Every head is written, read back and run on raw features; its objective, the dual bound, the share
explained, the critical strength and what Phase II left are recomputed without the solver
(`adversary/`). A false claim is a good status, a bound or a figure that this does not bear out. A
status short of solved is honest, and counted. Results are written after every setting. Exits with 1
where there is a false claim.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from adversary import group_problems, problems
from adversary.answers import answers_of, raw_rows
from adversary.claims import SURE_ROUNDINGS, input_claims, phase1_claims, phase2_claims, status_name
from adversary.phase1 import judge_phase1
from adversary.phase2 import judge_phase2
from adversary.problems import FuzzProblem
from adversary.program import program_of
from reporting import account, markdown, origin, parser_of, save, say

from coala_jax import Stats, cronos, finetune, load_head, save_head
from coala_jax._head import Head
from coala_jax._json import json_text
from coala_jax._status import SUCCESSES

PROBLEMS = 10_000
# How near the critical strength that is used is to the exact one.
CLOSE = 0.01
WIDE = f"lambda_max off by over {CLOSE:.0%}"
# Pairs or groups from which on the defaults have to solve a problem.
ENOUGH = 20
# Leaves of a head with a last axis of neurons.
NEURONS = ("theta1", "bias", "theta2", "gates", "gate_bias")
# Families of pairs, and of groups.
OF_PAIRS, OF_GROUPS = (*problems.FAMILIES, "issue"), tuple(group_problems.FAMILIES)
# Statuses that promise no head that can be saved.
WITHOUT_HEAD = {"BREAKDOWN", "HEAD_DIFFERS"}
WELL = {"ZERO_NETWORK", "NOTHING_TO_EXPLAIN", *(status.name for status in SUCCESSES)}


class Name(NamedTuple):
    """Of a problem."""

    family: str
    index: int


class Verdict(NamedTuple):
    """What came of one problem.

    Attributes:
        name: ``family:index``.
        setting: in words.
        status: of the whole solve, by name; RAISED where it ended in an exception.
        counted: whether the defaults have to solve it.
        false_claims: kinds.
        figures: claimed and true, by phase.
    """

    name: str
    setting: str
    status: str
    counted: bool
    false_claims: list[str]
    figures: dict[str, Any]

    @property
    def family(self) -> str:
        """The part of its name before the colon."""
        return self.name.partition(":")[0]

    @property
    def wide(self) -> bool:
        """Whether the lambda_max that was used is off by more than `CLOSE`, and not by rounding."""
        true = self.figures.get("phase1_true", {}).get("lambda_max", 0.0)
        used = self.figures.get("phase1", {}).get("lambda_max", 0.0)
        rounding = self.figures.get("phase1_true", {}).get("pull_rounding", 0.0)
        return used > (1 + CLOSE) * true and CLOSE * true > SURE_ROUNDINGS * rounding

    @property
    def well(self) -> bool:
        """Whether it ended in a success, or with nothing to learn."""
        return self.status in WELL


def problem_of(name: Name, seed: int) -> FuzzProblem:
    """The problem of a name under a seed."""
    return _kind(name.family).problem_of(name.family, name.index, seed)


def _kind(family: str) -> Any:
    return group_problems if family in OF_GROUPS else problems


def judge(problem: FuzzProblem) -> Verdict:
    """Solve a problem and judge all that is claimed of it."""
    counted = problem.valid and problem.plain and problem.setting.shape[0] >= ENOUGH
    try:
        with jax.enable_x64(problem.setting.x64), np.errstate(all="ignore"):
            found = _judge(problem)
    except Exception as error:  # whatever it was, it is a finding
        found = "RAISED", [f"raised {type(error).__name__}: {error}"], {}
    status, claims, figures = found
    return Verdict(problem.name, str(problem.setting), status, counted, claims, figures)


def _judge(problem: FuzzProblem) -> tuple[str, list[str], dict[str, Any]]:
    """Status, false claims and figures."""
    config, params = problem.setting.config, problem.params
    gate_key, batch_key = jax.random.split(jax.random.key(problem.seed))
    # As `solve` does it, with the head of Phase I kept.
    phase1 = cronos(params, problem.features, config=config, key=gate_key)
    phase2 = finetune(params, phase1.head, problem.features, config=config, key=batch_key)
    first, second, certificate, heads = jax.tree.map(
        np.asarray, (phase1.stats, phase2.stats, phase1.certificate, (phase1.head, phase2.head))
    )
    statuses = status_name(first.status), status_name(second.status)
    status = status_name(Stats(first, second).status)
    claims = input_claims(problem.valid, statuses[0])
    figures: dict[str, Any] = {"phase1": _numbers(first), "phase2": _numbers(second)}
    savable = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(heads[0]))
    if not savable and not claims and problem.valid and statuses[0] not in WITHOUT_HEAD:
        claims.append("I: no head")
    if savable and problem.valid and not claims and statuses[0] != "BREAKDOWN":
        answers = answers_of(problem.features, config, params)
        program = program_of(answers, certificate, config, params)
        rows = raw_rows(problem.features)
        tensors1, rewards = _through_a_file(heads[0], rows)
        truth1 = judge_phase1(program, answers, certificate, tensors1, rewards)
        claims += [f"I: {kind}" for kind in phase1_claims(first, params, truth1)]
        figures["phase1_true"] = _numbers(truth1)
        if statuses[1] != "BREAKDOWN" and not (program.gated and program.near.any()):
            tensors2, _ = _through_a_file(heads[1], rows)
            objective = config.phase2_objective
            truth2 = judge_phase2(answers, tensors2, tensors1, params, config)
            claims += [f"II: {kind}" for kind in phase2_claims(second, params, truth2, objective)]
            figures["phase2_true"] = _numbers(truth2)
    return status, claims, figures


def _through_a_file(head: Head, rows: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Leaves of a head after a way through its file, and the rewards that it then gives rows."""
    with tempfile.TemporaryDirectory() as folder:
        save_head(folder, head, {})
        loaded, _ = load_head(folder)
    leaves = {name: leaf for name, leaf in loaded._asdict().items() if leaf is not None}
    # Neurons that the file leaves out are zeros here, so that a shape is compiled once.
    missing = head.theta2.shape[0] - loaded.theta2.shape[0]
    padded = {
        name: np.concatenate([leaf, np.zeros((*leaf.shape[:-1], missing), leaf.dtype)], axis=-1)
        for name, leaf in leaves.items()
        if name in NEURONS
    }
    return leaves, np.asarray(loaded._replace(**padded)(rows))


def _numbers(figures: Any) -> dict[str, float]:
    return {name: np.asarray(value).item() for name, value in figures._asdict().items()}


def judge_together(names: Sequence[Name], seed: int) -> list[Verdict]:
    """Verdicts of problems that share a compiled program, which is forgotten afterwards."""
    verdicts = [judge(problem_of(name, seed)) for name in names]
    jax.clear_caches()
    return verdicts


def grouped(families: Sequence[str], count: int) -> list[list[Name]]:
    """Names of so many problems, those together that share shapes and `Config`."""
    groups = collections.defaultdict(list)
    random = [family for family in families if family != "issue"]
    if "issue" in families:
        for index, (setting, _) in enumerate(problems.ISSUE):
            groups[setting].append(Name("issue", index))
    left = max(0, count - sum(map(len, groups.values()))) if random else 0
    for place in range(left):
        index, family = divmod(place, len(random))
        settings = _kind(random[family]).settings_of(random[family])
        groups[settings[index % len(settings)]].append(Name(random[family], index))
    return list(groups.values())


def run(arguments: argparse.Namespace) -> Iterator[list[Verdict]]:
    """The verdicts so far, after every setting, by worker processes."""
    groups = grouped(arguments.families, arguments.problems)
    verdicts: list[Verdict] = []
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(arguments.workers, mp_context=context) as pool:
        running = [pool.submit(judge_together, names, arguments.seed) for names in groups]
        for done, future in enumerate(concurrent.futures.as_completed(running), 1):
            verdicts += future.result()
            false = sum(bool(verdict.false_claims) for verdict in verdicts)
            say(
                f"{done}/{len(groups)} settings, {len(verdicts)} problems, {false} with false "
                f"claims; last {verdicts[-1].setting}"
            )
            yield verdicts


def result_of(arguments: argparse.Namespace, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Counts by family, and all of every problem with a false claim."""
    order = {family: place for place, family in enumerate(arguments.families)}
    by_family = collections.defaultdict(list)
    for verdict in sorted(verdicts, key=lambda verdict: order[verdict.family]):
        by_family[verdict.family].append(verdict)
    return account(
        seed=arguments.seed,
        problems=len(verdicts),
        families=[_counts(family, own) for family, own in by_family.items()],
        false_claims=[verdict._asdict() for verdict in verdicts if verdict.false_claims],
        not_solved=[
            {"name": verdict.name, "setting": verdict.setting, "status": verdict.status}
            for verdict in verdicts
            if verdict.counted and not verdict.well
        ],
    )


def _counts(family: str, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    counted = [verdict for verdict in verdicts if verdict.counted]
    kinds = collections.Counter(kind for verdict in verdicts for kind in verdict.false_claims)
    return {
        "family": family,
        "problems": len(verdicts),
        "false": sum(bool(verdict.false_claims) for verdict in verdicts),
        "kinds": dict(kinds.most_common()),
        "statuses": dict(collections.Counter(verdict.status for verdict in verdicts).most_common()),
        "wide": sum(verdict.wide for verdict in verdicts),
        "counted": len(counted),
        "counted_well": sum(verdict.well for verdict in counted),
    }


def table_of(result: dict[str, Any]) -> str:
    """The counts as Markdown."""
    families = result["families"]
    counted, well = (sum(row[name] for row in families) for name in ("counted", "counted_well"))
    head = (
        f"{result['problems']} problems of seed {result['seed']}, "
        f"{sum(row['false'] for row in families)} with a false claim; of {counted} with defaults, "
        f"valid input and at least {ENOUGH} pairs or groups {well} ended solved or with nothing to "
        f"learn ({well / max(counted, 1):.1%}). {origin(result)}."
    )
    rows = [
        [
            row["family"],
            row["problems"],
            row["false"],
            _listed(row["kinds"]),
            row["wide"],
            f"{row['counted_well']} of {row['counted']}",
            _listed(row["statuses"]),
        ]
        for row in families
    ]
    columns = ("family", "problems", "false", "kinds", WIDE, "defaults solved", "statuses")
    return markdown(head, columns, rows)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "-"


def main() -> None:
    """Fuzz, or replay one problem."""
    parser = parser_of(__doc__, "fuzz-certificate")
    parser.add_argument("--problems", type=int, default=PROBLEMS, help="how many in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--groups", action="store_true", help="of groups, under NAME-groups")
    parser.add_argument("--families", nargs="+", choices=OF_PAIRS + OF_GROUPS)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--replay", metavar="FAMILY:INDEX", help="print one verdict, write nothing")
    arguments = parser.parse_args()
    if arguments.problems < 1:
        parser.error(f"--problems {arguments.problems}: at least 1")
    if arguments.groups:
        arguments.name += "-groups"
    arguments.families = arguments.families or (OF_GROUPS if arguments.groups else OF_PAIRS)
    if arguments.replay:
        family, _, index = arguments.replay.partition(":")
        verdict = judge(problem_of(Name(family, int(index)), arguments.seed))
        sys.stdout.write(json_text(verdict._asdict()))
        sys.exit(bool(verdict.false_claims))
    for verdicts in run(arguments):
        result = result_of(arguments, verdicts)
        save(arguments, result, table_of(result))
    sys.stdout.write(table_of(result))
    sys.exit(any(row["false"] for row in result["families"]))


if __name__ == "__main__":
    main()
