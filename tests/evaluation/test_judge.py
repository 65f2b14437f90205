"""A judge asks, waits, gives up and keeps what it was told, whatever the endpoint does."""

import json
import os
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace

import pytest

from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation._chat import ChatRequest, Reply
from coala_jax.evaluation.judge import JudgeSettings, Prices, _endpoint, _pace, open_judge
from coala_jax.evaluation.judge._faults import _wait, status_fault
from coala_jax.evaluation.judge._pace import Pace
from coala_jax.evaluation.judge._settings import shown_url
from coala_jax.evaluation.judge._verdicts import CUT, token_verdict
from tests.evaluation.stand_in_judge import Cut, Drips, Fails, Raw, Says, question_of, standing_in

KEY = "sk-secret-0123456789"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Waits of a hundredth of a second, and no key or address of the user's."""
    monkeypatch.setattr(_endpoint, "FIRST_WAIT", 0.01)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def request(text, **fields):
    return ChatRequest((("user", text),), **{"max_tokens": 5, **fields})


def requests(count):
    return [request(f"question {number}") for number in range(count)]


@pytest.fixture
def ask(tmp_path):
    """Ask a stand-in: ``ask(stand_in, requests, **settings)`` gives replies and the account."""

    def asked(stand_in, each, prices=None, **settings):
        settings = JudgeSettings(**{"model": "m", "base_url": stand_in.url, **settings})
        with open_judge(settings, tmp_path / "replies.jsonl", print, prices) as judge:
            return judge(each), judge.account()

    return asked


def echo(body, _):
    return Says(f"re: {question_of(body)}")


def first_then(first):
    """A script: the first request meets one thing, later ones are answered."""
    return lambda body, number: first if number == 1 else Says("fine")


def test_replies_come_in_the_order_of_requests_and_equal_ones_are_asked_once(ask):
    each = [*requests(20), *requests(20), request("question 3", temperature=0.5)]
    with standing_in(lambda body, n: Says(f"re: {question_of(body)}", after=0.01)) as judge:
        replies, account = ask(judge, each, Prices(2.0, 10.0), parallel=5)
    assert [reply.text for reply in replies] == [f"re: {one.messages[0][1]}" for one in each]
    assert len(judge.asked) == 21 and 1 < judge.most_at_once <= 5
    assert (account["requests"], account["distinct"], account["asked"]) == (41, 21, 21)
    assert (account["prompt_tokens"], account["completion_tokens"]) == (210, 42)
    assert account["price"] == pytest.approx((210 * 2 + 42 * 10) / 1e6)


def test_a_request_says_what_the_chat_request_says(ask):
    asked = ChatRequest((("system", "be fair"), ("user", "{who} is 'better'?")), 7, 0.5, 4)
    with standing_in(echo) as judge:
        ask(judge, [asked])
    assert judge.asked == [
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "be fair"},
                {"role": "user", "content": "{who} is 'better'?"},
            ],
            "max_tokens": 7,
            "temperature": 0.5,
            "logprobs": True,
            "top_logprobs": 4,
        }
    ]


def test_a_reply_is_cut_where_more_than_the_token_that_decides_was_asked_for(ask):
    def cut(body, _):
        return Says("Well", finish="length", probabilities={"Well": 0.9})

    each = [request("question", max_tokens=1, top_logprobs=5), request("question", max_tokens=1)]
    with standing_in(cut) as judge:
        for settings, ends in (({}, [None, "length"]), ({"max_tokens": 9}, ["length"] * 2)):
            replies, _ = ask(judge, each, **settings)
            assert [reply.finish_reason for reply in replies] == ends
    assert token_verdict(replies[0]).problem == CUT


