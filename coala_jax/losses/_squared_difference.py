"""Squared loss (z - target)^2 / 2 on reward differences z of pairs.

The target of a pair is its offset, gamma plus its margin, of any size and sign: a head fitted to it
says by how much the one response is worth more than the other, and not in which order they are.
"""

from coala_jax.losses._squared import SQUARED

# Of differences alone: there are no sums of a pair's sides that a prox could be taken of.
SQUARED_DIFFERENCE = SQUARED._replace(pairwise=True, isotropic=False, labels="differences")
