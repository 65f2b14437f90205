"""`coala-jax evaluate alpaca-eval`: from files to figures, faults as one line."""

import csv
import json
from contextlib import contextmanager

import numpy as np
import pytest

from coala_jax.cli import _evaluate_alpaca_eval_judge as command
from coala_jax.cli._main import main
from coala_jax.evaluation import EvaluationError, _benchmark_rows
from coala_jax.evaluation._chat import Reply
from coala_jax.evaluation.alpaca_eval import write_annotations
from tests.evaluation.alpaca_studies import annotations_of, simulated

SCORE = ["evaluate", "alpaca-eval", "score"]
JUDGE = ["evaluate", "alpaca-eval", "judge"]
COUNT = 40


def write_csv(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Annotations in another order than the set, the answers, the set, gamed rows, difficulties."""
    folder = tmp_path_factory.mktemp("alpaca-eval")
    study = simulated(COUNT, 0)
    annotations = annotations_of(study.comparison)
    order = np.random.default_rng(0).permutation(COUNT)
    shuffled = annotations._replace(rows=[annotations.rows[place] for place in order])
    write_annotations(folder / "annotations.json", shuffled)
    pairs = [row.pair for row in annotations.rows]
    for name, side, generator in (("ours", "output_2", "ours"), ("base", "output_1", "base")):
        rows = [
            {
                "instruction": pair.question.instruction,
                "output": getattr(pair, side),
                "generator": generator,
            }
            for pair in pairs
        ]
        (folder / f"{name}.json").write_text(json.dumps(rows))
    gamed = study.data.gamed
    header = ["model", "index", "preference", "std_delta_len", "instruction_difficulty"]
    rows = zip(
        np.repeat(["verbose", "concise"], COUNT),
        gamed.question,
        gamed.preference,
        gamed.length_difference,
        study.data.difficulty[gamed.question],
        ["False"] * 2 * COUNT,
        strict=True,
    )
    write_csv(folder / "df_gamed.csv", [*header, "not_gamed_baseline"], rows)
    numbered = enumerate(study.data.difficulty)
    write_csv(folder / "instruction_difficulty.csv", ["", "instruction_difficulty"], numbered)
    return folder


def test_score_gives_the_figures_and_writes_the_row(files, tmp_path, capsys):
    board = tmp_path / "board.csv"
    arguments = [
        *[str(files / "annotations.json"), "--questions", str(files / "base.json")],
        *["--gamed", str(files / "df_gamed.csv"), "--outputs", str(files / "ours.json")],
        *["--difficulty", str(files / "instruction_difficulty.csv"), "--draws", "50"],
    ]
    assert main([*SCORE, *arguments, "--out", str(board), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["model"] == "ours" and result["n_total"] == COUNT
    assert result["length_controlled"]["draws"] == 50 and result["length_adjusted"] is None
    low, high = result["length_controlled"]["interval"]
    assert low < result["length_controlled_winrate"] < high
    with board.open(newline="") as file:
        _, row = csv.reader(file)
    assert float(row[10]) == result["length_controlled_winrate"]
    assert main([*SCORE, *arguments]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "ours against base, judged by judge"
    assert shown[1].startswith("length-controlled win rate ") and " draws of 40" in shown[3]


def test_score_without_gamed_rows_says_what_cannot_be_had(files, capsys):
    assert main([*SCORE, str(files / "annotations.json"), "--draws", "20"]) == 0
    shown = capsys.readouterr()
    assert "warning: no length-controlled win rate: it needs df_gamed.csv" in shown.err
    assert "length-controlled win rate " not in shown.out
    assert "not comparable with the leaderboard's" in shown.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gamed", "df_gamed.csv"], "--gamed needs --questions FILE"),
        (["--partial"], "--partial needs --questions FILE"),
        (["--questions", "base.json", "--difficulty", "d.csv"], "--difficulty checks --gamed"),
        (["--out", "board.txt"], "a leaderboard is a .csv or a .json file"),
        (["--outputs", "base.json"], "40 of 40 answers are not those that"),
        (["--questions", "none.json"], "none.json"),
    ],
)
def test_faults_of_score_are_one_line(files, monkeypatch, capsys, options, message):
    monkeypatch.chdir(files)
    assert main([*SCORE, "annotations.json", *options]) == 2
    shown = capsys.readouterr()
    assert message in shown.err and len(shown.err.splitlines()) == 1 and not shown.out


def test_score_does_not_write_over_what_it_reads(files, capsys):
    name = str(files / "annotations.json")
    assert main([*SCORE, name, "--out", name]) == 2
    assert "is what is read" in capsys.readouterr().err


def test_no_row_of_a_leaderboard_is_written_of_a_part(files, tmp_path, capsys):
    part, board = tmp_path / "part.json", tmp_path / "board.csv"
    part.write_text(json.dumps(json.loads((files / "annotations.json").read_text())[:30]))
    options = ["--questions", str(files / "base.json"), "--partial", "--draws", "5"]
    assert main([*SCORE, str(part), *options, "--out", str(board)]) == 2
    assert (
        "30 of 40 instructions were judged, and a row of a leaderboard" in capsys.readouterr().err
    )
    assert not board.exists()
    assert main([*SCORE, str(part), *options]) == 0


@pytest.mark.parametrize("download", [False, True])
def test_a_hub_id_is_fetched_where_that_is_asked_for(files, monkeypatch, capsys, download):
    asked = []

    def opened(source, options):
        asked.append((source, options.download))
        raise EvaluationError("nothing is fetched in a test")

    monkeypatch.setattr(_benchmark_rows, "open_source", opened)
    option = ["--download"] if download else []
    base, out = str(files / "base.json"), str(files / "out.json")
    assert main([*SCORE, "them/theirs", *option]) == 2
    assert main([*JUDGE, base, "--baseline", "them/it", "--judge", "x", "--out", out, *option]) == 2
    assert asked == [("them/theirs", download), ("them/it", download)]


class LongerIsBetter:
    """A judge of our own: it likes the longer answer, and gives no log probabilities."""

    model = "stand-in"

    def __call__(self, requests):
        texts = [request.messages[-1][1] for request in requests]
        return [Reply("M" if "m" * 3001 in text.split("of M begins")[1] else "m") for text in texts]

    def account(self):
        return {"asked": 1}


class SpeaksGerman(LongerIsBetter):
    """A judge that says which is better, in its own way."""

    def __call__(self, requests):
        return [Reply("Antwort m ist besser")] * len(requests)


class SpeaksGermanAtFirst(LongerIsBetter):
    """A judge that keeps to the form after three replies."""

    def __call__(self, requests):
        return [*SpeaksGerman()(requests[:3]), *super().__call__(requests[3:])]


@pytest.fixture
def stand_in(monkeypatch):
    use(monkeypatch, LongerIsBetter())


def use(monkeypatch, judge):
    @contextmanager
    def opened(_):
        yield judge

    monkeypatch.setattr(command, "open_judge", opened)
    monkeypatch.setattr(command, "account_lines", lambda account: [str(account)])


@pytest.mark.usefixtures("stand_in")
def test_judge_writes_what_score_reads(files, tmp_path, capsys):
    out = tmp_path / "annotations.json"
    options = ["--baseline", str(files / "base.json"), "--judge", "x", "--out", str(out)]
    assert main([*JUDGE, str(files / "ours.json"), *options, "--both-orders", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (
        result["template"]["name"] == "coala-jax's own words" and result["annotator"] == "stand-in"
    )
    assert result["verdicts"]["by_text"] == result["verdicts"]["calls"] == 2 * COUNT
    rows = json.loads(out.read_text())
    for row in rows:
        longer = len(row["output_2"]) > 3000
        assert row["preference"] == (2.0 if longer else 1.5)
    assert main([*SCORE, str(out), "--outputs", str(files / "ours.json"), "--draws", "5"]) == 0
    shown = capsys.readouterr()
    assert "ours against base, judged by stand-in" in shown.out
    assert f"{COUNT} judgments were made in coala-jax's own words" in shown.err


@pytest.mark.parametrize("orders", [1, 2])
def test_a_dry_run_counts_a_call_an_order_and_writes_nothing(files, tmp_path, capsys, orders):
    cache, out = tmp_path / "said.jsonl", tmp_path / "annotations.json"
    words = ["--baseline", str(files / "base.json"), "--judge", "x", "--prices", "0", "1000000"]
    words += ["--cache", str(cache), "--out", str(out), "--dry-run", "--json"]
    words += ["--both-orders"] * (orders - 1)
    assert main([*JUDGE, str(files / "ours.json"), *words]) == 0
    found = json.loads(capsys.readouterr().out)["dry_run"]
    asked = found["requests"]
    assert asked == orders * COUNT and found["price_estimate"] == asked  # a token each
    assert found["prompt_tokens_estimate"] > 6000 * asked / 4  # both answers are 3000 long
    assert not cache.exists() and not out.exists()


@pytest.mark.usefixtures("stand_in")
def test_faults_of_judge_are_one_line(files, tmp_path, capsys):
    options = ["--baseline", str(files / "base.json"), "--judge", "x"]
    ours = str(files / "ours.json")
    assert main([*JUDGE, ours, *options, "--out", str(tmp_path / "a.txt")]) == 2
    assert "annotations are a .json file" in capsys.readouterr().err
    assert main([*JUDGE, ours, *options, "--out", ours]) == 2
    assert "is what is read" in capsys.readouterr().err
    short = tmp_path / "short.json"
    short.write_text(json.dumps(json.loads((files / "ours.json").read_text())[1:]))
    options += ["--out", str(tmp_path / "a.json")]
    assert main([*JUDGE, str(short), *options]) == 2
    assert "1 of 40 questions have no answer" in capsys.readouterr().err
    assert main([*JUDGE, str(short), *options, "--partial"]) == 0


def test_a_judge_that_keeps_to_no_form_is_said(files, tmp_path, monkeypatch, capsys):
    use(monkeypatch, SpeaksGerman())
    out = str(tmp_path / "annotations.json")
    options = ["--baseline", str(files / "base.json"), "--judge", "x", "--out", out]
    assert main([*JUDGE, str(files / "ours.json"), *options, "--cache", "said.jsonl"]) == 2
    shown = capsys.readouterr()
    assert (
        "40 of 40 replies of the judge cannot be read (a reply without a verdict: 40)" in shown.err
    )
    assert "'Antwort m ist besser'" in shown.err and not shown.out
    assert f"replies are kept in said.jsonl, the preferences that were read in {out}" in shown.err
    rows = json.loads((tmp_path / "annotations.json").read_text())
    assert [row["preference"] for row in rows] == [None] * COUNT
    assert rows[0]["raw_completion"][0]["text"] == "Antwort m ist besser"
    assert main([*SCORE, out]) == 2
    assert "none could be read" in capsys.readouterr().err


def test_a_few_replies_that_cannot_be_read_are_shown(files, tmp_path, monkeypatch, capsys):
    use(monkeypatch, SpeaksGermanAtFirst())
    out = str(tmp_path / "annotations.json")
    options = ["--baseline", str(files / "base.json"), "--judge", "x", "--out", out]
    assert main([*JUDGE, str(files / "ours.json"), *options]) == 0
    shown = capsys.readouterr().out
    assert "not read (a reply without a verdict: 3), one of them: 'Antwort m ist besser'" in shown
    assert "take a judge that keeps to the form" in shown.lower()


@pytest.mark.usefixtures("stand_in")
def test_two_models_of_one_name_are_refused_before_anything_is_asked(files, tmp_path, capsys):
    ours = tmp_path / "ours.json"
    rows = json.loads((files / "ours.json").read_text())
    ours.write_text(json.dumps([row | {"generator": "base"} for row in rows]))
    options = ["--baseline", str(files / "base.json"), "--judge", "x", "--dry-run"]
    assert main([*JUDGE, str(ours), *options, "--out", str(tmp_path / "a.json")]) == 2
    assert "generator_1 and generator_2 are both 'base', and 40 of 40" in capsys.readouterr().err
