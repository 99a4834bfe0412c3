"""What `faces` does: faces out of films and photos as a set of images, and a line for whatever had none."""

from __future__ import annotations

import json
from pathlib import Path

from fakecore.errors import Interrupted, UserError
from fakecore.interrupt import StopRequest
from fakecore.labels import Label, label_number
from fakecore.progress import progress_bar, say
from fakecore.runfolder import refuse_used
from fakecore.splits import parse_split
from fakecore.wording import command, counted
from fakedetect.cropping import GROUPS, Crops, Cut, crop_input
from fakedetect.faces import FaceFinder
from fakedetect.scoring import list_inputs


def run_faces(
    paths: list[str],
    out: Path,
    as_json: bool,
    *,
    label: str | None,
    group: str,
    split: str,
    cut: Cut,
    min_face: float,
    device: str,
) -> int:
    """Cut the faces out of `paths` into a set at `out`, and say what became of each; 1 if some could not be used."""
    label_number(label or "real")
    if group not in GROUPS:
        raise UserError("--group cannot be used", got=repr(group), expected="video or track")
    shares = parse_split(split)
    inputs = list_inputs(paths)
    if not inputs:
        expected = "films, photos, or folders that hold some"
        raise UserError(
            "there is nothing to look for faces in", got=f"no files in {', '.join(paths)}", expected=expected
        )
    refuse_used(out, made_by="a set", marker="imageset.json")
    finder = FaceFinder(min_face, device)
    if label is None:
        say("note: the faces are labelled real; of fakes say --label fake")
    rows = []
    try:
        with Crops(out, cut.size) as crops:
            with StopRequest() as stop, progress_bar("looking for faces", None, "frames") as bar:
                for path, problem in inputs:
                    rows.append(crop_input(path, problem, finder, cut, crops, bar))
                    if stop.asked:
                        raise Interrupted("nothing was written; the same command starts again")
            counts = _write(crops, out, label or "real", GROUPS[group], shares, cut, min_face)
    finally:
        _remove_if_empty(out)
    return _tell(rows, out, counts, len(crops), label or "real", as_json)


def _write(crops: Crops, out: Path, label: Label, group_by: str, shares, cut: Cut, min_face: float) -> dict | None:
    if not len(crops):
        return None
    choice = {name: value for name, value in vars(cut).items() if value is not None}
    origin = {"faces": {"min_face": min_face, **choice}, "split": list(shares)}
    return crops.write(out, label, group_by, shares, origin)["counts"]


def _remove_if_empty(out: Path) -> None:
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()


def _tell(rows: list[dict], out: Path, counts: dict | None, faces: int, label: Label, as_json: bool) -> int:
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
