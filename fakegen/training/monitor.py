"""Quality monitoring during training: measure chosen epochs, record the best, and detect a collapse."""

from __future__ import annotations

from fakecore.progress import say
from fakegen.quality.plots import plot_quality
from fakegen.quality.records import (
    DEFAULT_COUNT,
    MIN_COUNT,
    Collapse,
    Reference,
    best_of,
    measure_checkpoint,
    open_reference,
    read_quality,
    record,
    settings_of,
)
from fakegen.runs.reals import Reals
from fakegen.runs.run import Run


class QualityMonitor:
    """Measures checkpoints against the held-out reals, whose features are computed at the first measurement."""

    def __init__(self, run: Run, reals: Reals, device: str):
        self._run, self._reals, self._device = run, reals, device
        self._every = run.preset.measure_every
        self._reference: Reference | None = None
        held_out = int((reals.splits != "train").sum())
        if self._every and held_out < MIN_COUNT:
            say(f"note: {held_out} held-out images are too few to measure the fakes against")
            self._every = 0

    def due(self, epoch: int, is_last: bool) -> bool:
        """Return whether `epoch` is to be measured."""
        return self._every > 0 and epoch > 0 and (is_last or epoch % self._every == 0)

    def measure(self, epoch: int) -> str | None:
        """Measure the checkpoint of `epoch`, once it is written, and record it; describe the collapse if there is one."""
        run = self._run
        run.wait()
        if self._reference is None:
            self._reference = open_reference(self._reals, device=self._device)
        quality, *_ = measure_checkpoint(run, epoch, self._reference, device=self._device)
        record(run, quality)
        rows = read_quality(run, settings_of(self._reference, DEFAULT_COUNT))
        plot_quality(run, rows)
        best = best_of(rows)
        detail = "" if best.epoch == epoch else f"; best: {best.frechet:.4g} at epoch {best.epoch}"
        if len(rows) == 1:
            detail = f", training reals {quality.floor:.4g} (features: {quality.features})"
        say(f"epoch {epoch}: Frechet distance {quality.frechet:.4g}{detail}")
        collapse = Collapse().notice([row for row in rows if row.epoch <= epoch])
        if collapse and not run.facts.get("collapse"):
            say(f"note: {collapse}")
            run.save(collapse=collapse)
        return collapse
