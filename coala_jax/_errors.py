"""The base of every error that the package raises on purpose."""


class CoalaError(ValueError):
    """Bad input, a file that does not fit, or a solve that ended without what was asked of it."""
