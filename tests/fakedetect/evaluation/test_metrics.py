import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, confusion_matrix, roc_auc_score

from fakedetect.evaluation import metrics
from fakedetect.evaluation.metrics import all_metrics, bootstrap_intervals, ranking_metrics, verdict_metrics
from fakedetect.models.calibration import Thresholds

LIMITS = Thresholds(0.6, 0.4, "fpr<=0.05", 0.05, 0.05, "validation split")


def overlapping(count: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    return labels, np.clip(0.5 + 0.15 * (2 * labels - 1) + random.normal(0, 0.2, count), 0, 1)


def best_tpr(labels: np.ndarray, p_fake: np.ndarray, max_fpr: float) -> float:
    """Return the best TPR over all thresholds."""
    tries = [np.inf, *np.unique(p_fake)]
    return max((p_fake[labels == 1] >= t).mean() for t in tries if (p_fake[labels == 0] >= t).mean() <= max_fpr)


def test_ranking_metrics_agree_with_scikit_learn():
    labels, p_fake = overlapping()
    found = ranking_metrics(labels, p_fake)
    assert found["auroc"] == pytest.approx(roc_auc_score(labels, p_fake))
    assert found["ap"] == pytest.approx(average_precision_score(labels, p_fake))


@pytest.mark.parametrize("decimals", [1, 6])
def test_a_resample_by_counts_has_the_metrics_of_its_images(decimals):
    labels, p_fake = overlapping()
    p_fake = np.round(p_fake, decimals)
    rows = np.random.default_rng(1).integers(0, len(labels), len(labels))
    found = metrics._Ranking(labels, p_fake).metrics(np.bincount(rows, minlength=len(labels)))
    assert found == pytest.approx(ranking_metrics(labels[rows], p_fake[rows]))
    assert found["auroc"] == pytest.approx(roc_auc_score(labels[rows], p_fake[rows]))
    assert found["ap"] == pytest.approx(average_precision_score(labels[rows], p_fake[rows]))


def test_auroc_is_1_when_fakes_score_high_and_0_when_reals_do():
    labels = np.array([0, 0, 1, 1])
    assert ranking_metrics(labels, np.array([0.1, 0.2, 0.8, 0.9]))["auroc"] == 1
    assert ranking_metrics(labels, np.array([0.8, 0.9, 0.1, 0.2]))["auroc"] == 0


def test_equal_error_rate_of_known_cases():
    labels = np.repeat([0, 1], 2000)
    assert ranking_metrics(labels, labels * 1.0)["eer"] == 0
    assert ranking_metrics(labels, 1.0 - labels)["eer"] == 1
    assert ranking_metrics(labels, np.full(4000, 0.5))["eer"] == pytest.approx(0.5)
    assert ranking_metrics(labels, np.random.default_rng(0).random(4000))["eer"] == pytest.approx(0.5, abs=0.03)
    scores = np.array([0.1, 0.2, 0.3, 0.8, 0.25, 0.7, 0.9, 0.95])  # at 0.7, one real above and one fake below
    assert ranking_metrics(np.repeat([0, 1], 4), scores)["eer"] == pytest.approx(0.25)


def test_tpr_at_fpr_of_a_known_case():
    """Of 100 reals, five lie above 0.5; of ten fakes, one above all reals, eight more above all but five."""
    reals = np.concatenate([np.linspace(0, 0.4, 95), [0.6, 0.61, 0.62, 0.63, 0.9]])
    fakes = np.array([0.95, *[0.55] * 8, 0.01])
    found = ranking_metrics(np.repeat([0, 1], [100, 10]), np.concatenate([reals, fakes]))
    assert found["tpr_at_fpr1"] == pytest.approx(0.1)
    assert found["tpr_at_fpr5"] == pytest.approx(0.9)


@pytest.mark.parametrize("decimals", [1, 2, 6])
def test_tpr_at_fpr_is_the_best_of_all_thresholds_ties_or_not(decimals):
    for seed in range(40):
        labels, p_fake = overlapping(240, seed)
        p_fake = np.round(p_fake, decimals)
        found = ranking_metrics(labels, p_fake)
        for name, limit in (("tpr_at_fpr1", 0.01), ("tpr_at_fpr5", 0.05)):
            assert found[name] == pytest.approx(best_tpr(labels, p_fake, limit)), (seed, name)


def test_tpr_at_fpr_of_chance_is_the_fpr():
    """Forty scores, each of one real and one fake: at an FPR of two in forty, the TPR is two in forty."""
    labels, p_fake = np.tile([0, 1], 40), np.repeat(np.linspace(0.1, 0.9, 40), 2)
    assert ranking_metrics(labels, p_fake)["tpr_at_fpr5"] == pytest.approx(0.05)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_gives_nan(label):
    found = ranking_metrics(np.full(5, label), np.linspace(0, 1, 5))
    assert found and all(math.isnan(value) for value in found.values())


def test_verdicts_and_confusion_of_a_known_case():
    labels = np.array([0, 0, 0, 1, 1, 1, 1])
    p_fake = np.array([0.1, 0.5, 0.6, 0.39, 0.4, 0.6, 0.9])
    found = verdict_metrics(labels, p_fake, LIMITS)
    assert found["confusion"] == [[2, 1], [2, 2]]
    assert found["verdicts"] == {
        "real": {"real": 1, "unsure": 1, "fake": 1},
        "fake": {"real": 1, "unsure": 1, "fake": 2},
    }
    assert (found["tpr"], found["fpr"]) == (0.5, pytest.approx(1 / 3))
    assert found["accuracy"] == pytest.approx(4 / 7)


def test_verdict_metrics_agree_with_scikit_learn():
    labels, p_fake = overlapping(seed=3)
    found, called = verdict_metrics(labels, p_fake, LIMITS), (p_fake >= 0.6).astype(int)
    assert found["confusion"] == confusion_matrix(labels, called).tolist()
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, called))


