"""The findings of an audit, and their texts for the terminal, the report, JSON and a detector's record."""

from __future__ import annotations

from dataclasses import dataclass

from fakecore.errors import UserError
from fakecore.labels import SPLITS
from fakecore.messages import counted
from fakedetect.audits.duplicates import Duplicates
from fakedetect.audits.leaks import CONFIDENCE, LEVEL, MIN_IMAGES, Cue, Strength

CUES_NAMED = 4  # in one sentence


@dataclass(frozen=True)
class Finding:
    """One sentence; `kind` is "metadata" for facts of a file, "pixels", "duplicates" or "groups"."""

    kind: str
    text: str


def leak_error(leaks: list[Finding], remedy: str) -> UserError:
    """Return the error of --strict."""
    return UserError("the audit found leaks", got="; ".join(leak.text for leak in leaks), remedy=remedy)


@dataclass(frozen=True)
class Audit:
    """The result of an audit. `cues` and `metadata` are of containers and encoding; `pixel_cues` also depend on the content."""

    origin: dict[str, str]  # {"set"}, or {"real", "fake"}
    counts: dict[str, int]  # files examined, per class
    total: dict[str, int]  # files available, per class
    metadata: Strength  # of all cues together
    cues: list[Cue]
    pixel_cues: list[Cue]
    duplicates: list[Duplicates]
    near_searched: bool
    notes: list[str]
    unused: list[dict]  # {"path", "status", "error"}, and "label" if two sources were given

    @property
    def leaks(self) -> list[Finding]:
        """Findings that must be fixed: a detector could use it to pass a test without learning what a fake looks like."""
        found = []
        telling = _by_strength(self.cues)
        if self.metadata.alarming or telling:
            what = f"metadata alone separates reals from fakes, {describe_strength(self.metadata)}"
            by = "; ".join(f"{cue.name} ({describe_cue(cue)})" for cue in telling[:CUES_NAMED])
            by += f"; and {len(telling) - CUES_NAMED} more" if len(telling) > CUES_NAMED else ""
            found.append(Finding("metadata", what + (f": {by}" if by else "")))
        return found + self._duplicate_findings([one for one in self.duplicates if one.leaks])

    @property
    def warnings(self) -> list[Finding]:
        """Findings that may come from the content or the generator, and should be checked."""
        found = [
            Finding(
                _kind_of(cue),
                f"{cue.name} separates reals from fakes, {describe_strength(cue.strength)}: {describe_cue(cue)}",
            )
            for cue in _by_strength(self.pixel_cues)
        ]
        return found + self._duplicate_findings([one for one in self.duplicates if one.warns])

    @property
    def unused_by_option(self) -> list[dict]:
        """`unused`, with each path after its option, --real or --fake."""
        return [{**u, "path": f"--{u['label']} {u['path']}"} if "label" in u else u for u in self.unused]

    @property
    def alike(self) -> str:
        """The facts that are equal in all files: "format PNG, width 32"; empty if there is none."""
        return ", ".join(f"{cue.name} {cue.real}" for cue in self.cues if not cue.varies and cue.real != "none")

    @property
    def headline(self) -> str:
        """The result in one sentence."""
        if self.leaks:
            return "A detector could pass a test on these images without learning what a fake looks like."
        if self.metadata.auroc is None:
            return f"Too few files to tell whether metadata separates reals from fakes: {self.too_few}."
        return f"No leak found: metadata does not separate reals from fakes, {describe_strength(self.metadata)}."

    @property
    def too_few(self) -> str:
        """Why there is no AUROC."""
        counts = ", ".join(f"{n:,} {label}" for label, n in self.counts.items())
        return f"{counts} files examined; needs {MIN_IMAGES} of each class, from several groups"

    def summary(self) -> dict:
        """Return the part that is stored in a detector's record and metrics."""
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
            "twins": [one.to_json() for one in self.duplicates],
            "notes": self.notes,
            "unused": self.unused,
        }

    def _duplicate_findings(self, duplicates: list[Duplicates]) -> list[Finding]:
        """Return a sentence for each kind of duplicates, with the first of them by name."""
        kinds: dict[tuple, list[Duplicates]] = {}
        for one in duplicates:
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
                some = ", ".join(str(one.group) for one in own[:5])
                text = f"{counted(len(own), 'group')} in more than one split: {some}, with {files}"
            else:
                text = f"{counted(len(own), f'{kind} image')} {sides}, for example {files}"
            found.append(Finding("groups" if kind == "group" else "duplicates", text))
        return found


def describe_strength(strength: Strength) -> str:
    """Return a text such as "AUROC 0.98 (99.9 % interval 0.95 to 1.00)"."""
    if strength.auroc is None or strength.interval is None:
        return "AUROC unknown"
    low, high = strength.interval
    return f"AUROC {strength.auroc:.3f} ({100 * CONFIDENCE:g} % interval {low:.3f} to {high:.3f})"


def describe_cue(cue: Cue) -> str:
    """Return the values of reals and of fakes."""
    return f"real: {cue.real}; fake: {cue.fake}"


def describe_duplicates(one: Duplicates) -> str:
    """Return a text that describes one finding: "identical, real and fake, train and test"."""
    splits = [split for split in SPLITS if split in one.splits]
    name = f"group {one.group}" if one.kind == "group" else one.kind
    return ", ".join([name, " and ".join(one.labels), *([" and ".join(splits)] if splits else [])])


def _kind_of(cue: Cue) -> str:
    return "metadata" if cue.name == "bytes_per_pixel" else "pixels"


def _by_strength(cues: list[Cue]) -> list[Cue]:
    """Return the cues that are leaks, the strongest first."""
    return sorted((cue for cue in cues if cue.strength.alarming), key=lambda cue: -(cue.strength.auroc or 0))
