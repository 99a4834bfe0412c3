import io
import json
import shutil
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

import fakedetect
from fakecore.errors import UserError
from fakecore.media.pixels import encode_jpeg, encode_png
from fakecore.sets.imageset import ImageRecord
from fakecore.sets.setwriter import ImageSetWriter
from fakecore.sets.units import Wanted
from fakedetect.audits.audit import QUICK_FILES, as_rgb, audit_first, list_files, quick_audit
from fakedetect.audits.findings import Audit
from fakedetect.data.loading import load_labelled


def leak_texts(found: Audit) -> str:
    return " | ".join(finding.text for finding in found.leaks)


def named(cues) -> set[str]:
    return {cue.name for cue in cues if cue.strength.alarming}


@pytest.fixture
def folders(tmp_path, pictures):
    """A function that writes 40 reals and 40 fakes of the same kind to two folders, each with its own encoder."""

    def png(image: np.ndarray) -> bytes:
        return encode_png(image, "real")

    def write(real=png, fake=png, *, side=32):
        for label, save, seed in (("real", real, 0), ("fake", fake, 5)):
            (tmp_path / label).mkdir()
            for number, image in enumerate(pictures(40, "real", seed, side=side)):
                data = save(image)
                suffix = "jpg" if data[:2] == b"\xff\xd8" else "png"
                (tmp_path / label / f"{number:03d}.{suffix}").write_bytes(data)
        return {"real": str(tmp_path / "real"), "fake": str(tmp_path / "fake")}

    return write


def test_jpeg_reals_and_png_fakes_are_a_leak(folders):
    found = fakedetect.audit(**folders(real=lambda image: encode_jpeg(image, "real")))
    assert found.metadata.auroc == 1 and found.metadata.alarming
    assert {"format", "extension", "jpeg_quality", "subsampling"} <= named(found.cues)
    assert "format (real: JPEG; fake: PNG)" in leak_texts(found)
    cue = next(cue for cue in found.cues if cue.name == "format")
    assert cue.examples["real"][0].endswith(".jpg: JPEG") and cue.examples["fake"][0].endswith(".png: PNG")


def test_different_sizes_are_a_leak(folders):
    found = fakedetect.audit(**folders(fake=lambda image: encode_png(image[:, :28], "fake")))
    assert named(found.cues) == {"height", "aspect"}
    assert "height (real: 32; fake: 28)" in leak_texts(found)
    assert {cue.name: cue.higher_in for cue in found.cues if cue.name in ("height", "aspect")} == {
        "height": "real",
        "aspect": "fake",
    }


def test_equal_encodings_pass_and_cues_in_pixels_are_only_warnings(folders):
    def noisy(image):
        return encode_png(
            (image ^ np.random.default_rng(int(image.sum())).integers(0, 16, image.shape, np.uint8)), "fake"
        )

    found = fakedetect.audit(**folders(fake=noisy))
    assert found.leaks == [] and found.metadata.auroc == 0.5
    assert "bytes_per_pixel" in named(found.pixel_cues)
    assert any("bytes_per_pixel" in warning.text for warning in found.warnings)


def test_an_earlier_jpeg_compression_is_a_warning(folders):
    def once_jpeg(image):
        buffer = io.BytesIO()
        Image.fromarray(as_rgb(image)).save(buffer, "JPEG", quality=30)
        return encode_png(np.asarray(Image.open(buffer)).transpose(2, 0, 1), "real")

    found = fakedetect.audit(**folders(real=once_jpeg, side=64))
    assert "blockiness" in named(found.pixel_cues) and found.leaks == []
    assert next(cue for cue in found.pixel_cues if cue.name == "blockiness").higher_in == "real"


@pytest.fixture(scope="module")
def matched(tmp_path_factory, pictures):
    """A function that writes a set as fakelab does, without differences between the classes."""

    def write(image_format: str):
        root = tmp_path_factory.mktemp("matched") / "set"
        images = {"real": pictures(60, "real", 0), "fake": pictures(60, "fake", 0)}
        splits = (["train"] * 3 + ["val", "test"]) * 12

        def wanted(label):
            def records(indices, name):
                return [ImageRecord(name(splits[i], label, i), label, splits[i], i) for i in indices]

            return Wanted(60, records, lambda indices: images[label][indices.start : indices.stop])

        both = {label: wanted(label) for label in images}
        writer = ImageSetWriter(root, both, resolution=16, channels=3, image_format=image_format)
        for _ in writer.write():
            pass
        writer.finish(origin={"run": "tiny", "preset": "tiny", "epoch": 1, "source": {"spec": "synthetic"}})
        return root

    return write


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webdataset"])
def test_a_matched_set_passes(matched, image_format):
    root = matched(image_format)
    if image_format == "webdataset":
        assert tarfile.is_tarfile(next(root.rglob("*.tar")))
    found = fakedetect.audit(root)
    assert (found.leaks, found.metadata.auroc, found.unused) == ([], 0.5, [])
    assert found.counts == {"real": 60, "fake": 60} == found.total
    assert "No leak found: metadata does not separate reals from fakes" in found.headline


