"""Characters that would not be seen, but obeyed by whatever shows a text."""

# Control characters but tab and line break, as the pictures that Unicode has of them; the others,
# and marks that turn the direction of text, which could make it read as what it is not, by number.
_PICTURES: dict[int, int | str] = {
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"},
    0x7F: 0x2421,
    **{
        code: f"\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}U+{code:04X}"
        "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}"
        for code in (*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    },
}


def printable(text: str) -> str:
    """A text for a terminal or a page: what would not be seen is named, CRLF is a line feed."""
    return text.replace("\r\n", "\n").translate(_PICTURES)
