"""Statistics of choices: two-way intervals, Davidson's model, agreement, sign flips, sizes."""

import itertools
import json

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import ndtr

from coala_jax._intervals import cluster_interval
from coala_jax.cli._main import main
from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation.statistics import (
    Protocol,
    alpha_interval,
    choice_effect,
    davidson,
    holm,
    krippendorff_alpha,
    pair_effect,
    pairwise_agreement,
    people_needed,
    precision_of,
    sign_flip_p,
    two_way_interval,
    two_way_p,
    two_way_share,
    variance_shares,
    wald_margin,
)
from coala_jax.evaluation.statistics._two_way import two_way_error

STUDIES = 1000


def simulated_study(rng, people_spread, prompt_spread):
    """Choices of people who each judge some of the prompts, and the win rate of all there are."""
    people, prompts = int(rng.integers(30, 101)), int(rng.integers(20, 61))
    items = min(prompts, int(rng.integers(10, 26)))
    of_people = rng.normal(0, people_spread, people)
    of_prompts = rng.normal(0, prompt_spread, prompts)
    prompt = np.concatenate([rng.permutation(prompts)[:items] for _ in range(people)])
    person = np.repeat(np.arange(people), items)
    leaning = 0.3 + of_people[person] + of_prompts[prompt] + rng.normal(size=len(person))
    values = np.where(leaning > 0.3, 1.0, np.where(leaning < -0.3, 0.0, 0.5))
    spread = np.sqrt(1 + people_spread**2 + prompt_spread**2)
    won, lost = ndtr((0.3 - 0.3) / spread), ndtr((-0.3 - 0.3) / spread)
    return values, person, prompt, won + (1 - won - lost) / 2


@pytest.mark.parametrize("spreads", [(0.4, 0.4), (0.3, 0.6), (0.6, 0.3), (0.0, 0.4)])
def test_two_way_intervals_cover_the_truth_and_one_way_ones_fall_short(spreads):
    rng = np.random.default_rng(0)
    two_way = by_participant = 0
    for _ in range(STUDIES):
        values, person, prompt, truth = simulated_study(rng, *spreads)
        _, low, high = two_way_interval(values, person, prompt)
        two_way += low <= truth <= high
        _, low, high = cluster_interval(values, person)
        by_participant += low <= truth <= high
    assert 0.93 <= two_way / STUDIES <= 0.97
    assert by_participant / STUDIES < 0.92


def test_two_way_variance_is_that_of_the_paper_cell_by_cell():
    rng = np.random.default_rng(1)
    people, prompts = rng.integers(0, 6, 80), rng.integers(0, 9, 80)
    values = rng.normal(size=80) + 3 * rng.normal(size=6)[people] + 3 * rng.normal(size=9)[prompts]
    residual = (values - values.mean()) / 80

    def variance(same):
        clusters = {tuple(row) for row in same}
        return len(clusters) / (len(clusters) - 1) * residual @ same @ residual

    same_person = people[:, None] == people
    same_prompt = prompts[:, None] == prompts
    expected = variance(same_person) + variance(same_prompt) - variance(same_person & same_prompt)
    error = two_way_error(residual, people, prompts)
    assert error**2 == pytest.approx(expected)
    interval = two_way_interval(values, people, prompts)
    assert interval.high - interval.mean == pytest.approx(2.570582 * error, rel=1e-6)  # t of 5


def test_a_negative_two_way_variance_is_the_larger_one_way_variance():
    # Of each participant and each prompt the values cancel; single choices do not.
    values = np.array([1.0, 0.0, 0.0, 1.0])
    people, prompts = ["a", "a", "b", "b"], ["p", "q", "p", "q"]
    assert two_way_error(values - 0.5, people, prompts) == 0
    values = np.array([1.0, 0.0, 0.0, 0.9])
    expected = np.sqrt(2 * np.square([1 - 0.475 - 0.475, 0.9 - 0.475 - 0.475]).sum()) / 4
    interval = two_way_interval(values, people, prompts)
    assert (interval.high - interval.mean) / 12.7062 == pytest.approx(expected, rel=1e-4)


