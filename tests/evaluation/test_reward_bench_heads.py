"""RewardBench by a head on a model: texts as it knows them, killed runs, what is refused."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

import coala_jax
from coala_jax._head_files import save_head
from coala_jax.backbones import load_backbone
from coala_jax.cli._main import main
from coala_jax.data import PromptFingerprint, ResponseRow
from coala_jax.data._message import ASSISTANT, USER, Message
from coala_jax.data._split import text_sha256
from coala_jax.decoding import TextRewardModel, score
from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation.reward_bench import _rewards, model_rewards, read_reward_bench
from coala_jax.features import FeatureError
from coala_jax.features._chat import tokenizer_chat
from coala_jax.features._settings import ExtractSettings, feature_identity
from tests.helpers import random_head

TEMPLATE = (
    "{% for message in messages %}[{{ message.role }}]\n{{ message.content }}"
    "{% if message.role == 'assistant' %}<|endoftext|>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n{% endif %}"
)
ROWS = [
    {
        "id": f"{number}",
        "prompt": f"what does the tutor answer, {number}?",
        "chosen": [f"the tutor answers {number}"],
        "rejected": ["no", "the student asks", "" if number == 3 else "a"],
        "num_correct": 1,
        "total_completions": 4,
        "subset": "Focus" if number % 2 else "Math",
        "models": ["w", "x", "y", "z"],
    }
    for number in range(6)
]
TIES = [
    {**ROWS[0], "id": f"{kind}:{number}", "subset": "Ties", "prompt": f"name a number {number}"}
    | {"chosen": chosen, "rejected": ["red", "blue"], "num_correct": len(chosen)}
    | {"total_completions": len(chosen) + 2}
    for number in range(2)
    for kind, chosen in (("ref", ["1"]), ("tied", ["1", "2", "3"]))
]


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS + TIES))
    return path


@pytest.fixture(scope="module")
def plain(checkpoint):
    return load_backbone(checkpoint)


@pytest.fixture(scope="module")
def talking_folder(checkpoint, tmp_path_factory):
    folder = shutil.copytree(checkpoint, tmp_path_factory.mktemp("talking") / "model")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="module")
def talking(talking_folder):
    return load_backbone(talking_folder)


def head_on(folder, backbone, chat_template="", **account):
    settings = ExtractSettings(pooling="mean", chat_template=chat_template)
    identity = feature_identity(backbone, settings)._asdict()
    head = random_head(settings.width(backbone.config.hidden_size))
    save_head(folder, head, {"identity": identity, "params": {"beta": 1.0}, **account})
    return folder


@pytest.fixture
def model(plain, tmp_path):
    return TextRewardModel.load(head_on(tmp_path / "head", plain), plain)


def expected_scores(model, rows, texts):
    """Rewards of prompts and answers as `score` gives them, row by row."""
    return [
        tuple(
            score(
                model, [ResponseRow("r", "response", prompt, answer) for answer in answers]
            ).rewards.tolist()
        )
        for prompt, answers in map(texts, rows)
    ]


def close(scores):
    return [pytest.approx(own, abs=1e-5) for own in scores]


def test_a_head_of_texts_gets_prompts_and_answers_as_they_stand(model, data, tmp_path):
    bench = read_reward_bench(data)
    made = model_rewards(model, bench, tmp_path / "scores.jsonl")
    assert made.scores == close(
        expected_scores(model, bench.rows, lambda row: (row.prompt, row.answers))
    )
    lines = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert [(line["id"], line["subset"]) for line in lines] == [
        (row.id, row.subset) for row in bench.rows
    ]
    assert made.known_prompts is None and made.resumed == 0


@pytest.mark.parametrize("has_template", [True, False])
def test_a_head_of_conversations_gets_a_users_and_an_assistants_turn(
    talking, plain, data, tmp_path, has_template
):
    backbone = talking if has_template else plain
    chat = tokenizer_chat(backbone.tokenizer)
    model = TextRewardModel.load(head_on(tmp_path / "head", backbone, chat.name), backbone)
    assert (hashlib.sha256(TEMPLATE.encode()).hexdigest() in chat.name) == has_template

    def written(row):
        turns = [[Message(ASSISTANT, answer)] for answer in row.answers]
        texts = chat.texts([Message(USER, row.prompt)], turns)
        assert "ssistant" in texts.prompt
        return texts.prompt, texts.answers

    bench = read_reward_bench(data)
    made = model_rewards(model, bench, tmp_path / "scores.jsonl")
    assert made.scores == close(expected_scores(model, bench.rows, written))


def test_a_head_of_another_chat_template_is_refused(plain, data, tmp_path):
    head = head_on(tmp_path / "head", plain, "sha256:" + "0" * 64)
    model = TextRewardModel.load(head, plain)
    with pytest.raises(FeatureError, match="trained on conversations written by sha256:0000"):
        model_rewards(model, read_reward_bench(data), tmp_path / "scores.jsonl")
    assert not (tmp_path / "scores.jsonl.partial").exists()


def test_a_row_that_the_template_cannot_write_is_named(checkpoint, data, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "model")
    refusing = "{% if 'number' in messages[0].content %}{{ raise_exception('none') }}{% endif %}"
    (folder / "chat_template.jinja").write_text(refusing + TEMPLATE)
    backbone = load_backbone(folder)
    name = tokenizer_chat(backbone.tokenizer).name
    model = TextRewardModel.load(head_on(tmp_path / "head", backbone, name), backbone)
    with pytest.raises(EvaluationError, match="row 7: cannot be written as a conversation"):
        model_rewards(model, read_reward_bench(data), tmp_path / "scores.jsonl")


def test_a_run_that_was_killed_goes_on_and_ends_alike(model, data, tmp_path, monkeypatch):
    bench = read_reward_bench(data)
    whole = model_rewards(model, bench, tmp_path / "whole.jsonl", chunk_responses=8)
    scored = []

    def dying(model, rows, **options):
        if len(scored) == 2:
            raise KeyboardInterrupt
        scored.append(len(rows))
        return score(model, rows, **options)

    monkeypatch.setattr(_rewards, "score", dying)
    out, said = tmp_path / "scores.jsonl", []
    with pytest.raises(KeyboardInterrupt):
        model_rewards(model, bench, out, chunk_responses=8)
    assert not out.exists()
    monkeypatch.setattr(_rewards, "score", score)
    again = model_rewards(model, bench, out, chunk_responses=8, report=said.append)
    assert again.resumed == 4 and "4 rows are scored by an earlier run" in said[0]
    assert again._replace(resumed=0) == whole
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_what_an_earlier_run_left_of_other_rows_is_refused(model, data, tmp_path, monkeypatch):
    def dying(*_, **__):
        if calls:
            raise KeyboardInterrupt
        calls.append(1)
        return score(*_, **__)

    calls, out = [], tmp_path / "scores.jsonl"
    monkeypatch.setattr(_rewards, "score", dying)
    with pytest.raises(KeyboardInterrupt):
        model_rewards(model, read_reward_bench(data), out, chunk_responses=8)
    data.write_text("".join(json.dumps(row) + "\n" for row in [*ROWS[1:], *TIES]))
    with pytest.raises(FeatureError, match="an earlier run began it otherwise: rows was"):
        model_rewards(model, read_reward_bench(data), out, chunk_responses=8)


def test_prompts_of_the_training_are_counted(plain, data, tmp_path):
    known = PromptFingerprint.of_hashes([text_sha256(ROWS[2]["prompt"])])
    head = head_on(tmp_path / "head", plain, trained_on_prompts=known.text)
    model = TextRewardModel.load(head, plain)
    made = model_rewards(model, read_reward_bench(data), tmp_path / "scores.jsonl")
    assert made.known_prompts == 1


def test_a_head_of_beginnings_is_refused(plain, data, tmp_path):
    head = head_on(tmp_path / "head", plain, scores="prefix")
    model = TextRewardModel.load(head, plain)
    with pytest.raises(ValueError, match="beginnings of responses"):
        model_rewards(model, read_reward_bench(data), tmp_path / "scores.jsonl")


def test_the_command_scores_and_its_scores_give_the_same_again(
    talking_folder, talking, data, tmp_path, capsys
):
    head = head_on(tmp_path / "head", talking, tokenizer_chat(talking.tokenizer).name)
    out = tmp_path / "out"
    words = ["evaluate", "reward-bench", str(head), "--model", str(talking_folder)]
    words += ["--data", str(data), "--out", str(out)]
    assert main([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["benchmark"] == "RewardBench 2" and result["ties"] is not None
    assert result["cut"] == {"prompt": 0, "response": 0} and result["overall"] is None
    again = ["evaluate", "reward-bench", "--scores", str(out / "scores.jsonl"), "--json"]
    assert main([*again, "--data", str(data)]) == 0
    computed = json.loads(capsys.readouterr().out)
    assert computed["subsets"] == result["subsets"] and computed["ties"] == result["ties"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "Focus" in printed and f"written: {out / 'report.json'}" in printed


def test_the_embedded_backbone_runs_the_published_layout_of_rewardbench_1(tmp_path, capsys):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder = Path(coala_jax.__file__).parent / "quickstart" / "backbone"
    head = head_on(tmp_path / "head", load_backbone(folder))
    columns = ("prompt", "chosen", "chosen_model", "rejected", "rejected_model", "subset", "id")
    rows = [
        (f"Why {k}?", "Because it is so.", "x", "No." * (k + 1), "y", "hep-go", k)
        for k in range(12)
    ]
    table = pyarrow.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows])
    parquet.write_table(table, tmp_path / "filtered.parquet")
    words = ["--model", str(folder), "--data", str(tmp_path / "filtered.parquet")]
    out = tmp_path / "out"
    assert main(["evaluate", "reward-bench", str(head), *words, "--out", str(out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    lines = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    right = sum(line["scores"][0] > line["scores"][1] for line in lines)
    scored = result["subsets"]["hep-go"]
    assert scored["score"]["mean"] == pytest.approx(right / 12) and scored["rows"] == 12
    assert (scored["longer"], scored["shorter"]) == pytest.approx((5 / 12, 7 / 12))
