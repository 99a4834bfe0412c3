import json

import numpy as np
import pytest

from fakecore.errors import UserError
from fakecore.media.pixels import read_image
from fakecore.sets.imageset import is_imageset, read_imageset


def lines(root):
    return [json.loads(line) for line in (root / "metadata.jsonl").read_text().splitlines()]


def test_written_images_are_read_back(tmp_path, write, image_at):
    write(tmp_path)
    found = read_imageset(tmp_path)
    assert len(found.records) == 20
    for item in found.records:
        pixels = read_image(found.path(item)).transpose(2, 0, 1)
        assert np.array_equal(pixels, image_at(item.label, item.index))
    assert found.labels().tolist() == [0] * 10 + [1] * 10
    assert found.splits().tolist() == ["train", "train", "train", "val", "test"] * 4
    assert found.records[0].class_ == "dog"
    assert found.records[10].epoch == 3
    assert found.records[10].latent_seed == 0


def test_the_layout_is_imagefolder(tmp_path, write):
    write(tmp_path)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    assert len(files) == 20
    assert files[0] == "test/fake/000004.png"
    assert "train/real/000000.png" in files
    for split in ("train", "val", "test"):
        for label in ("real", "fake"):
            assert (tmp_path / split / label).is_dir()


def test_torchvision_reads_a_split_and_our_labels_do_not_come_from_its_alphabet(tmp_path, write, image_at):
    from torchvision.datasets import ImageFolder

    write(tmp_path)
    folder = ImageFolder(tmp_path / "train")
    assert folder.class_to_idx == {"fake": 0, "real": 1}
    assert read_imageset(tmp_path).labels()[0] == 0
    assert len(folder) == 12
    assert np.array_equal(np.asarray(folder[0][0]).transpose(2, 0, 1), image_at("fake", 0))


def test_metadata_lines_have_the_keys_of_the_plan(tmp_path, write):
    write(tmp_path)
    real, fake = lines(tmp_path)[0], lines(tmp_path)[10]
    common = {"file_name", "label", "split", "index"}
    assert set(real) == common | {"class", "group", "source", "source_sha256"}
    assert set(fake) == common | {"run", "epoch", "checkpoint_sha256", "latent_seed"}
    assert real["label"] == "real"
    assert fake["file_name"] == "train/fake/000000.png"


def test_imageset_json_counts_and_says_how_it_was_written(tmp_path, write):
    facts = write(tmp_path)
    assert facts == json.loads((tmp_path / "imageset.json").read_text())
    assert facts["counts"] == {
        "train": {"real": 6, "fake": 6},
        "val": {"real": 2, "fake": 2},
        "test": {"real": 2, "fake": 2},
    }
    assert (facts["resolution"], facts["channels"], facts["version"]) == (8, 3, 1)
    assert facts["writer"]["format"] == "png"
    assert facts["writer"]["version"]
    assert facts["origin"] == {"run": "r"}


def test_an_unfinished_set_says_how_to_finish(tmp_path, write):
    write(tmp_path, count=900, stop_after=1)
    assert not is_imageset(tmp_path)
    with pytest.raises(UserError, match=r"unfinished.*--resume"):
        read_imageset(tmp_path)


def test_a_folder_that_is_no_set_names_the_other_way_in(tmp_path):
    with pytest.raises(UserError, match=r"not a set of images.*--real and --fake"):
        read_imageset(tmp_path)
    with pytest.raises(UserError, match="there is no folder"):
        read_imageset(tmp_path / "absent")


