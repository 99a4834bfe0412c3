"""The adversarial losses, on logits: D's logit is high for real."""

from __future__ import annotations

import torch
from torch.nn.functional import relu, softplus

# (loss of D, loss of G), for plots.
FORMULAS = {
    "logistic": ("D: −log D(x) − log(1 − D(G(z)))", "G: −log D(G(z))"),
    "hinge": ("D: max(0, 1 − D(x)) + max(0, 1 + D(G(z)))", "G: −D(G(z))"),
    "relativistic": ("D: −log σ(D(x) − D(G(z)))", "G: −log σ(D(G(z)) − D(x))"),
}


def discriminator_loss(
    real_logits: torch.Tensor,
    fake_logits: torch.Tensor,
    kind: str = "logistic",
    smoothing: float = 0.0,
    flipped: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Return D's loss: the mean over real logits plus the mean over fake logits, each (B,), or (B, N) of N discriminators.

    "logistic": Goodfellow et al. 2014 (arXiv 1406.2661), equation 1: -log D(x) - log(1 - D(G(z))).
    "hinge": Lim and Ye 2017 (arXiv 1705.02894). `smoothing` s makes the target of reals 1 - s (Salimans et al. 2016,
    3.4); `flipped`, two bool of the logits' shape for reals and fakes, marks those whose label is flipped.
    "relativistic": Jolicoeur-Martineau 2018 (arXiv 1807.00734), one fake beside each real: -log sigmoid(D(x) - D(G(z))).
    """
    if kind == "relativistic":
        return softplus(fake_logits - real_logits).mean()
    on_real = (1 - smoothing) * as_real(real_logits, kind) + smoothing * as_fake(real_logits, kind)
    on_fake = as_fake(fake_logits, kind)
    if flipped is not None:
        on_real = torch.where(flipped[0], as_fake(real_logits, kind), on_real)
        on_fake = torch.where(flipped[1], as_real(fake_logits, kind), on_fake)
    return on_real.mean() + on_fake.mean()


def generator_loss(
    fake_logits: torch.Tensor, kind: str = "logistic", real_logits: torch.Tensor | None = None
) -> torch.Tensor:
    """Return G's loss, the mean over fake logits. "logistic" is the non-saturating form, -log D(G(z)), Goodfellow et
    al. 2014, section 3; "hinge" is -D(G(z)); "relativistic" compares with the logits of reals.
    """
    if kind == "relativistic":
        assert real_logits is not None, "the relativistic loss compares with reals"
        return softplus(real_logits - fake_logits).mean()
    return -fake_logits.mean() if kind == "hinge" else as_real(fake_logits, kind).mean()


def as_real(logits: torch.Tensor, kind: str) -> torch.Tensor:
    """Return D's loss per image, (B,), for the label real."""
    return relu(1 - logits) if kind == "hinge" else softplus(-logits)  # softplus(-l) = -log(sigmoid(l))


def as_fake(logits: torch.Tensor, kind: str) -> torch.Tensor:
    """Return D's loss per image, (B,), for the label fake."""
    return relu(1 + logits) if kind == "hinge" else softplus(logits)  # softplus(l) = -log(1 - sigmoid(l))


def gradient_penalty(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Return the mean squared norm of D's gradient at the images, without the factor gamma / 2: R1 at reals, R2 at fakes;
    Mescheder et al. 2018 (arXiv 1801.04406), equations 9 and 10.

    `images` (B, C, R, R) must require gradients; `logits` are D's outputs for them, through twice differentiable layers.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.float().square().sum(dim=(1, 2, 3)).mean()
