import dataclasses
import hashlib
import json
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import fakedetect
from fakecore.errors import UserError
from fakedetect.data.loading import load_labelled
from fakedetect.models.registry import build_network
from fakedetect.models.settings import DetectorSettings
from fakedetect.training.batches import TrainingBatches, training_rows
from fakedetect.training.loop import best_epoch, fit
from fakelab import app as cli

SLOWER = (
    "model=cnn",
    "blocks=1",
    "epochs=14",
    "batch=16",
    "limit=100",
)  # enough epochs to be killed in


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def quick_fit(data, folder: Path, seed: int = 0, **changes):
    torch.manual_seed(seed)
    network = build_network("cnn", {"resolution": 16, "channels": 3, "blocks": 1})
    settings = DetectorSettings(**{"blocks": 1, "epochs": 2, "batch": 16, **changes})
    folder.mkdir()
    how = {"folder": folder, "seed": seed, "device": torch.device("cpu"), "precision": "fp32"}
    return fit(network, data, settings, **how)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory, write_set):
    """Ten reals to each fake."""
    return load_labelled(write_set(tmp_path_factory.mktemp("uneven") / "set", reals=200, fakes=20))


def test_every_batch_is_half_reals_half_fakes_and_every_image_is_seen(uneven):
    rows = training_rows(uneven, None, 0)
    assert (len(rows[0]), len(rows[1])) == (120, 12)
    settings = DetectorSettings(batch=16, flip=0, jpeg=0, blur=0, resize=0)
    seen = {0: [], 1: []}
    (batches,) = TrainingBatches(uneven, rows, settings, 3).epoch(0)
    for images, labels in batches:
        assert len(images) == len(labels) == 16 and labels.sum() == 8
        for image, label in zip(images.numpy(), labels, strict=True):
            seen[int(label)].append(image.tobytes())
    for label in (0, 1):
        assert set(seen[label]) == {uneven.images[row].tobytes() for row in rows[label]}
    assert len(seen[0]) == len(set(seen[0])), "a real came twice before all had come once"


def test_images_keep_their_own_labels_on_the_way_into_a_batch(uneven):
    label_of = {image.tobytes(): label for image, label in zip(uneven.images, uneven.labels, strict=True)}
    settings = DetectorSettings(batch=8, flip=0, jpeg=0, blur=0, resize=0)
    (batches,) = TrainingBatches(uneven, training_rows(uneven, None, 0), settings, 1).epoch(0)
    for images, labels in batches:
        assert [label_of[image.tobytes()] for image in images.numpy()] == labels.tolist()


def test_training_rows_are_of_the_train_split_alone(small_data):
    for label, rows in enumerate(training_rows(small_data, None, 0)):
        assert (small_data.splits[rows] == "train").all() and (small_data.labels[rows] == label).all()


def test_limit_takes_half_of_it_from_each_class_by_the_seed(small_data):
    reals, fakes = training_rows(small_data, 30, 0)
    assert len(reals) == len(fakes) == 15 == len(set(reals))
    assert set(reals) <= set(small_data.rows("train", 0)) and set(fakes) <= set(small_data.rows("train", 1))
    assert np.array_equal(training_rows(small_data, 30, 0)[0], reals)
    assert not np.array_equal(training_rows(small_data, 30, 1)[0], reals)


def test_thebest_epoch_is_by_auroc_then_by_loss_then_the_first():
    def line(epoch, auroc, loss):
        return {"epoch": epoch, "val_auroc": auroc, "val_loss": loss}

    assert best_epoch([line(1, 0.7, 0.1), line(2, 0.9, 0.6), line(3, 0.9, 0.5), line(4, 0.9, 0.5)]) == 3


def test_the_seed_decides_the_weights(small_data, tmp_path):
    def weights(name, seed):
        state = quick_fit(small_data, tmp_path / name, seed, jpeg=0.5, blur=0.5, resize=0.5).network.state_dict()
        return [tensor.numpy().tobytes() for tensor in state.values()]

    one = weights("one", 3)
    assert weights("two", 3) == one
    assert weights("three", 4) != one


def test_the_network_that_comes_back_is_that_of_thebest_epoch(small_data, tmp_path):
    """At a wild rate the last epoch is not the best: the weights handed back must give the best epoch's AUROC."""
    from sklearn.metrics import roc_auc_score

    from fakedetect.models.detector import network_logits

    checked = 0
    for seed in range(4):
        found = quick_fit(small_data, tmp_path / str(seed), seed, epochs=4, rate=0.05, jpeg=1, weight_decay=0)
        val = small_data.rows("val")
        logits = network_logits(found.network, small_data.images[val], torch.device("cpu"))
        best = found.history[found.best_epoch - 1]
        assert roc_auc_score(small_data.labels[val], logits) == pytest.approx(best["val_auroc"])
        assert best["val_auroc"] == max(line["val_auroc"] for line in found.history)
        checked += found.best_epoch < len(found.history)
    assert checked, "the last epoch was always the best, so this test shows nothing"


