import hashlib
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from fakecore.errors import UserError
from fakecore.media.pixels import decode_image, encode_png
from fakecore.sets.imageset import in_shard, is_imageset, read_imageset
from fakecore.sets.setwriter import ImageSetWriter
from fakecore.sets.units import FORMATS, SHARD, Wanted


def lines(root):
    return [json.loads(line) for line in (root / "metadata.jsonl").read_text().splitlines()]


def files_of(root):
    """{path: sha256}, hidden ones too."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_jpeg_sets_say_their_quality(tmp_path, write):
    facts = write(tmp_path, image_format="jpeg")
    assert facts["writer"]["quality"] == 95
    with Image.open(tmp_path / "train/real/000000.jpg") as image:
        assert image.format == "JPEG"


def test_grey_sets_are_grey_files(tmp_path, write, image_at):
    write(tmp_path, channels=1)
    with Image.open(tmp_path / "train/fake/000000.png") as image:
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image), image_at("fake", 0, 1)[0])


def test_an_unknown_format_is_named(tmp_path, write):
    with pytest.raises(UserError, match=r"'jpg'.*png, jpeg, webdataset"):
        write(tmp_path, image_format="jpg")


def test_the_manifest_alternates_reals_and_fakes_each_in_order(tmp_path, write):
    write(tmp_path, count=150)
    listed = lines(tmp_path)
    assert [line["label"] for line in listed[::64]] == ["real", "fake", "real", "fake", "real"]
    for label in ("real", "fake"):
        assert [line["index"] for line in listed if line["label"] == label] == list(range(150))


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webdataset"])
@pytest.mark.parametrize("damage", ["none", "cut line", "half a shard", "unlisted files"])
def test_a_writer_resumes_after_a_stop_with_the_same_set(tmp_path, write, image_format, damage):
    count = 2 * SHARD + 100 if image_format == "webdataset" else 300
    write(tmp_path / "straight", count, image_format=image_format)
    root = tmp_path / "resumed"
    write(root, count, image_format=image_format, stop_after=1)
    assert not (root / "imageset.json").exists() and 0 < len(lines(root)) < 2 * count
    if damage == "cut line":
        with (root / "metadata.jsonl").open("rb+") as file:
            file.truncate(file.seek(0, 2) - 5)
    elif damage == "half a shard":
        (root / ".parts").mkdir(exist_ok=True)
        (root / ".parts" / "train-fake-000001.tar").write_bytes(b"cut short")
    elif damage == "unlisted files":
        name = lines(tmp_path / "straight")[-2]["file_name"]
        (root / in_shard(name)[0]).write_bytes(b"half an image")
    write(root, count, image_format=image_format)
    assert files_of(root) == files_of(tmp_path / "straight")


@pytest.mark.parametrize("image_format", ["png", "webdataset"])
def test_a_finished_set_can_grow_and_equals_one_written_at_once(tmp_path, write, image_format):
    write(tmp_path / "straight", 1500, labels=["fake"], image_format=image_format)
    root = tmp_path / "grown"
    for count in (3, 1100, 1500):
        write(root, count, labels=["fake"], image_format=image_format)
        assert len(read_imageset(root).records) == count
    assert files_of(root) == files_of(tmp_path / "straight")


def test_a_set_that_is_being_added_to_is_not_complete(tmp_path, write):
    write(tmp_path, 100, labels=["fake"])
    write(tmp_path, 1000, labels=["fake"], stop_after=200)
    assert not is_imageset(tmp_path)


def test_a_larger_set_is_not_changed(tmp_path, write):
    write(tmp_path, 100, labels=["fake"])
    before = files_of(tmp_path)
    for count in (1, 64, 99):
        with pytest.raises(UserError, match="existing images are never deleted"):
            write(tmp_path, count, labels=["fake"])
    assert files_of(tmp_path) == before and is_imageset(tmp_path)


def test_a_set_of_other_images_is_not_changed(tmp_path, write):
    write(tmp_path, 100)
    before = files_of(tmp_path)
    with pytest.raises(UserError, match=r"holds other images.*real 0 in the place of fake 0"):
        write(tmp_path, 100, labels=["fake"])
    assert files_of(tmp_path) == before


def test_another_format_is_refused_and_nothing_is_changed(tmp_path, write):
    write(tmp_path, 100, labels=["fake"])
    before = files_of(tmp_path)
    for other in ("jpeg", "webdataset"):
        with pytest.raises(UserError, match=r"another format.*--format"):
            write(tmp_path, 200, labels=["fake"], image_format=other)
    assert files_of(tmp_path) == before


def test_a_unit_is_listed_only_after_its_files_are_written(tmp_path, wanted):
    writer = ImageSetWriter(tmp_path, {"fake": wanted("fake", 130)}, resolution=8, channels=3)
    (tmp_path / "train/fake/000127.png").mkdir()
    with pytest.raises(IsADirectoryError):
        list(writer.write())
    writer.close()
    assert [line["index"] for line in lines(tmp_path)] == list(range(64))
    assert not is_imageset(tmp_path)


def test_an_error_while_making_pixels_reaches_the_caller_and_lists_nothing(tmp_path, wanted):
    def pixels(indices):
        raise FloatingPointError("the generator gave NaN")

    writer = ImageSetWriter(tmp_path, {"fake": wanted("fake", 1, pixels=pixels)}, resolution=8, channels=3)
    with pytest.raises(FloatingPointError):
        list(writer.write())
    writer.close()
    assert not list(tmp_path.rglob("*.png"))
    assert not is_imageset(tmp_path)


def test_fewer_pixels_than_records_are_an_error(tmp_path, wanted, image_at):
    images = {"fake": wanted("fake", 2, pixels=lambda indices: image_at("fake", 0)[None])}
    writer = ImageSetWriter(tmp_path, images, resolution=8, channels=3)
    with pytest.raises(ValueError, match="shorter"):
        list(writer.write())
    writer.close()


def test_a_shard_contains_a_span_of_indices_up_to_its_limit(tmp_path, write):
    write(tmp_path, 2 * SHARD + 10, labels=["fake"], image_format="webdataset")
    shards = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.tar"))
    assert shards[:3] == ["test/fake-000000.tar", "test/fake-000001.tar", "test/fake-000002.tar"]
    assert len(shards) == 9 and not list(tmp_path.rglob("*.png"))
    for number in range(3):
        indices = []
        for split in ("train", "val", "test"):
            with tarfile.open(tmp_path / split / f"fake-{number:06d}.tar") as tar:
                names = tar.getnames()
            assert names[0::2] == [name.replace(".json", ".png") for name in names[1::2]]
            indices += [int(name[5:11]) for name in names[0::2]]
        assert sorted(indices) == list(range(number * SHARD, min((number + 1) * SHARD, 2 * SHARD + 10)))


def test_a_shard_has_no_times_or_owners_and_its_json_is_the_manifest_line(tmp_path, write, image_at):
    write(tmp_path, 10, image_format="webdataset")
    by_name = {line["file_name"]: line for line in lines(tmp_path)}
    with tarfile.open(tmp_path / "train" / "real-000000.tar") as tar:
        for member in tar:
            assert (member.mtime, member.uid, member.gid, member.uname, member.mode) == (0, 0, 0, "", 0o644)
            data = tar.extractfile(member).read()
            name = f"train/real-000000.tar/{member.name}"
            if member.name.endswith(".json"):
                assert json.loads(data) == by_name[name.replace(".json", ".png")]
            else:
                assert data == encode_png(image_at("real", by_name[name]["index"]), "real")


def test_tar_reads_a_complete_shard(tmp_path, write):
    import subprocess

    write(tmp_path, 10, image_format="webdataset")
    shard = tmp_path / "train" / "fake-000000.tar"
    assert shard.stat().st_size % 10240 == 0
    listed = subprocess.run(["tar", "-tf", shard], capture_output=True, text=True, check=True)
    assert listed.stdout.split()[:2] == ["fake-000000.png", "fake-000000.json"] and not listed.stderr


def test_a_set_in_shards_is_read_back_image_by_image(tmp_path, write, image_at):
    write(tmp_path, 1100, image_format="webdataset")
    found = read_imageset(tmp_path)
    for record in found.records[::97]:
        pixels = decode_image(found.read(record)).transpose(2, 0, 1)
        assert np.array_equal(pixels, image_at(record.label, record.index))
    assert len(found.records) == 2200


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_a_damaged_shard_loses_only_its_own_images_and_is_reported(tmp_path, write, damage):
    from fakecore.media.pixels import ImageError

    write(tmp_path, 10, image_format="webdataset")
    shard = tmp_path / "train" / "fake-000000.tar"
    whole = read_imageset(tmp_path).stamp()
    if damage == "missing":
        shard.unlink()
    elif damage == "cut":
        shard.write_bytes(shard.read_bytes()[:700])
    else:
        shard.write_bytes((tmp_path / "val" / "fake-000000.tar").read_bytes())
    found = read_imageset(tmp_path)
    assert found.stamp() != whole
    record = next(record for record in found.records if (record.label, record.index) == ("fake", 1))
    with pytest.raises(ImageError, match=r"fake-000000\.tar"):
        found.read(record)


def test_memory_does_not_grow_with_the_manifest(tmp_path):
    """A million records must not be held at once: neither when resuming nor when finishing."""
    import tracemalloc

    from fakecore.sets.imageset import ImageRecord

    count = 20_000
    more = {"run": "r", "epoch": 1, "checkpoint_sha256": "f" * 64, "latent_seed": 0}

    def records(indices, file_name):
        return [ImageRecord(file_name("train", "fake", i), "fake", "train", i, **more) for i in indices]

    wanted = Wanted(count, records, lambda indices: np.zeros((len(indices), 1, 8, 8), np.uint8))
    manifest = tmp_path / "metadata.jsonl"
    writer = ImageSetWriter(tmp_path, {"fake": wanted}, resolution=8, channels=1)
    with manifest.open("w") as file:
        for record in records(range(count - 64), FORMATS["png"].file_name):
            file.write(json.dumps(record.to_json()) + "\n")
    writer.close()
    tracemalloc.start()
    writer = ImageSetWriter(tmp_path, {"fake": wanted}, resolution=8, channels=1)
    assert writer.done == (count - 64) // 64 * 64
    list(writer.write())
    writer.finish(origin={})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert manifest.stat().st_size > 4_000_000 and peak < 1_500_000
