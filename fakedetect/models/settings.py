"""Settings of detector training. `--set field=value` overrides a field."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fakecore.errors import UserError
from fakecore.settings import setting
from fakedetect.models.heads import PROBES


@dataclass(frozen=True)
class BackboneSettings:
    """What detectors and classifiers of attributes have in common: how a pretrained backbone is used, and the rate."""

    model: str = setting("cnn", why="cnn, resnet50 or timm:NAME")
    train: str = setting(
        "head",
        choices=("head", "finetune"),
        why="resnet50, timm, lite: head trains on features of the frozen backbone, computed once; finetune trains both",
    )
    frozen_layers: int = setting(
        26,
        low=0,
        high=10_000,
        why="finetune: layers with parameters that stay frozen, from the input on; 26 are the first 45 of Keras' list, as "
        "system E froze them (it counts ReLU, padding and additions too)",
    )
    pretrained: bool = setting(
        True, why="resnet50, timm: start from pretrained weights; false: all is trained from scratch"
    )
    weights: str | None = setting(
        None, why="resnet50, timm: a file of pretrained weights; none: those that timm downloads"
    )
    input_size: int | None = setting(
        None, low=8, high=2048, why="resnet50, timm, lite: input side of the backbone, pixels; none: its default"
    )
    pool: str = setting(
        "avg",
        choices=("avg", "flatten"),
        why="resnet50, timm: avg: average over positions; flatten: keep all positions (system E)",
    )
    rate: float | None = setting(
        None,
        low=1e-8,
        high=1,
        why="AdamW's peak learning rate; falls to 0 along a half cosine; none: 1e-3, or 1e-4 to finetune a backbone",
    )

    @property
    def is_backbone(self) -> bool:
        return self.model == "resnet50" or self.model.startswith("timm:")

    @property
    def trains_backbone(self) -> bool:
        finetuned = self.train == "finetune"
        return finetuned if self.model == "lite" else self.is_backbone and (finetuned or not self.pretrained)

    @property
    def on_features(self) -> bool:
        """Whether the network below the head stays as it is."""
        return self.is_backbone and not self.trains_backbone

    def require_backbone_for_weights(self) -> None:
        """Raise UserError for pretrained weights that this model would leave unread."""
        if self.weights is not None and not self.is_backbone:
            expected = "--model resnet50, or timm:NAME"
            raise UserError(f"the model {self.model} does not use --weights", got=self.weights, expected=expected)

    def rate_in_use(self) -> float:
        return self.rate or (1e-4 if self.trains_backbone and self.pretrained else 1e-3)


@dataclass(frozen=True)
class DetectorSettings(BackboneSettings):
    """Everything that decides what a detector becomes, other than its images and its seed."""

    model: str = setting(
        "cnn",
        why="cnn, lite, resnet50, timm:NAME, dct, spectrum, discriminator or ensemble:DETECTOR,DETECTOR",
    )
    blocks: int = setting(
        3, low=1, high=4, why="cnn: convolution blocks; three were best for DeepRecognition (system E)"
    )
    probe: str | None = setting(
        None,
        choices=(None, *PROBES),
        why="on features: linear (logistic regression), svm (linear too), mlp (system E's three layers); none: mlp for "
        "backbones, else linear",
    )
    copies: int | None = setting(
        None,
        low=0,
        high=1000,
        why="augmented versions of each training image whose features are computed; 0: as they are; none: 4 for backbones, "
        "2 for lite, 0 for dct and spectrum, because JPEG and blur remove the signal they use",
    )
    start: str | None = setting(
        None,
        why="a detector of the same model, whose weights training starts from; for networks that are trained as a whole",
    )
    checkpoint: str = setting("last", why="discriminator: epoch of the checkpoint, a number or last")
    resolution: int | None = setting(None, low=8, high=1024, why="pixels, square side; none: the set's own")
    epochs: int = setting(
        12, low=1, high=10_000, why="passes over the larger class; the best by validation AUROC is kept"
    )
    batch: int = setting(64, low=2, high=65536, why="images a step, half of them real and half fake")
    weight_decay: float = setting(0.01, low=0, high=1, why="AdamW's decay; Loshchilov and Hutter 2019's default")
    limit: int | None = setting(
        None, low=2, high=1_000_000_000, why="maximum number of training images, for quick tests"
    )
    equalise: bool = setting(
        False,
        why="compress every image again as JPEG, in training and scoring; see fakedetect/data/equalise.py",
    )
    stream: bool | None = setting(
        None,
        choices=(None, False, True),
        why="whether a set of shards is read where it is, rather than copied and decoded into the cache; none: if its pixels "
        "exceed the limit of the cache",
    )
    buffer: int = setting(
        512,
        low=1,
        high=1_000_000,
        why="streamed: MB of pixels in memory, for two windows of training images and for validation images",
    )
    flip: float = setting(0.5, low=0, high=1, why="probability of a left-right flip; 0 for text and digits")
    jpeg: float = setting(
        0.3, low=0, high=1, why="probability of JPEG at quality 30 to 100; Wang et al. 2020, section 4.1"
    )
    blur: float = setting(
        0.2, low=0, high=1, why="probability of Gaussian blur, sigma 0 to 2; Wang et al. 2020, section 4.1"
    )
    resize: float = setting(
        0.2, low=0, high=1, why="probability of resizing to 0.5x to 1x and back, so that scale is no cue"
    )
    shift: float = setting(
        0.0,
        low=0,
        high=0.5,
        why="largest shift, fraction of the side; for faces of videos, whose boxes vary between frames",
    )
    degrade: float | None = setting(
        None,
        low=0,
        high=1,
        why="probability of a chain of one to three of JPEG, WebP, resize, blur, noise, crop and gamma; none: 0.6 for lite, "
        "else 0",
    )
    video: float = setting(
        0.0,
        low=0,
        high=1,
        why="probability of compression as a frame of an H.264 or H.265 video, CRF 18 to 38, after all other changes",
    )
    leave_one_out: bool | None = setting(
        None,
        why="with several sources of fakes, train without each in turn: thresholds and the expected rates are then those of "
        "unseen generators; none: for models on fixed features, where it takes seconds",
    )
    max_fpr: float = setting(0.05, low=0.0001, high=0.5, why="maximum share of validation reals with the verdict fake")
    max_fnr: float = setting(0.05, low=0.0001, high=0.5, why="maximum share of validation fakes with the verdict real")
    precision: str = setting(
        "auto", choices=("auto", "bf16", "fp32"), why="of training; auto: bf16 where the processor computes in it"
    )

    def buffer_images(self, shape: tuple[int, ...]) -> int:
        """Return how many images, of an array of this shape, a third of the buffer holds."""
        return max(1, self.buffer * 1_000_000 // 3 // math.prod(shape[1:]))

    def probe_in_use(self) -> str:
        return self.probe or ("mlp" if self.is_backbone else "linear")

    def copies_in_use(self) -> int:
        if self.copies is None:
            return 4 if self.is_backbone else 2 if self.model == "lite" else 0
        return self.copies

    def leaves_out(self, sources: list[str], on_features: bool) -> bool:
        """Return whether each of several sources of fakes is left out in turn. Raises UserError if there is one only."""
        if self.leave_one_out and len(sources) < 2:
            what = "--leave-one-out needs several sources of fakes"
            raise UserError(what, got="one", expected="two or more runs or sets, or --fake given several times")
        return len(sources) > 1 and (on_features if self.leave_one_out is None else self.leave_one_out)

    def degrade_in_use(self) -> float:
        if self.degrade is None:
            return 0.6 if self.model == "lite" else 0.0
        return self.degrade
