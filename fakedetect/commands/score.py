"""`score`: options and output."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fakecore.commands.options import RUNS, Device, Json, newest
from fakecore.errors import Interrupted, UserError
from fakecore.interrupt import StopRequest
from fakecore.messages import counted
from fakecore.progress import progress_bar, say

if TYPE_CHECKING:
    from fakedetect.faces.options import Look
    from fakedetect.scoring.files import ResultsFile
    from fakedetect.scoring.video import FilmJudge


def score(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Photos, films and folders, mixed.")],
    detector: Annotated[
        Path | None, typer.Option(help="The folder of a detector, or an .onnx file. Default: the newest in runs/.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A .csv or .jsonl file, gone on with when it was begun; or an .html page.")
    ] = None,
    annotate: Annotated[
        Path | None, typer.Option(metavar="FILE.mp4", help="One film again, boxes and verdicts drawn in, no sound.")
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Of films: frames a second to look at. Default: 5.")] = None,
    count: Annotated[int | None, typer.Option("--frames", help="Of films: so many frames, spread over each.")] = None,
    start: Annotated[float, typer.Option(help="Of films: seconds into each at which to begin.")] = 0.0,
    end: Annotated[float | None, typer.Option(help="Of films: seconds into each at which to stop.")] = None,
    min_face: Annotated[float, typer.Option(help="Of films: the smallest face, in pixels.")] = 60,
    margin: Annotated[
        float | None,
        typer.Option(help="Of films: kept around a face, as a share of its side. Default: as in training, else 0.2."),
    ] = None,
    whole_frame: Annotated[
        bool, typer.Option("--whole-frame", help="Of films: judge frames as photos are judged, not faces.")
    ] = False,
    every_face: Annotated[
        bool, typer.Option("--every-face", help="Of films: judge all faces of a track, not the sharpest alone.")
    ] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """Say of every photo and film how likely it is fake. One line each, as they come."""
    from fakedetect.faces.options import Look
    from fakedetect.scoring.annotate import annotate

    looked = {"min_face": min_face, "margin": margin, "whole_frame": whole_frame, "every_face": every_face}
    look = Look(fps=fps, count=count, start_s=start, end_s=end, **looked)
    folder = detector or newest(RUNS, "detector.json", "detector", "--detector DET")
    return print_scores(paths, folder, out=out, drawn=annotate, look=look, device=device, as_json=as_json)


def print_scores(
    paths: list[str],
    detector_path: Path,
    *,
    out: Path | None,
    drawn: Path | None,
    look: Look,
    device: str,
    as_json: bool,
) -> int:
    """Score `paths`, print and save rows as they come; 1 when some input could not be judged, else 0."""
    from fakedetect.models.detector import Detector
    from fakedetect.scoring.annotate import refuse_film
    from fakedetect.scoring.files import ResultsFile, list_inputs, score_files
    from fakedetect.scoring.page import refuse_page, write_score_page
    from fakedetect.scoring.video import FilmJudge

    inputs = [item for item in list_inputs(paths) if out is None or Path(item[0]).absolute() != out.absolute()]
    if not inputs:
        raise UserError(
            "there is nothing to score",
            got=f"no files in {', '.join(paths)}",
            expected="images, films, or folders that hold some",
            remedy="Hidden files, and lists such as metadata.csv, are passed over.",
        )
    page = out if out and out.suffix.lower() == ".html" else None
    if page:
        refuse_page(page)
    if drawn:
        refuse_film(drawn, len(inputs), out)
    detector = Detector.load(detector_path, device)
    results = ResultsFile(out, detector) if out and not page else None
    before = _judged_before(inputs, results, look) if results else {}
    todo = [item for item in inputs if item[0] not in before]
    if before:
        say(f"{len(before):,} of {len(inputs):,} are in {out} already")
    counts = Counter(row["verdict"] or row["status"] for row in before.values())
    quiet = results is not None and not as_json
    on_page: list[dict] = []
    with StopRequest() as stop, progress_bar("scoring", len(todo), "files") as bar:

        def watch(path: str, looked_at: int, expected: int) -> None:
            bar.note(f"{Path(path).name}: {looked_at:,} of {counted(expected, 'frame')}")
            if stop.asked:
                raise Interrupted(_kept(results))

        films = FilmJudge(detector, look, watch=watch, keep=bool(page or drawn))
        for rows in score_files(todo, detector, films):
            if page:
                on_page += rows
            if results:
                results.append(rows)
            for row in rows:
                counts[row["verdict"] or row["status"]] += 1
                if as_json:
                    print(json.dumps(row))
                elif not quiet:
                    print(_line(row))
            sys.stdout.flush()
            bar.advance(len(rows))
            if stop.asked:
                raise Interrupted(_kept(results))
    if page:
        write_score_page(page, on_page, films.shown, detector)
    if drawn:
        _draw(inputs[0][0], drawn, films)
    return _sum_up(counts, out, page)


def _draw(path: str, drawn: Path, films: FilmJudge) -> None:
    from fakedetect.scoring.annotate import annotate

    if path in films.shown:
        annotate(Path(path), drawn, films.shown[path], films.look)
        say(f"boxes drawn in {drawn}")
    else:
        say("note: there is nothing to draw: no film was judged")


def _sum_up(counts: Counter, out: Path | None, page: Path | None) -> int:
    """Say how many were what and where it stands; 1 when some input could not be judged, else 0."""
    told = ", ".join(f"{counts[name]:,} {name}" for name in ("fake", "unsure", "real") if counts[name]) or "none judged"
    lost = {name: n for name, n in counts.items() if name not in ("fake", "unsure", "real")}
    if lost:
        told += "; not judged: " + ", ".join(f"{n:,} {name}" for name, n in sorted(lost.items()))
    total = sum(counts.values())
    say(
        f"{total:,} {'file' if total == 1 else 'files'}: {told}"
        + (f"; {'look at' if page else 'rows in'} {out}" if out else "")
    )
    return 1 if lost else 0


def _kept(results: ResultsFile | None) -> str:
    return "what is in --out is whole; the same command goes on" if results else ""


def _judged_before(inputs: list[tuple[str, str | None]], results: ResultsFile, look: Look) -> dict[str, dict]:
    """Path -> row of the inputs that are in the file already, and still hold what they held then; others are taken off,
    and films that were looked at in another way.
    """
    from fakedetect.scoring.files import changed_since

    before = {path: results.seen[path] for path, _ in inputs if path in results.seen}
    otherwise = {path for path, row in before.items() if row["kind"] == "video" and not look.made(row["note"])}
    if otherwise:
        say(f"{counted(len(otherwise), 'film')} in it looked at in another way, and judged anew")
    changed = changed_since({path: row for path, row in before.items() if path not in otherwise})
    if changed:
        say(f"{len(changed):,} of them changed since they were judged, and are judged anew")
    stale = changed | otherwise
    if stale:
        results.drop(stale)
    return {path: row for path, row in before.items() if path not in stale}


def _line(row: dict) -> str:
    name = row["path"].encode("unicode_escape").decode() if not row["path"].isprintable() else row["path"]
    if row["status"] != "ok":
        return f"{'-':>8}  {row['status']:<11} {name}: {row['error']}"
    shown = f"{told_p_fake(row['p_fake']):>8}  {row['verdict']:<11} {name}"
    if row.get("tracks"):
        shown += f": {_tracks(row)}"
    return shown + (f"  ({row['note']})" if row["note"] else "")


def _tracks(row: dict) -> str:
    """How many tracks a film has, and when the one that decides is seen."""
    key = (row["p_fake"], row["verdict"])
    worst = next(track for track in row["tracks"] if (track["p_fake"], track["verdict"]) == key)
    when = f"{worst['start_s']:.1f} to {worst['end_s']:.1f} s"
    many = len(row["tracks"]) > 1
    return f"{counted(len(row['tracks']), 'track')}, the worst at {when}" if many else f"one track, {when}"


def told_p_fake(p_fake: float) -> str:
    """To four decimals, but never as a certainty, which no detector has."""
    return "<0.0001" if p_fake < 0.0001 else ">0.9999" if p_fake > 0.9999 else f"{p_fake:.4f}"
