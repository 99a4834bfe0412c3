"""Sweeps of detectors: a row for each, failures and all; stopped and gone on with; one page."""

import csv
import json
import os
import shutil
import signal

import pytest

import fakedetect
from fakecore.errors import Interrupted, UserError
from fakedetect import DetectorSettings
from fakedetect.models.registry import uses_field
from fakedetect.training import loop as training
from fakedetect.training.sweep import plan, sweep
from fakedetect.training.sweep_report import best_of, format_row, table_columns

OVER = {"blocks": ["1", "2", "4"]}  # four halve 8 pixels once too often
TINY = {"resolution": "8", "epochs": "2", "batch": "16", "rate": "0.003", "jpeg": "0", "blur": "0", "resize": "0"}


@pytest.fixture(scope="module")
def swept(small_set, tmp_path_factory):
    out = tmp_path_factory.mktemp("sweeps") / "blocks"
    return sweep(small_set, out=out, over=OVER, changes=TINY, device="cpu")


def written(folder) -> dict:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("detector.*")}


@pytest.mark.parametrize(
    ("over", "changes", "words"),
    [
        ({}, {}, "nothing is swept"),
        ({"block": ["1"]}, {}, "Did you mean 'blocks'"),
        ({"blocks": ["5"]}, {}, "out of range"),
        ({"model": ["cnn", "cnm"]}, {}, "Did you mean 'cnn'"),
        ({"blocks": ["1", "1"]}, {}, "same run twice"),
        ({"blocks": ["1"]}, {"blocks": "2"}, "given to both --over and --set"),
        ({"model": ["cnn", "dct"], "blocks": ["1", "2"]}, {}, "the model dct does not use blocks"),
        ({"frozen_layers": ["1", "2"]}, {}, "the model cnn does not use"),
        ({"checkpoint": ["1", "2"]}, {"model": "spectrum"}, "the model spectrum does not use"),
    ],
)
def test_a_wrong_plan_is_refused_before_anything_is_trained(over, changes, words, small_set, tmp_path):
    with pytest.raises(UserError) as caught:
        sweep(small_set, out=tmp_path / "sweep", over=over, changes=changes)
    assert words in str(caught.value)
    assert not (tmp_path / "sweep").exists()


def test_images_that_are_not_there_are_missed_before_a_folder_is_made(tmp_path, write_set):
    with pytest.raises(UserError, match="nowhere"):
        sweep(tmp_path / "nowhere", out=tmp_path / "sweep", over=OVER)
    with pytest.raises(UserError, match="no real images in the train split"):
        sweep(write_set(tmp_path / "set", reals=0, fakes=10), out=tmp_path / "sweep", over=OVER)
    assert not (tmp_path / "sweep").exists()


def test_every_field_of_a_model_can_be_swept():
    assert [cell.name for cell in plan({"model": ["cnn", "dct", "resnet50"], "epochs": ["1", "2"]}, {})][-1] == (
        "model=resnet50_epochs=2"
    )
    assert len(plan({"probe": ["linear", "svm"], "copies": ["0", "1"]}, {"model": "dct"})) == 4
    assert uses_field(DetectorSettings(model="discriminator:RUN"), "checkpoint")


def test_the_table_has_a_row_for_each_and_one_that_failed_says_why(swept):
    rows = list(csv.DictReader(swept.table.open()))
    assert [(row["run"], row["blocks"], row["status"]) for row in rows] == [
        ("blocks=1", "1", "done"),
        ("blocks=2", "2", "done"),
        ("blocks=4", "4", "failed"),
    ]
    assert swept.failed == ["blocks=4"] and "too small for this number of blocks" in rows[2]["error"]
    assert rows[2]["auroc"] == rows[2]["parameters"] == ""
    for row in rows[:2]:
        facts = json.loads((swept.folder / "detectors" / row["run"] / "detector.json").read_text())
        assert facts["settings"]["blocks"] == int(row["blocks"]) and row["error"] == ""
        for name in ("auroc", "ap", "eer", "tpr_at_fpr5", "ece"):
            assert float(row[name]) == facts["test_metrics"][name]
        assert [float(row["auroc_low"]), float(row["auroc_high"])] == facts["test_metrics"]["auroc_interval"]
        assert int(row["best_epoch"]) == facts["best_epoch"] and int(row["epochs"]) == 2
        history = [json.loads(line) for line in (swept.folder / "detectors" / row["run"] / "history.jsonl").open()]
        assert float(row["val_auroc"]) == pytest.approx(max(line["val_auroc"] for line in history), abs=1e-9)
        assert float(row["train_s"]) > 0
    # 3x3 convolution of 3 channels to 32, 4x4 places of them to 256 units, one output; a weight and a bias each
    assert int(rows[0]["parameters"]) == (27 + 1) * 32 + (16 * 32 + 1) * 256 + 257