def test_shares_stay_within_0_and_1_and_unanimous_ones_are_not_certain():
    people, prompts = np.repeat(np.arange(10), 4), np.tile(np.arange(4), 10)
    interval = two_way_share(np.ones(40), people, prompts)
    assert interval == pytest.approx((1.0, 0.025 ** (1 / 4), 1.0))
    values = np.ones(40)
    values[3] = 0
    assert two_way_share(values, people, prompts).high == 1.0


def test_the_p_of_a_mean_is_that_of_its_interval():
    rng = np.random.default_rng(2)
    people, prompts = np.repeat(np.arange(12), 5), rng.integers(0, 9, 60)
    differences = rng.normal(0.3, 1, 60)
    p_value = two_way_p(differences, people, prompts)
    level = 1 - p_value  # the interval of this level ends at zero
    assert two_way_interval(differences, people, prompts, level).low == pytest.approx(0, abs=1e-9)
    assert two_way_p(np.zeros(60), people, prompts) == 1


def test_variance_shares_are_those_of_the_simulation():
    rng, found = np.random.default_rng(0), []
    for _ in range(200):
        prompt = np.concatenate([rng.permutation(30)[:15] for _ in range(40)])
        person = np.repeat(np.arange(40), 15)
        spread = np.sqrt([0.1, 0.2, 0.7])
        values = spread[0] * rng.normal(size=40)[person] + spread[1] * rng.normal(size=30)[prompt]
        found.append(variance_shares(values + spread[2] * rng.normal(size=600), person, prompt))
    assert np.mean(found, 0) == pytest.approx([0.1, 0.2], abs=0.015)
    assert np.isnan(variance_shares(np.ones(2), ["a", "a"], ["p", "q"])).all()


def test_one_participant_or_prompt_allows_no_interval_and_no_values_are_an_error():
    assert np.isnan(two_way_interval(np.array([1.0, 0]), ["a", "a"], ["p", "q"]).low)
    with pytest.raises(EvaluationError, match="at least one"):
        two_way_interval(np.zeros(0), [], [])


def davidson_choices(rng, strengths, tie, count):
    names = list(strengths)
    pairs = list(itertools.combinations(range(len(names)), 2))
    chosen = rng.integers(0, len(pairs), count)
    first, second = np.array(pairs)[chosen].T
    weight = np.exp(np.array(list(strengths.values())))
    both = tie * np.sqrt(weight[first] * weight[second])
    total = weight[first] + weight[second] + both
    drawn = rng.random(count) * total
    values = np.where(drawn < weight[first], 1.0, np.where(drawn < weight[first] + both, 0.5, 0))
    return [names[i] for i in first], [names[i] for i in second], values


def test_davidson_finds_strengths_and_ties_and_its_intervals_cover_them():
    truth = {"a": 0.6, "b": 0.1, "c": -0.7}
    rng, covered = np.random.default_rng(0), 0
    for _ in range(200):
        first, second, values = davidson_choices(rng, truth, 0.8, 900)
        person, prompt = rng.integers(0, 45, 900), rng.integers(0, 30, 900)
        found = davidson(first, second, values, person, prompt)
        assert sum(one.mean for one in found.strengths.values()) == pytest.approx(0, abs=1e-9)
        covered += sum(found.strengths[name].low <= truth[name] <= found.strengths[name].high
                       for name in truth)  # fmt: skip
        covered += found.tie.low <= np.log(0.8) <= found.tie.high
    assert 0.93 <= covered / 800 <= 0.98
    first, second, values = davidson_choices(rng, truth, 0.8, 100_000)
    found = davidson(first, second, values, np.arange(100_000), np.arange(100_000) % 500)
    assert [one.mean for one in found.strengths.values()] == pytest.approx(
        list(truth.values()), abs=0.03
    )
    assert found.tie.mean == pytest.approx(np.log(0.8), abs=0.03)


