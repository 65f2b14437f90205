"""A cell of benchmarks/methods.py: a method on a model, a data set and a seed, in a folder.

``settings.json`` says what decides a cell, ``result.json`` what came of it; a cell that has a
result is not made again, and one with other settings is refused. Rows are made once for all methods
of a model, set and seed.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from methods_head import STORE, fit_head
from methods_plan import HEAD, UNTRAINED, Plan, PlanError, rooted
from methods_quality import (
    GUIDED,
    PLAIN,
    PairLogProbs,
    answers,
    judged,
    pair_log_probs,
    questions,
)
from methods_rows import HELD_OUT, INFO, read_part, rows_of, write_parts
from methods_training import ADAPTER, MERGED, Trainer
from training_flops import training_flops

from coala_jax._accuracy import pairwise_accuracy
from coala_jax._files import write_text
from coala_jax._json import json_text, valid_json
from coala_jax._machine import device, versions
from coala_jax.backbones import Backbone, load_backbone
from coala_jax.backbones._hub import find_checkpoint
from coala_jax.backbones._registry import read_family
from coala_jax.decoding import TextRewardModel
from coala_jax.features._chat import checkpoint_tokenizer

SETTINGS, RESULT, ROWS = "settings.json", "result.json", "rows"
BEST_OF = "best of {}"
# What TRL calls the mean reward difference of a step, by its trainers.
TRL_MARGINS = ("rewards/margins", "margin")


@dataclasses.dataclass(frozen=True)
class Cell:
    """A method on a model, a data set and a seed.

    Attributes:
        plan: of the matrix.
        model, data, method: names in the plan.
        seed: one of the plan's.
        out: folder of the matrix.
        python: that has TRL.
        download: fetch what the hub's cache lacks.
        together: trials of settings that run at once.
    """

    plan: Plan
    model: str
    data: str
    method: str
    seed: int
    out: Path
    python: Path
    download: bool = False
    together: int = 1

    def __str__(self) -> str:
        return f"{self.model}, {self.data}, seed {self.seed}, {self.method}"

    @property
    def group(self) -> Path:
        """Folder of all methods of a model, set and seed."""
        return self.out / _folder(self.model) / _folder(self.data) / f"seed-{self.seed}"

    @property
    def folder(self) -> Path:
        """Of this cell."""
        return self.group / _folder(self.method)

    @property
    def rows(self) -> Path:
        """Folder of the rows."""
        return self.group / ROWS

    @property
    def start(self) -> Cell | None:
        """The cell whose weights this one begins with; None means the checkpoint."""
        name = self.plan.start_of(self.method)
        return None if name is None else dataclasses.replace(self, method=name)

    @property
    def result(self) -> dict[str, Any] | None:
        """What came of it; None where it is not made."""
        path = self.folder / RESULT
        return json.loads(path.read_text("utf-8")) if path.exists() else None

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides it, but for the weights and the texts themselves."""
        plan, start = self.plan, self.start
        return {
            "model": _given(plan.models[self.model]),
            "set": _given(plan.sets[self.data]),
            "method": _given(plan.methods[self.method]),
            "start": None if start is None else start.settings["method"],
            "seed": self.seed,
            "training": _given(plan.training),
            "decoding": _given(plan.decoding),
            **{name: getattr(plan, name) for name in ("max_length", "held_out", "development")},
        }

    def make_rows(self) -> None:
        """Write the rows, where they are not there."""
        if not (self.rows / INFO).exists():
            tokenizer = checkpoint_tokenizer(self._path, download=self.download)
            write_parts(self.plan, self.data, self.seed, tokenizer, self.rows, self.download)

    def make(self) -> None:
        """Make the cell, where it has no result.

        Raises:
            PlanError: its folder has one of other settings, or what it starts from is not made.
        """
        self.require_same_settings()
        if self.result is not None:
            return
        write_text(self.folder / SETTINGS, json_text(self.settings))
        self.make_rows()
        begin = time.perf_counter()
        kind = self.plan.methods[self.method].kind
        make = {UNTRAINED: self._untrained, HEAD: self._head}.get(kind, self._trained)
        found = make()
        rows = read_part(self.rows, HELD_OUT)
        result = {
            **found,
            "keys": rows.keys,
            "whole_seconds": time.perf_counter() - begin,
            "device": device(),
            "versions": versions(),
        }
        write_text(self.folder / RESULT, json_text(result))

    def require_same_settings(self) -> None:
        """Raise where the folder has a cell of other settings.

        Raises:
            PlanError: names them.
        """
        path = self.folder / SETTINGS
        if not path.exists():
            return
        known, wanted = json.loads(path.read_text("utf-8")), json.loads(json_text(self.settings))
        if others := [name for name in wanted if known.get(name) != wanted[name]]:
            raise PlanError(
                f"{self.folder} was made with another {', '.join(others)}; give another --out, or "
                "delete it"
            )

    @property
    def _path(self) -> str:
        return rooted(self.plan.models[self.model].path)

    @property
    def _checkpoint(self) -> Path:
        """The folder of the model before any training."""
        return find_checkpoint(self._path, download=self.download).folder

    @property
    def _begun(self) -> Path:
        """The folder of the weights that this cell begins with."""
        if self.start is None:
            return self._checkpoint
        folder = self.start.folder / "final" / MERGED
        if self.start.result is None:
            raise PlanError(f"{self}: {self.start} has no result; run it first")
        return folder

    def _load(self, path: Path, adapter: Path | None = None) -> Backbone:
        return load_backbone(path, adapter=adapter, dtype=self.plan.models[self.model].dtype)

    def _untrained(self) -> dict[str, Any]:
        backbone = self._load(self._checkpoint)
        scores = self._pairs(backbone)
        return {
            "stages": [],
            "correct": {"mean": scores.mean_correct().tolist()},
            "answers": self._answers(backbone, [PLAIN]),
        }

    def _trained(self) -> dict[str, Any]:
        """A method that TRL trains."""
        method, model = self.plan.methods[self.method], self.plan.models[self.model]
        trainer = Trainer(
            self.plan,
            model,
            method,
            self._begun,
            self.seed,
            self.rows,
            self.folder,
            self.python,
            self.together,
        )
        setting, trials = trainer.choose()
        folder, run = trainer.final(setting)
        frozen = self._load(self._begun)
        found: dict[str, Any] = {
            "setting": setting._asdict(),
            "trials": trials,
            "stages": [self._training_stage(run, frozen)],
            "margins": _margins(run["log"]),
            "trl": {name: run[name] for name in ("versions", "device", "steps")},
        }
        if method.kind == "reward":
            correct = pairwise_accuracy(*np.array(run["rewards"]).T)
            return {**found, "correct": {"head": correct.tolist()}, "answers": {}}
        start = pair_log_probs(frozen, read_part(self.rows, HELD_OUT))
        del frozen
        policy = self._load(self._begun, folder / ADAPTER)
        scores = self._pairs(policy)
        return {
            **found,
            "correct": {
                "implicit": scores.implicit_correct(start).tolist(),
                "mean": scores.mean_correct().tolist(),
            },
            "answers": self._answers(policy, [PLAIN]),
        }

    def _training_stage(self, run: Mapping[str, Any], frozen: Backbone) -> dict[str, Any]:
        """Operations by formula, and what torch counted on one micro-batch beside it."""
        method, model = self.plan.methods[self.method], self.plan.models[self.model]
        rank = self.plan.training.lora_rank

        def flops(shapes: Sequence[Any]) -> int:
            return training_flops(frozen.config, method.kind, shapes, rank, model.lora_targets)

        counted = run["counted"]
        one = flops([run["micro_batches"][counted["micro_batch"]]]) if counted else None
        return {
            "stage": "training",
            "flops": flops(run["micro_batches"]),
            "counted_micro_batch": counted.get("flops"),
            "formula_micro_batch": one,
            "seconds": run["seconds"],
            "peak_bytes": run["peak_bytes"],
        }

    def _head(self) -> dict[str, Any]:
        """This package."""
        # What an earlier run left would not count in the seconds.
        shutil.rmtree(self.folder / STORE, ignore_errors=True)
        backbone = self._load(self._begun)
        made = fit_head(backbone, self.rows, self.seed, self.folder)
        found = {
            "stages": made.stages,
            "margins": made.margins,
            "report": made.report,
            "choice": str(made.fitted.estimator.choice_),
            "correct": {"head": made.correct.tolist()},
        }
        ways = [PLAIN, GUIDED, BEST_OF.format(self.plan.decoding.best_of)]
        return {**found, "answers": self._answers(made.fitted.model, ways)}

    def _pairs(self, backbone: Backbone) -> PairLogProbs:
        scores = pair_log_probs(backbone, read_part(self.rows, HELD_OUT))
        self.folder.mkdir(parents=True, exist_ok=True)
        scores.save(self.folder / "held-out-log-probs.npz")
        return scores

    def _answers(self, model: Backbone | TextRewardModel, ways: Sequence[str]) -> dict[str, Any]:
        """Answers of the tutoring set, in files of their own; other sets have no rule for them."""
        if not self.plan.sets[self.data].tutoring:
            return {}
        decoding = self.plan.decoding
        asked = questions(read_part(self.rows, HELD_OUT), self.seed, decoding)
        frozen = self._load(self._checkpoint)
        found = {}
        for way in ways:
            begin = time.perf_counter()
            made = answers(model, asked, way, decoding, self.seed)
            seconds = time.perf_counter() - begin
            records = judged(made, asked, frozen)
            name = f"answers-{_folder(way)}.jsonl"
            lines = "".join(json.dumps(valid_json(record)) + "\n" for record in records)
            write_text(self.folder / name, lines)
            found[way] = {"file": name, "seconds": seconds}
        return found


