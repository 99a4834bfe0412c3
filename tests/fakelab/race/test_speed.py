import numpy as np
import pytest

from benchmarks.speed import race as speed_race
from fakelab.race import speed as race_speed


def test_the_speed_is_from_the_median_batch_and_all_images_are_used(monkeypatch):
    now, seen = [0.0], []

    def score(images):
        seen.append(images)
        now[0] += 5.0 if len(seen) in (1, 4) else 0.016  # the warm-up, and one slow batch

    monkeypatch.setattr(race_speed.time, "perf_counter", lambda: now[0])
    images = np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1)
    assert race_speed.images_per_s(score, images) == pytest.approx(64 / 0.016)
    assert {len(batch) for batch in seen} == {64}
    assert set(np.concatenate(seen[1:4]).flatten()) == set(range(100))


def test_a_race_is_compared_with_as_many_single_trainings():
    one, five = speed_race.Cost(1, 9.0, 12.0, 4.0, 2.0), speed_race.Cost(5, 30.0, 50.0, 15.0, 12.0)
    assert one.row(one)[1:3] == ["1", "1"] and one.row(one)[-1] == "1.00"
    assert five.row(one)[1:3] == ["6", "30"] and five.row(one)[-2:] == ["10.0", "1.20"]
