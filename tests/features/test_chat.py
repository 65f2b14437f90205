"""Chat templates: they write prompt and answer, nothing is added, nothing is lost."""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from coala_jax.backbones import CheckpointError, load_backbone
from coala_jax.backbones._tokenizer import load_tokenizer
from coala_jax.data import DataError, Message, ResponseRow, RowOptions, read_rows, write_rows
from coala_jax.data._chat import PLAIN, ChatError, ChatText
from coala_jax.features import FeatureError, FeatureIdentity
from coala_jax.features._build import extract_store, recorded_chat
from coala_jax.features._chat import checkpoint_chat, tokenizer_chat
from coala_jax.features._responses import features_of_responses
from coala_jax.features._settings import ExtractSettings
from coala_jax.features._tokens import TextTemplate, encode_prompts, encode_texts

END = "<|endoftext|>"
TURN = "{% for m in messages %}[{{ m.role }}]\n{{ m.content }}"
OPEN = "{% if add_generation_prompt %}[assistant]\n{% endif %}"
TEMPLATES = {
    "plain": TURN + "</>\n{% endfor %}" + OPEN,
    "no opening for an answer": TURN + "</>\n{% endfor %}",
    "a thought opens": TURN + "</>\n{% endfor %}" + OPEN.replace("\n", "\n<think>\n"),
    "an empty thought in the last answer": (
        "{% for m in messages %}[{{ m.role }}]\n"
        "{% if loop.last and m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
        "{{ m.content }}</>\n{% endfor %}"
    ),
    "the end token ends turns": TURN + END + "\n{% endfor %}" + OPEN,
    "a start token behind a line break": "\n{{ bos_token }}" + TURN + "\n{% endfor %}" + OPEN,
    "trimmed": TURN.replace("m.content", "m.content | trim") + END + "{% endfor %}" + OPEN,
}
TOOLS = [{"type": "function", "function": {"name": "clock", "parameters": {}}}]
WITH_TOOLS = (
    "{% if tools %}{{ tools | tojson }}\n{% endif %}{% for m in messages %}[{{ m.role }}]"
    "{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}</>{% endfor %}"
)
SETTINGS = ExtractSettings(token_budget=256, shard_rows=4)


def user(text):
    return {"role": "user", "content": text}


def answer(text, **more):
    return {"role": "assistant", "content": text, **more}


def rows_of(question, chosen, rejected, *then):
    return [
        {
            "prompt": [user(question)],
            "chosen": [answer(chosen), *then],
            "rejected": [answer(rejected), *then],
        }
    ]


ROWS = rows_of("the student asks", "the tutor answers", "no")
SEVERAL_TURNS = rows_of("the student asks", "the tutor", "no", user("why"), answer("so"))


@pytest.fixture
def model(checkpoint, tmp_path):
    """The tiny checkpoint with a chat template: ``model(template)``."""

    def make(template, name="model"):
        folder = shutil.copytree(checkpoint, tmp_path / name)
        if isinstance(template, str):
            (folder / "chat_template.jinja").write_text(template)
        else:
            path = folder / "tokenizer_config.json"
            named = [{"name": each, "template": text} for each, text in template.items()]
            fields = {**json.loads(path.read_text()), "chat_template": named}
            path.write_text(json.dumps(fields))
        return folder

    return make


def name_of(template):
    return "sha256:" + hashlib.sha256(template.encode()).hexdigest()


def sequences(tokenizer, row, length=512):
    texts = [row.chosen, row.rejected]
    return encode_texts(tokenizer, [row.prompt] * 2, texts, TextTemplate(), length)


