"""Prompts to their texts, and token ids to the text of a response."""

from collections.abc import Mapping, Sequence
from typing import Any

from coala_jax.backbones import Backbone, Tokenizer
from coala_jax.data import Message
from coala_jax.data._chat import ChatError, ChatFormat, ChatTexts
from coala_jax.data._message import ASSISTANT, DEVELOPER, USER
from coala_jax.decoding._config import GenerationError
from coala_jax.decoding._reward_model import TextRewardModel
from coala_jax.features._chat import tokenizer_chat
from coala_jax.features._tokens import RESPONSE_FIELD, TextTemplate

# A text, or the messages of a conversation up to the answer.
Prompt = str | Sequence[Message | Mapping[str, Any]]
# What a tokenizer decodes an unfinished character to.
UNFINISHED = "\N{REPLACEMENT CHARACTER}"
# Why a response ended: at an end token or stop text; where its tokens ran out.
STOPPED, FULL = "stop", "length"


def template_of(model: Backbone | TextRewardModel) -> TextTemplate:
    """What stands around prompt and response: as the head knows them, or the default."""
    return model.settings.template if isinstance(model, TextRewardModel) else TextTemplate()


def prompt_text(model: Backbone | TextRewardModel, prompt: Prompt, name: str) -> str:
    """The text of a prompt; a conversation becomes text by the tokenizer's chat template.

    Args:
        model: with the head of guided prompts, or a backbone alone.
        prompt: a text or messages.
        name: of the prompt, for messages.

    Raises:
        GenerationError: neither text nor messages, an empty one, one that ends in an answer, or one
            that is not valid Unicode; whatever a chat template raises.
        FeatureError: the head was trained on conversations that another template wrote.
    """
    if isinstance(prompt, str):
        if not prompt.strip():
            raise GenerationError(f"{name} is empty; a response needs something to answer")
        if isinstance(model, TextRewardModel):
            model.require_known_text(prompt)
        return _valid(prompt, name)
    return _written(model, prompt, [], name).prompt


def answered_texts(
    model: Backbone | TextRewardModel, prompt: Prompt, responses: Sequence[str], name: str
) -> tuple[str, list[str]]:
    """A prompt and responses to it, as the texts that are scored.

    Args:
        model: as `prompt_text` takes it.
        prompt: a text or messages.
        responses: texts that answer it.
        name: of the prompt, for messages.

    Raises:
        GenerationError, FeatureError: as `prompt_text` does.
    """
    if isinstance(prompt, str):
        return prompt_text(model, prompt, name), list(responses)
    written = _written(model, prompt, responses, name)
    return written.prompt, written.answers


def _written(
    model: Backbone | TextRewardModel,
    prompt: Sequence[Message | Mapping[str, Any]],
    responses: Sequence[str],
    name: str,
) -> ChatTexts:
    """A conversation with each of the responses, as its chat template writes it."""
    messages = [_message(entry, name) for entry in prompt]
    if not messages:
        raise GenerationError(f"{name} is empty; a response needs something to answer")
    if messages[-1].role == ASSISTANT:
        raise GenerationError(f"{name} ends in an answer; end it with what is to be answered")
    if not messages[-1].content.strip():
        raise GenerationError(f"{name}: its last message is empty; end it with what to answer")
    chat = chat_of(model)
    try:
        if responses:
            answers = [[Message(ASSISTANT, response)] for response in responses]
            written = chat.texts(messages, answers)
        else:
            written = ChatTexts(chat.prompt(messages), [])
    except ChatError as error:
        raise GenerationError(f"{name}: {error}") from error.__cause__
    _valid(written.prompt, f"{name}, as the chat template writes it,")
    return written


def chat_of(model: Backbone | TextRewardModel) -> ChatFormat:
    """How a model's tokenizer writes conversations; with a head, as the head knows them.

    Raises:
        CheckpointError: the tokenizer has several templates and none by default.
        FeatureError: the head was trained on texts, or on what another template wrote.
    """
    if not isinstance(model, TextRewardModel):
        return tokenizer_chat(model.tokenizer)
    model.require_chat_template(model.chat.name)
    return model.chat


def writes_developer(chat: ChatFormat) -> bool:
    """Whether a format has the role of a developer, and writes what one says."""
    asked = [Message(DEVELOPER, "Be brief."), Message(USER, "Why?")]
    try:
        return DEVELOPER in chat.roles and bool(chat.prompt(asked))
    except Exception:  # left out, or refused: jinja2 raises what a template wants to raise
        return False


