"""Going on by the folder's name alone, and what is said when that cannot be."""

import json
import shutil
import signal
import time
from pathlib import Path

import pytest

import fakedetect
from fakecore.errors import UserError
from fakedetect.training.resume import _from_out, _to_out
from fakelab import app as cli

SLOWER = ["--model", "cnn", "--set", "blocks=1", "--set", "epochs=12", "--set", "batch=16", "--set", "limit=100"]


def detect_train(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["detect-train", *map(str, words), "--device", "cpu"])
    return ended.value.code


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, write_folder, start) -> Path:
    """A working folder with `real` and `fake`, and `runs/det`, a training that was ended by SIGTERM after some epochs."""
    home = tmp_path_factory.mktemp("home")
    for name in ("real", "fake"):
        write_folder(home / name, 60, name)
    words = ["--real", "real", "--fake", "fake", "--seed", "5", "--out", "runs/det", *SLOWER]
    process = start("detect-train", *words, cwd=home)
    history = home / "runs" / "det" / "history.jsonl"
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        if history.exists() and history.read_bytes().count(b"\n") >= 2:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert "Resume with: " in said and "cli.py detect-train --resume --out runs/det" in said
    assert not (home / "runs" / "det" / "detector.json").exists()
    return home


@pytest.fixture
def home(stopped, tmp_path, monkeypatch) -> Path:
    """A copy of that working folder, as the working folder."""
    copy = tmp_path / "home"
    shutil.copytree(stopped, copy)
    monkeypatch.chdir(copy)
    return copy


def test_the_folder_alone_is_enough_and_ends_in_the_same_bytes_as_uninterrupted(home, monkeypatch, capsys):
    assert detect_train("--resume", "--out", "runs/det") == 0, capsys.readouterr().err
    words = ["--real", "real", "--fake", "fake", "--seed", "5", *SLOWER]
    assert detect_train("--out", "whole", *words) == 0, capsys.readouterr().err
    for name in ("history.jsonl", "detector.safetensors", "predictions.csv", "seen.npy"):
        assert (home / "runs" / "det" / name).read_bytes() == (home / "whole" / name).read_bytes(), name
    facts = json.loads((home / "runs" / "det" / "detector.json").read_text())
    assert (facts["seed"], facts["settings"]["epochs"], facts["training"]["origin"]["real"]) == (5, 12, "real")


def test_it_goes_on_from_another_working_folder_and_after_all_was_moved(home, monkeypatch, capsys):
    moved = home.rename(home.with_name("moved"))
    (moved / "elsewhere").mkdir()
    monkeypatch.chdir(moved / "elsewhere")
    assert detect_train("--resume", "--out", "../runs/det") == 0, capsys.readouterr().err
    assert str(moved.parent) not in (moved / "runs" / "det" / "training.json").read_text()


def test_without_out_the_newest_is_gone_on_with(home, capsys):
    assert detect_train("--resume") == 0
    assert "using runs/det" in capsys.readouterr().err and (home / "runs" / "det" / "detector.json").exists()


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["--set", "epochs=13"], "epochs: 12 -> 13"),
        (["--seed", "0"], "seed: 5 -> 0"),
        (["--set", "blocks=2", "--seed", "6"], "blocks: 1 -> 2; seed: 5 -> 6"),
        (["--real", "fake", "--fake", "real"], "started with other images"),
        (["--real", "gone"], "gone"),
    ],
)
def test_what_is_typed_must_agree_with_what_was_begun(home, capsys, typed, says):
    before = (home / "runs" / "det" / "history.jsonl").read_bytes()
    assert detect_train("--resume", "--out", "runs/det", *typed) == 2
    line = capsys.readouterr().err
    assert says in line and line.count("\n") == 1
    assert (home / "runs" / "det" / "history.jsonl").read_bytes() == before


def test_typed_again_as_it_was_it_goes_on_even_when_the_images_have_moved(home, capsys):
    (home / "real").rename(home / "photos")
    assert detect_train("--resume", "--out", "runs/det", "--seed", 5, "--set", "epochs=12", "--real", "photos") == 0


