"""Strengths chosen on left-out groups: `select`, and the temperature that calibrates a head."""

from coala_jax.selection._choose import Choice, Grid, choose_strengths
from coala_jax.selection._scores import Candidate, fit_temperature
from coala_jax.selection._select import SELECTED, Selection, select

__all__ = [
    "SELECTED",
    "Candidate",
    "Choice",
    "Grid",
    "Selection",
    "choose_strengths",
    "fit_temperature",
    "select",
]