def test_a_person_is_shown_numbers_of_those_that_have_some(swept):
    columns = table_columns(swept.rows, narrow=True)
    assert columns == ["run", "parameters", "val AUROC", "AUROC", "epoch", "seconds"]
    first, _, failed = (format_row(row, columns) for row in swept.rows)
    assert first[1] == "132,481" and first[3].startswith(f"{swept.rows[0]['auroc']:.4f} [") and " of 2" in first[4]
    assert failed == ["blocks=4", "", "", "", "", ""]
    assert table_columns(swept.rows[2:]) == ["run"]


def test_the_page_carries_everything_and_names_the_best_on_validation(swept):
    page = swept.report.read_text()
    assert page.count("data:image/png;base64,") == 1
    assert "http" not in page
    assert page.count("<tr") == 1 + len(swept.rows) and "too small for this number of blocks" in page
    assert f"<code>{best_of(swept.rows)['run']}</code>: AUROC " in page


def test_the_best_is_chosen_by_validation_alone_and_of_equals_the_smallest():
    rows = [
        {"run": "a", "val_auroc": 0.9, "auroc": 0.99, "parameters": 1},
        {"run": "b", "val_auroc": 0.95, "auroc": 0.5, "parameters": 9},
        {"run": "c", "val_auroc": 0.95, "auroc": 0.5, "parameters": 8},
        {"run": "d", "val_auroc": None, "auroc": None, "parameters": None},
    ]
    assert best_of(rows)["run"] == "c"
    assert best_of(rows[3:]) is None


def test_again_it_trains_nothing_and_another_sweep_does_not_enter(swept, small_set):
    before = written(swept.folder)
    again = sweep(small_set, out=swept.folder, over=OVER, changes=TINY, device="cpu")
    assert again == swept and written(swept.folder) == before
    with pytest.raises(UserError, match="sweep with other settings"):
        sweep(small_set, out=swept.folder, over=OVER, changes=TINY | {"epochs": "3"}, device="cpu")


def test_a_detector_that_cannot_be_read_keeps_its_row(swept, small_set, tmp_path):
    shutil.copytree(swept.folder, tmp_path / "copy")
    weights = tmp_path / "copy" / "detectors" / "blocks=1" / "detector.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    (tmp_path / "copy" / "detectors" / "blocks=2" / "predictions.csv").write_text("path,split,y_true,logit\n")
    made = sweep(small_set, out=tmp_path / "copy", over=OVER, changes=TINY, device="cpu")
    assert made.failed == ["blocks=1", "blocks=2", "blocks=4"]
    errors = [row["error"] for row in made.rows]
    assert "detector.safetensors is truncated" in errors[0] and "predictions.csv is truncated" in errors[1]


def test_stopped_it_goes_on_where_it_was_and_ends_alike(swept, small_set, tmp_path, monkeypatch):
    validate, calls = training._validate, []

    def stop_in_the_fourth_epoch(*arguments):
        calls.append(arguments)
        if len(calls) == 3:  # the first of the second detector: the next step sees it
            os.kill(os.getpid(), signal.SIGTERM)
        return validate(*arguments)

    monkeypatch.setattr(training, "_validate", stop_in_the_fourth_epoch)
    out = tmp_path / "sweep"
    with pytest.raises(Interrupted, match="stopped in blocks=2"):
        sweep(small_set, out=out, over=OVER, changes=TINY, device="cpu")
    assert not (out / "sweep.csv").exists()
    before = written(out)
    made = sweep(small_set, out=out, over=OVER, changes=TINY, device="cpu")
    assert len(calls) == 4  # three epochs before the stop, one after
    assert {path: when for path, when in written(out).items() if path in before} == before and before
    assert [{**row, "train_s": 0} for row in made.rows if row["run"] != "blocks=4"] == [
        {**row, "train_s": 0} for row in swept.rows if row["run"] != "blocks=4"
    ]


def test_models_are_swept_from_the_command_line(fakelab, small_set, tmp_path):
    done = fakelab(
        "sweep", "detect-train", small_set, "--over", "model=dct,spectrum", "--out", tmp_path / "s", "--json",
        "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [(row["run"], row["best_epoch"]) for row in told["runs"]] == [("model=dct", None), ("model=spectrum", None)]
    assert all(row["auroc"] > 0.9 and row["train_s"] > 0 for row in told["runs"])
    assert (told["failed"], told["remarks"]) == ([], [])


def test_it_is_a_verb_of_the_package_too():
    assert fakedetect.sweep is sweep
