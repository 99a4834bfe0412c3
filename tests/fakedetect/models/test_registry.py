"""Every model alike: trained by its name on a small set, saved, loaded, and asked again."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import fakedetect
from fakecore.errors import UserError
from fakedetect import Detector
from fakedetect.data.overlap import count_seen
from fakedetect.models.backbones import TimmFeatures, load_pretrained
from fakedetect.models.calibration import Scaling
from fakedetect.models.registry import build_network, get_model
from fakedetect.training import probe as probing

TINY = "timm:test_resnet"  # timm's own for tests: 0.5 million parameters
SMALL = {"input_size": 32, "epochs": 2, "batch": 16, "jpeg": 0, "blur": 0, "resize": 0}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of the tiny backbone, as a torch file with its classifier, as published ones are."""
    import timm

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    torch.save(timm.create_model("test_resnet", pretrained=False, num_classes=1000).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def cases(weights):
    return {
        "dct": {},
        "dct by svm": {"model": "dct", "probe": "svm"},
        "lite": {},
        "spectrum": {},
        "spectrum, copies": {"model": "spectrum", "copies": 2, "jpeg": 0, "blur": 0, "resize": 0},
        "timm head": {"model": TINY, "weights": str(weights), "copies": 2, **SMALL},
        "timm linear": {"model": TINY, "weights": str(weights), "probe": "linear", "copies": 0, "input_size": 32},
        "timm flatten": {"model": TINY, "weights": str(weights), "pool": "flatten", "copies": 1, **SMALL},
        "timm finetune": {"model": TINY, "weights": str(weights), "train": "finetune", "frozen_layers": 4, **SMALL},
        "timm scratch": {"model": TINY, "pretrained": False, **SMALL},
    }


NAMES = ["lite", "dct", "dct by svm", "spectrum", "spectrum, copies", "timm head", "timm linear", "timm flatten"]
NAMES += ["timm finetune", "timm scratch"]


@pytest.fixture(scope="module")
def made(small_set, cases, tmp_path_factory):
    """A function: the detector of a case, trained once."""
    folder, done = tmp_path_factory.mktemp("models"), {}

    def train(name: str):
        if name not in done:
            changes = {"model": name, **cases[name]}
            done[name] = fakedetect.train(small_set, out=folder / name, changes=changes, device="cpu")
        return done[name]

    return train


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_and_says_the_same_after_loading(made, name, small_data):
    trained = made(name)
    detector = Detector.load(trained.detector, "cpu")
    rows = [line.split(",") for line in (trained.detector / "predictions.csv").read_text().splitlines()[1:]]
    again = detector.logits(small_data.images)
    assert np.allclose(again, [float(row[3]) for row in rows], atol=1e-3)
    assert trained.metrics["outside_domain"] is not None
    assert (trained.report.parent / "metrics.json").is_file()


@pytest.mark.parametrize("name", ["dct", "dct by svm", "spectrum"])
def test_frequency_detectors_find_a_checkerboard(made, name):
    assert made(name).metrics["auroc"] > 0.98


def test_a_head_learns_on_features_of_an_untrained_backbone(made):
    assert made("timm linear").metrics["auroc"] > 0.75


def test_finetuning_leaves_frozen_layers_as_they_were_and_moves_others(made, weights):
    before = torch.load(weights, weights_only=True)
    network = Detector.load(made("timm finetune").detector, "cpu").network.features.network.state_dict()
    assert torch.equal(network["conv1.0.weight"], before["conv1.0.weight"])
    assert torch.equal(network["conv1.1.running_mean"], before["conv1.1.running_mean"])
    last = [name for name in before if name.startswith("layer4") and name.endswith("conv2.weight")][-1]
    assert not torch.equal(network[last], before[last])


def test_from_scratch_is_written_down(made):
    facts = json.loads((made("timm scratch").detector / "detector.json").read_text())
    assert facts["backbone"] == {"name": "test_resnet", "weights": None}
    assert "from scratch" in made("timm scratch").report.read_text()
    weights = json.loads((made("timm head").detector / "detector.json").read_text())["backbone"]["weights"]
    assert weights.startswith("tiny.pth, sha256 ")


def test_features_are_computed_once(made, small_set, cases, tmp_path, monkeypatch):
    made("timm head")

    def never(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(probing, "save_tensors", never)
    changes = {"model": TINY, **cases["timm head"], "epochs": 3}
    fakedetect.train(small_set, out=tmp_path / "again", changes=changes, device="cpu")


def test_an_ensemble_averages_calibrated_logits(made, small_set, small_data, tmp_path):
    paths = [made(name).detector for name in ("dct", "spectrum")]
    changes = {"model": f"ensemble:{paths[0]},{paths[1]}"}
    detector = Detector.load(fakedetect.train(small_set, out=tmp_path / "both", changes=changes).detector, "cpu")
    members = [Detector.load(path, "cpu") for path in paths]
    expected = np.mean([Scaling.of(one.facts).odds(one.logits(small_data.images)) for one in members], axis=0)
    assert np.allclose(detector.logits(small_data.images), expected, atol=1e-4)
    assert detector.facts["model"] == "ensemble" and len(detector.facts["members"]) == 2
    assert detector.domain is not None


def test_an_ensemble_knows_what_its_members_were_trained_on(made, write_set, small_data, tmp_path):
    members = [shutil.copytree(made(name).detector, tmp_path / name) for name in ("dct", "spectrum")]
    changes = {"model": f"ensemble:{members[0]},{members[1]}"}
    other = write_set(tmp_path / "set", reals=20, fakes=20, seed=8)
    fakedetect.train(other, out=tmp_path / "both", changes=changes, device="cpu")
    hashes = [small_data.sha256[row] for row in small_data.rows("train")]
    detector = Detector.load(tmp_path / "both", "cpu")
    assert count_seen(tmp_path / "both", detector.facts, hashes) == len(hashes) == 120
    (members[1] / "seen.npy").unlink()
    made_unsure = fakedetect.train(other, out=tmp_path / "unsure", changes=changes, device="cpu")
    assert made_unsure.metrics["seen"] is None and not (tmp_path / "unsure" / "seen.npy").exists()


def test_members_of_other_sizes_and_channels_see_the_same_pictures():
    def cnn(resolution, channels):
        shape = {"resolution": resolution, "channels": channels, "blocks": 1}
        return {"model": "cnn", "arguments": shape, "temperature": 1.0}

    network = build_network("ensemble", {"resolution": 16, "channels": 3, "members": [cnn(16, 3), cnn(8, 1)]}).eval()
    assert network(torch.zeros(2, 3, 16, 16, dtype=torch.uint8)).shape == (2,)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "cnm"}, "Did you mean 'cnn'"),
        ({"model": "ensemble"}, "needs a name after its colon"),
        ({"model": "ensemble:nowhere"}, "two detectors or more"),
        ({"model": "ensemble:nowhere,there"}, "nowhere is not a detector"),
        ({"model": "ensemble:there,there.onnx"}, "detector folders"),
        ({"model": "timm:resnet5o"}, "timm has no backbone 'resnet5o'.*resnet50"),
        ({"model": "resnet50", "input_size": 32}, "could not be fetched.*--weights FILE.*pretrained=false"),
        ({"model": TINY, "weights": "none.pth"}, "there is no file none.pth"),
        ({"model": TINY, "weights": "x", "pretrained": "no"}, "contradict"),
        (
            {"model": "cnn", "weights": "x.pth"},
            "the model cnn does not use --weights .got x.pth; expected --model resnet50",
        ),
        ({"model": TINY, "probe": "svm", "train": "finetune"}, "probe=svm"),
    ],
)
def test_a_wrong_request_is_one_clear_line(changes, words, small_set, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=words):
        fakedetect.train(small_set, out=tmp_path / "det", changes=changes, device="cpu")
    assert not (tmp_path / "det").exists()


