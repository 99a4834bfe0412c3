import cv2
import numpy as np
import pytest
import torch
from torch import nn

from fakecore.media.pixels import fit_square
from fakedetect.models.onnxgraph import DetectorGraph

# Square, odd, wide, tall, tiny; as they are, enlarged, shrunk; with a crop that falls between two pixels.
SHAPES = [(32, 32), (33, 50), (300, 200), (8, 9), (45, 300), (300, 45), (64, 64), (65, 129), (31, 12), (90, 67)]


def blocks(height: int, width: int) -> np.ndarray:
    """Hard edges and soft ones, uint8 (H, W, 3): the filter overshoots at the first, and rounding is seen at the second."""
    small = np.random.default_rng(height * width).integers(0, 256, (height // 3 + 1, width // 3 + 1, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resolution", [16, 32, 100])
def test_the_graph_crops_resizes_and_greys_as_the_detector_does_to_the_last_bit(resolution, channels):
    graph = DetectorGraph(nn.Identity(), resolution, channels, 1.0)
    for shape in SHAPES:
        image = blocks(*shape)
        found = graph.prepare(torch.from_numpy(image.transpose(2, 0, 1)[None].copy()))
        assert np.array_equal(found.numpy()[0], fit_square(image, resolution, channels)), shape


def test_grey_pixels_three_times_over_stay_what_they_are():
    grey = np.random.default_rng(0).integers(0, 256, (2, 1, 16, 16), dtype=np.uint8)
    found = DetectorGraph(nn.Identity(), 16, 1, 1.0).prepare(torch.from_numpy(grey.repeat(3, axis=1)))
    assert np.array_equal(found.numpy(), grey)
