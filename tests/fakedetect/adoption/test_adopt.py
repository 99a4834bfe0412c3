"""Detectors in the forms in which others publish them, adopted and used."""

import csv
import json
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import fakedetect
from fakecore.errors import UserError
from fakecore.media.pixels import fit_square, read_image
from fakedetect.adoption.checkpoints import recognise
from fakedetect.adoption.graphs import open_graph
from fakedetect.adoption.keras import read_mesonet
from fakedetect.adoption.opening import open_foreign
from fakedetect.export.onnx import export_onnx
from fakedetect.models.adopted import CLIP, IMAGENET, Pixels
from fakedetect.models.bodies import Meso4, MesoInception4, build_body
from fakedetect.models.detector import Detector
from tests.fakedetect.adoption.models import fit_head, write_images, write_onnx


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    real, fake = write_images(tmp_path_factory.mktemp("images"))
    return {"real": real, "fake": fake}


@pytest.fixture(scope="module")
def adopted(images, tmp_path_factory):
    """An ONNX graph that takes BGR from 0 to 255 and gives probabilities, that of fakes first."""
    folder = tmp_path_factory.mktemp("adopted")
    model = write_onnx(folder / "theirs.onnx")
    return fakedetect.adopt(model, out=folder / "det", **images)


def test_a_graph_with_another_order_of_channels_and_reversed_labels_is_adopted_rightly(adopted):
    best = adopted.candidates[0]
    assert (best.pixels.order, best.pixels.std[0], best.pixels.side) == ("BGR", pytest.approx(1 / 255), 32)
    assert (best.reading.kind, best.reading.index, best.reading.of) == ("probabilities", 0, "fake")
    assert adopted.metrics["auroc"] == 1.0
    assert max(one.auroc for one in adopted.candidates if one.pixels.order == "RGB") < 0.75


def test_the_adopted_detector_scores_evaluates_and_knows_its_domain(adopted, images, tmp_path, fakelab):
    shown = fakelab("score", images["fake"], "--detector", adopted.detector, "--json")
    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    assert {row["verdict"] for row in rows} <= {"fake", "unsure"}
    assert sum(row["verdict"] == "fake" for row in rows) > 0.9 * len(rows)
    detector = Detector.load(adopted.detector, "cpu")
    assert detector.domain is not None  # from the input of the graph's last matrix product
    again = fakedetect.evaluate(adopted.detector, out=tmp_path / "evaluation", **images)
    assert again.metrics["tpr"] > 0.9 and again.metrics["fpr"] < 0.1
    assert json.loads((adopted.detector / "detector.json").read_text())["adopted"]["reading"].startswith(
        "probabilities"
    )


@pytest.mark.parametrize(
    ("options", "kind", "of"),
    [
        ({"outputs": 2, "softmax": False, "channels_last": True}, "logits", "fake"),
        ({"outputs": 1}, "probability", "real"),
        ({"outputs": 1, "softmax": False}, "logit", "real"),
    ],
)
def test_outputs_are_read_as_what_they_are(images, tmp_path, options, kind, of):
    made = fakedetect.adopt(write_onnx(tmp_path / "theirs.onnx", **options), out=tmp_path / "det", **images)
    assert (made.candidates[0].reading.kind, made.candidates[0].reading.of) == (kind, of)
    assert made.metrics["auroc"] == 1.0


def test_a_detector_from_a_graph_is_exported_as_one_graph_with_it(images, tmp_path):
    model = write_onnx(tmp_path / "theirs.onnx", outputs=1, channels_last=True)
    made = fakedetect.adopt(model, out=tmp_path / "det", **images)
    assert export_onnx(made.detector, tmp_path / "det.onnx").max_dp < 1e-3  # a graph of another opset, within ours
    exported = Detector.load(tmp_path / "det.onnx", "cpu")
    pixels = np.stack([read_image(path) for path in sorted(Path(images["fake"]).iterdir())[:5]])
    prepared = np.stack([exported.prepare(picture) for picture in pixels])
    own = Detector.load(made.detector, "cpu")
    assert exported.judge(*exported.outputs(prepared)) == own.judge(*own.outputs(prepared))


