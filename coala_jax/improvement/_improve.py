"""`improve`: rounds of sampling, rewarding and solving, on frozen weights."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from coala_jax._errors import CoalaError
from coala_jax._files import write_files, write_text
from coala_jax._head_files import ACCOUNT, TRAINED_ON, load_head, save_head
from coala_jax._intervals import Interval, cluster_interval
from coala_jax._json import json_text, valid_json
from coala_jax._status import Status
from coala_jax._types import Config, GroupFeatures, Params, settings_record
from coala_jax._verdict import bracketed
from coala_jax._version import __version__
from coala_jax.backbones import Backbone, load_backbone
from coala_jax.data import PromptFingerprint, ResponseRow
from coala_jax.data._split import text_sha256
from coala_jax.decoding import TextRewardModel
from coala_jax.decoding._prompts import Prompt, answered_texts, chat_of
from coala_jax.features import ExtractSettings
from coala_jax.features._identity import DECIDE_NOTHING
from coala_jax.features._responses import features_of_responses
from coala_jax.features._settings import feature_identity
from coala_jax.improvement._asked import Asked, split_prompts
from coala_jax.improvement._rewarding import RewardFunction, name_of
from coala_jax.improvement._rollouts import Rollout, Sampler, rewarded_answers
from coala_jax.improvement._settings import PLAIN, ImproveError, ImproveSettings, Way
from coala_jax.selection import select

# Beyond the number of any round, of which its draws have a key.
HELD_OUT_DRAWS = 1 << 30
SETTINGS, ROUND, ROLLOUTS = "settings.json", "round.json", "rollouts.jsonl"
HEAD, FEATURES = "head", "features.npz"
# Of as many a mean has a standard error of a quarter of the spread.
_FEW_PROMPTS = 16
# Settings that decide no text and no head: more rounds, or less memory, may be asked for later.
_FREE = ("rounds", "patience", "batch_size")


class Round(NamedTuple):
    """What came of one round.

    Attributes:
        number: from 0.
        way: how answers to training prompts were made.
        reward: mean of theirs, with its interval over prompts.
        groups: prompts whose answers were fitted to, of this round and those that were kept.
        silent: of these, prompts whose answers all have one reward: they say nothing.
        held_out: by way, mean reward of answers to held-out prompts after the round.
        choice: what strengths were chosen, and from what.
        status: how the solve ended.
        tokens: of this round's answers to training prompts.
        evaluations: tokens that the backbone ran for them.
    """

    number: int
    way: Way
    reward: Interval
    groups: int
    silent: int
    held_out: Mapping[str, Interval]
    choice: str
    status: str
    tokens: int
    evaluations: int

    def line(self) -> str:
        """What came of it, on one line."""
        ways = ", ".join(f"{way} {bracketed(found)}" for way, found in self.held_out.items())
        return (
            f"round {self.number}: {self.way} answers {bracketed(self.reward)}, "
            f"{self.silent} of {self.groups} prompts say nothing; held out: {ways}; {self.status}, "
            f"{self.choice}"
        )


class Improvement(NamedTuple):
    """What `improve` gives.

    Attributes:
        model: the backbone with the head of the best round.
        best: number of that round.
        rounds: all of them.
        plain: mean reward of plain answers to held-out prompts, before any head.
        unseen: how many prompts were held out.
    """

    model: TextRewardModel
    best: int
    rounds: tuple[Round, ...]
    plain: Interval
    unseen: int

    def report(self) -> str:
        """A line a round."""
        lines = [f"held-out reward of {self.unseen} prompts, plain: {bracketed(self.plain)}"]
        if self.unseen < _FEW_PROMPTS:
            lines[0] += "; so few tell little, give more or a larger held_out"
        for each in self.rounds:
            lines.append(each.line() + (" (best)" if each.number == self.best else ""))
        return "\n".join(lines)


def improve(
    backbone: Backbone | str | os.PathLike[str],
    prompts: Sequence[Prompt | Mapping[str, Any]],
    reward_fn: RewardFunction,
    out: str | os.PathLike[str],
    *,
    held_out: Sequence[Prompt | Mapping[str, Any]] | float = 0.2,
    settings: ImproveSettings = ImproveSettings(),
    on_round: Callable[[Round], object] | None = None,
) -> Improvement:
    """Learn a head from rewards that a function gives, in rounds; no weight of the backbone moves.

    A round samples answers to every training prompt, by the backbone alone at first and by the head
    of the round before later, rewards them, and fits a head to all kept answers, those of a prompt
    being a group (`GroupFeatures`), with strengths chosen on left-out prompts. Gates are drawn by
    the same key in every round. Answers to held-out prompts then say whether the round was of use;
    rounds end when they are not.

    Args:
        backbone: a causal model that jax runs, or its folder.
        prompts: texts or conversations to answer, or rows with ``prompt`` and what else the reward
            function wants to be given.
        reward_fn: called as TRL's ``reward_funcs`` are, with keyword arguments ``prompts``,
            ``completions``, ``completion_ids`` and the columns of the rows, lists of one length;
            gives a number each, the higher the better, or None where it has none.
        out: folder of the rounds. What is there is not made again: a run that died goes on, and
            answers that have rewards are not given to a function of the same name again.
        held_out: prompts of their own, or the share of the prompts that is kept for this.
        settings: how rounds go.
        on_round: called after every round, such as ``lambda found: print(found.line())``.

    Returns:
        The model of the best round, and what came of all.

    Raises:
        ImproveError: what cannot be used, by name; a reward function that raises, or gives what is
            no reward, after its answers were kept; rewards that say nothing at all.
        GenerationError, FeatureError: as generating and extraction do.

    Example:
        >>> from coala_jax import ImproveSettings, improve
        >>> def rewards(prompts, completions, **columns):
        ...     return [float("because" in text) for text in completions]
        >>> settings = ImproveSettings(samples=4, rounds=2)
        >>> found = improve("models/gpt2", prompts, rewards, "rounds",  # doctest: +SKIP
        ...     settings=settings, on_round=lambda one: print(one.line()))
        >>> print(found.report())  # doctest: +SKIP
    """
    if not callable(reward_fn):
        raise TypeError(f"reward_fn must be a function, got {reward_fn!r}")
    train, unseen = split_prompts(prompts, held_out, settings.seed)
    if not isinstance(backbone, Backbone):
        backbone = load_backbone(backbone)
    folder = Path(out)
    extraction = _extraction(backbone, [*train, *unseen], settings)
    _keep_settings(folder, backbone, train, unseen, settings, extraction, name_of(reward_fn))
    key = jax.random.key(settings.seed)
    work = _Work(backbone, train, unseen, reward_fn, folder, settings, extraction, key)
    plain = work.evaluated(None, PLAIN, folder, "held-out prompts")
    rounds: list[Round] = []
    models: list[TextRewardModel] = []
    best = 0
    for number in range(settings.rounds):
        found, model = work.round(number, models[-1] if models else None)
        rounds.append(found)
        if on_round is not None:
            on_round(found)
        models.append(model)
        best = max(range(number + 1), key=lambda n: rounds[n].held_out[settings.decisive].mean)
        if number - best >= settings.patience:
            break
    return Improvement(models[best], best, tuple(rounds), plain, len(unseen))


class _Work(NamedTuple):
    """What all rounds share."""

    backbone: Backbone
    train: list[Asked]
    unseen: list[Asked]
    reward_fn: RewardFunction
    folder: Path
    settings: ImproveSettings
    extraction: ExtractSettings
    key: jax.Array

    def round(self, number: int, last: TextRewardModel | None) -> tuple[Round, TextRewardModel]:
        """One round, made or read."""
        settings, folder = self.settings, self.round_folder(number)
        policy: Way = PLAIN if last is None else settings.policy
        model: Backbone | TextRewardModel = self.backbone if last is None else last
        key = jax.random.fold_in(self.key, number)
        sampler = Sampler(model, policy, settings.samples, settings, key)
        rollouts = rewarded_answers(
            folder / ROLLOUTS, sampler, self.train, self.reward_fn, f"round {number}"
        )
        self.features(number, rollouts)
        if (folder / ROUND).exists():
            return _read_round(folder), self.head_of(folder)
        groups, names = self.groups(number)
        if not (folder / HEAD / ACCOUNT).exists():
            self.solve(number, groups, names)
        model = self.head_of(folder)
        choice, status = (
            load_head(folder / HEAD)[1].document[name] for name in ("choice", "status")
        )
        held_out: dict[str, Interval] = {
            way: self.evaluated(model, way, folder, f"round {number}, held-out prompts")
            for way in settings.evaluated
        }
        scores = np.where(np.asarray(groups.mask), np.asarray(groups.scores), np.nan)
        silent = np.nanmax(scores, axis=1) == np.nanmin(scores, axis=1)
        found = Round(
            number,
            policy,
            mean_reward(rollouts, self.train),
            len(scores),
            int(silent.sum()),
            held_out,
            choice,
            status,
            sum(sum(each.tokens) for each in rollouts),
            sum(each.evaluations for each in rollouts),
        )
        write_text(folder / ROUND, json_text(found._asdict()))
        return found, model

    def round_folder(self, number: int) -> Path:
        """Of a round."""
        return self.folder / f"round-{number:03d}"

    def evaluated(
        self, model: TextRewardModel | None, way: Way, folder: Path, where: str
    ) -> Interval:
        """Mean reward of an answer to each held-out prompt; the same draws in all rounds."""
        key = jax.random.fold_in(self.key, HELD_OUT_DRAWS)
        sampler = Sampler(model or self.backbone, way, 1, self.settings, key)
        path = folder / f"held-out-{way}.jsonl"
        return mean_reward(
            rewarded_answers(path, sampler, self.unseen, self.reward_fn, where), self.unseen
        )

    def features(self, number: int, rollouts: Sequence[Rollout]) -> None:
        """(n, k, d) of a round's answers into its folder."""
        path = self.round_folder(number) / FEATURES
        if path.exists():
            return
        rows = []
        for asked, rollout in zip(self.train, rollouts, strict=True):
            prompt, answers = answered_texts(
                self.backbone, asked.prompt, rollout.answers, asked.name
            )
            rows += [
                ResponseRow(asked.name, f"answer {k}", prompt, answer)
                for k, answer in enumerate(answers)
            ]
        found = features_of_responses(rows, self.backbone, self.extraction).features
        responses = found.reshape(len(self.train), self.settings.samples, -1)
        write_files({path: lambda file: np.savez(file, responses=responses)})

    def groups(self, number: int) -> tuple[GroupFeatures, list[str]]:
        """All kept answers to each prompt, of the rounds up to this one, and hashes of prompts.

        Prompts of which no answer has a reward are left out.
        """
        kept = self.settings.keep_rounds
        first = 0 if kept is None else max(number + 1 - kept, 0)
        responses, rewards = [], []
        for each in range(first, number + 1):
            lines = (self.round_folder(each) / ROLLOUTS).read_text("utf-8").splitlines()
            rewards += [[json.loads(line)["rewards"] for line in lines]]
            with np.load(self.round_folder(each) / FEATURES, allow_pickle=False) as known:
                responses.append(known["responses"])
        scores = np.array(np.concatenate(rewards, axis=1), float)  # None is NaN
        mask = ~np.isnan(scores)
        some = mask.any(axis=1)
        if not some.any():
            raise ImproveError(
                f"round {number}: the reward function gave no reward at all; {self.mend(number)}"
            )
        joined = np.concatenate(responses, axis=1)
        names = [asked.sha256 for asked in self.train]
        groups = GroupFeatures(joined[some], np.where(mask, scores, 0)[some], mask=mask[some])
        return groups, list(itertools.compress(names, some))

    def solve(self, number: int, groups: GroupFeatures, names: Sequence[str]) -> None:
        """Write a head of the groups, with the choice of its strengths and its status."""
        config, key = self.settings.solving, jax.random.key(self.settings.seed)
        try:
            solution, choice = select(Params(), groups, names, config=config, key=key)
        except CoalaError as error:
            raise ImproveError(
                f"round {number}: {error}; where that is the reward function's, {self.mend(number)}"
            ) from error
        status = Status(int(solution.status))
        if status in (Status.INVALID_PARAMETER, Status.NOT_FINITE_INPUT, Status.BREAKDOWN):
            raise ImproveError(f"round {number}: no head: {status.text}")
        prompts = PromptFingerprint.of_hashes(
            text_sha256(answered_texts(self.backbone, asked.prompt, [], asked.name)[0])
            for asked in self.train
        )
        identity = feature_identity(self.backbone, self.extraction)
        info = {
            "coala_jax": __version__,
            "identity": identity._asdict(),
            "temperature": choice.candidate.temperature,
            **settings_record(choice.params, choice.config),
            "choice": str(choice),
            "status": status.name,
            TRAINED_ON: prompts.text,
        }
        save_head(self.round_folder(number) / HEAD, solution.head, valid_json(info))

    def mend(self, number: int) -> str:
        """What to do about rewards that were wrong: those of texts that are kept, but no head's."""
        made = [self.folder / f"held-out-{PLAIN}.jsonl", self.round_folder(number) / ROLLOUTS]
        if number:
            return f"mend it and give another out: those of {self.folder} are all by it"
        return f"mend it and remove {made[0]} and {made[1]}, whose texts are kept beside them"

    def head_of(self, folder: Path) -> TextRewardModel:
        """The head of a round on the backbone."""
        return TextRewardModel.load(folder / HEAD, self.backbone)


