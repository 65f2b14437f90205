"""A tiny backbone and random heads on it, written as `solve` writes them."""

import numpy as np
import pytest

from coala_jax._head import ConvexHead, GatedHead, save_head

NEURONS = 6


def _random_head(width, kind="relu", seed=0):
    """A head of moderate weights, as a pytree of float32 arrays."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.normal(size=shape).astype(np.float32)

    network = draw(width, NEURONS), draw(NEURONS), draw(NEURONS)
    if kind == "relu":
        return ConvexHead(*network)
    return GatedHead(*network, draw(width, NEURONS), draw(NEURONS))


@pytest.fixture(scope="session")
def random_head():
    """Make a head: ``random_head(width, kind="relu", seed=0)``."""
    return _random_head


@pytest.fixture(scope="session")
def overflowing():
    """The same head with finite weights whose rewards are infinite."""

    def change(head):
        bias, theta2 = np.full_like(head.bias, 3e38), np.full_like(head.theta2, 100)
        return head._replace(bias=bias, theta2=theta2)

    return change


@pytest.fixture(scope="session")
def backbone(checkpoint):
    from coala_jax.backbones import load_backbone

    return load_backbone(checkpoint)


@pytest.fixture(scope="session")
def write_head(backbone):
    """Write a head on the tiny backbone: ``write_head(folder, head=None, **account)``."""
    from coala_jax.features._settings import ExtractSettings, feature_identity

    def write(folder, head=None, *, pooling="mean", chat_template="", **account):
        settings = ExtractSettings(pooling=pooling, chat_template=chat_template)
        identity = feature_identity(backbone, settings)._asdict()
        width = settings.width(backbone.config.hidden_size)
        info = {"identity": identity, "params": {"beta": 1.0}, **account}
        save_head(folder, _random_head(width) if head is None else head, info)
        return folder

    return write


@pytest.fixture(scope="session")
def head_folder(write_head, tmp_path_factory):
    """The folder of a ReLU head on mean pooling; tests must not change it."""
    return write_head(tmp_path_factory.mktemp("heads") / "head")


@pytest.fixture(scope="session")
def text_head(head_folder, backbone):
    from coala_jax.decoding._text_head import load_text_head

    return load_text_head(head_folder, backbone)
