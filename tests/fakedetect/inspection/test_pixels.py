"""Evidence that takes decoding: the thumbnail in EXIF data, an earlier JPEG compression, texts hidden in lowest bits."""

import gzip
import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from fakedetect.inspection.compression import MIN_GAIN, earlier_compression
from fakedetect.inspection.inspect import inspect_file
from fakedetect.inspection.stealth import hidden_texts

HIDDEN = "a castle"


def scene(width=320, height=240, seed=0):
    """A picture with content of many sizes, as photos have."""
    random = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3))
    for size in (4, 8, 16, 40, 120):
        coarse = Image.fromarray(random.integers(0, 256, (size, size, 3), np.uint8))
        picture += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), float) / size**0.7
    picture = (picture - picture.min()) / np.ptp(picture) * 255
    return Image.fromarray(picture.astype(np.uint8))


def jpeg(image, quality=85, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, **options)
    return buffer.getvalue()


def again(image, quality):
    return Image.open(io.BytesIO(jpeg(image, quality)))


def exif_with(thumbnail, orientation=1):
    """EXIF data of two directories: the orientation, and a JPEG thumbnail."""
    first = struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 8 + 18)
    start = 8 + 18 + 2 + 2 * 12 + 4
    second = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, start, 0x0202, 4, 1, len(thumbnail), 0)
    return b"Exif\0\0II*\0\x08\0\0\0" + first + second + thumbnail


def fitted(image):
    small = image.copy()
    small.thumbnail((160, 160))
    return small


def letterboxed(image):
    return ImageOps.pad(image, (160, 120))


def filled(image):
    return ImageOps.fit(image, (160, 120))


def with_thumbnail(image, small, quality=85, orientation=1):
    return jpeg(image, quality, exif=exif_with(jpeg(small, 75), orientation))


def finding(data, where, deep=True):
    found = [one for one in inspect_file("a.jpg", deep=deep, data=data).findings if one.where == where]
    return found[0] if found else None


@pytest.mark.parametrize("shape", [(320, 240), (240, 320), (480, 200)])
@pytest.mark.parametrize("shrink", [fitted, letterboxed, filled])
def test_a_thumbnail_of_the_photo_agrees(shape, shrink):
    photo = scene(*shape)
    changed = (
        photo,
        photo.resize((photo.width * 2, photo.height * 2)),
        photo.transpose(Image.Transpose.ROTATE_90),
        ImageEnhance.Contrast(photo).enhance(1.3),
        again(photo, 30),
    )
    for one in changed:
        found = finding(with_thumbnail(one, shrink(photo)), "EXIF thumbnail")
        assert found.points_to == "nothing" and found.says.startswith("agrees with the photo")


def test_a_thumbnail_agrees_whatever_the_orientation_says():
    photo = scene()
    for orientation in range(1, 9):
        assert (
            finding(with_thumbnail(photo, fitted(photo), orientation=orientation), "EXIF thumbnail").points_to
            == "nothing"
        )


def pasted(photo):
    photo = photo.copy()
    photo.paste(scene(seed=5).resize((90, 90)), (60, 60))
    return photo


@pytest.mark.parametrize(
    "edit",
    [
        lambda photo: photo.crop((60, 40, 320, 240)),
        lambda photo: ImageOps.mirror(photo),
        lambda photo: scene(seed=3),
        pasted,
    ],
    ids=["cropped", "mirrored", "another", "pasted"],
)
def test_a_thumbnail_of_something_else_is_evidence_of_editing(edit):
    photo = scene()
    found = inspect_file("a.jpg", deep=True, data=with_thumbnail(edit(photo), fitted(photo)))
    assert found.points_to == "edited" and found.findings[0].where == "EXIF thumbnail"
    assert finding(with_thumbnail(edit(photo), fitted(photo)), "EXIF thumbnail", deep=False) is None


@pytest.mark.parametrize(
    "thumbnail",
    [b"", b"\xff\xd8\xff", jpeg(Image.new("RGB", (160, 120))), jpeg(scene(20, 16)), jpeg(scene())[:900]],
    ids=["none", "damaged", "flat", "tiny", "truncated"],
)
def test_a_thumbnail_that_cannot_be_compared_is_no_evidence(thumbnail):
    data = jpeg(scene(), exif=exif_with(thumbnail))
    assert inspect_file("a.jpg", deep=True, data=data).status == "ok" and finding(data, "EXIF thumbnail") is None


