"""Methods of benchmarks/methods.py that TRL trains: settings tried, one chosen, the final run.

Every run is a process of its own with TRL's Python (benchmarks/contenders/trl_trainer.py), in a
folder of its own, and is not repeated where its result is there. Learning rates are tried at the
first beta, then the other betas at the best rate; each is trained on the fitted pairs and judged on
the development ones, and the final run is on all training pairs. An sft run is judged by the mean
log probability of a token of the chosen responses, the others by the share of pairs that their own
reward orders right: implicit of dpo, the mean log probability of a token of orpo. The first of
equals is taken. A start has seen the development pairs, where it is an sft run: it is made once, of
all training pairs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from methods_plan import Method, Model, Plan, Training
from methods_quality import PairLogProbs, pair_log_probs
from methods_rows import DEVELOPMENT, FITTED, HELD_OUT, TRAIN, read_part
from reporting import HERE

from coala_jax._accuracy import pairwise_accuracy
from coala_jax._files import write_text
from coala_jax._json import json_text
from coala_jax.backbones import load_backbone

TRAINER = HERE / "contenders" / "trl_trainer.py"
RESULT, JOB, ADAPTER, MERGED = "result.json", "job.json", "adapter", "merged"
# What TRL calls the mean reward difference of a step, by its trainers.
TRL_MARGINS = ("rewards/margins", "margin")
# Folder of the run on all training pairs.
FINAL = "final"
LAST_LINES = 2000


class TrainingError(Exception):
    """A run of TRL that failed; ends with the last lines of what it wrote."""


class Setting(NamedTuple):
    """A learning rate, and the beta of methods that have one."""

    learning_rate: float
    beta: float

    @property
    def name(self) -> str:
        """Of a folder."""
        return f"lr-{self.learning_rate:g}-beta-{self.beta:g}"


class Trainer(NamedTuple):
    """Trains a method of a cell.

    Attributes:
        plan: with what all methods share.
        model: the backbone.
        method: what is trained.
        start: checkpoint folder to begin with.
        seed: of adapters, dropout and the order of rows.
        rows: folder of the cell's rows.
        out: folder of the runs.
        python: that has TRL.
        together: trials that run at once.
    """

    plan: Plan
    model: Model
    method: Method
    start: Path
    seed: int
    rows: Path
    out: Path
    python: Path
    together: int = 1

    def choose(self) -> tuple[Setting, list[dict[str, Any]]]:
        """The setting of the highest score, and what was tried; a single one is not tried."""
        rates, betas = self.method.learning_rate, self.method.beta or (0.0,)
        if len(rates) == len(betas) == 1:
            return Setting(rates[0], betas[0]), []
        is_implicit = self.method.kind == "dpo"
        known = self._scores_of(None, DEVELOPMENT) if is_implicit else None
        tried = self._trials([Setting(rate, betas[0]) for rate in rates], known)
        best = max(tried, key=lambda setting: tried[setting]["score"])
        tried |= self._trials([best._replace(beta=beta) for beta in betas[1:]], known)
        best = max(tried, key=lambda setting: tried[setting]["score"])
        return best, list(tried.values())

    def final(self, setting: Setting) -> tuple[Path, dict[str, Any]]:
        """The run on all training pairs: its folder and what it said; of sft, the model too."""
        folder = self.out / FINAL
        merge = self.method.kind == "sft"
        return folder, self._run(setting, folder, TRAIN, HELD_OUT, merge=merge)

    def _trials(
        self, settings: Sequence[Setting], start: PairLogProbs | None
    ) -> dict[Setting, dict[str, Any]]:
        """Settings with their scores; they are judged one after the other."""
        with ThreadPoolExecutor(self.together) as pool:
            runs = pool.map(self._try, settings)
            return {
                setting: self._judged(setting, result, start)
                for setting, result in zip(settings, runs, strict=True)
            }

    def _folder(self, setting: Setting) -> Path:
        return self.out / f"trial-{setting.name}"

    def _try(self, setting: Setting) -> dict[str, Any]:
        return self._run(setting, self._folder(setting), FITTED, DEVELOPMENT)

    def _judged(
        self, setting: Setting, result: dict[str, Any], start: PairLogProbs | None
    ) -> dict[str, Any]:
        folder = self._folder(setting)
        score_path = folder / "score.json"
        if not score_path.exists():
            score = self._score(folder, result, start)
            write_text(score_path, json_text({"score": score}))
        score = json.loads(score_path.read_text("utf-8"))["score"]
        known = {name: result[name] for name in ("seconds", "micro_batches")}
        return {**setting._asdict(), "score": score, **known}

    def _score(self, folder: Path, result: dict[str, Any], start: PairLogProbs | None) -> float:
        if self.method.kind == "reward":
            return float(pairwise_accuracy(*np.array(result["rewards"]).T).mean())
        found = self._scores_of(folder / ADAPTER, DEVELOPMENT)
        if self.method.kind == "sft":
            return float(found.chosen.sum() / found.chosen_tokens.sum())
        if start is None:  # orpo has no other reward
            return float(found.mean_correct().mean())
        return float(found.implicit_correct(start).mean())

    def _scores_of(self, adapter: Path | None, part: str) -> PairLogProbs:
        backbone = load_backbone(self.start, adapter=adapter, dtype=self.model.dtype)
        return pair_log_probs(backbone, read_part(self.rows, part))

    def _run(
        self, setting: Setting, folder: Path, train: str, judged: str, *, merge: bool = False
    ) -> dict[str, Any]:
        """One run of TRL, or what an earlier one said."""
        job = {**self.job(setting, folder, train, judged), "merge": merge}
        path = folder / RESULT
        if not path.exists():
            write_text(folder / JOB, json_text(job))
            run_trl(self.python, folder / JOB)
        result: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return result

    def job(self, setting: Setting, folder: Path, train: str, judged: str) -> dict[str, Any]:
        """A job file of trl_trainer.py, by the fields of its `Job`."""
        training = self.plan.training
        batch = self.method.batch or training.batch
        return {
            "method": self.method.kind,
            "model": str(self.start),
            "train": str(read_part(self.rows, train).path),
            "judged": str(read_part(self.rows, judged).path),
            "out": str(folder),
            **setting._asdict(),
            "epochs": training.epochs if self.method.epochs is None else self.method.epochs,
            "batch": batch,
            "accumulation": training.batch * training.accumulation // batch,
            "warmup_steps": training.warmup,
            "max_length": self.plan.max_length,
            "seed": self.seed,
            "dtype": training.dtype,
            "lora": lora_of(training, self.model),
        }


def lora_of(training: Training, model: Model) -> dict[str, Any]:
    """Adapters of a model, as job files have them."""
    return {
        "r": training.lora_rank,
        "lora_alpha": training.lora_alpha,
        "lora_dropout": training.lora_dropout,
        "target_modules": list(model.lora_targets),
    }


def run_trl(python: Path, job: Path, script: Path = TRAINER) -> None:
    """Run a job file with TRL's Python.

    Raises:
        TrainingError: that failed.
    """
    command = [str(python), str(script), str(job)]
    log = job.parent / "log.txt"
    options = {"stderr": subprocess.STDOUT, "env": {**os.environ, "PYTHONPATH": str(HERE.parent)}}
    with log.open("w", encoding="utf-8") as lines:
        done = subprocess.run(command, stdout=lines, check=False, **options)
    if done.returncode:
        raise TrainingError(
            f"{job}: {_ending(done.returncode)}: {log.read_text('utf-8', 'replace')[-LAST_LINES:]}"
        )


def _ending(code: int) -> str:
    """How a process ended."""
    if code == -signal.SIGKILL:
        return "killed, as Linux does where memory is short; a smaller `batch` of the method helps"
    return f"exit code {code}"


def margins_of(log: Sequence[Mapping[str, Any]]) -> dict[str, list[float]] | None:
    """TRL's mean reward difference by step, of methods that have one."""
    for name in TRL_MARGINS:
        found = [entry for entry in log if name in entry]
        if found:
            steps = [float(entry["step"]) for entry in found]
            return {"steps": steps, "values": [float(entry[name]) for entry in found]}
    return None
