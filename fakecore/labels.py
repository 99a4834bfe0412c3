"""The one label convention: real = 0, fake = 1. Only this module maps names to numbers."""

from __future__ import annotations

from typing import Literal

from fakecore.errors import UserError

REAL = 0
FAKE = 1

Label = Literal["real", "fake"]
Verdict = Literal["real", "fake", "unsure"]
Split = Literal["train", "val", "test"]

LABEL_NUMBERS: dict[str, int] = {"real": REAL, "fake": FAKE}
LABEL_NAMES: dict[int, Label] = {REAL: "real", FAKE: "fake"}
SPLITS: tuple[Split, ...] = ("train", "val", "test")


def label_number(name: str) -> int:
    """Return 0 for "real", 1 for "fake". Raises UserError for any other name: a wrong guess would invert all results."""
    try:
        return LABEL_NUMBERS[name]
    except KeyError:
        raise UserError("the label could not be read", got=repr(name), expected="'real' or 'fake'") from None


def decide(p_fake: float, *, real_below: float, fake_from: float) -> Verdict:
    """Turn a calibrated probability of fake, [0, 1], into a verdict.

    `fake` at `fake_from` and above, `real` below `real_below`, `unsure` between; `real_below <= fake_from`.
    """
    if p_fake >= fake_from:
        return "fake"
    if p_fake < real_below:
        return "real"
    return "unsure"
