"""Sweeps: one command, a run for every combination, one table."""

import csv
import json
import signal
import time
from pathlib import Path

import pytest

import fakegen
from fakecore.errors import UserError
from fakegen.sweeps.sweep import plan, sweep

ROOT = Path(__file__).parents[3]
TINY = {
    "resolution": "16",
    "g_width": "8",
    "d_width": "8",
    "z_dim": "8",
    "steps": "6",
    "epoch_steps": "3",
    "measure_every": "0",
}


def test_a_plan_has_every_combination_in_order():
    cells = plan(["digits-32"], {"lr": ["1e-4", "2e-4"], "batch": ["16", "32"]}, {})
    assert [cell.name for cell in cells] == [
        "lr=1e-4_batch=16",
        "lr=1e-4_batch=32",
        "lr=2e-4_batch=16",
        "lr=2e-4_batch=32",
    ]
    assert cells[1].varied == {"lr": "1e-4", "batch": "32"}


def test_presets_can_be_swept_too():
    assert [cell.name for cell in plan(["dense-1", "dense-2"], {}, {})] == ["dense-1", "dense-2"]


@pytest.mark.parametrize(
    ("presets", "over", "changes", "words"),
    [
        (["digts"], {}, {}, "Did you mean 'digits'"),
        (["digits-32"], {"lrr": ["1"]}, {}, "Did you mean 'lr'"),
        (["digits-32"], {"lr": ["fast"]}, {}, "a number"),
        (["digits-32"], {"lr": ["1e-4", "1e-4"]}, {}, "same run twice"),
        (["digits-32"], {"lr": ["1e-4"]}, {"lr": "2e-4"}, "given to both --over and --set"),
        (["dense-1"], {"g_upsampling": ["nearest"]}, {}, "does not use the field g_upsampling"),
        (["digits-32", "digits-32"], {}, {}, "same run twice"),
    ],
)
def test_a_wrong_plan_is_refused_before_anything_is_trained(presets, over, changes, words, tmp_path):
    with pytest.raises(UserError) as caught:
        sweep(presets, out=tmp_path / "sweep", over=over, changes=changes)
    assert words in str(caught.value)
    assert not (tmp_path / "sweep").exists()


@pytest.fixture(scope="module")
def swept(tmp_path_factory, drawing):
    folder = tmp_path_factory.mktemp("sweeps") / "grid"
    over = {"lr": ["1e-3", "1e-4"]}
    changes = {**TINY, "batch": "16"}
    with drawing():
        return sweep(["digits-32"], out=folder, over=over, real="digits:3", changes=changes, count=6, device="cpu")


def test_the_table_has_a_row_for_every_run(swept):
    rows = list(csv.DictReader(swept.table.open()))
    assert [row["lr"] for row in rows] == ["1e-3", "1e-4"]
    for row in rows:
        assert row["status"] == "done" and row["error"] == ""
        assert float(row["frechet_best"]) <= float(row["frechet_last"])
        assert 0 <= float(row["d_accuracy"]) <= 1 and float(row["images_per_s"]) > 0
        run = json.loads((swept.folder / "runs" / row["run"] / "run.json").read_text())
        assert str(run["preset"]["lr"]) == str(float(row["lr"]))
    assert len({row["frechet_last"] for row in rows}) == 2


def test_the_report_has_the_table_the_curves_and_every_mosaic(swept):
    page = swept.report.read_text()
    assert page.count("data:image/png;base64,") == 1 + 2
    assert "http" not in page.replace("http-equiv", "")
    assert all(row["run"] in page for row in swept.rows)


def test_a_finished_sweep_trains_nothing_again(swept):
    before = {p: p.stat().st_mtime_ns for p in swept.folder.rglob("metrics.jsonl")}
    over = {"lr": ["1e-3", "1e-4"]}
    again = sweep(
        ["digits-32"],
        out=swept.folder,
        over=over,
        real="digits:3",
        changes={**TINY, "batch": "16"},
        count=6,
        device="cpu",
    )
    assert again.rows == swept.rows
    assert {p: p.stat().st_mtime_ns for p in swept.folder.rglob("metrics.jsonl")} == before


def test_a_folder_of_another_sweep_is_refused(swept):
    with pytest.raises(UserError, match="sweep with other settings"):
        sweep(["digits-32"], out=swept.folder, over={"lr": ["1e-3"]}, real="digits:3")


def test_a_failed_run_has_a_row_and_the_others_are_trained(tmp_path):
    options = {"real": "digits:3", "changes": TINY, "count": 6, "device": "cpu"}
    made = sweep(["digits-32"], out=tmp_path / "s", over={"batch": ["16", "5000"]}, **options)
    assert made.failed == ["batch=5000"]
    rows = {row["batch"]: row for row in made.rows}
    assert rows["16"]["status"] == "done" and "fewer training images" in rows["5000"]["error"]


def results(folder):
    """Return the rows of a sweep's table without timings."""
    with (folder / "sweep.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in ("train_s", "images_per_s")} for row in csv.DictReader(file)]


def test_a_killed_sweep_resumes_to_the_same_table(swept, tmp_path, fakelab, start_fakelab):
    words = ["sweep", "generate", "digits-32", "--real", "digits:3", "--over", "lr=1e-3,1e-4", "--count", "6"]
    words += [word for name, value in TINY.items() for word in ("--set", f"{name}={value}")]
    words += ["--set", "batch=16", "--device", "cpu", "--out", str(tmp_path / "sweep")]
    victim = start_fakelab(*words)
    target = tmp_path / "sweep" / "runs" / "lr=1e-4" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not target.exists() and victim.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert not (tmp_path / "sweep" / "sweep.csv").exists(), "it was not stopped midway"
    assert fakelab(*words).returncode == 0
    assert results(tmp_path / "sweep") == results(swept.folder)


def test_the_package_exports_sweep():
    assert fakegen.sweep is sweep
