"""Detectors in half precision for distribution, and those that come with the package."""

import json

import numpy as np
import pytest
import torch

from fakecore.errors import UserError
from fakedetect.detectors import NAMES, packaged
from fakedetect.export.pack import LARGEST_BYTES, pack, thinned
from fakedetect.models.detector import Detector
from fakedetect.models.domain import Domain, unit_length


def test_a_packed_detector_scores_alike_in_half_the_bytes_and_names_no_path(trained, pictures, tmp_path, write_folder):
    reals = write_folder(tmp_path / "reals", 5, "real")
    out = pack(trained.detector, tmp_path / "packed", domain="small pictures", reals=[reals])
    before, after = Detector.load(trained.detector, "cpu"), Detector.load(out, "cpu")
    own = pictures(8, "fake", 3)
    assert np.allclose(before.outputs(own)[0], after.outputs(own)[0], atol=0.05)
    sizes = [(folder / "detector.safetensors").stat().st_size for folder in (trained.detector, out)]
    assert sizes[1] < 0.6 * sizes[0]
    facts = json.loads((out / "detector.json").read_text())
    assert str(tmp_path) not in json.dumps(facts) and facts["training"]["domain"] == "small pictures"
    assert facts["training"]["reals"][0]["files"] == 5
    again = write_folder(tmp_path / "others", 5, "real", seed=1)
    other = pack(trained.detector, tmp_path / "other", domain="small pictures", reals=[again])
    assert json.loads((other / "detector.json").read_text())["training"]["reals"] != facts["training"]["reals"]


def test_a_domain_with_fewer_points_calls_as_many_foreign():
    random = np.random.default_rng(0)
    near = (random.normal(size=(2000, 8)) + 2).astype(np.float32)
    far = (random.normal(size=(500, 8)) + np.array([2, 2, 2, 2, 2, 2, 0, 0])).astype(np.float32)
    domain = Domain(unit_length(near[:1000]), 0.36)
    fewer = thinned(domain, 500)
    assert len(fewer.points) == 500 and fewer.limit > domain.limit
    before, after = ([one.outside(own).mean() for own in (near[1000:], far)] for one in (domain, fewer))
    assert before == pytest.approx(after, abs=0.04) and before[0] < 0.2 < before[1]
    assert thinned(domain, 1000) is domain


def test_weights_beyond_half_precision_are_refused(trained, tmp_path):
    detector = Detector.load(trained.detector, "cpu")
    with torch.no_grad():
        detector.network.head.weight[0, 0] = 1e6
    detector.save(tmp_path / "large")
    with pytest.raises(UserError, match="does not fit half precision"):
        pack(tmp_path / "large", tmp_path / "packed", domain="x", reals=[tmp_path])


@pytest.mark.parametrize("name", NAMES)
def test_each_detector_of_the_package_loads_by_name_and_states_what_to_expect(name):
    folder = packaged(name)
    assert folder is not None
    assert sum(path.stat().st_size for path in folder.iterdir()) < LARGEST_BYTES
    facts = Detector.load(name, "cpu").facts
    assert facts["left_out"]["sources"] and "/" not in facts["training"]["domain"]
    card = (folder / "card.md").read_text()
    assert all(word in card for word in ("Trained on", "Figures", "Known failures", "Not for"))


def test_without_a_detector_faces_and_photos_judge(tmp_path, draw_face, fakelab):
    import cv2

    for name in ("face", "none"):
        photo = np.full((300, 400, 3), (90, 120, 150), np.uint8)
        if name == "face":
            draw_face(photo, 200, 150, 140)
        cv2.imwrite(str(tmp_path / f"{name}.png"), photo[..., ::-1])
    done = fakelab("score", tmp_path, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    ids = {name: Detector.load(name, "cpu").id for name in NAMES}
    assert all(row["detector"] == ids[row["judged_by"]] for row in rows)
    face, none = rows
    assert len(face["faces"]) == 1 and none["judged_by"] == "photos" and "faces" not in none
    assert "faces: " in done.stderr and "photos: " in done.stderr
