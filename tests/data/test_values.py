"""Values as numpy, pandas, Arrow and ``datasets`` have them, and text that no encoding can say."""

import datetime
import decimal
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coala_jax.data import DataError, RowOptions, open_source, read_conversations, read_rows
from coala_jax.data._prompts import read_prompts

ROW = {"prompt": "Why?", "chosen": "So.", "rejected": "No."}
QUESTION = [{"role": "user", "content": "Why?"}]
TALK = {
    "prompt": QUESTION,
    "chosen": [{"role": "assistant", "content": "So."}],
    "rejected": [{"role": "assistant", "content": "No."}],
}
FLAT = "User: Why?\nAssistant:"


def only(rows, **options):
    (read,) = read_rows(rows, RowOptions(strict=True, **options)).rows
    return read


@pytest.mark.parametrize(
    ("margin", "expected"),
    [
        (np.float64(1.5), 1.5),
        (np.int64(2), 2.0),
        (np.array(1.5), 1.5),
        (decimal.Decimal("1.5"), 1.5),
        (float("nan"), None),
        (np.float32("nan"), None),
        (np.longdouble(1.5), 1.5),
        (np.array(1.5, dtype=np.longdouble), 1.5),
    ],
)
def test_numbers_of_other_libraries_are_numbers(margin, expected):
    assert only([{**ROW, "margin": margin}]).margin == expected


def test_numbers_that_json_has_no_like_for_stay():
    kept = only([{**ROW, "note": [np.clongdouble(1j), np.longdouble(2)]}]).extra["note"]
    assert kept == [1j, 2.0] and type(kept[1]) is float


def test_texts_and_messages_of_numpy_are_texts_and_messages():
    assert only([{key: np.str_(value) for key, value in ROW.items()}])[1:4] == tuple(ROW.values())
    assert type(only([{key: np.str_(value) for key, value in ROW.items()}]).chosen) is str
    arrays = {key: np.array(value, dtype=object) for key, value in TALK.items()}
    assert only([arrays])[1:4] == (FLAT, "So.", "No.")
    assert only([{key: value.encode() for key, value in ROW.items()}])[1:4] == tuple(ROW.values())


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (np.bool_(True), np.bool_(False)),
        (1.0, 0.0),
        ("1.0", "0.0"),
        (" True", "FALSE "),
        ("good", "bad"),
        ("desirable", "undesirable"),
    ],
)
def test_labels_are_taken_however_they_are_written(good, bad):
    rows = [
        {"prompt": "Why?", "completion": text, "label": label}
        for text, label in (("So.", good), ("No.", bad))
    ]
    assert only(rows)[1:4] == ("Why?", "So.", "No.")


def test_labels_of_a_table_may_be_floats(tmp_path):
    (tmp_path / "rows.csv").write_text("prompt,completion,label\nWhy?,So.,1.0\nWhy?,No.,0.0\n")
    assert only(tmp_path / "rows.csv")[1:4] == ("Why?", "So.", "No.")


def test_a_data_frame_is_rows_and_what_it_lacks_is_missing():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([{**ROW, "margin": 1.0, "group": "g"}, {**ROW, "chosen": "Yes."}])
    first, second = read_rows(frame).rows
    assert (first.margin, first.group, second.margin, second.group) == (1.0, "g", None, None)
    frame["rejected"] = frame["rejected"].astype("string").where([True, False])  # gives NA
    assert read_rows(frame).set_aside_counts == {"no rejected": 1}
    named = frame.assign(id=["x", "y"]).set_index("id")
    assert [each.id for each in read_rows(named).rows] == ["x"]
    assert only([frame.iloc[0]])[1:4] == tuple(ROW.values())
    assert only(list(frame.head(1).itertuples()))[1:4] == tuple(ROW.values())
    twice = pandas.concat([frame, frame[["chosen"]]], axis=1)
    with pytest.raises(DataError, match="two columns 'chosen'; give each its own name"):
        read_rows(twice)


def test_a_table_of_arrow_is_rows():
    pyarrow = pytest.importorskip("pyarrow")
    rows = [{**ROW, "chosen": b"So.", "margin": decimal.Decimal("1.5")}]
    assert only(pyarrow.Table.from_pylist(rows))[1:5] == (*ROW.values(), 1.5)


