"""Data sets by name, from tiny copies of their repositories."""

import gzip
import json

import pytest

from coala_jax.data import (
    AlternatingOptions,
    DataError,
    Message,
    RowOptions,
    alternating_population,
    open_source,
    read_conversations,
    read_rows,
    require_no_leak,
    write_groups,
    write_rows,
)
from coala_jax.data._named import KNOWN_SETS, load_named, split_named
from coala_jax.data._split import text_sha256

PROMPTS = 40


def write_parquet(path, rows):
    pyarrow, parquet = map(pytest.importorskip, ("pyarrow", "pyarrow.parquet"))
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def messages(*contents):
    roles = ("user", "assistant")
    return [{"content": text, "role": role} for role, text in zip(roles, contents, strict=True)]


@pytest.fixture
def edufeedback(tmp_path):
    rows = [
        {"prompt": f"Student: {i}?\nTutor:", "chosen": f"yes {i}", "rejected": f"no {i}"}
        for i in range(PROMPTS)
    ]
    write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", rows)
    return tmp_path


@pytest.fixture
def ultrafeedback(tmp_path):
    def row(i):
        return {
            "prompt": f"question {i}",
            "prompt_id": f"{i:064x}",
            "chosen": messages(f"question {i}", "good answer"),
            "rejected": messages(f"question {i}", "good answer" if i == 3 else "bad answer"),
            "messages": messages(f"question {i}", "good answer"),
            "score_chosen": 8.5,
            "score_rejected": 8.5 if i == 1 else 7.0,
        }

    data = tmp_path / "data"
    write_parquet(data / "train_prefs-00000-of-00002.parquet", [row(i) for i in range(5)])
    write_parquet(data / "train_prefs-00001-of-00002.parquet", [row(i) for i in range(5, 20)])
    for split in ("train_sft", "test_prefs", "train_gen"):
        write_parquet(data / f"{split}-00000-of-00001.parquet", [row(99)])
    return tmp_path


@pytest.fixture
def imdb(tmp_path):
    def review(i, label):
        feeling = "splendid" if label else "dreadful"
        return {
            "text": f"Film {i} of the festival was shown to all, <br />and {feeling} it was.",
            "label": label,
        }

    rows = [review(i, 0) for i in range(20)] + [review(i, 1) for i in range(50, 71)]
    rows.append({"text": "Too short.", "label": 1})
    write_parquet(tmp_path / "plain_text" / "train-00000-of-00001.parquet", rows)
    unlabelled = [{"text": "Nobody said what this one was worth to them.", "label": -1}]
    write_parquet(tmp_path / "plain_text" / "unsupervised-00000-of-00001.parquet", unlabelled)
    return tmp_path


def rated(prompt, response, helpfulness, verbosity):
    return {
        "prompt": prompt,
        "response": response,
        "helpfulness": helpfulness,
        "correctness": 3,
        "coherence": 4,
        "complexity": 2,
        "verbosity": verbosity,
    }


