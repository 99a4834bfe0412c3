"""Decode and encode images: all that fakelab reads and writes.

Pixels are uint8 RGB, (H, W, 3), [0, 255]. Other content of the file (name, text chunks, profile) is dropped.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from fakecore.errors import why_unreadable
from fakecore.media.colours import float_size, to_rgb, tone_mapped
from fakecore.media.gifheader import gif_canvas
from fakecore.media.hdrstills import decode_hdr, hdr_colours
from fakecore.media.jpegheader import is_plain_jpeg
from fakecore.media.jxlheader import JXL_SIGNATURES, jxl_size
from fakecore.media.orientation import BY_EXIF, Orientation
from fakecore.media.provenance import Origin, insert_jpeg_provenance, insert_png_provenance
from fakecore.media.videofiles import HEAD_BYTES, ONLY_SOUND, is_sound, is_video, named_video

MAX_PIXELS = 100_000_000  # 100 megapixels: more than common cameras, less than a decompression bomb
# Fewer where the decoder needs more memory than 10 bytes a pixel, by Pillow's name of the format or mode: at most 1 GiB.
_MOST_PIXELS = {**dict.fromkeys(("AVIF", "CMYK", "F", "JXL", "WEBP"), 64_000_000), "JPEG2000": 50_000_000}
_MOST_FLOAT_PIXELS = 40_000_000  # of three floating-point colours, or 16-bit ones that are tone-mapped
MIN_SIDE = 8  # pixels: smaller images have too little content
# Pillow checks sizes before it decodes, also of pictures within pictures and of frames; it refuses twice this number.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # of sizes between the two

PNG_LEVEL = (
    1  # zlib level, with run-length matching and one filter: higher levels take twice the time for a few percent
)
_PNG_OPTIONS = [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
_PNG_OPTIONS += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB]
JPEG_QUALITY = 95


# Common photo formats, not all that Pillow opens: EPS, for example, would run Ghostscript on an untrusted file.
FORMATS = (
    "AVIF",
    "BMP",
    "DIB",
    "GIF",
    "HEIF",
    "ICO",
    "JPEG",
    "JPEG2000",
    "JXL",
    "PCX",
    "PNG",
    "PPM",
    "SGI",
    "TGA",
    "TIFF",
    "WEBP",
)
# Decoders raise many kinds of errors for damaged files.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    EOFError,
    MemoryError,
    RuntimeError,
    NotImplementedError,
    ArithmeticError,
    AssertionError,
    struct.error,
    zlib.error,
)
ANIMATED = ("AVIF", "GIF", "PNG", "WEBP")  # formats whose several frames are an animation
_TIFF = (b"II*\0", b"MM\0*")
_HEIC, _AVIF = (b"ftypheic", b"ftypheix", b"ftypmif1"), (b"ftypavif", b"ftypavis")
_PACKED = (b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07")
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"II*\0", b"MM\0*", b"BM", *JXL_SIGNATURES)


class ImageError(Exception):
    """A file cannot be used. `status` is "unreadable", "unsupported" or "too_large"; the text gives the reason. `kind` is
    "video" for a video, else "image".
    """

    def __init__(self, status: str, reason: str, kind: str = "image"):
        super().__init__(" ".join(reason.split()))
        self.status, self.kind = status, kind


def read_image(path: Path) -> np.ndarray:
    """Decode the image file at `path`: uint8 RGB (H, W, 3). Raises ImageError."""
    return decode_image(read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """Return the content of a regular file.

    Raises ImageError for a pipe or device, which could block for ever, and for a video, before all of it is read.
    """
    kind = "video" if named_video(path) else "image"
    try:
        if not path.is_file():
            raise ImageError("unreadable", "no such file" if not path.exists() else "not a regular file", kind)
        with path.open("rb", buffering=0) as file:
            head = file.read(HEAD_BYTES)
            if not head and kind == "video":
                raise ImageError("unreadable", "the file is empty", kind)
            _refuse_video(head, path)
            file.seek(0)
            return file.read()
    except OSError as error:
        raise ImageError("unreadable", why_unreadable(error, path), kind) from None


def image_bytes(data: bytes, name: str) -> bytes:
    """Return the content of a file called `name`, if it is not a video. Raises ImageError as `read_bytes` does."""
    if not data and named_video(Path(name)):
        raise ImageError("unreadable", "the file is empty", kind="video")
    _refuse_video(data[:HEAD_BYTES], Path(name))
    return data


def _refuse_video(head: bytes, path: Path) -> None:
    if is_video(head, path.suffix, _SIGNATURES):
        what = "a video: use `faces` to crop its faces, or `score` to score it"
        raise ImageError("unsupported", what, kind="video")


def decode_image(data: bytes) -> np.ndarray:
    """Decode an image of any common format, whatever its file name: uint8 RGB (H, W, 3), upright.

    EXIF rotation is applied, and colours become sRGB, see `to_rgb`. Of a file with several pages or pictures, the first is
    decoded. Raises ImageError for a file that is not an image, is truncated, or is too large, and for an animation, whose
    `kind` is "video".
    """
    if is_plain_jpeg(data, MAX_PIXELS):
        # The same pixels as Pillow's, in a fifth of the time and without Python's lock.
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        if pixels is not None:
            return pixels
    if size := float_size(data):
        return _decode_float(data, size)
    with open_image(data) as image:
        if image.format in ANIMATED and getattr(image, "is_animated", False):
            raise ImageError("unsupported", "an animation: `score` judges it as a video", kind="video")
        image.load()  # also where another decoder gives the pixels: Pillow's notices damage
        turned = _orientation(image)
        pixels = _decode_hdr(data, image)
        if pixels is None:
            pixels = to_rgb(image)
    del image  # its memory is free for the turned copy
    if pixels is None:
        raise ImageError("unsupported", "32-bit pixels; only 8-bit, 16-bit and floating-point images are supported")
    return turned.apply(pixels)


def pages(data: bytes) -> int:
    """Return the number of pages of a TIFF file, 1 for any other. Raises ImageError."""
    if not data.startswith(_TIFF) or float_size(data):
        return 1
    with open_image(data) as image:
        return getattr(image, "n_frames", 1)


@contextmanager
def open_image(data: bytes) -> Iterator[Image.Image]:
    """Yield a Pillow image, with only its header read, for the bytes of an image file.

    Raises ImageError if it is not an image or is too large, and instead of any decoder error in the block.
    """
    if not data:
        raise ImageError("unreadable", "the file is empty")
    if data.startswith(JXL_SIGNATURES):
        _check_jxl(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about unusual metadata, which is not used
            with Image.open(io.BytesIO(data), formats=_formats()) as image:
                size = gif_canvas(data) if image.format == "GIF" else image.size
                most = (_MOST_PIXELS.get(name or "", MAX_PIXELS) for name in (image.format, image.mode))
                _refuse_huge(*size, min(most))
                yield image
    except Image.DecompressionBombError:
        raise ImageError("too_large", f"over {MAX_PIXELS // 1_000_000} megapixels, the limit") from None
    except UnidentifiedImageError:
        if is_sound(data[:HEAD_BYTES]):
            raise ImageError("unsupported", ONLY_SOUND) from None
        if data.startswith(_SIGNATURES):
            raise ImageError("unreadable", "truncated or damaged") from None
        if (data[4:12] in _HEIC and "HEIF" in _formats()) or (data[4:12] in _AVIF and "AVIF" in _formats()):
            raise ImageError("unreadable", "truncated or damaged") from None
        if data[4:12] in _HEIC:
            raise ImageError("unsupported", "a HEIC photo: install pillow-heif, or save it as JPEG or PNG") from None
        if data.startswith(_PACKED):
            raise ImageError(
                "unsupported", "an archive of a kind that is not read: unpack it, or use zip or tar"
            ) from None
        raise ImageError("unsupported", "not an image of a known format") from None
    except _DECODER_ERRORS:
        raise ImageError("unreadable", "truncated or damaged") from None


def _refuse_huge(width: int, height: int, most: int) -> None:
    if width * height > most:
        limit = most // 1_000_000
        raise ImageError("too_large", f"{width}x{height} pixels; the limit is {limit} megapixels")


def _check_jxl(data: bytes) -> None:
    """Raise ImageError for a JPEG XL file that is too large, damaged at its start, or without a decoder."""
    if "JXL" not in _formats():
        remedy = "pip install 'fakelab[jxl]', or save it as JPEG or PNG"
        raise ImageError("unsupported", f"a JPEG XL photo: {remedy}")
    size = jxl_size(data)
    if size is None:
        raise ImageError("unreadable", "truncated or damaged")
    _refuse_huge(*size, _MOST_PIXELS["JXL"])


def starts_as_image(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of a common image format."""
    return head.startswith(_SIGNATURES) or head[4:12] in (*_HEIC, *_AVIF)


