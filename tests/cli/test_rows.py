"""Rows on the command line: formats, columns, what is set aside, data sets by name."""

import gzip
import hashlib
import json
import shutil
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from coala_jax.cli._main import main
from coala_jax.cli._parser import column_names
from coala_jax.data import read_rows
from coala_jax.features import group_table, load_features
from coala_jax.features._chat import checkpoint_chat

ROWS = [
    {"question": "the student asks", "best": "the tutor answers", "worst": "no"},
    {"question": "the tutor asks", "best": "the tutor asks: no", "worst": "the tutor asks"},
    {"question": "the student", "best": "a short answer", "worst": "a long answer"},
    {"question": "the student", "best": "same", "worst": "same"},
]
COLUMNS = "prompt=question,chosen=best,rejected=worst"


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS))
    return str(path)


def extract(checkpoint, data, out, *words):
    options = ["--model", str(checkpoint), "--pooling", "last", "--out", str(out), "--json"]
    return main(["extract", "--data", data, *options, *words])


def test_rows_set_aside_are_kept_beside_the_store(checkpoint, data, tmp_path, capsys):
    assert extract(checkpoint, data, tmp_path / "store", "--columns", COLUMNS) == 0
    result = json.loads(capsys.readouterr().out)
    rejected = tmp_path / "store.rejected_rows.jsonl"
    assert result["rows"]["rejected"] == str(rejected)
    assert result["pairs"]["total"] == 2
    kept = [json.loads(line) for line in rejected.read_text().splitlines()]
    assert [(line["line"], line["reason"]) for line in kept] == [
        (2, "prompt repeated in chosen (--strip-prompt takes it out)"),
        (4, "chosen equals rejected"),
    ]
    assert kept[0]["row"] == ROWS[1]


def test_rows_set_aside_go_where_the_caller_says(checkpoint, data, tmp_path, capsys):
    words = ["--columns", COLUMNS, "--rejected", str(tmp_path / "else" / "bad.jsonl")]
    assert extract(checkpoint, data, tmp_path / "store", *words) == 0
    assert (tmp_path / "else" / "bad.jsonl").exists()
    assert not list(tmp_path.glob("*rejected_rows.jsonl"))


def test_a_prompt_in_the_responses_is_taken_out_on_request(checkpoint, data, tmp_path, capsys):
    words = ["--columns", COLUMNS, "--strip-prompt"]
    assert extract(checkpoint, data, tmp_path / "store", *words) == 0
    result = json.loads(capsys.readouterr().out)
    # Without it the second response, which is the prompt alone, has nothing left.
    assert result["rows"]["set_aside"] == {"chosen equals rejected": 1, "empty rejected": 1}


