"""Files of Arena-Hard in and out, prompts of its judge, verdicts."""

import json
from hashlib import sha256

import pytest

from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation._chat import Reply
from coala_jax.evaluation._own_wording import OWN_WORDING, Wording
from coala_jax.evaluation._shown_answers import edited_notes
from coala_jax.evaluation.arena_hard import (
    Style,
    TokenCounter,
    answer_rows,
    judgment_rows,
    make_matches,
    read_answer_folder,
    read_answers,
    read_judgments,
    read_prompts,
    read_questions,
)
from coala_jax.evaluation.arena_hard._answers import BENCHMARK_COUNTER, styles_of
from coala_jax.evaluation.arena_hard._games import (
    VERDICTS,
    other_rows,
    requests_of,
    verdict,
)
from coala_jax.evaluation.arena_hard._judgments import shown_answers
from coala_jax.evaluation.arena_hard._style import ESTIMATE
from coala_jax.evaluation.arena_hard._unread_games import unread_games
from tests.evaluation.arena_hard_files import (
    CATEGORIES,
    judge_for,
    judgment,
    make_benchmark,
    write_rows,
)

SETTINGS = """
OG_ARENA_HARD_PROMPT = "Be a judge of hard prompts."
JUDGE_SETTINGS = {
    "hard_prompt": {"baseline": "o3-mini-2025-01-31", "system_prompt": OG_ARENA_HARD_PROMPT},
    "creative_writing": {"baseline": "g", "system_prompt": "Be a judge of tales."},
}
open("never", "w")
"""
CONFIG = """
judge_model: gpt-4.1
temperature: 0.5
max_tokens: 77
bench_name: arena-hard-v2.0
regex_patterns:
  - \\[\\[([AB<>=]+)\\]\\]
  - \\[([AB<>=]+)\\]
prompt_template: "Q {QUESTION}\\nA {ANSWER_A}\\nB {ANSWER_B}"
"""
OLD_CONFIG = """
system_prompt: "Be a judge."
prompt_template: ["{question_1} / {answer_1} / {answer_2}"]
"""


@pytest.fixture
def bench(tmp_path):
    return tmp_path, make_benchmark(tmp_path)


def matches_of(bench, prompts=None, **options):
    folder, questions = bench
    answers = read_answer_folder(folder / "model_answer")
    baselines = [answers[name].answers for name in CATEGORIES.values()]
    extra = {} if prompts is None else {"prompts": prompts}
    return make_matches(questions, answers["mine"].answers, baselines, **extra, **options)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("so [[A>B]]", "A>B"),
        ("first [[A>B]], on reflection [[b>>a]]", "B>>A"),
        ("[A=B] but [[B>A]]", "B>A"),  # double brackets first, wherever they stand
        ("my verdict: [a<<b]", "A<<B"),
        ("[[A>B]] then [[AB]]", None),
        ("[[A > B]]", None),
        ("Antwort A ist besser", None),
        ("", None),
    ],
)
def test_the_last_label_counts(text, label):
    assert verdict(text) == label


def test_labels_are_all_there_and_turn_round_with_their_sides():
    assert len(VERDICTS) == 10
    for label, (first, weight) in VERDICTS.items():
        turned = label.translate(str.maketrans("AB", "BA"))
        assert VERDICTS[turned] == (1 - first, weight)
        assert weight == (3 if len(label) == 4 else 1)


def test_questions_of_both_versions_are_read(tmp_path):
    new = write_rows(tmp_path / "new.jsonl", [{"uid": "a", "category": "math", "prompt": "1+1?"}])
    old = write_rows(
        tmp_path / "old.jsonl",
        [
            {"question_id": number, "cluster": "c", "turns": [{"content": "Why?"}]}
            for number in (7, 8)
        ],
    )
    assert read_questions(new)[0][:3] == ("a", "math", "1+1?")
    assert read_questions(old)[0][:3] == ("7", "arena-hard-v0.1", "Why?")
    twice = write_rows(tmp_path / "twice.jsonl", [{"uid": "a", "prompt": "?"}] * 2)
    with pytest.raises(EvaluationError, match=r"row 2: asks question a, as .*row 1 does; keep one"):
        read_questions(twice)
    turns = write_rows(
        tmp_path / "turns.jsonl", [{"uid": "a", "turns": [{"content": "?"}] * 2}] * 2
    )
    with pytest.raises(EvaluationError, match="2 turns"):
        read_questions(turns)