def fit_square(image: np.ndarray, resolution: int, channels: int) -> np.ndarray:
    """Centre crop to a square, resize (bicubic, antialiased): uint8 (channels, resolution, resolution).

    Used for reals, fakes and scored photos alike, so that resampling cannot distinguish them.
    """
    height, width = image.shape[:2]
    if (height, width) == (resolution, resolution):
        square = image
    else:
        fitted = ImageOps.fit(Image.fromarray(image), (resolution, resolution), Image.Resampling.BICUBIC)
        square = np.asarray(fitted)
    if channels == 1:
        return cv2.cvtColor(np.ascontiguousarray(square), cv2.COLOR_RGB2GRAY)[None]  # (1, R, R)
    return np.ascontiguousarray(square.transpose(2, 0, 1))  # (3, R, R)


def refuse_tiny(image: np.ndarray, purpose: str) -> None:
    """Raise ImageError for an image (H, W, 3) with a side shorter than MIN_SIDE; `purpose` completes "too small to"."""
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        needed = f"at least {MIN_SIDE}x{MIN_SIDE} are needed"
        raise ImageError("unsupported", f"{width}x{height} pixels: too small to {purpose}; {needed}")


def is_grey(image: np.ndarray) -> bool:
    """Return whether an RGB (H, W, 3) image has no colour."""
    return bool((image[..., 0] == image[..., 1]).all() and (image[..., 1] == image[..., 2]).all())


