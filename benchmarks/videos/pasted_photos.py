"""Make a data set of real face photos and fakes: half of the photos get a generated face pasted over their own.

    python -m benchmarks.videos.pasted_photos PHOTOS RUN|SET|DIR --out DIR [--size 64] [--seed 0]

The photos show one face each, cropped at its box. The method is that of `benchmarks.videos.replaced_faces`, so the set is
training data for a detector of such videos (`detect-train --real DIR/real --fake DIR/fake`). Boxes get random noise and all
photos, real and fake, a random crop, since a face finder does not crop a face exactly where it was pasted.
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

FACE_BOX = (0.09, 0.0, 0.90, 1.0)  # xyxy box of the face, fractions of the photo's sides: what MTCNN finds in faces-128
BOX_NOISE = 0.05  # standard deviation of each edge of that box, fraction of the side
MIN_CROP = 0.75  # smallest crop, fraction of the shorter side


def main() -> None:
    """Write the two folders and print the number of images in each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", help="a source of photos that show one face each, cropped at its box")
    parser.add_argument("faces", help="a GAN's run, a set with fakes, or a folder of images")
    parser.add_argument("--out", type=Path, required=True, help="the new folder, with real/ and fake/")
    parser.add_argument("--size", type=int, default=64, help="pixels, square side")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        real, fake = paste_photos(options.photos, options.faces, options.out, size=options.size, seed=options.seed)
    except (UserError, ImageError) as error:
        parser.error(str(error))
    print(f"{options.out}: {real:,} with the original face in real/, {fake:,} with a pasted face in fake/")


def paste_photos(photos: str, faces: str, out: Path, *, size: int = 64, seed: int = 0) -> tuple[int, int]:
    """Write each photo of a source to `out`/real or `out`/fake, as a PNG of `size` pixels: numbers of (reals, fakes).

    `seed` chooses which half become fakes. Raises UserError for a folder that is not empty or too few faces, and ImageError
    for a photo that cannot be read.
    """
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty", expected="a new folder")
    source, random = open_source(photos), np.random.default_rng(seed)
    order = random.permutation(len(source))
    generated = load_faces(faces, len(order) // 2, seed)
    for kind in ("real", "fake"):
        (out / kind).mkdir(parents=True)
    with progress_bar("pasting", len(order), "photos") as bar:
        for position, row in enumerate(order):
            found = source.read(int(row))
            pixels = decode_image(found) if isinstance(found, bytes) else found
            pixels = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else np.ascontiguousarray(pixels)
            kind = "fake" if position < len(generated) else "real"
            if position < len(generated):
                sides = np.array(pixels.shape[1::-1] * 2, np.float32)  # width, height, width, height
                paste(
                    pixels,
                    (FACE_BOX + random.normal(0, BOX_NOISE, 4)).astype(np.float32) * sides,
                    generated[position][1],
                )
            png = encode_png(fit_square(_cropped(pixels, random), size, 3), kind)
            (out / kind / f"{row:06d}.png").write_bytes(png)
            bar.advance()
    return len(order) - len(generated), len(generated)


def _cropped(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    largest = min(pixels.shape[:2])
    side = int(random.integers(round(MIN_CROP * largest), largest + 1))
    top, left = (int(random.integers(0, length - side + 1)) for length in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


if __name__ == "__main__":
    main()
