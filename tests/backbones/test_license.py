"""The licence that a checkpoint names is known, and decides nothing."""

import json

import pytest

from coala_jax._head_files import load_head
from coala_jax.backbones import load_backbone
from coala_jax.backbones._license import checkpoint_license
from coala_jax.features import FeatureIdentity
from coala_jax.features._identity import require_same_backbone
from coala_jax.features._manifest import setting_differences
from coala_jax.features._settings import ExtractSettings, feature_identity
from tests.helpers import random_head


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlicense: apache-2.0\n---\n# A model", "apache-2.0"),
        ("---\nlicense: Llama3.1\ntags: [x]\n---", "llama3.1"),
        ("---\nlicense: [mit]\n---", ""),
        ("---\nlicense: '<b>free</b>'\n---", ""),
        ("---\nlicense: [\n---", ""),
        ("# license: mit", ""),
        (b"---\nlicense: \xff\n---", ""),
    ],
)
def test_the_front_matter_of_a_card_names_the_licence(tmp_path, card, expected):
    data = card if isinstance(card, bytes) else card.encode()
    (tmp_path / "README.md").write_bytes(data)
    assert checkpoint_license(tmp_path) == expected


def test_a_gguf_file_names_it_itself(tmp_path, monkeypatch):
    for metadata, expected in (
        ({"general.license": "Apache-2.0"}, "apache-2.0"),
        ({"general.license": 7}, ""),
        ({}, ""),
    ):
        monkeypatch.setattr(
            "coala_jax.backbones._license.gguf_metadata", lambda _, known=metadata: known
        )
        assert checkpoint_license(tmp_path / "model.gguf") == expected


def test_a_head_knows_the_licence_of_its_backbone(make_checkpoint, tmp_path):
    from coala_jax import save_head

    folder = make_checkpoint(tmp_path / "model")
    plain = feature_identity(load_backbone(folder), ExtractSettings())
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    licensed = feature_identity(load_backbone(folder), ExtractSettings())
    assert (plain.license, licensed.license) == ("", "mit")
    assert licensed._replace(license="") == plain
    require_same_backbone(plain, licensed)
    old, new = ({"identity": each._asdict()} for each in (plain, licensed))
    assert setting_differences(old, new, "now") == ""
    older = {name: value for name, value in plain._asdict().items() if name != "license"}
    assert FeatureIdentity.from_dict(older) == plain
    save_head(tmp_path / "head", random_head(4), {"identity": licensed._asdict()})
    assert load_head(tmp_path / "head")[1].identity["license"] == "mit"
    assert 'license: "mit"' in (tmp_path / "head" / "README.md").read_text()
    assert json.loads((tmp_path / "head" / "head.json").read_text())["identity"]["license"] == "mit"
