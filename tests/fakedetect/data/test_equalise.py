import json

import numpy as np
import pytest
from PIL import Image

import fakedetect
from fakecore.errors import UserError
from fakecore.media.pixels import decode_image, fit_square
from fakedetect import Detector
from fakedetect.audits.audit import common_quality
from fakedetect.data.equalise import JPEG_QUALITY, equalised
from fakedetect.data.loading import load_labelled


def test_colours_keep_their_places_and_shapes(pictures):
    for channels in (1, 3):
        image = pictures(1, "real", 0, channels=channels)[0]
        after = equalised(image, 90)
        assert after.shape == image.shape and after.dtype == np.uint8
    red = np.zeros((3, 16, 16), np.uint8)
    red[0] = 200
    after = equalised(red, 90)
    assert after[0].mean() > 190 and after[1:].mean() < 10


def test_a_lower_quality_changes_more(pictures):
    image = pictures(1, "real", 0)[0].astype(int)
    changed = [np.abs(equalised(image.astype(np.uint8), quality) - image).mean() for quality in (95, 60, 20)]
    assert changed == sorted(changed) and changed[0] > 0


@pytest.fixture(scope="module")
def detector(tmp_path_factory, small_set, quick):
    folder = tmp_path_factory.mktemp("equalised") / "det"
    fakedetect.train(small_set, out=folder, changes={**quick, "equalise": True}, device="cpu")
    return Detector.load(folder, "cpu")


def test_detector_json_says_it_and_the_detector_sees_every_image_alike(detector, small_set, small_data):
    assert detector.facts["settings"]["equalise"] is True and detector.equalise_jpeg == JPEG_QUALITY
    data = load_labelled(small_set, equalise_jpeg=JPEG_QUALITY)
    assert not np.array_equal(data.images, small_data.images) and data.sha256 == small_data.sha256
    for row in (0, 150):
        scored = detector.prepare(decode_image((small_set / data.paths[row]).read_bytes()))
        assert np.array_equal(scored, data.images[row])  # what was trained on is what is scored


def test_evaluate_compresses_too(tmp_path, detector, small_set):
    folder = tmp_path / "det"
    detector.save(folder)
    made = fakedetect.evaluate(folder, small_set, out=tmp_path / "report", device="cpu")
    assert made.metrics["auroc"] == pytest.approx(detector.facts["test_metrics"]["auroc"])
    assert made.metrics["audit"]["equalised"] is True


def test_a_detector_that_does_not_ask_for_it_sees_images_as_they_are(trained, small_set):
    plain = Detector.load(trained.detector, "cpu")
    assert plain.equalise_jpeg is None and "equalise_jpeg" not in plain.facts["preprocessing"]
    image = decode_image((small_set / "train/real/000000.png").read_bytes())
    assert np.array_equal(plain.prepare(image), fit_square(image, 16, 3))


@pytest.mark.parametrize("value", [0, 101, "90", 9.5])
def test_a_quality_that_cannot_be_is_refused(tmp_path, detector, value):
    folder = tmp_path / "det"
    detector.save(folder)
    facts = json.loads((folder / "detector.json").read_text())
    facts["preprocessing"]["equalise_jpeg"] = value
    (folder / "detector.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match=r"preprocessing\.equalise_jpeg cannot be used"):
        Detector.load(folder, "cpu")


def test_what_was_a_jpeg_of_the_same_quality_tells_less_and_is_hardly_changed(pictures):
    clean = pictures(60, "real", 1, side=64, channels=1)
    once = [equalised(image, 75) for image in clean]
    apart = np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(clean, once, strict=True)])
    left = np.mean([np.abs(a.astype(int) - equalised(a, 75)).mean() for a in once])
    assert left < apart / 10


@pytest.mark.parametrize(("qualities", "chosen"), [([80, 80, 60], 80), ([70, 50], 50), ([], JPEG_QUALITY)])
def test_the_quality_is_the_commonest_of_the_files_whatever_their_label(tmp_path, write_folder, qualities, chosen):
    write_folder(tmp_path / "real", 4, "real")
    write_folder(tmp_path / "fake", 4, "fake")
    for number, quality in enumerate(qualities):
        Image.new("RGB", (16, 16)).save(tmp_path / ("real", "fake")[number % 2] / f"{number}.jpg", quality=quality)
    places = {"place": None, "real": str(tmp_path / "real"), "fake": str(tmp_path / "fake"), "data_root": None}
    assert common_quality(places) == chosen
