"""Inputs that several folders of tests make.

The solver's tests run where flax and transformers are not installed: functions that need them
import them.
"""

import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from coala_jax import Certificate, ConvexHead, GatedHead, PreferenceFeatures

END = "<|endoftext|>"
PROMPTS = (
    "the student asks",
    "what does the tutor answer the student?",
    "a",
    "the tutor asks the student, the student answers the tutor",
)
Seed = int | np.random.Generator


def draw_pairs(
    seed: Seed, pairs: int = 15, width: int = 3, *, shift: float = 0.5, dtype: str = "float64"
) -> PreferenceFeatures:
    """Gaussian pairs; the chosen side's mean is ``shift`` in every column."""
    rng = np.random.default_rng(seed)
    chosen = rng.standard_normal((pairs, width)) + shift
    rejected = rng.standard_normal((pairs, width))
    return PreferenceFeatures(chosen.astype(dtype), rejected.astype(dtype))


def rows_of(features: PreferenceFeatures) -> np.ndarray:
    """(2n, d) the chosen response of every pair, and behind each the rejected one."""
    return np.stack(features[:2], axis=1).reshape(-1, features.chosen.shape[1])


def standardised_rows(features: PreferenceFeatures, certificate: Certificate) -> np.ndarray:
    """X of the program, with its column of ones."""
    rows = rows_of(features).astype(np.float64)
    rows = (rows - np.asarray(certificate.center)) / np.asarray(certificate.scale)
    return np.concatenate([rows, np.ones((len(rows), 1))], axis=1)


def enumerate_gates(x: np.ndarray) -> np.ndarray:
    """A gate for every activation pattern of (m, D) rows: dense sampling of directions."""
    directions = np.random.default_rng(0).standard_normal((100_000, x.shape[1]))
    # Keep the sample of each pattern that is farthest from the hyperplanes.
    products = directions @ x.T
    order = np.argsort(-np.abs(products).min(axis=1) / np.linalg.norm(directions, axis=1))
    _, first = np.unique((products >= 0)[order], axis=0, return_index=True)
    return directions[order][first]


def random_head(
    width: int, kind: str = "relu", seed: Seed = 0, *, neurons: int = 6
) -> ConvexHead | GatedHead:
    """A head of Gaussian weights in float32; its centre is small, as tiny models' features are.

    Kinds are "relu" and "gated", or either with " and path" for a linear path.
    """
    rng = np.random.default_rng(seed)
    shapes = {"theta1": (width, neurons), "bias": (neurons,), "theta2": (neurons,)}
    if kind.startswith("gated"):
        shapes |= {"gates": (width, neurons), "gate_bias": (neurons,)}
    shapes["center"] = (width,)
    if kind.endswith("path"):
        shapes["linear"] = (width,)
    leaves = {name: rng.standard_normal(size).astype(np.float32) for name, size in shapes.items()}
    leaves["center"] /= 10
    return (ConvexHead if kind.startswith("relu") else GatedHead)(**leaves)


def head_tensors(head: ConvexHead | GatedHead) -> dict[str, np.ndarray]:
    """The leaves that a head has, by name."""
    return {name: leaf for name, leaf in head._asdict().items() if leaf is not None}


def random_reward_model(backbone, settings, seed: Seed = 0):
    """A random head on features of these settings, with their backbone."""
    from coala_jax.decoding import TextRewardModel
    from coala_jax.features._settings import feature_identity

    head = random_head(settings.width(backbone.config.hidden_size), seed=seed)
    return TextRewardModel(backbone, head, feature_identity(backbone, settings))


def with_opinions(module):
    """The module with larger weights: random ones hardly tell tokens apart."""
    import jax
    from flax import nnx

    state = nnx.state(module, nnx.Param)
    nnx.update(
        module, jax.tree.map(lambda weight: 4 * weight if weight.ndim > 1 else weight, state)
    )
    return module


def load_with_opinions(folder: Path):
    """The backbone of a folder, with larger weights."""
    from coala_jax.backbones import load_backbone

    loaded = load_backbone(folder)
    return replace(loaded, module=with_opinions(loaded.module))


def write_tokenizer(folder: Path) -> int:
    """A byte-level BPE tokenizer with its end token; gives the number of its ids."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the student asks, the tutor answers the student"] * 4, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)
    fast.save_pretrained(folder)
    return len(fast)


def in_threads(function: Callable, given: Iterable) -> list:
    """What a function gives for each, in four threads that take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            return list(threads.map(function, given))
    finally:
        sys.setswitchinterval(interval)
