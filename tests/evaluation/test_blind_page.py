"""The page of a blind study in a real browser: people of several kinds take part."""

import json
import re
import time
from contextlib import contextmanager
from urllib.parse import quote

import numpy as np
import pytest

from coala_jax.evaluation.blind import Exclusions, analyse
from coala_jax.evaluation.blind._coding import place_of
from coala_jax.evaluation.blind._submissions import parse_submission
from tests.evaluation.blind_people import Reader, written_study
from tests.evaluation.blind_server import running
from tests.evaluation.browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")

PHONE, DESKTOP = (360, 740), (1280, 800)
NUMBERS = {"left": "1", "tie": "2", "right": "3"}
HASTY = Exclusions(fewest_seconds=0.0)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = Browser(tmp_path_factory.mktemp("browser"))
    yield found
    found.close()


@contextmanager
def a_device(browser):
    """What one device keeps is its own."""
    context = browser.new_context()
    yield context
    browser.call("Target.disposeBrowserContext", browserContextId=context)


def wait_for(tab, script, seconds=30):
    ends = time.monotonic() + seconds
    while not tab.run(script):
        assert time.monotonic() < ends, f"waited for {script}"
        time.sleep(0.02)


def shown(tab, name):
    return tab.run(f"!document.getElementById('{name}').hidden")


def enter(tab, code, *, keyboard=False):
    if keyboard:  # the code is the first thing to be reached behind the heading
        tab.press("Tab")
        tab.type(code)
        tab.press("Tab")
        tab.press(" ")
        tab.press("Enter")
    else:
        tab.click("#code")
        tab.type(code)
        tab.click("#agree")
        tab.click("#enter button")
    wait_for(tab, "document.getElementById('start').hidden")


def codes_on_screen(tab, study):
    """The codes of the item and the answers that are to be seen."""
    prompt, left, right = (
        tab.run(f"document.getElementById('{name}').textContent")
        for name in ("prompt", "left", "right")
    )
    (item,) = (
        item
        for item in study.page["items"]
        if item["prompt"] == prompt and {left, right} <= set(item["texts"])
    )
    code = dict(zip(item["texts"], item["codes"], strict=True))
    return item["id"], code[left], code[right]


def judge(tab, study, reader, *, keyboard=False, pairs=None):
    """Answer the pairs that are left, or some of them."""
    if not keyboard:
        tab.click("#go")
    else:
        tab.press("Tab")
        tab.press("Enter")
    answered = 0
    while shown(tab, "judge") and answered != pairs:
        choice = reader.choice(*codes_on_screen(tab, study))
        if keyboard:
            arrow = {"left": "ArrowLeft", "right": "ArrowRight"}.get(choice)
            tab.press(arrow if arrow and answered % 2 else NUMBERS[choice])
            tab.press("Enter")
        else:
            tab.click(f"input[value={choice}]")
            tab.click("#next")
        answered += 1
    return answered


@pytest.mark.slow
def test_known_preferences_of_people_of_all_kinds_are_recovered(browser, tmp_path):
    strengths = {"coala": 1.2, "dpo": 0.0, "orpo": -1.2}
    files, study = written_study(
        tmp_path / "study", systems=tuple(strengths), places=12, prompts=15, items=15,
        exclusions=HASTY,
    )  # fmt: skip
    answers = tmp_path / "answers"
    said = {}
    with running(files.page, answers) as server:
        for number, code in enumerate(study.page["codes"]):
            keyboard, size = number % 3 == 1, PHONE if number % 3 == 2 else DESKTOP
            reader = Reader(study, strengths, tie=0.5, seed=number)
            with a_device(browser) as device:
                tab = browser.open(server.url, *size, device)
                enter(tab, code.lower(), keyboard=keyboard)
                if number == 3:  # closes the tab in the middle and comes back
                    judge(tab, study, reader, pairs=7)
                    tab.close()
                    tab = browser.open(server.url, *size, device)
                    enter(tab, code)
                    assert "7 of 19 pairs" in tab.text("#resumed")
                judge(tab, study, reader, keyboard=keyboard)
                wait_for(tab, "document.getElementById('sent').textContent.includes('received')")
                assert tab.run("document.documentElement.scrollWidth") <= size[0]
                tab.close()
            said[code] = reader
        with a_device(browser) as device:  # one of them once more, on another device
            tab = browser.open(server.url, *DESKTOP, device)
            enter(tab, study.page["codes"][0])
            judge(tab, study, Reader(study, {name: -s for name, s in strengths.items()}))
            wait_for(tab, "document.getElementById('sent').textContent.includes('received')")
            tab.close()
    assert len(list(answers.iterdir())) == 13
    found = analyse([answers], files.plan, files.key, committed=lambda _: None)
    assert found.people == 12
    assert [one.reason for one in found.set_aside] == ["second file of a participant"]
    assert found.findings.consistent.mean == 1
    assert sum(one.won + one.tied + one.lost for one in found.findings.comparisons) == 12 * 15
    fit = found.findings.davidson
    for name, truth in strengths.items():
        assert fit.strengths[name].low < truth < fit.strengths[name].high
    assert fit.strengths["coala"].low > fit.strengths["orpo"].high
    # Every single choice is the one that the reader made.
    for file in answers.glob("??????.json"):
        one = parse_submission(file.read_bytes(), file.name, study.page["study"])
        reader = said[one.participant]
        assert all(t.choice == reader.choice(t.item, t.left, t.right) for t in one.trials)
        place = study.key["places"][study.page["codes"].index(one.participant)]
        assert [[t.item, t.left, t.right] for t in one.trials] == place


