"""`--equalise`: one more compression for every image, real or fake, so that an earlier one tells less of where it is from.

Its quality is the one that most JPEG files among the images have, of both classes together. Measured on faces of 64x64, one
side of which had been JPEGs of quality 75, 90 or 95 (a linear classifier on block DCTs, cross-validated AUROC): 1.00
before; 0.53, 0.54 and 0.77 after the same quality again, which changes little in what was a JPEG and makes one of what was
not. After another quality, which leaves the traces of two, it was 0.60 to 1.00: qualities that vary are not made alike.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

JPEG_QUALITY = 90  # where no file is a JPEG: little of a generator's own traces is lost, and no earlier grid is there


def equalised(image: np.ndarray, quality: int) -> np.ndarray:
    """uint8 (C, R, R), C 1 or 3 (RGB), saved as JPEG with colour at half resolution (4:2:0), and read back."""
    layout = image[0] if len(image) == 1 else cv2.merge(tuple(image[::-1]))  # OpenCV wants BGR
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(layout), options)
    back: Any = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    return back[None] if back.ndim == 2 else np.ascontiguousarray(back[..., ::-1].transpose(2, 0, 1))