@pytest.mark.parametrize("rows", [ROWS, SEVERAL_TURNS], ids=["one turn", "several turns"])
@pytest.mark.parametrize("kind", TEMPLATES)
def test_the_tokens_are_those_of_the_template_up_to_the_end_token(model, kind, rows):
    tokenizer = load_tokenizer(model(TEMPLATES[kind]))
    ((row,), (given,)) = read_rows(rows, chat=lambda: tokenizer_chat(tokenizer)).rows, rows
    for side, made in zip(("chosen", "rejected"), sequences(tokenizer, row), strict=True):
        turns = [*given["prompt"], *given[side]]
        own = tokenizer.raw.apply_chat_template(turns, tokenize=True, return_dict=False)
        assert list(made.tokens) == own[: len(made.tokens)]
        # Behind an end token stands what opens the next turn.
        rest = tokenizer.decode(own[len(made.tokens) :])
        assert not rest or (rest.isspace() and made.tokens[-1] == tokenizer.end_id)
        assert tokenizer.decode(made.tokens[: made.response_start]) == row.prompt
    assert row.prompt.endswith("[assistant]\n") or kind == "an empty thought in the last answer"
    assert "<think>" not in row.prompt or row.prompt.endswith("<think>\n\n</think>\n\n")


def test_what_a_prompt_is_does_not_depend_on_its_answers(model):
    """Two answers that begin alike share no more of the prompt than two that do not."""
    chat = checkpoint_chat(model(TEMPLATES["plain"]))
    alike = rows_of("the student asks", "the tutor answers", "the tutor asks")
    read = [read_rows(rows, chat=lambda: chat).rows[0].prompt for rows in (ROWS, alike)]
    assert read[0] == read[1] == chat.prompt([Message("user", "the student asks")])


def test_what_is_shared_is_cut_by_tokens_not_within_one(model):
    """A template that ends a prompt amid what one token is with the answer's first character."""
    tokenizer = load_tokenizer(
        model("{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}")
    )
    (row,) = read_rows(ROWS, chat=lambda: tokenizer_chat(tokenizer)).rows
    for made in sequences(tokenizer, row):
        whole = tokenizer.encode(tokenizer.decode(made.tokens))
        assert list(made.tokens) == whole
        assert list(made.tokens[: made.response_start]) == whole[: made.response_start]
        reply = tokenizer.decode(made.tokens[made.response_start :])
        assert reply.lstrip().startswith(("the tutor", "no"))


@pytest.mark.parametrize("end", ["", END, f" {END}\n", END + END])
def test_an_answer_that_brings_its_own_end_ends_once(model, end):
    tokenizer = load_tokenizer(model(TEMPLATES["the end token ends turns"]))
    given = rows_of("the student asks", f" the tutor answers{end}", "no")
    read = [
        read_rows(rows, chat=lambda: tokenizer_chat(tokenizer)).rows[0] for rows in (ROWS, given)
    ]
    assert sequences(tokenizer, read[0]) == sequences(tokenizer, read[1])


@pytest.mark.parametrize("end", ["", END, f" {END}\n", END + END])
@pytest.mark.parametrize("space", ["", " ", "\n\t"])
def test_edges_and_ends_of_a_plain_response_do_not_count(checkpoint, space, end):
    tokenizer = load_tokenizer(checkpoint)
    response = f"{space}the tutor{space}{end}"
    made, bare = encode_texts(tokenizer, ["ask"] * 2, [response, "the tutor"], TextTemplate(), 64)
    assert made == bare and made.tokens[-2:].count(tokenizer.end_id) == 1


def test_a_control_token_in_a_text_is_text(model):
    tokenizer = load_tokenizer(model(TEMPLATES["the end token ends turns"]))
    said = f"what is {END} for"
    plain = encode_prompts(tokenizer, [said], TextTemplate(f"{{prompt}}{END}"))[0]
    assert plain.count(tokenizer.end_id) == 1 == plain[-1:].count(tokenizer.end_id)
    assert tokenizer.decode(plain) == said + END
    rows = rows_of(said, f"it is {END} so", "no")
    (row,) = read_rows(rows, chat=lambda: tokenizer_chat(tokenizer)).rows
    made = sequences(tokenizer, row)[0]
    assert made.tokens.count(tokenizer.end_id) == 2  # of the template
    assert tokenizer.decode(made.tokens).count(END) == 4
    turns = [*rows[0]["prompt"], *rows[0]["chosen"]]
    try:
        own = tokenizer.raw.apply_chat_template(
            turns, tokenize=True, return_dict=False, sanitize_control_tokens=True
        )
    except TypeError:
        pytest.skip("a transformers that does not know this yet")
    assert list(made.tokens) == own[: len(made.tokens)]


