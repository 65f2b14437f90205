"""Entry point of `coala-jax`: finds the command, and turns expected errors into one line."""

from __future__ import annotations

import re
import shlex
import sys
import warnings
from collections.abc import Sequence

from coala_jax._compile_cache import keep_compiled_programs
from coala_jax._extras import how_to_install
from coala_jax._status import SolveError
from coala_jax._version import __version__
from coala_jax.cli._commands import (
    COMMANDS,
    DATA,
    DATA_COMMANDS,
    EVALUATE,
    EVALUATE_COMMANDS,
    EVALUATE_GROUPS,
)
from coala_jax.cli._inputs_kept import require_inputs_kept
from coala_jax.cli._output import BAD_INPUT, INTERRUPTED, NOT_SOLVED, say, warning_line
from coala_jax.cli._parser import OneLineParser, UsageError, add_commands

PROGRAM = "coala-jax"
# Name and password in an address: the command line stands in reports.
_USER = re.compile(r"(https?://)[^/\s@]*@")
SERVER_MODULES = ("starlette", "uvicorn", "h11")
EPILOG = """exit codes: 0 done and solved; 2 bad input, nothing written; 3 a phase ended unsolved;
4 another of several processes ended

example:
  coala-jax quickstart --out out/quickstart"""


def build_parser() -> OneLineParser:
    """The parser of all commands."""
    parser = OneLineParser(
        prog=PROGRAM,
        description="convex preference alignment on frozen features (COALA), with a certificate",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = add_commands(parser, "", COMMANDS)
    data = commands.add_parser("data", help=DATA, description=DATA)
    add_commands(data, "data_", DATA_COMMANDS)
    evaluate = commands.add_parser("evaluate", help=EVALUATE, description=EVALUATE)
    of_evaluate = add_commands(evaluate, "evaluate_", EVALUATE_COMMANDS)
    for name, (summary, its_commands) in EVALUATE_GROUPS.items():
        group = of_evaluate.add_parser(name, help=summary, description=summary)
        add_commands(group, f"evaluate_{name.replace('-', '_')}_", its_commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: arguments without the program's name; None takes those of the process.

    Returns:
        The exit code: 0 done, 2 bad input, 3 a phase ended unsolved, 4 another of several processes
        ended, 130 interrupted.

    Raises:
        SystemExit: after ``--help`` and ``--version``, with code 0.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = build_parser().parse_args(words)
        arguments.command_line = _USER.sub(r"\1", shlex.join([PROGRAM, *words]))
        require_inputs_kept(arguments)
        if getattr(arguments, "compile_cache", False):
            keep_compiled_programs(say)
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: _say_warning(message)
            code: int = arguments.run(arguments)
    except SolveError as error:
        return _fail(error, NOT_SOLVED)
    except ModuleNotFoundError as error:
        extra = "serve" if error.name in SERVER_MODULES else "text"
        missing = f"this command needs {error.name}; install it: {how_to_install(extra)}"
        return _fail(missing, BAD_INPUT)
    except (UsageError, ValueError, TypeError, OSError) as error:
        return _fail(error, BAD_INPUT)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    return code


def _say_warning(message: Warning | str) -> None:
    """A line in place of Python's two, which show where in the code it arose."""
    say(warning_line(" ".join(str(message).split())))


def _fail(reason: Exception | str, code: int) -> int:
    say(f"error: {' '.join(str(reason).split())}")
    return code


if __name__ == "__main__":
    sys.exit(main())
