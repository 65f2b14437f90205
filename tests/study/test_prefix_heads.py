"""Heads of beginnings of responses: solved, counted by pairs, and refused for whole responses."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace

import jax
import numpy as np
import pytest

from coala_jax import RewardModel
from coala_jax._head import HeadError
from coala_jax._head_files import load_head, save_head
from coala_jax.cli._main import main
from coala_jax.data import ResponseRow
from coala_jax.decoding import (
    GenerationConfig,
    GenerationError,
    TextRewardModel,
    guided_generate,
    rank,
    reward_function,
    score,
    token_rewards,
)
from coala_jax.features import (
    FeatureError,
    FeatureTable,
    PairPrefixes,
    prefix_pairs,
    write_npz,
)
from coala_jax.study._hold_out import hold_out
from coala_jax.study._read_pairs import SAME_BEGINNINGS, pairs_of_table
from tests.helpers import random_head

PAIRS, WIDTH = 40, 6
FAST = ["--n-gates", "3", "--ridge", "0.1", "--max-epochs", "300"]


def _table(**columns):
    """Pairs that beginnings order too, cut one to four times each; each prompt has two pairs."""
    rng = np.random.default_rng(0)
    counts = 1 + np.arange(PAIRS) % 4
    pair = np.repeat(np.arange(PAIRS), counts)
    tokens = np.concatenate([np.arange(1, count + 1) for count in counts])
    chosen, rejected = rng.normal(0.4, 1, (PAIRS, WIDTH)), rng.normal(-0.4, 1, (PAIRS, WIDTH))
    noise = rng.normal(0, 0.5, (2, len(pair), WIDTH))
    sides = (chosen[pair] + noise[0], rejected[pair] + noise[1])
    cuts = PairPrefixes(*(side.astype(np.float32) for side in sides), pair, tokens)
    return FeatureTable(
        chosen.astype(np.float32),
        rejected.astype(np.float32),
        ids=tuple(f"pair-{number}" for number in range(PAIRS)),
        prompt_hashes=tuple(f"{number // 2:064x}" for number in range(PAIRS)),
        lengths=np.full((PAIRS, 2), 9),
        prefixes=cuts,
    )._replace(**columns)


TABLE = _table()


@pytest.fixture(scope="module")
def printed():
    """What `solve --prefixes` printed, standard output and error together."""
    return io.StringIO()


@pytest.fixture(scope="module")
def solved(printed, tmp_path_factory):
    """The folder of a head of beginnings."""
    folder = tmp_path_factory.mktemp("solved")
    features = write_npz(folder / "features.npz", TABLE)
    words = ["solve", str(features), "--prefixes", "--out", str(folder / "head"), *FAST]
    with redirect_stdout(printed), redirect_stderr(printed):
        assert main(words) == 0
    return folder / "head"


def test_cuts_of_a_pair_and_pairs_of_a_prompt_are_never_split():
    pairs = pairs_of_table("t", TABLE, prefixes=True)
    whole = pairs_of_table("t", TABLE)
    assert pairs.split_by == whole.split_by == "prompt"
    assert pairs.keys == tuple(whole.keys[pair] for pair in TABLE.prefixes.pair)
    assert len(pairs.chosen) == 100 and pairs.pair_count() == PAIRS
    for seed in range(5):
        held_out = hold_out(pairs, 0.25, seed)
        assert pairs.pair_count(held_out) + pairs.pair_count(~held_out) == PAIRS
        prompts = [
            {TABLE.prompt_hashes[pair] for pair in TABLE.prefixes.pair[rows]}
            for rows in (held_out, ~held_out)
        ]
        assert not prompts[0] & prompts[1]
    assert pairs.lengths is None and whole.lengths is not None


def test_without_prompts_and_groups_pairs_are_split_and_not_their_cuts():
    pairs = pairs_of_table("t", _table(prompt_hashes=None), prefixes=True)
    assert pairs.split_by == "row"
    assert pairs.keys == tuple(map(str, TABLE.prefixes.pair))


def test_the_parts_of_a_split_need_pairs_and_not_cuts():
    cuts = TABLE.prefixes
    few = PairPrefixes(*(column[cuts.pair < 3] for column in cuts))  # six cuts of two prompts
    pairs = pairs_of_table("t", _table(prefixes=few), prefixes=True)
    with pytest.raises(FeatureError, match=r"its 3 pairs give [12] for training and [12] held out"):
        hold_out(pairs, 0.5, 0)


def test_beginnings_of_equal_features_are_left_out_and_counted():
    cuts = TABLE.prefixes
    same = cuts._replace(rejected=np.where(cuts.pair[:, None] < 2, cuts.chosen, cuts.rejected))
    pairs = pairs_of_table("t", _table(prefixes=same), prefixes=True)
    assert pairs.set_aside_counts == {SAME_BEGINNINGS: 3} and pairs.pair_count() == PAIRS - 2


def test_a_store_without_beginnings_names_the_mend(tmp_path, capsys):
    features = write_npz(tmp_path / "f.npz", TABLE._replace(prefixes=None))
    words = ["solve", str(features), "--prefixes", "--out", str(tmp_path / "head")]
    assert main(words) == 2
    assert "extract --prefixes K" in capsys.readouterr().err
    assert not (tmp_path / "head").exists()


def test_the_report_counts_pairs_and_weighs_them_equally(solved):
    report = json.loads((solved / "report.json").read_text())
    assert sum(report["pairs"].values()) == PAIRS
    assert sum(report["prefixes"].values()) == 100
    assert report["split"]["train_keys"] + report["split"]["eval_keys"] == PAIRS // 2
    assert report["baseline"]["length_accuracy"] is None
    # The head's accuracy on all cuts, every pair counting once.
    head, _ = load_head(solved)
    table = prefix_pairs(TABLE)
    right = np.asarray(head(table.chosen)) > np.asarray(head(table.rejected))
    by_pair = np.bincount(TABLE.prefixes.pair, right) / np.bincount(TABLE.prefixes.pair)
    found = sum(
        report[part]["rewards/accuracies"] * report["pairs"][part] for part in ("train", "eval")
    )
    assert by_pair.sum() == pytest.approx(found, rel=1e-5)


def test_the_summary_speaks_of_pairs_and_of_no_length_rule(solved, printed):
    said, report = printed.getvalue(), json.loads((solved / "report.json").read_text())
    train, held = report["pairs"]["train"], report["pairs"]["eval"]
    assert f"{report['prefixes']['eval']} beginnings of {held} held-out pairs ({train} t" in said
    assert "length rule" not in said
    assert f"solving on {train} pairs, {held} held out by prompt (100 beginnings of all)" in said


def test_the_head_says_what_it_scores_and_keeps_it(solved, tmp_path):
    _, metadata = load_head(solved)
    assert metadata.document["scores"] == metadata.scores == "prefix"
    RewardModel.load(solved).save(tmp_path / "copy")
    assert load_head(tmp_path / "copy")[1].scores == "prefix"


@pytest.fixture(scope="module")
def text_head(checkpoint, tmp_path_factory):
    """A head of beginnings of texts, and its backbone's folder."""
    from coala_jax.backbones import load_backbone
    from coala_jax.features._settings import ExtractSettings, feature_identity

    folder, settings = tmp_path_factory.mktemp("texts") / "head", ExtractSettings()
    backbone = load_backbone(checkpoint)
    identity = feature_identity(backbone, settings)._asdict()
    head = random_head(settings.width(backbone.config.hidden_size))
    save_head(folder, head, {"identity": identity, "scores": "prefix"})
    return folder, checkpoint


