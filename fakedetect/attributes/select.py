"""`attributes select`: copy the real images with a given attribute into a new folder, as training data of a GAN."""

from __future__ import annotations

import csv
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fakecore.cpus import usable_cpus
from fakecore.errors import Interrupted, UserError
from fakecore.files import write_bytes
from fakecore.interrupt import StopRequest
from fakecore.media.pixels import ImageError, decode_image, encode_png
from fakecore.progress import progress_bar
from fakecore.runs.runfolder import locked, refuse_used
from fakecore.sets.folders import Source
from fakecore.sets.sources import open_source
from fakedetect.attributes.model import AttributeModel
from fakedetect.models.calibration import stated

_BATCH = 64


@dataclass(frozen=True)
class Selection:
    """The result of `select`."""

    folder: Path
    attribute: str
    chosen: int
    judged: int
    unused: list[dict]  # {"path", "status", "error"}


def select(
    model: Path | str,
    attribute: str | None,
    spec: str,
    out: Path | str,
    *,
    min_p: float = 0.8,
    value: str = "yes",
    device: str = "auto",
    data_root: Path | None = None,
) -> Selection:
    """Copy the images of the source `spec` whose attribute has a probability of `min_p` or more into the new folder `out`;
    with `value` "no", those that lack the attribute with that probability.

    Files are copied unchanged, with their sub-folders; images of a data set without files are saved as PNG.
    selection.csv lists all images with their p. Raises UserError if no image qualifies; Interrupted before any is copied.
    """
    out = Path(out)
    if not 0 <= min_p <= 1:
        raise UserError("--min-p is out of range", got=min_p, expected="0 to 1")
    if value not in ("yes", "no"):
        raise UserError("--value could not be read", got=repr(value), expected="yes or no")
    refuse_used(out, made_by="a selection", marker="selection.csv")
    classifier = AttributeModel.load(model, device)
    place = classifier.place_of(attribute)
    name = classifier.names[place]
    source = open_source(spec, data_root)
    if source.folder is not None and source.folder.resolve() in (out.resolve(), *out.resolve().parents):
        raise UserError(f"{out} lies inside {spec}", expected="a folder outside it", remedy="Choose another --out.")
    p_yes, unused = _judge(source, classifier, place)
    p = stated(p_yes if value == "yes" else 1 - p_yes)
    with np.errstate(invalid="ignore"):
        chosen = np.flatnonzero(p >= min_p)
    judged = len(source) - len(unused)
    unused += [{"path": path, "status": "unreadable", "error": why} for path, why in source.problems]
    if not judged:
        raise UserError(f"none of the images in {spec} can be judged", got=f"the first: {unused[0]['error']}")
    if not len(chosen):
        what = f"none of {judged:,} images in {spec} qualifies: {value} for {name!r}"
        raise UserError(what, got=f"p of at most {np.nanmax(p):.3f}", expected=min_p, remedy="Give a smaller --min-p.")
    with locked(out):
        refuse_used(out, made_by="a selection", marker="selection.csv")
        _copy(source, chosen, out)
        write_bytes(out / "selection.csv", _listing(source, p_yes, set(chosen.tolist())))  # last: the folder is whole
    return Selection(out, name, len(chosen), judged, unused)


def _judge(source: Source, classifier: AttributeModel, place: int) -> tuple[np.ndarray, list[dict]]:
    """Return p of yes for each image (N,), NaN if it cannot be read, and the reasons. Memory does not grow with the images."""
    p, unused, paths = np.full(len(source), np.nan), [], source.paths

    def look(index: int):
        try:
            item = source.read(index)
            pixels = decode_image(item) if isinstance(item, bytes) else np.atleast_3d(item)
            return classifier.prepare(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
        except ImageError as error:
            return error

    pool = ThreadPoolExecutor(usable_cpus())
    with StopRequest() as stop, progress_bar("judging", len(source), "images") as bar, pool:
        for start in range(0, len(source), _BATCH):
            rows = range(start, min(start + _BATCH, len(source)))
            seen = dict(zip(rows, pool.map(look, rows), strict=True))
            good = [row for row in rows if not isinstance(seen[row], ImageError)]
            if good:
                p[good] = classifier.probabilities(np.stack([seen[row] for row in good]))[:, place]
            for row in rows:
                if isinstance(seen[row], ImageError):
                    error = seen[row]
                    unused.append({"path": paths[row], "status": error.status, "error": str(error)})
            bar.advance(len(rows))
            if stop.asked:
                raise Interrupted("nothing was copied yet; the same command starts again")
    return p, unused


def _copy(source: Source, chosen: np.ndarray, out: Path) -> None:
    """Copy the chosen images to `out`; their groups, if known, go into metadata.csv in the format that `generate` reads."""
    lines = []
    with progress_bar("copying", len(chosen), "images") as bar:
        for row in chosen:
            item, name = source.read(int(row)), _name(source, int(row))
            write_bytes(out / name, item if isinstance(item, bytes) else encode_png(_layout(item), "real"))
            lines.append((name, source.classes[row] or "", source.groups[row] or ""))
            bar.advance()
    if any(group for *_, group in lines):
        write_bytes(out / "metadata.csv", _csv(("file_name", "class", "group"), lines))


def _name(source: Source, row: int) -> str:
    """Return the path relative to the new folder: unchanged; for a named data set, without that name."""
    if source.folder is not None:
        return source.names[row]
    name = source.names[row].rpartition("/")[2]
    return name if Path(name).suffix else f"{name}.png"


def _layout(pixels: np.ndarray) -> np.ndarray:
    """Return uint8 (H, W) or (H, W, 3) as (C, H, W)."""
    return np.ascontiguousarray(np.atleast_3d(pixels).transpose(2, 0, 1))


def _listing(source: Source, p: np.ndarray, chosen: set[int]) -> bytes:
    rows = [
        (path, "" if np.isnan(own) else f"{own:.6f}", "yes" if row in chosen else "no")
        for row, (path, own) in enumerate(zip(source.paths, p, strict=True))
    ]
    return _csv(("path", "p", "chosen"), rows)


def _csv(header: tuple[str, ...], rows: list[tuple]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode(errors="surrogateescape")
