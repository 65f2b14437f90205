"""Strengths chosen on left-out groups: `select`."""

from coala_jax.selection._choice import FEWEST, GRID, Choice, Grid
from coala_jax.selection._choose import choose_strengths
from coala_jax.selection._scores import Candidate
from coala_jax.selection._select import SELECTED, Selection, select

__all__ = [
    "FEWEST",
    "GRID",
    "SELECTED",
    "Candidate",
    "Choice",
    "Grid",
    "Selection",
    "choose_strengths",
    "select",
]
