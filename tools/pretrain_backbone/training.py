"""Pre-train the embedded backbone on the generator's text.

The model learns all concepts, direct and drifting answers alike: it knows what it is asked about
and has no preference of its own. ``--start`` goes on from a folder it wrote, with text of another
seed and a fresh schedule.
"""

import argparse
import json
import math
import platform
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from tqdm import tqdm

from coala_jax.backbones import Tokenizer, load_backbone, save_checkpoint
from coala_jax.backbones._families._gpt2 import GPT2, GPT2Config
from coala_jax.backbones._tokenizer import load_tokenizer
from tools.pretrain_backbone.answers import answer_shares
from tools.pretrain_backbone.documents import encode_documents, make_documents, pack_documents
from tools.pretrain_backbone.tokenizing import (
    CONFIG_FILE,
    TOKENIZER_FILE,
    VOCAB_SIZE,
    write_tokenizer,
)

# The whole folder, tokenizer included: small enough to ship inside the wheel.
FOLDER_BYTES = 4_000_000
# What the shares of sampled answers must be: the model knows what it is asked about and neither
# prefers nor avoids to answer it.
NAMES_AT_LEAST = 0.90
DIRECT_BETWEEN = (0.30, 0.70)
# Held-out conversations come from another seed, far from any that a user is likely to choose.
HELD_OUT_SEED_OFFSET = 1_000_003
HELD_OUT_PAIRS = 600
# Rows the tokenizer is trained on: every answer text occurs some dozen times.
TOKENIZER_PAIRS = 4000
# Rows drawn at a time for training, each time with another seed.
DRAWN_PAIRS = 2000
# A point of the loss curve is the mean over this many steps.
CURVE_STEPS = 100
RECORD_FILE = "training.json"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "tokenizers", "transformers")


class Shape(NamedTuple):
    """A kind of training step: rows a step, tokens a row, how many steps, and on what text.

    ``plain`` steps see first turns alone: a question without a dialogue before it, where the
    answer can only come from memory and not from a copy further up.
    """

    rows: int
    length: int
    steps: int
    plain: bool


class Recipe(NamedTuple):
    """All that decides the weights, besides software and machine.

    Steps of all kinds come mixed. Small plain steps are many, since facts are learned by the
    number of updates that show them; rows of the full context train every position.
    """

    shapes: tuple[Shape, ...] = (Shape(8, 128, 6000, True), Shape(4, 512, 600, False))
    layers: int = 4
    heads: int = 4
    width: int = 128
    positions: int = 512
    learning_rate: float = 3e-3
    warmup_steps: int = 60
    weight_decay: float = 0.01
    adam_decay: tuple[float, float] = (0.9, 0.98)
    clip_norm: float = 1.0

    @property
    def steps(self) -> int:
        """Steps of all shapes."""
        return sum(shape.steps for shape in self.shapes)

    @property
    def tokens(self) -> int:
        """Tokens seen in all steps."""
        return sum(shape.rows * shape.length * shape.steps for shape in self.shapes)


class TrainingRun(NamedTuple):
    """A trained module, the loss of every step in nats a token, and the seconds it took."""

    module: GPT2
    losses: list[float]
    seconds: float


def pretrain(
    out: Path,
    seed: int = 0,
    recipe: Recipe | None = None,
    start: Path | None = None,
    stride: int = 1,
) -> dict[str, Any]:
    """Train tokenizer and model, and write the folder with its record.

    Args:
        out: folder to write, in the Hugging Face layout, with ``training.json`` beside.
        seed: decides text, initial weights and order.
        recipe: sizes, steps and optimiser; None means the default.
        start: a folder written before, to take tokenizer and weights from; None starts afresh.
        stride: 1 asks the trained model about every aspect of every concept (`answer_shares`).

    Returns:
        The record, as ``training.json`` holds it.

    Raises:
        ValueError: a folder or shares of sampled answers outside their bounds; it is written
            nevertheless, for a look at what came out.
    """
    recipe = recipe or Recipe()
    tokenizer, module = _fresh(out, seed, recipe) if start is None else _continued(out, start)
    run = train_model(module, tokenizer, seed, recipe)
    config = run.module.config
    save_checkpoint(out, run.module, config, jnp.float16)
    _write_json(out / "generation_config.json", _generation_config(tokenizer))
    backbone = load_backbone(out)
    record = {
        **_provenance(seed, recipe, run),
        "before": None if start is None else _earlier_record(start),
        "parameters": sum(int(leaf.size) for leaf in jax.tree.leaves(nnx.state(run.module))),
        "held_out_perplexity": held_out_perplexity(backbone.module, tokenizer, seed),  # type: ignore[arg-type]
        "sampled_answers": answer_shares(backbone, seed, stride),
    }
    # The record counts itself in by its size once written; the digits it adds are few.
    _write_json(out / RECORD_FILE, record)
    record["folder_bytes"] = sum(file.stat().st_size for file in out.iterdir())
    _write_json(out / RECORD_FILE, record)
    check_record(record)
    return record


