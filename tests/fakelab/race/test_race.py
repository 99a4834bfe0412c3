import csv
import io
import json
import re
import shutil
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.datasets import load_digits

import fakedetect
import fakegen
from fakecore.device import choose_device
from fakecore.errors import UserError
from fakecore.runs.runfolder import locked
from fakedetect.models.detector import Detector
from fakegen.runs.reals import Reals
from fakegen.runs.run import open_run
from fakelab.race import workers as race_workers
from fakelab.race.cells import CELLS_VERSION, load_cell
from fakelab.race.contestants import Contestant, open_contestants, trials
from fakelab.race.fits import train_and_score
from fakelab.race.numbers import COLUMNS, TIMINGS
from fakelab.race.sets import _race_run, choose_epochs, open_race_runs

ASKED = ("--per-epoch", 60, "--seeds", 2, "--jobs", 1, "--device", "cpu", "--json")
CPU = choose_device("cpu")


def make_run(out, real, seed=0, epochs=2, count=None):
    small = {"resolution": 16, "g_width": 8, "d_width": 8, "measure_every": 0, "checkpoint_every": 1, "epochs": epochs}
    fakegen.train("digits-32", real=str(real), out=out, seed=seed, count=count, changes=small, device="cpu")
    return out


@pytest.fixture(scope="module")
def threes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reals") / "threes"
    folder.mkdir()
    data = load_digits()
    for number, image in enumerate(data.images[data.target == 3]):
        cv2.imwrite(str(folder / f"{number:03d}.png"), (image * 15).astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def run(threes, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("race") / "run", threes)


@pytest.fixture(scope="module")
def finished(run, tmp_path_factory, fakelab, drawing):
    """A finished race: (folder, JSON output)."""
    out = tmp_path_factory.mktemp("finished") / "race"
    words = ("--detectors", "dct,discriminator", "--epochs", "0,1,last", "--out", out, *ASKED)
    with drawing():
        done = fakelab("benchmark", run, *words)
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def results(out, without=()):
    lines = list(csv.DictReader(io.StringIO((out / "results.csv").read_text())))
    return [{name: value for name, value in line.items() if name not in without} for line in lines]


def test_a_race_writes_all_files_and_rows(finished):
    out, facts = finished
    for name in ("curves", "snapshots", "matrix-dct", "matrix-discriminator"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert not (out / "cross.png").exists()
    page = (out / "report.html").read_text()
    assert facts["headline"].split(".")[0] in page and "<script src" not in page and 'src="http' not in page
    rows = results(out)
    assert tuple(rows[0]) == COLUMNS and facts["rows"] == len(rows)
    dct = [row for row in rows if row["detector"] == "dct"]
    assert len(dct) == (3 + 1) * 3 * 2  # trained on three epochs and on all, tested on three, two seeds
    assert {row["train_epoch"] for row in dct} == {"0", "1", "2", "all"}
    own = [row for row in rows if row["detector"] == "discriminator"]
    assert len(own) == 3 * 3 * 2 and all(row["fit_seconds"] == "" for row in own)
    assert {row["n_real"] for row in rows if row["detector"] in ("dct", "coin")} == {"18"}
    assert all(row["auroc"] == "0.5" for row in rows if row["detector"] == "metadata")


def test_a_killed_race_resumes_in_several_processes_with_the_same_results(
    run, finished, tmp_path, fakelab, monkeypatch
):
    monkeypatch.setattr(race_workers, "START_S", 0.0)  # a race this small starts no processes otherwise
    words = [run, "--detectors", "dct,discriminator", "--epochs", "0,1,last", "--out", tmp_path / "r", *ASKED]
    module = [sys.executable, "-m", "benchmarks.per_epoch", *map(str, words)]  # the command by its other name
    cells = tmp_path / "r" / "cells"
    with subprocess.Popen(module, cwd=Path(__file__).parents[3], stderr=subprocess.PIPE) as race:
        deadline = time.monotonic() + 200
        while not list(cells.glob("trained-*.json")) and race.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        race.kill()
    trained = sorted(cells.glob("trained-*.json"))
    assert trained and not (tmp_path / "r" / "results.csv").exists()
    for cell in trained[1:]:  # as if it had been killed after the first training
        cell.unlink()
    done = fakelab("benchmark", *words, "--jobs", 2)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["fresh"]["trainings"] == 7
    assert results(tmp_path / "r", TIMINGS) == results(finished[0], TIMINGS)


def test_an_interrupted_race_leaves_no_process_behind(run, tmp_path, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(race_workers, "as_completed", interrupted)
    (race_run,), _ = open_race_runs([run], "last", 60, CPU)
    (contestant,) = open_contestants(["cnn"], {}, "cpu")
    jobs = {trial.job.key: trial.job for trial in trials(contestant, [race_run], [0, 1], ["none"])}
    with pytest.raises(KeyboardInterrupt), race_workers.Workers(tmp_path, CPU, 2) as workers:
        workers("cnn", [(job, []) for job in jobs.values()])
    assert len(jobs) == 2 and not active_children()


def test_a_larger_race_computes_only_what_is_new(run, finished, tmp_path, fakelab):
    out = shutil.copytree(finished[0], tmp_path / "race")
    again = fakelab("benchmark", run, "--detectors", "dct", "--epochs", "0,1,last", "--out", out, *ASKED)
    assert json.loads(again.stdout)["fresh"] == {"distances": 0, "trainings": 0, "detectors scored": 0}
    fewer = fakelab("benchmark", run, "--detectors", "spectrum,dct", "--epochs", "1,last", "--out", out, *ASKED)
    fresh = json.loads(fewer.stdout)["fresh"]
    assert fresh["trainings"] == 3 * 2 + 2  # those of spectrum, and of dct on "all" epochs, which differ now
    own = [
        [row for row in results(place, TIMINGS) if row["detector"] == "dct" and row["train_epoch"] in ("1", "2")]
        for place in (finished[0], out)
    ]
    assert own[1] == [row for row in own[0] if row["test_epoch"] != "0"]


def test_a_damaged_training_state_is_ignored_and_removed(run, tmp_path):
    (race_run,), _ = open_race_runs([run], "last", 60, CPU)
    (contestant,) = open_contestants(["cnn"], {"epochs": 1}, "cpu")
    job = trials(contestant, [race_run], [0], ["none"])[0].job
    state = tmp_path / f"begun-{job.key}"
    (state / "state").mkdir(parents=True)
    (state / "state" / "latest.safetensors").write_bytes(b"cut short")
    train_and_score(job, [], tmp_path, CPU)
    assert load_cell(tmp_path, job.key)[1]["best_epoch"] == 1 and not state.exists()


def test_settings_that_a_detector_does_not_use_do_not_change_it():
    changes = {"pretrained": "false", "epochs": 3}
    plain, changed = (open_contestants(["dct", "cnn"], own, "cpu") for own in ({}, changes))
    assert changed[0].settings == plain[0].settings
    assert changed[1].settings.pretrained and changed[1].settings.epochs == 3


@pytest.mark.parametrize("changes", [{"limit": 20}, {"copies": 2}])
def test_settings_reach_detectors_on_features(run, tmp_path, changes):
    (race_run,), _ = open_race_runs([run], "last", 60, CPU)
    heads = []
    for own in ({}, changes):
        (contestant,) = open_contestants(["spectrum"], own, "cpu")
        job = trials(contestant, [race_run], [0], ["none"])[0].job
        train_and_score(job, [], tmp_path, CPU)
        heads.append(load_cell(tmp_path, job.key)[0]["linear.weight"])
    assert not np.allclose(*heads)


def test_detectors_are_tested_across_runs_and_on_degraded_images(run, tmp_path, fakelab, drawn):
    other = shutil.copytree(run, tmp_path / "copy")
    words = ("--detectors", "spectrum", "--epochs", "1,last", "--degrade", "jpeg75", "--out", tmp_path / "r")
    done = fakelab("benchmark", run, other, *words, *ASKED, "--seeds", 1)
    assert done.returncode == 0, done.stderr
    rows = results(tmp_path / "r", TIMINGS)
    assert (tmp_path / "r" / "cross.png").is_file()
    spectrum = [row for row in rows if row["detector"] == "spectrum"]
    assert {row["run"] for row in spectrum} == {"run", "copy", "run > copy", "copy > run"}
    assert {row["degrade"] for row in spectrum} == {"none", "jpeg75"}

    def of(run_name):
        wanted = ("train_epoch", "test_epoch", "degrade", "seed", "auroc")
        cross_auroc = [[row[name] for name in wanted] for row in spectrum if row["run"] == run_name]
        return [one for one in cross_auroc if one[0] in (one[1], "all")]

    assert of("run > copy") == of("run")  # the fakes of the copy are the same


def test_no_training_real_is_a_test_real(tmp_path):
    # The two seeds split the same reals differently: training reals of either are no test reals of the other.
    runs = [make_run(tmp_path / f"run{seed}", "digits", seed, epochs=0, count=3) for seed in range(2)]
    race_runs, problems = open_race_runs(runs, "last", 60, CPU)
    assert problems == []
    tested, trained = [], []
    for one in race_runs:
        pixels = [image.tobytes() for image in one.reals.images()]
        tested += [pixels[row] for row in one.test_reals]
        for seed in range(3):
            rows, val = one.split_reals(seed)
            trained += [pixels[row] for row in [*rows, *val]]
            parts = one.split_fakes(seed)
            assert sorted(np.concatenate(parts)) == list(range(one.n_train + one.n_test))
        trained += [image.tobytes() for image in one.source.images[one.source.train_rows()]]
    assert tested and not set(tested) & set(trained)


def test_training_on_all_epochs_uses_as_many_fakes_as_on_one(run):
    (race_run,), _ = open_race_runs([run], "0,1,2", 60, CPU)
    (contestant,) = open_contestants(["dct"], {}, "cpu")
    planned = trials(contestant, [race_run], [0], ["none"])
    jobs = {trial.train_epoch: trial.job for trial in planned}
    rows = [sorted(np.concatenate([share.train for share in jobs[name].fakes])) for name in ("all", 1)]
    assert rows[0] == rows[1] and len(jobs["all"].fakes) == 3


def test_a_damaged_checkpoint_is_reported_and_left_out(run, tmp_path, fakelab):
    broken = shutil.copytree(run, tmp_path / "broken")
    weights = broken / "checkpoints" / "epoch-0001.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    (broken / "checkpoints" / "epoch-0000.json").unlink()
    done = fakelab("benchmark", broken, "--detectors", "spectrum", "--epochs", "all", "--out", tmp_path / "r", *ASKED)
    assert done.returncode == 1
    assert "epoch-0001.safetensors" in done.stderr and "epoch-0000" in done.stderr
    assert {row["test_epoch"] for row in results(tmp_path / "r")} == {"2"}


def test_a_finished_detector_is_not_tested_on_its_training_images(run, tmp_path, fakelab, monkeypatch):
    monkeypatch.setattr("fakedetect.training.train.write_report", lambda *_, **__: None)
    made = fakedetect.train(run, out=tmp_path / "mine", changes={"model": "spectrum"}, device="cpu")
    words = ("--detectors", made.detector, "--epochs", "0,last", "--out", tmp_path / "r", *ASKED, "--per-epoch", 120)
    done = fakelab("benchmark", run, *words)
    rows = [row for row in results(tmp_path / "r") if row["detector"] == "mine"]
    assert {row["train_epoch"] for row in rows} == {"fixed"} and {row["n_fake"] for row in rows} == {"36"}
    # Of the 36 test reals, those of its validation split are left out.
    assert "left out" in done.stderr and all(10 <= int(row["n_real"]) < 36 for row in rows)


@pytest.mark.parametrize(
    ("resolution", "channels", "quality"),
    [(16, 3, None), (16, 3, 30), (24, 3, None), (16, 1, None)],
    ids=["as they are", "equalised", "another size", "grey"],
)
def test_a_finished_detector_sees_images_prepared_as_score_does(resolution, channels, quality):
    asked = []
    preprocessing = {"resolution": resolution, "channels": channels, "equalise_jpeg": quality}
    detector = Detector(None, {"preprocessing": preprocessing}, CPU)
    detector.logits = asked.append
    images = np.random.default_rng(0).integers(0, 255, (2, 3, 16, 16), dtype=np.uint8)
    Contestant("x", detector=detector).logits(images)
    assert asked[0].shape == (2, channels, resolution, resolution)
    same = asked[0].shape == images.shape and (asked[0] == images).all()
    assert same == (quality is None and (resolution, channels) == (16, 3))


def test_damaged_files_of_a_race_are_computed_again(run, finished, tmp_path, fakelab):
    out = shutil.copytree(finished[0], tmp_path / "race")
    facts = json.loads((out / "race.json").read_text())
    cut = [next((out / "cells").glob(pattern)) for pattern in ("trained-*.json", "logits-*.safetensors", "dist*.json")]
    for path in (*cut, out / "race.json"):
        path.write_bytes(path.read_bytes()[:50])
    words = ("--detectors", "dct,discriminator", "--epochs", "0,1,last", "--out", out, *ASKED)
    done = fakelab("benchmark", run, *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["fresh"] == {"distances": 1, "trainings": 1, "detectors scored": 1}
    assert results(out, TIMINGS) == results(finished[0], TIMINGS)
    (out / "race.json").write_text(json.dumps({**facts, "version": CELLS_VERSION + 1}))
    done = fakelab("benchmark", run, "--detectors", "dct", "--epochs", "last", "--out", out, *ASKED)
    assert done.returncode == 0 and "another version" in done.stderr


def test_reals_that_moved_are_read_from_the_new_place_or_from_the_set(run, threes, finished, tmp_path, fakelab):
    lost = shutil.copytree(run, tmp_path / "run")
    facts = json.loads((lost / "run.json").read_text())
    facts["source"]["spec"] = str(tmp_path / "gone")
    (lost / "run.json").write_text(json.dumps(facts))
    words = ("--detectors", "dct,discriminator", "--epochs", "0,1,last", *ASKED)
    for where, expected in (((), "in .*run/set are used, all of them"), (("--real", threes), "^$")):
        out = shutil.copytree(finished[0], tmp_path / f"race{len(where)}")
        done = fakelab("benchmark", lost, *words, *where, "--out", out)
        assert done.returncode == 0 and re.search(expected, done.stderr), done.stderr
        assert not any(json.loads(done.stdout)["fresh"].values())  # the images are the same
    done = fakelab("benchmark", lost, *words, "--real", "digits:4", "--out", tmp_path / "r")
    assert done.returncode == 2 and re.search("other images .*got digits:4: 181 images, .*183 images", done.stderr)
    shutil.rmtree(lost / "set")
    done = fakelab("benchmark", lost, *words, "--out", tmp_path / "r")
    assert done.returncode == 2 and re.search("cannot be found: there is no folder .* --real FOLDER", done.stderr)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--epochs", "7"), "no checkpoint of epoch 7"),
        (("--epochs", "x"), "--epochs could not be read"),
        (("--detectors", "dtc"), "no detector model 'dtc'.*'dct'"),
        (("--detectors", "dct,dct"), "named twice"),
        (("--detectors", "runs/none"), "runs/none is not a detector .*no such folder"),
        (("--detectors", ""), "--detectors is empty"),
        (("--detectors", "ensemble:a,b"), "not trained for each epoch"),
        (("--degrade", "jpg75"), "no degradation 'jpg'"),
        (("--per-epoch", 10), "--per-epoch is out of range.*40 or more"),
        (("--seeds", 0), "--seeds is out of range"),
        (("--jobs", 0), "--jobs is out of range"),
        (("--set", "nonsense=1"), "no field 'nonsense'"),
        (("--set", "resolution=32"), "resolution cannot be set in a race .*of the runs"),
        (("--real", "nowhere/"), "there is no folder 'nowhere/'"),
    ],
)
def test_an_invalid_request_is_one_line(run, words, expected, tmp_path, fakelab):
    options = dict(zip(ASKED[:-1:2], ASKED[1::2], strict=True)) | dict([words])
    flat = [part for pair in options.items() for part in pair]
    done = fakelab("benchmark", run, "--out", tmp_path / "r", *flat)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert re.search(expected, done.stderr), done.stderr


def test_a_run_in_training_is_refused(run, tmp_path, fakelab):
    busy = shutil.copytree(run, tmp_path / "busy")
    facts = json.loads((busy / "run.json").read_text())
    (busy / "run.json").write_text(json.dumps({**facts, "status": "running"}))
    with locked(busy):
        done = fakelab("benchmark", busy, "--out", tmp_path / "r", *ASKED)
    assert done.returncode == 2 and "still being trained" in done.stderr


def test_a_folder_with_other_files_is_refused(run, tmp_path, fakelab):
    (tmp_path / "notes.txt").write_text("notes")
    done = fakelab("benchmark", run, "--out", tmp_path, *ASKED)
    assert done.returncode == 2 and "contains other files" in done.stderr


def test_too_few_test_reals_are_refused_and_fewer_than_asked_are_noted(run, capsys):
    splits = np.array(["train"] * 60 + ["val"] * 5 + ["test"] * 7)
    images = np.random.default_rng(0).integers(0, 255, (72, 1, 16, 16), dtype=np.uint8)
    names = [str(number) for number in range(72)]
    reals = Reals("x", images, splits, names, [None] * 72, [None] * 72, names, [], "f", 16)
    race_run = _race_run("x", open_run(run), reals, {"last": 2}, 100, set(names[:60]))
    assert (race_run.n_train, race_run.n_test) == (60, 12)
    assert "12 reals to test on, not 30" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"too few reals to test on \(got 7 held out"):
        _race_run("x", open_run(run), reals, {"last": 2}, 100, set(names[:65]))


def test_default_epochs_are_spread_over_the_run():
    (own,) = choose_epochs(None, [[*range(0, 36, 2), 35]])
    assert len(own) == 6 and own["0"] == 0 and own["last"] == 35
    first, second = choose_epochs(None, [[0, 1, 2, 4], [0, 2, 4, 9]])
    assert first == {"0": 0, "2": 2, "last": 4} and second == {"0": 0, "2": 2, "last": 9}
    with pytest.raises(UserError, match="no epoch in common"):
        choose_epochs(None, [[0, 1], [2]])
    with pytest.raises(UserError, match=r"^b: the run has no checkpoint of epoch 1"):
        choose_epochs("1", [[0, 1], [0]], ["a", "b"])
