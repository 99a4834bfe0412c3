"""Features of CLIP's image encoder, for CMMD: a folder of a model in Hugging Face's layout, which the user has."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import interpolate, normalize

from fakecore.errors import UserError

PUBLISHED = (24, 1024, 336, 14)  # layers, width, side and patch of ViT-L/14 at 336 pixels, the encoder of CMMD
_MEAN, _DEVIATION = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)  # of CLIP's training images
_EXPECTED = "a folder with config.json and model.safetensors, such as that of openai/clip-vit-large-patch14-336"


class ClipFeatures(nn.Module):
    """The image embeddings of CLIP, of length 1: uint8 (B, C, R, R) -> (B, dims). Images are resized with bicubic
    interpolation, as in Jayasumana et al. 2024 (arXiv 2401.09603).
    """

    def __init__(self, network: Any):
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.side, self.dims = network.config.image_size, network.config.projection_dim
        self.mean: torch.Tensor
        self.deviation: torch.Tensor
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1) * 255)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(1, 3, 1, 1) * 255)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = images.float().expand(-1, 3, -1, -1)
        if x.shape[-1] != self.side:
            size = (self.side, self.side)
            x = interpolate(x, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 255)
        return normalize(self.network(pixel_values=(x - self.mean) / self.deviation).image_embeds, dim=1)


@dataclass(frozen=True)
class Clip:
    """An opened encoder, what its distances can be compared with, and a key that changes with its weights."""

    network: ClipFeatures
    comparable: str
    key: str


def open_clip(folder: Path | str | None) -> Clip:
    """Open the image encoder of a CLIP model; only its safetensors are read. Raises UserError for a folder that is missing or
    holds another model, and if the package transformers is missing.
    """
    if folder is None:
        raise UserError("the features clip need weights", expected=_EXPECTED, remedy="Use --weights FOLDER.")
    folder = Path(folder)
    weights = folder / "model.safetensors"
    if not weights.is_file() or not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no CLIP model", expected=_EXPECTED)
    try:
        from transformers import CLIPVisionModelWithProjection, logging
    except ImportError:
        raise UserError(
            "the features clip need the package transformers", remedy="Install it: pip install 'fakelab[transformers]'"
        ) from None
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    opened: Any
    try:
        opened = CLIPVisionModelWithProjection.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # a damaged file may fail in any way
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:150]
        raise UserError(f"{folder} could not be read as a CLIP model", got=reason, expected=_EXPECTED) from None
    network, report = opened
    if missing := sorted(report["missing_keys"]):
        raise UserError(f"{folder} holds no CLIP model", got=f"weights without {missing[0]}", expected=_EXPECTED)
    shape = network.config
    built = (shape.num_hidden_layers, shape.hidden_size, shape.image_size, shape.patch_size)
    encoder = (
        "ViT-L/14 at 336 pixels" if built == PUBLISHED else f"another encoder than CMMD's, {shape.image_size} pixels"
    )
    comparable = f"Features of CLIP, {encoder}; the kernel distance is CMMD."
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return Clip(ClipFeatures(network), comparable, f"clip-1-{digest[:12]}")
