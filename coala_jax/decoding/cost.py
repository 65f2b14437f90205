"""How many tokens the backbone runs for a response, by formula."""

from coala_jax.decoding.state import Plan


def token_evaluations(
    plan: Plan, prompt: int, response: int, *, guided: bool, rewarded: bool, ended: bool
) -> int:
    """Tokens that the backbone runs for one response.

    With P prompt tokens, T response tokens, C candidates, an end token where what is scored is
    closed (e = 1, else 0), a lookahead of m, and guidance at every N-th token, G = ceil(T / N)
    times:

        P + T - 1                          without guidance: the last token need not run
        P + G C (1 + e) + (T - G) - p      candidates are scored by running them, and the chosen
                                           one has run; p = 1 where the last token was not guided
        P + G C (1 + m + e) + T - 1        with a lookahead, after which the chosen one runs again
        P + G C (N + e)                    blockwise, with C continuations of N tokens

    A reward of the whole response adds its last token where that has not run, and the end token
    where the response has none.

    Args:
        plan: of the batch.
        prompt: tokens of the prompt.
        response: tokens of the response, its end token among them; at least 1.
        guided: whether the row's guidance scale is above 0.
        rewarded: whether the response's reward was computed.
        ended: whether the response has its end token.

    Returns:
        The number, exactly.
    """
    steps = -(-response // plan.guide_every) if guided and plan.candidates else 0
    if steps and plan.continuations:
        looked_at, run, last_ran = plan.guide_every + plan.closes, 0, True
        branches = plan.continuations
    else:
        looked_at, branches = 1 + plan.lookahead + plan.closes, plan.candidates
        kept = steps if not plan.lookahead else 0
        last_ran = bool(kept) and (response - 1) % plan.guide_every == 0
        run = response - kept - (not last_ran)
    reward = ((not last_ran) + (not ended)) if rewarded else 0
    return prompt + steps * branches * looked_at + run + reward
