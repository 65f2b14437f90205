"""`coala-jax serve` as the judge: a tiny model whose likeliest next token is A or B."""

import json

import numpy as np
import pytest

from coala_jax.cli._main import main
from coala_jax.decoding._config import GenerationConfig
from coala_jax.decoding._prompts import prompt_text, template_of
from coala_jax.evaluation._benchmark_rows import Answer, Answers
from coala_jax.evaluation.judge import JudgeSettings, judge_pairs, open_judge, pair_report
from coala_jax.evaluation.judge._pairwise import TOKEN
from coala_jax.features._chat import tokenizer_chat
from coala_jax.features._settings import ExtractSettings
from coala_jax.features._tokens import encode_prompts
from tests.decoding import reference
from tests.helpers import load_with_opinions, random_reward_model
from tests.serving.asking import MODEL, running

pytestmark = pytest.mark.slow

QUESTIONS = {f"q{n}": f"what is {n}?" for n in range(4)}
CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def answers_of(system, texts):
    pairs = zip(QUESTIONS, texts, strict=True)
    by = {key: Answer(key, (text,), system, key) for key, text in pairs}
    return Answers(system, by, system)


ONE = answers_of("one", ["a", "the tutor answers", "b b b", "student"])
TWO = answers_of("two", ["c", "the student asks", "d", "tutor"])


@pytest.fixture(scope="module")
def opinionated(make_checkpoint, tmp_path_factory):
    """A head and a tiny model that is about to say A or B, whatever it read."""
    import jax.numpy as jnp
    from flax import nnx

    folder = make_checkpoint(tmp_path_factory.mktemp("judges") / "tiny", n_positions=2048)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    backbone = load_with_opinions(folder)
    leaves = dict(nnx.to_flat_state(nnx.state(backbone.module, nnx.Param)))
    first, second = (backbone.tokenizer.encode_batch([letter])[0][0] for letter in "AB")
    towards, *apart = np.random.default_rng(3).standard_normal((3, 16))
    weights = np.array(leaves["wte_weight",][...])
    weights[first], weights[second] = (towards + 0.3 * each for each in apart)
    leaves["wte_weight",][...] = jnp.asarray(weights)
    leaves["ln_f_bias",][...] = jnp.asarray(towards, jnp.float32)
    settings = ExtractSettings().for_rows(tokenizer_chat(backbone.tokenizer).name)
    return random_reward_model(backbone, settings)


def test_verdicts_are_the_models_own_probabilities(opinionated, tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "LENGTH", 512)
    with running(opinionated) as served:
        settings = JudgeSettings(model=MODEL, base_url=f"{served.url}/v1", parallel=2)
        cache = tmp_path / "replies.jsonl"
        with open_judge(settings, cache, print) as judge:
            judged = judge_pairs(judge, QUESTIONS, ONE, TWO, TOKEN)
            account = judge.account()
    assert account["asked"] == 8 and account["uncounted"] == account["failed"] == 0
    assert account["completion_tokens"] == 8 and account["prompt_tokens"] > 8 * 300
    report = pair_report(judged)
    assert report.counted == 4 and report.from_text == 0
    backbone = reference.Reference(opinionated, GenerationConfig())
    tokenizer = opinionated.backbone.tokenizer
    first, second = (tokenizer.encode_batch([letter])[0][0] for letter in "AB")
    scores = []
    for outcome in judged.outcomes:
        texts = [each.by_question[outcome.question].text for each in (ONE, TWO)]
        for verdict, (one, two) in zip(outcome.verdicts, (texts, texts[::-1]), strict=True):
            request = TOKEN.request(QUESTIONS[outcome.question], one, two)
            turns = [{"role": role, "content": text} for role, text in request.messages]
            text = prompt_text(opinionated, turns, "")
            (ids,) = encode_prompts(tokenizer, [text], template_of(opinionated))
            logits = backbone.logits(list(ids))
            five = np.argsort(np.asarray(logits))[-5:]
            one, two = (np.exp(float(logits[each])) * (each in five) for each in (first, second))
            expected = one / (one + two)
            assert verdict.score == pytest.approx(expected, abs=1e-3)
            scores.append(verdict.score)
    assert np.std(scores) > 0.01


def test_the_command_judges_with_a_served_model(opinionated, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    files = []
    for answers in (ONE, TWO):
        rows = [
            {"id": key, "prompt": QUESTIONS[key], "text": answer.text, "model": answers.system}
            for key, answer in answers.by_question.items()
        ]
        files.append(tmp_path / f"{answers.system}.json")
        files[-1].write_text(json.dumps(rows))
    words = ["evaluate", "judge", *map(str, files), "--judge", MODEL, "--json"]
    words += ["--cache", str(tmp_path / "replies.jsonl"), "--parallel", "2"]
    with running(opinionated) as served:
        words += ["--base-url", f"{served.url}/v1"]
        assert main([*words, "--verdict", "token"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["counted"] == 4 and found["judge"]["asked"] == 8
        assert 0 <= found["win_rate"]["mean"] <= 1
        # It cannot argue: its text holds no verdict.
        assert main([*words, "--max-tokens", "4"]) == 2
        said = capsys.readouterr().err
    assert "8 of 8 replies of the judge cannot be read (a reply that was cut" in said
