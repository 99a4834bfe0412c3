"""What `score` is given: patterns and lists; and what it does after judging: filter, sort, copy."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fakecore.errors import UserError
from fakecore.media.pixels import encode_png
from fakedetect.scoring.inputs import list_inputs, read_list, walk_inputs


@pytest.fixture
def photos(tmp_path, pictures):
    """Three reals and three fakes in folders, two of them with one name."""
    root = tmp_path / "in"
    for place, name in enumerate(("a/one.png", "b/one.png", "b/two [1].png")):
        for label in ("real", "fake"):
            path = root / label / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(pictures(1, label, 50 + place)[0], label))
    (root / "text.png").write_text("no image")
    return root


def names(inputs, root):
    return [os.path.relpath(path, root) for path, problem in inputs if problem is None]


def test_patterns_stand_for_their_matches(photos, monkeypatch):
    assert names(list_inputs([f"{photos}/real/*/one.png"]), photos) == ["real/a/one.png", "real/b/one.png"]
    assert len(list_inputs([f"{photos}/**/*.png"])) == 7
    assert names(list_inputs([f"{photos}/real/b/two [1].png"]), photos) == ["real/b/two [1].png"]  # a name, no pattern
    monkeypatch.chdir(photos / "fake")
    assert [path for path, _ in list_inputs(["?/one.png"])] == ["a/one.png", "b/one.png"]


def test_a_deep_pattern_does_not_follow_links_in_circles(photos):
    for name in ("a", "b"):
        (photos / "real" / name / "up").symlink_to(photos)
    found = names(list_inputs([f"{photos}/**/one.png"]), photos)
    assert found == ["fake/a/one.png", "fake/b/one.png", "real/a/one.png", "real/b/one.png"]


@pytest.mark.parametrize(
    ("pattern", "count"), [("**/*.png", 7), ("./**/one.png", 4), ("?e*/**/one.png", 2), ("**/a/**/*.png", 2), ("**", 7)]
)
def test_deep_patterns_match_at_any_depth(photos, monkeypatch, pattern, count):
    monkeypatch.chdir(photos)
    assert len([*walk_inputs([pattern])]) == count


def test_no_file_comes_twice_and_hidden_ones_only_if_named(photos):
    (photos / "real" / ".hidden.png").write_bytes(b"")
    one, hidden, gone = (str(photos / name) for name in ("real/a/one.png", "real/.hidden.png", "real/gone.png"))
    words = [one, f"{photos}/real/b", str(photos), f"{photos}/fake/", str(photos), one, hidden, hidden, gone]
    found = names(list_inputs(words), photos)
    inside = ["fake/a/one.png", "fake/b/one.png", "fake/b/two [1].png", "text.png"]
    expected = ["real/a/one.png", "real/b/one.png", "real/b/two [1].png", *inside, "real/.hidden.png", "real/gone.png"]
    assert found == expected


def test_folders_are_read_when_they_are_needed(photos):
    found = walk_inputs([str(photos)])
    first = next(found).path
    (photos / "text.png").rename(photos / "text-2.png")
    (photos / "real" / "b").rename(photos / "real" / "c")  # after `fake` was read, before `real`
    after = [os.path.relpath(one.path, photos) for one in found if "/real/" in one.path]
    assert first.endswith("fake/a/one.png") and after == ["real/a/one.png", "real/c/one.png", "real/c/two [1].png"]


@pytest.mark.parametrize(
    ("path", "says"),
    [("*.nothing", "no file matches the pattern"), ("https://example.org/a.jpg", "URLs are not read"), ("", "empty")],
)
def test_a_path_that_names_nothing_is_refused(path, says):
    with pytest.raises(UserError, match=says):
        list_inputs([path])


def test_lists_are_read_line_by_line_or_by_zero_bytes(tmp_path):
    odd = os.fsdecode(b"new\nline-\xff.png")
    (tmp_path / "lines").write_bytes(b"a.png\r\n\nb c.png")
    (tmp_path / "zero").write_bytes(os.fsencode(odd) + b"\0b.png\0")
    (tmp_path / "none").write_bytes(b"\n")
    assert read_list(str(tmp_path / "lines")) == ["a.png", "b c.png"]
    assert read_list(str(tmp_path / "zero"), null=True) == [odd, "b.png"]
    for name, says in (("none", "lists no paths"), ("absent", "cannot be read")):
        with pytest.raises(UserError, match=says):
            read_list(str(tmp_path / name))


def test_paths_come_from_standard_input(photos, trained):
    listed = "\n".join(str(path) for path in sorted(photos.rglob("one.png")))
    words = [sys.executable, "-m", "fakelab", "score", "-", "--detector", str(trained.detector), "--json"]
    done = subprocess.run(words, input=listed, capture_output=True, text=True, check=True)
    assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == listed.splitlines()


def test_output_is_filtered_and_sorted(photos, trained, fakelab):
    words = ("score", photos, "--detector", trained.detector, "--json")
    rows = [json.loads(line) for line in fakelab(*words).stdout.splitlines()]
    assert len(rows) == 7
    fakes = [json.loads(line) for line in fakelab(*words, "--only", "fake").stdout.splitlines()]
    assert fakes == [row for row in rows if row["verdict"] == "fake"] and fakes
    likely = [json.loads(line) for line in fakelab(*words, "--min-p", 0.5).stdout.splitlines()]
    assert likely == [row for row in rows if row["p_fake"] is not None and row["p_fake"] >= 0.5]
    ranked = [json.loads(line) for line in fakelab(*words, "--sort").stdout.splitlines()]
    assert sorted(ranked, key=str) == sorted(rows, key=str) and ranked[-1]["status"] == "unsupported"
    verdicts = [row["verdict"] for row in ranked[:-1]]
    assert verdicts == sorted(verdicts, key=["fake", "unsure", "real"].index)
    assert "Did you mean 'fake'" in fakelab(*words, "--only", "fakes").stderr


@pytest.mark.parametrize("link", [False, True])
def test_files_are_sorted_into_folders_by_verdict(photos, trained, fakelab, tmp_path, link):
    out = tmp_path / "sorted"
    words = ("score", photos, "--detector", trained.detector, "--json", "--copy-to", out, *(["--link"] if link else []))
    for _ in range(2):  # the second time, nothing is added
        rows = [json.loads(line) for line in fakelab(*words).stdout.splitlines()]
        there = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
        assert len(there) == len(rows) == 7
    assert there["not-judged/text.png"].is_symlink() == link
    for row in rows:
        folder = row["verdict"] or "not-judged"
        content = Path(row["path"]).read_bytes()
        assert any(name.startswith(folder) and path.read_bytes() == content for name, path in there.items())
    assert fakelab("score", photos, "--copy-to", photos / "inside").returncode == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--copy-to", "text.png"), "--copy-to is a file"),
        (("--link",), "--link applies only to --copy-to"),
        (("--null",), "--null applies only to --files-from"),
        (("--min-p", "80"), "--min-p is out of range (got 80.0; expected 0 to 1)"),
    ],
)
def test_options_without_effect_are_refused(photos, fakelab, monkeypatch, words, says):
    monkeypatch.chdir(photos)
    done = fakelab("score", "text.png", *words)
    assert done.returncode == 2 and says in done.stderr and not done.stdout
