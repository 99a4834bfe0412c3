import dataclasses
import shutil

import cv2
import numpy as np
import pytest
import torch

from fakecore.efficientnet import NAME
from fakecore.errors import UserError
from fakecore.imagenet import load_imagenet
from fakecore.runs.cache import cache_home
from fakegen.quality.distances import frechet_distance
from fakegen.quality.features import RandomFeatures, choose_features, open_features
from fakegen.runs.reals import load_reals


@pytest.fixture(autouse=True)
def _no_find_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture(scope="module")
def reals():
    return load_reals("digits", resolution=16, shares=(60, 20, 20), seed=0)


@pytest.fixture(scope="module")
def spaces(reals):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fakegen.quality.classifier._STEPS", 150)  # digits are easy
        return {name: open_features(name, reals, device="cpu") for name in ("random", "classes")}


def blurred(images, sigma):
    return np.stack([cv2.GaussianBlur(image[0], (0, 0), sigma)[None] for image in images])


def noised(images, sigma):
    noise = np.random.default_rng(0).normal(0, sigma, images.shape)
    return np.clip(images + noise, 0, 255).round().astype(np.uint8)


def jpegged(images, quality):
    coded = [cv2.imencode(".jpg", image[0], [cv2.IMWRITE_JPEG_QUALITY, quality])[1] for image in images]
    return np.stack([cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)[None] for data in coded])


@pytest.mark.parametrize("name", ["random", "classes"])
def test_worse_images_are_farther_from_held_out_reals(name, reals, spaces):
    space = spaces[name]
    held_out = space(reals.images[reals.splits != "train"])
    train = np.array(reals.images[reals.train_rows()[:700]])

    def far(images):
        return frechet_distance(held_out, space(images))[0]

    floor = far(train)
    untrained = far(
        np.full((700, 1, 16, 16), 127, np.uint8) + np.random.default_rng(0).integers(0, 3, train.shape).astype(np.uint8)
    )
    for change, strengths in ((blurred, (1, 2, 4)), (noised, (20, 40, 80)), (jpegged, (30, 10, 5))):
        distances = [far(change(train, strength)) for strength in strengths]
        assert floor < distances[0] < distances[1] < distances[2], change.__name__
    assert untrained > 10 * floor and untrained > far(blurred(train, 2))


@pytest.mark.parametrize("name", ["random", "classes"])
def test_equal_images_give_equal_features_in_any_batch(name, reals, spaces):
    images = np.array(reals.images[:130])
    whole = spaces[name](images)
    assert whole.shape == (130, spaces[name].dims) and whole.dtype == np.float32 and np.isfinite(whole).all()
    assert np.array_equal(whole, spaces[name](images))
    assert np.allclose(whole[100:], spaces[name](images[100:]), atol=1e-4)


def test_imagenet_features_are_those_of_timm_with_the_weights_of_the_package(reals):
    import timm
    from torch.nn.functional import interpolate

    space = open_features("imagenet", reals, device="cpu")
    network = timm.create_model(NAME, num_classes=0).eval()
    load_imagenet(network)
    images = np.array(reals.images[:3])
    shown = interpolate(torch.from_numpy(images).float(), (224, 224), mode="bicubic", antialias=True).clamp(0, 255)
    with torch.inference_mode():
        expected = network.global_pool(network.forward_features(shown.expand(-1, 3, -1, -1) / 127.5 - 1))
    np.testing.assert_allclose(space(images), expected.numpy(), atol=1e-3)
    assert space.dims == expected.shape[1] == 1280 and space.comparable.startswith("Not comparable with published FID")


def test_random_features_are_the_same_in_every_process_and_version():
    network = RandomFeatures(32)
    images = torch.arange(3 * 32 * 32, dtype=torch.int64).remainder(251).to(torch.uint8).reshape(1, 3, 32, 32)
    found = network(images)[0]
    # Pinned: if these change, numbers measured before can no longer be compared; raise the version in the key then.
    assert found.shape == (192,)
    assert found[[0, 40, 100, 191]].tolist() == pytest.approx(PINNED, rel=1e-3)


PINNED = [0.432626, 0.662295, 0.711013, 0.842257]


@pytest.mark.parametrize("resolution", [16, 32, 64, 128, 200])
@pytest.mark.parametrize("channels", [1, 3])
def test_random_features_take_any_resolution_grey_or_colour(resolution, channels):
    images = torch.randint(0, 256, (2, channels, resolution, resolution), dtype=torch.uint8)
    network = RandomFeatures(resolution)
    assert network(images).shape == (2, network.dims) and 180 <= network.dims <= 192


def test_grey_is_the_same_as_three_equal_channels():
    grey = torch.randint(0, 256, (2, 1, 16, 16), dtype=torch.uint8)
    network = RandomFeatures(16)
    assert torch.allclose(network(grey), network(grey.expand(-1, 3, -1, -1)), atol=1e-6)


def test_every_space_says_that_it_is_not_comparable_with_published_fid(spaces):
    for space in spaces.values():
        assert space.comparable.startswith("Not comparable with published FID")
    assert (
        "10 classes" in spaces["classes"].comparable and "% accuracy on held-out reals" in spaces["classes"].comparable
    )


