"""Two kinds of fakes, with a checkerboard and blurred: a detector trained on one fails on the other."""

import csv
import json
import shutil

import cv2
import numpy as np
import pytest

import fakedetect
from fakecore.errors import UserError
from fakecore.media.pixels import encode_png
from fakedetect.evaluation import plots
from fakedetect.evaluation.matrix_report import format_cell, marks, matrix_headline


@pytest.fixture(scope="module")
def blurred_set(tmp_path_factory, write_set, pictures):
    root = write_set(tmp_path_factory.mktemp("kinds") / "blurred", seed=7)
    for number, path in enumerate(sorted(root.glob("*/fake/*.png"))):
        smooth = cv2.GaussianBlur(pictures(1, "real", 1000 + number)[0].transpose(1, 2, 0), (0, 0), 1.5)
        path.write_bytes(encode_png(smooth.transpose(2, 0, 1), "fake"))
    return root


@pytest.fixture(scope="module")
def of_blurred(tmp_path_factory, blurred_set, quick):
    out = tmp_path_factory.mktemp("blurred-det") / "of-blurred"
    return fakedetect.train(blurred_set, out=out, changes={**quick, "epochs": 8}, device="cpu").detector


@pytest.fixture(scope="module")
def made(trained, of_blurred, small_set, blurred_set, tmp_path_factory, drawing):
    """Both detectors on both sets, and a detector and a set that do not exist."""
    folder = tmp_path_factory.mktemp("matrix")
    (folder / "broken").mkdir()
    (folder / "broken" / "detector.json").write_text("{")
    detectors = [trained.detector, folder / "broken", of_blurred]
    places = [small_set, folder / "absent", blurred_set]
    with drawing():
        return fakedetect.compare(detectors, places, out=folder / "out", device="cpu")


def cell(made, detector, place):
    (found,) = [one for one in made.cells if (one["detector"], one["set"]) == (detector, place)]
    return found


def test_a_detector_detects_its_own_kind_of_fakes_and_not_the_other(made, small_set):
    own = small_set.parent.name if small_set.name == "set" else small_set.name
    assert cell(made, "tiny", own)["auroc"] > 0.9 and cell(made, "of-blurred", "blurred")["auroc"] > 0.9
    assert cell(made, "tiny", "blurred")["auroc"] < 0.7 and cell(made, "of-blurred", own)["auroc"] < 0.7
    for one in made.cells:
        if not one["error"]:
            low, high = one["auroc_interval"]
            assert low <= one["auroc"] <= high and (one["n_real"], one["n_fake"]) == (20, 20)


def test_only_cells_on_the_training_set_are_marked(made):
    marked = [(one["detector"], one["set"]) for one in made.cells if one["own"]]
    assert [detector for detector, _ in marked] == ["tiny", "of-blurred"] and marked[1][1] == "blurred"
    assert all(one["seen"] == 0 for one in made.cells if not one["error"])
    assert [marks(one) for one in made.cells if one["auroc"] is not None] == ["*", "", "", "*"]


def test_an_unusable_detector_or_set_has_its_reason(made):
    assert [row["error"] is None for row in made.rows] == [True, False, True]
    assert [one["error"] is None for one in made.columns] == [True, False, True]
    assert "not valid JSON" in made.rows[1]["error"] and "there is no folder" in made.columns[1]["error"]
    lost = [one for one in made.cells if one["error"]]
    assert len(lost) == 5 and all(one["auroc"] is None for one in lost)
    done = made.unused_by_option
    assert [line["status"] for line in done] == ["detector", "set"]  # each once, not once a cell
    page = (made.folder / "matrix.html").read_text()
    assert "there is no folder" in page and "not valid JSON" in page


