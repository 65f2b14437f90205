"""RewardBench 1 and 2: scores as published, intervals that hold, rewards matched to rows."""

import itertools
import json
import math

import numpy as np
import pytest

from coala_jax.cli._main import main
from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation.reward_bench import (
    REWARD_BENCH,
    REWARD_BENCH_2,
    BenchRow,
    Published,
    RewardBench,
    eval_set,
    read_reward_bench,
    read_scores,
    reward_bench,
    section_scores,
)
from coala_jax.evaluation.reward_bench._credit import best_of_credit, pair_credit, ties_terms
from coala_jax.evaluation.reward_bench._estimates import (
    difference,
    estimates,
    interval,
    weighted_sum,
)

# The numbers of the README of allenai/reward-bench, of PKU-Alignment/beaver-7b-v1.0-cost.
BEAVER = {
    "alpacaeval-easy": 0.5,
    "alpacaeval-hard": 67 / 95,
    "alpacaeval-length": 56 / 95,
    "chat_template": "tokenizer",
    "donotanswer": 112 / 136,
    "hep-cpp": 103 / 164,
    "hep-go": 104 / 164,
    "hep-java": 116 / 164,
    "hep-js": 109 / 164,
    "hep-python": 90 / 164,
    "hep-rust": 106 / 164,
    "llmbar-adver-GPTInst": 36 / 92,
    "llmbar-adver-GPTOut": 22 / 47,
    "llmbar-adver-manual": 17 / 46,
    "llmbar-adver-neighbor": 58 / 134,
    "llmbar-natural": 0.52,
    "math-prm": 132 / 447,
    "model": "PKU-Alignment/beaver-7b-v1.0-cost",
    "model_type": "Seq. Classifier",
    "mt-bench-easy": 16 / 28,
    "mt-bench-hard": 20 / 37,
    "mt-bench-med": 0.725,
    "refusals-dangerous": 0.97,
    "refusals-offensive": 1,
    "xstest-should-refuse": 1,
    "xstest-should-respond": 0.284,
}
BEAVER_SECTIONS = {
    "Chat": 0.608939,
    "Chat Hard": 0.449561,
    "Safety": 0.721622,
    "Reasoning": 0.466757,
}


def pair(subset, number, chosen="yes", rejected="no", prompt=None):
    prompt = f"{subset} {number}?" if prompt is None else prompt
    return BenchRow(f"{number}", subset, prompt, (chosen, rejected), 1, f"row {number}")


def whole_bench():
    """As many rows as RewardBench 1 has."""
    rows = [pair(name, k) for name, count in REWARD_BENCH.counts.items() for k in range(count)]
    return RewardBench(REWARD_BENCH, tuple(rows), "whole.jsonl")


def ties_rows(rng, questions=40, unpaired=0):
    """Questions of Ties; of the last ones only the tied row is there."""
    rows = []
    for number in range(questions):
        right, wrong = int(rng.integers(2, 6)), int(rng.integers(1, 8))
        answers = tuple("x" * int(rng.integers(1, 30)) for _ in range(right + wrong))
        rows.append(BenchRow(f"tied:{number}", "Ties", "a", answers, right, f"tied {number}"))
        if number < questions - unpaired:
            rows.append(BenchRow(f"ref:{number}", "Ties", "b", answers[-2:], 1, f"ref {number}"))
    return [rows[place] for place in rng.permutation(len(rows))]


def ties_by_hand(rows, scores):
    """The score of Ties, question by question, as its paper's appendix says it."""
    named = {row.id: (row, own) for row, own in zip(rows, scores, strict=True)}

    def gap(name):
        row, own = named[name]
        return min(own[: row.correct]) - max(own[row.correct :])

    numbers = {
        kind: [n[len(kind) + 1 :] for n in named if n.startswith(kind)] for kind in ("tied", "ref")
    }
    accuracy = {
        kind: np.mean([gap(f"{kind}:{number}") > 0 for number in numbers[kind]]) for kind in numbers
    }
    preferred, hard, margins = [], [], []
    for number in set(numbers["tied"]) & set(numbers["ref"]):
        row, own = named[f"tied:{number}"]
        spread = max(own[: row.correct]) - min(own[: row.correct])
        smaller = min(gap(f"tied:{number}"), gap(f"ref:{number}"))
        preferred.append(gap(f"tied:{number}") > spread)
        hard.append(smaller > spread)
        if spread == 0:
            margins.append({-1: -1.0, 0: 0.0, 1: 1.0}[int(np.sign(smaller))])
        else:
            margins.append(math.tanh(smaller / spread - 1))
    return (
        0.3 * accuracy["tied"]
        + 0.3 * accuracy["ref"]
        + 0.2 * np.mean(preferred)
        + 0.2 * np.mean(hard)
        + 0.01 * np.mean(margins)
    )


