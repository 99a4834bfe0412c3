"""Heat maps: which parts of an image influence the output of a network. They are not proof of manipulation.

HiResCAM (Draelos & Carin 2020, arXiv 2011.08891) on the last convolution with positions. It is Grad-CAM (Selvaraju et al.
2017) without averaging the gradients over positions. For networks with global pooling both are equal. For networks that
flatten, as `cnn` does, Grad-CAM can be wrong: with an artificial patch, its map is empty for "fake" and hot for "real". For
networks without a convolution and for transformers: input gradients (Simonyan et al. 2013). For networks that define
`frequency_weights() -> (R, R)`, lowest frequency first: those weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import nn

from fakecore.errors import UserError
from fakedetect.models.networks import Ensemble
from fakedetect.models.onnx import OnnxNetwork

CAPTION = "The map shows where the score is most sensitive. It does not prove manipulation."
METHODS = {
    "hirescam": "HiResCAM, a variant of Grad-CAM, on the last convolution: the brighter, the more that part supports "
    "the verdict.",
    "gradient": "Input gradients, because the network has no suitable convolution (or uses attention over the whole image): "
    "the brighter, the more a change of these pixels changes the score.",
    "frequency": "Weights of spatial frequencies, the same for every image, because the network uses the spectrum and not "
    "positions: low at the top left, high at the bottom right; the brighter, the more weight a frequency has.",
}
_BATCH = 16
_BATCH_PIXELS = _BATCH * 128 * 128  # gradients need the activations of every layer
_OPACITY = 0.8  # at the maximum of the map
_DIMMED = 0.6  # brightness of the image below, so that white is not mistaken for heat
_BLUR = 1 / 32  # of the side: single pixels of a gradient are not visible


@dataclass(frozen=True)
class Heat:
    """`maps` float32 (N, R, R), [0, 1], each scaled to a maximum of 1; all 0 if nothing supports the verdict."""

    method: str  # a key of METHODS
    maps: np.ndarray

    @property
    def has_places(self) -> bool:
        """Whether the maps show positions in the image; frequency maps do not."""
        return self.method != "frequency"


def heat_maps(network: nn.Module, images: np.ndarray, says_fake: np.ndarray, device: torch.device) -> Heat:
    """Return heat maps of prepared images, uint8 (N, C, R, R), for the verdict: fake where `says_fake` (N,), else real.

    Raises UserError for a network without gradients, such as an .onnx file.
    """
    if isinstance(network, OnnxNetwork):
        remedy = "Use the detector's folder."
        raise UserError("an .onnx file cannot be explained: it has no gradients", remedy=remedy)
    if isinstance(network, Ensemble):
        remedy = "Explain its members one by one; detector.json lists them."
        raise UserError("an ensemble cannot be explained as a whole: its members use different features", remedy=remedy)
    if frequency_weights := getattr(network, "frequency_weights", None):
        weights = torch.as_tensor(frequency_weights()).detach().abs().float().cpu().numpy()
        return Heat("frequency", _to_unit(np.repeat(weights[None], len(images), axis=0)))
    size = max(1, min(_BATCH, _BATCH_PIXELS // images.shape[2] ** 2))
    with _evaluating(network):
        layer = _last_convolution(network, images[:1], device)
        parts = [
            _one_batch(network, layer, images[start : start + size], says_fake[start : start + size], device)
            for start in range(0, len(images), size)
        ]
    maps = np.concatenate(parts) if parts else np.empty((0, *images.shape[2:]), np.float32)
    return Heat("gradient" if layer is None else "hirescam", _to_unit(maps))


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return an image, uint8 (C, H, W), C 1 or 3, with its heat (H, W) on top, as uint8 (3, H, W). The image is dark grey."""
    grey = _DIMMED * image.mean(axis=0)[..., None] / 255  # (H, W, 1)
    opacity = _OPACITY * heat[..., None]
    mixed = grey * (1 - opacity) + in_colour(heat) * opacity
    return (mixed * 255).round().astype(np.uint8).transpose(2, 0, 1)


def in_colour(heat: np.ndarray) -> np.ndarray:
    """Convert heat [0, 1] (H, W) to RGB [0, 1] (H, W, 3)."""
    from matplotlib import colormaps

    return colormaps["inferno"](heat)[..., :3]


def _one_batch(
    network: nn.Module, layer: nn.Module | None, images: np.ndarray, says_fake: np.ndarray, device: torch.device
) -> np.ndarray:
    """Return the heat of one batch, not scaled, float32 (N, R, R)."""
    from captum.attr import LayerAttribution, LayerGradientXActivation, Saliency

    # Floats, because gradients need them; also pass gradients through frozen layers.
    pixels = torch.from_numpy(images).to(device).float().requires_grad_()
    signs = torch.from_numpy(np.where(says_fake, 1.0, -1.0).astype(np.float32)).to(device)

    def answer(batch: torch.Tensor) -> torch.Tensor:
        return (
            network(batch.clone()) * signs
        )  # a network may change its input in place, which is not allowed for a leaf tensor

    try:
        if layer is None:
            found = Saliency(answer).attribute(pixels).sum(dim=1)  # (N, R, R)
            side = images.shape[2]
            return np.stack([cv2.GaussianBlur(one, (0, 0), side * _BLUR) for one in found.detach().cpu().numpy()])
        coarse = LayerGradientXActivation(answer, layer).attribute(pixels)  # (N, channels, h, w)
        coarse = coarse.sum(dim=1, keepdim=True).relu()  # (N, 1, h, w)
        fine = LayerAttribution.interpolate(coarse, images.shape[2:], interpolate_mode="bilinear")
    except RuntimeError as error:
        reason = str(error).splitlines()[0][:120]
        raise UserError("this network cannot be explained: it has no gradients", got=reason) from None
    return fine[:, 0].detach().float().cpu().numpy()


def _last_convolution(network: nn.Module, image: np.ndarray, device: torch.device) -> nn.Module | None:
    """Return the layer at the end of the last convolution with an output (h, w) larger than 1x1: its activation if there is
    one, after the sum of a residual block. None for a network without a convolution.

    Also None for a transformer: its only convolution splits the image into patches, before the layers that decide.
    """
    if any("attention" in type(module).__name__.lower() for module in network.modules()):
        return None
    last: list[nn.Module] = []
    size: list[torch.Size] = []

    def note(module: nn.Module, _, output: object) -> None:
        if not isinstance(output, torch.Tensor) or output.dim() != 4 or output[0, 0].numel() == 1:
            return
        if isinstance(module, nn.Conv2d):
            size[:] = [output.shape[2:]]
        if size == [output.shape[2:]]:
            last[:] = [module]

    leaves = [module for module in network.modules() if not any(module.children())]
    hooks = [module.register_forward_hook(note) for module in leaves]
    try:
        with torch.no_grad():
            network(torch.from_numpy(image).to(device))
    finally:
        for hook in hooks:
            hook.remove()
    return last[0] if last else None


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    before = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(before)


def _to_unit(maps: np.ndarray) -> np.ndarray:
    """Divide each map of (N, R, R) by its own maximum."""
    highest = maps.max(axis=(1, 2), keepdims=True) if len(maps) else maps
    return np.divide(maps, highest, out=np.zeros_like(maps), where=highest > 0)
