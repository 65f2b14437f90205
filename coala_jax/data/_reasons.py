"""Why entries of a source are set aside, which of that is a fault, and what helps."""

from collections.abc import Mapping

EQUAL = "chosen equals rejected"
TIED = "tied scores"
# How reasons begin that find no partner for a sound response.
LEFT_OVER = "left over: "
BROKEN_JSON = "broken JSON"
NOT_AN_OBJECT = "not a JSON object"
NOT_UTF8 = "not valid UTF-8"
LINE_TOO_LONG = "line too long"
FIELD_COUNT = "not as many fields as columns"
STRAY_QUOTE = 'a quote (") that is not closed, or not doubled within a quoted field'
NOT_A_RECORD = "not a mapping of columns to values"
# After these a file is not read on.
CUT_SHORT = "cannot be read from here on"
ARRAY_LOST = f"{BROKEN_JSON}, the rest of the array is lost"
FILE_LOST = f"{BROKEN_JSON}, the rest of the file is lost"
REST_LOST = (CUT_SHORT, ARRAY_LOST, FILE_LOST)
# How reasons begin that miss a column.
NOTHING = "no "
# What helps where a reason begins so.
MENDS = {
    NOT_UTF8: "save the file as UTF-8",
    BROKEN_JSON: "write one JSON object a line",
    STRAY_QUOTE: "write a quote within a quoted field twice",
    FIELD_COUNT: "quote the fields that hold the delimiter",
    CUT_SHORT: "fetch the file again",
    NOTHING: "fill the column, or name another one with columns={...} (--columns)",
}


def is_fault(reason: str) -> bool:
    """Whether something is wrong with an entry: a tie or a response without a partner is sound."""
    return reason != TIED and not reason.startswith(LEFT_OVER)


def mend_of(counts: Mapping[str, int]) -> str:
    """What helps with the most frequent of the reasons, as the end of a message."""
    most = max(counts, key=counts.__getitem__)
    return next((f"; {mend}" for start, mend in MENDS.items() if most.startswith(start)), "")
