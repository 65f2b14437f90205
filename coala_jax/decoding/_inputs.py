"""A head, its backbone and the rows it scores, opened together: cheap checks come first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from coala_jax._head import load_head
from coala_jax.data import ResponseRow, RowOptions, SetAsideRow, stream_responses
from coala_jax.data._responses import ResponseStream
from coala_jax.decoding._reward_model import TextRewardModel, head_identity
from coala_jax.decoding._set_aside import SetAside
from coala_jax.features._chat import checkpoint_chat

# Of the options of a model, those that find its tokenizer.
PLACE = ("revision", "download")


def open_inputs(
    head_folder: str, model: str, data: str, rows: RowOptions = RowOptions(), **options: Any
) -> tuple[TextRewardModel, ResponseStream]:
    """Open what scores and what is to be scored; no weights are read before both are there.

    Args:
        head_folder: of a head that knows its backbone.
        model: that backbone, a checkpoint folder or a hub id.
        data: the rows, as ``stream_responses`` takes them; ``-`` is standard input.
        rows: how they are read.
        options: of the model: those of ``load_backbone``.

    Raises:
        HeadFileError: no usable head.
        CheckpointError: no usable model.
        FeatureError: another model than the head's; every difference is named.
        DataError: no such rows, or columns that hold no responses.
    """
    head_identity(head_folder, load_head(head_folder)[1])
    place = {name: options[name] for name in PLACE if name in options}
    stream = stream_responses(data, rows, lambda: checkpoint_chat(model, **place))
    return TextRewardModel.load(head_folder, model, **options), stream


def usable_rows(
    stream: ResponseStream, model: TextRewardModel, aside: SetAside
) -> Iterator[tuple[ResponseRow, ...]]:
    """The responses of each row that can be scored; the others are set aside.

    Raises:
        FeatureError: conversations became text otherwise than those the head was trained on.
    """
    for entry in stream.entries:
        if isinstance(entry, SetAsideRow):
            aside.add(entry)
        else:
            model.require_chat_template(stream.chat_template)
            yield entry