def cells_of(plan: Plan, out: Path, python: Path, **options: Any) -> list[Cell]:
    """All cells of a plan, in an order in which each comes after what it starts from."""
    return [
        Cell(plan, model, data, method, seed, out, python, **options)
        for model in plan.models
        for seed in plan.seeds
        for data in plan.sets
        for method in plan.methods
    ]


def resolved(plan: Plan, download: bool = False) -> Iterator[str]:
    """Where every model of a plan is and how many rows every set has, a line each.

    Raises:
        CheckpointError, DataError: one that is not to be had.
    """
    for name, model in plan.models.items():
        found = find_checkpoint(rooted(model.path), download=download, weights=False)
        tokenizer = checkpoint_tokenizer(rooted(model.path), download=download)
        yield f"model {name}: {found.name}, {read_family(found.folder)[0]}, {tokenizer.size} ids"
    for name, data in plan.sets.items():
        rows = "generated" if data.tutoring else f"{len(rows_of(data, download))} pairs"
        yield f"set {name}: {rows}"


def _given(part: Any) -> dict[str, Any]:
    """Fields of a part of a plan that are not None."""
    return {name: value for name, value in vars(part).items() if value is not None}


def _margins(log: Sequence[Mapping[str, Any]]) -> dict[str, list[float]] | None:
    """TRL's mean reward difference by step, of methods that have one."""
    for name in TRL_MARGINS:
        found = [entry for entry in log if name in entry]
        if found:
            steps = [float(entry["step"]) for entry in found]
            return {"steps": steps, "values": [float(entry[name]) for entry in found]}
    return None


def _folder(name: str) -> str:
    """A name as a folder's."""
    return "".join(letter if letter.isalnum() or letter in ".-_" else "-" for letter in name)
