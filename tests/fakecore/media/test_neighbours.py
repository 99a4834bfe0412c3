import numpy as np
import pytest

from fakecore.media.neighbours import near_points

RANDOM = np.random.default_rng(0)
CLOUD = RANDOM.normal(size=(1500, 4)) * [300, 40, 20, 10]


@pytest.mark.parametrize(
    ("points", "radii"),
    [
        pytest.param(CLOUD, RANDOM.uniform(0, 12, 1500), id="a radius for each"),
        pytest.param(CLOUD.round(-1), np.full(1500, 5.0), id="many on the same planes"),
        pytest.param(np.repeat(CLOUD[:5], 60, axis=0), np.full(300, 0.01), id="repeated more often than a leaf holds"),
        pytest.param(CLOUD[:2] + 1e6, np.full(2, 1e4), id="far from zero"),
    ],
)
def test_every_near_pair_is_found_once(points, radii):
    distances = np.sqrt(((points[:, None] - points) ** 2).sum(axis=2))
    expected = {
        pair for pair in zip(*np.nonzero(distances <= np.minimum.outer(radii, radii)), strict=True) if pair[0] < pair[1]
    }
    assert expected
    found = [
        tuple(sorted(pair)) for left, right in near_points(points, radii) for pair in zip(left, right, strict=True)
    ]
    assert len(found) == len(set(found))
    assert expected <= set(found)
    assert len(found) < 1.5 * len(expected) + len(points)  # and not all pairs
