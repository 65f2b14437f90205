"""A cell of benchmarks/methods.py: a method on a model, a data set and a seed, in a folder.

``settings.json`` says what decides a cell, ``result.json`` what came of it; a cell that has a
result is not made again, and one with other settings is refused. Rows are made once for all methods
of a model, set and seed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from methods_head import STORE, fit_head
from methods_plan import HEAD, PLACES, ROWS, UNTRAINED, Plan, PlanError, folder_of, rooted
from methods_quality import GUIDED, PLAIN, PairLogProbs, answers, judged, pair_log_probs, questions
from methods_rows import HELD_OUT, made_from, read_part, require_made_from, rows_of, write_parts
from methods_training import ADAPTER, FINAL, MERGED, Trainer, margins_of
from reporting import say
from training_flops import training_flops

from coala_jax._accuracy import pairwise_accuracy
from coala_jax._errors import CoalaError
from coala_jax._files import write_text
from coala_jax._json import json_text, valid_json
from coala_jax._lock import only_writer
from coala_jax._machine import device, versions
from coala_jax.backbones import Backbone, load_backbone
from coala_jax.backbones._backbone import read_family
from coala_jax.backbones._hub import find_checkpoint
from coala_jax.backbones._tokenizer import load_tokenizer
from coala_jax.decoding import TextRewardModel

SETTINGS, RESULT = "settings.json", "result.json"
BEST_OF = "best of {}"


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
        return self.out / folder_of(self.model) / folder_of(self.data) / f"seed-{self.seed}"

    @property
    def folder(self) -> Path:
        """Of this cell."""
        return self.group / folder_of(self.method)

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
        """All that decides it, but for weights and texts, wherever these lie."""
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
        """Write the rows, where they are not there.

        Raises:
            PlanError: there are rows of something else.
            CoalaError, ValueError: no model, no data, or a part without rows.
        """
        found = find_checkpoint(self._path, download=self.download, weights=False)
        origin = made_from(self.plan, self.data, self.seed, found.folder)
        if not require_made_from(self.rows, json.loads(json_text(origin))):
            write_parts(
                self.plan,
                self.data,
                self.seed,
                load_tokenizer(found.folder),
                self.rows,
                origin,
                self.download,
            )

    def make(self) -> None:
        """Make the cell, where it has no result.

        Raises:
            PlanError: its folder has one of other settings, or what it starts from is not made.
            CoalaError: another process is making it.
        """
        with only_writer(self.folder, say, CoalaError):
            self.require_same_settings()
            if self.result is None:
                write_text(self.folder / SETTINGS, json_text(self.settings))
                self._make()

    def _make(self) -> None:
        self.make_rows()
        kind = self.plan.methods[self.method].kind
        make = {UNTRAINED: self._untrained, HEAD: self._head}.get(kind, self._trained)
        found = make()
        rows = read_part(self.rows, HELD_OUT)
        result = {
            **found,
            "keys": rows.keys,
            "date": datetime.now(UTC).date().isoformat(),
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
        folder = self.start.folder / FINAL / MERGED
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
            "answers": self._answers(backbone, [PLAIN], backbone),
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
        shapes = [trial.pop("micro_batches") for trial in trials]
        folder, run = trainer.final(setting)
        frozen = self._load(self._begun)
        for trial, own in zip(trials, shapes, strict=True):
            trial["flops"] = self._training_flops(frozen, own)
        found: dict[str, Any] = {
            "setting": setting._asdict(),
            "trials": trials,
            "stages": [self._training_stage(run, frozen)],
            "margins": margins_of(run["log"]),
            "trl": {name: run[name] for name in ("versions", "device", "steps")},
        }
        if method.kind == "reward":
            correct = pairwise_accuracy(*np.array(run["rewards"]).T)
            return {**found, "correct": {"head": correct.tolist()}, "answers": {}}
        start = self._start_log_probs(frozen)
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
        counted, shapes = run["counted"], run["micro_batches"]
        one = self._training_flops(frozen, [shapes[counted["micro_batch"]]]) if counted else None
        return {
            "stage": "training",
            "flops": self._training_flops(frozen, shapes),
            "counted_micro_batch": counted.get("flops"),
            "formula_micro_batch": one,
            "seconds": run["seconds"],
            "peak_bytes": run["peak_bytes"],
        }

    def _training_flops(self, frozen: Backbone, shapes: Sequence[Sequence[int]]) -> int:
        """Of micro-batches of this method."""
        kind, rank = self.plan.methods[self.method].kind, self.plan.training.lora_rank
        targets = self.plan.models[self.model].lora_targets
        return training_flops(frozen.config, kind, shapes, rank, targets)

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
        frozen = backbone if self.start is None else None
        return {**found, "answers": self._answers(made.fitted.model, ways, frozen)}

    def _pairs(self, backbone: Backbone) -> PairLogProbs:
        """Log probabilities of the held-out pairs, which are kept."""
        scores = pair_log_probs(backbone, read_part(self.rows, HELD_OUT))
        np.savez(self.folder / "held-out-log-probs.npz", **scores._asdict())
        return scores

    def _start_log_probs(self, frozen: Backbone) -> PairLogProbs:
        """Of the weights that this cell begins with; those of a merged model are made once."""
        if self.start is None:
            return pair_log_probs(frozen, read_part(self.rows, HELD_OUT))
        path = self.start.folder / "merged-log-probs.npz"
        if path.exists():
            with np.load(path) as known:
                return PairLogProbs(**known)
        scores = pair_log_probs(frozen, read_part(self.rows, HELD_OUT))
        partial = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(partial, **scores._asdict())
        partial.rename(path)
        return scores

    def _answers(
        self,
        model: Backbone | TextRewardModel,
        ways: Sequence[str],
        frozen: Backbone | None = None,
    ) -> dict[str, Any]:
        """Answers of the tutoring set, in files of their own; other sets have no rule for them.

        Args:
            model: that answers.
            ways: to answer.
            frozen: the checkpoint, where it is loaded already.
        """
        if not self.plan.sets[self.data].tutoring:
            return {}
        decoding = self.plan.decoding
        asked = questions(read_part(self.rows, HELD_OUT), self.seed, decoding)
        if frozen is None:
            frozen = self._load(self._checkpoint)
        found = {}
        for way in ways:
            begin = time.perf_counter()
            made = answers(model, asked, way, decoding, self.seed)
            seconds = time.perf_counter() - begin
            records = judged(made, asked, frozen)
            name = f"answers-{folder_of(way)}.jsonl"
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
    """Where every model of a plan is and how many rows every set has, or why not, a line each."""
    for name, model in plan.models.items():
        try:
            found = find_checkpoint(rooted(model.path), download=download, weights=False)
            size = load_tokenizer(found.folder).size
            yield f"model {name}: {found.name}, {read_family(found.folder)[0]}, {size} ids"
        except CoalaError as error:
            yield f"model {name}: NOT THERE: {error}"
    for name, data in plan.sets.items():
        try:
            rows = "generated" if data.tutoring else f"{len(rows_of(data, download))} pairs"
            yield f"set {name}: {rows}"
        except CoalaError as error:
            yield f"set {name}: NOT THERE: {error}"


def _given(part: Any) -> dict[str, Any]:
    """Fields of a part of a plan that are not None, without places."""
    return {
        name: value
        for name, value in vars(part).items()
        if value is not None and name not in PLACES
    }
