"""Chat templates: applied once, by the tokenizer, and recorded."""

import hashlib
import json
import shutil

import pytest

from coala_jax.backbones import CheckpointError, load_backbone
from coala_jax.data import Message, RowOptions, read_rows, write_rows
from coala_jax.data._chat import PLAIN
from coala_jax.features import FeatureError, FeatureIdentity
from coala_jax.features._build import extract_store
from coala_jax.features._chat import checkpoint_chat, tokenizer_chat
from coala_jax.features._settings import ExtractSettings
from coala_jax.features._tokens import TextTemplate

TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
NAME = "sha256:" + hashlib.sha256(TEMPLATE.encode()).hexdigest()
ROWS = [
    {
        "prompt": [{"role": "user", "content": "the student asks"}],
        "chosen": [{"role": "assistant", "content": answer}],
        "rejected": [{"role": "assistant", "content": "no"}],
    }
    for answer in ("the tutor answers", "the tutor")
]
SETTINGS = ExtractSettings(token_budget=256, shard_rows=4)


@pytest.fixture(scope="module")
def chatty(checkpoint, tmp_path_factory):
    """The tiny checkpoint with a chat template in its tokenizer."""
    folder = tmp_path_factory.mktemp("chatty") / "model"
    shutil.copytree(checkpoint, folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def test_of_several_templates_none_is_guessed(checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "model")
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    named = [{"name": name, "template": f"{name}"} for name in ("rag", "tool_use")]
    path.write_text(json.dumps({**config, "chat_template": named}))
    with pytest.raises(CheckpointError, match=r"2 chat templates \(rag, tool_use\)"):
        checkpoint_chat(folder)
    default = {"name": "default", "template": TEMPLATE}
    path.write_text(json.dumps({**config, "chat_template": [*named, default]}))
    assert checkpoint_chat(folder).name == NAME


def test_the_tokenizers_template_writes_the_prompt_up_to_the_answer(chatty):
    read = read_rows(ROWS, chat=lambda: checkpoint_chat(chatty))
    assert read.rows[0][1:4] == (
        "<user>the student asks</><assistant>",
        "the tutor answers",
        "no",
    )
    assert read.chat_template == NAME


def test_an_answer_of_several_turns_is_what_follows_the_prompt(chatty):
    chat = checkpoint_chat(chatty)
    turns = [Message("assistant", "a"), Message("user", "b"), Message("assistant", "c")]
    assert chat.response([Message("user", "q")], turns) == "a</><user>b</><assistant>c</>"
    other = chat._replace(whole=lambda messages: "otherwise")
    with pytest.raises(ValueError, match="writes a prompt otherwise once it is answered"):
        other.response([Message("user", "q")], turns)


def test_a_tokenizer_without_a_template_writes_role_and_content(checkpoint):
    assert tokenizer_chat(load_backbone(checkpoint).tokenizer) is PLAIN


def test_a_store_records_the_template_and_puts_no_space_before_the_answer(chatty, tmp_path):
    backbone = load_backbone(chatty)
    read = read_rows(ROWS, chat=lambda: tokenizer_chat(backbone.tokenizer))
    store = extract_store(read, backbone, tmp_path / "store", settings=SETTINGS)
    identity = FeatureIdentity.from_dict(store.manifest["identity"])
    assert identity.chat_template == NAME
    assert (identity.prompt_template, identity.response_template) == ("{prompt}", "{response}")
    again = ExtractSettings.from_identity(identity)
    assert (again.chat_template, again.template.response) == (NAME, "{response}")
    with pytest.raises(FeatureError, match="there"):  # another way to write the same rows
        extract_store(read_rows(ROWS), backbone, tmp_path / "store", settings=SETTINGS)


def test_a_template_that_was_asked_for_is_kept():
    own = ExtractSettings(template=TextTemplate("Q: {prompt}", "A: {response}"))
    assert own.for_rows(NAME).template == own.template
    assert ExtractSettings().for_rows(PLAIN.name).template == TextTemplate()
    assert ExtractSettings().for_rows("") == ExtractSettings()


def test_an_identity_from_before_there_were_templates_is_read():
    fields = dict.fromkeys(FeatureIdentity._fields, "x")
    del fields["chat_template"]
    assert FeatureIdentity.from_dict(fields).chat_template == ""


def test_rows_that_were_written_as_messages_get_the_template_once(chatty, tmp_path):
    """What `data get` writes, `extract` reads: its template writes the prompts, none before it."""
    rows = read_rows(ROWS, RowOptions(keep_messages=True)).rows
    written = write_rows(tmp_path / "rows.jsonl", rows)
    read, straight = (
        read_rows(rows, chat=lambda: checkpoint_chat(chatty)) for rows in (written, ROWS)
    )
    assert read == straight
    assert read.rows[0].prompt == "<user>the student asks</><assistant>"
