"""The presets, one row of plain values each; unusual values have a reason or source beside them."""

from __future__ import annotations

from typing import Any

from fakecore.errors import UserError, unknown_name
from fakecore.messages import command
from fakecore.settings import override
from fakegen.presets.preset import FIXED, Preset

GREY_SOURCES = ("digits", "mnist")

_DOGS: dict[str, Any] = {
    "system": "A",
    "published_on": "the dogs of CIFAR-10, 32x32",
    "real": "cifar10:dog",
    "resolution": 32,
    "batch": 32,
    "epochs": 800,
    "checkpoint_every": 50,
    "measure_every": 20,
    "snapshot_every": 50,
    "d_norm": "batch_all",
    "d_dropout": 0.3,
    "ema": 0.0,
}
_DIGIT: dict[str, Any] = {
    "system": "B",
    "architecture": "digit",
    "z_dim": 128,
    "batch": 128,
    "epochs": 50,
    "ema": 0.0,
}
_FACES: dict[str, Any] = {
    "system": "C",
    "published_on": "9,780 photos of faces, 200x200",
    "real": "lfw",
    "resolution": 200,
    "epoch_steps": 500,  # the source drew images every 500 of 20,000 batches
    "epochs": 40,
    "checkpoint_every": 10,  # each takes 3 GB at 200x200
    "ema": 0.0,
}
_DENSE: dict[str, Any] = {**_FACES, "architecture": "dense", "g_width": 256, "d_width": 1024}
# Compared at equal processor time on CIFAR-10's dogs (docs/lab/generators.md): batch normalisation in D learned far faster than
# spectral normalisation with the hinge loss; augmentation halved the distance again, and R1 doubled it.
_MODERN: dict[str, Any] = {
    "real": "cifar10:dog",
    "augment": True,
    "mirror": True,
    "batch": 32,
    "epochs": 100,
    "checkpoint_every": 5,
    "snapshot_every": 5,
}
# Best of six settings compared at equal time on ten classes: lowest distance, and most variety within a class.
_CONDITIONAL: dict[str, Any] = {**_MODERN, "real": "cifar10", "measure_every": 10}
# Sauer et al. 2021 (arXiv 2111.01007), section 4: hinge loss, DiffAugment, Adam with beta1 0. Narrower networks and smaller
# batches, for a CPU.
_PROJECTED: dict[str, Any] = {
    **_MODERN,
    "architecture": "projected",
    "z_dim": 256,
    "g_width": 32,
    "d_width": 32,
    "loss": "hinge",
    "beta1": 0.0,
    "beta2": 0.99,
}
# Huang et al. 2024 (arXiv 2501.05441), section 4.
_R3: dict[str, Any] = {
    **_MODERN,
    "architecture": "residual",
    "z_dim": 64,
    "g_width": 32,
    "d_width": 32,
    "loss": "relativistic",
    "r1": 1.0,
    "r2": 1.0,
    "r1_every": 1,
    "beta1": 0.0,
    "beta2": 0.99,
}

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="digits",
            summary="handwritten digits, 8x8 pixels: trains in under a minute, no download",
            real="digits",
            architecture="dense",  # at 8x8 convolutions gain nothing: dcgan took twice the time for less regular digits
            resolution=8,  # the side of scikit-learn's digits
            levels=17,  # theirs: with 256 levels a single background pixel tells fakes from reals
            z_dim=64,  # one per pixel; 1,437 training images need no more
            g_width=64,
            d_width=256,
            batch=64,  # 22 steps per epoch; 32 took twice the time for the same digits
            lr=3e-4,
            noise=0.05,  # hides from D that the outputs of G are not yet rounded to 17 levels, 0.125 apart
            epochs=100,  # tried 60 to 150: few broken strokes from 80 on
            ema=0.995,  # the run has 2,200 steps; 0.999 would average over nearly half of them
            checkpoint_every=10,
            snapshot_every=10,
            measure_every=20,
        ),
        Preset(
            name="digits-32",
            summary="handwritten digits enlarged to 32x32: a DCGAN in two minutes, no download",
            real="digits",
            upscale=True,
            resolution=32,  # the smallest with three doublings in the networks
            z_dim=64,  # 1,437 training images need no more
            g_width=48,  # tried 32, 48 and 64: strokes are cleaner from 48 on
            d_width=16,  # a weaker D costs less and leaves G more to learn from on so few images
            batch=32,  # 44 steps an epoch: small sets learn from many small steps
            epochs=80,  # tried 40 to 150: few broken strokes from 70 on
            ema=0.995,  # the run has 3,520 steps; 0.999 would average over nearly a third of them
            checkpoint_every=5,
            snapshot_every=5,
        ),
        Preset(
            name="dog-baseline",
            summary="CIFAR-10 dogs, the baseline: ReLU in G, dropout in D",
            **_DOGS,
            g_upsampling="nearest",  # only the tuned models use transposed convolutions
            lr=1e-3,  # default of Adam in Keras: the source names no rate
            beta1=0.9,
        ),
        Preset(
            name="dog-lr2e-4",
            summary="CIFAR-10 dogs, tuned: transposed convolutions, LeakyReLU in both",
            **_DOGS,
            activation="leaky_relu",
            lr=2e-4,
        ),
        Preset(
            name="dog-lr3e-4",
            summary="CIFAR-10 dogs, tuned: the best model of system A",
            **_DOGS,
            activation="leaky_relu",
            lr=3e-4,
        ),
        Preset(
            name="mnist-digit",
            summary="one digit of MNIST, with the layers of system B",
            published_on="one digit of MNIST (3; also 0), 28x28, train and test joined",
            real="mnist:3",
            resolution=28,
            **_DIGIT,
        ),
        Preset(
            name="svhn-digit",
            summary="one digit of SVHN (house numbers), the same networks in colour",
            published_on="digit 9 of SVHN, 32x32",
            real="svhn:9",
            resolution=32,
            **_DIGIT,
        ),
        *(
            Preset(
                name=f"dense-{number}",
                summary=f"fully connected, {words}, batch {batch}: model {number} of system C's table",
                **_DENSE,
                lr=lr,
                activation=activation,
                batch=batch,
            )
            for number, lr, activation, words, batch in (
                (1, 1e-4, "leaky_relu", "LeakyReLU, rate 1e-4", 128),
                (2, 1e-4, "leaky_relu", "LeakyReLU, rate 1e-4", 256),
                (3, 1e-4, "leaky_relu", "LeakyReLU, rate 1e-4", 512),
                (4, 2e-4, "relu", "ReLU, rate 2e-4", 128),
                (5, 2e-4, "relu", "ReLU, rate 2e-4", 256),
                (6, 2e-4, "relu", "ReLU, rate 2e-4", 512),
            )
        ),
        Preset(
            name="upsample-faces",
            summary="upsampling and 3x3 convolutions; collapsed within hundreds of steps in system C",
            **_FACES,
            architecture="upsampling",
            g_width=128,
            d_width=32,
            d_dropout=0.25,
            batch=128,
        ),
        Preset(
            name="dcgan-64",
            summary="DCGAN for faces as published, plus a moving average of G (ema=0: none)",
            system="D",
            published_on="CelebA, 202,599 faces at 64x64",
            real="celeba",
            resolution=64,
            epochs=5,  # as in system D: 202,599 faces x 5 epochs
        ),
        Preset(
            name="celeba-128",
            summary="faces at 128x128, optionally of one attribute: --real celeba:Attractive",
            system="E",
            published_on="CelebA, all faces or those of one attribute, 128x128",
            real="celeba:Attractive",
            architecture="stack",
            resolution=128,
            z_dim=32,
            g_width=256,
            d_width=256,
            d_dropout=0.4,
            batch=16,
            optimiser="rmsprop",
            lr=1e-4,
            clip=1.0,
            epoch_steps=50,  # the source drew a mosaic every 50 of 1,000 steps
            epochs=20,
            snapshot_side=6,
            checkpoint_every=5,
            ema=0.0,
        ),
        Preset(
            name="conditional-32",
            summary="all ten classes of CIFAR-10 in one GAN: choose a class with `sample --class`",
            system="A",
            published_on="CIFAR-10, ten classes, 32x32; proposed there as future work",
            **_CONDITIONAL,
            conditional=True,
            resolution=32,
        ),
        *(
            Preset(
                name=f"modern-{side}",
                summary=f"our best GAN at {side}x{side}: augmentation for small data sets, small batches, moving average of G",
                **_MODERN,
                resolution=side,
                measure_every=10 if side == 32 else 5,  # of the smallest, five epochs train in a few measurements' time
            )
            for side in (32, 64, 128)
        ),
        *(
            Preset(
                name=f"projected-{side}",
                summary=f"Projected GAN at {side}x{side}: discriminators on features pretrained on ImageNet",
                **_PROJECTED,
                resolution=side,
            )
            for side in (64, 128, 256)
        ),
        Preset(
            name="r3-64",
            summary="R3GAN at 64x64: residual networks, relativistic loss, R1 and R2 at every step",
            **_R3,
            resolution=64,
        ),
    )
}