def test_a_graph_for_a_fixed_number_of_images_is_adopted_and_not_exported(images, tmp_path):
    made = fakedetect.adopt(write_onnx(tmp_path / "theirs.onnx", number=1), out=tmp_path / "det", **images)
    assert made.metrics["auroc"] == 1.0
    with pytest.raises(UserError, match="takes 1 image at once"):
        export_onnx(made.detector, tmp_path / "det.onnx")
    assert not (tmp_path / "det.onnx").exists()


def test_a_timm_checkpoint_is_adopted_and_exported(images, tmp_path):
    torch.manual_seed(0)
    network = fit_head(timm.create_model("test_resnet", num_classes=2), (images["real"], images["fake"]), 64)
    save_file(
        {f"module.{name}": tensor for name, tensor in network.state_dict().items()}, tmp_path / "theirs.safetensors"
    )
    made = fakedetect.adopt(
        tmp_path / "theirs.safetensors", out=tmp_path / "det", architecture="timm:test_resnet", size=64, **images
    )
    best = made.candidates[0]
    assert (best.pixels.order, best.pixels.mean[0], best.reading.index) == ("BGR", 0.5, 0)
    assert made.metrics["auroc"] > 0.95
    exported = export_onnx(made.detector, tmp_path / "det.onnx")
    assert exported.max_dp < 1e-3


def test_scores_of_the_original_choose_the_input_and_are_compared(images, tmp_path):
    model = write_onnx(tmp_path / "theirs.onnx")
    graph = open_graph(model)
    body = build_body(graph.body)
    body.load_state_dict(graph.tensors)
    with (tmp_path / "scores.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "score"])
        for path in sorted(Path(images["fake"]).iterdir()) + sorted(Path(images["real"]).iterdir()):
            x = torch.from_numpy(fit_square(read_image(path), 37, 3))[None]
            values, _ = body(Pixels(32, 37, "BGR", (0.0,) * 3, (1 / 255,) * 3).of(x))
            writer.writerow([f"{path.parent.name}/{path.name}", float(values[0, 1])])  # of reals
    made = fakedetect.adopt(model, out=tmp_path / "det", expect=tmp_path / "scores.csv", **images)
    assert made.candidates[0].pixels.resolution == 37  # which AUROC alone does not tell
    assert made.agreement["form"] == "1 - p_fake"
    assert made.agreement["max"] < 1e-4 and made.agreement["images"] == 240


@pytest.mark.parametrize(
    ("write", "options", "message"),
    [
        (lambda folder: write_onnx(folder / "m.onnx"), {"label_of": "fake=1"}, "wrong way round .* --label-of real=1"),
        (lambda folder: write_onnx(folder / "m.onnx"), {"label_of": "fake:1"}, "expected fake=INDEX or real=INDEX"),
        (lambda folder: write_onnx(folder / "m.onnx"), {"size": 64}, "does not take images of its size"),
        (lambda folder: _cut(write_onnx(folder / "m.onnx")), {}, "truncated or damaged, or is not an ONNX file"),
        (
            lambda folder: _pickle(folder / "m.pth"),
            {},
            "a pickle of more than tensors, .* it was not opened; .*state_dict",
        ),
        (lambda folder: _tensors(folder / "m.safetensors", {"a": (3, 3)}), {}, r"not recognised .* --arch timm:NAME"),
        (
            lambda folder: _tensors(folder / "m.safetensors", {"fc.weight": (2, 9)}),
            {"architecture": "timm:test_resnet"},
            "weights of another architecture than timm:test_resnet",
        ),
        (
            lambda folder: _tensors(folder / "m.safetensors", {"weight": (1, 768), "bias": (1,)}),
            {},
            "linear layer of a probe on CLIP.*--weights FILE",
        ),
        (lambda folder: folder / "none.onnx", {}, "there is no model"),
        (lambda folder: _empty(folder / "model.tflite"), {}, r"expected an .onnx, .safetensors, .pth or .h5 file"),
        (lambda folder: folder, {}, "has no config.json"),
    ],
)
def test_what_cannot_be_adopted_is_refused_in_one_line(images, tmp_path, write, options, message):
    with pytest.raises(UserError, match=message) as error:
        fakedetect.adopt(write(tmp_path), out=tmp_path / "det", **options, **images)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "det" / "detector.json").exists()


