"""`similar`: a generator finds its own fakes again, and its page says how near other images are."""

import json

import numpy as np
import pytest
import torch

import fakegen
from fakecore.errors import UserError
from fakecore.media.pixels import encode_png
from fakegen.quality import similar as similar_module
from fakegen.quality.perceptual import Perceptual, squared_distances
from fakegen.quality.similar import project, verdict_of


@pytest.fixture(scope="module")
def generator(run):
    """The generator of the tiny run, whose grey images get the contrast of trained ones."""
    found = fakegen.load_generator(run / "checkpoints" / "epoch-0002", "cpu")
    with torch.no_grad():
        list(found.network.parameters())[-1].mul_(60)
    return found


@pytest.fixture(autouse=True)
def _start_from_few_fakes(monkeypatch):
    monkeypatch.setattr(similar_module, "_CANDIDATES", 1)


def test_the_perceptual_distance_grows_with_the_change_and_has_a_gradient():
    torch.manual_seed(0)
    image = torch.rand(1, 1, 16, 16) * 2 - 1
    network = Perceptual()
    near, far = (image + scale * torch.randn_like(image) for scale in (0.05, 0.5))
    distances = squared_distances(network(image), network(torch.cat([image, near, far])))[0]
    assert distances[0] < 1e-3 < distances[1] < distances[2]
    moved = near.requires_grad_(True)
    (network(moved) - network(image)).square().sum().backward()
    assert moved.grad.abs().sum() > 0


def test_a_search_comes_nearer_to_a_fake_of_the_generator_than_to_noise(generator):
    noise = np.random.default_rng(0).integers(0, 256, (1, *generator.batch(9, range(1)).shape[1:]), dtype=np.uint8)
    images = np.concatenate([generator.batch(9, range(1)), noise])
    first = project(generator, images, steps=1)
    found = project(generator, images, steps=25)
    assert found[0].distance < 0.5 * first[0].distance and found[0].distance < 0.1 * found[1].distance
    again = generator.render(torch.from_numpy(found[0].latent)[None])
    assert np.array_equal(again[0], found[0].nearest)  # the latent makes the fake that is shown
    assert 0.79 < np.linalg.norm(found[1].latent) / np.sqrt(found[1].latent.size) < 1.21


def test_verdicts_compare_with_the_generators_own_fakes_and_with_reals():
    own, reals = [0.1, 0.2], [1.0, 2.0]
    assert [verdict_of(d, own, reals) for d in (0.05, 0.2, 0.4, 0.5)] == ["own", "own", "near", "other"]


def test_the_command_writes_a_page_and_its_numbers(run, generator, tmp_path, fakelab, monkeypatch):
    monkeypatch.setattr(similar_module, "_REFERENCES", 2)
    (tmp_path / "fake.png").write_bytes(encode_png(generator.batch(9, range(1))[0], "fake"))
    out = tmp_path / "page.html"
    facts = json.loads(fakelab("similar", run, tmp_path / "fake.png", "--out", out, "--steps", 2, "--json").stdout)
    assert len(facts["own"]) == len(facts["reals"]) == 2
    (row,) = facts["images"]
    assert row["image"] == str(tmp_path / "fake.png") and len(row["latent"]) == generator.facts["generator"]["z_dim"]
    assert f"{row['distance']:.3g}" in out.read_text() and out.read_text().count("<img") == 2 * 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "--steps is out of range"),
        ({"images": []}, "the number of images is out of range"),
        ({"images": ["no.png"]}, "no.png cannot be used"),
        ({"out": "page.txt"}, "a new .html file"),
    ],
)
def test_a_wrong_request_gives_a_one_line_error(run, tmp_path, options, words):
    asked = {
        "images": [run / "snapshots" / "epoch-0000.png"],
        "out": tmp_path / "page.html",
        "device": "cpu",
        **options,
    }
    with pytest.raises(UserError, match=words):
        fakegen.similar(run, **asked)
    assert not (tmp_path / "page.html").exists()
