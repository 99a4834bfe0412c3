"""The adversarial loop, in the order of the algorithm.

Each step's random numbers follow from (seed, step), and each epoch's order from (seed, epoch), so a run that is
stopped anywhere and resumed ends with the same weights as one that was not: exactly so on a CPU.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fakecore.checkpoint import load_into, optimiser_tensors, restore_optimiser
from fakecore.device import autocast, choose_device, derive_seed, keep_freed_memory, make_fabric
from fakecore.errors import Interrupted
from fakecore.files import write_bytes
from fakecore.interrupt import StopRequest
from fakecore.pixels import encode_png, enlarge, mosaic
from fakecore.progress import progress_bar
from fakegen.losses import discriminator_loss, generator_loss
from fakegen.networks import DISCRIMINATORS, GENERATORS, build, discriminator_arguments, generator_arguments
from fakegen.presets import Preset
from fakegen.reals import Reals
from fakegen.run import VALUE_RANGE, Run
from fakegen.sampling import block_latents, from_pixels, to_pixels
from fakegen.trainlog import TrainLog

STATE_EVERY_S = 60.0  # a kill loses at most this much of an epoch


@dataclass
class Pair:
    """The two networks, the averaged generator, and their optimisers: what a checkpoint and a state are made of."""

    generator: nn.Module
    discriminator: nn.Module
    averaged: nn.Module | None
    optimiser_g: torch.optim.Optimizer
    optimiser_d: torch.optim.Optimizer

    def weights(self) -> dict[str, torch.Tensor]:
        parts = {"generator": self.generator, "discriminator": self.discriminator}
        if self.averaged is not None:
            parts["generator_ema"] = self.averaged
        return {f"{part}.{name}": t for part, module in parts.items() for name, t in module.state_dict().items()}

    def state(self) -> dict[str, torch.Tensor]:
        return {
            **self.weights(),
            **optimiser_tensors(self.optimiser_g, "optimiser_g."),
            **optimiser_tensors(self.optimiser_d, "optimiser_d."),
        }

    def restore(self, state: dict[str, torch.Tensor], what: str) -> None:
        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}

        load_into(self.generator, part("generator."), what)
        load_into(self.discriminator, part("discriminator."), what)
        if self.averaged is not None:
            load_into(self.averaged, part("generator_ema."), what)
        restore_optimiser(self.optimiser_g, part("optimiser_g."))
        restore_optimiser(self.optimiser_d, part("optimiser_d."))


def build_pair(preset: Preset, channels: int, device: torch.device, seed: int) -> Pair:
    """Untrained networks and optimisers, their weights a function of the seed."""
    torch.manual_seed(derive_seed(seed, "weights"))
    generator = build(GENERATORS, preset.architecture, generator_arguments(preset, channels))
    discriminator = build(DISCRIMINATORS, preset.architecture, discriminator_arguments(preset, channels))
    averaged = None
    if preset.ema > 0:
        averaged = build(GENERATORS, preset.architecture, generator_arguments(preset, channels))
        averaged.load_state_dict(generator.state_dict())
        averaged.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
    for network in (generator, discriminator):
        network.to(device, memory_format=torch.channels_last).train()
    adam = {"lr": preset.lr, "betas": (preset.beta1, preset.beta2), "fused": True}
    optimiser_g = torch.optim.Adam(generator.parameters(), **adam)
    optimiser_d = torch.optim.Adam(discriminator.parameters(), **adam)
    return Pair(generator, discriminator, averaged, optimiser_g, optimiser_d)


class Batches:
    """Shuffled batches of the training reals, uint8. On a GPU all of them live there, where they fit, so that a step
    copies nothing; on a CPU they stay in the memory-mapped cache, which may be larger than memory.
    """

    def __init__(self, reals: Reals, batch: int, seed: int, device: torch.device):
        self._images, self._rows = reals.images, reals.train_rows()
        self._batch, self._seed, self._device = batch, seed, device
        self._resident = torch.from_numpy(self._images[self._rows]).to(device) if self._fits() else None
        self.per_epoch = len(self._rows) // batch
        self._epoch = -1

    def __getitem__(self, step: int) -> torch.Tensor:
        """The reals of `step`, counted from 0 over all epochs: uint8 (batch, C, R, R) on the device."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            order = np.random.default_rng(derive_seed(self._seed, "order", epoch)).permutation(len(self._rows))
            self._order = torch.from_numpy(order).to(self._device) if self._resident is not None else self._rows[order]
        chosen = self._order[place * self._batch : (place + 1) * self._batch]
        if self._resident is not None:
            return self._resident[chosen]
        return torch.from_numpy(self._images[chosen]).to(self._device)

    def _fits(self) -> bool:
        if self._device.type != "cuda":
            return False
        free, _ = torch.cuda.mem_get_info(self._device)
        return self._images[0].nbytes * len(self._rows) < free // 2  # the other half is for the networks


