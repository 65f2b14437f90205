"""The server of a blind study: what it gives, keeps and refuses."""

import json
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from coala_jax.cli._main import main
from coala_jax.evaluation.blind import _inbox
from tests.evaluation.blind_people import Reader, record_of, written_study
from tests.evaluation.blind_server import running

STRENGTHS = {"coala": 0.8, "dpo": 0.0}


@pytest.fixture
def study(tmp_path):
    return written_study(tmp_path / "study", places=6)


def record(study, number=0, **options):
    return record_of(study, study.page["codes"][number], Reader(study, STRENGTHS).choice, **options)


def test_the_page_is_given_as_it_is_and_answers_are_kept_as_they_came(study, tmp_path):
    files, made = study
    with running(files.page, tmp_path / "answers") as server:
        status, headers, body = server.ask("GET", "/")
        assert status == 200 and body == files.page.read_bytes()
        assert headers["content-type"].startswith("text/html")
        sent = record(made)
        status, _, body = server.ask("POST", "/answers", sent)
        assert status == 201 and json.loads(body) == {"number": 1, "new": True}
        (kept,) = (tmp_path / "answers").iterdir()
        assert kept.name == f"{sent['participant']}.json"
        assert kept.read_text() == json.dumps(sent, indent=1)


def test_nothing_is_overwritten_and_the_same_file_is_kept_once(study, tmp_path):
    files, made = study
    first, second = record(made), record(made, begun="2026-12-01")
    with running(files.page, tmp_path / "answers") as server:
        said = [server.ask("POST", "/answers", sent)[0] for sent in (first, first, second, second)]
        assert said == [201, 200, 201, 200]
    with running(files.page, tmp_path / "answers") as server:  # goes on in the same folder
        assert server.ask("POST", "/answers", first)[0] == 200
    names = sorted(file.name for file in (tmp_path / "answers").iterdir())
    code = first["participant"]
    assert names == [f"{code}.2.json", f"{code}.json"]
    assert json.loads((tmp_path / "answers" / f"{code}.json").read_text()) == first


def test_what_is_no_answer_to_this_study_is_refused(study, tmp_path):
    files, made = study
    _, other = written_study(tmp_path / "other", prompts=13)
    sent = record(made)
    with running(files.page, tmp_path / "answers") as server:
        for body in (
            b"{",
            b"[]",
            record(other),
            {**sent, "planned": 99},
            {**sent, "participant": "../../etc/x"},
        ):
            status, _, said = server.ask("POST", "/answers", body)
            assert status == 400 and json.loads(said)["error"]["code"] == "broken_answers"
        assert server.ask("POST", "/answers", b"{}", Content_Length=str(2**21))[0] == 413
        assert server.ask("POST", "/answers", sent, Content_Type="text/plain")[0] == 415
        assert server.ask("GET", "/key.json")[0] == 404
        assert server.ask("GET", "/answers")[0] == 405
    assert not list((tmp_path / "answers").iterdir())


def test_other_names_and_pages_are_refused(study, tmp_path):
    files, made = study
    sent = record(made)
    with running(files.page, tmp_path / "answers") as server:
        assert server.ask("GET", "/", Host="evil.example")[0] == 403
        assert server.ask("POST", "/answers", sent, Origin="https://evil.example")[0] == 403
        assert server.ask("POST", "/answers", sent, Origin=server.url.rstrip("/"))[0] == 201
        assert all(str(sent["trials"][0]["item"]) not in line for line in server.log)


def test_a_flood_fills_no_disk(study, tmp_path, monkeypatch):
    monkeypatch.setattr(_inbox, "MOST_OF_ONE", 2)
    files, made = study
    with running(files.page, tmp_path / "answers") as server:
        said = [
            server.ask("POST", "/answers", record(made, begun=f"2026-12-0{day}"))[0]
            for day in (1, 2, 3)
        ]
    assert said == [201, 201, 429]


def test_codes_that_people_bring_name_no_other_file(tmp_path):
    files, made = written_study(tmp_path / "study", any_code=True)
    with running(files.page, tmp_path / "answers") as server:
        for code in ("../x", "a/b", "", "x" * 65, "a.b", "é"):
            sent = record_of(made, code, Reader(made, STRENGTHS).choice)
            assert server.ask("POST", "/answers", sent)[0] == 400
        sent = record_of(made, "5f0c-Pro_lific", Reader(made, STRENGTHS).choice)
        assert server.ask("POST", "/answers", sent)[0] == 201
    assert [file.name for file in (tmp_path / "answers").iterdir()] == ["5f0c-Pro_lific.json"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_stopped(study, tmp_path, number):
    files, made = study
    command = [sys.executable, "-m", "coala_jax.cli._main", "evaluate", "blind", "serve"]
    with subprocess.Popen(
        [*command, str(files.page), "--out", str(tmp_path / "answers"), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        line = process.stdout.readline()
        found = re.fullmatch(rf"study {made.page['study']} at (http://127.0.0.1:\d+/), .*\n", line)
        with urllib.request.urlopen(found.group(1)) as answer:
            assert answer.read() == files.page.read_bytes()
        assert (tmp_path / "answers.lock").exists()  # one server a folder
        process.send_signal(number)
        assert process.wait(30) == 0
        assert re.fullmatch(r"coala-jax: GET / 200 [\d.]+s\n", process.stderr.read())
    assert not (tmp_path / "answers.lock").exists()


def test_what_cannot_be_served_is_named(study, tmp_path, capsys):
    files, _ = study
    command = ["evaluate", "blind", "serve", "--out", str(tmp_path / "answers")]
    assert main([*command, str(files.plan)]) == 2
    assert "is no page of a study" in capsys.readouterr().err
    assert main([*command, str(files.page), "--port", "70000"]) == 2
    assert "at most 65535" in capsys.readouterr().err
