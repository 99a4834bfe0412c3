import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

import cli
from fakecore.pixels import encode_png

KEYS = {"path", "status", "kind", "p_fake", "verdict", "threshold", "outside_domain", "error"}


def score(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["score", *map(str, words), "--device", "cpu"])
    return ended.value.code


def test_json_lines_and_exit_code_1_when_something_could_not_be_judged(start, trained, tmp_path, write_folder):
    folder = write_folder(tmp_path / "in", 3, "fake")
    (folder / "0001.png").write_bytes(b"")
    words = ("score", folder, tmp_path / "missing.png", "--json", "--detector", trained.detector)
    process = start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, errors = process.communicate()
    assert process.returncode == 1, errors
    rows = [json.loads(line) for line in out.decode().splitlines()]
    assert all(set(row) >= KEYS for row in rows)
    names = [str(folder / f"000{n}.png") for n in range(3)] + [str(tmp_path / "missing.png")]
    assert [row["path"] for row in rows] == names
    assert [row["status"] for row in rows] == ["ok", "unreadable", "ok", "unreadable"]
    for row in rows:
        assert row["kind"] == "image"
        if row["status"] == "ok":
            assert 0 <= row["p_fake"] <= 1 and row["verdict"] in ("real", "fake", "unsure") and row["error"] is None
    assert b"Traceback" not in errors and b"4 files" in errors


def test_exit_code_0_when_all_was_judged_and_2_when_the_request_was_wrong(trained, tmp_path, write_folder, capsys):
    folder = write_folder(tmp_path / "in", 3, "fake")
    assert score(folder, "--detector", trained.detector) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 3
    assert score(folder, "--detector", tmp_path / "nowhere") == 2
    assert score(folder, "--detector", trained.detector, "--out", tmp_path / "out.xlsx") == 2
    for line in capsys.readouterr().err.splitlines():
        assert line.startswith("error: ")


def test_text_has_one_line_per_image_even_for_odd_names(trained, tmp_path, pictures, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("line\nbreak.png", "carriage\rreturn.png", os.fsdecode(b"\xff.png"), "fine.png", "esc\x1b[31m.png"):
        (folder / name).write_bytes(encode_png(pictures(1, "fake", 1)[0], "fake"))
    assert score(folder, "--detector", trained.detector) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 5 and "\x1b" not in out
    assert score(folder, "--detector", trained.detector, "--json") == 0
    paths = {json.loads(line)["path"] for line in capsys.readouterr().out.splitlines()}
    assert paths == {str(path) for path in folder.iterdir()}


def test_a_second_call_with_the_same_out_judges_only_what_is_new(trained, tmp_path, write_folder, capsys):
    folder = write_folder(tmp_path / "in", 3, "fake")
    out = tmp_path / "out.csv"
    assert score(folder, "--detector", trained.detector, "--out", out) == 0
    before = out.read_bytes()
    assert score(folder, "--detector", trained.detector, "--out", out) == 0
    assert out.read_bytes() == before
    write_folder(folder / "more", 1, "real")
    assert score(folder, "--detector", trained.detector, "--out", out) == 0
    assert out.read_bytes().startswith(before) and out.read_bytes().count(b"\n") == 5
    assert "3 of 4 are in" in capsys.readouterr().err


def test_the_exit_code_of_a_second_call_still_tells_of_files_that_could_not_be_judged(trained, tmp_path, write_folder):
    folder = write_folder(tmp_path / "in", 3, "fake")
    (folder / "0001.png").write_bytes(b"")
    out = tmp_path / "out.jsonl"
    codes = [score(folder, "--detector", trained.detector, "--out", out) for _ in range(2)]
    assert codes == [1, 1]


def test_results_kept_among_the_photos_are_not_judged_themselves(trained, tmp_path, write_folder):
    folder = write_folder(tmp_path / "in", 3, "fake")
    out = folder / "results.csv"
    assert score(folder, "--detector", trained.detector, "--out", out) == 0
    before = out.read_bytes()
    assert score(folder, "--detector", trained.detector, "--out", out) == 0
    assert out.read_bytes() == before


@pytest.fixture(scope="module")
def many(tmp_path_factory, pictures) -> Path:
    root = tmp_path_factory.mktemp("many")
    data = [encode_png(image, "real") for image in pictures(16, "fake", 50, side=96)]
    for number in range(1600):
        folder = root / f"{number // 400}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number:05d}.png").write_bytes(data[number % 16] if number % 50 else b"bad")
    return root


def test_killed_midway_and_run_again_the_results_equal_those_of_an_uninterrupted_run(start, trained, many, tmp_path):
    outs = [tmp_path / "killed.csv", tmp_path / "killed.jsonl"]
    words = ("score", many, "--detector", trained.detector, "--out")
    waiting = {out: start(*words, out) for out in outs}
    end = time.monotonic() + 60
    while waiting and time.monotonic() < end:
        for out, process in list(waiting.items()):
            if process.poll() is not None or (out.exists() and out.stat().st_size):
                process.send_signal(signal.SIGKILL)
                assert waiting.pop(out).wait() == -signal.SIGKILL
        time.sleep(0.001)
    for out in outs:
        assert 0 < out.read_bytes().count(b"\n") < 1600, "it was not killed midway"
        with out.open("ab") as file:
            file.write(out.read_bytes().splitlines(keepends=True)[-1][:-9])  # as a kill amid a write leaves it
        whole = tmp_path / f"whole{out.suffix}"
        assert score(many, "--detector", trained.detector, "--out", out) == 1
        assert score(many, "--detector", trained.detector, "--out", whole) == 1
        assert out.read_bytes() == whole.read_bytes()
        lines = whole.read_text().splitlines()[out.suffix == ".csv" :]
        paths = [line.split(",")[0].strip('"') if out.suffix == ".csv" else json.loads(line)["path"] for line in lines]
        assert paths == sorted(str(path) for path in many.glob("*/*.png"))
