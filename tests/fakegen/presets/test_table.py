import dataclasses

import pytest

from fakecore.errors import UserError
from fakegen.architectures.summary import summarise
from fakegen.presets.catalogue import catalogue, networks
from fakegen.presets.preset import FIXED, Preset
from fakegen.presets.table import PRESETS, change_preset, get_preset


def test_every_field_gives_its_reason():
    for field in dataclasses.fields(Preset):
        assert len(field.metadata["why"]) > 10, field.name


def test_every_preset_is_within_its_own_ranges():
    for name, preset in PRESETS.items():
        values = {f.name: getattr(preset, f.name) for f in dataclasses.fields(Preset) if f.name not in FIXED}
        assert get_preset(name, values) == preset


def test_set_overrides_a_preset_field():
    assert get_preset("dcgan-64", {"resolution": "32", "lr": "1e-3"}).resolution == 32


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("digts", {}, "Did you mean 'digits'"),
        ("digits-32", {"epoch": 3}, "Did you mean 'epochs'"),
        ("digits-32", {"resolution": 1024}, "8 to 512"),
        ("digits-32", {"system": "A"}, "cannot be set"),
        ("digits-32", {"lr": "fast"}, "a number"),
        ("digits-32", {"lr": "nan"}, "out of range"),
        ("digits-32", {"batch": 1}, "2 to"),
        ("digits-32", {"precision": "bf15"}, "Did you mean 'bf16'"),
        ("digits-32", {"name": "other"}, "cannot be set"),
        ("r3-64", {"label_flip": 0.1}, "no labels to smooth or flip"),
    ],
)
def test_a_wrong_request_gives_a_one_line_error(name, changes, words):
    with pytest.raises(UserError) as caught:
        get_preset(name, changes)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_stored_layers_parameters_and_fields_are_those_of_the_networks():
    for name, preset in PRESETS.items():
        assert summarise(preset) == networks(name), "python -m fakegen.architectures.summary writes them"


def test_the_catalogue_has_numbers_of_parameters():
    rows = {row["name"]: row for row in catalogue()}
    assert rows.keys() == PRESETS.keys()
    assert rows["dcgan-64"]["params_g_trainable"] == 3_576_704
    assert rows["dcgan-64"]["params_d_trainable"] == 2_765_568
    assert {"name", "system", "resolution", "z_dim", "optimiser", "rate", "batch", "published_on"} <= rows[
        "dcgan-64"
    ].keys()
    assert (rows["dense-1"]["epochs"], rows["dense-1"]["steps"]) == (None, 20_000)


def test_the_layers_of_every_preset_add_up_to_its_parameters_in_the_table():
    for row in catalogue():
        found = networks(row["name"]).layers
        for network, params in (("generator", "params_g"), ("discriminator", "params_d")):
            assert sum(parameters for *_, parameters in found[network]) == row[params], row["name"]
            assert not any(kind.startswith(("_", "Parametrized")) for kind, *_ in found[network]), row["name"]
    assert networks("mnist-digit").layers["generator"][-1][1] == "1 x 28 x 28"


def test_steps_and_epochs_count_the_same_way():
    preset = get_preset("digits-32", {"batch": 10, "epochs": 3})
    assert (preset.steps_per_epoch(104), preset.last_step(104), preset.last_epoch(104)) == (10, 30, 3)
    by_steps = get_preset("digits-32", {"batch": 10, "steps": 25})
    assert (by_steps.last_step(104), by_steps.last_epoch(104)) == (25, 3)
    own_epochs = get_preset("digits-32", {"epoch_steps": 7, "epochs": 4})
    assert (own_epochs.steps_per_epoch(104), own_epochs.last_step(104)) == (7, 28)


def test_epochs_replace_a_number_of_steps():
    by_steps = get_preset("digits-32", {"steps": 25})
    assert change_preset(by_steps, {"epochs": 2}).steps == 0
    assert change_preset(by_steps, {"epochs": 2, "steps": 9}).steps == 9
