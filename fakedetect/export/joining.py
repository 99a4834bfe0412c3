"""Join a foreign ONNX graph, in a detector that was adopted from one, with the graph that PyTorch exports around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from onnx import helper
from onnx.inliner import inline_local_functions
from torch import nn

from fakecore.errors import UserError
from fakecore.messages import counted
from fakedetect.models.bodies import OnnxBody

_DOMAIN, _NAME = "fakelab.foreign", "Graph"


class _Call(nn.Module):
    """Stands for a foreign graph while PyTorch exports the rest: one node that calls it."""

    def __init__(self, body: OnnxBody, input_shape: tuple[int, ...]):
        super().__init__()
        self.channels_last = body.channels_last
        with torch.inference_mode():
            values, features = body(torch.zeros(2, *input_shape))
        self.widths = [tuple(made.shape[1:]) for made in (values, features) if made is not None]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        images = x.permute(0, 2, 3, 1) if self.channels_last else x
        made = torch.onnx.ops.symbolic_multi_out(
            f"{_DOMAIN}::{_NAME}",
            (images,),
            {},
            dtypes=[torch.float32] * len(self.widths),
            shapes=[(x.shape[0], *width) for width in self.widths],
            version=1,
        )
        return made[0].reshape(x.shape[0], -1), made[1] if len(made) == 2 else None


@contextmanager
def foreign_graph_called(network: Any) -> Iterator[onnx.ModelProto | None]:
    """While the block runs, the foreign graph in `network`, if there is one, is a node that calls it; yield the graph, or None.

    Raises UserError for a graph that takes a fixed number of images.
    """
    body = getattr(network, "body", None)
    if not isinstance(body, OnnxBody):
        yield None
        return
    graph = onnx.load_model_from_string(body.graph.cpu().numpy().tobytes())
    first = graph.graph.input[0].type.tensor_type.shape.dim[0]
    if first.dim_value:
        many = counted(first.dim_value, "image")
        what = f"the graph that this detector was adopted from takes {many} at once, not any number"
        raise UserError(what, remedy="Score with the detector folder instead.")
    network.body = _Call(body, (3, network.pixels.side, network.pixels.side))
    try:
        yield graph
    finally:
        network.body = body


def join(whole: onnx.ModelProto, foreign: onnx.ModelProto) -> onnx.ModelProto:
    """Return `whole` with the nodes of `foreign` in place of the node that calls it, in the opset of `whole`."""
    graph = foreign.graph
    constants = [helper.make_node("Constant", [], [one.name], value=one) for one in graph.initializer]
    weights = {one.name for one in graph.initializer}
    whole.functions.append(
        helper.make_function(
            _DOMAIN,
            _NAME,
            [one.name for one in graph.input if one.name not in weights],
            [one.name for one in graph.output],
            [*constants, *graph.node],
            list(foreign.opset_import),
        )
    )
    known = {one.domain for one in whole.opset_import}
    whole.opset_import.extend(one for one in foreign.opset_import if (one.domain or "") not in known)
    joined = inline_local_functions(whole, convert_version=True)
    kept = [one for one in joined.opset_import if one.domain != _DOMAIN]
    del joined.opset_import[:]
    joined.opset_import.extend(kept)
    return joined
