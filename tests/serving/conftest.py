"""A server on loopback with a tiny backbone and a random head, and ways to ask it."""

import http.client
import json
import shutil
import threading
from contextlib import contextmanager
from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import nnx

from coala_jax.backbones import load_backbone
from coala_jax.decoding.text_head import TextHead
from coala_jax.features.chat import tokenizer_chat
from coala_jax.features.extract import ExtractSettings, feature_identity
from coala_jax.head import ConvexHead
from coala_jax.serving.access import Access
from coala_jax.serving.limits import Limits
from coala_jax.serving.run import Server, address_of, open_socket

CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
MODEL = "tiny"
LIMITS = Limits(
    rows=2, new_tokens=32, choices=4, waiting=6, requests=64, body_bytes=20_000, top_k=100
)
# What a test waits for at most; reached only where something is broken.
PATIENCE = 60


@pytest.fixture(scope="session")
def backbone(checkpoint, tmp_path_factory):
    """The tiny GPT-2 with a chat template, and weights that tell tokens apart."""
    folder = tmp_path_factory.mktemp("chatty") / MODEL
    shutil.copytree(checkpoint, folder)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    loaded = load_backbone(folder)
    weights = nnx.state(loaded.module, nnx.Param)
    larger = jax.tree.map(lambda weight: 4 * weight if weight.ndim > 1 else weight, weights)
    nnx.update(loaded.module, larger)
    return loaded


@pytest.fixture(scope="session")
def make_head(backbone):
    """A random head for texts that this chat template wrote: ``make_head(chat_template)``."""

    def make(chat_template):
        rng = np.random.default_rng(0)
        settings = ExtractSettings().for_rows(chat_template)
        width, neurons = settings.width(backbone.config.hidden_size), 6
        head = ConvexHead(
            theta1=rng.standard_normal((width, neurons)).astype(np.float32),
            bias=rng.standard_normal(neurons).astype(np.float32),
            theta2=rng.standard_normal(neurons).astype(np.float32),
        )
        return TextHead(head, settings, feature_identity(backbone, settings))

    return make


@pytest.fixture(scope="session")
def head(make_head, backbone):
    """A head for conversations of the backbone's chat template."""
    return make_head(tokenizer_chat(backbone.tokenizer).name)


class Running:
    """A server in a thread, and plain HTTP to it.

    Attributes:
        server: the server.
        address: its host and port.
        log: the lines so far.
    """

    def __init__(self, server, listener):
        self.server, self.url = server, address_of(listener)
        self.address = listener.getsockname()[:2]
        self.log = []
        self._logged = threading.Condition()

    def note(self, line):
        with self._logged:
            self.log.append(line)
            self._logged.notify_all()

    def wait_for_log(self, part):
        """Until a line of the log holds the text; gives the line."""
        with self._logged:
            assert self._logged.wait_for(lambda: any(part in line for line in self.log), PATIENCE)
            return next(line for line in self.log if part in line)

    def ask(self, method, path, body=None, headers=(), raw=None):
        """Status, headers and JSON of an answer."""
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE)
        content = raw if raw is not None else None if body is None else json.dumps(body)
        given = {"Content-Type": "application/json"} if content is not None else {}
        connection.request(method, path, content, {**given, **dict(headers)})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), json.loads(text) if text else None

    def complete(self, **fields):
        """The answer to a request for completions."""
        body = {"model": MODEL, "prompt": "the student asks", "max_tokens": 4, **fields}
        return self.ask("POST", "/v1/completions", body)


@contextmanager
def running(backbone, head, *, limits=LIMITS, access=None, **options):
    """A server that runs meanwhile."""
    lines = []
    server = Server(
        backbone,
        head,
        limits=limits,
        access=access or Access(),
        model=MODEL,
        scale=options.pop("scale", 1.0),
        log=lambda line: lines.append(line) if not alive else alive[0].note(line),
        **options,
    )
    alive = []
    with open_socket("127.0.0.1", 0) as listener:
        alive.append(Running(server, listener))
        thread = threading.Thread(target=server.run, args=(listener,))
        thread.start()
        try:
            yield alive[0]
        finally:
            server.stop()
            thread.join(PATIENCE)
            assert not thread.is_alive()


@pytest.fixture(scope="session")
def served(backbone, head):
    """A server for tests that leave it as it was."""
    with running(backbone, head) as one:
        yield one


@pytest.fixture
def changed_limits():
    """Limits of the tests with some replaced."""
    return lambda **changes: replace(LIMITS, **changes)