@pytest.mark.parametrize("format", [None, "numpy", "pandas", "arrow"])
def test_a_data_set_is_rows_whatever_its_format(format):
    datasets = pytest.importorskip("datasets")
    if format == "pandas":
        pytest.importorskip("pandas")
    assert only(datasets.Dataset.from_list([ROW]).with_format(format))[1:4] == tuple(ROW.values())


def test_columns_in_memory_are_rows_and_one_row_is_named():
    assert only({key: [value] for key, value in ROW.items()})[1:4] == tuple(ROW.values())
    with pytest.raises(DataError, match="rows in memory are one row, of prompt, .*; give a list"):
        read_rows(ROW)
    with pytest.raises(DataError, match="split='train': there are validation; give one"):
        read_rows({"validation": [ROW]})


@pytest.mark.parametrize("several", [False, True])
def test_messages_as_a_mapping_of_lists_are_messages(several):
    """As `datasets` gives ``Sequence`` of a mapping."""

    def lists(messages):
        return {key: [message[key] for message in messages] for key in messages[0]}

    row = {key: lists(value) for key, value in TALK.items()}
    if several:
        answers = [row.pop("chosen"), row.pop("rejected")]
        row |= {"completions": answers, "scores": [1, 0]}
    assert only([row])[1:4] == (FLAT, "So.", "No.")


def write(pyarrow, table, path):
    if path.suffix == ".parquet":
        pytest.importorskip("pyarrow.parquet").write_table(table, path)
    else:
        with pyarrow.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table)
    return path


@pytest.fixture(params=[".parquet", ".arrow"])
def stored(request, tmp_path):
    """Writes a table of Arrow to a file."""
    pyarrow = pytest.importorskip("pyarrow")
    return lambda table: write(pyarrow, table, tmp_path / f"rows{request.param}")


@pytest.mark.parametrize("binary", ["binary", "large_binary", "binary_view"])
def test_text_as_bytes_is_text_and_a_picture_stays_one(stored, binary):
    pyarrow = pytest.importorskip("pyarrow")
    kind = getattr(pyarrow, binary)()
    columns = {key: pyarrow.array([value.encode()] * 2, kind) for key, value in ROW.items()}
    columns["chosen"] = pyarrow.array([b"So.", b"\xff"], kind)
    columns["drawing"] = pyarrow.array([{"bytes": b"\xff", "path": "a.png"}] * 2)
    try:
        path = stored(pyarrow.table(columns))
    except pyarrow.ArrowNotImplementedError:
        pytest.skip("this pyarrow does not write the type")
    read = read_rows(path)
    assert [each[1:4] for each in read.rows] == [tuple(ROW.values())]
    assert dict(read.rows[0].extra) == {"drawing": {"bytes": b"\xff", "path": "a.png"}}
    assert read.set_aside_counts == {"chosen is not valid UTF-8": 1}


def test_decimals_are_numbers_and_other_types_are_carried(stored):
    pyarrow = pytest.importorskip("pyarrow")
    day = datetime.date(2025, 1, 2)
    rows = [{**ROW, "margin": decimal.Decimal("1.5"), "day": day, "n": None}]
    read = only(stored(pyarrow.Table.from_pylist(rows)))
    assert (read.margin, dict(read.extra)) == (1.5, {"day": day, "n": None})


def test_what_python_cannot_say_is_one_clear_error(stored):
    pyarrow = pytest.importorskip("pyarrow")
    late = pyarrow.array([10**13], pyarrow.int64()).cast(pyarrow.timestamp("s"))
    table = pyarrow.table({**{key: [value] for key, value in ROW.items()}, "when": late})
    with pytest.raises(DataError, match="cannot be read"):
        read_rows(stored(table))