def test_the_class_network_is_trained_once_and_cached(reals, spaces, monkeypatch):
    monkeypatch.setattr("fakegen.quality.classifier._train", lambda *_: pytest.fail("it was learned again"))
    again = open_features("classes", reals, device="cpu")
    images = np.array(reals.images[:10])
    assert again.key == spaces["classes"].key and np.array_equal(again(images), spaces["classes"](images))


def test_a_damaged_class_network_is_trained_again(reals, spaces, monkeypatch, tmp_path):
    shutil.copytree(cache_home() / "features", tmp_path / "features")
    monkeypatch.setenv("FAKELAB_CACHE", str(tmp_path))
    kept = tmp_path / "features" / f"{spaces['classes'].key}.safetensors"
    kept.write_bytes(kept.read_bytes()[:1000])
    monkeypatch.setattr("fakegen.quality.classifier._STEPS", 3)
    assert open_features("classes", reals, device="cpu").dims == 128
    assert len(kept.read_bytes()) > 1000


def test_training_the_class_network_leaves_the_random_state_unchanged(reals, monkeypatch, tmp_path):
    monkeypatch.setenv("FAKELAB_CACHE", str(tmp_path))
    monkeypatch.setattr("fakegen.quality.classifier._STEPS", 2)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    open_features("classes", reals, device="cpu")
    assert torch.equal(torch.rand(3), expected)


def test_auto_uses_imagenet_for_photographs_else_classes_if_there_are_some_else_random(reals):
    one_class = load_reals("digits:3", resolution=16, shares=(80, 10, 10), seed=0)
    assert (choose_features(reals), choose_features(one_class)) == ("classes", "random")
    in_colour, large = np.repeat(reals.images[:20], 3, axis=1), np.zeros((20, 1, 64, 64), np.uint8)
    for images in (in_colour, large):
        assert choose_features(dataclasses.replace(reals, images=images)) == "imagenet"


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("inceptoin", {}, "Did you mean 'inception'"),
        ("classes", {}, "two classes"),
        ("random", {"weights": "x.pth"}, "--features inception"),
    ],
)
def test_a_wrong_request_gives_a_one_line_error(name, options, words):
    one_class = load_reals("digits:3", resolution=16, shares=(80, 10, 10), seed=0)
    with pytest.raises(UserError, match=words):
        open_features(name, one_class, device="cpu", **options)


def test_a_run_of_one_class_uses_features_of_other_classes(reals, spaces):
    one_class = load_reals("digits:3", resolution=32, shares=(60, 20, 20), seed=0)
    borrowed = open_features("auto", one_class, device="cpu", classes_from=reals)
    assert borrowed.key == spaces["classes"].key
    assert "10 classes of digits" in borrowed.comparable
    with pytest.raises(UserError, match="--classes-from applies only to the features classes"):
        open_features("random", one_class, device="cpu", classes_from=reals)


def test_features_of_grey_images_are_refused_for_a_run_in_colour(reals):
    colour = dataclasses.replace(reals, images=np.repeat(reals.images[:20], 3, axis=1))
    with pytest.raises(UserError, match="are grey, those of the run in colour"):
        open_features("auto", colour, device="cpu", classes_from=reals)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The folder of a small CLIP image encoder with random weights."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("clip")
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPVisionConfig(**small, image_size=32, patch_size=8, projection_dim=16)
    torch.manual_seed(0)
    transformers.CLIPVisionModelWithProjection(config).save_pretrained(folder, safe_serialization=True)
    return folder


def test_clip_features_are_the_normalised_embeddings_of_the_model_in_a_folder(reals, clip):
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    space = open_features("clip", reals, weights=clip, device="cpu")
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    features = torch.from_numpy(space(images))
    prepared = CLIPImageProcessor(do_resize=False, do_center_crop=False)(list(images), return_tensors="pt")
    with torch.no_grad():
        theirs = CLIPVisionModelWithProjection.from_pretrained(clip).eval()(**prepared).image_embeds
    expected = torch.nn.functional.normalize(theirs, dim=1)
    torch.testing.assert_close(features, expected, atol=2e-5, rtol=0)
    assert torch.cdist(features, features).fill_diagonal_(1).min() > 1e-3  # two images differ by more than that
    assert space(np.array(reals.images[:2])).shape == (2, 16)  # grey, and of another size
    assert space.kernel == "gaussian" and "CMMD" in space.comparable and "another encoder" in space.comparable


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("none given", "the features clip need weights"),
        ("no folder", "holds no CLIP model"),
        ("cut", "could not be read as a CLIP model"),
        ("other tensors", "weights without"),
    ],
)
def test_a_folder_without_a_clip_model_is_refused(reals, clip, tmp_path, damage, words):
    from safetensors.torch import save_file

    folder = tmp_path / "clip"
    shutil.copytree(clip, folder)
    if damage == "cut":
        (folder / "model.safetensors").write_bytes((clip / "model.safetensors").read_bytes()[:900])
    if damage == "other tensors":
        save_file({"other": torch.zeros(3)}, folder / "model.safetensors", metadata={"format": "pt"})
    given = {"none given": None, "no folder": tmp_path / "nowhere"}.get(damage, folder)
    with pytest.raises(UserError, match=words):
        open_features("clip", reals, weights=given, device="cpu")
