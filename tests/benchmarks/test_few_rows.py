"""The comparison of products of few rows: both ways give the same, which it checks, and figures."""

from pathlib import Path


def test_both_ways_are_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    from few_rows import _compare

    row = _compare((64, 32), 3, 1)
    assert (row["out"], row["in"], row["rows"]) == (64, 32, 3)
    assert 0 < min(row["written"], row["turned"]) < float("inf")
