"""Programs are compiled beside the rows that go on, once, and not for clients that left."""

import logging
import threading
from concurrent.futures import Future

import jax
import pytest

from coala_jax.decoding._config import GenerationConfig
from coala_jax.decoding._plan import make_plan
from coala_jax.decoding._session import Request, Session
from coala_jax.serving import _engine as engine
from coala_jax.serving._intake import Intake
from coala_jax.serving._lane import Job, Lane, LaneShape
from coala_jax.serving._requests import completion_request
from coala_jax.serving._tickets import Failed, Finished, Piece
from tests.serving.asking import LIMITS, MODEL, PATIENCE, refused, running

STREAM = {
    "model": MODEL,
    "prompt": "the student asks",
    "max_tokens": 32,
    "seed": 3,
    "n": 2,
    "stream": True,
}
ROWS = 4


@pytest.fixture
def compiled(caplog):
    """Names of what jax compiles from here on."""
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        yield lambda: [
            record.getMessage().split()[1]
            for record in caplog.records
            if record.getMessage().startswith("Compiling ")
        ]


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_a_rehearsal_compiles_all_that_a_request_needs(model, scale, compiled, caplog):
    """However many rows are dropped at a time, and whichever they are."""
    config = GenerationConfig.from_options(top_k=3, max_new_tokens=8, scale=scale)
    requests = [Request([n + 1] * (n + 1), config, jax.random.key(n)) for n in range(ROWS)]
    session = Session(model, make_plan(model, [config]), ROWS, 64 + 64)
    session.rehearse(64)
    assert any("advance" in name for name in compiled())
    caplog.clear()
    for count in range(1, ROWS + 1):
        for row in range(count):
            session.admit([requests[row]], [row])
        session.write(2)
        session.rewards()
        session.drop(range(count))
        assert not session.going
    assert compiled() == []


def test_rows_after_a_rehearsal_are_those_of_a_session_without_one(model):
    config = GenerationConfig.from_options(top_k=3, max_new_tokens=8)
    request = Request([1, 2, 3], config, jax.random.key(5))
    texts = []
    for lengths in ((), (64,), (64, 64)):
        session = Session(model, make_plan(model, [config]), 2, 64 + 64)
        for length in lengths:
            session.rehearse(length)
        session.admit([request], [1])
        while session.going:
            session.write(2)
        texts.append((session.texts[1].tokens, session.rewards()[0][1].item()))
    assert texts[0] == texts[1] == texts[2]


@pytest.fixture
def held(monkeypatch):
    """Programs for more than one row are not there before ``held.set()``; counts those begun."""
    leave, rehearse, begun = threading.Event(), Session.rehearse, threading.Semaphore(0)

    def wait(session, length):
        if session.rows > 1:
            begun.release()
            assert leave.wait(PATIENCE)
        rehearse(session, length)

    monkeypatch.setattr(Session, "rehearse", wait)
    leave.begun = begun
    yield leave
    leave.set()


def test_what_clients_left_behind_keeps_nobody_waiting(model, held, send):
    """Three streams whose programs are being compiled, and a request whose own are there."""
    with running(model) as own:
        assert own.complete()[0] == 200
        streams = [send(own, STREAM) for _ in range(3)]
        assert [stream.status() for stream in streams] == [200] * 3
        assert held.begun.acquire(timeout=PATIENCE)
        for stream in streams:
            stream.leave()
        own.wait_for_log("client_left", 3)
        assert own.complete()[0] == 200
        assert own.server.engine.running == 0
        assert not held.is_set()
        held.set()
        assert own.complete(n=2)[0] == 200
        assert not held.begun.acquire(blocking=False)  # the programs were there


def test_no_program_is_freed_while_another_is_compiled(
    model, held, send, changed_limits, monkeypatch
):
    """A lane whose client left makes room for another before its programs are there."""
    cleared = []
    monkeypatch.setattr(engine, "COMPILED_LANES", 1)
    monkeypatch.setattr(engine.jax, "clear_caches", lambda: cleared.append(True))
    item = {"prompt": [{"role": "user", "content": "a"}], "response": "the tutor"}
    with running(model, limits=changed_limits(lanes=1)) as own:
        for count, scale in enumerate((1, 0), start=1):
            stream = send(own, {**STREAM, "guidance_scale": scale})
            assert stream.status() == 200
            if count == 1:
                assert held.begun.acquire(timeout=PATIENCE)
            stream.leave()
            own.wait_for_log("client_left", count)
        # Scored by the thread that frees programs, which has then looked whether it may.
        for _ in range(2):
            assert own.ask("POST", "/v1/score", {"model": MODEL, "items": [item]})[0] == 200
        assert not cleared
        held.set()
        assert own.complete()[0] == 200
    assert cleared


