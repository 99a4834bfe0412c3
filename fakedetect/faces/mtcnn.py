"""MTCNN's cascade (Zhang et al., 2016, arXiv:1604.02878) of three networks.

The `detect_face` of facenet-pytorch resizes every full frame in float once per scale, and crops candidates one by one in
torch. Here the pyramid starts at the scale where the smallest wanted face fills the input of P-Net and is computed in uint8;
OpenCV crops the candidates of all frames of a batch, and they pass through R-Net and O-Net together.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from fakedetect.faces.mtcnnnets import load_networks

# For P-, R- and O-Net. Those of facenet-pytorch, except O-Net's 0.7: most boxes between 0.7 and 0.8 are shoulders, hands and
# hair (docs/lab/videos.md).
THRESHOLDS = (0.6, 0.7, 0.8)
FACTOR = 0.709  # between scales of the pyramid: about half the area
_CELL, _STRIDE = 12, 2  # pixels: P-Net has a 12x12 input and a stride of 2
# Candidates per batch of R-Net and O-Net; the last batch is padded with black images. On a CPU, oneDNN compiles and caches
# code for each batch size, which takes as long as the inference itself and a megabyte or more: 320 MB for all sizes up to 160.
_AT_ONCE, _AT_ONCE_GPU = 32, 512


class Cascade:
    """The three networks on a device. The weights are part of facenet-pytorch; nothing is downloaded.

    Raises UserError if facenet-pytorch, which contains the weights, is not installed.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self._at_once = _AT_ONCE if device.type == "cpu" else _AT_ONCE_GPU
        self._p, self._r, self._o = load_networks(device)

    @torch.inference_mode()
    def find(self, frames: Sequence[np.ndarray], min_face: float) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return for each frame, uint8 RGB (H, W, 3), all of one size: boxes with confidence (n, 5), xyxy, and landmarks
        (n, 5, 2), float32, in pixels, not clipped. Few faces smaller than `min_face` pixels are found.
        """
        return self.refine(frames, *self._propose(frames, min_face))

    @torch.inference_mode()
    def refine(
        self, frames: Sequence[np.ndarray], boxes: np.ndarray, owners: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the result of `find` for given candidates: `boxes` float32 (n, 4), `owners` (n,) their frame numbers."""
        boxes, owners = _inside(_squares(boxes), owners, frames)
        shifts, scores = self._run_network(self._r, frames, boxes, owners, 24)[:2]
        keep = np.flatnonzero(scores > THRESHOLDS[1])
        keep = keep[_suppress(boxes[keep], scores[keep], owners[keep], 0.7)]
        return self._run_o_net(frames, _shifted(boxes[keep], shifts[keep]), owners[keep])

    def _run_o_net(self, frames, boxes: np.ndarray, owners: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the final boxes and landmarks of each frame, from O-Net."""
        boxes, owners = _inside(_squares(boxes), owners, frames)
        shifts, scores, points = self._run_network(self._o, frames, boxes, owners, 48)
        keep = np.flatnonzero(scores > THRESHOLDS[2])
        boxes, owners, scores, points, shifts = (x[keep] for x in (boxes, owners, scores, points, shifts))
        sides = boxes[:, None, 2:] - boxes[:, None, :2] + 1  # (n, 1, 2)
        landmarks = sides * points.reshape(-1, 2, 5).transpose(0, 2, 1) + boxes[:, None, :2] - 1  # (n, 5, 2)
        boxes = _shifted(boxes, shifts)
        found = []
        for number in range(len(frames)):
            own = np.flatnonzero(owners == number)
            own = own[_suppress_nested(boxes[own], scores[own], 0.7)]
            found.append((np.column_stack([boxes[own], scores[own]]), landmarks[own]))
        return found

    def _propose(self, frames: Sequence[np.ndarray], min_face: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the candidates (n, 4) of all frames, from P-Net on the pyramid, and their frame numbers (n,)."""
        height, width = frames[0].shape[:2]
        found = [(np.empty((0, 5), dtype=np.float32), np.empty(0, dtype=np.int64))]
        scale, levels = _CELL / min_face, list(frames)
        while min(height, width) * scale >= _CELL:
            size_wh = (int(width * scale + 1), int(height * scale + 1))
            levels = [_reduced(level, size_wh) for level in levels]  # from the previous level, which is smaller to read
            shifts, scores = self._run_p_net(levels)
            found.append(_grid_boxes(shifts, scores[:, 1], scale))
            scale *= FACTOR
        boxes, owners = (np.concatenate(parts) for parts in zip(*found, strict=True))
        keep = _suppress(boxes[:, :4], boxes[:, 4], owners, 0.7)
        return boxes[keep, :4], owners[keep]

    def _run_p_net(self, images: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return P-Net's shifts (n, 4, h, w) and scores (n, 2, h, w); on a CPU one image at a time."""
        each = len(images) if self.device.type != "cpu" else 1  # a single batch size: see _AT_ONCE
        parts = [self._p(self._tensor(np.stack(images[i : i + each]))) for i in range(0, len(images), each)]
        shifts, scores = zip(*parts, strict=True)
        return torch.cat(shifts), torch.cat(scores)

    def _run_network(self, network, frames, boxes: np.ndarray, owners: np.ndarray, side: int) -> tuple[np.ndarray, ...]:
        """Return shifts (n, 4), scores (n,) and points (n, 10) from R-Net or O-Net; `boxes` are whole pixels in the frames."""
        results = []
        for start in range(0, len(boxes), self._at_once):
            count = min(self._at_once, len(boxes) - start)
            crops = np.zeros((self._at_once, side, side, 3), dtype=np.uint8)
            for crop, box, owner in zip(
                crops, boxes[start:].astype(int).tolist(), owners[start:].tolist(), strict=False
            ):
                left, top, right, bottom = box
                crop[:] = _resized(frames[owner][max(top - 1, 0) : bottom, max(left - 1, 0) : right], (side, side))
            results.append([part[:count].cpu().numpy() for part in network(self._tensor(crops))])
        if not results:
            return np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 10), np.float32)
        parts = [np.concatenate(part) for part in zip(*results, strict=True)]
        points = parts[1] if len(parts) == 3 else np.empty((len(parts[0]), 0), np.float32)  # R-Net has no landmarks
        return parts[0], parts[-1][:, 1], points

    def _tensor(self, images: np.ndarray) -> torch.Tensor:
        """Return uint8 (n, H, W, 3) as float32 (n, 3, H, W) in [-1, 1], the input range of the networks."""
        pixels = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)
        return (pixels.float() - 127.5) * 0.0078125


