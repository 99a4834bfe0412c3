"""Every preset trains on real images of its kind, saves, reloads, and samples identically."""

import json

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images

import fakegen
from fakecore.errors import UserError
from fakecore.files import read_jsonl
from fakecore.media.pixels import encode_png, read_image
from fakegen.architectures.registry import ARCHITECTURES
from fakegen.presets.table import PRESETS, source_channels_of
from fakegen.sampling.sampling import load_generator
from fakegen.training import generate

STEPS = 8
SMALL = {"dcgan": 16, "digit": 28, "dense": 16, "upsampling": 16, "stack": 16, "residual": 16, "projected": 32}


@pytest.fixture(autouse=True)
def _without_plots(monkeypatch):
    """Plots take longer than these trainings, and test_generate checks them."""
    monkeypatch.setattr(generate, "plot_run", lambda *_: None)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Crops of the two photographs that come with scikit-learn, a folder for each: real images of two classes."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for name, photo in zip(("temple", "flower"), load_sample_images().images, strict=True):
        (folder / name).mkdir()
        for number in range(40):
            y, x = random.integers(0, photo.shape[0] - 96), random.integers(0, photo.shape[1] - 96)
            crop = np.ascontiguousarray(photo[y : y + 96, x : x + 96].transpose(2, 0, 1))
            (folder / name / f"{number:03d}.png").write_bytes(encode_png(crop, "real"))
    return folder


def small(name: str) -> dict:
    architecture = ARCHITECTURES[PRESETS[name].architecture]
    fields = {*architecture.generator_fields, *architecture.discriminator_fields}
    widths = {field: 8 for field in ("g_width", "d_width") if field in fields}
    always = {"batch": 4, "steps": STEPS, "upscale": True, "measure_every": 0}
    if PRESETS[name].levels < 256:  # the real images as they are
        return {**always, **widths}
    return {"resolution": SMALL[PRESETS[name].architecture], **always, **widths}


def of_one_kind() -> list[str]:
    """One preset of each kind: presets that differ in numbers alone, such as the rate, train the same code."""
    kinds = {}
    for name, preset in PRESETS.items():
        values = vars(fakegen.get_preset(name, small(name)))
        words = tuple(bool(value) if isinstance(value, (int, float)) else value for value in values.values())
        kinds.setdefault((words[5:], source_channels_of(preset)), name)  # from the architecture on
    return sorted(kinds.values())


@pytest.mark.parametrize("name", of_one_kind())
def test_every_preset_trains_saves_reloads_and_samples_identically(name, photos, tmp_path):
    real = "digits:3" if source_channels_of(PRESETS[name]) == 1 else str(photos)
    made = fakegen.train(name, out=tmp_path / "run", real=real, changes=small(name), count=12, device="cpu")
    facts = json.loads((made.run / "run.json").read_text())
    assert (facts["status"], facts["step"]) == ("done", STEPS)
    lines = read_jsonl(made.run / "metrics.jsonl")
    assert len(lines) == STEPS and all(np.isfinite(line["loss_d"]) and np.isfinite(line["loss_g"]) for line in lines)
    generator = load_generator(made.run / "checkpoints" / f"epoch-{made.epochs:04d}", "cpu")
    fakes = [line for line in read_jsonl(made.set / "metadata.jsonl") if line["label"] == "fake"]
    assert len(fakes) == 12
    block = generator.block(facts["seed"], 0)
    for line in fakes:
        on_disk = read_image(made.set / line["file_name"])
        expected = block[line["index"]].transpose(1, 2, 0)
        assert np.array_equal(on_disk.squeeze(), expected.squeeze()) or np.array_equal(
            on_disk, np.repeat(expected, 3, axis=2)
        )
    first = load_generator(made.run / "checkpoints" / "epoch-0000", "cpu").block(facts["seed"], 0)
    assert not np.array_equal(first, block)  # training changed it


def test_a_conditional_run_records_and_samples_its_classes(photos, tmp_path):
    made = fakegen.train(
        "conditional-32",
        out=tmp_path / "run",
        real=str(photos),
        changes=small("conditional-32"),
        count=40,
        device="cpu",
    )
    lines = read_jsonl(made.set / "metadata.jsonl")
    assert {line["class"] for line in lines if line["label"] == "fake"} == {"flower", "temple"}
    facts = fakegen.sample(made.run, tmp_path / "flowers", count=10, only="flower")
    assert facts["origin"]["class"] == "flower"
    assert {line["class"] for line in read_jsonl(tmp_path / "flowers" / "metadata.jsonl")} == {"flower"}
    for other in ("temple", None):
        with pytest.raises(UserError, match="class: now"):
            fakegen.sample(made.run, tmp_path / "flowers", count=20, only=other, resume=True)
    fakegen.sample(made.run, tmp_path / "flowers", count=20, only="flower", resume=True)
    with pytest.raises(UserError, match="flower"):
        fakegen.sample(made.run, tmp_path / "x", count=3, only="flowre")
    generator = load_generator(made.run / "checkpoints" / f"epoch-{made.epochs:04d}", "cpu")
    matrix = generator.matrix(0, 3)  # flower, then temple
    first = generator.latents(0, 0)[:3]
    assert np.array_equal(matrix[3:], generator.render(torch.from_numpy(first), torch.tensor([1, 1, 1])))
    assert not np.array_equal(matrix[:3], matrix[3:])
    sheet = read_image(made.run / "snapshots" / "epoch-0000.png")
    assert sheet.shape[0] < sheet.shape[1]  # a row for each of two classes, eight columns


