"""Blends: what they change, that they can be made again, and that nothing but the content tells them from reals."""

import json
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest

from fakecore.media.pixels import is_grey
from fakecore.sets.imageset import read_imageset
from fakedetect.audits.audit import audit
from fakedetect.blends import rendering
from fakedetect.blends.blending import align_face, apply_blend, blend_mask, draw_blend
from fakedetect.blends.meshes import carry, pose
from fakedetect.blends.rendering import KINDS, train_renderers
from fakedetect.blends.views import apply_view, draw_view, filmed
from fakedetect.faces.mesh import FaceMesh

LANDMARKS = np.array([[45, 50], [83, 50], [64, 72], [50, 92], [78, 92]], float)  # in 128 pixels
STILL = replace(  # changes nothing
    draw_blend(np.random.default_rng(0)),
    **{"part": "face", "inner_changed": True, "softening": "none", "strength": 0.5, "poisson": False, "hull": False},
    **dict.fromkeys(("hue", "brightness", "red", "blue", "shift_x", "shift_y", "warp", "bend"), 0.0),
    **dict.fromkeys(("saturation", "contrast", "scale", "grow", "opacity"), 1.0),
    edge=0.03,
)


@pytest.fixture
def face(draw_face):
    image = np.full((128, 128, 3), (90, 120, 150), np.uint8)
    draw_face(image, 64, 66, 90)
    return image


