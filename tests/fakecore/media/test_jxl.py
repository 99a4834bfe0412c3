"""JPEG XL: the size in the file, the remedy without its decoder, and the pixels with it (fakelab[jxl])."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from fakecore.media.jxlheader import jxl_size
from fakecore.media.pixels import ImageError, decode_image, read_image

START = b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl "


def stream(*fields):
    """A codestream that begins with (value, bits) fields, the lowest bit first."""
    value = place = 0
    for one, width in fields:
        value |= one << place
        place += width
    return b"\xff\x0a" + value.to_bytes(12, "little")


SMALL = stream((1, 1), (47 // 8, 5), (0, 3), (63 // 8, 5))  # 64x48
SQUARE = stream((0, 1), (0, 2), (299, 9), (1, 3))  # 300x300, by its ratio
WIDE = stream((0, 1), (1, 2), (2999, 13), (3, 3))  # 4000x3000, 4:3
HUGE = stream((0, 1), (3, 2), (999_999, 30), (0, 3), (3, 2), (99_999, 30))


def box(kind, content, length=None):
    return struct.pack(">I4s", len(content) + 8 if length is None else length, kind) + content


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (SMALL, (64, 48)),
        (SQUARE, (300, 300)),
        (WIDE, (4000, 3000)),
        (HUGE, (100_000, 1_000_000)),
        (START + box(b"jxlc", WIDE), (4000, 3000)),
        (START + box(b"jxlc", WIDE, 0), (4000, 3000)),  # to the end of the file
        (START + box(b"Exif", b"data") + box(b"jxlp", bytes(4) + SMALL), (64, 48)),
        (START + struct.pack(">I4sQ", 1, b"jxlc", 16 + len(SMALL)) + SMALL, (64, 48)),
        (SMALL[:2], None),
        (HUGE[:5], None),
        (START, None),
        (START + box(b"free", b"", 0), None),
        (START + box(b"free", b"", 7), None),
        (START + box(b"jxlc", b"other"), None),
    ],
)
def test_the_size_is_read_without_decoding(data, size):
    assert jxl_size(data) == size


@pytest.mark.parametrize(
    ("formats", "data", "status", "says"),
    [
        (("JPEG",), SMALL, "unsupported", r"a JPEG XL photo: pip install 'fakelab\[jxl\]', or save it as JPEG or PNG"),
        (("JPEG",), START + box(b"jxlc", SMALL), "unsupported", "a JPEG XL photo"),
        (("JPEG", "JXL"), HUGE, "too_large", "100000x1000000 pixels; the limit is 64 megapixels"),
        (("JPEG", "JXL"), HUGE[:4], "unreadable", "truncated or damaged"),
    ],
)
def test_what_cannot_be_decoded_says_why(formats, data, status, says, tmp_path, monkeypatch):
    (tmp_path / "a.jxl").write_bytes(data)
    monkeypatch.setattr("fakecore.media.pixels._formats", lambda: formats)
    with pytest.raises(ImageError, match=says) as caught:
        read_image(tmp_path / "a.jxl")
    assert (caught.value.status, caught.value.kind) == (status, "image")


PHOTO = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def saved(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JXL", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "I;16"])
@pytest.mark.parametrize("container", [False, True])
def test_pixels_are_those_that_were_saved(mode, container):
    pytest.importorskip("pillow_jxl")
    grey = mode in ("L", "I;16")
    image = Image.fromarray(PHOTO[..., 0].astype(np.uint16) * 257 if mode == "I;16" else PHOTO)
    image = image if mode == "I;16" else image.convert("RGB" if mode == "RGB" else mode)
    data = saved(image, lossless=True, use_container=container)
    assert jxl_size(data) == (64, 48)
    expected = np.asarray(image.convert("L") if mode == "L" else image)
    expected = expected // 257 if mode == "I;16" else expected
    assert np.array_equal(decode_image(data), np.repeat(expected[..., None], 3, 2) if grey else PHOTO)
    for keep in (20, len(data) // 2):
        with pytest.raises(ImageError, match="truncated or damaged"):
            decode_image(data[:keep])


def test_rotation_comes_from_the_stream_or_from_a_jpeg_within(tmp_path):
    pytest.importorskip("pillow_jxl")
    exif = Image.Exif()
    exif[274] = 6
    assert decode_image(saved(Image.fromarray(PHOTO), exif=exif.tobytes())).shape == (48, 64, 3)
    Image.fromarray(PHOTO).save(tmp_path / "a.jpg", exif=exif)
    with Image.open(tmp_path / "a.jpg") as image:
        assert decode_image(saved(image, lossless_jpeg=True)).shape == (64, 48, 3)