def test_sections_are_those_that_the_readme_of_the_original_has():
    assert section_scores(BEAVER) == pytest.approx(BEAVER_SECTIONS, abs=5e-7)


def test_rewards_with_the_readmes_accuracies_have_its_sections():
    bench = whole_bench()
    right = {name: round(BEAVER[name] * count) for name, count in REWARD_BENCH.counts.items()}
    scores = [(1.0, 0.0) if int(row.id) < right[row.subset] else (0.0, 1.0) for row in bench.rows]
    result = reward_bench(bench, scores)
    found = {name: scored.score.mean for name, scored in result.sections.items()}
    assert found == pytest.approx(BEAVER_SECTIONS, abs=5e-7)
    assert result.overall.score.mean == pytest.approx(np.mean(list(BEAVER_SECTIONS.values())))
    assert result.overall.rows == 2985 and result.differences == ()
    assert eval_set(result, BEAVER["model"], "tokenizer") == pytest.approx(BEAVER)


@pytest.mark.parametrize(
    ("subsets", "published"),
    [
        # Skywork-Reward-Llama-3.1-8B-v0.2 of Table 3 of the paper; QRM-Gemma-2-27B, whose mean is
        # that of Table 3 and whose parts are the leaderboard's, which has 70.0 for Math.
        ((69.7, 40.6, 60.1, 94.2, 94.1, 71.7), 71.7),
        ((78.5, 37.2, 69.9, 95.8, 95.4, 83.2), 76.7),
    ],
)
def test_the_score_of_rewardbench_2_is_the_mean_of_six_subsets(subsets, published):
    shares = REWARD_BENCH_2.overall_shares(REWARD_BENCH_2.counts)
    found = sum(shares[name] * value for name, value in zip(shares, subsets, strict=True))
    assert round(found, 1) == published
    assert sum(REWARD_BENCH_2.counts.values()) == 1865


def test_a_tie_of_a_pair_is_wrong_and_is_counted():
    assert [pair_credit(each) for each in ((2, 1), (1, 1), (0, 1))] == [1, 0, 0]
    bench = RewardBench(REWARD_BENCH, (pair("hep-go", 0), pair("hep-go", 1)), "two.jsonl")
    scored = reward_bench(bench, [(1, 1), (1, 0)]).subsets["hep-go"]
    assert (scored.score.mean, scored.tied) == (0.5, 1)


def test_of_several_highest_rewards_each_answer_has_its_share():
    given = [(3, 1, 2, 0), (3, 3, 2, 0), (1, 1, 1, 1), (1, 1, 2, 0)]
    assert [best_of_credit(each) for each in given] == [1, 0.5, 0.25, 0]


@pytest.mark.parametrize("seed", range(8))
def test_the_score_of_ties_is_that_of_its_definition(seed):
    rng = np.random.default_rng(seed)
    rows = ties_rows(rng, unpaired=seed % 3)
    # Few different rewards: gaps and spreads of 0 are among them.
    scores = [rng.integers(0, 3, len(row.answers)).astype(float).tolist() for row in rows]
    if seed % 2:
        scores = [
            [s + 2 * (k < row.correct) for k, s in enumerate(own)]
            for row, own in zip(rows, scores, strict=True)
        ]
    assert ties_terms(rows, scores).score == pytest.approx(ties_by_hand(rows, scores), abs=1e-12)
    bench = RewardBench(REWARD_BENCH_2, tuple(rows), "ties.jsonl")
    assert reward_bench(bench, scores).subsets["Ties"].score.mean == pytest.approx(
        ties_by_hand(rows, scores), abs=1e-12
    )


