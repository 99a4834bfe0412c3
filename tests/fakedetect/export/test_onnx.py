import json
import shutil
import subprocess
import sys

import numpy as np
import onnx_ir
import pytest
import torch
from torch import nn

from fakecore.errors import UserError
from fakecore.media.pixels import encode_png
from fakedetect import Detector
from fakedetect.export import onnx as onnxexport
from fakedetect.export.onnx import TOLERANCE, export_onnx
from fakedetect.models.detector import network_outputs
from fakedetect.models.onnx import read_graph


def test_a_detector_is_exported_and_checked_on_its_own_test_split(exported):
    assert exported.onnx.is_file() and exported.opset == 18
    assert exported.max_dp < 1e-5
    assert exported.checked_on == "40 images of its own test split, and 6 synthetic ones of other sizes"
    assert exported.images == 46


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_logit_and_p_fake_are_the_detectors_own_in_any_batch(exported, detector, pictures, batch):
    images = pictures(batch, "fake", 31)
    logits, p_fake, distance = read_graph(exported.onnx).run(images)
    expected = detector.logits(images)
    assert logits.shape == p_fake.shape == (batch,)
    assert logits == pytest.approx(expected, abs=1e-4)
    assert p_fake == pytest.approx(detector.probability(expected), abs=TOLERANCE / 10)
    features = network_outputs(detector.network, images, detector.device)[1]
    assert distance == pytest.approx(detector.domain.distances(features), rel=1e-3)


def test_whole_photos_are_cropped_and_resized_in_the_graph(exported, detector, pictures):
    photo = np.concatenate(
        [pictures(1, "real", 1, side=50), pictures(1, "fake", 2, side=50)], axis=3
    )  # (1, 3, 50, 100)
    _, p_fake, _ = read_graph(exported.onnx).run(photo)
    (judgement,) = detector.score([photo[0].transpose(1, 2, 0)])
    assert p_fake[0] == pytest.approx(judgement.p_fake, abs=1e-5)


def test_the_file_says_what_it_is(exported, detector):
    facts = {name: json.loads(text) for name, text in read_graph(exported.onnx).metadata.items()}
    for name in (
        "kind",
        "version",
        "model",
        "preprocessing",
        "thresholds",
        "temperature",
        "label_convention",
        "sha256",
    ):
        assert facts[name] == detector.facts[name]
    assert facts["training"]["domain"] == detector.facts["training"]["domain"]
    assert facts["opset"] == 18 and "uint8 (N, 3, H, W) RGB" in facts["input"] and "p_fake" in facts["outputs"]
    assert b"fakedetect/models" not in exported.onnx.read_bytes()  # nor any other path of the machine that exported


@pytest.fixture
def altered(exported, trained, monkeypatch, tmp_path):
    """A copy of the detector whose scaling is another than that in the graph that is traced of it."""

    for name in ("detector.json", "detector.safetensors", "predictions.csv"):
        shutil.copy(trained.detector / name, tmp_path)
    facts = json.loads((tmp_path / "detector.json").read_text())
    facts["bias"] += 0.5
    (tmp_path / "detector.json").write_text(json.dumps(facts))
    monkeypatch.setattr(onnxexport, "_traced", lambda *_: onnx_ir.load(exported.onnx))  # of the detector as it was
    return tmp_path


def test_a_graph_that_disagrees_is_not_kept_and_the_error_says_by_how_much(altered, fakelab):
    out = altered / "new" / "tampered.onnx"
    done = fakelab("export", altered, "--onnx", out)
    assert done.returncode == 2 and "does not agree with the detector" in done.stderr
    assert "p_fake that differs by up to 0." in done.stderr and "expected less than 0.001" in done.stderr
    assert list(out.parent.iterdir()) == []


def test_one_answer_that_is_no_number_is_no_agreement(exported, detector, monkeypatch):
    network = read_graph(exported.onnx)
    monkeypatch.setattr(network, "run", lambda images: (None, np.full(len(images), np.nan, np.float32)))
    assert not onnxexport.largest_difference(detector, network, onnxexport._synthetic(16)) < TOLERANCE


def test_it_cannot_be_explained(exported, write_folder, fakelab, tmp_path):
    folder = write_folder(tmp_path / "in", 1, "real")
    done = fakelab("explain", folder, "--detector", exported.onnx, "--out", tmp_path / "out")
    assert done.returncode == 2 and "an .onnx file cannot be explained" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_operator_that_onnx_has_not_is_named(detector, tmp_path):
    class Singular(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(16, 1)

        def forward(self, images):
            return self.head(torch.linalg.svdvals(images.float().mean(dim=1))).flatten()

    with pytest.raises(
        UserError, match=r"got the operator aten\._linalg_svd; expected operators that ONNX has"
    ) as caught:
        onnxexport._traced(Detector(Singular().eval(), detector.facts, torch.device("cpu")), tmp_path)
    assert "\n" not in str(caught.value)


def test_without_its_test_split_it_is_checked_on_synthetic_images_and_says_so(detector, tmp_path):
    found, told = onnxexport._real_pictures(detector, tmp_path, None)
    assert found == [] and "synthetic images" in told and "--check DIR" in told
    made = onnxexport._synthetic(16)
    assert len({one.shape for one in made}) == len(made) and all(one.dtype == np.uint8 for one in made)
    assert all(np.array_equal(one, again) for one, again in zip(made, onnxexport._synthetic(16), strict=True))


def test_images_to_check_on_may_be_given(detector, write_folder, tmp_path):
    folder = write_folder(tmp_path / "in", 5, "real", side=20)
    (folder / "broken.png").write_bytes(b"\x89PNG")
    found, told = onnxexport._real_pictures(detector, tmp_path, folder)
    assert [one.shape for one in found] == [(20, 20, 3)] * 5 and told == f"5 images of {folder}"
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="contains no images to check"):
        onnxexport._real_pictures(detector, tmp_path, tmp_path / "none")


@pytest.mark.parametrize(("name", "why"), [("x.pt", "an unknown suffix"), ("there.onnx", "never overwritten")])
def test_a_name_that_cannot_be_written_is_refused_first(trained, tmp_path, name, why):
    (tmp_path / "there.onnx").write_bytes(b"mine")
    with pytest.raises(UserError, match=why):
        export_onnx(trained.detector, tmp_path / name)
    assert (tmp_path / "there.onnx").read_bytes() == b"mine"


def test_an_exported_detector_judges_a_photo_without_torch(exported, pictures, tmp_path, detector):
    photo = tmp_path / "photo.png"
    photo.write_bytes(encode_png(pictures(1, "fake", 3, side=40)[0], "fake"))
    code = "from fakecore.lazytorch import is_loaded\nfrom fakelab.app import main\nimport sys\ntry:\n    main(sys.argv[1:])\n"
    code += "except SystemExit:\n    pass\nprint('torch', is_loaded())"
    words = ["score", photo, "--detector", exported.onnx, "--no-stability", "--json"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=True)
    row, loaded = done.stdout.splitlines()
    assert loaded == "torch False"
    assert json.loads(row)["p_fake"] == pytest.approx(detector.score([photo])[0].p_fake, abs=1e-4)
