import json
import shutil

import numpy as np
import pytest
from PIL import Image

import fakegen
from fakecore.errors import UserError
from fakecore.files import read_json, read_jsonl, write_json
from fakegen.quality.measure import parse_epochs


@pytest.fixture
def own_run(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def test_measure_writes_numbers_a_plot_and_the_best_epoch(own_run, drawn):
    found = fakegen.measure(own_run, count=60, features="random", device="cpu")
    assert [row.epoch for row in found.rows] == found.fresh == [0, 1, 2]
    lines = read_jsonl(own_run / "quality.jsonl")
    assert [line["epoch"] for line in lines] == [0, 1, 2]
    assert lines[0].keys() >= {"frechet", "kernel", "kernel_se", "precision", "recall", "diversity", "near_copies"}
    assert {line["n_fake"] for line in lines} == {60} and {line["features"] for line in lines} == {"random"}
    best = min(lines, key=lambda line: line["frechet"])
    assert read_json(own_run / "run.json")["best"]["epoch"] == best["epoch"] == found.best.epoch
    for name in ("quality", "nearest"):
        with Image.open(own_run / "plots" / f"{name}.png") as image:
            assert image.size[0] > 900 and np.asarray(image.convert("L")).std() > 10


def test_an_epoch_is_measured_once_unless_its_weights_or_the_settings_change(own_run):
    first = fakegen.measure(own_run, epochs="0,last", count=60, features="random", device="cpu")
    assert first.fresh == [0, 2]
    again = fakegen.measure(own_run, count=60, features="random", device="cpu")
    assert again.fresh == [1] and [row.epoch for row in again.rows] == [0, 1, 2]
    assert again.rows[0] == first.rows[0]
    assert fakegen.measure(own_run, epochs="1", count=50, features="random", device="cpu").fresh == [1]
    for suffix in (".safetensors", ".json"):  # as after training further with other weights
        shutil.copy(own_run / "checkpoints" / f"epoch-0001{suffix}", own_run / "checkpoints" / f"epoch-0002{suffix}")
    assert fakegen.measure(own_run, count=60, features="random", device="cpu").fresh == [2]


def test_the_same_call_gives_the_same_numbers(run, tmp_path):
    numbers = []
    for name in ("a", "b"):
        shutil.copytree(run, tmp_path / name)
        found = fakegen.measure(tmp_path / name, epochs="2", count=60, features="random", device="cpu")
        numbers.append((found.best.frechet, found.best.kernel, found.best.precision, found.best.near_copies))
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-6)


def test_real_images_that_changed_are_refused(own_run):
    with pytest.raises(UserError, match="real images have changed"):
        fakegen.measure(own_run, count=60, features="random", real="digits:4", device="cpu")
    assert not (own_run / "quality.jsonl").exists()


def test_a_stopped_measurement_is_resumed(own_run, monkeypatch):
    import fakegen.quality.records
    from fakecore.errors import Interrupted
    from fakecore.interrupt import StopRequest

    monkeypatch.setattr(StopRequest, "asked", True)
    with pytest.raises(Interrupted, match="after epoch 0"):
        fakegen.measure(own_run, count=60, features="random", device="cpu")
    monkeypatch.undo()
    assert fakegen.measure(own_run, count=60, features="random", device="cpu").fresh == [1, 2]


def test_a_remark_says_that_reals_are_few(own_run):
    found = fakegen.measure(own_run, epochs="last", count=60, features="random", device="cpu")
    assert any("Only 36 images for 192 dimensions" in line for line in found.remarks)


@pytest.mark.parametrize(
    ("text", "expected"), [("all", [0, 5, 10]), ("last", [10]), ("0, last", [0, 10]), ("10,5,5", [5, 10])]
)
def test_epochs_are_parsed(text, expected):
    assert parse_epochs(text, [0, 5, 10]) == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": "9"}, "no checkpoint of epoch 9.*one of 0, 1, 2.*nearest is 2"),
        ({"epochs": "first"}, "all, or numbers"),
        ({"epochs": "-1"}, "all, or numbers"),
        ({"epochs": ""}, "all, or numbers"),
        ({"count": 3}, "6 or more"),
        ({"features": "randon"}, "Did you mean 'random'"),
        ({"features": "classes"}, "two classes"),
        ({"weights": "nowhere.pth"}, "no file nowhere.pth"),
    ],
)
def test_a_wrong_request_gives_a_one_line_error(own_run, options, words):
    with pytest.raises(UserError, match=words):
        fakegen.measure(own_run, **{"count": 60, **options}, device="cpu")


def test_a_run_without_checkpoints_is_refused(own_run):
    shutil.rmtree(own_run / "checkpoints")
    with pytest.raises(UserError, match="no checkpoint yet"):
        fakegen.measure(own_run, device="cpu")


def test_the_command_prints_a_table_and_json(own_run, fakelab):
    words = ("measure", own_run, "--epochs", "0,last", "--count", 60, "--features", "random")
    done = fakelab(*words)
    assert done.returncode == 0, done.stderr
    facts = json.loads(fakelab(*words, "--json").stdout)
    assert [row["epoch"] for row in facts["epochs"]] == [0, 2] and facts["fresh"] == []
    assert f"{facts['best']['epoch']} *" in done.stdout and "±" in done.stdout
    assert f"{facts['best']['frechet']:.4g}" in done.stdout
    assert "60 fakes against 36 held-out reals; features: random (192" in done.stdout
    assert "Not comparable with published FID" in " ".join(done.stdout.split())
    assert "Traceback" not in done.stderr


def test_a_collapse_is_reported(own_run):
    found = fakegen.measure(own_run, count=60, features="random", device="cpu")
    assert found.collapse is None
    lines = read_jsonl(own_run / "quality.jsonl")
    lines[0]["frechet"] = lines[1]["frechet"] / 100
    (own_run / "quality.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    again = fakegen.measure(own_run, count=60, features="random", device="cpu")
    assert again.collapse.startswith("collapse: at epoch 2")
    assert again.best.epoch == 0


def test_a_wrong_weights_file_leaves_the_run_as_it_was(own_run):
    before = read_json(own_run / "run.json")
    write_json(own_run / "weights.pth", {})
    with pytest.raises(UserError):
        fakegen.measure(own_run, count=60, weights=own_run / "weights.pth", device="cpu")
    assert read_json(own_run / "run.json") == before
