import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fakelab.race.baselines import BASELINES, COIN, METADATA, PIXEL, baseline_scores
from fakelab.race.cells import key_of, load_cell, save_cell
from fakelab.race.numbers import auroc_error, correlation, detection_metrics, headline, over_seeds


def row(epoch, auroc, seed=0, **more):
    own = {"run": "r", "detector": "d", "train_epoch": epoch, "test_epoch": epoch, "degrade": "none", "seed": seed}
    return {**own, "auroc": auroc, "auroc_lo": auroc - 0.02, "auroc_hi": auroc + 0.02, **more}


def test_the_standard_error_of_auroc_agrees_with_simulation():
    random = np.random.default_rng(0)
    drawn = [(random.normal(0, 1, 80), random.normal(0.7, 1.5, 60)) for _ in range(400)]
    found = [roc_auc_score([0] * 80 + [1] * 60, np.concatenate(pair)) for pair in drawn]
    assert np.mean([auroc_error(*pair) for pair in drawn]) == pytest.approx(np.std(found), rel=0.1)
    ties = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0])
    assert detection_metrics(*ties, 0.5)["auroc"] == pytest.approx(
        roc_auc_score([0, 0, 0, 1, 1, 1], np.concatenate(ties)), abs=1e-6
    )


def test_high_logits_are_fake():
    found = detection_metrics(np.array([-2.0, -1.0, 0.5]), np.array([1.0, 2.0]), 0.0)
    assert found["auroc"] == 1 and found["accuracy"] == pytest.approx(0.8) and found["auroc_hi"] == 1


def test_the_interval_includes_the_variance_over_seeds():
    alike = over_seeds([row(1, 0.8, seed) for seed in range(3)])
    apart = over_seeds([row(1, value, seed) for seed, value in enumerate((0.7, 0.8, 0.9))])
    assert alike["mean"] == pytest.approx(0.8) and apart["mean"] == pytest.approx(0.8)
    assert alike["high"] - alike["low"] == pytest.approx(0.04, abs=1e-3)
    assert apart["high"] - apart["low"] > 0.3 and over_seeds([]) is None


def test_the_correlation_is_positive_if_nearer_fakes_are_harder():
    distances = {0: 100.0, 1: 50.0, 2: 20.0, 3: 10.0, 4: 5.0, 5: 4.0}
    falling = [row(epoch, 1 - 0.1 * epoch, seed) for epoch in distances for seed in (0, 1)]
    found = correlation(falling, distances)
    assert found["rho"] == pytest.approx(1) and found["low"] > 0.9
    rising = [row(epoch, 0.5 + 0.1 * epoch) for epoch in distances]
    assert correlation(rising, distances)["rho"] == pytest.approx(-1)
    assert "too few" in correlation(falling[:6], distances)["why"]
    once = [row(epoch, 0.99 if epoch == 5 else 1.0) for epoch in distances]
    assert "same at nearly all" in correlation(once, distances)["why"]
    assert "same at all" in correlation([row(epoch, 1.0) for epoch in distances], distances)["why"]


def test_the_headline_names_the_detector_that_loses_most():
    rows = [row(a, b) for a, b in ((0, 1.0), (5, 0.99), (9, 0.95))]
    rows += [row(5, 0.6, test_epoch=9)]
    runs = [{"name": "r", "epochs": {"0": 0, "5": 5, "last": 9}}]
    far = {"r": {epoch: {"frechet": 10.0 - epoch} for epoch in (0, 5, 9)}}
    text = headline(rows, runs, far, ["d"])
    assert "to real images changes from 10 to 1." in text and "epoch 9: d 0.950." in text
    assert "If trained on epoch 5, d reaches AUROC 0.600 on the fakes of epoch 9." in text


def test_metadata_has_auroc_one_half_and_a_pixel_finds_a_planted_cue():
    random = np.random.default_rng(0)
    reals, fakes = (tuple(random.integers(0, 200, (2, 60, 3, 8, 8), dtype=np.uint8)) for _ in range(2))
    for part in fakes:
        part[:, 1, 2, 3] += 50
    found = baseline_scores(reals, fakes, 0)
    assert found.keys() == BASELINES.keys()
    auroc = {name: detection_metrics(*scores, 0.5)["auroc"] for name, scores in found.items()}
    assert auroc[METADATA] == 0.5 and 0.35 < auroc[COIN] < 0.65 and auroc[PIXEL] > 0.65


def test_the_key_of_a_cell_depends_on_all_its_facts(tmp_path):
    rows = np.arange(4)
    assert key_of("x", a=1, rows=rows) == key_of("x", rows=rows.copy(), a=1) != key_of("x", a=1, rows=rows[::-1])
    save_cell(tmp_path, "x-1", {}, {"x": 3})
    assert load_cell(tmp_path, "x-1")[1]["x"] == 3 and load_cell(tmp_path, "x-2") is None
    (tmp_path / "x-1.json").write_text("{")
    assert load_cell(tmp_path, "x-1") is None


def test_a_cell_of_another_version_has_another_name(monkeypatch):
    before = key_of("x", a=1)
    monkeypatch.setattr("fakelab.race.cells.CELLS_VERSION", 99)
    assert key_of("x", a=1) != before
