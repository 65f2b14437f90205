"""The reference of the documentation: every public name has a place and an example that runs."""

import dataclasses
import doctest
import enum
import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest

import coala_jax

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
from _made_pages import public_packages, relinked, value_text, write_reference

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
# What compiles the solver once more, or a backbone.
SLOW = {
    "coala_jax.cronos",
    "coala_jax.decompose_gated",
    "coala_jax.refine_gates",
    "coala_jax.regularization_path",
    "coala_jax.decoding",
}


def names_of(package):
    promised = getattr(importlib.import_module(package), "__all__", [])
    return [name for name in promised if not name.startswith("__")]


# Their names alone: some import what takes seconds, and collecting tests should not.
PACKAGES = [name for name in public_packages(coala_jax) if names_of(name)]


def public(package):
    module = importlib.import_module(package)
    return {name: getattr(module, name) for name in names_of(package)}


def examples_of(package):
    """Doctests of a package, and of its public functions and classes, each of which stands alone.

    What two packages promise is of the first of them, as in the reference.
    """
    before = PACKAGES[: PACKAGES.index(package)]
    others = [value for name in before for value in public(name).values()]
    finder = doctest.DocTestFinder(exclude_empty=True)
    module = importlib.import_module(package)
    parts = (module.__doc__, {}, package, module.__file__, 0)
    found = [doctest.DocTestParser().get_doctest(*parts)]
    for name, value in public(package).items():
        if callable(value) and not any(value is other for other in others):
            one = value if inspect.isclass(value) else inspect.unwrap(value)
            found += finder.find(one, f"{package}.{name}", module=False, globs={})
    return [each for each in found if each.examples]


def is_record(value):
    return inspect.isclass(value) and (hasattr(value, "_fields") or dataclasses.is_dataclass(value))


def words(text):
    return set(re.findall(r"\w+", text))


def needs_example(value):
    """Functions and classes do; errors are raised, statuses returned, constants have text."""
    without = inspect.isclass(value) and issubclass(value, (Exception, enum.Enum))
    return callable(value) and not without


def shown(package):
    """Names that an example uses, and classes that what is shown takes, returns or holds."""
    values = {name: value for name, value in public(package).items() if needs_example(value)}
    examples = [example for test in examples_of(package) for example in test.examples]
    used = words(" ".join(example.source + example.want for example in examples))
    own = {name for name, value in values.items() if ">>>" in (inspect.getdoc(value) or "")}
    known, more = set(), own | (used & set(values))
    while more - known:
        known |= more
        said = words(" ".join(map(told_types, (values[name] for name in known))))
        more = {name for name in said & set(values) if inspect.isclass(values[name])}
    return known


def told_types(value):
    """The types that a function takes and returns, or of the fields of a record."""
    if is_record(value):
        return " ".join(map(str, inspect.get_annotations(value).values()))
    return "" if inspect.isclass(value) else str(inspect.signature(value))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_in_an_example(package):
    needing = {name for name, value in public(package).items() if needs_example(value)}
    assert sorted(needing - shown(package)) == []


def failures_of(tests):
    """What the examples of some docstrings say beyond what they should."""
    runner, report = doctest.DocTestRunner(optionflags=FLAGS), []
    for test in tests:
        runner.run(test, out=report.append)
    return "".join(report)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_examples_run(package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert failures_of(each for each in examples_of(package) if each.name not in SLOW) == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SLOW))
def test_an_example_that_compiles_much_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    package = max((each for each in PACKAGES if f"{name}.".startswith(f"{each}.")), key=len)
    (test,) = (each for each in examples_of(package) if each.name == name)
    assert failures_of([test]) == ""


def test_every_public_name_has_one_place_in_the_reference(tmp_path):
    write_reference(coala_jax, tmp_path)
    text = "".join(page.read_text() for page in sorted(tmp_path.iterdir()))
    places = re.findall(r"(?:autoclass|autofunction|py:data):: (\S+)", text)
    assert len(set(places)) == len(places)
    bare = {place.rpartition(".")[2] for place in places}
    for package in PACKAGES:
        assert set(public(package)) <= bare
        for name, value in public(package).items():
            if not callable(value):
                assert value_text(importlib.import_module(package), name)
    assert "coala_jax.Config" in places


@pytest.mark.parametrize(
    ("source", "page", "link", "expected"),
    [
        ("notebooks/a.ipynb", "docs/notebooks/a.ipynb", "../docs/solver.md#x", "../solver.md#x"),
        ("docs/data.md", "docs/data.md", "../README.md", "index.md"),
        ("docs/data.md", "docs/data.md", "../notebooks/two_arrays.ipynb", "notebooks/{}"),
        ("CHANGELOG.md", "docs/project/CHANGELOG.md", "docs/solver.md", "../solver.md"),
        ("CHANGELOG.md", "docs/project/CHANGELOG.md", "Makefile", "../../Makefile"),
        ("docs/data.md", "docs/data.md", "https://example.org", "https://example.org"),
    ],
)
def test_links_of_the_repository_lead_to_pages_of_the_site(source, page, link, expected):
    root = Path(__file__).parents[1]
    text = relinked(f"see [this]({link}).", root / source, root / page, root)
    assert text == f"see [this]({expected.format('two_arrays.ipynb')})."
    assert relinked("[all](../docs/)", root / "docs/data.md", root / page, root) == "all"
