import math

import torch

from fakegen.losses import discriminator_loss, generator_loss


def test_losses_are_the_published_formulas():
    d_real, d_fake = torch.tensor([0.9, 0.6]), torch.tensor([0.2, 0.3])  # probabilities of real
    expected_d = -(math.log(0.9) + math.log(0.6)) / 2 - (math.log(0.8) + math.log(0.7)) / 2
    expected_g = -(math.log(0.2) + math.log(0.3)) / 2
    assert math.isclose(discriminator_loss(d_real.logit(), d_fake.logit()).item(), expected_d, rel_tol=1e-5)
    assert math.isclose(generator_loss(d_fake.logit()).item(), expected_g, rel_tol=1e-5)


def test_a_high_logit_means_real():
    good, bad = torch.tensor([5.0]), torch.tensor([-5.0])
    assert discriminator_loss(good, bad) < 0.1 < discriminator_loss(bad, good)
    assert generator_loss(good) < 0.1 < generator_loss(bad)


def test_huge_logits_stay_finite_and_keep_a_gradient():
    logits = torch.tensor([-500.0], requires_grad=True)
    loss = generator_loss(logits)
    loss.backward()
    assert loss.item() == 500.0 and logits.grad.item() == -1.0