@pytest.fixture
def helpsteer(tmp_path):
    rows = [
        rated("p", "middling", 2, 0),
        rated("q", "same", 3, 1),
        rated("p", "best", 4, 1),
        rated("q", "same too", 3, 4),
        rated("p", "worst", 0, 4),
        rated("alone", "only", 4, 2),
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "train.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "validation.jsonl.gz").write_bytes(gzip.compress(lines[:100].encode()))
    return tmp_path


def test_the_counts_are_the_papers():
    assert {name: known.pairs for name, known in KNOWN_SETS.items() if known.pairs} == {
        "edufeedback": 65_606,
        "ultrafeedback": 60_917,
        "imdb": 25_000,
        "helpsteer": 7_708,
    }


def test_edufeedback_is_read_as_it_is(edufeedback):
    loaded = load_named("edufeedback", edufeedback)
    assert len(loaded.row_set.rows) == PROMPTS
    assert loaded.row_set.rows[0][1:4] == ("Student: 0?\nTutor:", "yes 0", "no 0")
    assert loaded.difference == PROMPTS - 65_606
    assert loaded.check() == "40 pairs, 65,566 (99.9%) fewer than the paper's 65,606"


STRICT = [
    ["tutor", "Hello, what shall we look at?"],
    ["student", "What is a mole?"],
    ["tutor", "An amount of substance."],
    ["student", "How many is it?"],
    ["tutor", "About 6.02e23 of them."],
]
LOOSE = [
    ["Student", "Is seven prime?"],
    ["Student", "I think so."],
    ["Tutor", "It is."],
    ["Tutor", "Only one and seven divide it."],
    ["Student", "And nine?"],
    ["Tutor", "Three times three is nine."],
    ["Student", "Thanks!"],
]


@pytest.fixture
def dialogues(tmp_path):
    rows = [
        {"id": "strict", "topic": "chemistry", "utterances": STRICT},
        {"id": "loose", "topic": "numbers", "utterances": LOOSE},
        {"id": "short", "topic": "none", "utterances": STRICT[:3]},
        {"id": "odd", "topic": "none", "utterances": [["narrator", "Once."], *STRICT]},
        {"id": "broken", "topic": "none", "utterances": [["student"]]},
    ]
    write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", rows)
    return tmp_path


def test_edufeedback_s_dialogues_become_pairs_by_the_strategy_of_the_paper(dialogues):
    loaded = load_named("edufeedback", dialogues).row_set
    assert [(row.id, row.prompt, row.chosen, row.rejected) for row in loaded.rows] == [
        ("strict/1", "User: What is a mole?\nAssistant:", STRICT[2][1], STRICT[4][1]),
        (
            "strict/3",
            "User: What is a mole?\nAssistant: An amount of substance.\n"
            "User: How many is it?\nAssistant:",
            STRICT[4][1],
            STRICT[2][1],
        ),
        (
            "loose/0",
            "User: Is seven prime?\nI think so.\nAssistant:",
            "It is.\nOnly one and seven divide it.",
            "Three times three is nine.",
        ),
        (
            "loose/4",
            "User: Is seven prime?\nI think so.\nAssistant: It is.\nOnly one and seven divide it.\n"
            "User: And nine?\nAssistant:",
            "Three times three is nine.",
            "It is.\nOnly one and seven divide it.",
        ),
    ]
    assert loaded.rows[0].messages.prompt == (Message("user", "What is a mole?"),)
    assert {(row.group, row.extra["topic"]) for row in loaded.rows} == {
        ("strict", "chemistry"),
        ("loose", "numbers"),
    }
    assert loaded.set_aside_counts == {
        "left over: no immediate answer": 1,
        "left over: no other answer": 1,
        "unknown role": 1,
        "utterances holds a turn that is not a speaker and a text": 1,
    }
    with pytest.raises(DataError, match="line 4: unknown role"):  # what is left over is no fault
        load_named("edufeedback", dialogues, options=RowOptions(strict=True))


def test_edufeedback_s_pairs_are_those_of_data_alternate(dialogues, tmp_path):
    path = tmp_path / "talks.jsonl"
    lines = [{"id": "strict", "utterances": STRICT}, {"id": "loose", "utterances": LOOSE}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    talks = read_conversations(path).conversations
    made = alternating_population(talks, AlternatingOptions(last_turn="wrap", opening="drop"))
    rows = load_named("edufeedback", dialogues).row_set.rows
    assert [(row.id, row.chosen, row.rejected, row.group) for row in rows] == [
        (row.id, row.chosen, row.rejected, row.group) for row in made.rows
    ]
    assert [row.messages.prompt for row in rows] == list(made.dialogues)


def test_a_dialogue_s_pairs_are_never_split(dialogues):
    rows = load_named("edufeedback", dialogues).row_set.rows
    parts = split_named(rows, 0.5)
    assert len(parts.train) == len(parts.eval) == 2
    require_no_leak(*parts)


def test_a_set_of_neither_layout_is_an_error_that_names_both(imdb):
    with pytest.raises(
        DataError,
        match="no column utterances; miria0/EduFeedback is documented to have utterances or "
        "prompt, chosen, rejected, this has text, label",
    ):
        load_named("edufeedback", imdb / "plain_text" / "train-00000-of-00001.parquet")


def test_ultrafeedback_takes_its_preference_split_and_the_difference_of_scores(ultrafeedback):
    loaded = load_named("ultrafeedback", ultrafeedback)
    rows = loaded.row_set.rows
    assert len(rows) == 19
    assert rows[0][1:5] == (
        "User: question 0\nAssistant:",
        "good answer",
        "bad answer",
        1.5,
    )
    assert rows[1].margin == 0
    assert rows[0].extra["prompt_id"] == "0" * 64 and "messages" not in rows[0].extra
    assert loaded.row_set.set_aside_counts == {"chosen equals rejected": 1}
    assert loaded.row_set.set_aside[0].file.endswith("train_prefs-00000-of-00002.parquet")


def test_what_came_as_messages_is_written_as_messages_and_read_back_the_same(
    ultrafeedback, tmp_path
):
    rows = load_named("ultrafeedback", ultrafeedback).row_set.rows
    path = write_rows(tmp_path / "out.jsonl", rows)
    first = json.loads(path.read_text().splitlines()[0])
    assert first["prompt"] == [{"role": "user", "content": "question 0"}]
    assert first["rejected"] == [{"role": "assistant", "content": "bad answer"}]
    assert read_rows(path, RowOptions(keep_messages=True)).rows == rows


def test_imdb_pairs_a_positive_and_a_negative_review_behind_both_openings(imdb):
    loaded = load_named("imdb", imdb)
    rows = loaded.row_set.rows
    assert len(rows) == 40
    assert rows[0][1:4] == (
        "Film 50 of the festival was shown to",
        "all, <br />and splendid it was.",
        "all, <br />and dreadful it was.",
    )
    assert rows[1].prompt == "Film 0 of the festival was shown to"
    assert rows[1][2:4] == rows[0][2:4] and rows[1].group == rows[0].group
    assert loaded.row_set.set_aside_counts == {
        "a review of 8 words or fewer": 1,
        "left over: no review of the other label": 1,
    }


def test_imdb_prefers_the_positive_rest_in_every_row_and_gives_two_rows_a_pair(imdb):
    """12 500 pairs, two prompts each: positive over negative behind the opening of either."""
    rows = load_named("imdb", imdb).row_set.rows
    assert all("splendid" in row.chosen and "dreadful" in row.rejected for row in rows)
    pairs = [rows[n : n + 2] for n in range(0, len(rows), 2)]
    assert len({pair[0].group for pair in pairs}) == len(pairs) == 20
    for n, (positive, negative) in enumerate(pairs):
        assert positive[2:4] == negative[2:4]
        assert positive.prompt == f"Film {n + 50} of the festival was shown to"
        assert negative.prompt == f"Film {n} of the festival was shown to"


def test_imdb_splits_keep_both_rows_of_a_pair_together(imdb):
    parts = split_named(load_named("imdb", imdb).row_set.rows, 0.3)
    assert parts.train and parts.eval
    require_no_leak(*parts)


def test_unlabelled_reviews_are_set_aside(imdb):
    file = imdb / "plain_text" / "unsupervised-00000-of-00001.parquet"
    with pytest.raises(DataError, match="label is neither 0 nor 1: 1"):
        load_named("imdb", file)


def test_helpsteer_takes_the_best_against_the_worst_and_drops_ties(helpsteer):
    loaded = load_named("helpsteer", helpsteer)
    assert [row[1:5] for row in loaded.row_set.rows] == [("p", "best", "worst", 4.0)]
    assert loaded.attribute == "helpfulness"
    # None of that is a fault.
    strict = load_named("helpsteer", helpsteer, options=RowOptions(strict=True))
    assert strict.row_set.rows == loaded.row_set.rows
    assert loaded.row_set.set_aside_counts == {
        "left over: the only response to its prompt": 1,
        "tied scores": 1,
    }


def test_helpsteer_can_be_judged_by_another_attribute(helpsteer):
    loaded = load_named("helpsteer", helpsteer, "verbosity")
    assert [row[1:5] for row in loaded.row_set.rows] == [
        ("p", "worst", "middling", 4.0),
        ("q", "same too", "same", 3.0),
    ]


def test_helpsteer_is_judged_by_the_mean_of_several_attributes(helpsteer):
    loaded = load_named("helpsteer", helpsteer, "helpfulness+verbosity")
    assert loaded.attribute == "helpfulness+verbosity"
    assert [row[1:5] for row in loaded.row_set.rows] == [
        ("p", "best", "middling", 1.5),
        ("q", "same too", "same", 1.5),
    ]
    assert dict(loaded.row_set.rows[0].extra) == {"attribute": "helpfulness+verbosity"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"helpfulness": None}, "no helpfulness"),
        ({"helpfulness": "4"}, "helpfulness is not a number"),
        ({"response": None}, "no completion"),
        ({"prompt": None}, "no prompt"),
    ],
)
def test_a_bad_answer_of_helpsteer_is_set_aside_alone(tmp_path, change, reason):
    rows = [rated("p", "a", 1, 1), {**rated("p", "b", 2, 1), **change}, rated("p", "c", 3, 1)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = load_named("helpsteer", tmp_path).row_set
    assert [row[2:4] for row in loaded.rows] == [("c", "a")]
    assert loaded.set_aside_counts == {reason: 1}
    assert loaded.set_aside[0].content == rows[1]


GROUPS = RowOptions(pairs="groups")


def written(loaded, tmp_path):
    """What the groups of a set are written as, which is read as the same rows."""
    path = write_groups(tmp_path / "written" / "groups.jsonl", loaded.row_set.rows)
    assert read_rows(path, RowOptions(pairs="groups", keep_messages=True)).rows == (
        loaded.row_set.rows
    )
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_helpsteer_s_answers_to_a_prompt_are_groups(helpsteer, tmp_path):
    loaded = load_named("helpsteer", helpsteer, options=GROUPS)
    assert written(loaded, tmp_path) == [
        {
            "attribute": "helpfulness",
            "id": "line-1",
            "prompt": "p",
            "completions": ["middling", "best", "worst"],
            "scores": [2, 4, 0],
        }
    ]
    assert loaded.check() == "1 groups of up to 3 answers; pairs of answers that are tied: 0"
    assert (loaded.paper, loaded.difference) == (None, None)
    assert loaded.row_set.set_aside_counts == {
        "left over: the only response to its prompt": 1,
        "tied scores": 1,
    }


def answered(question, *scored, **other):
    completions = [
        {"response": text, "overall_score": one, "fine-grained_score": two, "model": "m"}
        for text, one, two in scored
    ]
    return {"source": "s", "instruction": question, "completions": completions, **other}


@pytest.fixture
def all_answers(tmp_path):
    rows = [
        answered("q 0", ("a", 8.0, 4.5), ("b", 3.0, 4.75), ("c", 8.0, 1.0), ("d", 1.0, 2.0)),
        answered("q 1", ("a", 8.0, 4.0), ("b", 8.0, 4.0)),
        answered("q 2", ("a", 8.0, 4.0)),
        answered("q 3", ("a", 8.0, 4.0), ("b", None, 3.0)),
        answered("q 4", ("a", 8.0, 4.0), ("", 5.0, 3.0)),
        answered("", ("a", 8.0, 4.0), ("b", 5.0, 3.0)),
        {**answered("q 6"), "completions": ["a", "b"]},
    ]
    folder = tmp_path / "copy"
    folder.mkdir()
    more = [answered("q 7", ("x", 1.0, 1.0), ("y", 2.0, 1.5))]
    for name, some in (("evol_instruct", rows), ("flan", more)):
        lines = "".join(json.dumps(row) + "\n" for row in some)
        (folder / f"{name}.jsonl").write_text(lines)
    return folder


def test_all_answers_of_ultrafeedback_are_groups_of_messages(all_answers, tmp_path):
    loaded = load_named("ultrafeedback", all_answers, options=GROUPS)
    first, second = written(loaded, tmp_path)
    assert first["prompt"] == [{"role": "user", "content": "q 0"}]
    assert [answer[0]["content"] for answer in first["completions"]] == ["a", "b", "c", "d"]
    assert first["scores"] == [8.0, 3.0, 8.0, 1.0]
    assert (first["source"], first["attribute"]) == ("s", "overall_score")
    assert second["scores"] == [1.0, 2.0]
    assert loaded.check() == "2 groups of up to 4 answers; pairs of answers that are tied: 1"
    assert loaded.row_set.set_aside_counts == {
        "completions is not a list of answers with their scores": 1,
        "empty instruction": 1,
        "empty response": 1,
        "fewer than two completions": 1,
        "no overall_score": 1,
        "tied scores": 1,
    }
    parts = split_named(loaded.row_set.rows, 0.5)
    require_no_leak(*parts)
    assert {row.id.split("/")[0] for row in parts.train}.isdisjoint(
        row.id.split("/")[0] for row in parts.eval
    )


def test_ultrafeedback_s_groups_can_be_judged_otherwise_and_make_all_pairs(all_answers):
    loaded = load_named("ultrafeedback", all_answers, "fine-grained_score", GROUPS)
    assert loaded.row_set.rows[0].chosen == "b" and loaded.row_set.rows[0].margin == 0.25
    loaded = load_named("ultrafeedback", all_answers, options=RowOptions(pairs="all"))
    assert loaded.check() == "6 pairs"
    with pytest.raises(DataError, match="split='train_prefs': no file of"):
        load_named("ultrafeedback", all_answers)


def test_nectar_s_ranks_are_groups(tmp_path):
    answers = [
        {"answer": f"a{n}", "model": "m", "rank": float(rank)} for n, rank in enumerate((3, 1, 2))
    ]
    row = {
        "prompt": "\n\nHuman: Why? \n\nAssistant: ",
        "answers": answers,
        "turns": 1,
        "num_responses": 3,
        "source": ["s"],
        "good_natured": True,
    }
    copy = tmp_path / "copy"
    write_parquet(copy / "data" / "rlaif.parquet", [row])
    loaded = load_named("nectar", copy, options=GROUPS)
    (line,) = written(loaded, tmp_path)
    assert line["prompt"] == "\n\nHuman: Why? \n\nAssistant:"
    assert (line["completions"], line["scores"]) == (["a0", "a1", "a2"], [-3.0, -1.0, -2.0])
    assert line["good_natured"] is True
    pair = load_named("nectar", copy)
    assert [row[2:5] for row in pair.row_set.rows] == [("a1", "a0", 2.0)]
    assert pair.check() == "1 pairs"


def test_one_file_of_a_copy_will_do(helpsteer):
    assert load_named("helpsteer", helpsteer / "train.jsonl.gz").row_set.rows


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mnist", {}, "name='mnist' must be one of edufeedback, .*, imdb, helpsteer, nectar"),
        ("helpsteer", {"attribute": "charm"}, "attribute='charm': helpsteer has helpfulness, corr"),
        ("helpsteer", {"attribute": "verbosity+verbosity"}, "verbosity': helpsteer has helpf"),
        ("helpsteer", {"attribute": "verbosity+"}, "attribute='verbosity\\+': helpsteer has help"),
        ("imdb", {"attribute": "charm"}, "imdb has none to choose from; leave it out"),
        (
            "ultrafeedback",
            {"attribute": "overall_score"},
            r"none to choose from; leave it out, or take all .* \(--pairs groups\)",
        ),
        (
            "imdb",
            {"options": RowOptions(pairs="groups")},
            "pairs='groups': imdb has no more than pairs; leave it out, or take ultrafeedback or "
            "helpsteer or nectar",
        ),
        ("edufeedback", {"options": RowOptions(pairs="all")}, "pairs='all': edufeedback has no mo"),
        (
            "ultrafeedback",
            {"options": RowOptions(pairs="groups")},
            "openbmb/UltraFeedback: no such file or folder",
        ),
        ("imdb", {}, r"stanfordnlp/imdb: no such file or folder; .* pass download=True"),
    ],
)
def test_what_cannot_be_had_is_named(name, options, message):
    with pytest.raises(DataError, match=message):
        load_named(name, **options)


