"""Check detector.json, and the same facts in an exported .onnx file, before a detector is used."""

from __future__ import annotations

from pathlib import Path

from fakecore.errors import UserError
from fakecore.labels import LABEL_NUMBERS
from fakecore.schema import OBJECT, TEXT, Kind, check_fields, number, one_of, whole

DETECTOR_VERSION = 1
_SHAPE = {"resolution": whole(1, 1024), "channels": one_of(1, 3)}
_COUNTS = {"real": whole(0), "fake": whole(0)}
_THRESHOLDS = {
    "fake_from": number(0, 1.000001),  # just above 1 if even p_fake 1 would accuse too many reals
    "real_below": number(0, 1),
    "name": TEXT,
    "max_fpr": number(0, 1),
    "max_fnr": number(0, 1),
    "chosen_on": TEXT,
}
FIELDS = {
    "model": TEXT,
    "arguments": _SHAPE,
    "preprocessing": _SHAPE,
    "label_convention": OBJECT,
    "temperature": number(0.001, 1000),
    "thresholds": _THRESHOLDS,
    "training": {"fingerprint": TEXT, "domain": TEXT, "counts": {"train": _COUNTS}},
    "settings": OBJECT,
    "seed": whole(),
    "versions": OBJECT,
}
_QUALITY = whole(1, 100)
_JPEG_OR_NONE = Kind(f"{_QUALITY.words}, or null", lambda value: value is None or _QUALITY.fits(value))
FACE_CUT = {  # preprocessing.faces, where it is known: how faces are cut out of videos, see fakedetect.faces.finder.crop
    "margin": number(0, 2),
    "align": Kind("true or false", lambda value: isinstance(value, bool)),
}
REMEDY = "Copy detector.json again, or train again."


_LEFT_OUT_RATES = dict.fromkeys(("auroc", "tpr", "fpr"), number(0, 1))


def expectation(facts: dict) -> str:
    """Return in words what to expect of a detector (its detector.json) on generators that it was not trained on."""
    found = facts.get("left_out")
    if found is None:
        return (
            "It is unknown how well it detects generators that it was not trained on: no source of fakes was left out."
        )
    rows = found["sources"]
    name, worst = min(rows.items(), key=lambda item: item[1]["auroc"])
    if len(rows) == 1:
        return (
            f"Measured on {name}, which were not in its training: {found['tpr']:.0%} of fakes and {found['fpr']:.1%} of reals "
            f"called fake; {_pairs(found)}."
        )
    return (
        f"Expected on generators that it was not trained on ({len(rows)} sources of fakes, each left out of training in turn): "
        f"{found['tpr']:.0%} of fakes and {found['fpr']:.1%} of reals called fake; {_pairs(found)}. "
        f"Worst: {name}, one of these sources, {worst['tpr']:.0%} of whose fakes are called fake."
    )


def _pairs(found: dict) -> str:
    return f"of a fake and a real image, the fake has the higher p_fake in {found['auroc']:.1%} of pairs (AUROC)"


def check_facts(facts: dict, path: Path, *, where: Path, remedy: str) -> None:
    """Raise UserError unless `facts` (detector.json, or the metadata of an .onnx file) contain valid values of all fields that
    scoring and reporting need.
    """
    if facts.get("kind") != "detector" or facts.get("version") != DETECTOR_VERSION:
        got = f"kind {facts.get('kind')!r}, version {facts.get('version')!r}"
        raise UserError(f"{path} cannot be used as a detector", got=got, expected=f"version {DETECTOR_VERSION}")
    check_fields(facts, FIELDS, where, remedy=remedy)
    if facts["label_convention"] != LABEL_NUMBERS:
        raise UserError(
            f"{path} follows another label convention", got=facts["label_convention"], expected=LABEL_NUMBERS
        )
    if "left_out" in facts:
        check_fields(
            facts["left_out"], {**_LEFT_OUT_RATES, "sources": OBJECT}, where, remedy=REMEDY, inside="left_out."
        )
        for row in facts["left_out"]["sources"].values():
            check_fields(row, _LEFT_OUT_RATES, where, remedy=REMEDY, inside="left_out.sources.")
    check_fields({"bias": facts.get("bias", 0.0)}, {"bias": number(-1000, 1000)}, where, remedy=remedy)
    optional = {"equalise_jpeg": None, **facts["preprocessing"]}
    check_fields(optional, {"equalise_jpeg": _JPEG_OR_NONE}, where, remedy=REMEDY, inside="preprocessing.")
    if "faces" in facts["preprocessing"]:
        check_fields(facts["preprocessing"], {"faces": FACE_CUT}, where, remedy=REMEDY, inside="preprocessing.")
    for name in _SHAPE:
        takes, says = facts["arguments"][name], facts["preprocessing"][name]
        if takes != says:
            what = f"{where}: preprocessing.{name} and arguments.{name} differ"
            raise UserError(what, got=f"{says} and {takes}", remedy=remedy)
    for name in ("thresholds", "track_thresholds"):
        limits = facts.get(name, facts["thresholds"])
        check_fields({name: limits}, {name: _THRESHOLDS}, where, remedy=remedy)
        if limits["real_below"] > limits["fake_from"]:
            what = f"{where}: {name}.real_below cannot be used"
            expected = f"at most fake_from, {limits['fake_from']}"
            raise UserError(what, got=limits["real_below"], expected=expected, remedy=remedy)
