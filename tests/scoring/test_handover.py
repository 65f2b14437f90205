"""The head handed over: as a StableHLO function, as a torch module, as a reward function."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from coala_jax._head_files import HeadFileError, load_head, save_head
from coala_jax.backbones import load_backbone
from coala_jax.backbones._tokenizer import TOKENIZER_FILES, tokenizer_sha256
from coala_jax.data import Message, ResponseRow
from coala_jax.data._chat import HASHED
from coala_jax.decoding import (
    TextRewardModel,
    export_stablehlo,
    export_torch,
    load_stablehlo,
    reward_function,
    score,
)
from coala_jax.features import FeatureError
from coala_jax.features._chat import tokenizer_chat
from coala_jax.features._pooling import POOLINGS
from coala_jax.features._query import query_text
from coala_jax.features._settings import ExtractSettings, feature_identity
from coala_jax.features._tokens import TEXT_RULE, TextTemplate
from tests.helpers import END, head_tensors, in_threads, random_head, write_tokenizer

WIDTH = 12
FEATURES = np.random.default_rng(1).normal(size=(9, WIDTH)).astype(np.float32)
# What the outputs may differ by, of rewards of size 1 to 10.
TOLERANCE = 1e-5


KINDS = ("relu", "gated", "relu and path", "gated and path")


@pytest.fixture(params=KINDS)
def folder(request, write_head, tmp_path):
    """The folder of a head of either kind."""
    return write_head(tmp_path / "head", random_head(WIDTH, request.param))


def test_the_stablehlo_function_is_the_head_for_any_number_of_rows(folder, tmp_path):
    pytest.importorskip("flatbuffers")
    head, metadata = load_head(folder)
    file = export_stablehlo(folder, tmp_path / "deep" / "reward.stablehlo")
    rewards, note = load_stablehlo(file)
    for n in (9, 1, 0):
        found = rewards(FEATURES[:n])
        assert found.shape == (n,)
        np.testing.assert_allclose(found, head(FEATURES[:n]), rtol=TOLERANCE, atol=TOLERANCE)
    assert note["features"] == WIDTH and note["head"] == metadata.document
    assert set(note["platforms"]) == {"cpu", "cuda", "rocm", "tpu"}
    with pytest.raises(ValueError, match=r"features have shape \(9, 3\), expected \(n, 12\)"):
        rewards(FEATURES[:, :3])
    # As others read it, without this package.
    exported = jax.export.deserialize(bytearray(file.read_bytes()))
    np.testing.assert_array_equal(exported.call(FEATURES), rewards(FEATURES))
    assert sorted(path.name for path in file.parent.iterdir()) == [
        "reward.stablehlo",
        "reward.stablehlo.json",
    ]


def test_a_stablehlo_file_that_cannot_be_used_is_named(head_folder, tmp_path):
    pytest.importorskip("flatbuffers")
    file = export_stablehlo(head_folder, tmp_path / "reward.stablehlo")
    note = tmp_path / "reward.stablehlo.json"
    content, text = file.read_bytes(), note.read_text()
    file.write_bytes(content[:-1])
    with pytest.raises(HeadFileError, match="its bytes are not those of its note"):
        load_stablehlo(file)
    note.write_text("{")
    with pytest.raises(HeadFileError, match=r"cannot be read with its note .*\.json"):
        load_stablehlo(file)
    note.write_text("{}")
    with pytest.raises(HeadFileError, match="not a note of format"):
        load_stablehlo(file)
    file.unlink()
    note.write_text(text)
    with pytest.raises(HeadFileError, match="export the head again"):
        load_stablehlo(file)


def test_without_flatbuffers_the_extra_is_named(head_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    monkeypatch.delitem(sys.modules, "jax._src.export.serialization", raising=False)
    with pytest.raises(ValueError, match=r"install it: pip install '\.\[export\]' in"):
        export_stablehlo(head_folder, tmp_path / "reward.stablehlo")
    assert not list(tmp_path.iterdir())


def test_the_torch_module_is_the_head_and_needs_nothing_of_this_package(write_head, tmp_path):
    pytest.importorskip("torch")
    heads = [random_head(WIDTH, kind) for kind in KINDS]
    for number, head in enumerate(heads):
        folder = write_head(tmp_path / f"head{number}", head)
        files = export_torch(folder, tmp_path / f"out{number}")
        assert sorted(file.name for file in files) == [
            "head.json",
            "head.safetensors",
            "reward_head.py",
        ]
    # In a process of its own, one for all: where this package and jax cannot be imported.
    np.save(tmp_path / "features.npy", FEATURES)
    code = f"""
