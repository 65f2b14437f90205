"""Pages from jinja2 templates: all text is escaped, and what would not be seen is named."""

from collections.abc import Callable
from functools import cache

import jinja2

# Control characters but tab and line breaks, as the pictures that Unicode has of them; marks that
# turn the direction of text, which could make it read as what it is not, by their number.
_UNSEEN: dict[int, int | str] = {
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n\r"},
    0x7F: 0x2421,
    **{
        code: f"\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}U+{code:04X}"
        "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}"
        for code in (*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    },
}


@cache
def templates_of(package: str, **filters: Callable[..., object]) -> jinja2.Environment:
    """The templates in a package's folder ``templates``, with filters of its own."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: value.translate(_UNSEEN) if isinstance(value, str) else value,
    )
    environment.filters.update(filters)
    return environment
