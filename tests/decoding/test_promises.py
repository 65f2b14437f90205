"""What `guided_generate` promises beyond its tokens: seeds, batches, limits, stops, streams."""

import copy
import math
from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import nnx

from coala_jax.backbones._decoder import Decoder
from coala_jax.decoding._best_of import best_of_n
from coala_jax.decoding._comparison import compare_plain_and_guided
from coala_jax.decoding._config import PAPER, GenerationConfig, GenerationError, Guidance, Sampling
from coala_jax.decoding._generate import guided_generate
from coala_jax.decoding._page import comparison_page
from coala_jax.decoding._token_rewards import token_rewards
from coala_jax.decoding._value_head import ValueHead
from coala_jax.features import FeatureError
from tests.helpers import PROMPTS

CONFIG = PAPER.with_options(max_new_tokens=9, top_k=4, top_p=0.8, guide_every=3, scale=3.0)


def require_same(left, right):
    """The same texts, but for near ties, which are counted and few."""
    equal = [one.tokens == other.tokens for one, other in zip(left, right, strict=False)]
    for same, one in zip(equal, left, strict=False):
        assert same or one.near_ties > 0
    assert 2 * sum(equal) >= len(equal) > 0


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, marks=pytest.mark.slow),
        {"continuations": 2},
        pytest.param({"lookahead": 1}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_a_key_gives_its_text_whatever_runs_beside_it(backbone, make_model, key, changes):
    model, config = make_model(backbone), CONFIG.with_options(**changes)
    together = guided_generate(model, PROMPTS, config, key)
    require_same(together, guided_generate(model, PROMPTS, config, key, batch_size=3))
    if not changes:
        require_same(together, guided_generate(model, PROMPTS[:2], config, key))
    keys = [jax.random.fold_in(key, number) for number in range(len(PROMPTS))]
    if not changes:
        turned = guided_generate(model, PROMPTS[::-1], config, keys[::-1])
        require_same(together, turned[::-1])
    other = guided_generate(model, PROMPTS, config, jax.random.key(99))
    assert [one.text for one in together] != [one.text for one in other]


def test_scale_zero_is_plain_sampling(backbone, make_model, key):
    """Once left out, and once run through the head with a scale too small to count."""
    model = make_model(backbone)
    plain = guided_generate(backbone, PROMPTS, CONFIG.with_options(scale=0.0), key)
    for scale in (0.0, 1e-9):
        config = CONFIG.with_options(scale=scale)
        guided = guided_generate(model, PROMPTS, config, key)
        assert [made.tokens for made in guided] == [made.tokens for made in plain]
        assert all((made.guided_steps > 0) == (scale > 0) for made in guided)


@pytest.mark.parametrize("changes", [{}, {"continuations": 2}])
def test_a_head_without_preference_changes_nothing(backbone, dead_head, key, changes):
    plain = guided_generate(backbone, PROMPTS, CONFIG.with_options(scale=0.0), key)
    config = CONFIG.with_options(scale=50.0, **changes)
    guided = guided_generate(dead_head(backbone), PROMPTS, config, key)
    assert [made.tokens for made in guided] == [made.tokens for made in plain]


def test_one_candidate_leaves_nothing_to_guide(backbone, make_model, key):
    config = CONFIG.with_options(num_candidates=1, guide_every=1, scale=9.0)
    greedy = CONFIG.with_options(temperature=0.0, scale=0.0)
    guided = guided_generate(make_model(backbone), PROMPTS, config, key)
    expected = guided_generate(backbone, PROMPTS, greedy, key)
    assert [made.tokens for made in guided] == [made.tokens for made in expected]
    assert all(made.guided_steps == made.scored == 0 for made in guided)


def test_the_head_raises_rewards(backbone, make_model, key):
    model, prompts = make_model(backbone), PROMPTS * 4
    strong = CONFIG.with_options(top_p=1.0, guide_every=1, choice="best")
    found = {}
    for name, config in {"plain": strong.with_options(scale=0.0), "guided": strong}.items():
        made = guided_generate(model, prompts, config, key)
        found[name] = np.mean([one.reward for one in made])
    assert found["guided"] > found["plain"] + 0.1


@pytest.mark.slow
def test_prompts_may_have_options_of_their_own(backbone, make_model, key):
    model = make_model(backbone)
    configs = [
        CONFIG,
        CONFIG.with_options(scale=0.0),
        CONFIG.with_options(temperature=0.5, top_k=3, top_p=0.5, max_new_tokens=4),
        CONFIG.with_options(repetition_penalty=2.0, scale=1.0),
    ]
    together = guided_generate(model, PROMPTS, configs, key)
    for number, config in enumerate(configs):
        alone = guided_generate(model, PROMPTS, config, key)[number]
        assert together[number].tokens == alone.tokens
    assert len(together[2].tokens) <= 4
    with pytest.raises(GenerationError, match="guide_every: 3 and 2 in one batch"):
        guided_generate(model, PROMPTS[:2], [CONFIG, CONFIG.with_options(guide_every=2)], key)
    with pytest.raises(GenerationError, match="config: 1 of them for 2 prompts"):
        guided_generate(model, PROMPTS[:2], [CONFIG], key)
    with pytest.raises(GenerationError, match="key: 3 of them for 2 prompts"):
        guided_generate(model, PROMPTS[:2], CONFIG, [key] * 3)


SEED_WITHOUT_EDGES = 2


def test_a_second_call_compiles_nothing(backbone, make_model, key, caplog):
    model = make_model(backbone)
    guided_generate(model, PROMPTS, CONFIG, key)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        other = CONFIG.with_options(temperature=0.7, scale=1.0, top_p=0.9, max_new_tokens=7)
        made = guided_generate(model, PROMPTS, other, jax.random.key(SEED_WITHOUT_EDGES))
    # White space at an edge does not count in a reward: such a response is scored anew.
    assert all(one.text == one.text.strip() for one in made)
    assert [record.message for record in caplog.records if "Compiling" in record.message] == []


def test_a_stop_text_ends_a_response(backbone, make_model, key):
    model, config = make_model(backbone), CONFIG.with_options(max_new_tokens=20, scale=1.0)
    whole = guided_generate(model, PROMPTS[:2], config, key)
    target = whole[0].text
    assert len(target) > 6
    stop = target[3:5]
    cut = guided_generate(model, PROMPTS[:2], config.with_options(stop=(stop,)), key)
    assert cut[0].text == target[: target.index(stop)]
    assert cut[0].finish_reason == "stop"
    assert len(cut[0].tokens) < len(whole[0].tokens)
    if stop not in whole[1].text:
        assert cut[1].text == whole[1].text


def test_an_end_token_at_once_is_an_empty_response(backbone, make_model, key):
    """The end token's logit is raised above all others."""
    logits = type(backbone.module).logits

    class Silent(type(backbone.module)):
        def logits(self, hidden):
            return logits(self, hidden).at[..., backbone.tokenizer.end_id].set(1e4)

    import copy

    module = copy.copy(backbone.module)
    object.__setattr__(module, "__class__", Silent)
    made = guided_generate(make_model(replace(backbone, module=module)), PROMPTS, CONFIG, key)
    for one in made:
        assert (one.text, one.finish_reason, len(one.tokens)) == ("", "stop", 1)
        assert math.isfinite(one.reward)


def test_steps_behind_a_stop_text_are_left_out_of_trace_and_page(backbone, make_model):
    model, config = (
        make_model(backbone),
        CONFIG.with_options(max_new_tokens=20, guide_every=1, top_p=1.0),
    )
    whole = compare_plain_and_guided(model, PROMPTS[:2], config, 5, trace=True)
    stop = whole[0].guided.text[2:4]
    config = config.with_options(stop=(stop,))
    cut = compare_plain_and_guided(model, PROMPTS[:2], config, 5, trace=True)
    assert len(cut[0].guided.steps) < len(whole[0].guided.steps)
    for pair in cut:
        assert all(step.place < len(pair.guided.tokens) for step in pair.guided.steps)
    assert "<html" in comparison_page(model, PROMPTS[:2], cut, config)


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_rewards_that_are_not_finite_are_errors(backbone, make_model, key, scale):
    model = make_model(backbone)
    heavy = model.head._replace(
        theta1=1e38 * np.asarray(model.head.theta1), theta2=np.full(6, 1e38)
    )
    with pytest.raises(FeatureError, match="prompt 0: the head's reward is not finite"):
        guided_generate(replace(model, head=heavy), PROMPTS, CONFIG.with_options(scale=scale), key)


def test_a_value_head_whose_values_are_not_finite_is_named(backbone, make_model, key):
    model = make_model(backbone)
    heavy = model.head._replace(
        theta1=1e38 * np.asarray(model.head.theta1), theta2=np.full(6, 1e38)
    )
    valued = replace(model, value_head=ValueHead(heavy, model.settings))
    with pytest.raises(FeatureError, match="prompt 0: the value head's reward is not finite"):
        guided_generate(valued, PROMPTS, CONFIG, key)


def test_a_template_with_words_around_the_response_is_refused(backbone, make_model, key):
    model = make_model(backbone)
    template = model.settings.template._replace(response="Answer: {response}")
    identity = model.identity._replace(response_template=template.response)
    named = replace(model, identity=identity)
    with pytest.raises(GenerationError, match="Answer: {response}.*white space alone"):
        guided_generate(named, PROMPTS, CONFIG, key)


def test_pieces_of_a_stream_make_the_text(backbone, make_model, key):
    model = make_model(backbone)
    config = CONFIG.with_options(max_new_tokens=20, stop=("the",), temperature=1.5)
    pieces = {}
    made = guided_generate(
        model,
        PROMPTS,
        config,
        key,
        batch_size=3,
        on_text=lambda number, piece: pieces.setdefault(number, []).append(piece),
    )
    assert {n: "".join(parts) for n, parts in pieces.items()} == {
        n: one.text for n, one in enumerate(made) if one.text
    }
    assert max(len(parts) for parts in pieces.values()) > 1


def test_a_response_ends_where_the_context_does(backbone, make_model, key):
    ids = backbone.tokenizer.encode(PROMPTS[1])
    prompt = backbone.tokenizer.decode((ids * 8)[:55])
    count = len(backbone.tokenizer.encode(prompt))
    config = CONFIG.with_options(max_new_tokens=40, scale=0.0)
    made = guided_generate(backbone, [prompt], config, key)[0]
    assert made.finish_reason == "stop" or len(made.tokens) == 64 - count - 1
    with pytest.raises(GenerationError, match="prompt 0 has .* tokens.*context of 64; shorten it"):
        guided_generate(backbone, [prompt + prompt], config, key)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "prompt 1 is empty"),
        ("  \n", "prompt 1 is empty"),
        ([], "prompt 1 is empty"),
        ("caf\udce9", "prompt 1 is not valid Unicode"),
        ([{"role": "user", "content": "\ud800"}], "prompt 1 is not valid Unicode"),
        ([{"role": "assistant", "content": "a"}], "prompt 1 ends in an answer"),
        ([{"role": "user"}], "a message needs the texts role and content"),
        ([{"role": "user", "content": " "}], "prompt 1: its last message is empty"),
        ([3], "no message"),
    ],
)
def test_prompts_that_cannot_be_used_are_named(backbone, key, prompt, message):
    with pytest.raises(GenerationError, match=message):
        guided_generate(backbone, ["fine", prompt], CONFIG.with_options(scale=0.0), key)


