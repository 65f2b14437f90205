"""Strengths chosen on left-out groups: `select`."""

from coala_jax.selection._choose import FEWEST, GRID, Choice, Grid, choose_strengths
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
