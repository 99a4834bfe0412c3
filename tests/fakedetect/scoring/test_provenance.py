"""What files say of their origin, in rows, tables and reports; it never changes a score."""

import csv
import json
import os
import tarfile

import pytest
from PIL import ExifTags, Image, PngImagePlugin

from fakecore.errors import UserError
from fakedetect.scoring.columns import COLUMNS
from fakedetect.scoring.files import score_files
from fakedetect.scoring.inputs import expand, walk_inputs
from fakedetect.scoring.page import write_score_page
from fakedetect.scoring.results import ResultsFile

WEB_UI = "a castle\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512"


@pytest.fixture
def photos(tmp_path, pictures):
    """One picture three times: with a generator's parameters, with nothing, and with the name of a camera."""
    root = tmp_path / "in"
    root.mkdir()
    picture = Image.fromarray(pictures(1, "real", 70)[0].transpose(1, 2, 0))
    text, exif = PngImagePlugin.PngInfo(), Image.Exif()
    text.add_text("parameters", WEB_UI)
    exif[ExifTags.Base.Make] = "Canon"
    for name, options in (("a", {"pnginfo": text}), ("b", {}), ("c", {"exif": exif})):
        picture.save(root / f"{name}.png", **options)
    return root


def rows_of(root, detector):
    return [row for batch in score_files(expand(walk_inputs([str(root)])), detector) for row in batch]


def without(row):
    return {name: value for name, value in row.items() if name not in ("path", "sha256", "provenance")}


@pytest.mark.parametrize("many", [False, True])
def test_provenance_is_in_the_row_and_changes_nothing_else(detector, photos, monkeypatch, many):
    if many:
        monkeypatch.setattr("fakedetect.scoring.files.MANY", 2)
    generated, nothing, camera = rows_of(photos, detector)
    assert nothing["provenance"] is None and camera["provenance"]["points_to"] == "camera"
    assert generated["provenance"]["points_to"] == "generated"
    (finding,) = generated["provenance"]["findings"]
    assert (finding["where"], finding["strength"]) == ("PNG text parameters", "strong")
    assert set(finding) >= {"says", "where", "points_to", "strength", "forged"}
    assert without(generated) == without(nothing) == without(camera) and nothing["verdict"]


def test_a_file_in_an_archive_has_provenance(detector, photos):
    with tarfile.open(photos / "d.tar", "w") as archive:
        archive.add(photos / "a.png", "a.png")
    rows = {os.path.relpath(row["path"], photos): row for row in rows_of(photos, detector)}
    assert rows["d.tar/a.png"]["provenance"] == rows["a.png"]["provenance"]


def test_a_table_and_the_report_list_files_with_evidence_first(trained, detector, photos, fakelab, tmp_path):
    words = ("score", photos, "--detector", trained.detector)
    printed = fakelab(*words)
    assert len(printed.stdout.splitlines()) == 3, "lines of files only"
    _, _, table = printed.stderr.partition(
        "2 files with evidence of their origin, which does not change their scores: 1 generated, 1 camera"
    )
    assert [line.split()[:2] for line in table.splitlines() if str(photos) in line] == [
        ["generated", "strong"],
        ["camera", "weak"],
    ]
    done = fakelab(*words, "--json")
    assert len(done.stdout.splitlines()) == 3 and "2 files with evidence" in done.stderr
    for suffix in ("csv", "jsonl"):
        for _ in range(2):  # the second call finds them in the file
            done = fakelab(*words, "--out", tmp_path / f"rows.{suffix}")
            assert "change their scores: 1 generated, 1 camera" in done.stderr
    write_score_page(tmp_path / "a.html", rows_of(photos, detector), {}, detector)
    page = (tmp_path / "a.html").read_text()
    top, rest = page.split("<h2>Photos</h2>")
    assert top.index("a.png") < top.index("c.png") and "b.png" not in top
    assert "points to <b>generated</b>" in rest


def test_csv_has_compact_json_and_a_file_of_an_earlier_version_is_resumed(detector, photos, tmp_path):
    rows, out = rows_of(photos, detector), tmp_path / "out.csv"
    ResultsFile(out, detector).append(rows)
    (first, second, _) = csv.DictReader(out.open(newline=""))
    assert json.loads(first["provenance"]) == rows[0]["provenance"] and second["provenance"] == ""
    old = [name for name in COLUMNS if name != "provenance"]
    for name in ("old.csv", "old.jsonl"):
        path = tmp_path / name
        if path.suffix == ".csv":
            with path.open("w", newline="") as file:
                csv.DictWriter(file, old, extrasaction="ignore", lineterminator="\n").writeheader()
                csv.DictWriter(file, old, extrasaction="ignore", lineterminator="\n").writerow(rows[0])
        else:
            path.write_text(json.dumps({key: rows[0][key] for key in old}) + "\n")
        results = ResultsFile(path, detector)
        assert list(results.existing) == [rows[0]["path"]]
        results.append(rows[1:])
        assert list(ResultsFile(path, detector).existing) == [row["path"] for row in rows]
    path = tmp_path / "damaged.csv"
    path.write_bytes(out.read_bytes().replace(b"{", b"["))
    with pytest.raises(UserError, match="invalid value"):
        ResultsFile(path, detector)