def test_what_is_kept_is_not_asked_again_but_other_questions_are(ask):
    with standing_in(echo) as judge:
        before, _ = ask(judge, requests(5))
        after, account = ask(judge, requests(6))
        assert len(judge.asked) == 6 and after[:5] == before
        assert (account["cached"], account["asked"]) == (5, 1)
        variants = [
            request("question 0", max_tokens=6),
            request("question 0", temperature=1.0),
            request("question 0", top_logprobs=5),
            request("question 0", top_logprobs=2),
            ChatRequest((("system", "question 0"),), 5),
        ]
        ask(judge, variants)
        assert len(judge.asked) == 11
        ask(judge, requests(5), model="another")
        ask(judge, requests(5), send_temperature=False)
        assert len(judge.asked) == 21
        assert "temperature" not in judge.asked[-1] and "temperature" in judge.asked[0]
        _, account = ask(judge, requests(5), temperature=0.3, max_tokens=9)
        assert len(judge.asked) == 26 and account["sampling"] == [
            {"temperature": 0.3, "max_tokens": 9}
        ]
    assert (judge.asked[-1]["temperature"], judge.asked[-1]["max_tokens"]) == (0.3, 9)


def test_log_probabilities_are_kept_too(ask):
    shares = {"A": 0.6, "B": 0.3, " A": 0.1}
    with standing_in(lambda *_: Says("A", probabilities=shares)) as judge:
        (asked,), _ = ask(judge, [request("x", top_logprobs=3)])
        (kept,), account = ask(judge, [request("x", top_logprobs=3)])
    assert account["cached"] == 1 and kept == asked
    assert list(kept.logprobs) == ["A", "B", " A"]
    assert kept.logprobs["B"] == pytest.approx(-1.2039728)


@pytest.mark.parametrize(
    "trouble",
    [
        Fails(500),
        Fails(503, headers={"Retry-After": "0.01"}),
        Fails(429, headers={"retry-after-ms": "10"}),
        Fails(408),
        Fails(409),
        Cut(),
        Cut(""),
        Raw("{'no': json"),
        Raw("[]"),
        Raw('{"choices": []}'),
        Raw('{"choices": [{}]}'),
        Raw('{"choices": [{"message": "text"}]}'),
        Raw('{"choices": [{"message": {"content": ["a", "b"]}}]}'),
        Raw('{"error": {"message": "overloaded"}}'),
        Raw(""),
        Raw("<html>bad gateway</html>", status=502, kind="text/html"),
    ],
    ids=repr,
)
def test_trouble_that_passes_is_met_by_another_attempt(ask, trouble):
    with standing_in(first_then(trouble)) as judge:
        (reply,), account = ask(judge, [request("x")])
    assert (reply.text, reply.error, account["retries"]) == ("fine", None, 1)
    assert len(judge.asked) == 2


def test_trouble_that_stays_costs_one_request_which_the_next_run_asks_again(ask):
    def troubled(body, number):
        return Fails(500, "no luck") if question_of(body) == "question 2" else echo(body, number)

    with standing_in(troubled) as judge:
        replies, account = ask(judge, requests(5), retries=2)
    assert replies[2] == Reply(None, error="HTTP 500: no luck")
    assert [reply.error is None for reply in replies] == [True, True, False, True, True]
    assert (account["failed"], account["asked"], account["retries"]) == (1, 4, 2)
    assert len(judge.asked) == 4 + 3
    with standing_in(echo) as judge:
        replies, account = ask(judge, requests(5))
    assert replies[2].text == "re: question 2" and len(judge.asked) == 1
    assert sum(account["cached_elsewhere"].values()) == 4  # the other server's port


def test_a_slow_endpoint_is_a_lost_request(ask):
    with standing_in(first_then(Says("late", after=0.4))) as judge:
        (reply,), account = ask(judge, [request("x")], timeout=0.15)
        assert (reply.text, account["retries"]) == ("fine", 1)
    with standing_in(lambda *_: Says("late", after=0.4)) as judge:
        (reply,), _ = ask(judge, [request("y")], timeout=0.15, retries=0)
    assert reply.error == "no reply within 0.15 s"
    with standing_in(first_then(Drips(40))) as judge:  # never silent for so long
        (reply,), account = ask(judge, [request("z")], timeout=0.3)
        assert (reply.text, account["retries"]) == ("fine", 1)
    with standing_in(lambda *_: Drips(4)) as judge:
        (reply,), account = ask(judge, [request("u")], timeout=5.0)
        assert (reply.text, account["retries"]) == ("late", 0)


def test_nothing_is_sent_while_the_endpoint_asks_for_a_pause(ask):
    with standing_in(first_then(Fails(429, headers={"Retry-After": "0.3"}))) as judge:
        replies, _ = ask(judge, requests(12), parallel=2)
    assert all(reply.text == "fine" for reply in replies)
    # The second thread's first request may be under way; nothing else is before the pause ends.
    assert sum(each - judge.arrivals[0] < 0.25 for each in judge.arrivals) <= 3


