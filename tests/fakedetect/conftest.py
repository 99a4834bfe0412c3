"""Tiny images in which fakes bear a faint checkerboard, and one detector trained on them; tests only read these."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import fakedetect
from fakecore.media.pixels import encode_png
from fakedetect import Detector
from fakedetect.data.loading import load_labelled
from fakedetect.evaluation import metrics
from fakedetect.models.registry import build_network
from tests.forks import Fork
from tests.shards import write_shards

QUICK = {"model": "cnn", "blocks": 1, "epochs": 4, "batch": 16, "rate": 0.003, "jpeg": 0, "blur": 0, "resize": 0}


@pytest.fixture(scope="session", autouse=True)
def _place(tmp_path_factory):
    """A cache of our own; what is slow of a tiny training made small: threads that wait for each other, resamples."""
    if not os.environ.get("FAKELAB_CACHE"):
        os.environ["FAKELAB_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    threads, resamples = torch.get_num_threads(), metrics.RESAMPLES
    torch.set_num_threads(1)
    metrics.RESAMPLES = 60
    yield
    torch.set_num_threads(threads)
    metrics.RESAMPLES = resamples


@pytest.fixture(scope="session")
def quick():
    """Settings of a training that takes about a second, without what would wipe the checkerboard out."""
    return dict(QUICK)


@pytest.fixture(scope="session")
def pictures():
    """A function: `count` smooth random pictures, uint8 (N, C, R, R); fakes bear a checkerboard."""

    def make(count: int, label: str, seed: int, *, side: int = 16, channels: int = 3) -> np.ndarray:
        random = np.random.default_rng([seed, label == "fake"])
        coarse = random.integers(40, 216, (count, 4, 4, channels)).astype(np.float32)
        resized = [cv2.resize(one, (side, side), interpolation=cv2.INTER_CUBIC) for one in coarse]
        smooth = np.array(resized).reshape(count, side, side, channels) + random.normal(
            0, 5, (count, side, side, channels)
        )
        if label == "fake":
            board = np.indices((side, side)).sum(axis=0) % 2 * 2 - 1
            smooth += 24 * board[None, :, :, None]
        return smooth.clip(0, 255).astype(np.uint8).transpose(0, 3, 1, 2)

    return make


@pytest.fixture(scope="session")
def finish_set():
    """A function: what makes a folder of images a set, as DESIGN.md has it: its list, and its description."""

    def finish(root: Path, lines: list[dict]) -> None:
        (root / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        origin = {"run": "tiny", "preset": "tiny", "epoch": 1, "source": {"spec": "synthetic"}}
        counts = {split: {"real": 0, "fake": 0} for split in ("train", "val", "test")}
        for line in lines:
            counts[line["split"]][line["label"]] += 1
        facts = {"version": 1, "resolution": 16, "channels": 3, "counts": counts, "origin": origin}
        (root / "imageset.json").write_text(json.dumps(facts))

    return finish


@pytest.fixture(scope="session")
def write_set(pictures, finish_set):
    """A function: a set of `reals` + `fakes` at `root`; `swap_test` turns round which test images bear the mark."""

    def write(
        root: Path, *, reals: int = 100, fakes: int = 100, seed: int = 0, test_seed: int | None = None, swap_test=False
    ) -> Path:
        lines = []
        for label, count in (("real", reals), ("fake", fakes)):
            bounds = {"train": (0, count * 6 // 10), "val": (count * 6 // 10, count * 8 // 10)}
            bounds["test"] = (count * 8 // 10, count)
            images = pictures(count, label, seed)
            if test_seed is not None:
                looks = {"real": "fake", "fake": "real"}[label] if swap_test else label
                first, end = bounds["test"]
                images[first:end] = pictures(end - first, looks, test_seed)
            for split, (first, end) in bounds.items():
                (root / split / label).mkdir(parents=True)
                for index in range(first, end):
                    name = f"{split}/{label}/{index:06d}.png"
                    (root / name).write_bytes(encode_png(images[index], label))
                    lines.append({"file_name": name, "label": label, "split": split, "index": index})
        finish_set(root, lines)
        return root

    return write


@pytest.fixture(scope="session")
def start():
    """A function: `cli.py WORDS` in a process of its own, a fork."""

    def run(*words: object, cwd: Path | None = None) -> Fork:
        program = Path(__file__).parents[2] / "cli.py"
        return Fork(program, (*words, "--device", "cpu"), {**os.environ, "OMP_NUM_THREADS": "1"}, cwd)

    return run


@pytest.fixture(scope="session")
def write_folder(pictures):
    """A function: a plain folder of `count` PNG files without any provenance of a set."""

    def write(root: Path, count: int, label: str, seed: int = 0, **shape) -> Path:
        root.mkdir(parents=True)
        for number, image in enumerate(pictures(count, label, seed, **shape)):
            (root / f"{number:04d}.png").write_bytes(encode_png(image, "real"))
        return root

    return write


@pytest.fixture(scope="session")
def small_set(tmp_path_factory, write_set) -> Path:
    return write_set(tmp_path_factory.mktemp("small") / "set")


@pytest.fixture(scope="session")
def small_shards(tmp_path_factory, small_set) -> Path:
    """The images of `small_set` in shards of 16."""
    root = tmp_path_factory.mktemp("shards") / "set"
    return write_shards(small_set, root, 16)


@pytest.fixture(scope="session")
def small_data(small_set):
    return load_labelled(small_set)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, small_set):
    """A finished training on `small_set`; its folder is `trained.detector`."""
    return fakedetect.train(small_set, out=tmp_path_factory.mktemp("det") / "tiny", changes=QUICK, device="cpu")


@pytest.fixture(scope="session")
def detector(trained) -> Detector:
    return Detector.load(trained.detector, "cpu")


@pytest.fixture(scope="session")
def grey_detector(detector):
    """A colourless detector, untrained: what matters is that it takes one channel."""
    torch.manual_seed(0)
    network = build_network("cnn", {"resolution": 16, "channels": 1, "blocks": 1})
    preprocessing = {**detector.facts["preprocessing"], "channels": 1}
    return Detector(network.eval(), {**detector.facts, "preprocessing": preprocessing}, torch.device("cpu"))


@pytest.fixture(scope="session")
def exported(trained, tmp_path_factory):
    """`trained` as an .onnx file, and what `export_onnx` said of it."""
    from fakedetect.export.onnx import export_onnx

    return export_onnx(trained.detector, tmp_path_factory.mktemp("onnx") / "tiny.onnx")
