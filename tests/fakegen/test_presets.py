import dataclasses

import pytest

from fakecore.errors import UserError
from fakegen.catalogue import catalogue
from fakegen.presets import PRESETS, Preset, get_preset


def test_every_field_gives_its_reason():
    for field in dataclasses.fields(Preset):
        assert len(field.metadata["why"]) > 10, field.name


def test_every_preset_is_within_its_own_ranges():
    for name, preset in PRESETS.items():
        values = {
            f.name: getattr(preset, f.name) for f in dataclasses.fields(Preset) if f.name not in ("name", "summary")
        }
        assert get_preset(name, values) == preset


def test_a_flag_overrides_the_row():
    assert get_preset("dcgan-64", {"resolution": "32", "lr": "1e-3"}).resolution == 32


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("digts", {}, "Did you mean 'digits'"),
        ("digits", {"epoch": 3}, "Did you mean 'epochs'"),
        ("digits", {"resolution": 48}, "power of two"),
        ("digits", {"resolution": 512}, "16 to 256"),
        ("digits", {"lr": "fast"}, "a number"),
        ("digits", {"lr": "nan"}, "out of range"),
        ("digits", {"batch": 1}, "2 to"),
        ("digits", {"precision": "bf15"}, "Did you mean 'bf16'"),
        ("digits", {"name": "other"}, "not a field to set"),
    ],
)
def test_a_wrong_request_is_one_clear_line(name, changes, words):
    with pytest.raises(UserError) as caught:
        get_preset(name, changes)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_catalogue_counts_parameters():
    rows = {row["name"]: row for row in catalogue()}
    assert rows.keys() == PRESETS.keys()
    assert rows["dcgan-64"]["params_g_trainable"] == 3_576_704
    assert rows["dcgan-64"]["params_d_trainable"] == 2_765_568
