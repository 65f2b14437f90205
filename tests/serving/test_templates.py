"""Chat templates and tokenizers that fail: the client hears why, and the server serves the rest."""

import copy
import json
from dataclasses import replace

import pytest

from coala_jax.backbones._tokenizer import load_tokenizer
from coala_jax.data import Message, ResponseRow
from coala_jax.decoding import score
from coala_jax.features._chat import tokenizer_chat
from tests.serving.asking import MODEL, refused, running

COMPLETIONS, CHAT, SCORE = "/v1/completions", "/v1/chat/completions", "/v1/score"
HI = [{"role": "user", "content": "the student asks"}]
CHATS = {
    CHAT: {"model": MODEL, "messages": HI, "max_tokens": 2},
    SCORE: {"model": MODEL, "items": [{"prompt": HI, "response": "the tutor"}]},
}
TEXTS = {
    COMPLETIONS: {"model": MODEL, "prompt": "the student asks", "max_tokens": 2},
    SCORE: {"model": MODEL, "items": [{"prompt": "the student", "response": "the tutor"}]},
}
NAMED = [{"name": "rag", "template": "a"}, {"name": "tool_use", "template": "b"}]


class Panic(BaseException):
    """As the Rust of tokenizers raises: no Exception."""


@pytest.fixture
def serve_chat(backbone, model_folder, make_model, tmp_path):
    """A server of the tiny model with another chat template; its head takes any conversation."""

    def serve(template):
        folder = tmp_path / "other"
        folder.mkdir()
        for file in model_folder.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        (folder / "chat_template.jinja").unlink()
        config = json.loads((folder / "tokenizer_config.json").read_text())
        config["chat_template"] = template
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        model = make_model("")
        other = replace(backbone, tokenizer=load_tokenizer(folder))
        return running(replace(model, backbone=other), chat_as_text=True)

    return serve


@pytest.mark.parametrize(
    ("template", "parts"),
    [
        (NAMED, ["has rag, tool_use, and none of them by default", "--chat-template rag"]),
        ("{{ raise_exception('roles must alternate') }}", ["refuses it (roles must alternate)"]),
        ("{{ messages[0].content.secret.more }}", ["refuses it", "has no attribute"]),
        ("{{ 1 / 0 }}", ["refuses it (division by zero)"]),
        ("{% for m in messages %}{{ m.content }", ["refuses it", "unexpected"]),
        ("{% if false %}a{% endif %} \n", ["leaves out what a message of the user says"]),
        ("{% for m in messages %}{{ m.content }}{{ '\\ud800' }}{% endfor %}", ["valid Unicode"]),
    ],
)
def test_a_template_that_fails_is_named_and_texts_are_served(serve_chat, template, parts):
    with serve_chat(template) as own:
        for path, body in CHATS.items():
            error = refused(own.ask("POST", path, body), 400)
            assert error["param"] == {CHAT: "messages", SCORE: "items[0].prompt"}[path]
            assert all(part in error["message"] for part in parts), error["message"]
            assert "\n" not in error["message"]
            assert "400 error=invalid_value" in own.wait_for_log(f"{path} 400")
        for path, body in TEXTS.items():
            assert own.ask("POST", path, body)[0] == 200


def test_of_several_templates_the_default_writes(serve_chat):
    default = {"name": "default", "template": "{% for m in messages %}{{ m.content }} {% endfor %}"}
    with serve_chat([*NAMED, default]) as own:
        assert own.ask("POST", CHAT, CHATS[CHAT])[0] == 200


ASKED = [{"role": "developer", "content": "be brief"}, *HI]
AS_SYSTEM = [{**ASKED[0], "role": "system"}, *HI]
ANY_ROLE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
# A template that leaves other roles out, one that refuses them.
KNOWN_ROLE = "m.role in ['system', 'user', 'assistant']"
LEAVES_OUT = ANY_ROLE.replace("messages %}", f"messages if {KNOWN_ROLE} %}}")
REFUSES = ANY_ROLE.replace(
    "<{{", f"{{% if not {KNOWN_ROLE} %}}{{{{ raise_exception('no') }}}}{{% endif %}}<{{{{"
)


def rewards(served, *prompts):
    """The rewards of one answer to every prompt, as the server has them."""
    items = [{"prompt": prompt, "response": "no"} for prompt in prompts]
    status, _, answer = served.ask("POST", SCORE, {"model": MODEL, "items": items})
    assert status == 200, answer
    return [one["reward"] for one in answer["data"]]


