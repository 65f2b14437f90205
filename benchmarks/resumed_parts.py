"""Parts of a long measurement, a file each: a run that was ended goes on at the first missing.

Imports neither jax nor torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reporting import say

from coala_jax._files import write_text
from coala_jax._json import json_text

SETTINGS = "settings.json"
# Digits of the hash that a folder is named by.
HASH_DIGITS = 12


class Parts:
    """Results by name in a folder that is named by what decides them all.

    Args:
        out: folder of such folders.
        settings: what decides every part; other settings have another folder, and know no part of
            this one.
        end: of `time.monotonic`, after which no part is begun.

    Attributes:
        folder: of the parts.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], end: float = math.inf) -> None:
        text = json.dumps(settings, sort_keys=True)
        self.folder = out / hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]
        self.end = end
        write_text(self.folder / SETTINGS, json_text(settings))

    def read(self, name: str) -> Any:
        """A part that was made, or None."""
        path = self._path(name)
        return json.loads(path.read_text("utf-8")) if path.exists() else None

    def made(self, name: str, make: Callable[[], Any]) -> Any:
        """A part, made now where there is none yet; None where the time is up."""
        known = self.read(name)
        if known is not None or self.is_over:
            return known
        start = time.perf_counter()
        write_text(self._path(name), json_text(make()))
        say(f"{name}: {time.perf_counter() - start:.0f} s")
        return self.read(name)

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self.end

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"
