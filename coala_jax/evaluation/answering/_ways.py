"""How answers are made: the ways, and how FastChat's script for MT-Bench samples."""

from __future__ import annotations

from typing import Literal, get_args

from coala_jax.decoding._config import Sampling

Way = Literal["plain", "guided", "best-of-n"]
WAYS: tuple[Way, ...] = get_args(Way)
PLAINLY, GUIDED, BEST_OF_N = WAYS
# As FastChat's gen_model_answer.py has them, 0.7 where a question decides no temperature; what it
# does not set are the defaults of transformers.
FASTCHAT = Sampling(max_new_tokens=1024, temperature=0.7, top_p=1.0, top_k=50)
