"""What `score` prints of its rows: lines or JSON, all or some, in order or sorted; and the counts at the end."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten

from fakecore.errors import UserError, unknown_name
from fakecore.messages import counted, printable
from fakecore.progress import say
from fakecore.report.tables import terminal_width

_EVIDENCE_SHOWN = 20  # files in the table of evidence
VERDICTS = ("fake", "unsure", "real")  # the most suspicious first


@dataclass(frozen=True)
class Shown:
    """Which rows are printed: of some verdicts, from a p_fake up, sorted or not; `everything` includes files that could not be
    judged. Raises UserError for an unknown verdict or a p_fake that is none.
    """

    verdicts: frozenset[str] = frozenset(VERDICTS)
    min_p: float = 0.0
    sort: bool = False
    everything: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.min_p <= 1:
            raise UserError("--min-p is out of range", got=self.min_p, expected="0 to 1")
        for name in self.verdicts - frozenset(VERDICTS):
            raise unknown_name("verdict", name, VERDICTS)

    def has(self, row: dict) -> bool:
        """Return whether a row is printed."""
        return self.everything or (row["verdict"] in self.verdicts and row["p_fake"] >= self.min_p)


@dataclass
class RowPrinter:
    """Prints rows as lines or JSON, or nothing if `quiet`; counts them all."""

    shown: Shown
    as_json: bool
    quiet: bool = False
    counts: Counter = field(default_factory=Counter)  # of each verdict, or of the status of what has none
    _kept: list[dict] = field(default_factory=list)  # to be sorted
    _evidence: list[dict] = field(default_factory=list)  # rows with the strongest evidence of their origin
    _points_to: Counter = field(default_factory=Counter)  # of all rows with evidence

    def count(self, verdict: str | None, status: str, points_to: str | None) -> None:
        """Count a file, and what its provenance points to, without printing its row: an earlier call did."""
        self.counts[verdict or status] += 1
        if points_to:
            self._points_to[points_to] += 1

    def add(self, rows: list[dict]) -> None:
        """Count rows and print those that are shown, or keep them to be sorted."""
        for row in rows:
            evidence = row["provenance"]
            self.count(row["verdict"], row["status"], evidence and evidence["points_to"])
            if evidence:
                self._evidence.append(row)
            if self.quiet or not self.shown.has(row):
                continue
            if self.shown.sort:
                self._kept.append(row)
            else:
                self._print(row)
        if len(self._evidence) > 10 * _EVIDENCE_SHOWN:
            self._evidence = _strongest(self._evidence)
        sys.stdout.flush()

    def finish(self, out: Path | str | None, *, report: bool) -> int:
        """Print the sorted rows, the counts, and where the results are; return 1 if some input could not be scored, else 0."""
        for row in sorted(self._kept, key=suspicion):
            self._print(row)
        self._print_evidence()
        where = f"; {'report:' if report else 'rows in'} {out}" if out else ""
        say(f"{counted(sum(self.counts.values()), 'file')}: {counts_text(self.counts)}{where}")
        return 1 if self.counts.keys() - set(VERDICTS) else 0

    def _print_evidence(self) -> None:
        """Print a table of the files that say where they come from, the strongest evidence first; with JSON, or without rows,
        only how many they are.
        """
        total = sum(self._points_to.values())
        if not total:
            return
        kinds = ", ".join(f"{n:,} {name}" for name, n in self._points_to.most_common())
        have = "file with evidence of its origin" if total == 1 else "files with evidence of their origin"
        text = f"{total:,} {have}, which does not change their scores: {kinds}"
        if self.as_json or self.quiet:
            say(text)
            return
        say(f"\n{text}\n\npoints to  strength  file, and what it says")
        strongest = _strongest(self._evidence)
        for row in strongest:
            one = row["provenance"]["findings"][0]
            say(f"{one['points_to']:<9}  {one['strength']:<8}  {printable(row['path'])}")
            say(" " * 21 + shorten(printable(one["says"]), terminal_width() - 21, placeholder=" …"))
        if total > len(strongest):
            say(f"and {total - len(strongest):,} more; --json has all")
        say("")

    def _print(self, row: dict) -> None:
        print(json.dumps(row) if self.as_json else line(row))


def counts_text(counts: Counter[str]) -> str:
    """Return in words how many files have each verdict and, of those without one, each status."""
    lost = ", ".join(f"{number:,} {name}" for name, number in sorted(counts.items()) if name not in VERDICTS)
    text = ", ".join(f"{counts[name]:,} {name}" for name in VERDICTS if counts[name]) or "none scored"
    return f"{text}; not scored: {lost}" if lost else text


def _strongest(rows: list[dict]) -> list[dict]:
    from fakedetect.scoring.provenance import evidence_rank

    return sorted(rows, key=evidence_rank)[:_EVIDENCE_SHOWN]


def suspicion(row: dict) -> tuple[int, float]:
    """Return a sort key of rows, the most suspicious first; those without a verdict come last."""
    return (VERDICTS.index(row["verdict"]), -row["p_fake"]) if row["verdict"] else (len(VERDICTS), 0.0)


def line(row: dict) -> str:
    """Return a row as one line of text."""
    name = printable(row["path"])
    if row["status"] != "ok":
        note = f"  ({row['note']})" if row["note"] else ""
        return f"{'-':>8}  {row['status']:<11} {name}: {row['error']}{note}"
    shown = f"{format_p_fake(row['p_fake']):>8}  {row['verdict']:<11} {name}"
    if row.get("tracks"):
        shown += f": {_tracks(row)}"
    return shown + (f"  ({row['note']})" if row["note"] else "")


def _tracks(row: dict) -> str:
    """Return the number of tracks of a video, and when the deciding one is visible."""
    key = (row["p_fake"], row["verdict"])
    worst = next(track for track in row["tracks"] if (track["p_fake"], track["verdict"]) == key)
    when = f"{worst['start_s']:.1f} to {worst['end_s']:.1f} s"
    many = len(row["tracks"]) > 1
    return f"{counted(len(row['tracks']), 'track')}, the worst at {when}" if many else f"one track, {when}"


def format_p_fake(p_fake: float) -> str:
    """Format p_fake with four decimals, but never as 0 or 1: no detector is certain."""
    return "<0.0001" if p_fake < 0.0001 else ">0.9999" if p_fake > 0.9999 else f"{p_fake:.4f}"
