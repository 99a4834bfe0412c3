import json
import re
import shutil

import numpy as np
import pytest

from fakecore.media.pixels import encode_png, read_image

CAPTION = "The map shows where the score is most sensitive. It does not prove manipulation."


@pytest.fixture(scope="module")
def explained(trained, write_folder, fakelab, tmp_path_factory, drawing):
    """Three images and a broken one, explained into a folder."""
    home = tmp_path_factory.mktemp("explain")
    folder = write_folder(home / "in", 3, "fake", side=24)
    (folder / "<b>$x_1$.png").write_bytes(b"no image")
    (folder / "0001.png").rename(folder / "a $x_1 & <i>.png")
    with drawing():
        done = fakelab(
            "explain", folder, "--detector", trained.detector, "--out", home / "out", "--json", "--device", "cpu"
        )
    return home / "out", done


def test_every_image_has_a_row_and_a_png_and_a_bad_file_its_reason(explained):
    out, done = explained
    assert done.returncode == 1, done.stderr
    facts = json.loads(done.stdout)
    assert facts["page"] == str(out / "explanations.html") and facts["caption"] == CAPTION
    rows = facts["images"]
    assert [row["status"] for row in rows] == ["ok", "ok", "unsupported", "ok"]
    for row in rows:
        if row["status"] == "ok":
            assert row["method"] == "hirescam" and row["verdict"] in ("real", "fake", "unsure")
            height, width, _ = read_image(row["picture"] and out / row["picture"]).shape
            assert height > 300 and width > height  # side by side
        else:
            assert row["p_fake"] is None and row["picture"] is None and "not an image" in row["error"]
    assert {path.name for path in out.glob("*.png")} == {
        row["picture"].split("/")[-1] for row in rows if row["picture"]
    }


def test_p_fake_and_verdict_agree_with_score_in_and_out_of_domain(trained, write_folder, fakelab, tmp_path):
    folder = write_folder(tmp_path / "in", 2, "fake")
    noise = np.random.default_rng(0).integers(0, 2, (3, 16, 16), dtype=np.uint8) * 255
    (folder / "noise.png").write_bytes(encode_png(noise, "real"))
    words = (folder, "--detector", trained.detector, "--json", "--device", "cpu")
    scored = [json.loads(line) for line in fakelab("score", *words).stdout.splitlines()]
    explained = json.loads(fakelab("explain", *words, "--out", tmp_path / "out").stdout)["images"]
    assert [row["outside_domain"] for row in scored] == [False, False, True]
    for name in ("path", "p_fake", "verdict", "threshold", "note"):
        assert [row[name] for row in explained] == [row[name] for row in scored]


def test_the_report_has_the_caption_and_embeds_its_images(explained):
    page = (explained[0] / "explanations.html").read_text(encoding="utf-8").replace("&#39;", "'")
    assert page.count(CAPTION) == 4  # once as the headline, once with each image
    assert "on the last convolution: the brighter" in page and "Not scored" in page
    links = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]{0,30})""", page)
    assert len(links) == 3 and all(link.startswith("data:image/png;base64,") for link in links)
    assert "<b>$" not in page and "<i>.png" not in page


def test_a_report_without_a_folder(trained, write_folder, fakelab, tmp_path):
    folder, page = write_folder(tmp_path / "in", 2, "real"), tmp_path / "one.html"
    words = ("explain", folder, "--detector", trained.detector, "--out", page, "--device", "cpu")
    done = fakelab(*words)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"in", "one.html"} and CAPTION in done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and lines[-1].split() == ["report", str(page)]
    again = fakelab(*words)
    assert again.returncode == 2 and "never overwritten" in again.stderr


def test_the_default_is_the_newest_detector(trained, write_folder, fakelab, tmp_path):
    folder = write_folder(tmp_path / "in", 1, "real")
    done = fakelab("explain", folder, cwd=tmp_path)
    assert done.returncode == 2 and "there is no detector in runs/" in done.stderr
    shutil.copytree(trained.detector, tmp_path / "runs" / "mine")
    done = fakelab("explain", folder, "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 0 and "using runs/mine" in done.stderr
    assert (tmp_path / "runs" / "mine" / "explanations" / "explanations.html").is_file()


def test_invalid_requests_stop_before_writing(trained, write_folder, fakelab, tmp_path):
    folder = write_folder(tmp_path / "in", 1, "real")
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    for words, why in (
        ((folder, "--detector", tmp_path / "none"), "is not a detector"),
        ((tmp_path / "empty", "--detector", trained.detector), "nothing to explain"),
    ):
        done = fakelab("explain", *words, "--out", out)
        assert done.returncode == 2 and why in done.stderr and done.stderr.count("\n") == 1
    assert not out.exists()
    done = fakelab("explain", folder, "--detector", trained.detector, "--out", tmp_path)
    assert done.returncode == 2 and "is not empty" in done.stderr