def default_preset(real: str | None) -> str:
    """Return the preset that `generate` uses by default for a source: `digits` for the built-in digits, else `dcgan-64`."""
    return "digits" if real is None or real.partition(":")[0] == "digits" else "dcgan-64"


def get_preset(name: str, changes: dict[str, Any] | None = None) -> Preset:
    """Return the preset `name` with `changes` applied. Raises UserError, listing the choices, if either is unknown."""
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS, remedy=f"See: {command('presets')}")
    return change_preset(PRESETS[name], changes or {})


def change_preset(preset: Preset, changes: dict[str, Any]) -> Preset:
    """Return `preset` with `changes` applied. Raises UserError for a field that is unknown, fixed, or out of range."""
    for fixed in FIXED:
        if fixed in changes:
            raise UserError(f"{fixed} cannot be set", remedy="It identifies the preset and its origin.")
    if "epochs" in changes and "steps" not in changes:
        changes = {**changes, "steps": 0}  # a number of epochs replaces the preset's number of steps
    changed = override(preset, changes)
    if changed.loss == "relativistic" and (changed.label_smoothing or changed.label_flip):
        raise UserError(
            "the relativistic loss has no labels to smooth or flip",
            got=f"label_smoothing={changed.label_smoothing:g}, label_flip={changed.label_flip:g}",
            remedy="Set both to 0, or use another loss.",
        )
    return changed


def source_channels_of(preset: Preset) -> int:
    """Return the number of channels of the preset's own source: 1 or 3."""
    return 1 if preset.real.partition(":")[0] in GREY_SOURCES else 3
