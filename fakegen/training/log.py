"""The log of a training: metrics.jsonl and TensorBoard events; a loss that is not finite stops the training.

Values stay on the device until a flush, so that logging costs no synchronisation per step.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch

from fakecore.distributed import ALONE, PeerLost, World
from fakecore.errors import UserError
from fakecore.files import append_jsonl, cut_jsonl, read_jsonl

NAMES = ("loss_d", "loss_g", "d_real", "d_fake_1", "d_fake_2", "acc_real", "acc_fake")
FLUSH_EVERY = 25  # steps: a non-finite loss is detected within these; the error names its exact step


@torch.no_grad()
def row_of(loss_d, loss_g, real_logits, fake_logits_1, fake_logits_2) -> torch.Tensor:
    """Return the values of a step, float32 (7,), from losses () and logits (B,); the names are NAMES."""
    row = [
        loss_d.float(),
        loss_g.float(),
        real_logits.float().sigmoid().mean(),
        fake_logits_1.float().sigmoid().mean(),
        fake_logits_2.float().sigmoid().mean(),
        (real_logits > 0).float().mean(),
        (fake_logits_1 < 0).float().mean(),
    ]
    return torch.stack(row)


class TrainLog:
    """Collects one row of values per step. Call `flush` before saving weights, so that non-finite ones are never saved."""

    def __init__(
        self,
        folder: Path,
        *,
        steps_per_epoch: int,
        batch: int,
        log_every: int,
        first_step: int,
        world: World = ALONE,
    ):
        self._world = world
        self._path = folder / "metrics.jsonl"
        self._steps_per_epoch, self._batch, self._log_every = steps_per_epoch, batch, log_every
        self._rows: list[torch.Tensor] = []
        self._first = first_step + 1
        self._since = time.perf_counter()
        if not world.is_main:
            return
        from torch.utils.tensorboard import SummaryWriter

        # Drop lines after the step that training resumes from: it writes them again.
        lines = read_jsonl(self._path)
        cut_jsonl(self._path, keep=sum(line["step"] <= first_step for line in lines))
        self._events = SummaryWriter(folder / "tensorboard", purge_step=first_step + 1, flush_secs=30)

    def add(self, row: torch.Tensor) -> None:
        """Add the values of a finished step, `row_of` it."""
        self._rows.append(row)
        if len(self._rows) >= FLUSH_EVERY:
            self.flush()

    def flush(self) -> dict | None:
        """Write the collected rows; return the last one. Raises UserError, naming the step, for a loss that is not finite."""
        if not self._rows:
            return None
        rows = self._world.mean(torch.stack(self._rows).cpu())  # (steps, 7)
        now = time.perf_counter()
        rate = len(rows) * self._batch / max(now - self._since, 1e-9)
        self._since = now
        bad_rows = (~torch.isfinite(rows[:, :2])).any(dim=1).nonzero()
        good = int(bad_rows[0]) if len(bad_rows) else len(rows)
        lines = [self._line(self._first + i, row, rate) for i, row in enumerate(rows[:good].tolist())]
        logged = [line for line in lines if line["step"] % self._log_every == 0 or line["step"] == 1]
        if self._world.is_main:
            self._write(logged)
        if good < len(rows):
            if not self._world.is_main:
                raise PeerLost  # the first process reports the step
            step = self._first + good
            values = dict(zip(NAMES, rows[good].tolist(), strict=True))
            raise UserError(
                f"training stopped: a loss is not finite at step {step}, epoch {(step - 1) // self._steps_per_epoch + 1}",
                got=f"loss_d {values['loss_d']}, loss_g {values['loss_g']}",
                remedy="The last valid state is a checkpoint. Train again with a lower lr, or --set precision=fp32.",
            )
        self._first += len(rows)
        self._rows.clear()
        return lines[-1]

    def add_snapshot(self, sheet, step: int) -> None:
        """Add a snapshot, uint8 (C, H, W), to TensorBoard."""
        self._events.add_image("snapshot", sheet, step)

    def restart_clock(self) -> None:
        """Exclude the time since the last flush (checkpoints, snapshots) from images_per_s."""
        self._since = time.perf_counter()

    def close(self) -> None:
        if self._world.is_main:
            self._events.close()

    def _write(self, lines: list[dict]) -> None:
        append_jsonl(self._path, lines)
        for line in lines[-1:]:  # TensorBoard takes ten times as long as the file: it shows one step of each flush
            for name in (*NAMES, "images_per_s"):
                self._events.add_scalar(name, line[name], line["step"])

    def _line(self, step: int, row: list[float], rate: float) -> dict:
        values = {name: round(value, 6) for name, value in zip(NAMES, row, strict=True)}
        return {
            "step": step,
            "epoch": (step - 1) // self._steps_per_epoch + 1,
            **values,
            "images_per_s": float(f"{rate:.4g}"),  # significant digits: slow runs make less than one
        }