def check_record(record: dict[str, Any]) -> None:
    """Raise where a record is outside the bounds of an embedded backbone.

    Raises:
        ValueError: names what is outside, its value and its bounds.
    """
    shares = record["sampled_answers"]
    low, high = DIRECT_BETWEEN
    faults = []
    if record["folder_bytes"] > FOLDER_BYTES:
        faults.append(f"folder_bytes={record['folder_bytes']}, at most {FOLDER_BYTES}")
    if shares["names_concept"] < NAMES_AT_LEAST:
        faults.append(f"names_concept={shares['names_concept']:.3f}, at least {NAMES_AT_LEAST}")
    if not low <= shares["direct"] <= high:
        faults.append(f"direct={shares['direct']:.3f}, between {low} and {high}")
    if faults:
        raise ValueError(f"embedded backbone: {'; '.join(faults)}")


def train_model(module: GPT2, tokenizer: Tokenizer, seed: int, recipe: Recipe) -> TrainingRun:
    """Train a GPT-2 on next-token loss over all tokens.

    Args:
        module: where to begin; not changed.
        tokenizer: of the text.
        seed: decides text and order.
        recipe: steps and optimiser.

    Returns:
        The trained module, and how it went.
    """
    graph, params = nnx.split(module)
    optimiser = _optimiser(recipe)
    state = optimiser.init(params)

    def step(params: Any, state: Any, tokens: jax.Array) -> tuple[Any, Any, jax.Array]:
        def loss_of(params: Any) -> jax.Array:
            return next_token_loss(nnx.merge(graph, params), tokens)

        loss, gradient = jax.value_and_grad(loss_of)(params)
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, loss

    jitted = jax.jit(step, donate_argnums=(0, 1))
    losses: list[float] = []
    seen = 0
    begin = time.perf_counter()
    with tqdm(total=recipe.tokens, unit="tok", unit_scale=True, disable=None) as bar:
        for tokens in _batches(tokenizer, seed, recipe):
            params, state, loss = jitted(params, state, jnp.asarray(tokens))
            losses.append(float(loss))
            seen += tokens.size
            bar.update(tokens.size)
            if len(losses) % CURVE_STEPS == 0:
                step_number, mean_loss = loss_curve(losses)[-1]
                rate = seen / (time.perf_counter() - begin)
                bar.write(f"step {step_number} loss {mean_loss:.3f} {rate:.0f} tokens/s")
    return TrainingRun(nnx.merge(graph, params), losses, time.perf_counter() - begin)


def loss_curve(losses: Sequence[float]) -> list[list[float]]:
    """Step and mean loss of every stretch of ``CURVE_STEPS`` steps, the last one shorter."""
    points = []
    for start in range(0, len(losses), CURVE_STEPS):
        stretch = losses[start : start + CURVE_STEPS]
        points.append([start + len(stretch), round(float(np.mean(stretch)), 4)])
    return points


def next_token_loss(module: GPT2, tokens: jax.Array) -> jax.Array:
    """Mean cross-entropy in nats of every next token.

    Args:
        module: the model.
        tokens: (rows, length) ids, no padding.

    Returns:
        A scalar.
    """
    logits = module.logits(module(tokens[:, :-1]))
    return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()


def held_out_perplexity(module: GPT2, tokenizer: Tokenizer, seed: int) -> float:
    """Perplexity a token on conversations of another seed than the training's."""
    documents = make_documents(seed + HELD_OUT_SEED_OFFSET, HELD_OUT_PAIRS)
    length = module.config.n_positions
    rows = pack_documents(encode_documents(tokenizer, documents, length), length)
    loss = jax.jit(next_token_loss)
    return math.exp(np.mean([float(loss(module, jnp.asarray(row[None]))) for row in rows]))


