"""Pages from jinja2 templates: all text is escaped, and what would not be seen is named."""

from collections.abc import Callable
from functools import cache

import jinja2

from coala_jax._unseen import printable


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
        finalize=lambda value: printable(value) if isinstance(value, str) else value,
    )
    environment.filters.update(filters)
    return environment
