"""Which of several processes a command is, by its options and what launchers set."""

import argparse

import pytest

from coala_jax.cli._main import main
from coala_jax.cli._parser import OneLineParser, UsageError
from coala_jax.cli._processes import _numbers, add_process_options, asked_part
from coala_jax.features import FeatureError, Part

SRUN = {"SLURM_PROCID": "2", "SLURM_NTASKS": "4"}
ARRAY = {
    "SLURM_ARRAY_TASK_ID": "5",
    "SLURM_ARRAY_TASK_MIN": "3",
    "SLURM_ARRAY_TASK_COUNT": "4",
    "SLURM_PROCID": "0",
    "SLURM_NTASKS": "1",
}
MPIRUN = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "3"}
INDEXED = {"JOB_COMPLETION_INDEX": "6"}


def parsed(*words) -> argparse.Namespace:
    parser = OneLineParser(prog="test")
    add_process_options(parser, "share the work", coordinator=True)
    return parser.parse_args(list(words))


@pytest.mark.parametrize(
    ("words", "environment", "part"),
    [
        ((), SRUN, None),
        (("--processes", "3", "--process-id", "1"), SRUN, Part(1, 3)),
        (("--processes", "auto"), SRUN, Part(2, 4)),
        (("--processes", "auto", "--process-id", "auto"), MPIRUN, Part(1, 3)),
        (("--processes", "auto"), ARRAY, Part(2, 4)),
        (("--processes", "auto"), {**ARRAY, **SRUN}, Part(2 * 4 + 2, 16)),
        (("--processes", "8", "--process-id", "auto"), INDEXED, Part(6, 8)),
    ],
)
def test_processes_that_work_apart_know_which_they_are(words, environment, part):
    assert asked_part(parsed(*words), environment) == part


def test_elements_of_an_array_do_not_meet():
    assert _numbers(parsed("--processes", "auto"), ARRAY, arrays=False) == Part(0, 1)


@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        (("--processes", "3"), {}, "--process-id and --processes go together"),
        (("--process-id", "0"), {}, "--process-id and --processes go together"),
        (("--processes", "auto"), {}, "none of SLURM_NTASKS, OMPI_COMM_WORLD_SIZE, SLURM_ARRAY"),
        (("--processes", "auto"), INDEXED, "none of SLURM_NTASKS"),
        (("--processes", "4", "--process-id", "auto"), {}, "no JOB_COMPLETION_INDEX and no SLURM"),
    ],
)
def test_numbers_that_nothing_says_are_asked_for(words, environment, message):
    with pytest.raises(UsageError, match=message):
        asked_part(parsed(*words), environment)


def test_a_process_that_is_not_there_is_named():
    with pytest.raises(FeatureError, match="process 3 of 3"):
        asked_part(parsed("--processes", "3", "--process-id", "3"), {})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--processes", "2", "--process-id", "0"), "--processes 2: give --coordinator HOST:PORT"),
        (("--coordinator", "here:1"), "--coordinator is of several processes: give --processes N"),
        (("--processes", "2", "--process-id", "2", "--coordinator", "here:1"), "process 2 of 2"),
        (("--processes", "some", "--process-id", "0"), "argument --processes: 'some' is not"),
    ],
)
def test_a_solve_that_cannot_meet_says_what_is_missing(tmp_path, capsys, words, message):
    assert main(["solve", "store", "--out", str(tmp_path / "head"), *words]) == 2
    assert message in capsys.readouterr().err
