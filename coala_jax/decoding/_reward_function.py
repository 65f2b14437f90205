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
from coala_jax.data._chat import ChatFormat
from coala_jax.data._responses import RESPONSE
from coala_jax.data._shapes._conversation import is_conversation
from coala_jax.decoding._reward_model import TextRewardModel, require_reward_model, score
from coala_jax.features._chat import tokenizer_chat


def reward_function(
    model: TextRewardModel, name: str = "coala_reward"
) -> Callable[..., list[float]]:
    """A function of prompts and completions to rewards.

    Args:
        model: of the rewards; its backbone need not be the model in training.
        name: under which a trainer logs it.

    Returns:
        The function. Prompts and completions are texts, or messages, which become text by the
        chat template of the backbone's tokenizer; that must be the head's. Spaces that a
        completion begins with are dropped: the head's template has its own. A completion may be
        empty, as one that stops at once is; its features are those of the end token. It raises
        ValueError for lists of two lengths, TypeError for what is neither text nor messages, and
        what `score` raises.
    """
    require_reward_model(model)
    chat = tokenizer_chat(model.backbone.tokenizer)

    def rewards(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        if len(prompts) != len(completions):
            raise CoalaError(
                f"completions: {len(completions)} of them for {len(prompts)} prompts; give one a "
                "prompt"
            )
        if any(map(is_conversation, prompts)):
            model.require_chat_template(chat.name)
        rows = [
            ResponseRow(f"completion-{number}", RESPONSE, *_texts(prompt, completion, chat))
            for number, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
        ]
        scored: list[float] = score(model, rows).rewards.tolist()
        return scored

    rewards.__name__ = name
    return rewards


def _texts(prompt: Any, completion: Any, chat: ChatFormat) -> tuple[str, str]:
    """A prompt and a completion as text.

    Raises:
        TypeError: neither text nor messages.
    """
    if is_conversation(prompt):
        asked = _messages("prompts", prompt)
        prompt = chat.prompt(asked)
        if not isinstance(completion, str):
            answer = _messages("completions", completion)
            # Not by the template: it may refuse an answer that is empty.
            alone = len(answer) == 1
            completion = answer[0].content if alone else chat.response(asked, answer)
    for key, text in (("prompts", prompt), ("completions", completion)):
        if not isinstance(text, str):
            raise TypeError(f"{key}: {type(text).__name__} is neither text nor messages")
    return prompt, completion.lstrip()


def _messages(key: str, value: Any) -> list[Message]:
    """Messages of a trainer's conversation; the content of an answer may be empty."""
    try:
        read = [Message(item["role"], item["content"]) for item in value]
    except (KeyError, TypeError) as error:
        raise TypeError(f"{key}: a message without role and content ({error})") from None
    if not all(isinstance(text, str) for message in read for text in message):
        raise TypeError(f"{key}: a message whose role and content are not text")
    return read
