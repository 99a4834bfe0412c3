import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from fakecore.media.pixels import ImageError, encode_jpeg, encode_png
from fakedetect.audits.containers import read_container

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def saved(kind: str, pixels: np.ndarray = PIXELS, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def test_the_format_is_read_from_the_content_and_compared_with_the_name():
    facts = read_container(saved("PNG"), "a/b.JPG")
    assert (facts.format, facts.extension, facts.extension_agrees) == ("PNG", "jpg", False)
    assert read_container(saved("JPEG"), "b.jpeg").extension_agrees
    assert read_container(saved("PNG"), "b").extension == "none"


def test_size_is_width_then_height():
    facts = read_container(saved("PNG"), "a.png")
    assert (facts.width, facts.height, facts.aspect) == (32, 24, 32 / 24)


@pytest.mark.parametrize("quality", [1, 30, 50, 75, 90, 95, 100])
def test_jpeg_quality_is_computed_from_the_tables(quality):
    facts = read_container(saved("JPEG", quality=quality), "a.jpg")
    assert (facts.jpeg_quality, facts.jpeg_tables) == (quality, "libjpeg")


def test_other_tables_have_the_nearest_quality_and_are_called_own():
    facts = read_container(saved("JPEG", qtables=[[7] * 64, [9] * 64]), "a.jpg")
    assert facts.jpeg_tables == "own" and 1 <= facts.jpeg_quality <= 100


@pytest.mark.parametrize("name", ["4:4:4", "4:2:2", "4:2:0"])
def test_subsampling_is_read(name):
    assert read_container(saved("JPEG", subsampling=name), "a.jpg").subsampling == name


def test_grey_and_progressive_jpegs():
    facts = read_container(saved("JPEG", PIXELS[..., 0], progressive=True), "a.jpg")
    assert (facts.mode, facts.subsampling, facts.progressive) == ("L", "grey", True)
    assert not read_container(saved("JPEG"), "a.jpg").progressive


def test_a_png_has_no_jpeg_facts():
    facts = read_container(saved("PNG"), "a.png")
    assert (facts.jpeg_quality, facts.jpeg_tables, facts.subsampling) == (None, None, None)


def test_bits_are_those_of_a_channel():
    assert read_container(saved("PNG"), "a.png").bits == 8
    assert read_container(saved("PNG", PIXELS[..., 0].astype(np.uint16) * 257), "a.png").bits == 16
    assert read_container(saved("PNG", PIXELS[..., 0] > 99), "a.png").bits == 1
    assert read_container(saved("TIFF", PIXELS[..., 0].astype(np.uint16)), "a.tif").bits == 16


def test_chunks_have_names_and_sizes():
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", "diffuser")
    exif = Image.Exif()
    exif[271] = "a camera"
    facts = read_container(saved("PNG", pnginfo=text, exif=exif.tobytes(), icc_profile=b"profile" * 9), "a.png")
    assert facts.chunks == "EXIF, ICC, text Software" and facts.chunk_bytes > 60
    facts = read_container(saved("JPEG", exif=exif.tobytes(), comment=b"hello", icc_profile=b"p" * 99), "a.jpg")
    assert facts.chunks == "EXIF, ICC, JFIF, comment"
    assert "EXIF" in read_container(saved("WEBP", exif=exif.tobytes()), "a.webp").chunks


@pytest.mark.parametrize("encode", [encode_png, encode_jpeg])
def test_the_label_written_by_fakelab_is_not_counted(encode):
    real, fake = (read_container(encode(PIXELS.transpose(2, 0, 1), origin), "x") for origin in ("real", "fake"))
    assert real == fake  # chunks, their bytes, and bytes a pixel too
    assert real.chunks == ("none" if encode is encode_png else "JFIF")


def test_bytes_per_pixel_exclude_chunks():
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", "x" * 5000)
    plain, chatty = (read_container(saved("PNG", pnginfo=info), "a.png").bytes_per_pixel for info in (None, text))
    assert abs(plain - chatty) < 0.1 and plain > 2


@pytest.mark.parametrize("data", [b"", b"not an image at all", b"\x89PNG\r\n\x1a\n1234", b"\xff\xd8\xff"])
def test_a_file_that_is_no_image_is_an_error(data):
    with pytest.raises(ImageError):
        read_container(data, "a.png")
