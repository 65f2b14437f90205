"""A head as a reward function for trainers that call ``f(prompts, completions, **columns)``.

That is the signature of TRL's ``GRPOTrainer(reward_funcs=...)`` and ``RLOOTrainer``
(https://huggingface.co/docs/trl/grpo_trainer#using-a-custom-reward-function): keyword arguments,
lists of one length, texts or conversations, and a list of floats back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from coala_jax._errors import CoalaError
from coala_jax.data import Message, ResponseRow
from coala_jax.data._chat import TOOLS, ChatFormat
from coala_jax.data._message import ASSISTANT
from coala_jax.data._responses import RESPONSE
from coala_jax.data._shapes._conversation import tools_of
from coala_jax.data._shapes._layouts import is_conversation
from coala_jax.decoding._prompts import chat_of
from coala_jax.decoding._reward_model import (
    TextRewardModel,
    require_reward_model,
    require_scores_responses,
)
from coala_jax.decoding._rewards import score


def reward_function(
    model: TextRewardModel, name: str = "coala_reward"
) -> Callable[..., list[float]]:
    """A function of prompts and completions to rewards.

    Args:
        model: of the rewards; its backbone need not be the model in training.
        name: under which a trainer logs it.

    Returns:
        The function. Prompts and completions are texts, or messages, which become text by the
        chat template of the backbone's tokenizer; that must be the head's, and a column ``tools``
        goes with them. White space at the edges of a completion does not count. A completion may be
        empty, as one that stops at once is; its features are those of the end token. It raises
        ValueError for lists of two lengths, TypeError for what is neither text nor messages, and
        what `score` raises.

    Raises:
        HeadError: no `TextRewardModel`, or one of beginnings of responses.
    """
    require_reward_model(model)
    require_scores_responses(model.scores)

    def rewards(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        if len(prompts) != len(completions):
            raise CoalaError(
                f"completions: {len(completions)} of them for {len(prompts)} prompts; give one a "
                "prompt"
            )
        chat = chat_of(model) if any(map(is_conversation, prompts)) else None
        tools = columns.get(TOOLS) or [None] * len(prompts)
        rows = [
            ResponseRow(f"completion-{number}", RESPONSE, *_texts(chat, *each))
            for number, each in enumerate(zip(prompts, completions, tools, strict=True))
        ]
        scored: list[float] = score(model, rows).rewards.tolist()
        return scored

    rewards.__name__ = name
    return rewards


def _texts(chat: ChatFormat | None, prompt: Any, completion: Any, tools: Any) -> tuple[str, str]:
    """A prompt and a completion as text.

    Raises:
        TypeError: neither text nor messages.
    """
    if chat is not None and is_conversation(prompt):
        asked = _messages("prompts", prompt)
        said = completion
        if not isinstance(completion, str):
            said = _messages("completions", completion)
        answer = [Message(ASSISTANT, said)] if isinstance(said, str) else said
        text, (completion,) = chat.texts(asked, [answer], tools_of({TOOLS: tools}))[:2]
        return text, completion
    for key, text in (("prompts", prompt), ("completions", completion)):
        if not isinstance(text, str):
            raise TypeError(f"{key}: {type(text).__name__} is neither text nor messages")
    return prompt, completion


def _messages(key: str, value: Any) -> list[Message]:
    """Messages of a trainer's conversation; the content of an answer may be empty."""
    try:
        read = [Message.from_dict({**turn, "content": turn["content"] or ""}) for turn in value]
    except (KeyError, TypeError) as error:
        raise TypeError(f"{key}: a message without role and content ({error})") from None
    if not all(isinstance(text, str) for message in read for text in message[:2]):
        raise TypeError(f"{key}: a message whose role and content are not text")
    return read