def test_csv_report_and_png_contain_the_matrix(made):
    with (made.folder / "matrix.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(line["detector"], line["set"]) for line in lines] == [(one["detector"], one["set"]) for one in made.cells]
    assert float(lines[0]["auroc"]) == made.cells[0]["auroc"] and lines[0]["own"] == "True" and lines[3]["auroc"] == ""
    page = (made.folder / "matrix.html").read_text()
    assert format_cell(made.cells[0]) in page and "data:image/png;base64," in page and 'src="http' not in page
    assert (made.folder / "matrix.png").read_bytes().startswith(b"\x89PNG")


def test_the_headline_compares_own_and_other_sets(made):
    line = matrix_headline(made.cells)
    home = np.mean([one["auroc"] for one in made.cells if one["own"]])
    abroad = np.mean([one["auroc"] for one in made.cells if one["own"] is False])
    assert f"they were trained on: AUROC {home:.3f}, " in line and "over 2 tests" in line
    assert f"not trained on: AUROC {abroad:.3f}, " in line and "Not counted" not in line
    assert matrix_headline([one for one in made.cells if one["error"]]) == "There are no results."
    known = matrix_headline([{**one, "seen": 3} for one in made.cells if one["own"]])
    assert known == "Not counted: 2 tests on images that the detector was, or may have been, trained on."


def test_images_that_the_detector_was_trained_on_are_counted_and_marked(trained, small_set, tmp_path):
    folders = {name: str(small_set / "train" / name) for name in ("real", "fake")}
    (one,) = fakedetect.compare([trained.detector], out=tmp_path / "m", device="cpu", **folders).cells
    assert one["seen"] == 120 and "!" in marks(one)


def test_a_detector_without_its_list_is_marked_unknown(trained, blurred_set, tmp_path):
    shutil.copytree(trained.detector, tmp_path / "det")
    (tmp_path / "det" / "seen.npy").unlink()
    (one,) = fakedetect.compare([tmp_path / "det"], [blurred_set], out=tmp_path / "m", device="cpu").cells
    assert one["seen"] is None and one["own"] is None and marks(one) == "?"


def test_a_degraded_matrix_says_so_and_is_worse(made, trained, small_set, tmp_path):
    after = fakedetect.compare([trained.detector], [small_set], out=tmp_path / "m", degrade="blur2", device="cpu")
    assert after.cells[0]["auroc"] < made.cells[0]["auroc"] - 0.1 and after.degradation == "blur2"
    assert "Gaussian blur, sigma 2 px" in (tmp_path / "m" / "matrix.html").read_text()
    with pytest.raises(UserError, match="no degradation"):
        fakedetect.compare([trained.detector], [small_set], out=tmp_path / "n", degrade="fog3", device="cpu")
    assert not (tmp_path / "n").exists()


def test_nothing_usable_is_an_error_and_an_old_matrix_is_unchanged(made, trained, small_set, tmp_path):
    with pytest.raises(UserError, match=r"no detector can be used: .* is not a detector"):
        fakedetect.compare([tmp_path / "a"], [small_set], out=tmp_path / "m", device="cpu")
    with pytest.raises(UserError, match=r"no set can be used: .*, and no other of the 2"):
        fakedetect.compare([trained.detector], [tmp_path / "a", tmp_path / "b"], out=tmp_path / "m", device="cpu")
    with pytest.raises(UserError, match="already holds a matrix"):
        fakedetect.compare([trained.detector], [small_set], out=made.folder, device="cpu")


def test_one_folder_without_the_other_is_an_error(trained, small_set, tmp_path):
    with pytest.raises(UserError, match="--fake is missing"):
        fakedetect.compare([trained.detector], [small_set], real=str(tmp_path), out=tmp_path / "m", device="cpu")
    with pytest.raises(UserError, match="no images are given"):
        fakedetect.compare([trained.detector, trained.detector], out=tmp_path / "m", device="cpu")
    assert not (tmp_path / "m").exists()


def test_equal_names_are_replaced_by_paths(trained, small_set, tmp_path):
    shutil.copytree(trained.detector, tmp_path / "other" / "tiny")
    detectors = [trained.detector, tmp_path / "other" / "tiny", trained.detector]
    found = fakedetect.compare(detectors, [small_set], out=tmp_path / "m", device="cpu")
    assert [row["name"] for row in found.rows] == [str(path) for path in detectors[:2]]
    assert found.cells[0]["auroc"] == found.cells[1]["auroc"]


def test_a_set_is_decoded_once_for_each_shape(trained, of_blurred, small_set, tmp_path, monkeypatch):
    from fakedetect.evaluation import matrix

    asked = []
    load = matrix.load_labelled
    monkeypatch.setattr(matrix, "load_labelled", lambda *a, **k: asked.append(k["place"]) or load(*a, **k))
    fakedetect.compare([trained.detector, of_blurred], [small_set], out=tmp_path / "m", device="cpu")
    assert asked == [str(small_set)]


def test_the_command_takes_several_detectors_and_sets(trained, of_blurred, small_set, blurred_set, fakelab, tmp_path):
    both, out = f"{trained.detector},{of_blurred}", tmp_path / "m"
    done = fakelab("evaluate", both, small_set, blurred_set, "--out", out, "--json", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["matrix"] == str(out) and len(facts["cells"]) == 4 and {"rows", "columns"} <= facts.keys()
    done = fakelab("evaluate", both, small_set, tmp_path / "no", "--out", tmp_path / "n", "--device", "cpu")
    assert done.returncode == 1 and done.stderr.count("not used") == 1 and "there is no folder" in done.stderr
    assert "trained / tested on" in done.stdout and "* the detector was trained on this set" in done.stdout


def test_one_detector_and_one_set_stay_a_report(trained, blurred_set, fakelab, tmp_path):
    words = ("evaluate", trained.detector, blurred_set, "--out", tmp_path / "e", "--device", "cpu")
    done = fakelab(*words, "--robustness")
    assert done.returncode == 0 and (tmp_path / "e" / "report.html").is_file(), done.stderr
    assert "blur0.5" in done.stdout and "JPEG (quality): " in done.stdout
    refused = fakelab(*words, "--robustness", "--degrade", "jpeg75")
    assert refused.returncode == 2 and "--robustness needs exactly one detector and one set" in refused.stderr


def test_a_comma_in_the_name_of_a_folder_does_not_split_it(tmp_path):
    from fakedetect.commands.evaluate import split_detectors

    (tmp_path / "a,b").mkdir()
    assert split_detectors(str(tmp_path / "a,b")) == [str(tmp_path / "a,b")]
    assert split_detectors("a, b,") == ["a", "b"]


def test_the_heat_map_takes_one_cell_and_many(drawn):
    one = plots.matrix_plot(np.array([[0.5]]), [["0.500"]], ["a"], ["b"], "t")
    many = plots.matrix_plot(np.full((5, 6), np.nan), [["-"] * 6] * 5, list("abcde"), list("fghijk"), "t")
    assert one.startswith(b"\x89PNG") and many.startswith(b"\x89PNG") and one != many
