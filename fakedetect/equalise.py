"""`--equalise`: one more compression for every image, real or fake, so that an earlier one tells less of where it is from."""

from __future__ import annotations

import cv2
import numpy as np

# Coarser than the 95 that sets and cameras are saved with, so that it covers their traces; finer than the 75 of the web,
# below which little of a generator's own traces is left. One quality for all, so that a score is a function of its image.
JPEG_QUALITY = 90


def equalised(image: np.ndarray, quality: int = JPEG_QUALITY) -> np.ndarray:
    """uint8 (C, R, R), C 1 or 3 (RGB), saved as JPEG with colour at half resolution (4:2:0), and read back."""
    layout = image[0] if len(image) == 1 else cv2.merge(tuple(image[::-1]))  # OpenCV wants BGR
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(layout), options)
    back = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    return back[None] if back.ndim == 2 else np.ascontiguousarray(back[..., ::-1].transpose(2, 0, 1))
