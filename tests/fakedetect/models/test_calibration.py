import numpy as np
import pytest
from scipy.special import expit, logit

from fakedetect.models.calibration import (
    Scaling,
    choose_for_tracks,
    choose_thresholds,
    expected_calibration_error,
    fit_scaling,
    fit_temperature,
    reliability,
    stated,
)


def draws():
    """(name, labels, p_fake, max_fpr, max_fnr): overlapping, separated, reversed, tied and equal scores, small and large."""
    random = np.random.default_rng(7)
    for number in range(400):
        n_real, n_fake = random.integers(1, 120, 2)
        kind = ("overlap", "separated", "reversed", "ties", "equal", "certain")[number % 6]
        centre = {"overlap": 1, "separated": 40, "reversed": -2, "ties": 1, "equal": 0, "certain": 300}[kind]
        logits = np.concatenate([random.normal(-centre, 1.5, n_real), random.normal(centre, 1.5, n_fake)])
        p_fake = expit(logits)
        if kind == "ties":
            p_fake = np.round(p_fake, 1)
        if kind == "equal":
            p_fake = np.full(len(p_fake), random.choice([0.0, 0.3, 0.5, 1.0]))
        labels = np.repeat([0, 1], [n_real, n_fake])
        order = random.permutation(len(labels))
        yield kind, labels[order], p_fake[order], *random.choice([0.0001, 0.01, 0.05, 0.1, 0.29, 0.5], 2)


def test_thresholds_keep_both_promises_and_stand_in_order():
    for kind, labels, p_fake, max_fpr, max_fnr in draws():
        found = choose_thresholds(labels, p_fake, max_fpr, max_fnr)
        case = (kind, len(labels), max_fpr, max_fnr)
        p_fake = stated(p_fake)
        assert (p_fake[labels == 0] >= found.fake_from).mean() <= max_fpr, case
        assert (p_fake[labels == 1] < found.real_below).mean() <= max_fnr, case
        assert found.real_below <= found.fake_from, case


def test_with_degraded_versions_the_limits_hold_in_each_version():
    random = np.random.default_rng(3)
    labels = np.tile(np.repeat([0, 1], 100), 3)
    p_fake = expit(np.concatenate([random.normal(c, 1, 100) for c in (-3, 2, -1, 3, -2, 1)]))
    found = choose_thresholds(labels, p_fake, 0.05, 0.05, versions=3)
    for own, p in zip(np.split(labels, 3), np.split(stated(p_fake), 3), strict=True):
        assert (p[own == 0] >= found.fake_from).mean() <= 0.05 and (p[own == 1] < found.real_below).mean() <= 0.05
    assert "100 real, 100 fake" in found.chosen_on and "2 degradations" in found.chosen_on


def test_where_classes_overlap_no_lower_threshold_would_keep_the_promise():
    random = np.random.default_rng(1)
    labels = np.repeat([0, 1], 200)
    p_fake = expit(np.concatenate([random.normal(-0.5, 1, 200), random.normal(0.5, 1, 200)]))
    found = choose_thresholds(labels, p_fake, 0.05, 0.05)
    assert found.real_below < found.fake_from
    assert (p_fake[labels == 0] >= found.fake_from - 1e-6).mean() > 0.05
    assert (p_fake[labels == 1] <= found.real_below).mean() > 0.05


@pytest.mark.parametrize(
    ("reals", "fakes", "expected"),
    [((0.1, 0.2), (0.8, 0.9), 0.5), ((0.1, 0.2), (0.3, 0.4), 0.3), ((0.6, 0.7), (0.8, 0.9), 0.7)],
)
def test_where_classes_are_apart_both_thresholds_are_the_place_in_the_gap_nearest_to_a_half(reals, fakes, expected):
    found = choose_thresholds(np.array([0, 0, 1, 1]), np.array([*reals, *fakes]), 0.05, 0.05)
    assert found.fake_from == found.real_below == pytest.approx(expected, abs=2e-6)


def test_thresholds_are_named_and_say_what_they_were_chosen_on():
    found = choose_thresholds(np.array([0, 0, 1]), np.array([0.1, 0.2, 0.9]), 0.05, 0.1)
    assert found.name == "fpr<=0.05"
    assert "2 real" in found.chosen_on and "1 fake" in found.chosen_on and "validation" in found.chosen_on


