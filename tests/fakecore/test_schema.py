import pytest

from fakecore.errors import UserError
from fakecore.schema import OBJECT, TEXT, TEXT_OR_NONE, check_fields, number, whole

FIELDS = {"name": TEXT, "note": TEXT_OR_NONE, "size": {"side": whole(1, 9), "scale": number(0)}, "rest": OBJECT}
GOOD = {"name": "a", "note": None, "size": {"side": 9, "scale": 0.5, "more": 1}, "rest": {}}


def check(facts):
    check_fields(facts, FIELDS, "x.json", remedy="Copy it again.")


def test_valid_facts_pass_and_extra_fields_are_ignored():
    check({**GOOD, "further": [1]})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": 3}, "x.json: name cannot be used (got 3; expected a string). Copy it again."),
        ({"note": 3}, "x.json: note cannot be used (got 3; expected a string or null). Copy it again."),
        ({"rest": []}, "x.json: rest cannot be used (got []; expected an object). Copy it again."),
        ({"size": None}, "x.json: size cannot be used (got null; expected an object). Copy it again."),
        ({"size": {"side": 1}}, "x.json: size.scale is missing. Copy it again."),
        ({"size": {"side": 10, "scale": 1}}, "size.side cannot be used (got 10; expected a whole number, 1 to 9)"),
        ({"size": {"side": True, "scale": 1}}, "size.side cannot be used (got true; expected a whole number, 1 to 9)"),
        ({"size": {"side": 1.0, "scale": 1}}, "size.side cannot be used (got 1.0; expected a whole number, 1 to 9)"),
        ({"size": {"side": 1, "scale": -1}}, "size.scale cannot be used (got -1; expected a number, 0 or more)"),
        ({"size": {"side": 1, "scale": float("inf")}}, "size.scale cannot be used (got Infinity"),
        ({"name": ["long"] * 99}, "..."),
    ],
)
def test_an_invalid_field_is_reported_with_got_and_expected(change, says):
    with pytest.raises(UserError) as caught:
        check({**GOOD, **change})
    assert says in str(caught.value) and len(str(caught.value)) < 200


@pytest.mark.parametrize("name", GOOD)
def test_an_absent_field_is_reported_as_missing(name):
    with pytest.raises(UserError, match=f"x.json: {name} is missing. Copy it again."):
        check({key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize("facts", [[], None, "text", 3])
def test_anything_but_an_object_is_refused(facts):
    with pytest.raises(UserError, match=r"x.json cannot be used .*expected an object"):
        check(facts)
