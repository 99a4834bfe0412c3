import json

import numpy as np
import pytest
from PIL import Image

from fakecore.errors import UserError
from fakecore.imageset import ImageRecord, ImageSetWriter, is_imageset, read_imageset
from fakecore.pixels import read_image

SPLIT_OF = ["train", "train", "train", "val", "test"]


def picture(label, index, channels=3):
    seed = index + (1000 if label == "fake" else 0)
    return np.random.default_rng(seed).integers(0, 256, (channels, 8, 8), dtype=np.uint8)


def record(writer, label, index):
    split = SPLIT_OF[index % len(SPLIT_OF)]
    more = {"class_": "dog", "group": "ann", "source": "a b.png", "source_sha256": "00"} if label == "real" else {}
    more = more or {"run": "r", "epoch": 3, "checkpoint_sha256": "ff", "latent_seed": 0}
    return ImageRecord(writer.file_name(split, label, index), label, split, index, **more)


def add(writer, label, indices, channels=3):
    records = [record(writer, label, i) for i in indices]
    writer.add(records, lambda: np.stack([picture(label, i, channels) for i in indices]))


def write(root, indices=range(10), labels=("real", "fake"), finish=True, channels=3, **options):
    writer = ImageSetWriter(root, resolution=8, channels=channels, **options)
    for label in labels:
        add(writer, label, indices, channels)
    if not finish:
        writer.flush()
        writer.close()
        return writer
    return writer.finish(origin={"run": "r"})


def lines(root):
    return [json.loads(line) for line in (root / "metadata.jsonl").read_text().splitlines()]


def test_what_is_written_is_read_back(tmp_path):
    write(tmp_path)
    found = read_imageset(tmp_path)
    assert len(found.records) == 20
    for item in found.records:
        pixels = read_image(found.path(item)).transpose(2, 0, 1)
        assert np.array_equal(pixels, picture(item.label, item.index))
    assert found.labels().tolist() == [0] * 10 + [1] * 10
    assert found.splits().tolist() == SPLIT_OF * 4
    assert found.records[0].class_ == "dog"
    assert found.records[10].epoch == 3
    assert found.records[10].latent_seed == 0


def test_the_layout_is_the_one_the_field_reads(tmp_path):
    write(tmp_path)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    assert len(files) == 20
    assert files[0] == "test/fake/000004.png"
    assert "train/real/000000.png" in files
    for split in ("train", "val", "test"):
        for label in ("real", "fake"):
            assert (tmp_path / split / label).is_dir()


def test_torchvision_reads_a_split_and_our_labels_do_not_come_from_its_alphabet(tmp_path):
    from torchvision.datasets import ImageFolder

    write(tmp_path)
    folder = ImageFolder(tmp_path / "train")
    assert folder.class_to_idx == {"fake": 0, "real": 1}
    assert read_imageset(tmp_path).labels()[0] == 0
    assert len(folder) == 12
    assert np.array_equal(np.asarray(folder[0][0]).transpose(2, 0, 1), picture("fake", 0))


def test_metadata_lines_have_the_keys_of_the_plan(tmp_path):
    write(tmp_path)
    real, fake = lines(tmp_path)[0], lines(tmp_path)[10]
    common = {"file_name", "label", "split", "index"}
    assert set(real) == common | {"class", "group", "source", "source_sha256"}
    assert set(fake) == common | {"run", "epoch", "checkpoint_sha256", "latent_seed"}
    assert real["label"] == "real"
    assert fake["file_name"] == "train/fake/000000.png"


def test_imageset_json_counts_and_says_how_it_was_written(tmp_path):
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


def test_jpeg_sets_say_their_quality(tmp_path):
    facts = write(tmp_path, image_format="jpeg")
    assert facts["writer"]["quality"] == 95
    with Image.open(tmp_path / "train/real/000000.jpg") as image:
        assert image.format == "JPEG"


def test_grey_sets_are_grey_files(tmp_path):
    write(tmp_path, channels=1)
    with Image.open(tmp_path / "train/fake/000000.png") as image:
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image), picture("fake", 0, 1)[0])


def test_an_unknown_format_is_named(tmp_path):
    with pytest.raises(UserError, match=r"'jpg'.*png, jpeg"):
        ImageSetWriter(tmp_path, resolution=8, channels=3, image_format="jpg")


