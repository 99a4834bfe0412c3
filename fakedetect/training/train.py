"""`detect-train`: from labelled images to a detector with its thresholds, test and report."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fakecore.device import Precision, choose_device, choose_precision, derive_seed, join_world
from fakecore.distributed import World
from fakecore.errors import Interrupted, UserError
from fakecore.files import write_bytes
from fakecore.labels import LABEL_NUMBERS, REAL, SPLITS
from fakecore.messages import command
from fakecore.progress import progress_bar
from fakecore.runs.runfolder import host, locked, versions
from fakedetect.audits.audit import audit_first, common_quality, join_audits
from fakedetect.data.joining import Place, join, load_sources, source_name, split_places
from fakedetect.data.loading import LabelledImages, require_both_classes
from fakedetect.data.overlap import count_seen, remember
from fakedetect.data.streamed import with_validation_in_memory
from fakedetect.evaluation.metrics import all_metrics
from fakedetect.evaluation.report import Judged, write_report
from fakedetect.models.calibration import choose_for_tracks, choose_on
from fakedetect.models.detector import Detector, network_logits, network_outputs, scoring_network
from fakedetect.models.domain import Domain, fit_domain
from fakedetect.models.facts import DETECTOR_VERSION, FACE_CUT
from fakedetect.models.registry import Opened, open_new, open_trained, trains_on_features
from fakedetect.models.settings import DetectorSettings
from fakedetect.training.choosing import AUTO, choose_model
from fakedetect.training.fitting import fit_opened, with_degraded
from fakedetect.training.leaveout import LeftOut, folds, leave_one_out, sources_of
from fakedetect.training.loop import Fit
from fakedetect.training.resume import plan, reopen, require_same_images, write_training_record
from fakedetect.training.testing import Trained

_PART = 8192  # images whose features are in memory at a time
_SURVEYED = 4000  # images of either kind from whose features the domain is learned


def train(
    place: Path | str | Sequence[Path | str] | None = None,
    *,
    out: Path | str,
    real: str | None = None,
    fake: str | Sequence[str] | None = None,
    changes: dict[str, Any] | None = None,
    seed: int | None = None,
    device: str = "auto",
    resume: bool = False,
    data_root: Path | None = None,
    strict: bool = False,
) -> Trained:
    """Train a detector on a set or run (`place`, a path or URL), or on `real` and `fake` folders, and write its folder and
    report. `place` or `fake` may be several: then each source of fakes can be left out in turn, see
    `DetectorSettings.leave_one_out`. All processes that torchrun started train one detector.

    `changes` overrides fields of DetectorSettings; without a model, one is chosen by the images. The default seed is 0.
    With `resume`, a stopped training continues with its own settings: other arguments are optional, and must agree. The
    images are audited first: leaks, differences between real and fake other than the content, are printed, and with `strict`
    refused. Epoch, scaling and thresholds are chosen on the validation split; the metrics are of the test split. Raises
    UserError or Interrupted.
    """
    out, changes = Path(out), changes or {}
    given = {"place": place, "real": real, "fake": fake, "data_root": data_root}
    places = {name: _as_text(value) for name, value in given.items()}
    if not resume and changes.get("model", AUTO) == AUTO:
        changes = {**changes, "model": choose_model(places, changes)}
    target = choose_device(device)
    world = join_world(target)
    with world.together():
        record = (reopen if resume else plan)(out, changes, seed, places)
        settings, seed = record.settings, record.seed
        parts = split_places(record.images)
        opened = open_trained(settings, parts[0]["place"], partial(Detector.load, device="cpu"))
        equalise_jpeg = common_quality(parts[0], settings.stream) if settings.equalise else None
    shape = {"equalise_jpeg": equalise_jpeg, "stream": settings.stream, **_shape(settings, opened)}
    loaded = world.after_first(lambda: load_sources(parts, seed=seed, **shape))
    with world.together():
        data = join(loaded, parts)
        require_both_classes(data, SPLITS)
        leaves_out = settings.leaves_out(sources_of(data), trains_on_features(settings))
        _require_loop(settings, world, leaves_out or opened is not None)
        audits = [
            audit_first(part, own, SPLITS, strict=strict, equalised=settings.equalise)
            for part, own in (zip(parts, loaded, strict=True) if world.is_main else ())
        ]
        opened = opened or open_new(settings, data, seed)
    precision = choose_precision(settings.precision, target)
    with world.first(locked(out)):
        with world.together():
            if resume:
                require_same_images(out, record, data)
            elif world.is_main:
                plan(out, changes, seed, places)  # again: another process may have used it meanwhile
                write_training_record(out, record, data)
            if world.is_main:  # it alone validates
                data = with_validation_in_memory(data, settings.buffer_images(data.images.shape))
        try:
            fitted = fit_opened(opened, data, settings, out, seed, target, precision, world)
            left_out = None
            if leaves_out:
                fold_of = folds(opened, data, settings, out, seed, target, precision)
                left_out = leave_one_out(data, fold_of, settings.max_fpr, settings.max_fnr, seed)
        except Interrupted as stopped:
            again = command("detect-train", "--resume", "--out", out)
            raise Interrupted(f"{stopped}. Resume with: {again}") from None
        made = None
        with world.together():
            if world.is_main:
                audited = join_audits(audits, [source_name(part) for part in parts])
                made = _finish(
                    out, opened, fitted, data, settings, seed, target, precision, audited, equalise_jpeg, left_out
                )
        report, metrics = world.share(made)
    return Trained(out, report, metrics, data.unused, left_out.expected if left_out else None)


def _require_loop(settings: DetectorSettings, world: World, has_more: bool) -> None:
    """Raise UserError for several processes where the training is not one of a whole network."""
    if not world.alone and (has_more or trains_on_features(settings)):
        raise UserError(
            "only a network that is trained as a whole is trained by several processes",
            got=f"{settings.model} in {world.size} processes",
            expected="cnn, or lite and backbones with --set train=finetune; one source of fakes, or leave_one_out=false",
            remedy="Start it without torchrun.",
        )


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
    left_out: LeftOut | None,
) -> tuple[Path, dict]:
    """Choose scaling and thresholds, test once, and write the report; return its path and the metrics."""
    val, test = data.rows("val"), data.rows("test")
    scorer = scoring_network(fitted.network, device)
    logits, domain = _survey(scorer, data, device, seed, of_backbone="backbone" in opened.facts)
    limits, for_tracks = (settings.max_fpr, settings.max_fnr), None
    if left_out is None:
        val_logits = with_degraded(scorer, data, val, logits[val], settings, device)
        scaling, thresholds = choose_on(data.labels[val], val_logits, *limits)
        if _face_cut(data.origin):
            groups = data.groups_of(val)
            for_tracks = choose_for_tracks(data.labels[val], val_logits, groups, scaling, thresholds)
    else:
        scaling, thresholds = left_out.scaling, left_out.thresholds
    p_fake = scaling.probability(logits)
    used = np.concatenate([data.rows("train"), val])
    recorded = remember(out, data.hashes(used), opened.seen)
    described = _describe(settings, opened, data, recorded, equalise_jpeg)
    seen = count_seen(out, described, data.hashes(test))
    detector = Detector(fitted.network, described, device, domain)
    outside = detector.outputs(data.images, test)[1]
    metrics = all_metrics(
        data.labels[test],
        p_fake[test],
        thresholds,
        groups=data.groups_of(test),
        seed=seed,
        seen=seen,
        outside=outside,
    )
    metrics["audit"] = audited
    detector.facts = {
        **described,
        **fitted.chosen,
        **scaling.to_json(),
        "thresholds": thresholds.to_json(),
        **({"track_thresholds": for_tracks.to_json()} if for_tracks else {}),
        **({"left_out": left_out.expected} if left_out else {}),
        "best_epoch": fitted.best_epoch,
        "train_s": round(fitted.seconds, 2),
        "seed": seed,
        "precision": precision,
        "versions": versions(),
        "host": host(),
        "test_metrics": metrics,
        "audit": audited,
    }
    write_bytes(out / "predictions.csv", _predictions(data, logits, p_fake))
    judged = Judged(data, test, p_fake[test], metrics)
    report = write_report(out / "report", detector, judged, title=_title(settings.model, data), history=fitted.history)
    detector.save(out)  # last: detector.json marks the folder as complete
    return report, metrics


def _as_text(place: Path | str | Sequence[Path | str] | None) -> Place:
    if place is None or isinstance(place, (str, Path)):
        return None if place is None else str(place)
    return str(place[0]) if len(place) == 1 else [str(one) for one in place]


def describe_domain(data: LabelledImages) -> str:
    """Return a sentence on the training images of a detector: its domain."""
    origin = data.origin
    if "sources" in origin:
        return f"Fakes from {len(origin['sources'])} sources: {', '.join(origin['sources'])}."
    if "preset" in origin:
        source = origin.get("source")
        spec = source.get("spec", "unknown") if isinstance(source, dict) else "unknown"
        made = f"preset {origin['preset']}, epoch {origin.get('epoch')} of run {origin.get('run')}"
        return f"Real: {spec}. Fake: one GAN, {made}. Both resized alike and written by the same encoder."
    if origin.get("made_by") == "blend":
        return f"Real: faces of {origin['source']['spec']}. Fake: blends of these faces. Same crop and encoder."
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
    some of them. Features are kept of a part at a time, so that a set can be larger than memory.
    """
    has_features = hasattr(network, "outputs")
    random = np.random.default_rng(derive_seed(seed, "survey"))
    training = random.permutation(data.rows("train"))[:_SURVEYED]
    reals = random.permutation(data.rows("val", REAL))[:_SURVEYED]
    kept = np.zeros(len(data.labels), dtype=bool)
    kept[training] = kept[reals] = True
    logits, features, rows = [], [], []
    with progress_bar("scoring all splits", len(data.labels), "images") as bar:
        for start in range(0, len(data.labels), _PART):
            part = np.arange(start, min(start + _PART, len(data.labels)))
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


def _predictions(data: LabelledImages, logits: np.ndarray, p_fake: np.ndarray) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["path", "split", "y_true", "logit", "p_fake"])
    for path, split, label, logit, p in zip(data.paths, data.splits, data.labels, logits, p_fake, strict=True):
        writer.writerow([path, split, label, f"{logit:.6f}", f"{p:.6f}"])
    return text.getvalue().encode(errors="surrogateescape")


def _title(model: str, data: LabelledImages) -> str:
    origin = data.origin
    if "sources" in origin:
        return f"{model} on {', '.join(origin['sources'])}"
    if "real" in origin:
        return f"{model}: {origin['real']} or {origin.get('fake')}"
    return f"{model} on {origin.get('run', origin.get('set'))}"
