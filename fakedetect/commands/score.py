"""`score`: options and output."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fakecore.commands.engine import Address, Engine, WorkerCpus, WorkerGpus, Workers
from fakecore.commands.options import RUNS, Device, Json
from fakecore.errors import Interrupted, UserError
from fakecore.interrupt import StopRequest
from fakecore.messages import counted
from fakecore.progress import progress_bar, say
from fakedetect.commands.scoreengine import Follow, JobAsked, JobOptions, PartFiles, score_as_job
from fakedetect.commands.scorerows import VERDICTS, RowPrinter, Shown
from fakedetect.commands.scoreserver import refuse_local, score_on

if TYPE_CHECKING:
    from fakedetect.faces.options import VideoOptions
    from fakedetect.scoring.inputs import Input
    from fakedetect.scoring.results import Known, ResultsFile
    from fakedetect.scoring.session import Session
    from fakedetect.scoring.sorting import Sorter
    from fakedetect.scoring.video import VideoJudge

_MIN_FACE = 60  # pixels
_COUNTED = 10_000  # files: a progress bar has a total if there are fewer


def score(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH",
            help="Photos, videos, folders, zip and tar archives, quoted patterns, and URLs of these: s3, gs, az, hf, http, "
            "https; - reads paths from standard input.",
        ),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Detector folder, .onnx file, a URL of either, or faces or photos, which come with fakelab. Default: the "
            "newest in runs/, else faces for faces and photos for whole photos.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Write results to this .csv or .jsonl file; an existing file is resumed. With .html: write a report, also to "
            "a URL. With --engine: the folder of a job, or its URL.",
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
    min_face: Annotated[float, typer.Option(help="Smallest face to find, in pixels.")] = _MIN_FACE,
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
        str | None,
        typer.Option(metavar="FILE", help="Also score the paths and URLs that this file lists; - is standard input."),
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
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Let this server judge, see serve. Its token: environment variable FAKELAB_TOKEN."
        ),
    ] = None,
    engine: Engine = None,
    address: Address = None,
    workers: Workers = None,
    worker_cpus: WorkerCpus = 1,
    worker_gpus: WorkerGpus = 0.0,
    part_files: PartFiles = None,
    follow: Follow = None,
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
      fakelab score s3://bucket/photos/ --out results.csv
      find . -name '*.heic' -print0 | fakelab score --files-from - --null
    """
    from fakecore.urls import refuse_url
    from fakedetect.faces.options import VideoOptions
    from fakedetect.models.remote import local_detector
    from fakedetect.scoring.inputs import read_list
    from fakedetect.scoring.places import is_page, place_of
    from fakedetect.scoring.sorting import Sorter

    face_options: dict[str, Any] = {
        "min_face": min_face,
        "margin": margin,
        "whole_frame": whole_frame,
        "every_face": every_face,
    }
    options = VideoOptions(fps=fps, count=count, start_s=start, end_s=end, **face_options)
    listed = [*(paths or ()), *(read_list(files_from, null=null) if files_from else ())]
    if link and copy_to is None:
        raise UserError("--link applies only to --copy-to", remedy="Add --copy-to DIR.")
    if null and files_from is None:
        raise UserError("--null applies only to --files-from", remedy="Add --files-from FILE, or - for standard input.")
    if not listed:
        raise UserError("no PATH is given", expected="files, folders or patterns, or --files-from FILE")
    shown = Shown(frozenset(only or VERDICTS), min_p, sort, everything=not only and min_p <= 0)
    for name, path in (("--copy-to", copy_to), ("--annotate", annotate)):
        refuse_url(path, name)
    sorter = Sorter(copy_to, link=link, inputs=listed) if copy_to else None
    of_engine = JobOptions(engine, address, workers, worker_cpus, worker_gpus, part_files, follow)
    if cluster := of_engine.cluster():
        elsewhere = {"--annotate": annotate, "--copy-to": copy_to, "--only": only or None, "--min-p": min_p or None}
        later = "report DIR shows, selects and sorts the rows when they are written."
        of_engine.refuse_others({**elsewhere, "--sort": sort, "--server": server}, later)
        asked = JobAsked(listed, detector, _newest_detector, options, bool(stability), cluster.device(device))
        return score_as_job(asked, out, of_engine, cluster, as_json=as_json)
    if server:
        local = {"--out": out, "--annotate": annotate, "--fps": fps, "--frames": count, "--start": start or None}
        local |= {"--min-face": min_face != _MIN_FACE, "--device": device != "auto"}
        refuse_local({**local, "--end": end, "--margin": margin, "--every-face": every_face})
        return score_on(
            server,
            listed,
            detector,
            stability=stability,
            whole_frame=whole_frame,
            shown=RowPrinter(shown, as_json),
            sorter=sorter,
        )
    target, upload = place_of(out) if out else (None, None)
    return _score(
        listed,
        local_detector(detector) if detector else _newest_detector(),
        out=target,
        upload=upload,
        drawn=annotate,
        options=options,
        stability=stability,
        device=device,
        shown=RowPrinter(shown, as_json, quiet=not as_json and out is not None and not is_page(out)),
        sorter=sorter,
    )


