"""The commands attributes train, select and compare."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fakecore.media.pixels import encode_png

QUICK = ["--set", "resolution=16", "--set", "blocks=1", "--set", "batch=16", "--set", "rate=0.003", "--device", "cpu"]


def picture(bright: bool, seed: int) -> bytes:
    random = np.random.default_rng(seed)
    image = random.normal(80, 10, (4, 4)).repeat(4, axis=0).repeat(4, axis=1) + random.normal(0, 6, (16, 16))
    image[:6, :6] += 120 * bright
    return encode_png(image.clip(0, 255).astype(np.uint8)[None], "real")


@pytest.fixture(scope="module")
def home(tmp_path_factory, fakelab) -> Path:
    """faces/ with its labels, fresh/ without labels, and model/, trained by the command."""
    home = tmp_path_factory.mktemp("home")
    lines = ["90", "Bright Dull"]
    for folder, first, count in (("faces", 0, 90), ("fresh", 500, 24)):
        (home / folder / "sub").mkdir(parents=True)
        for number in range(first, first + count):
            name = f"sub/{number}.png" if number % 4 == 0 else f"{number}.png"
            (home / folder / name).write_bytes(picture(number % 2 == 0, number))
            if folder == "faces":
                lines.append(f"{number}.png {'1 -1' if number % 2 == 0 else '-1 1'}")
    (home / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    words = ["--data", "faces", "--labels", "list_attr_celeba.txt", "--targets", "Bright", "--out", "model"]
    made = fakelab("attributes", "train", *words, "--set", "epochs=5", *QUICK, "--json", cwd=home)
    assert made.returncode == 0, made.stderr
    facts = json.loads(made.stdout)
    assert facts["attributes"]["Bright"]["auroc"] > 0.95 and facts["unused"] == []
    assert "Bright 45 (50.0%)" in made.stderr
    return home


def select(fakelab, home: Path, *words: object):
    return fakelab("attributes", "select", "--model", "model", *words, "--device", "cpu", cwd=home)


def test_select_copies_the_files_that_qualify_and_lists_all(home, fakelab):
    done = select(fakelab, home, "--attribute", "Bright", "--min-p", "0.6", "fresh", "--out", "bright")
    assert done.returncode == 0, done.stderr
    with (home / "bright" / "selection.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    copied = {path.relative_to(home / "bright").as_posix() for path in (home / "bright").rglob("*.png")}
    assert copied == {row["path"].removeprefix("fresh/") for row in rows if row["chosen"] == "yes"}
    assert all((float(row["p"]) >= 0.6) == (row["chosen"] == "yes") for row in rows)
    numbers = {int(Path(name).stem) for name in copied}
    assert numbers and all(number % 2 == 0 for number in numbers)
    for name in copied:
        assert (home / "bright" / name).read_bytes() == (home / "fresh" / name).read_bytes()
    assert f"{len(copied)} of 24 images" in done.stdout
    again = select(fakelab, home, "fresh", "--out", "bright")
    assert again.returncode == 2 and "never overwritten" in again.stderr


def test_the_other_value_takes_the_others(home, fakelab):
    done = select(fakelab, home, "--value", "no", "--min-p", "0.6", "fresh", "--out", "dull", "--json")
    assert done.returncode == 0, done.stderr
    numbers = {int(path.stem) for path in (home / "dull").rglob("*.png")}
    assert json.loads(done.stdout)["chosen"] == len(numbers) > 0
    assert all(number % 2 for number in numbers)


def test_generate_reads_what_was_selected(home, fakelab):
    select(fakelab, home, "--min-p", "0.5", "faces", "--out", "for-gan")
    small = [f"--set={one}" for one in ("resolution=16", "g_width=8", "d_width=8", "batch=8")]
    made = fakelab(
        "generate",
        "digits-32",
        "--real",
        "for-gan",
        "--epochs",
        1,
        "--count",
        4,
        *small,
        "--out",
        "gan",
        "--json",
        cwd=home,
    )
    assert made.returncode == 0, made.stderr
    facts = json.loads(made.stdout)
    assert facts["unused"] == [], "selection.csv beside the images is no image"


def test_files_that_are_no_images_are_rows_and_exit_1(home, fakelab):
    shutil.copytree(home / "fresh", home / "mixed")
    (home / "mixed" / "notes.png").write_text("no image")
    done = select(fakelab, home, "--min-p", "0.5", "mixed", "--out", "from-mixed")
    assert done.returncode == 1 and "notes.png" in done.stderr
    assert not (home / "from-mixed" / "notes.png").exists()
    assert "mixed/notes.png,,no" in (home / "from-mixed" / "selection.csv").read_text()


def test_pixels_of_a_named_source_become_files(home, fakelab):
    done = select(fakelab, home, "--min-p", "0", "digits:3", "--out", "threes")
    assert done.returncode == 0, done.stderr
    assert len(list((home / "threes").glob("*.png"))) == 183


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--min-p", "1.5", "fresh", "--out", "x"], "--min-p is out of range"),
        (["--value", "maybe", "fresh", "--out", "x"], "expected yes or no"),
        (["--attribute", "Brigth", "fresh", "--out", "x"], "no attribute 'Brigth'"),
        (["--min-p", "1", "fresh", "--out", "x"], "none of 24 images in fresh qualifies"),
        (["fresh", "--out", "fresh/x"], "lies inside fresh"),
        (["nowhere/", "--out", "x"], "no folder 'nowhere/'"),
    ],
)
def test_an_invalid_request_is_one_line_and_writes_nothing(home, fakelab, words, says):
    done = select(fakelab, home, *words)
    assert done.returncode == 2 and done.stdout == ""
    assert says in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (home / "x").exists() and not (home / "fresh" / "x").exists()


def test_groups_of_the_source_are_copied(home, fakelab):
    shutil.copytree(home / "fresh", home / "grouped")
    lines = ["file_name,group", *(f"{number}.png,g{number // 4}" for number in range(500, 524) if number % 4)]
    (home / "grouped" / "metadata.csv").write_text("\n".join(lines) + "\n")
    done = select(fakelab, home, "--min-p", "0", "grouped", "--out", "kept-groups")
    assert done.returncode == 0, done.stderr
    with (home / "kept-groups" / "metadata.csv").open(newline="") as file:
        groups = {row["file_name"]: row["group"] for row in csv.DictReader(file)}
    assert groups["501.png"] == groups["502.png"] == "g125" and groups["sub/500.png"] == ""


def test_unlabelled_images_are_rows_and_exit_1(home, fakelab):
    (home / "faces" / "extra.png").write_bytes(picture(True, 999))
    words = ["--data", "faces", "--labels", "list_attr_celeba.txt", "--targets", "Bright", "--out", "second"]
    done = fakelab("attributes", "train", *words, "--model", "cnn", "--set", "epochs=1", *QUICK, cwd=home)
    (home / "faces" / "extra.png").unlink()
    assert done.returncode == 1 and "'faces/extra.png': unlabelled" in done.stderr
    assert (home / "second" / "report" / "report.html").is_file() and "right about Bright" in done.stdout


def test_compare_draws_several_models(home, fakelab):
    words = ["--data", "faces", "--labels", "list_attr_celeba.txt", "--targets", "Bright", "--set", "epochs=2"]
    assert fakelab("attributes", "train", *words, *QUICK, "--out", "short", cwd=home).returncode == 0
    done = fakelab("attributes", "compare", "model", "short", "--out", "both", "--json", cwd=home)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert [(row["model"], row["epochs"]) for row in facts["models"]] == [("model", 5), ("short", 2)]
    assert facts["remarks"] == []
    assert {path.name for path in (home / "both").iterdir()} == {"comparison.html", "comparison.json", "curves.png"}
    picture_alone = fakelab("attributes", "compare", "model", "short", "--out", "curves.png", cwd=home)
    assert picture_alone.returncode == 0 and (home / "curves.png").is_file() and "short" in picture_alone.stdout
    assert fakelab("attributes", "compare", "model", "short", "--out", "curves.png", cwd=home).returncode == 2


def test_models_of_other_splits_get_a_caution(home, fakelab):
    words = ["--data", "faces", "--labels", "list_attr_celeba.txt", "--targets", "Bright", "--set", "epochs=1"]
    assert fakelab("attributes", "train", *words, *QUICK, "--seed", 5, "--out", "other", cwd=home).returncode == 0
    done = fakelab("attributes", "compare", "model", "other", "--out", "mixed-up.png", cwd=home)
    assert "not comparable" in done.stdout
    alone = fakelab("attributes", "compare", "model", "--out", "alone.png", cwd=home)
    assert alone.returncode == 2 and "nothing to compare" in alone.stderr
