"""`quiz`: which pairs are drawn, what the images give away, and the numbers of detectors."""

import base64
import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

import fakelab
from fakecore.errors import UserError
from fakecore.media.pixels import decode_image
from fakecore.sets.imageset import read_imageset
from fakedetect import Detector
from fakegen import Generator
from fakelab.quiz import pairs as drawing
from fakelab.quiz.numbers import against_chance, auroc, auroc_interval, pairs_right, wilson_interval
from fakelab.quiz.pairs import draw_pairs
from fakelab.quiz.quiz import find_detector

REAL, FAKE, TRAIN, TEST = 0, 1, 0, 2


def contents(page) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text())[1])


def files(page) -> list[bytes]:
    return [base64.b64decode(uri.partition(",")[2]) for uri in contents(page)["images"]]


def marks(file: bytes) -> list[int]:
    """The label, split, class and number that the image of a marked set says of itself."""
    return decode_image(file)[0, :4, 0].tolist()


def test_pairs_are_held_out_images_of_one_class_each(marked, tmp_path):
    made = fakelab.make_quiz(marked, tmp_path / "page.html", pairs=40, seed=3)
    found = [marks(file) for file in files(made.page)]
    lefts = contents(made.page)["real_is_left"]
    assert len(found) == 80 and len({number for *_, number in found}) == 80  # no image twice
    for left, one, other in zip(lefts, found[::2], found[1::2], strict=True):
        real, fake = (one, other) if left else (other, one)
        assert (real[0], fake[0]) == (REAL, FAKE) and real[2] == fake[2]
        assert TRAIN not in (real[1], fake[1])
    assert made.same_class and made.real_splits == {"test": 30, "val": 10}  # test as far as it suffices
    assert sum(split == TEST for label, split, *_ in found if label == REAL) == 30


def test_the_seed_decides_pairs_order_and_sides(marked, tmp_path):
    quizzes = [fakelab.make_quiz(marked, tmp_path / f"{n}.html", seed=s) for n, s in enumerate((0, 0, 1))]
    first, again, other = (contents(one.page) for one in quizzes)
    assert first == again and quizzes[0].id == quizzes[1].id
    assert other["id"] != first["id"] and other["images"] != first["images"]
    assert other["real_is_left"] != first["real_is_left"]
    assert 8 <= sum(first["real_is_left"]) <= 32  # about half: outside in one of 20,000 seeds


def test_the_fakes_of_a_run_are_new_and_of_the_class_of_their_real(run, monkeypatch):
    shades = {name: 20 * place for place, name in enumerate("abc", 1)}

    def batch(self, seed, indices, only=None):
        return np.full((len(indices), 1, 16, 16), shades[only], np.uint8)

    monkeypatch.setattr(Generator, "batch", batch)
    monkeypatch.setattr(drawing, "read_quality", lambda run: [SimpleNamespace(epoch=1, frechet=2.0)])
    drawn = draw_pairs(run, 20, 0, device="cpu")
    assert (drawn.epoch, drawn.fakes_from) == (1, "epoch 1 of tiny")  # the best measured
    images = read_imageset(run / "set")
    by_pixels = {decode_image(images.read(r))[..., 0].tobytes(): r for r in images.records if r.label == "real"}
    of = [by_pixels[real.tobytes()] for real in drawn.reals]
    assert {record.split for record in of} == {"test"} and drawn.real_splits == {"test": 20}
    assert [shades[record.class_] for record in of] == drawn.fakes[:, 0, 0, 0].tolist()
    assert draw_pairs(run, 20, 0, epoch=2, device="cpu").epoch == 2
    monkeypatch.undo()
    assert draw_pairs(run, 20, 0, device="cpu").epoch == 2  # not measured: the last
    of_set = {decode_image(images.read(r))[..., 0].tobytes() for r in images.records if r.label == "fake"}
    assert not of_set & {fake.tobytes() for fake in draw_pairs(run, 20, 0, device="cpu").fakes}


def test_images_say_nothing_of_their_origin(run, tmp_path):
    made = fakelab.make_quiz(run, tmp_path / "page.html", pairs=10, device="cpu")
    shapes, chunks = set(), set()
    for file in files(made.page):
        shapes.add(file[16:26])  # width, height, depth and kind of colour
        place, names = 8, []
        while place < len(file):
            names.append(file[place + 4 : place + 8])
            place += 12 + int.from_bytes(file[place : place + 4], "big")
        chunks |= set(names)
    assert len(shapes) == 1 and chunks == {b"IHDR", b"IDAT", b"IEND"}
    page = made.page.read_text()
    assert "http" not in page and "src=" not in page  # self-contained; the script sets the images
    assert str(tmp_path) not in page and str(run.parent) not in page


