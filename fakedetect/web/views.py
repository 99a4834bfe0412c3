"""What the pages show of jobs and files, in words and numbers: rows in, values for the templates out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fakecore.messages import counted
from fakedetect.scoring.columns import format_short, range_text, says_generated, visible_name
from fakedetect.web.choices import PACKAGE
from fakedetect.web.store import Job, StoredFile
from fakedetect.web.tasks import JUDGED, MARKED, PICTURE

VERDICTS = ("fake", "unsure", "real")  # the most suspicious first
HEADINGS = {"fake": "Looks fake", "unsure": "Not sure", "real": "Looks real"}
_MEANINGS = {
    "fake": "Its p_fake is above the threshold for fake. This is a reason to check further, not proof.",
    "unsure": "Its p_fake is between the thresholds for real and for fake, so neither verdict is justified.",
    "real": "No trace of the kinds of fakes that this detector knows was found. It can still be a fake of another kind.",
}
_UNSTABLE = "One version is called real and another fake after light re-encoding, so neither verdict is justified."
_FAILURES = {
    "unreadable": "The file is damaged, incomplete or could not be decoded.",
    "unsupported": "This kind of file cannot be judged.",
    "too_large": "The file exceeds a limit of this server.",
    "no_face": "This detector judges faces, and found none that is large enough. The option “Judge whole frames” does not "
    "search for faces.",
}
_TRACKS_SHOWN = 12
_FACES_SHOWN = 30
_STRENGTHS = {"strong": "strong evidence", "medium": "medium evidence", "weak": "weak evidence"}
_POINTS_TO = {
    "generated": "The file says that it was generated.",
    "edited": "The file says that it was edited.",
    "camera": "The file says that it comes from a camera.",
    "nothing": "The file says nothing that points to its origin.",
}


@dataclass(frozen=True)
class FileView:
    """What the page shows of one file of a job."""

    job: str
    place: int
    name: str
    size: str
    state: str  # "queued", "running", "done"
    outcome: str  # "waiting", a verdict, or "failed"
    heading: str
    meaning: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    caution: str | None = None
    faces: list[dict[str, Any]] = field(default_factory=list)
    more_faces: int = 0
    video: dict[str, Any] | None = None
    judge: dict[str, Any] | None = None
    provenance: dict[str, Any] | None = None
    has_picture: bool = False
    has_video: bool = False
    marked: str | None = None  # the marked video: "waiting", "drawing", "ready", "failed"; None: none was asked for
    has_report: bool = False
    has_heat: bool = False
    score: float | None = None
    p_fake: str = ""
    range: str | None = None  # how far p_fake varies
    claim: str | None = None  # that the file says that it was generated
    bar: dict[str, float] | None = None

    @property
    def base(self) -> str:
        """The address of its pictures."""
        return f"/v1/jobs/{self.job}/files/{self.place}"

    @property
    def is_done(self) -> bool:
        return self.state == "done"


def file_view(job: Job, file: StoredFile, results: Path, detectors: list[dict[str, Any]]) -> FileView:
    """Return what the page shows of a file; `results` is the folder of its pictures, `detectors` describes the choices."""
    named: dict[str, Any] = {
        "job": job.id,
        "place": file.place,
        "name": visible_name(file.name),
        "size": size_text(file.size),
    }
    named["state"] = file.state
    row = file.result
    if row is None:
        heading = "Being judged" if file.state == "running" else "Waiting"
        return FileView(**named, outcome="waiting", heading=heading, meaning="")
    named |= {"has_picture": (results / PICTURE).is_file(), "provenance": _provenance(row.get("provenance"))}
    named["claim"] = _claim(row)
    if row["status"] != "ok":
        error = _sentence(row["error"] or row["status"])
        meaning = _FAILURES.get(row["status"], "The file could not be judged.")
        return FileView(**named, outcome="failed", heading="Not judged", meaning=meaning, caution=error)
    stable = row.get("stable")
    faces = row.get("faces") or []
    return FileView(
        **named,
        outcome=row["verdict"],
        heading=HEADINGS[row["verdict"]],
        meaning=_UNSTABLE if stable is False else _MEANINGS[row["verdict"]],
        score=row["p_fake"],
        p_fake=format_short(row["p_fake"]),
        range=range_text(row),
        bar=_bar(row),
        facts=_facts(row) + _of_marked(file),
        caution=_sentence(row["note"]) if row["outside_domain"] and row["note"] else None,
        faces=[_face(number, one) for number, one in enumerate(faces[:_FACES_SHOWN], 1)],
        more_faces=max(0, len(faces) - _FACES_SHOWN),
        video=_video(row) if row["kind"] == "video" else None,
        judge=_judge_of(row, job, detectors),
        has_video=(results / MARKED).is_file(),
        marked=file.marked,
        has_report=True,
        has_heat=(results / JUDGED).is_file(),
    )


def _facts(row: dict) -> list[tuple[str, str]]:
    """Return names and values of what is known of a judged file."""
    facts = [("Thresholds", f"fake from {row['threshold']:.2f}, real below {row['real_below']:.2f}")]
    if found := row.get("p_fake_range"):
        low, high = map(format_short, found)
        facts.insert(0, ("p_fake after light re-encoding", low if low == high else f"{low} to {high}"))
        facts.insert(1, ("Verdicts after it", _stability(row)))
    if row["kind"] == "video":
        facts.append(("Analysed", f"{counted(row['frames'], 'frame')} of {row['duration_s']:.1f} s"))
    if row["note"] and not row["outside_domain"]:
        facts.append(("Note", _sentence(row["note"])))
    return facts


def _of_marked(file: StoredFile) -> list[tuple[str, str]]:
    """Return why a marked video is missing."""
    return [("Marked video", _sentence(f"it could not be made: {file.marked_error}"))] if file.marked_error else []


def _stability(row: dict) -> str:
    """Return in words what the test of stability found. `stable` means that no version is called real and another fake."""
    if not row["stable"]:
        return "changes between real and fake"
    low, high = row["p_fake_range"]
    crossed = [
        f"the threshold for {name}, {limit:.2f}"
        for name, limit in (("real", row["real_below"]), ("fake", row["threshold"]))
        if low < limit <= high
    ]
    if not crossed:
        return "all the same"
    return f"not the same in every version: p_fake crosses {' and '.join(crossed)}; it never turns from real to fake"


def _claim(row: dict) -> str | None:
    if not says_generated(row):
        return None
    found = " The detector found no trace of that in the pixels." if row["verdict"] == "real" else ""
    return f"The file itself says that a generator made it.{found}"


def _bar(row: dict) -> dict[str, float]:
    """Return where p_fake, its range and the thresholds stand on a scale of 1000 units."""
    low, high = row.get("p_fake_range") or (row["p_fake"], row["p_fake"])
    return {
        "x": round(1000 * row["p_fake"]),
        "low": round(1000 * low),
        "width": round(1000 * high) - round(1000 * low),
        "real_x": round(1000 * row["real_below"]),
        "fake_x": round(1000 * min(1.0, row["threshold"])),
    }


def _face(number: int, face: dict) -> dict[str, Any]:
    left, top, right, bottom = face["box"]
    return {
        "number": number,
        "verdict": face["verdict"],
        "heading": HEADINGS[face["verdict"]],
        "p_fake": format_short(face["p_fake"]),
        "where": f"{left:.0f}, {top:.0f}",
        "size": f"{right - left:.0f} × {bottom - top:.0f}",
    }


def _video(row: dict) -> dict[str, Any]:
    """Return the timeline and tracks of a video."""
    tracks = sorted(row["tracks"], key=lambda one: (VERDICTS.index(one["verdict"]), -one["p_fake"]))
    return {
        "timeline": timeline(row["timeline"], row["duration_s"], row["threshold"], row["real_below"]),
        "tracks": [
            {
                "number": one["track"],
                "verdict": one["verdict"],
                "heading": HEADINGS[one["verdict"]],
                "p_fake": format_short(one["p_fake"]),
                "high": format_short(one["p_fake_high"]),
                "when": f"{one['start_s']:.1f} to {one['end_s']:.1f} s",
                "frames": f"{one['judged']:,} of {one['frames']:,}",
                "outside": one["outside_domain"],
            }
            for one in tracks[:_TRACKS_SHOWN]
        ],
        "more": max(0, len(tracks) - _TRACKS_SHOWN),
        "outside": any(one["outside_domain"] for one in tracks[:_TRACKS_SHOWN]),
    }


@dataclass(frozen=True)
class Timeline:
    """A plot of p_fake over time, in the coordinates of an SVG of 1000 x 100: p_fake 1 is at the top."""

    line: str
    dots: str
    fake_from: float
    real_below: float
    fake_y: float
    real_y: float
    end: str
    end_s: float
    summary: str
    points: list[tuple[str, str]]


def timeline(points: list[list[float]], duration_s: float, fake_from: float, real_below: float) -> Timeline | None:
    """Return the plot of [time in seconds, p_fake] of a video; None without points."""
    if not points:
        return None
    whole = max(duration_s, points[-1][0], 1e-6)
    places = [(1000 * time_s / whole, 100 * (1 - p_fake)) for time_s, p_fake in points]
    over = sum(p_fake >= fake_from for _, p_fake in points)
    highest_s, highest = max(points, key=lambda one: one[1])
    return Timeline(
        line=" ".join(f"{x:.1f},{y:.1f}" for x, y in places),
        dots=" ".join(f"M{x:.1f} {y:.1f}h0" for x, y in places),
        fake_from=fake_from,
        real_below=real_below,
        fake_y=round(100 * (1 - fake_from), 1),
        real_y=round(100 * (1 - real_below), 1),
        end=f"{whole:.1f} s",
        end_s=whole,
        summary=f"p_fake over time: {over} of {counted(len(points), 'time')} at or above the threshold for fake; highest "
        f"{format_short(highest)} at {highest_s:.1f} s",
        points=[(f"{time_s:.1f} s", format_short(p_fake)) for time_s, p_fake in points],
    )


def _judge_of(row: dict, job: Job, detectors: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the description of the detector that judged a file; None if the server no longer offers it."""
    offered = [judge for choice in detectors for judge in choice["judges"]]
    return next((one for one in offered if one["id"] == row["detector"]), None)


