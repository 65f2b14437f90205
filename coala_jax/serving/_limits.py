"""What the server allows, so that no client takes all of it from the others."""

from dataclasses import dataclass, fields

from coala_jax._choices import require_fields
from coala_jax._errors import CoalaError


@dataclass(frozen=True)
class Limits:
    """Limits of the server.

    Attributes:
        rows: responses that are generated together in a lane.
        context: the most tokens of a prompt and its response; rows hold memory for that many.
        new_tokens: the most tokens of a response.
        choices: the most responses to one request, over all of its prompts.
        waiting: the most responses that wait for a row; what comes on top is refused.
        requests: the most requests that are looked at together; what comes on top is refused.
        lanes: the most sets of rows in memory together: each of one set of guidance options, for
            one request or for many, of short texts or of long ones.
        plan_seconds: no set of guidance options that is new is taken so soon after the last: its
            programs take a processor while they are compiled. 0 takes them at once.
        top_k: the most tokens of a pool.
        branch_slots: the most tokens behind a row that its lookahead or its continuations take.
        stop_texts: the most stop texts of a request, as the API has it.
        stop_characters: the longest stop text.
        score_rows: the most responses of a request for rewards.
        body_bytes: the most bytes of a body.
        body_seconds: in which a body must be here.
        header_seconds: in which the head of a request must be here.
        request_seconds: seconds in which a request must be answered to its end.
        shutdown_seconds: seconds in which what is being answered may end after a signal.
    """

    rows: int = 8
    context: int = 2048
    new_tokens: int = 512
    choices: int = 16
    waiting: int = 64
    requests: int = 256
    lanes: int = 6
    plan_seconds: float = 10.0
    top_k: int = 200
    branch_slots: int = 512
    stop_texts: int = 4
    stop_characters: int = 256
    score_rows: int = 64
    body_bytes: int = 2**20
    body_seconds: float = 10.0
    header_seconds: float = 10.0
    request_seconds: float = 300.0
    shutdown_seconds: float = 10.0

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ValueError: names the field, its value and what it may be.
        """
        require_fields(self, CoalaError)
        for field in fields(self):
            value = getattr(self, field.name)
            if not (value > 0 or (field.name == "plan_seconds" and value == 0)):
                raise CoalaError(f"{field.name}={value!r} must be above 0")
        if self.choices > self.waiting:
            raise CoalaError(
                f"choices={self.choices} must be at most waiting={self.waiting}: a request for as "
                "many would always be refused"
            )
