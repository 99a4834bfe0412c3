"""How stored pixels are turned before they are shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Orientation:
    """First, rows and columns are swapped if `swapped`, then the picture is mirrored."""

    swapped: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @property
    def rotation(self) -> int:
        """Degrees clockwise: 0, 90, 180 or 270; of a mirrored picture 0 or 90."""
        if self.swapped:
            return 270 if self.mirror_y and not self.mirror_x else 90
        return 180 if self.mirror_x and self.mirror_y else 0

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Return an image (H, W, 3) as it is shown."""
        turned = pixels.swapaxes(0, 1) if self.swapped else pixels
        return np.ascontiguousarray(turned[:: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1])


BY_DEGREES = {  # clockwise
    90: Orientation(swapped=True, mirror_x=True),
    180: Orientation(mirror_x=True, mirror_y=True),
    270: Orientation(swapped=True, mirror_y=True),
}
BY_EXIF = {  # values of EXIF's tag Orientation
    2: Orientation(mirror_x=True),
    3: BY_DEGREES[180],
    4: Orientation(mirror_y=True),
    5: Orientation(swapped=True),
    6: BY_DEGREES[90],
    7: Orientation(swapped=True, mirror_x=True, mirror_y=True),
    8: BY_DEGREES[270],
}
