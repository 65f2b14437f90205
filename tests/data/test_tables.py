"""Tables as people export them: delimiters, headers and quotes against the rules."""

import csv

import pytest

from coala_jax.data import RowOptions, open_source, read_rows

HEADER = "prompt,chosen,rejected\n"
PLAIN = [f"Why {n}?,So {n}.,No {n}.\n" for n in range(20)]
QUOTED = [f'"Well, why {n}?","So {n}.","No {n}."\n' for n in range(20)]
MANY_LINES = [f'"Well,\nwhy {n}?","So,\nhm {n}.","No,\nno {n}."\n' for n in range(20)]
LAST_LINES = [f'Why {n}?,"So,\n\nhm {n}.",No {n}.\n' for n in range(20)]
LISTS = [f'"Why {n}?\nWell","So:\na, b, c\nd, e, f\n{n}.","No {n}"\n' for n in range(20)]
PIPES = [f'Why {n}?,a 5" pipe {n},No {n}.\n' for n in range(20)]
STRAY = 'a quote (") that is not closed, or not doubled within a quoted field'


def table(tmp_path, content, name="rows.csv"):
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    return list(open_source(tmp_path / name).rows)


def with_record(rows, record, at=2):
    return HEADER + "".join([*rows[:at], record, *rows[at:]])


@pytest.mark.parametrize("rows", [PLAIN, QUOTED])
@pytest.mark.parametrize(
    ("record", "chosen"),
    [
        ('p,"He said \\"hi\\", twice",r\n', 'He said "hi", twice'),
        ('p,"He said \\"hi\\"",r\n', 'He said "hi"'),
        ('"p","C:\\\\ and \\"x\\"","r"\r\n', 'C:\\ and "x"'),
        ('p,"He said \\"hi\\",\n and ""left""",r\n', 'He said "hi",\n and "left"'),
        ('p,"North" is what it says,r\n', '"North" is what it says'),
        ('p,"North is what it says,r\n', '"North is what it says'),
        ('p,a 5" pipe,r\n', 'a 5" pipe'),
        ('p,"one\n\ntwo, three\nand four",r\n', "one\n\ntwo, three\nand four"),
    ],
)
def test_quotes_of_other_rules_cost_nothing(tmp_path, rows, record, chosen):
    read = table(tmp_path, with_record(rows, record))
    assert not any(row.reason for row in read)
    assert len(read) == 21 and read[2].fields["chosen"] == chosen
    assert [row.fields["chosen"] for row in read if row is not read[2]] == [
        f"So {n}." for n in range(20)
    ]


@pytest.mark.parametrize("rows", [PLAIN, QUOTED, MANY_LINES, LAST_LINES, LISTS, PIPES])
@pytest.mark.parametrize(
    "record",
    [
        'p,"North, is,r\n',
        'p,"said "a", and "b", twice",r\n',
        'p,"line one, and\nsaid "hi" there\nend, x",r\n',
        '"p","He said "no","r\n',
        '"p","He said\n "no, x","r"\n',
        '"p","He\n""said"" "no","r\n',
        '"p,"x, y","z\n',
    ],
)
def test_a_record_that_cannot_be_told_is_set_aside_alone(tmp_path, rows, record):
    """Whatever the lines of those after it are like."""
    sound = [dict(row.fields) for row in table(tmp_path, HEADER + "".join(rows))]
    read = table(tmp_path, with_record(rows, record))
    assert [row.reason for row in read if row.reason] == [STRAY]
    assert [row.content for row in read if row.reason] == [record]
    assert len(sound) == 20 and [dict(row.fields) for row in read if row.fields] == sound


@pytest.mark.parametrize("record", ['"p","He said "no","r\n', 'p,"North, is,r\n'])
@pytest.mark.parametrize("rows", [QUOTED, MANY_LINES, LAST_LINES, LISTS])
def test_several_records_that_cannot_be_told_cost_no_other(tmp_path, rows, record):
    sound = [dict(row.fields) for row in table(tmp_path, HEADER + "".join(rows))]
    read = table(tmp_path, HEADER + record.join(rows) + record * 2)
    assert [dict(row.fields) for row in read if row.fields] == sound
    assert "".join(row.content for row in read if row.reason) == record * 21


def test_readers_that_overlap_take_long_fields(tmp_path):
    """The csv module has one limit for the whole process."""
    usual = 2**17
    csv.field_size_limit(usual)
    record = f"p,{'c' * (usual + 1)},r\n"
    (tmp_path / "a.csv").write_text(HEADER + record)
    (tmp_path / "b.csv").write_text(HEADER + record * 3)
    first, second = (iter(open_source(tmp_path / name).rows) for name in ("a.csv", "b.csv"))
    assert next(first).fields and next(second).fields
    assert list(first) == [] and all(row.fields for row in second)


