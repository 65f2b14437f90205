"""From requests to rows: texts to tokens, and the plan that each goes with."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from coala_jax._errors import CoalaError
from coala_jax.backbones import Backbone
from coala_jax.data import ResponseRow
from coala_jax.data._chat import ChatText
from coala_jax.data._message import DEVELOPER, SYSTEM
from coala_jax.decoding._config import GenerationConfig, GenerationError
from coala_jax.decoding._plan import make_plan
from coala_jax.decoding._prompts import (
    answered_texts,
    chat_of,
    prompt_text,
    require_known_tokens,
    template_of,
    writes_developer,
)
from coala_jax.decoding._reward_model import TextRewardModel
from coala_jax.decoding._state import Plan, round_up
from coala_jax.features import FeatureError
from coala_jax.features._tokens import encode_prompts
from coala_jax.serving._errors import ApiError, bad_field
from coala_jax.serving._limits import Limits
from coala_jax.serving._requests import MOST_LIKELY, AskedPrompt, GenerationRequest, ScoreItem

# Pools are compiled for multiples of this, the paper's top-k.
POOL_MULTIPLE = 50
# Stands for every penalty: a plan with one takes rows without, too.
ANY_PENALTY = 2.0
AS_TEXT = "give it as text to /v1/completions, or start the server with --chat-as-text"


class Choice(NamedTuple):
    """One response to be generated.

    Attributes:
        number: among those of its request, from 0; it draws with ``fold_in(key(seed), number)``.
        prompt: token ids.
        text: of the prompt, for the reward of a response that `is_cut`.
        config: how to generate.
        seed: of the request.
        plan: of the rows that it goes with.
        likely: how many of the most probable tokens are told with every token; None where no log
            probabilities are.
    """

    number: int
    prompt: tuple[int, ...]
    text: str
    config: GenerationConfig
    seed: int
    plan: Plan
    likely: int | None


@contextmanager
def _refused(field: str, prompt: AskedPrompt = "") -> Iterator[None]:
    """What a prompt, a template or the tokenizer fails on is the client's to mend."""
    try:
        yield
    except CoalaError as error:
        as_text = isinstance(error, FeatureError) and not isinstance(prompt, str)
        # A cause is what a template or a tokenizer raised.
        raise bad_field(
            field, f"{error}; {AS_TEXT}" if as_text else str(error)
        ) from error.__cause__