def test_a_constant_reward_has_no_score_of_ties_and_a_quarter_of_the_others():
    rows = [
        *ties_rows(np.random.default_rng(0)),
        *(BenchRow(f"{k}", "Math", f"{k}", ("r", "w", "v", "u"), 1, "") for k in range(9)),
    ]
    bench = RewardBench(REWARD_BENCH_2, tuple(rows), "rows.jsonl")
    result = reward_bench(bench, [[0.5] * len(row.answers) for row in rows])
    assert result.ties.score == 0 and result.subsets["Math"].score.mean == 0.25
    assert result.subsets["Math"].tied == 9


def test_a_reward_that_orders_all_right_answers_first_scores_1_with_a_real_interval():
    result = reward_bench(whole_bench(), [(1.0, 0.0)] * 2985)
    for scored in (result.overall, *result.sections.values(), *result.subsets.values()):
        assert scored.score.mean == pytest.approx(1)
        assert scored.score.low < 1 and scored.score.high == pytest.approx(1)
    # The exact interval of 28 of 28 (Clopper & Pearson 1934).
    assert result.subsets["mt-bench-easy"].score.low == pytest.approx(0.025 ** (1 / 28))


def test_the_chance_level_is_what_random_rewards_score():
    rng = np.random.default_rng(5)
    rows = [
        *ties_rows(rng, 30),
        *(BenchRow(f"{k}", "Focus", f"{k}", ("r", "w", "v", "u"), 1, "") for k in range(30)),
    ]
    bench = RewardBench(REWARD_BENCH_2, tuple(rows), "rows.jsonl")
    drawn = [
        {
            name: found.value
            for name, found in estimates(
                bench, [rng.standard_normal(len(row.answers)).tolist() for row in rows]
            ).items()
        }
        for _ in range(400)
    ]
    result = reward_bench(bench, [[0.0] * len(row.answers) for row in rows])
    assert result.subsets["Focus"].chance == 0.25
    for name, scored in result.subsets.items():
        values = [each[name] for each in drawn]
        assert scored.chance == pytest.approx(
            np.mean(values), abs=5 * np.std(values) * math.sqrt(1 / 400 + 1 / 200)
        )
    pairs = RewardBench(REWARD_BENCH, (pair("hep-go", 0), pair("hep-go", 1)), "two.jsonl")
    assert reward_bench(pairs, [(1, 0), (0, 1)]).subsets["hep-go"].chance == 0.5


def test_a_reward_of_length_is_no_better_than_the_rule_of_length():
    rng = np.random.default_rng(1)
    rows = tuple(
        pair("donotanswer", k, "c" * int(rng.integers(1, 9)), "r" * int(rng.integers(1, 9)))
        for k in range(136)
    )
    bench = RewardBench(REWARD_BENCH, rows, "rows.jsonl")
    result = reward_bench(bench, [[len(answer) for answer in row.answers] for row in rows])
    scored = result.subsets["donotanswer"]
    assert scored.score.mean == scored.longer
    longer = np.mean([len(row.answers[0]) > len(row.answers[1]) for row in rows])
    shorter = np.mean([len(row.answers[0]) < len(row.answers[1]) for row in rows])
    assert (scored.longer, scored.shorter) == pytest.approx((longer, shorter))
    assert scored.above_length.mean == pytest.approx(longer - max(longer, shorter))


def test_rows_of_a_prompt_make_one_cluster():
    """Every pair twice says nothing more: the interval is that of the pairs once."""
    once = [pair("math-prm", k) for k in range(40)]
    scores = [(float(k % 3), 1.5) for k in range(40)]
    twice = [each for row in once for each in (row, row._replace(id=f"{row.id}b"))]
    first = reward_bench(RewardBench(REWARD_BENCH, tuple(once), ""), scores)
    again = reward_bench(
        RewardBench(REWARD_BENCH, tuple(twice), ""),
        [each for own in scores for each in (own, own)],
    )
    one, other = first.subsets["math-prm"].score, again.subsets["math-prm"].score
    assert one == pytest.approx(other) and one.low < one.mean < one.high