def _fresh(out: Path, seed: int, recipe: Recipe) -> tuple[Tokenizer, GPT2]:
    """A new tokenizer, written to ``out``, and a model with random weights."""
    documents = make_documents(seed, TOKENIZER_PAIRS)
    texts = (f"{d.prompt} {d.response}{d.index_line}" for d in documents)
    write_tokenizer(out, texts, recipe.positions)
    tokenizer = load_tokenizer(out)
    config = GPT2Config(
        vocab_size=VOCAB_SIZE,
        n_positions=recipe.positions,
        n_embd=recipe.width,
        n_layer=recipe.layers,
        n_head=recipe.heads,
        eos_token_id=tokenizer.end_id,
    )
    return tokenizer, GPT2(config, rngs=nnx.Rngs(seed))


def _continued(out: Path, start: Path) -> tuple[Tokenizer, GPT2]:
    """Tokenizer and weights of a folder written before, the tokenizer copied to ``out``."""
    backbone = load_backbone(start)
    if not isinstance(backbone.module, GPT2):
        raise TypeError(f"{start}: expected a GPT-2, got {type(backbone.module).__name__}")
    out.mkdir(parents=True, exist_ok=True)
    for name in (TOKENIZER_FILE, CONFIG_FILE):
        (out / name).write_bytes((start / name).read_bytes())
    return backbone.tokenizer, backbone.module


def _earlier_record(start: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((start / RECORD_FILE).read_text(encoding="utf-8"))
    return record


def _batches(tokenizer: Tokenizer, seed: int, recipe: Recipe) -> Iterator[np.ndarray]:
    """(rows, length) tokens for every step; each shape has conversations of its own."""
    rng = np.random.default_rng(seed)
    batches = [iter(_batches_of(tokenizer, rng, shape)) for shape in recipe.shapes]
    order = np.repeat(np.arange(len(batches)), [shape.steps for shape in recipe.shapes])
    for shape in rng.permutation(order):
        yield next(batches[shape])


def _batches_of(tokenizer: Tokenizer, rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """(steps, rows, length) tokens."""
    packed: list[np.ndarray] = []
    missing = shape.rows * shape.steps
    while missing > 0:
        documents = make_documents(
            int(rng.integers(HELD_OUT_SEED_OFFSET)), DRAWN_PAIRS, plain=shape.plain
        )
        encoded = encode_documents(tokenizer, documents, shape.length)
        rows = pack_documents([encoded[i] for i in rng.permutation(len(encoded))], shape.length)
        packed.append(rows[:missing])
        missing -= len(packed[-1])
    return np.concatenate(packed).reshape(shape.steps, shape.rows, shape.length)


def _optimiser(recipe: Recipe) -> optax.GradientTransformation:
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, recipe.learning_rate, recipe.warmup_steps, recipe.steps, recipe.learning_rate / 100
    )
    first, second = recipe.adam_decay
    return optax.chain(
        optax.clip_by_global_norm(recipe.clip_norm),
        optax.adamw(schedule, b1=first, b2=second, weight_decay=recipe.weight_decay),
    )


def _generation_config(tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "bos_token_id": tokenizer.end_id,
        "eos_token_id": tokenizer.end_id,
        "pad_token_id": tokenizer.pad_id,
        "do_sample": True,
        "temperature": 1.0,
    }


def _provenance(seed: int, recipe: Recipe, run: TrainingRun) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"python -m tools.pretrain_backbone {shlex.join(sys.argv[1:])}",
        "seed": seed,
        "recipe": recipe._asdict(),
        "text": "coala_jax.quickstart._tutoring and its concept base alone",
        "template": "prompt; a space and the response; the end token; the index line; each apart",
        "steps": recipe.steps,
        "tokens": recipe.tokens,
        "seconds": round(run.seconds, 1),
        "tokens_per_second": round(recipe.tokens / run.seconds),
        "loss_curve": loss_curve(run.losses),
        "machine": {
            "device": jax.devices()[0].device_kind,
            "processor": platform.machine(),
            "system": platform.system(),
        },
        "versions": {
            "python": platform.python_version(),
            **{package: metadata.version(package) for package in PACKAGES},
        },
    }


def _write_json(path: Path, fields: dict[str, Any]) -> None:
    path.write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, train, and say what came out."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.pretrain_backbone",
        description="Pre-train the embedded backbone on the generator's text.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--start", type=Path, help="folder written before, to go on from")
    options = parser.parse_args(arguments)
    record = pretrain(options.out, options.seed, start=options.start)
    print(json.dumps({name: record[name] for name in record if name != "loss_curve"}, indent=1))
    print(f"written to {options.out}")
    return 0
