"""The official client's calls, and the same text as `guided_generate`."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import jax
import openai
import pytest

from coala_jax.data import ResponseRow
from coala_jax.data._chat import ChatText
from coala_jax.decoding import score
from coala_jax.decoding._config import GenerationConfig
from coala_jax.decoding._generate import guided_generate
from coala_jax.decoding._prompts import answered_texts
from coala_jax.decoding._value_head import ValueHead
from coala_jax.features._settings import ExtractSettings
from tests.helpers import random_reward_model
from tests.serving.asking import MODEL, running

PROMPTS = ["the student asks", "what does the tutor answer"]
MESSAGES = [{"role": "user", "content": "the tutor?"}]
OURS = {"guidance_scale": 3.0, "top_k": 3}
SEED = 7


@pytest.fixture(scope="module")
def client(served):
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def generated(model, prompts, **options):
    config = {"scale": 3.0, "top_p": 1.0, "top_k": 3, "max_new_tokens": 12}
    key = jax.random.key(SEED)
    config = GenerationConfig.from_options(**(config | options))
    # Texts to complete are taken as the chat template of the head writes them.
    written = [ChatText(each) if isinstance(each, str) else each for each in prompts]
    return guided_generate(model, written, config, key, batch_size=1)


def test_completions_are_those_of_guided_generate(client, model):
    answer = client.completions.create(
        model=MODEL, prompt=PROMPTS, n=2, max_tokens=12, seed=SEED, extra_body=OURS
    )
    expected = generated(model, [PROMPTS[0], PROMPTS[0], PROMPTS[1], PROMPTS[1]])
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert [choice.text for choice in answer.choices] == [one.text for one in expected]
    assert [choice.finish_reason for choice in answer.choices] == [
        one.finish_reason for one in expected
    ]
    rewards = [choice.reward for choice in answer.choices]
    assert rewards == pytest.approx([one.reward for one in expected], abs=1e-5)
    assert answer.usage.completion_tokens == sum(len(one.tokens) for one in expected)
    assert answer.usage.prompt_tokens == expected[0].prompt_tokens + expected[2].prompt_tokens
    assert (answer.object, answer.model) == ("text_completion", MODEL)


def test_a_served_value_head_guides_and_the_head_rewards(model):
    values = random_reward_model(model.backbone, ExtractSettings(pooling="mean"), 5)
    valued = replace(model, value_head=ValueHead(values.head, values.settings))
    with running(valued) as served:
        status, _, body = served.complete(prompt=PROMPTS[0], max_tokens=12, seed=SEED, **OURS)
    assert status == 200
    expected, without = (generated(each, PROMPTS[:1])[0] for each in (valued, model))
    (choice,) = body["choices"]
    assert choice["text"] == expected.text != without.text
    assert choice["reward"] == pytest.approx(expected.reward, abs=1e-5)


def test_a_conversation_is_what_the_chat_template_writes(client, model):
    answer = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_completion_tokens=12, seed=SEED, extra_body=OURS
    )
    (expected,) = generated(model, [MESSAGES])
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", expected.text)
    assert choice.finish_reason == expected.finish_reason
    assert choice.reward == pytest.approx(expected.reward, abs=1e-5)
    assert answer.usage.prompt_tokens == expected.prompt_tokens
    assert answer.object == "chat.completion"


@pytest.mark.parametrize("n", [1, 2])
def test_a_stream_adds_up_to_the_whole_answer(client, n):
    asked = {"model": MODEL, "prompt": PROMPTS[0], "n": n, "max_tokens": 12, "seed": SEED}
    whole = client.completions.create(**asked, extra_body=OURS)
    texts, rewards, usage = [""] * n, {}, []
    with client.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}, extra_body=OURS
    ) as stream:
        for chunk in stream:
            usage.append(chunk.usage)
            for choice in chunk.choices:
                texts[choice.index] += choice.text
                if choice.finish_reason:
                    rewards[choice.index] = choice.reward
    assert texts == [choice.text for choice in whole.choices]
    assert rewards == {choice.index: choice.reward for choice in whole.choices}
    assert usage[-1] == whole.usage
    assert set(usage[:-1]) == {None}


def test_a_streamed_conversation_says_who_speaks_first(client):
    asked = {"model": MODEL, "messages": MESSAGES, "max_tokens": 12, "seed": SEED}
    whole = client.chat.completions.create(**asked, extra_body=OURS)
    chunks = list(client.chat.completions.create(**asked, stream=True, extra_body=OURS))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].choices[0].reward == whole.choices[0].reward
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}


def test_the_text_is_the_same_in_a_crowd(client, model):
    """Requests of several kinds at once, more than there are rows."""
    expected = generated(model, [PROMPTS[0]])[0].text
    plain = generated(model, [PROMPTS[0]], scale=0.0)[0].text

    def ask(scale):
        return client.completions.create(
            model=MODEL,
            prompt=PROMPTS[0],
            max_tokens=12,
            seed=SEED,
            extra_body={**OURS, "guidance_scale": scale},
        )

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, [3.0, 0, 3.0, 0, 3.0, 3.0]))
    texts = [answer.choices[0].text for answer in answers]
    assert texts == [expected, plain, expected, plain, expected, expected]


def test_a_seed_is_drawn_where_none_is_given_and_said(client):
    asked = {"model": MODEL, "prompt": PROMPTS[0], "max_tokens": 12, "extra_body": OURS}
    first = client.completions.create(**asked)
    again = client.completions.create(**asked, seed=first.seed)
    assert again.choices[0].text == first.choices[0].text


def test_stop_texts_end_a_response_and_are_no_part_of_it(client, model):
    text = generated(model, [PROMPTS[0]])[0].text
    stop = text[4:6]
    answer = client.completions.create(
        model=MODEL, prompt=PROMPTS[0], max_tokens=12, seed=SEED, stop=[stop], extra_body=OURS
    )
    (expected,) = generated(model, [PROMPTS[0]], stop=(stop,))
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason) == (expected.text, "stop")
    assert stop not in choice.text
    assert choice.reward == pytest.approx(expected.reward, abs=1e-5)
    assert answer.usage.completion_tokens == len(expected.tokens)


def test_the_model_is_listed(client):
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).owned_by == "coala-jax"


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({"prompt": ""}, openai.BadRequestError, "prompt"),
        ({"max_tokens": 1000}, openai.BadRequestError, "max_tokens"),
        ({"logprobs": 21}, openai.BadRequestError, "logprobs"),
        ({"model": "gpt-4"}, openai.NotFoundError, "model"),
        ({"temperature": 3}, openai.BadRequestError, "temperature"),
    ],
)
def test_errors_are_those_that_the_client_knows(client, fields, error, param):
    with pytest.raises(error) as raised:
        client.completions.create(**{"model": MODEL, "prompt": PROMPTS[0], **fields})
    assert raised.value.param == param
    assert raised.value.type == "invalid_request_error"
    assert raised.value.code
    with pytest.raises(error):  # before the stream begins
        client.completions.create(**{"model": MODEL, "prompt": PROMPTS[0], **fields}, stream=True)


def test_given_responses_are_scored(client, model):
    items = [
        {"prompt": MESSAGES, "response": "the tutor answers"},
        {"prompt": "the student asks", "response": "the tutor " * 40},
    ]
    answer = client.post("/score", body={"model": MODEL, "items": items}, cast_to=dict)
    text, (response,) = answered_texts(model, MESSAGES, [items[0]["response"]], "prompt")
    long = model.written_response(items[1]["response"])
    rows = [
        ResponseRow("row", "response", text, response),
        ResponseRow("row", "response", ChatText(items[1]["prompt"]), long),
    ]
    made = score(model, rows)
    assert [one["reward"] for one in answer["data"]] == pytest.approx(list(made.rewards))
    assert answer["cut"] == {"prompt": made.prompt_cut, "response": made.response_cut}
    assert made.response_cut == 1