def test_a_token_that_the_model_does_not_know_is_named(backbone, key):
    """One that was added to the tokenizer and not to the embedding, which is read within it."""
    raw = copy.deepcopy(backbone.tokenizer.raw)
    raw.add_tokens(["<new>"])
    added = raw.get_vocab()["<new>"]
    grown = replace(backbone, tokenizer=replace(backbone.tokenizer, raw=raw, size=added + 1))
    with pytest.raises(GenerationError, match=f"prompt 1 has a token of id {added}"):
        guided_generate(grown, ["a", "a <new>"], CONFIG.with_options(scale=0.0), key)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scale", -1.0),
        ("scale", math.nan),
        ("scale", math.inf),
        ("scale", 1e30),
        ("temperature", -0.1),
        ("temperature", 1e-30),
        ("temperature", math.nan),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_p", math.nan),
        ("top_k", 0),
        ("top_k", 2.5),
        ("top_k", True),
        ("num_candidates", 0),
        ("guide_every", 0),
        ("lookahead", -1),
        ("max_new_tokens", 0),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", math.inf),
        ("choice", "worst"),
        ("scored", "all"),
        ("stop", "text"),
        ("stop", ("",)),
    ],
)
def test_options_out_of_range_are_named_with_their_value(field, value):
    with pytest.raises(GenerationError) as error:
        GenerationConfig.from_options(**{field: value})
    assert field in str(error.value) and repr(value) in str(error.value)


