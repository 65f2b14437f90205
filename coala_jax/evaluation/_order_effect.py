"""What the order of two answers does to a judge, where a reader has to know it."""

# Two verdicts drawn by lot agree half of the time.
LEAST_CONSISTENT = 0.5


def order_warnings(consistent: float) -> list[str]:
    """A warning of a judge that mostly sees which answer stands first; none of another.

    Args:
        consistent: share of questions with the same verdict in both orders; NaN without one.
    """
    if not consistent < LEAST_CONSISTENT:
        return []
    return [
        f"the verdict turned with the order in {1 - consistent:.0%} of the questions: this judge "
        "mostly sees the place; take another one"
    ]