@pytest.mark.parametrize("quality", [50, 75, 90, 95, 99])
def test_a_photo_compressed_once_has_no_traces(quality):
    photo = scene(640, 480)
    assert earlier_compression(jpeg(photo, quality)).gain < MIN_GAIN
    assert finding(jpeg(photo, quality), "JPEG coefficients") is None


@pytest.mark.parametrize(("first", "last"), [(50, 75), (50, 90), (60, 95), (75, 95)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_photo_compressed_twice_has_traces_of_the_first_time(first, last, options):
    data = jpeg(again(scene(640, 480), first), last, **options)
    found = finding(data, "JPEG coefficients")
    assert (found.points_to, found.strength) == ("nothing", "weak") and "saved at least twice" in found.says
    assert abs(earlier_compression(data).quality - first) <= 2
    assert finding(data, "JPEG coefficients", deep=False) is None


def test_a_grey_photo_is_read_and_a_small_one_is_not():
    assert finding(jpeg(again(scene(640, 480).convert("L"), 50), 90), "JPEG coefficients")
    assert earlier_compression(jpeg(scene(64, 64))) is None
    assert earlier_compression(jpeg(scene().convert("CMYK"))) is None


def test_drawings_enlarged_in_steps_have_no_traces():
    drawing = scene(80, 60).resize((640, 480), Image.Resampling.NEAREST)
    assert finding(jpeg(drawing, 80), "JPEG coefficients") is None


def hidden(text, signature, channels):
    """Hide a text as the programs do: bits down the columns, of alpha or of red, green and blue in turn."""
    held = gzip.compress(text.encode()) if signature.endswith(b"comp") else text.encode()
    bits = np.unpackbits(np.frombuffer(signature + (len(held) * 8).to_bytes(4, "big") + held, np.uint8))
    pixels = np.random.default_rng(0).integers(0, 256, (40, 64, channels), np.uint8)
    pixels[..., 3:] = 255
    places = [(x, y, c) for x in range(64) for y in range(40) for c in ((3,) if channels == 4 else (0, 1, 2))]
    for bit, (x, y, c) in zip(bits, places, strict=False):
        pixels[y, x, c] = pixels[y, x, c] & 254 | bit
    return pixels


@pytest.mark.parametrize(
    ("signature", "channels", "where"),
    [
        (b"stealth_pnginfo", 4, "hidden in the alpha channel"),
        (b"stealth_pngcomp", 4, "hidden in the alpha channel"),
        (b"stealth_rgbinfo", 3, "hidden in the colours"),
        (b"stealth_rgbcomp", 3, "hidden in the colours"),
    ],
)
@pytest.mark.parametrize("suffix", ["PNG", "WEBP"])
def test_texts_hidden_in_lowest_bits_are_read(signature, channels, where, suffix):
    buffer = io.BytesIO()
    Image.fromarray(hidden(HIDDEN, signature, channels)).save(buffer, suffix, lossless=True, exact=True)
    assert list(hidden_texts(buffer.getvalue())) == [(where, HIDDEN)]
    found = inspect_file(f"a.{suffix.lower()}", deep=True, data=buffer.getvalue())
    assert found.points_to == "generated" and found.findings[0].where == where


def test_other_lowest_bits_hold_no_text():
    for channels in (3, 4):
        buffer = io.BytesIO()
        Image.fromarray(hidden(HIDDEN, b"stealth_nothing", channels)).save(buffer, "PNG")
        assert list(hidden_texts(buffer.getvalue())) == []


def test_a_hidden_text_that_claims_to_be_long_is_cut_off():
    pixels = hidden("a" * 50, b"stealth_pnginfo", 4)
    column, bits = pixels[..., 3].T.ravel(), np.ones(32, np.uint8)  # bits 120 to 151 are the length
    column[120:152] = column[120:152] & 254 | bits
    pixels[..., 3] = column.reshape(64, 40).T
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    ((_, text),) = hidden_texts(buffer.getvalue())
    assert text.startswith("a" * 50)