def test_differing_counts_are_reported_as_text(tmp_path, write):
    write(tmp_path)
    before = read_imageset(tmp_path)
    lost = before.records[0]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines(tmp_path)[1:]))
    with pytest.raises(UserError) as caught:
        read_imageset(tmp_path)
    n = before.info["counts"][lost.split][lost.label]
    assert f"{n - 1} {lost.label}" in str(caught.value) and f"{n} {lost.label}" in str(caught.value)
    assert "{" not in str(caught.value) and "Copy the set again" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["version", "resolution", "channels", "counts", "origin", "counts.val", "counts.val.real"]
)
def test_a_field_that_imageset_json_lacks_is_named(tmp_path, name, write):
    write(tmp_path)
    info = json.loads((tmp_path / "imageset.json").read_text())
    *outer, last = name.split(".")
    inner = info
    for key in outer:
        inner = inner[key]
    del inner[last]
    (tmp_path / "imageset.json").write_text(json.dumps(info))
    with pytest.raises(UserError) as caught:
        read_imageset(tmp_path)
    assert f"imageset.json: {name} is missing" in str(caught.value)


@pytest.mark.parametrize("info", ["[]", '{"version": 99}', "{"])
def test_another_version_is_refused(tmp_path, info, write):
    write(tmp_path)
    (tmp_path / "imageset.json").write_text(info)
    with pytest.raises(UserError, match=r"imageset\.json"):
        read_imageset(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"file_name": "../../etc/passwd"}, "outside the set"),
        ({"file_name": "train/../../x.png"}, "outside the set"),
        ({"file_name": "/etc/passwd"}, "outside the set"),
        ({"file_name": 3}, "outside the set"),
        ({"label": "Fake"}, "label real or fake"),
        ({"label": 1}, "label real or fake"),
        ({"label": None}, "label real or fake"),
        ({"label": ["fake"]}, "label real or fake"),
        ({"split": "validation"}, "split train, val or test"),
        ({"index": "3"}, "index cannot be used .*a whole number"),
        ({"group": ["a"]}, "group cannot be used .*a string or null"),
    ],
)
def test_an_invalid_line_is_refused_with_its_number(tmp_path, change, words, write):
    write(tmp_path)
    content = lines(tmp_path)
    content[2].update(change)
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in content))
    with pytest.raises(UserError, match=f"line 3.*{words}"):
        read_imageset(tmp_path)


@pytest.mark.parametrize("name", ["index", "label", "split", "file_name"])
def test_a_line_without_a_field_says_that_it_is_missing(tmp_path, name, write):
    write(tmp_path)
    content = lines(tmp_path)
    del content[0][name]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in content))
    with pytest.raises(UserError, match=rf"metadata\.jsonl, line 1: {name} is missing\. Copy the set again"):
        read_imageset(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"resolution": None}, "resolution is missing"),
        ({"resolution": "32"}, r'resolution cannot be used \(got "32"; expected a whole number'),
        ({"channels": 2}, r"channels cannot be used \(got 2; expected 1 or 3"),
        ({"counts": None}, "counts is missing"),
        ({"counts": {"train": 3}}, r"counts\.train cannot be used"),
        ({"origin": "a run"}, "origin cannot be used"),
        ({"version": None}, "version is missing"),
    ],
)
def test_a_damaged_description_names_the_field_and_the_remedy(tmp_path, change, says, write):
    write(tmp_path)
    facts = json.loads((tmp_path / "imageset.json").read_text()) | change
    facts = {name: value for name, value in facts.items() if value is not None}
    (tmp_path / "imageset.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match=rf"imageset\.json: {says}.*Copy the set again"):
        read_imageset(tmp_path)


def test_keys_of_other_programs_are_ignored(tmp_path, write):
    write(tmp_path)
    content = [{**line, "caption": "a dog"} for line in lines(tmp_path)]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in content))
    assert len(read_imageset(tmp_path).records) == 20


@pytest.mark.parametrize("damage", ["cut", "garbage in the middle", "missing"])
def test_a_finished_set_whose_list_lost_lines_is_refused(tmp_path, damage, write):
    write(tmp_path)
    path = tmp_path / "metadata.jsonl"
    content = path.read_bytes().splitlines(keepends=True)
    if damage == "cut":
        path.write_bytes(b"".join(content)[:-10])
    elif damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"".join([*content[:7], b"}{\n", *content[7:]]))
    with pytest.raises(UserError, match=r"real \+ .* fake.*Copy the set again" if damage != "missing" else "metadata"):
        read_imageset(tmp_path)
