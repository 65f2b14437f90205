"""A backbone and a head on its features: together they give texts rewards."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from coala_jax._errors import CoalaError
from coala_jax._head import Head, HeadError
from coala_jax._head_files import (
    DEFAULT_BETA,
    PREFIX,
    RESPONSE,
    TRAINED_ON,
    HeadFileError,
    known_scores,
    load_head,
)
from coala_jax.backbones import Backbone, load_backbone
from coala_jax.data import DataError, PromptFingerprint
from coala_jax.data._chat import ChatFormat, ChatText
from coala_jax.decoding._head_fits import BARE, head_identity, require_fits
from coala_jax.decoding._value_head import ValueHead, load_value_head
from coala_jax.features import FeatureError, FeatureIdentity
from coala_jax.features._chat import tokenizer_chat
from coala_jax.features._identity import require_same_backbone
from coala_jax.features._settings import ExtractSettings, feature_identity
from coala_jax.features._tokens import response_text

# What to give a head in place of what it was not trained on.
TEXTS = "give prompt and response as texts, or extract and solve again from rows of messages"
MESSAGES = 'give the prompt as messages: [{"role": "user", "content": ...}]'


@dataclass(frozen=True, eq=False, repr=False)
class TextRewardModel:
    """A backbone and a head that was trained on its features; none is made where they do not fit.

    `load` reads both; `coala_jax.decoding` has an example.

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
        require_fits("head", self.head, settings, self.backbone)
        if self.value_head is not None:
            self.value_head.require_usable(settings, self.backbone)
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
        download: bool = False,
        **options: Any,
    ) -> TextRewardModel:
        """Read a head, and the backbone that it was trained on.

        Args:
            head_folder: of a head that was solved from a feature store, or from an export of one;
                or its hub id, ``ORG/NAME`` or ``ORG/NAME@REVISION``.
            backbone: a checkpoint folder, GGUF file or hub id; one that is loaded already is taken
                as it is.
            dtype: as ``load_backbone`` takes it; None takes the type of the head's features.
            value_head: folder or hub id of a head of beginnings (``coala-jax solve --prefixes``) on
                the same backbone, which is to guide; its layers and pooling may be others.
            download: fetch what the hub's cache lacks of ids; without it nothing is fetched.
            options: the others of ``load_backbone``.

        Returns:
            The model.

        Raises:
            HeadFileError: no usable head, or one that does not say how its features were made;
                that is noticed before weights are read.
            FeatureError: another backbone than the head's; every difference is named.
            CheckpointError, ValueError: as ``load_backbone`` does.
        """
        head, metadata = load_head(head_folder, download=download)
        identity = head_identity(head_folder, metadata)
        guide = None
        if value_head is not None:
            guide = load_value_head(value_head, identity, download=download)
        if not isinstance(backbone, Backbone):
            dtype = dtype or identity.compute_dtype
            backbone = load_backbone(backbone, dtype=dtype, download=download, **options)
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


def is_known(model: TextRewardModel, prompt: str) -> bool:
    """Whether the head says that it was trained on a prompt."""
    return model.trained_on is not None and prompt in model.trained_on


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
