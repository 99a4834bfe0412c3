import json

import pytest

from fakecore.media.pixels import encode_jpeg


@pytest.fixture(scope="module")
def leaking(tmp_path_factory, pictures, write_folder):
    """Reals as JPEG, fakes as PNG, one of which cannot be read."""
    root = tmp_path_factory.mktemp("leaking")
    (root / "real").mkdir()
    for number, image in enumerate(pictures(30, "real", 0)):
        (root / "real" / f"{number}.jpg").write_bytes(encode_jpeg(image, "real"))
    write_folder(root / "fake", 30, "fake")
    (root / "fake" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    return "--real", root / "real", "--fake", root / "fake"


def test_a_matched_set_is_0_and_its_table_is_short(fakelab, small_set):
    done = fakelab("audit", small_set, "--strict")
    assert done.returncode == 0 and "No leak found" in done.stdout and "LEAK" not in done.stdout
    assert "equal in all files: format PNG" in done.stdout and done.stderr == ""


def test_leaks_and_unreadable_files_are_printed_and_strict_is_one_line(fakelab, leaking):
    done = fakelab("audit", *leaking)
    assert done.returncode == 1 and "LEAK: metadata alone" in done.stdout
    assert "format" in done.stdout and "JPEG / PNG" in done.stdout
    assert done.stderr.count("\n") == 1 and "broken.png" in done.stderr
    strict = fakelab("audit", *leaking, "--strict")
    assert strict.returncode == 2 and "error: the audit found leaks" in strict.stderr.splitlines()[-1]


def test_json_is_one_object_with_the_alarm(fakelab, leaking, tmp_path):
    done = fakelab("audit", *leaking, "--json", "--out", tmp_path / "a.html")
    found = json.loads(done.stdout)
    assert found["metadata_auroc"] == 1 and found["page"] == str(tmp_path / "a.html") and len(found["unused"]) == 1
    assert {cue["name"] for cue in found["cues"]} >= {"format", "width", "chunks", "jpeg_quality"}
    assert {cue["name"] for cue in found["pixel_cues"]} >= {"bytes_per_pixel", "blockiness", "saturation_spread"}
    assert (tmp_path / "a.html").is_file()


def test_training_and_testing_are_audited_and_strict_stops_before_writing(fakelab, leaking, tmp_path):
    quick = ("--model", "cnn", "--set", "epochs=1", "--set", "blocks=1", "--device", "cpu")
    refused = fakelab("detect-train", *leaking, "--out", tmp_path / "no", "--strict", *quick)
    assert refused.returncode == 2 and refused.stderr.splitlines()[-1].startswith("error: the audit found leaks")
    assert not (tmp_path / "no").exists()

    done = fakelab("detect-train", *leaking, "--out", tmp_path / "det", *quick)
    assert done.returncode == 1 and "LEAK: metadata alone" in done.stderr
    facts = json.loads((tmp_path / "det/detector.json").read_text())
    metrics = json.loads((tmp_path / "det/report/metrics.json").read_text())
    assert facts["audit"] == metrics["audit"] and facts["audit"]["metadata_auroc"] == 1
    assert "Leak: metadata alone" in (tmp_path / "det/report/report.html").read_text()

    alike = fakelab("detect-train", *leaking, "--out", tmp_path / "alike", "--equalise", "--strict", *quick)
    assert alike.returncode == 1 and "LEAK" not in alike.stderr
    facts = json.loads((tmp_path / "alike/detector.json").read_text())
    assert facts["audit"]["equalised"] is True and facts["preprocessing"]["equalise_jpeg"] == 95  # that of the reals

    refused = fakelab("evaluate", tmp_path / "det", *leaking, "--out", tmp_path / "report", "--strict")
    assert refused.returncode == 2 and not (tmp_path / "report").exists()
    tested = fakelab("evaluate", tmp_path / "det", *leaking, "--out", tmp_path / "report")
    assert tested.returncode == 1 and "LEAK" in tested.stderr
    assert "Leak: metadata alone" in (tmp_path / "report/report.html").read_text()


def test_missing_arguments_are_one_line(fakelab):
    done = fakelab("audit")
    assert (
        done.returncode == 2 and done.stderr.startswith("error: no images are given") and done.stderr.count("\n") == 1
    )
