"""The official client's calls, and the same text as `guided_generate`."""

import jax
import openai
import pytest

from coala_jax.decoding.config import GenerationConfig
from coala_jax.decoding.generate import guided_generate
from tests.serving.conftest import MODEL

PROMPTS = ["the student asks", "what does the tutor answer"]
MESSAGES = [
    {"role": "system", "content": "answer the student"},
    {"role": "user", "content": "what is the tutor?"},
]
OURS = {"guidance_scale": 3.0, "top_k": 20, "guide_every": 3}
SEED = 7


@pytest.fixture(scope="module")
def client(served):
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def generated(backbone, head, prompts, **options):
    config = {"scale": 3.0, "top_p": 1.0, "top_k": 20, "guide_every": 3, "max_new_tokens": 12}
    key = jax.random.key(SEED)
    return guided_generate(backbone, head, prompts, GenerationConfig(**(config | options)), key)


def test_completions_are_those_of_guided_generate(client, backbone, head):
    answer = client.completions.create(
        model=MODEL, prompt=PROMPTS, n=2, max_tokens=12, seed=SEED, extra_body=OURS
    )
    expected = generated(backbone, head, [PROMPTS[0], PROMPTS[0], PROMPTS[1], PROMPTS[1]])
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