def train_gan(run: Run, reals: Reals, device: str = "auto") -> None:
    """Train the run to its preset's number of epochs, from wherever its state stands.

    Raises Interrupted after Ctrl-C or SIGTERM (the state is saved), UserError when a loss is no longer finite.
    """
    preset, seed = run.preset, run.facts["seed"]
    keep_freed_memory()
    place = choose_device(device)
    fabric = make_fabric(place, run.facts["precision"])
    if place.type == "cpu":
        torch.set_num_threads(run.facts["threads"])  # the order of a sum depends on it
    torch.backends.cudnn.benchmark = True
    pair = build_pair(preset, run.channels, place, seed)
    batches = Batches(reals, preset.batch, seed, place)
    step = 0
    if saved := run.load_state():
        step, state = saved
        pair.restore(state, str(run.path / "state"))
    else:
        _save_epoch(run, pair, None, 0, 0)
    log = TrainLog(
        run.path, steps_per_epoch=batches.per_epoch, batch=preset.batch, log_every=preset.log_every, first_step=step
    )
    try:
        _adversarial_loop(run, pair, batches, log, fabric, step)
    finally:
        log.close()
        run.wait()


def _adversarial_loop(run: Run, pair: Pair, batches: Batches, log: TrainLog, fabric, step: int) -> None:
    preset, seed = run.preset, run.facts["seed"]
    generator, optimiser_g = fabric.setup(pair.generator, pair.optimiser_g)
    discriminator, optimiser_d = fabric.setup(pair.discriminator, pair.optimiser_d)
    last = preset.epochs * batches.per_epoch
    saved_at = began = time.perf_counter()
    before = run.facts["timings"]["train_s"]
    title = f"training {preset.name}"
    with StopRequest() as stop, progress_bar(title, last * preset.batch, "images", step * preset.batch) as bar:
        while step < last:
            torch.manual_seed(derive_seed(seed, "step", step))
            real = from_pixels(batches[step].to(memory_format=torch.channels_last), VALUE_RANGE)  # (B, C, R, R)
            z = torch.randn(preset.batch, preset.z_dim, device=fabric.device)
            fake = generator(z)  # (B, C, R, R)

            # D learns to tell the two apart.
            pair.discriminator.requires_grad_(True)
            real_logits, fake_logits = discriminator(real), discriminator(fake.detach())  # (B,) each
            loss_d = discriminator_loss(real_logits, fake_logits)
            optimiser_d.zero_grad()
            fabric.backward(loss_d)
            optimiser_d.step()

            # G learns to pass for real. D's weights need no gradients here: a third of its backward pass.
            pair.discriminator.requires_grad_(False)
            fake_logits_2 = discriminator(fake)
            loss_g = generator_loss(fake_logits_2)
            optimiser_g.zero_grad()
            fabric.backward(loss_g)
            optimiser_g.step()

            step += 1
            _average(pair.averaged, pair.generator, preset.ema, step)
            log.add(
                loss_d.detach(), loss_g.detach(), real_logits.detach(), fake_logits.detach(), fake_logits_2.detach()
            )
            bar.advance(preset.batch)

            at_epoch_end = step % batches.per_epoch == 0
            if at_epoch_end or stop.asked or time.perf_counter() - saved_at > STATE_EVERY_S:
                log.flush()
                run.facts["timings"]["train_s"] = round(before + time.perf_counter() - began, 2)
                if at_epoch_end:
                    _save_epoch(run, pair, log, step // batches.per_epoch, step)
                run.save_state(step, pair.state())
                log.restart_clock()
                saved_at = time.perf_counter()
            if stop.asked:
                run.save(status="interrupted", step=step)
                raise Interrupted(f"stopped at step {step} of {last}; everything is saved")


@torch.no_grad()
def _average(averaged: nn.Module | None, current: nn.Module, decay: float, step: int) -> None:
    """Exponential moving average of weights and of BN's statistics, ramped up so that a short run is not mostly its start."""
    if averaged is None:
        return
    decay = min(decay, step / (step + 10.0))
    ours, theirs = averaged.state_dict(), current.state_dict()
    names = [name for name, tensor in ours.items() if tensor.is_floating_point()]
    torch._foreach_lerp_([ours[name] for name in names], [theirs[name] for name in names], 1 - decay)


def _save_epoch(run: Run, pair: Pair, log: TrainLog | None, epoch: int, step: int) -> None:
    """Checkpoint and snapshot of an epoch, where the preset asks for them; 0 is the untrained network."""
    preset = run.preset
    is_end = epoch in (0, preset.epochs)
    if is_end or epoch % preset.checkpoint_every == 0:
        run.save_checkpoint(epoch, step, pair.weights())
    if is_end or epoch % preset.snapshot_every == 0:
        sheet = snapshot(run, pair)
        write_bytes(run.path / "snapshots" / f"epoch-{epoch:04d}.png", encode_png(sheet, "fake"))
        if log is not None:
            log.add_snapshot(sheet, step)
    run.save(epoch=epoch, step=step, status="running")


@torch.inference_mode()
def snapshot(run: Run, pair: Pair) -> np.ndarray:
    """8 x 8 fakes from the same latents every time, as one sheet, uint8 (C, H, W)."""
    network = pair.averaged if pair.averaged is not None else pair.generator
    seed = derive_seed(run.facts["seed"], "snapshot")
    device = next(network.parameters()).device
    z = torch.from_numpy(block_latents(seed, 0, run.preset.z_dim)).to(device)  # (64, z_dim)
    was_training = network.training
    network.eval()
    with autocast(device, run.facts["precision"]):
        images = to_pixels(network(z), VALUE_RANGE)
    network.train(was_training)
    factor = max(1, 64 // run.preset.resolution)
    return enlarge(mosaic(images, columns=8), factor)
