"""The commands that make and use detectors, as a part of cli.py's face: parse, call, print, exit code. Imports typer alone,
as --help must.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli_common import (
    RUNS,
    DataRoot,
    Device,
    Fake,
    Json,
    Real,
    Sets,
    fresh,
    newest,
    newest_run,
    print_json,
    report_unused,
)
from fakecore.wording import command

detector_commands = typer.Typer()
Strict = Annotated[bool, typer.Option("--strict", help="Refuse where the audit finds a leak.")]


@detector_commands.command(short_help="What, other than fakery, tells reals and fakes apart?")
def audit(
    place: Annotated[Path | None, typer.Argument(metavar="[SET|RUN]", help="A set or a run.")] = None,
    real: Real = None,
    fake: Fake = None,
    out: Annotated[Path | None, typer.Option(help="A page to write: FILE.html, with the offending pictures.")] = None,
    strict: Strict = False,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """What, other than fakery, tells reals and fakes apart: formats, sizes, compression, copies, groups on two sides."""
    from fakedetect.cli_audit import run_audit

    shared = {"real": real, "fake": fake, "out": out, "strict": strict, "data_root": data_root}
    return run_audit(place, as_json, report_unused, **shared)


@detector_commands.command("detect-train", short_help="Train a detector on a set, a run, or two folders.")
def detect_train(
    place: Annotated[
        Path | None, typer.Argument(metavar="[SET|RUN]", help="A set or a run. Default: the newest run.")
    ] = None,
    real: Real = None,
    fake: Fake = None,
    model: Annotated[
        str | None,
        typer.Option(help="cnn (default), resnet50, timm:NAME, dct, spectrum, discriminator or ensemble:DET,DET."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Pretrained weights of resnet50 or timm: .safetensors, or a torch file.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The detector's folder. Default: RUN-MODEL, or the next free name.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same result. Default: 0.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was stopped.")] = False,
    equalise: Annotated[bool, typer.Option("--equalise", help="Compress both sides alike, also to score.")] = False,
    strict: Strict = False,
    sets: Sets = None,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Train a detector on a set, a run, or two folders, and write its report."""
    import benchmarks.discriminators  # noqa: F401
    import fakedetect
    from fakecore.settings import parse_assignments
    from fakedetect.cli_evaluate import print_metrics

    changes = parse_assignments(sets or []) | {
        name: value for name, value in (("model", model), ("weights", weights)) if value is not None
    }
    if equalise:
        changes["equalise"] = "true"
    if resume:
        folder = out or newest(RUNS, "training.json", "training to resume", "--out DET")
    else:
        if place is None and real is None and fake is None:
            place = newest_run()
        folder = fresh(out, RUNS / f"{place.name if place else 'detector'}-{_plain(changes.get('model', 'cnn'))}")
    shared = {"device": device, "resume": resume, "data_root": data_root, "strict": strict}
    made = fakedetect.train(place, out=folder, real=real, fake=fake, changes=changes, seed=seed, **shared)
    if as_json:
        print_json({"detector": str(made.detector), "report": str(made.report), "test_metrics": made.metrics})
    else:
        print_metrics(made)
        print(f"  next      {command('score', 'FOLDER', '--detector', made.detector)}")
    return report_unused(made.unused_by_option)