def test_images_that_have_gone_are_asked_for(home, capsys):
    (home / "fake").rename(home / "elsewhere")
    assert detect_train("--resume", "--out", "runs/det") == 2
    assert "are missing (got no fake). State their new place: give --fake." in capsys.readouterr().err


def test_stopped_after_its_last_epoch_it_is_finished_without_training(home, capsys):
    """As a kill amid the report leaves it."""
    assert detect_train("--resume", "--out", "runs/det") == 0
    det = home / "runs" / "det"
    before = {name: (det / name).read_bytes() for name in ("detector.safetensors", "history.jsonl", "predictions.csv")}
    (det / "detector.json").unlink()
    assert detect_train("--resume", "--out", "runs/det") == 0
    assert {name: (det / name).read_bytes() for name in before} == before


def test_images_that_changed_since_are_refused(home, capsys):
    (home / "real" / "0007.png").unlink()
    assert detect_train("--resume", "--out", "runs/det") == 2
    assert "started with other images, or they have changed" in capsys.readouterr().err


@pytest.mark.parametrize("typed", ["./digits", "digits:3", "real", "real:dog", "../up", "/a/b:c", None])
def test_places_are_found_again_as_they_were_typed(home, typed):
    assert _from_out(_to_out(typed, home / "runs" / "det"), Path("runs/det")) == typed


def test_a_stopped_training_is_not_called_a_detector_and_says_how_to_resume(home, capsys):
    assert detect_train("--real", "real", "--fake", "fake", "--out", "runs/det") == 2
    line = capsys.readouterr().err
    assert "already holds a detector" not in line
    assert "holds a training that was stopped" in line and "epochs done" in line
    assert "Resume with: fakelab detect-train --resume --out runs/det" in line


@pytest.mark.parametrize("damage", ["garbage", "cut", "emptied", "foreign", "history gone", "history garbled"])
def test_a_damaged_state_names_a_remedy_that_works(home, trained, capsys, damage):
    det = home / "runs" / "det"
    state = det / "state" / "latest.safetensors"
    if damage == "foreign":
        shutil.copy(trained.detector / "detector.safetensors", state)
    elif damage == "history gone":
        (det / "history.jsonl").unlink()
    elif damage == "history garbled":
        (det / "history.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n')
    else:
        state.write_bytes({"garbage": b"junk", "cut": state.read_bytes()[:5000], "emptied": b""}[damage])
    assert detect_train("--resume", "--out", "runs/det") == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "Remove runs/det/state/latest.safetensors and resume again" in line
    if damage in ("cut", "history garbled"):  # the others leave the same files as one of these
        state.unlink()
        assert detect_train("--resume", "--out", "runs/det") == 0
        assert (det / "history.jsonl").read_text().count("\n") == 12


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (None, "not valid JSON"),
        ({"settings": None}, "settings is missing"),
        ({"settings": {"epochs": "many"}}, "epochs could not be read"),
        ({"settings": {"epoch": 3}}, "no field 'epoch'"),
        ({"seed": "5"}, 'seed cannot be used (got "5"; expected a whole number, 0 or more)'),
        ({"images": {"real": "real"}}, "images.place is missing"),
    ],
)
def test_a_damaged_training_json_is_one_line_with_a_remedy(home, capsys, change, says):
    path = home / "runs" / "det" / "training.json"
    facts = json.loads(path.read_text()) | (change or {})
    text = json.dumps({name: value for name, value in facts.items() if value is not None})
    path.write_text(text if change else text[:50])
    assert detect_train("--resume", "--out", "runs/det") == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and says in line and "Remove runs/det and train again" in line


def test_a_place_taken_by_another_process_while_images_were_decoded_is_not_overwritten(
    tmp_path, small_set, monkeypatch
):
    load = fakedetect.train.__globals__["load_sources"]

    def slow(*words, **options):
        (tmp_path / "det").mkdir()
        (tmp_path / "det" / "training.json").write_text("{}")
        return load(*words, **options)

    monkeypatch.setitem(fakedetect.train.__globals__, "load_sources", slow)
    with pytest.raises(UserError, match="never overwritten"):
        fakedetect.train(small_set, out=tmp_path / "det", device="cpu")
    assert (tmp_path / "det" / "training.json").read_text() == "{}"
