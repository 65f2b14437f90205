"""GRPO by TRL beside rounds of `coala_jax.improve`: the same questions and reward, as many tokens.

    make bench-env
    PYTHONPATH=. python benchmarks/grpo.py --work OUT --seeds 0 1 2     # OUT of rounds.py

GRPO trains LoRA (`contenders/trl_grpo.py`, as the trained methods of benchmarks/plans/embedded.yaml
have it) on the questions that the rounds were trained on, samples as they do, and ends when it has
generated as many tokens, or so many times as many. Learning rates are tried with questions about a
fifth of the training concepts held back, and the one whose answers to these have the highest reward
over all seeds is taken; no held-out question is asked before. Held-out ones are answered plainly,
with the draws that the rounds had.

Operations are products alone: of GRPO by `training_flops.py`, which torch's own count of a step is
held against; of the rounds as they run (`rounds_bill.py`). Answers that judge, to held-out and to
held-back questions, are in neither bill. What is there is not made again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from grpo_report import table
from methods import TRL
from methods_plan import Model, Plan, read_plan
from methods_training import ADAPTER, JOB, RESULT, lora_of, run_trl
from reporting import HERE, account, finish, parser_of, say
from rounds import BEFORE, EVALUATED, NEW_TOKENS, direct, questions, rows_of
from rounds_bill import PARTS, rounds_bill
from training_flops import grpo_flops

from coala_jax._files import write_text
from coala_jax._json import json_text
from coala_jax.backbones import load_backbone
from coala_jax.data._split import eval_mask
from coala_jax.decoding import GenerationConfig
from coala_jax.improvement import ImproveSettings
from coala_jax.improvement._asked import Asked
from coala_jax.improvement._improve import HELD_OUT_DRAWS, ROLLOUTS
from coala_jax.improvement._rollouts import Sampler, rewarded_answers
from coala_jax.improvement._settings import PLAIN
from tools.tutoring_truth import plain_questions, terms_of

NAME = "grpo"
PLAN, MODEL = HERE / "plans" / "embedded.yaml", "embedded"
TRAINER = HERE / "contenders" / "trl_grpo.py"
REWARD = "tools.own_terms:directness"
# Of the training concepts, whose questions choose the learning rate; beyond the draws of others.
HELD_BACK, HELD_BACK_DRAWS = 0.2, HELD_OUT_DRAWS + 1
# Fields of a job that say where things are.
PLACES = ("model", "train", "out")
# Answers of a step, those to four questions by default.
STEP = 32


def main() -> None:
    """Train, answer, and write the tables."""
    parser = parser_of(__doc__ or "", NAME)
    parser.add_argument("--work", type=Path, required=True, help="folder of benchmarks/rounds.py")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--samples", type=int, default=8, help="as the rounds had it")
    parser.add_argument("--questions", type=int, default=120, help="as the rounds had it")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-4, 3e-4, 1e-3, 3e-3])
    parser.add_argument("--beta", type=float, default=0.0, help="of the KL term; TRL has 0")
    parser.add_argument(
        "--longer", type=int, nargs="*", default=[], help="runs of so many times the tokens too"
    )
    parser.add_argument("--development", action="store_true", help="as the rounds had it")
    parser.add_argument("--trl", type=Path, default=TRL, help="Python that has trl, peft, torch")
    arguments = parser.parse_args()
    plan = read_plan(PLAN)
    seeds = [grpo_of(arguments, plan, seed) for seed in arguments.seeds]
    tried = [grpo.trial(rate) for grpo in seeds for rate in arguments.rates]
    rate = best_rate(tried)
    say(f"learning rate {rate:g}")
    found = [of_seed(grpo, rate, arguments.longer) for grpo in seeds]
    told = ("seeds", "samples", "questions", "rates", "beta", "longer", "development")
    result = account(
        settings={name: getattr(arguments, name) for name in told},
        rows=[row for each in found for row in each["rows"]],
        tried=tried,
        runs=[one for each in found for one in each["runs"]],
        bills=[each["bill"] for each in found],
    )
    finish(arguments, result, table(result))


def best_rate(tried: Sequence[dict[str, Any]]) -> float:
    """The learning rate of the highest mean reward over the questions of all seeds; the first."""
    rewards: dict[float, float] = {}
    for one in tried:
        rate = one["learning_rate"]
        rewards[rate] = rewards.get(rate, 0.0) + one["reward"] * one["held_back"]
    return max(rewards, key=rewards.__getitem__)


def grpo_of(arguments: argparse.Namespace, plan: Plan, seed: int) -> Grpo:
    """What trains on the questions of a seed's rounds."""
    train, unseen = questions(seed, arguments.questions, arguments.development)
    work = arguments.work / ("development" if arguments.development else "held-out")
    work /= f"seed-{seed}"
    require_trained_on(work / "rounds", train)
    settings = ImproveSettings(
        samples=arguments.samples,
        generation=GenerationConfig.from_options(max_new_tokens=NEW_TOKENS),
        seed=seed,
        batch_size=64,
    )
    places = work / "rounds", work / NAME
    return Grpo(plan, settings, train, unseen, *places, arguments.trl, arguments.beta)


