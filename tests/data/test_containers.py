"""Files that are not what their name says: read by what they hold, or named for what they are."""

import gzip
import io
import json
import struct

import pytest

from coala_jax.data import DataError, RowOptions, open_source, read_rows
from coala_jax.data._sources._unpacking import PACKED_READ_BYTES, members_of

ROWS = [{"prompt": f"Why {n}?", "chosen": f"So {n}.", "rejected": f"No {n}."} for n in range(20)]
LINES = [json.dumps(row) for row in ROWS]
MESSAGES = [{"role": "user", "content": "Why?"}]
ANSWERS = [[{"role": "assistant", "content": text}] for text in ("So.", "No.")]
TALK = {"prompt": MESSAGES, "chosen": ANSWERS[0], "rejected": ANSWERS[1]}


def source_rows(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(open_source(path).rows)


def fields_of(tmp_path, name, content):
    rows = source_rows(tmp_path, name, content)
    assert not any(row.reason for row in rows)
    return [dict(row.fields) for row in rows]


def by_columns():
    return {column: [row[column] for row in ROWS] for column in ROWS[0]}


def numbered(values):
    return {str(number): value for number, value in enumerate(values)}


LAYOUTS = {
    "lines": "\n".join(LINES),
    "lines that end in commas": ",\n".join(LINES),
    "an array on one line": json.dumps(ROWS),
    "an array over lines": json.dumps(ROWS, indent=1),
    "an array of lines": "[\n" + ",\n".join(LINES) + "\n]\n",
    "an array with a last comma": "[" + ",\n".join(LINES) + ",\n]",
    "objects over several lines": "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "objects over several lines with commas": ",\n".join(json.dumps(row, indent=2) for row in ROWS),
    "a list under a key": json.dumps({"id": "x", "label": "y", "data": ROWS}),
    "a list under a key, over lines": json.dumps({"version": "1", "data": ROWS}, indent=2),
    "a list under a key among others": json.dumps({"authors": [{"name": "n"}], "rows": ROWS}),
    "a list under a key, Windows": json.dumps({"items": ROWS}, indent=1).replace("\n", "\r\n"),
    "rows of the hub's viewer": json.dumps(
        {"features": [{"name": "prompt"}], "rows": [{"row_idx": 0, "row": row} for row in ROWS]}
    ),
    "a list under two keys": json.dumps({"data": {"train": ROWS}}),
    "pandas columns": json.dumps({name: numbered(values) for name, values in by_columns().items()}),
    "pandas list": json.dumps(by_columns()),
    "pandas index": json.dumps(numbered(ROWS)),
    "pandas split": json.dumps(
        {"columns": list(ROWS[0]), "index": [0], "data": [list(row.values()) for row in ROWS]}
    ),
    "pandas table": json.dumps({"schema": {"fields": [{"name": "prompt"}]}, "data": ROWS}),
}


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_json_is_read_by_what_it_holds(tmp_path, layout, suffix):
    assert fields_of(tmp_path, f"rows{suffix}", LAYOUTS[layout]) == ROWS


@pytest.mark.parametrize(
    "row",
    [
        ROWS[0],
        TALK,
        {"id": "a", "messages": MESSAGES},
        {"conversations": [{"from": "human", "value": "Why?"}]},
        {"prompt": "Why?", "answers": [{"answer": "So.", "rank": 1}]},
        {"prompt": "Why?", "completions": ["So.", "No."], "scores": [1, 0]},
        {"input": {"messages": MESSAGES, "tools": [{"a": 1}]}, "preferred_output": ANSWERS[0]},
        {"messages": MESSAGES, "tools": [{"type": "function"}]},
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_a_single_row_is_no_table(tmp_path, row, indent):
    assert fields_of(tmp_path, "rows.json", json.dumps(row, indent=indent)) == [row]


@pytest.mark.parametrize("indent", [None, 1])
def test_several_lists_of_rows_in_one_object_are_named(tmp_path, indent):
    with pytest.raises(DataError, match=r"several lists of rows \(train, test\); write each to a"):
        source_rows(tmp_path, "r.json", json.dumps({"train": ROWS, "test": ROWS}, indent=indent))


@pytest.mark.parametrize("cut", [1, 2, 5, 12, 20, 28])
def test_an_object_without_an_end_is_one_fault_not_one_a_line(tmp_path, cut):
    text = json.dumps({"data": ROWS}, indent=1)[:-cut]
    (row,) = source_rows(tmp_path, "rows.json", text)
    assert row.reason == "broken JSON, the rest of the file is lost"


def test_an_object_that_is_too_large_to_hold_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("coala_jax.data._sources._json_file.MAX_LINE_BYTES", 500)
    with pytest.raises(DataError, match="one JSON object of more than 500 bytes; write its"):
        source_rows(tmp_path, "rows.json", json.dumps({"data": ROWS}, indent=1))


def test_a_broken_first_line_costs_itself_alone(tmp_path):
    first, *others = source_rows(tmp_path, "rows.jsonl", '{"prompt": \n' + "\n".join(LINES))
    assert (first.number, first.reason) == (1, "broken JSON")
    assert [row.fields for row in others] == ROWS


def test_what_follows_an_array_is_not_dropped_in_silence(tmp_path):
    *rows, last = source_rows(tmp_path, "rows.json", json.dumps(ROWS) + json.dumps(ROWS[:1]))
    assert [row.fields for row in rows] == ROWS
    assert last.reason == "broken JSON, the rest of the array is lost"


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_an_object_with_a_key_twice_is_set_aside_alone(tmp_path, suffix):
    twice = ['{"prompt": "p", "chosen": "a", "chosen": "b"}', '{"meta": {"n": 1, "n": 1}}']
    text = ",\n".join([LINES[0], *twice, LINES[1]])
    path = tmp_path / f"rows{suffix}"
    path.write_text(f"[{text}]" if suffix == ".json" else text)
    read = read_rows(path)
    assert [row.prompt for row in read.rows] == ["Why 0?", "Why 1?"]
    assert read.set_aside_counts == {
        "key 'chosen' stands twice in an object": 1,
        "key 'n' stands twice in an object": 1,
    }
    with pytest.raises(DataError, match="line 2: key 'chosen' stands twice in an object; mend"):
        read_rows(path, RowOptions(strict=True))


def test_lines_of_python_are_named(tmp_path):
    rows = source_rows(tmp_path, "rows.jsonl", "\n".join(map(repr, ROWS)))
    assert {row.reason for row in rows} == {"Python's repr, not JSON (write rows with json.dumps)"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("packed", [False, True])
def test_unicode_in_other_encodings_is_read(tmp_path, encoding, packed):
    name, pack = ("rows.tsv.gz", gzip.compress) if packed else ("rows.tsv", bytes)
    content = pack("prompt\tchosen\nOù ?\t日本\nWhy?\tSo.\n".encode(encoding))
    assert fields_of(tmp_path, name, content) == [
        {"prompt": "Où ?", "chosen": "日本"},
        {"prompt": "Why?", "chosen": "So."},
    ]


def test_half_a_character_in_utf16_costs_its_line_alone(tmp_path):
    half = '{"a": "'.encode("utf-16-le") + b"\x00\xd8" + '"}\n'.encode("utf-16-le")
    content = '{"a": 1}\n'.encode("utf-16") + half + '{"a": 2}\n'.encode("utf-16-le") + b"\x20"
    assert [row.reason for row in source_rows(tmp_path, "rows.jsonl", content)] == [
        "",
        "not valid UTF-8",
        "",
    ]


# Without the time of packing, which would be in the names of the tests.
TWICE = gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("rows.csv", b"PK\x03\x04 and more", "a zip archive or an Excel workbook; unpack it"),
        ("rows.jsonl", gzip.compress(b"{}", mtime=0), r"gzip; let its name end in \.gz"),
        ("rows.jsonl", b"\x28\xb5\x2f\xfd\x00", r"Zstandard; let its name end in \.zst"),
        ("rows.json", b"PAR1....", r"Parquet; let its name end in \.parquet"),
        ("rows.jsonl", b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS.*git lfs pull"),
        ("rows.json", b"\n<!DOCTYPE html>\n<html>", "a web page; download the raw file"),
        ("rows.parquet", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        ("rows.arrow", b"PAR1....", r"Parquet; let its name end in \.parquet"),
        ("rows.jsonl.gz", b"<html>", "a web page"),
        ("rows.jsonl.gz", TWICE, "unpacked it is gzip"),
    ],
)
def test_another_kind_of_file_is_named_on_one_line(tmp_path, name, content, kind):
    if name.endswith((".parquet", ".arrow")):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: cannot be read \(.*{kind}") as caught:
        read_rows(tmp_path / name)
    assert "\n" not in str(caught.value)


def zst(data, **options):
    return pytest.importorskip("zstandard").ZstdCompressor(**options).compress(data)


PACKED = {".gz": gzip.compress, ".zst": zst}
TEXT = "\n".join(LINES).encode()


@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.parametrize("behind", [b"garbage", b"\x1f\x8c\x00\x00", b"\x00" * 9 + b"x"])
def test_bytes_behind_what_is_packed_lose_only_themselves(tmp_path, suffix, behind):
    """Also where the last line has no end."""
    content = PACKED[suffix](TEXT) + behind
    *rows, last = source_rows(tmp_path, f"rows.jsonl{suffix}", content)
    assert [row.fields for row in rows] == ROWS
    name = "gzip" if suffix == ".gz" else "Zstandard"
    assert last.reason == f"bytes that are no {name} follow its end"


def test_zeros_behind_a_gzip_are_padding(tmp_path):
    assert fields_of(tmp_path, "r.jsonl.gz", gzip.compress(TEXT) + bytes(9000)) == ROWS
    first, second = gzip.compress(TEXT[:100]), gzip.compress(TEXT[100:])
    for place in range(-8, 8):  # where the next one begins in what is read at once
        padding = bytes(2 * PACKED_READ_BYTES + place - len(first))
        assert fields_of(tmp_path, "r.jsonl.gz", first + padding + second) == ROWS


@pytest.mark.parametrize("suffix", PACKED)
def test_members_that_follow_one_another_are_read_whole(tmp_path, suffix):
    pack = PACKED[suffix]
    halves = pack(TEXT[:100]) + pack(b"") + pack(TEXT[100:])
    assert fields_of(tmp_path, f"r.jsonl{suffix}", halves) == ROWS


@pytest.mark.parametrize("suffix", PACKED)
def test_much_that_is_unpacked_at_once_is_not_copied_with_every_piece(tmp_path, suffix):
    class Counted(bytes):
        """Bytes that know how many of them were copied."""

        copied = 0

        def __getitem__(self, place):
            Counted.copied += len(range(len(self))[place])
            return Counted(super().__getitem__(place))

    class Member:
        unused_data, eof = b"", False

        def decompress(self, packed):
            return Counted(unpacked.decompress(packed))

    text, piece = bytes(2**20), 2**12
    unpacked = members_of(io.BytesIO(), tmp_path / f"r{suffix}").member
    members = members_of(io.BytesIO(PACKED[suffix](text)), tmp_path / f"r{suffix}")
    members.member = Member()
    assert b"".join(members.read(piece) for _ in range(len(text) // piece)) == text
    assert Counted.copied <= 2 * len(text)


@pytest.mark.parametrize("suffix", PACKED)
def test_many_small_members_are_given_what_was_read_once(tmp_path, suffix):
    """Not all that is left of the file each."""
    given, count = [], 2000
    members = members_of(io.BytesIO(PACKED[suffix](b"row\n") * count), tmp_path / f"r{suffix}")

    class Member:
        def __init__(self):
            self.member = packing.member()

        def __getattr__(self, name):
            return getattr(self.member, name)

        def decompress(self, packed):
            given.append(len(packed))
            return self.member.decompress(packed)

    packing = members.packing
    members.packing, members.member = packing._replace(member=Member), Member()
    assert b"".join(iter(lambda: members.read(2**12), b"")) == b"row\n" * count
    assert max(given) < 2 * PACKED_READ_BYTES


def test_skippable_frames_of_zstandard_are_skipped(tmp_path):
    skipped = b"\x50\x2a\x4d\x18" + struct.pack("<I", 3) + b"abc"
    assert fields_of(tmp_path, "r.jsonl.zst", skipped + zst(TEXT) + skipped) == ROWS


def spoilt(data, place):
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


@pytest.mark.parametrize(
    ("suffix", "spoil", "reason"),
    [
        (".gz", lambda pack: b"no gzip at all", r"it is no gzip; if .* take \.gz off its name"),
        (
            ".zst",
            lambda pack: b"no frame at all",
            r"it is no Zstandard; if .* take \.zst off its name",
        ),
        (".gz", lambda pack: spoilt(pack(TEXT), -6), "its checksum is not that of its bytes"),
        (".zst", lambda pack: spoilt(pack(TEXT, write_checksum=True), -1), "its checksum is not"),
        (".gz", lambda pack: spoilt(pack(TEXT), 12), "its compressed bytes are damaged"),
        (".zst", lambda pack: spoilt(pack(TEXT), 12), "its compressed bytes are damaged"),
        (".gz", lambda pack: pack(TEXT)[:15], "compressed data ends before its end marker"),
        (".zst", lambda pack: pack(TEXT)[:-30], "compressed data ends before its end marker"),
        (".gz", lambda pack: b"\x1f", "it is no gzip"),
        (
            ".zst",
            # A frame that says its window is 2 GiB: no magnitude of data is needed for that.
            lambda pack: b"\x28\xb5\x2f\xfd\x00\xa8" + b"\x01\x00\x00",
            r"it is packed with a long window; unpack it first: zstd -d --long=31 .*rows\.jsonl",
        ),
    ],
)
def test_what_is_packed_badly_is_one_line_with_the_mend(tmp_path, suffix, spoil, reason):
    (tmp_path / f"rows.jsonl{suffix}").write_bytes(spoil(PACKED[suffix]))
    with pytest.raises(DataError, match=rf"cannot be read \({reason}") as caught:
        read_rows(tmp_path / f"rows.jsonl{suffix}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", PACKED)
def test_nothing_that_is_packed_holds_no_rows(tmp_path, suffix):
    (tmp_path / f"rows.jsonl{suffix}").write_bytes(PACKED[suffix](b""))
    with pytest.raises(DataError, match="holds no rows"):
        read_rows(tmp_path / f"rows.jsonl{suffix}")
