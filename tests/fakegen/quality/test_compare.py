"""`compare`: the table, when distances are comparable, and the same latents for all."""

import shutil

import pytest

import fakegen
from fakecore.errors import UserError
from fakegen.runs.run import open_run


@pytest.fixture(scope="module")
def pair(run, tmp_path_factory):
    """The run, and a copy under another name, both measured in the same space."""
    root = tmp_path_factory.mktemp("pair")
    for name in ("a", "b"):
        shutil.copytree(run, root / name)
        fakegen.measure(root / name, features="random", count=60, device="cpu")
    return root


def test_runs_are_shown_side_by_side_with_the_same_latents(pair, tmp_path, drawn):
    found = fakegen.compare([pair / "a", pair / "b"], tmp_path / "page.html", count=9, device="cpu")
    assert found.caution is None and [row["run"] for row in found.rows] == ["a", "b"]
    first, second = found.rows
    assert {**first, "run": ""} == {**second, "run": ""}  # copies: the same epoch, images and distances
    opened = open_run(pair / "a")
    per_epoch = opened.preset.steps_per_epoch(opened.facts["source"]["images"]["train"])
    assert first["frechet"] > 0 and first["images"] == first["epoch"] * per_epoch * opened.preset.batch
    page = found.page.read_text()
    sheets = [part.split('"')[0] for part in page.split('<img src="')[1:]]
    assert len(sheets) == 3 and sheets[0] == sheets[1]  # of the same weights and latents
    assert "Closest to the held-out reals" in page and "http://" not in page


def test_distances_that_cannot_be_compared_are_named(pair, run, tmp_path):
    other = shutil.copytree(pair / "b", tmp_path / "other")
    fakegen.measure(other, features="random", count=70, device="cpu")
    found = fakegen.compare([pair / "a", other], tmp_path / "page.html", count=1, device="cpu")
    assert "not comparable" in found.caution and "Closest" not in found.page.read_text()
    without = fakegen.compare([pair / "a", run], tmp_path / "page2.html", count=1, device="cpu")
    assert "Not measured: tiny" in without.caution and without.rows[1]["frechet"] is None


@pytest.mark.parametrize(
    ("names", "out", "options", "words"),
    [
        (["a"], "page.html", {}, "expected 2 to 8"),
        (["a", "a"], "page.html", {}, "given twice"),
        (["a", "b"], "page.txt", {}, "expected a new .html file"),
        (["a", "b"], "page.html", {"count": 0}, "--count is out of range"),
        (["a", "none"], "page.html", {}, "there is no run in"),
    ],
)
def test_a_wrong_request_gives_a_one_line_error(pair, tmp_path, names, out, options, words):
    with pytest.raises(UserError, match=words):
        fakegen.compare([pair / name for name in names], tmp_path / out, device="cpu", **options)
    assert not list(tmp_path.iterdir())