def test_thresholds_of_tracks_are_those_of_medians_of_people():
    random = np.random.default_rng(0)
    people = np.repeat(np.arange(60), 10)
    labels = np.tile([0, 1], 300)
    own = random.normal(0, 0.3, 60)[people] + 2.0 * (labels - 0.5)
    logits = (own + random.normal(0, 3, 600))[None]
    groups = [f"person {p}" for p in people]
    of_images = choose_thresholds(labels, expit(logits[0]), 0.05, 0.05)
    of_tracks = choose_for_tracks(labels, logits, groups, Scaling(1.0), of_images)
    assert (
        of_tracks.real_below == of_images.real_below < of_tracks.fake_from < of_images.fake_from
        and "60 real, 60 fake" in of_tracks.chosen_on
    )
    reals = [np.median(logits[0][(people == p) & (labels == 0)]) for p in range(60)]
    assert (expit(reals) >= of_tracks.fake_from).mean() <= 0.05
    alone: list = [None, *groups[1:]]
    assert choose_for_tracks(labels, logits, alone, Scaling(1.0), of_images) is not None
    assert choose_for_tracks(labels[:150], logits[:, :150], groups[:150], Scaling(1.0), of_images) is None, (
        "too few people"
    )


def test_p_fake_rises_with_the_logit_and_a_higher_temperature_is_less_sure():
    assert Scaling(3.0).probability(np.array([0.0])) == pytest.approx([0.5])
    assert (np.diff(Scaling(2.0, 1.0).probability(np.linspace(-5, 5, 50))) > 0).all()
    assert 0.5 < Scaling(4.0).probability(np.array([2.0]))[0] < Scaling(1.0).probability(np.array([2.0]))[0]


@pytest.mark.parametrize(("temperature", "bias"), [(0.3, 0.0), (1.0, -1.5), (4.0, 0.7)])
def test_a_known_scaling_is_found(temperature, bias):
    random = np.random.default_rng(2)
    labels = np.repeat([0, 1], 20_000)
    odds = random.normal(np.where(labels == 1, 2, -2), 2)  # two normal distributions: the log of their odds is x
    found = fit_scaling(labels, (odds - bias) * temperature)
    assert found.temperature == pytest.approx(temperature, rel=0.05) and found.bias == pytest.approx(bias, abs=0.05)
    assert fit_temperature(labels, odds * temperature) == pytest.approx(temperature, rel=0.05)
    assert Scaling.of({"temperature": 2}) == Scaling(2.0, 0.0)


@pytest.mark.parametrize("scale", [0.5, 1.0, 8.0])
@pytest.mark.parametrize("each", [10, 100])
def test_a_faultless_detector_claims_no_more_than_platts_rule_allows(each, scale):
    labels = np.repeat([0, 1], each)
    logits = np.where(labels == 1, scale, -scale) + 3.0
    p_fake = fit_scaling(labels, logits).probability(logits)
    assert p_fake[labels == 1] == pytest.approx((each + 1) / (each + 2), abs=2e-3)
    assert p_fake[labels == 0] == pytest.approx(1 / (each + 2), abs=2e-3)


def test_a_scaling_stays_finite_for_useless_reversed_and_huge_logits():
    labels = np.repeat([0, 1], 30)
    for logits in (np.zeros(60), np.where(labels == 1, -3.0, 3.0), np.where(labels == 1, 1e4, -1e4)):
        found = fit_scaling(labels, logits)
        assert 0.049 <= found.temperature <= 20.01 and abs(found.bias) <= 100
        assert 0.049 <= fit_temperature(labels, logits) <= 20.01


def test_classes_weigh_alike_in_the_scaling():
    """Each class has its share of mistakes; nine times as many reals must not change the answer."""
    labels = np.repeat([0, 1], 1000)
    logits = np.where(np.arange(2000) % 5 == 0, -1.0, 1.0) * np.where(labels == 1, 3, -3)
    many = np.concatenate([labels, np.repeat(labels[:1000], 8)]), np.concatenate([logits, np.tile(logits[:1000], 8)])
    assert fit_scaling(*many).temperature == pytest.approx(fit_scaling(labels, logits).temperature, rel=0.01)


def test_calibration_error_is_small_for_honest_scores_and_large_for_boasts():
    random = np.random.default_rng(3)
    honest = random.uniform(0.01, 0.99, 20_000)
    labels = (random.random(20_000) < honest).astype(int)
    assert expected_calibration_error(labels, honest) < 0.02
    assert expected_calibration_error(labels, expit(5 * logit(honest))) > 0.12
    assert expected_calibration_error(labels, 1 - honest) > 0.3


def test_calibration_error_by_hand():
    labels, p_fake = np.array([0, 1, 1, 1]), np.array([0.0, 0.1, 0.95, 1.0])
    assert [row["n"] for row in reliability(labels, p_fake)] == [1, 1, 2]
    assert expected_calibration_error(labels, p_fake) == pytest.approx((0 + 0.9 + 2 * 0.025) / 4)
