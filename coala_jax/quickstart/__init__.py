"""The embedded default: concept base, tutoring conversations, and a small backbone."""

from typing import TYPE_CHECKING

from coala_jax._lazy import lazy_names

if TYPE_CHECKING:
    from coala_jax.quickstart._tutoring import TutoringSplit, tutoring_rows

__all__ = ["TutoringSplit", "tutoring_rows"]
__getattr__ = lazy_names(__name__, {"_tutoring": ["TutoringSplit", "tutoring_rows"]})