def test_outputs_that_order_nothing_are_refused(images, tmp_path):
    model = write_onnx(tmp_path / "m.onnx")
    shuffled = write_images(tmp_path / "shuffled", count=40, seed=1)
    for number in range(0, 40, 2):  # half of the labels are swapped
        real, fake = (Path(folder) / f"{number:03d}.png" for folder in shuffled)
        a, b = real.read_bytes(), fake.read_bytes()
        real.write_bytes(b), fake.write_bytes(a)
    with pytest.raises(UserError, match="not proved"):
        fakedetect.adopt(model, out=tmp_path / "det", real=shuffled[0], fake=shuffled[1], size=32)


@pytest.mark.parametrize(("kind", "network"), [("meso4", Meso4()), ("mesoinception4", MesoInception4())])
def test_mesonet_is_read_from_a_file_of_keras(tmp_path, kind, network):
    torch.manual_seed(0)
    counts: dict[str, int] = {}
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                name, own = "conv2d", {"kernel:0": module.weight.permute(2, 3, 1, 0), "bias:0": module.bias}
            elif isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_()
                own = {"gamma:0": module.weight, "beta:0": module.bias}
                own |= {"moving_mean:0": module.running_mean, "moving_variance:0": module.running_var}
                name = "batch_normalization"
            elif isinstance(module, torch.nn.Linear):
                kernel = module.weight.T
                if len(kernel) == 1024:  # Keras flattens height, width, channels
                    kernel = kernel.reshape(16, 8, 8, 16).permute(1, 2, 0, 3).reshape(1024, 16)
                name, own = "dense", {"kernel:0": kernel, "bias:0": module.bias}
            else:
                continue
            counts[name] = counts.get(name, 0) + 1
            for key, value in own.items():
                file[f"{name}_{counts[name]}/{name}_{counts[name]}/{key}"] = value.detach().numpy()
    body, tensors = read_mesonet(tmp_path / "weights.h5")
    assert body == {"kind": kind}
    again = build_body(body)
    again.load_state_dict(tensors)
    x = torch.rand(2, 3, 256, 256)
    assert torch.allclose(again(x), network.eval()(x), atol=1e-6)


def test_deepfakebench_names_are_translated(monkeypatch):
    """EfficientNet-B4 with the names of efficientnet_pytorch, and with the stem of DeepfakeBench."""
    own = build_body({"kind": "deepfakebench-efficientnetb4", "classes": 2})
    foreign = {}
    blocks = [name for name, _ in own.named_modules() if name.count(".") == 2 and name.startswith("blocks.")]
    first = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    later = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"}
    later |= {"conv_pwl": "_project_conv", "bn3": "_bn2"}
    stem = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
    for name, tensor in own.state_dict().items():
        parts = name.split(".")
        if parts[0] == "blocks":
            number = blocks.index(".".join(parts[:3]))
            table = first if number < 2 else later
            layer = (
                {"conv_reduce": "_se_reduce", "conv_expand": "_se_expand"}.get(parts[4]) if parts[3] == "se" else None
            )
            rest = parts[5:] if layer else parts[4:]
            foreign[".".join(["backbone.efficientnet._blocks", str(number), layer or table[parts[3]], *rest])] = tensor
        elif parts[0] == "classifier":
            foreign[f"backbone.last_layer.{parts[1]}"] = tensor
        else:
            foreign[".".join(["backbone.efficientnet", stem[parts[0]], *parts[1:]])] = tensor
    found = recognise(foreign)
    assert found.body["kind"] == "deepfakebench-efficientnetb4" and found.pixels.mean == (0.5, 0.5, 0.5)
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in own.state_dict().items())