def test_answer_rows_have_the_benchmarks_fields_and_read_back(bench):
    folder, questions = bench
    row = json.loads((folder / "model_answer" / "mine.jsonl").read_text().splitlines()[0])
    assert list(row)[:6] == ["uid", "ans_id", "model", "messages", "tstamp", "metadata"]
    assert row["messages"] == [
        {"role": "user", "content": "Question 0?"},
        {"role": "assistant", "content": {"answer": "mine says **q0**."}},
    ]
    # The original's script sums every field of the metadata that is no number.
    assert all(isinstance(v, int) or sum(v.values()) >= 0 for v in row["metadata"].values())
    styled = read_answers(folder / "model_answer" / "mine.jsonl")
    assert styled.answers.by_question["q1"].text == "mine says **q1**."
    assert styled.styles["q1"] == Style(5, 0, 0, 1) and styled.counter == ESTIMATE.name
    lines = (folder / "model_answer" / "mine.jsonl").read_text().splitlines()
    assert len({json.loads(line)["ans_id"] for line in lines}) == 6
    with pytest.raises(EvaluationError, match="1 texts to 6 questions"):
        list(answer_rows(questions, ["one"], "m"))


def test_answers_of_v01_are_read(tmp_path):
    row = {
        "question_id": "a",
        "answer_id": "x",
        "model_id": "old",
        "choices": [{"index": 0, "turns": [{"content": "yes", "token_len": 1}]}],
        "conv_metadata": {
            "token_len": 1,
            "header_count": {"h1": 2},
            "list_count": {"ordered": 0, "unordered": 3},
            "bold_count": {"**": 1, "__": 0},
        },
    }
    other = row | {"question_id": "b"}
    styled = read_answers(write_rows(tmp_path / "old.jsonl", [row, other]))
    assert styled.answers.system == "old" and styled.answers.by_question["a"].text == "yes"
    assert styled.styles["a"] == Style(1, 2, 3, 1) and styled.counter == BENCHMARK_COUNTER
    del row["conv_metadata"]
    assert read_answers(write_rows(tmp_path / "bare.jsonl", [row, other])).styles is None
    row["choices"] = []
    with pytest.raises(EvaluationError, match="row 1: holds no answer"):
        read_answers(write_rows(tmp_path / "none.jsonl", [row, other]))


def test_tokens_of_all_systems_are_counted_alike(bench):
    folder, questions = bench
    path = folder / "model_answer" / "theirs.jsonl"
    rows = list(answer_rows(questions, ["x" * 40] * 6, "theirs"))
    for row in rows:
        del row["token_counter"]
        row["metadata"]["token_len"] = 5
    write_rows(path, rows)
    systems = read_answer_folder(folder / "model_answer", ["mine", "theirs"])
    alone, counter = styles_of({"theirs": systems["theirs"]})
    assert alone["theirs"]["q0"].tokens == 5 and counter == BENCHMARK_COUNTER
    both, counter = styles_of(systems)
    assert both["theirs"]["q0"].tokens == 10 and counter == ESTIMATE.name
    characters = TokenCounter("characters", lambda texts: [len(text) for text in texts])
    counted, counter = styles_of(systems, characters)
    assert counted["theirs"]["q0"].tokens == 40 and counter == "characters"


