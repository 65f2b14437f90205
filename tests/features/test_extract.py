"""Extraction: the same features whatever the batches, resumable to the byte."""

import json
import shutil
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax._progress import Progress
from coala_jax.backbones import Tokenizer, load_backbone
from coala_jax.backbones._attention import plain_batch
from coala_jax.data import PreferenceRow, ResponseRow, RowSet
from coala_jax.data._rows import SetAsideRow
from coala_jax.data._split import text_sha256
from coala_jax.features import FeatureError, open_store
from coala_jax.features import _build as build
from coala_jax.features import _extract as extract
from coala_jax.features._build import extract_store
from coala_jax.features._identity import require_same_backbone
from coala_jax.features._query import query_array, query_text
from coala_jax.features._responses import features_of_responses
from coala_jax.features._settings import ExtractSettings, feature_identity
from coala_jax.features._tokens import TextTemplate

WORDS = ["the", "student", "asks", "the", "tutor", "answers"]
# One small shape: the tests compile few programs.
SETTINGS = ExtractSettings(token_budget=256, shard_rows=4)


def _text(rng, most):
    return " ".join(rng.choice(WORDS, rng.integers(1, most)))


@pytest.fixture(scope="module")
def backbone(checkpoint):
    return load_backbone(checkpoint)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    made = []
    for number in range(10):
        texts = _text(rng, 4), _text(rng, 3), f"{_text(rng, 4)} {number}"
        margin = float(number) if number % 2 else None
        made.append(PreferenceRow(f"row-{number}", *texts, margin=margin, group=f"g{number % 3}"))
    return RowSet(tuple(made), (SetAsideRow(3, "no prompt"),))


@pytest.fixture(scope="module")
def store(backbone, rows, tmp_path_factory):
    return extract_store(rows, backbone, tmp_path_factory.mktemp("s") / "store", settings=SETTINGS)


