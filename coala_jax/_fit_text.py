"""`fit_text`: preference rows and a model's name in, a reward of texts out."""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coala_jax._estimator import RewardModel
from coala_jax.backbones import Backbone, load_backbone
from coala_jax.data import RowOptions, read_rows
from coala_jax.decoding import TextRewardModel, reward_function
from coala_jax.features import ExtractSettings, extract_store
from coala_jax.features._build import recorded_chat
from coala_jax.features._chat import tokenizer_chat
from coala_jax.features._distinct import set_same_aside
from coala_jax.study._read_pairs import pairs_of_table


@dataclass(frozen=True)
class FittedText:
    """What `fit_text` gives.

    Attributes:
        estimator: the head on features, with its report.
        model: the head with its backbone; what `coala_jax.decoding` takes.
        set_aside: rows that could not be used, with their reasons.
    """

    estimator: RewardModel
    model: TextRewardModel
    set_aside: tuple[Any, ...]

    def reward_function(self, name: str = "coala_reward") -> Callable[..., list[float]]:
        """A function for TRL's ``reward_funcs``, as `coala_jax.decoding.reward_function` makes.

        Args:
            name: that the trainer logs it under.
        """
        return reward_function(self.model, name)

    def report(self) -> str:
        """What left-out prompts say of it, or why there are none, as `RewardModel.report` does."""
        return self.estimator.report()

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the head, for `TextRewardModel.load` and the commands.

        Raises:
            HeadFileError: a head is there, and `overwrite` is not set.
        """
        prompts = self.model.trained_on
        self.estimator.save(
            folder,
            overwrite=overwrite,
            identity=self.model.identity._asdict(),
            trained_on=None if prompts is None else prompts.text,
        )


def fit_text(
    data: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    model: Backbone | str | os.PathLike[str],
    *,
    estimator: RewardModel | None = None,
    rows: RowOptions = RowOptions(),
    settings: ExtractSettings | None = None,
    store: str | os.PathLike[str] | None = None,
    **options: Any,
) -> FittedText:
    """Fit a reward of texts to preference rows: features by a frozen backbone, then `RewardModel`.

    Pairs of one prompt, or of one group where rows have groups, are never split by the folds.

    Args:
        data: preference rows, such as a ``datasets.Dataset`` with prompt, chosen and rejected, as
            text or messages; a list of mappings, a file or a hub id, as `coala_jax.data.read_rows`
            takes them.
        model: a checkpoint folder or a hub id, as ``load_backbone`` takes it, or a loaded backbone.
        estimator: not fitted yet; None means a `RewardModel` of the defaults. It is fitted.
        rows: how the rows are read.
        settings: how text becomes features; None means the defaults.
        store: folder that keeps the features, gone on with where it exists; None keeps none.
        options: the others of ``load_backbone``, such as `download=True`.

    Returns:
        The fitted head, alone and with its backbone, and the rows that were not used.

    Raises:
        DataError, CheckpointError, FeatureError, SolveError: as the parts of it do.
        TypeError: an option of another name.

    Example:
        >>> import coala_jax
        >>> fitted = coala_jax.fit_text(  # doctest: +SKIP
        ...     "pairs.jsonl", "openai-community/gpt2", download=True)
        >>> print(fitted.report())  # doctest: +SKIP
        >>> trainer = GRPOTrainer(..., reward_funcs=fitted.reward_function())  # doctest: +SKIP
    """
    taken = [*inspect.signature(load_backbone).parameters][1:]
    if unknown := sorted(set(options).difference(taken)):
        raise TypeError(
            f"fit_text has no argument {unknown[0]!r}; beside its own it takes {', '.join(taken)}; "
            "layer, pooling and batches are fields of settings=ExtractSettings(...)"
        )
    backbone = model if isinstance(model, Backbone) else load_backbone(model, **options)
    known = "" if store is None else recorded_chat(store)
    row_set = read_rows(data, rows, lambda: tokenizer_chat(backbone.tokenizer, known))
    # What the store will not hold, so that its rows are those here.
    made_by = (settings or ExtractSettings()).for_rows(row_set.chat_template)
    row_set = set_same_aside(row_set, backbone, made_by.template)
    with tempfile.TemporaryDirectory(prefix="coala-jax-") as folder:
        out = Path(folder) / "store" if store is None else Path(store)
        table = extract_store(row_set, backbone, out, settings=settings).table
        pairs = pairs_of_table("data", table, row_set.rows, row_set.chat_template)
        fitted = (RewardModel() if estimator is None else estimator).fit(
            np.asarray(pairs.chosen, np.float32),
            np.asarray(pairs.rejected, np.float32),
            groups=pairs.keys,
            sample_weight=pairs.weight,
            margin=pairs.margin,
        )
        assert pairs.identity is not None  # a store says how its features were made
        beta = 1 / fitted.temperature_
        scored = TextRewardModel(backbone, fitted.head_, pairs.identity, beta, pairs.prompts)
    return FittedText(fitted, scored, row_set.set_aside)
