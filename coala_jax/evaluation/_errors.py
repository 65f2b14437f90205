"""What goes wrong in an evaluation."""

from coala_jax._errors import CoalaError


class EvaluationError(CoalaError):
    """Answers, judgments or settings that do not fit; names the file, the row and the mend."""
