"""The three networks of MTCNN (Zhang et al., 2016, arXiv:1604.02878, figure 2), with the weights that facenet-pytorch contains.

facenet-pytorch has these networks too, but importing it imports torchvision, and that PyTorch's compiler: several seconds at
every start. So only its files of weights are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from fakecore.errors import UserError


class PNet(nn.Module):
    """Images, float32 (B, 3, H, W) -> shifts (B, 4, h, w) and probabilities of no face and a face (B, 2, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.pool1 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        return self.conv4_2(x), self.conv4_1(x).softmax(dim=1)


class RNet(nn.Module):
    """Candidates, float32 (B, 3, 24, 24) -> shifts (B, 4) and probabilities (B, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.dense4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.dense5_1, self.dense5_2 = nn.Linear(128, 2), nn.Linear(128, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.pool(self.prelu1(self.conv1(x)))
        x = self.pool(self.prelu2(self.conv2(x)))
        x = self.prelu3(self.conv3(x))
        x = self.prelu4(self.dense4(_flattened(x)))
        return self.dense5_2(x), self.dense5_1(x).softmax(dim=1)


class ONet(nn.Module):
    """Candidates, float32 (B, 3, 48, 48) -> shifts (B, 4), landmarks (B, 10) and probabilities (B, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.pool3 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.dense5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.dense6_1, self.dense6_2, self.dense6_3 = nn.Linear(256, 2), nn.Linear(256, 4), nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.pool(self.prelu1(self.conv1(x)))
        x = self.pool(self.prelu2(self.conv2(x)))
        x = self.pool3(self.prelu3(self.conv3(x)))
        x = self.prelu4(self.conv4(x))
        x = self.prelu5(self.dense5(_flattened(x)))
        return self.dense6_2(x), self.dense6_3(x), self.dense6_1(x).softmax(dim=1)


def load_networks(device: torch.device) -> Sequence[nn.Module]:
    """Return P-, R- and O-Net on a device, in evaluation mode. Nothing is downloaded.

    Raises UserError if facenet-pytorch, which contains the weights, is not installed.
    """
    package = find_spec("facenet_pytorch")
    if package is None or not package.submodule_search_locations:
        raise UserError(
            "cannot find faces: facenet-pytorch is not installed",
            expected="its weights of MTCNN",
            remedy="Install it: pip install facenet-pytorch==2.5.3 --no-deps",
        )
    folder = Path(package.submodule_search_locations[0], "data")
    networks: list[nn.Module] = [PNet(), RNet(), ONet()]
    for network, name in zip(networks, ("pnet.pt", "rnet.pt", "onet.pt"), strict=True):
        network.load_state_dict(torch.load(folder / name, map_location="cpu", weights_only=True))
        network.eval().requires_grad_(False).to(device)
    return networks


def _flattened(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) -> (B, W * H * C): the order in which the original, of Caffe, has them."""
    return x.permute(0, 3, 2, 1).flatten(1)
