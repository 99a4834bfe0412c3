"""`score`: options and output."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fakecore.commands.options import RUNS, Device, Json
from fakecore.errors import Interrupted, UserError, unknown_name
from fakecore.interrupt import StopRequest
from fakecore.messages import counted
from fakecore.progress import progress_bar, say

if TYPE_CHECKING:
    from fakedetect.faces.options import VideoOptions
    from fakedetect.scoring.files import ResultsFile
    from fakedetect.scoring.sorting import Sorter
    from fakedetect.scoring.video import VideoJudge


def score(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH",
            help="Photos, videos, folders and quoted patterns, in any mix; - reads paths from standard input.",
        ),
    ] = None,
    detector: Annotated[
        Path | None,
        typer.Option(
            help="Detector folder, .onnx file, or faces or photos, which come with fakelab. Default: the newest in runs/, else "
            "faces for faces and photos for whole photos."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write results to this .csv or .jsonl file; an existing file is resumed. With .html: write a report."
        ),
    ] = None,
    annotate: Annotated[
        Path | None,
        typer.Option(metavar="FILE.mp4", help="Write a copy of one video with boxes and verdicts, without sound."),
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Video: frames per second to analyse. Default: 5.")] = None,
    count: Annotated[
        int | None, typer.Option("--frames", help="Video: number of frames to analyse, spread evenly.")
    ] = None,
    start: Annotated[float, typer.Option(help="Video: start time, in seconds.")] = 0.0,
    end: Annotated[float | None, typer.Option(help="Video: end time, in seconds.")] = None,
    min_face: Annotated[float, typer.Option(help="Smallest face to find, in pixels.")] = 60,
    margin: Annotated[
        float | None,
        typer.Option(help="Margin around a face, as a fraction of its side. Default: as in training, else 0.2."),
    ] = None,
    whole_frame: Annotated[
        bool, typer.Option("--whole-frame", help="Score whole frames and photos instead of faces.")
    ] = False,
    every_face: Annotated[
        bool, typer.Option("--every-face", help="Video: score every face of a track, not only the sharpest.")
    ] = False,
    stability: Annotated[
        bool | None,
        typer.Option(
            "--stability/--no-stability",
            help="Photo: also judge five light re-encodings; a verdict that flips becomes unsure. Default: on for a "
            "single file and for reports.",
        ),
    ] = None,
    files_from: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also score the paths that this file lists; - is standard input.")
    ] = None,
    null: Annotated[
        bool, typer.Option("--null", help="The list separates paths by zero bytes, as find -print0 does.")
    ] = False,
    copy_to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Copy each file into real/, unsure/, fake/ or not-judged/ below this folder."),
    ] = None,
    link: Annotated[
        bool, typer.Option("--link", help="With --copy-to: make symbolic links instead of copies.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="VERDICT", help="Print only files with this verdict; repeat it for several."),
    ] = None,
    min_p: Annotated[float, typer.Option(help="Print only files with a p_fake of at least this.")] = 0.0,
    sort: Annotated[
        bool, typer.Option("--sort", help="Print the most suspicious files first, when all are scored.")
    ] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """Score photos, videos and folders: how likely is each one fake?

    Prints one line per file as soon as it is scored: p_fake (the probability of fake), the verdict and the file name. In
    videos, faces are found and tracked; the video gets the score of its most suspicious face. A detector of faces judges photos
    by their faces too.

    \b
    Examples:
      fakelab score holiday/ video.mp4
      fakelab score photos/ --out results.csv
      fakelab score video.mp4 --annotate marked.mp4 --out report.html
      fakelab score 'inbox/**/*.jpg' --only fake --copy-to sorted/
      find . -name '*.heic' -print0 | fakelab score --files-from - --null
    """
    from fakedetect.faces.options import VideoOptions
    from fakedetect.scoring.inputs import read_list
    from fakedetect.scoring.sorting import Sorter

    face_options: dict[str, Any] = {
        "min_face": min_face,
        "margin": margin,
        "whole_frame": whole_frame,
        "every_face": every_face,
    }
    options = VideoOptions(fps=fps, count=count, start_s=start, end_s=end, **face_options)
    listed = [*(paths or ()), *(read_list(files_from, null=null) if files_from else ())]
    if not listed:
        raise UserError("no PATH is given", expected="files, folders or patterns, or --files-from FILE")
    shown = Shown(frozenset(only or VERDICTS), min_p, sort, everything=not only and min_p <= 0)
    return print_scores(
        listed,
        detector or _newest_detector(),
        out=out,
        drawn=annotate,
        options=options,
        stability=stability,
        device=device,
        as_json=as_json,
        shown=shown,
        sorter=Sorter(copy_to, link=link, inputs=listed) if copy_to else None,
    )


VERDICTS = ("fake", "unsure", "real")


@dataclass(frozen=True)
class Shown:
    """Which rows are printed: of some verdicts, from a p_fake up, sorted or not; `everything` includes files that could not be
    judged. Raises UserError for an unknown verdict.
    """

    verdicts: frozenset[str] = frozenset(VERDICTS)
    min_p: float = 0.0
    sort: bool = False
    everything: bool = True

    def __post_init__(self) -> None:
        for name in self.verdicts - frozenset(VERDICTS):
            raise unknown_name("verdict", name, VERDICTS)

    def has(self, row: dict) -> bool:
        """Return whether a row is printed."""
        return self.everything or (row["verdict"] in self.verdicts and row["p_fake"] >= self.min_p)


def suspicion(row: dict) -> tuple[int, float]:
    """Return a sort key of rows, the most suspicious first; those without a verdict come last."""
    return (VERDICTS.index(row["verdict"]), -row["p_fake"]) if row["verdict"] else (len(VERDICTS), 0.0)


def print_scores(
    paths: list[str],
    detector_path: Path | None,
    *,
    out: Path | None,
    drawn: Path | None,
    options: VideoOptions,
    stability: bool | None,
    device: str,
    as_json: bool,
    shown: Shown | None = None,
    sorter: Sorter | None = None,
) -> int:
    """Score `paths`, print and save each row when it is ready; return 1 if some input could not be scored, else 0. Without a
    detector, those of the package judge.
    """
    from fakedetect.models.detector import Detector
    from fakedetect.models.facts import expectation
    from fakedetect.scoring.annotate import refuse_video
    from fakedetect.scoring.files import ResultsFile, score_files
    from fakedetect.scoring.inputs import list_inputs
    from fakedetect.scoring.page import refuse_page, write_score_page
    from fakedetect.scoring.video import VideoJudge

    inputs = [item for item in list_inputs(paths) if out is None or Path(item[0]).absolute() != out.absolute()]
    if not inputs:
        raise UserError(
            "there is nothing to score",
            got=f"no files in {', '.join(paths)}",
            expected="images, videos, or folders that contain them",
            remedy="Hidden files and lists such as metadata.csv are skipped.",
        )
    page = out if out and out.suffix.lower() == ".html" else None
    if page:
        refuse_page(page)
    if drawn:
        refuse_video(drawn, len(inputs), out)
    detector = Detector.load(detector_path or ("photos" if options.whole_frame else "faces"), device)
    of_photos = None if detector_path or options.whole_frame else Detector.load("photos", device)
    detectors = [one for one in (detector, of_photos) if one]
    results = ResultsFile(out, *detectors) if out and not page else None
    before = _scored_before(inputs, results, options) if results else {}
    todo = [item for item in inputs if item[0] not in before]
    if before:
        say(f"{len(before):,} of {len(inputs):,} are already in {out}")
    counts = Counter(row["verdict"] or row["status"] for row in before.values())
    quiet = results is not None and not as_json
    shown = shown or Shown()
    kept: list[dict] = []  # to be sorted
    on_page: list[dict] = []

    def show(row: dict) -> None:
        if shown.has(row) and (as_json or not quiet):
            print(json.dumps(row) if as_json else _line(row))

    if sorter:
        for row in before.values():
            sorter.add(row)
    with StopRequest() as stop, progress_bar("scoring", len(todo), "files") as bar:

        def on_progress(path: str, analysed: int, expected: int) -> None:
            bar.note(f"{Path(path).name}: {analysed:,} of {counted(expected, 'frame')}")
            if stop.asked:
                raise Interrupted(_resume_hint(results))

        videos = VideoJudge(detector, options, on_progress=on_progress, keep=bool(page or drawn))
        tested = bool(page) or len(inputs) == 1 if stability is None else stability
        for rows in score_files(todo, detector, videos, stability=tested, of_photos=of_photos):
            if page:
                on_page += rows
            if results:
                results.append(rows)
            for row in rows:
                counts[row["verdict"] or row["status"]] += 1
                if sorter:
                    sorter.add(row)
                if shown.sort:
                    kept.append(row)
                else:
                    show(row)
            sys.stdout.flush()
            bar.advance(len(rows))
            if stop.asked:
                raise Interrupted(_resume_hint(results))
    for row in sorted(kept, key=suspicion):
        show(row)
    if page:
        write_score_page(page, on_page, videos.shown, detector, of_photos)
    if drawn:
        _draw(inputs[0][0], drawn, videos)
    code = _print_counts(counts, out, page)
    for one in detectors:
        say(f"{one.name}: {expectation(one.facts)}")
    return code


def _newest_detector() -> Path | None:
    """Return the newest detector in runs/, or None, and print which detector judges."""
    from fakecore.runs import runfolder

    found = runfolder.newest(RUNS, "detector.json")
    say(f"using {found}" if found else "using the detectors of the package: faces for faces, photos for whole photos")
    return found


def _draw(path: str, drawn: Path, videos: VideoJudge) -> None:
    from fakedetect.scoring.annotate import annotate

    if path in videos.shown:
        annotate(Path(path), drawn, videos.shown[path], videos.options)
        say(f"annotated video: {drawn}")
    else:
        say("note: there is nothing to draw: no video was scored")


def _print_counts(counts: Counter, out: Path | None, page: Path | None) -> int:
    """Print the count of each verdict and where the results are; return 1 if some input could not be scored, else 0."""
    counted_verdicts = (
        ", ".join(f"{counts[name]:,} {name}" for name in ("fake", "unsure", "real") if counts[name]) or "none scored"
    )
    lost = {name: n for name, n in counts.items() if name not in ("fake", "unsure", "real")}
    if lost:
        counted_verdicts += "; not scored: " + ", ".join(f"{n:,} {name}" for name, n in sorted(lost.items()))
    total = sum(counts.values())
    say(
        f"{total:,} {'file' if total == 1 else 'files'}: {counted_verdicts}"
        + (f"; {'report:' if page else 'rows in'} {out}" if out else "")
    )
    return 1 if lost else 0


def _resume_hint(results: ResultsFile | None) -> str:
    return "the rows in --out are complete; the same command resumes" if results else ""


def _scored_before(
    inputs: list[tuple[str, str | None]], results: ResultsFile, options: VideoOptions
) -> dict[str, dict]:
    """Return path -> row of the inputs whose rows in the file are still valid. Drop the rows of files that changed since,
    and of videos that were scored with other options.
    """
    from fakedetect.scoring.files import changed_since

    before = {path: results.existing[path] for path, _ in inputs if path in results.existing}
    other_options = {
        path for path, row in before.items() if row["kind"] == "video" and not options.matches(row["note"])
    }
    if other_options:
        say(f"{counted(len(other_options), 'video')} in it scored with other options: scoring again")
    changed = changed_since({path: row for path, row in before.items() if path not in other_options})
    if changed:
        say(f"{len(changed):,} of them changed since they were scored: scoring again")
    stale = changed | other_options
    if stale:
        results.drop(stale)
    return {path: row for path, row in before.items() if path not in stale}


def _line(row: dict) -> str:
    name = row["path"].encode("unicode_escape").decode() if not row["path"].isprintable() else row["path"]
    if row["status"] != "ok":
        return f"{'-':>8}  {row['status']:<11} {name}: {row['error']}"
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