def test_a_start_token_is_kept_where_the_context_is_full(model):
    start = "the"
    folder = model("\nthe{% for m in messages %} {{ m.content }}{% endfor %}")
    tokenizer = replace(load_tokenizer(folder), start_id=None)
    (started,) = tokenizer.encode(start)
    tokenizer = replace(tokenizer, start_id=started)
    (row,) = read_rows(
        rows_of("ask " * 60, "tutor", "no"), chat=lambda: tokenizer_chat(tokenizer)
    ).rows
    made = sequences(tokenizer, row, 20)[0]
    assert len(made.tokens) == 20 and made.prompt_cut
    assert tokenizer.decode(made.tokens[:2]) == "\nthe" and made.tokens.count(started) == 1


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (
            "{% for m in messages %}{{ m.role }}{% endfor %}",
            "leaves out what a message of the user",
        ),
        (
            "{% for m in messages %}{% for c in m.content %}{% if c.type == 'text' %}{{ c.text }}"
            "{% endif %}{% endfor %}{% endfor %}",
            "leaves out what a message of the user says, as those for images do",
        ),
        ("{{ range(9**4) | random }}" + TURN + "{% endfor %}", "the same conversation in two ways"),
    ],
)
def test_a_template_that_is_no_function_of_what_is_said_is_refused(model, template, reason):
    with pytest.raises(ChatError, match=reason):
        checkpoint_chat(model(template))


def test_a_system_message_that_is_left_out_is_named(model):
    silent = (
        "{% for m in messages if m.role != 'system' %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    )
    rows = [{**ROWS[0], "prompt": [{"role": "system", "content": "Be kind."}, user("why")]}]
    with pytest.raises(DataError, match="leaves out what a message of the system says"):
        read_rows(rows, chat=lambda: checkpoint_chat(model(silent)))


def test_the_thought_of_an_earlier_answer_may_be_left_out(model):
    forgets = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content if loop.last else "
        "m.content.split('</think>')[-1] }}{% endfor %}"
    )
    rows = [{**ROWS[0], "prompt": [user("q"), answer("<think>hm</think>\na"), user("why")]}]
    (row,) = read_rows(rows, chat=lambda: checkpoint_chat(model(forgets))).rows
    assert row.prompt == "[user]q[assistant]\na[user]why[assistant]"


def test_tools_and_their_calls_go_to_the_template(model):
    called = {"tool_calls": [{"function": {"name": "clock", "arguments": {}}}]}
    row = {
        "prompt": [user("when"), answer(None, **called), {"role": "tool", "content": "noon"}],
        "chosen": [answer("at noon")],
        "rejected": [answer(None, tool_calls=[{"function": {"name": "bell"}}])],
        "tools": TOOLS,
    }
    chat = checkpoint_chat(model(WITH_TOOLS))
    (made,) = read_rows([row], chat=lambda: chat).rows
    assert '"clock"' in made.prompt and made.prompt.endswith("[tool]noon</>[assistant]")
    assert made.chosen == "at noon</>" and '"bell"' in made.rejected
    # The same as JSON in a text, as tables without nested columns have it.
    flat = {**row, "tools": json.dumps(TOOLS)}
    assert read_rows([flat], chat=lambda: chat).rows[0][1:4] == made[1:4]


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ({"tools": TOOLS}, "tools"),
        ({"chosen": [answer("a", reasoning_content="because")]}, "reasoning_content"),
        ({"chosen": [answer(None, tool_calls=[{"function": {"name": "x"}}])]}, "tool_calls"),
        ({"prompt": [{**user("q"), "name": "Ada"}]}, "name"),
        ({"images": ["a.png"]}, "images"),
        ({"prompt": [user([{"type": "image", "image": "a.png"}])]}, "a part of type image"),
    ],
)
def test_what_a_template_would_drop_is_named(model, change, lost):
    chat = checkpoint_chat(model(TEMPLATES["plain"]))
    read = read_rows([*ROWS, {**ROWS[0], **change}], chat=lambda: chat)
    assert len(read.rows) == 1
    assert lost in read.set_aside[0].reason


