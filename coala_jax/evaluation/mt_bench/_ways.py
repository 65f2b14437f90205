"""How answers are made: the ways, and how FastChat samples."""

from __future__ import annotations

from typing import Literal, get_args

from coala_jax.decoding._config import Sampling

Way = Literal["plain", "guided", "best-of-n"]
WAYS: tuple[Way, ...] = get_args(Way)
PLAINLY, GUIDED, BEST_OF_N = WAYS
# As gen_model_answer.py has them: what it does not set are the defaults of transformers.
FASTCHAT = Sampling(max_new_tokens=1024, top_p=1.0, top_k=50)
