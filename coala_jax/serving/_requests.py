"""What clients ask for: bodies of the API to checked requests."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from coala_jax.data import Message
from coala_jax.data._message import ASSISTANT, DEVELOPER, SYSTEM, USER
from coala_jax.decoding._config import (
    CHOICES,
    COLDEST,
    LARGEST,
    PENALTIES,
    SCORED,
    GenerationConfig,
    GenerationError,
    Guidance,
    Sampling,
)
from coala_jax.serving._errors import ApiError, bad_field
from coala_jax.serving._fields import Fields, require_text
from coala_jax.serving._limits import Limits

# Where the API says so; what it does not define is as `GenerationConfig` has it.
COMPLETION_TOKENS = 16
HOTTEST = 2.0
# The most alternatives to a token, as the API has it for conversations.
MOST_LIKELY = 20
# Of the seeds that are drawn where none is given.
SEED_BITS = 32
# What clients of local servers send for as many tokens as fit.
NO_LIMIT = -1
# As small as this takes the most probable token alone.
SMALLEST_TOP_P = 1e-6

# Fields of ours beside those of the API, by the name that `GenerationConfig` has.
GUIDANCE_FIELDS = tuple(vars(Guidance()))
_SAMPLING_FIELDS = ("max_tokens", "temperature", "top_p", "n", "stop", "seed")
_OUR_FIELDS = ("top_k", "repetition_penalty", "guidance_scale", *GUIDANCE_FIELDS)
# They say who asks and for what, or how fast; no answer depends on them.
_IGNORED_FIELDS = (
    "user",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
    "prediction",
)
_READ = {"model", "stream", "stream_options", *_SAMPLING_FIELDS, *_OUR_FIELDS, *_IGNORED_FIELDS}
# Fields of the API, and of other servers of it, that are not supported: the values that ask for
# nothing.
_NEUTRAL: Mapping[str, Sequence[Any]] = {
    "echo": (False,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "response_format": ({"type": "text"},),
    "store": (False,),
    "add_generation_prompt": (True,),
    "chat_template_kwargs": ({},),
    "continue_final_message": (False,),
    "ignore_eos": (False,),
    "include_stop_str_in_output": (False,),
    "length_penalty": (1,),
    "min_p": (0,),
    "min_tokens": (0,),
    "skip_special_tokens": (True,),
    "stop_token_ids": ([],),
    "typical_p": (1,),
    "use_beam_search": (False,),
}
_COMPLETION_NEUTRAL = {**_NEUTRAL, "suffix": ("",)}
_CHAT_NEUTRAL = {
    **_NEUTRAL,
    "audio": (),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "modalities": (["text"],),
    "parallel_tool_calls": (True, False),
    "reasoning_effort": ("none",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "verbosity": ("medium",),
    "web_search_options": (),
}
# Of messages: clients send back what a server, or a library on the way, put beside an answer.
_MESSAGE_NEUTRAL: Mapping[str, Sequence[Any]] = {
    "annotations": ([],),
    "audio": (),
    "function_call": (),
    "images": ([],),
    "parsed": (),
    "provider_specific_fields": ({}, {"refusal": None}),
    "reasoning": ("",),
    "reasoning_content": ("",),
    "refusal": ("",),
    "thinking_blocks": ([],),
    "tool_call_id": (),
    "tool_calls": ([],),
}
# What becomes of a developer, the model's chat template decides.
_ROLES = (DEVELOPER, SYSTEM, USER, ASSISTANT)
# A text, or the messages of a conversation up to the answer.
AskedPrompt = str | tuple[Message, ...]


class GenerationRequest(NamedTuple):
    """A request for completions, of texts or of a conversation.

    Attributes:
        prompts: texts, or one conversation.
        field: the name of the field that they came from.
        config: how to generate.
        stated_tokens: ``max_tokens`` was given: it must fit, and is not shortened to what fits.
        choices: responses to every prompt.
        seed: of the draws, as `coala_jax.serving._lane.row_key` takes it; drawn here where none was
            given.
        stream: whether the text is sent as it comes.
        usage: whether a stream ends with the number of tokens.
        likely: how many of the most probable tokens are told with every token; None where no log
            probabilities are asked for.
    """

    prompts: tuple[AskedPrompt, ...]
    field: str
    config: GenerationConfig
    stated_tokens: bool
    choices: int
    seed: int
    stream: bool
    usage: bool
    likely: int | None = None


class ScoreItem(NamedTuple):
    """A response to be scored.

    Attributes:
        prompt: a text or a conversation.
        response: the text that answers it.
    """

    prompt: AskedPrompt
    response: str


def completion_request(
    body: Mapping[str, Any], model: str, limits: Limits, scale: float
) -> GenerationRequest:
    """Read the body of ``/v1/completions``.

    Args:
        body: of the request.
        model: the name of the one that is served.
        limits: of the server.
        scale: guidance scale where the request names none.

    Raises:
        ApiError: a field that is missing, wrong, unknown or not supported; another model.
    """
    fields = Fields(body)
    as_many = (fields.get("n", 1),)
    fields.only({"prompt", "logprobs", *_READ}, {**_COMPLETION_NEUTRAL, "best_of": as_many})
    fields.require("model", "prompt")
    _require_model(fields, model)
    prompts = _prompts(fields)
    default = min(COMPLETION_TOKENS, limits.new_tokens)
    asked = _generation_request(
        fields, prompts, "prompt", "max_tokens", default, limits=limits, scale=scale
    )
    # False is another API's no.
    wanted = fields.get("logprobs", False) is not False
    return asked._replace(likely=fields.integer("logprobs", 0, MOST_LIKELY, 0) if wanted else None)


def chat_request(
    body: Mapping[str, Any], model: str, limits: Limits, scale: float
) -> GenerationRequest:
    """Read the body of ``/v1/chat/completions``; arguments and errors as `completion_request`."""
    fields = Fields(body)
    own = {"messages", "max_completion_tokens", "logprobs", "top_logprobs"}
    fields.only({*own, *_READ}, _CHAT_NEUTRAL)
    fields.require("model", "messages")
    _require_model(fields, model)
    conversation = _conversation(fields["messages"], "messages")
    names = ("max_completion_tokens", "max_tokens")
    given = [name for name in names if name in fields]
    if len(given) > 1 and fields["max_tokens"] != fields["max_completion_tokens"]:
        raise bad_field(
            "max_tokens", "max_tokens and max_completion_tokens differ; give one of them"
        )
    name = (*given, *names)[0]
    asked = _generation_request(
        fields, (conversation,), "messages", name, limits.new_tokens, limits=limits, scale=scale
    )
    wanted, likely = fields.boolean("logprobs"), fields.integer("top_logprobs", 0, MOST_LIKELY, 0)
    if likely and not wanted:
        raise bad_field("top_logprobs", "top_logprobs needs logprobs=true; give both or neither")
    return asked._replace(likely=likely if wanted else None)


def score_request(body: Mapping[str, Any], model: str, limits: Limits) -> tuple[ScoreItem, ...]:
    """Read the body of ``/v1/score``: ``items``, each with ``prompt`` and ``response``.

    Raises:
        ApiError: as `completion_request` does.
    """
    fields = Fields(body)
    fields.only({"model", "items", *_IGNORED_FIELDS}, {})
    fields.require("model", "items")
    _require_model(fields, model)
    items = fields["items"]
    if not isinstance(items, list) or not 1 <= len(items) <= limits.score_rows:
        raise fields.wrong("items", f"a list of 1 to {limits.score_rows} objects")
    return tuple(_score_item(item, f"items[{n}]") for n, item in enumerate(items))


def _score_item(item: object, name: str) -> ScoreItem:
    if not isinstance(item, dict):
        raise bad_field(name, f"{name} must be an object with prompt and response")
    fields = Fields(item, within=name)
    fields.only({"prompt", "response"}, {})
    fields.require("prompt", "response")
    prompt: AskedPrompt
    if isinstance(fields["prompt"], list):
        prompt = _conversation(fields["prompt"], fields.param("prompt"))
    else:
        prompt = _filled(fields["prompt"], fields.param("prompt"))
    return ScoreItem(prompt, _filled(fields["response"], fields.param("response")))


def _generation_request(
    fields: Fields,
    prompts: tuple[AskedPrompt, ...],
    field: str,
    tokens_field: str,
    default_tokens: int,
    *,
    limits: Limits,
    scale: float,
) -> GenerationRequest:
    choices = fields.integer("n", 1, limits.choices, 1)
    if choices * len(prompts) > limits.choices:
        raise bad_field(
            "n",
            f"n={choices} responses to {len(prompts)} prompts are more than {limits.choices}, the "
            "most of one request; ask in several",
        )
    stream = fields.boolean("stream")
    return GenerationRequest(
        prompts=prompts,
        field=field,
        config=_config(fields, tokens_field, default_tokens, limits, scale),
        stated_tokens=fields.get(tokens_field, NO_LIMIT) != NO_LIMIT,
        choices=choices,
        seed=fields.integer("seed", -(2**63), 2**63 - 1, secrets.randbits(SEED_BITS)),
        stream=stream,
        usage=_wants_usage(fields, stream),
    )


def _config(
    fields: Fields, tokens_field: str, default_tokens: int, limits: Limits, scale: float
) -> GenerationConfig:
    ours = Guidance()
    most = limits.new_tokens
    temperature = fields.number("temperature", 0, HOTTEST, 1.0)
    tokens = most
    if fields.get(tokens_field, default_tokens) != NO_LIMIT:
        tokens = fields.integer(tokens_field, 1, most, default_tokens)
    few = min(ours.num_candidates or limits.top_k, limits.top_k)
    try:
        return GenerationConfig.from_options(
            max_new_tokens=tokens,
            # Colder ones draw the most probable token, too, but leave float32 on the way.
            temperature=temperature if temperature >= COLDEST else 0.0,
            top_p=max(fields.number("top_p", 0, 1, 1.0), SMALLEST_TOP_P),
            top_k=fields.integer("top_k", 1, limits.top_k, min(Sampling().top_k, limits.top_k)),
            repetition_penalty=fields.number("repetition_penalty", *PENALTIES, 1.0),
            stop=_stop(fields, limits),
            scale=fields.number("guidance_scale", 0, LARGEST, scale),
            guide_every=fields.integer("guide_every", 1, most, min(ours.guide_every, most)),
            num_candidates=fields.integer("num_candidates", 1, limits.top_k, few),
            choice=fields.one_of("choice", CHOICES, ours.choice),
            scored=fields.one_of("scored", SCORED, ours.scored),
            lookahead=fields.integer("lookahead", 0, limits.branch_slots, ours.lookahead),
            continuations=fields.integer(
                "continuations", 0, limits.branch_slots, ours.continuations
            ),
        )
    except GenerationError as error:  # fields that do not go together
        raise ApiError(400, str(error), code="invalid_value") from None


def _stop(fields: Fields, limits: Limits) -> tuple[str, ...]:
    if "stop" not in fields:
        return ()
    stop = fields["stop"]
    texts = [stop] if isinstance(stop, str) else stop
    if not isinstance(texts, list) or len(texts) > limits.stop_texts:
        raise fields.wrong("stop", f"a text, or a list of at most {limits.stop_texts}")
    for text in texts:
        if not 1 <= len(require_text(text, "stop")) <= limits.stop_characters:
            raise fields.wrong("stop", f"of 1 to {limits.stop_characters} characters each")
    return tuple(texts)


def _wants_usage(fields: Fields, stream: bool) -> bool:
    if "stream_options" not in fields:
        return False
    options = fields["stream_options"]
    if not isinstance(options, dict):
        raise fields.wrong("stream_options", "an object")
    inner = Fields(options, within="stream_options")
    neutral = {"include_obfuscation": (False,), "continuous_usage_stats": (False,)}
    inner.only({"include_usage"}, neutral)
    wanted = inner.boolean("include_usage")
    if wanted and not stream:
        raise bad_field("stream_options", "stream_options needs stream=true; give both or neither")
    return wanted


def _require_model(fields: Fields, served: str) -> None:
    asked = fields.text("model")
    if asked != served:
        raise ApiError(
            404,
            f"the model {asked!r} is not served here; ask for {served!r}",
            code="model_not_found",
            param="model",
        )


def _prompts(fields: Fields) -> tuple[AskedPrompt, ...]:
    prompt = fields["prompt"]
    texts = prompt if isinstance(prompt, list) else [prompt]
    if not texts or any(isinstance(text, int | list) for text in texts):
        raise fields.wrong("prompt", "a text or a list of texts; token ids are not supported")
    return tuple(_filled(text, "prompt") for text in texts)


def _filled(value: object, param: str) -> str:
    text = require_text(value, param)
    if not text.strip():
        raise bad_field(param, f"{param} is empty; give a text")
    return text


def _conversation(messages: object, name: str) -> tuple[Message, ...]:
    if not isinstance(messages, list) or not messages:
        raise bad_field(name, f"{name} must be a list of at least one message")
    read = tuple(_message(entry, f"{name}[{n}]") for n, entry in enumerate(messages))
    if read[-1].role == ASSISTANT:
        raise bad_field(name, f"{name} ends with an answer; end it with what is to be answered")
    # Others may be empty: an answer whose end token came at once, a system text that nobody wrote.
    _filled(read[-1].content, f"{name}[{len(read) - 1}].content")
    return read


def _message(entry: object, name: str) -> Message:
    if not isinstance(entry, dict):
        raise bad_field(name, f"{name} must be an object with role and content")
    fields = Fields(entry, within=name)
    fields.only({"role", "content", "name"}, _MESSAGE_NEUTRAL)
    fields.require("role")
    if "name" in fields:  # one who speaks may have it; templates know of none
        fields.text("name")
    role, param = fields.one_of("role", _ROLES, ""), fields.param("content")
    if role != ASSISTANT:
        fields.require("content")
    content = fields.get("content", "")
    if isinstance(content, list):
        content = "".join(_part(part, param) for part in content)
    return Message(role, require_text(content, param))


def _part(part: object, param: str) -> str:
    if not isinstance(part, dict) or part.get("type") != "text":
        raise bad_field(param, f"{param} must be a text or parts of type text; others are refused")
    return require_text(part.get("text"), param)