def test_what_scores_whole_responses_refuses_the_head(text_head):
    model = TextRewardModel.load(*text_head)
    assert model.scores == "prefix"
    row, refused = ResponseRow("a", "response", "the student", "asks"), "scores beginnings of resp"
    with pytest.raises(HeadError, match=refused):
        score(model, [row])
    with pytest.raises(HeadError, match=refused):
        rank(model, "the student", ["asks", "answers"])
    with pytest.raises(HeadError, match=refused):
        reward_function(model)
    with pytest.raises(GenerationError, match=refused):
        token_rewards(model, [[1, 2]], [[3]])
    with pytest.raises(GenerationError, match=refused):
        guided_generate(model, ["the"], GenerationConfig(), jax.random.key(0))
    # The same head of whole responses scores.
    assert np.isfinite(score(replace(model, scores="response"), [row]).rewards).all()
    with pytest.raises(HeadError, match="scores is 'words', expected 'response' or 'prefix'"):
        replace(model, scores="words")


@pytest.mark.parametrize("command", ["score", "rank", "explain"])
def test_the_commands_refuse_it_before_weights_are_read(text_head, tmp_path, capsys, command):
    head, checkpoint = text_head
    data = tmp_path / "rows.jsonl"
    data.write_text('{"prompt": "the", "responses": ["student", "tutor"]}\n')
    words = [command, str(head), "--model", str(checkpoint), "--data", str(data)]
    assert main([*words, "--out", str(tmp_path / "out.jsonl")]) == 2
    assert "use a head that is solved without --prefixes" in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()


def test_the_exported_module_scores_no_texts_with_it(text_head, tmp_path):
    pytest.importorskip("torch")
    from coala_jax.decoding._export_torch import export_torch
    from coala_jax.decoding._torch_reward_head import load_reward

    head, checkpoint = text_head
    export_torch(head, tmp_path)
    with pytest.raises(ValueError, match="the head scores 'prefix'"):
        load_reward(checkpoint, tmp_path)
