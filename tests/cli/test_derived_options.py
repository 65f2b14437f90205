"""Options made of the fields of a class: names, types, defaults and help."""

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import pytest

from coala_jax import Config, Params, Status
from coala_jax._inputs import input_status, prepare_features
from coala_jax.cli._derived_options import (
    add_fields,
    field_texts,
    from_options,
    given_fields,
    option_of,
)
from coala_jax.cli._main import build_parser
from coala_jax.cli._options import LEFT_OUT
from coala_jax.cli._parser import OneLineParser, UsageError, finite_number
from coala_jax.data import RowOptions
from coala_jax.data._options import COLUMNS
from coala_jax.features._settings import ExtractSettings
from coala_jax.serving._limits import Limits
from tests.helpers import draw_pairs


@dataclass(frozen=True)
class Base:
    """What is inherited.

    Attributes:
        count_limit: how many
            at most, of 100 % (`Base.secret`). Never shown.
    """

    count_limit: int | None = None


@dataclass(frozen=True)
class Settings(Base):
    """Fields of every type.

    Attributes:
        kind: ``a`` or `"b"`; None means both.
        share: e.g. of `Params.rho`, as Yuan et al. 2020 do. Not shown.
        text: words of ``kind``.
        eager: begin at once.
        lazy: wait.
        layers: which.
        stop: texts.
        columns: what is called what.
    """

    kind: Literal["a", "b"] | None = None
    share: float = 0.0
    text: str = "x"
    eager: bool = True
    lazy: bool = False
    layers: tuple[int, ...] = (-1,)
    stop: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)


class Leaves(NamedTuple):
    """Without a word about its fields."""

    rho: float = 1.0


FIELDS = tuple(Settings.__dataclass_fields__)


@pytest.fixture
def parser():
    made = OneLineParser(prog="x")
    takes, names, old = {"share": finite_number}, {"text": "--words"}, {"--now": "eager"}
    add_fields(made, Settings, FIELDS, takes=takes, names=names, old={**old, "--number": "share"})
    add_fields(made, Leaves, ("rho",))
    return made


def test_no_options_give_the_defaults(parser):
    arguments = parser.parse_args([])
    assert from_options(arguments, Settings) == Settings()
    assert from_options(arguments, Leaves) == Leaves()
    assert from_options(arguments, Settings, text="y") == Settings(text="y")
    assert given_fields(arguments, Settings) == []


def test_every_type_of_a_field_is_read(parser):
    words = "--count-limit 3 --kind a --share -0.5 --words w --no-eager --lazy --layers -1,-8 "
    words += "--stop a --stop b --columns prompt=q,chosen=c --rho 2"
    arguments = parser.parse_args(words.split())
    expected = Settings(
        *(3, "a", -0.5, "w", False, True, (-1, -8), ("a", "b"), {"prompt": "q", "chosen": "c"})
    )
    assert from_options(arguments, Settings) == expected
    assert from_options(arguments, Leaves) == Leaves(2.0)
    assert set(given_fields(arguments, Settings)) == set(FIELDS)
    assert from_options(parser.parse_args([]), Settings) == Settings()  # nothing was kept


def test_old_names_work_and_are_not_shown(parser):
    arguments = parser.parse_args(["--now", "--number", "2"])
    assert from_options(arguments, Settings) == Settings(eager=False, share=2.0)
    assert "--now" not in parser.format_help() and "--number" not in parser.format_help()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--count-limit", "0"], "--count-limit: '0' is not an integer of at least 1"),
        (["--number", "nan"], "--number: 'nan' is not a finite number"),
        (["--kind", "c"], "--kind: invalid choice: 'c'"),
        (["--columns", "prompt"], "--columns: 'prompt' is not a list such as prompt=question"),
        (["--rho", "0"], "--rho: '0' must be above 0"),
        (["--text", "w"], "unrecognized arguments: --text w"),
    ],
)
def test_what_cannot_be_read_is_named_as_it_was_written(parser, words, message):
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        parser.parse_args(words)


def test_help_is_the_first_sentence_with_the_default(parser):
    text = " ".join(parser.format_help().split())
    assert "--count-limit N how many at most, of 100 % --kind {a,b} a or b (default: both)" in text
    assert "--share X e.g. of --rho, as Yuan et al. 2020 do (default: 0.0)" in text
    assert "--words TEXT words of --kind (default: x) --no-eager do not begin at once" in text
    assert "--no-eager do not begin at once --lazy wait" in text
    assert "--layers N,N which (default: -1) --stop TEXT texts; may be repeated" in text
    assert text.endswith("--rho X (default: 1.0)")


@pytest.mark.parametrize("kind", [Params, Config, RowOptions, ExtractSettings, Limits])
def test_every_field_of_the_settings_has_a_text(kind):
    names = getattr(kind, "_fields", None) or kind.__dataclass_fields__
    assert set(names) <= field_texts(kind).keys()


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("leaf", sorted(set(Params._fields) - set(LEFT_OUT)))
def test_the_solver_takes_the_numbers_that_its_options_take(leaf, value):
    params = Params(**{leaf: value})
    features = prepare_features(draw_pairs(0, pairs=2, width=1))
    taken = input_status(params, features) != Status.INVALID_PARAMETER
    words = ["solve", "x.npz", "--out", "h", option_of(leaf), str(value)]
    if taken:
        assert from_options(build_parser().parse_args(words), Params) == params
    else:
        with pytest.raises(UsageError, match=f"'{value}' must be"):
            build_parser().parse_args(words)


def test_the_help_of_columns_names_every_column_with_a_meaning():
    assert set(COLUMNS) <= set(re.findall(r"\w+", field_texts(RowOptions)["columns"]))


def test_help_of_what_is_on_by_default_can_be_denied():
    assert "; " not in field_texts(Config)["adapt_rho"]
    assert field_texts(ExtractSettings)["share_prefixes"].startswith("share the tokens")


def test_names_from_before_the_fields_had_theirs_still_say_the_same():
    words = ["solve", "x.npz", "--out", "h"]
    old = "--gates 5 --loss huber --objective pointwise --network gated_relu"
    new = "--n-gates 5 --phase1-loss huber --phase2-objective pointwise --model gated_relu"
    one, other = (build_parser().parse_args([*words, *each.split()]) for each in (old, new))
    assert one == other
    config = from_options(one, Config)
    assert (config.n_gates, config.phase1_loss, config.model) == (5, "huber", "gated_relu")
    demo = ["quickstart", "--network", "gated_relu", "--model", "folder"]
    arguments = build_parser().parse_args(demo)
    assert (arguments.model, from_options(arguments, Config).model) == ("folder", "gated_relu")


def test_without_docstrings_options_have_no_help_and_the_same_defaults():
    code = (
        "from coala_jax.cli._main import build_parser, sys;"
        "from coala_jax.cli._options import SELECTED, Settings, solver_settings;"
        "read = build_parser().parse_args(['solve', 'x', '--out', 'h']);"
        "sys.exit(solver_settings(read) != Settings(config=SELECTED, select=True))"
    )
    subprocess.run([sys.executable, "-OO", "-c", code], check=True)
