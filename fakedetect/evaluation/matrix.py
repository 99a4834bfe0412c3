"""Test several detectors on several sets, for example on fakes of generators that they were not trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fakecore.errors import UserError, explain_os_error
from fakecore.labels import FAKE
from fakecore.progress import progress_bar
from fakecore.runs.runfolder import locked, refuse_used
from fakedetect.data.degrade import NONE, Degradation, parse_degradation
from fakedetect.data.loading import (
    LabelledImages,
    load_labelled,
    place_name,
    require_both_classes,
    require_both_folders,
)
from fakedetect.data.overlap import count_seen
from fakedetect.evaluation.matrix_report import write_matrix
from fakedetect.evaluation.metrics import all_metrics
from fakedetect.evaluation.robustness import degraded_outputs
from fakedetect.models.detector import Detector

_METRICS = ("auroc", "auroc_interval", "fpr", "fpr_interval", "tpr", "tpr_interval", "n_real", "n_fake")
OWN_FRACTION = 0.5  # of a set's training fakes; a detector trained on more of them was trained on that set


@dataclass(frozen=True)
class Matrix:
    """`rows` are detectors, `columns` are test sets; `cells` has an entry for each pair, row by row.

    Each of them has an `error`, None on success.
    """

    folder: Path
    rows: list[dict]  # name, path, id, trained_on
    columns: list[dict]  # name, place, origin
    cells: list[dict]  # detector, set, auroc, auroc_interval, fpr, tpr, n_real, n_fake, own, seen
    degradation: str
    unused: list[dict]

    @property
    def unused_by_option(self) -> list[dict]:
        """The detectors, sets, cells and files that could not be used, in the form of `Trained.unused_by_option`."""
        lost = [{"path": row["path"], "status": "detector", "error": row["error"]} for row in self.rows if row["error"]]
        lost += [{"path": one["place"], "status": "set", "error": one["error"]} for one in self.columns if one["error"]]
        for cell in self.cells:
            if cell["error"] and not cell["blame"]:
                where = f"{cell['detector']} on {cell['set']}"
                lost.append({"path": where, "status": "cell", "error": cell["error"]})
        return lost + [{**u, "path": f"--{u['label']} {u['path']}"} if "label" in u else u for u in self.unused]


def compare(
    detectors: Sequence[Path | str],
    places: Sequence[Path | str] = (),
    *,
    out: Path | str,
    real: str | None = None,
    fake: str | None = None,
    degrade: str = NONE,
    device: str = "auto",
    data_root: Path | None = None,
    stream: bool | None = None,
) -> Matrix:
    """Test every detector on the test split of every set of `places`, and on all of `real` and `fake` if given.

    Writes matrix.csv, matrix.png and matrix.html into `out`. Every image is first degraded with `degrade` (see
    fakedetect.data.degrade). The row or column of a detector or set that cannot be used contains the reason. Raises UserError
    if no detector or no set can be used, or the arguments are invalid.
    """
    degradation = parse_degradation(degrade)
    out = Path(out)
    detectors, places = (list(dict.fromkeys(map(str, paths))) for paths in (detectors, places))
    refuse_used(out, made_by="a matrix", marker="matrix.csv")
    sets = _Sets(places, real, fake, data_root, stream)
    rows, loaded = [], []
    names = unique_names(detectors, [Path(path).absolute().name for path in detectors])
    for path, name in zip(detectors, names, strict=True):
        detector, error = _attempt(lambda path=path: Detector.load(path, device))
        facts = {"id": detector.id, "trained_on": detector.facts["training"]["domain"]} if detector else {}
        rows.append({"name": name, "path": path, "id": None, "trained_on": None, **facts, "error": error})
        loaded.append(detector)
    _require_one(rows, "detector")
    cells = []
    with locked(out), progress_bar("testing", len(rows) * len(sets.columns), "cells") as bar:
        for row, detector in zip(rows, loaded, strict=True):
            for number in range(len(sets.columns)):
                cells.append(_cell(row, detector, sets, number, degradation))
                bar.advance()
        _require_one(sets.columns, "set")
        made = Matrix(out, rows, sets.columns, cells, degradation.name, list(sets.unused.values()))
        write_matrix(out, made.rows, made.columns, made.cells, degradation)
    return made


def unique_names(paths: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the short `names`, or the whole path where a name is not unique."""
    return [name if names.count(name) == 1 else path for path, name in zip(paths, names, strict=True)]