class Intake:
    """Reads prompts by a tokenizer of its own: the engine's does not wait for a long one."""

    def __init__(self, model: TextRewardModel, limits: Limits, *, chat_as_text: bool = False):
        """Take a tokenizer of its own beside that of the backbone.

        Args:
            model: that generates and gives rewards.
            limits: of the server; those of the model are heeded, too.
            chat_as_text: let the tokenizer's chat template write conversations even where the head
                was trained on other text.

        Raises:
            GenerationError: the model does not generate.
        """
        backbone = model.backbone
        tokenizer = replace(backbone.tokenizer, raw=copy.deepcopy(backbone.tokenizer.raw))
        self._backbone = replace(backbone, tokenizer=tokenizer)
        self._model, self._chat_as_text = replace(model, backbone=self._backbone), chat_as_text
        longest = backbone.config.max_length
        # At the least one token of a prompt and one behind the response: the end token.
        self.limits = replace(
            limits,
            context=min(limits.context, longest),
            new_tokens=min(limits.new_tokens, min(limits.context, longest) - 2),
            top_k=min(limits.top_k, self._vocab),
        )
        longest_token = max(map(len, tokenizer.raw.get_vocab()))
        self._most_characters = self.limits.context * longest_token
        make_plan(model, [self._general(GenerationConfig())])

    def choices(self, request: GenerationRequest) -> list[Choice]:
        """The rows of a request, ``choices`` for every prompt in turn.

        Raises:
            ApiError: a prompt or options that cannot be used, or more tokens than fit.
        """
        plan = self._plan(request)
        texts = self._texts(request.prompts, request.field)
        self._require_short(texts, request.field)
        with _refused(request.field):
            encoded = encode_prompts(self._backbone.tokenizer, texts, template_of(self._model))
            for ids in encoded:
                require_known_tokens(ids, self._backbone.config.vocab_size, request.field)
        rows: list[Choice] = []
        for text, ids in zip(texts, encoded, strict=True):
            config = self._fitted(request, plan, ids)
            for _ in range(request.choices):
                rows.append(
                    Choice(
                        number=len(rows),
                        prompt=tuple(ids),
                        text=text,
                        config=config,
                        seed=request.seed,
                        plan=plan,
                        likely=request.likely,
                    )
                )
        return rows

    def score_rows(self, items: Sequence[ScoreItem]) -> list[ResponseRow]:
        """Rows to be scored.

        Raises:
            ApiError: a conversation that the head's chat template did not write.
        """
        rows = []
        for number, item in enumerate(items):
            name = f"items[{number}]"
            field = f"{name}.prompt"
            if self._is_written(item.prompt):
                (text,) = self._texts((item.prompt,), field)
                response = self._model.written_response(item.response)
            else:
                with _refused(field, item.prompt):
                    prompt = self._in_known_roles(item.prompt)
                    text, (response,) = answered_texts(self._reader, prompt, [item.response], field)
            rows.append(ResponseRow(name, "response", text, response))
        return rows

    @property
    def _vocab(self) -> int:
        return min(self._backbone.config.vocab_size, self._backbone.tokenizer.size)

    def _plan(self, request: GenerationRequest) -> Plan:
        """The plan of the rows that a request may share."""
        config = request.config
        # All that ask for some share rows of the most.
        likely = 0 if request.likely is None else MOST_LIKELY
        try:
            plan = make_plan(self._model, [self._general(config)], likely=likely)
        except GenerationError as error:
            raise ApiError(400, str(error), code="invalid_value") from None
        if plan.branch_slots > self.limits.branch_slots:
            guidance = config.guidance
            raise ApiError(
                400,
                f"lookahead={guidance.lookahead} and continuations={guidance.continuations} take "
                f"{plan.branch_slots} tokens behind every response, more than "
                f"{self.limits.branch_slots}; lower them, num_candidates or guide_every",
                code="invalid_value",
            )
        return plan

    def _general(self, config: GenerationConfig) -> GenerationConfig:
        """A configuration as general as those that may share its rows."""
        return config.with_options(
            max_new_tokens=self.limits.new_tokens,
            top_k=min(round_up(config.sampling.top_k, POOL_MULTIPLE), self.limits.top_k),
            repetition_penalty=ANY_PENALTY,
            stop=(),
        )

    @property
    def _reader(self) -> TextRewardModel | Backbone:
        """Whose prompts they are; a backbone alone asks for no chat template of the head's."""
        return self._backbone if self._chat_as_text else self._model

    def _texts(self, prompts: Sequence[AskedPrompt], field: str) -> list[str]:
        texts: list[str] = []
        for prompt in prompts:
            with _refused(field, prompt):
                if self._is_written(prompt):
                    texts.append(ChatText(prompt_text(self._backbone, prompt, field)))
                else:
                    known = self._in_known_roles(prompt)
                    texts.append(prompt_text(self._reader, known, field))
        return texts

    def _in_known_roles(self, prompt: AskedPrompt) -> AskedPrompt:
        """A prompt whose developer, the API's newer name of the system, has a role that is written.

        It stays one of its own where the chat template has it: so it is in rows that heads are
        trained on.
        """
        if isinstance(prompt, str) or DEVELOPER not in [message.role for message in prompt]:
            return prompt
        if writes_developer(chat_of(self._reader)):
            return prompt
        return tuple(
            message._replace(role=SYSTEM) if message.role == DEVELOPER else message
            for message in prompt
        )

    def _is_written(self, prompt: AskedPrompt) -> bool:
        """Whether a text is a conversation as the chat template writes it.

        That is what a client means who asks a head of conversations to complete a text.
        """
        return isinstance(prompt, str) and self._model.settings.written

    def _require_short(self, texts: Sequence[str], field: str) -> None:
        """Refuse what cannot fit before it takes the time to be tokenised.

        Raises:
            ApiError: a text of more characters than the longest tokens hold in the context.
        """
        length = max(map(len, texts))
        if length > self._most_characters:
            raise bad_field(
                field,
                f"{field} has {length} characters, more than {self._most_characters}, which is "
                f"what the context of {self.limits.context} tokens holds at most; shorten it",
                "context_length_exceeded",
            )

    def _fitted(
        self, request: GenerationRequest, plan: Plan, prompt: Sequence[int]
    ) -> GenerationConfig:
        """The configuration with as many new tokens as fit.

        Raises:
            ApiError: none do, or fewer than were stated.
        """
        config, field = request.config, request.field
        asked_for = config.sampling.max_new_tokens
        room = self.limits.context - len(prompt) - plan.reach if prompt else 0
        if room < 1 or (request.stated_tokens and room < asked_for):
            asked = asked_for if request.stated_tokens else 1
            raise bad_field(
                field,
                f"{field} has {len(prompt)} tokens: with {asked} new ones and {plan.reach} behind "
                f"them that is more than the context of {self.limits.context} tokens; shorten it, "
                "or ask for fewer",
                "context_length_exceeded",
            )
        return config.with_options(max_new_tokens=min(room, asked_for))