def test_davidson_is_the_maximum_that_a_general_optimiser_finds():
    rng = np.random.default_rng(3)
    first, second, values = davidson_choices(rng, {"a": 0.5, "b": 0.0, "c": -0.5}, 0.5, 300)
    index = {"a": 0, "b": 1, "c": 2}
    i, j = (np.array([index[name] for name in side]) for side in (first, second))

    def loss(parameters):
        strength, tie = np.append(parameters[:2], -parameters[:2].sum()), parameters[2]
        weight = np.stack([strength[i], tie + (strength[i] + strength[j]) / 2, strength[j]])
        said = np.choose((2 - 2 * values).astype(int), weight)
        return -(said - np.log(np.exp(weight).sum(0))).sum()

    best = minimize(loss, np.zeros(3), tol=1e-12).x
    found = davidson(first, second, values, np.arange(300) % 20, np.arange(300) % 15)
    assert [found.strengths["a"].mean, found.strengths["b"].mean, found.tie.mean] == pytest.approx(
        list(best), abs=1e-5
    )


def test_without_ties_davidson_is_bradley_and_terry_and_two_systems_are_the_log_odds():
    values = np.array([1.0] * 30 + [0.0] * 10)
    found = davidson(["a"] * 40, ["b"] * 40, values, np.arange(40) % 8, np.arange(40) % 5)
    assert found.strengths["a"].mean == pytest.approx(np.log(3) / 2)
    assert found.tie.mean == -np.inf
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(5)
    first, second, values = davidson_choices(rng, {"a": 0.5, "b": 0.1, "c": -0.6}, 0.0, 400)
    design = np.zeros((400, 3))
    for row, (one, other) in enumerate(zip(first, second, strict=True)):
        design[row, "abc".index(one)], design[row, "abc".index(other)] = 1, -1
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000)
    coefficients = model.fit(design, values).coef_[0]
    found = davidson(first, second, values, np.arange(400) % 20, np.arange(400) % 10)
    assert [one.mean for one in found.strengths.values()] == pytest.approx(
        list(coefficients - coefficients.mean()), abs=1e-4
    )


def test_davidson_names_what_has_no_finite_strengths():
    with pytest.raises(EvaluationError, match="no choice puts"):
        davidson(["a", "a"], ["b", "b"], np.array([1.0, 1.0]), ["x", "y"], ["p", "q"])
    with pytest.raises(EvaluationError, match="every choice is a tie"):
        davidson(["a"], ["b"], np.array([0.5]), ["x"], ["p"])


# Krippendorff 2011, sections B and C: two observers of ten articles; four observers of twelve units
# with values missing.
BINARY = ("0100000010", "1110010000")
MISSING = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")


def units_of(observers):
    return [[value for value in unit if value != "."] for unit in zip(*observers, strict=True)]


def test_alpha_is_that_of_the_published_examples():
    assert krippendorff_alpha(units_of(BINARY)) == pytest.approx(0.095, abs=5e-4)
    assert krippendorff_alpha(units_of(MISSING)) == pytest.approx(0.743, abs=5e-4)


def test_alpha_of_full_agreement_and_of_one_value():
    assert krippendorff_alpha([["a", "a"], ["b", "b"]]) == 1
    assert np.isnan(krippendorff_alpha([["a", "a"], ["a", "a"]]))
    assert np.isnan(krippendorff_alpha([["a"], ["b"]])) and np.isnan(krippendorff_alpha([]))
    people, units = list("ABABAB"), list("xxyyzz")
    assert alpha_interval(list("aabbcc"), people, units) == (1, 1, 1)
    assert np.isnan(alpha_interval(list("aaaaaa"), people, units)).all()
    assert np.isnan(alpha_interval(list("ababab"), people, ["x"] * 6)[1:]).all()
    apart = alpha_interval(["a", "b"] * 10, ["A", "B"] * 10, np.repeat(range(10), 2).tolist())
    assert apart.mean == pytest.approx(-0.9) and apart.low == apart.mean == apart.high