def test_a_writer_goes_on_after_a_cut_line_and_the_set_is_the_same(tmp_path):
    write(tmp_path / "straight", labels=["fake"])
    root = tmp_path / "resumed"
    write(root, indices=range(6), labels=["fake"], finish=False)
    with (root / "metadata.jsonl").open("rb+") as file:
        file.truncate((root / "metadata.jsonl").stat().st_size - 5)
    writer = ImageSetWriter(root, resolution=8, channels=3)
    assert writer.done == {"real": 0, "fake": 5}
    add(writer, "fake", range(writer.done["fake"], 10))
    writer.finish(origin={"run": "r"})
    assert lines(root) == lines(tmp_path / "straight")
    for path in (tmp_path / "straight").rglob("*"):
        if path.is_file():
            assert (root / path.relative_to(tmp_path / "straight")).read_bytes() == path.read_bytes()


def test_lines_keep_the_order_of_adding_over_many_batches(tmp_path):
    writer = ImageSetWriter(tmp_path, resolution=8, channels=3)
    for index in range(30):
        add(writer, "fake", [index])
    writer.finish(origin={})
    assert [line["index"] for line in lines(tmp_path)] == list(range(30))


def test_a_line_is_only_written_once_its_file_is(tmp_path):
    writer = ImageSetWriter(tmp_path, resolution=8, channels=3)
    (tmp_path / "train/fake/000001.png").mkdir()
    add(writer, "fake", [0])
    add(writer, "fake", [1])
    with pytest.raises(IsADirectoryError):
        writer.finish(origin={})
    writer.close()
    assert [line["index"] for line in lines(tmp_path)] == [0]
    assert not is_imageset(tmp_path)


def test_an_error_while_making_pixels_reaches_the_caller_and_lists_nothing(tmp_path):
    def make():
        raise FloatingPointError("the generator gave NaN")

    writer = ImageSetWriter(tmp_path, resolution=8, channels=3)
    writer.add([record(writer, "fake", 0)], make)
    with pytest.raises(FloatingPointError):
        writer.finish(origin={})
    writer.close()
    assert not list(tmp_path.rglob("*.png"))
    assert not is_imageset(tmp_path)


def test_fewer_pixels_than_records_are_an_error(tmp_path):
    writer = ImageSetWriter(tmp_path, resolution=8, channels=3)
    writer.add([record(writer, "fake", i) for i in range(2)], lambda: picture("fake", 0)[None])
    with pytest.raises(ValueError, match="shorter"):
        writer.finish(origin={})
    writer.close()


def test_an_unfinished_set_says_how_to_finish(tmp_path):
    write(tmp_path, finish=False)
    assert not is_imageset(tmp_path)
    with pytest.raises(UserError, match=r"unfinished.*--resume"):
        read_imageset(tmp_path)


def test_a_folder_that_is_no_set_names_the_other_way_in(tmp_path):
    with pytest.raises(UserError, match=r"not a set of images.*--real DIR --fake DIR"):
        read_imageset(tmp_path)
    with pytest.raises(UserError, match="there is no folder"):
        read_imageset(tmp_path / "absent")


@pytest.mark.parametrize("info", ["[]", '{"version": 99}', "{"])
def test_another_version_is_refused(tmp_path, info):
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
        ({"group": ["a"]}, "group cannot be used .*a text or null"),
    ],
)
def test_a_line_that_cannot_be_trusted_is_refused_by_number(tmp_path, change, words):
    write(tmp_path)
    content = lines(tmp_path)
    content[2].update(change)
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in content))
    with pytest.raises(UserError, match=f"line 3.*{words}"):
        read_imageset(tmp_path)


@pytest.mark.parametrize("name", ["index", "label", "split", "file_name"])
def test_a_line_without_a_field_says_that_it_is_missing(tmp_path, name):
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
def test_a_damaged_description_names_the_field_and_the_remedy(tmp_path, change, says):
    write(tmp_path)
    facts = json.loads((tmp_path / "imageset.json").read_text()) | change
    facts = {name: value for name, value in facts.items() if value is not None}
    (tmp_path / "imageset.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match=rf"imageset\.json: {says}.*Copy the set again"):
        read_imageset(tmp_path)


def test_keys_of_other_programs_are_passed_over(tmp_path):
    write(tmp_path)
    content = [{**line, "caption": "a dog"} for line in lines(tmp_path)]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in content))
    assert len(read_imageset(tmp_path).records) == 20


@pytest.mark.parametrize("damage", ["cut", "garbage in the middle", "missing"])
def test_a_finished_set_whose_list_lost_lines_is_refused(tmp_path, damage):
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
