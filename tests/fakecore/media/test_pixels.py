import io
import os
import resource
import struct
import zlib

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms, features

from fakecore.media.jpegheader import is_plain_jpeg
from fakecore.media.pixels import (
    ImageError,
    decode_image,
    encode_jpeg,
    encode_png,
    enlarge,
    fit_square,
    is_grey,
    mosaic,
    pages,
    read_bytes,
    read_image,
)

RED = (255, 0, 0)
pillow_heif.register_heif_opener()  # to write them


def saved(image, image_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def noise(height=12, width=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation
    return exif.tobytes()


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def status_of(data):
    with pytest.raises(ImageError) as caught:
        decode_image(data)
    assert str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value.status


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "HEIF"])
def test_common_formats_decode_to_uint8_rgb_height_first(image_format):
    pixels = decode_image(saved(Image.new("RGB", (16, 12), RED), image_format))
    assert pixels.shape == (12, 16, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - RED).max() <= 3


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_decode_to_the_exact_pixels(image_format):
    assert np.array_equal(decode_image(saved(Image.fromarray(noise()), image_format)), noise())


def test_opencv_written_red_is_red():
    bgr = np.zeros((4, 4, 3), dtype=np.uint8)
    bgr[..., 2] = 255
    assert (decode_image(cv2.imencode(".png", bgr)[1].tobytes()) == RED).all()


@pytest.mark.parametrize("origin", ["real", "fake"])
def test_png_round_trip_is_exact_and_keeps_rgb_order(origin):
    red = np.zeros((3, 5, 7), dtype=np.uint8)
    red[0] = 255
    assert (decode_image(encode_png(red, origin)) == RED).all()
    pixels = noise().transpose(2, 0, 1)
    assert np.array_equal(decode_image(encode_png(pixels, origin)), noise())


def test_jpeg_round_trip_keeps_rgb_order_and_full_colour_resolution():
    half_red_half_blue = np.zeros((3, 8, 8), dtype=np.uint8)
    half_red_half_blue[0, :, :3] = 255
    half_red_half_blue[2, :, 3:] = 255
    found = decode_image(encode_jpeg(half_red_half_blue, "fake")).transpose(2, 0, 1)
    assert np.abs(found.astype(int) - half_red_half_blue).max() < 40
    image = Image.open(io.BytesIO(encode_jpeg(half_red_half_blue, "fake")))
    assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


@pytest.mark.parametrize("encode", [encode_png, encode_jpeg])
def test_one_channel_is_written_as_a_grey_file(encode):
    grey = np.full((1, 6, 9), 77, dtype=np.uint8)
    grey.setflags(write=False)
    data = encode(grey, "real")
    assert Image.open(io.BytesIO(data)).mode == "L"
    found = decode_image(data)
    assert found.shape == (6, 9, 3)
    assert np.abs(found.astype(int) - 77).max() <= 1


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "mirrored", "turns"),
    [(1, 0, 0), (2, 1, 0), (3, 0, 2), (4, 1, 2), (5, 1, 1), (6, 0, 3), (7, 1, 3), (8, 0, 1)],
)
def test_exif_orientation_is_applied(image_format, orientation, mirrored, turns):
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if image_format == "WEBP" else {}
    found = decode_image(saved(Image.fromarray(noise()), image_format, exif=exif, **options))
    assert np.array_equal(found, np.rot90(noise()[:, :: -1 if mirrored else 1], turns))


