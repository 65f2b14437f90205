"""The card of a head: what is known, said plainly, and nothing in a text of others acts."""

import copy
import re

import pytest

from coala_jax._model_card import CARD, keeps_own_card, model_card
from coala_jax._status import Status

DIFFERENCE = {"mean": 0.05, "low": 0.01, "high": 0.09}
DOCUMENT = {
    "format": "coala-jax-head/3",
    "neurons": 3,
    "identity": {"backbone": "org/model@v1", "license": "apache-2.0", "layer": "last"},
    "features": {"source": "/home/me/secret/store", "width": 4},
    "seed": 0,
    "temperature": 1.5,
    "pairs": {"train": 80, "eval": 20},
    "split": {"by": "group", "train_keys": 40, "eval_keys": 10},
    "params": {"ridge": 0.1},
    "command": "coala-jax solve /home/me/secret/store",
    "trained_on_prompts": "AAAA",
    "result": {
        "status": "solved",
        "warnings": [],
        "phase1": {"relative_gap": 0.0016},
        "eval": {
            "rewards/accuracies": 0.71234567,
            "accuracy_interval": {"mean": 0.712, "low": 0.6, "high": 0.8},
            "calibration_error": 0.03,
        },
        "baseline": {
            "linear_probe_accuracy": 0.66,
            "head_minus_linear_probe": DIFFERENCE,
            "length_accuracy": None,
            "head_minus_length": None,
        },
    },
}
EVIL = 'x"]\n---\n# <script>alert(1)</script> [click](https://evil) `code` \x1b[31m \ud800 \u202e |'


def changed(**result):
    document = copy.deepcopy(DOCUMENT)
    document["result"].update(result)
    return document


def test_a_card_says_what_the_head_says_and_the_hub_reads_its_front_matter():
    text = model_card(DOCUMENT)
    data = pytest.importorskip("huggingface_hub").ModelCard(text).data
    assert (data.license, data.base_model) == ("apache-2.0", "org/model")
    assert data.library_name == "coala-jax"
    assert "How the solve ended" not in text
    (result,) = data.eval_results
    assert (result.metric_type, result.metric_value) == ("accuracy", 0.7123)
    assert result.dataset_name == "held-out pairs of store"
    for expected in (
        "# COALA reward head on org/model",
        "| accuracy | 0.712 \\[0.600, 0.800\\] |",
        "| accuracy of the linear probe | 0.660 |",
        "| head less that | +0.050 \\[+0.010, +0.090\\] |",
        "| certified relative gap of Phase I | 1.60e-03 |",
        "trained on: 80 pairs of 40 groups",
        "--model org/model --download",
        "hashes of the training prompts and no text",
        '"ridge": 0.1',
    ):
        assert expected in text
    assert "/home/me" not in text
    assert "What speaks against it" not in text
    assert "length" not in text  # of no rows, no rule is known


def test_what_speaks_against_a_head_is_said_before_its_figures():
    worse = {"linear_probe_accuracy": 0.8, "head_minus_linear_probe": dict(DIFFERENCE, mean=-0.1)}
    unclear = {"linear_probe_accuracy": 0.8, "head_minus_linear_probe": dict(DIFFERENCE, low=-0.1)}
    warned = changed(baseline=worse, warnings=["the linear probe orders more unseen pairs"])
    for document, expected in (
        (changed(baseline=worse), "does not beat the linear probe"),
        (changed(baseline=unclear), "Nothing shows that it beats the linear probe"),
        (warned, "the linear probe orders more unseen pairs"),
    ):
        text = model_card(document)
        assert text.index(expected) < text.index("## Results")
        assert len(re.findall("beats? the linear probe|orders more", text)) == 1


def test_a_head_without_a_network_is_called_linear_and_not_held_against_the_probe():
    unclear = {"linear_probe_accuracy": 0.8, "head_minus_linear_probe": dict(DIFFERENCE, low=-0.1)}
    text = model_card({**changed(baseline=unclear), "features": 8, "neurons": 0})
    assert "A linear reward head (8 → 1)" in text
    assert "What speaks against it" not in text
    worse = {"linear_probe_accuracy": 0.8, "head_minus_linear_probe": dict(DIFFERENCE, mean=-0.01)}
    text = model_card({**changed(baseline=worse), "features": 8, "neurons": 0})
    assert "does not beat the linear probe" in text


@pytest.mark.parametrize("status", Status)
def test_a_status_that_is_not_solved_comes_first(status):
    text = model_card(changed(status=status.name.lower()))
    behind = text.partition("# COALA")[2].split("\n\n")[1]
    assert behind.startswith(">") == (status != Status.SOLVED)
    assert ("This head is not solved" in text) == (not status.ok)


def test_a_head_of_which_little_is_known_has_a_card_that_says_no_more():
    text = model_card({"format": "coala-jax-head/3", "features": 4, "neurons": 2})
    assert not re.search(r"license|base_model|model-index|Results|apache", text)
    assert "was not judged by pairs that it was not trained on" in text
    assert "How the solve ended is not recorded" in text
    for strange in ({"result": "fine"}, {"result": {"eval": [1], "warnings": 3}, "pairs": None}):
        assert "## Limits" in model_card({"identity": {"backbone": 7}, **strange})
    # A folder called so is no repository.
    named = {**DOCUMENT, "identity": {"backbone": "gpt2"}}
    assert "base_model" not in model_card(named) and "--model BACKBONE" in model_card(named)


def test_texts_of_others_do_not_act():
    document = changed(status=EVIL, warnings=[EVIL])
    document["identity"] = dict.fromkeys(("backbone", "prompt_template", "license"), EVIL)
    document["features"]["source"] = document["split"]["by"] = EVIL
    text = model_card(document)
    text.encode()
    front, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", text, re.DOTALL).groups()
    data = pytest.importorskip("yaml").safe_load(front)
    assert data["license"].startswith('x"] --- # <script>')
    assert set(data) == {"library_name", "tags", "license", "model-index"}
    body = body.split("\n\n", 1)[1]  # behind the mark
    assert not re.search(r"(?<!\\)[<>]|(?<!\\)\[click|(?<!\\):(?=//)", body.replace("> **", ""))
    assert "\x1b" not in text and "\u202e" not in text


def test_a_readme_of_the_user_is_known_from_a_card(tmp_path):
    assert not keeps_own_card(tmp_path)
    (tmp_path / CARD).write_text(model_card(DOCUMENT))
    assert not keeps_own_card(tmp_path)
    (tmp_path / CARD).write_text("# My project")
    assert keeps_own_card(tmp_path)
