"""Hub ids: the cache alone unless a download is asked for, and a folder touches no network."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import OfflineModeIsEnabled

from coala_jax.backbones import CheckpointError, load_backbone
from coala_jax.backbones._hub import TEXT_FILES, find_checkpoint
from coala_jax.features._chat import checkpoint_tokenizer

from .gguf_files import write_gguf
from .variants import SIZES, write_variant

MAIN, OLD = "1" * 40, "2" * 40


def _cached(cache, checkpoint, hub_id, commit, ref=None):
    """Lay a checkpoint out as the hub's cache does: blobs, and a snapshot of links to them."""
    repository = cache / f"models--{hub_id.replace('/', '--')}"
    blobs, snapshot = repository / "blobs", repository / "snapshots" / commit
    for folder in (blobs, snapshot, repository / "refs"):
        folder.mkdir(parents=True, exist_ok=True)
    for file in filter(Path.is_file, checkpoint.iterdir()):
        blob = blobs / f"{commit[:4]}-{file.name}"
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    if ref:
        (repository / "refs" / ref).write_text(commit)
    return snapshot


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub."""
    path = tmp_path / "hub"
    path.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return path


@pytest.fixture
def no_network(monkeypatch):
    """Any socket fails the test."""

    def refuse(*_, **__):
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "__init__", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def fetched(monkeypatch, checkpoint):
    """Calls that would go to the hub; its repository holds the files of ``fetched.files``."""

    class Calls:
        files = ("config.json", "model.safetensors", "tokenizer.json")
        listed, snapshots = (), ()

    calls = Calls()

    def list_repo_files(self, repo_id, *, revision=None):
        calls.listed += ((repo_id, revision),)
        return list(calls.files)

    def snapshot_download(repo_id, **options):
        calls.snapshots += ((repo_id, options),)
        return str(checkpoint)

    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", list_repo_files)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return calls


def test_a_cached_id_is_loaded_without_the_network(checkpoint, cache, no_network):
    _cached(cache, checkpoint, "org/tiny", MAIN, "main")
    loaded, folder = load_backbone("org/tiny").identity, load_backbone(checkpoint).identity
    assert loaded.name == "org/tiny"
    assert loaded._replace(name=folder.name) == folder


def test_a_revision_chooses_the_snapshot(checkpoint, make_checkpoint, tmp_path, cache, no_network):
    other = make_checkpoint(tmp_path / "other", seed=1)
    _cached(cache, checkpoint, "tiny", MAIN, "main")
    old = _cached(cache, other, "tiny", OLD, "v1")
    for revision in ("v1", OLD):
        found = find_checkpoint("tiny", revision=revision)
        assert (found.folder, found.name) == (old, f"tiny@{revision}")
    assert find_checkpoint("tiny").folder.name == MAIN
    assert (
        load_backbone("tiny", revision="v1").identity.weights_sha256
        == load_backbone(other).identity.weights_sha256
    )


@pytest.mark.parametrize("revision", [None, "v9"])
def test_what_is_not_in_the_cache_is_not_fetched_unasked(checkpoint, cache, no_network, revision):
    if revision:
        _cached(cache, checkpoint, "org/model", MAIN, "main")
    with pytest.raises(CheckpointError) as caught:
        load_backbone("org/model", revision=revision)
    message = str(caught.value)
    assert "no such folder, and not in the hub's cache" in message
    assert str(cache) in message
    assert "pass download=True (--download) to fetch it" in message
    assert revision is None or "org/model at revision 'v9'" in message


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors"])
def test_a_snapshot_that_is_not_whole_says_so(checkpoint, cache, lost):
    snapshot = _cached(cache, checkpoint, "org/tiny", MAIN, "main")
    (snapshot / lost).unlink()
    with pytest.raises(CheckpointError, match=f"org/tiny: .*{lost}.*pass download=True"):
        load_backbone("org/tiny")


def test_a_download_asks_for_text_and_one_layout_of_weights(cache, fetched):
    fetched.files = (
        *("config.json", "tokenizer.json", "model.safetensors", "flax_model.msgpack"),
        *("pytorch_model.bin", "modeling_tiny.py", "onnx/model.safetensors", "rust_model.ot"),
    )
    found = find_checkpoint("org/tiny", revision="v1", download=True)
    assert found.name == "org/tiny@v1"
    assert fetched.listed == (("org/tiny", "v1"),)
    ((hub_id, options),) = fetched.snapshots
    assert hub_id == "org/tiny"
    assert options == {
        "revision": "v1",
        "allow_patterns": [*TEXT_FILES, "model.safetensors"],
        "local_files_only": False,
    }


@pytest.mark.parametrize(
    ("files", "weights"),
    [
        (
            [
                *("model.safetensors.index.json", "model-00001-of-00002.safetensors"),
                *("model-00002-of-00002.safetensors", "consolidated.safetensors", "a.bin"),
                *("original/model-00001-of-00001.safetensors", "flax_model.msgpack"),
            ],
            [
                "model.safetensors.index.json",
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors",
            ],
        ),
        (["flax_model.msgpack", "pytorch_model.bin"], ["flax_model.msgpack"]),
    ],
)
def test_without_a_single_file_shards_or_msgpack_are_asked_for(cache, fetched, files, weights):
    fetched.files = files
    find_checkpoint("org/tiny", download=True)
    assert fetched.snapshots[0][1]["allow_patterns"] == [*TEXT_FILES, *weights]


def test_a_repository_of_pickles_is_refused_before_anything_is_fetched(cache, fetched):
    fetched.files = ("config.json", "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"org/tiny: .*neither model\.safetensors nor"):
        load_backbone("org/tiny", download=True)
    assert not fetched.snapshots


def test_offline_mode_wins_over_a_download(checkpoint, cache, no_network, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="unset HF_HUB_OFFLINE to fetch it"):
        load_backbone("org/tiny", download=True)
    snapshot = _cached(cache, checkpoint, "org/tiny", MAIN, "main")
    assert find_checkpoint("org/tiny", download=True).folder == snapshot


@pytest.mark.parametrize(
    "error", [OfflineModeIsEnabled("offline"), OSError("no route"), RuntimeError("client closed")]
)
def test_a_download_that_fails_is_one_error_with_its_reason(cache, fetched, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", fail)
    with pytest.raises(CheckpointError, match=f"cannot be fetched from the hub.*{error}"):
        load_backbone("org/tiny", download=True)


PARTS = ("q8/tiny-00001-of-00002.gguf", "q8/tiny-00002-of-00002.gguf")


@pytest.fixture
def gguf_folder(tmp_path):
    """A folder of a repository with GGUF files of a Llama, one and several."""
    folder = write_variant(tmp_path / "made", {"model_type": "llama", **SIZES, "vocab_size": 300})
    repository = tmp_path / "repository"
    (repository / "q8").mkdir(parents=True)
    write_gguf(folder, repository / "tiny.gguf")
    write_gguf(folder, repository / "q8" / "tiny.gguf", split_max_tensors=20)
    return repository


def test_a_cached_gguf_file_of_an_id_is_loaded_without_the_network(gguf_folder, cache, no_network):
    _cached(cache, gguf_folder, "org/tiny-GGUF", MAIN, "main")
    loaded = load_backbone("org/tiny-GGUF:tiny.gguf").identity
    assert loaded.name == "org/tiny-GGUF:tiny.gguf"
    assert loaded._replace(name="tiny.gguf") == load_backbone(gguf_folder / "tiny.gguf").identity
    with pytest.raises(CheckpointError, match="org/tiny-GGUF: other.gguf is not there; there "):
        load_backbone("org/tiny-GGUF:other.gguf")
    with pytest.raises(CheckpointError, match=r"give the GGUF file in it, .*tiny\.gguf; pass"):
        load_backbone("org/tiny-GGUF")
    with pytest.raises(CheckpointError, match="org/other: no such folder, and not in the hub's ca"):
        load_backbone("org/other:tiny.gguf")


def test_of_a_gguf_model_its_files_alone_are_fetched(gguf_folder, cache, fetched, monkeypatch):
    fetched.files = ("tiny.gguf", *PARTS, "config.json", "model.safetensors")
    asked = []
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda hub_id, **options: asked.append(options) or str(gguf_folder),
    )
    found = find_checkpoint(f"org/tiny:{PARTS[0]}", revision="v1", download=True)
    assert found == (gguf_folder / PARTS[0], f"org/tiny:{PARTS[0]}@v1")
    find_checkpoint(f"org/tiny:{PARTS[0]}", download=True, weights=False)
    assert [one["allow_patterns"] for one in asked] == [[*PARTS], [PARTS[0]]]
    assert fetched.listed == (("org/tiny", "v1"), ("org/tiny", None))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("q4.gguf", "q4.gguf is not there; there are tiny.gguf, q8/tiny-00001-of-00002.gguf"),
        (PARTS[1], f"a part of several; give the first, {PARTS[0]}"),
        ("q8/../../tiny.gguf", "leads out of the repository"),
    ],
)
def test_a_gguf_file_that_cannot_be_had_is_said_before_anything_is_fetched(
    file, message, cache, fetched
):
    fetched.files = ("tiny.gguf", *PARTS)
    with pytest.raises(CheckpointError, match="org/tiny: ") as caught:
        load_backbone(f"org/tiny:{file}", download=True)
    assert message in str(caught.value)
    assert not fetched.snapshots


def test_the_tokenizer_of_several_gguf_files_is_in_the_first(gguf_folder, cache, no_network):
    (gguf_folder / PARTS[1]).unlink()
    tokenizer = checkpoint_tokenizer(gguf_folder / PARTS[0])
    assert tokenizer.size == 300


def test_a_repository_of_gguf_files_alone_asks_for_one_by_its_name(cache, fetched):
    fetched.files = ("tiny.gguf", *PARTS, "config.json")
    with pytest.raises(CheckpointError, match=r"give one as ORG/NAME:FILE\.gguf: tiny\.gguf, q8/"):
        find_checkpoint("org/tiny", download=True)


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_bars_are_for_terminals(cache, fetched, monkeypatch, terminal):
    shown = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *_, **__: shown.append(_bars()) or str(cache)
    )
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        find_checkpoint("org/tiny", download=True)
    assert shown == [terminal]
    assert _bars()  # as it was


def _bars():
    return not huggingface_hub.utils.are_progress_bars_disabled()


def test_a_folder_never_touches_the_network(checkpoint, cache, no_network, fetched, monkeypatch):
    load_backbone(checkpoint, download=True)
    # A folder whose name could be an id is a folder.
    monkeypatch.chdir(checkpoint.parent)
    assert load_backbone(checkpoint.name, download=True).identity.name == checkpoint.name
    assert not fetched.listed and not fetched.snapshots


def test_a_revision_of_a_folder_is_refused(checkpoint):
    with pytest.raises(CheckpointError, match="revision='v1'.*only hub ids have revisions"):
        load_backbone(checkpoint, revision="v1")


@pytest.mark.parametrize("name", ["deep/er/nothing", "../nothing", "./nothing", "/nothing", "a b"])
def test_a_path_that_is_no_id_is_only_a_missing_folder(tmp_path, monkeypatch, cache, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="no such folder$"):
        load_backbone(name)


def test_the_environment_says_where_the_cache_is(checkpoint, tmp_path):
    snapshot = _cached(tmp_path / "home" / "hub", checkpoint, "org/tiny", MAIN, "main")
    code = "from coala_jax.backbones._hub import find_checkpoint as f; print(f('org/tiny').folder)"
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_CACHE"}
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "HF_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == str(snapshot)


def test_a_tokenizer_alone_is_fetched_without_weights(fetched):
    find_checkpoint("org/tiny", download=True, weights=False)
    assert fetched.listed == ()
    ((_, options),) = fetched.snapshots
    assert options["allow_patterns"] == list(TEXT_FILES)
