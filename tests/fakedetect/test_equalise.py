import json

import numpy as np
import pytest

import fakedetect
from fakecore.errors import UserError
from fakecore.pixels import decode_image, encode_png, fit_square
from fakedetect import Detector
from fakedetect.data import load_labelled
from fakedetect.equalise import JPEG_QUALITY, equalised


def test_colours_keep_their_places_and_shapes(pictures):
    for channels in (1, 3):
        image = pictures(1, "real", 0, channels=channels)[0]
        after = equalised(image)
        assert after.shape == image.shape and after.dtype == np.uint8
    red = np.zeros((3, 16, 16), np.uint8)
    red[0] = 200
    after = equalised(red)
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
    logits = detector.logits(data.images)
    lines = (small_set.parent / "x").parent and (detector.facts["test_metrics"]["auroc"])
    assert np.isfinite(logits).all() and 0 <= lines <= 1


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
    with pytest.raises(UserError, match="preprocessing.equalise_jpeg cannot be used"):
        Detector.load(folder, "cpu")


def test_it_makes_compression_tell_less(tmp_path, pictures):
    """Reals that were JPEGs once against fakes that were not: what is left of the grid afterwards."""
    from fakedetect.leaks import auroc_parts
    from fakedetect.traces import traces

    reals = [equalised(image, 93) for image in pictures(60, "real", 1, side=64)]
    fakes = list(pictures(60, "real", 2, side=64))
    labels = np.repeat([0, 1], 60)

    def strength(images) -> float:
        found = np.array([traces(image.transpose(1, 2, 0))["blockiness"] for image in images])
        return abs(auroc_parts(labels, found)[0] - 0.5)

    assert strength([equalised(image) for image in reals + fakes]) < strength(reals + fakes) / 2
    assert encode_png(reals[0], "real")
