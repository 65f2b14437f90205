"""A tiny backbone and random heads on it, written as `solve` writes them."""

import numpy as np
import pytest

from coala_jax._head_files import save_head
from tests.helpers import random_head


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
        save_head(folder, random_head(width) if head is None else head, info)
        return folder

    return write


@pytest.fixture(scope="session")
def head_folder(write_head, tmp_path_factory):
    """The folder of a ReLU head on mean pooling; tests must not change it."""
    return write_head(tmp_path_factory.mktemp("heads") / "head")


@pytest.fixture(scope="session")
def model(head_folder, backbone):
    from coala_jax.decoding import TextRewardModel

    return TextRewardModel.load(head_folder, backbone)
