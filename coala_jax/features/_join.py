"""One store made by several processes: each extracts its part, and the parts are joined.

Shard k belongs to process k modulo their number. A part is a store of its shards in a folder of its
own, ``<out>.part-I-of-N``, so that the processes share nothing and need no word of each other: they
may run on several hosts, one after another, or again after a kill. Joining is an extraction whose
shards come from the parts.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from coala_jax.features._errors import FeatureError
from coala_jax.features._manifest import RESULT_KEYS, read_manifest, setting_differences
from coala_jax.features._shard import Shard, read_shard
from coala_jax.features._store import FeatureStore, open_store, write_store

Item = TypeVar("Item")
# What a part's manifest says beside the settings of the whole store, and its own number of rows.
PART, ROWS = "part", "rows"


class Part(NamedTuple):
    """Which of several processes this is.

    Attributes:
        number: from 0.
        of: how many there are.
    """

    number: int
    of: int

    @classmethod
    def of_this_process(cls) -> "Part":
        """As ``jax.distributed.initialize`` was told; 0 of 1 where it was not called."""
        import jax  # which readers of features do without

        return cls(jax.process_index(), jax.process_count())

    def check(self) -> None:
        """Raise where there is no such process.

        Raises:
            FeatureError: with both numbers.
        """
        if self.of < 1 or not 0 <= self.number < self.of:
            raise FeatureError(
                f"process {self.number} of {self.of}: processes are numbered from 0 to one below "
                "how many there are"
            )

    def own(self, shards: Sequence[Item]) -> list[Item]:
        """The shards of this process, of those of the whole store.

        Raises:
            FeatureError: no such process, or more processes than shards.
        """
        self.check()
        if self.of > len(shards):
            raise FeatureError(
                f"{self.of} processes share {len(shards)} shards, and one is the least; use "
                f"{len(shards)} processes at most, or fewer rows a shard (shard_rows)"
            )
        return list(shards[self.number :: self.of])


def part_path(out: str | os.PathLike[str], part: Part) -> Path:
    """The folder of a part of a store."""
    path = Path(out).absolute()  # `.` has no name to put a suffix to
    return path.with_name(f"{path.name}.part-{part.number}-of-{part.of}")


def part_settings(
    settings: Mapping[str, Any], part: Part, shards: Sequence[Sequence[Any]]
) -> dict[str, Any]:
    """The settings of the whole store as the manifest of a part has them, with its own rows."""
    whole = {"number": part.number, "of": part.of, "rows_of_all": settings[ROWS]}
    return {**settings, ROWS: sum(map(len, shards)), PART: whole}


def open_whole_store(path: str | os.PathLike[str]) -> FeatureStore:
    """As `open_store`, but for parts.

    Raises:
        FeatureError: a part of a store, or what `open_store` raises.
    """
    store = open_store(path)
    require_whole(path, store.manifest)
    return store


def require_whole(path: str | os.PathLike[str], manifest: Mapping[str, Any]) -> None:
    """Raise where a manifest is that of a part of a store.

    Raises:
        FeatureError: names the part.
    """
    if part := manifest.get(PART):
        raise FeatureError(
            f"{path}: part {part['number']} of {part['of']} of a store; join them first: "
            "coala-jax join PART... --out STORE, or solve on STORE, which takes them as they are"
        )


def join_parts(
    parts: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]
) -> FeatureStore:
    """Join the parts that several processes extracted to the store that one would have made.

    Args:
        parts: the folders, in any order. They are left as they are.
        out: the folder to make; a run that was killed goes on where it stopped.

    Returns:
        The finished store. Its files are those of a single process to the byte, on like devices.

    Raises:
        FeatureError: a folder that is no finished part, parts of other settings, one that is
            missing or there twice, a missing or damaged shard, or ``out`` holds something else.
    """
    manifests = sorted_parts([(Path(part), read_manifest(Path(part))) for part in parts])
    n_shards = sum(len(manifest["shards"]) for _, manifest in manifests)

    def read(number: int, _: int | None) -> Shard:
        own, owner = divmod(number, len(manifests))
        folder, manifest = manifests[owner]
        return read_shard(folder, own, manifest["shards"][own])

    return write_store(out, _whole_settings(manifests[0][1]), read, n_shards)


def _whole_settings(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest of the whole store would say before any shard."""
    kept = {key: value for key, value in manifest.items() if key not in (*RESULT_KEYS, PART)}
    return {**kept, ROWS: manifest[PART]["rows_of_all"]}


def sorted_parts(
    found: Sequence[tuple[Path, dict[str, Any]]],
) -> list[tuple[Path, dict[str, Any]]]:
    """The parts by their numbers, once they are known to make one store."""
    if not found:
        raise FeatureError("parts: none to join")
    for folder, manifest in found:
        if PART not in manifest:
            raise FeatureError(f"{folder}: a whole store, not a part of one; nothing to join")
    first, settings = found[0][0], _whole_settings(found[0][1])
    count = found[0][1][PART]["of"]
    by_number: dict[int, tuple[Path, dict[str, Any]]] = {}
    for folder, manifest in found:
        if differing := setting_differences(settings, _whole_settings(manifest), "here"):
            raise FeatureError(
                f"{folder}: made with other settings than {first}: {differing}; extract both with "
                "the same"
            )
        number, of = manifest[PART]["number"], manifest[PART]["of"]
        if of != count:
            raise FeatureError(f"{folder}: a part of {of}, but {first} is one of {count}")
        if number in by_number:
            raise FeatureError(
                f"{folder}: part {number} is there twice, {by_number[number][0]} too"
            )
        by_number[number] = folder, manifest
    if missing := [str(number) for number in range(count) if number not in by_number]:
        raise FeatureError(f"parts: {', '.join(missing)} of {count} missing; give all of them")
    n_shards = -(-settings[ROWS] // settings["shard_rows"])
    for number, (folder, manifest) in by_number.items():
        expected = len(range(number, n_shards, count))
        if len(manifest["shards"]) != expected:
            raise FeatureError(
                f"{folder}: {len(manifest['shards'])} shards in it, expected {expected}; extract "
                "this part again"
            )
    return [by_number[number] for number in range(count)]
