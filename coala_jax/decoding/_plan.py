"""From configurations to what is compiled for a batch."""

from collections.abc import Sequence
from dataclasses import replace

from coala_jax.backbones import Backbone
from coala_jax.decoding._config import GenerationConfig, GenerationError, Guidance, shared_guidance
from coala_jax.decoding._reward_model import TextRewardModel, backbone_of, require_scores_responses
from coala_jax.decoding._state import Plan, round_up
from coala_jax.features._tokens import RESPONSE_FIELD

# Most new tokens that are compiled for are a multiple of this.
TOKEN_MULTIPLE = 32


def make_plan(
    model: Backbone | TextRewardModel,
    configs: Sequence[GenerationConfig],
    *,
    traced: bool = False,
    likely: int = 0,
) -> Plan:
    """The plan of a batch.

    Args:
        model: with the head of guided rows and of rewards; a backbone where there are none.
        configs: of the rows.
        traced: keep what every guided step saw.
        likely: how many of the most probable tokens are kept of every step; no more than there are.

    Raises:
        GenerationError: the backbone does not generate; guidance without a head; a head whose
            template puts words around a response, or one of beginnings; ``top_k`` beyond the
            vocabulary; rows that do not go together; blocks, of whose tokens no log probabilities
            are kept.
    """
    backbone = backbone_of(model)
    reward_model = model if isinstance(model, TextRewardModel) else None
    require_generates(backbone)
    guidance = shared_guidance(configs)
    if guidance and reward_model is None:
        scale = next(config.sampling.scale for config in configs if config.guides)
        raise GenerationError(f"scale={scale}: guidance needs a head; give one, or scale=0")
    if reward_model is not None:
        require_scores_responses(reward_model.scores, GenerationError)
        _require_plain_response(reward_model)
    vocab = min(backbone.config.vocab_size, backbone.tokenizer.size)
    samplings = [config.sampling for config in configs]
    pool = max(sampling.top_k for sampling in samplings)
    if pool > vocab:
        raise GenerationError(f"top_k={pool} is larger than the vocabulary, {vocab} tokens")
    if likely and guidance and guidance.continuations:
        raise GenerationError(
            f"continuations={guidance.continuations}: of blocks no log probabilities are kept; "
            "leave continuations or logprobs out"
        )
    longest = round_up(max(sampling.max_new_tokens for sampling in samplings), TOKEN_MULTIPLE)
    candidates = 0
    if guidance and reward_model is not None:
        guidance = as_guided(guidance, reward_model)
    if guidance:
        candidates = guidance.continuations or min(guidance.num_candidates or pool, pool)
    return Plan(
        pool=pool,
        new_tokens=min(longest, backbone.config.max_length),
        candidates=candidates,
        guidance=replace(guidance or Guidance(), num_candidates=None),
        end_id=backbone.tokenizer.end_id if reward_model is None else reward_model.end_id,
        end_ids=backbone.tokenizer.end_ids,
        penalised=any(sampling.repetition_penalty != 1 for sampling in samplings),
        traced=traced,
        likely=min(likely, vocab),
    )


def as_guided(guidance: Guidance, model: TextRewardModel) -> Guidance:
    """What is done of a guidance: a value head reads texts in the making as they stand."""
    return guidance if model.value_head is None else replace(guidance, scored="prefix")


def _require_plain_response(model: TextRewardModel) -> None:
    """Raise where more than white space stands before a response, or anything behind it."""
    part = model.settings.template.response
    if part.lstrip() != RESPONSE_FIELD:
        raise GenerationError(
            f"head: its responses stand in the template {part!r}, which a response in the making "
            f"cannot; extract with a response part of {RESPONSE_FIELD!r} behind white space alone"
        )


def require_generates(backbone: Backbone) -> None:
    """Raise where a backbone cannot generate.

    Raises:
        GenerationError: an encoder, a model that torch runs, or one without a matrix that scores
            next tokens.
    """
    if not getattr(backbone.config, "has_head", True):
        raise GenerationError(
            f"{backbone.identity.name}: its checkpoint has no lm_head.weight, which scores next "
            "tokens; extract and score do without, to generate use the model that has it"
        )
    if not backbone.module.generates:
        raise GenerationError(
            f"{backbone.identity.name}: a {backbone.identity.model_type} backbone does not "
            "generate; use a causal model that jax runs (`coala-jax backbones` lists them)"
        )
