"""Equations of a program of jax: those that results depend on, and how one of them runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import jax
from jax.extend import core

Value = TypeVar("Value")


def branches_of(equation: core.JaxprEqn) -> Sequence[Any]:
    """Of a conditional: those that may be taken, which of several platforms is one."""
    branches: Sequence[Any] = equation.params["branches"]
    platforms = equation.params.get("branches_platforms")
    if platforms is None:
        return branches
    here = jax.default_backend()
    return [
        next(
            branch
            for branch, names in zip(branches, platforms, strict=True)
            if names is None or here in names
        )
    ]


def bound(equation: core.JaxprEqn, inputs: Sequence[Any]) -> list[Any]:
    """Results of an equation as it stands."""
    primitive, params = equation.primitive, equation.primitive.get_bind_params(equation.params)
    found = primitive.bind(*inputs, **params)
    return list(found) if primitive.multiple_results else [found]


def live(jaxpr: Any, needed: Sequence[bool] | None) -> list[tuple[core.JaxprEqn, tuple[bool, ...]]]:
    """Equations that results depend on, and which of their own results; all are for None."""
    opened = opened_of(jaxpr)
    outcomes = opened.outvars if needed is None else _chosen(opened.outvars, needed)
    used = {atom for atom in outcomes if isinstance(atom, core.Var)}
    found = []
    for equation in reversed(opened.eqns):
        wanted = tuple(variable in used for variable in equation.outvars)
        if any(wanted) or equation.effects:
            used |= {atom for atom in equation.invars if isinstance(atom, core.Var)}
            found.append((equation, wanted))
    return found[::-1]


def _chosen(values: Sequence[Value], chosen: Sequence[bool]) -> list[Value]:
    return [value for value, each in zip(values, chosen, strict=True) if each]


def opened_of(jaxpr: Any) -> Any:
    """Without its constants, where it has any."""
    return getattr(jaxpr, "jaxpr", jaxpr)
