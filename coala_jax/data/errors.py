"""The error of this package."""


class DataError(ValueError):
    """Data that cannot be used; the message names the file or argument and what is wrong."""