def test_a_long_conversation_with_many_calls_is_written_a_few_times(model):
    chat, written = checkpoint_chat(model(WITH_TOOLS)), []

    def write(turns, tools):
        written.append(len(turns))
        return chat.write(turns, tools)

    called = {"tool_calls": [{"function": {"name": "clock"}}]}
    turns = [answer("", **called), {"role": "tool", "content": "noon", "tool_call_id": "1"}]
    row = {
        "prompt": [user("when"), *turns * 40],
        "chosen": [answer("at noon")],
        "rejected": [answer("no")],
        "tools": TOOLS,
    }
    read = read_rows([row], chat=lambda: chat._replace(write=write))
    assert len(read.rows) == 1 and "have tool_call_id" in read.notes[0]
    assert len(written) <= 10


def test_a_call_that_only_the_last_turn_would_lose_is_named(model):
    forgets = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}"
        "{% if m.tool_calls and not loop.last %}{{ m.tool_calls | tojson }}{% endif %}{% endfor %}"
    )
    called = {"tool_calls": [{"function": {"name": "clock"}}]}
    rows = [{**ROWS[0], "chosen": [answer("so", **called)]}]
    with pytest.raises(DataError, match="writes nothing of tool_calls"):
        read_rows(rows, chat=lambda: checkpoint_chat(model(forgets)))


def test_a_field_about_a_turn_is_passed_over_and_said(model):
    chat = checkpoint_chat(model(TEMPLATES["plain"]))
    rows = [{**ROWS[0], "chosen": [answer("the tutor answers", weight=1)]}, *ROWS]
    read = read_rows(rows, chat=lambda: chat)
    assert len(read.rows) == 2 and read.rows[0][1:4] == read.rows[1][1:4]
    assert read.notes == (
        "messages have weight, of which the chat template writes nothing: 1 rows",
    )


DATED = (
    "\n{% set today = strftime_now('%-d %b') %}{{ strftime_now('%d %B %Y') }}"
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{{ today }}"
)


def test_a_date_is_pinned_and_a_store_and_a_head_keep_to_it(model, tmp_path):
    folder = model(DATED)
    then = checkpoint_chat(folder, known=f"{name_of(DATED)}, on 2026-02-03")
    assert then.name.endswith(", on 2026-02-03")
    assert then.prompt([Message("user", "why")]) == "\n03 February 2026[user]why[assistant]"
    assert then.texts([Message("user", "why")], [[Message("assistant", "so")]]).answers == [
        "so3 Feb"
    ]
    today = checkpoint_chat(folder)
    assert today.name != then.name and today.name.startswith(name_of(DATED))
    backbone = load_backbone(folder)
    read = read_rows(ROWS, chat=lambda: then)
    store = extract_store(read, backbone, tmp_path / "store", settings=SETTINGS)
    identity = FeatureIdentity.from_dict(store.manifest["identity"])
    assert identity.chat_template == then.name
    assert recorded_chat(tmp_path / "store") == then.name
    again = tokenizer_chat(backbone.tokenizer, identity.chat_template)
    assert again.name == then.name
    row = read_rows(ROWS, chat=lambda: again).rows[0]
    made = features_of_responses(
        [ResponseRow("r", "response", row.prompt, row.chosen)],
        backbone,
        ExtractSettings.from_identity(identity),
    )
    np.testing.assert_allclose(made.features[0], store.table.chosen[0], atol=1e-5)


