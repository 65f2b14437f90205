"""The page of plain and guided texts: loads nothing, escapes everything, shows the numbers."""

import base64
import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest

from coala_jax._version import __version__
from coala_jax.data import Message
from coala_jax.data._chat import PLAIN
from coala_jax.decoding import _page as page_module
from coala_jax.decoding._comparison import Comparison
from coala_jax.decoding._config import GenerationConfig, GenerationError
from coala_jax.decoding._generate import Generation, GuidedStep
from coala_jax.decoding._moved_steps import moved_steps
from coala_jax.decoding._page import STYLE, comparison_page
from coala_jax.decoding._prompts import prompt_text, template_of
from coala_jax.decoding._reward_colours import colours_for, signed
from coala_jax.decoding._token_rewards import token_rewards
from coala_jax.decoding._token_text import token_pieces, visible_token
from coala_jax.decoding._value_head import ValueHead
from coala_jax.features._tokens import encode_prompts
from tests.decoding.page_reader import Reader

CONFIG = GenerationConfig.from_options(
    max_new_tokens=9, top_k=6, top_p=1.0, guide_every=2, scale=9.0
)
PROMPTS = (
    "the student asks",
    [Message("system", "be <b>brief</b>"), {"role": "user", "content": "what does\nthe tutor"}],
    "the tutor answers",
    "a",
)
HOSTILE = "</script><img onerror=x>"


@pytest.fixture(scope="module")
def model(backbone, make_model):
    """A head that was trained on conversations."""
    made = make_model(backbone)
    return replace(made, identity=made.identity._replace(chat_template=PLAIN.name))


def response_of(text, tokens, steps):
    """A response that nothing generated."""
    return Generation(
        text=text,
        tokens=tuple(tokens),
        finish_reason="length",
        reward=0.0,
        prompt_tokens=1,
        evaluations=1,
        guided_steps=len(steps),
        scored=0,
        near_ties=0,
        steps=tuple(steps),
    )


def made_up(rng, tokenizer, steps=False, ended=False):
    """A response of random tokens; which of its candidates were chosen is random, too."""
    tokens = rng.integers(1, tokenizer.size, CONFIG.sampling.max_new_tokens).tolist()
    text = tokenizer.decode(tokens)
    found = []
    for place in range(0, len(tokens), CONFIG.guidance.guide_every) if steps else ():
        chosen, plain = rng.integers(0, 6, 2).tolist()
        candidates = rng.integers(1, tokenizer.size, 6).tolist()
        candidates[chosen] = tokens[place]
        log_probs = sorted(np.log(rng.dirichlet(np.ones(6))).tolist(), reverse=True)
        scores = rng.standard_normal(6).tolist()
        step = GuidedStep(place, tuple(candidates), tuple(log_probs), tuple(scores), chosen, plain)
        found.append(step)
    tokens += [tokenizer.end_id] if ended else []
    made = response_of(text, tokens, found)
    return made._replace(finish_reason="stop" if ended else "length")


@pytest.fixture(scope="module")
def pairs(backbone, model):
    """Responses to all prompts, with their rewards; the head changes some choices."""
    rng = np.random.default_rng(0)
    both = [
        made_up(rng, backbone.tokenizer, steps=guided, ended=number == 2)
        for number in range(len(PROMPTS))
        for guided in (False, True)
    ]
    ids = [ids for ids in prompt_ids(model) for _ in range(2)]
    rewards = token_rewards(model, ids, [made.tokens for made in both])
    both = [made._replace(reward=float(r[-1])) for made, r in zip(both, rewards, strict=True)]
    return [Comparison(*both[start : start + 2]) for start in range(0, len(both), 2)]


@pytest.fixture(scope="module")
def make_page(backbone, model, pairs):
    """Write a page: of the pairs above, or of others."""

    def make(prompts=PROMPTS, pairs=pairs, config=CONFIG, **options):
        return comparison_page(model, prompts, pairs, config, **options)

    return make


@pytest.fixture(scope="module")
def page(make_page):
    facts = {"seed": 3, "command": "coala-jax 'a&b'"}
    return make_page(names=("first", "<i>second", "third", "4"), facts=facts)


@pytest.fixture(scope="module")
def generation(backbone):
    """Make a response up: ``generation(text, steps)``."""

    def make(text, steps=(), **fields):
        tokens = tuple(backbone.tokenizer.encode(text))
        return response_of(text, tokens, steps)._replace(**fields)

    return make


