"""Prompts to answer, read from a file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from coala_jax.data._column_names import named_rows
from coala_jax.data._errors import DataError
from coala_jax.data._message import ASSISTANT, Message
from coala_jax.data._rows import NO_EXTRA, RowFault, row_name
from coala_jax.data._shapes._conversation import messages, tools_of
from coala_jax.data._shapes._layouts import is_conversation, message_rows
from coala_jax.data._shapes._prompts import system_of, with_system
from coala_jax.data._sources import open_source
from coala_jax.data._sources._row import SourceRow

TEXT_SUFFIX = ".txt"


class PromptRow(NamedTuple):
    """A prompt to answer.

    Attributes:
        id: name of the row.
        prompt: its text, or the messages of a conversation that ends before the answer.
        columns: what the row has beside them.
    """

    id: str
    prompt: str | list[Message]
    columns: Mapping[str, Any] = NO_EXTRA


def read_prompts(path: str | os.PathLike[str]) -> list[PromptRow]:
    """Read prompts: rows with ``prompt`` (text or messages), or the lines of a ``.txt`` file.

    Whatever else a row holds is kept in ``columns``; preference rows do.

    Args:
        path: a ``.txt`` file, or what `coala_jax.data._sources.open_source` reads.

    Raises:
        DataError: no such file, none in it, or a row without a usable prompt, which is named: a
            response that is missing from the output would be missed late.
    """
    file = Path(path)
    if file.suffix == TEXT_SUFFIX:
        rows = iter(_lines(file))
    else:
        rows = message_rows(named_rows(open_source(path), {}))
    if not (prompts := [_prompt_row(row, file) for row in rows]):
        raise DataError(f"{file}: holds no prompt")
    return prompts


def _lines(file: Path) -> list[SourceRow]:
    if not file.is_file():
        raise DataError(f"{file}: no such file")
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as text ({error})") from None
    return [
        SourceRow(n, {"id": n, "prompt": line}) for n, line in enumerate(lines, 1) if line.strip()
    ]


def _prompt_row(row: SourceRow, file: Path) -> PromptRow:
    try:
        if row.fields is None:
            raise RowFault(row.reason)
        prompt = _prompt(row.fields)
        said = (
            [prompt] if isinstance(prompt, str) else [part for each in prompt for part in each[:2]]
        )
        "".join(said).encode()
    except RowFault as fault:
        raise DataError(f"{file}: row {row.number}: {fault}") from None
    except UnicodeEncodeError as error:
        raise DataError(
            f"{file}: row {row.number}: prompt is not valid Unicode ({error})"
        ) from None
    columns = {name: value for name, value in row.fields.items() if name not in ("id", "prompt")}
    return PromptRow(row_name(row.fields, row.number), prompt, columns)


def _prompt(fields: Mapping[str, Any]) -> str | list[Message]:
    """The prompt of a row.

    Raises:
        RowFault: there is none to answer.
    """
    prompt, system = fields.get("prompt"), system_of(fields)
    if is_conversation(prompt):
        if tools_of(fields) is not None:
            raise RowFault("tools: responses are generated without any; leave them out")
        read = messages(prompt, system)
        if not read:
            raise RowFault("prompt says nothing; give what is to be answered")
        if read[-1].role == ASSISTANT:
            raise RowFault("prompt ends in an answer; end it with what is to be answered")
        return read
    if not isinstance(prompt, str) or not prompt.strip():
        raise RowFault(f"prompt is {prompt!r}; give a text or messages")
    return with_system(prompt, system)
