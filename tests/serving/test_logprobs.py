"""Log probabilities of tokens: the backbone's own, in the forms of the API, whole and streamed."""

import json
import math

import jax
import numpy as np
import openai
import pytest

from coala_jax.data._chat import ChatText
from coala_jax.decoding._config import GenerationConfig
from coala_jax.decoding._generate import guided_generate
from coala_jax.decoding._prompts import UNFINISHED, prompt_text, template_of
from coala_jax.features._tokens import encode_prompts
from coala_jax.serving._likelihoods import LEAST, TokenLikelihood, TokenTexts, chat_logprobs
from tests.decoding.reference import Reference
from tests.serving.asking import MODEL, refused

PROMPT = "the student asks"
MESSAGES = [{"role": "user", "content": "the tutor?"}]
TOKENS = 12
SEED = 7
PLAIN = GenerationConfig()


@pytest.fixture(scope="module")
def client(served):
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def complete(client):
    """An answer to the prompt with 3 alternatives a token, and what else is asked for."""

    def ask(**options):
        names = ("n", "stream", "stop", "temperature", "top_p", "logprobs")
        named = {"logprobs": 3, **{name: options.pop(name) for name in names if name in options}}
        return client.completions.create(
            model=MODEL, prompt=PROMPT, max_tokens=TOKENS, seed=SEED, **named, extra_body=options
        )

    return ask


def expected(model, prompt, **options):
    """Prompt and response ids, and (tokens, vocab) log softmax of the bare backbone's logits."""
    config = GenerationConfig.from_options(max_new_tokens=TOKENS, **options)
    (made,) = guided_generate(model, [prompt], config, jax.random.key(SEED))
    tokenizer = model.backbone.tokenizer
    (ids,) = encode_prompts(tokenizer, [prompt_text(model, prompt, "")], template_of(model))
    response = [token for token in made.tokens if token != tokenizer.end_id]
    backbone = Reference(model, PLAIN)
    logits = [backbone.logits([*ids, *response[:place]]) for place in range(len(response))]
    return response, np.stack([one - np.logaddexp.reduce(one) for one in logits])


def text_of(tokens):
    return bytes(byte for token in tokens for byte in token.bytes).decode(errors="replace")


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.0, "scale": 0.0},
        {"temperature": 0.5, "top_p": 0.5, "scale": 0.0},
        {"repetition_penalty": 1.5, "top_k": 2, "scale": 4.0, "guide_every": 2},
        pytest.param(
            {"scale": 4.0, "guide_every": 1, "lookahead": 1, "top_k": 2}, marks=pytest.mark.slow
        ),
    ],
)
def test_they_are_the_backbones_whatever_the_options(client, model, options):
    """Neither temperature, penalty, nucleus nor head move them."""
    options = {"top_p": 1.0, "top_k": 4, **options}
    ours = {**options, "guidance_scale": options["scale"]}
    del ours["scale"]
    answer = client.chat.completions.create(
        model=MODEL,
        messages=MESSAGES,
        max_tokens=TOKENS,
        seed=SEED,
        logprobs=True,
        top_logprobs=5,
        extra_body=ours,
    )
    tokens, truth = expected(model, MESSAGES, **options)
    said = answer.choices[0].logprobs.content
    assert len(said) == len(tokens) > 3
    for one, token, row in zip(said, tokens, truth, strict=True):
        assert one.logprob == pytest.approx(row[token], abs=1e-4)
        most = [other.logprob for other in one.top_logprobs]
        assert most == pytest.approx(np.sort(row)[::-1][:5].tolist(), abs=1e-4)
    before = template_of(model).response.removesuffix("{response}")
    assert text_of(said).removeprefix(before) == answer.choices[0].message.content
    if options.get("temperature") == 0:
        assert all(one.logprob == one.top_logprobs[0].logprob for one in said)


def test_of_a_text_they_have_the_older_form(complete, model):
    choice = complete(guidance_scale=0).choices[0]
    tokens, truth = expected(model, ChatText(PROMPT), scale=0.0, top_p=1.0, top_k=4)
    said = choice.logprobs
    own = [row[token] for row, token in zip(truth, tokens, strict=True)]
    assert said.token_logprobs == pytest.approx(own, abs=1e-4)
    for name, value, others in zip(
        said.tokens, said.token_logprobs, said.top_logprobs, strict=True
    ):
        assert others[name] == value
        assert 3 <= len(others) <= 4
    assert said.text_offset[0] == 0 and said.text_offset == sorted(said.text_offset)
    for place, name in zip(said.text_offset, said.tokens, strict=True):
        if "\\x" not in name and place:
            assert choice.text[place:].lstrip(UNFINISHED).startswith(name)


@pytest.mark.parametrize("n", [1, 2])
def test_a_stream_of_them_adds_up_to_the_whole(complete, n):
    whole = complete(n=n, temperature=2.0).choices
    parts = [{name: [] for name in vars(whole[0].logprobs)} for _ in range(n)]
    with complete(n=n, temperature=2.0, stream=True) as stream:
        for chunk in stream:
            for choice in chunk.choices:
                assert (choice.logprobs is None) == (not choice.text)
                for name, values in vars(choice.logprobs).items() if choice.logprobs else ():
                    parts[choice.index][name] += values
    assert parts == [vars(choice.logprobs) for choice in whole]