@pytest.mark.parametrize(
    ("mode", "options", "plain"),
    [
        ("RGB", {"quality": 90, "subsampling": 2}, True),
        ("RGB", {"quality": 40, "subsampling": 1, "progressive": True}, True),
        ("RGB", {"quality": 100, "subsampling": 0, "comment": b"a comment", "dpi": (72, 72)}, True),
        ("L", {"quality": 75, "optimize": True, "restart_marker_rows": 1}, True),
        ("CMYK", {"quality": 90}, False),
        ("RGB", {"quality": 90, "exif": rotated()}, False),
    ],
)
@pytest.mark.parametrize("size", [(8, 8), (33, 17), (160, 120)])
def test_both_decoders_of_jpeg_give_the_same_pixels(mode, options, plain, size, monkeypatch):
    random = np.random.default_rng(1)
    small = random.integers(0, 256, (5, 7, 3), np.uint8)
    photo = Image.fromarray(cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)).convert(mode)
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", **options)
    data = buffer.getvalue()
    assert is_plain_jpeg(data, 10**6) is plain
    assert not is_plain_jpeg(data, 63) and not is_plain_jpeg(data[:-1], 10**6)
    found = decode_image(data)
    monkeypatch.setattr("fakecore.media.pixels.is_plain_jpeg", lambda *_: False)
    assert np.array_equal(found, decode_image(data))


def test_damaged_exif_still_decodes():
    whole = saved(Image.new("RGB", (8, 8), RED), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\x99" * 40)
    assert np.abs(decode_image(whole).astype(int) - RED).max() <= 2


def test_16_bit_grey_is_scaled_not_clipped():
    grey = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    found = decode_image(saved(Image.fromarray(grey), "PNG"))
    assert found[0, :, 0].tolist() == [0, 1, 128, 255]
    assert is_grey(found)


def test_palette_becomes_its_colours():
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    assert decode_image(saved(image, "PNG"))[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


@pytest.mark.parametrize("image_format", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_laid_on_white(image_format):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([0, 1])
    assert decode_image(saved(image, image_format, transparency=0))[0].tolist() == [[255, 255, 255], [0, 255, 0]]


def test_rgba_is_laid_on_white():
    image = Image.new("RGBA", (3, 1))
    image.putdata([(255, 0, 0, 255), (0, 0, 0, 0), (0, 0, 0, 128)])
    found = decode_image(saved(image, "PNG"))[0]
    assert found[0].tolist() == [255, 0, 0]
    assert found[1].tolist() == [255, 255, 255]
    assert np.abs(found[2].astype(int) - 127).max() <= 1


def test_grey_with_alpha_is_laid_on_white():
    image = Image.new("LA", (2, 1))
    image.putdata([(10, 255), (10, 0)])
    assert decode_image(saved(image, "PNG"))[0].tolist() == [[10, 10, 10], [255, 255, 255]]


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
def test_cmyk_keeps_its_colours(image_format):
    found = decode_image(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), image_format))
    assert np.abs(found.astype(int) - RED).max() < 12


def test_one_pixel_is_an_image():
    assert decode_image(saved(Image.new("RGB", (1, 1), RED), "PNG")).tolist() == [[list(RED)]]


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "AVIF"])
def test_an_animation_is_a_video(image_format):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    with pytest.raises(ImageError, match="an animation: `score` judges it as a video") as caught:
        decode_image(saved(frames[0], image_format, save_all=True, append_images=frames[1:]))
    assert (caught.value.status, caught.value.kind) == ("unsupported", "video")


@pytest.mark.parametrize("image_format", ["TIFF", "MPO", "HEIF"])
def test_of_several_pages_or_pictures_the_first_is_decoded(image_format):
    pictures = [Image.new("RGB", (16, 16), colour) for colour in (RED, (0, 0, 255), (0, 255, 0))]
    data = saved(pictures[0], image_format, save_all=True, append_images=pictures[1:])
    assert np.abs(decode_image(data).astype(int) - RED).max() <= 3
    assert pages(data) == (3 if image_format == "TIFF" else 1)


def test_a_colour_profile_is_converted_to_srgb():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    renamed = srgb.replace("sRGB".encode("utf-16-be"), "sXXX".encode("utf-16-be"))
    swapped = renamed.replace(b"rXYZ", b"tmp ", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"tmp ", b"bXYZ", 1)
    red = Image.new("RGB", (8, 8), RED)
    for image_format in ("PNG", "JPEG", "TIFF"):
        found = decode_image(saved(red, image_format, icc_profile=swapped))
        assert np.abs(found.astype(int) - (0, 0, 255)).max() <= 6  # its red is blue
        for other in (srgb, b"no profile at all"):
            found = decode_image(saved(red, image_format, icc_profile=other))
            assert np.array_equal(found, decode_image(saved(red, image_format)))
    assert is_plain_jpeg(saved(red, "JPEG", icc_profile=srgb), 10**6)
    assert not is_plain_jpeg(saved(red, "JPEG", icc_profile=swapped), 10**6)


