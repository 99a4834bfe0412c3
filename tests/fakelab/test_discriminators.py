import json
import shutil

import cv2
import numpy as np
import pytest
import torch

import fakedetect
import fakegen
import fakelab.discriminators as discriminators
from fakecore.errors import UserError
from fakecore.media.pixels import decode_image
from fakecore.sets.imageset import read_imageset
from fakedetect import Detector
from fakedetect.data.overlap import which_seen
from fakedetect.explain.explain import heat_maps
from fakedetect.models.registry import Request


@pytest.fixture(scope="module", params=[{}, {"conditional": True}], ids=["plain", "conditional"])
def run(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("gan") / "run"
    small = {"epochs": 2, "resolution": 16, "g_width": 8, "d_width": 8, "measure_every": 0, "checkpoint_every": 1}
    changes = {**small, **request.param}
    fakegen.train("digits-32", real="digits", out=out, changes=changes, count=300, device="cpu")
    return out


def test_a_discriminator_has_the_logits_of_its_run(run, tmp_path):
    found = fakedetect.train(run, out=tmp_path / "d", changes={"model": "discriminator"}, device="cpu")
    detector = Detector.load(found.detector, "cpu")
    assert detector.facts["discriminator"]["epoch"] == 2 and detector.domain is None
    images = read_imageset(run / "set")
    shown = np.stack([detector.prepare(decode_image(images.read(record))) for record in images.records[:50]])
    with torch.no_grad():
        x = torch.from_numpy(shown).float() / 127.5 - 1
        judge = detector.network.discriminator
        classes = detector.network.classes
        own = [judge(x, torch.full((50,), k)) for k in range(classes)] if classes else [judge(x)]
        expected = -torch.stack(own).amax(dim=0)
    assert np.allclose(detector.logits(shown), expected.numpy(), atol=1e-3)
    heat = heat_maps(detector.network, shown[:4], np.array([True, False] * 2), detector.device)
    assert heat.method == "hirescam" and heat.maps.shape == (4, 16, 16)


def test_the_training_reals_of_its_run_count_as_seen(run, tmp_path, monkeypatch):
    monkeypatch.setattr("fakedetect.training.train.write_report", lambda *_, **__: None)
    random, images = np.random.default_rng(0), {kind: str(tmp_path / kind) for kind in ("real", "fake")}
    for kind, most in (("real", 120), ("fake", 255)):
        (tmp_path / kind).mkdir()
        for number in range(30):
            cv2.imwrite(f"{images[kind]}/{number}.png", random.integers(0, most, (16, 16), dtype=np.uint8))
    changes = {"model": f"discriminator:{run}", "resolution": 16}
    fakedetect.train(out=tmp_path / "d", **images, changes=changes, device="cpu")
    facts = Detector.load(tmp_path / "d", "cpu").facts
    digests = [(one.source_sha256, one.split) for one in read_imageset(run / "set").records if one.label == "real"]
    known = which_seen(tmp_path / "d", facts, [digest for digest, _ in digests])
    assert {split for (_, split), seen in zip(digests, known, strict=True) if seen} == {"train"}
    assert all(seen for (_, split), seen in zip(digests, known, strict=True) if split == "train")
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    facts = json.loads((moved / "run.json").read_text())
    facts["source"]["spec"] = str(tmp_path / "gone")
    (moved / "run.json").write_text(json.dumps(facts))
    fakedetect.train(out=tmp_path / "e", **images, changes={**changes, "model": f"discriminator:{moved}"}, device="cpu")
    assert not (tmp_path / "e" / "seen.npy").exists()  # its training reals are unknown


def test_checkpoints_give_different_detectors(run, tmp_path, monkeypatch):
    monkeypatch.setattr("fakedetect.training.train.write_report", lambda *_, **__: None)  # for speed
    changes = {"model": f"discriminator:{run}"}
    logits = []
    for epoch in ("1", "last"):
        out = tmp_path / f"d{epoch}"
        fakedetect.train(run / "set", out=out, changes={**changes, "checkpoint": epoch}, device="cpu")
        logits.append(Detector.load(out, "cpu").logits(np.full((2, 1, 16, 16), 90, np.uint8)))
    assert not np.allclose(*logits)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"checkpoint": "7"}, "no checkpoint 7.*0, 1, 2"),
        ({"resolution": 32}, "input size of its own.*got 32; expected 16"),
    ],
)
def test_an_invalid_request_is_one_line(run, changes, words, tmp_path):
    with pytest.raises(UserError, match=words):
        fakedetect.train(run, out=tmp_path / "d", changes={"model": "discriminator", **changes}, device="cpu")


def test_a_missing_run_is_an_error():
    settings = fakedetect.DetectorSettings(model="discriminator")
    with pytest.raises(UserError, match="run of the discriminator is missing"):
        discriminators.open_discriminator(Request("", settings, None, Detector.load))
