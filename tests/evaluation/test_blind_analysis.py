"""The analysis of a blind study: people whose preferences are known, and files with faults."""

import json
import re

import numpy as np
import pytest

from coala_jax.cli._main import main
from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation.blind import Exclusions, analyse
from coala_jax.evaluation.blind._analyse import code_sha256
from coala_jax.evaluation.blind._report import report_lines
from coala_jax.evaluation.blind._report_page import report_page
from coala_jax.evaluation.blind._submissions import record_sha256
from tests.evaluation.blind_people import Reader, hand_in, record_of, written_study

STRENGTHS = {"coala": 0.8, "dpo": 0.0, "orpo": -0.8}


def no_commitment(_):
    """Not looked at."""


def answered(folder, **options):
    """A study in which all but the last two people took part, and its files."""
    files, study = written_study(folder / "study", **options)
    for number, code in enumerate(study.page["codes"][:-2]):
        reader = Reader(study, STRENGTHS, tie=0.5, seed=number)
        hand_in(folder / "answers", record_of(study, code, reader.choice))
    return files, study, folder / "answers"


def analysed(files, answers, **options):
    return analyse(
        [answers], files.plan, files.key, committed=options.get("committed", no_commitment)
    )


def test_known_preferences_are_recovered(tmp_path):
    systems = tuple(STRENGTHS)
    files, _, answers = answered(tmp_path, systems=systems, places=62, prompts=30, items=24)
    found = analysed(files, answers).findings
    for one in found.comparisons:
        first, second = np.exp(STRENGTHS[one.first]), np.exp(STRENGTHS[one.second])
        both = 0.5 * np.sqrt(first * second)
        truth = (first + both / 2) / (first + both + second)
        assert one.win_rate.low < truth < one.win_rate.high
        assert one.win_rate.high - one.win_rate.low < 0.2
        assert one.won + one.tied + one.lost == pytest.approx(60 * 24 / 3, abs=8)
        assert one.p_holm < 0.01 and one.p_holm >= max(
            one.p_prompts, one.p_participants, one.p_two_way
        )
    for name, strength in found.davidson.strengths.items():
        assert strength.low < STRENGTHS[name] < strength.high
    assert found.davidson.tie.low < np.log(0.5) < found.davidson.tie.high
    assert found.consistent.mean == 1 and found.repeats == 120
    assert found.left.low < 0.5 < found.left.high
    assert found.seconds == (5, 5, 5)


def test_people_without_a_preference_show_none_and_do_not_agree(tmp_path):
    files, study = written_study(tmp_path / "study", places=40, prompts=12, items=12)
    for number, code in enumerate(study.page["codes"]):
        reader = Reader(study, {"coala": 0.0, "dpo": 0.0}, seed=number)
        hand_in(tmp_path / "answers", record_of(study, code, reader.choice))
    (one,) = analysed(files, tmp_path / "answers").findings.comparisons
    assert one.win_rate.low < 0.5 < one.win_rate.high and one.p_holm > 0.05
    assert one.alpha.low < 0 < one.alpha.high or abs(one.alpha.mean) < 0.05
    assert one.agreement.share == pytest.approx(0.5, abs=0.05)
    assert analysed(files, tmp_path / "answers").findings.davidson is None


def test_who_always_clicks_left_shows_as_a_side_bias_and_fails_checks(tmp_path):
    files, study = written_study(
        tmp_path / "study", exclusions=Exclusions(most_failed_checks=2), places=10
    )
    for code in study.page["codes"]:
        hand_in(tmp_path / "answers", record_of(study, code, lambda *_: "left"))
    found = analysed(files, tmp_path / "answers").findings
    assert found.left.mean == 1 and found.consistent.mean == 0
    assert found.comparisons[0].win_rate.mean == 0.5  # sides are balanced
    strict, _ = written_study(tmp_path / "strict", places=10)
    assert json.loads(strict.key.read_text())["study"] == study.page["study"]
    with pytest.raises(EvaluationError, match="nobody is left"):
        analysed(strict, tmp_path / "answers")


def set_aside(files, answers):
    return {one.name.rsplit("/")[-1]: one.reason for one in analysed(files, answers).set_aside}


