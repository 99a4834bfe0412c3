"""`export --onnx`: write a detector as one .onnx file, and keep it only if its scores agree with the detector."""

from __future__ import annotations

import copy
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
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes.common import NameFixPass

from fakecore.errors import UserError
from fakecore.files import atomic_path
from fakecore.media.pixels import ImageError, read_image
from fakecore.messages import counted
from fakedetect.data.overlap import carried_with, read_seen
from fakedetect.export.joining import foreign_graph_called, join
from fakedetect.models.calibration import Scaling
from fakedetect.models.detector import Detector, network_logits
from fakedetect.models.onnx import DISTANCE, INPUT, LOGIT, P_FAKE, OnnxNetwork, read_graph
from fakedetect.models.onnxgraph import DetectorGraph
from fakedetect.scoring.inputs import list_inputs

OPSET = 18  # the newest that the PyTorch exporter writes without a later conversion
TOLERANCE = 1e-3  # of p_fake, between onnxruntime and PyTorch
CHECKED = 64  # images, at most
BATCHES = (1, 7)  # batch sizes of the check
_ODD_SIZES = (
    (1.6, 1.0),
    (0.7, 2.3),
    (4.1, 1.3),
    (2.0, 2.0),
    (9.0, 9.5),
    (0.5, 0.5),
)  # h, w as multiples of the resolution
IN_WORDS = (
    f"{INPUT}: uint8 (N, 3, H, W) RGB, [0, 255], any batch and size; the graph crops the centre square, resizes it like "
    "Pillow (bicubic, antialiased) and converts it to grey if the detector is grey"
)
OUT_WORDS = (
    f"{LOGIT}: float32 (N,), high for fake; {P_FAKE}: float32 (N,), sigmoid({LOGIT} / temperature + bias); {DISTANCE}, if the "
    "detector has a domain: float32 (N,), above domain_limit an image is out of domain"
)


@dataclass(frozen=True)
class Exported:
    """The result of `export_onnx`. `max_dp` is the largest difference of p_fake to the detector."""

    onnx: Path
    bytes: int
    opset: int
    max_dp: float
    images: int
    checked_on: str


def export_onnx(detector_path: Path | str, onnx: Path | str, check: Path | None = None) -> Exported:
    """Export a detector folder to the file `onnx`, checked on images of the folder `check`, else of its own test split if
    those still exist, else on synthetic ones.

    The metadata of the file contain the fields of detector.json, each as JSON, the list of its training images as `seen`,
    and `input`, `outputs` and `opset` in words.
    Raises UserError, and leaves no file, if ONNX lacks an operator of the network or p_fake differs by TOLERANCE or more.
    """
    onnx = Path(onnx)
    if onnx.suffix.lower() != ".onnx":
        raise UserError("--onnx has an unknown suffix", got=repr(onnx.name), expected=".onnx")
    if onnx.exists():
        raise UserError(f"{onnx} already exists; existing files are never overwritten", remedy="Choose another --onnx.")
    if Path(detector_path).suffix.lower() == ".onnx":
        raise UserError(f"{detector_path} is already exported", expected="a detector folder")
    detector = Detector.load(detector_path, "cpu")
    if detector.equalise_jpeg is not None:
        raise UserError(
            f"{detector_path} was trained with --equalise: it compresses each image as JPEG first, which ONNX cannot do",
            remedy="Score with the detector folder, or train a detector without --equalise.",
        )
    real, source = _real_pictures(detector, Path(detector_path), check)
    synthetic = _synthetic(detector.resolution)
    model = _traced(detector, Path(detector_path))
    facts = {**detector.facts, "input": IN_WORDS, "outputs": OUT_WORDS, "opset": OPSET}
    if (seen := read_seen(Path(detector_path), facts)) is not None:
        facts |= carried_with(seen)
    if detector.domain is not None:
        facts["domain_limit"] = detector.domain.limit
    model.metadata_props.update({name: json.dumps(value) for name, value in facts.items()})
    with atomic_path(onnx) as temporary:
        ir.save(model, temporary)
        max_dp = largest_difference(detector, read_graph(temporary), [*real, *synthetic])
        if not max_dp < TOLERANCE:  # also rejects NaN
            raise UserError(
                f"the graph of {detector_path} does not agree with the detector; {onnx} is not kept",
                got=f"p_fake that differs by up to {max_dp:.3g}, on {source}",
                expected=f"less than {TOLERANCE:g}",
                remedy="Score with the detector folder, and report this with the model and versions in detector.json.",
            )
    source = f"{source}, and {len(synthetic)} synthetic ones of other sizes" if real else source
    return Exported(onnx, onnx.stat().st_size, OPSET, max_dp, len(real) + len(synthetic), source)


