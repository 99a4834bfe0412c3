"""`walk`: seamless, labelled films of latents that stay distributed as in training."""

import av
import numpy as np
import pytest
from PIL import Image

import fakegen
from fakecore.errors import UserError
from fakegen.runs.run import open_run
from fakegen.sampling.sampling import load_generator
from fakegen.sampling.walk import latent_loop


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_latents_are_distributed_as_in_training_and_the_path_is_closed(run, kind):
    generator = load_generator(open_run(run).checkpoint(2), "cpu")
    generator.facts["latent"] = kind
    paths = np.stack([latent_loop(generator, 0, tile, 40, 12) for tile in range(400)])  # (400, 40, 8)
    expected = 1.0 if kind == "normal" else 1 / np.sqrt(3)
    assert paths.std(axis=(0, 2)) == pytest.approx(np.full(40, expected), rel=0.05)  # at every moment
    assert kind == "normal" or np.abs(paths).max() <= 1
    steps = np.linalg.norm(np.diff(paths, axis=1, append=paths[:, :1]), axis=2)
    assert steps[:, -1].mean() == pytest.approx(
        steps.mean(), rel=0.1
    )  # from the last frame to the first as between others
    assert np.array_equal(latent_loop(generator, 0, 3, 40, 12), paths[3]) and not np.allclose(paths[3], paths[4])


def frames_of(path):
    with av.open(str(path)) as video:
        return [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)], video.metadata


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_a_film_has_its_frames_and_says_that_it_is_synthetic(run, tmp_path, suffix):
    out = tmp_path / f"walk{suffix}"
    facts = fakegen.walk(run, out, seconds=0.5, fps=10, tiles=3, truncation=2.0, device="cpu")
    assert (facts["frames"], facts["epoch"], facts["latent_seed"]) == (5, 2, 1) and facts["size"] == [480, 480]
    if suffix == ".mp4":
        frames, tags = frames_of(out)
        assert len(frames) == 5 and "SYNTHETIC" in tags["comment"]
    else:
        with Image.open(out) as film:
            assert film.size == (480, 480)
            # WebP joins frames that hardly differ, and those of an untrained run do.
            assert suffix == ".webp" or (film.n_frames, film.info["loop"]) == (5, 0)
            assert b"SYNTHETIC" in film.info.get("comment", b"") or b"trainedAlgorithmicMedia" in film.info["xmp"]


def test_truncation_makes_fakes_more_alike(run, tmp_path):
    spread = []
    for truncation in (0.0, 1.0):
        out = tmp_path / f"{truncation}.mp4"
        fakegen.walk(run, out, seconds=0.5, fps=10, tiles=4, truncation=truncation, device="cpu")
        spread.append(np.std([frame.astype(float) for frame in frames_of(out)[0]], axis=0).mean())
    assert spread[0] < 0.2 * spread[1]


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("a.avi", {}, "expected .mp4, .gif, .webp"),
        ("a.mp4", {"seconds": 0.1}, "--seconds is out of range"),
        ("a.mp4", {"tiles": 0}, "--tiles is out of range"),
        ("a.mp4", {"truncation": -1}, "--truncation is out of range"),
        ("a.mp4", {"epoch": 9}, "no checkpoint of epoch 9"),
        ("a.mp4", {"only": "three"}, "not conditional"),
    ],
)
def test_a_wrong_request_gives_a_one_line_error(run, tmp_path, name, options, words):
    with pytest.raises(UserError, match=words):
        fakegen.walk(run, tmp_path / name, device="cpu", **options)
    assert not list(tmp_path.iterdir())
