"""Settings for training an attribute classifier; `--set field=value` changes each field."""

from __future__ import annotations

from dataclasses import dataclass

from fakecore.errors import unknown_name
from fakecore.settings import setting
from fakedetect.models.settings import BackboneSettings

TIMM = "timm:"


@dataclass(frozen=True)
class AttributeSettings(BackboneSettings):
    """All settings that affect the trained classifier, apart from its images, targets and seed."""

    blocks: int = setting(
        3, low=1, high=4, why="cnn: convolution blocks; three were best for DeepRecognition (system E)"
    )
    head: str = setting(
        "sigmoid",
        choices=("sigmoid", "softmax"),
        why="sigmoid: every attribute has its own yes or no; softmax: as system E had it over four attributes, to reproduce "
        "its number; a mistake, since a face can have several",
    )
    copies: int = setting(
        0, low=0, high=1000, why="train=head: augmented versions of each image whose features are computed; 0: as it is"
    )
    resolution: int = setting(128, low=8, high=1024, why="pixels, square side; 128 as system E")
    epochs: int = setting(
        12, low=1, high=10_000, why="passes over the training images; 12 as system E's transfer; the best is kept"
    )
    batch: int = setting(64, low=2, high=65536, why="images a step, drawn as they come: no class is favoured")
    weight_decay: float = setting(0.01, low=0, high=1, why="AdamW's decay; Loshchilov and Hutter 2019's default")
    limit: int | None = setting(None, low=2, high=1_000_000_000, why="use at most so many training images, for trials")
    flip: float = setting(0.5, low=0, high=1, why="probability of a left-right flip; 0 where left and right matter")
    jpeg: float = setting(
        0, low=0, high=1, why="probability of JPEG at quality 30 to 100; none: reals are what they are"
    )
    blur: float = setting(0, low=0, high=1, why="probability of Gaussian blur, sigma 0 to 2")
    resize: float = setting(0, low=0, high=1, why="probability of resizing to 0.5x to 1x and back")
    shift: float = setting(0, low=0, high=0.5, why="largest move of an image, share of its side")
    degrade: float = setting(0, low=0, high=1, why="probability of a chain of degradations, as for detectors")
    precision: str = setting(
        "auto", choices=("auto", "bf16", "fp32"), why="of training; auto: bf16 where the processor computes in it"
    )

    video = 0.0  # attributes are learned from photos

    def degrade_in_use(self) -> float:
        return self.degrade


def require_model(model: str) -> None:
    """Raise UserError, with the valid choices, unless `model` can learn attributes."""
    if model not in ("cnn", "resnet50") and (not model.startswith(TIMM) or model == TIMM):
        raise unknown_name("model for attributes", model, ["cnn", "resnet50", f"{TIMM}NAME"])
