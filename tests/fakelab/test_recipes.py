"""Detectors from real photographs alone."""

import json

import pytest

from fakedetect.blends import rendering
from fakelab.recipes import faces, photos


@pytest.fixture
def quick(monkeypatch):
    """The recipe with two GANs of one step each."""
    monkeypatch.setattr(photos, "GANS", {"one": ("dcgan-64", 1), "two": ("modern-32", 1)})


@pytest.fixture
def reals(tmp_path):
    import cv2
    import numpy as np

    random = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(150):
        photo = cv2.GaussianBlur(random.integers(0, 256, (40, 40, 3), np.uint8), (0, 0), 3)
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.jpg"), photo)
    return tmp_path / "photos"


def test_photos_trains_gans_and_a_detector_that_states_its_expectation(quick, reals, tmp_path, fakelab):
    words = ("detect-train", "--recipe", "photos", "--real", reals, "--out", tmp_path / "det", "--json")
    done = fakelab(*words)
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "det" / "detector.json").read_text())
    assert facts["model"] == "lite" and set(facts["left_out"]["sources"]) == {"one-32", "two-32"}
    made_when = {path: path.stat().st_mtime_ns for path in tmp_path.glob("det-sources/*/set/imageset.json")}
    assert len(made_when) == 2
    assert facts["preprocessing"]["resolution"] == 32
    (tmp_path / "det" / "detector.json").rename(tmp_path / "before.json")
    runs = photos.make_sources(str(reals), tmp_path / "det-sources", device="cpu")  # both are finished
    assert [run.name for run in runs] == ["one-32", "two-32"]
    assert {path: path.stat().st_mtime_ns for path in made_when} == made_when


@pytest.fixture
def people(tmp_path, draw_face, write_video):
    """A folder of 30 photos of drawn faces and two videos."""
    import cv2
    import numpy as np

    random, root = np.random.default_rng(0), tmp_path / "people"
    root.mkdir()
    for number in range(30):
        photo = cv2.resize(random.integers(60, 200, (6, 8, 3), np.uint8), (160, 120))
        skin = tuple(int(v) + int(random.integers(-30, 30)) for v in (200, 160, 130))
        draw_face(photo, random.uniform(60, 100), random.uniform(55, 65), random.uniform(70, 85), skin=skin)
        cv2.imwrite(str(root / f"{number:02}.jpg"), photo)
    for name in ("one.mp4", "two.mp4"):
        write_video(root / name, [lambda n: (100 + 4 * n, 120, 100)], count=6)
    return root


def test_faces_blends_photos_and_videos_and_finetunes_a_detector(people, tmp_path, fakelab, monkeypatch):
    for module, name, value in ((faces, "_PAIRS", 60), (faces, "_SIZE", 48), (rendering, "STEPS", 1)):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(rendering, "_BATCH", 2)
    for module, name, value in ((faces, "_GAN_STEPS", 1), (faces, "_GAN_FAKES", 20), (faces, "_GAN_PAIRS", 64)):
        monkeypatch.setattr(module, name, value)
    words = ("detect-train", "--recipe", "faces", "--real", people, "--out", tmp_path / "det", "--set", "epochs=1")
    done = fakelab(*words, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "det" / "detector.json").read_text())
    assert facts["model"] == "lite" and facts["settings"]["train"] == "finetune" and facts["settings"]["epochs"] == 1
    assert facts["preprocessing"]["resolution"] == 48 and facts["preprocessing"]["faces"]["margin"] == 0.08
    made = tmp_path / "det-sources" / "blends"
    lines = [json.loads(line) for line in (made / "metadata.jsonl").read_text().splitlines()]
    assert any("people/" in line["photo"] for line in lines) and any("video-faces" in line["photo"] for line in lines)
    assert "render" in {line.get("kind") for line in lines}
    when = (made / "imageset.json").stat().st_mtime_ns
    assert faces.make_sources(str(people), tmp_path / "det-sources", device="cpu") == [made]  # finished: it is kept
    assert (made / "imageset.json").stat().st_mtime_ns == when


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--recipe", "fotos", "--real", "x"), "no recipe 'fotos'.*one of faces, photos.*Did you mean 'photos'"),
        (("--recipe", "photos"), "makes the fakes itself .expected --real"),
        (("--recipe", "photos", "--real", "x", "--fake", "y"), "makes the fakes itself"),
    ],
)
def test_a_wrong_request_is_one_line(words, says, fakelab):
    import re

    done = fakelab("detect-train", *words)
    assert done.returncode == 2 and re.search(says, done.stderr) and done.stderr.count("\n") == 1
