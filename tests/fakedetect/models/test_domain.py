import numpy as np
import pytest

from fakedetect import Detector
from fakedetect.models.domain import MAX_SHARE, fit_domain, split_tensors


@pytest.fixture(scope="module")
def training():
    """Points near a plane of three dimensions in twenty."""
    random = np.random.default_rng(0)
    plane = random.normal(size=(3, 20))
    return (random.normal(size=(1200, 3)) @ plane + 0.05 * random.normal(size=(1200, 20))).astype(np.float32), plane


@pytest.fixture(scope="module")
def domain(training):
    return fit_domain(training[0][:800], training[0][800:1000])


def test_few_unseen_images_of_the_same_kind_are_outside(domain, training):
    assert domain.outside(training[0][1000:]).mean() < 5 * MAX_SHARE


def test_what_lies_far_along_the_plane_or_off_it_is_outside(domain, training):
    points, plane = training
    assert domain.outside(points[1000:] + 30 * plane[0]).all()
    off = np.linalg.svd(plane)[2][10].astype(np.float32)  # at right angles to the plane
    assert domain.outside(points[1000:] + 3 * off).all()


@pytest.fixture(scope="module")
def kinds():
    """Features as a backbone's: many that a kind of picture raises together, above zero."""
    random = np.random.default_rng(1)
    raised = {kind: random.random(300) < 0.1 for kind in ("dogs", "faces")}

    def of(kind, n):
        return np.abs(random.normal(0.2, 0.2, (n, 300)) + raised[kind] * random.random((n, 300)) * 2)

    return of


@pytest.mark.parametrize("shortened", [0.2, 1])
def test_of_a_backbone_another_kind_of_picture_is_outside_however_short_its_features(kinds, shortened):
    domain = fit_domain(kinds("dogs", 800), kinds("dogs", 200), of_backbone=True)
    assert domain.whitening is None
    assert domain.outside(kinds("dogs", 300)).mean() < 5 * MAX_SHARE
    assert domain.outside(shortened * kinds("dogs", 300)).mean() < 5 * MAX_SHARE  # darker, not another subject
    assert domain.outside(shortened * kinds("faces", 300)).mean() > 0.9


def test_that_of_a_backbone_is_the_same_after_a_detour_through_tensors(kinds):
    domain = fit_domain(kinds("dogs", 800), kinds("dogs", 200), of_backbone=True)
    again, some = split_tensors(domain.tensors())[1], kinds("faces", 5)
    assert again.whitening is None and again.limit == pytest.approx(domain.limit)
    assert np.allclose(again.distances(some), domain.distances(some), rtol=1e-5)


def test_features_that_are_not_finite_are_outside(domain):
    assert domain.outside(np.full((2, 20), np.nan, np.float32)).all()


def test_it_is_the_same_after_a_detour_through_tensors(domain, training):
    rest, again = split_tensors({"weight": domain.tensors()["domain.mean"], **domain.tensors()})
    assert list(rest) == ["weight"]
    assert np.allclose(again.distances(training[0]), domain.distances(training[0]), rtol=1e-5)


def test_too_few_images_say_nothing(training):
    assert fit_domain(training[0][:5], training[0][5:9]) is None


def test_a_detector_says_of_foreign_pictures_that_they_are_foreign_and_is_unsure(trained, pictures):
    detector = Detector.load(trained.detector, "cpu")
    assert detector.domain is not None
    noise = np.random.default_rng(0).integers(0, 256, (20, 3, 16, 16), dtype=np.uint8)
    foreign = detector.judge(*detector.outputs(noise))
    known = detector.judge(*detector.outputs(pictures(20, "real", seed=77)))
    assert sum(one.outside_domain for one in foreign) >= 18 and sum(one.outside_domain for one in known) <= 3
    assert all(one.verdict == "unsure" for one in foreign if one.outside_domain)


def test_without_a_domain_nothing_is_said_of_it(detector, pictures):
    bare = Detector(detector.network, detector.facts, detector.device)
    assert {one.outside_domain for one in bare.judge(*bare.outputs(pictures(3, "real", seed=5)))} == {None}
