"""Load a detector from an .onnx file made by `export`: onnxruntime runs it, and its metadata contain the facts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fakecore.errors import UserError
from fakecore.schema import check_fields, number
from fakedetect.models.facts import check_facts

INPUT, LOGIT, P_FAKE, DISTANCE = "images", "logit", "p_fake", "distance"
_REMEDY = "Copy it again, or export it again."


@dataclass(frozen=True)
class OnnxDevice:
    """What stands for the device of a graph, like torch's: the CPU. It spares the import of torch."""

    type: str = "cpu"
    index: int | None = None


class OnnxNetwork:
    """The graph of an .onnx file (see fakedetect.models.onnxgraph) as the network of a detector. It has no gradients."""

    def __init__(self, data: bytes):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # damage is also reported by exceptions
        # Bytes instead of a path: a graph in memory cannot refer to other files.
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    @property
    def metadata(self) -> dict[str, str]:
        return self._session.get_modelmeta().custom_metadata_map

    @property
    def takes_photos(self) -> bool:
        """Whether the graph has the input and the outputs of a detector."""
        given, made = self._session.get_inputs(), self._session.get_outputs()
        names = [one.name for one in given], [one.name for one in made]
        known = names[0] == [INPUT] and names[1] in ([LOGIT, P_FAKE], [LOGIT, P_FAKE, DISTANCE])
        return known and given[0].type == "tensor(uint8)" and len(given[0].shape) == 4

    @property
    def knows_distance(self) -> bool:
        return DISTANCE in [one.name for one in self._session.get_outputs()]

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        """uint8 RGB (N, 3, H, W), or grey (N, 1, H, W), of any height and width. Return logits, p_fake and, if the
        detector has a domain, the distance from it; float32 (N,) each.
        """
        rgb = images if images.shape[1] == 3 else images.repeat(3, axis=1)
        names = [LOGIT, P_FAKE, DISTANCE] if self.knows_distance else [LOGIT, P_FAKE]
        return self._session.run(names, {INPUT: np.ascontiguousarray(rgb)})

    def outputs(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return float64 logits (N,), and the distance as the only feature, float32 (N, 1), if the graph knows it."""
        logits, _, *distance = self.run(images)
        return logits.astype(np.float64), distance[0][:, None] if distance else None


@dataclass(frozen=True)
class KnownDistance:
    """A domain whose distance is computed by the graph."""

    limit: float

    def outside(self, features: np.ndarray) -> np.ndarray:
        """Return whether distances (N, 1) are out of domain: bool (N,)."""
        return ~(features[:, 0] <= self.limit)  # NaN is outside


def open_onnx(path: Path, device: str = "auto") -> tuple[OnnxNetwork, dict, KnownDistance | None]:
    """Return the network of a detector in an .onnx file, its facts, and its domain or None. It runs on the CPU.

    Raises UserError if the file is missing, damaged, or not a detector exported by fakelab.
    """
    if device not in ("auto", "cpu"):
        remedy = "Give --device cpu, or the detector's folder."
        raise UserError("an .onnx detector runs on the CPU", got=f"--device {device}", remedy=remedy)
    if not path.is_file():
        got = "a folder" if path.is_dir() else "no such file"
        raise UserError(f"{path} is not a detector", got=got, expected="an .onnx file made by `export`")
    network = read_graph(path)
    facts: dict[str, Any] = {name: _value(text) for name, text in network.metadata.items()}
    if facts.get("kind") != "detector" or not network.takes_photos:
        what = f"{path} is an ONNX graph, but not a detector that fakelab exported"
        got = f"metadata {', '.join(sorted(facts)[:5]) or 'none'}"
        raise UserError(what, got=got, expected="metadata of a detector, and uint8 images as input", remedy=_REMEDY)
    check_facts(facts, path, where=path, remedy=_REMEDY)
    domain = None
    if network.knows_distance:
        check_fields(facts, {"domain_limit": number(0)}, path, remedy=_REMEDY)
        domain = KnownDistance(facts["domain_limit"])
    return network, facts, domain


def read_graph(path: Path) -> OnnxNetwork:
    """Open an .onnx file. Raises UserError if onnxruntime cannot, for example for a truncated file."""
    data = path.read_bytes()
    try:
        return OnnxNetwork(data)
    except Exception as error:  # onnxruntime's own kinds share no other base
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        what = f"{path} is truncated or damaged, or is not an ONNX file"
        raise UserError(
            what, got=f"{len(data):,} bytes", expected="a graph that onnxruntime can run", remedy=_REMEDY
        ) from None


def _value(text: str) -> object:
    """Return the value of a metadata entry: parsed JSON, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text
