"""Why a row cannot be made into pairs."""


class RowFault(Exception):
    """A row that cannot be used; the text is the reason, the same for every such row."""
