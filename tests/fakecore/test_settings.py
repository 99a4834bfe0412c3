from dataclasses import dataclass
from typing import Literal

import pytest

from fakecore.errors import UserError
from fakecore.settings import describe, override, parse_assignments, setting


@dataclass(frozen=True)
class Preset:
    batch: int = setting(64, why="images per step", low=1, high=4096)
    lr: float = setting(2e-4, why="learning rate", low=0.0, high=1.0)
    flip: bool = setting(False, why="mirror half of the images")
    limit: int | None = setting(None, why="images used, all if none", low=1)
    weight: float = setting(1.0, why="of the gradient penalty", low=0.0)
    decay: float = setting(0.0, why="of the weights", high=1.0)
    loss: str = setting("bce", why="adversarial loss", choices=("bce", "hinge", "wgan-gp"))
    resolution: int = setting(32, why="pixels", choices=(32, 64))
    precision: Literal["fp32", "bf16"] = setting("fp32", why="arithmetic", choices=("fp32", "bf16"))
    seed: int = setting(0, why="seed", low=0)
    note: str = setting("", why="a word of the user's own")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("batch", "128", 128),
        ("batch", "1e3", 1000),
        ("batch", 7, 7),
        ("lr", "1e-4", 1e-4),
        ("lr", "0", 0.0),
        ("flip", "true", True),
        ("flip", "No", False),
        ("flip", "1", True),
        ("flip", False, False),
        ("limit", "none", None),
        ("limit", "None", None),
        ("limit", "500", 500),
        ("loss", "hinge", "hinge"),
        ("resolution", "64", 64),
        ("precision", "bf16", "bf16"),
        ("note", "none", "none"),
        ("note", "12", "12"),
    ],
)
def test_text_becomes_the_kind_of_the_field(name, text, value):
    found = getattr(override(Preset(), {name: text}), name)
    assert found == value
    assert type(found) is type(value)


def test_a_large_seed_is_parsed_exactly():
    assert override(Preset(), {"seed": "9007199254740993"}).seed == 2**53 + 1


def test_other_fields_and_the_original_are_unchanged():
    before = Preset(lr=0.5)
    after = override(before, {"batch": "2", "flip": "yes"})
    assert (after.batch, after.flip, after.lr, after.loss) == (2, True, 0.5, "bce")
    assert before == Preset(lr=0.5)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("batch", "many", "a whole number"),
        ("batch", "1.5", "a whole number"),
        ("batch", "inf", "a whole number"),
        ("batch", "nan", "a whole number"),
        ("batch", "", "a whole number"),
        ("lr", "fast", "a number"),
        ("flip", "perhaps", "true or false"),
        ("limit", "few", "a whole number"),
    ],
)
def test_the_wrong_kind_is_refused(name, text, words):
    with pytest.raises(UserError, match=f"{name} could not be read.*expected {words}"):
        override(Preset(), {name: text})


@pytest.mark.parametrize(
    ("name", "text", "span"),
    [
        ("batch", "0", "1 to 4096"),
        ("batch", "4097", "1 to 4096"),
        ("lr", "-1e-9", r"0\.0 to 1\.0"),
        ("lr", "nan", r"0\.0 to 1\.0"),
        ("lr", "inf", r"0\.0 to 1\.0"),
        ("limit", "0", "1 or more"),
        ("weight", "nan", r"0\.0 or more"),
        ("decay", "nan", r"1\.0 or less"),
    ],
)
def test_out_of_range_is_refused_with_the_range(name, text, span):
    with pytest.raises(UserError, match=f"{name} is out of range.*expected {span}"):
        override(Preset(), {name: text})


@pytest.mark.parametrize(("name", "edge"), [("batch", "1"), ("batch", "4096"), ("lr", "1.0")])
def test_ranges_include_their_ends(name, edge):
    override(Preset(), {name: edge})


def test_an_unknown_choice_names_the_nearest():
    with pytest.raises(UserError, match=r"bce, hinge, wgan-gp.*Did you mean 'hinge'\?"):
        override(Preset(), {"loss": "hing"})


def test_an_unknown_number_lists_the_choices():
    with pytest.raises(UserError, match=r"resolution.*got 48.*\[32, 64\]"):
        override(Preset(), {"resolution": "48"})


def test_an_unknown_field_names_the_nearest():
    with pytest.raises(UserError, match=r"no field 'batchs'.*Did you mean 'batch'\?"):
        override(Preset(), {"batchs": "3"})


def test_assignments_become_a_dict():
    assert parse_assignments(["lr=1e-4", " batch = 64 ", "note=a=b", "note2="]) == {
        "lr": "1e-4",
        "batch": "64",
        "note": "a=b",
        "note2": "",
    }


@pytest.mark.parametrize("text", ["lr", "", "=3", " = 3"])
def test_an_assignment_without_a_name_or_a_sign_is_refused(text):
    with pytest.raises(UserError, match="field=value"):
        parse_assignments([text])


def test_every_field_is_described_in_order():
    rows = describe(Preset(batch=3))
    assert rows[0] == ("batch", 3, "images per step (1 to 4096)")
    assert [name for name, _, _ in rows][:3] == ["batch", "lr", "flip"]
    assert all(why for _, _, why in rows)


def test_a_description_lists_the_special_values_of_a_field():
    whys = {name: why for name, _, why in describe(Preset())}
    assert whys["batch"].endswith("(1 to 4096)")
    assert whys["limit"].endswith("(1 or more)") and whys["decay"].endswith("(1.0 or less)")
    assert whys["loss"].endswith("(one of bce, hinge, wgan-gp)")
    assert not whys["flip"].endswith(")")