def test_other_columns_than_the_documented_ones_are_an_error(edufeedback):
    with pytest.raises(DataError, match="no column text, label; stanfordnlp/imdb is documented"):
        load_named("imdb", edufeedback)


def test_splits_are_by_prompt(edufeedback):
    rows = load_named("edufeedback", edufeedback).row_set.rows
    parts = split_named(rows * 2)
    assert {text_sha256(row.prompt) for row in parts.train}.isdisjoint(
        text_sha256(row.prompt) for row in parts.eval
    )
    assert len(parts.train) + len(parts.eval) == 2 * PROMPTS


def test_reviews_whose_labels_are_classes_are_the_same_pairs(imdb, tmp_path):
    """As the hub's own files say it: 0 is neg, 1 is pos."""
    datasets = pytest.importorskip("datasets")
    plain = load_named("imdb", imdb).row_set.rows
    file = imdb / "plain_text" / "train-00000-of-00001.parquet"
    columns = {
        name: [row.fields[name] for row in open_source(file).rows] for name in ("text", "label")
    }
    classes = datasets.ClassLabel(names=["neg", "pos"])
    features = datasets.Features({"text": datasets.Value("string"), "label": classes})
    (tmp_path / "classes").mkdir()
    named = tmp_path / "classes" / "train-00000-of-00001.parquet"
    datasets.Dataset.from_dict(columns, features).to_parquet(str(named))
    assert load_named("imdb", named).row_set.rows == plain
