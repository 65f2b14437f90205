"""Inspection of pairs: known shares, repeats and leaks; figures that are of unseen prompts."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coala_jax.data import PreferenceRow
from coala_jax.study import _inspection as inspection
from coala_jax.study import _simple_rules as simple_rules
from coala_jax.study import _vocabulary as vocabulary
from coala_jax.study._inspection import inspect_pairs
from coala_jax.study._inspection_words import inspection_report, length_sentence, other_warnings
from coala_jax.study._repeats import count_again_and_both_ways

WORDS = [f"word{number}" for number in range(60)]


def _row(number, prompt, chosen, rejected, group=None):
    return PreferenceRow(f"r{number}", prompt, chosen, rejected, group=group)


def _rows(count=200, longer=0.5, marked=0.0, prompts=None, seed=0):
    """Rows of random words: a share has the longer chosen response, a share a word that says so."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        short, long = (list(rng.choice(WORDS, size)) for size in (6, 9))
        chosen, rejected = (long, short) if number < longer * count else (short, long)
        if rng.random() < marked:
            chosen[0], rejected[0] = "good", "bad"
        prompt = f"prompt {number % (prompts or count)}"
        rows.append(_row(number, prompt, " ".join(chosen), " ".join(rejected)))
    return rows


def test_the_share_of_longer_chosen_responses_comes_first():
    found = inspect_pairs(_rows(longer=0.71))
    assert found.longer.mean == pytest.approx(0.71)
    assert length_sentence(found).startswith("chosen is the longer one in 71 % of rows: compare")
    assert inspection_report(found)["warnings"][0] == length_sentence(found)
    assert found.length_rule.interval.mean == pytest.approx(0.71)
    assert found.length_rule.rows == 200


def test_shorter_chosen_responses_are_warned_of_as_well():
    found = inspect_pairs(_rows(longer=0.2))
    assert length_sentence(found).startswith("chosen is the shorter one in 80 % of rows: compare")
    assert found.length_rule.interval.mean == pytest.approx(0.8)


def test_where_length_says_nothing_it_is_stated_without_a_warning():
    found = inspect_pairs(_rows())
    assert length_sentence(found) == "chosen is the longer one in 50 % of rows"
    assert inspection_report(found)["warnings"] == []


def test_equal_lengths_are_half_right():
    rows = [_row(n, f"p{n}", "same size", "size same") for n in range(20)]
    found = inspect_pairs(rows)
    assert (found.longer.mean, found.shorter, found.balance.mean) == (0.0, 0.0, 0.5)
    assert found.length_rule.interval.mean == 0.5


def test_the_probe_finds_a_word_that_gives_the_label_away_and_nothing_where_there_is_none():
    told = inspect_pairs(_rows(marked=1.0))
    assert told.vocabulary_probe.interval.mean > 0.99
    assert any("words alone pick chosen in 100 %" in warning for warning in other_warnings(told))
    blind = [inspect_pairs(_rows(seed=seed)).vocabulary_probe.interval.mean for seed in range(6)]
    # Three standard errors of a share of one half among so many rows.
    assert np.mean(blind) == pytest.approx(0.5, abs=3 * 0.5 / (6 * 200) ** 0.5)


def test_the_probe_is_never_judged_on_a_prompt_it_was_fitted_on():
    # The words of a prompt's answers name their label, and no other prompt has them: a probe that
    # saw the prompt in training would be right in all rows.
    rows = [
        _row(n, f"prompt {n % 40}", f"yes{n % 40} it is so", f"no{n % 40} it is so")
        for n in range(200)
    ]
    found = inspect_pairs(rows)
    assert found.vocabulary_probe.interval.mean == pytest.approx(0.5)
    assert found.prompts == found.keys == 40


def test_the_probe_is_scikit_learn_s_pipeline():
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    rows = _rows(marked=0.5, count=120)
    chosen, rejected = [row.chosen for row in rows], [row.rejected for row in rows]
    counts = vocabulary.count_words([*chosen, *rejected, "only one response has this"])
    probe = vocabulary.fit_vocabulary_probe(counts[:120], counts[120:240])
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"
    ).fit(chosen + rejected)
    difference = (vectorizer.transform(chosen) - vectorizer.transform(rejected)).toarray()
    # Every pair both ways round, at half the strength each.
    both = np.concatenate([difference, -difference])
    fit = LogisticRegression(C=0.5, fit_intercept=False, max_iter=1000, tol=1e-8)
    fit.fit(both, np.repeat([1, 0], 120))
    ours = probe.rewards(counts[:120]) - probe.rewards(counts[120:240])
    np.testing.assert_allclose(ours, difference @ fit.coef_[0], atol=1e-4)


def test_without_scikit_learn_the_rest_is_there(monkeypatch):
    monkeypatch.setattr(simple_rules, "can_probe", lambda: False)
    found = inspect_pairs(_rows())
    assert found.vocabulary_probe.interval is None
    assert "pip install '.[inspect]' in the folder" in found.vocabulary_probe.why_not
    assert found.length_rule.interval is not None


@pytest.mark.parametrize(
    "rows",
    [
        [_row(n, f"p{n}", "?" * (n + 1), "!") for n in range(6)],  # no word at all
        [_row(n, f"p{n}", f"a{n}", f"b{n}") for n in range(6)],  # no word twice
        [_row(0, "p", "x y", "x z"), _row(1, "q", "x y", "x z")],  # one pair to train on
    ],
)
def test_too_little_text_is_said_and_nothing_is_made_up(rows):
    found = inspect_pairs(rows)
    assert found.vocabulary_probe.interval is None
    assert found.vocabulary_probe.why_not == simple_rules.TOO_LITTLE
    assert found.length_rule.interval is not None