def prompt_tokens(served, messages):
    body = {**CHATS[CHAT], "messages": messages}
    status, _, answer = served.ask("POST", CHAT, body)
    assert status == 200, answer
    return answer["usage"]["prompt_tokens"]


def test_a_developer_is_one_where_the_template_has_the_role(served, model):
    """As rows to train on have it."""
    chat = tokenizer_chat(model.backbone.tokenizer)
    answer = [Message("assistant", "no")]
    texts = [chat.texts([*map(Message.from_dict, asked)], [answer]) for asked in (ASKED, AS_SYSTEM)]
    rows = [ResponseRow("r", "response", text.prompt, *text.answers) for text in texts]
    expected = score(model, rows).rewards.tolist()
    assert expected[0] != expected[1]
    assert rewards(served, ASKED, AS_SYSTEM) == pytest.approx(expected)
    counts = [len(model.backbone.tokenizer.encode(text.prompt)) for text in texts]
    assert [prompt_tokens(served, one) for one in (ASKED, AS_SYSTEM)] == counts


@pytest.mark.parametrize("template", [LEAVES_OUT, REFUSES])
def test_elsewhere_a_developer_is_the_system(serve_chat, template):
    with serve_chat(template) as own:
        developer, system, nobody = rewards(own, ASKED, AS_SYSTEM, HI)
        assert developer == system != nobody
        assert prompt_tokens(own, ASKED) == prompt_tokens(own, AS_SYSTEM)


def test_without_a_template_a_developer_is_the_system(backbone, make_model):
    raw = copy.deepcopy(backbone.tokenizer.raw)
    raw.chat_template = None
    bare = replace(backbone, tokenizer=replace(backbone.tokenizer, raw=raw))
    with running(replace(make_model(""), backbone=bare), chat_as_text=True) as own:
        developer, system, nobody = rewards(own, ASKED, AS_SYSTEM, HI)
        assert developer == system != nobody


@pytest.mark.parametrize("failure", [KeyError("a"), OverflowError("too large"), Panic("rust")])
@pytest.mark.parametrize(("path", "body"), [*TEXTS.items(), (CHAT, CHATS[CHAT])])
def test_what_a_tokenizer_raises_is_the_clients_to_mend(
    backbone, model, monkeypatch, failure, path, body
):
    kind = type(backbone.tokenizer.raw)
    encode = kind.__call__

    def fail(tokenizer, texts, *arguments, **options):
        if "the student" in f"{texts}":
            raise failure
        return encode(tokenizer, texts, *arguments, **options)

    with running(model) as own:
        with monkeypatch.context() as broken:
            broken.setattr(kind, "__call__", fail)
            error = refused(own.ask("POST", path, body), 400)
            assert f"the tokenizer fails on a text ({failure})" in error["message"]
            line = own.wait_for_log(f"{path} 400")
            assert "error=invalid_value" in line and f"cause={type(failure).__name__}" in line
        assert own.ask("POST", path, body)[0] == 200


@pytest.mark.parametrize("failure", [OverflowError("out of range"), Panic("rust")])
@pytest.mark.parametrize("stream", [False, True])
def test_what_a_tokenizer_raises_on_a_response_is_named_too(
    backbone, model, monkeypatch, failure, stream, send
):
    def fail(*_, **__):
        raise failure

    body = TEXTS[COMPLETIONS]
    with running(model) as own:
        with monkeypatch.context() as broken:
            broken.setattr(type(backbone.tokenizer.raw), "decode", fail)
            if stream:
                error = list(send(own, {**body, "stream": True}).events())[-1]["error"]
                assert own.wait_for_log("ended=invalid_value")
            else:
                error = refused(own.ask("POST", COMPLETIONS, body), 400)
            assert error["message"] == f"the tokenizer fails on token ids ({failure})"
        assert own.ask("POST", COMPLETIONS, body)[0] == 200


def test_a_token_that_the_model_does_not_know_is_named(backbone, model):
    """One that was added to the tokenizer and not to the embedding."""
    tokenizer = replace(backbone.tokenizer, raw=copy.deepcopy(backbone.tokenizer.raw))
    tokenizer.raw.add_tokens(["<new>"])
    size = max(tokenizer.raw.get_vocab().values()) + 1
    grown = replace(backbone, tokenizer=replace(tokenizer, size=size))
    with running(replace(model, backbone=grown)) as own:
        error = refused(own.complete(prompt="the student <new>"), 400)
        assert f"id {size - 1}" in error["message"] and error["param"] == "prompt"
        assert own.complete(prompt="the student")[0] == 200