def largest_difference(detector: Detector, network: OnnxNetwork, pictures: list[np.ndarray]) -> float:
    """Return the largest |p_fake of the graph - p_fake of the detector| over RGB `pictures` (H, W, 3), NaN if any is.

    Each is given to the graph unchanged, one by one, and as prepared by the detector, in batches of BATCHES. The detector
    computes in fp32, as the graph does: bf16, which it may use for speed, moves p_fake by up to 0.01.
    """
    prepared = np.stack([detector.prepare(picture) for picture in pictures])
    exact: Any = copy.copy(detector.network)
    exact.precision = "fp32"
    expected = detector.probability(network_logits(exact, prepared, detector.device))
    found = [np.concatenate([network.run(picture.transpose(2, 0, 1)[None])[1] for picture in pictures])]
    for size in BATCHES:
        batches = [prepared[start : start + size] for start in range(0, len(prepared), size)]
        found.append(np.concatenate([network.run(batch)[1] for batch in batches]))
    return float(np.abs(np.stack(found) - expected).max())


def _traced(detector: Detector, path: Path) -> ir.Model:
    """Return the graph with free batch, height and width. Raises UserError that names an operator ONNX lacks."""
    domain: Any = detector.domain  # never that of an .onnx file: those are refused before
    graph = DetectorGraph(detector.network, detector.resolution, detector.channels, Scaling.of(detector.facts), domain)
    side = detector.resolution
    # Three different sizes, none of them 1: the exporter treats equal sizes as one, and 1 as fixed.
    example = torch.zeros((2, 3, side + 13, side + 29), dtype=torch.uint8)
    try:
        with foreign_graph_called(detector.network) as foreign, _silenced():
            program: Any = torch.onnx.export(
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
            got=_cause(error),
            expected=f"operators that ONNX has (opset {OPSET})",
            remedy="Score with the detector folder instead.",
        ) from None
    model = program.model
    if foreign is not None:
        NameFixPass()(model)  # the exporter may give an operation the name of an output
        model = ir.from_proto(join(ir.to_proto(model), foreign))
    _forget_sources(model)
    return model


@contextmanager
def _silenced() -> Iterator[None]:
    """Silence the exporter, which prints whole graphs; it also raises its errors."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _cause(error: BaseException) -> str:
    """Return the operator at which the exporter failed, else the first error message, in one line."""
    chain = [error]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(inner)
    for one in reversed(chain):
        if named := re.search(r"\b(?:aten|prims|torchvision|torch_\w+)(?:\.|::)\w+(?:\.\w+)?", str(one)):
            return f"the operator {named[0]}"
    lines = [line.strip() for line in str(chain[-1]).splitlines() if line.strip()]
    return (lines or [type(chain[-1]).__name__])[0][:200]


def _real_pictures(detector: Detector, path: Path, check: Path | None) -> tuple[list[np.ndarray], str]:
    """Return up to CHECKED images (H, W, 3) for the check, spread evenly, and a text that describes them."""
    if check is not None:
        files = [Path(name) for name, problem in list_inputs([str(check)]) if problem is None]
        found = _readable(detector, files)
        if not found:
            got = f"{counted(len(files), 'file')}, none of them an image that it can score"
            raise UserError(f"--check {check} contains no images to check", got=got, expected="photos")
        return found, f"{counted(len(found), 'image')} of {check}"
    found = _readable(detector, _test_files(path, detector.facts["training"].get("origin", {})))
    if found:
        return found, f"{counted(len(found), 'image')} of its own test split"
    return [], f"{len(_ODD_SIZES)} synthetic images, because its test split is missing (--check DIR uses real ones)"


def _test_files(path: Path, origin: dict) -> list[Path]:
    """Return the files of a detector's test split, listed in its predictions.csv, that still exist."""
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


def _synthetic(resolution: int) -> list[np.ndarray]:
    """Return seeded synthetic images (H, W, 3) of sizes that need cropping, enlarging and shrinking. Their spectrum falls
    with frequency about as in photos.
    """
    random = np.random.default_rng(0)
    pictures = []
    for tall, wide in _ODD_SIZES:
        height, width = (max(8, round(resolution * times)) for times in (tall, wide))
        distance = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
        waves = np.fft.rfft2(random.normal(size=(3, height, width))) / np.maximum(distance, 1 / max(height, width))
        noise = np.fft.irfft2(waves, s=(height, width))  # (3, H, W)
        noise = (noise[:1] * 2 + noise) / np.std(noise[:1] * 2 + noise)  # correlated colour channels
        pictures.append((128 + 50 * noise).clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
    return pictures


def _forget_sources(model: ir.Model) -> None:
    """Remove the exporter's notes on where each operation came from: they name files of the machine that exported."""
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        graph.metadata_props.clear()
        for node in graph.all_nodes():
            node.metadata_props.clear()
            for value in node.outputs:
                value.metadata_props.clear()
        for value in (*graph.inputs, *graph.initializers.values()):
            value.metadata_props.clear()