def _reduced(image: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """Resize like `_resized`, by halving as long as possible, which is ten times faster in OpenCV."""
    height, width = image.shape[:2]
    while width >= 2 * size_wh[0] and height >= 2 * size_wh[1]:
        width, height = width // 2, height // 2
        image = cv2.resize(image[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
    return image if (width, height) == size_wh else _resized(image, size_wh)


def _resized(image: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    return cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)


def _grid_boxes(shifts: torch.Tensor, scores: torch.Tensor, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes with scores (n, 5) from P-Net's output at one scale, its shifts applied, and their frame numbers (n,)."""
    frames, rows, columns = (scores >= THRESHOLDS[0]).nonzero(as_tuple=True)
    score = scores[frames, rows, columns].cpu().numpy()
    shift = shifts[frames, :, rows, columns].cpu().numpy()  # (n, 4)
    corner = np.stack([columns.cpu().numpy(), rows.cpu().numpy()], axis=1) * float(_STRIDE)
    cells = np.concatenate([np.floor((corner + 1) / scale), np.floor((corner + _CELL) / scale)], axis=1)
    owners = frames.cpu().numpy()
    keep = _suppress(cells, score, owners, 0.5)
    cells, sides = cells[keep], (cells[keep, 2:] - cells[keep, :2])
    moved = cells + shift[keep] * np.concatenate([sides, sides], axis=1)
    return np.column_stack([moved, score[keep]]).astype(np.float32), owners[keep]


def _suppress(boxes: np.ndarray, scores: np.ndarray, owners: np.ndarray, most: float) -> np.ndarray:
    """Return the rows of the best boxes, the best first, so that no two of one frame overlap by more than `most` (IoU).

    Scores are above 0.
    """
    corners = boxes.astype(np.float64)
    rectangles = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    kept = [np.empty(0, dtype=np.int64)]
    for owner in np.unique(owners):
        own = np.flatnonzero(owners == owner)
        kept.append(
            own[np.asarray(cv2.dnn.NMSBoxes(rectangles[own].tolist(), scores[own].tolist(), 0.0, most), dtype=np.int64)]
        )
    rows = np.concatenate(kept)
    return rows[np.lexsort((rows, -scores[rows]))]


def _suppress_nested(boxes: np.ndarray, scores: np.ndarray, most: float) -> np.ndarray:
    """Return the rows of the best boxes, so that no two share more than `most` of the area of the smaller one."""
    selected: list[int] = []
    areas = np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1)
    for row in np.argsort(-scores, kind="stable").tolist():
        overlap = np.minimum(boxes[selected, 2:], boxes[row, 2:]) - np.maximum(boxes[selected, :2], boxes[row, :2]) + 1
        shared = np.prod(np.maximum(overlap, 0), axis=1)
        if (shared <= most * np.minimum(areas[selected], areas[row])).all():
            selected.append(row)
    return np.array(selected, dtype=np.int64)


def _squares(boxes: np.ndarray) -> np.ndarray:
    """Return each box enlarged to a square with the same centre."""
    middle, side = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True)
    return np.concatenate([middle - side / 2, middle + side / 2], axis=1)


def _inside(boxes: np.ndarray, owners: np.ndarray, frames: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes clipped to whole pixels of the frame, without those outside it, and their frame numbers."""
    height, width = frames[0].shape[:2]
    boxes = np.trunc(boxes)
    boxes = np.concatenate([np.maximum(boxes[:, :2], 1), np.minimum(boxes[:, 2:], (width, height))], axis=1)
    keep = (boxes[:, 2:] >= boxes[:, :2]).all(axis=1)
    return boxes[keep], owners[keep]


def _shifted(boxes: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    return boxes + shifts * np.concatenate([sides, sides], axis=1)
