"""Photos of faces with known fakes among them: half as they are, half with a generated face pasted over their own.

    python -m benchmarks.videos.pasted_photos PHOTOS RUN|SET|DIR --out DIR [--size 64] [--seed 0]

Does to photos of one face each, cut at its box, what `benchmarks.videos.replaced_faces` does to videos: training data for a
detector of such videos (`detect-train --real DIR/real --fake DIR/fake`). Boxes tremble and every photo is cropped a little,
real or fake, since a face finder never cuts a face where the pasting put it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.videos.replaced_faces import load_faces, paste
from fakecore.errors import UserError
from fakecore.media.pixels import ImageError, decode_image, encode_png, fit_square
from fakecore.progress import progress_bar
from fakecore.sets.sources import open_source

FACE = (0.09, 0.0, 0.90, 1.0)  # the box of a face in its photo, shares of its sides: what MTCNN finds in faces-128
TREMBLE = 0.05  # of the side, a deviation, of each edge of that box
LEAST = 0.75  # of the side that a crop keeps


def main() -> None:
    """Write the two folders and say how many there are of either kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", help="a source of photos that show one face each, cut at its box")
    parser.add_argument("faces", help="a GAN's run, a set with fakes, or a folder of images")
    parser.add_argument("--out", type=Path, required=True, help="the new folder, with real/ and fake/")
    parser.add_argument("--size", type=int, default=64, help="pixels, square side")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        real, fake = paste_photos(options.photos, options.faces, options.out, size=options.size, seed=options.seed)
    except (UserError, ImageError) as error:
        parser.error(str(error))
    print(f"{options.out}: {real:,} with their own face in real/, {fake:,} with another in fake/")


def paste_photos(photos: str, faces: str, out: Path, *, size: int = 64, seed: int = 0) -> tuple[int, int]:
    """Write the photos of a source to `out`/real and `out`/fake, every photo once, as PNG of `size` pixels: (real, fake).

    Which are fake is the seed's choice. Raises UserError for a folder that is not empty or too few faces, and ImageError for
    a photo that cannot be read.
    """
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty", expected="a new folder")
    source, random = open_source(photos), np.random.default_rng(seed)
    order = random.permutation(len(source))
    generated = load_faces(faces, len(order) // 2, seed)
    for kind in ("real", "fake"):
        (out / kind).mkdir(parents=True)
    with progress_bar("pasting", len(order), "photos") as bar:
        for place, row in enumerate(order):
            found = source.read(int(row))
            pixels = decode_image(found) if isinstance(found, bytes) else found
            pixels = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else np.ascontiguousarray(pixels)
            kind = "fake" if place < len(generated) else "real"
            if place < len(generated):
                sides = np.array(pixels.shape[1::-1] * 2, np.float32)  # width, height, width, height
                paste(pixels, (FACE + random.normal(0, TREMBLE, 4)).astype(np.float32) * sides, generated[place][1])
            png = encode_png(fit_square(_cropped(pixels, random), size, 3), kind)
            (out / kind / f"{row:06d}.png").write_bytes(png)
            bar.advance()
    return len(order) - len(generated), len(generated)


def _cropped(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    whole = min(pixels.shape[:2])
    side = int(random.integers(round(LEAST * whole), whole + 1))
    top, left = (int(random.integers(0, length - side + 1)) for length in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


if __name__ == "__main__":
    main()
