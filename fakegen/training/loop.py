"""The adversarial loop, in the order of the algorithm.

The random numbers of a step depend on (seed, step), and the order of a pass on (seed, pass), so a run that is stopped
and resumed ends with the same weights as an uninterrupted one, bit for bit on one kind of device.

Several processes take equal parts of each batch of size `batch`, and average their gradients. Two things differ between
processes: random numbers for single images (dropout, augmentation, noise), and the statistics of batch normalisation,
which see only the part of a process. The first process writes the files.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import nn

from fakecore.device import Execution, autocast, choose_device, derive_seed, keep_freed_memory, seed_device
from fakecore.distributed import ALONE, World, lost_peers
from fakecore.errors import Interrupted, UserError
from fakecore.files import write_bytes
from fakecore.interrupt import StopRequest
from fakecore.media.pixels import encode_png, enlarge, mosaic
from fakecore.progress import progress_bar
from fakegen.presets.preset import Preset
from fakegen.runs.reals import Reals
from fakegen.runs.run import Run
from fakegen.sampling.sampling import block_latents, to_pixels
from fakegen.training.average import MovingAverage
from fakegen.training.batches import Batches
from fakegen.training.graphs import graphed
from fakegen.training.log import TrainLog
from fakegen.training.monitor import QualityMonitor
from fakegen.training.pair import Pair, build_pair
from fakegen.training.step import Inputs, Step, kind_of

STATE_EVERY_S = 60.0  # a killed run loses at most this much training


def train_gan(run: Run, reals: Reals, device: str = "auto", world: World = ALONE) -> None:
    """Train a run from its latest state to the last step of its preset, together with the other processes of `world`.

    Raises Interrupted after Ctrl-C or SIGTERM, when the state is saved, and UserError if a loss is not finite.
    """
    preset, seed = run.preset, run.facts["seed"]
    keep_freed_memory()
    place = choose_device(device)
    execution = Execution(place, run.facts["precision"])
    if place.type == "cuda":
        # cuDNN chooses algorithms by rules: a search by time takes seconds, and may choose others after a resumption.
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    with world.together():
        pair = build_pair(preset, run.channels, len(run.classes), place, seed)
    batches = Batches(reals, preset.batch, seed, place, world)
    step = 0
    if saved := run.load_state():
        step, state = saved
        pair.restore(state, str(run.path / "state"))
    else:
        _save_epoch(run, pair, None, 0, 0)
    per_epoch = preset.steps_per_epoch(batches.images)
    log = TrainLog(
        run.path,
        steps_per_epoch=per_epoch,
        batch=preset.batch,
        log_every=preset.log_every,
        first_step=step,
        world=world,
    )
    try:
        with lost_peers():
            _adversarial_loop(run, pair, batches, log, QualityMonitor(run, reals, device), execution, world, step)
    except UserError:
        run.wait()
        _checkpoint_last_state(run, per_epoch)
        raise
    finally:
        log.close()
        run.wait()


def _adversarial_loop(
    run: Run,
    pair: Pair,
    batches: Batches,
    log: TrainLog,
    monitor: QualityMonitor,
    execution: Execution,
    world: World,
    step: int,
) -> None:
    preset, seed, device = run.preset, run.facts["seed"], execution.device
    update = graphed(
        Step(pair, preset, execution, run.value_range),
        device,
        preset.name,
        alone=world.alone,
    )
    average = MovingAverage(pair.averaged, pair.generator, preset.ema)
    class_fractions = torch.tensor(list(run.classes.values()), device=device)
    per_epoch, last = preset.steps_per_epoch(batches.images), preset.last_step(batches.images)
    saved_at = started = time.perf_counter()
    before = run.facts["timings"]["train_s"]
    title = f"training {preset.name}"
    with StopRequest() as stop, progress_bar(title, last * preset.batch, "images", step * preset.batch) as bar:
        while step < last and not (preset.stop_on_collapse and run.facts.get("collapse")):
            seed_device(derive_seed(seed, "step", step), device)
            pixels, labels = batches[step]
            z = draw_latents(preset, device)[batches.part]
            # Labels are passed only to conditional networks.
            of_reals = (labels,) if run.classes else ()
            drawn = torch.multinomial(class_fractions, preset.batch, replacement=True) if run.classes else None
            of_fakes = (drawn[batches.part],) if drawn is not None else ()
            if not world.alone:
                seed_device(derive_seed(seed, "step", step, world.rank), device)
            noise = _noise(preset, step / per_epoch)

            row = update(Inputs(pixels, z, of_reals, of_fakes, noise), kind_of(preset, step, noise))
            step += 1
            average.update(step)
            log.add(row)
            bar.advance(preset.batch)

            at_epoch_end = step % per_epoch == 0 or step == last
            stopping, is_due = world.any(stop.asked, time.perf_counter() - saved_at > STATE_EVERY_S)
            if at_epoch_end or stopping or is_due:
                log.flush()
                run.facts["timings"]["train_s"] = round(before + time.perf_counter() - started, 2)
                _save_progress(run, pair, log, monitor, world, step, stopping)
                log.restart_clock()
                saved_at = time.perf_counter()
            if stopping:
                run.save(status="interrupted", step=step)
                saved = f"all progress is saved, with a checkpoint of the unfinished epoch {-(-step // per_epoch)}"
                raise Interrupted(f"stopped at step {step:,} of {last:,}; {saved}")


def _save_progress(
    run: Run, pair: Pair, log: TrainLog, monitor: QualityMonitor, world: World, step: int, stopping: bool
) -> None:
    """Save the state; at the end of an epoch also its files, and a measurement; when stopping also a checkpoint."""
    images = run.facts["source"]["images"]["train"]
    per_epoch, is_last = run.preset.steps_per_epoch(images), step == run.preset.last_step(images)
    epoch = -(-step // per_epoch)
    if step % per_epoch == 0 or is_last:
        to_measure = monitor.due(epoch, is_last=is_last)
        # A checkpoint of the unfinished epoch, left by an earlier stop, is replaced.
        keep = to_measure or stopping or epoch in run.epochs_on_disk()
        _save_epoch(run, pair, log, epoch, step, is_last=is_last, keep=keep)
        if to_measure and world.is_main:
            monitor.measure(epoch)
        run.facts = world.share(run.facts)  # every process learns of a collapse
    elif stopping:
        run.save_checkpoint(epoch, step, pair.weights())
    run.save_state(step, pair.state())


def draw_latents(preset: Preset, device: torch.device) -> torch.Tensor:
    """Draw a batch of latents, float32 (batch, z_dim), from torch's random state."""
    if preset.latent == "uniform":
        return torch.rand(preset.batch, preset.z_dim, device=device) * 2 - 1
    return torch.randn(preset.batch, preset.z_dim, device=device)