def test_options_by_name_make_both_parts():
    made = GenerationConfig.from_options(scale=2.0, guide_every=3)
    assert made == GenerationConfig(Sampling(scale=2.0), Guidance(guide_every=3))
    assert made.with_options(guide_every=1, scale=8.0) == GenerationConfig()
    with pytest.raises(GenerationError, match="heat=2: no such option; known are .*temperature"):
        made.with_options(heat=2)
    with pytest.raises(GenerationError, match="sampling=0.5 must be a Sampling; from_options"):
        GenerationConfig(0.5)
    with pytest.raises(GenerationError, match="guidance=Sampling.* must be a Guidance"):
        GenerationConfig(guidance=Sampling())


def test_a_lookahead_within_blocks_is_refused():
    with pytest.raises(GenerationError, match="lookahead=1 and continuations=2"):
        GenerationConfig.from_options(lookahead=1, continuations=2, guide_every=4)
    with pytest.raises(GenerationError, match="continuations=2: blocks of guide_every=1 tokens"):
        GenerationConfig.from_options(continuations=2)


def test_samples_that_cannot_differ_are_refused(backbone, make_model, key):
    for name, value in (("temperature", 0.0), ("top_k", 1)):
        config = CONFIG.with_options(**{name: value})
        with pytest.raises(GenerationError, match=rf"{name}={value:g}: all 2 samples would be"):
            best_of_n(make_model(backbone), ["a"], 2, config, key)


