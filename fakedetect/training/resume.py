"""training.json: the settings, seed and images of a training, so that its folder alone is enough to resume it."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fakecore.errors import UserError
from fakecore.files import read_json, read_jsonl, write_json
from fakecore.messages import command
from fakecore.runs.runfolder import refuse_used
from fakecore.schema import OBJECT, TEXT, Kind, check_fields, whole
from fakecore.sets.sources import is_named
from fakecore.settings import override
from fakecore.urls import shown
from fakedetect.data.joining import Place
from fakedetect.data.loading import LabelledImages
from fakedetect.models.registry import get_model
from fakedetect.models.settings import DetectorSettings

PLACES = ("place", "real", "fake", "data_root")  # where the images are: arguments of `load_labelled`
_PLACE = Kind(
    "text, a list of texts, or null",
    lambda value: all(isinstance(one, str) for one in (value if isinstance(value, list) else [value or ""])),
)
FIELDS = {
    "settings": OBJECT,
    "seed": whole(0),
    "images": dict.fromkeys(PLACES, _PLACE),
    "fingerprint": TEXT,
}


@dataclass(frozen=True)
class TrainingRecord:
    """What determines a detector: settings, seed and images. `fingerprint` is None until the images are loaded."""

    settings: DetectorSettings
    seed: int
    images: dict[str, Place]  # PLACES -> as typed
    fingerprint: str | None = None


def plan(out: Path, changes: dict[str, Any], seed: int | None, images: dict[str, Place]) -> TrainingRecord:
    """Return the record of a new training with the defaults and `changes`. Raises UserError if `out` is in use."""
    settings = override(DetectorSettings(), changes)
    get_model(settings.model)
    settings.require_backbone_for_weights()
    if (seed or 0) < 0:
        raise UserError("--seed is out of range", got=seed, expected="0 or more")
    if (out / "detector.json").exists():
        raise UserError(f"{out} already holds a detector; it is never overwritten", remedy="Choose another --out.")
    if (out / "training.json").exists():
        raise UserError(
            f"{out} holds a training that was stopped; it is never overwritten",
            got=f"{len(read_jsonl(out / 'history.jsonl'))} epochs done",
            remedy=f"Resume with: {command('detect-train', '--resume', '--out', out)}. Or choose another --out.",
        )
    refuse_used(out, made_by="a detector", marker="detector.json")
    return TrainingRecord(settings, seed or 0, images)


def reopen(out: Path, changes: dict[str, Any], seed: int | None, images: dict[str, Place]) -> TrainingRecord:
    """Return the record of the unfinished training in `out`. `changes` and `seed` must agree with it; images may have moved.

    Raises UserError, naming the fields that differ, or if there is nothing to resume.
    """
    if (out / "detector.json").is_file():
        raise UserError(f"the detector in {out} is finished", remedy="Choose another --out to train another.")
    if not (out / "training.json").is_file():
        raise UserError(f"there is no stopped training in {out}", remedy="Leave out --resume to start one.")
    remedy = f"Remove {out} and train again."
    facts = read_json(out / "training.json", remedy=remedy)
    check_fields(facts, FIELDS, out / "training.json", remedy=remedy)
    try:
        settings = override(DetectorSettings(), facts["settings"])
    except UserError as error:
        raise UserError(f"{out / 'training.json'}: {error.what}", got=error.got, remedy=remedy) from None
    before = {**asdict(settings), "seed": facts["seed"]}
    now = {**asdict(override(settings, changes)), "seed": facts["seed"] if seed is None else seed}
    changed = [f"{name}: {before[name]} -> {now[name]}" for name in now if before[name] != now[name]]
    if changed:
        raise UserError(f"{out} was started with other settings", got="; ".join(changed), remedy="Resume without them.")
    kept = {name: _from_out(facts["images"][name], out) for name in PLACES}
    merged = _merged(kept, images)
    for name in ("place", "real", "fake"):
        if images[name] is None and not _is_there(merged[name]):
            option = "the set or run" if name == "place" else f"--{name}"
            what = f"the images of the training in {out} are missing"
            raise UserError(what, got=f"no {merged[name]}", remedy=f"State their new place: give {option}.")
    return TrainingRecord(settings, facts["seed"], merged, facts["fingerprint"])


def write_training_record(out: Path, record: TrainingRecord, data: LabelledImages) -> None:
    """Write training.json for a new training on `data`."""
    kept = {name: _to_out(value, out) for name, value in record.images.items()}
    facts = {"settings": asdict(record.settings), "seed": record.seed, "images": kept}
    write_json(out / "training.json", {"version": 1, **facts, "fingerprint": data.fingerprint, "origin": data.origin})


def require_same_images(out: Path, record: TrainingRecord, data: LabelledImages) -> None:
    """Raise UserError if `data` are not the images of the training in `out`."""
    if record.fingerprint != data.fingerprint:
        images = ", ".join(f"{name} {value}" for name, value in record.images.items() if value is not None)
        raise UserError(
            f"{out} was started with other images, or they have changed",
            got=images,
            remedy="Resume with the same images, or choose another --out.",
        )


def _merged(kept: dict[str, Place], typed: dict[str, Place]) -> dict[str, Place]:
    """Return the typed places, else the recorded ones; a set replaces two folders, and the reverse."""
    if typed["place"] is not None:
        kept = {**kept, "real": None, "fake": None}
    elif typed["real"] is not None or typed["fake"] is not None:
        kept = {**kept, "place": None}
    return kept | {name: value for name, value in typed.items() if value is not None}


def _is_there(place: Place) -> bool:
    if isinstance(place, list):
        return all(map(_is_there, place))
    return place is None or is_named(place) or any(Path(p).exists() for p in (place, place.rpartition(":")[0] or place))


def _to_out(path: Place, out: Path) -> Place:
    """Return a path relative to `out`, so that resuming works from any working folder, without the user's home folder."""
    if isinstance(path, list):
        return [str(_to_out(one, out)) for one in path]
    if path is None or is_named(path) or Path(path).is_absolute():
        return path and shown(path)  # of a URL, without its secrets
    return _relative(path, out.resolve())


def _from_out(kept: Place, out: Path) -> Place:
    """Return the path relative to the working folder: the inverse of `_to_out`."""
    if isinstance(kept, list):
        return [str(_from_out(one, out)) for one in kept]
    if kept is None or is_named(kept) or Path(kept).is_absolute():
        return kept
    return _relative(out.resolve() / kept, Path.cwd())


def _relative(path: Path | str, start: Path) -> str:
    found = os.path.relpath(path, start)
    return f"./{found}" if is_named(found) else found
