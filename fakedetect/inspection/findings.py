"""What a file says of its own origin: evidence apart from the pixels."""

from __future__ import annotations

from dataclasses import asdict, dataclass

POINTS_TO = ("generated", "edited", "camera", "nothing")  # the most telling first
STRENGTHS = ("strong", "medium", "weak")
TEXT = "a text: anyone can write or remove it"


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
