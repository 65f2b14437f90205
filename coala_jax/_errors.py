"""The base of the errors that the package raises on purpose, TypeErrors of arguments aside."""


class CoalaError(ValueError):
    """Bad input, a file that does not fit, or a solve that ended without what was asked of it."""
