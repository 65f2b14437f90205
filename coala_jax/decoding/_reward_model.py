"""A backbone and a head on its features: together they give texts rewards."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np

from coala_jax._errors import CoalaError
from coala_jax._head import (
    DEFAULT_BETA,
    PREFIX,
    RESPONSE,
    TRAINED_ON,
    Head,
    HeadError,
    HeadFileError,
    HeadMetadata,
    known_scores,
    load_head,
)
from coala_jax._progress import Progress
from coala_jax.backbones import Backbone, load_backbone
from coala_jax.backbones._stack import layer_indices
from coala_jax.data import DataError, PromptFingerprint, ResponseRow
from coala_jax.data._chat import ChatError, ChatFormat, ChatText
from coala_jax.data._message import ASSISTANT, Message
from coala_jax.features import FeatureError, FeatureIdentity
from coala_jax.features._chat import tokenizer_chat
from coala_jax.features._identity import require_same_backbone
from coala_jax.features._responses import features_of_responses
from coala_jax.features._settings import ExtractSettings, feature_identity
from coala_jax.features._tokens import response_text

BARE = (
    "says nothing of the backbone (it was solved from bare arrays); only a head solved from a "
    "feature store, or from an export of one, can score texts"
)
# What to give a head in place of what it was not trained on.
TEXTS = "give prompt and response as texts, or extract and solve again from rows of messages"
MESSAGES = 'give the prompt as messages: [{"role": "user", "content": ...}]'


class ValueHead(NamedTuple):
    """A head of beginnings, which guides texts in the making.

    Attributes:
        head: the network.
        settings: layers and pooling that it reads; all else is as with the head that rewards.
    """

    head: Head
    settings: ExtractSettings

    def require_usable(self, rewards: ExtractSettings, width: int, depth: int) -> None:
        """Raise where it cannot guide beside a head of these settings, on these hidden states.

        Raises:
            HeadError: its weights, its width or its layers, or attention of its own.
        """
        _require_finite("value head", self.head)
        _require_width("value head", self.head, self.settings, width)
        try:
            layer_indices(self.settings.layers, depth)
        except ValueError as error:
            raise HeadError(f"value head: {error}") from None
        if self.settings.needs_query:
            raise HeadError(
                f"value head: pooling {self.settings.pooling!r} needs a query and none is "
                "recorded; solve again from the feature store"
            )
        own, theirs = ((one.query, one.layers) for one in (self.settings, rewards))
        if self.settings.query and own != theirs:
            raise HeadError(
                "value head: its attention pooling has another query or other layers than that of "
                "the head; extract for it with the layers and pooling of the head"
            )


@dataclass(frozen=True, eq=False, repr=False)
class TextRewardModel:
    """A backbone and a head that was trained on its features; none is made where they do not fit.

    Attributes:
        backbone: makes the features.
        head: the network on them.
        identity: by what the features that the head was trained on are known, as
            `coala_jax.features.load_features` gives it.
        beta: what turns reward differences into log-odds: one over the temperature that left-out
            pairs have fitted, else the scale that the Bradley-Terry loss of Phase II had (eq 7).
        trained_on: the prompts that the head was trained on; None where it does not say.
        scores: what the head reads: ``response``, whole ones with their end token, or ``prefix``,
            beginnings of them as they stand, which no score of whole responses is taken of.
        value_head: a head of beginnings, which guides in place of the head; rewards stay those of
            the head. None where the head guides.

    Raises:
        FeatureError: another backbone, tokenizer, type or end token than the head's; every
            difference is named.
        HeadError: a head that is not finite, or not of the width that its identity speaks of; an
            identity or a beta that cannot be.

    Example:
        >>> table = load_features("features")
        >>> features = PreferenceFeatures(table.chosen, table.rejected)
        >>> head = solve(Params(), features).raise_for_status().head
        >>> model = TextRewardModel(load_backbone("models/gpt2"), head, table.identity)
    """

    backbone: Backbone
    head: Head
    identity: FeatureIdentity
    beta: float = DEFAULT_BETA
    trained_on: PromptFingerprint | None = None
    scores: str = RESPONSE
    value_head: ValueHead | None = None

    def __post_init__(self) -> None:
        """Check that the head takes what the backbone makes."""
        known_scores(self.scores)
        if not isinstance(self.identity, FeatureIdentity):
            raise HeadError(f"identity is {self.identity!r}, which {BARE}")
        try:
            settings = self.settings
        except ValueError as error:
            raise HeadError(str(error)) from None
        require_same_backbone(self.identity, feature_identity(self.backbone, settings))
        _require_finite("head", self.head)
        if settings.needs_query:
            raise HeadError(
                f"pooling {settings.pooling!r} needs a query and none is recorded; solve again "
                "from the feature store"
            )
        try:
            layer_indices(settings.layers, self.backbone.config.depth)
        except ValueError as error:
            raise HeadError(str(error)) from None
        width = self.backbone.config.hidden_size
        _require_width("head", self.head, settings, width)
        if self.value_head is not None:
            self.value_head.require_usable(settings, width, self.backbone.config.depth)
        beta = self.beta
        if isinstance(beta, bool) or not isinstance(beta, int | float) or not 0 < beta < math.inf:
            raise HeadError(f"params.beta is {beta!r}, not a finite number above 0; solve again")

    def __repr__(self) -> str:
        width, neurons = self.head.theta1.shape
        head = f"{type(self.head).__name__}({width} -> {neurons} -> 1)"
        return f"TextRewardModel({self.backbone.identity.name!r}, {head}, beta={self.beta})"

    @cached_property
    def settings(self) -> ExtractSettings:
        """Template, layers, pooling and chat template that make features of the identity."""
        return ExtractSettings.from_identity(self.identity)

    @cached_property
    def chat(self) -> ChatFormat:
        """How the backbone's tokenizer writes conversations: as the head knows them if it can."""
        return tokenizer_chat(self.backbone.tokenizer, self.identity.chat_template)

    @cached_property
    def closing(self) -> str:
        """What stands behind an answer as the head knows them."""
        return self.chat.closing() if self.settings.written else self.backbone.tokenizer.end_token

    @cached_property
    def end_id(self) -> int:
        """The token that closes a response: the end token in `closing`, or the tokenizer's."""
        tokenizer = self.backbone.tokenizer
        known = dict(zip(tokenizer.end_tokens, tokenizer.end_ids, strict=True))
        return next((known[end] for end in known if end in self.closing), tokenizer.end_id)

    @property
    def closes_by_one_token(self) -> bool:
        """Whether a response in the making is closed as a text that is scored."""
        return self.closing in self.backbone.tokenizer.end_tokens

    def written_response(self, text: str) -> str:
        """An answer as the head's chat template writes it, of the text alone."""
        tokenizer = self.backbone.tokenizer
        return tokenizer.literal(response_text(tokenizer, text)) + self.closing

    @classmethod
    def load(
        cls,
        head_folder: str | os.PathLike[str],
        backbone: Backbone | str | os.PathLike[str],
        *,
        dtype: str | None = None,
        value_head: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> TextRewardModel:
        """Read a head, and the backbone that it was trained on.

        Args:
            head_folder: of a head that was solved from a feature store, or from an export of one.
            backbone: a checkpoint folder, GGUF file or hub id; one that is loaded already is taken
                as it is.
            dtype: as ``load_backbone`` takes it; None takes the type of the head's features.
            value_head: folder of a head of beginnings (``coala-jax solve --prefixes``) on the same
                backbone, which is to guide; its layers and pooling may be others.
            options: the others of ``load_backbone``.

        Raises:
            HeadFileError: no usable head, or one that does not say how its features were made;
                that is noticed before weights are read.
            FeatureError: another backbone than the head's; every difference is named.
            CheckpointError, ValueError: as ``load_backbone`` does.
        """
        head, metadata = load_head(head_folder)
        identity = head_identity(head_folder, metadata)
        guide = None if value_head is None else _load_value_head(value_head, identity)
        if not isinstance(backbone, Backbone):
            dtype = dtype or identity.compute_dtype
            backbone = load_backbone(backbone, dtype=dtype, **options)
        try:
            prompts = metadata.document.get(TRAINED_ON)
            trained_on = None if prompts is None else PromptFingerprint.from_text(prompts)
            scale, scores = metadata.log_odds_scale, metadata.scores
            model = cls(backbone, head, identity, scale, trained_on, scores)
        except DataError as error:
            raise HeadFileError(f"{head_folder}/head.json: {TRAINED_ON}: {error}") from None
        except HeadError as error:
            raise HeadFileError(f"{head_folder}/head.json: {error}") from None
        except FeatureError as error:
            name = backbone.identity.name
            raise FeatureError(f"{name} is not the backbone of {head_folder}: {error}") from None
        if guide is None:
            return model
        try:
            return replace(model, value_head=guide)
        except HeadError as error:
            raise HeadFileError(f"value_head={os.fspath(value_head or '')!r}: {error}") from None

    @property
    def head_sha256(self) -> str:
        """A hash of the head's arrays, by which a later run knows that it is the same one."""
        digest = hashlib.sha256()
        leaves = {name: leaf for name, leaf in self.head._asdict().items() if leaf is not None}
        for name, value in leaves.items():
            array = np.ascontiguousarray(value)
            digest.update(f"{name} {array.dtype} {array.shape}\n".encode() + array.tobytes())
        return digest.hexdigest()

    def require_chat_template(self, chat_template: str) -> None:
        """Raise where conversations became text otherwise than those the head was trained on.

        Args:
            chat_template: of the rows, as a ``RowSet`` records it; empty where they are text, of
                which `require_known_text` says whether the head knows it.

        Raises:
            FeatureError: names both templates.
        """
        known = self.identity.chat_template
        if chat_template and chat_template != known:
            trained = f"conversations written by {known}" if known else "plain texts"
            mend = "give the messages to a tokenizer that has that template" if known else TEXTS
            raise FeatureError(
                f"chat template: the head was trained on {trained}, and these conversations are "
                f"written by {chat_template}; {mend}"
            )

    def require_known_text(self, prompt: str) -> None:
        """Raise where a prompt is a text and the head knows conversations, or the other way round.

        Args:
            prompt: a text, or a `ChatText` that a chat template has written.

        Raises:
            FeatureError: names both.
        """
        if isinstance(prompt, ChatText) and not self.settings.written:
            raise FeatureError(
                f"the head was trained on plain texts, and this is a conversation; {TEXTS}"
            )
        if self.settings.written and not isinstance(prompt, ChatText):
            raise FeatureError(
                "the head was trained on conversations that a chat template wrote, and this is a "
                f"plain text; {MESSAGES}"
            )


def _require_finite(name: str, head: Head) -> None:
    if not all(np.isfinite(value).all() for value in jax.tree.leaves(head)):
        raise HeadError(f"the {name} holds NaN or infinity; solve again")


def _require_width(name: str, head: Head, settings: ExtractSettings, hidden_size: int) -> None:
    width, takes = settings.width(hidden_size), head.theta1.shape[0]
    if takes != width:
        raise HeadError(
            f"the {name} takes {takes} features, and its identity speaks of {width} "
            f"({settings.pooling} of layers {settings.layers}); they are of different heads"
        )


def _load_value_head(folder: str | os.PathLike[str], identity: FeatureIdentity) -> ValueHead:
    """A head of beginnings, for a head of this identity.

    Raises:
        HeadFileError: no usable head, or one of whole responses.
        FeatureError: it was trained on features of another backbone, or of texts in other words.
    """
    head, metadata = load_head(folder)
    try:
        scores = metadata.scores
    except HeadError as error:
        raise HeadFileError(f"value_head={os.fspath(folder)!r}: {error}") from None
    if scores != PREFIX:
        raise HeadFileError(
            f"value_head={os.fspath(folder)!r}: a head of whole responses; one of beginnings comes "
            "from `coala-jax extract --prefixes K` and `coala-jax solve --prefixes`"
        )
    own = head_identity(folder, metadata)
    read = {name: getattr(own, name) for name in ("pooling", "layer", "query")}
    try:
        require_same_backbone(identity._replace(**read), own)
    except FeatureError as error:
        raise FeatureError(f"value_head={os.fspath(folder)!r}: {error}") from None
    return ValueHead(head, ExtractSettings.from_identity(own))


def backbone_of(model: Backbone | TextRewardModel) -> Backbone:
    """The backbone of what generates, plainly or with a head; a TypeError for anything else."""
    if isinstance(model, Backbone):
        return model
    if isinstance(model, TextRewardModel):
        return model.backbone
    raise TypeError(f"model must be a Backbone or a TextRewardModel, got {type(model).__name__}")


def require_several(name: str, texts: object) -> None:
    """Raise a TypeError where one text stands for a list of them: its characters would be taken."""
    if isinstance(texts, str):
        raise TypeError(f"{name} must be a list, got one text; put it in a list: [{texts[:20]!r}]")


def require_reward_model(model: object, error: type[CoalaError] = HeadError) -> None:
    """Raise where what should be a model with a head is something else, such as a backbone."""
    if not isinstance(model, TextRewardModel):
        raise error(
            f"model must be a TextRewardModel, got {type(model).__name__}: load one with "
            "TextRewardModel.load(head, model)"
        )


def require_scores_responses(scores: str, error: type[CoalaError] = HeadError) -> None:
    """Raise where a head of beginnings is asked about whole responses.

    Args:
        scores: what it reads, as `TextRewardModel.scores` and `HeadMetadata.scores` say.
        error: to raise.
    """
    if scores == PREFIX:
        raise error(
            "the head scores beginnings of responses as they stand (it comes from `solve "
            "--prefixes`), and whole ones are asked for; use a head that is solved without "
            "--prefixes"
        )


def head_identity(folder: str | os.PathLike[str], metadata: HeadMetadata) -> FeatureIdentity:
    """How the features of a head were made, as its files say.

    Raises:
        HeadFileError: they do not.
    """
    if metadata.identity is None:
        raise HeadFileError(f"{folder}/head.json: {BARE}")
    try:
        return FeatureIdentity.from_dict(metadata.identity)
    except FeatureError as error:
        raise HeadFileError(f"{folder}/head.json: {error}") from None


class Rewards(NamedTuple):
    """Rewards of responses.

    Attributes:
        rewards: (n,) float64, of the head's float32.
        prompt_cut: how many rows lost prompt tokens to the context's length.
        response_cut: how many lost response tokens.
        token_budget: the features' batches ran under it; None where there were no rows.
        first_alike: (n,) place of the first row with the same tokens, its own where it is that.
    """

    rewards: np.ndarray
    prompt_cut: int
    response_cut: int
    token_budget: int | None
    first_alike: Sequence[int] = ()


def score(
    model: TextRewardModel,
    rows: Sequence[ResponseRow],
    *,
    progress: Progress | None = None,
    token_budget: int | None = None,
) -> Rewards:
    """Rewards of (prompt, response) rows.

    Args:
        model: of the rewards.
        rows: what to score; none give no rewards.
        progress: told of every batch; None shows a bar of its own on a terminal.
        token_budget: as `ExtractSettings` has it.

    Returns:
        (n,) rewards in the order of the rows, and how many rows were cut.

    Raises:
        HeadError: no `TextRewardModel`, or one of beginnings of responses.
        FeatureError: texts for a head of conversations, or the other way round; a feature or a
            reward that is not finite, or a token that the model does not know; named by its row.
    """
    require_reward_model(model)
    for row in rows:
        model.require_known_text(row.prompt)
    return rewards_of(model, rows, progress, token_budget)


def rewards_of(
    model: TextRewardModel,
    rows: Sequence[ResponseRow],
    progress: Progress | None,
    token_budget: int | None = None,
) -> Rewards:
    """The rewards of `score`, also where a head of texts is asked about conversations."""
    require_scores_responses(model.scores)
    if not rows:
        return Rewards(np.empty(0, np.float64), 0, 0, None)
    settings = replace(model.settings, token_budget=token_budget)
    made = features_of_responses(rows, model.backbone, settings, progress)
    rewards = np.asarray(model.head(made.features), np.float64)
    bad = np.flatnonzero(~np.isfinite(rewards))
    if bad.size:
        row = rows[bad[0]]
        raise FeatureError(
            f"rewards: {bad.size} of {len(rows)} are not finite, the first is of {row.id} "
            f"({row.side}); the head's weights overflow on this text: solve it again with a "
            "larger ridge"
        )
    cut = (made.prompt_cut, made.response_cut)
    return Rewards(rewards, *cut, made.token_budget, made.first_alike)


def rewards_of_texts(model: TextRewardModel, texts: Sequence[tuple[str, str]]) -> list[float]:
    """The rewards of prompts with responses that were generated, without a progress bar.

    Raises:
        FeatureError: as `score` does.
    """
    rows = [
        ResponseRow(f"response {number}", "response", *_as_scored(model, *each))
        for number, each in enumerate(texts)
    ]
    with Progress(len(rows), "score", hidden=True) as progress:
        rewards: list[float] = rewards_of(model, rows, progress).rewards.tolist()
    return rewards


def _as_scored(model: TextRewardModel, prompt: str, response: str) -> tuple[str, str]:
    """A prompt with a response that was generated as `score` is given them."""
    if not isinstance(prompt, ChatText):
        return prompt, response
    if not prompt.turns:  # it came as the template writes it
        return prompt, model.written_response(response)
    try:
        written = model.chat.texts(prompt.turns, [[Message(ASSISTANT, response)]])
    except ChatError:  # what was generated is no answer that the template writes
        return prompt, model.written_response(response)
    return written.prompt, written.answers[0]
