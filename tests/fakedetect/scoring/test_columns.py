"""How numbers, names and claims of results are shown."""

import pytest

from fakedetect.scoring.columns import format_short, range_text, says_generated, visible_name


@pytest.mark.parametrize(("p_fake", "text"), [(0.004, "<0.01"), (0.123, "0.12"), (0.999, ">0.99")])
def test_p_fake_is_never_shown_as_certain(p_fake, text):
    assert format_short(p_fake) == text


def test_how_far_p_fake_varies_is_said_in_words():
    assert range_text({"p_fake_range": [0.06, 0.3]}) == "0.06 to 0.30 after light re-encoding"
    assert range_text({"p_fake_range": [0.001, 0.002]}) == "<0.01 also after light re-encoding"
    tracks = [{"p_fake": 0.2, "p_fake_high": 0.3}, {"p_fake": 0.7, "p_fake_high": 0.999}]
    assert range_text({"p_fake": 0.7, "tracks": tracks}) == "above 0.99 in a fifth of its scored images"
    low = [{"p_fake": 0.001, "p_fake_high": 0.002}]
    assert range_text({"p_fake": 0.001, "tracks": low}) == "below 0.01 in four fifths of its scored images"
    assert range_text({"p_fake": 0.7}) is None and range_text({"p_fake": None, "tracks": None}) is None


def test_only_a_file_that_says_so_says_that_it_was_generated():
    assert says_generated({"provenance": {"points_to": "generated"}})
    assert not says_generated({"provenance": {"points_to": "edited"}}) and not says_generated({"provenance": None})


@pytest.mark.parametrize("name", ["", "  ", "\u200b", "\u00a0"])
def test_a_name_that_cannot_be_seen_has_a_stand_in(name):
    assert visible_name(name) == "(file without a name)" and visible_name(f"{name}a") == f"{name}a"
