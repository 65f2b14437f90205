"""Strengths chosen on left-out groups, and what that says of the head: `select`."""

from coala_jax.selection._select import Selection, select
from coala_jax.selection._scores import Candidate

__all__ = ["Candidate", "Selection", "select"]