@pytest.mark.parametrize("suffix", [".tiff", ".hdr"])
def test_floating_point_colours_are_tone_mapped(suffix):
    light = np.zeros((20, 30, 3), np.float32)
    light[:, :10, 2], light[:, 10:20] = 0.5, 1.0  # BGR: red, white, black
    found = decode_image(cv2.imencode(suffix, light)[1].tobytes())
    assert found.shape == (20, 30, 3) and np.abs(found[5, 5].astype(int) - (188, 0, 0)).max() <= 2
    assert (found[5, 15] == 255).all() and (found[5, 25] == 0).all()
    brighter = decode_image(cv2.imencode(suffix, light * 8)[1].tobytes())
    assert np.abs(brighter.astype(int) - found).max() <= 2  # what is brightest is white
    assert status_of(cv2.imencode(suffix, light)[1].tobytes()[:150]) == "unreadable"


def test_floating_point_grey_is_tone_mapped():
    grey = np.array([[0, 0.5, 1, np.nan]], np.float32)
    assert decode_image(saved(Image.fromarray(grey), "TIFF"))[0, :, 0].tolist() == [0, 188, 255, 0]


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "HEIF"])
def test_a_truncated_file_is_unreadable(image_format):
    data = saved(Image.fromarray(noise(64, 64)), image_format)
    assert status_of(data[: len(data) // 2]) == "unreadable"


@pytest.mark.parametrize("keep", [16, 40, 200, 700])
@pytest.mark.parametrize("encode", [encode_png, encode_jpeg])
def test_a_file_truncated_in_its_header_is_unreadable(encode, keep):
    assert status_of(encode(noise().transpose(2, 0, 1), "real")[:keep]) == "unreadable"


def test_empty_bytes_are_unreadable():
    assert status_of(b"") == "unreadable"


def test_text_named_jpg_is_unsupported(tmp_path):
    (tmp_path / "letter.jpg").write_text("Dear reader, this is not an image.\n" * 10)
    with pytest.raises(ImageError) as caught:
        read_image(tmp_path / "letter.jpg")
    assert caught.value.status == "unsupported"


def test_the_content_decides_not_the_suffix(tmp_path):
    (tmp_path / "really-a-png.jpg").write_bytes(saved(Image.fromarray(noise()), "PNG"))
    assert np.array_equal(read_image(tmp_path / "really-a-png.jpg"), noise())


def test_a_huge_size_in_the_header_is_refused_before_allocation():
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(bytes(10_000_000), 9))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert status_of(bomb + png_chunk(b"IEND", b"")) == "too_large"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_32_bit_pixels_are_unsupported():
    assert status_of(saved(Image.new("I", (4, 4), 1 << 20), "TIFF")) == "unsupported"


@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", ["pipe", "folder", "absent", "broken-link"])
def test_non_regular_files_are_refused_without_blocking(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken-link").symlink_to("nowhere")
    with pytest.raises(ImageError) as caught:
        read_bytes(tmp_path / name)
    assert caught.value.status == "unreadable"


def test_a_video_is_refused_before_all_of_it_is_read(tmp_path):
    with (tmp_path / "video").open("wb") as file:
        file.write(b"\0\0\0\x20ftypisom")
        file.truncate(1 << 40)  # a terabyte, none of it on disk
    with pytest.raises(ImageError, match="a video") as caught:
        read_bytes(tmp_path / "video")
    assert (caught.value.status, caught.value.kind) == ("unsupported", "video")


@pytest.mark.parametrize(
    ("formats", "status", "says"),
    [
        (("JPEG", "HEIF"), "unreadable", "truncated or damaged"),
        (("JPEG",), "unsupported", "HEIC photo: install pillow-heif"),
    ],
)
def test_a_phone_photo_that_cannot_be_decoded_says_why(formats, status, says, tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    monkeypatch.setattr("fakecore.media.pixels._formats", lambda: formats)
    with pytest.raises(ImageError, match=says) as caught:
        read_image(tmp_path / "a.heic")
    assert (caught.value.status, caught.value.kind) == (status, "image")


def test_a_name_too_long_for_the_system_is_an_image_error(tmp_path):
    with pytest.raises(ImageError):
        read_image(tmp_path / ("x" * 300))


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "AVIF"])
def test_any_damage_is_an_image_error(image_format):
    if image_format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    whole = saved(Image.fromarray(noise()), image_format)
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(150):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 4):
            data[place] = rng.integers(0, 256)
        try:
            assert decode_image(bytes(data)).shape[2] == 3
        except ImageError as error:
            assert error.status in ("unreadable", "unsupported", "too_large")
            assert error.status != "unreadable" or str(error) == "truncated or damaged"  # no decoder's own words
            refused += 1
    assert refused


