"""Marks around the name of a control token that a text means as text, not as the token.

They are noncharacters of Unicode, which are for use within a program alone.
"""

START, END = "\ufdd0", "\ufdd1"


def without_marks(text: str) -> str:
    """The text as it stood before names were marked in it."""
    return text.replace(START, "").replace(END, "")
