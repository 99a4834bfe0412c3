"""Named degradations: what they do to pixels, and how their names are read."""

import cv2
import numpy as np
import pytest

from fakecore.errors import UserError
from fakedetect.data.degrade import GRID, parse_degradation


def sharpness(image: np.ndarray) -> float:
    return float(np.mean([cv2.Laplacian(channel.astype(np.float32), cv2.CV_32F).var() for channel in image]))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [*(name for name in GRID if name != "none"), "gamma1.1", "motion6", "avc23", "hevc28"])
def test_each_changes_pixels_and_keeps_shape_dtype_and_brightness(name, channels, pictures):
    for image in pictures(5, "fake", 1, channels=channels):
        before = image.copy()
        after = parse_degradation(name).apply(image, "one")
        assert after.shape == image.shape and after.dtype == np.uint8 and not np.array_equal(after, image)
        assert np.array_equal(image, before), "the image handed in was written to"
        assert after.mean() == pytest.approx(image.mean(), abs=8)


@pytest.mark.parametrize(
    "names", [("jpeg95", "jpeg75", "jpeg50", "jpeg30"), ("noise2", "noise5", "noise20"), ("avc18", "avc28", "avc38")]
)
def test_stronger_is_further_from_the_original(names, pictures):
    images = pictures(20, "fake", 2).astype(float)
    away = [
        np.mean([np.abs(parse_degradation(name).apply(i.astype(np.uint8), "k") - i).mean() for i in images])
        for name in names
    ]
    assert away == sorted(away) and away[0] > 0


@pytest.mark.parametrize("names", [("blur0.5", "blur1", "blur2"), ("resize2", "resize0.75", "resize0.5")])
def test_stronger_is_less_sharp(names, pictures):
    images = pictures(20, "fake", 2)
    sharp = [np.mean([sharpness(parse_degradation(name).apply(image, "k")) for image in images]) for name in names]
    assert sharp == sorted(sharp, reverse=True) and sharp[0] < np.mean([sharpness(image) for image in images])


def test_none_leaves_every_pixel_and_red_stays_red(pictures):
    image = pictures(1, "real", 3)[0]
    assert np.array_equal(parse_degradation("none").apply(image, "k"), image)
    red = np.empty((3, 16, 16), dtype=np.uint8)
    red[0], red[1], red[2] = 220, 60, 10
    for name in GRID:
        assert parse_degradation(name).apply(red, "k").mean(axis=(1, 2)) == pytest.approx([220, 60, 10], abs=8)


def test_jpeg_is_what_a_file_of_that_quality_holds(pictures):
    """Pillow and OpenCV write the same tables, so red must not be coded as if it were blue."""
    import io

    from PIL import Image

    image = pictures(1, "real", 4, side=32)[0]
    file = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(file, "JPEG", quality=50)
    theirs = np.asarray(Image.open(file)).transpose(2, 0, 1).astype(int)
    assert np.abs(parse_degradation("jpeg50").apply(image, "k") - theirs).mean() < 1


def test_noise_depends_on_the_image_alone(pictures):
    image, noise = pictures(1, "real", 5)[0], parse_degradation("noise5")
    assert np.array_equal(noise.apply(image, "a"), noise.apply(image, "a"))
    assert not np.array_equal(noise.apply(image, "a"), noise.apply(image, "b"))
    grey = np.full((1, 200, 200), 128, dtype=np.uint8)
    assert noise.apply(grey, "a").std() == pytest.approx(5, abs=0.2)


def test_crop_keeps_the_centre_and_drops_the_rim():
    image = np.zeros((1, 20, 20), dtype=np.uint8)
    image[:, 0], image[:, 9:11, 9:11] = 255, 200
    after = parse_degradation("crop0.9").apply(image, "k")
    assert after[0, 0].max() == 0 and after[0, 8:12, 8:12].max() > 150


@pytest.mark.parametrize("side", [8, 9, 33])
def test_the_ends_of_the_ranges_work_on_small_sides(side, pictures):
    image = pictures(1, "real", 6, side=side)[0]
    for name in (
        "jpeg1",
        "jpeg100",
        "blur0.1",
        "blur20",
        "resize0.05",
        "resize8",
        "noise128",
        "crop0.1",
        "crop1",
        "motion64",
        "avc51",
        "hevc0",
    ):
        assert parse_degradation(name).apply(image, "k").shape == image.shape


@pytest.mark.parametrize("text, name", [("jpeg75", "jpeg75"), (" Blur1.0", "blur1"), ("resize.5", "resize0.5")])
def test_names_are_read_and_told_in_one_form(text, name):
    assert parse_degradation(text).name == name


@pytest.mark.parametrize(
    "text, told",
    [
        (
            "jpg75",
            r"no degradation 'jpg'.*one of jpeg, webp, blur, resize, noise, crop, gamma, motion, avc, hevc, none.*mean 'jpeg'",
        ),
        ("jpeg", "strength of the degradation 'jpeg' is missing.*a whole number, 1 to 100"),
        ("jpeg75.5", "could not be read .got 'jpeg75.5'"),
        ("jpeg101", "out of range .got 101; expected quality, a whole number, 1 to 100"),
        ("blur1x", "could not be read"),
        ("crop1.1", "out of range"),
        ("", "no degradation ''"),
        ("75", "no degradation '75'.*A strength follows its name"),
    ],
)
def test_a_name_that_means_nothing_says_what_would(text, told):
    with pytest.raises(UserError) as caught:
        parse_degradation(text)
    import re

    assert re.search(told, str(caught.value)), str(caught.value)
