"""What the words of a response alone say about the label: a linear probe on TF-IDF."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from coala_jax._extras import how_to_install

HOW_TO_INSTALL = f"scikit-learn is not installed: {how_to_install('inspect')}"
# Words and pairs of words; what one response alone holds says nothing of another.
NGRAMS = (1, 2)
LEAST_RESPONSES = 2
# Letters and digits alone count as words too: "A" and "7" are answers.
WORD = r"(?u)\b\w+\b"
# scikit-learn's solver wants both orders of a pair.
LEAST_PAIRS = 2
# scikit-learn's own tolerance lets weights stay zero where little is to be learnt: a tie of all
# rows instead of a share near one half with its error.
GRADIENT_TOLERANCE = 1e-8
MOST_STEPS = 1000


class VocabularyProbe(NamedTuple):
    """A linear reward on the TF-IDF of a response.

    Attributes:
        terms: (terms,) columns of the counts that the training responses gave.
        transformer: scikit-learn's ``TfidfTransformer``, fitted on the training responses.
        weights: (terms,) reward of each term.
    """

    terms: np.ndarray
    transformer: Any
    weights: np.ndarray

    def rewards(self, counts: Any) -> np.ndarray:
        """(n,) reward of responses whose words `count_words` counted."""
        return np.asarray(self.transformer.transform(counts[:, self.terms]) @ self.weights)


def can_probe() -> bool:
    """Whether scikit-learn is installed."""
    return importlib.util.find_spec("sklearn") is not None


def count_words(texts: Sequence[str]) -> Any:
    """(n, terms) sparse counts of words and pairs of words; without a word, no columns.

    Raises:
        ModuleNotFoundError: scikit-learn is missing.
    """
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import CountVectorizer

    try:
        return CountVectorizer(ngram_range=NGRAMS, token_pattern=WORD).fit_transform(texts)
    except ValueError:  # an empty vocabulary is an error there
        return csr_matrix((len(texts), 0))


def fit_vocabulary_probe(chosen: Any, rejected: Any) -> VocabularyProbe | None:
    """Logistic regression on differences of TF-IDF, without intercept, with scikit-learn's C of 1.

    Terms, their document frequencies and the weights come from these pairs alone.

    Args:
        chosen: (n, terms) counts of the preferred responses to train on.
        rejected: (n, terms) counts of the others.

    Returns:
        The probe; None where no term is in two responses, or there is a single pair.

    Raises:
        ModuleNotFoundError: scikit-learn is missing.
    """
    from scipy.sparse import diags, vstack
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.linear_model import LogisticRegression

    pairs = chosen.shape[0]
    counts = vstack([chosen, rejected]).tocsr()
    terms = np.flatnonzero(counts.getnnz(axis=0) >= LEAST_RESPONSES)
    if pairs < LEAST_PAIRS or not terms.size:
        return None
    transformer = TfidfTransformer(sublinear_tf=True)
    weighed = transformer.fit_transform(counts[:, terms])
    # Every other pair the other way round: without an intercept its loss is the same.
    label = np.arange(pairs) % 2
    difference = diags(2.0 * label - 1.0) @ (weighed[:pairs] - weighed[pairs:])
    model = LogisticRegression(fit_intercept=False, max_iter=MOST_STEPS, tol=GRADIENT_TOLERANCE)
    return VocabularyProbe(terms, transformer, model.fit(difference, label).coef_[0])
