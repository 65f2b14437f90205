"""Several processes of one command: which one this is, and how they start and end together."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from coala_jax._status import SolveError
from coala_jax.cli._output import BAD_INPUT, FAULT, INTERRUPTED, NOT_SOLVED, OTHER_ENDED, say
from coala_jax.cli._parser import UsageError, natural_number, positive_integer
from coala_jax.features import Part

AUTO = "auto"
# A process that has said nothing for so long counts as dead, and ends the others. jax waits for
# 100 s; a live one speaks every few seconds, whatever it computes.
HEARTBEAT_SECONDS = 60
# What jax and its collectives say where another process has gone.
_GONE = ("gloo", "nccl", "heartbeat", "coordination service", "connection reset", "unavailable")
# Which task this is and how many there are: of `srun` and `mpirun`.
_TASKS = (("SLURM_PROCID", "SLURM_NTASKS"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"))
_ARRAY = "SLURM_ARRAY_TASK_"
_ARRAY_NAMES = tuple(f"{_ARRAY}{what}" for what in ("ID", "COUNT", "MIN", "MAX"))
# An indexed Job of Kubernetes tells its pods their number, but not how many there are.
_INDEX = "JOB_COMPLETION_INDEX"


def add_process_options(
    parser: argparse.ArgumentParser, what: str, *, coordinator: bool = False
) -> None:
    """Add ``--process-id`` and ``--processes``, and ``--coordinator`` where they meet.

    Args:
        parser: of the command.
        what: they do.
        coordinator: whether they work on one thing together.
    """
    group = parser.add_argument_group("several processes", what)
    group.add_argument(
        "--process-id",
        type=_or_auto(natural_number),
        metavar="I",
        help="which one this is, from 0; `auto` reads it as --processes auto does, and from "
        f"{_INDEX} (an indexed Job of Kubernetes)",
    )
    arrays = "" if coordinator else "SLURM_ARRAY_TASK_ID (a job array), "
    group.add_argument(
        "--processes",
        type=_or_auto(positive_integer),
        metavar="N",
        help=f"how many there are; `auto` reads both numbers from {arrays}SLURM_PROCID (srun) or "
        "OMPI_COMM_WORLD_RANK (mpirun)" + (", or as jax finds a Cloud TPU" if coordinator else ""),
    )
    if coordinator:
        group.add_argument(
            "--coordinator",
            metavar="HOST:PORT",
            help="where process 0 is reached, the same for all; --processes auto needs none under "
            "SLURM, Open MPI and on a Cloud TPU",
        )


def asked_part(
    arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ
) -> Part | None:
    """Which of several processes that work apart this is; None where it is the only one.

    Raises:
        UsageError: one option without the other, or `auto` where nothing says the numbers.
        FeatureError: no such process.
    """
    part = _numbers(arguments, environment, arrays=True)
    if part is not None:
        part.check()
    return part


@contextmanager
def joined_processes(arguments: argparse.Namespace) -> Iterator[Part]:
    """Meet the other processes, as the options say; what ends this one ends them, in bounded time.

    An error that all of them have (`ProcessError`) passes. After any other one this process
    says why and is gone at once: waiting for the others, who may wait for it, would take minutes.

    Raises:
        UsageError: options that do not go together, or `auto` where nothing says the numbers.
        OSError: the others were not met.
    """
    if not _initialized(arguments):
        yield Part(0, 1)
        return
    from coala_jax._processes import ProcessError

    part = Part.of_this_process()
    _keep_stdout(part)
    try:
        yield part
    except ProcessError:
        raise
    except BaseException as error:
        say(f"error: process {part.number} of {part.of}: {_reason(error)}")
        sys.stdout.flush()
        os._exit(_code(error))


def _initialized(arguments: argparse.Namespace) -> bool:
    """Whether there are several processes, which then have met."""
    options = (arguments.coordinator, arguments.processes, arguments.process_id)
    if all(option is None for option in options):
        return False
    known: dict[str, Any] = {}
    if (
        arguments.coordinator is None
        and arguments.processes == AUTO
        and arguments.process_id not in (AUTO, None)
    ):
        raise UsageError(
            f"--process-id {arguments.process_id}: with --processes auto and no --coordinator jax "
            "finds both numbers; leave it out, or give --coordinator HOST:PORT --processes N too"
        )
    if arguments.coordinator is not None or arguments.processes != AUTO:
        part = _numbers(arguments, os.environ, arrays=False)
        if part is None:
            raise UsageError("--coordinator is of several processes: give --processes N too")
        part.check()
        known = {"num_processes": part.of, "process_id": part.number}
        if part.of > 1 and arguments.coordinator is None:
            raise UsageError(
                f"--processes {part.of}: give --coordinator HOST:PORT, where process 0 is reached, "
                "or --processes auto under SLURM, Open MPI and on a Cloud TPU"
            )
        if part.of == 1:
            return False
    import jax

    try:
        jax.distributed.initialize(
            arguments.coordinator, heartbeat_timeout_seconds=HEARTBEAT_SECONDS, **known
        )
    except ValueError as error:
        raise UsageError(
            f"--processes auto: jax finds no SLURM, Open MPI or Cloud TPU here ({error}); give "
            "--coordinator HOST:PORT --processes N --process-id I"
        ) from None
    except RuntimeError as error:
        where = arguments.coordinator or "where jax looks for it"
        raise OSError(f"process 0 was not met at {where}: {_first_line(error)}") from None
    return jax.process_count() > 1


def _numbers(
    arguments: argparse.Namespace, environment: Mapping[str, str], *, arrays: bool
) -> Part | None:
    number, count = arguments.process_id, arguments.processes
    if number is None and count is None:
        return None
    if count is None or (number is None and count != AUTO):
        raise UsageError("--process-id and --processes go together: give both or neither")
    told = _told(environment, arrays)
    if count == AUTO and told is None:
        raise UsageError(
            f"--processes auto: none of {', '.join(name for _, name in _TASKS)}"
            f"{f', {_ARRAY_NAMES[1]}' if arrays else ''} is set; give --processes N"
        )
    if count == AUTO and arrays:
        _require_whole_array(environment)
    if number in (AUTO, None):
        if told is not None:
            number = told.number
        elif environment.get(_INDEX, "").isdigit():
            number = int(environment[_INDEX])
        else:
            raise UsageError(f"--process-id auto: no {_INDEX} and no SLURM; give --process-id I")
    return Part(number, told.of if told is not None and count == AUTO else count)


def _told(environment: Mapping[str, str], arrays: bool) -> Part | None:
    """What the variables of a launcher say; every task of every element of an array is one.

    The number of an element is its index, so that one alone (``--array=5``) is the same one.
    """
    found = next(
        (
            Part(int(environment[number]), int(environment[count]))
            for number, count in _TASKS
            if environment.get(number, "").isdigit() and environment.get(count, "").isdigit()
        ),
        None,
    )
    if not arrays or not _is_array(environment):
        return found
    index, elements, *_ = (int(environment[name]) for name in _ARRAY_NAMES)
    task, tasks = found or Part(0, 1)
    return Part(index * tasks + task, elements * tasks)


def _is_array(environment: Mapping[str, str]) -> bool:
    return all(environment.get(name, "").isdigit() for name in _ARRAY_NAMES)


def _require_whole_array(environment: Mapping[str, str]) -> None:
    """Raise for a job array that does not count its elements from 0 in steps of 1."""
    if _ARRAY_NAMES[0] not in environment:
        return
    if not _is_array(environment):
        raise UsageError(
            f"--processes auto: {_ARRAY_NAMES[0]} is set, and not all of "
            f"{', '.join(_ARRAY_NAMES[1:])}: give --processes N --process-id I"
        )
    _, elements, first, last = (int(environment[name]) for name in _ARRAY_NAMES)
    step = environment.get(f"{_ARRAY}STEP", "1")
    if first or last != elements - 1 or step not in ("1", ""):
        raise UsageError(
            f"--processes auto: the job array has {elements} elements from {first} to {last}"
            f"{f' in steps of {step}' if step not in ('1', '') else ''}, which do not say how many "
            "processes there are: give --array=0-K, or, to run some of N again, --processes N "
            "--process-id auto"
        )


def _or_auto(reader: Any) -> Any:
    def read(text: str) -> Any:
        return AUTO if text == AUTO else reader(text)

    read.__name__ = reader.__name__
    return read


def _keep_stdout(part: Part) -> None:
    """Keep for the result what libraries write to stdout too: gloo says there that it has met."""
    sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if part.number == 0:
        sys.stdout = os.fdopen(os.dup(1), "w")
    os.dup2(nowhere, 1)


def _reason(error: BaseException) -> str:
    if _is_gone(error):
        return f"another process has ended, and so does this one ({_first_line(error)})"
    text = " ".join(str(error).split())
    return text or type(error).__name__


def _code(error: BaseException) -> int:
    if _is_gone(error):
        return OTHER_ENDED
    if isinstance(error, SolveError):
        return NOT_SOLVED
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return BAD_INPUT if isinstance(error, UsageError | ValueError | TypeError | OSError) else FAULT


def _is_gone(error: BaseException) -> bool:
    of_jax = type(error).__module__.startswith(("jax", "builtins"))
    text = str(error).lower()
    return (
        of_jax
        and isinstance(error, RuntimeError | ValueError)
        and any(sign in text for sign in _GONE)
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