class _Sets:
    """The columns. Each is opened once per input shape of the detectors, and decoded once by the pixel cache."""

    def __init__(
        self, places: Sequence[str], real: str | None, fake: str | None, data_root: Path | None, stream: bool | None
    ):
        asked: list[dict[str, Any]] = [{"place": place, "real": None, "fake": None} for place in places]
        if real is not None or fake is not None or not asked:
            require_both_folders(real, fake)
            asked.append({"place": None, "real": real, "fake": fake})
        labels = [str(one["place"] or f"--real {one['real']} --fake {one['fake']}") for one in asked]
        names = unique_names(labels, [place_name(**one) for one in asked])
        facts = zip(names, labels, strict=True)
        self.columns: list[dict[str, Any]] = [
            {"name": name, "place": place, "origin": {}, "error": None} for name, place in facts
        ]
        self.unused: dict[str, dict] = {}  # by path
        self._asked, self._data_root, self._stream = asked, data_root, stream
        self._opened: dict[tuple[int | None, ...], LabelledImages] = {}

    def open(self, number: int, detector: Detector) -> LabelledImages | None:
        """Return the images of a column in the input shape of a detector, or None if the column has an error."""
        shape: dict[str, Any] = {"resolution": detector.resolution, "channels": detector.channels}
        shape["equalise_jpeg"] = detector.equalise_jpeg
        column, key = self.columns[number], (number, *shape.values())
        if column["error"] is None and key not in self._opened:
            data, column["error"] = _attempt(lambda: self._load(number, shape))
            if data is not None:
                self._opened[key], column["origin"] = data, data.origin
                self.unused |= {line["path"]: line for line in data.unused}
        return self._opened.get(key)

    def _load(self, number: int, shape: dict) -> LabelledImages:
        data = load_labelled(
            **self._asked[number], **shape, data_root=self._data_root, all_test=True, stream=self._stream
        )
        require_both_classes(data, ("test",))
        return data


def _cell(row: dict, detector: Detector | None, sets: _Sets, number: int, degradation: Degradation) -> dict:
    """Test one detector on one set; return the results or the error. `blame` names its source, "detector" or "set"."""
    column = sets.columns[number]
    empty = dict.fromkeys((*_METRICS, "own", "seen"))
    cell = {"detector": row["name"], "set": column["name"], **empty, "error": row["error"], "blame": None}
    if detector is None:
        return {**cell, "blame": "detector"}
    data = sets.open(number, detector)
    if data is None:
        return {**cell, "error": column["error"], "blame": "set"}
    found, error = _attempt(lambda: _measure(Path(row["path"]), detector, data, degradation))
    return {**cell, **(found or {}), "error": error}


def _measure(path: Path, detector: Detector, data: LabelledImages, degradation: Degradation) -> dict:
    rows = data.rows("test")
    seen, own = _overlap(path, detector, data)
    plain = degradation.kind == NONE
    if plain:
        logits, outside = detector.outputs(data.images, rows)
    else:
        logits, outside = degraded_outputs(detector, data, rows, degradation)
    if not np.isfinite(logits).all():
        raise UserError("its logits on these images are not finite")
    p_fake = detector.probability(logits)
    groups = [data.groups[row] for row in rows]
    metrics = all_metrics(data.labels[rows], p_fake, detector.thresholds, groups=groups, seen=seen, outside=outside)
    return {**{name: metrics[name] for name in _METRICS}, "own": own, "seen": seen}


def _overlap(path: Path, detector: Detector, data: LabelledImages) -> tuple[int | None, bool | None]:
    """Return how many test images the detector was trained or tuned on, and whether it was trained on this set.

    The fakes decide the second: sets of two generators can share their reals. None is unknown.
    """

    def known(rows: np.ndarray) -> int | None:
        return count_seen(path, detector.facts, [data.sha256[row] for row in rows])

    if detector.facts["training"]["fingerprint"] == data.fingerprint:
        return known(data.rows("test")), True
    fakes = data.rows("train", FAKE)
    seen = known(fakes)
    return known(data.rows("test")), None if seen is None else bool(seen > OWN_FRACTION * len(fakes))


def _attempt(call: Callable) -> tuple:
    """Return (result of `call`, None) or (None, error), so that an error in one cell does not stop the matrix."""
    try:
        return call(), None
    except UserError as error:
        return None, str(error)
    except OSError as error:
        return None, str(explain_os_error(error))


def _require_one(lines: list[dict], what: str) -> None:
    if all(line["error"] for line in lines):
        many = f", and no other of the {len(lines)}" if len(lines) > 1 else ""
        raise UserError(f"no {what} can be used: {lines[0]['error'].rstrip('.')}{many}")
