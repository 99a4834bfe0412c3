"""Where in an image a network's answer is most sensitive. Attention, not proof: a heat map shows no manipulation.

HiResCAM (Draelos & Carin 2020, arXiv 2011.08891) on the last convolution that still sees where things are: Grad-CAM (Selvaraju
et al. 2017) without the averaging of gradients over places. Where a network pools globally the two are one; where it
flattens, as `cnn` does, Grad-CAM may point away from what decides: on a planted patch its map was empty for "fake" and hot
for "real". For a network without a convolution, and for transformers, input gradients (Simonyan et al. 2013); for one that
defines `frequency_weights() -> (R, R)`, the coarsest frequency first, those.
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

CAPTION = "Where the network's answer is most sensitive; not proof of manipulation."
METHODS = {
    "hirescam": "HiResCAM, Grad-CAM's faithful sibling, on the last convolution: the brighter, the more that part speaks for "
    "the answer given.",
    "gradient": "Input gradients, since the network has no convolution to look at (or attends across the whole image): the "
    "brighter, the more a change of these pixels would change the answer.",
    "frequency": "Weights of spatial frequencies, the same for every image, since the network judges the spectrum and not "
    "places: coarse at the top left, fine at the bottom right; the brighter, the more a frequency counts.",
}
_BATCH = 16
_BATCH_PIXELS = _BATCH * 128 * 128  # gradients keep what every layer made
_OPACITY = 0.8  # of the hottest place
_DIMMED = 0.6  # the picture below: its own white must not pass for heat
_BLUR = 1 / 32  # of the side: single pixels of a gradient cannot be seen


@dataclass(frozen=True)
class Heat:
    """`maps` float32 (N, R, R), [0, 1] with 1 the hottest of each; all 0 where nothing speaks for the answer."""

    method: str  # a key of METHODS
    maps: np.ndarray

    @property
    def has_places(self) -> bool:
        """Whether a map lies over its image; one of frequencies does not."""
        return self.method != "frequency"


def heat_maps(network: nn.Module, images: np.ndarray, says_fake: np.ndarray, device: torch.device) -> Heat:
    """Heat maps of prepared images, uint8 (N, C, R, R), for the answer given: fake where `says_fake` (N,), else real.

    Raises UserError for a network that lets no gradient through, such as one in an .onnx file.
    """
    if isinstance(network, OnnxNetwork):
        remedy = "Give the detector's folder."
        raise UserError("an .onnx file cannot be explained: it has no gradients", remedy=remedy)
    if isinstance(network, Ensemble):
        remedy = "Explain its members one by one; detector.json names them."
        raise UserError("an ensemble has no one place to look: its members answer for different reasons", remedy=remedy)
    if hasattr(network, "frequency_weights"):
        weights = torch.as_tensor(network.frequency_weights()).detach().abs().float().cpu().numpy()
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
    """uint8 (C, H, W), C 1 or 3, under its heat (H, W): uint8 (3, H, W). The picture is in dim grey: colour is heat alone."""
    grey = _DIMMED * image.mean(axis=0)[..., None] / 255  # (H, W, 1)
    opacity = _OPACITY * heat[..., None]
    mixed = grey * (1 - opacity) + in_colour(heat) * opacity
    return (mixed * 255).round().astype(np.uint8).transpose(2, 0, 1)


def in_colour(heat: np.ndarray) -> np.ndarray:
    """[0, 1] (H, W) -> RGB [0, 1] (H, W, 3)."""
    from matplotlib import colormaps

    return colormaps["inferno"](heat)[..., :3]


def _one_batch(
    network: nn.Module, layer: nn.Module | None, images: np.ndarray, says_fake: np.ndarray, device: torch.device
) -> np.ndarray:
    """Heat of one batch, not yet scaled, float32 (N, R, R)."""
    from captum.attr import LayerAttribution, LayerGradientXActivation, Saliency

    # Floats hold what uint8 held, and carry gradients: through layers that training froze, too.
    pixels = torch.from_numpy(images).to(device).float().requires_grad_()
    signs = torch.from_numpy(np.where(says_fake, 1.0, -1.0).astype(np.float32)).to(device)

    def answer(batch: torch.Tensor) -> torch.Tensor:
        return (
            network(batch.clone()) * signs
        )  # a network may change what it is given in place, which a leaf cannot bear

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
        raise UserError("this network cannot be explained: it lets no gradient through", got=reason) from None
    return fine[:, 0].detach().float().cpu().numpy()


def _last_convolution(network: nn.Module, image: np.ndarray, device: torch.device) -> nn.Module | None:
    """The layer that ends the last convolution that keeps places, (h, w) of more than one: its activation where there is
    one, behind what a residual block adds. None for a network without a convolution.

    None for a transformer too: its one convolution cuts the image into patches, and what decides comes after.
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
    """Each map of (N, R, R) divided by its own maximum."""
    highest = maps.max(axis=(1, 2), keepdims=True) if len(maps) else maps
    return np.divide(maps, highest, out=np.zeros_like(maps), where=highest > 0)
