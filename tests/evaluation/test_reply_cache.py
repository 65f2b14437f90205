"""Replies stay, whatever ends the run: a kill, a cut line, a full disk."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc

import pytest

from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation._chat import ChatRequest, Reply
from coala_jax.evaluation.judge import JudgeSettings, open_judge
from coala_jax.evaluation.judge._cache import HEADER, open_cache, read_cache, request_key
from coala_jax.evaluation.judge._judge import Judge
from coala_jax.evaluation.judge._pace import Pace
from tests.evaluation.stand_in_judge import Says, question_of, standing_in

SETTINGS = JudgeSettings(model="m", base_url="http://here/v1")


class FakeEndpoint:
    """Answers at once, and counts."""

    base_url, retries = "http://here/v1", 0

    def __init__(self):
        self.pace, self.asked = Pace(None), 0
        self._lock = threading.Lock()

    def __call__(self, request):
        with self._lock:
            self.asked += 1
        return Reply(f"re: {request.messages[0][1]}", prompt_tokens=1, completion_tokens=1)


def request(text):
    return ChatRequest((("user", text),), 5)


def kept(path, *texts):
    with open_cache(path, print) as cache:
        for text in texts:
            cache.add(request_key("m", request(text)), Reply(f"re: {text}"), "m", "http://here/v1")


def replies_in(path):
    cache = read_cache(path)
    return {text: cache.get(request_key("m", request(text))) for text in ("a", "b", "c")}


def test_a_key_tells_every_field_apart_and_is_the_hash_of_canonical_json():
    one = request("a")
    variants = [
        ("m", one),
        ("M", one),
        *(
            ("m", one._replace(**{field: value}))
            for field, value in {
                "messages": (("system", "a"),),
                "max_tokens": 6,
                "temperature": 0.5,
                "top_logprobs": 0,
            }.items()
        ),
    ]
    assert len({request_key(*each) for each in variants}) == len(variants)
    assert request_key("m", one, send_temperature=False) != request_key("m", one)
    assert request_key("m", one._replace(temperature=0)) == request_key("m", one)
    # Pinned: a change of it would make every user pay again.
    assert request_key("m", one)[:16] == "d5a4694cab1d3409"


def test_a_line_that_was_cut_is_mended(tmp_path):
    path = tmp_path / "replies.jsonl"
    kept(path, "a", "b")
    whole = path.read_bytes()
    for cut in range(len(HEADER), len(whole)):
        path.write_bytes(whole[:cut])
        found = replies_in(path)
        assert (found["a"] is not None) == (whole[:cut].count(b"\n") >= 2)
        assert found["b"] is None
    kept(path, "c")
    found = replies_in(path)
    assert found["a"].reply.text == "re: a" and found["c"].reply.text == "re: c"
    assert found["b"] is None
    assert all(json.loads(line) for line in path.read_text().splitlines())
    for cut in range(len(HEADER)):
        path.write_bytes(HEADER[:cut])
        kept(path, "a")
        assert replies_in(path)["a"] is not None


def test_a_spoilt_line_in_the_middle_is_counted_and_the_others_are_kept(tmp_path):
    path = tmp_path / "replies.jsonl"
    kept(path, "a", "b", "c")
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = b"\0" * 20 + b"\n"
    path.write_bytes(b"".join(lines))
    found = replies_in(path)
    assert found["a"] and found["c"] and found["b"] is None
    assert read_cache(path).unreadable == 1


def test_a_file_of_something_else_is_not_touched(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"instruction": "x"}\n{"cut')
    before = path.read_bytes()
    with pytest.raises(EvaluationError, match="is no cache of replies"):
        kept(path, "a")
    with pytest.raises(EvaluationError, match=r"answers.jsonl: is no cache .*give another file"):
        read_cache(path)
    assert path.read_bytes() == before


def test_texts_of_any_kind_come_back_as_they_were(tmp_path):
    path = tmp_path / "replies.jsonl"
    odd = 'zwölf \U0001f600 "quoted"\n\u2028 \ud800 \0'
    reply = Reply(odd, {odd: -1.5, "B": -9999.0}, "stop", 3, None)
    with open_cache(path, print) as cache:
        cache.add("k", reply, "m", "u")
    assert read_cache(path).get("k").reply == reply
    assert len(path.read_bytes().splitlines()) == 2


def test_a_full_disk_is_named_and_leaves_whole_lines(tmp_path, monkeypatch):
    path = tmp_path / "replies.jsonl"
    with open_cache(path, print) as cache:
        cache.add("k", Reply("one"), "m", "u")

        class Full:
            """A file on a disk that takes five more bytes."""

            def __init__(self, file):
                self.file = file
                self.tell, self.truncate = file.tell, file.truncate

            def write(self, text):
                self.file.write(text[:5])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        file, cache._file = cache._file, Full(cache._file)
        with pytest.raises(EvaluationError, match="free some space and run the same command"):
            cache.add("l", Reply("two"), "m", "u")
        cache._file = file
        assert cache.get("l") is None
    lines = path.read_text().splitlines()
    assert len(lines) == 2 and json.loads(lines[1])["reply"] == {"text": "one"}


def test_ten_thousand_requests_are_kept_and_found_again_at_little_cost(tmp_path):
    requests = [request(f"question {number} {'x' * 2000}") for number in range(10_000)]
    path = tmp_path / "replies.jsonl"
    endpoint = FakeEndpoint()
    began = time.process_time()
    with open_cache(path, print) as cache:
        first = Judge(SETTINGS, endpoint, cache)(requests)
    assert endpoint.asked == 10_000 and len(first) == 10_000
    tracemalloc.start()
    with open_cache(path, print) as cache:
        again = Judge(SETTINGS, endpoint, cache)(requests)
        held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert again == first and endpoint.asked == 10_000
    assert held < 120e6  # replies of 2 kB, keys and addresses
    assert time.process_time() - began < 60  # 1 s on an idle core, without tracing


RUN = """
import sys
from pathlib import Path
from coala_jax.evaluation._chat import ChatRequest
from coala_jax.evaluation.judge import JudgeSettings, open_judge
requests = [ChatRequest((("user", f"question {n}"),), 5) for n in range(300)]
settings = JudgeSettings(model="m", base_url=sys.argv[1])
with open_judge(settings, Path(sys.argv[2]), print) as judge:
    judge(requests)
"""


def test_a_killed_run_goes_on_and_asks_only_what_is_missing(tmp_path):
    path = tmp_path / "replies.jsonl"
    enough = threading.Event()

    def answer(body, number):
        if number >= 150:
            enough.set()
        return Says(f"re: {question_of(body)}")

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    requests = [request(f"question {number}") for number in range(300)]
    with standing_in(answer) as judge:
        words = [sys.executable, "-c", RUN, judge.url, str(path)]
        with subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL) as process:
            assert enough.wait(120)
            process.send_signal(signal.SIGKILL)
        asked = len(judge.asked)
        assert 150 <= asked < 300
        answered = sum(
            read_cache(path).get(request_key("m", each)) is not None for each in requests
        )
        # What is lost is what was under way.
        assert asked - 8 <= answered <= asked
        settings = JudgeSettings(model="m", base_url=judge.url)
        with open_judge(settings, path, print) as again:
            replies = again(requests)
        assert len(judge.asked) == asked + 300 - answered
    assert [reply.text for reply in replies] == [f"re: question {n}" for n in range(300)]