def _provenance(found: dict | None) -> dict[str, Any] | None:
    """Return what the file says of its own origin, in words; None if that is unknown or nothing."""
    if not found or not found.get("findings"):
        return None
    findings = [one | {"strength": _STRENGTHS.get(one.get("strength", ""), "")} for one in found["findings"]]
    return {"heading": _POINTS_TO.get(found.get("points_to") or "nothing", ""), "findings": findings}


def in_order(files: list[FileView], order: str) -> list[FileView]:
    """Return files as they were sent, by name, or by p_fake: the highest first, and those without one last."""
    if order == "name":
        return sorted(files, key=lambda one: one.name.casefold())
    return (
        files
        if order == "sent"
        else sorted(files, key=lambda one: -1.0 if one.score is None else one.score, reverse=True)
    )


@dataclass(frozen=True)
class JobView:
    """What the page shows of a job besides its files."""

    id: str
    title: str
    created: datetime
    finished: datetime | None
    deleted: datetime | None  # when it will be deleted
    detector: str
    files: int
    judged: int
    summary: str
    counts: list[tuple[str, str]]  # (outcome, text)
    is_drawing: bool  # whether marked videos are still to come

    @property
    def is_done(self) -> bool:
        return self.finished is not None


def job_view(job: Job, keep_h: float) -> JobView:
    """Return what the page and the history show of a job."""
    outcomes = Counter(_outcome(file) for file in job.files if file.state == "done")
    judged = sum(outcomes.values())
    names = {"fake": "fake", "unsure": "unsure", "real": "real", "failed": "not judged"}
    counts = [(one, f"{outcomes[one]:,} {text}") for one, text in names.items() if outcomes[one]]
    first = visible_name(job.files[0].name) if job.files else "no file"
    rest = len(job.files) - 1
    return JobView(
        id=job.id,
        title=first if not rest else f"{first} and {counted(rest, 'other file')}",
        created=_when(job.created),
        finished=None if job.finished is None else _when(job.finished),
        deleted=None if job.finished is None else _when(job.finished + 3600 * keep_h),
        detector=_choice_text(job.options["detector"]),
        files=len(job.files),
        judged=judged,
        summary=_summary(judged, len(job.files)),
        counts=counts,
        is_drawing=job.is_drawing,
    )


def _choice_text(name: str) -> str:
    return "the default detectors" if name == PACKAGE else f"the detector {name}"


def _summary(judged: int, files: int) -> str:
    if judged < files:
        return f"{judged:,} of {counted(files, 'file')} done"
    return "Done" if files == 1 else f"All {files:,} files are done"


def _outcome(file: StoredFile) -> str:
    row = file.result
    return row["verdict"] if row and row["status"] == "ok" else "failed"


def _when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def size_text(size: float) -> str:
    """Return a number of bytes in words: "2.2 MiB"."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit != "MiB" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def hours_text(hours: float) -> str:
    """Return a time in words: "24 hours", "30 minutes", "7 days"."""
    if hours < 1:
        return counted(round(60 * hours), "minute")
    if hours >= 48 and hours % 24 == 0:
        return counted(round(hours / 24), "day")
    return f"{hours:g} hours" if hours != 1 else "1 hour"


def _sentence(text: str) -> str:
    """Return a text with a capital, unless it begins with a name in code, and a full stop."""
    text = text.strip()
    first = text[:1].upper() if not text.startswith("p_fake") else text[:1]
    return first + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
