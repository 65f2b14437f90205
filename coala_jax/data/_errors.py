"""The error of this package."""

from coala_jax._errors import CoalaError


class DataError(CoalaError):
    """Data that cannot be used; the message names the file or argument and what is wrong."""
