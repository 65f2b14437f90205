"""A head's own files to a repository of the Hugging Face hub, through ``huggingface_hub``."""

from __future__ import annotations

import functools
import html
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from coala_jax._errors import CoalaError
from coala_jax._head_files import ACCOUNT, TRAINED_ON, load_head
from coala_jax._hub_ids import DATA_SET_ID
from coala_jax._json import json_text, read_json_object
from coala_jax._model_card import CARD, hub_id, model_card
from coala_jax._progress import quiet_in_a_pipe
from coala_jax.study._head_folder import FILES, PAGE, REPORT

# What a repository holds that was made for a head, beside the files of one.
_OF_ANY_REPOSITORY = {".gitattributes", CARD, "LICENSE"}
# A path from the root, home, here or above, or its address: a word, or behind what an option has
# before it.
_PATH = re.compile(r"(?:^|(?<=[=,;]))(?:file:)?(?:/|~|\.\.?/)[^=,:;]*/[^=,:;]+")


class PushError(CoalaError):
    """A head that cannot be pushed; the message says why and what to do."""


class HeadFiles(NamedTuple):
    """What of a folder is pushed.

    Attributes:
        contents: by name, a file or the bytes of one that is made for it.
        left_out: names of what else is in the folder; it stays there.
        document: of ``head.json``.
    """

    contents: Mapping[str, Path | bytes]
    left_out: tuple[str, ...]
    document: Mapping[str, Any]

    def sizes(self) -> dict[str, int]:
        """Bytes of each file."""
        return {
            name: len(content) if isinstance(content, bytes) else content.stat().st_size
            for name, content in self.contents.items()
        }

    def notes(self) -> list[str]:
        """What a user must know before strangers read the files."""
        notes = []
        if self.left_out:
            notes.append(f"left out, not a head's own file: {', '.join(self.left_out)}")
        if self.document.get(TRAINED_ON):
            notes.append(
                f"{ACCOUNT} holds hashes of the training prompts: no text, but who knows a prompt "
                "can find out whether it was trained on"
            )
        if self.document.get("command"):
            notes.append(
                f"{ACCOUNT} holds the command line, with the names of its files, not their folders"
            )
        return notes


def head_files(folder: str | os.PathLike[str]) -> HeadFiles:
    """The files of a head's folder that are its own, by name: no rows of data are among them.

    A head without a card gets one, of its ``head.json``; paths in the command line and of the
    features are cut to their last names where they are local. The folder itself stays as it is.

    Raises:
        HeadFileError: no usable head.
        PushError: no such folder.
    """
    path = Path(folder)
    if not path.is_dir():
        raise PushError(f"{folder}: no such folder; give the folder of a head")
    document = load_head(path)[1].document
    files: dict[str, Path | bytes] = {
        name: path / name for name in FILES if (path / name).is_file() or name == CARD
    }
    if not (path / CARD).is_file():
        files[CARD] = model_card(document).encode()
    for name in {ACCOUNT, REPORT} & files.keys():
        told = read_json_object(path / name, PushError)
        if (sent := _without_folders(told)) != told:
            files[name] = json_text(sent).encode()
    if PAGE in files and (sent := _without_folders(document)) != document:
        files[PAGE] = _page_of(path / PAGE, document, sent)
    others = sorted(
        f"{file.name}/" if file.is_dir() else file.name
        for file in path.iterdir()
        if file.name not in files
    )
    return HeadFiles(files, tuple(others), document)


def push_head(
    files: HeadFiles, repository: str, *, private: bool = False, revision: str | None = None
) -> str:
    """Upload a head in one commit; the repository is made where there is none.

    Files of an earlier head that this one lacks are removed in the same commit. Tokens are those of
    ``huggingface_hub``: HF_TOKEN, or the login.

    Args:
        files: from `head_files`.
        repository: ``ORG/NAME``.
        private: whether a new repository is private; one that is there must be.
        revision: branch, made where there is none; None is the main one.

    Returns:
        Address of the commit.

    Raises:
        PushError: an id that is none, a repository that holds something else or is public where a
            private one is asked for, or what the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, utils
    from huggingface_hub.errors import RepositoryNotFoundError

    if not DATA_SET_ID.fullmatch(repository):
        raise PushError(f"{repository!r} is no id of a repository; give ORG/NAME")
    api = HfApi()
    try:
        try:
            there = api.model_info(repository)
        except RepositoryNotFoundError:
            api.create_repo(repository, private=private or None, exist_ok=True)
        else:
            names = {file.rfilename for file in there.siblings or ()}
            _require_ours(repository, names, private and not there.private)
        if revision is not None:
            api.create_branch(repository, branch=revision, exist_ok=True)
        known = api.list_repo_files(repository, revision=revision)
        stale = [name for name in FILES if name in known and name not in files.contents]
        with quiet_in_a_pipe(utils):
            commit = api.create_commit(
                repository,
                [
                    *(CommitOperationAdd(name, data) for name, data in files.contents.items()),
                    *map(CommitOperationDelete, stale),
                ],
                commit_message="A head of coala-jax",
                revision=revision,
            )
    except PushError:
        raise
    except Exception as error:  # its HTTP client has errors of its own, and changes with versions
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise PushError(
            f"{repository}: not pushed; check the id, the network and the login (`hf auth login`, "
            f"or HF_TOKEN of a token that may write) ({reason})"
        ) from error
    return str(commit.commit_url)


def _without_folders(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a head's file says, with the last names of local paths alone.

    They are in the command line and in the source of the features.
    """
    sent, backbone = dict(document), hub_id(document)
    if isinstance(command := sent.get("command"), str):
        sent["command"] = shlex.join(_last_names(word, backbone) for word in _words(command))
    features = sent.get("features")
    if isinstance(features, Mapping) and isinstance(source := features.get("source"), str):
        sent["features"] = {**features, "source": _last_names(source, backbone)}
    return sent


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # a quotation that does not end
        return command.split()


def _last_names(word: str, backbone: str) -> str:
    """A word of a command line with each local path in it cut to its last name.

    A path begins at the root, at home or above, or is there; a hub id, an address and a template
    are none.
    """
    if backbone and re.split("[@:+]", word)[0] == backbone:
        return word
    if not word.startswith("-") and "/" in word and Path(word).exists():
        return PurePath(word).name or word
    return _PATH.sub(lambda path: PurePath(path[0].removeprefix("file:")).name or path[0], word)


def _page_of(file: Path, document: Mapping[str, Any], sent: Mapping[str, Any]) -> bytes:
    """The page of a head, which quotes the command and names the source in places of their own."""
    page = file.read_text(encoding="utf-8")
    for form, *keys in (("<pre>{}</pre>", "command"), ("<td>{}, ", "features", "source")):
        texts = (functools.reduce(_member, keys, each) for each in (document, sent))
        old, new = (form.format(_in_a_page(str(text))) for text in texts)
        page = page.replace(old, new)
    return page.encode()


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else None


def _in_a_page(text: str) -> str:
    """A text as jinja2 escapes it."""
    return html.escape(text, quote=False).replace("'", "&#39;").replace('"', "&#34;")


def _require_ours(repository: str, names: set[str], is_public: bool) -> None:
    """Raise where a repository that is there is not one for this head."""
    if is_public:
        raise PushError(
            f"{repository} is there and public; make it private on the hub first, or leave out "
            "--private"
        )
    others = sorted(names - _OF_ANY_REPOSITORY)
    if others and ACCOUNT not in names:
        raise PushError(
            f"{repository} holds something else than a head ({', '.join(others[:3])}); give a "
            "repository of its own"
        )