def test_retry_after_is_read_however_it_is_written():
    assert _wait({"retry-after": "7"}) == 7
    assert _wait({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert _wait({"retry-after": soon}) == pytest.approx(30, abs=2)
    assert _wait({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert _wait({"retry-after": "soon"}) is None and _wait({}) is None


def test_a_pause_of_hours_ends_the_run(ask):
    with (
        standing_in(lambda *_: Fails(429, headers={"Retry-After": "7200"})) as judge,
        pytest.raises(EvaluationError, match="it asks for a pause of 7200 s"),
    ):
        ask(judge, requests(3))


def test_requests_keep_to_a_rate(ask, monkeypatch):
    """By a clock that goes on where somebody waits, and there alone."""
    waits = []

    class Waited(threading.Event):
        def wait(self, timeout=None):
            waits.append(timeout)
            return self.is_set()

    clock = SimpleNamespace(monotonic=lambda: sum(waits))
    monkeypatch.setattr(_pace, "time", clock)
    monkeypatch.setattr(_pace, "threading", SimpleNamespace(Event=Waited, Lock=threading.Lock))
    with standing_in(echo) as judge:
        ask(judge, requests(6), parallel=1, requests_per_minute=960.0)
    assert len(judge.asked) == 6
    assert waits == [1 / 16] * 5  # a float, as its multiples are


@pytest.mark.parametrize(
    ("refusal", "part"),
    [
        (Fails(401, "Incorrect API key"), "set the environment variable of the key"),
        (Fails(402, "pay"), "has no credit"),
        (Fails(403, "no access"), "may not use this model"),
        (Fails(404, "The model 'm' does not exist"), "no such model or route"),
        (Fails(400, "unknown field", param="messages"), "HTTP 400: unknown field"),
        (Fails(422, "not valid"), "HTTP 422: not valid"),
        (Fails(400, "Unsupported value", "unsupported_value", "temperature"), "--no-temperature"),
        (Fails(400, "cannot", param="top_logprobs"), "read its verdict from the text instead"),
        (Fails(429, "no quota", "insufficient_quota"), "has no credit left"),
        (Raw("<!doctype html><p>Log in", kind="text/html"), "is no API; most base URLs end in /v1"),
        (Raw("<html>nothing", status=404, kind="text/html"), "HTTP 404: a page of HTML"),
    ],
    ids=repr,
)
def test_a_refusal_of_everything_ends_the_run_at_once(ask, refusal, part):
    with standing_in(lambda *_: refusal) as judge:
        with pytest.raises(EvaluationError) as raised:
            ask(judge, requests(200), parallel=4)
        assert len(judge.asked) <= 8
        assert part in str(raised.value) and judge.url in str(raised.value)
        assert "model m" in str(raised.value)


def test_no_endpoint_and_a_wrong_route_are_named(tmp_path):
    def asked(url):
        with open_judge(JudgeSettings(model="m", base_url=url), tmp_path / "c.jsonl", print) as one:
            one([request("x")])

    with pytest.raises(EvaluationError, match="nothing answers there .*start the endpoint"):
        asked("http://127.0.0.1:9/v1")
    with (
        standing_in(echo) as judge,
        pytest.raises(EvaluationError, match="no such model or route; most base URLs end in"),
    ):
        asked(judge.url.removesuffix("/v1"))
    with pytest.raises(EvaluationError, match=r"must begin with http:// or https://"):
        asked("127.0.0.1:8000/v1")


def test_one_refused_text_is_one_lost_request(ask):
    def scripted(body, number):
        return {
            "question 1": Fails(400, "maximum context length is 10 tokens"),
            "question 2": Fails(400, "filtered", "content_filter"),
            "question 3": Fails(413, "too large"),
        }.get(question_of(body), Says("fine"))

    with standing_in(scripted) as judge:
        replies, account = ask(judge, requests(5), parallel=1)
    assert [reply.error is None for reply in replies] == [True, False, False, False, True]
    assert account["failed"] == 3 and len(judge.asked) == 5


def test_a_refusal_after_answers_is_about_the_one_request():
    assert status_fault(400, "{}", {}, answered=False).kind == "stop"
    assert status_fault(400, "{}", {}, answered=True).kind == "request"
    assert status_fault(401, "{}", {}, answered=True).kind == "stop"
    assert status_fault(403, "{}", {}, answered=False).kind == "stop"
    assert status_fault(403, "{}", {}, answered=True).kind == "request"


def test_the_newer_name_of_the_token_limit_is_learnt(ask):
    message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."

    def newer(body, _):
        return Fails(400, message, param="max_tokens") if "max_tokens" in body else Says("fine")

    with standing_in(newer) as judge:
        replies, account = ask(judge, requests(10), parallel=3)
    assert all(reply.text == "fine" for reply in replies) and account["retries"] == 0
    names = Counter("max_tokens" in body for body in judge.asked)
    assert names[False] == 10 and 1 <= names[True] <= 3
    assert judge.asked[-1]["max_completion_tokens"] == 5
    with (
        standing_in(lambda *_: Fails(400, message, param="max_tokens")) as judge,
        pytest.raises(EvaluationError, match="HTTP 400"),
    ):
        ask(judge, [request("another")])


def test_a_judge_that_says_nothing_is_an_error_that_says_why(ask):
    script = {
        "a": Says(None, "length"),
        "b": Says(None, "content_filter"),
        "c": Says(None, refusal="I cannot"),
        "d": Says(""),
    }
    with standing_in(lambda body, _: script[question_of(body)]) as judge:
        replies, account = ask(judge, [request(text) for text in script])
    assert "used all its tokens before it said anything" in replies[0].error
    assert replies[1].error == "the judge said nothing (finish_reason content_filter)"
    assert [replies[2].text, replies[3].text] == ["I cannot", ""]
    assert account["failed"] == 2 and len(judge.asked) == 4


def test_an_endpoint_that_dies_ends_the_run_with_what_it_said_kept(ask, tmp_path):
    script = lambda body, number: echo(body, number) if number <= 30 else Fails(500)  # noqa: E731
    with standing_in(script) as judge:
        with pytest.raises(EvaluationError, match=r"20 requests in a row got no reply.*HTTP 500"):
            ask(judge, requests(100), retries=0, parallel=2)
        assert 50 <= len(judge.asked) <= 54
    with standing_in(echo) as judge:
        replies, account = ask(judge, requests(100))
    assert account["cached"] == 30 and len(judge.asked) == 70
    assert all(reply.error is None for reply in replies)


def test_the_key_is_sent_and_written_nowhere(ask, tmp_path, monkeypatch, capsys, caplog):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level("DEBUG")
    script = {
        "echo": Says(f"you sent {KEY}"),
        "lost": Fails(500, f"key {KEY} met a fault"),
        "refused": Fails(400, f"invalid_prompt for {KEY}"),
    }
    with standing_in(lambda body, _: script[question_of(body)]) as judge:
        replies, account = ask(judge, [request(text) for text in script], retries=1)
    assert judge.headers[0]["authorization"] == f"Bearer {KEY}"
    with (
        standing_in(lambda *_: Fails(401, f"wrong key {KEY}")) as judge,
        pytest.raises(EvaluationError) as raised,
    ):
        ask(judge, [request("x")])
    assert "wrong key [key]" in str(raised.value) and replies[0].text == "you sent [key]"
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    printed = "".join(capsys.readouterr())
    assert KEY not in "".join((written, printed, caplog.text, str(replies), str(account)))


def test_a_message_that_is_cut_short_holds_no_part_of_the_key(ask, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with (
        standing_in(lambda *_: Fails(401, "x" * 290 + KEY)) as judge,
        pytest.raises(EvaluationError) as raised,
    ):
        ask(judge, [request("x")])
    assert KEY[:6] not in str(raised.value)


def test_a_word_that_local_servers_take_for_a_key_stays_in_replies(ask, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")
    with standing_in(lambda *_: Says("answer B is EMPTY [[A]]")) as judge:
        (reply,), _ = ask(judge, [request("x")])
    assert reply.text == "answer B is EMPTY [[A]]"


def test_what_is_secret_in_an_address_is_shown_nowhere(ask, tmp_path):
    assert shown_url("https://u:pass@host:1/v1?key=1#x") == "https://host:1/v1"
    with standing_in(echo) as judge:
        url = judge.url.replace("http://", "http://user:password@")
        _, account = ask(judge, [request("x")], base_url=url)
    assert account["base_url"] == judge.url
    assert "password" not in (tmp_path / "replies.jsonl").read_text()


def test_keys_come_from_the_environment_alone():
    settings = JudgeSettings(model="m")
    with pytest.raises(EvaluationError, match="needs a key: set OPENAI_API_KEY"):
        settings.key({})
    assert settings.key({"OPENAI_API_KEY": KEY}) == KEY
    assert settings.key({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}) == "none"
    assert settings.url({"OPENAI_BASE_URL": "http://here/v1/"}) == "http://here/v1"
    other = JudgeSettings(model="m", key_variable="THEIR_KEY", base_url="http://here/v1")
    assert other.key({"THEIR_KEY": "x", "OPENAI_API_KEY": KEY}) == "x"
    with pytest.raises(EvaluationError, match="the environment variable .* is not set"):
        other.key({"OPENAI_API_KEY": KEY})
    with pytest.raises(EvaluationError, match="must be the name of an environment") as raised:
        JudgeSettings(model="m", key_variable=KEY)
    assert KEY not in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"model": ""}, "model='' must name"),
        ({"parallel": 0}, "parallel=0"),
        ({"retries": -1}, "retries=-1"),
        ({"timeout": 0.0}, "timeout=0.0 must be above 0"),
        ({"timeout": float("nan")}, "timeout=nan"),
        ({"requests_per_minute": -1.0}, "requests_per_minute=-1.0"),
        ({"parallel": "8"}, "parallel='8' must be an integer"),
        ({"max_tokens": 0}, "max_tokens=0 must be at least 1"),
        ({"temperature": -0.5}, "temperature=-0.5 must be at least 0"),
        ({"temperature": 1.0, "send_temperature": False}, "leave one of them out"),
    ],
)
def test_settings_that_cannot_be_are_named(fields, part):
    with pytest.raises(EvaluationError) as raised:
        JudgeSettings(**{"model": "m", **fields})
    assert part in str(raised.value)


def test_a_stopped_run_wakes_who_waits_and_keeps_what_was_under_way(ask, tmp_path):
    held = threading.Event()

    def scripted(body, _):
        if question_of(body) == "question 0":
            held.wait(5)
            return Fails(401)
        if question_of(body) == "question 1":
            held.set()
            return Says("kept", after=0.2)
        return Fails(429, headers={"Retry-After": "300"})

    began = time.monotonic()
    with (
        standing_in(scripted) as judge,
        pytest.raises(EvaluationError, match="HTTP 401"),
    ):
        ask(judge, requests(9), parallel=3)
    assert time.monotonic() - began < 5
    lines = (tmp_path / "replies.jsonl").read_text().splitlines()[1:]
    assert [json.loads(line)["reply"]["text"] for line in lines] == ["kept"]


def test_a_judge_can_be_asked_again_after_an_error(tmp_path):
    script = lambda body, n: Fails(401) if question_of(body) == "bad" else echo(body, n)  # noqa: E731
    with standing_in(script) as stand_in:
        settings = JudgeSettings(model="m", base_url=stand_in.url)
        with open_judge(settings, tmp_path / "replies.jsonl", print) as judge:
            with pytest.raises(EvaluationError, match="HTTP 401"):
                judge([request("bad"), *requests(20)])
            assert all(reply.error is None for reply in judge(requests(20)))


def test_pauses_and_rates_do_not_add_up():
    pace = Pace(60.0)
    pace._next += 3  # as after three requests
    pace.hold(0.05)
    assert pace._held_until() - time.monotonic() < 0.06


def test_the_cache_is_for_one_process(ask, tmp_path):
    settings = JudgeSettings(model="m", base_url="http://127.0.0.1:9/v1")
    path = tmp_path / "replies.jsonl"
    with (
        open_judge(settings, path, print),
        pytest.raises(EvaluationError, match=f"process {os.getpid()} on host .* is writing"),
        open_judge(settings, path, print),
    ):
        pass
