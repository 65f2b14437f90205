"""What the order of two answers does to a judge, where a reader has to know it."""

# Of verdicts drawn by lot between two answers half are the same in the other order.
LEAST_CONSISTENT = 0.5


def order_warnings(consistent: float) -> list[str]:
    """A warning of a judge whose verdicts do not outlast the order; none of another.

    It may like a place, or judge by lot: the share of verdicts for the answer shown first tells.

    Args:
        consistent: share of questions with the same verdict in both orders; NaN without one.
    """
    if not consistent < LEAST_CONSISTENT:
        return []
    return [
        f"the verdict turned with the order in {1 - consistent:.0%} of the questions: this judge "
        "sees the place, or judges by lot; take another one"
    ]
