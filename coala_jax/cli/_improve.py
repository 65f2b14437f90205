"""`coala-jax improve`: a head learned from rewards that a function of the user's gives."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coala_jax._json import valid_json
from coala_jax._trackers import open_trackers
from coala_jax.cli._derived_options import add_fields, from_options, option_values
from coala_jax.cli._generation_options import PLAIN, TAKES
from coala_jax.cli._options import add_eval_fraction, add_model_options, add_seed, model_options
from coala_jax.cli._output import report, say
from coala_jax.cli._parser import UsageError
from coala_jax.cli._tracker_options import add_report_to
from coala_jax.decoding._config import GenerationConfig, Guidance, Sampling

if TYPE_CHECKING:
    from coala_jax.data._prompts import PromptRow
    from coala_jax.improvement import Round

EXAMPLE = """  coala-jax improve --model models/gpt2 --data prompts.jsonl \\
      --reward rewards:brevity --out rounds"""
FIELDS = ("samples", "rounds", "policy", "best_of", "keep_rounds", "patience", "prompts_at_once")
HELD_OUT = 0.2


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    from coala_jax.improvement import ImproveSettings

    parser.add_argument("--model", required=True, help="a causal model that jax runs")
    parser.add_argument(
        "--data",
        required=True,
        help="rows with prompt (text or messages), any kind of file; or .txt, one a line. Other "
        "columns go to the reward function",
    )
    parser.add_argument(
        "--reward",
        required=True,
        metavar="MODULE:FUNCTION",
        help="called as TRL's reward_funcs are: f(prompts, completions, **columns), a number each; "
        "MODULE.py in the folder where the command is run is found too",
    )
    parser.add_argument(
        "--out", required=True, help="folder of the rounds; one that is there is gone on with"
    )
    parser.add_argument("--held-out", metavar="FILE", help="prompts to hold out, in place of some")
    add_eval_fraction(parser, HELD_OUT)
    add_seed(parser, "of draws, gates and folds")
    add_report_to(parser)
    add_model_options(parser)
    add_fields(parser.add_argument_group("rounds"), ImproveSettings, FIELDS)
    add_fields(parser.add_argument_group("sampling"), Sampling, (*PLAIN, "scale"), takes=TAKES)
    fields = tuple(Guidance.__dataclass_fields__)
    add_fields(parser.add_argument_group("guidance"), Guidance, fields, takes=TAKES, unset=True)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.backbones import load_backbone
    from coala_jax.data._prompts import read_prompts
    from coala_jax.improvement import ImproveSettings, improve

    reward = reward_of(arguments.reward)
    prompts = _rows(read_prompts(arguments.data))
    held_out: Any = arguments.eval_fraction
    if arguments.held_out is not None:
        held_out = _rows(read_prompts(arguments.held_out))
    generation = GenerationConfig(from_options(arguments, Sampling))
    generation = generation.with_options(**option_values(arguments, Guidance))
    settings = from_options(arguments, ImproveSettings, generation=generation, seed=arguments.seed)
    backbone = load_backbone(arguments.model, **model_options(arguments))
    config = {"reward": arguments.reward, **{k: str(v) for k, v in vars(settings).items()}}
    trackers = arguments.report_to or ()
    with open_trackers(trackers, Path(arguments.out), config, say) as log:

        def tell(each: Round) -> None:
            say(each.line())
            log("round", each.number, _figures(each))

        found = improve(
            backbone,
            prompts,
            reward,
            arguments.out,
            held_out=held_out,
            settings=settings,
            on_round=tell,
        )
    head = Path(arguments.out) / f"round-{found.best:03d}" / "head"
    result = {
        "out": arguments.out,
        "head": str(head),
        "best": found.best,
        "plain": found.plain._asdict(),
        "rounds": [_account(each) for each in found.rounds],
    }
    return report(arguments, result, [*found.report().splitlines(), f"head: {head}"])


def _figures(found: Round) -> dict[str, float]:
    """What trackers are told of a round."""
    means = {f"held_out/{way}": each.mean for way, each in found.held_out.items()}
    return {"train/reward": found.reward.mean, **means, "tokens": found.tokens}


def _account(found: Round) -> dict[str, Any]:
    """What came of a round, for JSON."""
    held_out = {way: each._asdict() for way, each in found.held_out.items()}
    fields = {**found._asdict(), "reward": found.reward._asdict(), "held_out": held_out}
    account: dict[str, Any] = valid_json(fields)
    return account


def reward_of(name: str) -> Callable[..., Sequence[float | None]]:
    """The function of ``module:function``; modules of the working folder are found too.

    Raises:
        UsageError: no such module or function, or the module raises.
    """
    module_name, colon, function_name = name.partition(":")
    if not (module_name and colon and function_name):
        raise UsageError(f"--reward {name}: give MODULE:FUNCTION, such as rewards:brevity")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a user's module raises
        hint = ""
        if isinstance(error, ModuleNotFoundError):
            there = module_name.removesuffix(".py")
            hint = f"; {there}:{function_name} is {there}.py in {folder}, or an installed module"
        raise UsageError(
            f"--reward {name}: importing {module_name} raised {type(error).__name__}: {error}{hint}"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise UsageError(f"--reward {name}: {module_name} has no function {function_name}")
    found: Callable[..., Sequence[float | None]] = function
    return found


def _rows(prompts: Sequence[PromptRow]) -> list[dict[str, Any]]:
    return [{**row.columns, "id": row.id, "prompt": row.prompt} for row in prompts]
