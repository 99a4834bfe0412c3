"""`watch`: metrics.jsonl is read once, line by line, while it grows, and again when it was cut."""

from __future__ import annotations

import json

import pytest

from fakegen.training.log import NAMES
from fakegen.watching import metrics
from fakegen.watching.metrics import MOST_POINTS, Metrics


def line(step: int, value: float = 0.0, rate: float = 100.0) -> str:
    row = {"step": step, "epoch": 1, **dict.fromkeys(NAMES, value), "images_per_s": rate}
    return json.dumps(row) + "\n"


@pytest.fixture
def log(tmp_path):
    return tmp_path / "metrics.jsonl"


def append(path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_only_new_whole_lines_are_read(log, monkeypatch):
    read = []
    whole_lines = metrics.whole_lines

    def counted(path, start):
        for found in whole_lines(path, start):
            read.append(found[0]["step"])
            yield found

    monkeypatch.setattr(metrics, "whole_lines", counted)
    found = Metrics(log)
    found.update()  # before the first step there is no file
    assert found.latest is None and found.images_per_s is None and found.curves()["step"] == []
    whole, half = line(3), line(4)
    append(log, line(1, 0.5) + line(2, 1.5) + whole + half[:20])
    found.update()
    assert read == [1, 2, 3] and found.latest["step"] == 3
    append(log, half[20:])
    found.update()
    found.update()
    assert read == [1, 2, 3, 4] and found.curves()["loss_g"] == [0.5, 1.5, 0, 0]


@pytest.mark.parametrize("regrown", [2, 9], ids=["shorter", "longer than before"])
def test_a_file_that_a_resumed_run_has_cut_is_read_again(log, regrown):
    append(log, "".join(line(step, 1.0) for step in range(1, 6)))
    found = Metrics(log)
    found.update()
    with log.open("r+") as file:  # in place: the same file
        file.truncate(len(line(1, 1.0)))
    append(log, "".join(line(step, 2.0) for step in range(2, regrown + 1)))
    found.update()
    assert found.curves()["step"] == list(range(1, regrown + 1))
    assert found.curves()["loss_d"] == [1.0] + [2.0] * (regrown - 1)


def test_many_lines_become_means_of_equal_numbers_of_lines(log):
    count = 5 * MOST_POINTS
    append(log, "".join(line(step, step) for step in range(1, count + 1)))
    found = Metrics(log)
    found.update()
    curves = found.curves()
    assert MOST_POINTS / 2 <= len(curves["step"]) <= MOST_POINTS
    assert curves["step"] == curves["loss_d"]  # each is the mean of the same lines
    assert curves["step"][:2] == [4.5, 12.5] and len({len(column) for column in curves.values()}) == 1
    assert found.latest["step"] == count  # the last values are not means


def test_the_rate_is_that_of_the_last_lines(log):
    append(log, "".join(line(step, rate=1.0) for step in range(1000)))
    append(log, "".join(line(step, rate=100.0 if step % 2 else 300.0) for step in range(1000, 1100)))
    found = Metrics(log)
    found.update()
    assert found.images_per_s == pytest.approx(150.0)  # two equal steps, at 100 and 300 a second


def test_lines_of_others_do_not_disturb(log):
    append(log, line(1, 1.0) + '{"step": 2}\n' + line(3, 1.0).replace("1.0", "NaN") + line(4, 2.0))
    found = Metrics(log)
    found.update()
    assert found.curves()["step"] == [1, 4]
