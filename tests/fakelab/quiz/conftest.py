"""A set whose pixels say what each image is, and a small run with a detector; tests only read them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from itertools import product
from unittest import mock

import numpy as np
import pytest
import torch

import fakegen
from fakecore.media.pixels import decode_image, encode_png
from fakecore.sets.imageset import read_imageset
from fakedetect import Detector
from fakedetect.data.overlap import remember
from fakedetect.models.calibration import Thresholds
from fakedetect.models.registry import build_network

SMALL = {
    "epochs": 2,
    "resolution": 16,
    "g_width": 8,
    "d_width": 8,
    "z_dim": 8,
    "measure_every": 0,
    "checkpoint_every": 1,
}
SPLITS, LABELS = ("train", "val", "test"), ("real", "fake")


@pytest.fixture(scope="session")
def marked(tmp_path_factory):
    """A set of grey 8x8 images, 10 of each label, split and of three classes: the first pixels of each are the numbers of its
    label, split and class, and a number of its own.
    """
    root = tmp_path_factory.mktemp("marked") / "letters"
    lines, counts = [], {split: dict.fromkeys(LABELS, 0) for split in SPLITS}
    for number, (label, split, class_, _) in enumerate(product(LABELS, SPLITS, "abc", range(10))):
        image = np.full((1, 8, 8), 90, np.uint8)
        image[0, 0, :4] = LABELS.index(label), SPLITS.index(split), "abc".index(class_), number
        name = f"{split}/{label}/{number:06d}.png"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encode_png(image, label))
        lines.append({"file_name": name, "label": label, "split": split, "index": number, "class": class_})
        counts[split][label] += 1
    (root / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    facts = {"version": 1, "resolution": 8, "channels": 1, "counts": counts, "origin": {"made_by": "hand"}}
    (root / "imageset.json").write_text(json.dumps(facts))
    return root


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run of two epochs with three classes; 30 of its reals are in test and 30 in val."""
    photos, out = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("runs") / "tiny"
    random = np.random.default_rng(0)
    for number, class_ in product(range(100), "abc"):
        (photos / class_).mkdir(exist_ok=True)
        pixels = random.integers(0, 256, (1, 16, 16), dtype=np.uint8)
        (photos / class_ / f"{number}.png").write_bytes(encode_png(pixels, "real"))
    changes = {**SMALL, "conditional": True}
    with mock.patch("fakegen.training.generate.plot_run"):  # which takes seconds
        fakegen.train("digits-32", real=str(photos), out=out, changes=changes, count=300, device="cpu")
    return out


@pytest.fixture(scope="session")
def detector(run):
    """A detector where `detect-train` would write that of the run: not trained, so that it errs, but with the list of the
    training and validation images.
    """
    torch.manual_seed(0)
    out, images = run.with_name("tiny-cnn"), read_imageset(run / "set")
    shape = {"resolution": 16, "channels": 1}
    digests = [hashlib.sha256(images.read(one)).hexdigest() for one in images.records if one.split != "test"]
    out.mkdir()
    facts = {
        "kind": "detector",
        "version": 1,
        "model": "cnn",
        "arguments": {**shape, "blocks": 1},
        "preprocessing": shape,
        "label_convention": {"real": 0, "fake": 1},
        "temperature": 1.0,
        "thresholds": asdict(Thresholds(0.5, 0.5, "middle", 1.0, 1.0, "nothing")),
        "training": {
            "fingerprint": "",
            "domain": "",
            "counts": {"train": {"real": 240, "fake": 240}},
            "origin": {"set": str(images.root), **images.info["origin"]},
            "seen_sha256": remember(out, digests),
        },
        "settings": {},
        "seed": 0,
        "versions": {},
    }
    network = build_network("cnn", facts["arguments"]).eval()
    Detector(network, facts, torch.device("cpu")).save(out)
    judged = Detector.load(out, "cpu")
    pixels = np.stack([judged.prepare(decode_image(images.read(one))) for one in images.records if one.split == "test"])
    middle = float(np.median(judged.logits(pixels)))  # p_fake 0.5 there, so that there are verdicts of both kinds
    Detector(network, {**facts, "bias": -middle}, torch.device("cpu")).save(out)
    return out