def _score(
    paths: list[str],
    detector_path: Path | None,
    *,
    out: Path | None,
    upload: str | None,
    drawn: Path | None,
    options: VideoOptions,
    stability: bool | None,
    device: str,
    shown: RowPrinter,
    sorter: Sorter | None,
) -> int:
    """Score `paths`, print and save each row when it is ready; return 1 if some input could not be scored, else 0. Without a
    detector, those of the package judge. `upload`: the URL to which the report at `out` is moved at the end.
    """
    from fakecore.sets.archives import is_archive
    from fakecore.urls import shown as shown_url
    from fakedetect.models.facts import expectation
    from fakedetect.scoring.annotate import refuse_video
    from fakedetect.scoring.page import refuse_page, write_score_page
    from fakedetect.scoring.places import is_page, publish
    from fakedetect.scoring.remote import is_packed
    from fakedetect.scoring.results import ResultsFile
    from fakedetect.scoring.session import Session, load_detectors

    first, rest = _inputs(paths, out)
    has_archive = any(is_packed(one) if one.url else is_archive(one.path) for one in first)
    total = None if has_archive or len(first) >= _COUNTED else len(first)
    page = out if out and is_page(out) else None
    if page:
        refuse_page(page)
    if drawn:
        refuse_video(drawn, total, out)
    detector, of_photos = load_detectors(detector_path, device, whole_frame=options.whole_frame)
    detectors = [one for one in (detector, of_photos) if one]
    results = ResultsFile(out, *detectors) if out and not page else None
    on_page: list[dict] = []
    known = 0

    def on_progress(path: str, analysed: int, expected: int) -> None:
        bar.note(f"{Path(path).name}: {analysed:,} of {counted(expected, 'frame')}")
        _check(stop, results)

    def on_known(one: Input, row: Known) -> None:
        nonlocal known
        known += 1
        shown.count(row.verdict, row.status, row.points_to)
        if sorter:
            sorter.add(one.path, row.verdict, one.data)
        bar.note(f"{known:,} are already in {out}")
        _check(stop, results)

    session = Session(
        detector,
        of_photos,
        options=options,
        results=results,
        stability=bool(page) or total == 1 if stability is None else stability,
        keep=bool(page or drawn),
        needs_contents=sorter is not None,
        on_progress=on_progress,
        on_known=on_known,
    )
    with StopRequest() as stop, progress_bar("scoring", total, "files") as bar:
        for rows in session.judge(chain(first, rest)):
            shown.add(rows)
            if sorter:
                for row in rows:
                    sorter.add(row["path"], row["verdict"], session.contents.get(row["path"]))
            if page:
                on_page += rows
            bar.advance(len(rows))
            _check(stop, results)
    _say_resumed(session, known, shown, out)
    if page:
        write_score_page(page, on_page, session.videos.shown, detector, of_photos, urls=session.urls)
        if upload:
            publish(page, upload)
    if drawn:
        _draw(first[0], drawn, session.videos)
    code = shown.finish(shown_url(upload) if upload else out, report=bool(page))
    for one in detectors:
        say(f"{one.name}: {expectation(one.facts)}")
    return code


def _inputs(paths: list[str], out: Path | None) -> tuple[list[Input], Iterator[Input]]:
    """Return the first inputs, at most _COUNTED, and the others, which are listed when they are needed; `out` is none of them.
    Raises UserError if there are none.
    """
    from fakedetect.scoring.inputs import walk_inputs

    found = walk_inputs(paths)
    if out is not None:
        found = (one for one in found if not one.path.endswith(out.name) or Path(one.path).absolute() != out.absolute())
    first = list(islice(found, _COUNTED))
    if not first:
        raise UserError(
            "there is nothing to score",
            got=f"no files in {', '.join(paths)}",
            expected="images, videos, or folders that contain them",
            remedy="Hidden files and lists such as metadata.csv are skipped.",
        )
    return first, found


def _check(stop: StopRequest, results: ResultsFile | None) -> None:
    """Raise Interrupted if a stop was asked for."""
    if stop.asked:
        raise Interrupted("the rows in --out are complete; the same command resumes" if results else "")


def _say_resumed(session: Session, known: int, shown: RowPrinter, out: Path | None) -> None:
    if session.other_options:
        say(f"{counted(session.other_options, 'video')} in it scored with other options: scored again")
    if session.changed:
        say(f"{session.changed:,} of them changed since they were scored: scored again")
    if session.unread:
        say(f"{counted(session.unread, 'file')} could not be read again: the earlier rows are kept")
    if known:
        say(f"{known:,} of {sum(shown.counts.values()):,} were already in {out}")


def _newest_detector() -> Path | None:
    """Return the newest detector in runs/, or None, and print which detector judges."""
    from fakecore.runs import runfolder

    found = runfolder.newest(RUNS, "detector.json")
    say(f"using {found}" if found else "using the detectors of the package: faces for faces, photos for whole photos")
    return found


def _draw(one: Input, drawn: Path, videos: VideoJudge) -> None:
    from fakecore.storage import local_copy
    from fakedetect.scoring.annotate import annotate

    if one.path in videos.shown:
        with local_copy(one.url or one.path) as video:
            annotate(video, drawn, videos.shown[one.path], videos.options)
        say(f"annotated video: {drawn}")
    else:
        say("note: there is nothing to draw: no video was scored")
