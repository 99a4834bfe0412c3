"""`explain`: options and output."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fakecore.commands.options import RUNS, Device, Json, newest
from fakecore.errors import UserError
from fakecore.files import write_bytes
from fakecore.progress import progress_bar, say
from fakecore.runs.runfolder import free_name, refuse_used

if TYPE_CHECKING:
    import numpy as np

    from fakedetect.explain.explain import Heat
    from fakedetect.models.detector import Detector

PAGE = "explanations.html"
COLUMNS = ("path", "status", "p_fake", "verdict", "threshold", "method", "picture", "error", "note")
_BATCH = 16
_FLAT = "the heat map is empty: nothing in this layer supports the verdict"


def explain(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="Images and folders, in any mix.")],
    detector: Annotated[Path | None, typer.Option(help="Detector folder. Default: the newest in runs/.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|FILE.html",
            help="Folder or report to write. Default: DETECTOR/explanations, or the next free name.",
        ),
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """Show which parts of an image influence the detector: heat maps.

    Writes one picture per image (the image beside its heat map) and a report with all of them.

    \b
    Examples:
      fakelab explain photo.jpg
      fakelab explain photos/ --detector runs/digits-cnn --out heat.html
    """

    folder = detector or newest(RUNS, "detector.json", "detector", "--detector DET")
    return run_explain(images, folder, as_json, out=out, device=device)


def run_explain(paths: list[str], detector_path: Path, as_json: bool, *, out: Path | None, device: str) -> int:
    """Write heat maps of each image and a report, print one line per image; return 1 if some could not be used."""
    import numpy as np

    from fakecore.report.pages import data_uri
    from fakedetect.explain.explain import CAPTION, heat_maps
    from fakedetect.models.detector import Detector
    from fakedetect.scoring.inputs import list_inputs

    inputs = list_inputs(paths)
    if not inputs:
        expected = "images, or folders that contain them"
        raise UserError("there is nothing to explain", got=f"no files in {', '.join(paths)}", expected=expected)
    detector = Detector.load(detector_path, device)
    out = out or free_name(detector_path / "explanations")
    if out.suffix.lower() in (".csv", ".jsonl", ".json", ".png", ".jpg"):
        raise UserError("--out has an unknown suffix", got=repr(out.name), expected="a folder, or a name with .html")
    page, folder = (out, None) if out.suffix.lower() == ".html" else (out / PAGE, out)
    if folder is None:
        _refuse_existing(page)
    else:
        refuse_used(folder, made_by="explanations", marker=PAGE)
    heat_maps(
        detector.network, _blank(detector), np.zeros(1, dtype=bool), detector.device
    )  # raises early if the network cannot be explained
    rows: list[dict] = []
    shown = []
    with progress_bar("explaining", len(inputs), "images") as bar:
        for row, png in _explained(inputs, detector):
            if png is not None and folder is not None:
                row["picture"] = str(folder / _file_name(len(rows), row["path"]))
                write_bytes(Path(row["picture"]), png)
            rows.append(row)
            shown.append(None if png is None else data_uri(png))
            bar.advance()
    methods = [row["method"] for row in rows if row["method"]]
    if not methods:
        raise UserError("nothing could be explained", got=f"{rows[0]['path']}: {rows[0]['error']}", expected="images")
    _write_page(page, detector, detector_path, list(zip(rows, shown, strict=True)), methods[0] if methods else None)
    if as_json:
        print(json.dumps({"page": str(page), "detector": detector.id, "caption": CAPTION, "images": rows}))
    else:
        for row in rows:
            print(_line(row))
        print(f"  report    {page}")
    say(CAPTION)
    return 0 if len(methods) == len(rows) else 1


def _explained(inputs: list[tuple[str, str | None]], detector: Detector) -> Iterator[tuple[dict, bytes | None]]:
    """Yield a row for each input, in order, and its picture as PNG bytes; None if it could not be used."""
    import numpy as np

    from fakedetect.commands.scorerows import format_p_fake
    from fakedetect.explain.explain import heat_maps
    from fakedetect.scoring.photos import OUTSIDE_NOTE

    rest = iter(inputs)
    while batch := list(islice(rest, _BATCH)):
        seen = [_read(path, problem, detector) for path, problem in batch]
        images = [image for _, image in seen if image is not None]
        if images:
            stack = np.stack(images)
            judgements = detector.judge(*detector.outputs(stack))
            # "unsure" is explained as the likelier class.
            says_fake = np.array(
                [one.verdict == "fake" or (one.verdict == "unsure" and one.p_fake >= 0.5) for one in judgements]
            )
            heat = heat_maps(detector.network, stack, says_fake, detector.device)
        place = 0
        for row, image in seen:
            if image is None:
                yield row, None
                continue
            judged, one = judgements[place], heat.maps[place]
            place += 1
            notes = [OUTSIDE_NOTE if judged.outside_domain else None, row["note"], None if one.any() else _FLAT]
            row |= {"p_fake": judged.p_fake, "verdict": judged.verdict, "threshold": judged.threshold}
            row |= {"method": heat.method, "note": "; ".join(filter(None, notes)) or None}
            yield row, _figure(image, one, heat, f"p_fake {format_p_fake(judged.p_fake)}: {judged.verdict}")


def _read(path: str, problem: str | None, detector: Detector) -> tuple[dict, np.ndarray | None]:
    """Return a row without its score, and the prepared image; None if the image cannot be used."""
    from fakecore.media.pixels import ImageError, read_image

    row = dict.fromkeys(COLUMNS) | {"path": path, "status": "ok"}
    try:
        if problem is not None:
            raise ImageError("unreadable", problem)
        image = read_image(Path(path))
        return row | {"note": detector.note_on(image)}, detector.prepare(image)
    except ImageError as error:
        return row | {"status": error.status, "error": str(error)}, None


def _figure(image: np.ndarray, heat_map: np.ndarray, heat: Heat, answer: str) -> bytes:
    """Return a PNG: the image (C, R, R) as the detector sees it, its heat map, and the caption."""
    from matplotlib.figure import Figure

    from fakedetect.explain.explain import CAPTION, in_colour, overlay

    figure = Figure(figsize=(4.8, 3.1), dpi=140, layout="constrained")
    figure.suptitle(answer, fontsize=12, fontweight="bold")
    left, right = figure.subplots(1, 2)
    colours = image.transpose(1, 2, 0) if len(image) == 3 else image[0]
    left.imshow(colours, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    left.set_title("detector input", fontsize=10)
    if heat.has_places:
        right.imshow(overlay(image, heat_map).transpose(1, 2, 0), interpolation="nearest")
        right.set_title("heat map", fontsize=10)
    else:
        right.imshow(in_colour(heat_map), interpolation="nearest")
        right.set_title("frequency weights", fontsize=10)
    for axes in (left, right):
        axes.set(xticks=[], yticks=[])
    figure.supxlabel(CAPTION, fontsize=8.5)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _write_page(
    page: Path, detector: Detector, path: Path, images: list[tuple[dict, str | None]], method: str | None
) -> None:
    from fakecore.report.pages import write_page
    from fakedetect.commands.scorerows import format_p_fake
    from fakedetect.explain.explain import CAPTION, METHODS

    write_page(
        page,
        "fakedetect.explain",
        "explain.html.j2",
        title=f"Heat maps of {path.name}",
        caption=CAPTION,
        method=None if method is None else METHODS[method],
        images=[(row, src, row["p_fake"] is not None and format_p_fake(row["p_fake"])) for row, src in images],
        detector=detector.facts,
        detector_id=detector.id,
    )


def _blank(detector: Detector) -> np.ndarray:
    import numpy as np

    return np.zeros((1, detector.channels, detector.resolution, detector.resolution), dtype=np.uint8)


def _refuse_existing(page: Path) -> None:
    if page.exists():
        raise UserError(f"{page} already exists; existing files are never overwritten", remedy="Choose another --out.")


def _file_name(number: int, path: str) -> str:
    """Return a file name valid on any system that contains the start of the image's own name."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(path).stem)[:60].strip("-.")
    return f"{number:04d}{'-' if stem else ''}{stem}.png"


def _line(row: dict) -> str:
    from fakedetect.commands.scorerows import format_p_fake

    name = row["path"].encode("unicode_escape").decode() if not row["path"].isprintable() else row["path"]
    if row["status"] != "ok":
        return f"{'-':>8}  {row['status']:<11} {name}: {row['error']}"
    shown = f"{format_p_fake(row['p_fake']):>8}  {row['verdict']:<11} {name}"
    return shown + (f": {row['picture']}" if row["picture"] else "") + (f"  ({row['note']})" if row["note"] else "")
