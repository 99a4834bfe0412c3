"""The grid of degradations, with a detector of a checkerboard, which JPEG keeps and blur removes."""

import csv
import json

import numpy as np
import pytest

import fakedetect
from fakedetect.data.degrade import GRID, parse_degradation
from fakedetect.evaluation import plots
from fakedetect.evaluation.robustness import degraded_outputs, measure_robustness, summarise


@pytest.fixture(scope="module")
def tested(trained, write_set, tmp_path_factory):
    """One detector on a set of 40 + 40 new test images, with the whole grid."""
    folder = tmp_path_factory.mktemp("robust")
    place = write_set(folder / "set", reals=200, fakes=200, seed=5)
    return fakedetect.evaluate(trained.detector, place, out=folder / "e", robustness=True, device="cpu")


@pytest.fixture(scope="module")
def cells(tested):
    return {cell["degradation"]: cell for cell in tested.metrics["robustness"]["cells"]}


def test_the_grid_has_every_cell_and_none_equals_the_test(tested, cells):
    assert tuple(cells) == GRID
    for name in ("auroc", "auroc_interval", "tpr", "fpr", "n_real", "n_fake"):
        assert cells["none"][name] == tested.metrics[name]
    assert all((cell["n_real"], cell["n_fake"]) == (40, 40) for cell in cells.values())
    for cell in cells.values():
        low, high = cell["auroc_interval"]
        assert 0 <= low <= high <= 1 and cell["state"] in ("holds", "breaks", "unclear")


def test_a_detector_of_high_frequencies_breaks_under_blur_in_the_expected_order(cells):
    assert cells["none"]["auroc"] > 0.95 and cells["none"]["state"] == "holds"
    found = {name: cells[name]["auroc"] for name in ("blur0.5", "blur1", "blur2", "jpeg95", "jpeg30", "noise2")}
    assert found["blur0.5"] >= found["blur1"] >= found["blur2"] - 0.1 and found["blur2"] < 0.75
    assert found["jpeg95"] >= found["jpeg30"] and found["noise2"] > 0.9
    assert cells["blur2"]["state"] == "breaks" and "instead of" in cells["blur2"]["why"]
    assert cells["resize0.5"]["auroc"] < cells["none"]["auroc"] - 0.05
    assert cells["jpeg95"]["state"] == "holds" and cells["jpeg95"]["why"] is None


def test_the_summary_says_where_it_holds_and_breaks(tested):
    words = tested.metrics["robustness"]["words"]
    assert len(words) == 7 and any(line.startswith("Blur (sigma, pixels): ") and "breaks at " in line for line in words)
    assert any(line.startswith("Noise (sigma, grey levels): holds at 2") for line in words)


def test_the_summary_goes_from_weak_to_strong_and_has_the_first_reason():
    def cell(kind, amount, state="holds", why=None):
        return {"kind": kind, "amount": amount, "state": state, "why": why, "auroc": 0.9}

    cells = [cell("none", 0), cell("jpeg", 30, "breaks", "b"), cell("jpeg", 50, "breaks", "a"), cell("jpeg", 95)]
    cells += [cell("resize", 2), cell("resize", 0.5, "unclear", "c"), cell("resize", 0.75)]
    assert summarise(cells) == [
        "JPEG (quality): holds at 95; breaks at 50 (a) and 30.",
        "Downscaling (factor): holds at 0.75; may break at 0.5 (c).",
        "Upscaling (factor): holds at 2.",
    ]
    assert summarise([{**cells[0], "auroc": 0.52}])[0].startswith("Even on the original images it hardly separates")


def test_results_do_not_depend_on_order_or_batch(detector, small_data):
    rows, noise = small_data.rows("test"), parse_degradation("noise20")
    once, _ = degraded_outputs(detector, small_data, rows, noise)
    assert np.allclose(degraded_outputs(detector, small_data, rows[::-1], noise)[0][::-1], once, atol=1e-5)
    assert np.allclose(degraded_outputs(detector, small_data, rows[3:4], noise)[0], once[3:4], atol=1e-5)
    assert np.array_equal(degraded_outputs(detector, small_data, rows, noise)[0], once)
    assert not np.allclose(detector.logits(small_data.images, rows), once, atol=1e-2)


def test_out_of_domain_images_are_not_called_fake(detector, small_data, tested):
    class Far:
        def outside(self, features):
            return np.ones(len(features), bool)

    far = type(detector)(detector.network, detector.facts, detector.device, Far())
    rows = small_data.rows("test")
    near, strange = (measure_robustness(one, small_data, rows, tested.metrics, ("jpeg50",)) for one in (detector, far))
    assert near.cells[1]["tpr"] > 0 and strange.cells[1]["tpr"] == strange.cells[1]["fpr"] == 0
    assert near.cells[1]["auroc"] == strange.cells[1]["auroc"]


def test_the_same_test_twice_gives_the_same_numbers(detector, small_data, tested):
    rows = small_data.rows("test")
    names = ("jpeg50", "noise5")
    once, again = (measure_robustness(detector, small_data, rows, tested.metrics, names) for _ in range(2))
    assert once.cells == again.cells and [cell["degradation"] for cell in once.cells] == ["none", *names]


def test_csv_json_plot_and_report_agree(tested, cells):
    folder = tested.report.parent
    with (folder / "robustness.csv").open() as file:
        lines = {line["degradation"]: line for line in csv.DictReader(file)}
    assert tuple(lines) == GRID
    assert float(lines["blur2"]["auroc"]) == cells["blur2"]["auroc"]
    assert [float(lines["blur2"][f"fpr_{end}"]) for end in ("low", "high")] == cells["blur2"]["fpr_interval"]
    assert json.loads((folder / "metrics.json").read_text())["robustness"] == tested.metrics["robustness"]
    assert (folder / "robustness.png").read_bytes().startswith(b"\x89PNG")
    page = tested.report.read_text()
    for line in tested.metrics["robustness"]["words"]:
        assert line in page
    assert page.count("after each, with its p_fake") == 2 and "Gaussian blur, sigma 2 px" in page


def test_a_report_without_the_grid_has_no_section_of_it(trained):
    assert "after each, with its p_fake" not in (trained.detector / "report" / "report.html").read_text()
    assert not (trained.detector / "report" / "robustness.csv").exists()


def test_the_heat_map_shows_the_cells_it_is_given(cells, drawn):
    grid = list(cells.values())
    shown = plots.robustness_plot(grid)
    assert shown.startswith(b"\x89PNG") and shown != plots.robustness_plot(grid[:5])
