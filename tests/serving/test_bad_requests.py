"""Every bad request is answered in the API's own form, and the server keeps serving."""

import gzip
import json

import pytest

from tests.serving.asking import LIMITS, MODEL, refused

COMPLETIONS, CHAT, SCORE = "/v1/completions", "/v1/chat/completions", "/v1/score"
HI = [{"role": "user", "content": "hi"}]
LONG = "the tutor " * 200
BODIES = {
    COMPLETIONS: {"model": MODEL, "prompt": "the student"},
    CHAT: {"model": MODEL, "messages": HI},
    SCORE: {"model": MODEL, "items": [{"prompt": "a", "response": "b"}]},
}


@pytest.mark.parametrize(
    ("path", "fields", "param", "part"),
    [
        (COMPLETIONS, {"prompt": None}, "prompt", "missing"),
        (COMPLETIONS, {"prompt": ""}, "prompt", "empty"),
        (COMPLETIONS, {"prompt": ["a", " \n"]}, "prompt", "empty"),
        (COMPLETIONS, {"prompt": []}, "prompt", "list of texts"),
        (COMPLETIONS, {"prompt": [1, 2]}, "prompt", "token ids"),
        (COMPLETIONS, {"prompt": {"text": "a"}}, "prompt", "must be a text"),
        (COMPLETIONS, {"prompt": "\ud800"}, "prompt", "surrogate"),
        (COMPLETIONS, {"prompt": LONG}, "prompt", "context of 64"),
        (COMPLETIONS, {"prompt": "xyz" * 15, "max_tokens": 32}, "prompt", "context of 64"),
        (COMPLETIONS, {"prompt": LONG * 9}, "prompt", "characters"),
        (COMPLETIONS, {"max_tokens": 33}, "max_tokens", "from 1 to 32"),
        (COMPLETIONS, {"max_tokens": 0}, "max_tokens", "from 1 to 32"),
        (COMPLETIONS, {"max_tokens": True}, "max_tokens", "integer"),
        (COMPLETIONS, {"max_tokens": 4.0}, "max_tokens", "integer"),
        (COMPLETIONS, {"max_completion_tokens": 4}, "max_completion_tokens", "not a field"),
        (COMPLETIONS, {"n": 5}, "n", "from 1 to 4"),
        (COMPLETIONS, {"prompt": ["a", "b"], "n": 3}, "n", "more than 4"),
        (COMPLETIONS, {"best_of": 3}, "best_of", "not supported"),
        (COMPLETIONS, {"echo": True}, "echo", "not supported"),
        (COMPLETIONS, {"suffix": "end"}, "suffix", "not supported"),
        (COMPLETIONS, {"frequency_penalty": 0.5}, "frequency_penalty", "not supported"),
        (COMPLETIONS, {"logit_bias": {"50": -100}}, "logit_bias", "not supported"),
        (COMPLETIONS, {"tempreature": 1}, "tempreature", "not a field"),
        (COMPLETIONS, {"temperature": -1}, "temperature", "from 0 to 2"),
        (COMPLETIONS, {"temperature": "hot"}, "temperature", "number"),
        (COMPLETIONS, {"temperature": 10**400}, "temperature", "number"),
        (COMPLETIONS, {"top_p": -0.1}, "top_p", "from 0 to 1"),
        (COMPLETIONS, {"top_k": 5}, "top_k", "from 1 to 4"),
        (COMPLETIONS, {"seed": 2**63}, "seed", "from -9223372036854775808"),
        (COMPLETIONS, {"seed": -(2**63) - 1}, "seed", "to 9223372036854775807"),
        (COMPLETIONS, {"store": True}, "store", "not supported"),
        (COMPLETIONS, {"min_p": 0.1}, "min_p", "not supported"),
        (COMPLETIONS, {"ignore_eos": True}, "ignore_eos", "not supported"),
        (COMPLETIONS, {"stop_token_ids": [3]}, "stop_token_ids", "not supported"),
        (COMPLETIONS, {"response_format": {"type": "json_object"}}, "response_format", "supported"),
        (COMPLETIONS, {"max_tokens": -2}, "max_tokens", "from 1 to 32"),
        (COMPLETIONS, {"guidance_scale": -1}, "guidance_scale", "from 0 to"),
        (COMPLETIONS, {"guidance_scale": 10**400}, "guidance_scale", "number"),
        (COMPLETIONS, {"repetition_penalty": 0}, "repetition_penalty", "from 0.001"),
        (COMPLETIONS, {"choice": "worst"}, "choice", "sample, best"),
        (
            COMPLETIONS,
            {"lookahead": 1, "continuations": 2, "guide_every": 2},
            None,
            "leave one of them at 0",
        ),
        (COMPLETIONS, {"continuations": 2}, None, "blocks of guide_every=1 tokens"),
        (COMPLETIONS, {"continuations": 400, "guide_every": 9}, None, "lower them"),
        (COMPLETIONS, {"stop": ["a"] * 5}, "stop", "at most 4"),
        (COMPLETIONS, {"stop": ["a", ""]}, "stop", "1 to 256 characters"),
        (COMPLETIONS, {"stop": [3]}, "stop", "must be a text"),
        (COMPLETIONS, {"stream": 1}, "stream", "true or false"),
        (COMPLETIONS, {"stream_options": {"include_usage": True}}, "stream_options", "stream=true"),
        (
            COMPLETIONS,
            {"stream": True, "stream_options": {"usage": True}},
            "stream_options.usage",
            "not a field",
        ),
        (COMPLETIONS, {"model": None}, "model", "missing"),
        (COMPLETIONS, {"model": 3}, "model", "must be a text"),
        (CHAT, {"messages": []}, "messages", "at least one"),
        (CHAT, {"messages": "hi"}, "messages", "at least one"),
        (CHAT, {"messages": ["hi"]}, "messages[0]", "role and content"),
        (CHAT, {"messages": [{"role": "user"}]}, "messages[0].content", "missing"),
        (CHAT, {"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role", "one of"),
        (CHAT, {"messages": [{"role": [], "content": "a"}]}, "messages[0].role", "one of"),
        (
            CHAT,
            {"messages": [*HI, {"role": "user", "content": " "}]},
            "messages[1].content",
            "empty",
        ),
        (CHAT, {"messages": [{**HI[0], "nmae": "eve"}]}, "messages[0].nmae", "not a field"),
        (CHAT, {"messages": [{**HI[0], "name": 3}]}, "messages[0].name", "must be a text"),
        (CHAT, {"messages": [{"role": "system", "content": ""}]}, "messages[0].content", "empty"),
        (CHAT, {"messages": [{"role": "user", "content": []}]}, "messages[0].content", "empty"),
        (CHAT, {"messages": [{"role": "system"}, *HI]}, "messages[0].content", "missing"),
        (
            CHAT,
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}, *HI]},
            "messages[0].tool_calls",
            "not supported",
        ),
        (
            CHAT,
            {"messages": [{"role": "assistant", "refusal": "no"}, *HI]},
            "messages[0].refusal",
            "not supported",
        ),
        (CHAT, {"web_search_options": {}}, "web_search_options", "not supported"),
        (CHAT, {"function_call": {"name": "f"}}, "function_call", "not supported"),
        (CHAT, {"reasoning_effort": "high"}, "reasoning_effort", "not supported"),
        (CHAT, {"tool_choice": "required"}, "tool_choice", "not supported"),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content",
            "type text",
        ),
        (
            CHAT,
            {"messages": [*HI, {"role": "assistant", "content": "a"}]},
            "messages",
            "ends with an answer",
        ),
        (CHAT, {"messages": [{"role": "user", "content": LONG}]}, "messages", "context of 64"),
        (CHAT, {"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens", "differ"),
        (CHAT, {"tools": [{"type": "function"}]}, "tools", "not supported"),
        (CHAT, {"response_format": {"type": "json_object"}}, "response_format", "not supported"),
        (SCORE, {"items": []}, "items", "list of 1 to 64"),
        (SCORE, {"items": [{"prompt": "a"}]}, "items[0].response", "missing"),
        (SCORE, {"items": [{"prompt": "a", "response": " "}]}, "items[0].response", "empty"),
        (SCORE, {"items": ["a"]}, "items[0]", "prompt and response"),
        (SCORE, {"items": [{"prompt": [], "response": "a"}]}, "items[0].prompt", "at least one"),
        (SCORE, {"temperature": 1}, "temperature", "not a field"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(served, path, fields, param, part):
    error = refused(served.ask("POST", path, {**BODIES[path], **fields}), 400)
    assert error["param"] == param
    assert part in error["message"]
    assert error["type"] == "invalid_request_error"


def test_fields_that_ask_for_nothing_are_taken(served):
    neutral = {
        "best_of": 1,
        "echo": False,
        "logit_bias": {},
        "logprobs": None,
        "presence_penalty": 0,
        "suffix": None,
        "user": "eve",
        "stop": None,
        "stream_options": {"include_usage": False},
        "response_format": {"type": "text"},
        "min_p": 0.0,
        "max_tokens": 2,
    }
    status, _, answer = served.ask("POST", COMPLETIONS, {**BODIES[COMPLETIONS], **neutral})
    assert status == 200, answer
    chat = {
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "functions": [],
        "function_call": "auto",
        "modalities": ["text"],
        "metadata": {"chat_id": "a"},
        "prediction": {"type": "content", "content": "hi"},
        "reasoning_effort": "none",
        "verbosity": "medium",
        "store": False,
        "response_format": {"type": "text"},
        "logprobs": False,
        "top_logprobs": 0,
        "max_tokens": 2,
        "messages": [{"role": "developer", "content": [{"type": "text", "text": "be"}]}, *HI],
    }
    status, _, answer = served.ask("POST", CHAT, {**BODIES[CHAT], **chat})
    assert status == 200, answer


@pytest.mark.parametrize(
    "beside",
    [
        {},
        {"name": "eve"},
        {"refusal": None, "annotations": [], "audio": None, "function_call": None},
        {"tool_calls": [], "reasoning_content": "", "parsed": None},
        {"provider_specific_fields": {"refusal": None}, "thinking_blocks": [], "images": []},
    ],
)
def test_a_message_is_sent_back_with_what_stood_beside_it(served, beside):
    """Empty texts of a history stay in it; an empty system message says nothing and goes."""
    turns = [
        {"role": "system", "content": ""},
        {"role": "user", "content": ""},
        {"role": "assistant", "content": None, **beside},
        *HI,
    ]
    body = {**BODIES[CHAT], "max_tokens": 2}
    status, _, answer = served.ask("POST", CHAT, {**body, "messages": turns})
    assert status == 200, answer
    written = "<user></><assistant></><user>hi</><assistant>"
    same = served.complete(prompt=written)[2]["usage"]["prompt_tokens"]
    assert answer["usage"]["prompt_tokens"] == same


@pytest.mark.parametrize("end", ["", "/"])
def test_paths_are_answered_with_a_slash_at_the_end_or_without(served, end):
    status, _, answer = served.ask("GET", f"/v1/models{end}")
    assert (status, [one["id"] for one in answer["data"]]) == (200, [MODEL])
    assert served.ask("GET", f"/v1/models/{MODEL}{end}")[2]["id"] == MODEL
    for path, body in BODIES.items():
        limit = {} if path == SCORE else {"max_tokens": 2}
        assert served.ask("POST", f"{path}{end}", {**body, **limit})[0] == 200
    refused(served.ask("GET", f"/v1/completions{end}"), 405)
    refused(served.ask("GET", f"/v1/embeddings{end}"), 404)


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT, SCORE])
@pytest.mark.parametrize("coding", ["gzip", "br", "gzip, identity"])
def test_a_body_that_is_compressed(served, path, coding):
    body = gzip.compress(json.dumps(BODIES[path]).encode())
    answer = served.ask("POST", path, raw=body, headers={"Content-Encoding": coding})
    error = refused(answer, 415)
    assert error["code"] == "unsupported_encoding"
    assert coding in error["message"] and "Content-Encoding" in error["message"]
    assert answer[1]["accept-encoding"] == "identity"
    headers = {"Content-Encoding": "identity"}
    assert served.ask("POST", path, BODIES[path], headers)[0] == 200


