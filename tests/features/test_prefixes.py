"""Beginnings of responses: where pairs are cut, what a store keeps of them, and as pairs."""

import json
import shutil
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from coala_jax.backbones import load_backbone
from coala_jax.backbones._attention import plain_batch
from coala_jax.data import PreferenceRow, RowSet
from coala_jax.decoding._running_pool import RUNNING, RunningReward
from coala_jax.features import (
    FeatureError,
    FeatureTable,
    PairPrefixes,
    Part,
    join_parts,
    load_features,
    open_store,
    prefix_pairs,
    to_dataset,
    write_npz,
)
from coala_jax.features import _build as build
from coala_jax.features._build import extract_store
from coala_jax.features._packing import pack_batches
from coala_jax.features._pooling import POOLINGS, find_spans, pooling_parts
from coala_jax.features._prefixes import cut_places, draw_cuts
from coala_jax.features._settings import ExtractSettings
from coala_jax.features._tokens import TextTemplate, TokenSequence, encode_texts
from tests.helpers import random_reward_model

WORDS = ["the", "student", "asks", "tutor", "answers", "so", "no"]
K = 3
SETTINGS = ExtractSettings(token_budget=256, shard_rows=4, prefixes=K, prefix_seed=5)
CUT_FILES = ("chosen-prefixes.npy", "rejected-prefixes.npy", "prefix-places.npy")
END = 9


def _sequence(response, prompt=(7, 7)):
    return TokenSequence((*prompt, *response), len(prompt), False, False)


@pytest.fixture(scope="module")
def backbone(checkpoint):
    return load_backbone(checkpoint)


@pytest.fixture(scope="module")
def rows():
    """Ten pairs that begin alike for a word or two; one can be cut once, and one nowhere."""
    rng = np.random.default_rng(0)

    def text(least, most):
        return " ".join(rng.choice(WORDS, rng.integers(least, most)))

    made = []
    for number in range(8):
        start = text(1, 3)
        sides = f"{start} {text(4, 12)} {number}", f"{start} {text(4, 12)} x"
        weight = 0.5 + number if number % 2 else None
        row = PreferenceRow(f"row-{number}", text(1, 4), *sides, margin=float(number))
        made.append(row._replace(weight=weight, group=f"g{number % 3}"))
    made.append(PreferenceRow("once", "the", "the the", "asks the student", group="g0"))
    made.append(PreferenceRow("nowhere", "the", "the tutor", "the tutor answers", group="g1"))
    return RowSet(tuple(made))


@pytest.fixture(scope="module")
def store(backbone, rows, tmp_path_factory):
    return extract_store(rows, backbone, tmp_path_factory.mktemp("s") / "store", settings=SETTINGS)


@pytest.fixture(scope="module")
def plain(backbone, rows, tmp_path_factory):
    """The store of the same settings without beginnings."""
    without = replace(SETTINGS, prefixes=0)
    return extract_store(rows, backbone, tmp_path_factory.mktemp("p") / "store", settings=without)