def of_seed(grpo: Grpo, rate: float, longer: Sequence[int]) -> dict[str, Any]:
    """Rows of one seed, of rounds and GRPO, with the operations of the rounds, and final runs."""
    seed, tokens = grpo.settings.seed, tokens_of(grpo.rounds)
    rows, runs = [], []
    for times in (1, *longer):
        name = "GRPO" if times == 1 else f"GRPO, {times} times the tokens"
        place = grpo.folder / f"final-{times}"
        run = grpo.run(place, rate, grpo.train, times * tokens)
        grpo.answer(place, grpo.unseen, HELD_OUT_DRAWS, 1)
        flops = sum(run["flops"].values())
        rows += rows_of(place, seed, name, PLAIN, tokens=run["tokens"], flops=flops)
        runs.append({"seed": seed, "name": name, "learning_rate": rate, **run})
    bill = grpo.rounds_bill()
    return {"rows": [*of_rounds(grpo.rounds, seed, bill), *rows], "runs": runs, "bill": bill}


def of_rounds(rounds: Path, seed: int, bill: Sequence[dict[str, int]]) -> Iterator[dict[str, Any]]:
    """Rows of the rounds, with the tokens and operations until then."""
    yield from rows_of(rounds, seed, BEFORE, PLAIN)
    tokens = flops = 0
    for number, each in enumerate(bill):
        tokens += each["tokens"]
        flops += sum(each[part] for part in PARTS)
        for way in EVALUATED:
            place, name = rounds / f"round-{number:03d}", f"improve, round {number}"
            yield from rows_of(place, seed, name, way, tokens=tokens, flops=flops)


