"""The model card of a head: ``README.md`` beside it, of what ``head.json`` says and no more.

The front matter is the hub's (https://huggingface.co/docs/hub/model-cards). It is written here and
not by ``huggingface_hub``, because heads are written where jax alone is installed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from coala_jax._hub_ids import HEAD_ID
from coala_jax._status import Status
from coala_jax._unseen import printable

CARD = "README.md"
LIBRARY = "coala-jax"
TAGS = ("coala", "reward-model", "preference-alignment", "convex-optimization")
# By this a card of ours is known; one without it is its owner's, and never replaced.
MARK = f"<!-- Written by {LIBRARY} from head.json, and anew with the head; a card without this line"
_MARK_LINE = f"{MARK} is kept. -->"
# The mark stands behind the front matter, which is short.
_MARK_WITHIN = 8192
# Of a text of others, such as a template.
_LONGEST = 300
# What Markdown and HTML would act on; the colon of an address makes it a link.
_ACTIVE = re.compile(r"([\\`*_\[\]<>#|~&!$@]|:(?=//))")
_REWARDS = "rewards/accuracies"
# Parts of `result` with figures of pairs that were not trained on, and what these are called.
_UNSEEN = {"eval": "held-out pairs", "left_out": "training pairs that the folds left out"}
# Rivals of a head, by name, and what their figures begin or end with in a report: accuracies are
# `KEY_accuracy`, those of the head less them `head_minus_KEY`.
RIVALS = {"linear probe": "linear_probe", "length rule": "length"}


def keeps_own_card(folder: Path) -> bool:
    """Whether a folder has a ``README.md`` that is not of this package, which is to stay."""
    card = folder / CARD
    if not card.exists():
        return False
    try:
        with card.open("rb") as file:
            return MARK.encode() not in file.read(_MARK_WITHIN)
    except OSError:  # a folder, or a file that may not be read
        return True


def model_card(document: Mapping[str, Any]) -> str:
    """The card of a head.

    Args:
        document: of its ``head.json``. What is not in it is not in the card; its texts are escaped.

    Returns:
        Markdown with YAML front matter, in which ``license`` and ``base_model`` stand where the
        backbone names its licence and has an id on the hub.
    """
    parts = (
        "---\n" + "\n".join(_yaml(_front_matter(document))) + "\n---",
        _MARK_LINE,
        f"# {_escaped(_title(document))}",
        *_status(document),
        _what_it_is(document),
        _bullets("What speaks against it", _doubts(document)),
        _table("Results", f"on {_unseen(document)[1]}, with 95 % intervals", _results(document)),
        _use(document),
        _bullets("Backbone", _backbone(document)),
        _bullets("Data", _data(document)),
        _settings(document),
        _bullets("Limits", _limits(document)),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(document: Mapping[str, Any]) -> dict[str, Any]:
    license, base = _at(document, "identity", "license"), hub_id(document)
    fields: dict[str, Any] = {"library_name": LIBRARY, "tags": list(TAGS)}
    if isinstance(license, str) and license:
        fields["license"] = license
    if base:
        fields["base_model"] = base
    part, of_what = _unseen(document)
    accuracy = _number(document, "result", part, _REWARDS)
    if accuracy is not None:
        source = _source(document)
        metric = {"type": "accuracy", "name": f"accuracy on {of_what}", "value": round(accuracy, 4)}
        result = {
            "task": {"type": "preference-ranking", "name": "which of two responses is preferred"},
            "dataset": {
                "type": "preference-pairs",
                "name": of_what + (f" of {source}" if source else ""),
            },
            "metrics": [metric],
        }
        fields["model-index"] = [{"name": _title(document), "results": [result]}]
    return fields


def _title(document: Mapping[str, Any]) -> str:
    name = _at(document, "identity", "backbone")
    return "COALA reward head" + (f" on {name}" if isinstance(name, str) and name else "")


def _status(document: Mapping[str, Any]) -> Iterator[str]:
    """What is said first of a head that is not simply solved."""
    status = solve_status(document)
    if isinstance(status, Status):
        if status != Status.SOLVED:
            how = "Solved, but" if status.ok else "This head is not solved:"
            yield f"> **{how} `{status.name.lower()}`.** {_escaped(status.text)}."
    elif status:
        yield f"> **This head is not solved: {_escaped(status)}.**"


def solve_status(document: Mapping[str, Any]) -> Status | str | None:
    """How a ``head.json`` says that the solve ended: in its words where they are not known.

    None where it does not say.
    """
    name = _at(document, "result", "status") or _at(document, "status")
    if not isinstance(name, str):
        return None
    return Status.__members__.get(name.upper(), name)


def _what_it_is(document: Mapping[str, Any]) -> str:
    width = _number(document, "features", "width") or _number(document, "features")
    neurons = _number(document, "neurons")
    kind, sizes = "two-layer", ""
    if width is not None and neurons is not None:
        sizes = f" ({width:.0f} → {neurons:.0f} → 1)"
        if neurons == 0:
            kind, sizes = "linear", f" ({width:.0f} → 1)"
    reads = "beginnings of responses" if _at(document, "scores") == "prefix" else "responses"
    of = "features" if _at(document, "identity") is None else "hidden states of a frozen backbone"
    return (
        f"A {kind} reward head{sizes} that gives {reads} a reward, from {of}. It was made by "
        "convex optimisation (COALA, Feng & Pilanci 2026). No weight of a backbone is in it."
    )


def _doubts(document: Mapping[str, Any]) -> list[str]:
    """What a reader must know before the figures: warnings, and rivals that are not beaten."""
    warnings = _at(document, "result", "warnings")
    warnings = list(map(str, warnings)) if isinstance(warnings, list | tuple) else []
    doubts = list(map(_escaped, warnings))
    for rival, key in RIVALS.items():
        path = ("result", "baseline", f"head_minus_{key}")
        mean, low = (_number(document, *path, end) for end in ("mean", "low"))
        if mean is None or any(rival in warning for warning in warnings):
            continue
        if rival == "linear probe" and _number(document, "neurons") == 0 and mean >= 0:
            continue  # they are of one kind
        less = _interval(document, *path, form="+.3f")
        if mean < 0:
            doubts.append(f"It does not beat the {rival}: accuracy less that of it is {less}.")
        elif low is None or low <= 0:
            doubts.append(
                f"Nothing shows that it beats the {rival}: accuracy less that of it is {less}."
            )
    return doubts


def _results(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    part, _ = _unseen(document)
    rows: list[tuple[str, str | None]] = [
        (
            "accuracy",
            _interval(document, "result", part, "accuracy_interval")
            or _figure(document, "result", part, _REWARDS),
        ),
    ]
    for rival, key in RIVALS.items():
        found = _figure(document, "result", "baseline", f"{key}_accuracy")
        less = _interval(document, "result", "baseline", f"head_minus_{key}", form="+.3f")
        rows.append((f"accuracy of the {rival}", found))
        rows.append(("head less that", less))
    rows += [
        (
            "log loss, nats (a coin has 0.693)",
            _interval(document, "result", part, "calibrated_log_loss"),
        ),
        ("calibration error", _figure(document, "result", part, "calibration_error")),
        ("mean reward margin", _figure(document, "result", part, "rewards/margins")),
        ("accuracy on training pairs", _figure(document, "result", "train", _REWARDS)),
        (
            "certified relative gap of Phase I",
            _figure(document, "result", "phase1", "relative_gap", form=".2e"),
        ),
    ]
    return [(name, found) for name, found in rows if found is not None]


def _use(document: Mapping[str, Any]) -> str:
    if _at(document, "identity") is None:
        return (
            "## Use\n\n```python\nimport coala_jax\n\nhead, metadata = coala_jax.load_head(HEAD)\n"
            "rewards = head(features)  # (n, d) -> (n,)\n```\n\n`HEAD` is this folder or its id."
        )
    model = hub_id(document) or "BACKBONE"
    download = " --download" if hub_id(document) else ""
    command = f"score HEAD --model {model}{download} --data ROWS.jsonl --out REWARDS.jsonl"
    if _at(document, "scores") == "prefix":
        command = f"generate OTHER_HEAD --value-head HEAD --model {model}{download}"
    return (
        f"## Use\n\n```sh\ncoala-jax {command}\n```\n\n`HEAD` is this folder or its id on the hub."
    )


def _backbone(document: Mapping[str, Any]) -> list[str]:
    identity = _at(document, "identity")
    if not isinstance(identity, Mapping):
        return ["Not recorded: the head was solved from bare arrays of features."]
    names = {
        "backbone": "name",
        "model_type": "model type",
        "weights_sha256": "SHA-256 of its weights",
        "layer": "layer",
        "pooling": "pooling",
        "compute_dtype": "type of its computation",
        "prompt_template": "prompts are written",
        "response_template": "responses are written",
        "chat_template": "chat template",
    }
    known = {title: identity[name] for name, title in names.items() if identity.get(name)}
    lines = [f"{title}: {_escaped(value)}" for title, value in known.items()]
    license = identity.get("license")
    lines.append(
        f"licence, as the backbone's own files name it: {_escaped(license)}"
        if license
        else "licence: not recorded; read the backbone's own before the head is shared"
    )
    return lines


def _data(document: Mapping[str, Any]) -> list[str]:
    lines, source = [], _source(document)
    if source:
        lines.append(f"features from {_escaped(source)}")
    for name, title in (("train", "trained on"), ("eval", "held out")):
        pairs = _number(document, "pairs", name)
        if pairs is not None:
            keys = _number(document, "split", f"{name}_keys")
            by = _at(document, "split", "by")
            of = f" of {keys:.0f} {_escaped(by)}s" if keys is not None and by else ""
            lines.append(f"{title}: {pairs:.0f} pairs{of}")
    if _at(document, "trained_on_prompts"):
        lines.append(
            "`head.json` holds hashes of the training prompts and no text: who knows a prompt can "
            "find out whether it was trained on"
        )
    return lines or ["Not recorded."]


def _settings(document: Mapping[str, Any]) -> str:
    known = {
        name: document[name]
        for name in ("seed", "temperature", "choice", "params", "config")
        if document.get(name) is not None
    }
    if not known:
        return ""
    text = json.dumps(known, indent=1, default=str)
    return f"## Settings\n\n```json\n{text}\n```"


def _limits(document: Mapping[str, Any]) -> list[str]:
    limits = []
    part, of_what = _unseen(document)
    if _number(document, "result", part, _REWARDS) is None:
        limits.append("It was not judged by pairs that it was not trained on.")
    else:
        limits.append(
            f"The figures are of {of_what}: of the same source as those that it was trained on. "
            "They say nothing of other prompts, languages or models' answers."
        )
        if _number(document, "result", "baseline", "linear_probe_accuracy") is None:
            limits.append("It was not compared with a linear probe.")
    if solve_status(document) is None:
        limits.append("How the solve ended is not recorded.")
    if _at(document, "split", "by") == "row":
        limits.append(
            "Pairs were split by row: held-out pairs may share prompts with training pairs, and "
            "the figures may be too good."
        )
    if _at(document, "scores") == "prefix":
        limits.append("It reads beginnings of responses; whole ones are not scored with it.")
    return [
        *limits,
        "Rewards of answers to one prompt may be compared; those of different prompts may not.",
        "A certified gap bounds how far the training objective is from its optimum for the gates "
        "that were drawn. It says nothing of unseen pairs.",
        "The head repeats the preferences of its data, wrong ones too.",
    ]


def _unseen(document: Mapping[str, Any]) -> tuple[str, str]:
    """Which figures there are of pairs that were not trained on: a part of the result, its name."""
    found = (part for part in _UNSEEN if _at(document, "result", part) is not None)
    part = next(found, "eval")
    return part, _UNSEEN[part]


def hub_id(document: Mapping[str, Any]) -> str:
    """The id of the backbone's repository; empty where its name is that of a folder or file."""
    name = _at(document, "identity", "backbone")
    if not isinstance(name, str):
        return ""
    repository = re.split("[@:+]", name, maxsplit=1)[0]
    return repository if HEAD_ID.fullmatch(repository) else ""