def _bytes(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _alone(backbone, row, response):
    """Features of one response by plain numpy, without padding, batches or jit of the pooling."""
    prompt = backbone.tokenizer.encode(row.prompt)
    reply = [*backbone.tokenizer.encode(" " + response.strip()), backbone.tokenizer.end_id]
    tokens = np.zeros((1, backbone.config.max_length), int)
    tokens[0, : len(prompt) + len(reply)] = prompt + reply
    hidden = np.asarray(backbone.hidden_states(jnp.asarray(tokens), jnp.asarray(tokens >= 0)))
    part = hidden[0, len(prompt) : len(prompt) + len(reply)]
    return np.concatenate([part.mean(0), part[-1]])


def test_features_are_the_pooled_hidden_states_of_the_response(store, backbone, rows):
    for side in ("chosen", "rejected"):
        expected = [_alone(backbone, row, getattr(row, side)) for row in rows.rows]
        np.testing.assert_allclose(getattr(store.table, side), expected, atol=2e-5)


def test_columns_follow_the_rows(store, rows):
    table = store.table
    assert table.ids == tuple(row.id for row in rows.rows)
    assert table.prompt_hashes == tuple(text_sha256(row.prompt) for row in rows.rows)
    assert table.groups == tuple(row.group for row in rows.rows)
    assert table.margin.tolist() == [0, 1, 0, 3, 0, 5, 0, 7, 0, 9]
    assert table.weight is None


def test_the_manifest_says_how_the_store_was_made(store, backbone, rows):
    manifest = json.loads((store.path / "manifest.json").read_text())
    assert manifest["identity"] == feature_identity(backbone, SETTINGS)._asdict()
    assert manifest["identity"]["end_token"] == "<|endoftext|>"
    assert manifest["identity"]["response_template"] == " {response}"
    assert manifest["refused"] == {"no prompt": 1}
    assert manifest["cut"] == {"prompt": 0, "response": 0}
    assert (manifest["rows"], manifest["width"], manifest["dtype"]) == (10, 32, "float32")
    assert [entry["rows"] for entry in manifest["shards"]] == [4, 4, 2]


def test_shared_prefixes_run_once_and_change_nothing(store, backbone, rows, tmp_path):
    alone = replace(SETTINGS, share_prefixes=False)
    again = extract_store(rows, backbone, tmp_path / "store", settings=alone)
    scale = np.abs(store.table.chosen).max()
    for side in ("chosen", "rejected"):
        error = np.abs(getattr(again.table, side) - getattr(store.table, side)).max()
        assert error <= 1e-5 * scale
    shared, unshared = store.manifest["tokens"], again.manifest["tokens"]
    assert shared["given"] == unshared["given"] > shared["distinct"] == unshared["distinct"]
    texts = [
        backbone.tokenizer.encode(row.prompt)
        + backbone.tokenizer.encode(" " + response)
        + [backbone.tokenizer.end_id]
        for row in rows.rows
        for response in (row.chosen, row.rejected)
    ]
    assert shared["given"] == sum(map(len, texts))
    # Shards do not share: ten rows in shards of four.
    parts = [texts[:8], texts[8:16], texts[16:]]
    assert shared["distinct"] == sum(
        len({tuple(text[: end + 1]) for text in part for end in range(len(text))}) for part in parts
    )


def test_several_layers_are_pooled_and_known_by_name(backbone, rows, tmp_path):
    both = replace(SETTINGS, layers=(-1, 1), pooling="mean")
    store = extract_store(rows, backbone, tmp_path / "both", settings=both)
    assert store.table.identity.layer == "-1,1"
    assert ExtractSettings.from_identity(store.table.identity).layers == (-1, 1)
    columns = np.split(store.table.chosen, 2, axis=1)
    for number, part in zip(both.layers, columns, strict=True):
        one = replace(both, layers=(number,))
        single = extract_store(rows, backbone, tmp_path / str(number), settings=one)
        np.testing.assert_allclose(part, single.table.chosen, atol=1e-5)


def test_attention_pooling_derives_its_query_from_the_data_and_keeps_it(backbone, rows, tmp_path):
    settings = replace(SETTINGS, pooling="attention", layers=(-1, 1))
    store = extract_store(rows, backbone, tmp_path / "store", settings=settings)
    identity = store.table.identity
    query = query_array(identity.query, 2, 16)
    assert store.table.chosen.shape == (10, 2 * 16)
    # The products of query and response states have a deviation of 1: recomputed in plain numpy.
    states = [
        _response_states(backbone, row, response, settings.layers)
        for row in rows.rows
        for response in (row.chosen, row.rejected)
    ]
    for layer in range(2):
        tokens = np.concatenate([one[layer] for one in states]).astype(np.float64)
        mean = tokens.mean(0)
        assert (tokens @ query[layer]).std() == pytest.approx(1, rel=1e-4)
        cosine = query[layer] @ mean / np.linalg.norm(query[layer]) / np.linalg.norm(mean)
        assert cosine == pytest.approx(1, abs=1e-5)
    # A head that knows the identity scores with the same query.
    again = ExtractSettings.from_identity(identity)
    plain = [ResponseRow(row.id, "response", row.prompt, row.chosen) for row in rows.rows]
    scored = features_of_responses(plain, backbone, again)
    np.testing.assert_allclose(scored.features, store.table.chosen, atol=1e-5)


def test_a_later_run_takes_the_query_of_the_store_it_goes_on_with(
    backbone, rows, tmp_path, monkeypatch
):
    settings = replace(SETTINGS, pooling="attention")
    store = extract_store(rows, backbone, tmp_path / "store", settings=settings)
    monkeypatch.setattr(build, "derive_query", None)  # another device would derive another one
    again = extract_store(rows, backbone, tmp_path / "store", settings=settings)
    assert again.table.identity == store.table.identity
    manifest = json.loads((store.path / "manifest.json").read_text())
    shutil.copytree(store.path, tmp_path / "other.partial")
    manifest["shards"] = manifest["shards"][:1]
    (tmp_path / "other.partial" / "manifest.json").write_text(json.dumps(manifest))
    other = extract_store(rows, backbone, tmp_path / "other", settings=settings)
    assert _bytes(other.path) == _bytes(store.path)


def test_the_backbones_name_decides_nothing(store, backbone, rows, monkeypatch):
    monkeypatch.setattr(build, "encode_pairs", None)
    moved = replace(backbone, identity=backbone.identity._replace(name="moved"))
    again = extract_store(rows, moved, store.path, settings=SETTINGS)
    np.testing.assert_array_equal(again.table.chosen, store.table.chosen)


def test_a_query_of_another_size_is_refused(backbone, rows, tmp_path):
    other = replace(SETTINGS, pooling="attention", query=query_text(np.ones((1, 3))))
    with pytest.raises(FeatureError, match="a query of 1 layers of width 16"):
        extract_store(rows, backbone, tmp_path / "store", settings=other)


def _response_states(backbone, row, response, layers):
    """States of a response's tokens at some layers, alone in its row."""
    prompt = backbone.tokenizer.encode(row.prompt)
    reply = [*backbone.tokenizer.encode(" " + response), backbone.tokenizer.end_id]
    tokens = np.zeros((1, backbone.config.max_length), int)
    tokens[0, : len(prompt) + len(reply)] = prompt + reply
    hidden = backbone.module.states(plain_batch(jnp.asarray(tokens)), layers=layers).hidden
    return [np.asarray(one)[0, len(prompt) : len(prompt) + len(reply)] for one in hidden]


def test_a_layer_that_the_model_lacks_is_refused(backbone, rows, tmp_path):
    with pytest.raises(FeatureError, match=r"layers=\(9,\): the model has layers 0"):
        extract_store(rows, backbone, tmp_path / "s", settings=replace(SETTINGS, layers=(9,)))


def _memory_of(monkeypatch, slots):
    """A device that runs out of memory on larger batches."""
    forward = extract._forward

    def limited(module, batch, *arguments, **settings):
        if batch.tokens.size > slots:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating")
        return forward(module, batch, *arguments, **settings)

    monkeypatch.setattr(extract, "_forward", limited)


def test_a_budget_is_lowered_where_memory_ends_and_stays_so(
    backbone, tmp_path, monkeypatch, capsys
):
    rng = np.random.default_rng(1)
    rows = RowSet(
        tuple(
            PreferenceRow(str(number), *(" ".join(rng.choice(WORDS, 5)) for _ in range(3)))
            for number in range(8)
        )
    )
    many = replace(SETTINGS, token_budget=1024)
    whole = extract_store(rows, backbone, tmp_path / "whole", settings=many)
    shapes = [shape for entry in whole.manifest["shards"] for shape in entry["shapes"]]
    longest = max(length for _, length, _ in shapes)
    assert max(height for height, _, _ in shapes) > 1
    with monkeypatch.context() as small:
        _memory_of(small, longest)
        lowered = extract_store(rows, backbone, tmp_path / "store", settings=many)
    budgets = [entry["token_budget"] for entry in lowered.manifest["shards"]]
    assert budgets[0] < 1024 and budgets == sorted(budgets, reverse=True)
    assert "out of memory: token budget lowered to" in capsys.readouterr().err
    np.testing.assert_allclose(lowered.table.chosen, whole.table.chosen, atol=1e-5)
    # A later run goes on under the budget that was found.
    manifest = json.loads((lowered.path / "manifest.json").read_text())
    manifest["shards"] = manifest["shards"][:1]
    shutil.copytree(lowered.path, tmp_path / "again.partial")
    (tmp_path / "again.partial" / "manifest.json").write_text(json.dumps(manifest))
    with monkeypatch.context() as small:
        _memory_of(small, longest)
        again = extract_store(rows, backbone, tmp_path / "again", settings=many)
    assert _bytes(again.path) == _bytes(lowered.path)


def test_a_row_that_never_fits_is_an_error_and_other_errors_pass(
    backbone, rows, tmp_path, monkeypatch
):
    _memory_of(monkeypatch, 8)
    with pytest.raises(FeatureError, match="not enough memory for one row of"):
        extract_store(rows, backbone, tmp_path / "store", settings=SETTINGS)

    def broken(*_, **__):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(extract, "_forward", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        extract_store(rows, backbone, tmp_path / "store", settings=SETTINGS)


def test_the_batch_plan_does_not_change_the_features(store, backbone, rows, tmp_path):
    other = replace(SETTINGS, token_budget=32, shard_rows=10)
    again = extract_store(rows, backbone, tmp_path / "store", settings=other)
    np.testing.assert_allclose(again.table.chosen, store.table.chosen, atol=1e-5)
    np.testing.assert_allclose(again.table.rejected, store.table.rejected, atol=1e-5)
    assert isinstance(again.table.chosen, np.memmap)


def test_a_killed_run_goes_on_at_the_first_missing_shard_with_the_same_bytes(
    store, backbone, rows, tmp_path, monkeypatch
):
    calls = []
    encode = build.encode_pairs

    def die_at_the_second(*arguments):
        calls.append(2 * len(arguments[0]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return encode(*arguments)

    monkeypatch.setattr(build, "encode_pairs", die_at_the_second)
    out = tmp_path / "store"
    with pytest.raises(KeyboardInterrupt):
        extract_store(rows, backbone, out, settings=SETTINGS)
    assert not out.exists()
    with pytest.raises(FeatureError, match="not finished"):
        open_store(tmp_path / "store.partial")
    # What a kill within a file would leave.
    (tmp_path / "store.partial" / "shard-00001-chosen.npy").write_bytes(b"half")
    extract_store(rows, backbone, out, settings=SETTINGS)
    assert calls == [8, 8, 8, 4]
    assert _bytes(out) == _bytes(store.path)
    assert not (tmp_path / "store.partial").exists()


def test_a_shard_that_was_damaged_between_runs_is_made_again(store, backbone, rows, tmp_path):
    out = tmp_path / "store"
    shutil.copytree(store.path, tmp_path / "store.partial")
    (tmp_path / "store.partial" / "shard-00001-rejected.npy").write_bytes(b"damaged")
    extract_store(rows, backbone, out, settings=SETTINGS)
    assert _bytes(out) == _bytes(store.path)


def test_a_flipped_bit_in_a_finished_store_is_repaired_and_said(
    store, backbone, rows, tmp_path, capsys
):
    out = tmp_path / "store"
    shutil.copytree(store.path, out)
    file = out / "shard-00001-chosen.npy"
    content = bytearray(file.read_bytes())
    content[200] ^= 1
    file.write_bytes(content)
    with pytest.raises(FeatureError, match="run the same extraction again: it makes that shard"):
        open_store(out)
    again = extract_store(rows, backbone, out, settings=SETTINGS)
    assert again.repaired == ("shard-00001-chosen.npy is damaged, its checksum differs",)
    assert "shard-00001-chosen.npy is damaged" in capsys.readouterr().err
    assert _bytes(out) == _bytes(store.path)


def test_a_repair_keeps_the_lowered_budget_of_its_shard(backbone, rows, tmp_path, monkeypatch):
    many = replace(SETTINGS, token_budget=1024)
    out = tmp_path / "store"
    with monkeypatch.context() as small:
        _memory_of(small, 256)
        extract_store(rows, backbone, out, settings=many)
    before = _bytes(out)
    (out / "shard-00000-rejected.npy").write_bytes(b"damaged")
    assert extract_store(rows, backbone, out, settings=many).repaired
    assert _bytes(out) == before


def test_a_finished_store_is_returned_without_work(store, backbone, rows, monkeypatch):
    monkeypatch.setattr(build, "encode_pairs", None)
    again = extract_store(rows, backbone, store.path, settings=SETTINGS)
    np.testing.assert_array_equal(again.table.chosen, store.table.chosen)


@pytest.mark.parametrize("name", ["store", "store.partial"])
def test_other_settings_are_refused_and_named(store, backbone, rows, tmp_path, name):
    shutil.copytree(store.path, tmp_path / name)
    before = _bytes(tmp_path / name)
    other = replace(SETTINGS, pooling="mean")
    with pytest.raises(FeatureError, match="identity.pooling is 'mean.last' there, 'mean' now"):
        extract_store(rows, backbone, tmp_path / "store", settings=other)
    fewer = RowSet(rows.rows[:9])
    with pytest.raises(FeatureError, match="of other rows than the data are now: .*; rows is 10"):
        extract_store(fewer, backbone, tmp_path / "store", settings=SETTINGS)
    with pytest.raises(FeatureError, match="made with other settings: data_sha256 is"):
        extract_store(fewer, backbone, tmp_path / "store", settings=other)
    assert _bytes(tmp_path / name) == before


def test_something_else_in_the_way_is_left_alone(backbone, rows, tmp_path):
    for name in ("store", "store.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text("mine")
        with pytest.raises(FeatureError, match="not a feature store|in the way"):
            extract_store(rows, backbone, tmp_path / "store", settings=SETTINGS)
        assert (tmp_path / name / "notes.txt").read_text() == "mine"
        shutil.rmtree(tmp_path / name)


def test_cut_rows_are_counted_and_keep_the_response(backbone, tmp_path):
    long = " ".join(WORDS * 20)
    rows = RowSet(
        (
            PreferenceRow("fits", "why", "so", "no"),
            PreferenceRow("long prompt", long, "so", "no"),
            PreferenceRow("long response", "why", "so", long),
        )
    )
    store = extract_store(rows, backbone, tmp_path / "store", settings=SETTINGS)
    assert store.manifest["cut"] == {"prompt": 2, "response": 1}


@pytest.mark.parametrize(
    ("prompt", "chosen"), [("the student asks", ""), ("", "the tutor"), ("", ""), (" ", "\n")]
)
def test_empty_texts_have_the_features_of_what_the_template_leaves(
    backbone, tmp_path, prompt, chosen
):
    row = PreferenceRow("row", prompt, chosen, "answers")
    store = extract_store(RowSet((row,)), backbone, tmp_path / "store", settings=SETTINGS)
    for side in ("chosen", "rejected"):
        expected = _alone(backbone, row, getattr(row, side))
        np.testing.assert_allclose(getattr(store.table, side)[0], expected, atol=2e-5)


def test_an_empty_response_without_a_space_before_it_is_its_end_token(backbone, tmp_path):
    bare = replace(SETTINGS, template=TextTemplate("{prompt}", "{response}"))
    rows = RowSet((PreferenceRow("row", "", "", "answers"),))
    features = extract_store(rows, backbone, tmp_path / "store", settings=bare).table.chosen[0]
    end = jnp.array([[backbone.tokenizer.end_id]])
    hidden = np.asarray(backbone.hidden_states(end, end >= 0))[0, 0]
    np.testing.assert_allclose(features, np.concatenate([hidden, hidden]), atol=2e-5)


def test_a_response_that_fills_the_context_leaves_no_prompt(backbone, tmp_path):
    context = backbone.config.max_length
    full, over = " ".join(["x"] * (context // 2)), " ".join(["x"] * context)
    assert len(backbone.tokenizer.encode(" " + full)) == context
    rows = RowSet((PreferenceRow("row", "the student", over, "so"),))
    store = extract_store(rows, backbone, tmp_path / "store", settings=SETTINGS)
    assert store.manifest["cut"] == {"prompt": 1, "response": 1}
    tokens = np.array([[*backbone.tokenizer.encode(" " + full)[:-1], backbone.tokenizer.end_id]])
    hidden = np.asarray(backbone.hidden_states(jnp.asarray(tokens), jnp.asarray(tokens >= 0)))[0]
    expected = np.concatenate([hidden.mean(0), hidden[-1]])
    np.testing.assert_allclose(store.table.chosen[0], expected, atol=2e-5)


def test_ids_beyond_the_vocabulary_name_the_row_and_leave_no_store(backbone, rows, tmp_path):
    class Foreign(Tokenizer):
        def encode_batch(self, texts):
            known = zip(texts, super().encode_batch(texts), strict=True)
            return [[*ids, 777] if "tutor" in text else ids for text, ids in known]

    own = {name: getattr(backbone.tokenizer, name) for name in Tokenizer.__dataclass_fields__}
    other = replace(backbone, tokenizer=Foreign(**own))
    with pytest.raises(FeatureError, match=r"beyond the vocabulary, the first is row-\d .*id 777"):
        extract_store(rows, other, tmp_path / "store", settings=SETTINGS)
    assert list(tmp_path.iterdir()) == []
    plain = [ResponseRow("r", "response", "p", "tutor")]
    with pytest.raises(FeatureError, match="1 of 1 rows have ids beyond .* belongs to another"):
        features_of_responses(plain, other, SETTINGS)


@pytest.mark.parametrize(("dtype", "off"), [("float16", 5e-3), ("bfloat16", 4e-2)])
def test_half_precision_on_disk_is_near_the_full_one(store, backbone, rows, tmp_path, dtype, off):
    half = replace(SETTINGS, dtype=dtype)
    again = extract_store(rows, backbone, tmp_path / "store", settings=half)
    assert again.table.chosen.dtype == jnp.dtype(dtype)
    kept = again.table.chosen.astype(np.float32)
    np.testing.assert_allclose(kept, store.table.chosen, atol=off)
    np.testing.assert_array_equal(kept, store.table.chosen.astype(dtype).astype(np.float32))


def test_features_that_are_not_finite_name_the_row_and_leave_no_store(checkpoint, rows, tmp_path):
    broken = load_backbone(checkpoint)
    broken.module.ln_f_bias[...] = jnp.full_like(broken.module.ln_f_bias[...], jnp.inf)
    out = tmp_path / "store"
    with pytest.raises(
        FeatureError, match=r"8 of 8 rows are not finite .* row-0 \(chosen\)"
    ) as full:
        extract_store(rows, broken, out, settings=SETTINGS)
    with pytest.raises(FeatureError, match="in float16, .* or keep float32") as half:
        extract_store(rows, broken, out, settings=replace(SETTINGS, dtype="float16"))
    assert "keep float32" not in str(full.value)
    assert all("check the checkpoint" in str(error.value) for error in (full, half))
    assert list(tmp_path.iterdir()) == []


def test_no_rows_are_refused(backbone, tmp_path):
    with pytest.raises(FeatureError, match="none to extract"):
        extract_store(RowSet(()), backbone, tmp_path / "store")


def test_plain_responses_get_the_features_of_the_store(store, backbone, rows):
    settings = replace(ExtractSettings.from_identity(store.table.identity), token_budget=256)
    plain = [ResponseRow(row.id, "response", row.prompt, row.chosen) for row in rows.rows]
    scored = features_of_responses(plain, backbone, settings)
    np.testing.assert_allclose(scored.features, store.table.chosen, atol=1e-5)
    assert (scored.prompt_cut, scored.response_cut) == (0, 0)


def test_another_backbone_or_template_is_refused_by_name(store, backbone):
    identity = store.table.identity
    require_same_backbone(identity, feature_identity(backbone, SETTINGS))
    require_same_backbone(identity, backbone.identity)
    require_same_backbone(identity, identity._replace(backbone="moved folder"))
    other = feature_identity(backbone, replace(SETTINGS, template=TextTemplate("Q: {prompt}")))
    with pytest.raises(FeatureError, match="expected prompt_template '{prompt}', found 'Q: "):
        require_same_backbone(identity, other)
    with pytest.raises(FeatureError, match="expected weights_sha256 '.*', found 'other'"):
        require_same_backbone(identity, backbone.identity._replace(weights_sha256="other"))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("pooling", "max", "pooling='max'"),
        ("layers", (), r"layers=\(\) must name at least one layer"),
        ("layers", (1, 1), "each once"),
        ("query", "AAAA", "pooling='mean.last' uses none"),
        ("dtype", "float8", "dtype='float8' must be one of float32, float16, bfloat16"),
        ("token_budget", 0, "token_budget=0 must be at least 1"),
        ("shard_rows", 0, "shard_rows=0 must be at least 1"),
        ("template", TextTemplate("x"), "exactly once"),
    ],
)
def test_bad_settings_are_refused(field, value, message):
    with pytest.raises(FeatureError, match=message):
        ExtractSettings(**{field: value})


def test_no_progress_bar_where_stderr_is_no_terminal(backbone, rows, tmp_path, capsys):
    extract_store(rows, backbone, tmp_path / "store", settings=SETTINGS)
    assert capsys.readouterr().err == ""


def test_progress_shows_texts_tokens_a_second_and_the_time_left(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress(100, "extract") as progress:
        mark = progress.mark()
        progress.advance(30, 5000)
        progress.rewind(mark)
        progress.advance(50, 9000)
        assert progress.mark() == (50, 9000)
        progress._bar.refresh()
    shown = capsys.readouterr().err
    assert "50/100" in shown and "tokens/s" in shown and "<" in shown