import sys
sys.modules.update(dict.fromkeys(["coala_jax", "jax", "flax"]))
import numpy, torch
for number in range({len(heads)}):
    sys.path.insert(0, f"out{{number}}")
    sys.modules.pop("reward_head", None)
    from reward_head import RewardHead
    assert f"out{{number}}" in sys.modules["reward_head"].__file__
    head = RewardHead.load(f"out{{number}}/head.safetensors").eval()
    assert not list(head.parameters())
    features = torch.from_numpy(numpy.load("features.npy"))
    numpy.save(f"out{{number}}/rewards.npy", head(features).numpy())
    assert head(features.reshape(3, 3, -1)).shape == (3, 3)
    assert torch.equal(head(features.double()), head(features))
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    for number in range(len(heads)):
        head, _ = load_head(tmp_path / f"head{number}")
        found = np.load(tmp_path / f"out{number}" / "rewards.npy")
        np.testing.assert_allclose(found, head(FEATURES), rtol=TOLERANCE, atol=TOLERANCE)


def test_the_torch_module_refuses_what_does_not_fit():
    torch = pytest.importorskip("torch")
    from coala_jax.decoding._torch_reward_head import RewardHead

    tensors = {
        name: torch.from_numpy(value) for name, value in head_tensors(random_head(WIDTH)).items()
    }
    with pytest.raises(ValueError, match="features have 3 columns, the head was made for 12"):
        RewardHead(tensors)(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"tensors: \['theta1'\] are not those of a head"):
        RewardHead({"theta1": tensors["theta1"]})


@pytest.mark.parametrize("kind", ["relu", "gated"])
def test_the_torch_module_takes_tensors_of_version_one(kind):
    torch = pytest.importorskip("torch")
    from coala_jax.decoding._torch_reward_head import RewardHead

    head = random_head(WIDTH, kind)._replace(center=np.zeros(WIDTH, np.float32))
    tensors = {name: torch.from_numpy(value) for name, value in head_tensors(head).items()}
    del tensors["center"]
    found = RewardHead(tensors)(torch.from_numpy(FEATURES)).numpy()
    np.testing.assert_allclose(found, head(FEATURES), rtol=TOLERANCE, atol=TOLERANCE)


ASKED = [
    ("the student asks", "the tutor answers"),
    ("", "a"),
    ("a", ""),
    ("the tutor asks the student " * 20, "the student answers"),  # beyond the context
    ("why", "the tutor answers the student " * 20),
]


def folder_with_start(make_checkpoint, folder):
    """A checkpoint whose tokenizer puts a start token before every text."""
    from tokenizers import Tokenizer, processors

    make_checkpoint(folder)
    file = str(folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(file)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="the $A", special_tokens=[("the", tokenizer.token_to_id("the"))]
    )
    tokenizer.save(file)
    return folder


def roberta_folder(folder):
    """A tiny RoBERTa, which numbers positions from behind its padding."""
    import torch
    from transformers import RobertaConfig, RobertaModel

    folder.mkdir()
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = RobertaConfig(
        vocab_size=write_tokenizer(folder),
        intermediate_size=16,
        max_position_embeddings=40,
        pad_token_id=1,
        **sizes,
    )
    torch.manual_seed(0)
    RobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def written_head(folder, backbone, **settings):
    """A head on features of these settings."""
    made = ExtractSettings(**settings)
    identity = feature_identity(backbone, made)._asdict()
    head = random_head(made.width(backbone.config.hidden_size), "gated and path")
    save_head(folder, head, {"identity": identity})
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        *({"pooling": name} for name in ("mean", "last", "text_mean")),
        {"pooling": "mean+last"},
        {"pooling": "first+text_mean", "layers": (-2, 1)},
        {"pooling": "attention", "query": 1},
        {"pooling": "attention+last", "layers": (-1, -2), "query": 2},
        {"template": TextTemplate("Q: {prompt}\n", "A: {response}.")},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["plain", "start", "roberta"])
def test_the_torch_reward_of_a_text_is_that_of_score(
    kind, settings, checkpoint, make_checkpoint, tmp_path
):
    pytest.importorskip("torch")
    from coala_jax.decoding._torch_reward_head import load_reward

    folder = {
        "plain": lambda: checkpoint,
        "start": lambda: folder_with_start(make_checkpoint, tmp_path / "model"),
        "roberta": lambda: roberta_folder(tmp_path / "model"),
    }[kind]()
    backbone = load_backbone(folder)
    assert (backbone.tokenizer.start_id is not None) == (kind == "start")
    if layers := settings.get("query"):
        query = np.random.default_rng(0).normal(size=(layers, backbone.config.hidden_size))
        settings = {**settings, "query": query_text(query)}
    head = written_head(tmp_path / "head", backbone, **settings)
    rows = [ResponseRow("r", "response", *texts) for texts in ASKED]
    expected = score(TextRewardModel.load(head, backbone), rows)
    assert expected.prompt_cut and expected.response_cut
    export_torch(head, tmp_path / "out")
    reward = load_reward(folder, tmp_path / "out")
    found = [reward(*texts) for texts in ASKED]
    np.testing.assert_allclose(found, expected.rewards, rtol=1e-4, atol=1e-4)
    assert np.ptp(expected.rewards) > 0.1


