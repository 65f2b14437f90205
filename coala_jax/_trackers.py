"""Figures of a run for experiment trackers, through their own clients; none unless asked for.

The names are those of ``report_to`` in transformers and TRL. A client has its own settings and
login, from its own variables: WANDB_PROJECT, WANDB_MODE, TRACKIO_SPACE_ID and so on.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from coala_jax._errors import CoalaError
from coala_jax._extras import how_to_install
from coala_jax._json import json_text, valid_json

PROJECT = "coala-jax"
NONE = "none"
# By name the module of its client, and how to install it.
TRACKERS = {
    "trackio": ("trackio", how_to_install("trackio")),
    "wandb": ("wandb", how_to_install("wandb")),
    "tensorboard": ("tensorboardX", how_to_install("tensorboard")),
}
# What no step belongs to: figures of a whole run.
FINAL = ""

Say = Callable[[str], None]
# Takes a clock, such as ``phase1/iteration``, where it stands, and figures by name.
Log = Callable[[str, int, Mapping[str, float]], None]


class _Client(NamedTuple):
    """An open tracker."""

    log: Log
    finish: Callable[[], object]


def require_trackers(names: Sequence[str]) -> tuple[str, ...]:
    """The trackers of these names, each once; ``none`` is no tracker.

    Raises:
        CoalaError: a name that is not known, ``none`` beside others, or a client that is not
            installed.
    """
    wanted = tuple(dict.fromkeys(names))
    for name in wanted:
        if name == NONE and len(wanted) > 1:
            raise CoalaError(f"{', '.join(wanted)}: none is no tracker; leave it or the others out")
        if name != NONE and name not in TRACKERS:
            raise CoalaError(f"{name!r} is not one of {NONE}, {', '.join(TRACKERS)}")
        if name != NONE and importlib.util.find_spec(TRACKERS[name][0]) is None:
            module, install = TRACKERS[name]
            raise CoalaError(f"{name} needs {module}; install it: {install}")
    return () if wanted == (NONE,) else wanted


@contextlib.contextmanager
def open_trackers(
    names: Sequence[str], folder: Path, config: Mapping[str, Any], say: Say
) -> Iterator[Log]:
    """Give what takes figures, for all trackers together.

    A tracker that fails is left out from there on, and said; nothing else is lost by it. What
    clients print goes to stderr.

    Args:
        names: of `TRACKERS`.
        folder: of the run; its name is the run's, and TensorBoard's files go to ``runs`` in it
            unless TENSORBOARD_LOGGING_DIR names another place.
        config: settings of the run.
        say: takes a line for people.
    """
    clients: dict[str, _Client] = {}

    def guarded(name: str, call: Callable[[], object]) -> None:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                call()
        except (Exception, SystemExit) as error:  # whatever a client raises
            clients.pop(name, None)
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            say(f"warning: {name} failed and is left out; all else goes on ({reason})")

    def start(name: str) -> None:
        clients[name] = _OPEN[name](folder, valid_json(config))

    def log(clock: str, step: int, figures: Mapping[str, float]) -> None:
        finite = {name: float(value) for name, value in figures.items() if math.isfinite(value)}
        for name, client in [*clients.items()]:
            guarded(name, partial(client.log, clock, step, finite))

    for name in names:
        guarded(name, partial(start, name))
    try:
        yield log
    finally:
        for name, client in [*clients.items()]:
            guarded(name, client.finish)


def _trackio(folder: Path, config: Mapping[str, Any]) -> _Client:
    import trackio

    trackio.init(project=PROJECT, name=folder.resolve().name, config=config)

    def log(clock: str, step: int, figures: Mapping[str, float]) -> None:
        trackio.log(dict(figures), step=None if clock == FINAL else step)

    return _Client(log, trackio.finish)


def _wandb(folder: Path, config: Mapping[str, Any]) -> _Client:
    import wandb

    project = os.environ.get("WANDB_PROJECT", PROJECT)
    run = wandb.init(project=project, name=folder.resolve().name, config=config)
    known: set[str] = set()

    def log(clock: str, step: int, figures: Mapping[str, float]) -> None:
        if clock == FINAL:
            run.summary.update(dict(figures))
            return
        # Its own step only ever rises; two phases have a clock each.
        for name in {clock, *figures} - known:
            run.define_metric(name, step_metric=None if name == clock else clock)
            known.add(name)
        run.log({clock: step, **figures})

    return _Client(log, run.finish)


def _tensorboard(folder: Path, config: Mapping[str, Any]) -> _Client:
    from tensorboardX import SummaryWriter

    place = os.environ.get("TENSORBOARD_LOGGING_DIR")
    writer = SummaryWriter(str(folder / "runs" if place is None else Path(place).expanduser()))
    writer.add_text("config", f"```json\n{json_text(config)}```")

    def log(clock: str, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            writer.add_scalar(name, value, step)

    return _Client(log, writer.close)


_OPEN = {"trackio": _trackio, "wandb": _wandb, "tensorboard": _tensorboard}
