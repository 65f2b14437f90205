"""Rows, queues and clocks: clients that leave, crowds, limits of time, the end of the server."""

import asyncio
import http.client
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from flax import nnx

from coala_jax.decoding._session import Session
from coala_jax.features import FeatureError
from coala_jax.serving import _api as api
from coala_jax.serving import _engine as engine
from coala_jax.serving._intake import Intake
from tests.serving.asking import LIMITS, MODEL, PATIENCE, refused, running

# Long answers of a seed that reaches no end token.
LONG = {"model": MODEL, "prompt": "the student asks", "max_tokens": 32, "seed": 3}
BOTH_ROWS = {**LONG, "n": 2}
SCORED = {"model": MODEL, "items": [{"prompt": "the student", "response": "the tutor"}]}


@pytest.fixture
def own(model, steps):
    """A server of this test, whose steps wait for leave."""
    with running(model) as one:
        yield one
        steps.free()


@pytest.mark.parametrize("stream", [True, False])
def test_the_rows_of_a_client_that_leaves_are_used_again(own, steps, stream, send):
    sent = send(own, {**BOTH_ROWS, "stream": stream})
    steps.allow(4)
    if stream:
        assert next(sent.events())["choices"][0]["finish_reason"] is None
    else:
        steps.wait_until_used()
    sent.leave()
    own.wait_for_log("client_left" if stream else " 499 ")
    steps.free()
    assert own.complete()[0] == 200
    assert sorted(steps.dropped) == [0, 1]
    assert own.server.engine.running == 0


def test_what_waits_beyond_the_limit_is_refused_and_the_rest_answered(own, steps, send):
    first = send(own, {**BOTH_ROWS, "stream": True})
    steps.allow(4)
    events = first.events()
    next(events)
    waiting = send(own, {**LONG, "n": 4, "stream": True})
    waiting.status()
    error = refused(own.complete(n=3), 503)
    assert (error["code"], error["type"]) == ("overloaded", "server_error")
    refused(own.ask("POST", "/v1/completions", {**LONG, "n": 3, "stream": True}), 503)
    steps.free()
    for sent in (events, waiting.events()):
        assert [e["choices"][0]["finish_reason"] for e in sent].count("length") in (2, 4)
    assert own.complete()[0] == 200


def test_a_thousand_requests_at_once_are_answered_or_refused(served):
    """And the server serves the next one."""
    body = json.dumps({"model": MODEL, "prompt": "the student asks", "max_tokens": 2}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: application/json\r\nConnection: close\r\n\r\n"

    async def ask():
        reader, writer = await asyncio.open_connection(*served.address)
        writer.write(head.encode() + body)
        answer = await reader.read()
        writer.close()
        start, _, content = answer.partition(b"\r\n\r\n")
        return int(start.split()[1]), json.loads(content)

    async def crowd():
        return await asyncio.wait_for(asyncio.gather(*(ask() for _ in range(1000))), PATIENCE)

    answers = asyncio.run(crowd())
    statuses = [status for status, _ in answers]
    assert set(statuses) == {200, 503}
    assert {body["error"]["code"] for status, body in answers if status == 503} == {"overloaded"}
    assert all(body["choices"] for status, body in answers if status == 200)
    assert served.complete()[0] == 200
    assert served.server.engine.running == 0


def test_a_request_that_takes_too_long_is_ended(model, steps, changed_limits, send):
    with running(model, limits=changed_limits(request_seconds=0.2)) as own:
        answer = own.ask("POST", "/v1/completions", BOTH_ROWS)
        assert refused(answer, 504)["code"] == "timeout"
        assert answer[1]["x-should-retry"] == "false"
        events = list(send(own, {**LONG, "stream": True}).events())
        assert events[-1]["error"]["code"] == "timeout"
        steps.free()
    # The stream may have had a row for a moment, too.
    assert set(steps.dropped) == {0, 1}


def test_reading_a_request_takes_of_its_time(model, changed_limits, monkeypatch, send):
    """And who left meanwhile is known to have left; the one thread that reads is held."""
    leave = threading.Event()

    def hold(*_):
        assert leave.wait(PATIENCE)
        return []

    with running(model, limits=changed_limits(request_seconds=0.5)) as own:
        with monkeypatch.context() as slow:
            slow.setattr(Intake, "choices", hold)
            slow.setattr(Intake, "score_rows", hold)
            for path, body in (
                ("/v1/completions", LONG),
                ("/v1/completions", {**LONG, "stream": True}),
                ("/v1/score", SCORED),
            ):
                assert refused(own.ask("POST", path, body), 504)["code"] == "timeout"
            send(own, LONG).leave()
            own.wait_for_log(" 499 ")
            leave.set()
        assert own.ask("GET", "/health")[0] == 200


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"", "header_timeout"),
        (b"GET /health HTTP/1.1\r\nHost: local", "header_timeout"),
        (
            b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 10\r\n\r\n{",
            "body_timeout",
        ),
        (b"no http at all\r\n\r\n", "invalid_http"),
    ],
)
def test_a_connection_cannot_be_held_by_saying_little(hasty, sent, code):
    with socket.create_connection(hasty.address, timeout=PATIENCE) as connection:
        connection.sendall(sent)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))  # to the end of the connection
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 4")
    assert json.loads(body)["error"]["code"] == code
    assert hasty.ask("GET", "/health")[0] == 200


