"""The picture of a run: loss and reward margin against epochs, training and held-out."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from coala_jax._solution import Phase2History, RewardMetrics

# Blue and vermilion of the Okabe-Ito palette, which colour-blind readers tell apart; the dashes
# do it in grey.
TRAIN_STYLE = {"color": "#0072B2", "linestyle": "-", "label": "training pairs"}
EVAL_STYLE = {"color": "#D55E00", "linestyle": "--", "label": "held-out pairs"}
INCHES = (9.0, 3.6)
DOTS_PER_INCH = 150


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_margins(path: Path, history: Phase2History) -> None:
    """Write the picture as PNG; no display is needed.

    Args:
        path: the file.
        history: of Phase II with held-out pairs, cut to the epochs that were run.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    loss, margin = figure.subplots(1, 2)
    epochs = np.arange(len(history.train.loss))
    for metrics, style in ((history.train, TRAIN_STYLE), (history.eval, EVAL_STYLE)):
        assert isinstance(metrics, RewardMetrics)
        # A single point has no line: mark it.
        marker = "o" if len(epochs) == 1 else ""
        loss.plot(epochs, metrics.loss, marker=marker, **style)
        margin.plot(epochs, metrics.reward_margin, marker=marker, **style)
    loss.set(title="Preference loss", ylabel="Bradley-Terry loss with ridge (nats a pair)")
    margin.set(title="Reward margin", ylabel="mean r(chosen) \u2212 r(rejected)")
    for axes in (loss, margin):
        axes.set_xlabel("Phase II epoch")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    # Without the version in its metadata, the same run gives the same bytes.
    figure.savefig(path, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