def test_a_judge_is_shown_both_orders_and_its_games_are_written(bench):
    matches = matches_of(bench)
    requests = requests_of(matches)
    assert len(requests) == 12 and requests[0].temperature == 0 and requests[0].max_tokens == 16000
    replies = judge_for("mine")(requests)
    rows = list(judgment_rows(matches, replies, judge="j", model="mine"))
    assert [game["score"] for game in rows[0]["games"]] == ["B>A", "A>B"]
    assert list(rows[0]) == [
        "uid",
        "category",
        "judge",
        "model",
        "baseline",
        "games",
        "judge_wording",
    ]
    assert rows[0]["games"][0]["prompt"][1]["role"] == "user"
    assert rows[0]["baseline"] == "o3-mini-2025-01-31"
    assert rows[1]["baseline"] == "gemini-2.0-flash-001"
    folder = bench[0]
    read = read_judgments([write_rows(folder / "j" / "mine.jsonl", rows)], bench[1])
    assert {row.labels for row in read.rows} == {("B>A", "A>B")}


def test_calls_that_fail_are_null_and_are_counted_by_why(bench):
    matches = matches_of(bench, categories=["hard_prompt"])
    replies = judge_for("mine")(requests_of(matches))
    replies[1], replies[2] = Reply(None, error="timeout"), Reply("who knows")
    replies[3] = Reply("It is [[A", finish_reason="length")
    rows = list(judgment_rows(matches, replies, judge="j", model="mine"))
    assert rows[0]["games"][1] is None and rows[1]["games"][0]["score"] is None
    assert unread_games(replies).counts == {
        "no reply": 1,
        "a reply without a verdict": 1,
        "a reply that was cut at max_tokens": 1,
    }
    assert unread_games(replies).example == "timeout"
    assert unread_games(judge_for("mine")(requests_of(matches))) == ({}, None)


@pytest.mark.parametrize("more", [-1, 1])
def test_another_number_of_replies_than_of_requests_is_an_error(bench, more):
    matches = matches_of(bench)
    replies = [Reply("[[A>B]]")] * (len(requests_of(matches)) + more)
    with pytest.raises(EvaluationError, match=f"gave {12 + more} replies to 12 requests"):
        list(judgment_rows(matches, replies, judge="j", model="mine"))


def test_rows_of_other_questions_and_models_stay(bench):
    matches = matches_of(bench, categories=["hard_prompt"])
    judged = judgment("q0", ["A>B", None], model="mine")
    others = [
        judgment("q1", ["A>B", "A>B"], model="mine", category="creative_writing"),
        judgment("q0", ["A>B", "A>B"], model="team/mine"),
    ]
    path = write_rows(bench[0] / "j" / "mine.jsonl", [judged, *others])
    assert other_rows(path, matches, "mine") == others
    assert other_rows(bench[0] / "none.jsonl", matches, "mine") == []


def test_judgments_say_whose_words_the_judge_was_told(bench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "judge_utils.py").write_text(SETTINGS)
    (tmp_path / "config.yaml").write_text(CONFIG)

    def judged(*files):
        prompts = read_prompts(files)
        matches = matches_of(bench, prompts)
        replies = judge_for("mine")(requests_of(matches_of(bench)))
        rows = judgment_rows(matches, replies, judge="j", model="mine")
        return read_judgments([write_rows(tmp_path / "j" / "mine.jsonl", rows)])

    for files in ((), ("judge_utils.py",), ("config.yaml",)):
        own = judged(*files)
        assert {row.wording.name for row in own.rows} == {OWN_WORDING}
        assert "6 judgments were made in coala-jax's own words: not comparable" in own.notes[-1]
    theirs = judged("judge_utils.py", "config.yaml")
    told = "Be a judge of tales.\0Q {QUESTION}\nA {ANSWER_A}\nB {ANSWER_B}"
    expected = Wording("judge_utils.py, config.yaml", sha256(told.encode()).hexdigest())
    tales = {row.wording for row in theirs.rows if row.category == "creative_writing"}
    assert tales == {expected} and theirs.notes == ()


