"""Which prompts a head was trained on, as a head's file can say it: by their hashes, no text."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass

from coala_jax.data._errors import DataError
from coala_jax.data._split import text_sha256

# Of every hash: among 10 million prompts one in 10^12 others is taken for one of them.
_BYTES = 8
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, repr=False)
class PromptFingerprint:
    """A set of prompts, known by the first bytes of their hashes.

    Attributes:
        hashes: of each prompt, eight bytes.

    Example:
        >>> from hashlib import sha256
        >>> from coala_jax.data import PromptFingerprint
        >>> hashes = [sha256(b"what is osmosis?").hexdigest()]  # as FeatureTable.prompt_hashes
        >>> seen = PromptFingerprint.of_hashes(hashes)
        >>> "What  is Osmosis?" in seen
        True
    """

    hashes: frozenset[bytes]

    @classmethod
    def of_hashes(cls, prompt_hashes: Iterable[str]) -> PromptFingerprint:
        """Of SHA-256 hashes of normalised prompts, as feature stores keep them.

        Raises:
            DataError: one that is not 64 hexadecimal digits.
        """
        given = set(prompt_hashes)
        for each in given:
            if not _SHA256.fullmatch(each):
                raise DataError(f"prompt_sha256 must be 64 hexadecimal digits, got {each!r}")
        return cls(frozenset(bytes.fromhex(each)[:_BYTES] for each in given))

    @classmethod
    def from_text(cls, text: object) -> PromptFingerprint:
        """Of what `text` gave.

        Raises:
            DataError: it is not that.
        """
        try:
            raw = base64.b64decode(text, validate=True) if isinstance(text, str) else None
        except ValueError:  # binascii.Error is one
            raw = None
        if raw is None or len(raw) % _BYTES:
            raise DataError(f"a fingerprint of prompts must be base64 of {_BYTES} bytes a prompt")
        return cls(frozenset(raw[at : at + _BYTES] for at in range(0, len(raw), _BYTES)))

    @property
    def text(self) -> str:
        """One line of base64, the same for the same prompts."""
        return base64.b64encode(b"".join(sorted(self.hashes))).decode()

    def __contains__(self, prompt: str) -> bool:
        """Whether the prompt is one of them, but for case, spacing and Unicode's forms."""
        return bytes.fromhex(text_sha256(prompt))[:_BYTES] in self.hashes

    def __len__(self) -> int:
        return len(self.hashes)

    def __repr__(self) -> str:
        return f"PromptFingerprint({len(self)} prompts)"
