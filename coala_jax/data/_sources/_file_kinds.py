"""What a file is by its first bytes, whatever its name says: another kind, another encoding."""

import codecs

# Enough for every beginning below.
HEAD_BYTES = 512
# First bytes of what is often called as if it were text, and what to do about it.
_BEGINNINGS = {
    b"\x1f\x8b": "gzip; let its name end in .gz",
    b"\x28\xb5\x2f\xfd": "Zstandard; let its name end in .zst",
    b"BZh": "bzip2; unpack it first",
    b"\xfd7zXZ": "xz; unpack it first",
    b"PK\x03\x04": "a zip archive or an Excel workbook; unpack it, or save the table as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the table as CSV",
    b"PAR1": "Parquet; let its name end in .parquet",
    b"ARROW1": "Arrow; let its name end in .arrow",
    b"FEA1": "Feather of version 1; write it again as Parquet",
    b"SQLite format 3": "an SQLite database; export the table as CSV",
    b"%PDF-": "a PDF; export the table as CSV",
    b"version https://git-lfs": "a pointer to a Git LFS file; fetch that: git lfs pull",
}
_PAGES = (b"<!doctype html", b"<html")
_PAGE = "a web page; download the raw file"
# Byte-order marks, the longer ones first: that of UTF-32 begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def other_kind(head: bytes) -> str:
    """What a file with these first bytes is, and the mend; empty where it may be text."""
    for beginning, kind in _BEGINNINGS.items():
        if head.startswith(beginning):
            return kind
    return _PAGE if head.lstrip().lower().startswith(_PAGES) else ""


def encoding_of(head: bytes) -> str:
    """The encoding of text with these first bytes; empty for UTF-8."""
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return name
    if len(head) < 4:
        return ""
    # JSON and headers of tables begin with characters of one byte: the other one is zero.
    if head[0] and not head[1] and not head[3]:
        return "utf-16-le"
    if head[1] and not head[0] and not head[2]:
        return "utf-16-be"
    return ""