def test_units_of_one_value_change_nothing_in_alpha_or_its_interval():
    votes, people = list("aabbabaabaaabb"), list("ABABABABABABAC")
    units = [str(number // 2) for number in range(14)]
    found = alpha_interval(votes, people, units)
    assert found.low < found.mean < found.high
    more = ["a", "b", "c"] * 30, ["A", "B", "D"] * 30, [f"more {number}" for number in range(90)]
    assert alpha_interval(votes + more[0], people + more[1], units + more[2]) == found
    # No more do they where all else is missing: what is left has no alpha.
    assert np.isnan(alpha_interval(*more)).all() and np.isnan(alpha_interval([], [], [])).all()


def test_alpha_has_no_ends_where_one_unit_holds_all_that_differs():
    people, units = ["A", "B"] * 4, np.repeat(range(4), 2).tolist()
    found = alpha_interval(list("abaaaaaa"), people, units)
    assert found.mean == pytest.approx(krippendorff_alpha(["ab", "aa", "aa", "aa"]))
    assert np.isnan(found[1:]).all()
    assert not np.isnan(alpha_interval(list("ababaaaa"), people, units)).any()


def test_alpha_needs_a_participant_and_a_unit_for_each_value():
    with pytest.raises(EvaluationError, match="2 of them, 1 participants and 2 units"):
        alpha_interval(["a", "b"], ["A"], ["x", "x"])


def test_the_error_of_alpha_is_that_of_alphas_without_a_value_each():
    given = [(unit, person, vote) for unit, votes in enumerate(units_of(MISSING))
             for person, vote in enumerate(votes)]  # fmt: skip
    units, people, votes = (list(map(str, column)) for column in zip(*given, strict=True))
    found = alpha_interval(votes, people, units)
    given = given[:-1]  # the last unit has a single vote, which says nothing

    def alpha_of(rows):
        units = [[vote for at, _, vote in rows if at == unit] for unit in range(11)]
        return krippendorff_alpha(units)

    whole = alpha_of(given)
    influence = np.array([whole - alpha_of(given[:n] + given[n + 1 :]) for n in range(len(given))])
    influence -= influence.mean()
    people = people[:-1]

    def variance(names):
        sums = [influence[np.array(names) == name].sum() for name in set(names)]
        return len(sums) / (len(sums) - 1) * np.square(sums).sum()

    more = max(variance(people) - np.square(influence).sum(), 0.0)
    left = np.array([alpha_of([row for row in given if row[0] != unit]) for unit in range(11)])
    jackknife = 10 / 11 * np.square(left - left.mean()).sum()
    reach = 3.182446 * np.sqrt(jackknife + more)  # t of 3 degrees of freedom
    size = len(given) / 11
    low, middle, high = (np.log((1 + (size - 1) * a) / (1 - a)) / 2 for a in sorted(found))
    assert found.mean == pytest.approx(whole)
    assert high - middle == pytest.approx(middle - low)
    slope = size / (2 * (1 + (size - 1) * whole) * (1 - whole))
    assert high - middle == pytest.approx(reach * slope, rel=1e-6)


# Of three prompts a person, one in six is judged once or by nobody.
@pytest.mark.parametrize(("items", "most"), [(10, 0.97), (3, 0.99)])
def test_intervals_of_alpha_cover_the_truth(items, most):
    """1000 studies of 20 people and 20 prompts, of which each sees some; both vary."""
    rng = np.random.default_rng(0)

    def votes(people, prompts):
        worth = 0.3 + 0.5 * rng.normal(size=(people, 1)) + rng.normal(size=(1, prompts))
        won = rng.random((people, prompts)) < 1 / (1 + np.exp(-worth))
        return np.where(rng.random((people, prompts)) < 0.2, 2, won)

    truth = np.mean([krippendorff_alpha(votes(50, 6000).T.tolist()) for _ in range(5)])
    inside = 0
    for _ in range(STUDIES):
        person, prompt = np.nonzero(rng.permuted([[n < items for n in range(20)]] * 20, axis=1))
        cast = votes(20, 20)[person, prompt]
        found = alpha_interval(cast.tolist(), person.tolist(), prompt.tolist())
        inside += found.low <= truth <= found.high
    assert 0.93 <= inside / STUDIES <= most


def test_pairwise_agreement_counts_pairs_of_votes_with_and_without_ties():
    votes = [["a", "a", "tie"], ["b", "tie"], ["a"], ["b", "b", "a"]]
    assert pairwise_agreement(votes) == (2, 7)
    found = pairwise_agreement(votes, without="tie")
    assert found == (2, 4) and found.share == 0.5
    assert np.isnan(pairwise_agreement([["a"]]).share)


def test_sign_flips_of_few_clusters_are_exact():
    # All 2^3 flips of totals 1, 2, 3: only the two without a change of sign reach 6.
    assert sign_flip_p(np.array([1.0, 2, 1, 2]), ["p", "q", "r", "r"]) == 2 / 8
    assert sign_flip_p(np.array([1.0, -1.0]), ["p", "q"]) == 1
    with pytest.raises(EvaluationError, match="as many"):
        sign_flip_p(np.zeros(2), ["p"])


def test_sign_flips_reject_a_true_hypothesis_as_often_as_they_say():
    rng, studies = np.random.default_rng(0), 2000
    p_values = np.array(
        [
            sign_flip_p(
                np.repeat(rng.normal(size=20), 5) + rng.normal(size=100),
                np.repeat(np.arange(20), 5),
                draws=199,
                seed=study,
            )
            for study in range(studies)
        ]
    )
    for level in (0.05, 0.2, 0.5):
        assert (p_values <= level).mean() == pytest.approx(level, abs=4 * np.sqrt(level / studies))


def test_where_people_and_prompts_vary_the_largest_p_value_holds_its_level_and_one_does_not():
    rng, studies = np.random.default_rng(0), 400
    of_people = of_all = 0
    for study in range(studies):
        values, person, prompt, truth = simulated_study(rng, 0.4, 0.4)
        differences = values - truth
        of_prompts = sign_flip_p(differences, prompt, draws=199, seed=study)
        p_value = sign_flip_p(differences, person, draws=199, seed=studies + study)
        of_people += p_value <= 0.05
        of_all += max(of_prompts, p_value, two_way_p(differences, person, prompt)) <= 0.05
    assert of_all / studies <= 0.05 + 3 * np.sqrt(0.05 / studies)
    assert of_people / studies > 0.1


def test_holm_is_that_of_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    found = holm([float("nan"), 0.02])
    assert np.isnan(found[0]) and found[1] == 0.04


# The paper's Table 11: shares of COALA, DPO, ORPO and SFT in percent, and their margins.
TABLE_11 = {
    "EduFeedback": ((39.1, 9.2), (28.8, 8.6), (15.5, 6.8), (16.6, 7.1)),
    "IMDb": ((42.7, 9.4), (24.8, 8.2), (20.1, 7.6), (12.4, 6.2)),
}
PEOPLE = 107


@pytest.mark.parametrize("name", TABLE_11)
def test_the_papers_margins_are_those_of_107_independent_choices(name):
    for percent, margin in TABLE_11[name]:
        share = percent / 100
        found = 100 * wald_margin(np.sqrt(share * (1 - share)), PEOPLE)
        assert found == pytest.approx(margin, abs=0.1 + 0.05)  # a unit of the last digit


@pytest.mark.parametrize(
    ("name", "difference", "margin"), [("EduFeedback", 0.103, 0.155), ("IMDb", 0.179, 0.152)]
)
def test_the_difference_of_the_papers_two_best_has_a_margin_of_its_own(name, difference, margin):
    first, second = (percent / 100 for percent, _ in TABLE_11[name][:2])
    effect = choice_effect(first, second)
    assert effect.difference == pytest.approx(difference)
    assert wald_margin(effect.deviation, PEOPLE) == pytest.approx(margin, abs=5e-4)


def test_variance_of_a_pair_and_of_a_choice_is_that_of_the_values():
    effect = pair_effect(0.6, 0.2)  # won half, tied a fifth, lost three tenths
    values = np.array([1.0] * 5 + [0.5] * 2 + [0.0] * 3)
    assert effect == pytest.approx((values.mean() - 0.5, values.std()))
    effect = choice_effect(0.4, 0.3)
    values = np.array([1.0] * 4 + [-1.0] * 3 + [0.0] * 3)
    assert effect == pytest.approx((values.mean(), values.std()))


def test_power_is_the_share_of_simulated_studies_that_find_the_difference():
    rng, found, studies = np.random.default_rng(0), 0, 1000
    protocol = Protocol(items=10, prompts=30, icc_participant=0.06, icc_prompt=0.1)
    effect = pair_effect(0.6)
    need = people_needed(effect, protocol)
    fewer = precision_of(effect, protocol, need.people - 1)
    assert fewer.power < 0.8 <= need.power
    spread = effect.deviation * np.sqrt([0.06, 0.1, 0.84])
    for _ in range(studies):
        prompt = np.concatenate([rng.permutation(30)[:10] for _ in range(need.people)])
        person = np.repeat(np.arange(need.people), 10)
        values = 0.6 + spread[0] * rng.normal(size=need.people)[person]
        values += spread[1] * rng.normal(size=30)[prompt] + spread[2] * rng.normal(size=len(prompt))
        found += two_way_interval(values, person, prompt).low > 0.5
    assert found / studies == pytest.approx(need.power, abs=0.05)


def test_sizes_that_no_number_of_people_reaches_are_named():
    protocol = Protocol(items=5, prompts=5, icc_prompt=0.3)
    with pytest.raises(EvaluationError, match="take more prompts"):
        people_needed(pair_effect(0.52), protocol)
    for wrong in ({"items": 9}, {"icc_prompt": 0.99}, {"power": 1.0}, {"prompts": 1, "items": 1}):
        with pytest.raises(EvaluationError, match=next(iter(wrong))):
            Protocol(**{"items": 4, "prompts": 6, **wrong})
    with pytest.raises(EvaluationError, match="ties"):
        pair_effect(0.9, 0.5)
    with pytest.raises(EvaluationError, match="at most 1"):
        choice_effect(0.7, 0.5)


def test_the_command_says_what_the_papers_study_could_tell_and_what_one_needs(capsys):
    command = ["evaluate", "blind", "size", "--items", "25", "--prompts", "25", "--json"]
    assert main([*command, "--shares", "0.391,0.288", "--people", "107"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["difference"] == pytest.approx(0.103)
    assert said["margin_of_as_many_choices"] == pytest.approx(0.155, abs=5e-4)
    assert said["people"] == 107 and said["power"] < 0.5
    assert main([*command, "--share", "0.6", "--systems", "3"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["items"] == pytest.approx(25 / 3)
    protocol = Protocol(items=25 / 3, prompts=25)
    assert said["people"] == people_needed(pair_effect(0.6), protocol).people
    for wrong, named in (
        (["--shares", "0.4"], "--shares 0.4"),
        (["--share", "0.6", "--systems", "1"], "--systems"),
        (["--share", "0.6", "--ties", "0.9"], "ties"),
        (["--share", "0.5"], "no number of people"),
        (["--share", "0.6", "--shares", "0.4,0.2"], "not allowed"),
    ):
        assert main([*command, *wrong]) == 2
        assert named in capsys.readouterr().err