@pytest.fixture(scope="module")
def photos(tmp_path_factory, draw_face):
    """24 photos of drawn faces, and one without."""
    root, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(3)
    for number in range(24):
        photo = cv2.resize(random.integers(60, 200, (6, 8, 3), np.uint8), (320, 240))
        skin = tuple(int(v) + int(random.integers(-20, 20)) for v in (210, 170, 140))
        draw_face(photo, random.uniform(120, 200), random.uniform(100, 140), random.uniform(90, 130), skin=skin)
        cv2.imwrite(str(root / f"{number:02}.jpg"), photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    cv2.imwrite(str(root / "empty.jpg"), np.full((240, 320, 3), 90, np.uint8))
    return root


@pytest.fixture(scope="module")
def made(photos, tmp_path_factory, fakelab):
    out = tmp_path_factory.mktemp("blends") / "set"
    done = fakelab("blend", "--real", photos, "--out", out, "--copies", 3, "--size", 96, "--json")
    return json.loads(done.stdout), done, out


def test_without_changes_a_blend_is_the_image_itself(face):
    assert np.array_equal(apply_blend(STILL, face, LANDMARKS), face)


@pytest.mark.parametrize(("part", "inside", "outside"), [("eyes", (50, 64), (100, 64)), ("mouth", (95, 64), (45, 64))])
def test_only_the_part_is_replaced(part, inside, outside, face):
    after = apply_blend(replace(STILL, part=part, brightness=40), face, LANDMARKS)
    assert after[inside].astype(int).sum() > face[inside].astype(int).sum() + 60
    assert np.array_equal(after[outside], face[outside])


def test_a_blend_of_a_grey_image_is_grey(face):
    grey = np.repeat(face.mean(axis=2, keepdims=True).round().astype(np.uint8), 3, axis=2)
    tinted = apply_blend(replace(STILL, red=30, blue=-30, brightness=20), grey, LANDMARKS)
    assert is_grey(tinted) and not np.array_equal(tinted, grey)
    assert is_grey(apply_blend(replace(STILL, kind="swap"), grey, LANDMARKS, face))


def test_poisson_blending_takes_the_gradients_of_the_other_face_and_the_colours_of_this_one(face):
    other = (face.astype(int) + 60).clip(0, 255).astype(np.uint8)
    other[70:76, 55:75] = 0  # a dark stripe
    mixed = apply_blend(replace(STILL, kind="swap", poisson=True), face, LANDMARKS, other).astype(int)
    plain = apply_blend(replace(STILL, kind="swap"), face, LANDMARKS, other).astype(int)
    cheek = np.s_[60:66, 50:56]
    assert np.abs(mixed[cheek] - face[cheek]).mean() < 15 < 40 < np.abs(plain[cheek] - face[cheek]).mean()
    assert mixed[73, 64].mean() < face[73, 64].mean() - 40


def test_renderers_return_faces_of_any_size_and_each_its_own(face, monkeypatch):
    monkeypatch.setattr(rendering, "_BATCH", 2)
    renderers = train_renderers([face] * 2, seed=0, steps=1)
    made = [renderer.render(face[:101, :101]) for renderer in renderers]
    assert len(made) == len(KINDS) and all(one.shape == (101, 101, 3) and one.dtype == np.uint8 for one in made)
    assert all(np.abs(one.astype(int) - face[:101, :101]).mean() > 2 for one in made)
    assert len({one.tobytes() for one in made}) == len(KINDS)
    again = train_renderers([face] * 2, seed=0, steps=1)
    assert np.array_equal(again[1].render(face), renderers[1].render(face))


def test_a_view_moves_landmarks_with_the_picture():
    image = np.zeros((140, 140, 3), np.uint8)
    points = np.array([[60, 60], [80, 60], [70, 72], [62, 84], [78, 84]], float)
    for x, y in points.astype(int):
        image[y - 1 : y + 2, x - 1 : x + 2] = 255
    view = replace(
        draw_view(np.random.default_rng(5)), turn=11, zoom=1.1, shift_x=0.04, saturation=1, brightness=0, contrast=1
    )
    shown, moved = apply_view(view, image, points, 100)
    for x, y in moved:
        assert shown[round(y), round(x)].mean() > 150
    still = replace(view, reduce=0.5, motion=0)
    assert len(filmed(still, shown, "1")) == 50
    moving = filmed(replace(view, reduce=1, motion=0.1), shown, "1")
    assert moving.max() < shown.max() and not np.array_equal(
        moving, filmed(replace(view, reduce=1, motion=0.1), shown, "2")
    )


@pytest.fixture
def mesh(face):
    return FaceMesh().fit(face, LANDMARKS)


def test_a_mesh_is_carried_with_its_picture(face, mesh):
    assert np.abs(carry(face, mesh, mesh, 128).astype(int) - face).max() <= 1
    opened = pose(mesh, 0, 0, 0.2)
    moved = carry(face, mesh, opened, 128, still=True)
    assert np.array_equal(moved[:6], face[:6])  # the surroundings stand still
    lips = round(float(mesh[17, 1])), round(float(opened[17, 1]))
    assert lips[1] > lips[0] + 4 and np.abs(moved[lips[1], 64].astype(int) - face[lips[0], 64]).max() < 30
    wider = carry(face, mesh, mesh * 1.2 - 12, 160)
    assert np.abs(wider[round(64 * 1.2 - 12), 40].astype(int) - face[64, round((40 + 12) / 1.2)]).max() < 30


def test_a_turned_mesh_narrows_on_one_side(mesh):
    turned = pose(mesh, 25, 0, 0)
    left, right = (abs(turned[side, 0] - turned[1, 0]) for side in (234, 454))
    assert max(left, right) > 1.4 * min(left, right)
    assert np.allclose(turned.mean(axis=0), mesh.mean(axis=0), atol=1e-3)


@pytest.mark.parametrize("part", ["face", "inner", "eyes", "mouth", "lower"])
def test_the_hull_of_a_part_lies_on_it(part, mesh):
    mask = blend_mask(replace(STILL, part=part, hull=True, edge=0.0), LANDMARKS, 128, mesh)
    shares = {"face": 0.3, "inner": 0.25, "eyes": 0.07, "mouth": 0.02, "lower": 0.08}
    assert 0.5 * shares[part] < mask.mean() < 2 * shares[part]
    at = {"eyes": (50, 45), "mouth": (92, 64), "lower": (100, 64)}.get(part, (72, 64))
    assert mask[at] == 1 and mask[:10].max() == 0


@pytest.mark.parametrize("part", ["face", "eyes", "mouth"])
def test_masks_lie_on_the_face_and_are_soft(part):
    random = np.random.default_rng(1)
    for _ in range(20):
        mask = blend_mask(replace(draw_blend(random), part=part, edge=0.02), LANDMARKS, 128)
        assert mask.min() >= 0 and 0.5 < mask.max() <= 1 and mask[:4].max() < 0.05
        assert ((mask > 0.05) & (mask < 0.95)).mean() > 0.005
        assert 0.02 < (mask > 0.5).mean() < 0.6


def test_a_turned_face_is_aligned(face):
    turn = cv2.getRotationMatrix2D((64, 64), 25, 0.8)
    turned = cv2.warpAffine(face, turn, (128, 128))
    theirs = cv2.transform(LANDMARKS[None].astype(np.float32), turn)[0]
    back = align_face(turned, theirs, LANDMARKS, 128)
    assert np.abs(back[40:100, 40:90].astype(int) - face[40:100, 40:90]).mean() < 8


def test_the_set_pairs_each_face_with_its_blends_in_one_split(made, photos):
    facts, done, out = made
    found = read_imageset(out)
    reals, fakes = ([r for r in found.records if r.label == label] for label in ("real", "fake"))
    assert len(reals) >= 60 and len(fakes) == len(reals) and found.info["resolution"] == 96
    for fake in fakes:
        real = reals[fake.index]
        assert fake.split == real.split and fake.group == real.group
    assert done.returncode == 1 and [line["status"] for line in facts["unused"]].count("no_face") >= 1
    lines = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
    fakes = [line for line in lines if line["label"] == "fake"]
    kinds = Counter(line["kind"] for line in fakes)
    assert set(kinds) == {"self", "swap", "fit", "animate"}  # the others need --render and --generated
    assert all(("donor" in line) == (line["kind"] in ("swap", "fit")) for line in fakes)
    assert {line["part"] for line in fakes} == {"face", "inner", "eyes", "mouth", "lower"}
    assert set(STILL.to_json()) <= set(fakes[0])
    by_index = {line["index"]: line for line in lines if line["label"] == "real"}
    assert all(line["view_turn"] == by_index[line["index"]]["view_turn"] for line in fakes)


def test_the_same_seed_makes_the_same_set_and_another_does_not(made, photos, tmp_path, fakelab):
    _, _, out = made
    for name, seed in (("same", 0), ("other", 1)):
        words = ("--copies", 3, "--size", 96, "--seed", seed, "--out", tmp_path / name)
        assert fakelab("blend", "--real", photos, *words).returncode == 1  # one photo has no face

    def files(root):
        return {p.relative_to(root): p.read_bytes() for p in sorted(root.rglob("*.png"))}

    assert files(tmp_path / "same") == files(out) != files(tmp_path / "other")


def test_no_leak_tells_blends_from_reals(made):
    _, _, out = made
    found = audit(out)
    assert not found.leaks, [leak.text for leak in found.leaks]


def test_the_fakes_of_a_set_are_pasted_and_shown_whole(made, photos, tmp_path, fakelab):
    words = ("--generated", made[2], "--copies", 2, "--size", 64, "--out", tmp_path / "set")
    done = fakelab("blend", "--real", photos, *words)
    assert done.returncode == 1, done.stderr  # one photo has no face
    lines = [json.loads(line) for line in (tmp_path / "set/metadata.jsonl").read_text().splitlines()]
    made_of = [line for line in lines if line.get("kind") == "generated"]
    assert made_of and all("/fake/" in line["donor"] for line in made_of)
    assert {"whole"} < {line["part"] for line in made_of}


def test_a_detector_of_blends_is_one_of_faces(made, tmp_path, fakelab):
    _, _, out = made
    done = fakelab("detect-train", out, "--model", "dct", "--out", tmp_path / "det")
    assert done.returncode == 0, done.stderr
    cut = json.loads((tmp_path / "det/detector.json").read_text())["preprocessing"]["faces"]
    assert cut == {"margin": 0.2, "align": False}


@pytest.mark.parametrize(
    ("words", "says"), [(("--copies", 0), "--copies is out of range"), (("--size", 4), "--size cannot be used")]
)
def test_a_wrong_request_is_one_line(words, says, photos, tmp_path, fakelab):
    done = fakelab("blend", "--real", photos, "--out", tmp_path / "x", *words)
    assert done.returncode == 2 and says in done.stderr and not (tmp_path / "x").exists()