@pytest.mark.parametrize(
    ("name", "prefix", "head", "kind", "known_from", "mean"),
    [
        ("torchvision:resnet50", "", None, "torchvision", "CNNDetection", IMAGENET[0]),
        ("timm:legacy_xception", "backbone.", "last_linear", "timm", "timm:legacy_xception", None),
        ("torchvision:efficientnet_b0", "model.", None, "torchvision", "torchvision:efficientnet_b0", None),
    ],
)
def test_a_checkpoint_is_recognised_by_its_tensors(name, prefix, head, kind, known_from, mean):
    library, _, short = name.partition(":")
    classes = 1 if known_from == "CNNDetection" else 2
    own = build_body({"kind": library, "name": short, "classes": classes}).state_dict()
    tensors = {prefix + (key.replace("fc.", f"{head}.") if head else key): tensor for key, tensor in own.items()}
    if head:
        tensors[f"{prefix}adjust_channel.0.weight"] = torch.zeros(512, 2048, 1, 1)  # beside the network, unused
    found = recognise(tensors)
    assert found.body == {"kind": kind, "name": short, "classes": classes}
    assert found.name.startswith(known_from) and (found.pixels and found.pixels.mean) == mean
    assert all(torch.equal(found.tensors[key], tensor) for key, tensor in own.items())


def test_the_probe_of_universalfakedetect_gets_its_encoder(tmp_path, monkeypatch):
    monkeypatch.setattr("fakedetect.adoption.checkpoints._CLIP_ENCODER", "test_vit")
    encoder = timm.create_model("test_vit", num_classes=7).state_dict()
    save_file(encoder, tmp_path / "clip.safetensors")
    found = recognise({"weight": torch.ones(1, 7), "bias": torch.zeros(1)}, clip_weights=tmp_path / "clip.safetensors")
    assert found.pixels.mean == CLIP[0]
    body = build_body(found.body)
    body.load_state_dict(found.tensors)
    x = torch.rand(2, 3, 160, 160)
    assert torch.allclose(body(x)[:, 0], body.encoder(x).sum(dim=1), atol=1e-5)


def test_a_folder_of_timm_says_what_it_expects(tmp_path):
    network = timm.create_model("test_resnet", num_classes=2)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    cfg = {"input_size": [3, 64, 64], "crop_pct": 0.8, "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5]}
    facts = {"architecture": "test_resnet", "num_classes": 2, "pretrained_cfg": cfg, "label_names": ["ai", "human"]}
    (tmp_path / "config.json").write_text(json.dumps(facts))
    found = open_foreign(tmp_path)
    assert found.pixels == Pixels(64, 80, "RGB", (0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    assert found.labels == ("ai", "human") and found.known_from == "config.json"


@pytest.mark.parametrize("kind", ["resnet", "vit"])  # files have other names of a ViT's layers than the network
def test_a_folder_of_transformers_is_built_again_from_its_config(tmp_path, kind):
    transformers = pytest.importorskip("transformers")
    sizes = {
        "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
        "vit": {
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 8,
            "image_size": 64,
        },
    }
    config = transformers.AutoConfig.for_model(kind, **sizes[kind], id2label={0: "artificial", 1: "human"})
    model = transformers.AutoModelForImageClassification.from_config(config).eval()
    model.save_pretrained(tmp_path)
    processor = {"size": {"shortest_edge": 96}, "crop_size": {"height": 64, "width": 64}, "do_center_crop": True}
    processor |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    found = open_foreign(tmp_path)
    assert found.pixels == Pixels(64, 96, "RGB", (0.5,) * 3, (0.5,) * 3)
    assert found.labels == ("artificial", "human")
    body = build_body(json.loads(json.dumps(found.body)))  # as detector.json keeps it
    body.load_state_dict(found.tensors)
    x = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(body(x), model(x).logits, atol=1e-6)


def test_a_folder_of_transformers_without_some_weights_is_refused(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic")
    transformers.ResNetForImageClassification(config).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({name: t for name, t in tensors.items() if "classifier" not in name}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"has not all weights .* classifier"):
        open_foreign(tmp_path)


def test_a_folder_of_transformers_without_the_package_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text('{"model_type": "resnet", "architectures": ["ResNetForImageClassification"]}')
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'fakelab\[transformers\]'"):
        open_foreign(tmp_path)


def _cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:100])
    return path


def _pickle(path: Path) -> Path:
    torch.save({"state_dict": {"a": torch.zeros(1)}, "config": Path("x")}, path)
    return path


def _tensors(path: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    save_file({name: torch.from_numpy(np.zeros(shape, np.float32)) for name, shape in shapes.items()}, path)
    return path


def _empty(path: Path) -> Path:
    path.touch()
    return path