@pytest.mark.parametrize(
    ("request_line", "headers", "code"),
    [
        ("POST /v1/score", "Host: elsewhere", "host_not_allowed"),
        ("POST /v1/score", "Host: localhost\r\nContent-Type: text/plain", "unsupported_media_type"),
        ("POST /v1/nothing", "Host: localhost", "not_found"),
    ],
)
def test_the_rest_of_a_body_cannot_hold_a_connection(hasty, request_line, headers, code):
    """Of a request that was answered without it, and of which a byte comes now and then."""
    with socket.create_connection(hasty.address, timeout=PATIENCE) as connection:
        head = f"{request_line} HTTP/1.1\r\n{headers}\r\nContent-Length: 5000\r\n\r\n"
        connection.sendall(head.encode())
        answer = b""
        while b"}}" not in answer:
            answer += connection.recv(4096)
        assert code.encode() in answer
        connection.sendall(b" ")
        assert connection.recv(4096) == b""


def test_a_connection_goes_on_after_the_rest_of_a_body(hasty):
    connection = http.client.HTTPConnection(*hasty.address, timeout=PATIENCE)
    for path, body, status in (
        ("/v1/nothing", [b"a", b"b"], 404),
        ("/v1/models", None, 200),
    ):
        connection.request("POST" if body else "GET", path, body)
        answer = connection.getresponse()
        assert (answer.status, answer.will_close) == (status, False)
        answer.read()
    connection.close()


def test_a_client_that_reads_nothing_is_given_up(model, changed_limits, monkeypatch, send):
    """What was not sent by then is not sent: an event that no buffer of the system holds."""
    size = 2**26
    monkeypatch.setattr(api, "event", lambda _: b"x" * size)
    monkeypatch.setattr(api, "SEND_SECONDS", 0.1)
    with running(model, limits=changed_limits(request_seconds=0.5)) as own:
        sent = send(own, {**LONG, "stream": True})
        own.wait_for_log("/v1/completions 200")
        assert sent.rest() < size


@pytest.fixture(scope="module")
def hasty(model):
    limits = replace(LIMITS, header_seconds=0.3, body_seconds=0.3)
    with running(model, limits=limits) as one:
        yield one


def test_a_fault_is_answered_and_the_server_goes_on(own, steps, monkeypatch, send):
    steps.free()
    with monkeypatch.context() as broken:

        def fail(*_, **__):
            error = RuntimeError("the secret of the student")
            error.add_note("as jax adds one of the frames that it left out")
            raise error

        broken.setattr(Session, "rewards", fail)
        error = refused(own.complete(), 500)
        assert (error["type"], "secret" in error["message"]) == ("server_error", False)
        events = list(send(own, {**LONG, "stream": True}).events())
        assert events[-1]["error"]["code"] == "internal_error"
    assert f'RuntimeError at File "{__file__}"' in own.wait_for_log("fault in the engine")
    assert not any("secret" in line for line in own.log)
    assert own.complete()[0] == 200


def test_all_who_come_into_rows_together_hear_of_a_fault(own, steps, monkeypatch, send):
    """Two who wait until the first request's step is done, for rows that cannot be opened."""
    first = send(own, {**LONG, "stream": True})
    first.status()
    steps.wait_until_used()
    with monkeypatch.context() as broken:

        def fail(*_, **__):
            raise RuntimeError("out of memory")

        broken.setattr(Session, "admit", fail)
        others = [send(own, {**LONG, "guidance_scale": 0, "stream": True}) for _ in range(2)]
        for sent in others:
            assert sent.status() == 200
        steps.free()
        for sent in others:
            assert [event["error"]["code"] for event in sent.events()] == ["internal_error"]
    assert list(first.events())[-1]["choices"][0]["finish_reason"] == "length"
    assert own.complete(guidance_scale=0)[0] == 200


def test_sets_of_guidance_options_take_turns_in_memory(model, changed_limits, monkeypatch):
    """Two of them where there is room for one, and programs for one are kept."""
    cleared = []
    monkeypatch.setattr(engine, "COMPILED_LANES", 1)
    monkeypatch.setattr(engine.jax, "clear_caches", lambda: cleared.append(True))
    with (
        running(model, limits=changed_limits(lanes=1)) as own,
        ThreadPoolExecutor(3) as clients,
    ):
        scales = [1, 0, 1]  # twice as many rows are as many as may wait
        answers = list(clients.map(lambda scale: own.complete(n=2, guidance_scale=scale), scales))
    assert [status for status, _, _ in answers] == [200] * 3
    assert cleared