def test_a_streamed_conversation_of_them_adds_up_too(client):
    asked = {"model": MODEL, "messages": MESSAGES, "max_tokens": TOKENS, "seed": SEED}
    asked |= {"logprobs": True, "top_logprobs": 2}
    whole = client.chat.completions.create(**asked).choices[0]
    chunks = [chunk.choices[0] for chunk in client.chat.completions.create(**asked, stream=True)]
    assert [chunk.logprobs is not None for chunk in chunks] == [
        bool(chunk.delta.content) for chunk in chunks
    ]
    parts = [one for chunk in chunks if chunk.logprobs for one in chunk.logprobs.content]
    assert parts == whole.logprobs.content


@pytest.mark.parametrize("count", [0, 1, 20])
def test_as_many_alternatives_as_were_asked_for(client, complete, count):
    answer = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=3, logprobs=True, top_logprobs=count
    )
    assert {len(one.top_logprobs) for one in answer.choices[0].logprobs.content} == {count}
    told = complete(logprobs=count).choices[0].logprobs.top_logprobs
    assert {len(one) for one in told} <= {max(count, 1), count + 1}


def test_none_are_told_where_none_were_asked_for(client, complete):
    assert complete(logprobs=None).choices[0].logprobs is None
    for options in ({}, {"logprobs": False}, {"logprobs": False, "top_logprobs": 0}):
        answer = client.chat.completions.create(
            model=MODEL, messages=MESSAGES, max_tokens=3, **options
        )
        assert answer.choices[0].logprobs is None


def test_a_stop_text_ends_them_where_it_ends_the_text(complete):
    whole = complete().choices[0]
    places = range(2, len(whole.text) - 3)
    assert len(places) > 3
    for at in places:
        stop = whole.text[at : at + 2]
        choice = complete(stop=[stop]).choices[0]
        assert stop not in choice.text
        inside = [place for place in whole.logprobs.text_offset if place < len(choice.text)]
        assert choice.logprobs.text_offset == inside
        assert choice.logprobs.tokens == whole.logprobs.tokens[: len(inside)]


@pytest.mark.parametrize(
    ("path", "fields", "param", "part"),
    [
        ("completions", {"logprobs": 21}, "logprobs", "from 0 to 20"),
        ("completions", {"logprobs": True}, "logprobs", "integer"),
        (
            "completions",
            {"logprobs": 1, "continuations": 2, "guide_every": 2},
            None,
            "leave continuations",
        ),
        ("chat/completions", {"logprobs": 5}, "logprobs", "true or false"),
        ("chat/completions", {"top_logprobs": 2}, "top_logprobs", "needs logprobs=true"),
        ("chat/completions", {"logprobs": True, "top_logprobs": 21}, "top_logprobs", "to 20"),
    ],
)
def test_what_cannot_be_told_is_named(served, path, fields, param, part):
    asked = {"prompt": PROMPT} if path == "completions" else {"messages": MESSAGES}
    error = refused(served.ask("POST", f"/v1/{path}", {"model": MODEL, **asked, **fields}), 400)
    assert error["param"] == param
    assert part in error["message"]


class Decoded:
    """A tokenizer that writes its tokens in one way, and joins them in another."""

    end_id = 0

    def __init__(self, pieces, texts):
        self.raw, self._pieces, self._texts = self, pieces, texts

    def decode(self, ids):
        return "</s>" + self._texts[ids[-1]] if len(ids) > 1 else "</s>"

    def convert_ids_to_tokens(self, token):
        return self._pieces[token]


@pytest.mark.parametrize(
    ("piece", "text", "name", "found"),
    [
        ("\u2581the", " the", " the", [32, 116, 104, 101]),
        ("<0xF0>", "\ufffd", "\\xf0", [0xF0]),
        ("\u00e2\u0122", "\ufffd", "\\xe2\\x80", [0xE2, 0x80]),
        ("\u00ef\u00bf\u00bd", "\ufffd", "\\xef\\xbf\\xbd", [0xEF, 0xBF, 0xBD]),
        ("<unk>\u4e00", "\ufffd", "\ufffd", None),
        (None, "", "", []),
    ],
)
def test_names_and_bytes_of_tokens(piece, text, name, found):
    texts = TokenTexts(Decoded([None, piece], ["", text]))
    entry = chat_logprobs([TokenLikelihood(texts.likely(1, -0.5), (), 0)])["content"][0]
    assert entry == {"token": name, "logprob": -0.5, "bytes": found, "top_logprobs": []}


@pytest.mark.parametrize("value", [-math.inf, math.nan])
def test_what_json_cannot_hold_is_the_least(value):
    token = TokenTexts(Decoded([None, "a"], ["", "a"])).likely(1, value)
    assert token.log_prob == LEAST
    json.dumps(chat_logprobs([TokenLikelihood(token, (token,), 0)]), allow_nan=False)
