import json
import shutil
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import fakegen
from fakecore.errors import UserError
from fakecore.files import read_json, read_jsonl, write_json
from fakecore.media.pixels import read_image
from fakecore.sets.imageset import read_imageset


def test_a_run_folder_describes_itself(run):
    facts = read_json(run / "run.json")
    assert facts["status"] == "done" and facts["epoch"] == 2
    assert facts["preset"]["g_width"] == 8 and facts["source"]["spec"] == "digits:3"
    assert facts["precision"] in ("bf16", "fp32") and facts["versions"]["torch"]
    for name in ("losses", "d-outputs", "accuracy", "real-vs-fake"):
        assert Image.open(run / "plots" / f"{name}.png").size[0] > 500
    for epoch in (0, 1, 2):
        assert (run / "checkpoints" / f"epoch-{epoch:04d}.safetensors").is_file()
        assert (run / "snapshots" / f"epoch-{epoch:04d}.png").is_file()
    assert list((run / "tensorboard").glob("events.*"))


def test_every_step_is_logged_with_its_names(run):
    lines = read_jsonl(run / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines[0].keys() >= {
        "epoch",
        "loss_d",
        "loss_g",
        "d_real",
        "d_fake_1",
        "d_fake_2",
        "acc_real",
        "acc_fake",
        "images_per_s",
    }
    assert lines[-1]["epoch"] == 2
    for line in lines:
        assert 0 <= line["d_real"] <= 1 and 0 <= line["acc_fake"] <= 1


def test_the_set_is_matched_and_balanced(run):
    found = read_imageset(run / "set")
    counts = Counter((record.split, record.label) for record in found.records)
    assert counts["train", "fake"] == 120 and counts["val", "fake"] == 15 and counts["test", "fake"] == 15
    reals = [record for record in found.records if record.label == "real"]
    assert 145 <= len(reals) <= 150 and {record.class_ for record in reals} == {"3"}
    assert len({record.source for record in reals}) == len(reals)
    for record in found.records:
        with Image.open(found.path(record)) as image:
            assert (image.size, image.mode, image.format) == ((16, 16), "L", "PNG")


def test_the_set_can_be_shards_of_the_same_images(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("set"))
    facts = read_json(folder / "run.json")
    write_json(folder / "run.json", facts | {"format": "webdataset"})
    with pytest.raises(UserError, match="format: webdataset -> jpeg"):
        fakegen.resume(folder, image_format="jpeg", device="cpu")
    fakegen.resume(folder, device="cpu")
    shards, images = (read_imageset(root / "set") for root in (folder, run))
    assert (folder / "set" / "train" / "real-000000.tar").is_file()
    assert sorted(map(shards.read, shards.records)) == sorted(map(images.read, images.records))


def test_png_chunks_do_not_separate_reals_from_fakes(run):
    found = read_imageset(run / "set")
    kinds = {label: set() for label in ("real", "fake")}
    for record in found.records:
        data = found.path(record).read_bytes()
        place, chunks = 8, []
        while place < len(data):
            length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
            chunks.append((kind, length if kind != b"IDAT" else None))
            place += 12 + length
        kinds[record.label].add(tuple(chunks))
    assert kinds["real"] == kinds["fake"] and len(kinds["fake"]) == 1


def test_the_gan_saw_no_real_of_val_or_test(run):
    from fakegen.runs.reals import load_reals

    reals = load_reals("digits:3", resolution=16, shares=(80, 10, 10), seed=0)
    splits = dict(zip(reals.names, reals.splits, strict=True))
    for record in read_imageset(run / "set").records:
        if record.label == "real":
            assert splits[record.source] == record.split
    assert (reals.splits[reals.train_rows()] == "train").all()
    assert read_json(run / "run.json")["source"]["images"]["train"] == len(reals.train_rows())


def test_the_reals_of_the_set_are_the_reals(run):
    from fakegen.runs.reals import load_reals

    reals = load_reals("digits:3", resolution=16, shares=(80, 10, 10), seed=0)
    rows = {name: row for row, name in enumerate(reals.names)}
    for record in read_imageset(run / "set").records:
        if record.label == "real":
            image = read_image(run / "set" / record.file_name)
            assert np.array_equal(image[..., 0], reals.images[rows[record.source], 0])


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(run, tiny, tmp_path):
    def train(name: str, seed: int) -> bytes:
        made = fakegen.train(
            "digits-32", out=tmp_path / name, real="digits:3", changes=tiny, count=3, seed=seed, device="cpu"
        )
        return (made.run / "checkpoints" / "epoch-0002.safetensors").read_bytes()

    assert train("a", 0) == (run / "checkpoints" / "epoch-0002.safetensors").read_bytes()
    assert train("b", 1) != (run / "checkpoints" / "epoch-0002.safetensors").read_bytes()


def test_a_colour_source_gives_colour_fakes_in_rgb_order(tiny, tmp_path):
    source = tmp_path / "reds"
    source.mkdir()
    random = np.random.default_rng(0)
    for number in range(80):
        pixels = np.zeros((20, 20, 3), np.uint8)
        pixels[..., 0] = random.integers(120, 256, (20, 20))
        Image.fromarray(pixels).save(source / f"{number}.png")
    changes = {**tiny, "epochs": 30, "batch": 16, "lr": 5e-3, "ema": 0.9}
    made = fakegen.train("digits-32", out=tmp_path / "run", real=str(source), changes=changes, device="cpu")
    found = read_imageset(made.set)
    assert found.info["channels"] == 3
    for label in ("real", "fake"):
        means = np.mean(
            [read_image(found.path(r)).mean(axis=(0, 1)) for r in found.records if r.label == label], axis=0
        )
        assert means[0] > means[1] + 30 and means[0] > means[2] + 30, (label, means)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(tiny, tmp_path):
    with pytest.raises(UserError, match=r"not finite at step \d+") as caught:
        _diverge(tmp_path, tiny)
    assert "\n" not in str(caught.value)
    assert read_json(tmp_path / "run" / "run.json")["status"] == "failed"


def test_a_batch_that_is_not_a_multiple_of_the_processes_is_refused():
    from fakegen.training.generate import _check_batch_size

    preset = fakegen.get_preset("digits-32", {"batch": 17})
    with pytest.raises(UserError, match="--set batch=16"):
        _check_batch_size(preset, SimpleNamespace(size=2))
    _check_batch_size(preset, SimpleNamespace(size=17))


def _diverge(tmp_path, tiny):
    """Put a NaN into the momentum of a stopped run: the next step makes the weights NaN, and the one after the loss."""
    import torch
    from safetensors.torch import load_file, save_file

    made = fakegen.train(
        "digits-32", out=tmp_path / "run", real="digits:3", changes={**tiny, "epochs": 1}, count=3, device="cpu"
    )
    (made.set / "metadata.jsonl").unlink()
    path = made.run / "state" / "latest.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("exp_avg"))
    tensors[name] = torch.full_like(tensors[name], float("nan"))
    save_file(tensors, path)
    fakegen.resume(made.run, changes={"epochs": 2}, device="cpu")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"real": "/no/such/folder"}, "no folder"),
        ({"real": "digits:x"}, "no class 'x' in digits"),
        ({"changes": {"batch": 5000}}, "fewer training images than the batch size"),
        ({"count": 1}, "3 or more"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_a_wrong_request_leaves_no_folder_with_a_run(tmp_path, options, words):
    with pytest.raises(UserError, match=words):
        fakegen.train("digits-32", out=tmp_path / "run", **options)
    assert not (tmp_path / "run" / "run.json").exists()
    fakegen.train(
        "digits-32",
        out=tmp_path / "run",
        real="digits:3",
        changes={"epochs": 0, "resolution": 16},
        count=3,
        device="cpu",
    )


def test_one_image_is_too_few(tmp_path):
    (tmp_path / "one").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "one" / "a.png")
    with pytest.raises(UserError, match="too few"):
        fakegen.train("digits-32", out=tmp_path / "run", real=str(tmp_path / "one"))