class Grpo(NamedTuple):
    """Trains the backbone on the questions of rounds, and asks what came of it.

    Attributes:
        plan: with what all trained methods share.
        settings: of the rounds: how answers are sampled, and the seed of everything.
        train: questions to train on.
        unseen: held-out ones.
        rounds: their folder.
        folder: of the runs.
        python: that has TRL.
        beta: of the KL term.
    """

    plan: Plan
    settings: ImproveSettings
    train: Sequence[dict[str, Any]]
    unseen: Sequence[dict[str, Any]]
    rounds: Path
    folder: Path
    python: Path
    beta: float

    @property
    def model(self) -> Model:
        """The backbone, with its adapted modules."""
        return self.plan.models[MODEL]

    def trial(self, rate: float) -> dict[str, Any]:
        """A learning rate, with the mean reward on held-back questions; what it took.

        A trial has the share of the tokens that its questions are of all.
        """
        seed, concepts = self.settings.seed, [row["id"].rsplit("/", 2)[0] for row in self.train]
        mask = eval_mask(concepts, HELD_BACK, seed)
        fitted = [row for row, out in zip(self.train, mask, strict=True) if not out]
        held_back = [row for row, out in zip(self.train, mask, strict=True) if out]
        place = self.folder / f"trial-{rate:g}"
        tokens = tokens_of(self.rounds) * len(fitted) // len(self.train)
        run = self.run(place, rate, fitted, tokens)
        reward = self.answer(place, held_back, HELD_BACK_DRAWS, self.settings.samples)
        say(f"seed {seed}, learning rate {rate:g}: {reward:.3f} of {len(held_back)} questions")
        known = {"seed": seed, "learning_rate": rate, "held_back": len(held_back)}
        return {**known, "reward": reward, **run}

    def run(
        self, place: Path, rate: float, train: Sequence[dict[str, Any]], tokens: int
    ) -> dict[str, Any]:
        """One run, or what an earlier one said: tokens, steps, operations, rewards by step.

        Raises:
            ValueError: the earlier one had other settings.
        """
        job = self.job(place, rate, tokens)
        if not (place / RESULT).exists():
            lines = "".join(json.dumps(row) + "\n" for row in with_terms(train))
            write_text(place / "train.jsonl", lines)
            write_text(place / JOB, json_text(job))
            run_trl(self.python, place / JOB, TRAINER)
        known = json.loads((place / JOB).read_text("utf-8"))
        if any(known.get(name) != job[name] for name in job if name not in PLACES):
            raise ValueError(f"{place}: a run of other settings; remove it, or give another --work")
        result = json.loads((place / RESULT).read_text("utf-8"))
        flops = grpo_flops(
            load_backbone(self.model.path).config,
            result["generations"],
            result["micro_batches"],
            self.plan.training.lora_rank,
            self.model.lora_targets,
            reference=self.beta != 0,
        )
        rewards = [line["reward"] for line in result["log"] if "reward" in line]
        told = ("tokens", "steps", "seconds", "counted", "peak_bytes", "versions")
        return {**{name: result[name] for name in told}, "flops": flops, "rewards": rewards}

    def job(self, place: Path, rate: float, tokens: int) -> dict[str, Any]:
        """A job file of trl_grpo.py, by the fields of its `Job`."""
        sampling = self.settings.generation.sampling
        names = ("max_new_tokens", "temperature", "top_p", "top_k")
        return {
            "model": str(self.model.path),
            "train": str(place / "train.jsonl"),
            "out": str(place),
            "reward": REWARD,
            "tokens": tokens,
            "learning_rate": rate,
            "beta": self.beta,
            "samples": self.settings.samples,
            **{name: getattr(sampling, name) for name in names},
            "batch": STEP,
            "accumulation": 1,
            "seed": self.settings.seed,
            "lora": lora_of(self.plan.training, self.model),
            "dtype": self.plan.training.dtype,
        }

    def rounds_bill(self) -> list[dict[str, int]]:
        """Operations of every round, or what an earlier count has."""
        path = self.folder / "rounds-bill.json"
        if not path.exists():
            backbone, asked = load_backbone(self.model.path), (self.train, self.unseen)
            made = rounds_bill(backbone, *asked, direct, self.rounds, self.settings)
            write_text(path, json_text(made))
        bill: list[dict[str, int]] = json.loads(path.read_text("utf-8"))
        return bill

    def answer(
        self, place: Path, rows: Sequence[dict[str, Any]], draws: int, samples: int
    ) -> float:
        """Mean reward of plain answers by an adapter; they are kept beside it."""
        backbone = load_backbone(self.model.path, adapter=place / ADAPTER)
        key = jax.random.fold_in(jax.random.key(self.settings.seed), draws)
        sampler = Sampler(backbone, PLAIN, samples, self.settings, key)
        asked = [
            Asked(row["id"], row["prompt"], {k: row[k] for k in ("concept", "aspect")})
            for row in rows
        ]
        path = place / f"held-out-{PLAIN}.jsonl"
        found = rewarded_answers(path, sampler, asked, direct, place.name)
        return float(np.mean([each.rewards for each in found]))


def tokens_of(rounds: Path) -> int:
    """That were sampled of answers to training questions, end tokens among them."""
    texts = [path.read_text("utf-8") for path in rounds.glob("round-*/rollouts-texts.jsonl")]
    lines = (json.loads(line) for text in texts for line in text.splitlines())
    return sum(len(ids) for line in lines for ids in line["ids"])


def with_terms(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Questions with what `tools.own_terms` judges answers by, where there is no coala_jax."""
    known = {(each.concept.name, each.aspect): each.concept for each in plain_questions(0)}
    for row in rows:
        terms, others = terms_of(known[row["concept"], row["aspect"]], row["aspect"])
        yield {"prompt": row["prompt"], "terms": terms, "other_terms": others}


def require_trained_on(rounds: Path, train: Sequence[dict[str, Any]]) -> None:
    """Raise where rounds were trained on other questions."""
    lines = (rounds / "round-000" / ROLLOUTS).read_text("utf-8").splitlines()
    if [json.loads(line)["name"] for line in lines] != [row["id"] for row in train]:
        raise ValueError(f"{rounds}: has other questions; give --questions as rounds.py had it")


if __name__ == "__main__":
    main()