def mean_reward(rollouts: Sequence[Rollout], asked: Sequence[Asked]) -> Interval:
    """Of all answers that have one, with its interval over prompts."""
    values = [
        (reward, each.name)
        for each, rollout in zip(asked, rollouts, strict=True)
        for reward in rollout.rewards
        if reward is not None
    ]
    if not values:
        raise ImproveError("the reward function gave no reward at all")
    rewards, names = zip(*values, strict=True)
    return cluster_interval(np.array(rewards), names)


def _extraction(
    backbone: Backbone, asked: Sequence[Asked], settings: ImproveSettings
) -> ExtractSettings:
    """How answers become features: by the chat template where prompts are conversations."""
    texts = {isinstance(each.prompt, str) for each in asked}
    if len(texts) > 1:
        raise ImproveError("prompts: some are texts, some conversations; give one kind")
    if settings.extraction.prefixes or settings.extraction.needs_query:
        raise ImproveError(
            "extraction: beginnings of responses and attention pooling without a query are of "
            "stores; give neither"
        )
    return settings.extraction.for_rows("" if texts == {True} else chat_of(backbone).name)


def _keep_settings(
    folder: Path,
    backbone: Backbone,
    train: Sequence[Asked],
    unseen: Sequence[Asked],
    settings: ImproveSettings,
    extraction: ExtractSettings,
    reward: str,
) -> None:
    """Write what decides the rounds, or see that it is what it was.

    Raises:
        ImproveError: the folder has rounds of other settings, named.
    """
    digest = hashlib.sha256()
    for each in (*train, *unseen):
        digest.update(json.dumps([each.name, each.text]).encode())
    identity = feature_identity(backbone, extraction)._asdict()
    now = {
        "version": __version__,
        "x64": bool(jax.config.read("jax_enable_x64")),
        "prompts": digest.hexdigest(),
        "train": len(train),
        "held_out": len(unseen),
        "reward": reward,
        **{
            f"features {key}": value for key, value in identity.items() if key not in DECIDE_NOTHING
        },
        **{
            key: _described(value)
            for key, value in vars(settings).items()
            if key not in (*_FREE, "extraction")
        },
    }
    now = json.loads(json_text(now))
    path = folder / SETTINGS
    if not path.exists():
        write_text(path, json_text(now))
        return
    known = json.loads(path.read_text("utf-8"))
    if others := [name for name in now if known.get(name) != now[name]]:
        raise ImproveError(
            f"{folder}: holds rounds of another {', '.join(others)}; give another out, or what it "
            "was made with"
        )


def _described(value: Any) -> str:
    """A setting as a text that is the same in another process: a loss of one's own has its name."""
    if isinstance(value, Config) and not isinstance(value.phase1_loss, str):
        value = dataclasses.replace(value, phase1_loss="listwise")
        return f"{value} with a loss of its own"
    return str(value)


def _read_round(folder: Path) -> Round:
    fields = json.loads((folder / ROUND).read_text("utf-8"))
    fields["reward"] = _interval(fields["reward"])
    fields["held_out"] = {way: _interval(each) for way, each in fields["held_out"].items()}
    return Round(**fields)


def _interval(ends: Sequence[float | None]) -> Interval:
    """An interval of a file, whose ends are null where a single prompt allows none."""
    return Interval(*(float("nan") if end is None else end for end in ends))
