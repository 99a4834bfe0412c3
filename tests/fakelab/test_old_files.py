"""Files written by version 0.1.0 can be read, resumed and used for scoring."""

import csv
import json
import tarfile
from pathlib import Path

import pytest

from fakelab.race.cells import load_cell

SMALL = ["resolution=16", "upscale=true", "g_width=4", "d_width=4", "batch=16", "snapshot_side=2"]
SMALL += ["measure_every=0", "snapshot_every=100", "log_every=4", "checkpoint_every=1000"]


@pytest.fixture
def old(tmp_path):
    with tarfile.open(Path(__file__).parents[1] / "data/version-0.1.0.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


@pytest.mark.parametrize("detector", ["detector", "detector.onnx"])
def test_a_detector_gives_the_same_scores(fakelab, old, detector):
    done = fakelab("score", "run/set/test", "--detector", detector, "--json", cwd=old)
    assert done.returncode == 0, done.stderr
    now = {row["path"]: row for row in map(json.loads, done.stdout.splitlines())}
    with (old / "scores.csv").open() as file:
        before = {row["path"]: row for row in csv.DictReader(file)}
    assert now.keys() == before.keys() and len(before) == 16
    for path, row in before.items():
        assert now[path]["p_fake"] == pytest.approx(float(row["p_fake"]), abs=2e-6)
        assert now[path]["verdict"] == row["verdict"]


def test_a_results_file_is_resumed(fakelab, old):
    before = (old / "scores.csv").read_text()
    done = fakelab("score", "run/set/test", "--detector", "detector", "--out", "scores.csv", cwd=old)
    assert done.returncode == 0 and "16 of 16" in done.stderr
    assert (old / "scores.csv").read_text() == before


def test_a_run_can_be_sampled_verified_and_trained_on(fakelab, old):
    assert fakelab("sample", "run", "--count", 3, "--out", "more", cwd=old).returncode == 0
    assert fakelab("verify", "run", "--count", 5, cwd=old).returncode == 0
    shards = fakelab("verify", "shards", "--run", "run", cwd=old)
    assert shards.returncode == 0 and "12 of 12" in shards.stdout, shards.stderr
    assert fakelab("detect-train", "run", "--model", "dct", "--out", "again", cwd=old).returncode == 0
    done = fakelab("evaluate", "discriminator", "run", "--out", "tested", "--json", cwd=old)
    assert done.returncode == 0 and 0 <= json.loads(done.stdout)["metrics"]["auroc"] <= 1


def test_a_stopped_run_is_resumed(fakelab, old):
    done = fakelab("generate", "--resume", "--out", "stopped", "--epochs", 3, cwd=old)
    assert done.returncode == 0, done.stderr
    assert json.loads((old / "stopped/run.json").read_text())["status"] == "done"


def test_a_stopped_training_of_a_detector_is_resumed(fakelab, old):
    done = fakelab("detect-train", "--resume", "--out", "half", cwd=old)
    assert done.returncode == 0, done.stderr
    lines = (old / "half/history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, 9))
    assert (old / "half/detector.json").is_file()


def test_sweeps_and_a_race_are_found_finished(fakelab, old):
    made_when = {path: path.stat().st_mtime_ns for path in old.glob("sweep/detectors/*/detector.json")}
    assert len(made_when) == 2
    swept = fakelab("sweep", "detect-train", "run", "--over", "model=dct,spectrum", "--out", "sweep", "--json", cwd=old)
    assert swept.returncode == 0, swept.stderr
    listed = json.loads(swept.stdout)
    assert len(listed["runs"]) == 2 and not listed["failed"]
    assert {path: path.stat().st_mtime_ns for path in old.glob("sweep/detectors/*/detector.json")} == made_when
    words = [word for field in SMALL for word in ("--set", field)]
    swept = fakelab(
        *("sweep", "generate", "dcgan-64", "--real", "digits:3", "--epochs", 1, "--count", 16),
        *("--over", "lr=1e-4,2e-4", "--out", "gsweep", *words),
        cwd=old,
    )
    assert swept.returncode == 0, swept.stderr
    asked = ["--detectors", "dct,discriminator", "--epochs", "0,last", "--per-epoch", 60, "--seeds", 1, "--jobs", 1]
    old_cells = {path.stem for path in (old / "race/cells").glob("*.safetensors")}
    assert old_cells and all(load_cell(old / "race/cells", key) is not None for key in old_cells)
    raced = fakelab("benchmark", "run", *asked, "--out", "race", "--json", cwd=old)
    assert raced.returncode == 0, raced.stderr
    # Fakes sampled on another processor may differ by a grey level from those of the race, which then computes its cells anew.
    raced = fakelab("benchmark", "run", *asked, "--out", "race", "--json", cwd=old)
    assert set(json.loads(raced.stdout)["fresh"].values()) <= {0}