def test_a_loss_that_is_not_finite_stops_the_training_and_names_the_epoch(small_data, tmp_path):
    torch.manual_seed(0)
    network = build_network("cnn", {"resolution": 16, "channels": 3, "blocks": 1})
    torch.nn.init.constant_(network.head.bias, float("nan"))
    how = {"folder": tmp_path, "seed": 0, "device": torch.device("cpu"), "precision": "fp32"}
    with pytest.raises(UserError, match=r"not finite in epoch 1.*rate"):
        fit(network, small_data, DetectorSettings(blocks=1, epochs=1), **how)


@pytest.fixture(scope="module")
def killed(tmp_path_factory, small_set, start):
    """The folder of a real `detect-train` that was ended by SIGKILL amid its epochs."""
    out = tmp_path_factory.mktemp("killed") / "det"
    words = [word for change in SLOWER for word in ("--set", change)]
    process = start("detect-train", small_set, "--out", out, *words)
    history = out / "history.jsonl"
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        if history.exists() and history.read_bytes().count(b"\n") >= 3:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 3 <= history.read_bytes().count(b"\n") < 14
    assert (out / "state" / "latest.safetensors").exists() and not (out / "detector.json").exists()
    return out


def changes_of(assignments) -> dict:
    return dict(assignment.split("=") for assignment in assignments)


@pytest.mark.parametrize("change", [{"rate": "0.01"}, {"epochs": "15"}, {"seed": 1}])
def test_resume_with_other_settings_is_refused_by_name(killed, small_set, change):
    before = (killed / "history.jsonl").read_bytes()
    seed = change.get("seed", 0)
    changes = changes_of(SLOWER) | {name: value for name, value in change.items() if name != "seed"}
    with pytest.raises(UserError, match=f"{next(iter(change))}: .* -> "):
        fakedetect.train(small_set, out=killed, changes=changes, seed=seed, device="cpu", resume=True)
    assert (killed / "history.jsonl").read_bytes() == before


def test_without_resume_a_stopped_training_is_not_overwritten(killed, small_set):
    with pytest.raises(UserError, match="--resume"):
        fakedetect.train(small_set, out=killed, changes=changes_of(SLOWER), device="cpu")


def test_resume_on_other_images_is_refused(killed, tmp_path, write_set):
    """A copy is resumed, for where this is not refused it would spoil the folder."""
    copy = tmp_path / "det"
    shutil.copytree(killed, copy)
    other = write_set(tmp_path / "set", seed=99)
    with pytest.raises(UserError):
        fakedetect.train(other, out=copy, changes=changes_of(SLOWER), device="cpu", resume=True)


def test_resume_where_nothing_was_begun_is_refused(tmp_path, small_set):
    with pytest.raises(UserError, match="no stopped training"):
        fakedetect.train(small_set, out=tmp_path / "none", device="cpu", resume=True)


def test_a_finished_detector_cannot_be_resumed(trained, small_set, quick):
    with pytest.raises(UserError, match="finished"):
        fakedetect.train(small_set, out=trained.detector, changes=quick, device="cpu", resume=True)


def test_killed_and_resumed_ends_in_the_same_bytes_as_uninterrupted(killed, small_set, tmp_path, capsys):
    """Last of those that use `killed`: it finishes the training there."""
    words = ["--device", "cpu", *(word for change in SLOWER for word in ("--set", change))]
    for out, more in ((tmp_path / "whole", []), (killed, ["--resume"])):
        with pytest.raises(SystemExit) as ended:
            cli.main(["detect-train", str(small_set), "--out", str(out), *words, *more])
        assert ended.value.code == 0, capsys.readouterr().err
    for name in ("history.jsonl", "detector.safetensors", "state/latest.safetensors", "predictions.csv"):
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    lines = [json.loads(line) for line in (killed / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 15))


def test_settings_of_one_training_reach_its_detector(trained, quick):
    facts = json.loads((trained.detector / "detector.json").read_text())
    settings = dataclasses.asdict(DetectorSettings()) | quick
    assert facts["settings"] == settings
    assert facts["sha256"] == sha256(trained.detector / "detector.safetensors")
    assert [path.name for path in (trained.detector / "state").iterdir()] == ["latest.safetensors"]
