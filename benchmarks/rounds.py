"""Rounds of `coala_jax.improve` on the tutoring set: are answers about unseen concepts more direct?

    PYTHONPATH=. python benchmarks/rounds.py --seeds 0 1 2 --work OUT
    PYTHONPATH=. python benchmarks/rounds.py --seeds 0 1 2 --work OUT --development --rounds 1

The reward is the rule that knows the truth (`tools.tutoring_truth`): 1 where an answer is direct.
Questions about some concepts are trained on, those about others held out. After every round the
held-out ones are answered under guidance and by best-of-n, with the same draws, beside plain
answers; tokens and evaluations of the backbone are counted. Heads of every loss, and of all pairs
of the same answers, are made of the first round's answers too: is the group worth it? Concepts are
split alike for all seeds, which decide words and draws. With ``--development`` the held-out
concepts are left alone, and a part of the training concepts stands for them: settings are chosen
there. Rounds that are there are not made again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from reporting import account, finish, interval, markdown, origin, parser_of, say
from round_answers import held_out_answers

from coala_jax import GroupFeatures, Params, PreferenceFeatures, select
from coala_jax._group_inputs import prepare_groups
from coala_jax._intervals import cluster_interval, share_interval
from coala_jax.backbones import Backbone, load_backbone
from coala_jax.data._split import eval_mask
from coala_jax.decoding import GenerationConfig, TextRewardModel
from coala_jax.features._settings import feature_identity
from coala_jax.improvement import ImproveSettings, improve
from coala_jax.improvement._asked import Asked
from coala_jax.improvement._improve import FEATURES, HELD_OUT_DRAWS
from coala_jax.improvement._rollouts import Sampler, rewarded_answers
from coala_jax.improvement._settings import BEST_OF_N, GUIDED, PLAIN
from coala_jax.quickstart._concepts import load_concepts
from coala_jax.quickstart._demo import embedded_backbone
from coala_jax.selection import SELECTED
from coala_jax.selection._judged_pairs import judged_pairs
from tools.tutoring_truth import is_direct, plain_questions

NAME = "rounds"
NEW_TOKENS = 72
HELD_OUT = 0.3
# Seeds of the splits of concepts.
SPLIT, DEVELOPMENT_SPLIT = 0, 1
EVALUATED = (GUIDED, BEST_OF_N)
# Names of rows.
BEFORE, PAIRS = "before", "head: all pairs"
# Heads of one and the same answers, by what they are fitted to.
HEADS = {
    "listwise, standardized": {"phase1_loss": "listwise", "advantage": "standardized"},
    "listwise, centered": {"phase1_loss": "listwise", "advantage": "centered"},
    "group_squared, standardized": {"phase1_loss": "group_squared", "advantage": "standardized"},
    "group_squared, centered": {"phase1_loss": "group_squared", "advantage": "centered"},
    "plackett_luce": {"phase1_loss": "plackett_luce"},
    "all pairs": {"phase1_loss": "bradley_terry"},
}


def main() -> None:
    """Run, and write the table."""
    parser = parser_of(__doc__ or "", NAME)
    parser.add_argument("--work", type=Path, required=True, help="folder of the rounds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--samples", type=int, default=8, help="answers to a question in a round")
    parser.add_argument(
        "--questions", type=int, default=120, help="to train on; those held out too"
    )
    parser.add_argument("--best-of", type=int, default=8)
    parser.add_argument(
        "--development", action="store_true", help="leave the held-out concepts alone"
    )
    arguments = parser.parse_args()
    backbone = load_backbone(embedded_backbone())
    rows = [row for seed in arguments.seeds for row in of_seed(arguments, backbone, seed)]
    told = ("rounds", "seeds", "samples", "questions", "best_of", "development")
    result = account(settings={name: getattr(arguments, name) for name in told}, rows=rows)
    finish(arguments, result, table(result))


def of_seed(
    arguments: argparse.Namespace, backbone: Backbone, seed: int
) -> Iterator[dict[str, Any]]:
    """Rows of one seed: a round and way each, then the heads of the first round's answers."""
    train, unseen = questions(seed, arguments.questions, arguments.development)
    settings = ImproveSettings(
        samples=arguments.samples,
        rounds=arguments.rounds,
        evaluated=EVALUATED,
        best_of=arguments.best_of,
        patience=arguments.rounds,
        generation=GenerationConfig.from_options(max_new_tokens=NEW_TOKENS),
        seed=seed,
        batch_size=64,
    )
    work = arguments.work / ("development" if arguments.development else "held-out")
    work /= f"seed-{seed}"
    folder = work / "rounds"
    found = improve(backbone, train, direct, folder, held_out=unseen, settings=settings)
    say(found.report())
    yield from rows_of(folder, seed, BEFORE, PLAIN)
    for each in found.rounds:
        for way in EVALUATED:
            counted = {"tokens": each.tokens, "evaluations": each.evaluations}
            name = f"round {each.number}"
            yield from rows_of(folder / f"round-{each.number:03d}", seed, name, way, **counted)
    answered = folder / "round-000"
    for name, fields in HEADS.items():
        place = work / name.replace(", ", "-").replace(" ", "-")
        model = head_of(backbone, answered, place, settings, fields)
        asked = [
            Asked(row["id"], row["prompt"], {k: row[k] for k in ("concept", "aspect")})
            for row in unseen
        ]
        key = jax.random.fold_in(jax.random.key(seed), HELD_OUT_DRAWS)
        for way in EVALUATED:
            sampler = Sampler(model, way, 1, settings, key)
            rewarded_answers(place / f"held-out-{way}.jsonl", sampler, asked, direct, name)
            yield from rows_of(place, seed, f"head: {name}", way)