def _noise(preset: Preset, epoch: float) -> float:
    """Return the standard deviation of D's noise at `epoch`, which may be fractional."""
    remaining = max(0.0, 1 - epoch / preset.noise_epochs) if preset.noise_epochs else 1.0
    return preset.noise * remaining


def _save_epoch(
    run: Run, pair: Pair, log: TrainLog | None, epoch: int, step: int, is_last: bool = False, keep: bool = False
) -> None:
    """Write the checkpoint and snapshot of an epoch if the preset schedules them; epoch 0 is the untrained network. `keep`
    writes the checkpoint in any case.
    """
    preset = run.preset
    is_end = epoch == 0 or is_last
    if keep or is_end or epoch % preset.checkpoint_every == 0:
        run.save_checkpoint(epoch, step, pair.weights())
    if run.writes and (is_end or epoch % preset.snapshot_every == 0):
        sheet = snapshot(run, pair.sampler())
        write_bytes(run.path / "snapshots" / f"epoch-{epoch:04d}.png", encode_png(sheet, "fake"))
        if log is not None:
            log.add_snapshot(sheet, step)
    run.save(epoch=epoch, step=step, status="running")


def _checkpoint_last_state(run: Run, per_epoch: int) -> None:
    """Write a checkpoint of the latest state on disk, the last one before a loss became non-finite."""
    if saved := run.load_state():
        step, state = saved
        epoch = -(-step // per_epoch)
        if epoch not in run.epochs_on_disk():
            weights = {name: tensor for name, tensor in state.items() if not name.startswith("optimiser_")}
            run.save_checkpoint(epoch, step, weights)


@torch.inference_mode()
def snapshot(run: Run, network: nn.Module) -> np.ndarray:
    """Return a grid of fakes from fixed latents, uint8 (C, H, W): side x side images, or a row per class and a latent per
    column.
    """
    preset, classes = run.preset, len(run.classes)
    columns = preset.snapshot_side
    rows = classes or columns
    seed = derive_seed(run.facts["seed"], "snapshot")
    device = next(network.parameters()).device
    drawn = columns if classes else rows * columns
    blocks = [block_latents(seed, number, preset.z_dim, preset.latent) for number in range(-(-drawn // 64))]
    z = torch.from_numpy(np.concatenate(blocks)[:drawn]).to(device)
    z = z.repeat(max(1, classes), 1)  # (rows x columns, z_dim)
    labels = (torch.arange(classes, device=device).repeat_interleave(columns),) if classes else ()
    was_training = network.training
    network.eval()
    with autocast(device, run.facts["precision"]):
        images = to_pixels(network(z, *labels), run.value_range, preset.levels)
    network.train(was_training)
    factor = max(1, 64 // preset.resolution)
    return enlarge(mosaic(images, columns=columns), factor)
