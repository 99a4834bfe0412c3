"""`--model discriminator`: the GAN's own discriminator D as a detector (system C).

It is in this package because it needs the network from fakegen and the model registry of fakedetect, which finds it through
the entry-point group `fakelab.detectors`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from fakecore.errors import UserError
from fakecore.runs.checkpoint import load_checkpoint, load_into
from fakecore.runs.mirror import mirror_folder
from fakecore.schema import OBJECT, TEXT, Kind
from fakecore.urls import is_url
from fakedetect.data.overlap import pack_hashes
from fakedetect.models.registry import Model, Opened, Request
from fakegen.architectures.registry import build_discriminator
from fakegen.runs.run import Run, open_run
from fakegen.sampling.sampling import from_pixels
from fakelab.reals import reals_from

_RANGE = Kind("two numbers", lambda value: isinstance(value, list) and len(value) == 2)


class DiscriminatorNetwork(nn.Module):
    """A discriminator as a detector: uint8 (B, C, R, R) -> logits (B,), high for fake: those of D with the sign reversed, their
    mean if D has several.

    For a conditional D, the class with the highest logit of D counts: an image is fake if it looks real for no class.
    """

    def __init__(
        self, resolution: int, channels: int, architecture: str, discriminator: dict, value_range: list[float]
    ):
        super().__init__()
        self.discriminator = build_discriminator(architecture, discriminator)
        self.classes, self.value_range = discriminator.get("classes", 0), value_range
        self.arguments = {"resolution": resolution, "channels": channels, "architecture": architecture}
        self.arguments |= {"discriminator": discriminator, "value_range": value_range}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        low, high = self.value_range
        x = from_pixels(images, (low, high))
        if not self.classes:
            return -self.discriminator(x).float().reshape(len(x), -1).mean(dim=1)
        labels = torch.arange(self.classes, device=x.device)
        per_class = [self.discriminator(x, label.expand(len(x))).float() for label in labels]
        return -torch.stack(per_class).amax(dim=0)


def open_discriminator(request: Request) -> Opened:
    """Return D of the run in the model's suffix, or else of the run trained on, at checkpoint `settings.checkpoint`.

    Raises UserError if there is no such run or checkpoint.
    """
    run = request.suffix or request.place
    if run is None:
        what = "the run of the discriminator is missing"
        raise UserError(what, expected="detect-train RUN --model discriminator, or --model discriminator:RUN")
    opened = open_run(mirror_folder(run) if is_url(run) else Path(run), writes=False)
    network, about = load_discriminator(opened, request.settings.checkpoint)
    return Opened(
        "discriminator",
        network.arguments,
        network,
        trained=True,
        facts={"discriminator": about},
        seen=(_training_reals(opened),),
    )


def load_discriminator(run: Run, checkpoint: str) -> tuple[DiscriminatorNetwork, dict]:
    """Return D of an epoch or of the `last` one, and its facts for detector.json. Raises UserError if it is missing."""
    on_disk = run.epochs_on_disk()
    wanted = str(on_disk[-1]) if checkpoint == "last" and on_disk else checkpoint
    if not wanted.isdecimal() or int(wanted) not in on_disk:
        there = f"last, or one of {', '.join(map(str, on_disk))}" if on_disk else "a run with checkpoints"
        raise UserError(f"{run.path} has no checkpoint {checkpoint}", expected=there)
    path = run.checkpoint(int(wanted))
    tensors, facts = load_checkpoint(path, "discriminator.")
    own = facts["discriminator"]
    network = DiscriminatorNetwork(own["resolution"], own["channels"], facts["architecture"], own, facts["value_range"])
    load_into(network.discriminator, tensors, str(path))
    return network, {"run": run.path.name, "epoch": int(wanted), "checkpoint_sha256": facts["sha256"]}


def _training_reals(run: Run) -> bytes | None:
    """Return the list of the reals that D was trained on, or None if their source is missing or has changed."""
    source = run.facts["source"]
    try:
        reals = reals_from(run, source["spec"])
    except UserError:
        return None
    if reals.fingerprint != source["fingerprint"]:
        return None
    return pack_hashes(reals.sha256[row] for row in reals.train_rows())


DISCRIMINATOR = Model(
    "the discriminator of the run's own GAN, with a temperature and thresholds (system C)",
    DiscriminatorNetwork,
    kinds={"architecture": TEXT, "discriminator": OBJECT, "value_range": _RANGE},
    open=open_discriminator,
    suffix="",
    suffix_example="RUN",
    suffix_optional=True,
    fields=("checkpoint",),
)
