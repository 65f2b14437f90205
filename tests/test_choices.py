"""A field of options that is not of its type is named when the options are made."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import pytest

from coala_jax import CoalaError, Config
from coala_jax._choices import require_fields
from coala_jax.data import AlternatingOptions
from coala_jax.data._options import RowOptions, SourceOptions
from coala_jax.losses import LOSSES


@dataclass(frozen=True)
class Options:
    """A field of every type that is looked at."""

    on: bool = True
    count: int = 1
    share: float = 0.5
    name: str = "a"
    kind: Literal["first", "second"] = "first"
    most: int | None = None
    order: Literal["up", "down"] | None = None
    layers: tuple[int, ...] = (1,)
    names: Mapping[str, str] | None = None
    shares: tuple[float, ...] = ()
    weights: Mapping[str, float] | None = None
    kinds: tuple[Literal["first", "second"], ...] = ()
    named: tuple[str, int] = ("a", 1)
    by_name: Mapping[str, int | None] | None = None

    def __post_init__(self) -> None:
        require_fields(self, CoalaError)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("on", 1, "on=1 must be True or False"),
        ("on", "no", "on='no' must be True or False"),
        ("count", True, "count=True must be an integer"),
        ("count", 1.0, "count=1.0 must be an integer"),
        ("share", "half", "share='half' must be a number"),
        ("share", False, "share=False must be a number"),
        ("name", None, "name=None must be a text"),
        ("kind", "third", "kind='third' must be one of first, second"),
        ("kind", ["first"], "kind=['first'] must be one of first, second"),
        ("kind", None, "kind=None must be one of first, second"),
        ("most", "all", "most='all' must be an integer or None"),
        ("order", "left", "order='left' must be one of up, down or None"),
        ("layers", -1, "layers=-1 must be a tuple of integers"),
        ("layers", (1, 1.5), "layers=(1, 1.5) must be a tuple of integers"),
        ("names", {"a": 1}, "names={'a': 1} must be a mapping of texts to texts or None"),
        ("shares", 0.5, "shares=0.5 must be a tuple of numbers"),
        ("shares", (0.5, "a"), "shares=(0.5, 'a') must be a tuple of numbers"),
        ("weights", {"a": "b"}, "weights={'a': 'b'} must be a mapping of texts to numbers or None"),
        ("kinds", ("a",), "kinds=('a',) must be a tuple of values, each one of first, second"),
        ("named", ("a", "b"), "named=('a', 'b') must be a tuple of a text and an integer"),
        ("named", ("a",), "named=('a',) must be a tuple of a text and an integer"),
        (
            "by_name",
            {"a": "b"},
            "by_name={'a': 'b'} must be a mapping of texts to values, each an integer or None "
            "or None",
        ),
    ],
)
def test_a_value_of_another_type_is_named_with_what_may_be(field, value, message):
    with pytest.raises(CoalaError) as caught:
        Options(**{field: value})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", np.int64(3)),
        ("share", 1),
        ("share", np.float32(0.5)),
        ("order", None),
        ("layers", [1, 2]),
        ("names", {"a": "b"}),
        ("shares", (1, 0.5)),
        ("weights", {"a": 1}),
        ("kinds", ("second", "first")),
        ("named", ["a", 2]),
        ("by_name", {"a": None}),
    ],
)
def test_a_value_of_the_type_is_taken(field, value):
    assert getattr(Options(**{field: value}), field) is value


@pytest.mark.parametrize("kind", [Config, SourceOptions, RowOptions, AlternatingOptions])
def test_every_field_of_public_options_is_checked(kind):
    """A class of the caller's own is of no type that a field has."""
    wrong = object()
    for field in fields(kind):
        with pytest.raises(CoalaError, match=f"^{field.name}=<object object .*must be"):
            kind(**{field.name: wrong})


@pytest.mark.parametrize("loss", ["bt", "Squared", None, 3])
def test_an_unknown_loss_is_named_with_those_that_are(loss):
    with pytest.raises(CoalaError) as caught:
        Config(phase1_loss=loss)
    assert str(caught.value) == (
        f"phase1_loss={loss!r} must be one of {', '.join(LOSSES)}, or a Loss of your own"
    )
