"""`verify` detects every change of a set, and reports nothing else."""

import json
import shutil

import numpy as np
import pytest

import fakegen
from fakecore.errors import UserError
from fakecore.media.pixels import decode_image, encode_jpeg, encode_png, read_image
from fakecore.sets.imageset import read_imageset
from fakecore.sets.shards import member_places

FORMATS = ("png", "jpeg", "webdataset")


@pytest.fixture(scope="module")
def made(run, tmp_path_factory):
    """A set of 200 fakes of each format beside a copy of the run: {format: set}."""
    home = tmp_path_factory.mktemp("made")
    shutil.copytree(run, home / run.name)
    for image_format in FORMATS:
        fakegen.sample(home / run.name, home / image_format, count=200, image_format=image_format, device="cpu")
    return {image_format: home / image_format for image_format in FORMATS}


@pytest.fixture
def copy(made, tmp_path, run):
    """A copy of a set that a test may damage, with the run beside it: copy("png")."""

    def make(image_format):
        shutil.copytree(run, tmp_path / run.name)
        return shutil.copytree(made[image_format], tmp_path / image_format)

    return make


def change(root, record):
    """Change one value of one pixel of an image on disk by one, and nothing else."""
    found = read_imageset(root)
    data = found.read(record)
    pixels = decode_image(data).transpose(2, 0, 1)[:1].copy()
    pixels[0, 3, 4] ^= 1
    encode = encode_jpeg if data[:2] == b"\xff\xd8" else encode_png
    new = encode(pixels, "fake")
    path = found.path(record)
    if path.suffix != ".tar":
        path.write_bytes(new)
        return
    offset, size = member_places(path)[record.file_name.rpartition("/")[2]]
    with path.open("rb+") as file:
        file.seek(offset + size - 30)  # within the compressed pixels of the PNG
        byte = file.read(1)
        file.seek(offset + size - 30)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("image_format", FORMATS)
def test_an_unchanged_set_is_verified(made, image_format):
    found = fakegen.verify(made[image_format], count=50)
    assert found.as_made and found.checked == 50 and not found.notes
    assert fakegen.verify(made[image_format], count=10_000).checked == 200


def test_a_truncated_set_records_its_truncation_and_is_verified(run, tmp_path):
    fakegen.sample(run, tmp_path / "set", count=40, truncation=0.5)
    assert fakegen.verify(tmp_path / "set", run=run, count=40).as_made
    plain = fakegen.load_generator(run / "checkpoints" / "epoch-0002").batch(1, range(40))
    made = read_imageset(tmp_path / "set")
    images = np.stack([read_image(made.path(record))[..., 0] for record in made.records])
    assert images.std(axis=0).mean() < 0.8 * plain.std(axis=0).mean()
    lines = (tmp_path / "set" / "metadata.jsonl").read_text().replace('"truncation": 0.5', '"truncation": 1.5')
    (tmp_path / "set" / "metadata.jsonl").write_text(lines)
    assert len(fakegen.verify(tmp_path / "set", run=run, count=40).different) == 40


def test_a_generator_that_uses_directions_alone_refuses_truncation(run):
    generator = fakegen.load_generator(run / "checkpoints" / "epoch-0002")
    generator.facts["architecture"] = "projected"
    with pytest.raises(UserError, match="--truncation has no effect on this generator"):
        generator.truncated(0.7)
    assert generator.truncated(1.0).truncation == 1.0


def test_a_run_can_be_given_for_its_set(run):
    found = fakegen.verify(run, count=1000)
    assert found.as_made and found.checked == 150


@pytest.mark.parametrize("image_format", FORMATS)
def test_only_the_changed_image_is_named(copy, image_format):
    root = copy(image_format)
    victim = read_imageset(root).records[77]
    change(root, victim)
    found = fakegen.verify(root, count=200)
    assert [line["file_name"] for line in found.different] == [victim.file_name]
    assert not found.as_made and found.checked == 200


def test_two_swapped_images_are_both_named(copy):
    root = copy("png")
    records = [record for record in read_imageset(root).records if record.split == "train"]
    one, other = (root / record.file_name for record in (records[3], records[50]))
    content = one.read_bytes(), other.read_bytes()
    one.write_bytes(content[1])
    other.write_bytes(content[0])
    names = {line["file_name"] for line in fakegen.verify(root, count=200).different}
    assert names == {records[3].file_name, records[50].file_name}


@pytest.mark.parametrize("damage", ["empty", "text", "larger"])
def test_a_damaged_file_is_named(copy, damage):
    root = copy("png")
    victim = read_imageset(root).records[0]
    larger = encode_png(np.zeros((1, 20, 20), np.uint8), "fake")
    (root / victim.file_name).write_bytes({"empty": b"", "text": b"hello", "larger": larger}[damage])
    (line,) = fakegen.verify(root, count=200).different
    assert line["file_name"] == victim.file_name
    assert {"empty": "unreadable", "text": "unsupported", "larger": "20x20"}[damage] in line["reason"]


