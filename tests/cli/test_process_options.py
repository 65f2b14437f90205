"""Which of several processes a command is, by its options and what launchers set."""

import argparse

import pytest

from coala_jax.cli._main import main
from coala_jax.cli._parser import OneLineParser, UsageError
from coala_jax.cli._process_options import _numbers, add_process_options, asked_part
from coala_jax.features import FeatureError, Part

SRUN = {"SLURM_PROCID": "2", "SLURM_NTASKS": "4"}
ARRAY = {
    "SLURM_ARRAY_TASK_ID": "2",
    "SLURM_ARRAY_TASK_MIN": "0",
    "SLURM_ARRAY_TASK_MAX": "3",
    "SLURM_ARRAY_TASK_STEP": "1",
    "SLURM_ARRAY_TASK_COUNT": "4",
    "SLURM_PROCID": "0",
    "SLURM_NTASKS": "1",
}


def array(index, first, last, step, count):
    """What SLURM sets in an element of such an array."""
    values = {"ID": index, "MIN": first, "MAX": last, "STEP": step, "COUNT": count}
    return {**ARRAY, **{f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}}


ONE_ALONE = array(5, 5, 5, 1, 1)
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
        (("--processes", "16", "--process-id", "auto"), ONE_ALONE, Part(5, 16)),
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
        (
            ("--processes", "auto"),
            {**SRUN, "SLURM_ARRAY_TASK_ID": "5"},
            "_ID is set, and not all",
        ),
        (("--processes", "4", "--process-id", "auto"), {}, "no JOB_COMPLETION_INDEX and no SLURM"),
    ],
)
def test_numbers_that_nothing_says_are_asked_for(words, environment, message):
    with pytest.raises(UsageError, match=message):
        asked_part(parsed(*words), environment)


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        (ONE_ALONE, "1 elements from 5 to 5,"),
        (array(4, 0, 14, 2, 8), "8 elements from 0 to 14 in steps of 2,"),
        (array(3, 1, 16, 1, 16), "16 elements from 1 to 16,"),
        (array(7, 0, 7, 1, 5), "5 elements from 0 to 7,"),  # --array=0-3,7
    ],
)
def test_an_array_that_does_not_count_from_0_is_refused(environment, told):
    words = ("--processes", "auto")
    with pytest.raises(UsageError, match=f"the job array has {told} which do not say"):
        asked_part(parsed(*words), environment)
    assert _numbers(parsed(*words), environment, arrays=False) == Part(0, 1)


def test_a_process_that_is_not_there_is_named():
    with pytest.raises(FeatureError, match="process 3 of 3"):
        asked_part(parsed("--processes", "3", "--process-id", "3"), {})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--processes", "2", "--process-id", "0"), "--processes 2: give --coordinator HOST:PORT"),
        (("--coordinator", "here:1"), "--coordinator is of several processes: give --processes N"),
        (("--processes", "2", "--process-id", "2", "--coordinator", "here:1"), "process 2 of 2"),
        (("--processes", "auto", "--process-id", "3"), "--process-id 3: with --processes auto"),
        (("--processes", "some", "--process-id", "0"), "argument --processes: 'some' is not"),
    ],
)
def test_a_solve_that_cannot_meet_says_what_is_missing(tmp_path, capsys, words, message):
    assert main(["solve", "store", "--out", str(tmp_path / "head"), *words]) == 2
    assert message in capsys.readouterr().err
