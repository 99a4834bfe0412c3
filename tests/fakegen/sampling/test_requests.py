"""`sample --resume` refuses to mix images of different settings, and to write into other folders."""

import shutil

import pytest
from PIL import Image

import fakegen
from fakecore.errors import UserError
from fakecore.sets.imageset import read_imageset


@pytest.fixture
def existing(run, tmp_path):
    """A set of five fakes."""
    fakegen.sample(run, tmp_path / "set", count=5)
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"count": 4},
            "holds 5 images already, and existing images are never deleted (got --count 4; expected 5 or more)",
        ),
        ({"count": 9, "seed": 77}, "seed: 1 -> 77"),
        ({"count": 9, "epoch": 1}, "epoch: 2 -> 1"),
        ({"count": 9, "truncation": 0.5}, "truncation: 1.0 -> 0.5"),
        ({"count": 9, "image_format": "jpeg"}, "another format"),
        ({"count": 9, "image_format": "jpg"}, "Did you mean 'jpeg'"),
        ({"count": 9, "seed": -1}, "--seed is out of range (got -1; expected 0 or more)"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_other_settings_are_refused_in_one_line(run, existing, options, words, finished):
    if not finished:
        (existing / "imageset.json").unlink()
    before = (existing / "metadata.jsonl").read_bytes()
    with pytest.raises(UserError) as caught:
        fakegen.sample(run, existing, resume=True, **options)
    assert words in str(caught.value)
    assert (existing / "metadata.jsonl").read_bytes() == before and len(list(existing.rglob("*.*g"))) == 5


@pytest.mark.parametrize("count", [5, 6])
def test_a_set_is_resumed_with_the_same_or_a_larger_count(run, existing, count):
    fakegen.sample(run, existing, count=count, resume=True)
    assert len(read_imageset(existing).records) == count


def test_a_folder_without_a_set_is_not_written_into(run, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (9, 9)).save(photos / "a.png")
    with pytest.raises(UserError, match="no set that can be resumed"):
        fakegen.sample(run, photos, count=3, resume=True)
    assert [path.name for path in photos.iterdir()] == ["a.png"]


def test_the_matched_set_of_a_run_is_not_added_to(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    with pytest.raises(UserError, match="contains real images"):
        fakegen.sample(copy, copy / "set", count=900, seed=0, resume=True)


def test_a_set_without_a_listed_image_is_resumed(run, existing):
    for name in ("metadata.jsonl", "imageset.json"):
        (existing / name).unlink()
    fakegen.sample(run, existing, count=5, resume=True)
    assert len(read_imageset(existing).records) == 5


def test_a_damaged_manifest_line_is_named(run, existing):
    text = (existing / "metadata.jsonl").read_text()
    (existing / "metadata.jsonl").write_text(text.replace('"fake"', '"fkae"', 1))
    with pytest.raises(UserError, match=r"metadata\.jsonl, line 1"):
        fakegen.sample(run, existing, count=9, resume=True)


def test_a_seed_below_0_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(UserError, match="--seed is out of range"):
        fakegen.train("digits-32", out=tmp_path / "run", real="digits:3", seed=-1)
    assert not (tmp_path / "run").exists()