def test_an_unconditional_generator_refuses_a_class(run, tmp_path):
    with pytest.raises(UserError, match="is not conditional"):
        fakegen.sample(run, tmp_path / "x", count=3, only="3")


def test_a_conditional_preset_refuses_a_source_without_classes(photos, tmp_path):
    with pytest.raises(UserError, match="needs a class for every image"):
        fakegen.train(
            "conditional-32", out=tmp_path / "x", real=str(photos / "temple"), changes=small("conditional-32")
        )


def test_small_images_are_enlarged_only_on_request(photos, tmp_path):
    changes = {"resolution": 128, "batch": 4, "steps": 1, "g_width": 2, "d_width": 2}
    with pytest.raises(UserError, match="--set upscale=true"):
        fakegen.train("dcgan-64", out=tmp_path / "x", real=str(photos), changes=changes)
    assert not (tmp_path / "x" / "run.json").exists()


def test_fakes_have_the_grey_levels_of_the_reals_and_other_reals_are_refused(photos, tmp_path):
    made = fakegen.train(out=tmp_path / "run", changes={"steps": 1, "measure_every": 0}, count=30, device="cpu")
    for label in ("real", "fake"):
        values = {int(value) for path in made.set.rglob(f"{label}/*.png") for value in np.unique(read_image(path))}
        assert values <= {round(level * 255 / 16) for level in range(17)} and len(values) > 8
    with pytest.raises(UserError, match="do not have the 17 grey levels of digits"):
        fakegen.train("digits", out=tmp_path / "x", real=str(photos), device="cpu")


OPTIONS = {
    "label_smoothing": 0.1,
    "label_flip": 0.2,
    "latent": "uniform",
    "mixed_batch": True,
    "noise": 0.5,
    "optimiser": "rmsprop",
    "mirror": True,
    "augment": True,
    "loss": "hinge",
    "r1": 10.0,
    "r2": 10.0,
    "clip": 1e-6,
    "d_lr_ratio": 4.0,
    "d_norm": "spectral",
    "d_dropout": 0.5,
    "activation": "leaky_relu",
    "g_upsampling": "nearest",
}


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    return _last_losses({}, tmp_path_factory.mktemp("plain"))


def test_the_relativistic_loss_changes_the_weights(plain, tmp_path):
    assert _last_losses({"loss": "relativistic"}, tmp_path) != plain


def _last_losses(changes: dict, folder) -> tuple:
    settings = {"resolution": 16, "g_width": 8, "d_width": 8, "z_dim": 8, "batch": 16, "steps": 3, "measure_every": 0}
    settings |= changes
    made = fakegen.train("digits-32", out=folder / "run", real="digits:3", changes=settings, count=3, device="cpu")
    last = read_jsonl(made.run / "metrics.jsonl")[-1]
    assert np.isfinite(last["loss_d"]) and np.isfinite(last["loss_g"])
    return last["loss_d"], last["loss_g"]


@pytest.mark.parametrize("field", sorted(OPTIONS))
def test_every_option_changes_the_weights(field, plain, tmp_path):
    assert _last_losses({field: OPTIONS[field]}, tmp_path) != plain


def test_noise_decreases_to_zero():
    from fakegen.training.loop import _noise

    preset = fakegen.get_preset("digits-32", {"noise": 0.4, "noise_epochs": 10})
    assert [_noise(preset, epoch) for epoch in (0, 5, 10, 20)] == [0.4, 0.2, 0.0, 0.0]
    assert _noise(fakegen.get_preset("digits-32", {"noise": 0.4}), 99) == 0.4


def test_a_run_starts_from_the_weights_of_another(run, tiny, tmp_path):
    changes = {**tiny, "epochs": 0, "init_g": str(run), "init_d": str(run / "checkpoints" / "epoch-0001.safetensors")}
    made = fakegen.train("digits-32", out=tmp_path / "run", real="digits:5", changes=changes, count=3, device="cpu")
    from fakecore.runs.checkpoint import load_checkpoint

    initial, _ = load_checkpoint(made.run / "checkpoints" / "epoch-0000")
    last, _ = load_checkpoint(run / "checkpoints" / "epoch-0002")
    first, _ = load_checkpoint(run / "checkpoints" / "epoch-0001")
    for name, tensor in initial.items():
        source = first if name.startswith("discriminator.") else last
        part = "generator." + name.partition(".")[2] if name.startswith("generator") else name
        assert tensor.equal(source[part]), name


def test_weights_of_another_architecture_are_refused(run, tiny, tmp_path):
    with pytest.raises(UserError, match=r"layers\.0\.weight") as caught:
        fakegen.train(
            "digits-32",
            out=tmp_path / "x",
            real="digits:5",
            changes={**tiny, "g_width": 16, "init_g": str(run)},
            count=3,
        )
    assert "instead of" in str(caught.value) and "a run with the same preset" in str(caught.value)
    assert "It was built with width=8, here 16." in str(caught.value)
    assert not (tmp_path / "x").exists()


def test_missing_weights_are_named(tiny, tmp_path):
    with pytest.raises(UserError, match="no run or checkpoint") as caught:
        changes = {**tiny, "init_d": str(tmp_path / "nowhere")}
        fakegen.train("digits-32", out=tmp_path / "x", real="digits:5", changes=changes, count=3)
    assert str(tmp_path / "nowhere") in str(caught.value)