def _source(document: Mapping[str, Any]) -> str:
    """What the features were read from, without the folders above it."""
    source = _at(document, "features", "source")
    return PurePath(source.replace("\\", "/")).name if isinstance(source, str) else ""


def _at(document: Any, *path: str) -> Any:
    """A value of nested objects; None where there is none."""
    for name in path:
        document = document.get(name) if isinstance(document, Mapping) else None
    return document


def _number(document: Any, *path: str) -> float | None:
    """A finite number of nested objects."""
    value = _at(document, *path)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def _figure(document: Any, *path: str, form: str = ".3f") -> str | None:
    number = _number(document, *path)
    return None if number is None else format(number, form)


def _interval(document: Any, *path: str, form: str = ".3f") -> str | None:
    """A mean with its ends, which may be missing: of a single group of pairs there are none."""
    mean, low, high = (_figure(document, *path, end, form=form) for end in ("mean", "low", "high"))
    if mean is None:
        return None
    return f"{mean} \\[{low}, {high}\\]" if low and high else f"{mean} (no interval is known)"


def _bullets(title: str, lines: Sequence[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {line}" for line in lines) if lines else ""


def _table(title: str, header: str, rows: Sequence[tuple[str, str]]) -> str:
    if not rows:
        return ""
    lines = [f"| {header} | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    return f"## {title}\n\n" + "\n".join(lines)


def _plain(value: object) -> str:
    """A text of others on one line, without what a terminal or a parser would act on."""
    text = " ".join(printable(str(value)).split())
    text = "".join(mark if mark.isprintable() else "\N{REPLACEMENT CHARACTER}" for mark in text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _escaped(value: object) -> str:
    """A text of others in Markdown, which acts on nothing in it."""
    return _ACTIVE.sub(r"\\\1", _plain(value))


def _yaml(value: Any, indent: int = 0) -> list[str]:
    """Lines of YAML in block style; texts stand in quotes, as in JSON."""
    space, lines = " " * indent, []
    if isinstance(value, Mapping):
        for key, item in value.items():
            nested = isinstance(item, Mapping | list)
            lines.append(f"{space}{key}:" + ("" if nested else f" {_scalar(item)}"))
            lines += _yaml(item, indent + 2) if nested else []
        return lines
    for item in value:
        first, *others = _yaml(item, indent + 2) if isinstance(item, Mapping) else [_scalar(item)]
        lines += [f"{space}- {first.strip()}", *others]
    return lines


def _scalar(value: object) -> str:
    return json.dumps(_plain(value) if isinstance(value, str) else value, ensure_ascii=False)
