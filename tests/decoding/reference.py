"""Guided decoding in plain Python and numpy: every prefix is run whole, nothing is kept.

Slow and obvious, the truth that the tests compare with. Only hidden states, logits and noise come
from jax; they have truths of their own (torch, and jax.random).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from coala_jax.backbones._attention import plain_batch

CONTINUATION_KEYS = 2**31
LENGTH = 64


class Reference:
    """A model, its query, and a configuration.

    Attributes:
        scores: of the candidates of every guided step, in order.
    """

    def __init__(self, model, config, query=None):
        backbone = model.backbone
        self.module, self.end = backbone.module, backbone.tokenizer.end_id
        self.ends = set(backbone.tokenizer.end_ids)
        self.model, self.query = model, query
        self.sampling, self.guidance = config.sampling, config.guidance
        self.scores = []

    def hidden(self, ids, layer):
        # Padded to one length, for one compilation; causal states do not see what follows.
        padded = np.zeros((1, LENGTH), np.int32)
        padded[0, : len(ids)] = ids
        state = _hidden(self.module, jnp.asarray(padded), layer=layer)
        return np.asarray(state)[0, : len(ids)].astype(np.float64)

    def logits(self, ids):
        state = jnp.asarray(self.hidden(ids, -1)[-1], jnp.float32)
        logits = np.asarray(_logits(self.module, state), np.float64)
        penalty = self.sampling.repetition_penalty
        for token in set(ids):
            logits[token] = (
                logits[token] / penalty if logits[token] > 0 else logits[token] * penalty
            )
        return logits

    def pool(self, ids):
        """Tokens of the nucleus and their log probabilities, the most probable first."""
        logits = self.logits(ids) / (self.sampling.temperature or 1)
        order = sorted(range(len(logits)), key=lambda token: -logits[token])
        order = order[: self.sampling.top_k]
        weights = np.exp(logits[order] - logits[order[0]])
        kept, reached = [], 0.0
        for token, probability in zip(order, weights / weights.sum(), strict=True):
            if reached >= self.sampling.top_p and self.sampling.top_p < 1:
                break
            kept.append(token)
            reached += probability
        weights = weights[: len(kept)]
        return kept, np.log(weights / weights.sum())

    def reward(self, prompt, response, reader=None):
        """Of a response, scored with the end token that closes texts, whichever it has."""
        response = [self.end if token in self.ends else token for token in response]
        vectors = []
        head, settings = reader or (self.model.head, self.model.settings)
        for number, layer in enumerate(settings.layers):
            states = self.hidden([*prompt, *response], layer)
            own = states[len(prompt) :]
            for name in settings.pooling.split("+"):
                if name == "mean":
                    vectors.append(own.mean(0))
                elif name == "last":
                    vectors.append(own[-1])
                elif name == "text_mean":
                    vectors.append(states.mean(0))
                elif name == "first":
                    vectors.append(states[0])
                elif name == "attention":
                    shares = np.exp(own @ self.query[number])
                    vectors.append(shares @ own / shares.sum())
                else:
                    raise AssertionError(name)
        theta1, bias, theta2, center = (np.asarray(part, np.float64) for part in head[:4])
        centred = np.concatenate(vectors) - center
        return float(np.maximum(centred @ theta1 + bias, 0) @ theta2)

    def score(self, prompt, response):
        """Of an extended prefix, as the configuration scores it."""
        if self.model.value_head is not None:
            ends = response[-1] in self.ends and len(response) > 1
            read = response[:-1] if ends else response
            return self.reward(prompt, read, reader=self.model.value_head)
        closes = self.guidance.scored == "closed" and response[-1] not in self.ends
        return self.reward(prompt, [*response, self.end] if closes else response)

    def noise(self, key, step, tokens):
        if self.sampling.temperature == 0:
            return np.zeros(len(tokens))
        return np.asarray(_gumbel(jax.random.fold_in(key, step), jnp.asarray(tokens)), np.float64)

    def sample(self, ids, key, step):
        tokens, log_probs = self.pool(ids)
        return tokens[int(np.argmax(log_probs + self.noise(key, step, tokens)))]

    def guided(self, prompt, response, key):
        tokens, log_probs = self.pool([*prompt, *response])
        tokens = tokens[: self.guidance.num_candidates]
        log_probs = log_probs[: len(tokens)]
        if len(tokens) == 1:  # nothing to guide
            return tokens[0]
        scores = []
        for token in tokens:
            ahead = [token]
            while len(ahead) <= self.guidance.lookahead and ahead[-1] not in self.ends:
                ahead.append(int(np.argmax(self.logits([*prompt, *response, *ahead]))))
            scores.append(self.score(prompt, [*response, *ahead]))
        scores = np.array(scores)
        self.scores.append(scores)
        if self.guidance.choice == "best":
            return tokens[int(np.argmax(scores))]
        spread = scores.max() - scores.min()
        normalised = (scores - scores.min()) / spread if spread else np.zeros(len(scores))
        scale = self.sampling.scale
        added = np.log(1 + scale * normalised)
        noise = self.noise(key, len(response), tokens)
        return tokens[int(np.argmax(log_probs + added + noise))]

    def block(self, prompt, response, key):
        room = self.sampling.max_new_tokens - len(response)
        blocks, scores = [], []
        for branch in range(self.guidance.continuations):
            own = key if branch == 0 else jax.random.fold_in(key, CONTINUATION_KEYS + branch)
            added = []
            most = min(self.guidance.guide_every, room)
            while len(added) < most and not self.ends & set(added):
                ids = [*prompt, *response, *added]
                added.append(self.sample(ids, own, len(response) + len(added)))
            blocks.append(added)
            scores.append(self.score(prompt, [*response, *added]))
        self.scores.append(np.array(scores))
        return blocks[int(np.argmax(scores))]

    def generate(self, prompt, key):
        """Token ids of a response, its end token among them."""
        response = []
        while len(response) < self.sampling.max_new_tokens and not self.ends & set(response):
            if self.sampling.scale and self.guidance.continuations:
                response += self.block(prompt, response, key)
            elif self.sampling.scale and len(response) % self.guidance.guide_every == 0:
                response.append(self.guided(prompt, response, key))
            else:
                response.append(self.sample([*prompt, *response], key, len(response)))
        return response


@partial(jax.jit, static_argnames="layer")
def _hidden(module, tokens, *, layer):
    return module.states(plain_batch(tokens), layers=(layer,)).hidden[0]


@jax.jit
def _logits(module, state):
    return module.logits(state)


@jax.jit
def _gumbel(key, tokens):
    return jax.vmap(lambda token: jax.random.gumbel(jax.random.fold_in(key, token)))(tokens)


def token_evaluations(plan, made):
    """Tokens that the backbone runs for a response and its reward, by docs/decoding.md."""
    guidance = plan.guidance
    if guidance.continuations:
        looked_at, kept = guidance.guide_every + plan.closes, len(made.tokens)
    else:
        looked_at = 1 + guidance.lookahead + plan.closes
        kept = 0 if guidance.lookahead else made.guided_steps
    ended = made.tokens[-1] in plan.end_ids
    return made.prompt_tokens + made.scored * looked_at + len(made.tokens) - kept + (not ended)
