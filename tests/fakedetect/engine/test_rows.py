"""Rows as Parquet: nothing is lost on the way there and back, and other files are refused."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fakecore.errors import UserError
from fakedetect.engine.rows import PARQUET_COLUMNS, check, from_table, schema, to_table, write_part
from fakedetect.scoring.columns import COLUMNS
from fakedetect.scoring.records import csv_bytes, json_bytes, read_rows

BASE = dict.fromkeys(COLUMNS) | {
    "path": "a.jpg",
    "status": "ok",
    "kind": "image",
    "detector": "ab12",
    "judged_by": "faces",
}
JUDGED = {"p_fake": 0.1 + 0.2, "verdict": "unsure", "threshold": 0.5, "real_below": 0.25, "outside_domain": False}
FINDING = {
    "says": "caf\udce9 \U0001f600",
    "where": "XMP",
    "points_to": "generated",
    "strength": "strong",
    "forged": "x",
}
EVIDENCE = {"points_to": "generated", "findings": [FINDING]}
FACE = {"box": [1.0, 2.5, 3.0, 4.0], "p_fake": 0.3, "verdict": "unsure"}
TRACK = {
    "track": 1,
    "p_fake": 1e-9,
    "verdict": "real",
    "start_s": 0.0,
    "end_s": 2.5,
    "frames": 9,
    "outside_domain": None,
}
ROWS = [
    BASE | JUDGED | {"subject": "frame"},
    BASE | JUDGED | {"path": "in.zip/b.jpg", "archive": "in.zip", "provenance": EVIDENCE},
    BASE | JUDGED | {"stable": False, "p_fake_range": [0.0, 1.0], "subject": "face", "faces": [FACE, FACE]},
    BASE
    | {"path": 'new\nline, "quotes" ü.jpg', "status": "unreadable", "error": "no such file", "outside_domain": None},
    BASE | JUDGED | {"kind": "video", "frames": 9, "duration_s": 3.25, "tracks": [TRACK], "timeline": [[0.5, 1e-9]]},
    BASE | {"kind": "video", "status": "unreadable", "frames": 0, "duration_s": None, "tracks": [], "timeline": []},
    BASE | JUDGED | {"path": "caf\udce9/ü/\udcff.jpg", "archive": "caf\udce9"},  # bytes that are not UTF-8
    BASE | JUDGED | {"path": "half \ud83d and \udce9"},  # and a surrogate that stands for no byte
]


def test_rows_come_back_as_jsonl_has_them():
    file = io.BytesIO()
    write_part(file, ROWS, detectors={"ab12": "faces", "cd34": "photos"})
    found = pq.ParquetFile(io.BytesIO(file.getvalue()))
    check(found.schema_arrow, "a.parquet")
    assert json_bytes(from_table(found.read())) == json_bytes(ROWS)
    assert json.loads(found.schema_arrow.metadata[b"fakelab_detectors"]) == {"ab12": "faces", "cd34": "photos"}
    assert found.metadata.row_group(0).column(0).compression == "ZSTD"
    paths = found.read(["path"]).column("path").to_pylist()
    assert paths[-2:] == [r"caf\xe9/ü/\xff.jpg", r"half \ud83d and \udce9"]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_rows_of_text_files_become_the_same_table(suffix):
    rows = ROWS[:-1]  # a .csv file cannot have the last
    data = csv_bytes(rows, header=True) if suffix == ".csv" else json_bytes(rows)
    cut = data + data[-30:].rstrip(b"\n")  # a killed call left half a row
    table, expected = to_table(list(read_rows(io.BytesIO(cut), f"a{suffix}"))), to_table(rows)
    lacking = (
        {"judged_by", "archive", "subject", "frames", "duration_s", "tracks", "timeline"} if suffix == ".csv" else set()
    )
    for name in set(PARQUET_COLUMNS) - lacking - {"not_utf8"}:
        assert table.column(name) == expected.column(name), name
    assert [row["path"] for row in from_table(table)] == [row["path"] for row in rows]


def test_a_field_without_a_column_is_not_lost_silently():
    with pytest.raises(ValueError, match="mood"):
        to_table([BASE | {"mood": 1}])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "does not contain rows of score (got a Parquet file of another program"),
        ({"fakelab_rows": "2", "fakelab_version": "9.0"}, "newer fakelab (got schema 2 of 9.0; expected 1 or lower)"),
        ({"fakelab_rows": "x"}, "another program"),
    ],
)
def test_other_parquet_files_are_refused(change, expected):
    with pytest.raises(UserError) as error:
        check(schema().with_metadata(change), "x.parquet")
    assert str(error.value).startswith("x.parquet ") and expected in str(error.value)
    with pytest.raises(UserError, match="without the column path"):
        check(pa.schema([("a", pa.int64())], {"fakelab_rows": "1"}), "x.parquet")