def test_a_refusal_is_logged_with_its_code(served):
    refused(served.complete(tempreature=1), 400)
    assert "400 error=unknown_parameter" in served.wait_for_log("error=unknown_parameter")


@pytest.mark.parametrize(
    ("raw", "part"),
    [
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[]", "not a JSON object"),
        ('"text"', "not a JSON object"),
        (b"\xff\xfe\x00", "not JSON"),
        ('{"temperature": NaN}', "NaN is no JSON"),
        ("[" * 15_000, "not JSON"),
    ],
)
def test_a_body_that_is_not_json(served, raw, part):
    error = refused(served.ask("POST", COMPLETIONS, raw=raw), 400)
    assert error["code"] == "invalid_json"
    assert part in error["message"]


def test_a_body_of_another_type(served):
    headers = {"Content-Type": "text/plain"}
    error = refused(served.ask("POST", COMPLETIONS, BODIES[COMPLETIONS], headers), 415)
    assert "application/json" in error["message"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large(served, chunked):
    body = json.dumps({**BODIES[COMPLETIONS], "prompt": "a" * LIMITS.body_bytes}).encode()
    raw = iter([body]) if chunked else body
    error = refused(served.ask("POST", COMPLETIONS, raw=raw), 413)
    assert str(LIMITS.body_bytes) in error["message"]
    assert served.complete()[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "part"),
    [
        ("GET", "/", 404, "/ is not served"),
        ("GET", "/v1/embeddings", 404, "/v1/embeddings"),
        ("GET", "/v1/models/other", 404, "'other'"),
        ("GET", "/v1/completions", 405, "use POST"),
        ("DELETE", "/v1/models", 405, "use GET"),
        ("OPTIONS", "/v1/completions", 405, "use POST"),
    ],
)
def test_another_path_or_method(served, method, path, status, part):
    assert part in refused(served.ask(method, path), status)["message"]


def test_the_log_says_who_and_what_and_nothing_of_the_prompt(served):
    assert served.complete(prompt="the secret of the student")[0] == 200
    line = served.wait_for_log("POST /v1/completions 200")
    assert line.startswith("127.0.0.1 ")
    served.ask("GET", "/a%0Ab")
    assert "GET /a%0Ab 404" in served.wait_for_log("/a%0Ab")
    assert not any("secret" in line for line in served.log)