def test_strict_stops_at_the_first_bad_row_before_anything_is_written(
    checkpoint, data, tmp_path, capsys
):
    words = ["--columns", COLUMNS, "--strict"]
    assert extract(checkpoint, data, tmp_path / "store", *words) == 2
    assert f"{data}: line 2: prompt repeated in chosen" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["rows.json"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "are those of no format"),
        (["--columns", "prompt"], "'prompt' is not a list such as prompt=question"),
        (["--columns", "prompt=q"], "has no column 'q'; it has question, best, worst"),
        (["--format", "pairs"], "invalid choice: 'pairs'"),
        (["--split", "test"], "is one file, which has none"),
    ],
)
def test_what_does_not_fit_the_rows_is_one_line(checkpoint, data, tmp_path, capsys, words, message):
    assert extract(checkpoint, data, tmp_path / "store", *words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.fixture
def helpsteer(tmp_path):
    folder = tmp_path / "helpsteer"
    folder.mkdir()
    other = dict.fromkeys(("correctness", "coherence", "complexity", "verbosity"), 1)
    lines = "".join(
        json.dumps({"prompt": f"p{i}", "response": f"r{s}", "helpfulness": s, **other}) + "\n"
        for i in range(30)
        for s in ((1, 4) if i else (2, 2))
    )
    (folder / "train.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return str(folder)


def test_a_data_set_by_name_is_split_by_prompt_and_compared_with_the_paper(
    helpsteer, tmp_path, capsys
):
    out = tmp_path / "out"
    words = ["data", "get", "helpsteer", "--from", helpsteer, "--out", str(out)]
    assert main([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((out / "dataset.json").read_text())
    assert result["pairs"]["total"] == 29
    assert result["pairs"]["difference"] == 29 - 7708
    assert result["rows"]["set_aside"] == {"tied scores": 1}
    assert result["attribute"] == "helpfulness"
    parts = [
        {json.loads(line)["prompt"] for line in (out / name).read_text().splitlines()}
        for name in ("train.jsonl", "eval.jsonl")
    ]
    assert len(parts[0] | parts[1]) == 29 and not parts[0] & parts[1] and parts[1]
    (rejected,) = map(json.loads, (out / "rejected_rows.jsonl").read_text().splitlines())
    assert rejected["reason"] == "tied scores"
    assert main(words) == 0
    assert "29 pairs, 7,679 (99.6%) fewer than the paper's 7,708" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data", "get", "imdb"], "pass download=True (--download) to fetch it"),
        (["data", "get", "mnist"], "invalid choice: 'mnist'"),
        (["data", "get", "imdb", "--attribute", "charm"], "imdb has none to choose from"),
        (["data", "get", "imdb", "--pairs", "groups"], "pairs='groups': imdb has no more than pa"),
        (["data", "get", "nectar", "--pairs", "best"], "invalid choice: 'best'"),
        (["data"], "the following arguments are required: COMMAND"),
    ],
)
def test_a_data_set_that_cannot_be_had_is_one_line(tmp_path, capsys, words, message):
    out = ["--out", str(tmp_path / "out")] if len(words) > 1 else []
    assert main([*words, *out]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_groups_of_a_data_set_are_split_by_prompt_and_extracted_as_groups(
    checkpoint, helpsteer, tmp_path, capsys
):
    out = tmp_path / "out"
    words = ["data", "get", "helpsteer", "--from", helpsteer, "--out", str(out)]
    words += ["--pairs", "groups", "--attribute", "helpfulness+verbosity"]
    assert main([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["pairs"] is None
    counts = result["groups"]
    assert (counts["total"], counts["answers"], counts["tied_pairs"]) == (29, {"2": 29}, 0)
    assert counts["train"] + counts["eval"] == 29 and counts["eval"]
    assert result["rows"]["set_aside"] == {"tied scores": 1}
    parts = [
        [json.loads(line) for line in (out / name).read_text().splitlines()]
        for name in ("train.jsonl", "eval.jsonl")
    ]
    assert [len(part) for part in parts] == [counts["train"], counts["eval"]]
    assert not {row["prompt"] for row in parts[0]} & {row["prompt"] for row in parts[1]}
    assert all(row["scores"] == [1.0, 2.5] for part in parts for row in part)
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "helpsteer: 29 groups of up to 2 answers; pairs of answers that are tied: 0" in printed
    assert f"{counts['train']} to train on, {counts['eval']} held out" in printed
    store = tmp_path / "store"
    assert extract(checkpoint, str(out / "train.jsonl"), store, "--pairs", "groups") == 0
    extracted = json.loads(capsys.readouterr().out)["groups"]
    assert extracted == {
        "total": counts["train"],
        "answers": {"2": counts["train"]},
        "tied_pairs": 0,
    }
    groups = group_table(load_features(store))
    assert groups.features.responses.shape[:2] == (counts["train"], 2)


def test_conversations_of_a_data_set_keep_their_messages_for_the_model_s_template(
    checkpoint, tmp_path, capsys
):
    def turns(*contents):
        roles = ("user", "assistant")
        return [{"role": roles[n], "content": text} for n, text in enumerate(contents)]

    rows = [
        {
            "prompt": f"ask {n}",
            "chosen": turns(f"ask {n}", "the tutor answers"),
            "rejected": turns(f"ask {n}", "no"),
            "score_chosen": 8.0,
            "score_rejected": 5.5,
        }
        for n in range(20)
    ]
    copy, out, model = tmp_path / "copy", tmp_path / "out", tmp_path / "model"
    copy.mkdir()
    (copy / "train_prefs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["data", "get", "ultrafeedback", "--from", str(copy), "--out", str(out)]) == 0
    assert json.loads((out / "dataset.json").read_text())["conversational"] is True
    first = json.loads((out / "train.jsonl").read_text().splitlines()[0])
    assert [turn["role"] for turn in first["prompt"]] == ["user"]
    assert first["margin"] == 2.5
    shutil.copytree(checkpoint, model)
    template = "{% for message in messages %}<{{ message.content }}>{% endfor %}"
    (model / "chat_template.jinja").write_text(template)
    capsys.readouterr()
    assert extract(model, str(out / "train.jsonl"), tmp_path / "store") == 0
    result = json.loads(capsys.readouterr().out)
    digest = hashlib.sha256(template.encode()).hexdigest()
    assert result["identity"]["chat_template"] == f"sha256:{digest}"
    written = read_rows(out / "train.jsonl", chat=lambda: checkpoint_chat(model)).rows
    assert result["pairs"]["total"] == len(written)
    # What a template writes before every answer is of the prompt.
    assert written[0].prompt == f"<{first['prompt'][0]['content']}><"


def test_extract_says_first_that_most_rows_are_lost(checkpoint, data, tmp_path, capsys):
    Path(data).write_text(json.dumps([*ROWS, *ROWS[3:] * 2]))
    words = ["--data", data, "--columns", COLUMNS, "--model", str(checkpoint), "--pooling", "last"]
    assert main(["extract", *words, "--out", str(tmp_path / "store")]) == 0
    printed = capsys.readouterr()
    warning = f"warning: {data}: 4 of 6 rows cannot be used: chosen equals rejected 3, prompt repe"
    assert printed.err.splitlines()[0].startswith(f"coala-jax: {warning}")
    assert printed.out.splitlines()[0].startswith(warning)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("prompt=question,chosen=best", {"prompt": "question", "chosen": "best"}),
        (
            "prompt=Question, as asked,chosen=Best answer (A=B), rejected = Worse",
            {"prompt": "Question, as asked", "chosen": "Best answer (A=B)", "rejected": "Worse"},
        ),
        (
            'prompt="Question, mode=fast",chosen="the ""best""" , rejected=c',
            {"prompt": "Question, mode=fast", "chosen": 'the "best"', "rejected": "c"},
        ),
        ("prompt=two\nlines,chosen=b", {"prompt": "two\nlines", "chosen": "b"}),
    ],
)
def test_names_of_columns_may_hold_commas(text, columns):
    assert column_names(text) == columns


@pytest.mark.parametrize("text", ["", "prompt", "prompt=", "=a", "prompt=a,prompt=b", "a,prompt=b"])
def test_what_names_no_columns_is_refused(text):
    with pytest.raises(ArgumentTypeError, match="is not a list such as prompt=question"):
        column_names(text)


def test_a_table_of_a_form_is_inspected_by_its_headers(tmp_path, capsys):
    lines = ['Timestamp,"Question, as asked",Best answer (A=B),Worse answer']
    lines += [f'now,"Why, {n}?","So, {n}.",No {n}.' for n in range(10)]
    (tmp_path / "form.csv").write_text("\n".join(lines))
    columns = "prompt=Question, as asked,chosen=Best answer (A=B),rejected=Worse answer"
    words = [str(tmp_path / "form.csv"), "--columns", columns, "--json"]
    assert main(["data", "inspect", *words]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 10
