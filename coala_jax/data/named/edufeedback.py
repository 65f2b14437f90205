"""EduFeedback, the COALA paper's own set: tutoring answers, made by alternating population."""

from coala_jax.data.named.known_set import KnownSet, as_they_are
from coala_jax.data.shapes import PREFERENCE

EDUFEEDBACK = KnownSet(
    name="edufeedback",
    hub_id="miria0/EduFeedback",
    config=None,
    split="train",
    columns={
        "prompt": "the dialogue up to a student's turn",
        "chosen": "the tutor's answer to it",
        "rejected": "the tutor's answer to a later turn",
    },
    pairs=65_606,
    format=PREFERENCE,
    rows=as_they_are,
)
