"""`detect-train` and `evaluate`: from labelled images to a detector that explains itself, and to a fair test of one."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fakecore.device import Precision, choose_device, choose_precision, derive_seed
from fakecore.errors import Interrupted, UserError
from fakecore.files import append_jsonl, cut_jsonl, write_bytes
from fakecore.labels import LABEL_NUMBERS, REAL, SPLITS
from fakecore.media.pixels import is_grey
from fakecore.messages import command
from fakecore.progress import progress_bar, say
from fakecore.runs.runfolder import host, locked, refuse_used, versions
from fakedetect.audits.audit import audit_first, common_quality
from fakedetect.data.augment import WITHSTOOD
from fakedetect.data.loading import LabelledImages, load_labelled, place_name, require_both_classes
from fakedetect.data.overlap import count_seen, remember
from fakedetect.evaluation.metrics import all_metrics
from fakedetect.evaluation.report import Judged, write_report
from fakedetect.evaluation.robustness import measure_robustness
from fakedetect.models.calibration import choose_thresholds, fit_temperature, probability
from fakedetect.models.detector import Detector, network_logits, network_outputs, scoring_network
from fakedetect.models.domain import Domain, fit_domain
from fakedetect.models.facts import DETECTOR_VERSION, FACE_CUT
from fakedetect.models.registry import Opened, open_new, open_trained, trains_on_features
from fakedetect.models.settings import DetectorSettings
from fakedetect.training.loop import Fit, fit
from fakedetect.training.probe import fit_probe
from fakedetect.training.resume import plan, reopen, require_same_images, write_training_record

_SURVEYED = 4000  # images of either kind from whose features the domain is learned


@dataclass(frozen=True)
class Trained:
    """What `train` and `evaluate` leave behind. `metrics` are of images that the detector never saw."""

    detector: Path
    report: Path
    metrics: dict
    unused: list[dict]  # {"path", "status", "error"}, and the "label" where two sources were given

    @property
    def unused_by_option(self) -> list[dict]:
        """`unused`, with each path behind the option that it came by: --real or --fake."""
        return [{**u, "path": f"--{u['label']} {u['path']}"} if "label" in u else u for u in self.unused]


def train(
    place: Path | str | None = None,
    *,
    out: Path | str,
    real: str | None = None,
    fake: str | None = None,
    changes: dict[str, Any] | None = None,
    seed: int | None = None,
    device: str = "auto",
    resume: bool = False,
    data_root: Path | None = None,
    strict: bool = False,
) -> Trained:
    """Train a detector on a set or run (`place`), or on `real` and `fake` folders, and write its folder and report.

    `changes` overrides fields of DetectorSettings; the default seed is 0. With `resume`, a stopped training continues with its
    own settings: other arguments are optional, and must agree. The images are audited first: leaks, differences between real
    and fake other than the content, are printed, and with `strict` refused. Epoch, temperature and thresholds are chosen on
    the validation split; the metrics are of the test split. Raises UserError or Interrupted.
    """
    out, changes = Path(out), changes or {}
    given = {"place": place, "real": real, "fake": fake, "data_root": data_root}
    places = {name: None if value is None else str(value) for name, value in given.items()}
    record = (reopen if resume else plan)(out, changes, seed, places)
    settings, seed = record.settings, record.seed
    target = choose_device(device)
    opened = open_trained(settings, record.images["place"], partial(Detector.load, device="cpu"))
    equalise_jpeg = common_quality(record.images) if settings.equalise else None
    images: dict[str, Any] = {**record.images, **_shape(settings, opened)}
    data = load_labelled(**images, seed=seed, equalise_jpeg=equalise_jpeg)
    require_both_classes(data, SPLITS)
    audited = audit_first(record.images, data, SPLITS, strict=strict, equalised=settings.equalise)
    opened = opened or open_new(settings, data, seed)
    precision = choose_precision(settings.precision, target)
    with locked(out):
        if resume:
            require_same_images(out, record, data)
        else:
            plan(out, changes, seed, places)  # again: another process may have used it meanwhile
            write_training_record(out, record, data)
        try:
            fitted = _fit(opened, data, settings, out, seed, target, precision)
        except Interrupted as stopped:
            again = command("detect-train", "--resume", "--out", out)
            raise Interrupted(f"{stopped}. Resume with: {again}") from None
        report, metrics = _finish(out, opened, fitted, data, settings, seed, target, precision, audited, equalise_jpeg)
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
    robustness: bool = False,
    strict: bool = False,
) -> Trained:
    """Test a detector on another set (its test split) or on all images of two folders, and write a report.

    Nothing is fitted: temperature and thresholds are those of the detector. `out` defaults to a folder inside the detector's.
    `robustness` also tests on the images after every degradation of degrade.GRID, and adds metrics["robustness"].
    The images are audited first, as in `train`. Raises UserError if they lack a class or cannot be read.
    """
    detector = Detector.load(detector_path, device)
    data = load_labelled(
        place,
        real=real,
        fake=fake,
        resolution=detector.resolution,
        channels=detector.channels,
        data_root=data_root,
        all_test=True,
        equalise_jpeg=detector.equalise_jpeg,
    )
    require_both_classes(data, ("test",))
    images: dict[str, Any] = {"place": place, "real": real, "fake": fake, "data_root": data_root}
    audited = audit_first(images, data, ("test",), strict=strict, equalised=detector.equalise_jpeg is not None)
    rows = data.rows("test")
    _note_grey(data.images, rows)
    name = place_name(place, real, fake)
    home = Path(detector_path)
    home = (
        home.with_suffix("") if home.suffix.lower() == ".onnx" else home
    )  # runs/x.onnx was probably exported from runs/x
    out = Path(out) if out else home / "evaluations" / name.replace(":", "-")
    refuse_used(out, made_by="an evaluation", marker="metrics.json")
    seen = count_seen(Path(detector_path), detector.facts, _hashes(data, rows))
    logits, outside = detector.outputs(data.images, rows)
    p_fake = probability(logits, detector.facts["temperature"])
    metrics = all_metrics(
        data.labels[rows], p_fake, detector.thresholds, groups=_groups(data, rows), seen=seen, outside=outside
    )
    metrics["audit"] = audited
    judged = Judged(data, rows, p_fake, metrics)
    grid = measure_robustness(detector, data, rows, metrics) if robustness else None
    if grid:
        metrics["robustness"] = grid.to_json()
    title = f"{Path(detector_path).name} tested on {name}"
    report = write_report(out, detector, judged, title=title, robustness=grid)
    return Trained(Path(detector_path), report, metrics, data.unused)


def _finish(
    out: Path,
    opened: Opened,
    fitted: Fit,
    data: LabelledImages,
    settings: DetectorSettings,
    seed: int,
    device,
    precision: Precision,
    audited: dict,
    equalise_jpeg: int | None,
) -> tuple[Path, dict]:
    """Choose temperature and thresholds, test once, and write the report; return its path and the metrics."""
    val, test = data.rows("val"), data.rows("test")
    scorer = scoring_network(fitted.network, device)
    logits, domain = _survey(scorer, data, device, seed, of_backbone="backbone" in opened.facts)
    val_logits = _with_degraded(scorer, data, val, logits[val], settings, device)
    repeats = len(val_logits) // len(val)
    val_labels = np.tile(data.labels[val], repeats)
    temperature = fit_temperature(val_labels, val_logits)
    p_fake = probability(logits, temperature)
    val_p_fake = probability(val_logits, temperature)
    thresholds = choose_thresholds(val_labels, val_p_fake, settings.max_fpr, settings.max_fnr, repeats)
    used = np.concatenate([data.rows("train"), val])
    recorded = remember(out, _hashes(data, used), opened.seen)
    described = _describe(settings, opened, data, recorded, equalise_jpeg)
    seen = count_seen(out, described, _hashes(data, test))
    outside = domain.outside(network_outputs(scorer, data.images, device, test)[1]) if domain else None
    metrics = all_metrics(
        data.labels[test],
        p_fake[test],
        thresholds,
        groups=_groups(data, test),
        seed=seed,
        seen=seen,
        outside=outside,
    )
    metrics["audit"] = audited
    facts = {
        **described,
        **fitted.chosen,
        "temperature": temperature,
        "thresholds": thresholds.to_json(),
        "best_epoch": fitted.best_epoch,
        "train_s": round(fitted.seconds, 2),
        "seed": seed,
        "precision": precision,
        "versions": versions(),
        "host": host(),
        "test_metrics": metrics,
        "audit": audited,
    }
    detector = Detector(fitted.network, facts, device, domain)
    write_bytes(out / "predictions.csv", _predictions(data, logits, p_fake))
    judged = Judged(data, test, p_fake[test], metrics)
    report = write_report(out / "report", detector, judged, title=_title(settings.model, data), history=fitted.history)
    detector.save(out)  # last: detector.json marks the folder as complete
    return report, metrics


def _with_degraded(network, data: LabelledImages, rows: np.ndarray, logits, settings, device) -> np.ndarray:
    """Return the logits of `rows` and, if training degrades images, those of degraded versions of them: (versions * rows,).

    Thresholds that are chosen on untouched images alone accuse many reals after a resize or a blur.
    """
    if not settings.degrade_in_use():
        return logits
    found = [logits]
    for degradation in WITHSTOOD:
        for start in range(0, len(rows), 1024):
            part = rows[start : start + 1024]
            degraded = np.stack([degradation.apply(data.images[row], data.sha256[row]) for row in part])
            found.append(network_logits(network, degraded, device))
    return np.concatenate(found)


def describe_domain(data: LabelledImages) -> str:
    """Return a sentence on the training images of a detector: its domain."""
    origin = data.origin
    if "preset" in origin:
        source = origin.get("source")
        spec = source.get("spec", "unknown") if isinstance(source, dict) else "unknown"
        made = f"preset {origin['preset']}, epoch {origin.get('epoch')} of run {origin.get('run')}"
        return f"Real: {spec}. Fake: one GAN, {made}. Both resized alike and written by the same encoder."
    if "real" in origin:
        return f"Real: {origin['real']}. Fake: {origin.get('fake')}. As found; fakelab did not match their encoding."
    return f"Real and fake: the set {origin.get('set')}, of unknown origin."


def _face_cut(origin: dict) -> dict | None:
    """Return how `faces` cropped the images, or the reals of their GAN, from videos; None if unknown."""
    source = origin.get("source")
    cut = origin.get("faces") or (source.get("faces") if isinstance(source, dict) else None)
    if not isinstance(cut, dict) or not all(kind.fits(cut.get(name)) for name, kind in FACE_CUT.items()):
        return None
    return {name: cut[name] for name in FACE_CUT}


def _shape(settings: DetectorSettings, opened: Opened | None) -> dict:
    """Return the size and channels of the input: those of an already trained model, else those of the settings."""
    if opened is None:
        return {"resolution": settings.resolution}
    own = opened.arguments["resolution"]
    if settings.resolution not in (None, own):
        raise UserError(f"{settings.model} has an input size of its own", got=settings.resolution, expected=own)
    return {"resolution": own, "channels": opened.arguments["channels"]}


def _fit(opened: Opened, data, settings: DetectorSettings, out: Path, seed: int, device, precision) -> Fit:
    if opened.trained:
        return Fit(opened.network.to(device).eval(), [], None)
    if trains_on_features(settings):
        began = time.perf_counter()
        fitted = fit_probe(opened.network, data, settings, seed=seed, device=device)
        cut_jsonl(out / "history.jsonl", keep=0)
        append_jsonl(out / "history.jsonl", fitted.history)
        return replace(fitted, seconds=time.perf_counter() - began)
    return fit(opened.network, data, settings, folder=out, seed=seed, device=device, precision=precision)


def _describe(
    settings: DetectorSettings, opened: Opened, data: LabelledImages, seen_sha256: str | None, equalise_jpeg: int | None
) -> dict:
    """Return the content of detector.json that is known before training: network, preprocessing, training images."""
    preprocessing = {
        "resolution": data.resolution,
        "channels": data.channels,
        "crop": "centre square",
        "resize": "bicubic, antialiased",
        "range": "uint8 RGB [0, 255]; the network divides by 255",
    }
    if cut := _face_cut(data.origin):
        preprocessing["faces"] = cut
    if equalise_jpeg is not None:
        preprocessing["equalise_jpeg"] = equalise_jpeg  # the quality; after crop and resize, 4:2:0
    training = {
        "fingerprint": data.fingerprint,
        "counts": data.counts(),
        "origin": data.origin,
        "domain": describe_domain(data),
        "seen_sha256": seen_sha256,  # of seen.npy
    }
    return {
        "kind": "detector",
        "version": DETECTOR_VERSION,
        "model": opened.model,
        "arguments": opened.arguments,
        **opened.facts,
        "preprocessing": preprocessing,
        "label_convention": LABEL_NUMBERS,
        "training": training,
        "settings": asdict(settings),
    }


def _survey(network, data: LabelledImages, device, seed: int, *, of_backbone: bool) -> tuple[np.ndarray, Domain | None]:
    """Return the logits of all images, (N,), without augmentation, and the domain of the training images, from the features of
    some of them. Images are read a thousand at a time, so that a set can be larger than memory.
    """
    has_features = hasattr(network, "outputs")
    random = np.random.default_rng(derive_seed(seed, "survey"))
    training = random.permutation(data.rows("train"))[:_SURVEYED]
    reals = random.permutation(data.rows("val", REAL))[:_SURVEYED]
    kept = np.zeros(len(data.labels), dtype=bool)
    kept[training] = kept[reals] = True
    logits, features, rows = [], [], []
    with progress_bar("scoring all splits", len(data.labels), "images") as bar:
        for start in range(0, len(data.labels), 1024):
            part = np.arange(start, min(start + 1024, len(data.labels)))
            if has_features:
                found, own = network_outputs(network, data.images, device, part)
                features.append(own[kept[part]])
                rows.append(part[kept[part]])
            else:
                found = network_logits(network, data.images, device, part)
            logits.append(found)
            bar.advance(len(part))
    if not has_features:
        return np.concatenate(logits), None
    all_features, all_rows = np.concatenate(features), np.concatenate(rows)
    learned, held_out = (all_features[np.isin(all_rows, chosen)] for chosen in (training, reals))
    return np.concatenate(logits), fit_domain(learned, held_out, of_backbone)


def _note_grey(images: np.ndarray, rows: np.ndarray) -> None:
    """Print a note if most images, (N, 3, R, R), for a detector of colour images are grey."""
    grey = 0 if images.shape[1] == 1 else sum(is_grey(images[row].transpose(1, 2, 0)) for row in rows)
    if grey > len(rows) / 2:  # photos usually include some grey ones, in training too
        say(f"note: {grey:,} of {len(rows):,} images are grey, but the detector was trained on colour images")


def _hashes(data: LabelledImages, rows: np.ndarray) -> list[str]:
    return [data.sha256[row] for row in rows]


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
    origin = data.origin
    if "real" in origin:
        return f"{model}: {origin['real']} or {origin.get('fake')}"
    return f"{model} on {origin.get('run', origin.get('set'))}"