def test_a_page_from_a_file_keeps_everything_and_saves_the_answers(browser, tmp_path):
    files, study = written_study(tmp_path / "study", exclusions=HASTY, places=4)
    code, url = study.page["codes"][1], files.page.as_uri()
    reader = Reader(study, {"coala": 0.0, "dpo": 0.0}, tie=1.0)
    with a_device(browser) as device:
        browser.call(
            "Browser.setDownloadBehavior",
            behavior="allow", downloadPath=str(tmp_path / "saved"), browserContextId=device,
        )  # fmt: skip
        tab = browser.open(url, *DESKTOP, device)
        enter(tab, code)
        judge(tab, study, reader, pairs=3)
        tab.press("1")  # chosen, not yet confirmed: it is not an answer
        tab.close()
        tab = browser.open(url, *DESKTOP, device)
        enter(tab, code)
        assert "3 of 12 pairs" in tab.text("#resumed")
        judge(tab, study, reader, pairs=9)
        assert shown(tab, "end") and "Save the file" in tab.text("#sent")
        tab.click("#file")
        saved = tmp_path / "saved" / f"answers-{code}.json"
        ends = time.monotonic() + 20
        while not saved.exists() and time.monotonic() < ends:
            time.sleep(0.05)
        submission = parse_submission(saved.read_bytes(), "saved", study.page["study"])
        assert submission.complete and len(submission.trials) == 12
        assert json.loads(saved.read_text())["sha256"].startswith(tab.text("#check"))
        tab.go(url)  # whoever comes again gets the same file, not another try
        enter(tab, code)
        assert shown(tab, "end") and "that was all" in tab.text("#thanks")
        tab.close()


def test_a_browser_that_keeps_nothing_is_told_of(browser, tmp_path):
    files, study = written_study(tmp_path / "study", places=4)
    with a_device(browser) as device:
        tab = browser.open(files.page.as_uri(), *DESKTOP, device)
        assert not tab.run("document.getElementById('storage-fault').checkVisibility()")
        tab.run("Storage.prototype.setItem = () => { throw new Error('full'); }")
        enter(tab, study.page["codes"][0])
        assert tab.run("document.getElementById('storage-fault').checkVisibility()")
        judge(tab, study, Reader(study, {"coala": 0.0, "dpo": 0.0}))
        assert shown(tab, "end")
        tab.close()


def test_who_stops_keeps_what_was_answered(browser, tmp_path):
    files, study = written_study(tmp_path / "study", exclusions=HASTY, places=4)
    with running(files.page, tmp_path / "answers") as server, a_device(browser) as device:
        tab = browser.open(server.url, *PHONE, device)
        enter(tab, study.page["codes"][0])
        judge(tab, study, Reader(study, {"coala": 0.0, "dpo": 0.0}), pairs=2)
        tab.click("#stop")
        tab.click("#stop-no")
        assert shown(tab, "judge")
        tab.click("#stop")
        tab.click("#stop-yes")
        wait_for(tab, "document.getElementById('sent').textContent.includes('received')")
        assert "stopped" in tab.text("#thanks")
        tab.close()
    (file,) = (tmp_path / "answers").iterdir()
    one = parse_submission(file.read_bytes(), "x", study.page["study"])
    assert not one.complete and len(one.trials) == 2


def test_the_way_in_says_what_is_missing(browser, tmp_path):
    files, study = written_study(tmp_path / "study", places=4)
    with a_device(browser) as device:
        tab = browser.open(files.page.as_uri(), *PHONE, device)
        tab.click("#enter button")
        assert "participant code" in tab.text("#enter-fault")
        assert tab.run("document.activeElement.id") == "code"
        tab.type("WRONG1")
        tab.press("Enter")
        assert "not one of this study" in tab.text("#enter-fault")
        tab.run("document.getElementById('code').value = ''")
        tab.type(study.page["codes"][0])
        tab.press("Enter")
        assert "tick the box" in tab.text("#enter-fault")
        assert tab.run("document.activeElement.id") == "agree" and shown(tab, "start")
        tab.close()


