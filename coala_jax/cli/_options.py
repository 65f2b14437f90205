"""Options that several commands have: of models, heads and the solver."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from coala_jax._compile_cache import VARIABLE
from coala_jax._types import Config, Params
from coala_jax.cli._derived_options import (
    Takes,
    add_fields,
    from_options,
    given_fields,
    option_of,
)
from coala_jax.cli._parser import (
    UsageError,
    finite_number,
    fraction,
    non_negative_number,
    positive_integer,
    seed,
)
from coala_jax.losses import LOSSES
from coala_jax.selection import SELECTED
from coala_jax.study._experiment import Settings

if TYPE_CHECKING:
    from coala_jax.decoding import TextRewardModel

# Leaves of `Params` that must be above 0; the others may be 0, and `gamma` below it too.
POSITIVE = ("rho", "linear_ridge", "beta", "ridge", "learning_rate")
LEAVES: dict[str, Takes] = {
    **{name: non_negative_number for name in Params._fields if name not in POSITIVE},
    "gamma": finite_number,
}
# Of the fields of `Config` and `Params`, what a command has no use for: it solves one program.
LEFT_OUT = ("sweep",)
# Of losses of groups.
OF_GROUPS = ("advantage", "temperature")
OF_PAIRS = sorted(name for name, loss in LOSSES.items() if not loss.grouped)
HEAD_HELP = "folder of a head, or its hub id, ORG/NAME or ORG/NAME@REVISION"
# What is chosen on left-out groups unless it is given.
CHOSEN = ("group_lasso", "linear_ridge", "ridge")


def add_checkpoint_options(parser: argparse.ArgumentParser) -> argparse._ActionsContainer:
    """Add how ``--model`` becomes the files of a backbone; gives the group."""
    group = parser.add_argument_group("model")
    group.add_argument("--adapter", help="folder of a LoRA adapter (PEFT layout) to merge into it")
    add_hub_id(group)
    return group


def add_hub_id(group: argparse._ActionsContainer) -> None:
    """Add ``--revision`` and ``--download``."""
    group.add_argument("--revision", help="branch, tag or commit of a hub id (default: main)")
    add_download(group)


def add_chat_template(group: argparse._ActionsContainer) -> None:
    """Add ``--chat-template``."""
    group.add_argument(
        "--chat-template",
        metavar="NAME",
        help="which chat template writes conversations, where the tokenizer has several and none "
        "by default; a head knows its own",
    )


def add_download(group: argparse._ActionsContainer) -> None:
    """Add ``--download``."""
    group.add_argument(
        "--download",
        action="store_true",
        help="fetch what the hub's cache lacks of a hub id; without it nothing is fetched",
    )


def add_model_options(
    parser: argparse.ArgumentParser, *, dtype: str | None = "float32", engine: bool = False
) -> None:
    """Add what `model_options` reads: how ``--model`` becomes a backbone.

    Args:
        parser: of the command.
        dtype: default of the model's type; None means the one that a head's features were made in.
        engine: whether torch may run the model.
    """
    add_compile_cache(parser)
    group = add_checkpoint_options(parser)
    add_chat_template(group)
    group.add_argument(
        "--model-dtype",
        default=dtype,
        choices=("float32", "bfloat16"),
        help="type of the model's weights and of its computation "
        f"(default: {dtype or 'that of the features the head was made on'})",
    )
    if engine:
        group.add_argument(
            "--engine",
            default="jax",
            choices=("jax", "torch"),
            help="what runs the model; torch runs causal models of families that are not listed "
            "by `coala-jax backbones` (default: %(default)s)",
        )
    group.add_argument(
        "--devices",
        type=positive_integer,
        metavar="N",
        help="devices of this machine to use (default: all)",
    )
    group.add_argument(
        "--model-parallel",
        type=positive_integer,
        default=1,
        metavar="M",
        help="devices that hold one copy of the model together, for one that does not fit a "
        "single device; must divide the number of devices (default: %(default)s)",
    )


def model_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the options say of the model, as ``load_backbone`` takes it.

    Raises:
        ValueError: more devices than there are, or sizes that do not fit.
    """
    from coala_jax.backbones import device_mesh

    names = ("adapter", "revision", "download", "chat_template")
    options = {name: getattr(arguments, name) for name in names}
    options |= {"dtype": arguments.model_dtype, "engine": getattr(arguments, "engine", "jax")}
    asked_for = arguments.devices is not None or arguments.model_parallel > 1
    if options["engine"] == "jax" or asked_for:  # torch chooses its own device
        options["mesh"] = device_mesh(arguments.devices, arguments.model_parallel)
    return options


