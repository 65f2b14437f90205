"""The chat template of a tokenizer, as `coala_jax.data` uses one."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from coala_jax.backbones._hub import find_checkpoint
from coala_jax.backbones._tokenizer import Tokenizer, load_tokenizer
from coala_jax.data import ChatFormat, Message
from coala_jax.data._chat import (
    HASHED,
    PLAIN,
    REASONED,
    REASONING,
    Tools,
    require_deterministic,
)
from coala_jax.data._message import ASSISTANT

# How a template asks for today's date, and what then separates its hash from the date.
DATED, ON = "strftime_now", ", on "
# What a layout of a date may ask for; the last stands for the sign itself.
DIRECTIVES = ("%-d", "%-m", *(f"%{letter}" for letter in "aAbBcdDeFGHIjmMpSuUVwWxXyYZ"), "%%")


def tokenizer_chat(tokenizer: Tokenizer, known: str = "") -> ChatFormat:
    """How a tokenizer writes conversations, known by the hash of its template.

    Names of control tokens in messages are marked, so that they stay text (`Tokenizer.literal`).

    Args:
        tokenizer: of a backbone.
        known: the name of the format that a store or a head was made with: of several templates its
            own is taken, and a template that writes the date writes the one of then. Empty means
            the tokenizer's own, and today's (UTC).

    Returns:
        Its template; the package's own ``Role: content`` lines where it has none.

    Raises:
        CheckpointError: it has several templates, and none by default.
        ChatError: the template is no function of the conversation.
    """
    raw = tokenizer.raw
    if raw.chat_template is None:
        return PLAIN
    digest, _, date = known.removeprefix(HASHED).partition(ON)
    template = next((t for t in tokenizer.chat_templates.values() if _sha256(t) == digest), None)
    if template is None:
        template, date = tokenizer.own_chat_template(), ""
    name = HASHED + _sha256(template)
    if DATED in template:
        date = date or datetime.now(UTC).date().isoformat()
        name, template = name + ON + date, _date_macro(datetime.fromisoformat(date)) + template

    def write(messages: Sequence[Message], tools: Tools) -> str:
        return str(
            raw.apply_chat_template(
                [_turn(tokenizer, message) for message in messages],
                tools=_literal(tokenizer, list(tools)) if tools else None,
                chat_template=template,
                tokenize=False,
            )
        )

    made = ChatFormat(name, write, ends=tokenizer.end_tokens)
    # Where the tokenizer's files do not name the token that ends a turn.
    ends = dict.fromkeys([*made.ends, *tokenizer.control_names_in(made.behind())])
    made = made._replace(ends=tuple(ends))
    require_deterministic(made)
    return made


def _date_macro(day: datetime) -> str:
    """The beginning of a template in which today is a day: templates see no function of ours."""
    filters = "".join(f" | replace('{each}', '{day.strftime(each)}')" for each in DIRECTIVES)
    # What is printed last keeps a line break that the template begins with.
    return f"{{% macro {DATED}(format) %}}{{{{ format{filters} }}}}{{% endmacro %}}{{{{ '' }}}}"


def _sha256(template: str) -> str:
    return hashlib.sha256(template.encode()).hexdigest()


def _turn(tokenizer: Tokenizer, message: Message) -> Any:
    """A turn for a template; the marks around an answer's thought are the template's matter."""
    but = (REASONING, REASONED) if message.role == ASSISTANT else ()
    return {
        **_literal(tokenizer, message.as_dict()),
        "content": tokenizer.literal(message.content, but),
    }


def _literal(tokenizer: Tokenizer, value: Any) -> Any:
    """A value of a conversation with the names of control tokens marked in every text of it."""
    if isinstance(value, str):
        return tokenizer.literal(value)
    if isinstance(value, Mapping):
        return {key: _literal(tokenizer, each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_literal(tokenizer, each) for each in value]
    return value


def checkpoint_tokenizer(
    model: str | os.PathLike[str],
    *,
    revision: str | None = None,
    download: bool = False,
    chat_template: str | None = None,
) -> Tokenizer:
    """The tokenizer of a checkpoint; its weights are neither fetched nor read.

    Args:
        model: a local folder or GGUF file, or a hub id.
        revision: as ``find_checkpoint`` takes it.
        download: as ``find_checkpoint`` takes it.
        chat_template: as ``load_tokenizer`` takes it.

    Raises:
        CheckpointError: as ``find_checkpoint`` and ``load_tokenizer`` do.
    """
    found = find_checkpoint(model, revision=revision, download=download, weights=False)
    return load_tokenizer(found.folder, chat_template)


def checkpoint_chat(
    model: str | os.PathLike[str],
    *,
    revision: str | None = None,
    download: bool = False,
    chat_template: str | None = None,
    known: str = "",
) -> ChatFormat:
    """How the tokenizer of a checkpoint writes conversations; weights are neither fetched nor read.

    Args:
        model: a local folder or GGUF file, or a hub id of either.
        revision: branch, tag or commit of a hub id; None is its main branch.
        download: fetch what the hub's cache lacks of an id; without it nothing is fetched.
        chat_template: name of the chat template to use, where the tokenizer has several.
        known: as `FeatureIdentity.chat_template` records one, to write as then; empty takes the
            tokenizer's own, and of a template that writes the date that of today (UTC).

    Returns:
        The tokenizer's chat template; ``Role: content`` lines where it has none.

    Raises:
        CheckpointError: no such checkpoint or tokenizer; several templates, and none by default.
        DataError: the template is no function of the conversation.
    """
    tokenizer = checkpoint_tokenizer(
        model, revision=revision, download=download, chat_template=chat_template
    )
    return tokenizer_chat(tokenizer, known)
