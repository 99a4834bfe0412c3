import dataclasses

import pytest

from fakecore.errors import UserError
from fakecore.settings import override
from fakedetect import DetectorSettings


def test_every_field_says_why_and_its_default_is_allowed():
    for field in dataclasses.fields(DetectorSettings):
        assert field.metadata["why"], field.name
    assert override(DetectorSettings(), dataclasses.asdict(DetectorSettings())) == DetectorSettings()


def test_every_field_can_be_set_from_text():
    text = {"model": "cnn", "blocks": "2", "resolution": "64", "epochs": "3", "batch": "8", "rate": "1e-4"}
    text |= {"weight_decay": "0", "limit": "50", "flip": "0", "jpeg": "1", "blur": "0.5", "resize": "0.25"}
    text |= {"max_fpr": "0.01", "max_fnr": "0.1", "precision": "fp32", "train": "finetune", "probe": "svm"}
    text |= {"frozen_layers": "10", "pretrained": "no", "weights": "w.safetensors", "input_size": "64"}
    text |= {"copies": "2", "checkpoint": "5", "pool": "flatten", "equalise": "true", "shift": "0.1"}
    text |= {
        "degrade": "0.3",
        "video": "0.2",
        "leave_one_out": "no",
        "start": "runs/before",
        "stream": "yes",
        "buffer": "48",
    }
    assert set(text) == {field.name for field in dataclasses.fields(DetectorSettings)}
    changed = override(DetectorSettings(), text)
    assert (changed.blocks, changed.rate, changed.limit, changed.jpeg) == (
        2,
        1e-4,
        50,
        1.0,
    ) and changed.equalise is True
    assert override(changed, {"limit": "none"}).limit is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("blocks", 0),
        ("blocks", 5),
        ("epochs", 0),
        ("batch", 1),
        ("jpeg", 1.1),
        ("max_fpr", 0),
        ("rate", "nan"),
        ("rate", 0),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(UserError, match=field):
        override(DetectorSettings(), {field: value})


def test_an_unknown_field_names_the_nearest():
    with pytest.raises(UserError, match="epochs"):
        override(DetectorSettings(), {"epoch": 3})


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("lr", "rate"), ("learning_rate", "rate"), ("batch_size", "batch"), ("image_size", "resolution")],
)
def test_another_word_for_a_field_names_the_field(typed, meant):
    with pytest.raises(UserError, match=rf"no field '{typed}'.*Did you mean '{meant}'\?"):
        override(DetectorSettings(), {typed: "1"})


def test_epochs_are_whole_and_there_is_at_least_one():
    assert override(DetectorSettings(), {"epochs": "1e3"}).epochs == 1000
    for value in ("1.5", "1e-3", "many"):
        with pytest.raises(UserError, match=f"epochs could not be read .got '{value}'; expected a whole number"):
            override(DetectorSettings(), {"epochs": value})
    with pytest.raises(UserError, match=r"epochs is out of range .got 0; expected 1 to 10000"):
        override(DetectorSettings(), {"epochs": "0"})