def test_of_several_templates_one_is_named_or_known(model):
    named = {"rag": TEMPLATES["plain"], "tool_use": WITH_TOOLS}
    folder = model(named)
    with pytest.raises(CheckpointError, match="has rag, tool_use, and none of them by default"):
        checkpoint_chat(folder)
    assert load_tokenizer(folder).encode("the tutor")  # text needs none
    chosen = checkpoint_chat(folder, chat_template="tool_use")
    assert chosen.name == name_of(WITH_TOOLS)
    assert checkpoint_chat(folder, known=chosen.name).name == chosen.name  # a head knows its own
    with pytest.raises(CheckpointError, match="none called 'rug'; name one .* --chat-template rag"):
        load_backbone(folder, chat_template="rug")
    default = model({"default": TEMPLATES["plain"], **named}, "default")
    assert checkpoint_chat(default).name == name_of(TEMPLATES["plain"])


def test_a_tokenizer_without_a_template_writes_role_and_content(checkpoint):
    assert tokenizer_chat(load_backbone(checkpoint).tokenizer) is PLAIN
    (row,) = read_rows(ROWS).rows
    assert row[1:4] == ("User: the student asks\nAssistant:", "the tutor answers", "no")
    assert not isinstance(row.prompt, ChatText)


def test_a_store_records_the_template_and_puts_nothing_around_it(model, tmp_path):
    template = TEMPLATES["plain"]
    backbone = load_backbone(model(template))
    read = read_rows(ROWS, chat=lambda: tokenizer_chat(backbone.tokenizer))
    store = extract_store(read, backbone, tmp_path / "store", settings=SETTINGS)
    identity = FeatureIdentity.from_dict(store.manifest["identity"])
    assert identity.chat_template == name_of(template)
    assert (identity.prompt_template, identity.response_template) == ("{prompt}", "{response}")
    again = ExtractSettings.from_identity(identity)
    assert again.written and again.template.response == "{response}"
    with pytest.raises(FeatureError, match="there"):  # another way to write the same rows
        extract_store(read_rows(ROWS), backbone, tmp_path / "store", settings=SETTINGS)


def test_a_template_around_what_a_chat_template_writes_is_refused():
    own = ExtractSettings(template=TextTemplate("Q: {prompt}", "A: {response}"))
    with pytest.raises(FeatureError, match="the tokenizer's chat template writes these"):
        own.for_rows(name_of("x"))
    assert own.for_rows(PLAIN.name).template == own.template
    assert ExtractSettings().for_rows(PLAIN.name).template == TextTemplate()
    assert ExtractSettings().for_rows("") == ExtractSettings()


def test_an_identity_from_before_there_were_templates_is_read():
    fields = dict.fromkeys(FeatureIdentity._fields, "x")
    del fields["chat_template"], fields["text_rule"]
    read = FeatureIdentity.from_dict(fields)
    assert (read.chat_template, read.text_rule) == ("", "")


def test_rows_that_were_written_as_messages_get_the_template_once(model, tmp_path):
    """What `data get` writes, `extract` reads: its template writes the prompts, none before it."""
    folder = model(WITH_TOOLS)
    calls = [answer(None, tool_calls=[{"function": {"name": "x"}}])]
    given = [*ROWS, {**ROWS[0], "chosen": calls, "tools": TOOLS}]
    chat = checkpoint_chat(folder)
    rows = read_rows(given, RowOptions(keep_messages=True), chat=lambda: chat).rows
    written = write_rows(tmp_path / "rows.jsonl", rows)
    read, straight = (read_rows(rows, chat=lambda: chat) for rows in (written, given))
    assert read == straight
    assert read.rows[0].prompt == "[user]the student asks</>[assistant]"
