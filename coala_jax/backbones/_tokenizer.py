"""The tokenizer of a checkpoint folder, by transformers' ``AutoTokenizer``."""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from coala_jax import _literal
from coala_jax._files import file_sha256
from coala_jax.backbones._errors import CheckpointError

# The files that decide how text becomes ids, in the order they are hashed.
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "vocab.txt",
    "sentencepiece.bpe.model",
)
# A text to see what a tokenizer puts before one. Not the empty one: what stands alone in it may be
# the end as well.
PROBE = "a"
# How transformers calls the chat template that needs no name.
DEFAULT_TEMPLATE = "default"


@dataclass(frozen=True)
class Tokenizer:
    """Text to token ids and back, without any token that the text does not hold.

    Attributes:
        raw: the transformers tokenizer.
        end_token: the text of the end-of-text token, or of an encoder's separator.
        end_id: its id.
        pad_id: the padding token's id; the end token's where the tokenizer names none.
        size: one more than the largest id, added tokens included.
        start_id: the token that the tokenizer itself puts before every text, BERT's ``[CLS]`` or
            Llama's ``<s>``; None where it puts none.
        chat_template: name of the one to use, of several; None means the default one.
    """

    raw: Any
    end_token: str
    end_id: int
    pad_id: int
    size: int
    start_id: int | None = None
    chat_template: str | None = None

    def encode(self, text: str) -> list[int]:
        """Token ids of one text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of several texts, with no token added, cut or padded nowhere.

        A name of a control token becomes that token, but where `literal` has marked it.
        """
        marked = [_literal.START in text for text in texts]
        plain = [text for text, own in zip(texts, marked, strict=True) if not own]
        together = iter(self._ids(plain) if plain else ())
        return [
            self._encode(text) if own else next(together)
            for text, own in zip(texts, marked, strict=True)
        ]

    def literal(self, text: str) -> str:
        """A text in which names of control tokens are marked, to be encoded as the text they are.

        What a user writes is text, whatever it says: `<|endoftext|>` in a question ends nothing.
        """
        text = _literal.without_marks(text)
        return self._control_names.sub(f"{_literal.START}\\g<0>{_literal.END}", text)

    def names_control_tokens(self, text: str) -> bool:
        """Whether a text holds the name of a control token."""
        return self._control_names.search(text) is not None

    @property
    def chat_templates(self) -> dict[str, str]:
        """The chat templates by their names; one that has no name is the default one."""
        given = self.raw.chat_template or {}
        return {DEFAULT_TEMPLATE: given} if isinstance(given, str) else dict(given)

    @property
    def own_chat_template(self) -> str:
        """The chat template that is meant where none is named.

        Raises:
            CheckpointError: there is none of the name, or several and none by default.
        """
        there, name = self.chat_templates, self.chat_template
        if name is None and len(there) == 1:
            name = next(iter(there))
        if (name or DEFAULT_TEMPLATE) in there:
            return there[name or DEFAULT_TEMPLATE]
        fault = "none of them by default" if name is None else f"none called {name!r}"
        raise CheckpointError(
            f"chat template: the tokenizer has {', '.join(sorted(there)) or 'none'}, and {fault}; "
            f"name one when the model is loaded: --chat-template {min(there, default='NAME')} "
            "(chat_template=...)"
        )

    @cached_property
    def _control_names(self) -> re.Pattern[str]:
        added = self.raw.added_tokens_decoder.values()
        names = {token.content for token in added if token.special}
        longest_first = sorted(filter(str.strip, names), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    def _encode(self, text: str) -> list[int]:
        """Token ids of a text with marks: what they enclose is encoded alone, as plain text.

        That is what transformers does with ``sanitize_control_tokens`` (5.20 and later).
        """
        first, *pieces = re.split(f"{_literal.START}(.*?){_literal.END}", text, flags=re.DOTALL)
        ids = self._ids([first])[0] if first else []
        for number, piece in enumerate(pieces):
            if piece:
                ids += self._ids_within(piece, as_text=number % 2 == 0)
        return ids

    def _ids_within(self, piece: str, *, as_text: bool) -> list[int]:
        """Token ids of a piece that stands within a text.

        Behind a line break no tokenizer puts the space that some put before a text.
        """
        (break_ids,) = self._ids(["\n"])
        (ids,) = self._ids([f"\n{piece}"], as_text=as_text)
        if ids[: len(break_ids)] == break_ids:
            return ids[len(break_ids) :]
        return self._ids([piece], as_text=as_text)[0]

    def _ids(self, texts: Sequence[str], *, as_text: bool = False) -> list[list[int]]:
        encoded = self.raw(
            list(texts),
            add_special_tokens=False,
            split_special_tokens=as_text,
            return_attention_mask=False,
            verbose=False,
        )
        return [list(ids) for ids in encoded["input_ids"]]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens and spaces kept as they are."""
        text = self.raw.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return str(text)


def load_tokenizer(folder: Path, chat_template: str | None = None) -> Tokenizer:
    """Load the tokenizer of a checkpoint folder; nothing is fetched, no code of it is run.

    Args:
        folder: holds ``tokenizer.json``, or the files it can be built from.
        chat_template: name of the chat template to use, of several.

    Returns:
        The tokenizer.

    Raises:
        CheckpointError: no tokenizer files, unreadable ones, or neither an end-of-text token nor a
            separator named.
    """
    if not _present(folder):
        raise CheckpointError(
            f"{folder}: no tokenizer in it; put tokenizer.json and tokenizer_config.json beside "
            "the weights"
        )
    # transformers warns at import that torch is missing; this package does without torch.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers import AutoTokenizer

    try:
        raw = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # tokenizers raises plain Exception for a broken file
        raise CheckpointError(f"{folder}: the tokenizer cannot be read ({error})") from error
    if raw.eos_token_id is not None:
        end_token, end_id = raw.eos_token, raw.eos_token_id
    elif raw.sep_token_id is not None:
        end_token, end_id = raw.sep_token, raw.sep_token_id
    else:
        raise CheckpointError(
            f"{folder}: the tokenizer names no end-of-text token; set eos_token (sep_token for an "
            "encoder) in tokenizer_config.json"
        )
    pad_id = end_id if raw.pad_token_id is None else raw.pad_token_id
    # Not their number: an added token may leave a gap before its id.
    size = max(raw.get_vocab().values()) + 1
    made = Tokenizer(
        raw, str(end_token), int(end_id), int(pad_id), size, _start_id(raw), chat_template
    )
    if chat_template is not None:  # a wrong name is said before the long work
        made.own_chat_template  # noqa: B018
    return made


def _start_id(raw: Any) -> int | None:
    """The first token of a text that is not the text's own."""
    whole, bare = (
        raw(PROBE, add_special_tokens=special, verbose=False)["input_ids"]
        for special in (True, False)
    )
    return int(whole[0]) if whole[:1] != bare[:1] else None


def tokenizer_sha256(folder: Path) -> str:
    """SHA-256 over the names and bytes of the tokenizer's files."""
    lines = "".join(f"{path.name} {file_sha256(path)}\n" for path in _present(folder))
    return hashlib.sha256(lines.encode()).hexdigest()


def _present(folder: Path) -> list[Path]:
    return [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
