"""Feature spaces: networks that map each image to a vector of features, in which sets of images are compared.

Distances in different spaces are not comparable, so every space says what its distances can be compared with.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad, relu

from fakecore.device import choose_device
from fakecore.efficientnet import EfficientNetLite0, with_folded_norms
from fakecore.errors import UserError, unknown_name
from fakecore.imagenet import WEIGHTS_SHA256, load_imagenet
from fakecore.sets.pixelcache import are_photographs
from fakegen.quality.classifier import class_network, usable_classes
from fakegen.quality.inceptionweights import find_weights
from fakegen.runs.reals import Reals

_BATCH, _BATCH_GPU = 16, 64  # on a CPU, 64 is some percent slower: its caches do not hold what layers pass on
_RANDOM_SEED = 2097  # arbitrary; another seed is another space
_RANDOM_FILTERS = 96  # two features each: few enough to fit a Gaussian to some hundreds of images
_IMAGENET_SIDE = 224  # pixels: input size of the ImageNet network
_COARSEST = 4  # pixels, side: of the last feature maps of the random network
_SAME_MEASURE = "Compare it only with distances in the same feature space, to the same reals, with the same counts."


@dataclass(frozen=True)
class FeatureSpace:
    """A callable: images, uint8 (N, C, R, R) -> features, float32 (N, dims). Equal images give equal features."""

    name: str  # inception, clip, imagenet, classes or random
    dims: int
    comparable: str  # a sentence: what its distances can be compared with
    key: str  # changes whenever the features would
    network: nn.Module  # uint8 (B, C, R, R) -> (B, dims)
    device: torch.device
    kernel: str = "cubic"  # of the kernel distance in this space, see `kernel_distance`

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> np.ndarray:
        features = np.empty((len(images), self.dims), dtype=np.float32)
        # Full precision on a GPU too: cached features may come from a CPU.
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            size = _BATCH if self.device.type == "cpu" else _BATCH_GPU
            for start in range(0, len(images), size):
                batch = torch.from_numpy(np.array(images[start : start + size])).to(self.device)
                features[start : start + size] = self.network(batch).float().cpu().numpy()
        return features


def open_features(
    name: str,
    reals: Reals,
    *,
    device: str = "auto",
    weights: Path | str | None = None,
    classes_from: Reals | None = None,
) -> FeatureSpace:
    """Return the feature space `name`: inception, clip, imagenet, classes, random, or auto (see `choose_features`).

    For inception, missing weights are downloaded; for clip, `weights` is the folder of a model. `classes` is trained on the
    train split of `classes_from`, by default of `reals`; the reals of a GAN of one class need a `classes_from`. Raises
    UserError for an unknown name, weights that are unavailable or unreadable, or fewer than two classes.
    """
    if name not in CHOICES:
        raise unknown_name("feature space", name, CHOICES)
    if weights is not None and name not in ("auto", "inception", "clip"):
        raise UserError(
            f"--weights applies only to the features inception and clip, not to {name}",
            remedy="Use --features inception, or clip.",
        )
    if classes_from is not None:
        if name not in ("auto", "classes") or weights is not None:
            what = "--classes-from applies only to the features classes"
            raise UserError(what, got=f"--features {name}" + (" and --weights" if weights is not None else ""))
        if classes_from.channels != reals.channels:
            colours = {1: "grey", 3: "in colour"}
            raise UserError(
                f"the images of {classes_from.spec} are {colours[classes_from.channels]}, those of the run"
                f" {colours[reals.channels]}",
                remedy="Use a source with the same number of channels.",
            )
        name, reals = "classes", classes_from
    if name == "auto":
        name = "inception" if weights is not None else choose_features(reals)
    return _BUILDERS[name](reals, choose_device(device), weights)


class RandomFeatures(nn.Module):
    """An untrained convolutional network: statistics of edges, colours and textures at every scale.

    uint8 (B, C, R, R) -> (B, dims). Images pass 3x3 convolutions with fixed random weights, ReLU and halving, down to 4x4;
    the features are the mean and standard deviation over the pixels of every channel at every scale. Such embeddings rank
    generators without the bias of a trained classifier: Naeem et al. 2020 (arXiv 2002.09797), section 4. Half of the first
    filters have zero mean and four times the weight: without them fine detail has hardly any effect.
    """

    def __init__(self, resolution: int):
        super().__init__()
        scales = max(1, int(math.log2(resolution / _COARSEST)))
        width = _RANDOM_FILTERS // scales
        self.dims = 2 * width * scales
        draw = np.random.default_rng(_RANDOM_SEED)
        channels = 3
        for scale in range(scales):
            weight = draw.standard_normal((width, channels, 3, 3)) * math.sqrt(2 / (9 * channels))
            if scale == 0:
                changes = weight[width // 2 :]
                changes -= changes.mean(axis=(2, 3), keepdims=True)
                changes *= 4
            self.register_buffer(f"weight_{scale}", torch.from_numpy(weight).float())
            self.register_buffer(f"bias_{scale}", torch.from_numpy(draw.standard_normal(width) * 0.1).float())
            channels = width
        self.scales = scales

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = images.float().div(127.5).sub(1)
        x = x.expand(-1, 3, -1, -1)  # grey as three equal channels
        features = []
        for scale in range(self.scales):
            weight, bias = self.get_buffer(f"weight_{scale}"), self.get_buffer(f"bias_{scale}")
            x = relu(conv2d(pad(x, (1, 1, 1, 1), mode="replicate"), weight, bias))  # (B, width, R / 2^scale, ...)
            features += [x.mean(dim=(2, 3)), x.std(dim=(2, 3))]
            x = avg_pool2d(x, 2)
        return torch.cat(features, dim=1)  # (B, dims)


class ImageNetFeatures(nn.Module):
    """The pooled features of EfficientNet-Lite0 with ImageNet weights: uint8 (B, C, R, R) -> (B, 1280). Images are resized to
    224x224, bicubic with antialiasing. Features that were learned from ImageNet's classes weigh what these classes need:
    Kynkaanniemi et al. 2023 (arXiv 2203.06026).
    """

    dims = 1280

    def __init__(self):
        super().__init__()
        network = EfficientNetLite0()
        load_imagenet(network)
        self.network = with_folded_norms(network.eval())
        self.requires_grad_(False)
        self.to(memory_format=torch.channels_last)  # twice as fast on a CPU

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = images.float()
        if x.shape[-1] != _IMAGENET_SIDE:
            size = (_IMAGENET_SIDE, _IMAGENET_SIDE)
            x = interpolate(x, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 255)
        x = x.expand(-1, 3, -1, -1).sub(127.5).div(127.5)
        return self.network(x.contiguous(memory_format=torch.channels_last))


def choose_features(reals: Reals) -> str:
    """Return the feature space that `auto` stands for: inception if torch's cache has its weights, else imagenet for
    photographs; for others, as of digits, classes if there are two or more, else random.
    """
    if find_weights() is not None:
        return "inception"
    if are_photographs(reals.channels, reals.images.shape[-1]):
        return "imagenet"
    return "classes" if len(usable_classes(reals)) >= 2 else "random"


def _random(reals: Reals, device: torch.device, weights: Path | str | None) -> FeatureSpace:
    resolution = reals.images.shape[-1]
    network = RandomFeatures(resolution).to(device)
    comparable = f"Not comparable with published FID: fixed random features. {_SAME_MEASURE}"
    key = f"random-1-{_RANDOM_SEED}-{resolution}"
    return FeatureSpace("random", network.dims, comparable, key, network, device)


def _classes(reals: Reals, device: torch.device, weights: Path | str | None) -> FeatureSpace:
    found = class_network(reals)
    right = f" ({found.accuracy:.0%} accuracy on held-out reals)" if found.accuracy is not None else ""
    comparable = (
        f"Not comparable with published FID: features of a small network that learned the {found.classes} "
        f"classes of {reals.spec}{right}. {_SAME_MEASURE}"
    )
    return FeatureSpace("classes", found.network.dims, comparable, found.key, found.network.to(device), device)


def _imagenet(reals: Reals, device: torch.device, weights: Path | str | None) -> FeatureSpace:
    network = ImageNetFeatures().to(device)
    comparable = (
        f"Not comparable with published FID: features of EfficientNet-Lite0, trained on ImageNet. {_SAME_MEASURE}"
    )
    return FeatureSpace("imagenet", network.dims, comparable, f"imagenet-2-{WEIGHTS_SHA256[:12]}", network, device)


def _inception(reals: Reals, device: torch.device, weights: Path | str | None) -> FeatureSpace:
    from fakegen.quality.inception import DIMS, open_inception  # torchvision's models take seconds to import

    found = open_inception(weights)
    comparable = found.comparable if found.published else f"{found.comparable} {_SAME_MEASURE}"
    return FeatureSpace("inception", DIMS, comparable, found.key, found.network.to(device), device)


def _clip(reals: Reals, device: torch.device, weights: Path | str | None) -> FeatureSpace:
    from fakegen.quality.clip import open_clip

    found = open_clip(weights)
    comparable = f"{found.comparable} {_SAME_MEASURE}"
    return FeatureSpace("clip", found.network.dims, comparable, found.key, found.network.to(device), device, "gaussian")


_BUILDERS: dict[str, Callable[[Reals, torch.device, Path | str | None], FeatureSpace]] = {
    "inception": _inception,
    "clip": _clip,
    "imagenet": _imagenet,
    "classes": _classes,
    "random": _random,
}
CHOICES = ("auto", *_BUILDERS)
