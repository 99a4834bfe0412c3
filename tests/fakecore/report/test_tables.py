import pytest

from fakecore.report.tables import as_csv, paragraph, table

COLUMNS = ("name", "images", "share", "why")
ROWS = [["a", 12345, "9%", "short"], ["longer", 7, "100%", "word " * 30]]


def test_numbers_are_aligned_right_and_text_left(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    lines = table(COLUMNS, ROWS[:1]).splitlines()
    assert lines == ["name  images  share  why", "a     12,345     9%  short"]


@pytest.mark.parametrize("width", [60, 80, 100, 300])
def test_no_line_is_wider_than_the_terminal_and_the_last_column_wraps_below_itself(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    lines = table(COLUMNS, ROWS).splitlines()
    assert max(map(len, lines)) <= min(width, 100)
    start = lines[0].index("why")
    assert all(line[:start].strip() == "" for line in lines[3:]) and len(lines) > 3
    assert " ".join(line[start:] for line in lines[2:]).split() == ["word"] * 30
    assert not any(line.endswith(" ") for line in lines)


def test_without_a_terminal_a_line_has_80_characters(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert 70 < max(map(len, table(COLUMNS, ROWS).splitlines())) <= 80


def test_an_empty_table_is_its_header():
    assert table(("a", "b"), []) == "a  b"


def test_an_empty_cell_is_no_number():
    assert table(("a", "b"), [["1", "x"], ["", "y"]]).splitlines() == ["a  b", "1  x", "   y"]


def test_a_paragraph_keeps_its_indent(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    lines = paragraph("word " * 20, indent=4).splitlines()
    assert len(lines) > 2 and all(line.startswith("    word") and len(line) <= 40 for line in lines)


def test_a_csv_has_the_named_columns_and_empty_fields_for_none():
    rows = [{"name": 'a "b", c', "share": 0.5, "other": 1}, {"name": None}, {"name": "\udcff"}]
    assert as_csv(("name", "share"), rows) == b'name,share\n"a ""b"", c",0.5\n,\n\xff,\n'
