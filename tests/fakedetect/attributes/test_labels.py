import numpy as np
import pytest

from fakecore.errors import UserError
from fakedetect.attributes.labels import parse_targets, read_labels

CSV = """image,identity,emotion,Smiling,mood
a.jpg,anna,happiness,1,calm
b.jpg,anna,neutral,0,tense
c.jpg,bert,anger,1,
d.jpg,bert,happiness,0,calm
"""
CELEBA = """3
Male Smiling
000001.jpg -1  1
000002.jpg  1 -1
000003.jpg -1 -1
"""


@pytest.fixture
def write(tmp_path):
    def make(text: str | bytes):
        path = tmp_path / "labels.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return make


def truths(table, targets: str) -> list[list]:
    return [np.nan_to_num(one.truth(table), nan=9).astype(int).tolist() for one in parse_targets(targets, table)]


def test_a_csv_gives_names_and_columns(write):
    table = read_labels(write(CSV))
    assert table.names == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert list(table.columns) == ["identity", "emotion", "Smiling", "mood"]
    assert table.value_counts()["emotion"] == {"happiness": 2, "neutral": 1, "anger": 1}
    assert table.value_counts()["Smiling"] == {"yes": 2}


def test_the_column_of_names_is_found_by_its_name_else_it_is_the_first(write):
    assert read_labels(write("Smiling,file_name\n1,a.jpg\n0,b.jpg\n")).names == ["a.jpg", "b.jpg"]
    assert read_labels(write("photo,Smiling\na.jpg,1\n")).names == ["a.jpg"]


def test_celebas_list_is_read(write):
    table = read_labels(write(CELEBA))
    assert table.names == ["000001.jpg", "000002.jpg", "000003.jpg"]
    assert truths(table, "Male,Smiling") == [[0, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize(
    ("yes", "no"), [("1", "0"), ("1", "-1"), ("true", "false"), ("True", "FALSE"), ("yes", "no"), ("1.0", "0.0")]
)
def test_yes_and_no_in_every_spelling(write, yes, no):
    table = read_labels(write(f"image,Hat\na.jpg,{yes}\nb.jpg,{no}\nc.jpg,\n"))
    assert truths(table, "Hat") == [[1, 0, 9]]


def test_a_value_is_a_target_against_all_others_or_against_one(write):
    table = read_labels(write(CSV))
    assert truths(table, "emotion=happiness") == truths(table, "happiness") == [[1, 0, 0, 1]]
    assert truths(table, "emotion=happiness:neutral") == [[1, 0, 9, 1]]
    assert truths(table, "calm") == [[1, 0, 9, 1]], "an empty cell is no answer"
    assert [one.words for one in parse_targets("happiness,emotion=happiness:neutral", table)] == [
        "emotion = happiness",
        "emotion = happiness against neutral",
    ]


def test_one_value_of_two_columns_has_to_be_told_apart(write):
    table = read_labels(write("image,eyes,hair\na.jpg,brown,brown\nb.jpg,blue,black\n"))
    with pytest.raises(UserError, match=r"several columns.*eyes=brown or hair=brown"):
        parse_targets("brown", table)
    assert [one.name for one in parse_targets("eyes=brown,hair=brown", table)] == ["eyes = brown", "hair = brown"]


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        ("emotion", r"'emotion'.*several values.*emotion=happiness"),
        ("hapiness", "no attribute 'hapiness'.*Did you mean"),
        ("emotion=joy", r"no value 'joy' of emotion.*happiness, neutral, anger"),
        ("emotions=happiness", "no column 'emotions'.*Did you mean 'emotion'"),
        ("emotion=happiness:joy", "no value 'joy'"),
        ("emotion=anger:anger", "against itself"),
        ("Smiling,Smiling", "twice"),
        (" , ", "--targets is empty"),
    ],
)
def test_targets_that_mean_nothing_are_refused(write, targets, says):
    with pytest.raises(UserError, match=says):
        parse_targets(targets, read_labels(write(CSV)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("image\na.jpg\n", "one column alone"),
        ("image,Hat\n", "names no image"),
        ("image,Hat\na.jpg,1\nb.jpg\n", r"1 value in row 3; expected 2"),
        ("image,Hat,Hat\na.jpg,1,0\n", "columns without a name of their own.*Hat.*first line must name"),
        ("image,Hat\n,1\n", "a line that names no image.*row 2"),
        ("image,Hat\na.jpg,1\nb.jpg,0\na.jpg,0\n", r"names 1 image more than once.*a\.jpg"),
        ('image,Hat\n"a.jpg,1\n', "cannot be read as a CSV"),
        (b"image,Hat\n\xff\xfe.jpg,1\n", "no UTF-8"),
        ("4\nMale\n1.jpg 1\n2.jpg -1\n", r"cut short.*2 lines; expected 4"),
        ("2\nMale Hat\n1.jpg 1 -1\n2.jpg -1\n", r"line 4: '2\.jpg -1'; expected a name and 2 values"),
        ("1\nMale\n1.jpg yes\n", "each 1 or -1"),
    ],
)
def test_a_file_that_cannot_be_relied_on_is_refused_with_the_place(write, text, says):
    with pytest.raises(UserError, match=says):
        read_labels(write(text))


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(UserError, match=r"--labels: no such file.*nowhere\.csv"):
        read_labels(tmp_path / "nowhere.csv")
