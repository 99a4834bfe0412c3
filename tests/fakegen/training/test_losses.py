import math

import torch

from fakegen.training.losses import discriminator_loss, generator_loss, gradient_penalty


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


def test_hinge_is_its_published_formula():
    real, fake = torch.tensor([0.5, 2.0]), torch.tensor([-3.0, 0.25])
    assert discriminator_loss(real, fake, "hinge").item() == (0.5 + 0) / 2 + (0 + 1.25) / 2
    assert generator_loss(fake, "hinge").item() == (3.0 - 0.25) / 2


def test_relativistic_losses_compare_each_fake_with_a_real():
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 3.0])
    expected = -(math.log(1 / (1 + math.exp(-1.5))) + math.log(1 / (1 + math.exp(4.0)))) / 2
    assert math.isclose(discriminator_loss(real, fake, "relativistic").item(), expected, rel_tol=1e-6)
    assert generator_loss(fake, "relativistic", real) == discriminator_loss(fake, real, "relativistic")


def test_smoothing_counts_reals_only():
    real, fake = torch.tensor([0.9]).logit(), torch.tensor([0.2]).logit()
    expected = -(0.8 * math.log(0.9) + 0.2 * math.log(0.1)) - math.log(0.8)
    assert math.isclose(discriminator_loss(real, fake, smoothing=0.2).item(), expected, rel_tol=1e-5)


def test_a_flipped_label_says_the_opposite():
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 3.0])
    every, none = torch.tensor([True, True]), torch.tensor([False, False])
    for kind in ("logistic", "hinge"):
        flipped = discriminator_loss(real, fake, kind, flipped=(every, every))
        torch.testing.assert_close(flipped, discriminator_loss(fake, real, kind))
        assert discriminator_loss(real, fake, kind, flipped=(none, none)) == discriminator_loss(real, fake, kind)


def test_r1_is_the_squared_slope():
    weights = torch.arange(12.0).view(1, 3, 2, 2)
    images = torch.zeros(5, 3, 2, 2, requires_grad=True)
    penalty = gradient_penalty((images * weights).sum(dim=(1, 2, 3)), images)
    assert penalty.item() == (weights**2).sum().item()
