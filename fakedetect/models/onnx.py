"""A detector that is one .onnx file, made by `export`: onnxruntime runs it, and its metadata says all that judging needs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fakecore.errors import UserError
from fakecore.schema import check_fields, number
from fakedetect.models.facts import check_facts

INPUT, LOGIT, P_FAKE, DISTANCE = "images", "logit", "p_fake", "distance"
_REMEDY = "Copy it again, or make it anew with `export`."


class OnnxNetwork(nn.Module):
    """The graph of an .onnx file (see fakedetect.models.onnxgraph) where a detector has its network. It has no gradients."""

    def __init__(self, data: bytes):
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # it tells of damage in its exceptions too
        # Bytes rather than a path: a graph in memory can name no other files to be read.
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    @property
    def metadata(self) -> dict[str, str]:
        return self._session.get_modelmeta().custom_metadata_map

    @property
    def takes_photos(self) -> bool:
        """Whether it has the input and the outputs of a detector."""
        given, made = self._session.get_inputs(), self._session.get_outputs()
        names = [one.name for one in given], [one.name for one in made]
        known = names[0] == [INPUT] and names[1] in ([LOGIT, P_FAKE], [LOGIT, P_FAKE, DISTANCE])
        return known and given[0].type == "tensor(uint8)" and len(given[0].shape) == 4

    @property
    def knows_distance(self) -> bool:
        return DISTANCE in [one.name for one in self._session.get_outputs()]

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        """uint8 RGB (N, 3, H, W), or grey (N, 1, H, W), of any height and width -> logits, p_fake and, where it knows one,
        the distance from its domain; float32 (N,) each.
        """
        rgb = images if images.shape[1] == 3 else images.repeat(3, axis=1)
        names = [LOGIT, P_FAKE, DISTANCE] if self.knows_distance else [LOGIT, P_FAKE]
        return self._session.run(names, {INPUT: np.ascontiguousarray(rgb)})

    def outputs(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B,), and as their only feature the distance, (B, 1)."""
        logits, _, distance = self.run(images.numpy())
        return torch.from_numpy(logits), torch.from_numpy(distance)[:, None]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.run(images.numpy())[0])


@dataclass(frozen=True)
class KnownDistance:
    """A domain of which the graph itself computes the distance."""

    limit: float

    def outside(self, features: np.ndarray) -> np.ndarray:
        """Distances (N, 1) -> bool (N,)."""
        return ~(features[:, 0] <= self.limit)  # NaN is outside


def open_onnx(path: Path, device: str = "auto") -> tuple[OnnxNetwork, dict, KnownDistance | None]:
    """The network of a detector in an .onnx file, which runs on the CPU, its facts, and its domain if it has one.

    Raises UserError when it is missing, damaged, or holds no detector of ours.
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
    return network.eval(), facts, domain


def read_graph(path: Path) -> OnnxNetwork:
    """Open an .onnx file. Raises UserError when onnxruntime cannot: it was cut short, or is something else."""
    data = path.read_bytes()
    try:
        return OnnxNetwork(data)
    except Exception as error:  # onnxruntime's own kinds share no other base
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        what = f"{path} was cut short or damaged, or is no ONNX file"
        raise UserError(
            what, got=f"{len(data):,} bytes", expected="a graph that onnxruntime can run", remedy=_REMEDY
        ) from None


def _value(text: str) -> object:
    """What a metadata entry holds: JSON where we wrote it, else a text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