def prompt_ids(model):
    texts = [prompt_text(model, prompt, "p") for prompt in PROMPTS]
    return encode_prompts(model.backbone.tokenizer, texts, template_of(model))


def escape_free(text):
    """Text as a page shows it: control characters by their pictures."""
    pictures = {n: chr(0x2400 + n) for n in range(32) if chr(n) not in "\t\n\r"}
    return text.translate({**pictures, 0x7F: "\u2421"})


def moved(made):
    return [step for step in made.steps if step.chosen != step.plain]


def test_the_page_is_whole_and_loads_nothing(page):
    reader = Reader(page)
    tags = {tag for tag, _ in reader.seen}
    assert {"script", "img", "link", "iframe", "object", "svg", "form", "base"}.isdisjoint(tags)
    names = {name for name, _ in reader.attributes}
    assert {"src", "srcset", "style", "action"}.isdisjoint(names)
    assert not [name for name in names if name.startswith("on")]
    assert not re.search(r"https?:|url\(|@import|@font-face", page)
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert ("content", policy) in reader.attributes
    assert page.count("<style>") == 1 and f"<style>{STYLE}</style>" in page
    assert "prefers-color-scheme: dark" in STYLE


def test_links_lead_to_places_on_the_page_that_exist_once(page):
    reader = Reader(page)
    places = [fields["id"] for _, fields in reader.seen if "id" in fields]
    assert len(places) == len(set(places))
    links = [fields["href"] for fields in reader.of("a")]
    assert links and all(link[0] == "#" and link[1:] in places for link in links)


def test_the_page_says_what_made_it(page, backbone, pairs):
    texts = Reader(page).texts
    assert f"backbone ({backbone.identity.model_type}" not in texts
    assert f"{backbone.identity.name} (gpt2, float32)" in texts
    for fact in ("mean+last", "9.0", "6 neurons", __version__, "coala-jax 'a&b'", "3"):
        assert fact in texts
    for side in ("plain", "guided"):
        mean = np.mean([getattr(pair, side).reward for pair in pairs])
        assert signed(mean) in texts
    steps = sum(len(pair.guided.steps) for pair in pairs)
    count = sum(len(moved(pair.guided)) for pair in pairs)
    assert count > 2
    said = f"The head was asked at {steps} steps and changed the choice at {count}."
    assert any(said in text for text in texts)


def test_prompts_are_shown_by_name_and_role(page):
    reader = Reader(page)
    for text in ("first", "<i>second", PROMPTS[0], "system", "be <b>brief</b>", "user"):
        assert text in reader.texts
    assert "what does\nthe tutor" in reader.texts
    assert not {"b", "i"} & {tag for tag, _ in reader.seen}


def test_tokens_show_what_they_add_to_the_reward(page, backbone, model, pairs):
    reader = Reader(page)
    sides = [
        (ids, made)
        for ids, pair in zip(prompt_ids(model), pairs, strict=True)
        for made in (pair.plain, pair.guided)
    ]
    rewards = token_rewards(model, *zip(*((p, m.tokens) for p, m in sides), strict=True))
    colours = colours_for(np.concatenate([np.diff(one) for one in rewards]))
    shown = iter(reader.tokens)
    for (_, made), own in zip(sides, rewards, strict=True):
        places = {step.place for step in moved(made)}
        written = ""
        for place, token in enumerate(made.tokens):
            one = next(shown)
            change = float(own[place + 1]) - float(own[place])
            assert one["data-n"] == signed(change, colours.decimals)
            assert signed(float(own[place + 1]), colours.decimals) in one["title"]
            classes = one.get("class", "").split()
            level = [name for name in classes if re.fullmatch(r"[ud]\d", name)]
            assert bool(level) == (abs(colours.level(change)) > 0)
            assert ("moved" in classes) == (place in places)
            if token != backbone.tokenizer.end_id:
                written += one["text"]
        assert written == escape_free(made.text)
    assert next(shown, None) is None
    figures = [text for text in reader.texts if text in {signed(m.reward) for _, m in sides}]
    assert len(figures) >= len(sides)