def test_rows_go_on_while_others_are_compiled(model, held, steps, send):
    with running(model) as own:
        first = send(own, {**STREAM, "n": 1})
        events = first.events()
        steps.allow(4)
        assert next(events)["choices"]
        second = send(own, STREAM)
        assert second.status() == 200
        # The engine may have taken all four steps before: it places requests between steps.
        for _ in range(STREAM["max_tokens"] - 8):
            if held.begun.acquire(timeout=1):
                break
            steps.allow(1)
        else:
            pytest.fail("nothing was compiled for the second request")
        steps.free()
        assert list(events)[-1]["choices"][0]["finish_reason"] == "length"
        assert not held.is_set()
        held.set()
        ends = [event["choices"][0]["finish_reason"] for event in second.events()]
        assert ends.count("length") == 2


def test_programs_that_fail_end_those_who_wait_for_them(model, monkeypatch, send):
    rehearse = Session.rehearse

    def fail(session, length):
        if session.rows > 1:
            raise RuntimeError("out of memory")
        rehearse(session, length)

    with running(model) as own:
        with monkeypatch.context() as broken:
            broken.setattr(Session, "rehearse", fail)
            assert refused(own.complete(n=2), 500)["code"] == "internal_error"
            assert list(send(own, STREAM).events())[-1]["error"]["code"] == "internal_error"
            assert own.complete()[0] == 200
        assert "RuntimeError" in own.wait_for_log("fault in the engine")
        assert own.complete(n=2)[0] == 200


class Heard:
    """A ticket that keeps what it is told."""

    def __init__(self):
        self.events, self.cancelled = [], False

    def tell(self, event):
        assert not isinstance(event, Failed)
        self.events.append(event)


class Later:
    """Work for another thread that is done when the test says so."""

    def __init__(self):
        self.begun = []

    def __call__(self, work, *given):
        made = Future()
        self.begun.append((made, work, given))
        return made

    def do(self, number):
        made, work, given = self.begun[number]
        made.set_running_or_notify_cancel()
        made.set_result(work(*given))


@pytest.fixture
def lane(model):
    """A lane of two rows, its work, and what makes a job for it."""
    intake = Intake(model, LIMITS)

    def job(prompt):
        body = {"model": MODEL, "prompt": prompt, "max_tokens": 3, "seed": 3}
        (choice,) = intake.choices(completion_request(body, MODEL, LIMITS, 1.0))
        return Job(Heard(), choice)

    beside = Later()
    shape = LaneShape(job("a").choice.plan, 2, 64)
    return Lane(model, shape, beside), beside, job


def test_a_lane_waits_for_its_programs_alone(lane):
    lane, beside, job = lane
    first, second = job("the student"), job("the tutor")
    lane.take([first])
    assert (lane.ready, lane.opening, lane.taken) == (False, True, 1)
    lane.take([second])
    assert len(beside.begun) == 1  # prompts of one length
    beside.do(0)
    assert (lane.ready, lane.opening) == (True, False)
    while lane.ready:
        lane.turn()
    for one in (first, second):
        assert any(isinstance(event, Piece | Finished) for event in one.ticket.events)
    assert lane.free == 2


def test_nothing_is_compiled_for_those_who_left(lane):
    lane, beside, job = lane
    gone, stays = job("the student"), job("the tutor")
    lane.take([gone])
    gone.ticket.cancelled = True
    lane.free_left()
    assert (lane.free, lane.ready, lane.opening) == (2, False, False)
    assert beside.begun[0][0].cancelled()
    lane.take([stays])
    beside.do(1)
    while lane.ready:
        lane.turn()
    assert isinstance(stays.ticket.events[-1], Finished)
    assert gone.ticket.events == []
