"""Rounds of `coala_jax.improve` on a real model: a word list rewards, another judge looks on.

    python ../shared/tools/gemma3_270m.py GEMMA     # Gemma 3 270M, the folder GEMMA/hf
    PYTHONPATH=. python benchmarks/sentiment_rounds.py --model GEMMA/hf --work OUT

The model goes on from the beginnings of film reviews (sentiment_task.py). The reward of what it
adds is VADER's compound score; TF-IDF with logistic regression, trained on reviews of another part,
judges the same texts and has no part in rewards. Held-out beginnings are answered after every
round, with the same draws as plain answers. Features are the mean of a layer that was chosen on
pairs of reviews (real_model.py); nothing else was chosen. A run that was ended goes on when it is
started again. Needs scikit-learn and vaderSentiment.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from reporting import SHARED_FOLDER, account, finish, interval, markdown, origin, parser_of, say
from round_answers import held_out_answers
from sentiment_task import Judges, read_reviews, review_prompts

from coala_jax._intervals import cluster_interval
from coala_jax.backbones import load_backbone
from coala_jax.decoding import GenerationConfig
from coala_jax.features import ExtractSettings
from coala_jax.improvement import ImproveSettings, improve
from coala_jax.improvement._settings import BEST_OF_N, GUIDED, PLAIN

NAME = "sentiment-rounds"
NEW_TOKENS = 32
EVALUATED = (GUIDED, BEST_OF_N)
# As many words as new tokens make.
CUT_WORDS = 24
BEFORE = "before"


def main() -> None:
    """Run, and write the table."""
    parser = parser_of(__doc__ or "", NAME)
    parser.add_argument("--model", type=Path, required=True, help="folder of a causal model")
    parser.add_argument("--work", type=Path, required=True, help="folder of the rounds")
    parser.add_argument("--data", type=Path, default=SHARED_FOLDER / "data")
    parser.add_argument("--layer", type=int, default=10, help="of the features")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--samples", type=int, default=8, help="texts a beginning in a round")
    parser.add_argument("--prompts", type=int, default=80, help="to train on")
    parser.add_argument("--held-out", type=int, default=100, help="to be judged")
    parser.add_argument("--best-of", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    backbone = load_backbone(arguments.model)
    reviews = read_reviews(arguments.data / "imdb_like.jsonl.gz", arguments.seed)
    judges = Judges(reviews["judge"], CUT_WORDS)
    train, held_out = (
        review_prompts(reviews[part], backbone.tokenizer, count, arguments.seed)
        for part, count in (("head", arguments.prompts), ("prompts", arguments.held_out))
    )

    def vader(completions: list[str], **_: Any) -> list[float]:
        return judges.vader(completions).tolist()

    settings = ImproveSettings(
        samples=arguments.samples,
        rounds=arguments.rounds,
        evaluated=EVALUATED,
        best_of=arguments.best_of,
        patience=arguments.rounds,
        generation=GenerationConfig.from_options(max_new_tokens=NEW_TOKENS),
        extraction=ExtractSettings(pooling="mean", layers=(arguments.layer,)),
        seed=arguments.seed,
    )
    train = [prompt for prompt in train if prompt not in set(held_out)]
    found = improve(backbone, train, vader, arguments.work, held_out=held_out, settings=settings)
    say(found.report())
    rows = [_row(arguments.work, BEFORE, PLAIN, judges, 0)]
    for each in found.rounds:
        folder = arguments.work / f"round-{each.number:03d}"
        for way in EVALUATED:
            rows.append(_row(folder, f"round {each.number}", way, judges, each.tokens))
    result = account(
        model=arguments.model.name,
        judges=judges.accuracy,
        settings={name: getattr(arguments, name) for name in ("layer", "samples", "prompts")},
        report=found.report(),
        rows=rows,
    )
    finish(arguments, result, table(result))


def _row(folder: Path, name: str, way: str, judges: Judges, tokens: int) -> dict[str, Any]:
    """Scores of the texts of held-out beginnings in a folder."""
    lines, evaluations_a_token = held_out_answers(folder, way)
    texts = [line["answers"][0] for line in lines]
    return {
        "head": name,
        "way": way,
        "vader": judges.vader(texts).tolist(),
        "tfidf": judges.tfidf(texts).tolist(),
        "evaluations a token": evaluations_a_token,
        "tokens": tokens,
    }


def table(result: dict[str, Any]) -> str:
    """Scores by both, and paired differences to plain texts."""

    def cells() -> Iterator[list[Any]]:
        plain = result["rows"][0]
        names = [str(place) for place in range(len(plain["vader"]))]
        for row in result["rows"]:
            line = [row["head"], row["way"]]
            for judge in ("vader", "tfidf"):
                scores = np.array(row[judge])
                gain = scores - np.array(plain[judge])
                line.append(interval(cluster_interval(scores, names)._asdict()))
                some = interval(cluster_interval(gain, names)._asdict())
                line.append("-" if row is plain else some)
            yield [*line, f"{row['evaluations a token']:.2f}", row["tokens"] or "-"]

    judged = ("reward: VADER", "minus plain", "judge: TF-IDF", "minus plain")
    columns = ("head", "texts", *judged, "evaluations a token", "tokens sampled in the round")
    return markdown(origin(result), columns, cells())


if __name__ == "__main__":
    main()
