"""The adversarial losses, on logits: D's logit is high for real. No label constants here."""

from __future__ import annotations

import torch
from torch.nn.functional import relu, softplus

# What each loss is, as plots say it.
FORMULAS = {
    "logistic": ("D: −log D(x) − log(1 − D(G(z)))", "G: −log D(G(z))"),
    "hinge": ("D: max(0, 1 − D(x)) + max(0, 1 + D(G(z)))", "G: −D(G(z))"),
}


def discriminator_loss(
    real_logits: torch.Tensor,
    fake_logits: torch.Tensor,
    kind: str = "logistic",
    smoothing: float = 0.0,
    flipped: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Means over (B,) logits of how wrong D is about reals plus how wrong about fakes.

    "logistic": Goodfellow et al. 2014 (arXiv 1406.2661), equation 1: -log D(x) - log(1 - D(G(z))).
    "hinge": Lim and Ye 2017 (arXiv 1705.02894). `smoothing` s counts a real as (1 - s) real and s fake (Salimans et al.
    2016, 3.4); `flipped`, two bool (B,) for reals and fakes, says which are to be called by the other's name.
    """
    on_real = (1 - smoothing) * as_real(real_logits, kind) + smoothing * as_fake(real_logits, kind)
    on_fake = as_fake(fake_logits, kind)
    if flipped is not None:
        on_real = torch.where(flipped[0], as_fake(real_logits, kind), on_real)
        on_fake = torch.where(flipped[1], as_real(fake_logits, kind), on_fake)
    return on_real.mean() + on_fake.mean()


def generator_loss(fake_logits: torch.Tensor, kind: str = "logistic") -> torch.Tensor:
    """Mean over (B,) logits. "logistic" is the non-saturating form, Goodfellow et al. 2014, section 3: -log D(G(z));
    "hinge" is -D(G(z)).
    """
    return -fake_logits.mean() if kind == "hinge" else as_real(fake_logits, kind).mean()


def as_real(logits: torch.Tensor, kind: str) -> torch.Tensor:
    """D's loss per image where real is right, (B,)."""
    return relu(1 - logits) if kind == "hinge" else softplus(-logits)  # softplus(-l) = -log(sigmoid(l))


def as_fake(logits: torch.Tensor, kind: str) -> torch.Tensor:
    """D's loss per image where fake is right, (B,)."""
    return relu(1 + logits) if kind == "hinge" else softplus(logits)  # softplus(l) = -log(1 - sigmoid(l))


def r1_penalty(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Mean squared norm of D's gradient at the reals: Mescheder et al. 2018 (arXiv 1801.04406), equation 9, without its
    weight of half gamma.

    `images` (B, C, R, R) must require a gradient and `logits` (B,) come from them, through layers that can be
    differentiated twice.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.float().square().sum(dim=(1, 2, 3)).mean()
