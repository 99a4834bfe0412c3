"""Known answers: closed forms, torchmetrics, plain loops, and values that torch-fidelity 0.4.0 gave."""

import numpy as np
import pytest
import torch

from fakecore.errors import UserError
from fakegen.quality.distances import density_coverage, diversity, frechet_distance, kernel_distance, precision_recall


def normal(n, dims, seed, mean=0.0, scale=1.0):
    return np.random.default_rng(seed).standard_normal((n, dims)) * scale + mean


def with_moments(n, mean, deviations, seed=0):
    """Points whose sample mean and covariance are exactly these (diagonal)."""
    x = normal(n, len(mean), seed)
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T  # covariance: identity
    return x * deviations + mean


def test_frechet_is_the_closed_form_for_gaussians():
    a = with_moments(500, np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0]))
    b = with_moments(300, np.array([1.0, 1.0, 0.0]), np.array([2.0, 2.0, 0.5]), seed=1)
    expected = (1 + 0 + 4) + (1 - 2) ** 2 + 0 + (3 - 0.5) ** 2  # |mean - mean|^2 + sum of (s - s')^2
    assert frechet_distance(a, b)[0] == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(b, a)[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "m", "dims"), [(60, 80, 200), (300, 250, 20)])
def test_frechet_is_that_of_torchmetrics(n, m, dims):
    from torchmetrics.image.fid import _compute_fid

    a, b = normal(n, dims, 0), normal(m, dims, 1, mean=0.3)
    moments = [torch.from_numpy(part) for x in (a, b) for part in (x.mean(axis=0), np.cov(x.T))]
    assert frechet_distance(a, b)[0] == pytest.approx(_compute_fid(*moments).item(), rel=1e-4)


def test_equal_sets_are_at_distance_zero():
    a = normal(300, 64, 0)
    assert 0 <= frechet_distance(a, a.copy())[0] < 1e-6
    assert precision_recall(a, a.copy()) == (1.0, 1.0)
    assert diversity(a, a.copy()) == pytest.approx(1.0, abs=1e-12)
    kernel, error = kernel_distance(a, normal(300, 64, 1))
    assert abs(kernel) < 3 * error  # unbiased: near 0, on either side of it


def test_kernel_distance_is_that_of_torchmetrics_at_equal_counts():
    from torchmetrics.image.kid import poly_mmd

    a, b = normal(120, 16, 0), normal(120, 16, 1, mean=0.2)
    theirs = poly_mmd(torch.from_numpy(a), torch.from_numpy(b)).item()
    assert kernel_distance(a, b)[0] == pytest.approx(theirs, rel=1e-9)


def test_kernel_distance_is_the_u_statistic_at_unequal_counts():
    a, b = normal(7, 3, 0), normal(5, 3, 1)

    def k(x, y):
        return (x @ y / 3 + 1) ** 3

    within_a = np.mean([k(a[i], a[j]) for i in range(7) for j in range(7) if i != j])
    within_b = np.mean([k(b[i], b[j]) for i in range(5) for j in range(5) if i != j])
    between = np.mean([k(x, y) for x in a for y in b])
    assert kernel_distance(a, b)[0] == pytest.approx(within_a + within_b - 2 * between, rel=1e-9)