def test_prompts_are_read_from_the_benchmarks_files(bench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "judge_utils.py").write_text(SETTINGS)
    (tmp_path / "config.yaml").write_text(CONFIG)
    prompts = read_prompts(["judge_utils.py", "config.yaml"])
    assert not (tmp_path / "never").exists()
    assert (prompts.temperature, prompts.max_tokens) == (0.5, 77)
    assert prompts.system_from == "judge_utils.py" and prompts.template_from == "config.yaml"
    first, second = requests_of(matches_of(bench, prompts))[:2]
    baseline = "o3-mini-2025-01-31 says **q0**."
    assert first.messages == (
        ("system", "Be a judge of hard prompts."),
        ("user", f"Q Question 0?\nA {baseline}\nB mine says **q0**."),
    )
    assert second.messages[1][1] == f"Q Question 0?\nA mine says **q0**.\nB {baseline}"
    assert first.temperature == 0.5 and first.max_tokens == 77
    tale = requests_of(matches_of(bench, prompts))[2]
    assert tale.messages[0] == ("system", "Be a judge of tales.")
    with pytest.raises(EvaluationError, match="no system prompt for math"):
        prompts.messages("math", "", "", "")


def test_prompts_of_v01_and_of_json_are_read(tmp_path):
    (tmp_path / "old.yaml").write_text(OLD_CONFIG)
    prompts = read_prompts([tmp_path / "old.yaml"])
    assert prompts.messages("arena-hard-v0.1", "q {x}", "a", "b") == (
        ("system", "Be a judge."),
        ("user", "q {x} / a / b"),
    )
    (tmp_path / "own.json").write_text(json.dumps({"system_prompt": "S"}))
    mixed = read_prompts([tmp_path / "own.json"])
    assert mixed.messages("math", "q", "a", "b")[0] == ("system", "S")
    assert mixed.template_from == OWN_WORDING


def test_words_of_our_own_show_all_parts_and_all_labels():
    prompts = read_prompts([])
    assert prompts.system_from == prompts.template_from == OWN_WORDING
    for category in (*CATEGORIES, "arena-hard-v0.1"):
        system, user = prompts.messages(category, "<q>", "<a>", "<b>")
        assert all(f"[[{label}]]" in system[1] for label in ("A>>B", "A>B", "A=B", "B>A", "B>>A"))
        assert user[1].index("<q>") < user[1].index("<a>") < user[1].index("<b>")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '{"prompt_template": "{QUESTION} {ANSWER_A}"}', "shows no {ANSWER_B}"),
        ("a.json", '{"prompt_template": "{WHO}"}', "asks for 'WHO'"),
        ("a.json", '{"system_prompt": 3}', "system_prompt is no text"),
        ("a.json", '{"system_prompt": "s", "max_tokens": "many"}', "max_tokens is 'many'"),
        ("a.json", "{}", "neither system_prompt nor prompt_template"),
        ("a.yaml", "a: [", "cannot be read as YAML"),
        ("a.yaml", "text", "fields are expected"),
        ("a.py", "x = 1", "has no JUDGE_SETTINGS"),
        ("a.py", "JUDGE_SETTINGS = make()", "JUDGE_SETTINGS cannot be read"),
        ("a.txt", "judge!", ".json, .yaml, .yml, .py are read"),
    ],
)
def test_prompts_that_cannot_be_used_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(EvaluationError, match=message):
        read_prompts([tmp_path / name])


def test_answers_that_do_not_fit_the_questions_are_named(bench):
    folder, questions = bench
    answers = read_answer_folder(folder / "model_answer")
    mine, hard = answers["mine"].answers, answers["o3-mini-2025-01-31"].answers
    with pytest.raises(EvaluationError, match="category creative_writing: its baseline is gemini"):
        make_matches(questions, mine, [hard])
    assert len(make_matches(questions, mine, [hard], categories=["hard_prompt"])) == 3
    with pytest.raises(EvaluationError, match="category math: the questions have hard_prompt"):
        make_matches(questions, mine, [hard], categories=["math"])
    custom = hard._replace(system="my-baseline")
    assert {m.baseline for m in make_matches(questions, mine, [custom])} == {"my-baseline"}
    fewer = mine._replace(by_question={"q0": mine.by_question["q0"]})
    with pytest.raises(EvaluationError, match="5 of 6 questions have no answer"):
        make_matches(questions, fewer, [custom])
    assert len(make_matches(questions, fewer, [custom], partial=True)) == 1
    with pytest.raises(EvaluationError, match="1 of 1 answers are to no question"):
        make_matches(questions[1:], fewer, [custom])
    with pytest.raises(EvaluationError, match="no answer to .*row 3"):
        make_matches(questions, mine, [fewer._replace(system="b")], categories=["hard_prompt"])


