"""Why replies to games have no label; apart from the games, since scores need no judge."""

from __future__ import annotations

from collections.abc import Sequence

from coala_jax.evaluation._chat import Reply
from coala_jax.evaluation.arena_hard._games import VERDICTS, verdict
from coala_jax.evaluation.judge._verdicts import Unread, Verdict, unread, unread_verdict


def unread_games(replies: Sequence[Reply]) -> Unread:
    """What of the replies has no label, and why."""
    return unread(replies, [_read(reply) for reply in replies])


def _read(reply: Reply) -> Verdict:
    label = verdict(reply.text or "")
    return unread_verdict(reply) if label is None else Verdict(VERDICTS[label][0])
