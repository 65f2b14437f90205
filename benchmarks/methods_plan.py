"""Plans of benchmarks/methods.py: which models, data sets, methods and seeds, and by what settings.

A plan is a YAML file; `Plan` and what it holds say which fields it may have. Paths in it are from
the folder of the repository. Imports neither jax nor torch.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from reporting import HERE

from coala_jax.data._named import KNOWN_SETS

ROOT = HERE.parent
# What a method does: nothing; LoRA by TRL's trainers; the head of this package.
UNTRAINED, HEAD = "untrained", "coala"
TRAINED = ("sft", "dpo", "orpo", "reward")
KINDS = (UNTRAINED, *TRAINED, HEAD)
# Fields that say where something lies, and not what it is.
PLACES = ("path", "data", "source")
# The folder beside those of the methods.
ROWS = "rows"
# Whose second setting is swept too: DPO's beta and ORPO's lambda, which TRL calls beta.
WITH_BETA = ("dpo", "orpo")
# In which TRL trains.
DTYPES = ("float32", "bfloat16")


class PlanError(Exception):
    """A plan that cannot be run; names the field, its value and what it may be."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A backbone.

    Attributes:
        path: checkpoint folder, or an id of the hub.
        lora_targets: modules that get adapters, by their names in transformers.
        dtype: of the frozen weights where jax runs them.
    """

    path: str
    lora_targets: tuple[str, ...]
    dtype: str = "float32"


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Preference pairs. One of the first three says which.

    Attributes:
        known: name of a data set, as `coala_jax.data.load_named` knows it.
        data: file, folder or hub id, as `coala_jax.data.read_rows` takes it.
        tutoring: the generated tutoring rows of the quickstart; the one set whose answers a rule
            judges.
        source: a copy of the repository of a ``known`` set; None takes the hub's.
        train: the most training pairs; None means all.
        held_out: the most held-out pairs; None means all.
    """

    known: str | None = None
    data: str | None = None
    tutoring: bool = False
    source: str | None = None
    train: int | None = None
    held_out: int | None = None


@dataclasses.dataclass(frozen=True)
class Method:
    """What is done with a model and pairs.

    Attributes:
        kind: one of ``KINDS``.
        start: the method whose weights it begins with, which is of kind ``untrained`` or ``sft``;
            None means the checkpoint.
        learning_rate: the values that are tried.
        beta: likewise, of DPO and ORPO; the first is that of the learning rates' trials.
        epochs: passes over the pairs; None means those of all trained methods.
        batch: pairs of a micro-batch, where those of all trained methods need too much memory; a
            step has as many pairs as theirs.
    """

    kind: str
    start: str | None = None
    learning_rate: tuple[float, ...] = ()
    beta: tuple[float, ...] = ()
    epochs: float | None = None
    batch: int | None = None


