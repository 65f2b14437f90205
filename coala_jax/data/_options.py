"""How rows are found and read: what all readers take, checked once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from coala_jax._choices import require_fields
from coala_jax.data._errors import DataError
from coala_jax.data._rows import ROW_KEYS

Format = Literal["preference", "unpaired", "scored", "rated", "winner", "ranked", "openai"]
Pairs = Literal["one", "all", "groups"]
RESPONSE, RESPONSES, WINNER = "response", "responses", "winner"
# Names of columns with a meaning, in pairs or in responses to be scored.
COLUMNS = (
    *ROW_KEYS,
    *("system", "completion", "label", "score", "completions", "scores", RESPONSE, RESPONSES),
    *("response_a", "response_b", WINNER, "answers"),
)
# A small file can unpack to petabytes. The largest preference sets in use unpack to some 10 GB.
MAX_UNPACKED_BYTES = 64 * 2**30


def require_options(options: object, kind: type) -> None:
    """Raise a `DataError` where the options of a reader are not of the kind it takes."""
    if not isinstance(options, kind):
        raise DataError(f"options={options!r} must be {kind.__name__}(...)")


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Which rows of a source are meant.

    Attributes:
        config: configuration of a hub set, or a folder in a folder.
        split: split of a hub set, a folder or a mapping of splits (default: train).
        revision: branch, tag or commit of a hub set.
        download: fetch a hub id.
        max_unpacked_bytes: most that a compressed file may unpack to.

    Raises:
        DataError: names the field, its value and what it may be.
    """

    config: str | None = None
    split: str | None = None
    revision: str | None = None
    download: bool = False
    max_unpacked_bytes: int = MAX_UNPACKED_BYTES

    def __post_init__(self) -> None:
        """Check every field."""
        require_fields(self, DataError)
        if self.max_unpacked_bytes < 1:
            raise DataError(f"max_unpacked_bytes={self.max_unpacked_bytes} must be at least 1")

    def require_whole(self, what: str) -> None:
        """Raise where a part is named of what has no parts.

        Raises:
            DataError: names the options.
        """
        named = {"config": self.config, "split": self.split, "revision": self.revision}
        if given := [f"{key}={value!r}" for key, value in named.items() if value is not None]:
            raise DataError(f"{', '.join(given)}: {what} has none; leave it out")


@dataclass(frozen=True, kw_only=True)
class RowOptions(SourceOptions):
    """Which rows of a source are meant, and how pairs are made of them.

    Attributes:
        columns: what columns are called there, by their name here, such as prompt=question;
            names here are id, prompt, chosen, rejected, margin, weight, group, system, completion,
            label, score, completions, scores, response, responses, response_a, response_b, winner
            and answers.
        format: format of the rows (default: by the columns).
        pairs: of several responses to a prompt: one pair a prompt (of good and bad ones, a
            response), all, or for losses of groups the best against each of the others, ties among
            them.
        strict: stop at the first row that cannot be used.
        strip_prompt: take a prompt that the responses repeat out of them.
        keep_messages: keep the messages that texts were made of beside them, for ``write_rows``.

    Raises:
        DataError: names a field and value that cannot be, and what can.

    Example:
        >>> from coala_jax.data import RowOptions, read_rows
        >>> rows = [{"question": "2 + 2?", "completions": ["4", "5", "22"], "scores": [1, 0.1, 0]}]
        >>> options = RowOptions(columns={"prompt": "question"}, pairs="all")
        >>> [(row.chosen, row.rejected) for row in read_rows(rows, options).rows]
        [('4', '5'), ('4', '22'), ('5', '22')]
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    format: Format | None = None
    pairs: Pairs = "one"
    strict: bool = False
    strip_prompt: bool = False
    keep_messages: bool = False

    def __post_init__(self) -> None:
        """Check every field."""
        super().__post_init__()
        for name in self.columns:
            if name not in COLUMNS:
                raise DataError(f"columns: {name!r} must be one of {', '.join(COLUMNS)}")
        there = list(self.columns.values())
        if repeated := [column for column in there if there.count(column) > 1]:
            raise DataError(f"columns: {repeated[0]!r} is given to two names; give each its own")
