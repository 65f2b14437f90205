"""How far a run through the backbone is, for people at a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any


class Progress:
    """Texts done, tokens a second, time left: on stderr, and silent where that is no terminal."""

    def __init__(self, total: int | None, title: str, *, hidden: bool = False):
        """A bar of ``total`` texts; None counts without an end; a hidden one is never shown."""
        from tqdm import tqdm  # of the extra `text`; who shows no bar does without

        self._bar = tqdm(total=total, desc=title, unit="text", disable=hidden or None, leave=False)
        self._tokens = 0

    def __enter__(self) -> "Progress":
        """The bar itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar from the screen."""
        self._bar.close()

    def advance(self, texts: int, tokens: int) -> None:
        """Count texts, and the tokens that ran for them."""
        self._tokens += tokens
        if elapsed := self._bar.format_dict["elapsed"]:
            self._bar.set_postfix_str(f"{self._tokens / elapsed:,.0f} tokens/s", refresh=False)
        self._bar.update(texts)

    def mark(self) -> tuple[int, int]:
        """Texts and tokens so far, for `rewind`."""
        return self._bar.n, self._tokens

    def rewind(self, mark: tuple[int, int]) -> None:
        """Forget what was counted since a mark: it runs again."""
        self._bar.n, self._tokens = mark

    def go_to(self, texts: int) -> None:
        """Count what an earlier run did; its tokens are no part of the rate."""
        self._bar.n = texts

    def say(self, line: str) -> None:
        """A line on stderr, above the bar."""
        self._bar.write(line, file=sys.stderr)


@contextmanager
def quiet_in_a_pipe(utils: Any) -> Iterator[None]:
    """The bars of ``datasets`` or ``huggingface_hub``, by their ``utils``, at a terminal alone."""
    if sys.stderr.isatty() or utils.are_progress_bars_disabled():
        yield
        return
    utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.enable_progress_bars()
