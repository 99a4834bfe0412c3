"""Sweeps: one command, a run for every combination, one table."""

import csv
import json
import signal
import subprocess
import sys
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


def test_a_plan_is_every_combination_in_order():
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
        (["dense-1"], {"g_upsampling": ["nearest"]}, {}, "no g_upsampling"),
        (["digits-32", "digits-32"], {}, {}, "same run twice"),
    ],
)
def test_a_wrong_plan_is_refused_before_anything_is_trained(presets, over, changes, words, tmp_path):
    with pytest.raises(UserError) as caught:
        sweep(presets, out=tmp_path / "sweep", over=over, changes=changes)
    assert words in str(caught.value)
    assert not (tmp_path / "sweep").exists()


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweeps") / "grid"
    over = {"lr": ["1e-3", "1e-4"], "activation": ["relu", "leaky_relu"]}
    return sweep(
        ["digits-32"], out=folder, over=over, real="digits:3", changes={**TINY, "batch": "16"}, count=6, device="cpu"
    )


def test_the_table_has_a_row_for_every_run(swept):
    rows = list(csv.DictReader(swept.table.open()))
    assert [(row["lr"], row["activation"]) for row in rows] == [
        ("1e-3", "relu"),
        ("1e-3", "leaky_relu"),
        ("1e-4", "relu"),
        ("1e-4", "leaky_relu"),
    ]
    for row in rows:
        assert row["status"] == "done" and row["error"] == ""
        assert float(row["frechet_best"]) <= float(row["frechet_last"])
        assert 0 <= float(row["d_accuracy"]) <= 1 and float(row["train_s"]) > 0
        run = json.loads((swept.folder / "runs" / row["run"] / "run.json").read_text())
        assert str(run["preset"]["lr"]) == str(float(row["lr"])) and run["preset"]["activation"] == row["activation"]
    assert len({row["frechet_last"] for row in rows}) == 4


def test_the_page_carries_the_table_the_curves_and_every_mosaic(swept):
    page = swept.report.read_text()
    assert page.count("data:image/png;base64,") == 1 + 4
    assert "http" not in page.replace("http-equiv", "")
    assert all(row["run"] in page for row in swept.rows)


def test_again_it_trains_nothing(swept):
    before = {p: p.stat().st_mtime_ns for p in swept.folder.rglob("metrics.jsonl")}
    over = {"lr": ["1e-3", "1e-4"], "activation": ["relu", "leaky_relu"]}
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


def test_another_sweep_does_not_enter_the_folder(swept):
    with pytest.raises(UserError, match="sweep with other settings"):
        sweep(["digits-32"], out=swept.folder, over={"lr": ["1e-3"]}, real="digits:3")


def test_a_run_that_fails_keeps_its_row_and_the_others_go_on(tmp_path):
    changes = dict(TINY)
    made = sweep(
        ["digits-32"], out=tmp_path / "s", over={"batch": ["16", "5000"]}, real="digits:3", changes=changes, count=6
    )
    assert made.failed == ["batch=5000"]
    rows = {row["batch"]: row for row in made.rows}
    assert rows["16"]["status"] == "done" and "fewer training images" in rows["5000"]["error"]


def test_a_killed_sweep_ends_with_the_table_of_one_that_was_not(tmp_path, fakelab):
    words = ["sweep", "generate", "digits-32", "--real", "digits:3", "--over", "lr=1e-3,1e-4", "--count", "6"]
    words += [word for name, value in TINY.items() if "steps" not in name for word in ("--set", f"{name}={value}")]
    words += ["--set", "batch=16", "--set", "steps=40", "--set", "epoch_steps=40", "--device", "cpu", "--out"]
    command = [sys.executable, str(ROOT / "cli.py"), *words]
    victim = subprocess.Popen([*command, str(tmp_path / "a")], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    target = tmp_path / "a" / "runs" / "lr=1e-4" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not target.exists() and victim.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    for name in ("a", "b"):
        assert fakelab(*words, tmp_path / name).returncode == 0
    timings = ("train_s", "images_per_s")
    tables = [
        [
            {k: v for k, v in row.items() if k not in timings}
            for row in csv.DictReader((tmp_path / n / "sweep.csv").open())
        ]
        for n in ("a", "b")
    ]
    assert tables[0] == tables[1]


def test_runs_side_by_side_give_the_same_table(tmp_path):
    options = {"over": {"lr": ["1e-3", "1e-4"]}, "real": "digits:3", "changes": {**TINY, "batch": "16"}, "count": 6}
    made = sweep(["digits-32"], out=tmp_path / "two", jobs=2, device="cpu", **options)
    assert [row["status"] for row in made.rows] == ["done", "done"] and not made.failed


def test_it_is_a_verb_of_the_package_too():
    assert fakegen.sweep is sweep