def test_changed_choices_show_what_was_moved(page, pairs, backbone):
    """Weights by the paper's formula, in plain Python."""
    tables, table = [], None
    for row in Reader(page).rows:
        if row == ["candidate", "before", "score", "after", "taken"]:
            table = []
            tables.append(table)
        elif table is not None and len(row) == 5:
            table.append(row)
    steps = [step for pair in pairs for step in moved(pair.guided)]
    assert len(tables) == len(steps)
    for step, table in zip(steps, tables, strict=True):
        low, high = min(step.scores), max(step.scores)
        weights = [
            np.exp(log_prob) * (1 + CONFIG.sampling.scale * (score - low) / (high - low))
            for log_prob, score in zip(step.log_probs, step.scores, strict=True)
        ]
        expected = sorted(
            (
                [
                    f"{np.exp(step.log_probs[n]):.1%}",
                    signed(step.scores[n]),
                    f"{weight / sum(weights):.1%}",
                    {step.chosen: "chosen", step.plain: "plain"}.get(n, ""),
                ]
                for n, weight in enumerate(weights)
            ),
            key=lambda row: -float(row[2][:-1]),
        )
        assert sorted(row[1:] for row in table) == sorted(expected)
        assert [float(row[3][:-1]) for row in table] == sorted(
            (float(row[3][:-1]) for row in table), reverse=True
        )


def test_hostile_text_is_text(make_page, generation):
    first = generation(HOSTILE).tokens[0]
    step = GuidedStep(0, (first, 5), (-0.1, -2.3), (1.0, 0.0), 0, 1)
    pair = Comparison(generation(HOSTILE), generation(HOSTILE, [step]))
    page = make_page([HOSTILE], [pair], names=[HOSTILE], facts={"command": HOSTILE})
    reader = Reader(page)
    assert {"script", "img"}.isdisjoint({tag for tag, _ in reader.seen})
    assert reader.texts.count(HOSTILE) == 3  # name, prompt, command
    length = len(pair.plain.tokens)
    assert "".join(one["text"] for one in reader.tokens[:length]) == HOSTILE
    assert "onerror=x>" not in page
    turned = make_page(["a\u202eb\0c"], [pair])
    assert "a\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}U+202E" in turned
    assert "\u202e" not in turned and "\0" not in turned


def test_a_large_page_shows_its_beginning_and_says_so(make_page, pairs, monkeypatch):
    monkeypatch.setattr(page_module, "MOST_PROMPTS", 3)
    monkeypatch.setattr(page_module, "MOST_TABLES", 3)
    reader = Reader(make_page())
    assert len(reader.of("article")) == 3
    texts = " ".join(reader.texts)
    assert "4 prompts" in texts
    assert "Figures are of all prompts; the first 3 are shown." in texts
    several = [len(moved(pair.guided)) for pair in pairs[:3]]
    assert max(several) > 1
    assert "The first 1 changes are listed." in texts
    assert sum("before" in row for row in reader.rows) == sum(count > 0 for count in several)
    boxes = [one for one in reader.tokens if "moved" in one.get("class", "")]
    assert [one["mark"] for one in boxes] == [str(n + 1) for c in several for n in range(c)]
    assert [one["tag"] == "a" for one in boxes] == [one["mark"] == "1" for one in boxes]


def test_what_a_stop_text_cut_off_is_marked(make_page, generation):
    def step(place):
        return GuidedStep(place, (5, 6), (-0.1, -2.3), (1.0, 0.0), 0, 1)

    whole = generation(" the student asks")
    cut = whole._replace(finish_reason="stop", text="the student")
    # The rows went on for some steps before the stop text was seen.
    guided = cut._replace(steps=(step(0), step(99)), guided_steps=2)
    reader = Reader(make_page(["a"], [Comparison(cut, guided)]))
    half = len(reader.tokens) // 2
    gone = [one["text"] for one in reader.tokens[:half] if "cut" in one.get("class", "").split()]
    assert "".join(gone) == " asks"
    assert sum("ended by a stop text" in text for text in reader.texts) == 2
    amid = cut._replace(text="the stude")  # a token that holds the stop text and more
    page = make_page(["a"], [Comparison(amid, amid)])
    assert page.count("ended by a stop text") == 2
    assert any("changed 1 of 1 choice" in text for text in reader.texts)


def test_a_head_that_was_not_asked_or_moved_nothing_is_said(make_page, generation):
    plain = generation("a")
    assert "The head was not asked." in make_page(["a"], [Comparison(plain, plain)])
    kept = generation("a", [GuidedStep(0, (5, 6), (-0.1, -2.3), (1.0, 0.0), 1, 1)])
    assert "The head changed 0 of 1 choice." in make_page(["a"], [Comparison(plain, kept)])


