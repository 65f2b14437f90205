"""A head in the hub's cache is taken by its id wherever a folder is, without any connection."""

import json
import shutil
import socket

import pytest
from huggingface_hub import constants

from coala_jax._head_files import HeadFileError
from coala_jax.cli._main import main
from coala_jax.decoding import TextRewardModel, export_stablehlo, load_stablehlo

COMMIT = "1" * 40


@pytest.fixture
def cached(head_folder, tmp_path, monkeypatch):
    """The head in the cache as ``org/head``, branch v1; any connection fails the test."""
    repository = tmp_path / "hub" / "models--org--head"
    (repository / "refs").mkdir(parents=True)
    for branch in ("main", "v1"):
        (repository / "refs" / branch).write_text(COMMIT)
    shutil.copytree(head_folder, repository / "snapshots" / COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def refuse(*_, **__):
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return repository


def test_an_id_is_as_good_as_the_folder(cached, head_folder, model, backbone, tmp_path):
    named = TextRewardModel.load("org/head@v1", backbone)
    assert named.head_sha256 == model.head_sha256
    assert named.identity == model.identity
    with pytest.raises(HeadFileError, match="value_head='org/head': a head of whole responses"):
        TextRewardModel.load("org/head", backbone, value_head="org/head")
    file = export_stablehlo("org/head", tmp_path / "x.stablehlo")
    assert load_stablehlo(file)[1]["features"] == model.head.theta1.shape[0]


def test_a_command_takes_an_id(cached, checkpoint, head_folder, tmp_path, capsys):
    data = tmp_path / "rows.jsonl"
    data.write_text('{"id": "a", "prompt": "the student asks", "response": "the tutor answers"}\n')
    rewards = []
    for name in ("org/head", str(head_folder)):
        out = tmp_path / f"{len(rewards)}.jsonl"
        words = ["score", name, "--model", str(checkpoint), "--data", str(data)]
        assert main([*words, "--no-compile-cache", "--out", str(out)]) == 0
        rewards.append(json.loads(out.read_text()))
    assert rewards[0] == rewards[1]
    capsys.readouterr()
    (cached / "snapshots" / COMMIT / "head.json").unlink()
    assert main(["export-head", "org/head", "--to", "torch", "--out", str(tmp_path / "t")]) == 2
    said = capsys.readouterr().err
    assert "org/head: no head, head.json is not there; pass download=True (--download)" in said
