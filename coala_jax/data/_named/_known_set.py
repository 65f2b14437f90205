"""What is known of a data set by name."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from coala_jax.data._options import Format
from coala_jax.data._rows import RowFault, require_number
from coala_jax.data._sources._row import SourceRow


class KnownSet(NamedTuple):
    """A data set on the hub, and how its rows become preference pairs.

    Attributes:
        name: for the command line.
        hub_id: its repository.
        layouts: the columns that are read, with what they hold; of one layout all must be there.
        pairs: how many pairs the COALA paper (arXiv 2605.23244) counts; None where it is not of it.
        rows: makes them of the rows of the hub; takes the attributes by which responses are judged.
        config: its configuration there; None where it has one alone.
        split: the split that the paper takes; None where there is one alone.
        format: what its rows are in the end.
        attributes: those there are; the first is taken unless others are named, in HelpSteer the
            paper's. Empty where there is no choice.
        whole: where all answers to its prompts are, if it has two of each alone.
    """

    name: str
    hub_id: str
    layouts: tuple[Mapping[str, str], ...]
    pairs: int | None
    rows: Callable[[Iterator[SourceRow], Sequence[str]], Iterator[SourceRow]]
    config: str | None = None
    split: str | None = "train"
    format: Format = "preference"
    attributes: tuple[str, ...] = ()
    whole: "KnownSet | None" = None


def mean_score(judged: Mapping[str, Any], attributes: Sequence[str]) -> float:
    """The mean of the attributes of an answer.

    Raises:
        RowFault: one of them is missing, or no finite number.
    """
    scores = []
    for name in attributes:
        score = judged.get(name)
        if score is None:
            raise RowFault(f"no {name}")
        require_number(name, score)
        scores.append(score)
    return sum(scores) / len(scores) if len(scores) > 1 else scores[0]
