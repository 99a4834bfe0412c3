"""Facts of an image file apart from its content: format, size, bits, chunks and compression."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import get_sampling, zigzag_index

from fakecore.media.pixels import open_image
from fakecore.media.pngchunks import EXIF, TEXTS, chunks
from fakecore.media.provenance import is_provenance

JPEG_SUFFIXES = {"jpg", "jpeg", "jpe", "jfif"}
_SUFFIXES = {
    "JPEG": JPEG_SUFFIXES,
    "JPEG2000": {"jp2", "j2k", "jpx", "jpf"},
    "TIFF": {"tif", "tiff"},
    "PPM": {"ppm", "pgm", "pbm", "pnm"},
    "DIB": {"bmp", "dib"},
}
_BITS = {"1": 1, "I;16": 16, "I;16B": 16, "I;16L": 16, "I": 32, "F": 32}
_TIFF_BITS = 258  # the tag BitsPerSample
_SUBSAMPLING = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
_BY_FACTORS: dict[tuple[tuple[int, int], ...], int] = {
    ((1, 1), (1, 1), (1, 1)): 0,
    ((2, 1), (1, 1), (1, 1)): 1,
    ((2, 2), (1, 1), (1, 1)): 2,
}
_SEGMENTS = (  # start of a JPEG segment, and its name
    (b"JFIF", "JFIF"),
    (b"Exif", "EXIF"),
    (b"http://ns.adobe.com/xap/", "XMP"),
    (b"http://ns.adobe.com/xmp/extension/", "XMP"),
    (b"ICC_PROFILE", "ICC"),
    (b"Photoshop", "Photoshop"),
    (b"Adobe", "Adobe"),
    (b"MPF", "MPF"),
)
_CHUNKS = {EXIF: "EXIF", b"iCCP": "ICC"}
_NO_METADATA = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"}  # the image itself
_INFO = {"exif": "EXIF", "icc_profile": "ICC", "xmp": "XMP", "comment": "comment"}  # what Pillow finds in other formats


@dataclass(frozen=True, slots=True)
class Container:
    """Facts of one file. None if the format has no such fact, for example the JPEG quality of a PNG."""

    format: str  # detected from the content, not the name
    extension: str  # from the name: lower case, without the dot; "none" if there is none
    extension_agrees: bool
    width: int  # pixels, as stored: EXIF rotation is not applied
    height: int
    aspect: float  # width / height
    bits: int  # per channel
    mode: str  # Pillow's name of the colour space: L, RGB, RGBA, P, CMYK ...
    progressive: bool  # or interlaced
    chunks: str  # names of the other data in the file, without fakelab's own label: "EXIF, ICC"; "none"
    chunk_bytes: int  # of those
    jpeg_quality: int | None  # 1 to 100: the libjpeg quality with the nearest table
    jpeg_tables: str | None  # "libjpeg" if that table matches exactly, else "own"
    subsampling: str | None  # of a JPEG's colour: "4:4:4", "4:2:2", "4:2:0", "other"; "grey"
    bytes_per_pixel: float  # without chunks; also depends on the content


def read_container(data: bytes, name: str) -> Container:
    """Return the facts of a file from its bytes and `name`. Reads only the header. Raises ImageError if it is not an image."""
    with open_image(data) as image:
        return container_of(image, data, name)


def container_of(image: Any, data: bytes, name: str) -> Container:
    """Return the facts of a file from its bytes and `name`, and the `image` that `open_image` yields for it."""
    suffix = PurePosixPath(name).suffix.lower().removeprefix(".")
    kind = "JPEG" if image.format == "MPO" else str(image.format)  # a JPEG followed by more images
    width, height = image.size
    carried = list(_carried(kind, image, data))
    foreign = [(what, content) for what, content in carried if not is_provenance(content)]
    is_jpeg = kind == "JPEG"
    tables = getattr(image, "quantization", {})
    quality, exact = _jpeg_quality(tuple(tables[0])) if is_jpeg and 0 in tables else (None, None)
    return Container(
        format=kind,
        extension=suffix or "none",
        extension_agrees=suffix in _SUFFIXES.get(kind, {kind.lower()}),
        width=width,
        height=height,
        aspect=width / height,
        bits=_bits(kind, image, data),
        mode=image.mode,
        progressive=bool(image.info.get("progressive") or image.info.get("interlace")),
        chunks=", ".join(sorted({what for what, _ in foreign})) or "none",
        chunk_bytes=sum(len(content) for _, content in foreign),
        jpeg_quality=quality,
        jpeg_tables=None if exact is None else "libjpeg" if exact else "own",
        subsampling=_sampling(image) if is_jpeg else None,
        bytes_per_pixel=(len(data) - sum(len(content) for _, content in carried)) / (width * height),
    )


def bare_encoding(table: bytes, components: bytes) -> tuple[int, bool, str]:
    """Return (jpeg_quality, whether libjpeg's table matches exactly, subsampling), as in Container, for what `bare_jpeg`
    returns.
    """
    natural = tuple(table[place] for place in zigzag_index)
    factors = [(components[start] >> 4, components[start] & 15) for start in range(1, len(components), 3)]
    code = _BY_FACTORS.get(tuple(factors), -1)
    return *_jpeg_quality(natural), "grey" if len(factors) == 1 else _SUBSAMPLING.get(code, "other")


def _carried(kind: str, image: Any, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of all data in the file except the image."""
    if kind == "PNG":
        for chunk, start, length in chunks(data):
            content = b"" if chunk == b"IDAT" else data[start : start + length]
            if chunk in TEXTS:
                keyword = content.partition(b"\0")[0].decode("latin-1")
                yield "XMP" if keyword == "XML:com.adobe.xmp" else f"text {keyword}", content
            elif chunk not in _NO_METADATA:
                yield _CHUNKS.get(chunk, chunk.decode("latin-1")), content
    elif kind == "JPEG":
        for marker, content in image.applist:
            known = next((what for start, what in _SEGMENTS if content.startswith(start)), marker)
            yield "comment" if marker == "COM" else known, content
    else:
        for key, what in _INFO.items():
            if value := image.info.get(key):
                yield what, value if isinstance(value, bytes) else str(value).encode()


def _bits(kind: str, image: Any, data: bytes) -> int:
    if kind == "PNG":
        return data[24]  # the bit depth in IHDR, which Pillow's mode does not show
    if kind == "JPEG":
        return image.bits
    if kind == "TIFF":
        return max(image.tag_v2.get(_TIFF_BITS, (1,)))
    return _BITS.get(image.mode, 8)


def _sampling(image: Image.Image) -> str:
    return "grey" if image.mode == "L" else _SUBSAMPLING.get(get_sampling(image), "other")


@lru_cache(maxsize=1000)  # most files of a folder have the same few tables
def _jpeg_quality(table: tuple[int, ...]) -> tuple[int, bool]:
    """Return the libjpeg quality whose luminance table is nearest to `table`, 64 numbers, and whether it is equal."""
    distances = np.abs(libjpeg_tables() - np.array(table)).sum(axis=1)
    nearest = int(distances.argmin())
    return nearest + 1, bool(distances[nearest] == 0)


@cache
def libjpeg_tables() -> np.ndarray:
    """Return the tables of quality 1 to 100, (100, 64), from libjpeg itself."""
    tables = []
    for quality in range(1, 101):
        buffer = io.BytesIO()
        Image.new("L", (8, 8)).save(buffer, "JPEG", quality=quality)
        image: Any = Image.open(buffer)
        tables.append(image.quantization[0])
    return np.array(tables)