def test_detectors_are_judged_on_the_same_pairs(run, detector, tmp_path):
    made = fakelab.make_quiz(run, tmp_path / "page.html", pairs=40, detectors=[detector], device="cpu")
    (found,) = made.detectors
    loaded, data = Detector.load(detector, "cpu"), contents(made.page)
    scores = [one.p_fake for one in loaded.score([decode_image(file) for file in files(made.page)])]
    verdicts = [one.verdict for one in loaded.score([decode_image(file) for file in files(made.page)])]
    rights, both, reals, fakes = [], 0, [], []
    for pair, left in enumerate(data["real_is_left"]):
        real, fake = (2 * pair, 2 * pair + 1) if left else (2 * pair + 1, 2 * pair)
        rights.append(0.5 if scores[fake] == scores[real] else float(scores[fake] > scores[real]))
        both += (verdicts[real], verdicts[fake]) == ("real", "fake")
        reals.append(scores[real])
        fakes.append(scores[fake])
    assert 0 < sum(rights) < 40  # otherwise a swap of labels or sides could pass
    assert data["detectors"][0]["rights"] == rights and found.pairs_right == sum(rights)
    assert found.share == pytest.approx(sum(rights) / 40) and found.both_verdicts_right == both
    assert found.auroc == pytest.approx(roc_auc_score([0] * 40 + [1] * 40, reals + fakes))
    # 30 reals are of test, so 10 are of val, on which the detector was tuned.
    assert made.real_splits == {"test": 30, "val": 10} and found.seen == 10
    assert "tiny-cnn was trained or tuned on 10 of these 80 images" in made.caution
    assert "tiny-cnn was trained or tuned on 10" in made.page.read_text()
    fair = fakelab.make_quiz(run, tmp_path / "fair.html", pairs=30, detectors=[detector], device="cpu")
    assert fair.detectors[0].seen == 0 and "trained or tuned" not in (fair.caution or "")


def test_the_detector_of_the_run_is_found(fakelab, run, detector, tmp_path):
    shutil.copytree(run, tmp_path / "runs/tiny")
    shutil.copytree(detector, tmp_path / "runs/tiny-2-cnn")
    other = json.loads((detector / "detector.json").read_text())
    other["training"]["origin"]["checkpoint_sha256"] = "another"
    (tmp_path / "runs/tiny-2-cnn/detector.json").write_text(json.dumps(other))  # of a run tiny-2
    assert find_detector(tmp_path / "runs/tiny", tmp_path / "runs") is None
    shutil.copytree(detector, tmp_path / "runs/tiny-cnn")
    done = fakelab("quiz", "runs/tiny", "--pairs", 10, "--json", "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 0 and "using runs/tiny-cnn" in done.stderr
    facts = json.loads(done.stdout)
    assert [one["detector"] for one in facts["detectors"]] == ["runs/tiny-cnn"]
    assert facts["page"] == "quiz.html" and facts["pairs"] == 10 and (tmp_path / "quiz.html").is_file()
    shown = fakelab("quiz", "runs/tiny", "--out", "b.html", "--pairs", 10, "--device", "cpu", cwd=tmp_path).stdout
    assert "10 of test" in shown and "tiny-cnn" in shown and "b.html" in shown


@pytest.mark.parametrize(
    ("out", "options", "words"),
    [
        ("page.html", {"pairs": 9}, "--pairs is out of range .got 9; expected 10 to 500"),
        ("page.html", {"pairs": 501}, "--pairs is out of range"),
        ("page.html", {"pairs": 61}, "too few pairs of held-out images, of one class.*got 60"),
        ("page.html", {"epoch": 1}, "not a run, so it has no epochs"),
        ("page.html", {"seed": -1}, "--seed is out of range"),
        ("page.html", {"detectors": ["x", "x"]}, "given twice"),
        ("page.txt", {}, "expected a new .html file"),
        ("there.html", {}, "got an existing file"),
    ],
)
def test_a_wrong_request_gives_a_one_line_error(marked, tmp_path, out, options, words):
    (tmp_path / "there.html").write_text("kept")
    with pytest.raises(UserError, match=words):
        fakelab.make_quiz(marked, tmp_path / out, device="cpu", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["there.html"]


def test_runs_without_what_a_quiz_needs_are_refused(run, tmp_path):
    with pytest.raises(UserError, match=r"too few held-out real images.*got 60 in val and test; expected 61"):
        fakelab.make_quiz(run, tmp_path / "page.html", pairs=61, device="cpu")
    copy = shutil.copytree(run, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(UserError, match="no checkpoint"):
        fakelab.make_quiz(copy, tmp_path / "page.html", device="cpu")
    shutil.copytree(run / "checkpoints", copy / "checkpoints")
    shutil.rmtree(copy / "set")
    with pytest.raises(UserError, match="no finished set"):
        fakelab.make_quiz(copy, tmp_path / "page.html", device="cpu")


@pytest.mark.parametrize(("right", "n"), [(0, 10), (7, 12), (20, 40), (40, 40)])
def test_the_interval_is_wilsons(right, n):
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert wilson_interval(right / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_numbers_of_pairs_and_of_all_images():
    reals, fakes = np.array([0.1, 0.4, 0.4, 0.9]), np.array([0.3, 0.4, 0.2, 0.8])
    assert pairs_right(reals, fakes).tolist() == [1, 0.5, 0, 0]
    assert auroc(reals, fakes) == pytest.approx(roc_auc_score([0] * 4 + [1] * 4, [*reals, *fakes]))
    assert [against_chance(one) for one in ((0.4, 0.6), (0.51, 0.7), (0.3, 0.49))] == [
        "not different from chance",
        "better than chance",
        "worse than chance",
    ]


def test_the_interval_of_an_auroc_covers_the_true_area():
    random, area, n = np.random.default_rng(0), 0.9, 20
    shift = 1.8123876  # of two normal distributions with this area: sqrt(2) times the quantile of 0.9
    found = [auroc_interval(auroc(random.standard_normal(n), random.standard_normal(n) + shift), n) for _ in range(400)]
    assert 0.92 < np.mean([low <= area <= high for low, high in found]) < 0.99
    low, high = auroc_interval(1.0, n)
    assert 0.8 < low < 0.95 and high == 1  # a width, where a bootstrap has none
