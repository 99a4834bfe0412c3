"""The adversarial losses, on logits: D's logit is high for real. No label constants here."""

from __future__ import annotations

import torch
from torch.nn.functional import softplus


def discriminator_loss(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    """Goodfellow et al. 2014 (arXiv 1406.2661), equation 1: -log D(x) - log(1 - D(G(z))), means over (B,) logits."""
    on_real = softplus(-real_logits).mean()  # -log(sigmoid(real_logits))
    on_fake = softplus(fake_logits).mean()  # -log(1 - sigmoid(fake_logits))
    return on_real + on_fake


def generator_loss(fake_logits: torch.Tensor) -> torch.Tensor:
    """The non-saturating form, Goodfellow et al. 2014, section 3: -log D(G(z)), mean over (B,) logits."""
    return softplus(-fake_logits).mean()  # -log(sigmoid(fake_logits))
