"""The fields of a preset: type, default, range, reason and source. `--set field=value` overrides a field."""

from __future__ import annotations

from dataclasses import dataclass

from fakecore.settings import setting

FIXED = ("name", "system", "summary", "published_on")  # identity and origin of a preset: cannot be set


@dataclass(frozen=True)
class Preset:
    """All settings of a GAN and its training, except the real images and the seed."""

    name: str = setting(why="name on the command line")
    summary: str = setting(why="one-line description")
    system: str = setting(
        "", why="the published system that it follows, A to E (see docs/lab/generators.md); empty for our own"
    )
    published_on: str = setting("", why="the real images of the published system")
    real: str = setting("digits", why="source of real images when --real is not given")

    # The two networks
    architecture: str = setting(
        "dcgan",
        why="the pair of networks: dcgan, dense, digit, projected, residual, stack or upsampling, or one that an installed "
        "package adds",
    )
    resolution: int = setting(
        64, low=8, high=512, why="side of the square images in pixels; each architecture supports certain values"
    )
    upscale: bool = setting(False, why="enlarge real images below the resolution instead of refusing them")
    levels: int = setting(
        256,
        low=2,
        high=256,
        why="grey levels of the images: fakes are rounded to as many as the real images have; 256 for all 8-bit images",
    )
    z_dim: int = setting(
        100, low=1, high=4096, why="length of the latent vector; 100 in Radford et al. 2016, section 3"
    )
    latent: str = setting(
        "normal", choices=("normal", "uniform"), why="distribution of the latents: N(0, 1), or uniform in [-1, 1]"
    )
    g_width: int = setting(
        64,
        low=1,
        high=4096,
        why="width of G: channels of the last hidden layer in dcgan, of the first in other architectures",
    )
    d_width: int = setting(64, low=1, high=4096, why="width of D: channels or units of its first layer")
    g_blocks: int = setting(1, low=1, high=16, why="residual blocks at every side of G; two in Huang et al. 2024")
    d_blocks: int = setting(1, low=1, high=16, why="residual blocks at every side of D; two in Huang et al. 2024")
    activation: str = setting(
        "relu", choices=("relu", "leaky_relu"), why="activation between the layers of G; D always uses LeakyReLU"
    )
    g_upsampling: str = setting(
        "transposed",
        choices=("transposed", "nearest"),
        why="how G doubles the resolution: 4x4 transposed convolution, or nearest-neighbour upsampling and a 3x3 convolution",
    )
    d_norm: str = setting(
        "batch",
        choices=("batch", "batch_all", "spectral", "none"),
        why="normalisation in D: batch (not in the first layer, as in DCGAN), batch_all (in every layer), spectral "
        "(Miyato et al. 2018, arXiv 1802.05957), none",
    )
    d_dropout: float = setting(0.0, low=0, high=0.95, why="dropout rate in D")
    conditional: bool = setting(
        False, why="class-conditional GAN: class embedding concatenated with z in G, projection in D"
    )
    init_g: str = setting("", why="run or checkpoint to initialise G from (transfer learning)")
    init_d: str = setting("", why="run or checkpoint to initialise D from (transfer learning)")

    # What D sees
    batch: int = setting(
        128,
        low=2,
        high=65536,
        why="batch size: real images per step, with the same number of fakes; 128 in Radford et al. 2016",
    )
    mirror: bool = setting(False, why="flip half of the real images horizontally: for photos, not for text or digits")
    augment: bool = setting(
        False,
        why="differentiable augmentation of reals and fakes (colour, translation, cutout) before D, so that D does not "
        "overfit small data sets; DiffAugment, Zhao et al. 2020 (arXiv 2006.10738)",
    )
    noise: float = setting(
        0.0,
        low=0,
        high=10,
        why="standard deviation of Gaussian noise added to the inputs of D, in units of the value range; "
        "Sonderby et al. 2017 (arXiv 1610.04490)",
    )
    noise_epochs: int = setting(
        0, low=0, high=1_000_000, why="epochs over which the noise decreases linearly to 0; 0: constant noise"
    )
    mixed_batch: bool = setting(
        False,
        why="pass reals and fakes to D in one batch, so that batch statistics do not separate them; DCGAN uses two",
    )
    label_smoothing: float = setting(
        0.0, low=0, high=0.5, why="D's target for reals is 1 minus this; Salimans et al. 2016 (arXiv 1606.03498), 3.4"
    )
    label_flip: float = setting(0.0, low=0, high=0.5, why="fraction of labels that are flipped when D is trained")

    # Loss and optimisers
    loss: str = setting(
        "logistic",
        choices=("logistic", "hinge", "relativistic"),
        why="logistic: non-saturating, Goodfellow et al. 2014; hinge: Lim and Ye 2017 (arXiv 1705.02894); relativistic: D "
        "compares a real with a fake, Jolicoeur-Martineau 2018 (arXiv 1807.00734)",
    )
    r1: float = setting(
        0.0,
        low=0,
        high=1000,
        why="weight of the R1 gradient penalty on D; 0: none; Mescheder et al. 2018 (arXiv 1801.04406)",
    )
    r2: float = setting(
        0.0,
        low=0,
        high=1000,
        why="weight of the R2 gradient penalty on D, that of fakes; 0: none; Mescheder et al. 2018, section 4.1",
    )
    r1_every: int = setting(
        16,
        low=1,
        high=1000,
        why="steps between R1 and R2 penalties, whose weights are multiplied by this; Karras et al. 2020, appendix B",
    )
    optimiser: str = setting("adam", choices=("adam", "rmsprop"), why="optimiser of both networks")
    lr: float = setting(
        2e-4, low=0, high=1, why="learning rate of both networks; 2e-4 in Radford et al. 2016, section 4"
    )
    d_lr_ratio: float = setting(
        1.0,
        low=0,
        high=100,
        why="learning rate of D divided by lr; two time-scale update rule, Heusel et al. 2017 (arXiv 1706.08500)",
    )
    beta1: float = setting(
        0.5, low=0, high=0.999, why="beta1 of Adam; 0.9 causes oscillation, Radford et al. 2016, section 4"
    )
    beta2: float = setting(0.999, low=0, high=0.99999, why="beta2 of Adam; default of Kingma and Ba 2015")
    clip: float = setting(0.0, low=0, high=1000, why="clip gradients to this absolute value; 0: no clipping")
    ema: float = setting(
        0.999,
        low=0,
        high=0.99999,
        why="decay per step of the moving average of G, used for samples and snapshots; rises from 0 at the start; "
        "0: no average; Karras et al. 2018 (arXiv 1710.10196), section 5",
    )
    precision: str = setting(
        "auto", choices=("auto", "bf16", "fp32"), why="auto: bf16 on hardware where it is faster, else fp32"
    )

    # Length of the training, and what is saved
    epochs: int = setting(5, low=0, high=1_000_000, why="passes over the training reals")
    epoch_steps: int = setting(
        0,
        low=0,
        high=1_000_000,
        why="steps per epoch; 0: one pass over the training images",
    )
    steps: int = setting(0, low=0, high=1_000_000_000, why="total number of steps, instead of epochs; 0: use epochs")
    log_every: int = setting(1, low=1, high=1_000_000, why="steps between lines of metrics.jsonl")
    checkpoint_every: int = setting(
        1, low=1, high=1_000_000, why="epochs between checkpoints; the first and last epoch always have one"
    )
    measure_every: int = setting(
        5,
        low=0,
        high=1_000_000,
        why="epochs between measurements of the distance to held-out reals, each with a checkpoint; the last epoch is "
        "always measured; 0: none. run.json records the best epoch",
    )
    stop_on_collapse: bool = setting(False, why="stop training when the measurements detect a collapse")
    snapshot_every: int = setting(
        1, low=1, high=1_000_000, why="epochs between snapshots; the first and last epoch always have one"
    )
    snapshot_side: int = setting(
        8,
        low=1,
        high=32,
        why="a snapshot is a grid of side x side fakes; conditional: a row per class, a latent per column",
    )

    def steps_per_epoch(self, images: int) -> int:
        """Return the number of steps per epoch for `images` training images."""
        return self.epoch_steps or images // self.batch

    def last_step(self, images: int) -> int:
        """Return the total number of training steps for `images` training images."""
        return self.steps or self.epochs * self.steps_per_epoch(images)

    def last_epoch(self, images: int) -> int:
        """Return the number of the last epoch, which may be shorter than the others."""
        return -(-self.last_step(images) // self.steps_per_epoch(images))
