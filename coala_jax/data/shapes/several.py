"""What unpaired and scored rows share: a prompt and responses to it as text, and pairs of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from coala_jax.data.conversations import USER
from coala_jax.data.rows import text_fault
from coala_jax.data.shapes.conversation import Conversations, is_conversation, messages
from coala_jax.data.shapes.fault import RowFault
from coala_jax.data.shapes.options import ShapeOptions
from coala_jax.data.shapes.prompts import (
    PROMPT_REPEATED,
    repeats_prompt,
    system_of,
    with_system,
    without_prompt,
)


def prompt_and_completions(
    fields: Mapping[str, Any],
    completions: Sequence[Any],
    options: ShapeOptions,
    conversations: Conversations,
) -> tuple[str, list[str]]:
    """The prompt of a row and responses to it, as text.

    Raises:
        RowFault: one is missing, empty, no text, or repeats the prompt.
    """
    prompt, system = fields.get("prompt"), system_of(fields)
    if prompt is None:
        raise RowFault("no prompt")
    if any(value is None for value in completions):
        raise RowFault("no completion")
    if conversations.same_kind(*completions):
        given = prompt if is_conversation(prompt) else [{"role": USER, "content": prompt}]
        return conversations.texts(
            messages(given, system), [messages(completion) for completion in completions]
        )
    for completion in completions:
        if fault := text_fault(
            {"prompt": prompt, "completion": completion}, ("prompt", "completion")
        ):
            raise RowFault(fault)
    if all(repeats_prompt(prompt, completion) for completion in completions):
        if not options.strip_prompt:
            raise RowFault(PROMPT_REPEATED.format("completion"))
        completions = [without_prompt(prompt, completion) for completion in completions]
    return with_system(prompt, system), list(completions)


def number_fault(key: str, value: Any) -> str:
    """Why a value is no finite number, or an empty string where it is one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{key} is not a number"
    return "" if abs(value) < float("inf") else f"{key} is not finite"
