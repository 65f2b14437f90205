"""Every request has its reply."""

import pytest

from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation._chat import ChatRequest, Reply, require_one_reply_each

ASKED = [ChatRequest((("user", "Which?"),), 9)] * 2


@pytest.mark.parametrize("count", [1, 3])
def test_too_few_replies_and_too_many_are_named(count):
    with pytest.raises(EvaluationError, match=f"gave {count} replies to 2 requests"):
        require_one_reply_each(ASKED, [Reply("A")] * count)


def test_one_each_is_right():
    require_one_reply_each(ASKED, [Reply("A"), Reply(None, error="lost")])
