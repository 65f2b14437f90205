"""Sources: every kind of file gives the same rows, whole, cut or broken."""

import csv
import gzip
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coala_jax.data import DataError, RowOptions, SourceOptions, open_source, read_rows
from coala_jax.data._sources import _bytes as files
from coala_jax.data._sources import _json_file as json_file
from coala_jax.data._sources import _unpacking as unpacking

ROWS = [
    {"id": "a", "prompt": "Why?", "chosen": "Because,\nreally.", "rejected": 'No "no".'},
    {"id": "b", "prompt": "Où ça?", "chosen": "Là-bas.", "rejected": "日本"},
]
# Text that every format can say: CSV has no way to tell None from the empty string, and Arrow and
# UTF-8 know no lone surrogates.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
TABLES = st.lists(st.fixed_dictionaries({"prompt": TEXT, "chosen": TEXT}), min_size=1, max_size=8)


def as_jsonl(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_json(rows):
    return json.dumps(rows, ensure_ascii=False, indent=1).encode()


def as_csv(rows, delimiter=","):
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_tsv(rows):
    return as_csv(rows, "\t")


def as_parquet(rows):
    pyarrow, parquet = map(pytest.importorskip, ("pyarrow", "pyarrow.parquet"))
    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    return sink.getvalue()


def as_arrow(rows):
    pyarrow = pytest.importorskip("pyarrow")
    table, sink = pyarrow.Table.from_pylist(rows), io.BytesIO()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def zipped(data):
    return pytest.importorskip("zstandard").compress(data)


WRITERS = {
    "jsonl": as_jsonl,
    "json": as_json,
    "csv": as_csv,
    "tsv": as_tsv,
    "parquet": as_parquet,
    "arrow": as_arrow,
}
PACKERS = {"": bytes, ".gz": gzip.compress, ".zst": zipped}
TEXT_FORMATS = ("jsonl", "json", "csv", "tsv")
CASES = [(kind, "") for kind in WRITERS] + [
    (kind, packed) for kind in TEXT_FORMATS for packed in (".gz", ".zst")
]


def fields_of(path, **options):
    return [dict(row.fields) for row in open_source(path, SourceOptions(**options)).rows]


@pytest.mark.parametrize(("kind", "packed"), CASES)
def test_every_format_gives_the_same_rows(tmp_path, kind, packed):
    path = tmp_path / f"rows.{kind}{packed}"
    path.write_bytes(PACKERS[packed](WRITERS[kind](ROWS)))
    assert fields_of(path) == ROWS


@pytest.mark.parametrize("kind", WRITERS)
@settings(max_examples=25)
@given(rows=TABLES)
def test_whatever_was_written_is_read(tmp_path_factory, kind, rows):
    path = tmp_path_factory.mktemp("rows") / f"rows.{kind}"
    path.write_bytes(WRITERS[kind](rows))
    assert fields_of(path) == rows


@pytest.mark.parametrize("kind", TEXT_FORMATS)
@settings(max_examples=50)
@given(data=st.data())
def test_any_bytes_give_rows_reasons_or_a_data_error(tmp_path_factory, kind, data):
    whole = bytearray(WRITERS[kind](ROWS))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("rows") / f"rows.{kind}"
    path.write_bytes(whole[: data.draw(st.integers(1, len(whole)))])
    try:
        rows = list(open_source(path).rows)
    except DataError:
        return
    assert all((row.fields is None) == bool(row.reason) for row in rows)
    assert all(row.number >= 1 and row.file == str(path) for row in rows)


@pytest.mark.parametrize("kind", TEXT_FORMATS)
@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_a_file_cut_short_gives_what_is_whole_and_says_where_it_ends(
    tmp_path, monkeypatch, kind, packed
):
    monkeypatch.setattr(files, "READ_BYTES", 256)
    monkeypatch.setattr(unpacking, "PACKED_READ_BYTES", 256)
    monkeypatch.setattr(json_file, "READ_CHARACTERS", 64)
    # More than a block of Zstandard, 128 KiB: of a block that is not whole nothing can be had.
    rows = [{"prompt": f"{i}-{i * 7919 % 10007}", "chosen": "c"} for i in range(20_000)]
    data = PACKERS[packed](WRITERS[kind](rows))
    path = tmp_path / f"rows.{kind}{packed}"
    path.write_bytes(data[: len(data) * 3 // 4] if packed == ".gz" else data[:-1])
    read = list(open_source(path).rows)
    assert len(read) > 1000
    assert [dict(row.fields) for row in read[:-1]] == rows[: len(read) - 1]
    assert read[-1].fields is None
    assert read[-1].reason == "cannot be read from here on"


@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_what_is_unpacked_has_a_limit(tmp_path, packed):
    path = tmp_path / f"bomb.jsonl{packed}"
    path.write_bytes(PACKERS[packed](as_jsonl([{"prompt": "a" * 10**6}] * 10)))
    assert path.stat().st_size < 10**5
    with pytest.raises(DataError, match="unpacks to more than 5,000,000 bytes"):
        list(open_source(path, SourceOptions(max_unpacked_bytes=5_000_000)).rows)


def test_a_zst_of_several_frames_is_read_whole(tmp_path):
    path = tmp_path / "rows.jsonl.zst"
    path.write_bytes(zipped(as_jsonl(ROWS[:1])) + zipped(as_jsonl(ROWS[1:])))
    assert fields_of(path) == ROWS


def test_a_line_without_an_end_is_set_aside(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 1000)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(as_jsonl([{"prompt": "a" * 5000}, ROWS[0]]))
    first, second = open_source(path).rows
    assert (first.number, first.reason, len(first.content)) == (1, "line too long", 1000)
    assert (second.number, second.fields) == (2, ROWS[0])


def test_json_lines_under_the_name_json_are_read(tmp_path):
    (tmp_path / "rows.json").write_bytes(b"\xef\xbb\xbf" + as_jsonl(ROWS))
    assert fields_of(tmp_path / "rows.json") == ROWS


def test_broken_json_within_an_array_ends_it_with_a_reason(tmp_path):
    (tmp_path / "rows.json").write_text('[{"a": 1}, 7, {"a": 2}, {"a": oops}, {"a": 3}]')
    rows = list(open_source(tmp_path / "rows.json").rows)
    assert [row.reason for row in rows] == [
        "",
        "not a JSON object",
        "",
        "broken JSON, the rest of the array is lost",
    ]
    assert rows[-1].number == 4 and "oops" in rows[-1].content


def test_rows_of_a_csv_are_numbered_by_their_first_line(tmp_path):
    (tmp_path / "rows.csv").write_bytes(b'a,b\r\n"1\r\n2",3\r\nlonely\r\n\r\n4,\xe9\r\n5,\r\n')
    rows = list(open_source(tmp_path / "rows.csv").rows)
    assert [(row.number, row.fields, row.reason) for row in rows] == [
        (2, {"a": "1\r\n2", "b": "3"}, ""),
        (4, None, "not as many fields as columns"),
        (6, None, "not valid UTF-8"),
        (7, {"a": "5", "b": None}, ""),
    ]
    assert rows[2].content == ["4", "\\xe9"]


@pytest.mark.parametrize("header", ["a,a", "a,", " "])
def test_columns_of_a_csv_must_have_names_of_their_own(tmp_path, header):
    (tmp_path / "rows.csv").write_text(f"{header}\n1,2\n")
    with pytest.raises(DataError, match="each must have a name of its own"):
        list(open_source(tmp_path / "rows.csv").rows)


def test_text_that_is_no_utf8_in_arrow_is_set_aside_alone(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    values = pyarrow.array([b"good", b"\xff", b"also"], pyarrow.binary()).view(pyarrow.string())
    batch = pyarrow.record_batch({"prompt": values})
    with pyarrow.ipc.new_stream(str(tmp_path / "rows.arrow"), batch.schema) as writer:
        writer.write_batch(batch)
    rows = list(open_source(tmp_path / "rows.arrow").rows)
    assert [row.reason for row in rows] == ["", "not valid UTF-8", ""]


def test_a_parquet_that_is_none_is_one_clear_error(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(DataError, match="cannot be read"):
        list(open_source(tmp_path / "rows.parquet").rows)


def test_a_folder_gives_its_split_and_names_its_files(tmp_path):
    (tmp_path / "data").mkdir()
    for name, row in (("train-0.jsonl", ROWS[0]), ("train-1.jsonl", ROWS[1])):
        (tmp_path / "data" / name).write_bytes(as_jsonl([row]))
    (tmp_path / "data" / "test.jsonl").write_bytes(as_jsonl(ROWS))
    assert fields_of(tmp_path) == ROWS
    assert fields_of(tmp_path, split="test") == ROWS
    assert fields_of(tmp_path, config="data") == ROWS
    rows = list(open_source(tmp_path).rows)
    assert [row.file.rsplit("/")[-1] for row in rows] == ["train-0.jsonl", "train-1.jsonl"]
    with pytest.raises(DataError, match="split='dev': no file of .* is named after it"):
        open_source(tmp_path, SourceOptions(split="dev"))
    with pytest.raises(DataError, match="config='other': no folder"):
        open_source(tmp_path, SourceOptions(config="other"))
    (tmp_path / "data" / "train-2.csv").write_bytes(as_csv(ROWS))
    with pytest.raises(DataError, match=r"several kinds \(\.csv, \.jsonl\)"):
        open_source(tmp_path)


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no data file in it; expected .jsonl"):
        open_source(tmp_path)


def test_what_datasets_saves_to_disk_is_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    whole = datasets.Dataset.from_list([*ROWS, ROWS[0]]).select([1, 0])
    whole.save_to_disk(str(tmp_path / "one"), num_shards=2)
    datasets.DatasetDict({"train": whole}).save_to_disk(str(tmp_path / "dict"))
    for name in ("one", "dict"):
        assert fields_of(tmp_path / name) == [ROWS[1], ROWS[0]]
    with pytest.raises(DataError, match="split='test': no folder"):
        open_source(tmp_path / "dict", SourceOptions(split="test"))


def test_records_in_memory_are_rows():
    datasets = pytest.importorskip("datasets")
    assert fields_of(ROWS) == ROWS
    assert fields_of(datasets.Dataset.from_list(ROWS)) == ROWS
    assert fields_of(datasets.Dataset.from_list(ROWS).to_iterable_dataset()) == ROWS
    splits = datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)})
    assert fields_of(splits) == ROWS
    with pytest.raises(DataError, match="split='test': there are train"):
        open_source(splits, SourceOptions(split="test"))
    with pytest.raises(DataError, match="have no splits"):
        open_source(ROWS, SourceOptions(split="test"))
    assert [row.reason for row in open_source([1]).rows] == ["not a mapping of columns to values"]


@pytest.mark.parametrize("large", [False, True])
def test_a_hub_id_is_fetched_when_asked_for_and_streamed_where_large(tmp_path, monkeypatch, large):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr("coala_jax.data._sources._hub.STREAM_ABOVE_BYTES", -1 if large else 2**30)
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "train.jsonl").write_bytes(as_jsonl(ROWS))
    asked = []

    def local_builder(hub_id, config, revision):
        asked.append((hub_id, config, revision))
        return original(str(tmp_path / "repository"), cache_dir=str(tmp_path / "cache"))

    original = datasets.load_dataset_builder
    monkeypatch.setattr(datasets, "load_dataset_builder", local_builder)
    with pytest.raises(DataError, match=r"pass download=True \(--download\)"):
        open_source("org/name")
    assert not asked
    datasets.disable_progress_bars()
    assert fields_of("org/name", config="c", revision="v", download=True) == ROWS
    assert asked == [("org/name", "c", "v")]
    with pytest.raises(DataError, match=r"split dev, revision None\): cannot be fetched"):
        list(open_source("org/name", SourceOptions(split="dev", download=True)).rows)


@pytest.mark.parametrize("after", [0, 2])
def test_a_stream_that_breaks_off_is_an_error_that_names_the_set_and_the_row(monkeypatch, after):
    datasets = pytest.importorskip("datasets")

    def broken():
        yield from ROWS[:after]
        raise ConnectionError("the peer\nhas gone")

    stream = datasets.IterableDataset.from_generator(broken)
    monkeypatch.setattr("coala_jax.data._sources._hub._open", lambda *_: stream)
    rows = open_source("org/name", SourceOptions(config="c", split="train", download=True)).rows
    assert [dict(next(rows).fields) for _ in range(after)] == ROWS[:after]
    message = (
        rf"org/name \(config c, split train, revision None\): breaks off after row {after}; .*"
        r"\(ConnectionError: the peer has gone\)"
    )
    with pytest.raises(DataError, match=message):
        next(rows)
    with pytest.raises(DataError, match=message):  # and no part of it passes for the whole
        read_rows("org/name", RowOptions(config="c", split="train", download=True))


def test_lines_that_datasets_cannot_parse_end_a_stream_in_an_error(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr("coala_jax.data._sources._hub.STREAM_ABOVE_BYTES", -1)
    (tmp_path / "train.jsonl").write_bytes(as_jsonl(ROWS) + b'{"id": "c", "prompt": \n')
    builder = datasets.load_dataset_builder(str(tmp_path), cache_dir=str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_, **__: builder)
    with pytest.raises(DataError, match=r"org/name \(config None, split train.*breaks off after"):
        list(open_source("org/name", SourceOptions(download=True)).rows)


def test_options_of_a_set_do_not_fit_a_file(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(as_jsonl(ROWS))
    with pytest.raises(DataError, match="split='train': .* is one file, which has none"):
        open_source(tmp_path / "rows.jsonl", SourceOptions(split="train"))


@pytest.mark.parametrize(
    ("name", "module"), [("r.parquet", "pyarrow"), ("r.jsonl.zst", "zstandard")]
)
def test_what_is_not_installed_is_named(tmp_path, monkeypatch, name, module):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    (tmp_path / name).write_bytes(b"some bytes")
    with pytest.raises(DataError, match=rf"needs {module}; .* '\.\[data\]' in the folder"):
        list(open_source(tmp_path / name).rows)


def test_options_that_a_source_does_not_have_are_refused(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"a": 1}')
    with pytest.raises(DataError, match="revision='v1': .* is a folder, only hub ids have"):
        open_source(tmp_path, SourceOptions(revision="v1"))
    (tmp_path / "state.json").write_text('{"_data_files": []}')
    with pytest.raises(DataError, match="split='test': .* is one saved data set"):
        open_source(tmp_path, SourceOptions(split="test"))