def test_codes_of_prolific_are_taken_from_the_address_and_give_the_same_place(browser, tmp_path):
    completion = "https://app.prolific.com/submissions/complete?cc=C0DE"
    files, study = written_study(
        tmp_path / "study", places=7, any_code=True, completion_url=completion, exclusions=HASTY
    )
    url = files.page.as_uri()
    with a_device(browser) as device:
        for length in (1, 24, 37, 38, 39, 46, 47, 48, 64):  # around a block of SHA-256
            code = "5f0c-Pro_lific" * 5
            code = code[:length]
            tab = browser.open(f"{url}?PROLIFIC_PID={code}&STUDY_ID=s1&SESSION_ID={quote('<x>')}",
                               *DESKTOP, device)  # fmt: skip
            assert tab.run("document.getElementById('code').value") == code
            tab.click("#agree")
            tab.click("#enter button")
            kept = tab.run(f"localStorage.getItem('blind-study:{study.page['study']}:{code}')")
            kept = json.loads(kept)
            assert kept["place"] == place_of(study.page["study"], code, [], 7)
            assert kept["parameters"] == {"STUDY_ID": "s1"}
            if length < 64:
                tab.close()
        judge(tab, study, Reader(study, {"coala": 0.0, "dpo": 0.0}))
        assert tab.run("document.getElementById('return').href") == completion
        assert shown(tab, "return")
        tab.close()


def test_two_tabs_of_one_person_are_one_run(browser, tmp_path):
    files, study = written_study(tmp_path / "study", places=4)
    reader = Reader(study, {"coala": 0.0, "dpo": 0.0})
    with a_device(browser) as device:
        one, other = (browser.open(files.page.as_uri(), *DESKTOP, device) for _ in range(2))
        for tab in (one, other):
            enter(tab, study.page["codes"][0])
        judge(one, study, reader, pairs=2)
        other.click("#go")
        wait_for(other, "document.getElementById('place').textContent.startsWith('Pair 3')")
        one.close()
        other.close()


@pytest.mark.slow
def test_answers_that_cannot_be_sent_are_kept_and_sent_again(browser, tmp_path):
    files, study = written_study(tmp_path / "study", places=4, exclusions=HASTY)
    with running(files.page, tmp_path / "answers") as server, a_device(browser) as device:
        tab = browser.open(server.url, *DESKTOP, device)
        enter(tab, study.page["codes"][0])
        tab.call("Network.enable")
        tab.call("Network.setBlockedURLs", urls=["*answers*"])
        judge(tab, study, Reader(study, {"coala": 0.0, "dpo": 0.0}))
        wait_for(tab, "document.getElementById('sent').textContent.includes('could not')")
        assert shown(tab, "file") and shown(tab, "again")
        tab.call("Network.setBlockedURLs", urls=[])
        tab.click("#again")
        wait_for(tab, "document.getElementById('sent').textContent.includes('received')")
        assert not shown(tab, "again")
        tab.close()
    assert len(list((tmp_path / "answers").iterdir())) == 1


def luminance(colour):
    parts = np.array([int(part) for part in re.findall(r"\d+", colour)[:3]]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(tab, css):
    ink, paper = tab.run(
        f"(() => {{ let e = document.querySelector('{css}'); const ink = getComputedStyle(e).color;"
        "let paper; do { paper = getComputedStyle(e).backgroundColor; e = e.parentElement; } "
        "while (e && paper === 'rgba(0, 0, 0, 0)'); return [ink, paper]; })()"
    )
    light, dark = sorted((luminance(ink), luminance(paper)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_page_can_be_read_and_touched_by_everyone(browser, tmp_path):
    files, study = written_study(tmp_path / "study", places=4)
    with a_device(browser) as device:
        tab = browser.open(files.page.as_uri(), *PHONE, device)
        assert tab.run("[...document.querySelectorAll('input')].every(e => e.labels.length)")
        enter(tab, study.page["codes"][0])
        tab.click("#go")
        assert tab.run("document.activeElement.id") == "place"  # who listens hears where they are
        assert tab.text("#said") == "Pair 1 of 12"
        assert tab.run("document.querySelector('#said').getAttribute('aria-live')") == "polite"
        assert tab.run("document.documentElement.scrollWidth") <= PHONE[0]
        for css in (".choices label", "#next", "#stop"):
            box = tab.run(f"(() => {{ const r = document.querySelector('{css}')"
                          ".getBoundingClientRect(); return [r.width, r.height]; })()")  # fmt: skip
            assert min(box) >= 44, css
        bar = tab.run("document.getElementById('choose').getBoundingClientRect().toJSON()")
        assert bar["bottom"] <= PHONE[1] + 1 and bar["height"] < 0.3 * PHONE[1]
        for scheme in ("light", "dark"):
            tab.media(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
            for css in ("#prompt", "#left", "#place", ".choices span", "#next", "#stop", "legend"):
                assert contrast(tab, css) >= 4.5, (scheme, css)
            assert tab.run(
                "getComputedStyle(document.querySelector('.choices span')).transitionDuration"
            ) in ("0s", "")
        tab.close()
