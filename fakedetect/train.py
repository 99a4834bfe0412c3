"""`detect-train` and `evaluate`: from labelled images to a detector that explains itself, and to a fair test of one."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fakecore.device import choose_device, choose_precision, derive_seed
from fakecore.errors import Interrupted, UserError
from fakecore.files import atomic_path, read_json, write_bytes, write_json
from fakecore.labels import FAKE, LABEL_NUMBERS, REAL, SPLITS
from fakecore.progress import progress_bar
from fakecore.runfolder import host, locked, refuse_used, versions
from fakecore.settings import override
from fakedetect.calibration import choose_thresholds, fit_temperature, probability
from fakedetect.data import LabelledImages, known_images, load_labelled, require_both_classes
from fakedetect.detector import DETECTOR_VERSION, Detector, network_logits
from fakedetect.metrics import all_metrics
from fakedetect.networks import build_network
from fakedetect.report import Judged, write_report
from fakedetect.settings import DetectorSettings
from fakedetect.training import fit


@dataclass(frozen=True)
class Trained:
    """What `train` and `evaluate` leave behind. `metrics` are of images that the detector never saw."""

    detector: Path
    report: Path
    metrics: dict
    unused: list[dict]


def train(
    place: Path | str | None = None,
    *,
    out: Path | str,
    real: str | None = None,
    fake: str | None = None,
    changes: dict[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    resume: bool = False,
    data_root: Path | None = None,
) -> Trained:
    """Train a detector on a set or run (`place`), or on `real` and `fake` folders, and write its folder and report.

    `changes` overrides fields of DetectorSettings. The epoch, the temperature and the thresholds are chosen on the
    validation split; the metrics are of the test split. Raises UserError or Interrupted.
    """
    out = Path(out)
    settings = override(DetectorSettings(), changes or {})
    target = choose_device(device)
    _claim(out, settings, seed, resume)
    data = load_labelled(
        Path(place) if place else None,
        real=real,
        fake=fake,
        resolution=settings.resolution,
        seed=seed,
        data_root=data_root,
    )
    require_both_classes(data, SPLITS)
    arguments = {"resolution": data.resolution, "channels": data.channels, "blocks": settings.blocks}
    import torch

    torch.manual_seed(derive_seed(seed, "weights"))
    network = build_network(settings.model, arguments)
    precision = choose_precision(settings.precision, target)
    with locked(out):
        _begin(out, settings, seed, data, resume)
        try:
            fitted = fit(network, data, settings, folder=out, seed=seed, device=target, precision=precision)
        except Interrupted as stopped:
            raise Interrupted(f"{stopped}. Go on with the same command and --resume") from None
        logits = _all_logits(fitted.network, data, target)
        val, test = data.rows("val"), data.rows("test")
        temperature = fit_temperature(data.labels[val], logits[val])
        p_fake = probability(logits, temperature)
        thresholds = choose_thresholds(data.labels[val], p_fake[val], settings.max_fpr, settings.max_fnr)
        seen = _remember(out, data)
        metrics = all_metrics(
            data.labels[test], p_fake[test], thresholds, groups=_groups(data, test), seed=seed, seen=seen
        )
        facts = {
            **_describe(settings, arguments, data),
            "temperature": temperature,
            "thresholds": thresholds.to_json(),
            "best_epoch": fitted.best_epoch,
            "seed": seed,
            "precision": precision,
            "versions": versions(),
            "host": host(),
            "test_metrics": metrics,
        }
        detector = Detector(fitted.network, facts, target)
        write_bytes(out / "predictions.csv", _predictions(data, logits, p_fake))
        judged = Judged(data, test, p_fake[test], metrics)
        report = write_report(
            out / "report", detector, judged, title=_title(settings.model, data), history=fitted.history
        )
        detector.save(out)  # last: a folder with detector.json is whole
    return Trained(out, report, metrics, data.unused)


def evaluate(
    detector_path: Path | str,
    place: Path | str | None = None,
    *,
    real: str | None = None,
    fake: str | None = None,
    out: Path | str | None = None,
    device: str = "auto",
    data_root: Path | None = None,
) -> Trained:
    """Test a detector, as it stands, on another set (its test split) or on all of two folders; report included.

    Nothing is fitted: temperature and thresholds are the detector's own. `out` defaults to a folder in the detector's.
    Raises UserError when the images lack a class or cannot be read.
    """
    detector = Detector.load(detector_path, device)
    data = load_labelled(
        Path(place) if place else None,
        real=real,
        fake=fake,
        resolution=detector.resolution,
        channels=detector.channels,
        data_root=data_root,
    )
    if place:
        require_both_classes(data, ("test",))
        rows = data.rows("test")
        name = Path(data.origin["set"])
        name = (name.parent if name.name == "set" else name).name
    else:
        rows = np.arange(len(data.labels))
        if len(np.unique(data.labels)) < 2:
            counts = f"{(data.labels == REAL).sum()} real and {(data.labels == FAKE).sum()} fake"
            raise UserError("a test needs images of both kinds that can be read", got=counts)
        name = f"{Path(real).name}-{Path(fake).name}"
    out = Path(out) if out else Path(detector_path) / "evaluations" / name.replace(":", "-")
    refuse_used(out, made_by="an evaluation", marker="metrics.json")
    p_fake = probability(detector.logits(data.images, rows), detector.facts["temperature"])
    seen = _already_seen(Path(detector_path), [data.sha256[row] for row in rows])
    metrics = all_metrics(data.labels[rows], p_fake, detector.thresholds, groups=_groups(data, rows), seen=seen)
    judged = Judged(data, rows, p_fake, metrics)
    report = write_report(out, detector, judged, title=f"{Path(detector_path).name} tested on {name}")
    return Trained(Path(detector_path), report, metrics, data.unused)


def describe_domain(data: LabelledImages) -> str:
    """One sentence on what the detector has seen: outside it, its word counts for little."""
    origin = data.origin
    if "preset" in origin:
        source = origin["source"]["spec"] if "source" in origin else "unknown"
        return (
            f"Real: {source}. Fake: one GAN, preset {origin['preset']}, epoch {origin['epoch']} of run {origin['run']}. "
            "Both resized alike and written by the same encoder."
        )
    return f"Real: {origin.get('real')}. Fake: {origin.get('fake')}. As found; fakelab did not match their encoding."


def _describe(settings: DetectorSettings, arguments: dict, data: LabelledImages) -> dict:
    """What detector.json says before anything is fitted: the network, what it wants to see, what it was trained on."""
    preprocessing = {
        "resolution": data.resolution,
        "channels": data.channels,
        "crop": "centre square",
        "resize": "bicubic, antialiased",
        "range": "uint8 RGB [0, 255]; the network divides by 255",
    }
    training = {
        "fingerprint": data.fingerprint,
        "counts": data.counts(),
        "origin": data.origin,
        "domain": describe_domain(data),
    }
    return {
        "kind": "detector",
        "version": DETECTOR_VERSION,
        "model": settings.model,
        "arguments": arguments,
        "preprocessing": preprocessing,
        "label_convention": LABEL_NUMBERS,
        "training": training,
        "settings": asdict(settings),
    }


def _claim(out: Path, settings: DetectorSettings, seed: int, resume: bool) -> None:
    """Refuse a folder that is in use, and a resume that is not of this training."""
    if not resume:
        hint = "Add --resume to go on with a training that was stopped" if (out / "training.json").exists() else None
        marker = "detector.json" if (out / "detector.json").exists() else "training.json"
        refuse_used(out, made_by="a detector", marker=marker, resume_hint=hint)
        return
    if not (out / "training.json").is_file():
        raise UserError(f"there is no stopped training in {out}", remedy="Leave out --resume.")
    if (out / "detector.json").is_file():
        raise UserError(f"the detector in {out} is finished", remedy="Choose another --out to train another.")
    begun = read_json(out / "training.json")
    now = {**asdict(settings), "seed": seed}
    before = {**begun["settings"], "seed": begun["seed"]}
    changed = [f"{name}: {before.get(name)} -> {value}" for name, value in now.items() if before.get(name) != value]
    if changed:
        raise UserError(f"{out} was begun with other settings", got="; ".join(changed), remedy="Resume without them.")


def _begin(out: Path, settings: DetectorSettings, seed: int, data: LabelledImages, resume: bool) -> None:
    """Write training.json, or when resuming check that the images are those the training was begun with."""
    if not resume:
        begun = {"settings": asdict(settings), "seed": seed, "fingerprint": data.fingerprint, "origin": data.origin}
        write_json(out / "training.json", begun)
    elif read_json(out / "training.json")["fingerprint"] != data.fingerprint:
        raise UserError(f"{out} was begun on other images", remedy="Resume on the same ones, or choose another --out.")


def _remember(out: Path, data: LabelledImages) -> int:
    """Write seen.npy, which names the images of train and val; how many test images are among them (copies)."""
    used = np.concatenate([data.rows("train"), data.rows("val")])
    with atomic_path(out / "seen.npy") as temporary, temporary.open("wb") as file:
        np.save(file, known_images([data.sha256[row] for row in used]), allow_pickle=False)
    return _already_seen(out, [data.sha256[row] for row in data.rows("test")])


def _already_seen(detector: Path, hashes: list[str]) -> int:
    path = detector / "seen.npy"
    if not path.is_file():
        return 0
    return int(np.isin(known_images(hashes), np.load(path, allow_pickle=False)).sum())


def _all_logits(network, data: LabelledImages, device) -> np.ndarray:
    """Logits of every image, (N,), unaugmented, a thousand at a time so that a set may be larger than memory."""
    parts = []
    with progress_bar("scoring all splits", len(data.labels), "images") as bar:
        for start in range(0, len(data.labels), 1024):
            parts.append(network_logits(network, data.images[start : start + 1024], device))
            bar.advance(len(parts[-1]))
    return np.concatenate(parts)


def _groups(data: LabelledImages, rows: np.ndarray) -> list[str | None]:
    return [data.groups[row] for row in rows]


def _predictions(data: LabelledImages, logits: np.ndarray, p_fake: np.ndarray) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["path", "split", "y_true", "logit", "p_fake"])
    for path, split, label, logit, p in zip(data.paths, data.splits, data.labels, logits, p_fake, strict=True):
        writer.writerow([path, split, label, f"{logit:.6f}", f"{p:.6f}"])
    return text.getvalue().encode(errors="surrogateescape")


def _title(model: str, data: LabelledImages) -> str:
    return (
        f"{model} on {data.origin['run']}"
        if "run" in data.origin
        else f"{model}: {data.origin['real']} or {data.origin['fake']}"
    )
