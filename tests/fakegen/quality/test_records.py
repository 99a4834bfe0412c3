import dataclasses
import shutil

import numpy as np
import pytest

from fakecore.errors import UserError
from fakecore.files import append_jsonl, read_json, read_jsonl
from fakecore.runs.cache import cache_home
from fakegen.quality.records import (
    Collapse,
    Quality,
    best_of,
    draw_fakes,
    measure,
    open_reference,
    read_quality,
    record,
    remarks,
)
from fakegen.runs.reals import load_reals
from fakegen.runs.run import open_run
from fakegen.sampling.sampling import load_generator


@pytest.fixture(scope="module")
def reals():
    return load_reals("digits", resolution=16, shares=(60, 20, 20), seed=0)


@pytest.fixture(scope="module")
def reference(reals):
    return open_reference(reals, "random", device="cpu")


@pytest.fixture
def own_run(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    return open_run(tmp_path / "run")


def row(epoch, frechet, diversity=0.8, settings="a", **changes):
    facts = {field.name: 0.0 for field in dataclasses.fields(Quality)}
    facts |= {"epoch": epoch, "frechet": frechet, "diversity": diversity, "settings": settings, "features": "random"}
    return Quality(**{**facts, "comparable": "Not comparable.", "checkpoint": "", "n_fake": 500, **changes})


def test_training_reals_score_better_than_noise_and_are_near_copies(reals, reference):
    copies = measure(np.array(reals.images[reals.train_rows()[:600]]), reference)
    noise = measure(np.random.default_rng(0).integers(0, 256, (600, 1, 16, 16), dtype=np.uint8), reference)
    assert copies.frechet < 0.02 * noise.frechet and copies.kernel < 0.02 * noise.kernel
    assert copies.kernel < 5 * copies.kernel_se < noise.kernel
    assert copies.precision > 0.7 and copies.recall > 0.7 and noise.precision == noise.recall == 0
    assert 0.8 < copies.diversity < 1.2
    assert copies.near_copies == 1 and noise.near_copies == 0
    assert copies.floor < 1.5 * copies.frechet and noise.floor == copies.floor


def test_every_measurement_states_counts_features_and_comparability(reals, reference):
    found = measure(np.array(reals.images[:50]), reference, epoch=3)
    assert (found.epoch, found.n_fake, found.n_real, found.features) == (
        3,
        50,
        (reals.splits != "train").sum(),
        "random",
    )
    assert found.dims == reference.space.dims and "Not comparable with published FID" in found.comparable


def test_one_image_repeated_has_no_diversity(reals, reference):
    assert measure(np.repeat(reals.images[:1], 40, axis=0), reference).diversity < 0.01


def test_the_reference_is_cached_and_changes_with_its_images(reals, reference, monkeypatch):
    from fakegen.quality.features import FeatureSpace

    def refuse(*_):
        raise AssertionError("features were computed again")

    monkeypatch.setattr(FeatureSpace, "__call__", refuse)
    again = open_reference(reals, "random", device="cpu")
    assert np.array_equal(again.training, reference.training)
    assert again.key == reference.key and np.array_equal(again.held_out, reference.held_out)
    assert again.copies_below == reference.copies_below
    assert list((cache_home() / "features").glob(f"{reference.key}.*"))
    with pytest.raises(AssertionError, match="computed again"):
        open_reference(load_reals("digits", resolution=16, shares=(60, 20, 20), seed=1), "random", device="cpu")


def test_the_floor_uses_as_many_training_reals_as_fakes(reals, reference):
    few = open_reference(reals, "random", count=100, device="cpu")
    assert few.key == reference.key and few.training.shape == (100, few.space.dims)
    train = reference.space(reals.images[reals.train_rows()])
    assert {row.tobytes() for row in few.training} <= {row.tobytes() for row in train}
    images = np.array(reals.images[:100])
    assert measure(images, few).floor == measure(images, reference).floor  # of the first 100 either way


def test_fakes_are_measured_against_held_out_reals_only(reals, reference):
    expected = reference.space(reals.images[reals.splits != "train"])
    assert np.array_equal(np.sort(reference.held_out, axis=0), np.sort(expected, axis=0))


def test_a_damaged_reference_is_computed_again(reals, reference, monkeypatch, tmp_path):
    shutil.copytree(cache_home() / "features", tmp_path / "features")
    monkeypatch.setenv("FAKELAB_CACHE", str(tmp_path))
    kept = tmp_path / "features" / f"{reference.key}.safetensors"
    kept.write_bytes(kept.read_bytes()[:100])
    assert np.array_equal(open_reference(reals, "random", device="cpu").held_out, reference.held_out)


def test_too_few_held_out_reals_are_refused(reals):
    splits = np.where(np.arange(len(reals.splits)) < 3, "test", "train")
    with pytest.raises(UserError, match="held-out"):
        open_reference(dataclasses.replace(reals, splits=splits), "random", device="cpu")


def test_a_remark_says_that_images_are_too_few_for_the_dimensions():
    enough, few = row(1, 2.0, n_real=500, dims=192), row(1, 2.0, n_real=36, dims=192, floor=0.5)
    assert remarks(enough) == ["Not comparable."]
    assert "Only 36 images for 192 dimensions" in remarks(few)[1] and "0.5" in remarks(few)[1]


def test_the_fakes_of_every_epoch_come_from_the_same_latents(run):
    generator = load_generator(run / "checkpoints" / "epoch-0002", "cpu")
    fakes = draw_fakes(generator, 0, 70)
    assert fakes.shape == (70, 1, 16, 16) and np.array_equal(fakes, draw_fakes(generator, 0, 70))
    assert np.array_equal(fakes[:10], draw_fakes(generator, 0, 10))
    assert not np.array_equal(fakes, draw_fakes(generator, 1, 70))


def test_run_json_records_the_best_epoch(own_run):
    for epoch, frechet in ((0, 9.0), (1, 4.0), (2, 3.0), (3, 5.0)):
        record(own_run, row(epoch, frechet, n_real=77))
    best = read_json(own_run.path / "run.json")["best"]
    assert (best["epoch"], best["frechet"], best["n_fake"], best["n_real"]) == (2, 3.0, 500, 77)
    assert best["features"] == "random" and "Not comparable" in best["comparable"]
    assert [line["frechet"] for line in read_jsonl(own_run.path / "quality.jsonl")] == [9.0, 4.0, 3.0, 5.0]


def test_numbers_of_other_settings_are_never_compared(own_run):
    record(own_run, row(1, 0.001, settings="other"))
    record(own_run, row(2, 5.0))
    assert read_json(own_run.path / "run.json")["best"]["epoch"] == 2
    assert [found.epoch for found in read_quality(own_run)] == [2]
    assert [found.epoch for found in read_quality(own_run, "other")] == [1]


def test_the_later_measurement_of_an_epoch_replaces_the_earlier(own_run):
    for epoch, frechet in ((2, 1.0), (1, 3.0), (2, 4.0)):
        record(own_run, row(epoch, frechet))
    assert [(found.epoch, found.frechet) for found in read_quality(own_run)] == [(1, 3.0), (2, 4.0)]
    assert read_json(own_run.path / "run.json")["best"]["epoch"] == 1


def test_truncated_lines_and_lines_of_another_version_are_skipped(own_run):
    record(own_run, row(1, 3.0))
    append_jsonl(own_run.path / "quality.jsonl", [{"epoch": 7, "frechet": 0.1}])
    with (own_run.path / "quality.jsonl").open("ab") as file:
        file.write(b'{"epoch": 2, "fre')
    assert [found.epoch for found in read_quality(own_run)] == [1]


def test_the_earliest_of_equally_good_epochs_is_best():
    assert best_of([row(1, 2.0), row(2, 1.0), row(3, 1.0)]).epoch == 2


def test_a_distance_that_stays_far_above_the_best_is_a_collapse():
    healthy = [row(0, 50.0), row(1, 9.0), row(2, 4.0)]
    assert Collapse().notice(healthy) is None
    assert Collapse().notice([*healthy, row(3, 11.0)]) is None  # once may be an accident
    assert Collapse().notice([*healthy, row(3, 11.0), row(4, 5.0)]) is None
    said = Collapse().notice([*healthy, row(3, 11.0), row(4, 12.0)])
    assert "epoch 4" in said and "12" in said and "epoch 2" in said and "3.0 times" in said and "2.5" in said
    assert Collapse(factor=4).notice([*healthy, row(3, 11.0), row(4, 12.0)]) is None


def test_fakes_without_diversity_are_a_collapse():
    healthy = [row(0, 50.0, 0.001), row(1, 9.0, 0.5)]
    assert Collapse().notice([*healthy, row(2, 8.0, 0.01)]) is None
    said = Collapse().notice([*healthy, row(2, 8.0, 0.02), row(3, 8.0, 0.01)])
    assert "epoch 3" in said and "1.0%" in said and "5%" in said


def test_a_slow_start_is_not_a_collapse_but_no_start_is():
    start = [row(epoch, 50.0 - epoch, 0.01) for epoch in range(5)]
    assert Collapse().notice(start) is None
    assert "5 times in a row" in Collapse().notice([*start, row(5, 45.0, 0.01)])
    assert Collapse().notice([*start, row(5, 45.0, 0.2)]) is None


def test_an_untrained_network_is_not_a_collapse():
    assert Collapse().notice([row(0, 50.0, 0.001)]) is None