def add_compile_cache(parser: argparse.ArgumentParser) -> None:
    """Add ``--no-compile-cache``, which a command has that compiles: others keep nothing."""
    parser.add_argument(
        "--no-compile-cache",
        dest="compile_cache",
        action="store_false",
        help="keep no compiled programs in the user's cache folder for the next run, and read none "
        f"(also: {VARIABLE}=off, or =DIR for another folder)",
    )


def add_head(parser: argparse.ArgumentParser, *, engine: bool = False) -> None:
    """Add what `open_head` reads: a head and its backbone."""
    parser.add_argument("head", help=HEAD_HELP)
    parser.add_argument(
        "--model", required=True, help="the backbone it was made on; checked by its hashes"
    )
    add_model_options(parser, dtype=None, engine=engine)


def open_head(arguments: argparse.Namespace) -> TextRewardModel:
    """The head that the options name, and its backbone."""
    from coala_jax.decoding import TextRewardModel

    options = model_options(arguments) | {"value_head": getattr(arguments, "value_head", None)}
    return TextRewardModel.load(arguments.head, arguments.model, **options)


def add_value_head(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--value-head``, which `open_head` reads."""
    parser.add_argument(
        "--value-head",
        metavar="DIR",
        help="folder or hub id of a head of beginnings (`solve --prefixes`) on the same backbone, "
        "which is to guide in place of HEAD, and reads texts as they stand; rewards stay those of "
        "HEAD",
    )


def add_seed(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--seed``."""
    parser.add_argument("--seed", type=seed, default=0, help=f"{what} (default: %(default)s)")


def add_learning_curve(parser: argparse.ArgumentParser) -> None:
    """Add ``--learning-curve``."""
    parser.add_argument(
        "--learning-curve",
        action="store_true",
        help="also solve on an eighth, a quarter and half of the training pairs, which says "
        "whether more pairs are likely to help: about one more solve in all",
    )


def add_eval_fraction(parser: argparse.ArgumentParser, default: float) -> None:
    """Add ``--eval-fraction``."""
    parser.add_argument(
        "--eval-fraction",
        type=fraction,
        default=default,
        help="share of the groups or prompts to hold out (default: %(default)s)",
    )


def add_solver_options(
    parser: argparse.ArgumentParser, model: str = "--model", *, groups: bool = False
) -> None:
    """Add what `solver_settings` reads.

    Args:
        parser: of the command.
        model: what `Config.model` is called where ``--model`` is a backbone.
        groups: whether the command reads groups, and has their losses.
    """
    add_compile_cache(parser)
    group = parser.add_argument_group("solver")
    group.add_argument(
        "--select",
        choices=("auto", "none"),
        help="choose group lasso and ridges on left-out groups of the training pairs, or solve at "
        "those of the options (default: auto, unless one of them is given)",
    )
    left_out = LEFT_OUT if groups else (*LEFT_OUT, *OF_GROUPS)
    fields = tuple(name for name in Config.__dataclass_fields__ if name not in left_out)
    old = {"--gates": "n_gates", "--loss": "phase1_loss", "--objective": "phase2_objective"}
    add_fields(
        group,
        Config,
        fields,
        takes={"phase1_loss": sorted(LOSSES) if groups else OF_PAIRS},
        names={"model": model},
        defaults=SELECTED,
        old=old if model == "--network" else {**old, "--network": "model"},
    )
    leaves = tuple(name for name in Params._fields if name not in left_out)
    add_fields(group, Params, leaves, takes=LEAVES)


def solver_settings(arguments: argparse.Namespace) -> Settings:
    """The settings that the options of `add_solver_options` and `add_seed` say.

    Raises:
        UsageError: a strength that is given and to be chosen.
    """
    given = [name for name in given_fields(arguments, Params) if name in CHOSEN]
    if arguments.select == "auto" and given:
        raise UsageError(
            f"{option_of(given[0])} is given, and --select auto chooses it: leave one of them out"
        )
    select = arguments.select == "auto" or (arguments.select is None and not given)
    # A cap below the usual distance of two certificates still gets one.
    capped = min(
        getattr(arguments, name) for name in ("Config.check_every", "Config.max_iterations")
    )
    config = from_options(arguments, Config, check_every=capped)
    return Settings(from_options(arguments, Params), config, arguments.seed, select)