@pytest.mark.slow
def test_the_torch_reward_needs_nothing_of_this_package(head_folder, model, checkpoint, tmp_path):
    pytest.importorskip("torch")
    export_torch(head_folder, tmp_path / "out")
    code = f"""
import sys
sys.modules.update(dict.fromkeys(["coala_jax", "jax", "flax"]))
from reward_head import load_reward
print(load_reward({str(checkpoint)!r})("the student asks", "the tutor answers"))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "out", check=True, capture_output=True
    )
    row = ResponseRow("r", "response", "the student asks", "the tutor answers")
    (expected,) = score(model, [row]).rewards
    assert float(done.stdout) == pytest.approx(expected, rel=1e-4)


def change_identity(folder, **fields):
    file = folder / "head.json"
    account = json.loads(file.read_text())
    account["identity"].update(fields)
    file.write_text(json.dumps(account))


def test_the_torch_reward_takes_the_tokens_of_conversations(
    backbone, write_head, checkpoint, tmp_path
):
    pytest.importorskip("torch")
    from coala_jax.decoding._torch_reward_head import load_reward

    head = write_head(tmp_path / "head")
    before, after = (backbone.tokenizer.encode(text) for text in ("the student", " the tutor"))
    tokens = [*before, *after, backbone.tokenizer.end_id]
    plain = load_reward(checkpoint, head)
    expected = plain("the student", "the tutor")
    change_identity(head, chat_template=f"{HASHED}00")
    reward = load_reward(checkpoint, head)
    with pytest.raises(ValueError, match=r"trained on conversations .*give of_tokens what apply"):
        reward("the student", "the tutor")
    assert reward.of_tokens(tokens, len(before)) == expected


def test_the_torch_reward_reads_texts_by_the_rule_of_its_head(write_head, checkpoint, tmp_path):
    pytest.importorskip("torch")
    from coala_jax.decoding._torch_reward_head import STRIPPED, load_reward

    assert STRIPPED == TEXT_RULE

    head = write_head(tmp_path / "head")
    change_identity(head, text_rule="")
    as_given = load_reward(checkpoint, head)
    expected = as_given("the student", "the tutor")
    assert as_given("the student", " the tutor\n") != expected
    change_identity(head, text_rule=STRIPPED)
    stripped = load_reward(checkpoint, head)
    assert stripped("the student", f" the tutor \n{END}\n{END}") == expected
    with pytest.raises(ValueError, match=r"holds '<\|endoftext\|>', which .* a control token"):
        stripped(f"the {END} student", "the tutor")
    change_identity(head, text_rule="another")
    with pytest.raises(ValueError, match="text_rule 'another' is not known here"):
        load_reward(checkpoint, head)


def test_the_torch_reward_refuses_what_is_not_of_its_head(
    write_head, checkpoint, make_checkpoint, tmp_path
):
    pytest.importorskip("torch")
    from coala_jax.decoding._torch_reward_head import load_reward

    head, other = write_head(tmp_path / "head"), make_checkpoint(tmp_path / "other", seed=1)
    with pytest.raises(ValueError, match=r"weights of the model folder have SHA-256 .*give that"):
        load_reward(other, head)
    assert np.isfinite(load_reward(other, head, check_weights=False)("the", "tutor"))
    (other / "tokenizer_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer of the model folder have SHA-256 "):
        load_reward(other, head, check_weights=False)
    (other / "model.safetensors").unlink()
    change_identity(head, tokenizer_sha256=tokenizer_sha256(other))
    with pytest.raises(ValueError, match="no model.safetensors in it"):
        load_reward(other, head)
    change_identity(head, pooling="mean+median")
    with pytest.raises(ValueError, match="pooling 'median' is none of mean, last"):
        load_reward(checkpoint, head)
    save_head(tmp_path / "bare", random_head(WIDTH), {"identity": None})
    with pytest.raises(ValueError, match="solved from bare arrays and takes features alone"):
        load_reward(checkpoint, tmp_path / "bare")


@pytest.mark.parametrize("value", [None, "left out"])
def test_a_model_without_a_longest_text_is_named(write_head, checkpoint, tmp_path, value):
    pytest.importorskip("torch")
    from transformers import PretrainedConfig

    from coala_jax.decoding._torch_reward_head import LONGEST, load_reward

    reward = load_reward(checkpoint, write_head(tmp_path / "head"))
    expected = reward.of_tokens([1, 2, 0], 1)
    config = PretrainedConfig()
    config.model_type = "other"
    if value is None:
        config.max_position_embeddings = None
    reward.model.config = config
    with pytest.raises(ValueError, match=f"model_type 'other' has none of {', '.join(LONGEST)}: "):
        reward("the student", "the tutor")
    config.seq_length = 40
    assert np.isfinite(reward("the student", "the tutor"))
    assert reward.of_tokens([1, 2, 0], 1) == expected


def test_the_torch_module_knows_what_this_package_knows():
    pytest.importorskip("torch")
    from coala_jax.decoding import _torch_reward_head as handed

    assert tuple(handed.POOLINGS) == tuple(POOLINGS)
    assert handed.TOKENIZER_FILES == TOKENIZER_FILES
    assert handed.WRITTEN == HASHED


@pytest.mark.parametrize("export", [export_torch, export_stablehlo])
def test_no_head_is_no_export(export, tmp_path):
    with pytest.raises(HeadFileError, match="no head here"):
        export(tmp_path / "gone", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_the_reward_function_takes_what_a_trainer_gives(model):
    function = reward_function(model)
    assert function.__name__ == "coala_reward"
    prompts = ["the student asks", "the student asks", "the student"]
    completions = [" the tutor answers", "no", ""]
    rewards = function(
        prompts=prompts, completions=completions, completion_ids=[[1], [2], []], answer=["", "", ""]
    )
    rows = [
        ResponseRow("r", "response", prompt, completion.strip())
        for prompt, completion in zip(prompts, completions, strict=True)
    ]
    expected = score(model, rows).rewards
    assert rewards == expected.tolist() and all(isinstance(each, float) for each in rewards)
    assert function(prompts=[], completions=[]) == []


def test_threads_may_share_a_reward_function(model):
    """Texts that name a control token are encoded otherwise than what closes them."""
    function, end = reward_function(model), model.backbone.tokenizer.end_token
    pairs = [("the student asks", "the tutor"), (f"a {end} a", "a"), ("a", f"the {end} tutor")]
    expected = [function(prompts=[prompt], completions=[text]) for prompt, text in pairs]
    found = in_threads(lambda pair: function(prompts=[pair[0]], completions=[pair[1]]), pairs * 40)
    np.testing.assert_allclose(found, expected * 40, rtol=1e-6)


def test_the_reward_function_takes_conversations_of_the_heads_template(
    model, backbone, write_head, tmp_path
):
    chat = tokenizer_chat(backbone.tokenizer)
    talking = TextRewardModel.load(write_head(tmp_path, chat_template=chat.name), backbone)
    prompt, answer = [{"role": "user", "content": "why"}], "the tutor answers"
    completions = [[{"role": "assistant", "content": text}] for text in (answer, "")]
    rewards = reward_function(talking)(prompts=[prompt] * 2, completions=completions)
    asked = chat.prompt([Message("user", "why")])
    rows = [ResponseRow("r", "response", asked, text) for text in (answer, "")]
    assert rewards == score(talking, rows).rewards.tolist()
    with pytest.raises(FeatureError, match="trained on plain texts"):
        reward_function(model)(prompts=[prompt], completions=completions[:1])


@pytest.mark.parametrize(
    ("prompts", "completions", "error", "message"),
    [
        (["p"], [], ValueError, "completions: 0 of them for 1 prompts"),
        (["p"], [3], TypeError, "completions: int is neither text nor messages"),
        ([None], ["r"], TypeError, "prompts: NoneType is neither text nor messages"),
        ([[{"role": "user"}]], ["r"], TypeError, "prompts: a message without role and content"),
    ],
)
def test_the_reward_function_names_what_does_not_fit(
    backbone, write_head, tmp_path, prompts, completions, error, message
):
    chat = tokenizer_chat(backbone.tokenizer)
    talking = TextRewardModel.load(write_head(tmp_path, chat_template=chat.name), backbone)
    with pytest.raises(error, match=message):
        reward_function(talking)(prompts=prompts, completions=completions)


def test_the_account_says_how_the_features_are_made(head_folder, tmp_path):
    export_torch(head_folder, tmp_path)
    assert json.loads((tmp_path / "head.json").read_text())["identity"]["pooling"] == "mean"