@pytest.mark.parametrize("kind", [b"cHRM", b"gAMA", b"pHYs", b"tEXt", b"iTXt", b"zTXt", b"eXIf", b"iCCP"])
def test_a_malformed_chunk_after_the_pixels_does_not_crash(kind):
    whole = saved(Image.fromarray(noise()), "PNG")
    data = whole[:-12] + png_chunk(kind, b"\x01\x02\x03") + whole[-12:]
    try:
        assert np.array_equal(decode_image(data), noise())
    except ImageError as error:
        assert error.status == "unreadable"


@pytest.mark.parametrize(("height", "width"), [(10, 30), (30, 10)])
def test_fit_square_takes_the_centre(height, width):
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[height // 2 - 5 : height // 2 + 5, width // 2 - 5 : width // 2 + 5] = (10, 200, 30)
    assert (fit_square(image, 10, 3) == np.array([10, 200, 30])[:, None, None]).all()


def test_fit_square_keeps_channels_first_rgb_and_never_mirrors():
    image = noise(8, 8)
    assert np.array_equal(fit_square(image, 8, 3), image.transpose(2, 0, 1))


def test_fit_square_is_antialiased():
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(fit_square(stripes, 8, 3)[:, 2:-2, 2:-2].astype(int) - 128).max() < 20


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (37, 5), (16, 16)])
def test_fit_square_returns_the_requested_shape(channels, shape):
    found = fit_square(noise(*shape), 16, channels)
    assert found.shape == (channels, 16, 16)
    assert found.dtype == np.uint8


@pytest.mark.parametrize(("colour", "luma"), [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29)])
def test_grey_is_the_luma_of_rgb(colour, luma):
    image = np.full((9, 7, 3), colour, dtype=np.uint8)
    assert np.abs(fit_square(image, 4, 1).astype(int) - luma).max() <= 1


def test_is_grey_sees_one_coloured_pixel():
    image = np.full((5, 5, 3), 90, dtype=np.uint8)
    assert is_grey(image)
    image[4, 4, 2] = 91
    assert not is_grey(image)


def test_mosaic_lays_rows_with_white_gaps():
    images = np.stack([np.full((3, 4, 5), value, dtype=np.uint8) for value in (10, 20, 30)])
    sheet = mosaic(images, columns=2, gap=1)
    assert sheet.shape == (3, 2 * 5 + 1, 2 * 6 + 1)
    assert (sheet[:, 1:5, 1:6] == 10).all()
    assert (sheet[:, 1:5, 7:12] == 20).all()
    assert (sheet[:, 6:10, 1:6] == 30).all()
    assert (sheet[:, 6:10, 7:12] == 255).all()
    assert (sheet[:, 0] == 255).all()


def test_enlarge_repeats_pixels_both_ways():
    image = np.array([[[1, 2], [3, 4]]], dtype=np.uint8)
    assert enlarge(image, 2).tolist() == [[[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]]
