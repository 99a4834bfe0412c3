"""What the files of a run say about it: status, progress, time left, curves, distances and snapshots. Nothing is written."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from fakecore.messages import command, counted, duration
from fakegen.quality.records import best_of, read_quality
from fakegen.runs.run import Run, open_run
from fakegen.training.log import FLUSH_EVERY
from fakegen.watching.metrics import Metrics

STALLED_S = 300.0  # without a new step: more than a run needs to start, or to measure a checkpoint of small images
_SLOW = 3  # a slow run has stalled after three times the time between two writes of its log
_SNAPSHOT = re.compile(r"epoch-([0-9]+)\.png")


def watch_state(run: Path | str) -> dict[str, Any]:
    """Return the state of a run that trains, or that has ended; only reads its folder, and takes no lock.

    `status` is training, stalled (no new step, though the run says that it is running), writing (the set), interrupted,
    failed or finished; `headline` and `notes` say it in words. `step` of `steps`, and `epoch` of `epochs`, count from 1, 0
    means none yet; `images_per_s` is that of the last steps, `left_s` the seconds of training left (None if it does not
    run), `train_s` those trained, `changed_s` those since the run last wrote; `in_words` has the three as text. `latest` is
    the last line of metrics.jsonl, `curves` its columns, thinned to means at no more than 300 points of equal length;
    `quality` has the distances by epoch; `snapshots` and `nearest` the versions of the pictures.

    Raises UserError if the folder is not a run, or run.json is damaged.
    """
    return Watcher(run).state()


class Watcher:
    """Reads a run folder again at each call of `state`; of metrics.jsonl, only the lines that are new.

    Raises UserError if the folder is not a run.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        open_run(self.path, writes=False)
        self._metrics = Metrics(self.path / "metrics.jsonl")

    def state(self, now: float | None = None) -> dict[str, Any]:
        """Return the state, see `watch_state`, at the time `now`, in seconds since the epoch."""
        now = time.time() if now is None else now
        run = open_run(self.path, writes=False)
        self._metrics.update()
        latest, rate = self._metrics.latest, self._metrics.images_per_s
        preset, images = run.preset, run.facts["source"]["images"]["train"]
        steps, per_epoch = preset.last_step(images), max(1, preset.steps_per_epoch(images))
        step = max(run.facts["step"], int(latest["step"]) if latest else 0)  # run.json has the last epoch's end
        changed_s = max(0.0, now - self._changed_at(finished_training=step >= steps))
        patience = max(STALLED_S, _SLOW * max(FLUSH_EVERY, preset.log_every) * preset.batch / rate if rate else 0)
        status = _status(run, step >= steps, changed_s > patience)
        left_s = (steps - step) * preset.batch / rate if rate and status == "training" else None
        known: dict[str, Any] = {
            "run": self.path.absolute().name,
            "preset": preset.name,
            "source": run.facts["source"]["spec"],
            "resolution": preset.resolution,
            "seed": run.facts["seed"],
            "device": run.facts["device"],
            "status": status,
            "step": step,
            "steps": steps,
            "epoch": -(-step // per_epoch),
            "epochs": -(-steps // per_epoch),
            "steps_per_epoch": per_epoch,
            "images_per_s": rate and float(f"{rate:.4g}"),
            "left_s": left_s and round(left_s, 1),
            "train_s": run.facts["timings"]["train_s"],
            "changed_s": round(changed_s, 1),
        }
        known["in_words"] = {
            name: value if value is None else duration(value)
            for name, value in (("left", left_s), ("changed", changed_s), ("train", known["train_s"]))
        }
        known["headline"] = _headline(known, run)
        known["notes"] = self._notes(known, run)
        return {
            **known,
            "latest": latest,
            "curves": self._metrics.curves(),
            "quality": _quality(run),
            "snapshots": [{"epoch": epoch, "version": _version(path)} for epoch, path in self.snapshots().items()],
            "nearest": _version(self.nearest),
        }

    def snapshots(self) -> dict[int, Path]:
        """Return the snapshots on disk by epoch, ascending."""
        with suppress(OSError):
            found = [(_SNAPSHOT.fullmatch(path.name), path) for path in (self.path / "snapshots").iterdir()]
            return dict(sorted((int(match[1]), path) for match, path in found if match))
        return {}

    @property
    def nearest(self) -> Path:
        """The picture of the fakes nearest to a training image, if `measure` has drawn it."""
        return self.path / "plots" / "nearest.png"

    def _changed_at(self, *, finished_training: bool) -> float:
        """Return when the run last wrote, in seconds since the epoch."""
        files = [self.path / name for name in ("metrics.jsonl", "run.json", "quality.jsonl")]
        if finished_training:  # folders change when a file is added to them
            files += [self.path / "plots", self.path / "set", *(self.path / "set").glob("*/*/")]
        times = [0.0]
        for file in files:
            with suppress(OSError):
                times.append(file.stat().st_mtime)
        return max(times)

    def _notes(self, known: dict[str, Any], run: Run) -> list[dict[str, str]]:
        notes = []
        if known["status"] == "failed" and run.facts.get("error"):
            notes.append({"kind": "error", "text": run.facts["error"]})
        if run.facts.get("collapse"):
            notes.append({"kind": "warning", "text": run.facts["collapse"]})
        if known["status"] == "stalled":
            text = "run.json says that the run is running. Its process may have been killed, or it may be measuring."
            notes.append({"kind": "warning", "text": text})
        if known["status"] in ("stalled", "interrupted"):
            notes.append({"kind": "command", "text": command("generate", "--resume", "--out", self.path)})
        return notes


def _status(run: Run, all_steps: bool, silent: bool) -> str:
    status = run.facts.get("status")
    if status != "running":
        return {"done": "finished", "failed": "failed"}.get(str(status), "interrupted")
    if silent:
        return "stalled"
    stopped_early = run.preset.stop_on_collapse and run.facts.get("collapse")
    return "writing" if all_steps or stopped_early else "training"


def _headline(known: dict[str, Any], run: Run) -> str:
    step, place = known["step"], f"epoch {known['epoch']:,} of {known['epochs']:,}"
    at = f"step {step:,} of {known['steps']:,}, {place}"
    if known["status"] == "training":
        left = f", about {duration(known['left_s'])} left" if known["left_s"] is not None else ""
        return f"Training: {place}{left}" if step else "Training starts: no step is written yet"
    if known["status"] == "stalled":
        return f"No new step for {duration(known['changed_s'])}, at {at}"
    if known["status"] == "writing":
        return f"Trained to {place}; the last measurement, the plots and the set remain"
    if known["status"] == "finished":
        if run.preset.stop_on_collapse and run.facts.get("collapse"):
            return f"Finished early, at {place}: the fakes collapsed"
        return f"Finished: {counted(known['epochs'], 'epoch')}, trained in {duration(known['train_s'])}"
    return f"{known['status'].capitalize()} at {at}"


def _quality(run: Run) -> dict[str, Any] | None:
    """Return the measured distances of all epochs with the settings of the last one; None if none was measured."""
    rows = read_quality(run)
    if not rows:
        return None
    names = ("epoch", "frechet", "frechet_se", "kernel", "kernel_se", "precision", "recall", "coverage", "diversity")
    return {
        "rows": [{name: getattr(row, name) for name in names} for row in rows],
        "best": best_of(rows).epoch,
        "floor": rows[-1].floor,
        "features": rows[-1].features,
        "comparable": rows[-1].comparable,
    }


def _version(path: Path) -> str | None:
    """Return a text that changes with the content of a file; None without a file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return f"{found.st_mtime_ns:x}-{found.st_size:x}"