def test_files_that_do_not_count_are_named_with_the_reason(tmp_path):
    files, study, answers = answered(tmp_path, places=20)
    codes = study.page["codes"]
    before = analysed(files, answers)
    reader = Reader(study, STRENGTHS)
    _, other_study = written_study(tmp_path / "other", prompts=13)
    record = record_of(study, codes[-1], reader.choice)
    hand_in(answers, {**record, "planned": record["planned"] + 1}, "edited")
    hand_in(answers, {**record_of(study, codes[0], reader.choice, begun="2026-12-01")}, "again")
    hand_in(answers, record_of(study, codes[1], Reader(study, STRENGTHS, tie=0.5, seed=1).choice),
            "copy")  # fmt: skip
    hand_in(answers, record_of(other_study, other_study.page["codes"][0],
                               Reader(other_study, STRENGTHS).choice), "foreign")  # fmt: skip
    (answers / "nonsense.json").write_text("{")
    for name, change in (("nobody", {"participant": "NOBODY"}), ("moved", {"place": 3})):
        forged = {**record, **change}
        hand_in(answers, {**forged, "sha256": record_sha256(forged)}, name)
    assert set_aside(files, answers) == {
        "edited.json": "edited",
        "again.json": "second file of a participant",
        "copy.json": "copy of another file",
        "foreign.json": "another study",
        "nonsense.json": "unreadable",
        "nobody.json": "unknown participant",
        "moved.json": "edited",
    }
    assert analysed(files, answers).findings == before.findings
    for name in ("edited", "nobody", "moved"):
        (answers / f"{name}.json").unlink()
    swapped = json.loads(json.dumps(record))
    swapped["trials"][0]["left"], swapped["trials"][0]["right"] = (
        swapped["trials"][0]["right"],
        swapped["trials"][0]["left"],
    )
    swapped["sha256"] = record_sha256(swapped)
    hand_in(answers, swapped, "swapped")
    assert set_aside(files, answers)["swapped.json"] == "edited"


def test_people_whom_the_plan_leaves_out_are_named_with_the_reason(tmp_path):
    files, study, answers = answered(tmp_path, places=20)
    incomplete, hasty = study.page["codes"][-2:]
    reader = Reader(study, STRENGTHS)
    hand_in(answers, record_of(study, incomplete, reader.choice, answered=5))
    hand_in(answers, record_of(study, hasty, reader.choice, milliseconds=400))
    careless = study.page["codes"][0]
    hand_in(answers, record_of(study, careless, lambda *_: "tie"))
    assert set_aside(files, answers) == {
        f"{incomplete}.json": "incomplete",
        f"{hasty}.json": "too fast",
        f"{careless}.json": "failed checks",
    }
    # One that is complete counts before one that is not, though that was begun first.
    hand_in(answers, record_of(study, incomplete, reader.choice, begun="2026-12-02"), "whole")
    assert set_aside(files, answers)[f"{incomplete}.json"] == "second file of a participant"


def test_the_key_is_opened_after_everything_else_is_fixed(tmp_path):
    files, _, answers = answered(tmp_path)
    key = files.key.read_text()
    files.key.unlink()  # nothing can have been read of it
    fixed = []

    def committed(commitment):
        fixed.append(commitment)
        files.key.write_text(key)

    first = analysed(files, answers, committed=committed)
    assert fixed == [first.commitment] and first.commitment.code_sha256 == code_sha256()
    assert first.changed_plan is None
    next(iter(answers.iterdir())).unlink()
    second = analysed(files, answers)
    assert second.commitment.answers_sha256 != first.commitment.answers_sha256
    assert second.commitment.plan_sha256 == first.commitment.plan_sha256


def test_a_changed_plan_is_followed_and_called_exploratory(tmp_path, capsys):
    files, _, answers = answered(tmp_path)
    made = json.loads(files.key.read_text())["plan_sha256"]
    plan = json.loads(files.plan.read_text())
    files.plan.write_text(json.dumps(plan | {"level": 0.8}))
    assert analysed(files, answers).changed_plan == made
    command = ["evaluate", "blind", "analyse", str(answers), "--plan", str(files.plan)]
    assert main([*command, "--key", str(files.key), "--out", str(tmp_path / "report")]) == 0
    printed = capsys.readouterr()
    assert "exploratory" in printed.out and "fixed before the key is opened" in printed.err
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["planned"] is False and report["planned_sha256"] == made
    page = (tmp_path / "report" / "report.html").read_text()
    assert "exploratory" in page and "coala over dpo" in page and "nan" not in page.lower()
    assert not re.search(r"""<script|(src|href)=""", page)
    text = (tmp_path / "report" / "report.md").read_text()
    assert "exploratory" in text and "[" in text and "80 %" in text