def test_blocks_have_scores_and_no_probabilities(make_page, generation):
    step = GuidedStep(0, (5, 6, 7), (0.0, 0.0, 0.0), (1.0, 3.0, 2.0), 1, 0)
    pair = Comparison(generation("a"), generation("b", [step]))
    reader = Reader(make_page(["a"], [pair], CONFIG.with_options(continuations=3)))
    rows = reader.rows
    assert [text for text in reader.texts if text.startswith(" at ")] == [
        " at +3.000, plainly ",
        " at +1.000",
    ]
    assert [row[1:] for row in rows] == [
        ["score", "taken"],
        ["+3.000", "chosen"],
        ["+2.000", ""],
        ["+1.000", "plain"],
    ]


def test_a_plain_choice_beyond_the_candidates_is_no_candidate():
    step = GuidedStep(4, (5, 6), (-1.0, -2.0), (0.0, 1.0), 1, 3)
    (found,) = moved_steps([step], CONFIG.with_options(num_candidates=2), 8)
    assert found.plain is None and found.place == 4
    assert [one.token for one in found.candidates] == [6, 5]
    assert not any(one.plain for one in found.candidates)
    assert sum(one.after for one in found.candidates) == pytest.approx(1)
    (best,) = moved_steps([step], CONFIG.with_options(choice="best"), 1)
    assert [(one.token, one.after) for one in best.candidates] == [(6, 1.0)]
    assert best.others == 1
    assert moved_steps([step._replace(plain=1)], CONFIG, 8) == []


def test_what_makes_no_page_is_named(make_page, pairs):
    with pytest.raises(GenerationError, match="prompts: none of them"):
        make_page([], [])
    with pytest.raises(GenerationError, match="4 of them and 1 names for 1 prompts"):
        make_page(PROMPTS[:1])
    untraced = [pair._replace(guided=pair.guided._replace(steps=())) for pair in pairs]
    with pytest.raises(GenerationError, match="of pair 0 and none traced; compare with trace=True"):
        make_page(pairs=untraced)


def test_pieces_are_the_text_whole_characters_at_a_time(backbone):
    tokenizer = backbone.tokenizer
    for text in ("the student", "a\n b", "né 日本 \N{GRINNING FACE}!", "", "x\N{GRINNING FACE}"):
        tokens = tokenizer.encode(text)
        pieces = token_pieces(tokenizer, tokens)
        assert len(pieces) == len(tokens) and "".join(pieces) == text
        assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)
    face = tokenizer.encode("\N{GRINNING FACE}")
    assert token_pieces(tokenizer, face) == ["", "", "", "\N{GRINNING FACE}"]
    assert token_pieces(tokenizer, face[:2]) == ["", "\N{REPLACEMENT CHARACTER}"]


def test_white_space_of_a_token_is_visible(backbone):
    tokenizer = backbone.tokenizer
    (space,), (line,) = tokenizer.encode(" "), tokenizer.encode("\n")
    assert visible_token(tokenizer, line, space) == "\N{OPEN BOX}"
    assert visible_token(tokenizer, space, line) == "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}"
    part = tokenizer.encode("\N{GRINNING FACE}")
    assert visible_token(tokenizer, part[0], part[1])


@pytest.mark.parametrize("scale", [1e-6, 0.003, 1.0, 47.0, 1e5])
def test_levels_agree_with_the_numbers_that_are_shown(scale):
    changes = scale * np.random.default_rng(0).standard_normal(500)
    colours = colours_for(changes)
    for change in changes:
        size = abs(float(colours.number(change).replace("\N{MINUS SIGN}", "-")))
        reached = sum(size >= bound * colours.unit * (1 - 1e-9) for bound in (1, 2, 4))
        assert abs(colours.level(change)) == reached
        assert colours.level(change) * change >= 0
    levels = {abs(colours.level(change)) for change in changes}
    assert levels == {0, 1, 2, 3}
    assert colours_for([]).level(0.0) == colours_for([0.0, 0.0]).level(0.0) == 0


def test_the_page_names_a_value_head(model, pairs, make_model):
    values = make_model(model.backbone, "last", (1,))
    valued = replace(model, value_head=ValueHead(values.head, values.settings))
    texts = Reader(comparison_page(valued, PROMPTS, pairs, CONFIG)).texts
    assert "6 neurons, last of layers 1" in texts
