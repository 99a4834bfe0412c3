"""Fit a network to labelled images, and compute the logits that thresholds are chosen on."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fakecore.device import Precision
from fakecore.distributed import ALONE, World
from fakecore.errors import UserError
from fakecore.files import append_jsonl, cut_jsonl
from fakecore.runs.checkpoint import load_into
from fakedetect.data.augment import WITHSTOOD
from fakedetect.data.loading import LabelledImages
from fakedetect.models.detector import Detector, network_logits
from fakedetect.models.registry import Opened, trains_on_features
from fakedetect.models.settings import DetectorSettings
from fakedetect.training.loop import Fit, fit
from fakedetect.training.probe import fit_probe
from fakedetect.training.state import has_state

_FIRST_HEAD = 8000  # images: enough for the head from which finetuning starts


def fit_opened(
    opened: Opened,
    data: LabelledImages,
    settings: DetectorSettings,
    out: Path,
    seed: int,
    device: torch.device,
    precision: Precision,
    world: World = ALONE,
) -> Fit:
    """Train a network as its model demands: not at all, its head on features, or as a whole. Write history.jsonl and the
    state for resuming into `out`. Raises UserError or Interrupted.

    `lite` is finetuned from a fitted head, which distorts its features less (Kumar et al. 2022, arXiv 2202.10054), or from the
    detector `settings.start`.
    """
    if opened.trained:
        return Fit(opened.network.to(device).eval(), [], None)
    if trains_on_features(settings):
        if settings.start is not None:
            what = f"--set start= is used where a whole network is trained, and {settings.model} trains its head alone"
            raise UserError(what, remedy="Add --set train=finetune, or leave start out.")
        began = time.perf_counter()
        fitted = fit_probe(opened.network, data, settings, seed=seed, device=device)
        cut_jsonl(out / "history.jsonl", keep=0)
        append_jsonl(out / "history.jsonl", fitted.history)
        return replace(fitted, seconds=time.perf_counter() - began)
    if has_state(out):  # the weights are in it
        pass
    elif settings.start is not None:
        _load_start(opened, settings.start)
    elif settings.model == "lite":
        few = min(settings.limit or _FIRST_HEAD, _FIRST_HEAD)
        first = replace(settings, limit=few, copies=1, degrade=0.0)
        fit_probe(opened.network, data, first, seed=seed, device=device)
    return fit(opened.network, data, settings, folder=out, seed=seed, device=device, precision=precision, world=world)


def _load_start(opened: Opened, start: str) -> None:
    """Load the weights of the detector `start`. Raises UserError unless it has the same network."""
    detector = Detector.load(Path(start), "cpu")
    if detector.facts["model"] != opened.model:
        what = "--set start= is a detector of another model"
        raise UserError(what, got=detector.facts["model"], expected=opened.model)
    try:
        load_into(opened.network, detector.network.state_dict(), start)
    except UserError as error:
        what = f"the network of {start} differs from the one of these settings"
        raise UserError(what, got=error.got, remedy="Use the settings in its detector.json.") from None


def with_degraded(
    network: nn.Module,
    data: LabelledImages,
    rows: np.ndarray,
    logits: np.ndarray,
    settings: DetectorSettings,
    device: torch.device,
) -> np.ndarray:
    """Return the logits of `rows` and, if training degrades images, those of degraded versions of them: (versions, rows).

    Thresholds that are chosen on untouched images alone accuse many reals after a resize or a blur.
    """
    if not settings.degrade_in_use():
        return logits[None]
    found = [logits]
    for degradation in WITHSTOOD:
        parts = []
        for start in range(0, len(rows), 1024):
            part = rows[start : start + 1024]
            degraded = np.stack(
                [degradation.apply(image, data.sha256[row]) for image, row in zip(data.images[part], part, strict=True)]
            )
            parts.append(network_logits(network, degraded, device))
        found.append(np.concatenate(parts))
    return np.stack(found)
