"""Floating-point operations of single products and factorisations, by the shapes of their arrays.

Two operations a multiply-add of real numbers, and the leading terms alone, as Golub & Van Loan
(Matrix Computations, 4th edition) give them for one matrix; leading axes are a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from jax.extend.core import JaxprEqn

MULTIPLY_ADD = 2


class UncountedError(Exception):
    """Something whose operations are not known; the text names it."""


def _dot_general(equation: JaxprEqn) -> int:
    """Every number of the result is a sum over what is contracted."""
    left, _ = _shapes(equation.invars)
    (contracted, _), _ = equation.params["dimension_numbers"]
    (result,) = _shapes(equation.outvars)
    return MULTIPLY_ADD * math.prod(result) * math.prod(left[axis] for axis in contracted)


def _convolution(equation: JaxprEqn) -> int:
    """Every number of the result is a sum over the kernel of its feature."""
    _, kernel = _shapes(equation.invars)
    (result,) = _shapes(equation.outvars)
    features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    return MULTIPLY_ADD * math.prod(result) * math.prod(kernel) // features


def _cholesky(equation: JaxprEqn) -> int:
    """n^3 / 3 (section 4.2)."""
    batch, n, _ = _matrices(equation)
    return batch * n**3 // 3


def _triangular_solve(equation: JaxprEqn) -> int:
    """n^2 a right side (section 3.1)."""
    matrix, right = _shapes(equation.invars)
    return matrix[-1] * math.prod(right)


def _lu(equation: JaxprEqn) -> int:
    """k^2 (l - k / 3) for sides k <= l: 2 n^3 / 3 for a square (section 3.2)."""
    batch, rows, columns = _matrices(equation)
    return batch * _eliminated(rows, columns)


def _qr(equation: JaxprEqn) -> int:
    """R, and the first min(rows, columns) columns of Q, by Householder vectors (section 5.2)."""
    if equation.params["full_matrices"]:
        raise UncountedError("qr: full_matrices has no formula here")
    batch, rows, columns = _matrices(equation)
    return batch * 2 * (_eliminated(rows, columns) + _eliminated(rows, min(rows, columns)))


def _eigh(equation: JaxprEqn) -> int:
    """9 n^3 with the vectors (section 8.3), which are always formed."""
    batch, n, _ = _matrices(equation)
    return batch * 9 * n**3


def _eliminated(rows: int, columns: int) -> int:
    """k^2 (l - k / 3) for sides k <= l."""
    short, long = sorted((rows, columns))
    return short**2 * (3 * long - short) // 3


def _matrices(equation: JaxprEqn) -> tuple[int, int, int]:
    """How many matrices there are, their rows and columns."""
    *batch, rows, columns = _shapes(equation.invars)[0]
    return math.prod(batch), rows, columns


def _shapes(variables: Any) -> list[tuple[int, ...]]:
    return [variable.aval.shape for variable in variables]


# By the name of the primitive.
PRODUCTS: Mapping[str, Callable[[JaxprEqn], int]] = {
    "dot_general": _dot_general,
    "conv_general_dilated": _convolution,
    "cholesky": _cholesky,
    "triangular_solve": _triangular_solve,
    "lu": _lu,
    "qr": _qr,
    "eigh": _eigh,
}
