"""What an ADMM step must move and compute, by formula, and the least time that a card needs for it.

One step with k conjugate-gradient steps must move, in numbers (m rows, width D = d + 1, P gates),

    (1 + 2 k) m D  +  (1 + k) I  +  (10 + 7 k) 2 P m        I = 2 P D^2, and 8 for 10 where I = D^2

- X, m D: one column pass for the right side (`pull_back`); in a conjugate-gradient step one row
  pass over 2P blocks and one column pass over P.
- The inverses of the blocks, 2 P D^2 where rows have penalties of their own and D^2 where all
  blocks share one: one read for the first direction, one a conjugate-gradient step.
- Arrays of one number a row and block, 2 P m, patterns counting half. A step of conjugate
  gradients writes and reads the products of its direction (2), reads the patterns for the output
  and for its adjoint, writes and reads the adjoint (4 halves), and updates the products (3): 7.
  Around them the residual reads the sum of slack and multiplier, products, penalties and patterns
  (3.5) and writes what the column pass reads (2); the proxes read the same four (3.5) and write the
  sum (1): 10, and 2 less where no row has a penalty of its own.

Every array counts once between two products with X, as if all that is elementwise were fused: what
XLA moves beyond that shows as a smaller share. Arrays of m or 2 P D numbers are left out.

Times of cards are predictions: the larger of bytes over the card's bandwidth and operations over
its rate, both as its maker states them.
"""

from __future__ import annotations

from typing import NamedTuple

from coala_jax.convex._flops import MULTIPLY_ADD

FLOAT_BYTES = 4
# Half-precision rows are multiplied by three parts of the other operand.
PARTS = 3


class Size(NamedTuple):
    """Pairs n, width d of the features and gates P."""

    pairs: int
    width: int
    gates: int

    @property
    def rows(self) -> int:
        """Rows m of the program, two a pair."""
        return 2 * self.pairs

    @property
    def columns(self) -> int:
        """Columns D of the program, one for the bias."""
        return self.width + 1


class Card(NamedTuple):
    """A device's rates as its maker states them: bytes and operations a second.

    Attributes:
        name: of the device.
        bandwidth: of its memory.
        float32: operations outside of tensor cores.
        bfloat16: operations of tensor cores, dense.
    """

    name: str
    bandwidth: float
    float32: float
    bfloat16: float


CARDS = (
    Card("H100 SXM", 3.35e12, 67e12, 989e12),
    Card("H200 SXM", 4.8e12, 67e12, 989e12),
)


def step_bytes(
    size: Size, cg_iterations: float, *, by_block: bool, row_bytes: int = FLOAT_BYTES
) -> float:
    """Bytes that one ADMM step must read and write; the count is in the module's docstring.

    Args:
        size: of the program.
        cg_iterations: conjugate-gradient steps in it; a mean may be fractional.
        by_block: whether rows have penalties, and so blocks inverses, of their own.
        row_bytes: of a number of X; 2 for rows in half precision.
    """
    k = cg_iterations
    features = size.rows * size.columns
    inverses = (2 * size.gates if by_block else 1) * size.columns**2
    state = 2 * size.gates * size.rows
    numbers = (1 + k) * inverses + ((10 if by_block else 8) + 7 * k) * state
    return row_bytes * (1 + 2 * k) * features + FLOAT_BYTES * numbers


def product_flops(size: Size, cg_iterations: float) -> float:
    """Operations of the products with X of one step: X^T with 2P blocks, and a CG step's 3P."""
    block = MULTIPLY_ADD * size.rows * size.columns * size.gates
    return (2 + 3 * cg_iterations) * block


def least_seconds(
    card: Card, size: Size, cg_iterations: float, *, by_block: bool
) -> dict[str, float]:
    """Seconds of a step on a card, of float32 rows and of compact ones: a prediction."""
    flops = product_flops(size, cg_iterations)
    found = {}
    for rows, row_bytes, seconds in (
        ("float32", 4, flops / card.float32),
        ("compact", 2, PARTS * flops / card.bfloat16),
    ):
        moved = step_bytes(size, cg_iterations, by_block=by_block, row_bytes=row_bytes)
        found[rows] = max(seconds, moved / card.bandwidth)
    return found
