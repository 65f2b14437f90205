"""How probable responses are under the frozen backbone."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from coala_jax.backbones import Backbone, BackboneModule
from coala_jax.backbones._attention import plain_batch
from coala_jax.decoding._plan import TOKEN_MULTIPLE, require_generates
from coala_jax.decoding._state import PromptBatch, prompt_batch, round_up

# Texts that run together.
BATCH_SIZE = 32


def response_log_probs(
    backbone: Backbone, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]
) -> list[np.ndarray]:
    """Log probabilities of the tokens of responses, at temperature 1 and without truncation.

    Args:
        backbone: a causal model that jax runs.
        prompts: (n,) token ids, none empty.
        responses: (n,) token ids.

    Returns:
        For every response (len(response),) float32, in nats.

    Raises:
        GenerationError: a backbone that does not score next tokens.
    """
    require_generates(backbone)
    found: list[np.ndarray] = []
    for start in range(0, len(prompts), BATCH_SIZE):
        part = slice(start, start + BATCH_SIZE)
        pairs = list(zip(prompts[part], responses[part], strict=True))
        texts = [[*prompt, *response] for prompt, response in pairs]
        texts += [[backbone.tokenizer.pad_id]] * (min(BATCH_SIZE, len(prompts)) - len(texts))
        batch = prompt_batch(texts, backbone.tokenizer.pad_id)
        firsts = np.ones(len(texts), np.int32)
        firsts[: len(pairs)] = [len(prompt) for prompt, _ in pairs]
        most = round_up(max(len(response) for _, response in pairs), TOKEN_MULTIPLE)
        scores = np.asarray(_log_probs(backbone.module, batch, jnp.asarray(firsts), most=most))
        found += [row[: len(response)] for row, (_, response) in zip(scores, pairs, strict=False)]
    return found


@partial(jax.jit, static_argnames=("most",))
def _log_probs(
    module: BackboneModule, batch: PromptBatch, firsts: jax.Array, *, most: int
) -> jax.Array:
    """(rows, most) log probabilities of the tokens from ``firsts`` (rows,) on, given what precedes.

    Logits are those of one text at a time, and of these positions alone: of a large vocabulary they
    are the largest arrays there are. What lies behind a text means nothing.
    """
    tokens, lengths = batch
    real = jnp.arange(tokens.shape[1]) < lengths[:, None]
    hidden = module.states(plain_batch(tokens, real)).hidden[0]
    places = jnp.minimum(firsts[:, None] + jnp.arange(most), tokens.shape[1] - 1)
    before = jnp.take_along_axis(hidden, places[..., None] - 1, axis=1)
    asked = jnp.take_along_axis(tokens, places, axis=1)

    def of_text(text: tuple[jax.Array, jax.Array]) -> jax.Array:
        hidden, asked = text
        log_probs = jax.nn.log_softmax(module.logits(hidden).astype(jnp.float32))
        return jnp.take_along_axis(log_probs, asked[:, None], axis=1)[:, 0]

    return jax.lax.map(of_text, (before, asked))
