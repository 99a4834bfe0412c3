"""`export --onnx`: a detector as one .onnx file, kept only after it was seen to agree with the detector it was made from."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fakecore.errors import UserError
from fakecore.files import atomic_path
from fakecore.media.pixels import ImageError, read_image
from fakecore.messages import counted
from fakedetect.data.overlap import carried_with, read_seen
from fakedetect.models.calibration import probability
from fakedetect.models.detector import Detector
from fakedetect.models.onnx import DISTANCE, INPUT, LOGIT, P_FAKE, OnnxNetwork, read_graph
from fakedetect.models.onnxgraph import DetectorGraph
from fakedetect.scoring.files import list_inputs

OPSET = 18  # the newest that PyTorch's exporter writes without translating it afterwards
TOLERANCE = 1e-3  # of p_fake, between onnxruntime and PyTorch
CHECKED = 64  # images, at most
BATCHES = (1, 7)  # sizes that the check runs; an odd one, since the batch is free
_ODD_SIZES = (
    (1.6, 1.0),
    (0.7, 2.3),
    (4.1, 1.3),
    (2.0, 2.0),
    (9.0, 9.5),
    (0.5, 0.5),
)  # h, w as multiples of the resolution
IN_WORDS = (
    f"{INPUT}: uint8 (N, 3, H, W) RGB, [0, 255], any batch and size; the graph crops the centre square, resizes it as "
    "Pillow does (bicubic, antialiased) and makes it grey where the detector is"
)
OUT_WORDS = (
    f"{LOGIT}: float32 (N,), high for fake; {P_FAKE}: float32 (N,), sigmoid({LOGIT} / temperature); {DISTANCE}, where the "
    "detector knows its domain: float32 (N,), above domain_limit an image is unlike anything in training"
)


@dataclass(frozen=True)
class Exported:
    """What `export_onnx` left behind. `max_dp` is the largest difference of p_fake from the detector's own."""

    onnx: Path
    bytes: int
    opset: int
    max_dp: float
    images: int
    checked_on: str


def export_onnx(detector_path: Path | str, onnx: Path | str, check: Path | None = None) -> Exported:
    """Write a detector's folder as `onnx`, checked on images of the folder `check`, else of its own test split where
    those are still at hand, else made-up ones.

    The file's metadata hold the fields of detector.json, each as JSON, the list of the images it was trained on as `seen`,
    and `input`, `outputs` and `opset` in words.
    Raises UserError when the network has an operator without a counterpart in ONNX, and when p_fake differs by
    TOLERANCE or more; no file is left then.
    """
    onnx = Path(onnx)
    if onnx.suffix.lower() != ".onnx":
        raise UserError("--onnx has a suffix that is not known", got=repr(onnx.name), expected=".onnx")
    if onnx.exists():
        raise UserError(f"{onnx} already exists; it is never overwritten", remedy="Choose another --onnx.")
    if Path(detector_path).suffix.lower() == ".onnx":
        raise UserError(f"{detector_path} is exported already", expected="the folder of a detector")
    detector = Detector.load(detector_path, "cpu")
    if detector.equalise_jpeg is not None:
        raise UserError(
            f"{detector_path} was trained with --equalise: it saves each image as JPEG before it looks, which no graph can",
            remedy="Score with the detector's folder, or train one without --equalise.",
        )
    real, told = _real_pictures(detector, Path(detector_path), check)
    made_up = _made_up(detector.resolution)
    program = _traced(detector, Path(detector_path))
    facts = {**detector.facts, "input": IN_WORDS, "outputs": OUT_WORDS, "opset": OPSET}
    if (seen := read_seen(Path(detector_path), facts)) is not None:
        facts |= carried_with(seen)
    if detector.domain is not None:
        facts["domain_limit"] = detector.domain.limit
    program.model.metadata_props.update({name: json.dumps(value) for name, value in facts.items()})
    with atomic_path(onnx) as temporary:
        program.save(temporary, external_data=False)
        max_dp = largest_difference(detector, read_graph(temporary), [*real, *made_up])
        if not max_dp < TOLERANCE:  # NaN is no agreement either
            raise UserError(
                f"the graph of {detector_path} does not agree with the detector, so {onnx} was not kept",
                got=f"p_fake that differs by up to {max_dp:.3g}, on {told}",
                expected=f"less than {TOLERANCE:g}",
                remedy="Score with the detector's folder; and tell us, with the model and the versions in detector.json.",
            )
    told = f"{told}, and {len(made_up)} made-up ones of other sizes" if real else told
    return Exported(onnx, onnx.stat().st_size, OPSET, max_dp, len(real) + len(made_up), told)


