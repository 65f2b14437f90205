"""Several devices and several processes: the same features, on parameters that really are split."""

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from coala_jax.backbones import device_mesh, load_backbone
from coala_jax.cli._main import main
from coala_jax.features import FeatureError, Part, join_parts, load_features, open_store
from coala_jax.features._build import extract_store
from coala_jax.study._read_pairs import read_pairs
from tests.backbones.variants import ENCODER_SIZES, SIZES, write_variant
from tests.features.devices import MESHES, SETTINGS, make_rows
from tests.helpers import write_tokenizer

ROOT = Path(__file__).parents[2]
# The tokenizer of the tests has fewer ids; eight devices divide it.
VOCABULARY = 320
FIELDS = {
    "grouped": {"model_type": "llama", **SIZES, "vocab_size": VOCABULARY},
    # Neither heads nor inner width nor vocabulary can be shared by two.
    "odd": {
        "model_type": "llama",
        **SIZES,
        "vocab_size": VOCABULARY + 1,
        "hidden_size": 18,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "intermediate_size": 21,
    },
    "bert": {"model_type": "bert", **ENCODER_SIZES, "vocab_size": VOCABULARY},
}


def _start(*words, devices=1):
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, "-m", "tests.features.devices", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _result(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def _bytes(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def report(checkpoint, tmp_path_factory):
    """What eight devices found."""
    folder = tmp_path_factory.mktemp("mesh")
    for name, fields in FIELDS.items():
        write_variant(folder / name, fields)
        write_tokenizer(folder / name)
    shutil.copytree(checkpoint, folder / "gpt2")
    (folder / "out").mkdir()
    return _result(_start("mesh", folder, folder / "out", devices=8))


@pytest.fixture(params=[(name, mesh) for name in MESHES for mesh in MESHES[name]], ids=str)
def case(report, request):
    name, mesh = request.param
    (found,) = (
        case for case in report["cases"] if (case["name"], case["mesh"]) == (name, list(mesh))
    )
    return found


def test_features_are_those_of_one_device(report, case):
    assert report["devices"] == 8
    assert case["error"] <= 1e-5 * max(case["scale"], 1)
    assert case["same_identity"]


def test_rows_are_shared_and_the_manifest_says_by_how_many(case):
    data, model = case["mesh"]
    assert all(height % data == 0 for height in case["heights"])
    assert case["recorded"] == [{"data": data, "model": model}] * 3


def test_each_device_holds_its_part_of_a_parameter_and_no_more(case):
    data, model = case["mesh"]
    split = {}
    for name, (axes, rank, whole, each, devices) in case["placement"].items():
        assert devices == data * model
        assert each == [whole // model if axes else whole]
        if axes:
            split[name] = axes[0] - rank
    assert split == _expected_splits(case["name"], model)


def _expected_splits(name, model):
    """Axis of every parameter that several devices hold by parts, counted from its end."""
    if model == 1 or name == "odd":
        return {}
    if name == "gpt2":
        attention = {"attn_c_attn_weight": -1, "attn_c_attn_bias": -1, "attn_c_proj_weight": -2}
        inner = {"mlp_c_fc_weight": -1, "mlp_c_fc_bias": -1, "mlp_c_proj_weight": -2}
        return {f"layers.{name}": axis for name, axis in {**attention, **inner}.items()}
    names = {"q_weight": -2, "o_weight": -1, "up_weight": -2, "down_weight": -1}
    if model == 2:  # and not four, for two key heads
        names |= {"k_weight": -2, "v_weight": -2}
    if name == "bert":
        names |= {"q_bias": -1, "k_bias": -1, "v_bias": -1, "up_bias": -1}
        return {"word_embedding": -2, **{f"layers.{name}": axis for name, axis in names.items()}}
    names["gate_weight"] = -2
    layers = {f"layers.{name}": axis for name, axis in names.items()}
    return {"embedding": -2, "lm_head": -2, **layers}


def test_devices_talk_twice_a_layer_and_not_at_all_over_rows(case):
    _, model = case["mesh"]
    if model == 1 or case["name"] == "odd":
        assert case["collectives"] == {}
    elif case["name"] == "gpt2":
        # Its joint projection is not split by heads: queries, keys and values move besides.
        assert case["collectives"]["all-reduce"] == 2
    elif model == 2:
        assert case["collectives"] == {"all-reduce": 3}  # the embedding's too


def test_a_run_may_go_on_with_other_devices(report):
    eight, two = {"data": 8, "model": 1}, {"data": 1, "model": 2}
    assert report["resumed"] == [eight, two, two]


def test_a_mesh_of_one_device_changes_no_byte(report):
    assert report["one_device_is_no_mesh"]


def test_meshes_that_cannot_be_made_are_refused(report):
    assert report["refused"] == [
        "devices=9: this process has 8 (cpu); give 1 to 8",
        "devices=0: this process has 8 (cpu); give 1 to 8",
        "model_parallel=3 must divide the 8 devices",
        "model_parallel=4 must divide the 2 devices",
        "model_parallel=0 must divide the 8 devices",
    ]


@pytest.fixture(scope="module")
def backbone(checkpoint):
    return load_backbone(checkpoint)


@pytest.fixture(scope="module")
def whole(backbone, tmp_path_factory):
    """The store of a single process."""
    out = tmp_path_factory.mktemp("whole") / "store"
    return extract_store(make_rows(), backbone, out, settings=SETTINGS).path


@pytest.fixture(scope="module")
def parts(backbone, tmp_path_factory):
    """Two parts that tests must not change."""
    out = tmp_path_factory.mktemp("parts") / "store"
    return [
        extract_store(make_rows(), backbone, out, settings=SETTINGS, part=Part(number, 2)).path
        for number in range(2)
    ]


@pytest.mark.slow
def test_two_processes_on_loopback_make_the_store_of_one(checkpoint, whole, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [_start("part", checkpoint, tmp_path / "store", port, i, 2) for i in range(2)]
    results = [_result(process) for process in started]
    assert [result["part"] for result in results] == [[0, 2], [1, 2]]
    assert [result["devices"] for result in results] == [2, 2]
    paths = [result["path"] for result in results]
    assert [Path(path).name for path in paths] == ["store.part-0-of-2", "store.part-1-of-2"]
    joined = join_parts(paths[::-1], tmp_path / "store")
    assert _bytes(joined.path) == _bytes(whole)


def test_a_process_alone_is_the_only_one():
    assert Part.of_this_process() == (0, 1)
    assert device_mesh().shape == {"data": jax.local_device_count(), "model": 1}


def test_the_commands_extract_parts_and_join_them(checkpoint, tmp_path, capsys):
    data = tmp_path / "rows.jsonl"
    rows = [
        {"id": row.id, "prompt": row.prompt, "chosen": row.chosen + " so", "rejected": "no"}
        for row in make_rows().rows
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["extract", "--model", str(checkpoint), "--data", str(data), "--shard-rows", "4"]
    assert main([*words, "--out", str(tmp_path / "alone"), "--devices", "1"]) == 0
    out = str(tmp_path / "store")
    for number in ("0", "1"):
        assert main([*words, "--out", out, "--process-id", number, "--processes", "2"]) == 0
    made = [f"{out}.part-{number}-of-2" for number in range(2)]
    assert f"written: {made[1]}" in capsys.readouterr().out
    assert main(["join", *made, "--out", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == {"total": 10}
    assert _bytes(tmp_path / "store") == _bytes(tmp_path / "alone")
    for extra, message in [
        (["--process-id", "2", "--processes", "2"], "process 2 of 2: processes are numbered"),
        (["--process-id", "0"], "--process-id and --processes go together"),
        (["--process-id", "0", "--processes", "4"], "4 processes share 3 shards"),
        (["--devices", "9"], "devices=9: this process has"),
        (["--model-parallel", "5"], "model_parallel=5 must divide the"),
    ]:
        assert main([*words, "--out", str(tmp_path / "new"), *extra]) == 2
        assert message in capsys.readouterr().err
        assert not list(tmp_path.glob("new*"))


def test_a_part_that_was_killed_goes_on(backbone, parts, tmp_path):
    shutil.copytree(parts[0], tmp_path / f"{parts[0].name}.partial")
    (tmp_path / f"{parts[0].name}.partial" / "shard-00001-chosen.npy").write_bytes(b"half")
    out = tmp_path / "store"
    again = extract_store(make_rows(), backbone, out, settings=SETTINGS, part=Part(0, 2))
    assert _bytes(again.path) == _bytes(parts[0])


def test_parts_are_left_and_a_joined_store_is_returned_as_it_is(parts, whole, tmp_path):
    before = [_bytes(part) for part in parts]
    join_parts(parts, tmp_path / "store")
    again = join_parts(parts, tmp_path / "store")
    np.testing.assert_array_equal(again.table.chosen, open_store(whole).table.chosen)
    assert [_bytes(part) for part in parts] == before


def test_a_part_is_no_store_to_solve_on(parts):
    with pytest.raises(FeatureError, match="part 1 of 2 of a store; join them first"):
        load_features(parts[1])
    with pytest.raises(FeatureError, match="part 1 of 2 of a store; join them first"):
        read_pairs(str(parts[1]))


def test_parts_that_make_no_store_are_refused_by_name(backbone, parts, whole, tmp_path):
    def refused(folders, message):
        with pytest.raises(FeatureError, match=message):
            join_parts(folders, tmp_path / "store")
        assert not list(tmp_path.glob("store*"))

    def extracted(name, part, settings=SETTINGS):
        rows, folder = make_rows(), tmp_path / name / "x"
        return extract_store(rows, backbone, folder, settings=settings, part=part).path

    refused([], "none to join")
    refused([parts[0]], "parts: 1 of 2 missing")
    refused([*parts, parts[0]], "part 0 is there twice")
    refused([whole, *parts], "a whole store, not a part")
    refused([parts[0], tmp_path / "gone"], "gone: not a feature store")
    refused([parts[0], extracted("three", Part(1, 3))], "a part of 3, but .* is one of 2")
    other = extracted("other", Part(1, 2), replace(SETTINGS, pooling="mean"))
    refused([parts[0], other], "pooling is 'mean.last' there, 'mean' here; width is 32 there, 16")
    damaged = shutil.copytree(parts[0], tmp_path / "damaged")
    (damaged / "shard-00000-rejected.npy").write_bytes(b"damaged")
    refused([damaged, parts[1]], "damaged: shard-00000-rejected.npy is damaged")
    fewer = shutil.copytree(parts[0], tmp_path / "fewer")
    manifest = json.loads((fewer / "manifest.json").read_text())
    manifest["shards"].pop()
    (fewer / "manifest.json").write_text(json.dumps(manifest))
    refused([fewer, parts[1]], "fewer: 1 shards in it, expected 2")
