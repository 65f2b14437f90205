"""The text of single tokens, for people to look at."""

from collections.abc import Sequence

from coala_jax.backbones import Tokenizer
from coala_jax.decoding._prompts import UNFINISHED

# What stands for white space where a token stands alone.
MARKS = str.maketrans(
    {
        " ": "\N{OPEN BOX}",
        "\n": "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}",
        "\r": "\N{SYMBOL FOR CARRIAGE RETURN}",
        "\t": "\N{RIGHTWARDS ARROW TO BAR}",
        "\N{NO-BREAK SPACE}": "\N{BOTTOM SQUARE BRACKET}",
    }
)


def token_pieces(tokenizer: Tokenizer, tokens: Sequence[int]) -> list[str]:
    """What each token adds to the text of all.

    Args:
        tokenizer: of the tokens.
        tokens: (n,) ids.

    Returns:
        (n,) texts that joined are the text of the tokens. A token that ends amid a character has
        none; the character is the piece of the token that completes it.
    """
    pieces, known = [], ""
    for count in range(1, len(tokens) + 1):
        text = tokenizer.decode(tokens[:count])
        if count < len(tokens):
            text = text.rstrip(UNFINISHED)
        pieces.append(text[len(known) :])
        known = max(known, text, key=len)
    return pieces


def visible_token(tokenizer: Tokenizer, before: int, token: int) -> str:
    """The text of a token that may follow another, with its white space visible.

    Args:
        tokenizer: of both.
        before: id of the one before it, which decides whether it begins with a space.
        token: its id.

    Returns:
        Never empty: a token without text is called by its id.
    """
    anchor, both = tokenizer.decode([before]), tokenizer.decode([before, token])
    text = both[len(anchor) :] if both.startswith(anchor) else tokenizer.decode([token])
    return text.translate(MARKS) or f"#{token}"
