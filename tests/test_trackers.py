"""Trackers: known by name, told through their clients, and never a reason to lose anything."""

import importlib.util
import math
from types import SimpleNamespace

import pytest

from coala_jax._trackers import FINAL, TRACKERS, open_trackers, require_trackers


class Wandb:
    """A run of wandb's: keeps what it is told."""

    def __init__(self):
        self.clocks, self.logged, self.summary, self.ended = {}, [], {}, False

    def define_metric(self, name, step_metric=None):
        assert name not in self.clocks
        self.clocks[name] = step_metric

    def log(self, figures):
        self.logged.append(figures)

    def finish(self):
        self.ended = True


class Writer:
    """tensorboardX's writer."""

    def __init__(self, folder):
        self.folder, self.texts, self.scalars, self.closed = folder, {}, [], False

    def add_text(self, name, text):
        self.texts[name] = text

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))

    def close(self):
        self.closed = True


def test_names_are_known_and_installed_or_say_what_to_do(monkeypatch):
    assert require_trackers(["none"]) == ()
    with pytest.raises(ValueError, match="'mlflow' is not one of none, trackio, wandb, tensorb"):
        require_trackers(["mlflow"])
    with pytest.raises(ValueError, match="none is no tracker"):
        require_trackers(["none", "wandb"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name, (module, _) in TRACKERS.items():
        with pytest.raises(ValueError, match=rf"{name} needs {module}.*\.\[{name}\]"):
            require_trackers([name])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert require_trackers(["wandb", "trackio", "wandb"]) == ("wandb", "trackio")


def test_two_phases_have_their_clocks_and_what_is_no_number_is_left_out(
    put_client, tmp_path, monkeypatch
):
    run, started = Wandb(), {}
    put_client("wandb", init=lambda **options: started.update(options) or run)
    writers = []
    put_client(
        "tensorboardX", SummaryWriter=lambda place: writers.append(Writer(place)) or writers[-1]
    )
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    said = []
    config = {"ridge": 0.1, "nothing": math.nan}
    with open_trackers(["wandb", "tensorboard"], tmp_path / "head", config, said.append) as log:
        log("phase1/iteration", 25, {"phase1/gap": math.inf, "phase1/primal_value": 2.0})
        log("phase1/iteration", 50, {"phase1/gap": 0.5, "phase1/primal_value": 1.0})
        log("phase2/epoch", 0, {"train/loss": 0.7})
        log(FINAL, 0, {"final/accuracy": 0.8})
    assert started == {"project": "mine", "name": "head", "config": {"ridge": 0.1, "nothing": None}}
    assert run.clocks["phase1/gap"] == run.clocks["phase1/primal_value"] == "phase1/iteration"
    assert run.clocks["train/loss"] == "phase2/epoch" and run.clocks["phase2/epoch"] is None
    assert run.logged[0] == {"phase1/iteration": 25, "phase1/primal_value": 2.0}
    assert run.summary == {"final/accuracy": 0.8} and run.ended
    (writer,) = writers
    assert writer.folder == str(tmp_path / "head" / "runs")
    assert '"ridge": 0.1' in writer.texts["config"] and writer.closed
    assert ("phase1/gap", 0.5, 50) in writer.scalars
    assert ("train/loss", 0.7, 0) in writer.scalars
    assert said == []


@pytest.mark.parametrize("at", ["init", "log", "finish"])
@pytest.mark.parametrize("error", [RuntimeError("no\nroute"), SystemExit(1)])
def test_a_client_that_fails_is_said_once_and_the_others_go_on(
    put_client, tmp_path, capsys, at, error
):
    told = []

    def fail(*_, **__):
        raise error

    quiet = {"init": lambda **_: print("hello"), "log": lambda *_, **__: None}
    put_client("trackio", **{"finish": lambda: None, **quiet, at: fail})
    run = SimpleNamespace(define_metric=lambda *_, **__: None, log=told.append, finish=lambda: None)
    put_client("wandb", init=lambda **_: run)
    said = []
    with open_trackers(["trackio", "wandb"], tmp_path, {}, said.append) as log:
        for step in range(3):
            log("round", step, {"reward": 1.0})
    assert [each["round"] for each in told] == [0, 1, 2]
    (line,) = said
    assert line.startswith("warning: trackio failed and is left out; all else goes on")
    assert type(error).__name__ in line and "\n" not in line
    assert capsys.readouterr().out == ""
