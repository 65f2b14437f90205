"""The error of this package."""

from coala_jax._errors import CoalaError


class FeatureError(CoalaError):
    """Features that cannot be made, read or used; the message names the file or argument."""
