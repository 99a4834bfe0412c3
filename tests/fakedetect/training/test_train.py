import csv
import json
import os
import shutil

import numpy as np
import pytest

import fakedetect
from fakecore.errors import UserError
from fakedetect import Detector
from fakedetect.evaluation.metrics import ranking_metrics
from fakedetect.models.calibration import Scaling, choose_thresholds, fit_scaling
from fakedetect.training.train import _face_cut


def predictions(folder) -> list[dict]:
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def column(rows: list[dict], name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in rows])


@pytest.fixture(scope="module")
def other_set(tmp_path_factory, write_set):
    """In its test split alone the mark is on the reals: any other split would give other numbers."""
    place = tmp_path_factory.mktemp("other") / "other-set"
    return write_set(place, reals=60, fakes=60, seed=31, test_seed=32, swap_test=True)


@pytest.fixture(scope="module")
def from_folders(tmp_path_factory, write_folder, quick):
    """A detector from two plain folders whose names sort, and read, the wrong way round."""
    root = tmp_path_factory.mktemp("folders")
    folders = {
        "real": str(write_folder(root / "z-fake", 100, "real")),
        "fake": str(write_folder(root / "a", 100, "fake")),
    }
    return fakedetect.train(out=root / "det", **folders, changes=quick, device="cpu"), folders


def test_predictions_say_real_0_fake_1_and_fakes_have_the_high_p_fake(trained):
    rows = predictions(trained.detector)
    assert list(rows[0]) == ["path", "split", "y_true", "logit", "p_fake"]
    assert len(rows) == 200
    for row in rows:
        split, label, _ = row["path"].split("/")
        assert (row["split"], row["y_true"]) == (split, {"real": "0", "fake": "1"}[label])
    test = [row for row in rows if row["split"] == "test"]
    truth, p_fake = column(test, "y_true"), column(test, "p_fake")
    assert p_fake[truth == 1].mean() > 0.7 and p_fake[truth == 0].mean() < 0.3
    assert trained.metrics["auroc"] > 0.9


def test_the_detector_on_disk_gives_the_scores_of_predictions_csv(trained, detector, small_set):
    rows = predictions(trained.detector)
    judged = detector.score([small_set / row["path"] for row in rows])
    assert [one.p_fake for one in judged] == pytest.approx(column(rows, "p_fake"), abs=1e-5)


def test_folders_are_labelled_by_option_through_training_and_scoring(from_folders, pictures):
    made, folders = from_folders
    for row in predictions(made.detector):
        assert row["y_true"] == ("1" if row["path"].startswith(folders["fake"] + "/") else "0")
    detector = Detector.load(made.detector, "cpu")
    means = {
        label: np.mean([one.p_fake for one in detector.score(list(pictures(30, label, 8).transpose(0, 2, 3, 1)))])
        for label in ("real", "fake")
    }
    assert means["real"] < 0.3 and means["fake"] > 0.7


def test_detector_json_says_what_a_stranger_needs(trained, small_data):
    facts = json.loads((trained.detector / "detector.json").read_text())
    assert facts["label_convention"] == {"real": 0, "fake": 1}
    assert facts["preprocessing"]["resolution"] == 16 and facts["preprocessing"]["channels"] == 3
    assert facts["training"]["fingerprint"] == small_data.fingerprint
    assert facts["training"]["counts"]["train"] == {"real": 60, "fake": 60}
    assert "synthetic" in facts["training"]["domain"] and "tiny" in facts["training"]["domain"]
    assert facts["versions"]["torch"] and facts["test_metrics"] == trained.metrics
    for name in ("fake_from", "real_below", "name", "chosen_on"):
        assert name in facts["thresholds"]


