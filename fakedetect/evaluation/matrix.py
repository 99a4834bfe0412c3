"""Several detectors on several sets: who still catches the fakes of generators that they never met?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

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
from fakedetect.models.calibration import probability
from fakedetect.models.detector import Detector

_KEPT = ("auroc", "auroc_interval", "fpr", "fpr_interval", "tpr", "tpr_interval", "n_real", "n_fake")
OWN_SHARE = 0.5  # of a set's training fakes: a detector that knows as many was trained on that set


@dataclass(frozen=True)
class Matrix:
    """`rows` are detectors, `columns` what they were tested on; `cells` has a line for each pair, row by row.

    Each of them has an `error`, None where all went well.
    """

    folder: Path
    rows: list[dict]  # name, path, id, trained_on
    columns: list[dict]  # name, place, origin
    cells: list[dict]  # detector, set, auroc, auroc_interval, fpr, tpr, n_real, n_fake, own, seen
    degradation: str
    unused: list[dict]

    @property
    def unused_by_option(self) -> list[dict]:
        """What could not be used, as `Trained.unused_by_option`: detectors, sets, cells, and single files."""
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
) -> Matrix:
    """Test every detector on the test split of every set of `places`, and on all of `real` and `fake` if given.

    Writes matrix.csv, matrix.png and matrix.html into `out`. Every image is degraded first as `degrade` says (see
    fakedetect.data.degrade). A detector or a set that cannot be used is a row or column that says why. Raises UserError when
    no detector or no set is left, or the request makes no sense.
    """
    degradation = parse_degradation(degrade)
    out = Path(out)
    detectors, places = (list(dict.fromkeys(map(str, paths))) for paths in (detectors, places))
    refuse_used(out, made_by="a matrix", marker="matrix.csv")
    sets = _Sets(places, real, fake, data_root)
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
    """The short `names`, or the whole path of those that share one."""
    return [name if names.count(name) == 1 else path for path, name in zip(paths, names, strict=True)]


class _Sets:
    """The columns. Each is opened once for every shape that a detector asks for, and decoded once by the pixel cache."""

    def __init__(self, places: Sequence[str], real: str | None, fake: str | None, data_root: Path | None):
        asked = [{"place": place, "real": None, "fake": None} for place in places]
        if real is not None or fake is not None or not asked:
            require_both_folders(real, fake)
            asked.append({"place": None, "real": real, "fake": fake})
        told = [str(one["place"] or f"--real {one['real']} --fake {one['fake']}") for one in asked]
        names = unique_names(told, [place_name(**one) for one in asked])
        facts = zip(names, told, strict=True)
        self.columns = [{"name": name, "place": place, "origin": {}, "error": None} for name, place in facts]
        self.unused: dict[str, dict] = {}  # by path
        self._asked, self._data_root = asked, data_root
        self._opened: dict[tuple[int | None, ...], LabelledImages] = {}

    def open(self, number: int, detector: Detector) -> LabelledImages | None:
        """The images of a column as a detector wants them, or None where the column has an error."""
        shape = {"resolution": detector.resolution, "channels": detector.channels}
        shape["equalise_jpeg"] = detector.equalise_jpeg
        column, key = self.columns[number], (number, *shape.values())
        if column["error"] is None and key not in self._opened:
            data, column["error"] = _attempt(lambda: self._load(number, shape))
            if data is not None:
                self._opened[key], column["origin"] = data, data.origin
                self.unused |= {line["path"]: line for line in data.unused}
        return self._opened.get(key)

    def _load(self, number: int, shape: dict) -> LabelledImages:
        data = load_labelled(**self._asked[number], **shape, data_root=self._data_root, all_test=True)
        require_both_classes(data, ("test",))
        return data


def _cell(row: dict, detector: Detector | None, sets: _Sets, number: int, degradation: Degradation) -> dict:
    """One detector on one set: what was measured, or why nothing was. `blame` says whose fault: the row's, the column's."""
    column = sets.columns[number]
    empty = dict.fromkeys((*_KEPT, "own", "seen"))
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
    seen, own = _known(path, detector, data)
    plain = degradation.kind == NONE
    if plain:
        logits, outside = detector.outputs(data.images, rows)
    else:
        logits, outside = degraded_outputs(detector, data, rows, degradation)
    if not np.isfinite(logits).all():
        raise UserError("its logits are not finite on these images")
    p_fake = probability(logits, detector.facts["temperature"])
    groups = [data.groups[row] for row in rows]
    metrics = all_metrics(data.labels[rows], p_fake, detector.thresholds, groups=groups, seen=seen, outside=outside)
    return {**{name: metrics[name] for name in _KEPT}, "own": own, "seen": seen}


def _known(path: Path, detector: Detector, data: LabelledImages) -> tuple[int | None, bool | None]:
    """How many of the test images the detector was trained or tuned on, and whether it was trained on this very set.

    The fakes decide of the second: sets of two generators may share their reals. None is unknown.
    """

    def known(rows: np.ndarray) -> int | None:
        return count_seen(path, detector.facts, [data.sha256[row] for row in rows])

    if detector.facts["training"]["fingerprint"] == data.fingerprint:
        return known(data.rows("test")), True
    fakes = data.rows("train", FAKE)
    seen = known(fakes)
    return known(data.rows("test")), None if seen is None else bool(seen > OWN_SHARE * len(fakes))


def _attempt(work: Callable) -> tuple:
    """(what `work` returns, None), or (None, why it could not be done): a cell's mistake must not end the matrix."""
    try:
        return work(), None
    except UserError as error:
        return None, str(error)
    except OSError as error:
        return None, str(explain_os_error(error))


def _require_one(lines: list[dict], what: str) -> None:
    if all(line["error"] for line in lines):
        many = f", and no other of the {len(lines)}" if len(lines) > 1 else ""
        raise UserError(f"no {what} can be used: {lines[0]['error'].rstrip('.')}{many}")
