"""What a file says of its own origin: evidence apart from the pixels."""

from __future__ import annotations

from dataclasses import asdict, dataclass

POINTS_TO = ("generated", "edited", "camera", "nothing")  # the most telling first
STRENGTHS = ("strong", "medium", "weak")
TEXT = "a text: anyone can write or remove it"
_SHOWN = 160  # characters of a text


@dataclass(frozen=True)
class Finding:
    """One statement of a file: what it `says`, `where` it stands, what it `points_to` (one of POINTS_TO), how strong it is (one
    of STRENGTHS), and how it could be `forged`.
    """

    says: str
    where: str
    points_to: str
    strength: str
    forged: str = TEXT

    def to_json(self) -> dict:
        return asdict(self)


def rank(finding: Finding) -> tuple[int, int]:
    """Return a sort key, lower for more telling evidence."""
    return POINTS_TO.index(finding.points_to), STRENGTHS.index(finding.strength)


def shown(text: str, most: int = _SHOWN) -> str:
    """Return `text` as one line of at most `most` characters, without those that would control a terminal."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text[: 8 * most]).split())
    return line if len(line) <= most else line[: most - 1] + "…"
