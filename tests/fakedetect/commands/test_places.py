"""Sets at URLs: commands copy them, and answer as for the folder itself."""

from __future__ import annotations

import json

import pytest

from fakecore import storage
from fakecore.urls import join

URL = "memory://sets/small"


@pytest.fixture(scope="module")
def at_url(small_set):
    for path in small_set.rglob("*"):
        if path.is_file():
            storage.write_bytes(join(URL, path.relative_to(small_set).as_posix()), path.read_bytes())


@pytest.mark.parametrize("words", [("audit",), ("evaluate", "DETECTOR", "--out", "OUT")])
def test_a_set_at_a_url_is_read_like_its_folder(fakelab, at_url, small_set, trained, tmp_path, words):
    answers = []
    for number, place in enumerate((str(small_set), f"{URL}/")):
        named = {"DETECTOR": trained.detector, "OUT": tmp_path / str(number)}
        done = fakelab(words[0], *(named.get(word, word) for word in words[1:]), place, "--json")
        assert done.returncode == 0, done.stderr
        answers.append(
            {name: value for name, value in json.loads(done.stdout).items() if name not in ("report", "set")}
        )
    assert answers[0] == answers[1] and answers[0]


def test_a_place_that_is_no_set_is_one_clear_line(fakelab):
    done = fakelab("audit", "memory://sets/nothing/")
    assert (
        done.returncode == 2
        and done.stderr.startswith("error: memory://sets/nothing/")
        and done.stderr.count("\n") == 1
    )