def test_a_quote_that_is_never_closed_does_not_take_the_rest_of_a_file(tmp_path):
    """Nor one that a much later quote closes: a field of whole records is none."""
    for end in ("", 'p,a 5",r\n'):
        read = table(tmp_path, with_record(PLAIN, 'p,"North is,r\n', at=3) + end)
        assert not any(row.reason for row in read)
        assert [row.fields["chosen"] for row in read[:5]] == [
            *(f"So {n}." for n in range(3)),
            '"North is',
            "So 3.",
        ]
        assert len(read) == 21 + bool(end)


def test_a_table_cut_amid_a_quoted_field_loses_that_record(tmp_path):
    read = table(tmp_path, HEADER + "".join(PLAIN) + 'p,"line one\nline, two, x\nli')
    assert [row.reason for row in read] == [""] * 20 + [STRAY]


def test_text_with_tabs_and_stray_quotes_is_read_as_it_stands(tmp_path):
    lines = [
        "prompt\tchosen\trejected",
        'a\t"North" it says\tb',
        'c\t"open\td',
        'e\t5"\tf',
        "g\th\ti",
    ]
    read = table(tmp_path, "\n".join(lines), "rows.tsv")
    assert [list(row.fields.values()) for row in read] == [
        ["a", '"North" it says', "b"],
        ["c", '"open', "d"],
        ["e", '5"', "f"],
        ["g", "h", "i"],
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.csv", "prompt;chosen;rejected\nWhy, now?;So;No\n"),
        ("r.csv", "prompt|chosen|rejected\nWhy, now?|So|No\n"),
        ("r.csv", "prompt\tchosen\trejected\nWhy, now?\tSo\tNo\n"),
        ("r.tsv", 'prompt,chosen,rejected\n"Why, now?",So,No\n'),
        ("r.csv", "sep=;\nprompt;chosen;rejected\nWhy, now?;So;No\n"),
        ("r.csv", '"sep=,"\r\nprompt,chosen,rejected\r\n"Why, now?",So,No\r\n'),
        ("r.csv", 'sep=\t\nprompt\tchosen\trejected\n"Why, now?"\tSo\tNo\n'),
    ],
)
def test_the_delimiter_is_that_of_the_header(tmp_path, name, content):
    (row,) = table(tmp_path, content, name)
    assert dict(row.fields) == {"prompt": "Why, now?", "chosen": "So", "rejected": "No"}


def test_a_header_with_other_marks_keeps_its_delimiter(tmp_path):
    (row,) = table(tmp_path, 'prompt; as asked,"chosen\n(best)",rejected | other\na,b,c\n')
    assert list(row.fields) == ["prompt; as asked", "chosen\n(best)", "rejected | other"]
    (row,) = table(tmp_path, "Question, as asked;chosen;rejected\na;b, c;d\n")
    assert list(row.fields.values()) == ["a", "b, c", "d"]
    (row,) = table(tmp_path, "prompt\nHello; you, there\n")
    assert dict(row.fields) == {"prompt": "Hello; you, there"}


def test_blank_lines_before_the_header_are_passed_over(tmp_path):
    (row,) = table(tmp_path, "\n\nprompt;chosen\na;b, c\n")
    assert (row.number, dict(row.fields)) == (4, {"prompt": "a", "chosen": "b, c"})


def test_the_index_that_pandas_writes_is_a_column(tmp_path):
    (tmp_path / "rows.csv").write_text(",prompt,chosen,rejected\n0,p,c,r\n")
    (row,) = read_rows(tmp_path / "rows.csv", RowOptions(strict=True)).rows
    assert row[1:4] == ("p", "c", "r") and dict(row.extra) == {"Unnamed: 0": "0"}


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONE])
def test_a_table_with_a_backslash_before_every_quote_is_read_as_it_was_written(tmp_path, quoting):
    """Also where a field with such a quote is not quoted, and in rows before the first that is."""
    values = ['5" pipe', 'he said "hi", twice', "C:\\new, and \\", '"', "x, y", "plain\\, text"]
    if quoting != csv.QUOTE_NONE:
        values.append('two\n"lines", and\na third')
    rows = [[f"p{n}", value, f"r{n}"] for n, value in enumerate(values * 3)]
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file, doublequote=False, escapechar="\\", quoting=quoting)
        writer.writerows([["prompt", "chosen", "rejected"], *rows])
    read = list(open_source(tmp_path / "rows.csv").rows)
    assert [list(row.fields.values()) for row in read] == rows


def test_backslashes_of_a_table_that_doubles_its_quotes_stay(tmp_path):
    values = ['C:\\"dir"', "\\frac{1}{2}\\, x", 'a \\"b\\", c', "\\\\", 'ends in \\"']
    rows = [[f"p{n}", value, f"r{n}"] for n, value in enumerate(values * 3)]
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["prompt", "chosen", "rejected"], *rows])
    read = list(open_source(tmp_path / "rows.csv").rows)
    assert [list(row.fields.values()) for row in read] == rows