@dataclasses.dataclass(frozen=True)
class Training:
    """What all trained methods share; the defaults are the paper's (appendices E and H.2).

    Attributes:
        epochs: passes over the pairs.
        batch: pairs of a micro-batch.
        accumulation: micro-batches of a step.
        warmup: steps until the learning rate is reached, or below 1 the share of all steps.
        lora_rank, lora_alpha: of the adapters.
        lora_dropout: of the adapters, of sft alone: TRL's other trainers turn dropout off.
        dtype: of the frozen weights and of products, one of ``DTYPES``; None means bfloat16 on a
            GPU and float32 on a CPU.
    """

    epochs: float = 1
    batch: int = 2
    accumulation: int = 8
    warmup: float = 1000
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    dtype: str | None = None


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How answers to the tutoring set's questions are generated and chosen.

    Attributes:
        prompts: questions about held-out concepts; None means all.
        max_new_tokens: of an answer.
        best_of: samples of best-of-n.
        batch_size: prompts that run together.
    """

    prompts: int | None = None
    max_new_tokens: int = 72
    best_of: int = 8
    batch_size: int = 8


@dataclasses.dataclass(frozen=True)
class Plan:
    """A matrix of models × data sets × methods × seeds.

    Attributes:
        models, sets, methods: by the names that results have; a method comes after its ``start``.
        seeds: of splits, adapters, gates, folds and draws.
        max_length: tokens of a prompt with a response; longer pairs are left out for all methods.
        held_out: share of the prompts that are held out.
        development: share of the training prompts by which settings are chosen.
        training: of what TRL trains.
        decoding: of generated answers.
    """

    models: Mapping[str, Model]
    sets: Mapping[str, DataSet]
    methods: Mapping[str, Method]
    seeds: tuple[int, ...] = (0,)
    max_length: int = 512
    held_out: float = 0.1
    development: float = 0.2
    training: Training = Training()
    decoding: Decoding = Decoding()

    def start_of(self, name: str) -> str | None:
        """The method whose weights a method begins with; None means the checkpoint."""
        start = self.methods[name].start
        return None if start is None or self.methods[start].kind == UNTRAINED else start


def read_plan(
    path: Path,
    models: Mapping[str, str] | None = None,
    sets: Mapping[str, str] | None = None,
) -> Plan:
    """Read and check a plan.

    Args:
        path: the YAML file.
        models: folders of models, by name, in place of what the file says.
        sets: files or folders of data sets, likewise.

    Raises:
        PlanError: what is wrong with it.
    """
    try:
        fields = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PlanError(f"{path}: {error}") from None
    where = path.name
    fields = _mapping(where, fields)
    places = {"models": models or {}, "sets": sets or {}}
    for part in places:
        known = fields[part] = _mapping(f"{where}: {part}", fields.get(part))
        for name, place in places[part].items():
            if name not in known:
                raise PlanError(f"{part}: no {name!r}; {where} has {', '.join(known)}")
            own = _mapping(f"{where}: {part}.{name}", known[name])
            field = "path" if part == "models" else "source" if "known" in own else "data"
            known[name] = {**own, field: place}
    plan = Plan(
        models=_named(where, fields, "models", Model),
        sets=_named(where, fields, "sets", DataSet),
        methods=_named(where, fields, "methods", Method),
        training=_made(f"{where}: training", fields.pop("training", {}), Training),
        decoding=_made(f"{where}: decoding", fields.pop("decoding", {}), Decoding),
        **_known(where, fields, Plan),
    )
    _check(where, plan)
    return plan


def rooted(path: str) -> str:
    """A path of a plan, from the folder of the repository where it is there; else as it stands."""
    there = ROOT / path
    return str(there) if there.exists() else path


def folder_of(name: str) -> str:
    """A name of a plan as a folder's."""
    return "".join(letter if letter.isalnum() or letter in ".-_" else "-" for letter in name)


def _named(where: str, fields: dict[str, Any], name: str, kind: type[Any]) -> dict[str, Any]:
    """The members of a mapping, each made by its class."""
    members = _mapping(f"{where}: {name}", fields.pop(name, None))
    return {key: _made(f"{where}: {name}.{key}", value, kind) for key, value in members.items()}


