"""Heads to the hub and back: a head's own files go, the two that are read come, when asked for."""

import html
import json
import shlex
import socket

import numpy as np
import pytest

import coala_jax
from coala_jax._model_card import CARD
from coala_jax._templates import templates_of
from coala_jax.cli._main import main
from coala_jax.study._push import head_files
from tests.helpers import random_head
from tests.study.hub_stand_in import Hub

huggingface_hub = pytest.importorskip("huggingface_hub")
from huggingface_hub import constants  # noqa: E402

FEATURES = {"source": "pairs.npz"}
INFO = {"command": "coala-jax solve x", "trained_on_prompts": "AAAAAAAAAAA=", "result": {}}


@pytest.fixture(scope="module")
def server():
    hub = Hub()
    yield hub
    hub.close()


@pytest.fixture
def hub(server, tmp_path, monkeypatch):
    """An empty hub, an empty cache of it, and a token."""
    server.repositories.clear()
    server.asked.clear()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = "{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{server.url}/{template}")
    # Of newer clients, which parse addresses of the hub by their host.
    monkeypatch.setattr(constants, "HF_URL_HOSTS", frozenset({"127.0.0.1"}), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    return server


@pytest.fixture
def head(tmp_path):
    """A head's folder, with a report and with what is not its own."""
    folder = tmp_path / "head"
    coala_jax.save_head(folder, random_head(4), INFO)
    (folder / "report.json").write_text("{}")
    (folder / "rejected_rows.jsonl").write_text('{"prompt": "a secret"}')
    (folder / "runs").mkdir()
    return folder


def files_of(hub, name, branch="main"):
    return hub.repositories[name].files(branch)[1]


def refused(words, capsys):
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_dry_run_lists_what_would_go_and_asks_nobody(head, hub, monkeypatch, capsys):
    def refuse(*_, **__):
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert main(["push", str(head), "me/head", "--dry-run", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    names = {CARD, "head.json", "head.safetensors", "report.json"}
    assert set(result["files"]) == names and result["commit"] is None
    assert result["files"]["report.json"] == 2
    assert result["left_out"] == ["rejected_rows.jsonl", "runs/"]
    notes = " ".join(result["notes"])
    assert "hashes of the training prompts" in notes and "command line" in notes
    assert not hub.asked


def test_a_pushed_head_is_loaded_by_its_id_when_it_is_asked_for(head, hub, monkeypatch, capsys):
    assert main(["push", str(head), "me/head", "--private"]) == 0
    printed = capsys.readouterr()
    assert f"pushed: {hub.url}/me/head/commit/" in printed.out
    there = files_of(hub, "me/head")
    assert hub.repositories["me/head"].private
    sent = {path.name for path in head.iterdir()} - {"rejected_rows.jsonl", "runs"}
    assert set(there) == sent | {".gitattributes"}
    assert all(there[name] == (head / name).read_bytes() for name in sent)
    assert b"secret" not in b"".join(there.values())
    assert all(with_token for method, _, with_token in hub.asked if method == "POST")

    hub.asked.clear()
    with pytest.raises(coala_jax.HeadFileError, match=r"no head: me/head: .*pass download=True"):
        coala_jax.load_head("me/head")
    assert not hub.asked
    known, _ = coala_jax.load_head(head)
    fetched, metadata = coala_jax.load_head("me/head", download=True)
    assert metadata.document["command"] == INFO["command"]
    for one, other in zip(known[:4], fetched[:4], strict=True):
        np.testing.assert_array_equal(one, other)
    read = {path.rpartition("/")[2] for _, path, _ in hub.asked if "/resolve/" in path}
    assert read <= {"head.json", "head.safetensors"} and read
    hub.asked.clear()
    cached, _ = coala_jax.load_head("me/head")
    np.testing.assert_array_equal(cached.theta1, known.theta1)
    assert coala_jax.RewardModel.load("me/head").n_features_in_ == 4
    assert not hub.asked
    # A folder of that name is a folder, whatever the cache has.
    (head.parent / "me" / "head").mkdir(parents=True)
    monkeypatch.chdir(head.parent)
    with pytest.raises(
        coala_jax.HeadFileError, match=r"no head here, head\.safetensors is missing"
    ):
        coala_jax.load_head("me/head")


def test_what_is_pushed_names_no_local_folder(head, monkeypatch):
    monkeypatch.chdir(head.parent)
    source = "/home/me/it's/pairs.npz"
    kept = ["--model", "org/base@v1", "--url", "https://x.org/a/b", "--data", "org/pairs"]
    kept += ["--response-template", "</s>{response}", "--revision", "refs/pr/1", "--note", "/no"]
    cut = ["--adapter=../secret/lora", "NAME=/x/y,/c/d", "file:///home/me/x", "~/z", str(head.name)]
    cut += [f"{head.name}/runs"]
    command = shlex.join(["coala-jax", "solve", source, *kept, *cut])
    info = {
        "command": command,
        "features": {"source": source, "width": 4},
        "identity": {"backbone": "org/base"},
        "trained_on_prompts": "AAAAAAAAAAA=",
    }
    coala_jax.save_head(head, random_head(4), info)
    before = (head / "head.json").read_bytes()
    report = {"command": command, "features": {"source": source}, "seed": 0}
    (head / "report.json").write_text(json.dumps(report))
    page = templates_of("coala_jax.study").from_string(
        "<pre>{{ command }}</pre><td>{{ source }}, 4 columns</td><p>{{ source }}</p>"
    )
    (head / "report.html").write_text(page.render(command=command, source=source))
    sent = head_files(head).contents
    short = ["--adapter=lora", "NAME=y,d", "x", "z", head.name, "runs"]
    told = shlex.join(["coala-jax", "solve", "pairs.npz", *kept, *short])
    document = json.loads(sent["head.json"])
    assert document["command"] == told and document["features"]["source"] == "pairs.npz"
    assert document == {**json.loads(before), **{k: document[k] for k in ("command", "features")}}
    assert json.loads(sent["report.json"]) == {**report, "command": told, "features": FEATURES}
    text = html.unescape(sent["report.html"].decode())
    assert text == f"<pre>{told}</pre><td>pairs.npz, 4 columns</td><p>{source}</p>"
    assert (head / "head.json").read_bytes() == before


def test_a_source_of_few_letters_is_replaced_nowhere_else(head, monkeypatch):
    monkeypatch.chdir(head.parent)
    (head.parent / "A").mkdir()
    (head.parent / "A" / "A").touch()
    info = {**INFO, "command": "coala-jax solve A/A", "features": {"source": "A/A"}}
    coala_jax.save_head(head, random_head(4), {**info, "trained_on_prompts": "A/AAAAAAAAA="})
    document = json.loads(head_files(head).contents["head.json"])
    assert document["trained_on_prompts"] == "A/AAAAAAAAA="
    assert (document["command"], document["features"]["source"]) == ("coala-jax solve A", "A")


def test_a_branch_and_a_commit_choose_the_head_and_old_files_go(head, hub, tmp_path, capsys):
    (head / "margins.png").write_bytes(b"of the first head")
    assert main(["push", str(head), "me/head"]) == 0
    first = hub.repositories["me/head"].branches["main"]
    (head / "margins.png").unlink()
    (head / CARD).unlink()
    coala_jax.save_head(head, random_head(4, seed=1), {})
    (head / CARD).unlink()
    assert main(["push", str(head), "me/head", "--revision", "v2"]) == 0
    assert files_of(hub, "me/head")["margins.png"] == b"of the first head"
    there = files_of(hub, "me/head", "v2")
    assert "margins.png" not in there
    assert b"# COALA reward head" in there[CARD]  # one of a head without a card
    assert not (head / CARD).exists()
    newer, _ = coala_jax.load_head("me/head@v2", download=True)
    older, _ = coala_jax.load_head(f"me/head@{first}", download=True)
    assert not np.array_equal(newer.theta1, older.theta1)
    np.testing.assert_array_equal(newer.theta1, random_head(4, seed=1).theta1)
    assert main(["export-head", "me/head@v2", "--to", "torch", "--out", str(tmp_path / "x")]) == 0
    written = (tmp_path / "x" / "head.safetensors").read_bytes()
    assert written == (head / "head.safetensors").read_bytes()
    capsys.readouterr()
    with pytest.raises(coala_jax.HeadFileError, match="me/head at revision 'v3'"):
        coala_jax.load_head("me/head@v3", download=True)


def test_what_cannot_be_pushed_is_refused_in_one_line(head, hub, tmp_path, capsys):
    hub.add("me/model", files={"model.safetensors": b"", CARD: b"a model"})
    hub.add("me/open")
    for words, expected in (
        ([str(head), "me"], "'me' is no id of a repository; give ORG/NAME"),
        ([str(head), "me/model"], "holds something else than a head (model.safetensors)"),
        ([str(head), "me/open", "--private"], "me/open is there and public"),
        ([str(tmp_path / "no"), "me/new"], "no such folder; give the folder of a head"),
        ([str(tmp_path), "me/new"], "no head here, head.safetensors is missing"),
    ):
        assert expected in refused(["push", *words], capsys)
    assert files_of(hub, "me/model")[CARD] == b"a model"
    assert set(hub.repositories) == {"me/model", "me/open"}
    with pytest.raises(coala_jax.HeadFileError, match="no head"):
        coala_jax.load_head("me/model", download=True)


def test_a_hub_that_is_not_reached_is_one_error_with_the_mend(head, hub, monkeypatch, capsys):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    said = refused(["push", str(head), "me/head"], capsys)
    assert "me/head: not pushed; check the id, the network and the login (`hf auth login`" in said
