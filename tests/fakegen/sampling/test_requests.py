"""What `sample --resume` refuses, so that no set mixes images of two kinds and nobody's folder is written into."""

import shutil

import pytest
from PIL import Image

import fakegen
from fakecore.errors import UserError
from fakecore.sets.imageset import read_imageset


@pytest.fixture
def begun(run, tmp_path):
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
        ({"count": 9, "image_format": "jpeg"}, "another format"),
        ({"count": 9, "image_format": "jpg"}, "Did you mean 'jpeg'"),
        ({"count": 9, "seed": -1}, "--seed is out of range (got -1; expected 0 or more)"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_what_was_made_otherwise_is_refused_in_one_line(run, begun, options, words, finished):
    if not finished:
        (begun / "imageset.json").unlink()
    before = (begun / "metadata.jsonl").read_bytes()
    with pytest.raises(UserError) as caught:
        fakegen.sample(run, begun, resume=True, **options)
    assert words in str(caught.value)
    assert (begun / "metadata.jsonl").read_bytes() == before and len(list(begun.rglob("*.*g"))) == 5


@pytest.mark.parametrize("count", [5, 6])
def test_as_many_or_more_are_gone_on_with(run, begun, count):
    fakegen.sample(run, begun, count=count, resume=True)
    assert len(read_imageset(begun).records) == count


def test_a_folder_that_is_no_set_is_not_written_into(run, tmp_path):
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


def test_a_set_that_was_killed_before_its_first_image_was_listed_is_gone_on_with(run, begun):
    for name in ("metadata.jsonl", "imageset.json"):
        (begun / name).unlink()
    fakegen.sample(run, begun, count=5, resume=True)
    assert len(read_imageset(begun).records) == 5


def test_a_damaged_list_names_its_line(run, begun):
    text = (begun / "metadata.jsonl").read_text()
    (begun / "metadata.jsonl").write_text(text.replace('"fake"', '"fkae"', 1))
    with pytest.raises(UserError, match=r"metadata\.jsonl, line 1"):
        fakegen.sample(run, begun, count=9, resume=True)


def test_a_seed_below_0_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(UserError, match="--seed is out of range"):
        fakegen.train("digits-32", out=tmp_path / "run", real="digits:3", seed=-1)
    assert not (tmp_path / "run").exists()