def largest_difference(detector: Detector, network: OnnxNetwork, pictures: list[np.ndarray]) -> float:
    """Largest |p_fake of the graph - p_fake of the detector| over RGB `pictures` (H, W, 3), NaN if any is.

    Each is given to the graph as it is, on its own, and as the detector prepares it, in batches of BATCHES.
    """
    prepared = np.stack([detector.prepare(picture) for picture in pictures])
    expected = probability(detector.logits(prepared), detector.facts["temperature"])
    found = [np.concatenate([network.run(picture.transpose(2, 0, 1)[None])[1] for picture in pictures])]
    for size in BATCHES:
        batches = [prepared[start : start + size] for start in range(0, len(prepared), size)]
        found.append(np.concatenate([network.run(batch)[1] for batch in batches]))
    return float(np.abs(np.stack(found) - expected).max())


def _traced(detector: Detector, path: Path) -> torch.onnx.ONNXProgram:
    """The detector's graph, batch, height and width free. Raises UserError that names the operator ONNX has not."""
    graph = DetectorGraph(
        detector.network, detector.resolution, detector.channels, detector.facts["temperature"], detector.domain
    )
    side = detector.resolution
    # Three unequal sizes, none of them 1: the exporter takes equal ones for the same, and 1 for fixed.
    example = torch.zeros((2, 3, side + 13, side + 29), dtype=torch.uint8)
    try:
        with _hushed():
            return torch.onnx.export(
                graph.eval(),
                (example,),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[LOGIT, P_FAKE] if detector.domain is None else [LOGIT, P_FAKE, DISTANCE],
                dynamic_shapes=({0: "N", 2: "H", 3: "W"},),
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise UserError(
            f"the model {detector.facts['model']} of {path} cannot be written as ONNX",
            got=_culprit(error),
            expected=f"operators that ONNX has (opset {OPSET})",
            remedy="Score with the detector's folder instead.",
        ) from None


@contextmanager
def _hushed() -> Iterator[None]:
    """Nothing on stderr from the exporter, which prints whole graphs there; what goes wrong it raises too."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _culprit(error: BaseException) -> str:
    """The operator that the exporter failed at, else the innermost reason, in a line."""
    chain = [error]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(inner)
    for one in reversed(chain):
        if named := re.search(r"\b(?:aten|prims|torchvision|torch_\w+)(?:\.|::)\w+(?:\.\w+)?", str(one)):
            return f"the operator {named[0]}"
    lines = [line.strip() for line in str(chain[-1]).splitlines() if line.strip()]
    return (lines or [type(chain[-1]).__name__])[0][:200]


def _real_pictures(detector: Detector, path: Path, check: Path | None) -> tuple[list[np.ndarray], str]:
    """Up to CHECKED images (H, W, 3) to check on, spread over what there is, and what they are in words."""
    if check is not None:
        files = [Path(name) for name, problem in list_inputs([str(check)]) if problem is None]
        found = _readable(detector, files)
        if not found:
            got = f"{counted(len(files), 'file')}, none of which is an image it can judge"
            raise UserError(f"--check {check} holds no images to check on", got=got, expected="photos")
        return found, f"{counted(len(found), 'image')} of {check}"
    found = _readable(detector, _test_files(path, detector.facts["training"].get("origin", {})))
    if found:
        return found, f"{counted(len(found), 'image')} of its own test split"
    return [], f"{len(_ODD_SIZES)} made-up images, since its test split is not at hand (--check DIR takes real ones)"


def _test_files(path: Path, origin: dict) -> list[Path]:
    """The files of a detector's test split, as its predictions.csv lists them, that are where they were."""
    root = Path(origin["set"]) if isinstance(origin.get("set"), str) else Path()
    try:
        with (path / "predictions.csv").open(newline="", errors="surrogateescape") as file:
            names = [row["path"] for row in csv.DictReader(file) if row.get("split") == "test" and row.get("path")]
    except (OSError, csv.Error):
        return []
    return [root / name for name in names if (root / name).is_file()]


def _readable(detector: Detector, files: list[Path]) -> list[np.ndarray]:
    pictures = []
    for place in np.unique(np.linspace(0, len(files) - 1, min(CHECKED, len(files))).astype(int)):
        try:
            picture = read_image(files[place])
            detector.prepare(picture)
        except ImageError:
            continue
        pictures.append(picture)
    return pictures


def _made_up(resolution: int) -> list[np.ndarray]:
    """Pictures (H, W, 3) of sizes that need cropping, enlarging and shrinking, seeded. Their spectrum falls off with
    frequency about as that of photographs does.
    """
    random = np.random.default_rng(0)
    pictures = []
    for tall, wide in _ODD_SIZES:
        height, width = (max(8, round(resolution * times)) for times in (tall, wide))
        distance = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
        waves = np.fft.rfft2(random.normal(size=(3, height, width))) / np.maximum(distance, 1 / max(height, width))
        noise = np.fft.irfft2(waves, s=(height, width))  # (3, H, W)
        noise = (noise[:1] * 2 + noise) / np.std(noise[:1] * 2 + noise)  # colours that mostly go together
        pictures.append((128 + 50 * noise).clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
    return pictures
