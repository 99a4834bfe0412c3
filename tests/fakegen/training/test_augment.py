import torch

from fakegen.training.augment import add_noise, diff_augment


def test_noise_has_the_requested_deviation():
    torch.manual_seed(0)
    images = torch.zeros(8, 3, 32, 32)
    assert abs(add_noise(images, 0.3).std().item() - 0.3) < 0.01
    assert add_noise(images, 0.0) is images


def test_augmentation_keeps_the_shape_and_is_differentiable():
    torch.manual_seed(0)
    images = torch.rand(16, 3, 32, 32, requires_grad=True)
    seen = diff_augment(images)
    assert seen.shape == images.shape and not torch.equal(seen, images)
    seen.square().sum().backward()
    assert images.grad.abs().sum(dim=(1, 2, 3)).min() > 0


def test_every_image_is_augmented_differently():
    torch.manual_seed(0)
    seen = diff_augment(torch.rand(1, 3, 32, 32).repeat(6, 1, 1, 1))
    assert len({image.sum().item() for image in seen}) == 6


def test_grey_images_stay_grey():
    assert diff_augment(torch.rand(4, 1, 16, 16)).shape == (4, 1, 16, 16)


def test_a_square_of_half_the_side_is_blanked():
    torch.manual_seed(0)
    from fakegen.training.augment import _cutout

    blank = (_cutout(torch.ones(200, 1, 32, 32)) == 0).float().mean(dim=(1, 2, 3))
    assert blank.max().item() == 0.25 and 0 < blank.min().item() < 0.25


def test_shifts_reach_an_eighth_and_no_further():
    torch.manual_seed(0)
    from fakegen.training.augment import _translate

    images = torch.zeros(300, 1, 32, 32)
    images[:, :, 16, 16] = 1
    places = _translate(images).flatten(1).argmax(dim=1)
    assert {place.item() // 32 for place in places} == {place.item() % 32 for place in places} == set(range(12, 21))