def test_intervals_contain_the_estimate_and_depend_on_the_seed_only():
    labels, p_fake = overlapping(seed=1)
    found = all_metrics(labels, p_fake, LIMITS, seed=4)
    for name in ("auroc", "ap", "eer", "tpr", "fpr", "balanced_accuracy"):
        low, high = found[f"{name}_interval"]
        assert low <= found[name] <= high and low < high, name
    assert found["interval"].startswith("95 %") and "images" in found["interval"]
    assert found["n_real"] + found["n_fake"] == 300
    assert bootstrap_intervals(labels, p_fake, LIMITS, seed=4)["auroc"] == found["auroc_interval"]
    assert bootstrap_intervals(labels, p_fake, LIMITS, seed=5)["auroc"] != found["auroc_interval"]


def test_intervals_widen_when_images_come_in_groups():
    labels, p_fake = overlapping(40, seed=2)
    labels, p_fake, groups = np.repeat(labels, 10), np.repeat(p_fake, 10), np.repeat(np.arange(40), 10).tolist()

    def width(**how) -> float:
        low, high = bootstrap_intervals(labels, p_fake, LIMITS, **how)["auroc"]
        return high - low

    alone = width()
    assert width(groups=groups) > 2 * alone
    assert width(groups=[None] * 400) == alone
    assert "groups" in all_metrics(labels, p_fake, LIMITS, groups=groups)["interval"]


def test_images_without_a_group_are_resampled_individually():
    labels, p_fake = overlapping(60, seed=5)
    groups = [None if row % 2 else f"video-{row}" for row in range(60)]
    mixed = bootstrap_intervals(labels, p_fake, LIMITS, groups=groups)["auroc"]
    alone = bootstrap_intervals(labels, p_fake, LIMITS)["auroc"]
    assert mixed == pytest.approx(alone, abs=0.04)
