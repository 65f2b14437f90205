"""The chat template of a tokenizer, as `coala_jax.data` uses one."""

import hashlib
import os
from collections.abc import Sequence

from coala_jax.backbones._errors import CheckpointError
from coala_jax.backbones._hub import find_checkpoint
from coala_jax.backbones._tokenizer import Tokenizer, load_tokenizer
from coala_jax.data import ChatFormat, Message
from coala_jax.data._chat import HASHED, PLAIN

# Of several templates the one that writes conversations, as transformers has it.
DEFAULT = "default"


def tokenizer_chat(tokenizer: Tokenizer) -> ChatFormat:
    """How a tokenizer writes conversations, known by the hash of its template.

    Args:
        tokenizer: of a backbone.

    Returns:
        Its template; the package's own ``Role: content`` lines where it has none.

    Raises:
        CheckpointError: several templates, none of which is the default.
    """
    raw = tokenizer.raw
    if raw.chat_template is None:
        return PLAIN
    named = raw.chat_template if isinstance(raw.chat_template, dict) else {}
    if named and DEFAULT not in named:
        raise CheckpointError(
            f"the tokenizer has {len(named)} chat templates ({', '.join(named)}) and none called "
            f"{DEFAULT!r}; give texts, or put the one that is meant into chat_template.jinja "
            "beside the tokenizer"
        )
    template = raw.get_chat_template()

    def text(messages: Sequence[Message], *, open_answer: bool) -> str:
        return str(
            raw.apply_chat_template(
                [message._asdict() for message in messages],
                tokenize=False,
                add_generation_prompt=open_answer,
            )
        )

    return ChatFormat(
        name=HASHED + hashlib.sha256(template.encode()).hexdigest(),
        prompt=lambda messages: text(messages, open_answer=True),
        whole=lambda messages: text(messages, open_answer=False),
    )


def checkpoint_tokenizer(
    model: str | os.PathLike[str], *, revision: str | None = None, download: bool = False
) -> Tokenizer:
    """The tokenizer of a checkpoint; its weights are neither fetched nor read.

    Args:
        model: a local folder or a hub id.
        revision: as ``find_checkpoint`` takes it.
        download: as ``find_checkpoint`` takes it.

    Raises:
        CheckpointError: as ``find_checkpoint`` and ``load_tokenizer`` do.
    """
    found = find_checkpoint(model, revision=revision, download=download, weights=False)
    return load_tokenizer(found.folder)


def checkpoint_chat(
    model: str | os.PathLike[str], *, revision: str | None = None, download: bool = False
) -> ChatFormat:
    """The chat template of a checkpoint, by `checkpoint_tokenizer`."""
    return tokenizer_chat(checkpoint_tokenizer(model, revision=revision, download=download))