def test_a_single_prompt_leaves_nothing_to_hold_out():
    found = inspect_pairs(_rows(prompts=1))
    for accuracy in (found.length_rule, found.vocabulary_probe):
        assert (accuracy.interval, accuracy.why_not) == (None, inspection.ONE_KEY)
    assert found.longer.mean == 0.5
    assert found.row_split_leaks.prompts == 1


def test_repeats_are_counted_by_kind():
    rows = [
        _row(0, "Why?", "because", "no idea"),
        _row(1, "why? ", "Because", "no  idea"),  # the same row
        _row(2, "Why?", "no idea", "because"),  # the other way round
        _row(3, "When?", "today", "because"),
        _row(4, "Where?", "here", "there"),
        _row(5, "Where? Say it again.", "here now", "there now"),
        _row(6, "Where? Say it again. Please", "here then", "there then"),
        _row(7, "Wherever", "one", "other"),
    ]
    repeats = inspect_pairs(rows).repeats
    assert repeats == (1, 3, 3, 2, 4)
    near = [
        _row(n, prompt, "a", f"b{n}") for n, prompt in enumerate(("Hi", "Hill", "Hi\u2014there"))
    ]
    assert inspect_pairs(near).repeats.near_prompts == 1
    warnings = other_warnings(inspect_pairs(rows))
    assert warnings[0] == (
        "3 rows contradict another row: the same prompt and responses, but for case and spacing, "
        "the other one chosen"
    )
    assert "1 rows repeat an earlier row" in warnings


def test_leaks_of_a_given_split_are_counted_and_not_judged():
    train = _rows(prompts=50)
    seen = [row._replace(prompt=row.prompt.upper()) for row in _rows(20, longer=0.0, seed=1)]
    unseen = [row._replace(prompt=f"new {row.prompt}") for row in _rows(30, longer=1.0, seed=2)]
    found = inspect_pairs(train, seen + unseen)
    assert found.leaks == (20, None, 20, 50)
    assert found.length_rule.rows == found.vocabulary_probe.rows == 30
    assert found.length_rule.interval.mean == 1.0
    assert other_warnings(found)[0].startswith("20 of 50 held-out rows have a prompt that is also")


def test_a_split_that_shares_everything_has_no_figure():
    rows = _rows()
    found = inspect_pairs(rows, rows[:10])
    assert found.leaks.rows == 10
    assert found.length_rule.why_not == found.vocabulary_probe.why_not == inspection.NOTHING_LEFT


def test_rows_of_a_group_are_never_split():
    rows = [row._replace(group=f"g{n // 20}") for n, row in enumerate(_rows())]
    found = inspect_pairs(rows)
    assert (found.split_by, found.keys, found.prompts) == ("group", 10, 200)
    assert found.row_split_leaks.groups == 10
    assert found.row_split_leaks.rows == found.row_split_leaks.held_out
    some = inspect_pairs([rows[0]._replace(group=None), *rows[1:]])
    assert some.split_by == "prompt"


def test_a_split_by_row_leaks_prompts_that_repeat_and_no_others():
    assert inspect_pairs(_rows()).row_split_leaks.rows == 0
    leaks = inspect_pairs(_rows(prompts=20)).row_split_leaks
    assert leaks.rows == leaks.held_out > 0


def test_tokens_are_counted_by_the_function_given():
    found = inspect_pairs(_rows(), token_counts=lambda texts: [len(t.split()) for t in texts])
    assert found.tokens.prompt.tolist() == [2] * 200
    assert set(found.tokens.chosen) == {6, 9}
    assert inspection_report(found)["tokens"]["rejected"]["max"] == 9.0
    assert inspect_pairs(_rows()).tokens is None


def test_nothing_to_inspect_is_an_error():
    with pytest.raises(ValueError, match="rows: none"):
        inspect_pairs([])


def test_the_report_is_json_and_holds_no_text():
    report = json.dumps(inspection_report(inspect_pairs(_rows(marked=1.0))), allow_nan=False)
    assert "word1" not in report
    assert "prompt 1" not in report


TEXTS = st.sampled_from(["a", "b b", "A", "c d e", "d"])
ROWS = st.lists(st.tuples(st.sampled_from("pqr"), TEXTS, TEXTS), min_size=1, max_size=12)


@settings(deadline=None, max_examples=40)
@given(ROWS)
def test_counts_are_those_of_every_pair_of_rows(texts):
    rows = [_row(n, *text) for n, text in enumerate(texts)]
    low = [tuple(text.lower() for text in row) for row in texts]
    repeats = inspect_pairs(rows).repeats
    others = [(n, row, [r for m, r in enumerate(low) if m != n]) for n, row in enumerate(low)]
    assert repeats.rows == sum(row in low[:n] for n, row, _ in others)
    assert repeats.prompts == sum(any(row[0] == o[0] for o in rest) for _, row, rest in others)
    assert repeats.contradictions == sum(c != r and (p, r, c) in low for p, c, r in low)
    assert count_again_and_both_ways(rows) == repeats[:2]
    chosen, rejected = {c for _, c, _ in low}, {r for _, _, r in low}
    assert repeats.both_sides == sum(c in rejected or r in chosen for _, c, r in low)
