"""How a detector is trained. `--set field=value` reaches every field."""

from __future__ import annotations

from dataclasses import dataclass

from fakecore.settings import setting


@dataclass(frozen=True)
class DetectorSettings:
    """Everything that decides what a detector becomes, other than its images and its seed."""

    model: str = setting("cnn", choices=("cnn",), why="which network; see fakedetect/networks.py")
    blocks: int = setting(
        3, low=1, high=4, why="cnn: convolution blocks; three were best for DeepRecognition (system E)"
    )
    resolution: int | None = setting(None, low=8, high=1024, why="pixels, square side; none: the set's own")
    epochs: int = setting(
        12, low=1, high=10_000, why="passes over the larger class; the best by validation AUROC is kept"
    )
    batch: int = setting(64, low=2, high=65536, why="images a step, half of them real and half fake")
    rate: float = setting(1e-3, low=1e-8, high=1, why="AdamW's peak learning rate; falls to 0 along a half cosine")
    weight_decay: float = setting(0.01, low=0, high=1, why="AdamW's decay; Loshchilov and Hutter 2019's default")
    limit: int | None = setting(None, low=2, high=1_000_000_000, why="use at most so many training images, for trials")
    equalise: bool = setting(
        False, why="save every image once more as JPEG, real or fake, also when scoring; see fakedetect/equalise.py"
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
    max_fpr: float = setting(
        0.05, low=0.0001, high=0.5, why="`fake` may be said of at most this share of validation reals"
    )
    max_fnr: float = setting(
        0.05, low=0.0001, high=0.5, why="`real` may be said of at most this share of validation fakes"
    )
    precision: str = setting(
        "auto", choices=("auto", "bf16", "fp32"), why="of training; auto: bf16 where the processor computes in it"
    )