def test_images_below_the_resolution_are_refused_with_one_that_fits(tmp_path):
    (tmp_path / "small").mkdir()
    for number in range(60):
        side = 20 if number == 7 else 40
        Image.new("RGB", (side, 50), (number, 0, 0)).save(tmp_path / "small" / f"{number}.png")
    with pytest.raises(UserError, match=r"a shortest side of 20 pixels; expected 32.*resolution=16, or .*upscale"):
        fakegen.train("modern-32", out=tmp_path / "run", real=str(tmp_path / "small"))


def test_a_folder_of_tiny_images_is_refused_with_the_reason(tmp_path):
    (tmp_path / "dots").mkdir()
    for number in range(5):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / "dots" / f"{number}.png")
    with pytest.raises(UserError, match=r"got 0 of 5; the first: 4x4 pixels: too small to use"):
        fakegen.train("digits-32", out=tmp_path / "run", real=str(tmp_path / "dots"))


def test_a_folder_in_use_is_never_overwritten(run, tmp_path):
    before = (run / "run.json").read_bytes()
    with pytest.raises(UserError, match="--resume"):
        fakegen.train("digits-32", out=run, real="digits:3")
    assert (run / "run.json").read_bytes() == before
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        fakegen.train("digits-32", out=tmp_path, real="digits:3")


def test_resume_names_changed_settings(run):
    with pytest.raises(UserError, match="g_width: 8 -> 9"):
        fakegen.resume(run, changes={"g_width": 9})
    with pytest.raises(UserError, match="seed: 0 -> 4"):
        fakegen.resume(run, seed=4)
    with pytest.raises(UserError, match="another preset"):
        fakegen.resume(run, preset="dcgan-64")
    with pytest.raises(UserError, match="real images"):
        fakegen.resume(run, real="digits:4")


def test_unusable_images_are_listed_and_the_others_used(tiny, tmp_path):
    source = tmp_path / "mixed"
    source.mkdir()
    random = np.random.default_rng(0)
    for number in range(60):
        Image.fromarray(random.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(source / f"{number}.jpg")
    (source / "empty.jpg").touch()
    (source / "text.jpg").write_text("not an image")
    Image.new("RGB", (1, 1)).save(source / "dot.png")
    Image.new("RGB", (40, 7)).save(source / "line.png")
    (source / "cut.jpg").write_bytes((source / "1.jpg").read_bytes()[:300])
    made = fakegen.train(
        "digits-32", out=tmp_path / "run", real=str(source), changes={**tiny, "epochs": 1, "batch": 8}, device="cpu"
    )
    expected = {"cut.jpg": "unreadable", "empty.jpg": "unreadable", "text.jpg": "unsupported"}
    expected |= {"dot.png": "unsupported", "line.png": "unsupported"}
    assert {line["path"]: line["status"] for line in made.unused} == {
        str(source / name): status for name, status in expected.items()
    }
    lines = [json.loads(line) for line in (made.run / "unused.jsonl").read_text().splitlines()]
    assert lines == made.unused
    assert "1x1 pixels: too small to use; at least 8x8 are needed" in {line["error"] for line in lines}
    assert sum(part["real"] for part in made.counts.values()) == 60