@pytest.mark.parametrize(
    ("changes", "ahead"),
    [
        ({"lookahead": 200, "scored": "prefix"}, 200),
        ({"continuations": 2, "guide_every": 200, "scored": "prefix"}, 199),
        ({"lookahead": 200, "scored": "closed"}, 201),
    ],
)
def test_a_look_beyond_the_context_is_named_and_not_the_prompt_alone(
    backbone, make_model, key, changes, ahead
):
    config = CONFIG.with_options(**changes)
    with pytest.raises(GenerationError) as caught:
        guided_generate(make_model(backbone), ["a"], config, key)
    assert f"one new token and {ahead} looked at behind it, it does not fit" in str(caught.value)
    assert "or give a smaller lookahead or guide_every" in str(caught.value)


def test_what_does_not_fit_the_model_is_refused(backbone, make_model, key):
    size = backbone.tokenizer.size
    with pytest.raises(GenerationError, match=f"top_k={size + 1} is larger than the vocabulary"):
        guided_generate(backbone, ["a"], CONFIG.with_options(scale=0.0, top_k=size + 1), key)
    whole = CONFIG.with_options(top_k=size, top_p=1.0, max_new_tokens=3)
    assert guided_generate(make_model(backbone), ["a"], whole, key)[0].tokens
    with pytest.raises(GenerationError, match="guidance needs a head; give one, or scale=0"):
        guided_generate(backbone, ["a"], CONFIG, key)
    with pytest.raises(GenerationError, match="batch_size=0"):
        guided_generate(backbone, ["a"], CONFIG.with_options(scale=0.0), key, batch_size=0)
    assert guided_generate(backbone, [], CONFIG.with_options(scale=0.0), key) == []


@pytest.mark.parametrize(
    "use",
    [
        lambda backbone, key: best_of_n(backbone, PROMPTS, 2, CONFIG, key),
        lambda backbone, key: compare_plain_and_guided(backbone, PROMPTS, CONFIG, 0),
        lambda backbone, key: token_rewards(backbone, [[1]], [[1]]),
    ],
)
def test_what_needs_a_head_says_so_of_a_backbone(backbone, key, use):
    with pytest.raises(GenerationError, match="model must be a TextRewardModel, got Backbone"):
        use(backbone, key)


def test_an_array_of_keys_has_one_a_prompt(backbone, key):
    config, keys = CONFIG.with_options(scale=0.0), jax.random.split(key, len(PROMPTS))
    of_array, of_list = (guided_generate(backbone, PROMPTS, config, k) for k in (keys, list(keys)))
    assert [made.tokens for made in of_array] == [made.tokens for made in of_list]
    with pytest.raises(GenerationError, match="key: 4 of them for 2 prompts"):
        guided_generate(backbone, PROMPTS[:2], config, keys)


@pytest.mark.parametrize("key", [0, "seed", [0], np.uint32([0, 1]), jax.random.PRNGKey(0)])
def test_what_is_no_typed_key_is_named(backbone, make_model, key):
    with pytest.raises(GenerationError, match=r"key=.* must be a typed key, as jax.random.key"):
        guided_generate(backbone, ["a"], CONFIG.with_options(scale=0.0), key)
    with pytest.raises(GenerationError, match=r"key=.* must be a typed key, as jax.random.key"):
        best_of_n(make_model(backbone), ["a"], 2, CONFIG, key)


def test_a_model_without_a_head_for_tokens_names_it(llama, key):
    config = replace(llama.config, has_head=False)
    headless = replace(llama, module=Decoder(config, rngs=nnx.Rngs(0)), config=config)
    with pytest.raises(GenerationError, match=r"tiny-mistral: .* no lm_head\.weight, which scores"):
        guided_generate(headless, ["a"], CONFIG.with_options(scale=0.0), key)


def test_models_that_do_not_generate_are_refused(backbone, key):
    class Encoder(type(backbone.module)):
        generates = False

    import copy

    module = copy.copy(backbone.module)
    object.__setattr__(module, "__class__", Encoder)
    with pytest.raises(GenerationError, match="does not generate; use a causal model"):
        guided_generate(
            replace(backbone, module=module), ["a"], CONFIG.with_options(scale=0.0), key
        )
