"""Open an ONNX graph whose input and outputs are not fakelab's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from fakecore.errors import UserError
from fakedetect.models.bodies import OnnxBody

_SIDES = (224, 256, 299, 384)  # pixels, where the graph takes any


@dataclass(frozen=True)
class Graph:
    """The description of the body, its only tensor (the bytes of the graph), and what its input may measure, pixels."""

    body: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    sides: tuple[int, ...]


def open_graph(path: Path) -> Graph:
    """Open a graph with one image input, float32 (N, 3, H, W) or (N, H, W, 3). The input of its last matrix product becomes a
    second output: its features. Raises UserError for another graph, or one with weights in other files.
    """
    try:
        model = onnx.load_model_from_string(path.read_bytes())
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's and onnx's kinds share no other base
        first = (str(error) or type(error).__name__).splitlines()[0][:120]
        expected = "a complete ONNX file with its weights inside"
        raise UserError(
            f"{path} is truncated or damaged, or is not an ONNX file", got=first, expected=expected
        ) from None
    weights = {one.name for one in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in weights]
    shape = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim] if inputs else []
    floats = bool(inputs) and inputs[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    if len(inputs) != 1 or len(shape) != 4 or not floats or 3 not in (shape[1], shape[3]):
        got = ", ".join(
            f"{one.name} {[d.dim_value or d.dim_param for d in one.type.tensor_type.shape.dim]}" for one in inputs
        )
        expected = "one input, float32 (N, 3, H, W) or (N, H, W, 3)"
        raise UserError(f"{path} takes no images that fakelab can give", got=got or "no input", expected=expected)
    channels_last = shape[1] != 3
    sides = (shape[2],) if shape[2] else _SIDES
    for extra in model.graph.output[1:]:
        model.graph.output.remove(extra)
    plain = model.SerializeToString()
    for data in filter(None, (_with_features(model), plain)):
        if tried := _runs(data, channels_last, sides[0]):
            return Graph(*tried, sides)
    what = f"{path} cannot be run on images of {sides[0]}x{sides[0]}"
    raise UserError(what, expected="a graph that onnxruntime can run")


def _runs(data: bytes, channels_last: bool, side: int) -> tuple[dict[str, Any], dict[str, torch.Tensor]] | None:
    """Return the body and its tensors, or None if it cannot judge two images."""
    body = {"kind": "onnx", "size": len(data), "channels_last": channels_last}
    tensors = {"graph": torch.from_numpy(np.frombuffer(data, dtype=np.uint8).copy())}
    network = OnnxBody(len(data), channels_last)
    network.load_state_dict(tensors)
    try:
        values, features = network(torch.zeros(2, 3, side, side))
    except RuntimeError:
        return None
    fits = values.ndim == 2 and (features is None or (features.ndim == 2 and len(features) == 2))
    return (body, tensors) if fits else None


def _with_features(model: onnx.ModelProto) -> bytes | None:
    """Return the graph with the input of its last matrix product as a second output; None without one."""
    weights = {one.name for one in model.graph.initializer}
    last = next((node for node in reversed(model.graph.node) if node.op_type in ("Gemm", "MatMul")), None)
    if last is None or last.input[0] in weights or last.input[0] in {one.name for one in model.graph.input}:
        return None
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(last.input[0]))
    model.graph.output[-1].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return model.SerializeToString()