def test_weights_of_another_architecture_are_named(small_set, weights, tmp_path):
    changes = {"model": "timm:test_convnext", "weights": str(weights), "input_size": 32}
    with pytest.raises(UserError, match=r"another architecture.*missing"):
        fakedetect.train(small_set, out=tmp_path / "det", changes=changes, device="cpu")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("evil.pth", {"layer": eval}, "a pickle of more than tensors, which could run code"),
        ("evil.safetensors", {"layer": eval}, "a pickle, which is refused because it could run code"),
        ("cut.safetensors", b"\x10\0\0\0\0\0\0\0{}", "truncated or damaged"),
        ("cut.pth", b"PK\x03\x04 and no more", "a damaged file"),
        ("text.pth", b"hello\n", "not a file written by torch, 6 bytes"),
        ("empty.pth", b"", "not a file written by torch, 0 bytes"),
        ("list.pth", [1, 2], "no table of named tensors"),
        ("none.pth", {}, "no table of named tensors"),
        ("folder.pth", None, "there is a folder"),
    ],
)
def test_a_file_that_holds_no_weights_is_refused_in_plain_words(tmp_path, name, content, words):
    path = tmp_path / name
    if content is None:
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match=words) as caught:
        load_pretrained(SimpleNamespace(network=nn.Identity()), "test_resnet", str(path))
    assert "--weights" in str(caught.value) and "weights_only" not in str(caught.value)


