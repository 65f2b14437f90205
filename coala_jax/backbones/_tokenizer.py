"""The tokenizer of a checkpoint: a folder's, by transformers' ``AutoTokenizer``, or a GGUF's."""

import hashlib
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from coala_jax import _literal
from coala_jax._files import file_sha256
from coala_jax._json import read_json_object
from coala_jax.backbones._config_fields import TOKENS, or_null
from coala_jax.backbones._errors import CheckpointError, TokenizerError, some_of
from coala_jax.backbones._gguf import is_gguf
from coala_jax.backbones._gguf_tokenizer import gguf_tokenizer, gguf_tokenizer_sha256

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
# Where else a folder may name tokens that end a response, each under ``eos_token_id``.
GENERATION_CONFIG_NAME = "generation_config.json"
END_TOKEN_FILES = ("config.json", GENERATION_CONFIG_NAME)
END_TOKENS = or_null(TOKENS)
# Tokenizers of sentencepiece. transformers reads them by these packages, and converts them.
SENTENCEPIECE_FILES = ("tokenizer.model", "sentencepiece.bpe.model")
SENTENCEPIECE_PACKAGES = {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}
# The first byte of such a file; a tokenizer.model of another kind is text.
SENTENCEPIECE_START = b"\n"
# A text to see what a tokenizer puts before one. Not the empty one: what stands alone in it may be
# the end as well.
PROBE = "a"
# A marked name; marks of two names are no pair.
_ENCLOSED = re.compile(f"{_literal.START}([^{_literal.START}{_literal.END}]*){_literal.END}")
# How transformers calls the chat template that needs no name.
DEFAULT_TEMPLATE = "default"
# transformers writes into its tokenizer whether names of control tokens are text before it encodes:
# who shares one takes turns.
_TURNS: WeakKeyDictionary[Any, threading.Lock] = WeakKeyDictionary()


