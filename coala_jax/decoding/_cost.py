"""How many tokens the backbone runs for a response, by formula."""

from coala_jax.decoding._state import Plan


def token_evaluations(
    plan: Plan,
    prompt: int,
    response: int,
    *,
    guided_steps: int,
    scored: int,
    ended: bool,
    rewarded: bool,
    last_guided: bool = False,
) -> int:
    """Tokens that the backbone runs for one response.

    With P prompt tokens, T response tokens, G guided steps that scored S candidates in all, an end
    token where what is scored is closed (e = 1, else 0), a lookahead of m, and blocks of N tokens:

        P + T + 1 - E                      without guidance
        P + S (1 + e) + (T - G) + 1 - E    candidates are scored by running them, and the chosen
                                           one has run
        P + S (1 + m + e) + T + 1 - E      with a lookahead the chosen one runs again
        P + S (N + e) + 1 - E              blockwise: S continuations of N tokens, of which the
                                           chosen ones have run

    where the reward of the whole runs all tokens, and the end token where the response has none
    (E = 1 where it has one, else 0). Without that reward it is less by 1 - E, and by 1 where the
    last token was chosen without being run.

    With C candidates, G is at most ceil(T / N) and S at most C G; both are less where the nucleus
    is smaller. S counts the pools as they were run, in one of `Plan.widths` for all rows.

    Args:
        plan: of the batch.
        prompt: tokens of the prompt.
        response: tokens of the response, its end token among them; at least 1.
        guided_steps: G.
        scored: S.
        ended: whether the response has its end token.
        rewarded: whether the reward of the whole was computed.
        last_guided: whether the last token was chosen in a guided step; matters without a reward.

    Returns:
        The number, exactly.
    """
    if plan.continuations and guided_steps:
        looked_at, kept = plan.guide_every + plan.closes, response
    else:
        looked_at = 1 + plan.lookahead + plan.closes
        kept = 0 if plan.lookahead else guided_steps
    whole = prompt + scored * looked_at + response - kept
    if rewarded:
        return whole + (not ended)
    has_run = bool(kept) and (last_guided or bool(plan.continuations))
    return whole - (not has_run)
