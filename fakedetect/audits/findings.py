"""What an audit found, and how it is put into words: the same for a terminal, a page, JSON and a detector's own record."""

from __future__ import annotations

from dataclasses import dataclass

from fakecore.errors import UserError
from fakecore.labels import SPLITS
from fakecore.messages import counted
from fakedetect.audits.duplicates import Twins
from fakedetect.audits.leaks import CONFIDENCE, LEVEL, MIN_IMAGES, Cue, Strength

CUES_TOLD = 4  # in one sentence


@dataclass(frozen=True)
class Finding:
    """One sentence; `kind` is "metadata" for what a file tells, "pictures", "duplicates" or "groups"."""

    kind: str
    text: str


def leak_error(leaks: list[Finding], remedy: str) -> UserError:
    """The refusal that --strict asks for."""
    return UserError("the audit found leaks", got="; ".join(leak.text for leak in leaks), remedy=remedy)


@dataclass(frozen=True)
class Audit:
    """`cues` and `metadata` are of containers and encoding alone; `pixel_cues` depend on the picture too."""

    origin: dict[str, str]  # {"set"}, or {"real", "fake"}
    counts: dict[str, int]  # files looked at, of each class
    total: dict[str, int]  # of so many
    metadata: Strength  # of all cues together: the alarm
    cues: list[Cue]
    pixel_cues: list[Cue]
    twins: list[Twins]
    near_searched: bool
    notes: list[str]
    unused: list[dict]  # {"path", "status", "error"}, and the "label" where two sources were given

    @property
    def leaks(self) -> list[Finding]:
        """What must be mended: with it, a detector may pass a test without a look at the pictures, or by memory."""
        found = []
        telling = _by_strength(self.cues)
        if self.metadata.alarming or telling:
            what = f"metadata alone tells reals from fakes, {told_strength(self.metadata)}"
            by = "; ".join(f"{cue.name} ({told_cue(cue)})" for cue in telling[:CUES_TOLD])
            by += f"; and {len(telling) - CUES_TOLD} more" if len(telling) > CUES_TOLD else ""
            found.append(Finding("metadata", what + (f": {by}" if by else "")))
        return found + self._told_twins([twins for twins in self.twins if twins.leaks])

    @property
    def warnings(self) -> list[Finding]:
        """What may come from the pictures themselves, or from the generator: to be looked at."""
        found = [
            Finding(
                _of_picture(cue), f"{cue.name} tells reals from fakes, {told_strength(cue.strength)}: {told_cue(cue)}"
            )
            for cue in _by_strength(self.pixel_cues)
        ]
        return found + self._told_twins([twins for twins in self.twins if twins.warns])

    @property
    def unused_by_option(self) -> list[dict]:
        """`unused`, with each path behind the option that it came by: --real or --fake."""
        return [{**u, "path": f"--{u['label']} {u['path']}"} if "label" in u else u for u in self.unused]

    @property
    def alike(self) -> str:
        """The facts that all containers share: "format PNG, width 32"; empty where there is none."""
        return ", ".join(f"{cue.name} {cue.real}" for cue in self.cues if not cue.varies and cue.real != "none")

    @property
    def headline(self) -> str:
        """The one sentence that a reader takes away."""
        if self.leaks:
            return "A detector could pass a test on these images without having learned what a fake looks like."
        if self.metadata.auroc is None:
            return f"Whether anything but the pictures tells reals from fakes cannot be said: {self.too_few}."
        return f"Nothing but the pictures tells reals from fakes here: {told_strength(self.metadata)} by metadata."

    @property
    def too_few(self) -> str:
        """Why there is no number where there is none."""
        told = ", ".join(f"{n:,} {label}" for label, n in self.counts.items())
        return f"{told} were looked at, and {MIN_IMAGES} files of each, of several groups, are needed"

    def summary(self) -> dict:
        """What a detector's record and its metrics keep."""
        return {
            "metadata_auroc": self.metadata.auroc,
            "metadata_interval": self.metadata.interval,
            "level": LEVEL,
            "confidence": CONFIDENCE,
            "looked_at": self.counts,
            "leaks": [finding.text for finding in self.leaks],
            "warnings": [finding.text for finding in self.warnings],
        }

    def to_json(self) -> dict:
        return {
            **self.origin,
            **self.summary(),
            "of": self.total,
            "cues": [cue.to_json() for cue in self.cues],
            "pixel_cues": [cue.to_json() for cue in self.pixel_cues],
            "near_searched": self.near_searched,
            "twins": [twins.to_json() for twins in self.twins],
            "notes": self.notes,
            "unused": self.unused,
        }

    def _told_twins(self, twins: list[Twins]) -> list[Finding]:
        """A sentence for each way in which pictures or groups are on two sides, with the first of them by name."""
        kinds: dict[tuple, list[Twins]] = {}
        for one in twins:
            kinds.setdefault((one.kind, one.across_classes, one.across_splits), []).append(one)
        found = []
        for (kind, classes, splits), own in kinds.items():
            sides = " and ".join(
                words
                for words, is_so in (("labelled both real and fake", classes), ("in more than one split", splits))
                if is_so
            )
            files = " and ".join(own[0].files[:2])
            if kind == "group":
                some = ", ".join(one.group for one in own[:5])
                text = f"{counted(len(own), 'group')} in more than one split: {some}, with {files}"
            else:
                text = f"{counted(len(own), f'{kind} picture')} {sides}, such as {files}"
            found.append(Finding("groups" if kind == "group" else "duplicates", text))
        return found


def told_strength(strength: Strength) -> str:
    """ "AUROC 0.98 (99.9 % interval 0.95 to 1.00)"."""
    if strength.auroc is None:
        return "AUROC unknown"
    low, high = strength.interval
    return f"AUROC {strength.auroc:.3f} ({100 * CONFIDENCE:g} % interval {low:.3f} to {high:.3f})"


def told_cue(cue: Cue) -> str:
    """What reals have, and what fakes."""
    return f"real: {cue.real}; fake: {cue.fake}"


def told_twins(twins: Twins) -> str:
    """What is the matter with one picture or group: "identical, real and fake, train and test"."""
    splits = [split for split in SPLITS if split in twins.splits]
    name = f"group {twins.group}" if twins.kind == "group" else twins.kind
    return ", ".join([name, " and ".join(twins.labels), *([" and ".join(splits)] if splits else [])])


def _of_picture(cue: Cue) -> str:
    return "metadata" if cue.name == "bytes_per_pixel" else "pictures"


def _by_strength(cues: list[Cue]) -> list[Cue]:
    """Those that are alarming, the strongest first."""
    return sorted((cue for cue in cues if cue.strength.alarming), key=lambda cue: -cue.strength.auroc)
