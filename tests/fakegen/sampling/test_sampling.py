from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch

import fakegen
from fakecore.errors import UserError
from fakecore.media.pixels import read_image
from fakecore.sets.imageset import read_imageset
from fakegen.sampling.sampling import (
    BLOCK,
    Generator,
    block_latents,
    blocks_together,
    from_pixels,
    load_generator,
    to_pixels,
)


@pytest.fixture(scope="module")
def generator(run):
    return load_generator(run / "checkpoints" / "epoch-0002", "cpu")


def test_image_i_does_not_depend_on_where_sampling_starts(generator):
    whole = list(generator.images(seed=5, start=0, count=150))
    for start, count in ((0, 1), (63, 2), (64, 64), (149, 1), (7, 100)):
        for offset, image in enumerate(generator.images(seed=5, start=start, count=count)):
            assert np.array_equal(image, whole[start + offset])


def test_image_i_does_not_depend_on_the_number_of_threads(generator):
    one = list(generator.images(seed=1, start=0, count=BLOCK))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        four = list(generator.images(seed=1, start=0, count=BLOCK))
        assert torch.get_num_threads() == 4  # left as it was found
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(one, four)


def test_blocks_that_are_made_together_are_aligned_and_shared_by_threads(generator):
    groups, calls, render = replace(generator, together=4), [], Generator._render_blocks

    def counted(self, seed, numbers, only):
        calls.append(numbers)
        return render(self, seed, numbers, only)

    with mock.patch.object(type(groups), "_render_blocks", counted), ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda k: groups.batch(3, range(64 * k, 64 * k + 64)), range(8)))
    assert sorted(set(calls), key=lambda one: one.start)[:2] == [range(4), range(4, 8)] and len(calls) <= 3  # one ahead
    expected = generator.batch(3, range(512))
    assert np.abs(np.concatenate(parts).astype(int) - expected).max() <= 1  # the batch decides the last bits
    assert np.array_equal(groups.batch(3, range(250, 260)), np.concatenate(parts)[250:260])
    assert [blocks_together(side) for side in (16, 64, 128, 512)] == [16, 16, 4, 1]


@pytest.mark.gpu
def test_on_a_gpu_image_i_does_not_depend_on_where_sampling_starts(run):
    generator = load_generator(run / "checkpoints" / "epoch-0002", "cuda")
    whole = generator.batch(7, range(3000))
    assert np.array_equal(generator.batch(7, range(1000, 1100)), whole[1000:1100])
    assert (
        np.abs(
            whole[:64].astype(int) - load_generator(run / "checkpoints" / "epoch-0002", "cpu").batch(7, range(64))
        ).mean()
        < 3
    )


def test_another_seed_and_another_index_are_other_images(generator):
    zero, one = generator.images(seed=0, start=0, count=2)
    other = next(generator.images(seed=1, start=0, count=1))
    assert not np.array_equal(zero, one) and not np.array_equal(zero, other)


def test_latents_are_standard_normal_and_pinned():
    latents = np.stack([block_latents(0, number, 100) for number in range(50)])
    assert abs(latents.mean()) < 0.01 and abs(latents.std() - 1) < 0.01
    # Pinned: if this changes, every fake set in the world would be made of other images than its manifest says.
    assert np.allclose(block_latents(0, 0, 2)[0], [1.117622, -1.3871249], atol=1e-6)


def test_value_range_maps_to_pixels_and_back():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    for value_range in ((-1.0, 1.0), (0.0, 1.0)):
        floats = from_pixels(pixels, value_range)
        assert (floats.min().item(), floats.max().item()) == pytest.approx(value_range)
        assert np.array_equal(to_pixels(floats, value_range), pixels.numpy())
    assert to_pixels(torch.tensor([-9.0, 9.0]), (-1, 1)).tolist() == [0, 255]


def test_sample_writes_the_images_of_the_generator_without_data(run, tmp_path, generator):
    facts = fakegen.sample(run, tmp_path / "set", count=130, seed=3)
    found = read_imageset(tmp_path / "set")
    assert sum(part["fake"] for part in facts["counts"].values()) == len(found.records) == 130
    expected = list(generator.images(seed=3, start=0, count=130))
    for record in found.records:
        assert (record.label, record.epoch, record.latent_seed, record.run) == ("fake", 2, 3, run.name)
        image = read_image(found.path(record)).transpose(2, 0, 1)  # a grey file decodes to three equal channels
        assert np.array_equal(image[:1], expected[record.index])


def test_sample_differs_from_the_runs_own_set_by_default(run, tmp_path):
    facts = fakegen.sample(str(run), str(tmp_path / "set"), count=3)
    assert facts["origin"]["latent_seed"] == 1  # the run's own was 0


def test_jpeg_is_written_on_request(run, tmp_path):
    facts = fakegen.sample(run, tmp_path / "set", count=3, image_format="jpeg")
    assert facts["writer"]["format"] == "jpeg"
    files = list((tmp_path / "set").rglob("*.jpg"))
    assert len(files) == 3 and files[0].read_bytes()[:2] == b"\xff\xd8"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epoch": 9}, "0, 1, 2"),
        ({"count": 0}, "1 or more"),
        ({"image_format": "pgn"}, "Did you mean 'png'"),
    ],
)
def test_a_wrong_request_gives_a_one_line_error(run, tmp_path, options, words):
    with pytest.raises(UserError, match=words):
        fakegen.sample(run, tmp_path / "set", **{"count": 3, **options})


def test_a_folder_in_use_is_never_overwritten(run, tmp_path):
    fakegen.sample(run, tmp_path / "set", count=3)
    with pytest.raises(UserError, match="--resume"):
        fakegen.sample(run, tmp_path / "set", count=3)
    with pytest.raises(UserError, match="seed: 1 -> 77"):
        fakegen.sample(run, tmp_path / "set", count=9, seed=77, resume=True)
    fakegen.sample(run, tmp_path / "set", count=9, resume=True)
    assert len(read_imageset(tmp_path / "set").records) == 9


def test_a_detector_is_not_a_checkpoint_of_a_gan(tmp_path):
    from fakecore.runs.checkpoint import save_checkpoint

    save_checkpoint(tmp_path / "x", {"head.weight": torch.zeros(1)}, {"kind": "detector"})
    with pytest.raises(UserError, match="not a checkpoint of a GAN"):
        load_generator(tmp_path / "x")
