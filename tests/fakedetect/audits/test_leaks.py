import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fakedetect.audits.leaks import LEVEL, Folds, auroc_parts, encode, weigh_all, weigh_cue

N = 60
LABELS = np.repeat([0, 1], N)
FILES = [f"{label}/{i}" for label in ("real", "fake") for i in range(N)]


@pytest.fixture(scope="module")
def folds():
    return Folds(LABELS, [None] * 2 * N)


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_auroc_is_that_of_the_library_ties_included(random):
    scores = random.integers(0, 5, 2 * N) + LABELS
    auroc, parts = auroc_parts(LABELS, scores)
    assert auroc == pytest.approx(roc_auc_score(LABELS, scores)) and abs(parts.sum()) < 1e-9
    drawn = [random.integers(0, 5, 2 * N) + LABELS for _ in range(400)]
    spread = np.std([roc_auc_score(LABELS, one) for one in drawn])
    assert np.sqrt((parts**2).sum()) == pytest.approx(spread, rel=0.25)


def test_different_texts_are_a_perfect_cue(folds):
    cue = weigh_cue("format", ["JPEG"] * N + ["PNG"] * N, FILES, folds)
    assert cue.strength.auroc == 1 and cue.strength.alarming and (cue.real, cue.fake) == ("JPEG", "PNG")
    assert all(line.startswith("real/") and line.endswith("JPEG") for line in cue.examples["real"])
    assert all(line.startswith("fake/") and line.endswith("PNG") for line in cue.examples["fake"])


@pytest.mark.parametrize(("shift", "side"), [(30, "fake"), (-30, "real")])
def test_a_number_has_the_class_in_which_it_is_higher(folds, random, shift, side):
    cue = weigh_cue("jpeg_quality", list(random.integers(40, 60, 2 * N) + shift * LABELS), FILES, folds)
    assert cue.strength.auroc == 1 and cue.higher_in == side


def test_a_single_value_of_one_class_is_found(folds, random):
    cue = weigh_cue("width", list(random.integers(156, 357, N)) + [256] * N, FILES, folds)
    assert cue.strength.auroc > 0.9 and cue.fake == "256"


def test_values_missing_in_one_class_are_a_cue(folds):
    cue = weigh_cue("jpeg_quality", [75] * N + [None] * N, FILES, folds)
    assert cue.strength.auroc == 1 and cue.fake == "none"


def test_a_constant_is_no_cue(folds):
    cue = weigh_cue("format", ["PNG"] * 2 * N, FILES, folds)
    assert (cue.strength.auroc, cue.strength.alarming, cue.varies, cue.examples["real"]) == (0.5, False, False, [])


def test_noise_is_not_alarming(random):
    alarms = 0
    for seed in range(10):
        folds = Folds(LABELS, [None] * 2 * N, seed)
        values = random.normal(size=2 * N).tolist()
        alarms += weigh_cue("noise", values, FILES, folds).strength.alarming
        alarms += weigh_all({"a": values, "b": random.choice(list("abc"), 2 * N).tolist()}, folds).alarming
    assert alarms <= 1


def test_two_facts_can_separate_only_together(folds, random):
    first = random.integers(0, 2, 2 * N)
    facts = {"a": first.tolist(), "b": (first ^ LABELS).tolist()}
    assert all(weigh_cue(name, values, FILES, folds).strength.auroc < 0.65 for name, values in facts.items())
    assert weigh_all(facts, folds).auroc > 0.9


def test_a_weak_cue_is_alarming_only_with_many_files(random):
    def strength(n):
        labels = np.repeat([0, 1], n)
        values = [word for share in (0.35, 0.65) for word in random.choice(["a", "b"], n, p=[share, 1 - share])]
        return weigh_cue("x", values, ["f"] * 2 * n, Folds(labels, [None] * 2 * n)).strength

    assert not strength(12).alarming
    many = strength(2000)
    assert many.alarming and LEVEL < many.auroc < 0.7


@pytest.mark.parametrize("n", [1, 3, 9])
def test_too_few_files_have_no_auroc(n):
    labels = np.repeat([0, 1], [n, 50])
    folds = Folds(labels, [None] * len(labels))
    cue = weigh_cue("format", ["JPEG"] * n + ["PNG"] * 50, ["f"] * len(labels), folds)
    assert cue.strength.auroc is None and not cue.strength.alarming and (cue.real, cue.fake) == ("JPEG", "PNG")


def test_files_of_a_group_share_a_fold_and_widen_the_interval(random):
    groups = [f"{label} {i // 10}" for label in "rf" for i in range(N)]
    held = Folds(LABELS, groups)
    for train, test in held.parts:
        assert not {groups[row] for row in train} & {groups[row] for row in test}
    value_of = {group: random.normal() for group in dict.fromkeys(groups)}
    values = [value_of[group] + (group[0] == "f") for group in groups]
    alone, grouped = (Folds(LABELS, g).strength(encode(values)[:, None])[0] for g in ([None] * 2 * N, groups))
    width = [one.interval[1] - one.interval[0] for one in (alone, grouped)]
    assert width[1] > width[0]
    assert Folds(LABELS, ["one video"] * N + [None] * N).parts == []


def test_encoding_keeps_numbers_and_ranks_texts_by_frequency():
    assert encode([3, 1.5, True]).tolist() == [3, 1.5, 1]
    assert encode(["b", "a", "b"]).tolist() == [0, 1, 0]
    assert np.isnan(encode([None, "a"])[0]) and np.isnan(encode([None, 2])[0])
    assert max(encode([str(i) for i in range(90)])) == 30
