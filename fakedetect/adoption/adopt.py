"""`adopt`: a detector that others trained becomes a detector folder, calibrated and tested on labelled images."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fakecore.device import choose_device, derive_seed
from fakecore.errors import UserError
from fakecore.labels import FAKE, LABEL_NUMBERS, REAL
from fakecore.runs.checkpoint import load_into
from fakecore.runs.runfolder import host, locked, refuse_used, versions
from fakecore.sets.copies import cached_groups
from fakecore.sets.splits import split_groups
from fakedetect.adoption.candidates import MIN_AUROC, Candidate, Trials, parse_label_of
from fakedetect.adoption.expected import Expected, read_expected
from fakedetect.adoption.opening import Foreign, open_foreign
from fakedetect.audits.audit import audit_first
from fakedetect.data.loading import LabelledImages, load_labelled, place_name, require_both_classes
from fakedetect.evaluation.metrics import all_metrics
from fakedetect.evaluation.report import Judged, write_report
from fakedetect.models.adopted import AdoptedNetwork
from fakedetect.models.bodies import build_body
from fakedetect.models.calibration import choose_on
from fakedetect.models.detector import Detector, network_outputs
from fakedetect.models.domain import Domain, fit_domain
from fakedetect.models.facts import DETECTOR_VERSION
from fakedetect.models.settings import DetectorSettings
from fakedetect.training.testing import Trained

_HALVES = (50, 25, 25)  # percent to calibrate on; the other two parts together are the test
_TRIED = 400  # images on which inputs are tried, at most
_OTHER = {"fake": "real", "real": "fake"}
_REVERSED = 0.1  # by how much the other direction must be better to be named


@dataclass(frozen=True)
class Adopted(Trained):
    """The result of `adopt`: `detector`, `report`, `metrics` and `unused` as of a training, and what was found out."""

    candidates: tuple[Candidate, ...] = ()  # the inputs that were tried, best first
    known_from: str = ""  # what states the input, if it was not found by trial
    agreement: dict | None = None  # with the expected scores, see Expected.agreement


def adopt(
    model: Path | str,
    place: Path | str | None = None,
    *,
    out: Path | str,
    real: str | None = None,
    fake: str | None = None,
    architecture: str | None = None,
    weights: Path | None = None,
    size: int | None = None,
    label_of: str | None = None,
    expect: Path | None = None,
    seed: int = 0,
    device: str = "auto",
    data_root: Path | None = None,
) -> Adopted:
    """Make a detector folder `out` of a network that others trained (`model`, see `open_foreign`), with the labelled images
    of a set or run (`place`), or of `real` and `fake`.

    What the model's file does not say is tried: order, range, size (unless it is `size`, in pixels) and crop of the pixels, and
    which output means fake (unless `label_of` says it, as fake=INDEX). One half of the images is for that and for choosing
    scaling, thresholds and domain, the other for the test. `expect` is a CSV of the original's scores: then the input that
    reproduces them best is taken.

    Raises UserError if the model cannot be opened, or its outputs do not order the images: AUROC below 0.6 on either half.
    """
    out, target = Path(out), choose_device(device)
    refuse_used(out, made_by="a detector", marker="detector.json")
    stated = None if label_of is None else parse_label_of(label_of)
    foreign = open_foreign(Path(model), architecture, weights)
    if size is not None:
        foreign = replace(foreign, sides=(size,), pixels=None)
    body = build_body(foreign.body)
    load_into(body, foreign.tensors, str(model), remedy="Name another architecture with --arch.")
    body = body.to(target)

    given: dict[str, Any] = {"place": place, "real": real, "fake": fake, "data_root": data_root}
    data = _halved(load_labelled(**given, seed=seed, channels=3, all_test=True), seed)
    if len(foreign.sides) > 1:  # it may have been given images as they are
        foreign = replace(foreign, sides=tuple(dict.fromkeys((*foreign.sides, data.resolution))))
    at = {data.resolution: data}

    def data_at(resolution: int) -> LabelledImages:
        if resolution not in at:
            own = load_labelled(**given, resolution=resolution, channels=3, seed=seed, all_test=True)
            at[resolution] = replace(own, splits=data.splits)
        return at[resolution]

    expected = None if expect is None else read_expected(expect, data.paths)
    compare = expected.difference if expected else None
    trials = Trials(body, foreign, lambda side: np.asarray(data_at(side).images), data.labels, stated, target, compare)
    candidates = trials.run(_in_turn(data, expected, seed))
    best = candidates[0]
    _require_direction(candidates, known=stated is not None or bool(foreign.labels))
    with locked(out):
        own = data_at(best.pixels.resolution)
        return _finish(out, foreign, best, candidates, own, given, expected, seed, target, str(model))


def _halved(data: LabelledImages, seed: int) -> LabelledImages:
    """Return the images with two splits: val, to choose on, and test. Copies and images of one group stay together."""
    together = cached_groups(np.asarray(data.images), data.sha256, data.groups)
    splits = split_groups(together, _HALVES, derive_seed(seed, "split"), data.labels)
    halved = replace(data, splits=np.where(splits == "train", "val", "test"))
    require_both_classes(halved, ("val", "test"))
    return halved


def _in_turn(data: LabelledImages, expected: Expected | None, seed: int) -> np.ndarray:
    """Return up to _TRIED rows of the first half in random order, reals and fakes in turn, those with expected scores first."""
    random = np.random.default_rng(derive_seed(seed, "trial"))
    both = []
    for label in (REAL, FAKE):
        own = random.permutation(data.rows("val", label))
        if expected is not None:
            own = own[np.argsort(~np.isfinite(expected.scores[own]), kind="stable")]
        both.append(own)
    length = min(len(both[0]), len(both[1]), _TRIED // 2)
    return np.stack([own[:length] for own in both], axis=1).ravel()


def _require_direction(candidates: list[Candidate], *, known: bool) -> None:
    """Raise UserError if the outputs do not order reals and fakes: then a verdict would be worse than none."""
    best, worst = candidates[0], min(candidates, key=lambda one: one.auroc)
    if best.auroc >= MIN_AUROC:
        return
    what = "which output means fake is not proved: the outputs do not order these images"
    got = f"AUROC {best.auroc:.2f} with {best.reading} (input: {best.pixels})"
    remedy = "Give images of the kind that it was trained for."
    if known and 1 - worst.auroc > best.auroc + _REVERSED:
        reading = worst.reading
        single = reading.kind in ("logit", "probability")
        said = f"fake={int(reading.of != 'fake')}" if single else f"{_OTHER[reading.of]}={reading.index}"
        what = "the outputs order these images the wrong way round"
        got = f"AUROC {worst.auroc:.2f} with {reading} (input: {worst.pixels})"
        remedy = f"The reverse has AUROC {1 - worst.auroc:.2f}. If it is right: --label-of {said}."
    raise UserError(what, got=got, expected=f"{MIN_AUROC} or more", remedy=remedy)


def _finish(
    out: Path,
    foreign: Foreign,
    best: Candidate,
    candidates: list[Candidate],
    data: LabelledImages,
    given: dict[str, Any],
    expected: Expected | None,
    seed: int,
    device: torch.device,
    model: str,
) -> Adopted:
    """Calibrate on one half, test on the other, write the folder and its report."""
    arguments: dict[str, Any] = {
        "resolution": best.pixels.resolution,
        "channels": 3,
        "body": foreign.body,
        "pixels": best.pixels.to_json(),
        "reading": best.reading.to_json(),
    }
    network = AdoptedNetwork(**arguments)
    load_into(network.body, foreign.tensors, model)
    network = network.to(device).eval()
    settings = DetectorSettings()
    images = {name: None if value is None else str(value) for name, value in given.items()}
    audited = audit_first(images, data, ("val", "test"), strict=False, equalised=False)
    val, test = data.rows("val"), data.rows("test")
    logits, features = network_outputs(network, data.images, device)
    scaling, thresholds = choose_on(data.labels[val], logits[val][None], settings.max_fpr, settings.max_fnr)
    domain = _domain(features, data, seed)
    p_fake = scaling.probability(logits)
    metrics = all_metrics(
        data.labels[test],
        p_fake[test],
        thresholds,
        groups=data.groups_of(test),
        seed=seed,
        seen=None,
        outside=domain.outside(features[test]) if domain else None,
    )
    if metrics["auroc"] < MIN_AUROC or metrics["auroc_interval"][0] <= 0.5:  # the first half only seemed to be ordered
        what = "which output means fake is not proved: the outputs do not order the other half of the images"
        low, high = metrics["auroc_interval"]
        got = f"AUROC {metrics['auroc']:.2f} [{low:.2f}, {high:.2f}]; {best.auroc:.2f} where the input was found out"
        raise UserError(what, got=got, expected=f"{MIN_AUROC} or more", remedy="Give more images, or others.")
    metrics["audit"] = audited
    agreement = expected.agreement(np.arange(len(logits)), logits) if expected else None
    facts = {
        **_described(foreign, best, candidates, data, arguments, Path(model).name),
        **scaling.to_json(),
        "thresholds": thresholds.to_json(),
        "settings": asdict(settings),
        "seed": seed,
        "test_metrics": metrics,
        "audit": audited,
    }
    facts["adopted"]["agreement"] = agreement
    detector = Detector(network, facts, device, domain, out.name)
    name = place_name(given["place"], given["real"], given["fake"])
    judged = Judged(data, test, p_fake[test], metrics)
    report = write_report(out / "report", detector, judged, title=f"{Path(model).name}, adopted on {name}")
    detector.save(out)  # last: detector.json marks the folder as complete
    return Adopted(
        out,
        report,
        metrics,
        data.unused,
        candidates=tuple(candidates),
        known_from=foreign.known_from if foreign.pixels else "",
        agreement=agreement,
    )


def _described(
    foreign: Foreign,
    best: Candidate,
    candidates: list[Candidate],
    data: LabelledImages,
    arguments: dict[str, Any],
    name: str,
) -> dict[str, Any]:
    """Return what detector.json says of the model and of how its input and output were found out."""
    return {
        "kind": "detector",
        "version": DETECTOR_VERSION,
        "model": "adopted",
        "arguments": arguments,
        "preprocessing": {
            "resolution": best.pixels.resolution,
            "channels": 3,
            "crop": "centre square",
            "resize": "bicubic, antialiased",
            "range": f"uint8 RGB [0, 255]; the network takes {best.pixels}",
        },
        "label_convention": LABEL_NUMBERS,
        "training": {
            "fingerprint": "unknown",
            "counts": data.counts(),
            "origin": {"adopted": name, **data.origin},
            "domain": f"Trained elsewhere, on unknown images ({name}); calibrated on {_origin(data)}.",
        },
        "adopted": {
            "file": name,
            "sha256": foreign.digest,
            "known_from": foreign.known_from or None,
            "reading": str(best.reading),
            "candidates": [one.to_json() for one in candidates],
        },
        "precision": "fp32",
        "versions": versions(),
        "host": host(),
    }


def _origin(data: LabelledImages) -> str:
    origin = data.origin
    return f"{origin['real']} and {origin['fake']}" if "fake" in origin else str(origin.get("set", "a set"))


def _domain(features: np.ndarray, data: LabelledImages, seed: int) -> Domain | None:
    """Return the domain of the first half: three quarters of it are its points, the reals of the rest give the limit."""
    order = np.random.default_rng(derive_seed(seed, "survey")).permutation(data.rows("val"))
    cut = 3 * len(order) // 4
    held_out = order[cut:][data.labels[order[cut:]] == REAL]
    return fit_domain(features[order[:cut]], features[held_out], of_backbone=False)
