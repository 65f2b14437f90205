"""A server on loopback with a tiny backbone and a random head."""

import shutil
from contextlib import ExitStack
from dataclasses import replace

import pytest

from coala_jax.decoding._session import Session
from coala_jax.features._chat import tokenizer_chat
from coala_jax.features._settings import ExtractSettings
from tests.helpers import load_with_opinions, random_reward_model
from tests.serving.asking import LIMITS, MODEL, Sent, Steps, running

CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="session")
def model_folder(checkpoint, tmp_path_factory):
    """The tiny GPT-2 with a chat template."""
    folder = tmp_path_factory.mktemp("chatty") / MODEL
    shutil.copytree(checkpoint, folder)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return folder


@pytest.fixture(scope="session")
def backbone(model_folder):
    """That model, with weights that tell tokens apart."""
    return load_with_opinions(model_folder)


@pytest.fixture(scope="session")
def make_model(backbone):
    """A random head for texts that this chat template wrote: ``make_model(chat_template)``."""

    def make(chat_template):
        return random_reward_model(backbone, ExtractSettings().for_rows(chat_template))

    return make


@pytest.fixture(scope="session")
def model(make_model, backbone):
    """A head for conversations of the backbone's chat template."""
    return make_model(tokenizer_chat(backbone.tokenizer).name)


@pytest.fixture(scope="session")
def served(model):
    """A server for tests that leave it as it was."""
    with running(model) as one:
        yield one


@pytest.fixture
def changed_limits():
    """Limits of the tests with some replaced."""
    return lambda **changes: replace(LIMITS, **changes)


@pytest.fixture
def steps(monkeypatch):
    """Control over the steps of sessions: one at a time, each when it is allowed."""
    control, advance, drop = Steps(), Session.advance, Session.drop

    def one_step(session, count):
        control.wait()
        return advance(session, count if control._free else 1)

    def noted(session, places):
        control.dropped.extend(places)
        return drop(session, places)

    monkeypatch.setattr(Session, "advance", one_step)
    monkeypatch.setattr(Session, "drop", noted)
    yield control
    control.free()


@pytest.fixture
def send():
    """Send a request: ``send(running, body)``; the connection ends with the test, or before."""
    with ExitStack() as connections:

        def sent(running, body, path="/v1/completions"):
            one = Sent(running, path, body)
            connections.callback(one.leave)
            return one

        yield sent
