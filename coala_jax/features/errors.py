"""The error of this package."""


class FeatureError(ValueError):
    """Features that cannot be made, read or used; the message names the file or argument."""
