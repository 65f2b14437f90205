"""Entry point of `coala-jax`: finds the command, and turns expected errors into one line."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from coala_jax._types import SolveError
from coala_jax._version import __version__
from coala_jax.cli import _backbones as backbones
from coala_jax.cli import _best_of_n as best_of_n
from coala_jax.cli import _data as data
from coala_jax.cli import _explain as explain
from coala_jax.cli import _export as export
from coala_jax.cli import _export_head as export_head
from coala_jax.cli import _extract as extract
from coala_jax.cli import _generate as generate
from coala_jax.cli import _join as join
from coala_jax.cli import _quickstart as quickstart
from coala_jax.cli import _rank as rank
from coala_jax.cli import _score as score
from coala_jax.cli import _serve as serve
from coala_jax.cli import _solve as solve
from coala_jax.cli._inputs_kept import require_inputs_kept
from coala_jax.cli._output import BAD_INPUT, say
from coala_jax.cli._parser import OneLineParser, UsageError

PROGRAM = "coala-jax"
NOT_SOLVED, INTERRUPTED = 3, 130
SERVER_MODULES = ("starlette", "uvicorn", "h11")
EPILOG = """exit codes: 0 done and solved; 2 bad input, nothing written; 3 a phase ended unsolved

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
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", title="commands"
    )
    for module in (
        quickstart,
        extract,
        join,
        solve,
        score,
        rank,
        explain,
        generate,
        best_of_n,
        serve,
        export,
        export_head,
        backbones,
        data,
    ):
        module.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: arguments without the program's name; None takes those of the process.

    Returns:
        The exit code: 0 done, 2 bad input, 3 a phase ended unsolved, 130 interrupted.

    Raises:
        SystemExit: after ``--help`` and ``--version``, with code 0.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = build_parser().parse_args(words)
        arguments.command_line = shlex.join([PROGRAM, *words])
        require_inputs_kept(arguments)
        code: int = arguments.run(arguments)
    except SolveError as error:
        return _fail(error, NOT_SOLVED)
    except ModuleNotFoundError as error:
        extra = "serve" if error.name in SERVER_MODULES else "text"
        missing = f"this command needs {error.name}; install it: pip install 'coala-jax[{extra}]'"
        return _fail(missing, BAD_INPUT)
    except (UsageError, ValueError, TypeError, OSError) as error:
        return _fail(error, BAD_INPUT)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    return code


def _fail(reason: Exception | str, code: int) -> int:
    say(f"error: {' '.join(str(reason).split())}")
    return code


if __name__ == "__main__":
    sys.exit(main())