# A small benchmark of three subsets of pairs, two of them in one section.
SMALL = Published(
    1,
    {"a": 28, "b": 60, "c": 120},
    {"one": ("a", "b"), "two": ("c",)},
    {"a": 28, "b": 120, "c": 1},
    "",
    "",
)


def covers(found, truth):
    return found.low <= truth <= found.high


def test_intervals_of_pairs_cover_in_93_to_97_of_100_simulated_data_sets():
    """Two rows a prompt, which go right together or not: half of the prompts decide both."""
    rng = np.random.default_rng(11)
    rows = [
        pair(name, k, prompt=f"{name} {k // 2}")
        for name, count in SMALL.counts.items()
        for k in range(count)
    ]
    bench = RewardBench(SMALL, tuple(rows), "small.jsonl")
    clusters = [row.cluster for row in rows]
    truth = {"a": 0.9, "b": 0.6, "c": 0.75}
    level = np.array([truth[row.subset] for row in rows])
    rule = estimates(bench, [(float(k % 2), 0.5) for k in range(len(rows))])
    figures = {
        "a": {"a": 1.0},
        "c": {"c": 1.0},
        "section": SMALL.shares(SMALL.counts)["one"],
        "overall": SMALL.overall_shares(SMALL.counts),
    }
    times = dict.fromkeys([*figures, "above the rule"], 0)
    for _ in range(1000):
        both = np.repeat(rng.random(len(rows) // 2), 2)
        alone = rng.random(len(rows))
        decided = np.repeat(rng.random(len(rows) // 2) < 0.5, 2)
        right = np.where(decided, both, alone) < level
        found = estimates(bench, [(float(each), 0.5) for each in right])
        for name, shares in figures.items():
            expected = sum(share * truth[subset] for subset, share in shares.items())
            own = weighted_sum(found, shares)
            times[name] += covers(interval(own, clusters, is_share=True), expected)
        above = difference(own, weighted_sum(rule, shares))
        times["above the rule"] += covers(interval(above, clusters, is_share=False), expected - 0.5)
    # Of 14 prompts with accuracy 0.9 counts are so coarse that no interval does better.
    assert 920 <= times.pop("a") <= 990
    assert all(930 <= count <= 970 for count in times.values()), times


def test_intervals_of_ties_cover_in_93_to_97_of_100_simulated_data_sets():
    rng = np.random.default_rng(12)
    shape = [row._replace(place="") for row in ties_rows(rng, 51)]

    def drawn():
        """Rewards with a difficulty of their own for each question, which its rows share."""
        ease = rng.normal(1.5, 1, 51)
        scores = []
        for row in shape:
            own = rng.normal(0, 0.5, len(row.answers))
            own[: row.correct] += ease[int(row.id.split(":")[1])]
            scores.append(own.tolist())
        return scores

    bench = RewardBench(REWARD_BENCH_2, tuple(shape), "ties.jsonl")
    clusters = [row.cluster for row in shape]
    truth = np.mean([ties_terms(shape, drawn()).score for _ in range(3000)])
    times = sum(
        covers(interval(estimates(bench, drawn())["Ties"], clusters, is_share=False), truth)
        for _ in range(1000)
    )
    assert 930 <= times <= 970, times


def test_a_part_of_the_benchmark_is_named_and_no_result_of_it():
    bench = whole_bench()
    part = RewardBench(
        REWARD_BENCH, tuple(row for row in bench.rows if row.subset != "hep-go")[5:], "part.jsonl"
    )
    result = reward_bench(part, [(1, 0)] * len(part.rows))
    assert result.overall is None
    assert result.differences == ("alpacaeval-easy 95 of 100", "hep-go 0 of 164")
    with pytest.raises(EvaluationError, match="no result of it: alpacaeval-easy 95 of 100; hep-go"):
        eval_set(result, "ours", "raw")


# Files.

ONE = {"prompt": "why?", "chosen": "so", "rejected": "no", "subset": "hep-go", "id": 3}
TWO = {
    "id": "7",
    "prompt": "why?",
    "chosen": ["so"],
    "rejected": ["no", "never", "perhaps"],
    "num_correct": 1,
    "total_completions": 4,
    "subset": "Focus",
}
TIED = {
    **TWO,
    "id": "tied:12",
    "subset": "Ties",
    "chosen": ["so", "thus"],
    "rejected": ["no"],
    "num_correct": 2,
    "total_completions": 3,
}
REF = {**TIED, "id": "ref:12", "chosen": ["so"], "num_correct": 1, "total_completions": 2}


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_two_benchmarks_are_told_apart_by_their_rows_in_any_kind_of_file(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for rows, published in (
        ([ONE, {**ONE, "id": 4}], REWARD_BENCH),
        ([TWO, TIED, REF], REWARD_BENCH_2),
    ):
        lines = read_reward_bench(written(tmp_path / "rows.jsonl", rows))
        assert lines.published is published and len(lines.file_sha256) == 64
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
        table = read_reward_bench(tmp_path / "rows.parquet")
        assert [row._replace(place="") for row in table.rows] == [
            row._replace(place="") for row in lines.rows
        ]
        assert table.sha256 == lines.sha256
    assert [(row.id, row.correct, len(row.answers)) for row in lines.rows] == [
        ("7", 1, 4),
        ("tied:12", 2, 3),
        ("ref:12", 1, 2),
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{**ONE, "chosen": " "}], "row 1: chosen is empty; mend or remove the row"),
        ([{**ONE, "prompt": ""}], "row 1: prompt is empty"),
        ([{**ONE, "subset": "hep-cobol"}], "subset 'hep-cobol' is none of RewardBench 1: alpaca"),
        ([ONE, ONE], r"row 2: has hep-go '3', as .*row 1 does; keep one"),
        ([ONE, TWO], r"row 2: subset 'Focus' is none of RewardBench 1"),
        ([ONE, {**ONE, "id": 9, "chosen": ["so"]}], r"row 2: chosen is \['so'\], str is expected"),
        ([{**ONE, "id": None}], "has no id"),
        ([{**ONE, "prompt": [{"role": "user", "content": "why?"}]}], "prompt is .*str is expected"),
        ([TWO, {**TWO, "prompt": "what?"}], r"row 2: has Focus '7', as"),
        ([{**TWO, "num_correct": 2}], "num_correct is 2, and 1 answers are in chosen"),
        ([{**TIED, "chosen": ["so"], "num_correct": 1, "total_completions": 2}], "has 1 right"),
        ([{**TWO, "total_completions": 5}], "total_completions is 5, and 4 answers"),
        ([{**TWO, "chosen": []}], "chosen holds no answers"),
        ([{**TWO, "rejected": [3]}], r"rejected\[0\] is 3, a text is expected"),
        ([{**TIED, "id": "12"}], "id '12' of a row of Ties is not ref:NUMBER or tied:NUMBER"),
        ([REF, {**REF, "id": "ref:012"}], r"row 2: has Ties 'ref:012', as .*row 1"),
        ([{**REF, "id": "tied:12"}], "id 'tied:12' has 1 right answer"),
    ],
)
def test_a_bad_row_is_named(tmp_path, rows, message):
    with pytest.raises(EvaluationError, match=message):
        read_reward_bench(written(tmp_path / "rows.jsonl", rows))


def test_ties_without_both_rows_of_any_question_have_no_score(tmp_path):
    path = written(tmp_path / "rows.jsonl", [TIED, {**REF, "id": "ref:13"}])
    with pytest.raises(EvaluationError, match="row 1: of 2 questions of Ties none has both its"):
        read_reward_bench(path)
    row = BenchRow("tied:1", "Ties", "p", ("a", "b", "c"), 2, "there")
    with pytest.raises(EvaluationError, match="there: of 1 questions of Ties none has both"):
        reward_bench(RewardBench(REWARD_BENCH_2, (row,), "rows"), [(1, 1, 0)])


@pytest.fixture
def pairs(tmp_path):
    rows = [ONE, {**ONE, "id": 4}, {**ONE, "subset": "hep-js"}]
    return read_reward_bench(written(tmp_path / "rows.jsonl", rows))


SCORES = [
    {"id": 3, "subset": "hep-js", "scores": [5, 6]},
    {"id": "4", "subset": "hep-go", "scores": [3.0, 4]},
    {"id": 3, "subset": "hep-go", "scores": [1, 2]},
]
EXPECTED = [(1, 2), (3, 4), (5, 6)]


def test_rewards_are_matched_by_subset_and_id_whatever_their_order(pairs, tmp_path):
    assert read_scores(written(tmp_path / "ours.jsonl", SCORES), pairs) == EXPECTED


def test_rewards_are_read_from_the_files_of_rewardbench_and_of_score(pairs, tmp_path):
    columns = {
        "model": "theirs",
        "chat_template": "tokenizer",
        "id": [3, 4, 3],
        "subset": ["hep-go", "hep-go", "hep-js"],
        "text_chosen": ["a", "b", "c"],
        "scores_chosen": [1.0, [3.0], 5.0],
        "scores_rejected": [2.0, 4.0, 6.0],
    }
    theirs = tmp_path / "theirs.json"
    theirs.write_text(json.dumps(columns, indent=4))
    assert read_scores(theirs, pairs) == EXPECTED
    lines = [
        {"id": "3", "chosen_reward": 1, "rejected_reward": 2, "reward_margin": -1},
        {"id": "4", "chosen_reward": 3, "rejected_reward": 4, "reward_margin": -1},
    ]
    path = written(tmp_path / "score.jsonl", lines)
    with pytest.raises(EvaluationError, match="id '3' stands in 2 rows of .*give each row its sub"):
        read_scores(path, pairs)
    assert read_scores(path, pairs._replace(rows=pairs.rows[:2])) == EXPECTED[:2]


def test_rewards_of_rewardbench_2_are_read_from_its_columns(tmp_path):
    bench = read_reward_bench(written(tmp_path / "rows.jsonl", [TWO, TIED, REF]))
    columns = {
        "id": ["7", "tied:12", "ref:12"],
        "subset": ["Focus", "Ties", "Ties"],
        "scores": [[[1.0], [2.0], [3.0], [4.0]], [1, 2, 3], [1, 2]],
        "results": [0, None, None],
        "num_correct": [1, 2, 1],
        "model": "theirs",
    }
    theirs = tmp_path / "theirs.json"
    theirs.write_text(json.dumps(columns))
    assert read_scores(theirs, bench) == [(1, 2, 3, 4), (1, 2, 3), (1, 2)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": [1, float("nan")]}, "row 3: reward 2 is nan, a finite number is expected"),
        ({"scores": [1, 10**400]}, "row 3: reward 2 is inf"),
        ({"scores": [1, None]}, "row 3: scores holds None, a number is expected"),
        ({"scores": [1, 2, 3]}, "row 3: 3 rewards, and .*row 1 has 2 answers"),
        ({"id": 5}, r"has no rewards for .*row 1 \(subset 'hep-go', id '3'\); score it too"),
        ({"scores": None}, "row 3: has no rewards; expected scores, scores_chosen and"),
        ({"scores": True}, "scores is True, list is expected"),
    ],
)
def test_a_bad_reward_is_named(pairs, tmp_path, change, message):
    lines = [*SCORES[:2], {**SCORES[2], **change}]
    with pytest.raises(EvaluationError, match=message):
        read_scores(written(tmp_path / "scores.jsonl", lines), pairs)


def test_rewards_of_other_rows_are_named(pairs, tmp_path):
    lines = [*SCORES, {"id": 5, "subset": "hep-go", "scores": [1, 2]}]
    with pytest.raises(EvaluationError, match=r"1 of its rows are of no row of .*row 4 \(subset"):
        read_scores(written(tmp_path / "scores.jsonl", lines), pairs)


def test_arrays_of_another_shape_are_refused(pairs):
    with pytest.raises(EvaluationError, match="scores: 2 rows, and .* has 3"):
        reward_bench(pairs, EXPECTED[:2])
    with pytest.raises(EvaluationError, match="reward 1 is inf"):
        reward_bench(pairs, [(math.inf, 0), *EXPECTED[1:]])


# The command without a model.


def test_the_command_computes_from_a_file_of_rewards(pairs, tmp_path, capsys):
    scores = written(tmp_path / "scores.jsonl", SCORES)
    words = ["evaluate", "reward-bench", "--scores", str(scores), "--data", pairs.name]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "RewardBench 1" in printed and "no overall score: subsets are missing" in printed
    assert "not comparable with published scores" in printed
    assert "alpacaeval-hard 0 of 95; and 20 other subsets" in printed
    out = tmp_path / "out"
    stale = out / "eval-set.json"
    out.mkdir()
    stale.write_text("{}")
    assert main([*words, "--out", str(out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert "hep-go 2 of 164" in result["differs_from_published"]
    assert result["subsets"]["hep-go"]["score"]["mean"] == 0 and result["overall"] is None
    assert json.loads((out / "report.json").read_text())["sections"]["Reasoning"]["rows"] == 3
    assert not stale.exists()


def test_the_command_writes_what_can_be_handed_in(tmp_path, capsys):
    rows = [
        {"prompt": f"{name} {k}", "chosen": "yes", "rejected": "no", "subset": name, "id": k}
        for name, count in REWARD_BENCH.counts.items()
        for k in range(count)
    ]
    scores = [
        {"id": row["id"], "subset": row["subset"], "scores": [k % 4, 1]}
        for k, row in enumerate(rows)
    ]
    words = [
        "--data",
        str(written(tmp_path / "rows.jsonl", rows)),
        "--scores",
        str(written(tmp_path / "scores.jsonl", scores)),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(["evaluate", "reward-bench", *words, "--name", "org/model"]) == 0
    printed = capsys.readouterr().out
    assert "overall" in printed and "count as wrong, as in rewardbench" in printed
    handed = json.loads((tmp_path / "out" / "eval-set.json").read_text())
    assert handed.pop("model") == "org/model" and handed.pop("model_type") == "Seq. Classifier"
    assert handed.pop("chat_template") == "unknown"
    right = [s["scores"][0] > 1 for s in scores]
    assert handed == {
        name: np.mean([r for r, row in zip(right, rows, strict=True) if row["subset"] == name])
        for name in REWARD_BENCH.counts
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give HEAD with --model, or --scores FILE"),
        (["head"], "HEAD needs --model"),
        (["head", "--model", "m"], "HEAD needs --out"),
        (["head", "--scores", "s"], "--scores stands in place of HEAD and --model"),
    ],
)
def test_the_command_names_what_is_missing(words, message, capsys):
    assert main(["evaluate", "reward-bench", *words, "--data", "rows.jsonl"]) == 2
    assert message in capsys.readouterr().err


def test_the_command_writes_over_nothing_that_it_reads(pairs, tmp_path, capsys):
    scores = written(tmp_path / "report.json", SCORES)
    words = ["--scores", str(scores), "--data", pairs.name, "--out", str(tmp_path)]
    assert main(["evaluate", "reward-bench", *words]) == 2
    assert "report.json is what is read; give another folder" in capsys.readouterr().err


def test_every_subset_has_one_section():
    for published in (REWARD_BENCH, REWARD_BENCH_2):
        names = list(itertools.chain.from_iterable(published.sections.values()))
        assert sorted(names) == sorted(published.counts) == sorted(published.weights)


@pytest.mark.parametrize(("rows", "truth"), [((200, 20), (0.6, 0.97)), ((50, 10), (0.7, 0.95))])
def test_a_section_is_covered_where_a_small_subset_is_often_all_right(rows, truth):
    """Without the variance that 20 rows which are all right do not show, in 64 % of the studies."""
    rng, shares = np.random.default_rng(0), {"mt-bench-hard": 37 / 137, "llmbar-natural": 100 / 137}
    made = [pair(name, k) for name, count in zip(shares, rows, strict=True) for k in range(count)]
    bench = RewardBench(REWARD_BENCH, tuple(made), "part.jsonl")
    names = [row.cluster for row in made]
    wanted = sum(share * each for share, each in zip(shares.values(), truth, strict=True))
    covered = 0
    for _ in range(500):
        right = [rng.random(count) < each for count, each in zip(rows, truth, strict=True)]
        found = estimates(bench, [(float(each), 0.5) for each in np.concatenate(right)])
        ends = interval(weighted_sum(found, shares), names, is_share=True)
        covered += ends.low <= wanted <= ends.high
    assert covered >= 0.93 * 500
