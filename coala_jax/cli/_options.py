"""Options that several commands have: of the solver, and of the model."""

from __future__ import annotations

import argparse
from typing import Any

from coala_jax._types import Config, Params
from coala_jax.cli._parser import (
    finite_number,
    fraction,
    positive_integer,
    positive_number,
    seed,
)
from coala_jax.convex.losses import LOSSES
from coala_jax.study._experiment import Settings

DEFAULT_EVAL_FRACTION = 0.2


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add what `model_options` reads: how ``--model`` becomes a backbone."""
    group = parser.add_argument_group("model")
    group.add_argument("--adapter", help="folder of a LoRA adapter (PEFT layout) to merge into it")
    _add_hub_id(group)


def add_tokenizer_options(parser: argparse.ArgumentParser) -> None:
    """Add where the tokenizer of ``--model`` is looked for, for commands that run no model."""
    _add_hub_id(parser.add_argument_group("model"))


def add_download(parser: argparse._ActionsContainer) -> None:
    """Add ``--download``."""
    parser.add_argument(
        "--download",
        action="store_true",
        help="fetch what the hub's cache lacks of a hub id; without it nothing is fetched",
    )


def _add_hub_id(group: argparse._ActionsContainer) -> None:
    group.add_argument("--revision", help="branch, tag or commit of a hub id (default: main)")
    add_download(group)


def add_model_dtype(parser: argparse.ArgumentParser, default: str | None = "float32") -> None:
    """Add ``--model-dtype``, which `model_options` reads where it is there.

    Args:
        parser: of the command.
        default: None means the type that a head's features were made in.
    """
    parser.add_argument(
        "--model-dtype",
        default=default,
        choices=("float32", "bfloat16"),
        help="type of the model's weights and of its computation "
        f"(default: {default or 'that of the features the head was made on'})",
    )


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add ``--engine``, which `model_options` reads where it is there."""
    parser.add_argument(
        "--engine",
        default="jax",
        choices=("jax", "torch"),
        help="what runs the model; torch runs causal models of families that are not listed by "
        "`coala-jax backbones` (default: %(default)s)",
    )


def model_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the options say of the model, as ``load_backbone`` takes it."""
    options = {name: getattr(arguments, name) for name in ("adapter", "revision", "download")}
    if hasattr(arguments, "model_dtype"):
        options["dtype"] = arguments.model_dtype
    if hasattr(arguments, "engine"):
        options["engine"] = arguments.engine
    return options


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Add what `device_options` reads: which devices hold the backbone."""
    group = parser.add_argument_group("devices")
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


def device_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of `add_device_options`, as ``load_backbone`` takes them.

    Raises:
        ValueError: more devices than there are, or sizes that do not fit.
    """
    from coala_jax.backbones import device_mesh

    asked_for = arguments.devices is not None or arguments.model_parallel > 1
    if getattr(arguments, "engine", None) == "torch" and not asked_for:
        return {}  # torch chooses its own device
    return {"mesh": device_mesh(arguments.devices, arguments.model_parallel)}


def add_seed(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--seed``."""
    parser.add_argument("--seed", type=seed, default=0, help=f"{what} (default: %(default)s)")


def add_eval_fraction(parser: argparse.ArgumentParser) -> None:
    """Add ``--eval-fraction``."""
    parser.add_argument(
        "--eval-fraction",
        type=fraction,
        default=DEFAULT_EVAL_FRACTION,
        help="share of the groups or prompts to hold out (default: %(default)s)",
    )


def add_solver_options(parser: argparse.ArgumentParser, defaults: Settings) -> None:
    """Add what `solver_settings` reads; every default is shown in the help."""
    params, config = defaults.params, defaults.config
    group = parser.add_argument_group("solver")

    def leaf(name: str, type_: type | object, text: str) -> None:
        default = getattr(params, name)
        option = f"--{name.replace('_', '-')}"
        group.add_argument(option, type=type_, default=default, help=f"{text} (default: {default})")  # type: ignore[arg-type]

    group.add_argument(
        "--n-gates",
        "--gates",
        type=positive_integer,
        default=config.n_gates,
        help="sampled gates; twice as many neurons at most (default: %(default)s)",
    )
    leaf("group_lasso", positive_number, "strength, as a share of the one where no neuron is left")
    leaf("rho", positive_number, "ADMM penalty of Phase I, relative to the usual one")
    group.add_argument(
        "--loss",
        choices=sorted(LOSSES),
        default=config.phase1_loss,
        help="loss of Phase I; bradley_terry fits pairs, the others labels (default: %(default)s)",
    )
    group.add_argument(
        "--network",
        choices=("relu", "gated_relu"),
        default=config.model,
        help="kind of network; a gated one has no cones and its head carries the gates "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--objective",
        choices=("pairwise", "pointwise"),
        default=config.phase2_objective,
        help="Phase II: eq 6 or eq 9 (default: %(default)s)",
    )
    leaf("beta", positive_number, "reward scale of Phase II")
    leaf("gamma", finite_number, "offset of Phase II")
    leaf("ridge", positive_number, "ridge of Phase II")
    leaf("learning_rate", positive_number, "AdamW step of Phase II")
    group.add_argument(
        "--max-iterations",
        type=positive_integer,
        default=config.max_iterations,
        help="cap of ADMM steps (default: %(default)s)",
    )
    group.add_argument(
        "--max-epochs",
        type=positive_integer,
        default=config.max_epochs,
        help="cap of Phase II passes (default: %(default)s)",
    )
    group.add_argument(
        "--batch-size",
        type=positive_integer,
        default=config.batch_size,
        help="pairs of a Phase II step (default: all at once)",
    )


def solver_settings(arguments: argparse.Namespace) -> Settings:
    """The settings that the options of `add_solver_options` and `add_seed` say."""
    params = Params(
        rho=arguments.rho,
        group_lasso=arguments.group_lasso,
        beta=arguments.beta,
        gamma=arguments.gamma,
        ridge=arguments.ridge,
        learning_rate=arguments.learning_rate,
    )
    config = Config(
        n_gates=arguments.n_gates,
        model=arguments.network,
        phase1_loss=arguments.loss,
        phase2_objective=arguments.objective,
        max_iterations=arguments.max_iterations,
        # A cap below the usual distance of two certificates still gets one.
        check_every=min(Config().check_every, arguments.max_iterations),
        max_epochs=arguments.max_epochs,
        batch_size=arguments.batch_size,
    )
    return Settings(params, config, arguments.seed)