def test_the_gaussian_kernel_is_that_of_cmmd():
    a, b = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in (normal(7, 5, 0), normal(9, 5, 1)))

    def mean(left, right, same):
        pairs = [(x, y) for i, x in enumerate(left) for j, y in enumerate(right) if not (same and i == j)]
        return np.mean([np.exp(-((x - y) ** 2).sum() / (2 * 10**2)) for x, y in pairs])

    expected = 1000 * (mean(a, a, True) + mean(b, b, True) - 2 * mean(a, b, False))
    assert kernel_distance(a, b, "gaussian")[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("distance", [kernel_distance, frechet_distance])
def test_the_standard_error_is_the_spread_of_repeated_measurements(distance):
    repeats = [distance(normal(150, 8, 2 * i), normal(250, 8, 2 * i + 1, mean=0.4, scale=1.2)) for i in range(60)]
    values, errors = np.array(repeats).T
    assert np.mean(errors) == pytest.approx(values.std(ddof=1), rel=0.3)


def test_precision_and_recall_equal_a_loop_implementation():
    reals, fakes = normal(40, 2, 0), normal(30, 2, 1, mean=0.7, scale=0.6)

    def share_among(asked, members, k=3):
        reach = [sorted(np.linalg.norm(m - o) for o in members)[k] for m in members]  # [0] is itself
        return np.mean([any(np.linalg.norm(x - m) <= r for m, r in zip(members, reach, strict=True)) for x in asked])

    precision, recall = precision_recall(reals, fakes)
    assert (precision, recall) == (share_among(fakes, reals), share_among(reals, fakes))
    assert precision > recall  # fakes are in the reals' midst and cover only that: the swap would show


def test_density_and_coverage_equal_a_loop_implementation():
    reals, fakes = normal(40, 2, 0), normal(30, 2, 1, mean=0.7, scale=0.6)
    reach = [sorted(np.linalg.norm(m - o) for o in reals)[5] for m in reals]  # [0] is itself
    inside = np.array([[np.linalg.norm(y - x) <= r for x, r in zip(reals, reach, strict=True)] for y in fakes])
    density, error, coverage = density_coverage(reals, fakes)
    assert (density, coverage) == (pytest.approx(inside.sum(axis=1).mean() / 5), inside.any(axis=0).mean())
    assert error == pytest.approx(inside.sum(axis=1).std(ddof=1) / 5 / np.sqrt(30))


def test_density_is_one_and_coverage_near_its_limit_for_equal_distributions():
    density, error, coverage = density_coverage(normal(1500, 4, 0), normal(1500, 4, 1))
    assert abs(density - 1) < 5 * error and coverage == pytest.approx(1 - 2**-5, abs=0.02)


def test_torch_fidelity_gives_the_same_values():
    """torch-fidelity 0.4.0 on the same float64 arrays: fid_statistics_to_metric, and prc_features_to_metric with k = 3."""
    reals, fakes = normal(400, 6, 10), normal(500, 6, 11, mean=0.5, scale=0.8)
    assert frechet_distance(reals, fakes)[0] == pytest.approx(FIDELITY_FRECHET, rel=1e-6)
    assert precision_recall(reals, fakes) == pytest.approx(FIDELITY_PRECISION_RECALL, abs=1e-6)


FIDELITY_FRECHET = 2.114543284147347
FIDELITY_PRECISION_RECALL = (0.944, 0.635)


def test_diversity_is_near_zero_for_one_image_repeated():
    reals = normal(100, 10, 0)
    assert diversity(reals, np.repeat(reals[:1], 50, axis=0)) == pytest.approx(0, abs=1e-6)
    assert diversity(reals, reals * 0.5) == pytest.approx(0.5)


def test_blocks_do_not_change_the_numbers(monkeypatch):
    a, b = normal(50, 4, 0), normal(60, 4, 1)
    measures = (kernel_distance, precision_recall, density_coverage, diversity)
    whole = [measure(a, b) for measure in measures]
    monkeypatch.setattr("fakegen.quality.distances._ROWS", 7)
    for measure, expected in zip(measures, whole, strict=True):
        assert measure(a, b) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("distance", "least"),
    [(frechet_distance, 2), (kernel_distance, 3), (precision_recall, 4), (density_coverage, 6), (diversity, 2)],
)
def test_too_few_images_are_refused(distance, least):
    enough = normal(10, 3, 0)
    distance(enough, enough[:least])
    for reals, fakes in ((enough, enough[: least - 1]), (enough[: least - 1], enough)):
        with pytest.raises(UserError, match="too few images"):
            distance(reals, fakes)


def test_features_that_are_not_finite_are_refused():
    bad = normal(10, 3, 0)
    bad[4, 1] = np.nan
    with pytest.raises(UserError, match="fake images are not all finite"):
        frechet_distance(normal(10, 3, 1), bad)