def test_new_guidance_options_come_one_after_another(
    model, changed_limits, monkeypatch, send, steps
):
    """A client that names new ones all the time leaves time to those who name none."""
    now = [0.0]
    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with running(model, limits=changed_limits(plan_seconds=30)) as own:
        first = send(own, {**LONG, "stream": True})
        first.status()
        steps.wait_until_used()  # compiling, for as long as it takes
        now[0] = 100.0
        answer = own.complete(num_candidates=3)
        error = refused(answer, 503)
        assert error["code"] == "overloaded"
        assert "one is compiled at a time, 30 s apart" in error["message"]
        assert answer[1]["retry-after"] == "30"
        steps.free()
        assert list(first.events())[-1]["choices"][0]["finish_reason"] == "length"
        # Alone: another lane of the same options. Twice: what ends the second began after the first
        # was noted as compiled.
        for scale in (1, 1, 0, 0):
            assert own.complete(guidance_scale=scale)[0] == 200
        now[0] = 120.0
        answer = own.complete(num_candidates=3)
        assert (answer[0], answer[1]["retry-after"]) == (503, "10")
        assert [own.complete(guidance_scale=scale)[0] for scale in (0, 1)] == [200, 200]
        now[0] = 130.0
        assert own.complete(num_candidates=3)[0] == 200


@pytest.mark.parametrize("more", [(), (61,)])
def test_a_stop_token_at_once_is_an_empty_answer(backbone, model, send, more):
    """Of a backbone to whom the end, or another end, is the most probable token everywhere."""
    graph, state = nnx.split(backbone.module)
    module = nnx.merge(graph, jax.tree.map(lambda part: part, state))
    tokenizer = replace(backbone.tokenizer, more_end_ids=more)
    end, width = tokenizer.end_ids[-1], backbone.config.hidden_size
    # The last norm gives every state this one, whatever came before.
    module.ln_f_weight[...] = np.zeros(width, np.float32)
    module.ln_f_bias[...] = np.ones(width, np.float32)
    module.wte_weight[...] = module.wte_weight[...].at[end].set(9.0)
    silent = replace(backbone, module=module, tokenizer=tokenizer)
    with running(replace(model, backbone=silent)) as own:
        status, _, answer = own.complete(temperature=0)
        assert (status, answer["choices"][0]["text"]) == (200, "")
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert answer["usage"]["completion_tokens"] == 1
        events = list(send(own, {**LONG, "temperature": 0, "stream": True}).events())
        assert [e["choices"][0]["finish_reason"] for e in events] == ["stop"]


def test_streams_may_finish_when_the_server_is_told_to_end(model, steps, send):
    with running(model) as own:
        sent = send(own, {**LONG, "stream": True})
        steps.allow(4)
        events = sent.events()
        next(events)
        own.server.stop()
        own.wait_for_log("shutting down")
        steps.free()
        assert list(events)[-1]["choices"][0]["finish_reason"] == "length"


def test_streams_that_go_on_are_ended_with_an_error(model, steps, changed_limits, send):
    with running(model, limits=changed_limits(shutdown_seconds=0.2)) as own:
        sent = send(own, {**LONG, "stream": True})
        steps.allow(4)
        events = sent.events()
        next(events)
        own.server.stop()
        assert list(events)[-1]["error"]["code"] == "shutting_down"
        steps.free()


def test_a_head_of_other_texts_chats_only_where_that_was_asked_for(backbone, make_model):
    other = make_model("")
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    with running(other) as own:
        error = refused(own.ask("POST", "/v1/chat/completions", body), 400)
        assert "chat template" in error["message"] and "--chat-as-text" in error["message"]
        assert own.complete(max_tokens=2)[0] == 200
    with running(other, chat_as_text=True) as own:
        assert own.ask("POST", "/v1/chat/completions", body)[0] == 200


@pytest.mark.parametrize(
    ("owner", "name", "path", "body"),
    [
        (Intake, "choices", "/v1/completions", LONG),
        (engine, "rewards_of", "/v1/score", SCORED),
    ],
)
def test_a_fault_outside_the_rows_is_answered_too(served, monkeypatch, owner, name, path, body):
    def fail(*_, **__):
        raise RuntimeError("the secret of the student")

    with monkeypatch.context() as broken:
        broken.setattr(owner, name, fail)
        error = refused(served.ask("POST", path, body), 500)
        assert (error["code"], "secret" in error["message"]) == ("internal_error", False)
    assert served.ask("POST", path, body)[0] == 200
    assert not any("secret" in line for line in served.log)


def test_a_response_that_the_head_overflows_on_is_the_clients_to_mend(served, monkeypatch):
    def overflow(*_, **__):
        raise FeatureError("rewards: 1 of 1 are not finite")

    monkeypatch.setattr(engine, "rewards_of", overflow)
    assert "not finite" in refused(served.ask("POST", "/v1/score", SCORED), 400)["message"]