def test_a_wrong_key_is_named(tmp_path):
    files, _, answers = answered(tmp_path)
    other, other_study = written_study(tmp_path / "other", prompts=13)
    with pytest.raises(EvaluationError, match=f"is the key of study {other_study.page['study']}"):
        analyse([answers], files.plan, other.key, committed=no_commitment)
    with pytest.raises(EvaluationError, match="is no key"):
        analyse([answers], files.plan, files.plan, committed=no_commitment)
    key = json.loads(files.key.read_text())
    systems = next(iter(key["items"].values()))["systems"]
    systems.update(zip(systems, reversed(list(systems.values())), strict=True))
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(key))
    with pytest.raises(EvaluationError, match="was changed"):
        analyse([answers], files.plan, edited, committed=no_commitment)
    edited.write_text(json.dumps({**key, "secret": "zz"}))
    with pytest.raises(EvaluationError, match="a part of the key is missing"):
        analyse([answers], files.plan, edited, committed=no_commitment)
    with pytest.raises(EvaluationError, match="none holds answers"):
        analyse([answers], other.plan, other.key, committed=no_commitment)
    with pytest.raises(EvaluationError, match="no file of answers"):
        analyse([tmp_path / "nowhere"], files.plan, files.key, committed=no_commitment)


def test_the_report_has_every_figure_and_no_nan(tmp_path, capsys):
    systems = ("coala", "dpo", "orpo")
    files, _, answers = answered(tmp_path, systems=systems, places=16)
    command = ["evaluate", "blind", "analyse", str(answers), "--plan", str(files.plan)]
    assert main([*command, "--key", str(files.key), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert len(said["comparisons"]) == 3 and said["people"] == 14
    assert set(said["davidson"]["strengths"]) == set(systems)
    assert said["commitment"]["plan_sha256"] == said["planned_sha256"]
    assert len(said["files"]) == 14 and "NaN" not in json.dumps(said)


@pytest.mark.parametrize(
    ("differing", "people", "expected"),
    [
        (1, 6, r"-?\d\.\d\d \(no interval: without one of the prompts all choices would be the"),
        (0, 6, r"unknown \(all choices of prompts with two or more are the same\)"),
        (1, 1, r"unknown \(no prompt has two choices\)"),
    ],
)
def test_the_report_says_why_alpha_or_its_interval_is_not_known(
    tmp_path, differing, people, expected
):
    files, study = written_study(tmp_path / "study", prompts=6, items=6, repeats=0, checks=0)
    chosen = [item["id"] for item in study.page["items"]][:differing]
    for number, code in enumerate(study.page["codes"][:people]):
        differs = () if number else chosen
        record = record_of(
            study, code, lambda item, *_, differs=differs: "left" if item in differs else "tie"
        )
        hand_in(tmp_path / "answers", record)
    analysis = analysed(files, tmp_path / "answers")
    for shown in ("\n".join(report_lines(analysis)), report_page(analysis)):
        assert re.search(expected, shown)


def test_a_comparison_that_nobody_saw_is_unknown_and_not_zero(tmp_path, capsys):
    files, study = written_study(tmp_path / "study", systems=("coala", "dpo", "orpo"))
    reader = Reader(study, STRENGTHS)
    code = study.page["codes"][0]
    plan = json.loads(files.plan.read_text())
    plan["exclusions"]["keep_incomplete"] = True
    files.plan.write_text(json.dumps(plan))
    hand_in(tmp_path / "answers", record_of(study, code, reader.choice, answered=2))
    command = ["evaluate", "blind", "analyse", str(tmp_path / "answers"), "--plan"]
    assert main([*command, str(files.plan), "--key", str(files.key)]) == 0
    assert "unknown" in capsys.readouterr().out
