"""Controlled sentiment: reviews in three parts, pairs and prompts of them, judges of texts.

As in section 6.1 of the DPO paper (Rafailov et al. 2023): go on from the beginning of a review so
that the text is positive. A hash of a review's text, under a seed, says which part it is in:

- ``head``: pairs that a head is trained on. A positive and a negative review that begin with the
  same words, which are the prompt; what follows, cut to as many tokens as are generated, are the
  two responses. As many words as possible are shared, at least one; a review is in one pair.
- ``prompts``: beginnings of 4 to 8 tokens that end where a word does, no two alike.
- ``judge``: trains and tests the first judge, TF-IDF and logistic regression (scikit-learn).

The second judge is VADER (Hutto & Gilbert 2014), a word list, from the package ``vaderSentiment``.
Neither has seen the head, its reviews or the backbone.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coala_jax.backbones import Tokenizer

# Shares of the reviews, and where they end in the order of their hashes.
PART_ENDS = {"head": 0.4, "prompts": 0.6, "judge": 1.0}
PROMPT_TOKENS = (4, 8)
# What the responses of pairs may begin alike with, the most first.
SHARED_WORDS = (6, 5, 4, 3, 2, 1)
# Characters of a review that are tokenised for its beginning: a token has fewer than 40 on average.
HEAD_CHARACTERS = 40
JUDGE_HELD_OUT = 0.2


class Review(NamedTuple):
    """A review of a film.

    Attributes:
        id: as the data names it.
        text: whole.
        positive: its label.
    """

    id: str
    text: str
    positive: bool


def read_reviews(path: Path, seed: int) -> dict[str, list[Review]]:
    """Reviews by part, each part in an order of its own.

    Args:
        path: ``imdb_like.jsonl.gz``.
        seed: of parts and orders.
    """
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    reviews = {row["text"]: Review(row["id"], row["text"], row["label"] == 1) for row in rows}
    parts: dict[str, list[Review]] = {name: [] for name in PART_ENDS}
    for place, review in sorted((_place(text, seed), one) for text, one in reviews.items()):
        parts[next(name for name, end in PART_ENDS.items() if place < end)].append(review)
    return parts


def _place(text: str, seed: int) -> float:
    """From 0 to 1, by a hash."""
    digest = hashlib.sha256(f"{seed}:{text}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def review_pairs(
    reviews: Sequence[Review], tokenizer: Tokenizer, new_tokens: int
) -> list[dict[str, str]]:
    """Preference rows: what follows the same words in a positive and in a negative review."""
    left = {review.id: review for review in reviews}
    rows = []
    for words in SHARED_WORDS:
        begun: dict[str, tuple[list[Review], list[Review]]] = {}
        for review in left.values():
            parts = review.text.split(" ", words)
            if len(parts) > words:
                sides = begun.setdefault(" ".join(parts[:words]), ([], []))
                sides[0 if review.positive else 1].append(review)
        for prompt, (positive, negative) in begun.items():
            for pair in zip(positive, negative, strict=False):
                chosen, rejected = (
                    _first_tokens(tokenizer, each.text[len(prompt) :], new_tokens) for each in pair
                )
                name = f"{pair[0].id}:{pair[1].id}"
                rows.append({"id": name, "prompt": prompt, "chosen": chosen, "rejected": rejected})
                for each in pair:
                    del left[each.id]
    return rows


def _first_tokens(tokenizer: Tokenizer, text: str, count: int) -> str:
    ids = tokenizer.encode(text[: count * HEAD_CHARACTERS])
    return tokenizer.decode(ids[:count])


def review_prompts(
    reviews: Sequence[Review], tokenizer: Tokenizer, count: int, seed: int
) -> list[str]:
    """So many beginnings of reviews, no two alike.

    Raises:
        ValueError: there are not so many.
    """
    draw = np.random.default_rng(seed)
    found: dict[str, None] = {}
    for review in reviews:
        least = int(draw.integers(PROMPT_TOKENS[0], PROMPT_TOKENS[1] + 1))
        beginning = _beginning(review.text, tokenizer, least)
        if beginning:
            found[beginning] = None
        if len(found) == count:
            return list(found)
    raise ValueError(f"prompts: {count} asked for, and {len(found)} reviews begin so")


def _beginning(text: str, tokenizer: Tokenizer, least: int) -> str | None:
    """The first words of at least so many tokens, of no more than the most; None without any."""
    words = text[: PROMPT_TOKENS[1] * HEAD_CHARACTERS].split(" ")
    for begun in itertools.accumulate(words, lambda left, word: f"{left} {word}"):
        tokens = len(tokenizer.encode(begun))
        if tokens >= least:
            return begun if tokens <= PROMPT_TOKENS[1] else None
    return None


class Judges:
    """Two scores of a text's sentiment that share nothing with heads and backbones.

    Attributes:
        accuracy: on held-out reviews of their part, whole and cut to so many words: of TF-IDF the
            probability above a half, of VADER the sign of the compound score.
    """

    def __init__(self, reviews: Sequence[Review], cut_words: int) -> None:
        """Train the first one.

        Args:
            reviews: of the part ``judge``; the last of them test both.
            cut_words: of the cut reviews.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

        tested = int(len(reviews) * JUDGE_HELD_OUT)
        train, test = reviews[:-tested], reviews[-tested:]
        words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
        self._pipeline: Any = make_pipeline(words, LogisticRegression(C=10.0, max_iter=1000))
        self._pipeline.fit([each.text for each in train], [each.positive for each in train])
        self._analyzer = SentimentIntensityAnalyzer()
        labels = np.array([each.positive for each in test])
        cut = [" ".join(each.text.split(" ")[:cut_words]) for each in test]
        texts = {"whole": [each.text for each in test], "cut": cut}
        self.accuracy = {
            kind: {
                "tfidf": float(np.mean((self.tfidf(some) > 0.5) == labels)),
                "vader": float(np.mean((self.vader(some) > 0) == labels)),
            }
            for kind, some in texts.items()
        }

    def tfidf(self, texts: Sequence[str]) -> np.ndarray:
        """(n,) probabilities that texts are positive."""
        return np.asarray(self._pipeline.predict_proba(texts)[:, 1])

    def vader(self, texts: Sequence[str]) -> np.ndarray:
        """(n,) compound scores from -1 to 1."""
        return np.array([self._analyzer.polarity_scores(text)["compound"] for text in texts])