def test_judgments_of_v01_are_read(tmp_path):
    game = {"user_prompt": "shown", "judgment": "\n[[A>B]]", "score": "A>B"}
    old = {"question_id": "a", "model": "org/m", "judge": "j", "games": [game, game]}
    rows = [old, old | {"question_id": "b"}]
    row, _ = read_judgments([write_rows(tmp_path / "m.jsonl", rows)]).rows
    assert row[:5] == ("a", "arena-hard-v0.1", "j", "m", "gpt-4-0314")
    assert row.labels == ("A>B", "A>B") and row.prompts == ("shown", "shown")


def test_judgments_that_cannot_be_used_are_named(tmp_path):
    def read(*rows, questions=None):
        return read_judgments([write_rows(tmp_path / "j" / "m.jsonl", rows)], questions)

    good, next_one = (judgment(uid, ["A>B", "B>A"]) for uid in ("q0", "q1"))
    with pytest.raises(EvaluationError, match=r"row 2: judges m on q0, as .*row 1 does"):
        read(good, good)
    with pytest.raises(EvaluationError, match="row 2: hard_prompt against other"):
        read(good, judgment("q1", ["A>B", "B>A"], baseline="other"))
    with pytest.raises(EvaluationError, match="judges question q0, one of 2 that are not among"):
        read(good, next_one, questions=())
    with pytest.raises(EvaluationError, match="row 1: games is no list of two games"):
        read(good | {"games": good["games"][:1]}, next_one)
    with pytest.raises(EvaluationError, match="row 1: score is 3"):
        read(good | {"games": [{"score": 3}, None]}, next_one)
    with pytest.raises(EvaluationError, match="a judge's judgments of itself only"):
        read(*(row | {"model": "j"} for row in (good, next_one)))
    with pytest.raises(EvaluationError, match="no .jsonl file in it"):
        read_judgments([tmp_path])


def test_what_must_be_known_of_judgments_is_noted(tmp_path):
    rows = [
        judgment("q0", ["A>B", None]),
        judgment("q1", ["A>B", "AB"]),
        judgment("q2", ["A>B", "B>A"], model="j"),
        judgment("q0", ["A>B", "B>A"], model="n", baseline="o3-mini-2025-01-31"),
        judgment("q5", ["A=B", "A=B"], category="creative_writing", baseline="mine"),
    ]
    read = read_judgments([write_rows(tmp_path / "m.jsonl", rows)])
    assert [row.model for row in read.rows] == ["m", "m", "n", "m"]
    notes = "\n".join(read.notes)
    assert "1 judgments of j are left out" in notes
    assert "2 games of m have no label" in notes
    assert "creative_writing is set against mine, the benchmark's is gemini-2.0-flash-001" in notes
    assert "n is judged on 1 of 2 questions of hard_prompt" in notes
    assert list(read.sha256) == [str(tmp_path / "m.jsonl")]


def test_answers_edited_after_they_were_judged_are_noted(bench):
    folder, questions = bench
    matches = matches_of(bench)
    rows = judgment_rows(matches, judge_for("mine")(requests_of(matches)), judge="j", model="mine")
    judgments = read_judgments([write_rows(folder / "j" / "mine.jsonl", rows)])
    systems = read_answer_folder(folder / "model_answer")
    assert edited_notes(shown_answers(judgments.rows, systems)) == []
    texts = [f"mine says **{question.uid}**." for question in questions]
    texts[2] = "mine says otherwise"
    edited = answer_rows(questions, texts, "mine")
    write_rows(folder / "model_answer" / "mine.jsonl", edited)
    systems = read_answer_folder(folder / "model_answer")
    (note,) = edited_notes(shown_answers(judgments.rows, systems))
    assert note.startswith("1 answers of mine are not those") and "row 3" in note
    mine = read_answers(folder / "model_answer" / "mine.jsonl").answers
    with pytest.raises(EvaluationError, match="give the answers of another system"):
        make_matches(questions, mine, [mine])
