import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fakecore.errors import UserError
from fakecore.media.pixels import ImageError, encode_png, read_image
from fakedetect import Detector


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of the detector that may be damaged."""
    for name in ("detector.json", "detector.safetensors"):
        shutil.copy(trained.detector / name, tmp_path)
    return tmp_path


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        Detector.load(folder, "cpu")
    line = str(caught.value)
    assert "\n" not in line and len(line) > 20
    return line


def write_field(path: Path, field: str, *value: object) -> None:
    """Set a field (`outer.inner`) of a JSON file; without a value, take it out."""
    facts = json.loads(path.read_text())
    *outer, name = field.split(".")
    inner = facts
    for key in outer:
        inner = inner[key]
    if value:
        inner[name] = value[0]
    else:
        del inner[name]
    path.write_text(json.dumps(facts))


def hwc(images: np.ndarray) -> list[np.ndarray]:
    return [image.transpose(1, 2, 0) for image in images]


class Dangerous:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_fakes_score_high_and_reals_low(detector, pictures):
    reals = [one.p_fake for one in detector.score(hwc(pictures(40, "real", 77)))]
    fakes = [one.p_fake for one in detector.score(hwc(pictures(40, "fake", 77)))]
    assert np.mean(reals) < 0.3 and np.mean(fakes) > 0.7


def test_verdicts_follow_the_detectors_own_thresholds(detector):
    limits, temperature = detector.thresholds, detector.facts["temperature"]
    for judgement in detector.judge(np.linspace(-6, 6, 201) * temperature):
        expected = "fake" if judgement.p_fake >= limits.fake_from else "unsure"
        assert judgement.verdict == ("real" if judgement.p_fake < limits.real_below else expected)
        assert (judgement.threshold, judgement.real_below) == (limits.fake_from, limits.real_below)
    sure = detector.judge(np.array([-50.0, 50.0]))
    assert [one.verdict for one in sure] == ["real", "fake"]


def test_p_fake_is_the_sigmoid_of_the_scaled_logit(detector):
    (judgement,) = detector.judge(np.array([1.5]))
    odds = 1.5 / detector.facts["temperature"] + detector.facts["bias"]
    assert judgement.p_fake == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-6)


def test_arrays_and_files_score_the_same(detector, pictures, tmp_path):
    images = pictures(10, "fake", 5, side=20)
    paths = []
    for number, image in enumerate(images):
        paths.append(tmp_path / f"{number}.png")
        paths[-1].write_bytes(encode_png(image, "fake"))
    assert detector.score(hwc(images)) == detector.score(paths) == detector.score([str(path) for path in paths])


def test_a_score_does_not_depend_on_its_neighbours(detector, pictures):
    images = hwc(pictures(100, "fake", 6))
    together = [one.p_fake for one in detector.score(images)]
    alone = [detector.score([image])[0].p_fake for image in images[::17]]
    assert alone == pytest.approx(together[::17], abs=1e-6)


def test_large_images_go_in_smaller_batches_and_score_the_same(detector, pictures, monkeypatch):
    images = pictures(10, "fake", 6)
    together = detector.logits(images)
    sizes = []
    hook = detector.network.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    monkeypatch.setattr("fakedetect.models.detector._BATCH_PIXELS", 3 * 16 * 16)
    assert detector.logits(images) == pytest.approx(together, abs=1e-5)
    hook.remove()
    assert sizes == [3, 3, 3, 1]


def test_nothing_scores_to_nothing(detector):
    assert detector.score([]) == []


def test_sizes_may_be_mixed(detector):
    random = np.random.default_rng(0)
    shapes = [(8, 8), (16, 16), (100, 9), (33, 50), (300, 200)]
    assert len(detector.score([random.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes])) == 5


@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (5, 3000), (3000, 7)])
def test_what_is_too_small_to_hold_anything_is_not_judged(detector, shape):
    with pytest.raises(ImageError, match=f"{shape[1]}x{shape[0]} pixels: too small to judge; at least 8x8") as caught:
        detector.score([np.zeros((*shape, 3), dtype=np.uint8)])
    assert caught.value.status == "unsupported"


@pytest.mark.parametrize(
    ("shape", "note"),
    [
        ((16, 16), None),
        ((600, 800), None),
        ((16, 32), None),
        ((15, 20), "enlarged: its shorter side has 15 pixels, the detector input 16x16"),
        ((40, 200), "only its middle 20% was scored"),
        (
            (100, 10),
            "enlarged: its shorter side has 10 pixels, the detector input 16x16; only its middle 10% was scored",
        ),
    ],
)
def test_what_was_enlarged_or_mostly_cropped_away_is_noted(detector, shape, note):
    colour = np.zeros((*shape, 3), dtype=np.uint8)
    colour[..., 0] = 9
    assert detector.note_on(colour) == note


def test_only_pixels_count_not_text_chunks_nor_format_nor_name(detector, pictures, tmp_path):
    image = pictures(1, "fake", 8)[0]
    plain = Image.fromarray(image.transpose(1, 2, 0))
    (tmp_path / "one-fake.png").write_bytes(encode_png(image, "fake"))
    (tmp_path / "two-real.png").write_bytes(encode_png(image, "real"))
    for suffix, options in (("png", {}), ("bmp", {}), ("tiff", {}), ("webp", {"lossless": True})):
        plain.save(tmp_path / f"plain.{suffix}", **options)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 6 and files[0].read_bytes() != files[5].read_bytes()
    assert all(np.array_equal(detector.prepare(read_image(file)), image) for file in files)
    expected = detector.score(hwc(image[None]))[0].p_fake
    assert [one.p_fake for one in detector.score(files)] == pytest.approx([expected] * 6, abs=1e-7)


def test_colours_reach_the_network_in_the_order_red_green_blue(detector):
    red = np.zeros((16, 16, 3), dtype=np.uint8)
    red[..., 0] = 255
    prepared = detector.prepare(red)
    assert prepared.shape == (3, 16, 16) and prepared[0].min() == 255 and prepared[1:].max() == 0


def test_grey_images_go_into_a_colour_detector(detector, pictures, tmp_path):
    grey = pictures(1, "fake", 9, channels=1)[0, 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    as_colour = np.repeat(grey[..., None], 3, axis=2)
    assert detector.score([tmp_path / "grey.png"]) == detector.score([as_colour])


def test_colour_images_go_into_a_grey_detector(grey_detector, pictures, tmp_path):
    image = pictures(1, "fake", 9)[0].transpose(1, 2, 0)
    Image.fromarray(image).save(tmp_path / "colour.png")
    assert grey_detector.prepare(image).shape == (1, 16, 16)
    (judgement,) = grey_detector.score([tmp_path / "colour.png"])
    assert 0 <= judgement.p_fake <= 1


def test_a_path_that_cannot_be_read_raises_image_error(detector, tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        detector.score([tmp_path / "missing.png"])


def test_saved_and_reloaded_it_judges_alike(detector, pictures, tmp_path):
    detector.save(tmp_path / "again")
    again = Detector.load(tmp_path / "again", "cpu")
    images = hwc(pictures(5, "real", 3))
    assert again.score(images) == detector.score(images) and again.id == detector.id


def test_a_whole_copy_loads(copy):
    assert Detector.load(copy, "cpu").resolution == 16


@pytest.mark.parametrize("how", ["torch.save", "pickle"])
def test_a_pickle_in_disguise_is_refused_and_never_run(copy, tmp_path, how):
    trap = tmp_path / "trap"
    weights = copy / "detector.safetensors"
    if how == "pickle":
        weights.write_bytes(pickle.dumps(Dangerous(trap)))
    else:
        torch.save({"weights": Dangerous(trap)}, weights)
    assert "pickle" in refused(copy)
    assert not trap.exists()


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_weights_that_were_cut_short_are_refused(copy, share):
    weights = copy / "detector.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[: int(len(data) * share)])
    assert "detector.safetensors" in refused(copy)


def test_weights_with_one_byte_altered_are_refused(copy):
    weights = copy / "detector.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    assert "does not match" in refused(copy)


@pytest.mark.parametrize("name", ["detector.json", "detector.safetensors"])
def test_a_missing_half_is_refused(copy, name):
    (copy / name).unlink()
    refused(copy)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    assert "detect-train" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["", '{"kind": "det', "[]", "{}", "null"])
def test_a_damaged_json_is_refused(copy, text):
    (copy / "detector.json").write_text(text)
    refused(copy)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"arguments": {"resolution": 16, "channels": 3, "blocks": 2}}, "another architecture"),
        ({"arguments": {"resolution": 16, "channels": 1, "blocks": 1}}, "channels differ (got 3 and 1)"),
        ({"model": "cnnn"}, "cnn"),
        ({"kind": "generator"}, "kind"),
        ({"version": 99}, "version"),
        ({"label_convention": {"real": 1, "fake": 0}}, "label convention"),
    ],
)
def test_another_architecture_kind_version_or_label_convention_is_refused(copy, change, says):
    facts = json.loads((copy / "detector.json").read_text())
    (copy / "detector.json").write_text(json.dumps({**facts, **change}))
    assert says in refused(copy)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("preprocessing", "oops", 'preprocessing cannot be used (got "oops"; expected an object)'),
        (
            "preprocessing.resolution",
            "16",
            'preprocessing.resolution cannot be used (got "16"; expected a whole number',
        ),
        (
            "preprocessing.resolution",
            True,
            "preprocessing.resolution cannot be used (got true; expected a whole number",
        ),
        ("preprocessing.resolution", 17, "preprocessing.resolution and arguments.resolution differ (got 17 and 16)"),
        ("arguments", [], "arguments cannot be used (got []; expected an object)"),
        ("arguments.dropout", 0.5, "the model cnn takes no argument 'dropout'"),
        ("model", 4, "model cannot be used (got 4; expected a string)"),
        ("temperature", None, "temperature cannot be used (got null; expected a number"),
        ("temperature", float("nan"), "temperature cannot be used (got NaN; expected a number"),
        ("bias", "high", 'bias cannot be used (got "high"; expected a number'),
        ("temperature", 0, "temperature cannot be used (got 0; expected a number, 0.001 to 1000"),
        ("thresholds", "0.5", 'thresholds cannot be used (got "0.5"; expected an object)'),
        ("thresholds.fake_from", "high", 'thresholds.fake_from cannot be used (got "high"; expected a number'),
        ("thresholds.fake_from", 0.0, "thresholds.real_below cannot be used (got "),
        ("training", 3, "training cannot be used (got 3; expected an object)"),
        ("training.counts.train.real", "many", 'training.counts.train.real cannot be used (got "many"'),
        ("versions", None, "versions cannot be used (got null; expected an object)"),
        ("sha256", 5, "sha256 cannot be used (got 5; expected a string)"),
    ],
)
def test_a_field_that_cannot_be_is_named_with_got_and_expected(copy, field, value, says):
    write_field(copy / "detector.json", field, value)
    assert f"{copy}/detector.json: {says}" in refused(copy) and "again" in refused(copy)


@pytest.mark.parametrize(
    "field", ["sha256", "model", "temperature", "preprocessing.channels", "thresholds.real_below", "training.domain"]
)
def test_a_field_that_is_not_there_is_said_to_be_missing(copy, field):
    write_field(copy / "detector.json", field)
    assert f"{copy}/detector.json: {field} is missing." in refused(copy)


def test_a_further_field_does_no_harm(copy):
    write_field(copy / "detector.json", "thresholds.comment", "chosen by hand")
    assert Detector.load(copy, "cpu").thresholds.max_fpr == 0.05


def test_a_training_that_was_stopped_is_no_detector_and_says_how_to_finish(copy):
    (copy / "detector.json").unlink()
    (copy / "training.json").write_text("{}")
    assert f"not a detector. Finish it: fakelab detect-train --resume --out {copy}" in refused(copy)


def test_a_grey_image_is_noted_by_a_detector_of_colour_and_by_no_other(detector, grey_detector):
    grey = np.repeat(np.random.default_rng(0).integers(0, 256, (16, 16, 1), dtype=np.uint8), 3, axis=2)
    colour = grey.copy()
    colour[0, 0, 0] ^= 64
    assert "grey, but the detector was trained on colour images" in detector.note_on(grey)
    assert detector.note_on(colour) is None and grey_detector.note_on(grey) is None
