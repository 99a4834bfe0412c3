"""Videos whose faces are where the tests put them."""

import cv2
import numpy as np

from fakedetect.faces.finder import Face

SIZE = 16  # pixels: the side of a face in these videos and of the detector's input


def write_video(path, frames, fps=10):
    """Write RGB frames (H, W, 3) as a video; the codec is lossless except for chroma."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), fps, (width, height))
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


def grey(count=20, size_hw=(64, 96)):
    return [np.full((*size_hw, 3), 90, np.uint8) for _ in range(count)]


class KnownFaces:
    """A face finder with known results: one face at the left edge and one 100 pixels to its right."""

    def __init__(self, *_):
        pass

    def find(self, frames):
        return [self._of(frame) for frame in frames]

    def _of(self, frame):
        found = []
        for left in (0, 100):
            if frame[SIZE // 2, left : left + SIZE].max() > 0:  # black where there is no face
                box = np.array([left, 0, left + SIZE, SIZE], np.float32)
                found.append(Face(box, np.zeros((5, 2), np.float32), 0.99))
        return found


def drawn(faces, plan):
    """Return frames (16, 200, 3): `plan` has the (left, right) image of each, None for black."""
    frames = []
    for pair in plan:
        frame = np.zeros((SIZE, 200, 3), np.uint8)
        for left, name in zip((0, 100), pair, strict=True):
            if name:
                frame[:, left : left + SIZE] = faces[name]
        frames.append(frame)
    return frames