def _mapping(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        raise PlanError(f"{where}: {value!r} must be a mapping with at least one entry")
    return dict(value)


def _made(where: str, value: Any, kind: type[Any]) -> Any:
    if not isinstance(value, dict):
        raise PlanError(f"{where}: {value!r} must be a mapping")
    try:
        return kind(**_known(where, value, kind))
    except TypeError as error:  # a field that has no default
        raise PlanError(f"{where}: {str(error).removeprefix(kind.__name__)}") from None


def _known(where: str, value: Mapping[str, Any], kind: type[Any]) -> dict[str, Any]:
    """Fields by name, lists as tuples."""
    names = [field.name for field in dataclasses.fields(kind)]
    found = {}
    for name, each in value.items():
        if name not in names:
            near = difflib.get_close_matches(str(name), names, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
            raise PlanError(f"{where}: no field {name!r}; {hint}")
        found[name] = tuple(each) if isinstance(each, list) else each
    return found


def _check(where: str, plan: Plan) -> None:
    for name, data in plan.sets.items():
        _check_set(f"{where}: sets.{name}", data)
    for part in ("models", "sets", "methods"):
        folders = [folder_of(name) for name in getattr(plan, part)]
        if len(set(folders)) < len(folders) or (part == "methods" and ROWS in folders):
            raise PlanError(f"{where}: {part}: {', '.join(folders)} would share a folder")
    seen: dict[str, Method] = {}
    for name, method in plan.methods.items():
        _check_method(f"{where}: methods.{name}", method, seen)
        seen[name] = method
    for field, least, most in (("held_out", 0, 1), ("development", 0, 1)):
        value = getattr(plan, field)
        if not (isinstance(value, float) and least < value < most):
            raise PlanError(f"{where}: {field}={value!r} must lie between {least} and {most}")
    if not plan.seeds or not all(isinstance(seed, int) for seed in plan.seeds):
        raise PlanError(f"{where}: seeds={plan.seeds!r} must be whole numbers, at least one")
    for owner, fields in (
        (plan, ("max_length",)),
        (plan.training, ("batch", "accumulation", "lora_rank", "lora_alpha")),
        (plan.decoding, ("max_new_tokens", "best_of", "batch_size")),
    ):
        for field in fields:
            value = getattr(owner, field)
            if not (_is_above(value, 0) and isinstance(value, int)):
                raise PlanError(f"{where}: {field}={value!r} must be a whole number above 0")
    training = plan.training
    if not _is_above(training.epochs, 0):
        raise PlanError(f"{where}: epochs={training.epochs!r} must be a number above 0")
    if not (_is_number(training.warmup) and training.warmup >= 0):
        raise PlanError(f"{where}: warmup={training.warmup!r} must be at least 0")
    if not (_is_number(training.lora_dropout) and 0 <= training.lora_dropout < 1):
        raise PlanError(
            f"{where}: lora_dropout={training.lora_dropout!r} must be from 0 to below 1"
        )
    for name, method in plan.methods.items():
        _check_batch(f"{where}: methods.{name}", method, training)
    if training.dtype not in (None, *DTYPES):
        raise PlanError(f"{where}: dtype={training.dtype!r} must be one of {', '.join(DTYPES)}")


def _check_set(where: str, data: DataSet) -> None:
    given = [data.known is not None, data.data is not None, data.tutoring]
    if sum(given) != 1:
        raise PlanError(f"{where}: give one of known, data and tutoring")
    if data.known is not None and data.known not in KNOWN_SETS:
        raise PlanError(f"{where}: known={data.known!r} must be one of {', '.join(KNOWN_SETS)}")
    for field in ("train", "held_out"):
        value = getattr(data, field)
        if value is not None and not (isinstance(value, int) and value > 0):
            raise PlanError(f"{where}: {field}={value!r} must be a whole number above 0")
    if data.tutoring and None in (data.train, data.held_out):
        raise PlanError(f"{where}: generated rows have no end; say how many: train, held_out")


def _check_method(where: str, method: Method, before: Mapping[str, Method]) -> None:
    if method.kind not in KINDS:
        raise PlanError(f"{where}: kind={method.kind!r} must be one of {', '.join(KINDS)}")
    starts = [name for name, each in before.items() if each.kind in (UNTRAINED, "sft")]
    if method.start is not None and method.start not in starts:
        raise PlanError(
            f"{where}: start={method.start!r} must be a method before it that is {UNTRAINED} or "
            f"sft: {', '.join(starts) or 'there is none'}"
        )
    swept = {"learning_rate": TRAINED, "beta": WITH_BETA}
    for field, kinds in swept.items():
        values = getattr(method, field)
        if (method.kind in kinds) != bool(values):
            verb = "needs at least one" if method.kind in kinds else "has no"
            raise PlanError(f"{where}: {field}={values!r}: {method.kind} {verb} {field}")
        if not all(_is_above(value, 0) for value in values):
            raise PlanError(
                f"{where}: {field}={values!r} must be numbers above 0 (1.0e-4, not 1e-4)"
            )
    if method.epochs is not None and not (method.kind in TRAINED and _is_above(method.epochs, 0)):
        raise PlanError(f"{where}: epochs={method.epochs!r} must be above 0, of a trained method")


def _check_batch(where: str, method: Method, training: Training) -> None:
    batch, step = method.batch, training.batch * training.accumulation
    if batch is None:
        return
    whole = isinstance(batch, int) and _is_above(batch, 0)
    if not (method.kind in TRAINED and whole and step % batch == 0):
        raise PlanError(
            f"{where}: batch={batch!r} must divide the {step} pairs of a step, of a trained method"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_above(value: Any, least: float) -> bool:
    return _is_number(value) and value > least
