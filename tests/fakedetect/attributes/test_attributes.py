"""Grey pictures whose attributes can be seen: a bright corner, stripes. Training takes about a second."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from fakecore.errors import UserError
from fakecore.media.pixels import encode_png, read_image
from fakedetect import attributes
from fakedetect.attributes import AttributeModel
from fakedetect.attributes.data import load_attributes
from fakedetect.attributes.train import sigmoid_loss, softmax_loss

COUNT = 120
QUICK = {"resolution": "16", "blocks": "1", "epochs": "6", "batch": "16", "flip": "0", "rate": "0.003"}


def draw(corner: bool, stripes: bool, seed: int) -> np.ndarray:
    """uint8 (1, 16, 16): noise, with a bright corner, or vertical stripes, or both."""
    random = np.random.default_rng(seed)
    image = random.normal(90, 12, (4, 4)).repeat(4, axis=0).repeat(4, axis=1) + random.normal(0, 6, (16, 16))
    image[:6, :6] += 110 * corner
    image[8:, ::2] += 70 * stripes
    return image.clip(0, 255).astype(np.uint8)[None]


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    """images/ and attributes.csv: identity (two images each), corner (1/0), pattern (striped, plain, odd)."""
    root = tmp_path_factory.mktemp("faces")
    (root / "images").mkdir()
    lines = ["image,identity,corner,pattern"]
    for number in range(COUNT):
        corner, stripes = number % 2 == 0, number % 3 == 0
        (root / "images" / f"{number:03d}.png").write_bytes(encode_png(draw(corner, stripes, number), "real"))
        pattern = "odd" if number % 10 == 7 else "striped" if stripes else "plain"
        lines.append(f"{number:03d}.png,person{number // 2},{int(corner)},{pattern}")
    (root / "attributes.csv").write_text("\n".join(lines) + "\n")
    return root


def learn(faces: Path, out: Path, targets: str = "corner", labels: str | None = None, **changes: str):
    where = str(faces / "images"), faces / (labels or "attributes.csv"), targets
    return attributes.train(*where, out=out, changes={**QUICK, **changes}, device="cpu")


def load(faces: Path, targets: str = "corner", labels: Path | None = None, **options):
    return load_attributes(str(faces / "images"), labels or faces / "attributes.csv", targets, resolution=16, **options)


def rows_of(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def both(faces, tmp_path_factory, drawing):
    """A model of two attributes."""
    with drawing():
        return learn(faces, tmp_path_factory.mktemp("both") / "model", "corner,pattern=striped:plain")


def test_images_keep_their_own_answers(faces):
    data = load(faces, "corner,striped")
    assert len(data.paths) == COUNT and data.images.shape == (COUNT, 1, 16, 16)
    for image, truth, path in zip(data.images, data.truth, data.paths, strict=True):
        assert (image[0, :6, :6].mean() > 150) == truth[0], path
        assert np.array_equal(image, read_image(Path(path)).transpose(2, 0, 1)[:1])


def test_no_identity_is_on_two_sides_and_shares_are_system_es(faces):
    data = load(faces)
    sides = {}
    for group, split in zip(data.groups, data.splits, strict=True):
        assert sides.setdefault(group, split) == split
    assert len(sides) == COUNT // 2
    counts = data.counts()
    assert [counts[split]["images"] for split in ("train", "val", "test")] == pytest.approx([72, 24, 24], abs=4)
    assert load(faces, shares=(20, 40, 40)).counts()["train"]["images"] == pytest.approx(24, abs=4)


def test_another_column_groups_when_asked_for(faces):
    with pytest.raises(UserError, match=r"no column 'identities'"):
        load(faces, group="identities")
    with pytest.raises(UserError, match=r"one value only in the|too few"):
        load(faces, group="corner")  # two groups: no split is possible


def test_one_value_against_another_leaves_the_others_out(faces):
    data = load(faces, "pattern=striped:plain")
    assert data.origin["unanswered"] == 12 and len(data.truth) == COUNT - 12
    assert not {path for path in data.paths if Path(path).stem.endswith("7")}


def test_attributes_that_can_be_seen_are_learned_each_by_itself(both, faces):
    assert list(both.metrics) == ["corner", "striped"] and both.unused == []
    for one in both.metrics.values():
        assert one["auroc"] > 0.95 and one["accuracy"] > one["accuracy_of_commoner"] + 0.2
        low, high = one["auroc_interval"]
        assert low <= one["auroc"] <= high
    truth = load(faces, "corner,pattern=striped:plain")
    test = truth.truth[truth.rows("test")]
    assert both.metrics["striped"]["base_rate"] == pytest.approx(test[:, 1].mean())
    assert both.metrics["striped"]["commoner"] == "no"
    assert both.metrics["striped"]["accuracy_of_commoner"] == pytest.approx(1 - test[:, 1].mean())


def test_the_folder_explains_itself(both):
    names = {path.name for path in both.model.iterdir()} | {path.name for path in (both.model / "report").iterdir()}
    assert names >= {"attributes.json", "attributes.safetensors", "history.jsonl", "predictions.csv"}
    assert names >= {"histogram.png", "roc.png", "history.png", "metrics.json", "report.html"}
    facts = json.loads((both.model / "attributes.json").read_text())
    lines = [json.loads(line) for line in (both.model / "history.jsonl").read_text().splitlines()]
    best = max(lines, key=lambda line: (line["val_auroc"], -line["val_loss"]))
    assert facts["best_epoch"] == best["epoch"] and len(lines) == 6
    assert best["val_auroc"] == pytest.approx(np.mean([one["val_auroc"] for one in best["attributes"].values()]))
    page = (both.model / "report" / "report.html").read_text()
    assert 'src="data:image/png' in page and "http" not in page and "pattern = striped against plain" in page


def test_the_model_on_disk_says_what_predictions_csv_says(both):
    model = AttributeModel.load(both.model, "cpu")
    rows = rows_of(both.model / "predictions.csv")
    assert list(rows[0]) == ["path", "split", "true_corner", "p_corner", "true_striped", "p_striped"]
    p = model.probabilities(np.stack([model.prepare(read_image(Path(row["path"]))) for row in rows]))
    assert p == pytest.approx(np.array([[float(row["p_corner"]), float(row["p_striped"])] for row in rows]), abs=1e-5)
    test = [row for row in rows if row["split"] == "test"]
    right = np.mean([(float(row["p_corner"]) >= 0.5) == (row["true_corner"] == "1") for row in test])
    assert right == pytest.approx(both.metrics["corner"]["accuracy"])


def test_the_same_seed_gives_the_same_weights(faces, tmp_path):
    made = [learn(faces, tmp_path / name, epochs="2") for name in ("a", "b")]
    weights = [(one.model / "attributes.safetensors").read_bytes() for one in made]
    assert weights[0] == weights[1]


def test_softmax_is_offered_and_said_to_be_a_mistake(faces, tmp_path):
    made = learn(faces, tmp_path / "soft", "corner,striped", head="softmax")
    model = AttributeModel.load(made.model, "cpu")
    p = model.probabilities(np.stack([draw(True, True, 1000 + seed) for seed in range(8)]))
    assert p.sum(axis=1) == pytest.approx(np.ones(8))
    assert (p > 0.5).sum(axis=1).max() <= 1, "these have both attributes, and softmax can say one at most"
    assert "sum to 1" in (made.report).read_text()
    with pytest.raises(UserError, match="softmax over one attribute"):
        learn(faces, tmp_path / "one", head="softmax")
    assert not (tmp_path / "one").exists()


def test_the_losses_are_what_they_are_called():
    logits, truth = torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, 1.0]])
    p = torch.softmax(logits, dim=1)
    assert float(softmax_loss(logits, truth)) == pytest.approx(float(-p.log().sum()))
    q = torch.sigmoid(logits)
    assert float(sigmoid_loss(logits, truth)) == pytest.approx(float(-q.log().mean()))


@pytest.mark.parametrize("changes", [{"pretrained": "false"}, {"train": "head"}, {"train": "finetune"}])
def test_a_backbone_learns_them_too(faces, tmp_path, changes):
    import timm
    from safetensors.torch import save_file

    weights = tmp_path / "weights.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model("test_convnext", num_classes=0).state_dict(), weights)
    given = {} if "pretrained" in changes else {"weights": str(weights), "frozen_layers": "2"}
    how = {"model": "timm:test_convnext", "input_size": "32", "epochs": "2", "batch": "32"}
    made = learn(faces, tmp_path / "model", "corner,striped", **how, **given, **changes)
    model = AttributeModel.load(made.model, "cpu")
    rows = rows_of(made.model / "predictions.csv")[:20]
    p = model.probabilities(np.stack([model.prepare(read_image(Path(row["path"]))) for row in rows]))
    assert p[:, 0] == pytest.approx(np.array([float(row["p_corner"]) for row in rows]), abs=0.02)
    assert ("trained from scratch" in made.report.read_text()) == ("pretrained" in changes)


@pytest.mark.parametrize("name", ["dct", "timm:", "resnet"])
def test_a_model_that_learns_no_attributes_is_refused(faces, tmp_path, name):
    with pytest.raises(UserError, match="no model for attributes"):
        learn(faces, tmp_path / "x", model=name)


def relabel(faces: Path, tmp_path: Path, change) -> Path:
    lines = (faces / "attributes.csv").read_text().splitlines()
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(change(lines)) + "\n")
    return path


def test_names_without_an_image_and_images_without_a_name_are_rows(faces, tmp_path):
    labels = relabel(faces, tmp_path, lambda lines: [*lines[:-2], "ghost.png,nobody,1,plain"])
    data = load(faces, labels=labels)
    assert len(data.truth) == COUNT - 2
    found = {(Path(row["path"]).name, row["status"]) for row in data.unused}
    assert found == {("ghost.png", "missing"), ("118.png", "unlabelled"), ("119.png", "unlabelled")}


def test_a_list_beside_the_images_is_no_image(faces, tmp_path):
    shutil.copytree(faces / "images", tmp_path / "flat")
    shutil.copy(faces / "attributes.csv", tmp_path / "flat" / "labels.csv")
    data = load_attributes(str(tmp_path / "flat"), tmp_path / "flat" / "labels.csv", "corner", resolution=16)
    assert data.unused == [] and len(data.truth) == COUNT


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lines: [lines[0], *("x" + line for line in lines[1:])], r"none of the 120 names.*such as 000\.png"),
        (lambda lines: [*lines, lines[5]], r"names 1 image more than once.*004\.png"),
        (lambda lines: [line.replace(",0,", ",1,") for line in lines], "'corner'.*one value only.*120 yes and 0 no"),
        (lambda lines: lines[:3], "one value only in the|too few"),
    ],
)
def test_labels_that_teach_nothing_are_refused(faces, tmp_path, change, says):
    with pytest.raises(UserError, match=says):
        load(faces, labels=relabel(faces, tmp_path, change))


def test_a_name_that_fits_two_images_is_refused(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / "images" / folder).mkdir(parents=True)
        (tmp_path / "images" / folder / "1.png").write_bytes(encode_png(draw(True, True, 1), "real"))
    (tmp_path / "attributes.csv").write_text("image,corner\n1.png,1\n")
    with pytest.raises(UserError, match=r"'1\.png' fits several images.*a/1\.png, b/1\.png"):
        load(tmp_path)


def test_one_attribute_is_too_rare_for_three_splits(faces, tmp_path):
    labels = relabel(faces, tmp_path, lambda lines: [f"{line},{int(i == 4)}" for i, line in enumerate(lines)])
    labels.write_text(labels.read_text().replace("pattern,0", "pattern,hat"))
    with pytest.raises(UserError, match=r"'hat' has one value only in the .* split.*1 yes and 119 no"):
        load(faces, "hat", labels=labels)


def test_a_used_folder_is_refused_before_any_work(both, faces):
    before = (both.model / "attributes.json").read_bytes()
    with pytest.raises(UserError, match="already holds an attribute classifier"):
        learn(faces, both.model)
    assert (both.model / "attributes.json").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "detector"}, "kind 'detector'"),
        ({"targets": []}, "targets cannot be used"),
        ({"temperatures": [1.0]}, "number of targets or temperatures differs"),
        ({"temperatures": [1.0, -1.0]}, "temperatures cannot be used"),
        ({"head": "argmax"}, "head cannot be used"),
        ({"model": "dct"}, "no model for attributes"),
        ({"arguments": {"resolution": 16, "channels": 1, "outputs": 2, "bloks": 1}}, "arguments cannot be used"),
        ({"arguments": {"resolution": 16, "channels": 1, "outputs": 2, "blocks": 2}}, "another architecture"),
    ],
)
def test_a_damaged_description_is_refused(both, tmp_path, change, says):
    copy = shutil.copytree(both.model, tmp_path / "copy")
    facts = json.loads((copy / "attributes.json").read_text())
    (copy / "attributes.json").write_text(json.dumps(facts | change))
    with pytest.raises(UserError, match=says):
        AttributeModel.load(copy, "cpu")


def test_a_folder_of_something_else_is_no_classifier(tmp_path):
    with pytest.raises(UserError, match="is not an attribute classifier"):
        AttributeModel.load(tmp_path, "cpu")