def test_missing_and_surplus_files_are_found_in_any_sample(copy):
    root = copy("png")
    gone = read_imageset(root).records[199]
    (root / gone.file_name).unlink()
    (root / "val" / "fake" / "999999.png").write_bytes(b"")
    found = fakegen.verify(root, count=1)
    assert (found.missing, found.surplus) == ([gone.file_name], ["val/fake/999999.png"])
    assert not found.as_made


def test_a_missing_shard_is_all_its_images_missing(copy):
    root = copy("webdataset")
    (root / "test" / "fake-000000.tar").unlink()
    (root / "test" / "fake-000007.tar").write_bytes(b"")
    found = fakegen.verify(root, count=200)
    assert len(found.missing) == 20 and found.checked == 180 and not found.different
    assert found.surplus == ["test/fake-000007.tar"]


def test_the_sample_follows_its_seed(copy):
    root = copy("png")
    for record in read_imageset(root).records[::2]:
        change(root, record)
    drawn = [[line["file_name"] for line in fakegen.verify(root, count=40, seed=s).different] for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_an_altered_manifest_is_detected(copy):
    """Another latent seed in the manifest is reported like changed pixels."""
    root = copy("png")
    lines = (root / "metadata.jsonl").read_text().replace('"latent_seed": 1', '"latent_seed": 2')
    (root / "metadata.jsonl").write_text(lines)
    assert len(fakegen.verify(root, count=20).different) == 20


def test_the_classes_of_a_conditional_run_are_verified(tmp_path):
    small = {"resolution": 16, "g_width": 8, "d_width": 8, "batch": 8, "steps": 2, "upscale": True, "measure_every": 0}
    made = fakegen.train("conditional-32", out=tmp_path / "run", real="digits", changes=small, count=90, device="cpu")
    fakegen.sample(made.run, tmp_path / "threes", count=90, only="3")
    for place in (made.run, tmp_path / "threes"):
        assert fakegen.verify(place, count=90).as_made
    lines = (tmp_path / "threes" / "metadata.jsonl").read_text().replace('"class": "3"', '"class": "5"', 1)
    (tmp_path / "threes" / "metadata.jsonl").write_text(lines)
    (line,) = fakegen.verify(tmp_path / "threes", count=90).different
    assert line["reason"] == "its class is 3, not 5"


def test_other_versions_and_devices_give_notes_not_failures(copy):
    root = copy("png")
    info = json.loads((root / "imageset.json").read_text())
    info["versions"]["torch"], info["origin"]["device"] = "1.0", "cuda, NVIDIA H200"
    (root / "imageset.json").write_text(json.dumps(info))
    found = fakegen.verify(root, count=5, device="cpu")
    assert found.as_made
    assert any("made with torch 1.0" in note for note in found.notes)
    assert any("made on cuda, NVIDIA H200" in note and "here is" not in note for note in found.notes)


def test_the_run_is_found_near_the_set_or_given(made, run, tmp_path):
    root = shutil.copytree(made["png"], tmp_path / "far" / "away" / "png")
    with pytest.raises(UserError, match=rf"epoch 2 of the run {run.name}.*Use --run RUN"):
        fakegen.verify(root)
    assert fakegen.verify(root, run=run, count=3).as_made
    with pytest.raises(UserError, match="no run in"):
        fakegen.verify(root, run=tmp_path / "nowhere")
    shutil.copytree(run, tmp_path / "far" / run.name)
    assert fakegen.verify(root, count=3).run == tmp_path / "far" / run.name


def test_a_checkpoint_of_another_training_is_refused(made, run, tiny, tmp_path):
    root = shutil.copytree(made["png"], tmp_path / "png")
    other = {**tiny, "epochs": 2}
    fakegen.train("digits-32", out=tmp_path / run.name, real="digits:3", changes=other, count=3, seed=9, device="cpu")
    with pytest.raises(UserError, match="was not found"):
        fakegen.verify(root)


def test_a_folder_without_a_set_of_fakes_is_refused(tmp_path, made):
    with pytest.raises(UserError, match="not a set"):
        fakegen.verify(tmp_path)
    with pytest.raises(UserError, match="1 or more"):
        fakegen.verify(made["png"], count=0)
    (tmp_path / "metadata.jsonl").write_text("")
    info = json.loads((made["png"] / "imageset.json").read_text())
    info["counts"] = {split: {"real": 0, "fake": 0} for split in ("train", "val", "test")}
    (tmp_path / "imageset.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match="contains no fakes"):
        fakegen.verify(tmp_path)


def test_the_exit_code_reports_the_result(copy, fakelab):
    root = copy("jpeg")
    good = fakelab("verify", root, "--count", 20)
    assert good.returncode == 0 and "20 of 20 regenerated fakes are identical" in good.stdout
    victim = read_imageset(root).records[0]
    change(root, victim)
    bad = fakelab("verify", root, "--count", 200)
    assert bad.returncode == 1 and "199 of 200" in bad.stdout and victim.file_name in bad.stdout
    facts = json.loads(fakelab("verify", root, "--count", 200, "--json").stdout)
    assert facts["as_made"] is False and facts["different"][0]["file_name"] == victim.file_name