def test_scaling_and_thresholds_are_those_of_the_validation_split(trained, detector):
    val = [row for row in predictions(trained.detector) if row["split"] == "val"]
    truth = column(val, "y_true").astype(int)
    found, own = fit_scaling(truth, column(val, "logit")), Scaling.of(detector.facts)
    assert (found.temperature, found.bias) == pytest.approx((own.temperature, own.bias), rel=1e-3)
    found = choose_thresholds(truth, column(val, "p_fake"), 0.05, 0.05)
    assert found.fake_from == pytest.approx(detector.thresholds.fake_from, abs=1e-5)
    assert found.real_below == pytest.approx(detector.thresholds.real_below, abs=1e-5)


def test_training_starts_from_the_weights_of_a_detector(trained, small_set, tmp_path, quick):
    still = {**quick, "start": str(trained.detector), "epochs": 1, "rate": 1e-8}  # moves nothing
    fakedetect.train(small_set, out=tmp_path / "more", changes=still, device="cpu")
    before, after = (
        Detector.load(folder, "cpu").network.state_dict() for folder in (trained.detector, tmp_path / "more")
    )
    names = [name for name in before if name.endswith("weight") and before[name].ndim == 4]
    assert names and all(np.allclose(before[name], after[name], atol=1e-5) for name in names)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": "dct"}, "trains its head alone"),
        ({"model": "resnet50", "pretrained": "no"}, "another model \\(got cnn; expected resnet50"),
        ({"blocks": 2}, "differs from the one of these settings \\(got missing blocks.3"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(changes, says, trained, small_set, tmp_path, quick):
    wrong = {**quick, **changes, "start": str(trained.detector)}
    with pytest.raises(UserError, match=says):
        fakedetect.train(small_set, out=tmp_path / "det", changes=wrong, device="cpu")


def test_metrics_are_of_the_test_split(trained):
    test = [row for row in predictions(trained.detector) if row["split"] == "test"]
    found = ranking_metrics(column(test, "y_true").astype(int), column(test, "p_fake"))
    assert {name: trained.metrics[name] for name in found} == pytest.approx(found, abs=1e-6)
    assert (trained.metrics["n_real"], trained.metrics["n_fake"]) == (20, 20)


def test_test_images_and_labels_decide_nothing_and_equal_seeds_make_equal_weights(tmp_path, write_set, trained, quick):
    """The same set, but for a test split of other pictures, with the mark on the reals: only the metrics may differ."""
    other = write_set(tmp_path / "set", test_seed=55, swap_test=True)
    made = fakedetect.train(other, out=tmp_path / "det", changes=quick, device="cpu")
    one, two = (json.loads((folder / "detector.json").read_text()) for folder in (trained.detector, made.detector))
    for name in ("sha256", "temperature", "thresholds", "best_epoch"):
        assert one[name] == two[name], name
    for name in ("history.jsonl", "detector.safetensors"):
        assert (trained.detector / name).read_bytes() == (made.detector / name).read_bytes()
    assert trained.metrics["auroc"] > 0.9 and made.metrics["auroc"] < 0.1


def test_a_set_of_one_class_is_refused_with_a_remedy(tmp_path, write_set):
    fakes = write_set(tmp_path / "set", reals=0, fakes=30)
    with pytest.raises(UserError, match=r"no real images.*--real SOURCE --fake SET"):
        fakedetect.train(fakes, out=tmp_path / "det", device="cpu")
    reals = write_set(tmp_path / "reals", reals=30, fakes=0)
    with pytest.raises(UserError, match=r"no fake images.*--real SET --fake SOURCE"):
        fakedetect.train(reals, out=tmp_path / "det", device="cpu")


def test_a_split_that_lacks_a_class_is_another_matter_than_a_set_that_does(tmp_path, write_set):
    few = write_set(tmp_path / "set", reals=30, fakes=4)  # 2 to train on, 1 to tune, 1 to test
    lines = [json.loads(line) for line in (few / "metadata.jsonl").read_text().splitlines()]
    facts = json.loads((few / "imageset.json").read_text())
    kept = [line for line in lines if (line["label"], line["split"]) != ("fake", "val")]
    facts["counts"]["val"]["fake"] -= len(lines) - len(kept)
    (few / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    (few / "imageset.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match=r"no fake images in the val split.*Make the set again"):
        fakedetect.train(few, out=tmp_path / "det", device="cpu")


def test_grey_images_are_noted_where_the_detector_was_trained_on_colour(trained, write_folder, tmp_path, capsys):
    for label in ("real", "fake"):
        write_folder(tmp_path / label, 6, label, channels=1)
    folders = {label: str(tmp_path / label) for label in ("real", "fake")}
    fakedetect.evaluate(trained.detector, **folders, out=tmp_path / "out", device="cpu")
    assert "note: 12 of 12 images are grey" in capsys.readouterr().err


def test_too_many_blocks_are_refused_before_any_training(tmp_path, write_set, small_set):
    with pytest.raises(UserError, match="blocks"):
        fakedetect.train(
            small_set, out=tmp_path / "det", changes={"model": "cnn", "blocks": 4, "resolution": 8}, device="cpu"
        )
    assert not (tmp_path / "det" / "history.jsonl").exists()


def test_an_existing_detector_is_never_overwritten(trained, small_set, quick):
    before = (trained.detector / "detector.json").read_bytes()
    with pytest.raises(UserError, match="already holds a detector"):
        fakedetect.train(small_set, out=trained.detector, changes=quick, device="cpu")
    assert (trained.detector / "detector.json").read_bytes() == before


def test_evaluate_uses_the_other_sets_test_split_fits_nothing_and_refuses_to_overwrite(trained, other_set, pictures):
    before = {path.name: path.read_bytes() for path in trained.detector.iterdir() if path.is_file()}
    made = fakedetect.evaluate(trained.detector, other_set, device="cpu")
    after = {path.name: path.read_bytes() for path in trained.detector.iterdir() if path.is_file()}
    assert before == after
    folder = trained.detector / "evaluations" / "other-set"
    assert made.report == folder / "report.html" and made.report.is_file()
    assert json.loads((folder / "metrics.json").read_text()) == {"version": 1, **made.metrics}
    assert (made.metrics["n_real"], made.metrics["n_fake"]) == (12, 12)
    detector = Detector.load(trained.detector, "cpu")
    p_fake = np.array(
        [
            one.p_fake
            for looks in ("fake", "real")
            for one in detector.score(list(pictures(12, looks, 32).transpose(0, 2, 3, 1)))
        ]
    )
    assert made.metrics["auroc"] < 0.5
    assert made.metrics["auroc"] == pytest.approx(ranking_metrics(np.repeat([0, 1], 12), p_fake)["auroc"])
    assert made.metrics["tpr"] == (p_fake[12:] >= detector.thresholds.fake_from).mean()
    with pytest.raises(UserError, match="never overwritten"):
        fakedetect.evaluate(trained.detector, other_set, device="cpu")


def test_evaluate_takes_all_of_two_folders_even_of_other_sizes(from_folders, write_folder, tmp_path):
    made, _ = from_folders
    real = write_folder(tmp_path / "r", 8, "real", 60, side=40, channels=1)
    fake = write_folder(tmp_path / "f", 9, "fake", 60, side=20)
    (real / "bad.png").write_bytes(b"")
    found = fakedetect.evaluate(made.detector, real=str(real), fake=str(fake), out=tmp_path / "e", device="cpu")
    assert (found.metrics["n_real"], found.metrics["n_fake"]) == (8, 9)
    assert [line["status"] for line in found.unused] == ["unreadable"]


def test_evaluate_of_a_set_without_a_class_in_its_test_split_is_refused(trained, tmp_path, write_set):
    with pytest.raises(UserError, match="no fake images in the test split"):
        fakedetect.evaluate(trained.detector, write_set(tmp_path / "set", reals=20, fakes=0), device="cpu")


def test_evaluate_of_folders_of_which_one_holds_no_readable_image_is_refused(trained, tmp_path, write_folder):
    real, fake = write_folder(tmp_path / "r", 6, "real", 61), tmp_path / "f"
    fake.mkdir()
    (fake / "1.png").write_text("not an image")
    with pytest.raises(UserError, match=r"none of the images in --fake .*1 files, the first: not an image"):
        fakedetect.evaluate(trained.detector, real=str(real), fake=str(fake), out=tmp_path / "e", device="cpu")


def test_evaluate_on_the_training_images_does_not_claim_that_they_are_new(from_folders, tmp_path):
    made, folders = from_folders
    found = fakedetect.evaluate(made.detector, **folders, out=tmp_path / "e", device="cpu")
    assert found.metrics["seen"] == 180  # of 200: a tenth is its test split
    assert "it was trained or tuned on 180 of these images" in found.report.read_text()


def test_names_that_are_not_utf8_do_not_lose_a_training(tmp_path, write_folder, quick):
    """Reals and fakes look the same, so some are misjudged, and the report shows those by name."""
    folders = {}
    for seed, label in enumerate(("real", "fake")):
        folder = write_folder(tmp_path / label, 30, "real", 70 + seed)
        for path in sorted(folder.iterdir()):
            path.rename(folder / os.fsdecode(path.stem.encode() + b"-\xff.png"))
        folders[label] = str(folder)
    made = fakedetect.train(out=tmp_path / "det", **folders, changes={**quick, "epochs": 1}, device="cpu")
    assert made.report.is_file()


def test_a_detector_may_be_moved(trained, tmp_path, pictures):
    shutil.copytree(trained.detector, tmp_path / "moved")
    image = [pictures(1, "fake", 3)[0].transpose(1, 2, 0)]
    assert Detector.load(tmp_path / "moved", "cpu").score(image) == Detector.load(trained.detector, "cpu").score(image)


def test_a_set_whose_origin_is_unknown_can_be_learned_from(tmp_path, write_set, quick):
    place = write_set(tmp_path / "set", reals=30, fakes=30)
    facts = json.loads((place / "imageset.json").read_text())
    (place / "imageset.json").write_text(json.dumps({**facts, "origin": {}}))
    made = fakedetect.train(place, out=tmp_path / "det", changes={**quick, "epochs": 1}, device="cpu")
    assert "of unknown origin" in made.report.read_text()


def test_unused_images_say_by_which_option_they_came(from_folders, write_folder, tmp_path):
    made, _ = from_folders
    folders = {name: write_folder(tmp_path / name, 4, name, 60) for name in ("real", "fake")}
    for folder in folders.values():
        (folder / "bad.png").write_bytes(b"")
    options = {name: str(folder) for name, folder in folders.items()}
    found = fakedetect.evaluate(made.detector, **options, out=tmp_path / "e", device="cpu")
    paths = [line["path"] for line in found.unused_by_option]
    assert paths == [f"--{name} {tmp_path}/{name}/bad.png" for name in ("real", "fake")]
    assert [line["path"] for line in found.unused] == [f"{tmp_path}/{name}/bad.png" for name in ("real", "fake")]


def test_a_seed_below_zero_is_refused(tmp_path, small_set):
    with pytest.raises(UserError, match=r"--seed is out of range .got -5; expected 0 or more"):
        fakedetect.train(small_set, out=tmp_path / "det", seed=-5, device="cpu")


@pytest.mark.parametrize(
    ("origin", "cut"),
    [
        ({"real": "a", "fake": "b", "faces": {"margin": 0.3, "align": True}}, {"margin": 0.3, "align": True}),
        ({"run": "r", "source": {"faces": {"margin": 0, "align": False}}}, {"margin": 0, "align": False}),
        ({"faces": {"margin": 0.2, "align": False, "size": 64, "fps": 5.0}}, {"margin": 0.2, "align": False}),
        ({"faces": {"margin": 0.2}}, None),
        ({"faces": {"margin": "wide", "align": False}}, None),
        ({"run": "r", "source": "digits"}, None),
        ({"set": "s"}, None),
    ],
)
def test_how_faces_were_cut_is_known_wherever_the_reals_came_from(origin, cut):
    assert _face_cut(origin) == cut