@dataclass(frozen=True)
class Tokenizer:
    """Text to token ids and back, without any token that the text does not hold.

    Several threads may share one.

    Attributes:
        raw: the transformers tokenizer.
        end_token: the text of the end-of-text token, or of an encoder's separator.
        end_id: its id, which closes every text.
        pad_id: the padding token's id; the end token's where the tokenizer names none, or one that
            the embedding has no row for.
        size: one more than the largest id that a text may have, added tokens included.
        start_id: the token that the tokenizer itself puts before every text, BERT's ``[CLS]`` or
            Llama's ``<s>``; None where it puts none.
        chat_template: name of the one to use, of several; None means the default one.
        more_end_ids: of other tokens that end a response that is generated, such as the end of a
            turn, as ``config.json`` and ``generation_config.json``, or a GGUF file, name them.
        rowless: tokens of padding and masks that the embedding has no row for, which no text may
            hold.
    """

    raw: Any
    end_token: str
    end_id: int
    pad_id: int
    size: int
    start_id: int | None = None
    chat_template: str | None = None
    more_end_ids: tuple[int, ...] = ()
    rowless: tuple[str, ...] = ()

    @property
    def end_ids(self) -> tuple[int, ...]:
        """All tokens that end a response; the one that closes texts is the first."""
        return (self.end_id, *self.more_end_ids)

    @cached_property
    def end_tokens(self) -> tuple[str, ...]:
        """The texts of these tokens."""
        more = self.raw.convert_ids_to_tokens(list(self.more_end_ids))
        return (self.end_token, *(str(token) for token in more if token))

    def encode(self, text: str) -> list[int]:
        """Token ids of one text; errors as `encode_batch`."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of several texts, with no token added, cut or padded nowhere.

        A name of a control token becomes that token, but where `literal` has marked it.

        Args:
            texts: (n,) texts.

        Returns:
            (n,) lists of ids, as long as each text takes.

        Raises:
            TokenizerError: whatever the tokenizer raises.
            CheckpointError: a text holds a token that the embedding has no row for.
        """
        marked = [_literal.START in text for text in texts]
        plain = [text for text, own in zip(texts, marked, strict=True) if not own]
        together = iter(self._ids(plain) if plain else ())
        return [
            self._encode(text) if own else next(together)
            for text, own in zip(texts, marked, strict=True)
        ]

    def literal(self, text: str, but: Sequence[str] = ()) -> str:
        """A text in which names of control tokens are marked, to be encoded as the text they are.

        What a user writes is text, whatever it says: `<|endoftext|>` in a question ends nothing.

        Args:
            text: of a user.
            but: names that are meant as control tokens.
        """
        text = _literal.without_marks(text)
        for candidates, names in self._control_names:
            if any(name not in but for name in names):
                text = candidates.sub(partial(_marked, names, but), text)
        return text

    def names_control_tokens(self, text: str) -> bool:
        """Whether a text holds the name of a control token."""
        return bool(self.control_names_in(text))

    @property
    def chat_templates(self) -> dict[str, str]:
        """The chat templates by their names; one that has no name is the default one."""
        given = self.raw.chat_template or {}
        return {DEFAULT_TEMPLATE: given} if isinstance(given, str) else dict(given)

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
    def _control_names(self) -> list[tuple[re.Pattern[str], frozenset[str]]]:
        """Names of control tokens by their first and last signs, with what may be one of them.

        Some tokenizers have a thousand: they are not tried one by one.
        """
        added = self.raw.added_tokens_decoder.values()
        kinds: dict[tuple[str, str], set[str]] = {}
        for name in {token.content for token in added if token.special and token.content.strip()}:
            plain = len(name) > 1 and not {name[0], name[-1]} & set(name[1:-1])
            kinds.setdefault((name[0], name[-1]) if plain else (name, ""), set()).add(name)
        found = []
        for (first, last), names in kinds.items():
            opening, closing = re.escape(first), re.escape(last)
            inner = f"[^{opening}{closing}]{{0,{max(map(len, names)) - 2}}}" if last else ""
            found.append((re.compile(f"{opening}{inner}{closing}"), frozenset(names)))
        return found

    @cached_property
    def control_ids(self) -> frozenset[int]:
        """The ids of control tokens."""
        added = self.raw.added_tokens_decoder.items()
        return frozenset(number for number, token in added if token.special) | {*self.end_ids}

    def control_names_in(self, text: str) -> list[str]:
        """The names of control tokens in a text, in their order."""
        return _ENCLOSED.findall(self.literal(text))

    def _encode(self, text: str) -> list[int]:
        """Token ids of a text with marks: what they enclose is encoded alone, as plain text.

        That is what transformers does with ``sanitize_control_tokens`` (5.20 and later).
        """
        first, *pieces = _ENCLOSED.split(text)
        first = _literal.without_marks(first)
        ids = self._ids([first])[0] if first else []
        for number, piece in enumerate(map(_literal.without_marks, pieces)):
            if piece:  # of marks that a template has parted, nothing is left
                ids += self._ids_within(piece, as_text=number % 2 == 0)
        return ids

    def _ids_within(self, piece: str, *, as_text: bool) -> list[int]:
        """Token ids of a piece that stands within a text.

        Behind a line break no tokenizer puts the space that some put before a text.
        """
        (ids,) = self._ids([f"\n{piece}"], as_text=as_text)
        count = len(self._break_ids)
        if ids[:count] == self._break_ids:
            return ids[count:]
        return self._ids([piece], as_text=as_text)[0]

    @cached_property
    def _turn(self) -> threading.Lock:
        return _TURNS.setdefault(self.raw, threading.Lock())

    @cached_property
    def _break_ids(self) -> list[int]:
        return self._ids(["\n"])[0]

    def _ids(self, texts: Sequence[str], *, as_text: bool = False) -> list[list[int]]:
        with _failures_named("a text"), self._turn:
            encoded = self.raw(
                list(texts),
                add_special_tokens=False,
                split_special_tokens=as_text,
                return_attention_mask=False,
                verbose=False,
            )
        found = [list(ids) for ids in encoded["input_ids"]]
        if self.rowless and any(max(ids, default=0) >= self.size for ids in found):
            raise CheckpointError(
                f"a text holds {' or '.join(self.rowless)}, which is a token of the tokenizer but "
                f"has no row in the embedding ({self.size} rows); leave it out of the text"
            )
        return found

    def within(self, rows: int) -> "Tokenizer":
        """The tokenizer for an embedding of so many rows; padding may lie beyond them.

        Args:
            rows: of the embedding, ``vocab_size``.

        Raises:
            CheckpointError: another token lies beyond them.
        """
        if self.size <= rows:
            return self
        beyond = sorted((i, token) for token, i in self.raw.get_vocab().items() if i >= rows)
        unused = {self.raw.pad_token, self.raw.mask_token}
        if lost := [f"{token} ({i})" for i, token in beyond if token not in unused]:
            raise CheckpointError(
                f"the tokenizer has {self.size} ids, the embedding only {rows} rows (vocab_size): "
                f"none for {some_of(lost)}; they belong to different models"
            )
        pad_id = self.pad_id if self.pad_id < rows else self.end_id
        names = tuple(token for _, token in beyond)
        return replace(self, pad_id=pad_id, size=rows, rowless=names)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens and spaces kept as they are.

        Raises:
            TokenizerError: whatever the tokenizer raises.
        """
        with _failures_named("token ids"), self._turn:
            text = self.raw.decode(
                list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        return str(text)


def _marked(names: frozenset[str], but: Sequence[str], found: re.Match[str]) -> str:
    """What was found, with marks where it is a name."""
    name = found[0]
    literal = name in names and name not in but
    return f"{_literal.START}{name}{_literal.END}" if literal else name


@contextmanager
def _failures_named(what: str) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the tokenizer's Rust is no Exception
        said = " ".join(f"{error}".split())
        raise TokenizerError(f"the tokenizer fails on {what} ({said})") from error


def load_tokenizer(folder: Path, chat_template: str | None = None) -> Tokenizer:
    """Load the tokenizer of a checkpoint; nothing is fetched, no code of it is run.

    Args:
        folder: holds ``tokenizer.json``, or the files it can be built from; or a GGUF file.
        chat_template: name of the chat template to use, of several.

    Returns:
        The tokenizer.

    Raises:
        CheckpointError: no tokenizer files, unreadable ones, a package that is missing, neither an
            end-of-text token nor a separator named, or an ``eos_token_id`` that is no id.
    """
    # transformers warns at import that torch is missing; this package does without torch.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    raw, ends = gguf_tokenizer(folder) if is_gguf(folder) else _folder_tokenizer(folder)
    if raw.eos_token_id is not None:
        end_token, end_id = raw.eos_token, raw.eos_token_id
    elif raw.sep_token_id is not None:
        end_token, end_id = raw.sep_token, raw.sep_token_id
    else:
        mend = (
            "set tokenizer.ggml.eos_token_id in its metadata"
            if is_gguf(folder)
            else "set eos_token (sep_token for an encoder) in tokenizer_config.json"
        )
        raise CheckpointError(f"{folder}: the tokenizer names no end-of-text token; {mend}")
    pad_id = end_id if raw.pad_token_id is None else raw.pad_token_id
    # Not their number: an added token may leave a gap before its id.
    size = max(raw.get_vocab().values()) + 1
    made = Tokenizer(
        raw=raw,
        end_token=str(end_token),
        end_id=int(end_id),
        pad_id=int(pad_id),
        size=size,
        start_id=_start_id(raw),
        chat_template=chat_template,
        more_end_ids=tuple(sorted(ends - {int(end_id)})),
    )
    if chat_template is not None:  # a wrong name is said before the long work
        made.own_chat_template()
    return made


def _folder_tokenizer(folder: Path) -> tuple[Any, set[int]]:
    """The transformers tokenizer of a folder, and the end tokens that its other files name."""
    if not _present(folder):
        raise CheckpointError(
            f"{folder}: no tokenizer in it; put tokenizer.json and tokenizer_config.json beside "
            "the weights"
        )
    _require_packages(folder)
    ends = _named_end_ids(folder)
    from transformers import AutoTokenizer

    try:
        raw = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # tokenizers raises plain Exception for a broken file
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{folder}: the tokenizer cannot be read ({reason})") from error
    return raw, ends


def _require_packages(folder: Path) -> None:
    """Raise where transformers would look for other packages than those a tokenizer needs."""
    if any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json", "vocab.txt")):
        return
    held = [name for name in SENTENCEPIECE_FILES if (folder / name).is_file()]
    lacking = [pip for name, pip in SENTENCEPIECE_PACKAGES.items() if not _installed(name)]
    if held and lacking and (folder / held[0]).read_bytes()[:1] == SENTENCEPIECE_START:
        raise CheckpointError(
            f"{folder}: {held[0]} without tokenizer.json is read by the package "
            f"{' and '.join(lacking)}: pip install {' '.join(lacking)}, or put the tokenizer.json "
            "that transformers saves beside it"
        )


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # the package around it is missing
        return False


def _named_end_ids(folder: Path) -> set[int]:
    """End tokens by the other files of a folder; they may have one each, a list, or none."""
    found: set[int] = set()
    for path in (folder / name for name in END_TOKEN_FILES):
        if not path.is_file():
            continue
        named = read_json_object(path, CheckpointError).get("eos_token_id")
        ids = named if isinstance(named, list) else [] if named is None else [named]
        if not END_TOKENS.fits(named):
            raise CheckpointError(f"{path}: {END_TOKENS.fault('eos_token_id', named)}")
        found.update(ids)
    return found


def _start_id(raw: Any) -> int | None:
    """The first token of a text that is not the text's own."""
    whole, bare = (
        raw(PROBE, add_special_tokens=special, verbose=False)["input_ids"]
        for special in (True, False)
    )
    return int(whole[0]) if whole[:1] != bare[:1] else None


def tokenizer_sha256(folder: Path) -> str:
    """SHA-256 over the names and bytes of the tokenizer's files; as ``gguf_tokenizer_sha256``."""
    if is_gguf(folder):
        return gguf_tokenizer_sha256(folder)
    lines = "".join(f"{path.name} {file_sha256(path)}\n" for path in _present(folder))
    return hashlib.sha256(lines.encode()).hexdigest()


def _present(folder: Path) -> list[Path]:
    return [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
