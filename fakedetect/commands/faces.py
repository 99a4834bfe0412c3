"""`faces`: options and output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fakecore.commands.options import Device, Json
from fakecore.errors import UserError
from fakecore.labels import Label
from fakecore.messages import command, counted
from fakecore.progress import say


def faces(
    paths: Annotated[list[str], typer.Argument(metavar="VIDEO|DIR", help="Videos, photos and folders, in any mix.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the new set.")],
    label: Annotated[str | None, typer.Option(help="Label of the faces: real or fake. Default: real.")] = None,
    min_face: Annotated[float, typer.Option(help="Smallest face to find, in pixels of the video.")] = 60,
    fps: Annotated[float | None, typer.Option(help="Frames per second to analyse. Default: 5.")] = None,
    count: Annotated[
        int | None, typer.Option("--frames", help="Number of frames to analyse, spread evenly over each video.")
    ] = None,
    every: Annotated[int | None, typer.Option(help="Analyse every N-th frame; 1 for all.")] = None,
    start: Annotated[float, typer.Option(help="Start time in the video, in seconds.")] = 0.0,
    end: Annotated[float | None, typer.Option(help="End time in the video, in seconds.")] = None,
    margin: Annotated[float, typer.Option(help="Margin around a face, as a fraction of its side.")] = 0.2,
    size: Annotated[int, typer.Option(help="Resolution of the crops, in pixels.")] = 128,
    align: Annotated[bool, typer.Option("--align", help="Rotate faces upright, by their landmarks.")] = False,
    group: Annotated[str, typer.Option(help="Group that must share a split: video or track.")] = "video",
    split: Annotated[str, typer.Option(help="Percentages of train, val, test.")] = "80,10,10",
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """Crop faces from videos and photos into a set to train on.

    Each face is tracked over the frames of its video. The set records the position, time and track of every crop.

    \b
    Examples:
      fakelab faces interview.mp4 --out sets/interview
      fakelab faces fakes/ --out sets/fakes --label fake --frames 20
    """
    from fakedetect.faces.dataset import Cut, crop_faces
    from fakedetect.scoring.inputs import list_inputs

    if fps is None and count is None and every is None:
        fps = 5.0
    cut = Cut(every=every, fps=fps, count=count, start_s=start, end_s=end, margin=margin, size=size, align=align)
    inputs = list_inputs(paths)
    if not inputs:
        expected = "videos, photos, or folders that contain them"
        raise UserError(
            "there are no inputs to search for faces", got=f"no files in {', '.join(paths)}", expected=expected
        )
    if label is None:
        say("note: the faces are labelled real; for fakes use --label fake")
    kind: Any = label or "real"
    rows, counts, found = crop_faces(
        inputs, out, cut=cut, label=kind, min_face=min_face, group=group, split=split, device=device
    )
    return _report(rows, out, counts, found, kind, as_json)


def _report(rows: list[dict], out: Path, counts: dict | None, faces: int, label: Label, as_json: bool) -> int:
    unused = [row for row in rows if row["status"] != "ok"]
    if as_json:
        facts = {"set": str(out) if counts else None, "label": label, "faces": faces, "counts": counts}
        print(json.dumps({**facts, "inputs": rows}))
    else:
        for row in rows:
            print(_line(row))
    for row in rows:
        if row["note"]:
            say(f"note: {row['path']}: {row['note']}")
    used = counted(len(rows) - len(unused), "input")
    if counts is None:
        say("no face was found: nothing was written")
    else:
        shown = ", ".join(f"{split} {own[label]:,}" for split, own in counts.items())
        say(f"{out}: {counted(faces, 'face')} of {used}, labelled {label}: {shown}")
        other = "--fake" if label == "real" else "--real"
        say(f"  next      {command('detect-train', f'--{label}', out, other)} DIR")
    return 1 if unused else 0


def _line(row: dict) -> str:
    name = row["path"].encode("unicode_escape").decode() if not row["path"].isprintable() else row["path"]
    if row["status"] != "ok":
        return f"{'-':>6}  {row['status']:<11} {name}: {row['error']}"
    where = (
        f"{counted(row['frames'], 'frame')}, {counted(row['tracks'], 'track')}" if row["kind"] == "video" else "photo"
    )
    return f"{row['faces']:>6,}  {'faces' if row['faces'] != 1 else 'face':<11} {name}: {where}"
