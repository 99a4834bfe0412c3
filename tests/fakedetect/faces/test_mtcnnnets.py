"""Our networks of MTCNN, and the choice among their boxes, are those of facenet-pytorch and torchvision."""

import numpy as np
import torch

from fakedetect.faces.mtcnn import _suppress
from fakedetect.faces.mtcnnnets import load_networks


def test_the_networks_answer_as_those_of_facenet_pytorch():
    from facenet_pytorch.models.mtcnn import ONet, PNet, RNet

    for theirs, ours, side in zip((PNet, RNet, ONet), load_networks(torch.device("cpu")), (60, 24, 48), strict=True):
        images = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(side))
        with torch.inference_mode():
            for expected, found in zip(theirs()(images), ours(images), strict=True):
                torch.testing.assert_close(found, expected)


def test_overlapping_boxes_are_suppressed_as_by_torchvision():
    from torchvision.ops import batched_nms

    random = np.random.default_rng(0)
    for count in (0, 1, 300):
        corners = np.floor(random.uniform(0, 30, (count, 2))) * 10  # on a grid: many overlap, some exactly by the limit
        boxes = np.concatenate([corners, corners + np.floor(random.uniform(1, 5, (count, 2))) * 20], axis=1)
        scores = np.round(random.uniform(0.6, 1, count), 2).astype(np.float32)
        owners, boxes = random.integers(0, 3, count), boxes.astype(np.float32)
        for most in (0.5, 0.7):
            kept = batched_nms(*map(torch.from_numpy, (boxes, scores, owners)), most)
            assert np.array_equal(_suppress(boxes, scores, owners, most), kept.numpy())