def test_weights_that_dataparallel_saved_lose_its_prefix(weights, tmp_path):
    saved = {f"module.{name}": tensor for name, tensor in torch.load(weights, weights_only=True).items()}
    torch.save({"epoch": 3, "state_dict": saved}, tmp_path / "parallel.pth")
    features = TimmFeatures("test_resnet", 32, 3, 32, "avg")
    load_pretrained(features, "test_resnet", str(tmp_path / "parallel.pth"))
    assert torch.equal(features.network.state_dict()["conv1.0.weight"], saved["module.conv1.0.weight"])


@pytest.mark.parametrize(
    ("change", "words"), [(float("nan"), "weights that are not finite"), (1e30, "the features of 120 of 120 images")]
)
def test_weights_and_features_that_are_not_finite_are_refused(small_set, tmp_path, weights, change, words):
    tensors = torch.load(weights, weights_only=True)
    for name in [name for name in tensors if name.endswith("weight")]:
        tensors[name] = tensors[name] * change
    torch.save(tensors, tmp_path / "bad.pth")
    changes = {"model": TINY, "weights": str(tmp_path / "bad.pth"), "input_size": 32, "copies": 0}
    with pytest.raises(UserError, match=words):
        fakedetect.train(small_set, out=tmp_path / "det", changes=changes, device="cpu")


def test_the_names_of_models():
    for name in ("cnn", "resnet50", "timm:vit_tiny_patch16_224", "dct", "ensemble:a,b"):
        get_model(name)
    for name in ("timm:", "cnn:3", "DCT"):
        with pytest.raises(UserError):
            get_model(name)


def test_a_linear_dct_detector_says_which_frequencies_it_goes_by(made):
    weights = Detector.load(made("dct").detector, "cpu").network.frequency_weights()
    assert weights.shape == (16, 16)
    assert weights.argmax() == 16 * 16 - 1  # the checkerboard


@pytest.mark.parametrize("name", ["dct", "spectrum", "timm head"])
def test_it_exports_and_agrees(made, name, tmp_path):
    from fakedetect.export.onnx import TOLERANCE, export_onnx

    assert export_onnx(made(name).detector, tmp_path / "f.onnx").max_dp < TOLERANCE


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": "finetune"}, "got probe=linear, train=finetune.*Use --set train=head, or"),
        ({"train": "head", "pretrained": False}, "got probe=linear, pretrained=false.*Use pretrained weights, or"),
    ],
)
def test_a_probe_that_is_solved_for_at_once_trains_no_backbone(small_set, tmp_path, changes, words):
    changes = {"model": TINY, "probe": "linear", "input_size": 32, **changes}
    with pytest.raises(UserError) as caught:
        fakedetect.train(small_set, out=tmp_path / "det", changes=changes, device="cpu")
    assert re.search(words, str(caught.value))
