"""Whether an answer addresses what was asked, by terms that an answer to nothing else would have.

Needs nothing but Python, so that any environment can judge: `tools.tutoring_truth` has the terms,
rows of benchmarks carry them to where there is no coala_jax.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

# One shared word may be chance; two terms of one aspect are not.
TERMS_NEEDED = 2


def count_terms(answer: str, terms: Iterable[str]) -> int:
    """How many of some terms an answer holds, as whole words, whatever their case."""
    text = answer.lower()
    return sum(re.search(rf"\b{re.escape(term)}\b", text) is not None for term in terms)


def addresses(answer: str, terms: Sequence[str], other_terms: Iterable[Sequence[str]]) -> bool:
    """Whether an answer addresses what was asked.

    Args:
        answer: the answer's text.
        terms: of what was asked, in lower case.
        other_terms: of everything else that an answer might be about instead, at least one.

    Returns:
        True where the answer has at least two of the terms, and more of these than of any others.
    """
    asked = count_terms(answer, terms)
    return asked >= TERMS_NEEDED and asked > max(count_terms(answer, each) for each in other_terms)


def directness(
    completions: Sequence[str],
    terms: Sequence[Sequence[str]],
    other_terms: Sequence[Sequence[Sequence[str]]],
    **_: Any,
) -> list[float]:
    """1 where an answer addresses what was asked, else 0: a reward as TRL and `improve` call it."""
    rows = zip(completions, terms, other_terms, strict=True)
    return [float(addresses(text, own, others)) for text, own, others in rows]
