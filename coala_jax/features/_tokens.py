"""Prompt and response to token ids: the template, the end token, and what a full context drops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from coala_jax import _literal
from coala_jax._common_start import common_length
from coala_jax.data._chat import PROBES, ChatAnswer, ChatText, without_ends
from coala_jax.features._errors import FeatureError

if TYPE_CHECKING:
    from coala_jax.backbones import Tokenizer

PROMPT_FIELD, RESPONSE_FIELD = "{prompt}", "{response}"
# What `encode_texts` does, by name: features that were made otherwise are others.
TEXT_RULE = "responses stripped, control tokens as text"


class TextTemplate(NamedTuple):
    """What stands around the two texts, each tokenised apart from the other.

    The default puts a space before the response, as byte-level tokenizers expect of a word.

    Attributes:
        prompt: text with ``{prompt}`` once.
        response: text with ``{response}`` once.
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
        prefixes: tokens of the response in each of its beginnings that are pooled too, rising and
            at least 1.
    """

    tokens: tuple[int, ...]
    response_start: int
    prompt_cut: bool
    response_cut: bool
    prefixes: tuple[int, ...] = ()


class TokenParts(NamedTuple):
    """The ids of a prompt with its response; a full context drops none of ``start`` and ``end``.

    Attributes:
        start: opens the text.
        prompt: of which the oldest are dropped first.
        response: of which the last are dropped where they alone do not fit.
        end: closes the response.
    """

    start: Sequence[int]
    prompt: Sequence[int]
    response: Sequence[int]
    end: Sequence[int]


def encode_texts(
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    responses: Sequence[str],
    template: TextTemplate,
    max_length: int,
) -> list[TokenSequence]:
    """Token ids of prompts with their responses, within a context.

    Texts are tokenised apart from each other and joined: start token, prompt, response, end token.
    They are text: names of control tokens in them are no control tokens, those in the template are.
    Of a response neither the white space at its edges counts nor an end token that it ends with.

    What a chat template has written (`ChatText`) is tokenised with its response as a whole, and
    nothing is added to it. Its prompt is what the tokens of the whole and those of the prompt
    before other answers begin with.

    Args:
        tokenizer: gives the ids, the end token, and the start token where the model expects one.
        prompts: (n,) texts.
        responses: (n,) texts.
        template: what stands around each that no chat template has written.
        max_length: the model's context in tokens.

    Returns:
        (n,) sequences that fit the context. Where one did not, the prompt lost its oldest tokens;
        a response that is too long alone kept its first ones, and its end token.
    """
    opened = [
        response.begun if isinstance(response, ChatAnswer) else prompt
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    bare = [
        begun + response
        if isinstance(prompt, ChatText)
        else template.response.replace(
            RESPONSE_FIELD, tokenizer.literal(response_text(tokenizer, response))
        )
        for prompt, begun, response in zip(prompts, opened, responses, strict=True)
    ]
    parts = zip(
        prompts,
        encode_prompts(tokenizer, opened, template),
        tokenizer.encode_batch(bare),
        strict=True,
    )
    return [
        fit_context(
            _written_parts(tokenizer, begun, ids)
            if isinstance(prompt, ChatText)
            else _text_parts(tokenizer, begun, ids),
            max_length,
        )
        for prompt, begun, ids in parts
    ]


def encode_prompts(
    tokenizer: Tokenizer, prompts: Sequence[str], template: TextTemplate
) -> list[list[int]]:
    """Token ids of prompts that a response is to follow.

    A text has the start token before it where the model expects one. What a chat template has
    written (`ChatText`) has the tokens that it has before any answer: the last of the prompt alone
    may be one with the beginning of the answer, such as a space.
    """
    # Many responses answer one prompt; a text and what a template wrote are never the same.
    texts = dict.fromkeys(prompt for prompt in prompts if not isinstance(prompt, ChatText))
    encoded = tokenizer.encode_batch(
        [template.prompt.replace(PROMPT_FIELD, tokenizer.literal(text)) for text in texts]
    )
    start = [] if tokenizer.start_id is None else [tokenizer.start_id]
    of_texts = {
        text: ids if ids[:1] == start else [*start, *ids]
        for text, ids in zip(texts, encoded, strict=True)
    }
    chats = dict.fromkeys(prompt for prompt in prompts if isinstance(prompt, ChatText))
    # A space at its end may be of the answer's first word, or a token that few answers have.
    beginnings = (
        [chat + PROBES[0] for chat in chats],
        [chat + PROBES[1] for chat in chats],
        [chat.rstrip(" ") for chat in chats],
    )
    of_chats = {
        chat: each[0][: common_length(*each)]
        for chat, *each in zip(chats, *map(tokenizer.encode_batch, beginnings), strict=True)
    }
    return [of_chats[each] if isinstance(each, ChatText) else of_texts[each] for each in prompts]


def names_control_tokens(tokenizer: Tokenizer, prompt: str, *responses: str) -> bool:
    """Whether texts hold the name of a control token, which is then read as text.

    Those that a chat template has written (`ChatText`) are its own.
    """
    texts = (prompt, *responses)
    if isinstance(prompt, ChatText):
        return any(_literal.START in text for text in texts)
    return any(map(tokenizer.names_control_tokens, texts))


def response_text(tokenizer: Tokenizer, text: str) -> str:
    """What of a response counts: neither white space at its edges nor an end token of its own."""
    return without_ends(text, tokenizer.end_tokens)


def fit_context(parts: TokenParts, max_length: int) -> TokenSequence:
    """Join start, prompt, response and end, dropping what does not fit.

    Args:
        parts: the ids.
        max_length: at least as many as ``start`` and ``end`` have together, which stay.

    Returns:
        The sequence, at most ``max_length`` tokens long.
    """
    start, prompt, response, end = map(tuple, parts)
    most = max_length - len(start) - len(end)
    kept_response = response[:most]
    room = most - len(kept_response)
    kept_prompt = prompt[max(len(prompt) - room, 0) :]
    return TokenSequence(
        tokens=(*start, *kept_prompt, *kept_response, *end),
        response_start=len(start) + len(kept_prompt),
        prompt_cut=len(kept_prompt) < len(prompt),
        response_cut=len(kept_response) < len(response),
    )


def _text_parts(tokenizer: Tokenizer, begun: list[int], response: list[int]) -> TokenParts:
    """The parts of a prompt's tokens, and of those of a response to it."""
    opened = 0 if tokenizer.start_id is None else 1
    return TokenParts(begun[:opened], begun[opened:], response, (tokenizer.end_id,))


def _written_parts(tokenizer: Tokenizer, begun: list[int], whole: list[int]) -> TokenParts:
    """The parts of a conversation, of the tokens of its prompt and those of all of it."""
    shared = common_length(begun, whole)
    # A template may write a line break before the start token; further on it is another turn's.
    first = begun[: min(shared, 2)]
    opened = first.index(tokenizer.start_id) + 1 if tokenizer.start_id in first else 0
    closed = len(whole) - (len(whole) > shared and whole[-1] in tokenizer.control_ids)
    return TokenParts(whole[:opened], whole[opened:shared], whole[shared:closed], whole[closed:])