def _message(entry: Message | Mapping[str, Any], name: str) -> Message:
    fields = entry.as_dict() if isinstance(entry, Message) else entry
    if not isinstance(fields, Mapping):
        raise GenerationError(f"{name}: {entry!r} is no message; give role and content")
    role, content = fields.get("role"), fields.get("content")
    if not isinstance(role, str) or not isinstance(content, str):
        raise GenerationError(
            f"{name}: a message needs the texts role and content, got {sorted(fields)}"
        )
    return Message.from_dict(
        {**fields, "role": _valid(role, name), "content": _valid(content, name)}
    )


def _valid(text: str, name: str) -> str:
    """The text, where a tokenizer can read it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise GenerationError(f"{name} is not valid Unicode ({error}); give UTF-8") from None
    return text


def require_known_tokens(ids: Sequence[int], vocab_size: int, name: str) -> None:
    """Raise a `GenerationError` where a tokenizer knows tokens that the model does not."""
    if max(ids, default=0) >= vocab_size:
        raise GenerationError(
            f"{name} has a token of id {max(ids)}, and the model knows {vocab_size}; leave what "
            "was added to the tokenizer out of the text"
        )


class ResponseText:
    """The text of a response whose tokens come one after another, cut at stop texts.

    Attributes:
        text: what is certain of it: no unfinished character, and nothing that may turn out to be
            the beginning of a stop text.
        tokens: ids so far, an end token among them; up to the one that completed a stop text.
        stopped: a stop text was found; the text ends before it.
        finish_reason: ``STOPPED`` at an end token or stop text, ``FULL`` where tokens ran out; None
            while it goes on.
    """

    def __init__(self, tokenizer: Tokenizer, template: TextTemplate, stop: Sequence[str] = ()):
        """Begin with no tokens."""
        before = template.response.removesuffix(RESPONSE_FIELD)
        self._tokenizer, self._before, self._stop = tokenizer, before, tuple(stop)
        self.text, self.stopped = "", False
        self.tokens: list[int] = []
        self.finish_reason: str | None = None

    def extend(self, tokens: Sequence[int], *, last: bool = False) -> str:
        """Take more tokens; gives the text that became certain.

        Args:
            tokens: that follow those given before.
            last: nothing follows: what was held back is certain now.
        """
        if self.finish_reason:
            return ""
        known = self.text
        for token in tokens if self._stop else ():
            self.tokens.append(token)
            cut = self._first_stop(self._decoded())
            if cut is not None:
                self.text, self.stopped = self._decoded()[:cut], True
                self.finish_reason = STOPPED
                return self.text[len(known) :]
        if not self._stop:
            self.tokens.extend(tokens)
        whole = self._decoded()
        if last:
            self.text, self.finish_reason = whole, STOPPED if self._ended else FULL
        else:
            sure = whole.rstrip(UNFINISHED)
            held = max((_overlap(sure, stop) for stop in self._stop), default=0)
            self.text = sure[: len(sure) - held] if len(sure) - held > len(known) else known
        return self.text[len(known) :]

    @property
    def said(self) -> list[int]:
        """The tokens without an end token."""
        ended = self.finish_reason == STOPPED and not self.stopped
        return self.tokens[:-1] if ended else self.tokens

    def width(self, count: int) -> int:
        """Characters of the text that are certain after the first ``count`` tokens."""
        text = self._tokenizer.decode(self.tokens[:count]).removeprefix(self._before)
        return len(text.rstrip(UNFINISHED))

    @property
    def _ended(self) -> bool:
        return bool(self.tokens) and self.tokens[-1] in self._tokenizer.end_ids

    def _decoded(self) -> str:
        tokens = self.tokens[:-1] if self._ended else self.tokens
        return self._tokenizer.decode(tokens).removeprefix(self._before)

    def _first_stop(self, text: str) -> int | None:
        found = [at for at in (text.find(stop) for stop in self._stop) if at >= 0]
        return min(found, default=None)


def _overlap(text: str, stop: str) -> int:
    """How many of the last characters of a text may begin a stop text."""
    most = min(len(text), len(stop) - 1)
    return next((n for n in range(most, 0, -1) if stop.startswith(text[len(text) - n :])), 0)