@settings(max_examples=200)
@given(data=st.data())
def test_damaged_bytes_of_arrow_give_rows_reasons_or_a_data_error(tmp_path_factory, data):
    """pyarrow itself reads wherever damaged offsets point, to the end of the process."""
    pyarrow = pytest.importorskip("pyarrow")
    path = tmp_path_factory.mktemp("rows") / data.draw(st.sampled_from(["r.arrow", "r.parquet"]))
    whole = bytearray(write(pyarrow, pyarrow.Table.from_pylist([ROW] * 3), path).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    try:
        rows = list(open_source(path).rows)
    except DataError:
        return
    assert all((row.fields is None) == bool(row.reason) for row in rows)


def json_table(rows, known):
    """Messages as texts of JSON, as `datasets` stores those whose keys vary."""
    pyarrow = pytest.importorskip("pyarrow")
    texts = {
        key: [[json.dumps(message) for message in row[key]] for row in rows] for key in rows[0]
    }
    if known and not hasattr(pyarrow, "json_"):
        pytest.skip("this pyarrow has no type for JSON")
    if known:
        kind = pyarrow.list_(pyarrow.json_())
        return pyarrow.table(
            {
                key: pyarrow.array(value, pyarrow.list_(pyarrow.string())).cast(kind)
                for key, value in texts.items()
            }
        )
    item = pyarrow.field("item", pyarrow.string(), metadata={"ARROW:extension:name": "arrow.json"})
    schema = pyarrow.schema([(key, pyarrow.list_(item)) for key in texts])
    return pyarrow.table(texts, schema)


def test_messages_of_arrows_json_are_messages(stored):
    pyarrow = pytest.importorskip("pyarrow")
    varied = {**TALK, "prompt": [{"role": "user", "content": "Why?", "name": "n"}]}
    path = stored(json_table([TALK, varied], known=hasattr(pyarrow, "json_")))
    assert [dict(each.fields) for each in open_source(path).rows] == [TALK, varied]


def test_json_whose_type_pyarrow_does_not_know_is_json_too():
    """As in a pyarrow before the type was there: its name stands in the field's metadata."""
    from coala_jax.data._sources._arrow import _records

    (batch,) = json_table([TALK], known=False).to_batches()
    assert list(_records(batch)) == [TALK]


def test_a_key_twice_in_arrows_json_sets_its_row_aside(stored):
    pyarrow = pytest.importorskip("pyarrow")
    texts = ['{"role": "user", "role": "assistant", "content": "So."}', '{"role": "user"}']
    if not hasattr(pyarrow, "json_"):
        pytest.skip("this pyarrow has no type for JSON")
    column = pyarrow.array(texts, pyarrow.string()).cast(pyarrow.json_())
    rows = list(open_source(stored(pyarrow.table({"chosen": column}))).rows)
    assert [each.reason for each in rows] == ["key 'role' stands twice in an object", ""]


@pytest.fixture
def classes():
    """Completions whose label is a class: 0 is a good one."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "prompt": datasets.Value("string"),
            "completion": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["good", "bad"]),
        }
    )
    columns = {"prompt": ["Why?"] * 3, "completion": ["So.", "No.", "?"], "label": [0, 1, None]}
    return datasets.Dataset.from_dict(columns, features)


def test_classes_go_by_their_names_wherever_they_are_kept(classes, tmp_path):
    classes.save_to_disk(str(tmp_path / "saved"))
    classes.to_parquet(str(tmp_path / "rows.parquet"))
    for source in (classes, classes.to_iterable_dataset(), tmp_path / "saved"):
        read = read_rows(source)
        assert [each[1:4] for each in read.rows] == [("Why?", "So.", "No.")]
        assert read.set_aside_counts == {"no label": 1}
    assert read_rows(tmp_path / "rows.parquet").rows[0][1:4] == ("Why?", "So.", "No.")


HALF = "g\ud83d"


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"group": HALF}, "group"),
        ({"id": HALF}, "id"),
        ({"chosen": HALF}, "chosen"),
        ({"system": HALF}, "system"),
        ({"meta": {"tags": ["a", {"b": HALF}]}}, "meta"),
        ({"meta": {HALF: 1}}, "meta"),
        ({HALF: "a"}, r"g\ud83d"),
    ],
)
def test_half_a_character_in_any_column_is_named_when_it_is_read(tmp_path, change, column):
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{json.dumps(ROW)}\n{json.dumps({**ROW, **change})}\n")
    read = read_rows(path)
    assert len(read.rows) == 1
    (set_aside,) = read.set_aside
    assert (set_aside.number, set_aside.reason) == (2, f"{column} is not valid Unicode")


def test_half_a_character_is_named_by_all_readers(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "Why?", "messages": QUESTION, "group": HALF}))
    with pytest.raises(DataError, match="row 1: group is not valid Unicode"):
        read_prompts(path)
    with pytest.raises(DataError, match="group is not valid Unicode: 1"):
        read_conversations(path)


def test_whole_characters_beyond_the_first_plane_are_fine(tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps({**ROW, "group": "😀"}))  # two escapes
    assert only(tmp_path / "rows.jsonl").group == "😀"
