import math

import pytest

import fakecore
from fakecore.errors import UserError
from fakecore.labels import FAKE, LABEL_NAMES, LABEL_NUMBERS, REAL, SPLITS, decide, label_number


def test_real_is_0_and_fake_is_1():
    assert (REAL, FAKE) == (0, 1)
    assert (fakecore.REAL, fakecore.FAKE) == (0, 1)
    assert LABEL_NUMBERS == {"real": 0, "fake": 1}
    assert LABEL_NAMES == {0: "real", 1: "fake"}
    assert (label_number("real"), label_number("fake")) == (0, 1)
    assert SPLITS == ("train", "val", "test")


@pytest.mark.parametrize("name", ["Real", "FAKE", "0", "", "generated", "fake "])
def test_a_label_is_never_guessed(name):
    with pytest.raises(UserError, match="'real' or 'fake'"):
        label_number(name)


@pytest.mark.parametrize(
    ("p_fake", "verdict"),
    [
        (0.0, "real"),
        (0.2999, "real"),
        (0.3, "unsure"),
        (0.5, "unsure"),
        (0.6999, "unsure"),
        (0.7, "fake"),
        (1.0, "fake"),
    ],
)
def test_verdicts_at_the_thresholds(p_fake, verdict):
    assert decide(p_fake, real_below=0.3, fake_from=0.7) == verdict


def test_equal_thresholds_give_fake_and_never_unsure():
    assert decide(0.5, real_below=0.5, fake_from=0.5) == "fake"
    assert decide(math.nextafter(0.5, 0), real_below=0.5, fake_from=0.5) == "real"


def test_nan_gives_unsure():
    assert decide(math.nan, real_below=0.5, fake_from=0.5) == "unsure"