def test_copies_and_a_group_in_two_splits_are_found(tmp_path, write_set):
    root = write_set(tmp_path / "set", reals=40, fakes=40)
    shutil.copy(root / "train/real/000000.png", root / "test/real/000033.png")  # across splits
    pixels = np.asarray(Image.open(root / "train/real/000001.png"))
    (root / "train/fake/000001.png").write_bytes(encode_png(pixels.transpose(2, 0, 1), "fake"))  # across classes
    lines = [json.loads(line) for line in (root / "metadata.jsonl").read_text().splitlines()]
    for line in lines:
        if line["file_name"] in ("train/real/000005.png", "test/real/000034.png"):
            line["group"] = "Ann_Example"
    (root / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = fakedetect.audit(root)
    text = leak_texts(found)
    assert (
        "1 identical image in more than one split, for example train/real/000000.png and test/real/000033.png" in text
    )
    assert "labelled both real and fake, for example train/real/000001.png and train/fake/000001.png" in text
    assert "1 group in more than one split: Ann_Example, with train/real/000005.png and test/real/000034.png" in text
    assert found.metadata.auroc == 0.5  # no other leak
    quick = quick_audit({"place": str(root)}, load_labelled(root), ("train", "val", "test"))
    assert leak_texts(quick) == text and not quick.near_searched


def test_one_class_alone_is_refused(tmp_path, write_set, finish_set):
    root = write_set(tmp_path / "set", reals=20, fakes=20)
    lines = [json.loads(line) for line in (root / "metadata.jsonl").read_text().splitlines()]
    finish_set(root, [line for line in lines if line["label"] == "fake"])
    with pytest.raises(UserError, match="there are no real images to audit"):
        fakedetect.audit(root)


def test_three_images_have_no_auroc_but_copies_are_found(tmp_path, write_folder):
    real, fake = write_folder(tmp_path / "real", 3, "real"), write_folder(tmp_path / "fake", 3, "fake")
    shutil.copy(real / "0000.png", fake / "again.png")
    found = fakedetect.audit(real=str(real), fake=str(fake))
    assert found.metadata.auroc is None and "3 real, 4 fake" in found.too_few
    assert "labelled both real and fake" in leak_texts(found)
    json.dumps(found.to_json(), allow_nan=False)


def test_pixels_in_memory_have_no_container_and_a_note_says_so(tmp_path, write_folder):
    fake = write_folder(tmp_path / "fake", 12, "fake", side=16)
    found = fakedetect.audit(real="digits:3", fake=str(fake))
    assert found.metadata.auroc is None and any("pixels in memory" in note for note in found.notes)


def test_the_report_shows_the_files_found(tmp_path, folders):
    places = folders(real=lambda image: encode_jpeg(image, "real"))
    shutil.copy(tmp_path / "real/000.jpg", tmp_path / "fake/<b>.jpg")
    page = tmp_path / "page.html"
    fakedetect.audit(**places, out=page)
    text = page.read_text()
    assert "&lt;b&gt;.jpg" in text and "<b>.jpg" not in text
    assert "leak</span>: identical, real and fake, 2 files" in text and text.count("data:image/png") >= 2
    assert 'src="http' not in text and "JPEG" in text
    with pytest.raises(UserError, match="--out is not an HTML file"):
        fakedetect.audit(**places, out=tmp_path / "page.pdf")


def test_a_quick_audit_prints_leaks_and_strict_stops(folders, capsys):
    places = {"place": None, **folders(real=lambda image: encode_jpeg(image, "real")), "data_root": None}
    data = load_labelled(**places, all_test=True)
    summary = audit_first(places, data, ("test",), strict=False, equalised=False)
    assert summary["metadata_auroc"] == 1 and "format (real: JPEG" in summary["leaks"][0]
    assert capsys.readouterr().err.startswith("LEAK: metadata alone")
    with pytest.raises(UserError, match=r"leaks .*format .*--equalise"):
        audit_first(places, data, ("test",), strict=True, equalised=False)
    assert audit_first(places, data, ("test",), strict=True, equalised=True)["leaks"] == []
    assert capsys.readouterr().err == ""


def test_a_quick_audit_samples_the_given_splits(small_set, small_data, monkeypatch):
    found = quick_audit({"place": str(small_set)}, small_data, ("test",))
    assert found.total == {"real": 20, "fake": 20} and QUICK_FILES == 2000
    monkeypatch.setattr(
        sys.modules["fakedetect.audits.audit"], "QUICK_FILES", 12
    )  # fakedetect.audits.audit is the function
    found = quick_audit({"place": str(small_set)}, small_data, ("train", "val", "test"))
    assert (found.counts, found.total) == ({"real": 12, "fake": 12}, {"real": 100, "fake": 100})


def test_files_are_listed_without_being_read(small_set):
    files = list_files(small_set)
    assert len(files.names) == 200 and files.labels.sum() == 100 and files.names[0] == "train/real/000000.png"


def test_arrays_become_rgb():
    assert as_rgb(np.zeros((1, 4, 6), np.uint8)).shape == (4, 6, 3) == as_rgb(np.zeros((4, 6), np.uint8)).shape
    colour = np.zeros((3, 4, 6), np.uint8)
    colour[2] = 9
    assert as_rgb(colour)[0, 0].tolist() == [0, 0, 9]