def questions(
    seed: int, most: int, development: bool = False
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Questions about some concepts, and about others; rows for the reward function."""
    asked = plain_questions(seed)
    held_out = eval_mask([each.concept.group for each in asked], HELD_OUT, SPLIT)
    if development:
        asked = [each for each, out in zip(asked, held_out, strict=True) if not out]
        held_out = eval_mask([each.concept.group for each in asked], HELD_OUT, DEVELOPMENT_SPLIT)
    order = np.random.default_rng(seed).permutation(len(asked))
    parts: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for place in order:
        each, part = asked[place], parts[int(held_out[place])]
        if len(part) < most:
            part.append(
                {
                    "id": f"{each.concept.group}/{each.concept.name}/{each.aspect}",
                    "prompt": each.prompt,
                    "concept": each.concept.name,
                    "aspect": each.aspect,
                }
            )
    return parts


def direct(
    prompts: Sequence[str],
    completions: Sequence[str],
    concept: Sequence[str],
    aspect: Sequence[str],
    **_: Any,
) -> list[float]:
    """1 where an answer is direct."""
    by_name = {each.name: each for each in load_concepts()}
    told = zip(completions, concept, aspect, strict=True)
    return [float(is_direct(text, by_name[name], asked)) for text, name, asked in told]


def head_of(
    backbone: Backbone,
    answered: Path,
    place: Path,
    settings: ImproveSettings,
    fields: dict[str, Any],
) -> TextRewardModel:
    """The head of a loss on the answers of a round."""
    lines = (answered / "rollouts.jsonl").read_text("utf-8").splitlines()
    scores = np.array([json.loads(line)["rewards"] for line in lines], float)
    with np.load(answered / FEATURES) as known:
        groups = GroupFeatures(known["responses"], scores)
    config = dataclasses.replace(SELECTED, **fields)
    features: GroupFeatures | PreferenceFeatures = groups
    names = [str(number) for number in range(len(scores))]
    if not config.loss.grouped:
        arrays = prepare_groups(groups)
        pairs = judged_pairs(arrays)
        sides = (
            groups.responses[pairs.row, pairs.better],
            groups.responses[pairs.row, pairs.worse],
        )
        features = PreferenceFeatures(*sides, weight=pairs.weight.astype("f4"))
        names = [str(row) for row in pairs.row]
    key = jax.random.key(settings.seed)
    solution, choice = select(Params(), features, names, config=config, key=key)
    say(f"{place.name}: {choice}; {solution!r}")
    return TextRewardModel(backbone, solution.head, feature_identity(backbone, settings.extraction))


def rows_of(
    folder: Path, seed: int, name: str, way: str, **counted: int
) -> Iterator[dict[str, Any]]:
    """The directness of held-out answers in a folder."""
    lines, evaluations_a_token = held_out_answers(folder, way)
    yield {
        "seed": seed,
        "head": name,
        "way": way,
        "direct": [line["rewards"][0] for line in lines],
        "groups": [line["name"].rsplit("/", 2)[0] for line in lines],
        "evaluations a token": evaluations_a_token,
        **counted,
    }


def table(result: dict[str, Any]) -> str:
    """Directness over all seeds and paired differences, clustered by pair of concepts."""
    known: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in result["rows"]:
        known.setdefault((row["head"], row["way"]), []).append(row)
    rows = []
    for (head, way), some in known.items():
        rival = (BEFORE, PLAIN) if head.startswith("round") else (PAIRS, way)
        compared = head not in (BEFORE, PAIRS) and rival in known
        tokens = sum(row.get("tokens", 0) for row in some)
        rows.append(
            [
                head,
                way,
                interval(share_interval(_direct(some), _clusters(some))._asdict()),
                _difference(some, known[rival]) if compared else "-",
                rival[0] if compared else "-",
                f"{np.mean([row['evaluations a token'] for row in some]):.2f}",
                tokens or "-",
            ]
        )
    columns = ("head", "answers", "direct", "difference", "to", "evaluations a token", "tokens")
    return markdown(origin(result), columns, rows)


def _direct(some: list[dict[str, Any]]) -> np.ndarray:
    return np.concatenate([row["direct"] for row in some])


def _clusters(some: list[dict[str, Any]]) -> list[str]:
    return [group for row in some for group in row["groups"]]


def _difference(some: list[dict[str, Any]], others: list[dict[str, Any]]) -> str:
    """By question: all have the same ones in the same order."""
    difference = _direct(some) - _direct(others)
    return interval(cluster_interval(difference, _clusters(some))._asdict())


if __name__ == "__main__":
    main()