@detector_commands.command(
    short_help="Test a detector on images that it was not trained on; or several, on several sets."
)
def evaluate(
    detectors: Annotated[
        str,
        typer.Argument(metavar="DET[,DET...]", help="The folder of a detector, or an .onnx file of one; or several."),
    ],
    places: Annotated[
        list[Path] | None, typer.Argument(metavar="[SET|RUN]...", help="Sets or runs: their test splits are used.")
    ] = None,
    real: Real = None,
    fake: Fake = None,
    out: Annotated[Path | None, typer.Option(help="Default: DET/evaluations/NAME; of several: runs/matrix.")] = None,
    robustness: Annotated[bool, typer.Option("--robustness", help="Also after JPEG, blur, noise and more.")] = False,
    degrade: Annotated[str | None, typer.Option(help="A matrix of images degraded first: jpeg75, blur1 ...")] = None,
    strict: Strict = False,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Test a detector on images that it was not trained on, with a report; several, or several sets, as a matrix."""
    import benchmarks.discriminators  # noqa: F401
    from fakedetect.cli_evaluate import run_evaluate

    where = {"real": real, "fake": fake, "out": out, "device": device, "data_root": data_root}
    where |= {"robustness": robustness, "degrade": degrade, "strict": strict}
    made = run_evaluate(detectors, places or [], as_json, **where)
    return report_unused(made.unused_by_option)


@detector_commands.command()
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
    import benchmarks.discriminators  # noqa: F401
    from fakedetect.cli_score import print_scores
    from fakedetect.look import Look

    looked = {"min_face": min_face, "margin": margin, "whole_frame": whole_frame, "every_face": every_face}
    look = Look(fps=fps, count=count, start_s=start, end_s=end, **looked)
    folder = detector or newest(RUNS, "detector.json", "detector", "--detector DET")
    return print_scores(paths, folder, out=out, drawn=annotate, look=look, device=device, as_json=as_json)


@detector_commands.command()
def export(
    detector: Annotated[Path, typer.Argument(help="The folder of a detector.")],
    onnx: Annotated[Path, typer.Option(metavar="FILE.onnx", help="The file to write.")],
    check: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Images to check it on. Default: the detector's own test split.")
    ] = None,
    as_json: Json = False,
) -> int:
    """A detector as one .onnx file, preprocessing and temperature inside, kept only if its answers are the same."""
    import benchmarks.discriminators  # noqa: F401
    from fakedetect.cli_export import run_export

    return run_export(detector, onnx, as_json, check=check)


@detector_commands.command()
def explain(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Images and folders, mixed.")],
    detector: Annotated[
        Path | None, typer.Option(help="The folder of a detector. Default: the newest in runs/.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR|FILE.html", help="Default: DETECTOR/explanations, or the next free name."),
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """Where in each image a detector's answer is most sensitive: heat maps, as pictures and on one page."""
    import benchmarks.discriminators  # noqa: F401
    from fakedetect.cli_explain import run_explain

    folder = detector or newest(RUNS, "detector.json", "detector", "--detector DET")
    return run_explain(images, folder, as_json, out=out, device=device)


@detector_commands.command(short_help="Cut faces out of films and photos, as a set to train on.")
def faces(
    paths: Annotated[list[str], typer.Argument(metavar="VIDEO|DIR...", help="Films, photos and folders, mixed.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder of the new set.")],
    label: Annotated[str | None, typer.Option(help="real or fake: what the faces are. Default: real.")] = None,
    min_face: Annotated[float, typer.Option(help="The smallest face, in pixels of the film.")] = 60,
    fps: Annotated[float | None, typer.Option(help="Frames a second to look at. Default: 5.")] = None,
    count: Annotated[int | None, typer.Option("--frames", help="So many frames, spread over each film.")] = None,
    every: Annotated[int | None, typer.Option(help="Each so-many-th frame; 1 for all.")] = None,
    start: Annotated[float, typer.Option(help="Seconds into the film at which to begin.")] = 0.0,
    end: Annotated[float | None, typer.Option(help="Seconds into the film at which to stop.")] = None,
    margin: Annotated[float, typer.Option(help="Kept around a face, as a share of its side.")] = 0.2,
    size: Annotated[int, typer.Option(help="Side of the crops, in pixels.")] = 128,
    align: Annotated[bool, typer.Option("--align", help="Turn faces upright, by their landmarks.")] = False,
    group: Annotated[str, typer.Option(help="What shares a split: all of a video, or a track.")] = "video",
    split: Annotated[str, typer.Option(help="Per cents of train, val, test.")] = "80,10,10",
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """Cut faces out of films and photos, with who is where and when, as a set of images to train on."""
    from fakedetect.cli_faces import run_faces
    from fakedetect.cropping import Cut

    if fps is None and count is None and every is None:
        fps = 5.0
    cut = Cut(every=every, fps=fps, count=count, start_s=start, end_s=end, margin=margin, size=size, align=align)
    labels = {"label": label, "group": group, "split": split}
    return run_faces(paths, out, as_json, cut=cut, min_face=min_face, device=device, **labels)


def _plain(model: str) -> str:
    """A model's name as part of a folder's: "timm:vit_tiny" -> "timm-vit_tiny", "ensemble:a,b" -> "ensemble"."""
    name, _, rest = model.partition(":")
    return f"{name}-{rest}" if name == "timm" else name
