"""How probable responses are under the frozen backbone."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from coala_jax.backbones import Backbone, BackboneModule
from coala_jax.backbones._attention import plain_batch
from coala_jax.decoding._plan import require_generates
from coala_jax.decoding._state import PromptBatch, prompt_batch

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
    # Batches of one size, with little to fill up the last.
    size = -(-len(prompts) // -(-len(prompts) // BATCH_SIZE)) if prompts else 1
    depth = max(map(len, responses), default=0)
    for start in range(0, len(prompts), size):
        part = slice(start, start + size)
        texts = [[*p, *r] for p, r in zip(prompts[part], responses[part], strict=True)]
        first = [len(prompt) for prompt in prompts[part]]
        filling = size - len(texts)
        texts += [[backbone.tokenizer.pad_id]] * filling
        batch = prompt_batch(texts, backbone.tokenizer.pad_id)
        starts = jnp.asarray(np.array(first + [1] * filling, np.int32))
        scores = np.asarray(_log_probs(backbone.module, batch, starts, depth=depth))
        lengths = map(len, responses[part])
        found += [row[:length] for row, length in zip(scores, lengths, strict=False)]
    return found


@nnx.jit(static_argnames=("depth",))
def _log_probs(
    module: BackboneModule, batch: PromptBatch, starts: jax.Array, *, depth: int
) -> jax.Array:
    """(rows, depth) log probabilities of the tokens from ``starts`` (rows,) on."""
    tokens, lengths = batch
    real = jnp.arange(tokens.shape[1]) < lengths[:, None]
    hidden = module.states(plain_batch(tokens, real)).hidden[0]
    places = jnp.minimum(starts[:, None] + jnp.arange(depth), tokens.shape[1] - 1)

    def of_row(row: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        hidden, tokens, places = row
        logits = module.logits(hidden[places - 1]).astype(jnp.float32)
        log_probs = jax.nn.log_softmax(logits)
        return jnp.take_along_axis(log_probs, tokens[places, None], axis=-1)[:, 0]

    # Logits of all rows at once would not fit beside a vocabulary of some hundred thousand.
    return jax.lax.map(of_row, (hidden, tokens, places))
