"""Prompt and response to token ids: the template, the end token, and what a full context drops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from coala_jax.features._errors import FeatureError

if TYPE_CHECKING:
    from coala_jax.backbones import Tokenizer

PROMPT_FIELD, RESPONSE_FIELD = "{prompt}", "{response}"


class TextTemplate(NamedTuple):
    """What stands around the two texts, each tokenised apart from the other.

    The default puts a space before the response, as byte-level tokenizers expect of a word.
    """

    prompt: str = PROMPT_FIELD
    response: str = f" {RESPONSE_FIELD}"

    def check(self) -> None:
        """Raise where a part does not hold its field exactly once.

        Raises:
            FeatureError: names the part and its text.
        """
        for name, field in (("prompt", PROMPT_FIELD), ("response", RESPONSE_FIELD)):
            text = getattr(self, name)
            if text.count(field) != 1:
                raise FeatureError(f"template: {name} part {text!r} must hold {field} exactly once")


class TokenSequence(NamedTuple):
    """Prompt, response and end token as ids.

    Attributes:
        tokens: all ids, at most the context's length.
        response_start: index of the first response token; the end token counts as response.
        prompt_cut: the prompt lost its oldest tokens.
        response_cut: the response lost its last tokens.
    """

    tokens: tuple[int, ...]
    response_start: int
    prompt_cut: bool
    response_cut: bool


def encode_texts(
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    responses: Sequence[str],
    template: TextTemplate,
    max_length: int,
) -> list[TokenSequence]:
    """Tokenise prompts and responses apart and join them: start token, prompt, response, end token.

    Args:
        tokenizer: gives the ids, the end token, and the start token where the model expects one.
        prompts: (n,) texts.
        responses: (n,) texts.
        template: what stands around each.
        max_length: the model's context in tokens.

    Returns:
        (n,) sequences that fit the context. Where one did not, the prompt lost its oldest tokens;
        a response that is too long alone kept its first ones, and its end token.
    """
    prompt_ids = tokenizer.encode_batch(
        [template.prompt.replace(PROMPT_FIELD, text) for text in prompts]
    )
    response_ids = tokenizer.encode_batch(
        [template.response.replace(RESPONSE_FIELD, text) for text in responses]
    )
    return [
        fit_context(prompt, response, tokenizer.end_id, max_length, tokenizer.start_id)
        for prompt, response in zip(prompt_ids, response_ids, strict=True)
    ]


def fit_context(
    prompt: Sequence[int],
    response: Sequence[int],
    end_id: int,
    max_length: int,
    start_id: int | None = None,
) -> TokenSequence:
    """Join start token, prompt, response and end token, dropping what does not fit.

    Args:
        prompt: ids; the oldest, its first, are dropped first.
        response: ids; the last are dropped where they alone do not fit.
        end_id: closes the response and is never dropped.
        max_length: at least 1, and 2 with a start token.
        start_id: opens the text and is never dropped; added where the prompt does not begin with
            it, as one from a chat template may.

    Returns:
        The sequence, at most ``max_length`` tokens long.
    """
    if start_id is not None and prompt[:1] == [start_id]:
        prompt = prompt[1:]
    start = () if start_id is None else (start_id,)
    most = max_length - len(start) - 1
    kept_response = response[:most]
    room = most - len(kept_response)
    kept_prompt = prompt[max(len(prompt) - room, 0) :]
    return TokenSequence(
        tokens=(*start, *kept_prompt, *kept_response, end_id),
        response_start=len(start) + len(kept_prompt),
        prompt_cut=len(kept_prompt) < len(prompt),
        response_cut=len(kept_response) < len(response),
    )
