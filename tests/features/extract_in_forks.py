"""Run by test_killed_runs: real extractions of made-up rows, each in a process of its own.

    python extract_in_forks.py CHECKPOINT

Reads the path of a store a line; prints the id of the process that writes it, and how it ended.
They are forks, taken before jax has threads, as importing takes far longer than extracting.
"""

import os
import sys
import traceback

import numpy as np
from transformers import AutoTokenizer  # noqa: F401  # imported late, by every fork, otherwise

from coala_jax.backbones import load_backbone
from coala_jax.data import PreferenceRow, RowSet
from coala_jax.features._build import extract_store
from coala_jax.features._settings import ExtractSettings

ROWS, SHARD_ROWS = 120, 2
WORDS = ["the", "student", "asks", "tutor", "answers"]


def made_up_rows():
    rng = np.random.default_rng(0)

    def text(most):
        return " ".join(rng.choice(WORDS, rng.integers(1, most)))

    return tuple(PreferenceRow(str(n), text(6), text(5), text(5)) for n in range(ROWS))


def main(checkpoint):
    settings = ExtractSettings(token_budget=256, shard_rows=SHARD_ROWS)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                backbone = load_backbone(checkpoint)
                extract_store(RowSet(made_up_rows()), backbone, line.strip(), settings=settings)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
