"""Monitoring of a training run: chosen epochs are measured, the best is recorded, a collapse is reported."""

import json

import pytest

import fakegen
from fakecore.files import read_jsonl
from fakegen.quality.records import Collapse

EPOCHS = 4


def trained(folder, tiny, **changes):
    changes = {**tiny, "epochs": EPOCHS, "checkpoint_every": 100, "measure_every": 2, **changes}
    return fakegen.train("digits-32", out=folder / "run", real="digits:3", changes=changes, count=30, device="cpu")


@pytest.fixture(scope="module")
def measured(tiny, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("measured"), tiny).run


def test_chosen_epochs_are_measured_and_have_checkpoints(measured):
    rows = read_jsonl(measured / "quality.jsonl")
    assert [row["epoch"] for row in rows] == [2, 4]
    assert {row["n_fake"] for row in rows} == {1000} and all(row["comparable"] for row in rows)
    kept = sorted(path.stem for path in (measured / "checkpoints").glob("*.safetensors"))
    assert kept == ["epoch-0000", "epoch-0002", "epoch-0004"]
    assert (measured / "plots" / "quality.png").is_file()


def test_the_best_epoch_is_recorded(measured):
    rows = read_jsonl(measured / "quality.jsonl")
    best = json.loads((measured / "run.json").read_text())["best"]
    assert best["epoch"] == min(rows, key=lambda row: row["frechet"])["epoch"]
    assert best["n_real"] == rows[0]["n_real"] and best["features"] == rows[0]["features"]


def test_measuring_does_not_change_the_weights(measured, tiny, tmp_path):
    plain = trained(tmp_path, tiny, measure_every=0).run
    name = f"checkpoints/epoch-{EPOCHS:04d}.safetensors"
    assert (plain / name).read_bytes() == (measured / name).read_bytes()
    assert not (plain / "quality.jsonl").exists()


def test_a_collapse_is_reported_and_stops_the_run_if_requested(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Collapse, "notice", lambda self, rows: "collapse: all fakes are equal")
    made = trained(tmp_path, tiny, epochs=8, stop_on_collapse=True)
    facts = json.loads((made.run / "run.json").read_text())
    assert "collapse: all fakes are equal" in capsys.readouterr().err
    assert (facts["collapse"], facts["epoch"], facts["status"]) == ("collapse: all fakes are equal", 2, "done")
    origin = json.loads((made.set / "imageset.json").read_text())["origin"]
    assert origin["epoch"] == facts["best"]["epoch"] == 2
    again = fakegen.resume(made.run)
    assert again.epochs == 2


def test_a_collapse_does_not_stop_a_run_by_default(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(Collapse, "notice", lambda self, rows: "collapse: all fakes are equal")
    made = trained(tmp_path, tiny)
    assert made.epochs == EPOCHS
