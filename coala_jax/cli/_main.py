"""Entry point of `coala-jax`: finds the command, and turns expected errors into one line."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Sequence

from coala_jax._compile_cache import keep_compiled_programs
from coala_jax._extras import how_to_install
from coala_jax._status import SolveError
from coala_jax._version import __version__
from coala_jax.cli._inputs_kept import require_inputs_kept
from coala_jax.cli._output import BAD_INPUT, say, warning_line
from coala_jax.cli._parser import OneLineParser, UsageError, add_commands

PROGRAM = "coala-jax"
NOT_SOLVED, INTERRUPTED = 3, 130
SERVER_MODULES = ("starlette", "uvicorn", "h11")
EPILOG = """exit codes: 0 done and solved; 2 bad input, nothing written; 3 a phase ended unsolved

example:
  coala-jax quickstart --out out/quickstart"""
DATA = "get preference pairs, make them from conversations, look at them before training"
EVALUATE = "judge answers and heads as the field does, and ask people"
# The module of each is imported when it is asked for.
COMMANDS = {
    "quickstart": "preference pairs to an aligned, certified head, with all that is in the package",
    "extract": "run preference rows through a frozen backbone and keep their features",
    "join": "join the parts that `extract --process-id I --processes N` made to one feature store",
    "solve": "both phases of COALA on frozen features, with a certificate and held-out metrics",
    "score": "rewards of responses or of both sides of preference rows",
    "rank": "order the responses of each prompt, with the Bradley-Terry probability of each pair",
    "explain": "each neuron's share in the reward of a response, and the responses that move it "
    "most",
    "generate": "answer prompts plainly and under the guidance of a head: one, a file, or a "
    "session",
    "best-of-n": "sample n responses a prompt and keep the best",
    "improve": "learn a head from rewards that a function gives, in rounds of sampling and solving",
    "serve": "serve guided completions and rewards to OpenAI clients, on this machine alone by "
    "default",
    "export": "features to an .npz, or to Arrow for Hugging Face datasets",
    "export-head": "a head as a torch module or as a StableHLO function",
    "backbones": "the supported families, or whether a checkpoint is supported, before its "
    "weights are read",
}
DATA_COMMANDS = {
    "get": "make a data set of the COALA paper: train, eval, counts",
    "alternate": "make preference pairs from conversations (the Alternating Population Strategy): "
    "of every user turn the immediate answer is chosen, the next later one rejected",
    "inspect": "look at preference pairs before training: lengths, repeats, leaks, and what rules "
    "that understand nothing reach",
}


EVALUATE_COMMANDS: dict[str, str] = {
    "judge": "have a language model compare two systems' answers, each pair in both orders",
    "grade": "have a language model grade a system's answers from 1 to 10",
}
EVALUATE_GROUPS: dict[str, tuple[str, dict[str, str]]] = {
    "blind": (
        "ask people which of two answers is better, without anyone knowing whose they are",
        {
            "make": "a page for people, the plan of the analysis and the key, from systems' "
            "answers",
            "serve": "give the page to people and keep their answers, on this machine alone by "
            "default",
            "analyse": "win rates, strengths and agreement, by the plan; the key is opened last",
            "size": "how many people a difference needs",
        },
    ),
}


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
        The exit code: 0 done, 2 bad input, 3 a phase ended unsolved, 130 interrupted.

    Raises:
        SystemExit: after ``--help`` and ``--version``, with code 0.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = build_parser().parse_args(words)
        arguments.command_line = shlex.join([PROGRAM, *words])
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
