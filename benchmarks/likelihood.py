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
    for start in range(0, len(prompts), BATCH_SIZE):
        part = slice(start, start + BATCH_SIZE)
        texts = [[*p, *r] for p, r in zip(prompts[part], responses[part], strict=True)]
        texts += [[backbone.tokenizer.pad_id]] * (min(BATCH_SIZE, len(prompts)) - len(texts))
        batch = prompt_batch(texts, backbone.tokenizer.pad_id)
        scores = np.asarray(_log_probs(backbone.module, batch))
        for row, (prompt, response) in enumerate(zip(prompts[part], responses[part], strict=True)):
            first = len(prompt) - 1
            found.append(scores[row, first : first + len(response)])
    return found


@nnx.jit
def _log_probs(module: BackboneModule, batch: PromptBatch) -> jax.Array:
    """(rows, length - 1) log probability of every token given those before it."""
    tokens, lengths = batch
    real = jnp.arange(tokens.shape[1]) < lengths[:, None]
    hidden = module.states(plain_batch(tokens, real)).hidden[0]

    def of_row(row: tuple[jax.Array, jax.Array]) -> jax.Array:
        hidden, following = row
        log_probs = jax.nn.log_softmax(module.logits(hidden).astype(jnp.float32))
        return jnp.take_along_axis(log_probs, following[:, None], axis=-1)[:, 0]

    # Logits of all rows at once would not fit beside a vocabulary of some hundred thousand.
    return jax.lax.map(of_row, (hidden[:, :-1], tokens[:, 1:]))
