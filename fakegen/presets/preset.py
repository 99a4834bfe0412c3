"""What decides a GAN: every field with its range, reason and source. `--set field=value` overrides any of them."""

from __future__ import annotations

from dataclasses import dataclass

from fakecore.settings import setting

FIXED = ("name", "system", "summary", "published_on")  # what a preset is called and where it comes from; not to be set


@dataclass(frozen=True)
class Preset:
    """Everything that decides what a GAN becomes, other than its real images and its seed."""

    name: str = setting(why="how the command line calls it")
    summary: str = setting(why="one line for people")
    system: str = setting(
        "", why="the published work that it follows: A to E, see docs/generators.md; empty for our own"
    )
    published_on: str = setting("", why="the real images of the work that it follows")
    real: str = setting("digits", why="source of real images when --real is not given")

    # The two networks
    architecture: str = setting(
        "dcgan",
        why="the pair of networks: dcgan, dense, digit, stack or upsampling, or one that an installed package adds",
    )
    resolution: int = setting(64, low=8, high=512, why="pixels, square side; each architecture says which it can make")
    upscale: bool = setting(False, why="enlarge reals that are smaller than the resolution, instead of refusing them")
    z_dim: int = setting(
        100, low=1, high=4096, why="length of the latent vector; 100 in Radford et al. 2016, section 3"
    )
    latent: str = setting("normal", choices=("normal", "uniform"), why="latents from N(0, 1), or uniform in [-1, 1]")
    g_width: int = setting(
        64, low=1, high=4096, why="G's size: channels of dcgan's last hidden layer, of others' first"
    )
    d_width: int = setting(64, low=1, high=4096, why="D's size: channels, or units, of its first layer")
    activation: str = setting(
        "relu", choices=("relu", "leaky_relu"), why="between G's layers; D's are always LeakyReLU"
    )
    g_upsampling: str = setting(
        "transposed",
        choices=("transposed", "nearest"),
        why="how G doubles: 4x4 transposed convolutions, or repeated pixels and a 3x3 convolution",
    )
    d_norm: str = setting(
        "batch",
        choices=("batch", "batch_all", "spectral", "none"),
        why="D's normalisation: batch (not on the first layer, as in DCGAN), batch_all (there too), spectral "
        "(Miyato et al. 2018, arXiv 1802.05957), none",
    )
    d_dropout: float = setting(0.0, low=0, high=0.95, why="share of D's features dropped in training")
    conditional: bool = setting(False, why="labels into both networks: an embedding beside z in G, a projection in D")
    init_g: str = setting("", why="a run, or one of its checkpoints, whose G to start from (transfer)")
    init_d: str = setting("", why="a run, or one of its checkpoints, whose D to start from (transfer)")

    # What D sees
    batch: int = setting(
        128, low=2, high=65536, why="real images per step, and as many fakes; 128 in Radford et al. 2016"
    )
    mirror: bool = setting(False, why="half of the reals are shown mirrored: right for photos, wrong for writing")
    augment: bool = setting(
        False,
        why="reals and fakes are shifted, recoloured and partly blanked before D sees them, differentiably: D cannot "
        "learn few images by heart; DiffAugment, Zhao et al. 2020 (arXiv 2006.10738)",
    )
    noise: float = setting(
        0.0,
        low=0,
        high=10,
        why="standard deviation of Gaussian noise on the images that D sees, in units of the network's range; "
        "Sonderby et al. 2017 (arXiv 1610.04490)",
    )
    noise_epochs: int = setting(0, low=0, high=1_000_000, why="epochs over which that noise fades to none; 0: never")
    mixed_batch: bool = setting(
        False,
        why="D sees reals and fakes in one batch, so that its BN cannot tell by the batch; separate is DCGAN's way",
    )
    label_smoothing: float = setting(
        0.0, low=0, high=0.5, why="D's target for reals is 1 minus this; Salimans et al. 2016 (arXiv 1606.03498), 3.4"
    )
    label_flip: float = setting(0.0, low=0, high=0.5, why="share of images whose label D is told wrongly")

    # How they learn
    loss: str = setting(
        "logistic",
        choices=("logistic", "hinge"),
        why="logistic: non-saturating, Goodfellow et al. 2014; hinge: Lim and Ye 2017 (arXiv 1705.02894)",
    )
    r1: float = setting(
        0.0, low=0, high=1000, why="weight of the R1 penalty on D's gradient; Mescheder et al. 2018 (arXiv 1801.04406)"
    )
    r1_every: int = setting(
        16, low=1, high=1000, why="steps between R1 penalties, each weighted by as much; Karras et al. 2020, appendix B"
    )
    optimiser: str = setting("adam", choices=("adam", "rmsprop"), why="for both networks")
    lr: float = setting(
        2e-4, low=0, high=1, why="learning rate of both networks; 2e-4 in Radford et al. 2016, section 4"
    )
    d_lr_ratio: float = setting(
        1.0, low=0, high=100, why="D's rate as a multiple of lr; two time scales, Heusel et al. 2017 (arXiv 1706.08500)"
    )
    beta1: float = setting(
        0.5, low=0, high=0.999, why="Adam's momentum; 0.9 oscillates, Radford et al. 2016, section 4"
    )
    beta2: float = setting(0.999, low=0, high=0.99999, why="Adam's second decay; Kingma and Ba 2015's default")
    clip: float = setting(
        0.0, low=0, high=1000, why="largest absolute value of a gradient, larger ones are cut; 0: none"
    )
    ema: float = setting(
        0.999,
        low=0,
        high=0.99999,
        why="decay per step of the averaged G that samples and snapshots use, ramped up from 0 at the start; "
        "0 turns it off; Karras et al. 2018 (arXiv 1710.10196), section 5",
    )
    precision: str = setting(
        "auto", choices=("auto", "bf16", "fp32"), why="auto: bf16 where the processor computes faster in it, else fp32"
    )

    # How long, and what is kept on the way
    epochs: int = setting(5, low=0, high=1_000_000, why="passes over the training reals")
    epoch_steps: int = setting(
        0,
        low=0,
        high=1_000_000,
        why="steps that count as an epoch, whatever the number of reals; 0: one pass over them",
    )
    steps: int = setting(
        0, low=0, high=1_000_000_000, why="stop after so many steps, whatever epochs says; 0: by epochs"
    )
    log_every: int = setting(1, low=1, high=1_000_000, why="steps between lines of metrics.jsonl")
    checkpoint_every: int = setting(1, low=1, high=1_000_000, why="epochs between checkpoints; first and last always")
    measure_every: int = setting(
        5,
        low=0,
        high=1_000_000,
        why="epochs between measurements of the distance to held-out reals, each with a checkpoint, the last epoch always; "
        "0: none. The best epoch is named in run.json",
    )
    stop_on_collapse: bool = setting(False, why="end the training when the measurements say that it has collapsed")
    snapshot_every: int = setting(1, low=1, high=1_000_000, why="epochs between snapshots; first and last always")
    snapshot_side: int = setting(
        8, low=1, high=32, why="a snapshot shows side x side fakes; conditional: a row per class"
    )

    def steps_per_epoch(self, images: int) -> int:
        """Steps that make an epoch when there are `images` training reals."""
        return self.epoch_steps or images // self.batch

    def last_step(self, images: int) -> int:
        """How many steps the whole training takes."""
        return self.steps or self.epochs * self.steps_per_epoch(images)

    def last_epoch(self, images: int) -> int:
        """The number of the last checkpoint; the epoch that it ends may be a part of one."""
        return -(-self.last_step(images) // self.steps_per_epoch(images))