def encode_png(pixels: np.ndarray, origin: Origin) -> bytes:
    """Return the PNG bytes of uint8 (C, H, W), C 1 or 3 (RGB), with the origin in the file."""
    return insert_png_provenance(_encode(".png", pixels, _PNG_OPTIONS), origin)


def encode_jpeg(pixels: np.ndarray, origin: Origin) -> bytes:
    """Return the JPEG bytes (quality 95, 4:4:4) of uint8 (C, H, W), C 1 or 3 (RGB), with the origin in the file."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return insert_jpeg_provenance(_encode(".jpg", pixels, options), origin)


def mosaic(images: np.ndarray, columns: int, gap: int = 2) -> np.ndarray:
    """Arrange images, uint8 (N, C, H, W), in rows of `columns` with white gaps: uint8 (C, H', W')."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    shape = (channels, rows * (height + gap) + gap, columns * (width + gap) + gap)
    sheet = np.full(shape, 255, dtype=np.uint8)
    for index, image in enumerate(images):
        top, left = (gap + (index // columns) * (height + gap), gap + (index % columns) * (width + gap))
        sheet[:, top : top + height, left : left + width] = image
    return sheet


def enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    """Repeat each pixel `factor` times in both directions, for display: (C, H, W) -> (C, fH, fW)."""
    return image.repeat(factor, axis=1).repeat(factor, axis=2)


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    with suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
    with suppress(ImportError):
        import pillow_jxl  # noqa: F401  registers itself with Pillow
    return tuple(name for name in FORMATS if name in Image.OPEN)  # Pillow can be built without WebP or AVIF


def _encode(suffix: str, pixels: np.ndarray, options: list[int]) -> bytes:
    # OpenCV writes BGR (H, W, 3); ours is RGB (3, H, W).
    layout = pixels[0] if pixels.shape[0] == 1 else cv2.merge(tuple(pixels[::-1]))
    done, buffer = cv2.imencode(suffix, layout, options)
    if not done:
        raise ValueError(f"OpenCV could not encode pixels of shape {pixels.shape}")
    return buffer.tobytes()


def _orientation(image: Image.Image) -> Orientation:
    if image.format == "JXL" and not getattr(image, "jpeg", False):
        return Orientation()  # its decoder has applied the orientation of the stream, which EXIF data repeat
    try:
        return BY_EXIF.get(image.getexif().get(ExifTags.Base.Orientation, 1), Orientation())
    except Exception:  # a damaged EXIF block can raise any error, but the pixels are still valid
        return Orientation()


def _decode_hdr(data: bytes, image: Image.Image) -> np.ndarray | None:
    """Return the pixels of a photo of high dynamic range, not turned; None for other photos, and some of these."""
    colours = hdr_colours(data)
    if colours is None:
        return None
    _refuse_huge(*image.size, _MOST_FLOAT_PIXELS)
    return decode_hdr(data, colours, image.size)


def _decode_float(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """Decode a file of floating-point colours of this width and height. Raises ImageError."""
    _refuse_huge(*size, _MOST_FLOAT_PIXELS)
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 3:
        raise ImageError("unreadable", "truncated or damaged")
    return tone_mapped(values[..., 2::-1])  # BGR, perhaps with transparency