def _bytes(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize(
    ("chosen", "rejected", "places"),
    [
        ([1, 2, 3, 4, END], [1, 5, END], [2]),
        ([1, 2, 3, 4, END], [6, 2, 3, 4, 5, END], [1, 2, 3, 4]),
        ([1, 2, END], [1, 2, 3, END], []),  # one goes on from the other
        ([END], [1, 2, END], []),
        ([1, END, 8], [2, 3, 4, END, 8], [1]),  # a template writes something behind an end token
        ([1, 2, 3], [2, 3, 4], [1, 2]),  # a full context dropped the end tokens
    ],
)
def test_pairs_are_cut_where_they_differ_and_before_either_ends(chosen, rejected, places):
    for prompts in (((7, 7), (7, 7)), ((7, 7), (7,))):
        sides = map(_sequence, (chosen, rejected), prompts)
        assert list(cut_places(*sides, {END})) == places


@given(st.integers(0, 60), st.integers(1, 60), st.integers(1, 12), st.integers(0, 3), st.text())
def test_cuts_are_one_a_stratum_and_all_places_where_there_are_no_more(
    first, count, most, seed, text
):
    places = range(first, first + count)
    row = PreferenceRow("a", text, "b", "c")
    cuts = draw_cuts(places, most, seed, row)
    assert cuts == draw_cuts(places, most, seed, row._replace(id="b", group="g", weight=2.0))
    assert len(cuts) == min(most, count) and set(cuts) <= set(places)
    if count <= most:
        assert cuts == tuple(places)
    for stratum, cut in enumerate(cuts if count > most else ()):
        assert stratum * count // most <= cut - first < (stratum + 1) * count // most


def test_draws_are_uniform_and_depend_on_the_seed_and_the_texts():
    row, places = PreferenceRow("a", "p", "c", "r"), range(10, 110)
    drawn = np.array([draw_cuts(places, 2, seed, row) for seed in range(2000)])
    assert len({tuple(each) for each in drawn}) > 1000
    for column, low in zip(drawn.T, (10, 60), strict=True):
        assert column.min() == low and column.max() == low + 49
        # Fifty values: the mean of 2000 draws has a standard error of 0.32.
        assert abs(column.mean() - (low + 24.5)) < 1.3
    others = [row._replace(**{name: "other"}) for name in ("prompt", "chosen", "rejected")]
    assert len({draw_cuts(places, 4, 0, each) for each in (row, *others)}) == 4


@examples(max_examples=30)
@given(
    st.lists(
        st.lists(st.integers(1, 3), min_size=2, max_size=60).flatmap(
            lambda tokens: st.tuples(
                st.just(tokens),
                st.sets(st.integers(1, len(tokens) - 1), max_size=5),
            )
        ),
        max_size=20,
    ),
    st.booleans(),
)
def test_a_plan_holds_every_beginning_once_as_the_tokens_its_last_one_sees(texts, share):
    sequences = [
        TokenSequence(tuple(tokens), 1, False, False, tuple(sorted(kept))) for tokens, kept in texts
    ]
    expected = [tuple(tokens) for tokens, _ in texts]
    expected += [tuple(tokens[: 1 + each]) for tokens, kept in texts for each in sorted(kept)]
    plan = pack_batches(sequences, 128, 0, share=share)
    found = {}
    for batch in plan.batches:
        spans = find_spans(
            *map(jnp.asarray, (batch.positions, batch.ends, batch.last, batch.start))
        )
        for row, leaf in zip(*np.nonzero(batch.sequence >= 0), strict=True):
            number = int(batch.sequence[row, leaf])
            assert number not in found
            found[number] = tuple(batch.tokens[row, np.asarray(spans.text)[row, leaf]].tolist())
            assert np.asarray(spans.response)[row, leaf].sum() == len(found[number]) - 1
    assert [found[number] for number in range(len(expected))] == expected
    alone = pack_batches([each._replace(prefixes=()) for each in sequences], 128, 0, share=share)
    assert alone.counts == plan.counts


def test_a_cut_is_what_decoding_pools_of_that_prefix(backbone, rows, tmp_path):
    pooling = "+".join(POOLINGS)
    assert set(POOLINGS) == set(RUNNING)
    settings = replace(SETTINGS, pooling=pooling, layers=(-1, 1))
    made = extract_store(RowSet(rows.rows[:4]), backbone, tmp_path / "s", settings=settings).table
    model = random_reward_model(backbone, ExtractSettings.from_identity(made.identity))
    cuts = made.prefixes
    assert len(cuts.pair) == 4 * K
    for side, features in (("chosen", cuts.chosen), ("rejected", cuts.rejected)):
        for pair in range(4):
            own = cuts.pair == pair
            row = rows.rows[pair]
            pooled = _running_pools(model, row.prompt, getattr(row, side), cuts.tokens[own])
            for found, (vector, reward) in zip(features[own], pooled, strict=True):
                np.testing.assert_allclose(found, vector, atol=2e-5)
                assert float(model.head(found)) == pytest.approx(reward, rel=1e-3, abs=1e-3)


def _running_pools(model, prompt, response, kept):
    """What decoding has of a response after so many tokens each: vectors, and their rewards."""
    tokenizer, reward = model.backbone.tokenizer, RunningReward.of(model)
    prompt, response = tokenizer.encode(prompt), tokenizer.encode(" " + response)
    tokens = np.zeros((1, model.backbone.config.max_length), np.int32)
    tokens[0, : len(prompt) + len(response)] = [*prompt, *response]
    states = _states(model.backbone.module, jnp.asarray(tokens), layers=reward.layers)
    pools = reward.begin(states, jnp.arange(tokens.shape[1])[None] < len(prompt))
    for count in range(1, max(kept) + 1):
        pools = reward.add(pools, tuple(layer[:, len(prompt) + count - 1] for layer in states))
        if count in kept:
            vectors = [
                RUNNING[name].value(part)[0]
                for layer in pools
                for name, part in zip(pooling_parts(model.settings.pooling), layer, strict=True)
            ]
            yield np.concatenate(vectors), float(reward.score(pools)[0])


@partial(jax.jit, static_argnames="layers")
def _states(module, tokens, *, layers):
    return module.states(plain_batch(tokens), layers=layers).hidden


def test_both_sides_are_cut_after_as_many_tokens_and_where_they_differ(store, backbone, rows):
    cuts, tokenizer = store.table.prefixes, backbone.tokenizer
    sides = [
        encode_texts(
            tokenizer,
            [row.prompt for row in rows.rows],
            [getattr(row, side) for row in rows.rows],
            TextTemplate(),
            64,
        )
        for side in ("chosen", "rejected")
    ]
    assert cuts.counts(10).tolist() == [K] * 8 + [2, 0]
    order = list(zip(cuts.pair.tolist(), cuts.tokens.tolist(), strict=True))
    assert order == sorted(set(order))
    for pair, kept in order:
        chosen, rejected = (each[pair].tokens[each[pair].response_start :] for each in sides)
        assert chosen[:kept] != rejected[:kept]
        assert kept < min(len(chosen), len(rejected))


def test_whole_responses_are_as_without_beginnings_and_old_stores_stay(store, plain):
    assert store.table.identity == plain.table.identity
    for side in ("chosen", "rejected"):
        np.testing.assert_allclose(
            getattr(store.table, side), getattr(plain.table, side), atol=1e-6
        )
    assert store.table.ids == plain.table.ids and plain.table.prefixes is None
    assert (store.manifest["prefixes"], store.manifest["prefix_seed"]) == (K, 5)
    assert [entry["prefixes"] for entry in store.manifest["shards"]] == [12, 12, 2]
    # As stores of before: no key, no file, and rows to the byte.
    assert not {"prefixes", "prefix_seed"} & plain.manifest.keys()
    assert not any("prefix" in name for name in _bytes(plain.path))
    for name, content in _bytes(plain.path).items():
        if name.endswith("rows.jsonl"):
            assert (store.path / name).read_bytes() == content
    # The same tokens run, in rows of the same shapes but for their leaves.
    assert store.manifest["tokens"] == plain.manifest["tokens"]
    assert store.manifest["flops"] == plain.manifest["flops"]


def test_cuts_depend_on_neither_shards_nor_batches_nor_other_rows(store, backbone, rows, tmp_path):
    def cuts_by_row(made, kept):
        found = made.table.prefixes
        places = zip(found.pair, found.tokens, strict=True)
        names = [(kept.rows[pair].id, int(tokens)) for pair, tokens in places]
        return dict(zip(names, np.c_[found.chosen, found.rejected], strict=True))

    whole = cuts_by_row(store, rows)
    some = RowSet(rows.rows[::-1][:7])
    other = replace(SETTINGS, token_budget=64, shard_rows=100, share_prefixes=False)
    again = cuts_by_row(extract_store(some, backbone, tmp_path / "s", settings=other), some)
    assert again.keys() == {name for name in whole if name[0] in {row.id for row in some.rows}}
    for name, features in again.items():
        np.testing.assert_allclose(features, whole[name], atol=1e-5)
    seeded = replace(SETTINGS, prefix_seed=6)
    moved = cuts_by_row(extract_store(rows, backbone, tmp_path / "t", settings=seeded), rows)
    assert moved.keys() != whole.keys()


@pytest.mark.parametrize("changes", [{"prefixes": K + 1}, {"prefix_seed": 6}, {"prefixes": 0}])
def test_other_beginnings_are_another_store(store, backbone, rows, changes):
    name, value = next(iter(changes.items()))
    now = None if value == 0 else value
    with pytest.raises(FeatureError, match=f"{name} is [35] there, {now} now"):
        extract_store(rows, backbone, store.path, settings=replace(SETTINGS, **changes))


def test_a_float16_store_has_beginnings_of_its_type(store, backbone, rows, tmp_path):
    half = replace(SETTINGS, dtype="float16", shard_rows=100)
    cuts = extract_store(rows, backbone, tmp_path / "half", settings=half).table.prefixes
    assert cuts.chosen.dtype == cuts.rejected.dtype == np.float16
    assert isinstance(cuts.chosen, np.memmap)
    np.testing.assert_allclose(cuts.chosen, store.table.prefixes.chosen, atol=2e-3)


def test_a_killed_run_and_parts_end_with_the_bytes_of_one_run(
    store, backbone, rows, tmp_path, monkeypatch
):
    parts = [
        extract_store(rows, backbone, tmp_path / "own", settings=SETTINGS, part=Part(number, 2))
        for number in range(2)
    ]
    joined = join_parts([part.path for part in parts], tmp_path / "joined")
    assert _bytes(joined.path) == _bytes(store.path)
    encode, calls = build.encode_pairs, []

    def die_at_the_second(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return encode(*arguments)

    monkeypatch.setattr(build, "encode_pairs", die_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        extract_store(rows, backbone, tmp_path / "killed", settings=SETTINGS)
    extract_store(rows, backbone, tmp_path / "killed", settings=SETTINGS)
    assert _bytes(tmp_path / "killed") == _bytes(store.path)


@pytest.mark.parametrize("name", CUT_FILES)
def test_damaged_beginnings_are_named_and_made_again(store, backbone, rows, tmp_path, name):
    out = tmp_path / "store"
    shutil.copytree(store.path, out)
    (out / f"shard-00001-{name}").write_bytes(b"damaged")
    with pytest.raises(FeatureError, match=f"shard-00001-{name} is damaged"):
        open_store(out)
    assert extract_store(rows, backbone, out, settings=SETTINGS).repaired
    assert _bytes(out) == _bytes(store.path)


def test_a_store_of_which_no_pair_can_be_cut_says_so_when_it_is_asked(backbone, tmp_path):
    rows = RowSet((PreferenceRow("a", "p", "so", "so no"), PreferenceRow("b", "p", "", "no")))
    table = extract_store(rows, backbone, tmp_path / "store", settings=SETTINGS).table
    assert table.prefixes.chosen.shape == (0, 32) and table.prefixes.counts(2).tolist() == [0, 0]
    assert open_store(tmp_path / "store").table.prefixes.tokens.shape == (0,)
    with pytest.raises(FeatureError, match="no pair could be cut"):
        prefix_pairs(table)


def test_a_model_that_sees_both_ways_has_no_beginnings(backbone, rows, tmp_path):
    class Encoder:
        causal = False

    encoder = replace(backbone, module=Encoder())
    with pytest.raises(FeatureError, match=r"prefixes=3: .* use a causal model that jax runs"):
        extract_store(rows, encoder, tmp_path / "store", settings=SETTINGS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("field", "value"), [("prefixes", -1), ("prefix_seed", -1), ("prefixes", 1.5)]
)
def test_settings_that_cannot_be_are_named(field, value):
    with pytest.raises(FeatureError, match=f"{field}={value}"):
        ExtractSettings(**{field: value})


def test_a_beginning_that_is_not_finite_is_named(backbone, rows, tmp_path, monkeypatch):
    pooled = build.pooled_features

    def spoiled(*arguments):
        found = pooled(*arguments)
        found.prefixes[1, 0] = np.nan
        return found

    monkeypatch.setattr(build, "pooled_features", spoiled)
    with pytest.raises(FeatureError, match=r"the first is row-0@\d+ \(chosen\)"):
        extract_store(rows, backbone, tmp_path / "store", settings=SETTINGS)


def test_cuts_as_pairs_share_the_weight_of_their_pair_and_its_columns(store):
    table = prefix_pairs(store.table)
    cuts = store.table.prefixes
    assert table.ids == tuple(
        f"{store.table.ids[pair]}@{kept}" for pair, kept in zip(cuts.pair, cuts.tokens, strict=True)
    )
    np.testing.assert_array_equal(table.chosen, cuts.chosen)
    total = np.bincount(cuts.pair, table.weight, minlength=10)
    np.testing.assert_allclose(total, [*store.table.weight[:9], 0], rtol=1e-6)
    np.testing.assert_array_equal(table.margin, store.table.margin[cuts.pair])
    assert table.groups == tuple(store.table.groups[pair] for pair in cuts.pair)
    assert table.prompt_hashes == tuple(store.table.prompt_hashes[pair] for pair in cuts.pair)
    assert table.identity == store.table.identity
    assert table.lengths is None and table.prefixes is None


CUTS = PairPrefixes(np.ones((3, 2)), np.zeros((3, 2)), np.array([0, 0, 2]), np.array([1, 4, 2]))
BARE = FeatureTable(np.ones((3, 2)), np.zeros((3, 2)), ids=("a", "a", "b"), prefixes=CUTS)


@pytest.mark.parametrize(
    ("columns", "groups"),
    [
        ({}, ("0", "0", "2")),  # not by id, which two pairs may share
        ({"prompt_hashes": ("p", "q", "p")}, ("p", "p", "p")),
        ({"prompt_hashes": ("p", "q", "p"), "groups": ("g", "g", "h")}, ("g", "g", "h")),
    ],
)
def test_cuts_of_pairs_without_groups_stay_together(columns, groups):
    table = prefix_pairs(BARE._replace(**columns))
    assert table.groups == groups
    assert table.weight.tolist() == [0.5, 0.5, 1] and table.margin is None


def test_a_table_without_beginnings_names_the_mend(plain):
    with pytest.raises(FeatureError, match="`coala-jax extract --prefixes K`"):
        prefix_pairs(plain.table)


def test_an_npz_keeps_beginnings_and_a_data_set_refuses_them(store, tmp_path):
    table = load_features(write_npz(tmp_path / "f.npz", store.table))
    for one, other in zip(table.prefixes, store.table.prefixes, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    pytest.importorskip("datasets")
    with pytest.raises(FeatureError, match="26 beginnings of responses have no place in a data"):
        to_dataset(store.table)
    assert len(to_dataset(store.table._replace(prefixes=None))) == 10


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("prefix_pair", None, "no prefix_pair beside the other arrays of beginnings"),
        ("prefix_pair", np.array([0, 0, 3]), "prefix_pair must be places of the 3 pairs, from 0"),
        ("prefix_pair", np.array([0.0, 1, 2]), "prefix_pair has type float64, expected int64"),
        ("prefix_tokens", np.array([1, 4]), r"prefix_tokens has shape \(2,\), expected \(3,\)"),
        ("prefix_chosen", np.ones((3, 1)), r"prefix_chosen has shape \(3, 1\), expected \(3, 2\)"),
        ("prefix_rejected", np.full((3, 2), np.nan), "holds NaN or infinity"),
    ],
)
def test_arrays_of_beginnings_that_do_not_fit_are_named(tmp_path, name, value, fault):
    path = write_npz(tmp_path / "f.npz", BARE)
    with np.load(path) as file:
        arrays = dict(file)
    if value is None:
        del arrays[name]
    else:
        arrays[name] = value
    np.savez(path, **arrays)
    with pytest.raises(FeatureError, match=fault):
        load_features(path)


def test_the_command_says_how_many_beginnings_it_kept(checkpoint, rows, tmp_path, capsys):
    from coala_jax.cli._main import main

    data = tmp_path / "rows.jsonl"
    fields = ("id", "prompt", "chosen", "rejected", "group")
    lines = [json.dumps({name: getattr(row, name) for name in fields}) for row in rows.rows]
    data.write_text("\n".join(lines))
    words = ["extract", "--model", str(checkpoint), "--data", str(data), "--prefixes", "3"]
    assert main([*words, "--out", str(tmp_path / "store"), "--prefix-seed", "5"]) == 0
    said = capsys.readouterr().out
    assert "26 beginnings of both responses, at most 3 a pair; pairs with fewer: 2" in said
    assert main([*words, "--out", str(tmp_path / "store"), "--prefix-seed", "5", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["prefixes"]
    assert counts == {"total": 26, "most": 3, "pairs_with_fewer": 2, "pairs_without": 1}
