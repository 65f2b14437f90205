"""The torch engine: the same features behind the same interface, for models of any family."""

import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax.backbones import CheckpointError, load_backbone
from coala_jax.backbones._attention import TokenBatch, plain_batch
from coala_jax.backbones._torch_backend import find_texts
from coala_jax.cli._main import main
from coala_jax.data import PreferenceRow, RowSet
from coala_jax.features import FeatureError, open_store
from coala_jax.features._build import extract_store
from coala_jax.features._identity import require_same_backbone
from coala_jax.features._settings import ExtractSettings

SETTINGS = ExtractSettings(token_budget=256, layers=(-1, 1))
ROWS = RowSet(
    tuple(
        PreferenceRow(
            str(i), "the student asks " * (i + 1), "the tutor answers", "no " * (3 * i + 1)
        )
        for i in range(4)
    )
)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def cohere(torch, tmp_path_factory, checkpoint):
    """A tiny Cohere, of a family that is not among ours."""
    import transformers

    folder = tmp_path_factory.mktemp("cohere") / "model"
    config = transformers.CohereConfig(
        vocab_size=300,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    torch.manual_seed(0)
    transformers.CohereForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((checkpoint / name).read_bytes())
    return folder


def test_features_of_both_engines_agree_and_are_told_apart(torch, checkpoint, tmp_path):
    ours, theirs = load_backbone(checkpoint), load_backbone(checkpoint, engine="torch")
    stores = [
        extract_store(ROWS, backbone, tmp_path / str(number), settings=SETTINGS)
        for number, backbone in enumerate((ours, theirs))
    ]
    for side in ("chosen", "rejected"):
        left, right = (getattr(store.table, side) for store in stores)
        assert np.abs(left - right).max() <= 1e-4 * np.abs(left).max()
    assert stores[1].manifest["identity"]["model_type"] == "torch:gpt2"
    assert stores[1].table.identity.compute_dtype == "float32"
    with pytest.raises(FeatureError, match="expected model_type 'gpt2', found 'torch:gpt2'"):
        require_same_backbone(stores[0].table.identity, stores[1].table.identity)


def test_a_family_that_is_not_ours_gives_what_transformers_gives(torch, cohere):
    import transformers

    with pytest.raises(CheckpointError, match="'cohere' is not supported.*engine='torch'"):
        load_backbone(cohere)
    backbone = load_backbone(cohere, engine="torch")
    model = transformers.AutoModel.from_pretrained(cohere).eval()
    tokens = np.random.default_rng(0).integers(1, 290, (2, 12))
    mask = np.arange(12) < np.array([[12], [7]])
    with torch.no_grad():
        whole = model(torch.tensor(tokens), output_hidden_states=True).hidden_states
        short = model(torch.tensor(tokens[1:, :7]), output_hidden_states=True).hidden_states
    states = backbone.module.states(
        plain_batch(jnp.asarray(tokens), jnp.asarray(mask)), layers=(0, 1, -1)
    )
    for layer, hidden in zip((0, 1, 2), states.hidden, strict=True):
        np.testing.assert_allclose(hidden[0], whole[layer][0], atol=1e-5)
        np.testing.assert_allclose(hidden[1, :7], short[layer][0], atol=1e-5)
    assert backbone.config.matrix_weights == (4 * 16 * 16 + 3 * 16 * 24)


def test_texts_of_a_row_and_padding_are_found_once():
    tokens = np.array([[5, 6, 7, 5, 6, 9, 0, 0], [5, 6, 0, 0, 0, 0, 0, 0]])
    ends = np.array([[2, 2, 3, 5, 5, 6, 7, 8], [2, 2, 3, 4, 5, 6, 7, 8]])
    found = find_texts(tokens, ends)
    assert found[5, 6] == [(0, 0, 2), (0, 3, 5), (1, 0, 2)]
    assert found[(7,)] == [(0, 2, 3)]
    assert len(found[(0,)]) == 8
    assert set(found) == {(5, 6), (7,), (9,), (0,)}


def test_what_the_engine_does_not_do_is_refused(torch, checkpoint, tmp_path):
    with pytest.raises(ValueError, match="engine='onnx' must be one of jax, torch"):
        load_backbone(checkpoint, engine="onnx")
    with pytest.raises(ValueError, match="takes no adapter"):
        load_backbone(checkpoint, engine="torch", adapter=tmp_path)
    module = load_backbone(checkpoint, engine="torch").module
    batch = TokenBatch(*(jnp.zeros((1, 2), jnp.int32),) * 3)
    with pytest.raises(ValueError, match="keeps no keys and values"):
        module.states(batch, keep=True)
    with pytest.raises(ValueError, match="length 65 exceeds the model's 64 positions"):
        module(jnp.zeros((1, 65), int))


@pytest.mark.slow
def test_the_command_line_extracts_and_scores_with_it(cohere, tmp_path):
    data, store, head = tmp_path / "rows.jsonl", str(tmp_path / "store"), str(tmp_path / "head")
    lines = [
        {"prompt": f"the student {i}", "chosen": "yes " * (i % 3 + 1), "rejected": "no"}
        for i in range(12)
    ]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    model = ["--model", str(cohere), "--engine", "torch", "--data", str(data)]
    assert main(["extract", *model, "--out", store]) == 0
    assert open_store(store).manifest["identity"]["model_type"] == "torch:cohere"
    assert main(["solve", store, "--out", head, "--n-gates", "2", "--ridge", "0.1"]) in (0, 3)
    assert main(["score", head, *model, "--out", str(tmp_path / "scores.jsonl")]) == 0
    rewards = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert len(rewards) == 12 and all(np.isfinite(row["reward_margin"]) for row in rewards)


def test_without_torch_the_error_names_the_command(checkpoint):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from coala_jax.backbones import load_backbone\n"
        f"load_backbone({str(checkpoint)!r}, engine='torch')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install '.[text,torch]' in the folder of coala-jax's source" in ended.stderr
