import json
import os
import signal
import time
from pathlib import Path

import pytest

from fakecore.media.pixels import encode_png
from fakedetect.commands import scorerows
from fakelab import app as cli

KEYS = {"path", "status", "kind", "p_fake", "verdict", "threshold", "outside_domain", "error"}
KEYS |= {"real_below", "note", "sha256", "detector"}


def score(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["score", *map(str, words), "--device", "cpu"])
    return ended.value.code


def test_json_lines_and_exit_code_1_if_a_file_could_not_be_scored(start, trained, tmp_path, write_folder):
    folder = write_folder(tmp_path / "in", 3, "fake")
    (folder / "0001.png").write_bytes(b"")
    words = ("score", folder, tmp_path / "missing.png", "--json", "--detector", trained.detector)
    process = start(*words)
    out, errors = process.communicate()
    assert process.returncode == 1, errors
    rows = [json.loads(line) for line in out.splitlines()]
    assert all(set(row) >= KEYS for row in rows)
    names = [str(folder / f"000{n}.png") for n in range(3)] + [str(tmp_path / "missing.png")]
    assert [row["path"] for row in rows] == names
    assert [row["status"] for row in rows] == ["ok", "unreadable", "ok", "unreadable"]
    for row in rows:
        assert row["kind"] == "image"
        if row["status"] == "ok":
            assert 0 <= row["p_fake"] <= 1 and row["verdict"] in ("real", "fake", "unsure") and row["error"] is None
    assert "Traceback" not in errors and "4 files" in errors


def test_exit_code_0_if_all_files_are_scored_and_2_for_an_invalid_request(trained, tmp_path, write_folder, capsys):
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
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 5 and "\x1b" not in printed.out + printed.err
    evidence = printed.err.split("5 files with evidence of their origin")[1]  # our label, in each
    assert len(evidence.partition("\n\n")[2].partition("\n\n")[0].splitlines()) == 1 + 2 * 5
    assert score(folder, "--detector", trained.detector, "--json") == 0
    paths = {json.loads(line)["path"] for line in capsys.readouterr().out.splitlines()}
    assert paths == {str(path) for path in folder.iterdir()}


def test_a_second_call_with_the_same_out_scores_only_new_files(trained, tmp_path, write_folder, capsys):
    folder = write_folder(tmp_path / "in", 3, "fake")
    out = tmp_path / "out.csv"
    assert score(folder, "--detector", trained.detector, "--out", out) == 0
    before = out.read_bytes()
    assert score(folder, "--detector", trained.detector, "--out", out) == 0
    assert out.read_bytes() == before
    write_folder(folder / "more", 1, "real")
    assert score(folder, "--detector", trained.detector, "--out", out) == 0
    assert out.read_bytes().startswith(before) and out.read_bytes().count(b"\n") == 5
    assert "3 of 4 were already in" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_changed_file_is_scored_again_and_has_one_row(trained, tmp_path, write_folder, pictures, capsys, suffix):
    folder, out = write_folder(tmp_path / "in", 3, "fake"), tmp_path / f"out{suffix}"
    assert score(folder, "--detector", trained.detector, "--out", out) == 0
    (folder / "0001.png").write_bytes(encode_png(pictures(1, "real", 9)[0], "real"))
    capsys.readouterr()
    assert score(folder, "--detector", trained.detector, "--out", out) == 0
    said = capsys.readouterr().err
    assert "1 of them changed since they were scored" in said and "2 of 3 were already in" in said
    assert score(folder, "--detector", trained.detector, "--out", tmp_path / f"whole{suffix}") == 0
    found, whole = (sorted(path.read_text().splitlines()) for path in (out, tmp_path / f"whole{suffix}"))
    assert found == whole


@pytest.mark.parametrize("hold", [[], [".hidden.png", "metadata.csv"], ["out.csv"]])
def test_nothing_to_score_is_an_error_with_a_remedy(trained, tmp_path, capsys, hold):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in hold:
        (tmp_path / "in" / name).write_bytes(b"")
    assert score(tmp_path / "in", "--detector", trained.detector, "--out", tmp_path / "in" / "out.csv") == 2
    line = capsys.readouterr().err
    assert line.startswith("error: there is nothing to score") and line.count("\n") == 1 and "folders" in line


def test_an_empty_folder_among_others_is_reported(trained, tmp_path, write_folder, capsys):
    (tmp_path / "empty").mkdir()
    assert score(tmp_path / "empty", write_folder(tmp_path / "in", 2, "fake"), "--detector", trained.detector) == 0
    assert f"note: {tmp_path}/empty contains no files to score" in capsys.readouterr().err


def test_an_empty_path_is_not_the_current_folder(trained, tmp_path, capsys):
    assert score("", "--detector", trained.detector) == 2
    assert capsys.readouterr().err.startswith("error: a path is empty")


@pytest.mark.parametrize(
    ("p_fake", "expected"),
    [(0.0, "<0.0001"), (0.00004, "<0.0001"), (0.0001, "0.0001"), (0.5, "0.5000"), (0.9999, "0.9999"), (1.0, ">0.9999")],
)
def test_text_never_states_a_certainty(p_fake, expected):
    row = {"path": "a.png", "status": "ok", "p_fake": p_fake, "verdict": "real", "note": None}
    assert scorerows.line(row).split() == [expected, "real", "a.png"]


def test_text_states_the_note(trained, tmp_path, write_folder, capsys):
    assert score(write_folder(tmp_path / "in", 1, "fake", side=9), "--detector", trained.detector) == 0
    assert "0000.png  (enlarged: its shorter side has 9 pixels" in capsys.readouterr().out


def test_the_exit_code_of_a_second_call_includes_files_that_could_not_be_scored(trained, tmp_path, write_folder):
    folder = write_folder(tmp_path / "in", 3, "fake")
    (folder / "0001.png").write_bytes(b"")
    out = tmp_path / "out.jsonl"
    codes = [score(folder, "--detector", trained.detector, "--out", out) for _ in range(2)]
    assert codes == [1, 1]


def test_a_results_file_in_the_folder_is_not_scored(trained, tmp_path, write_folder):
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


def test_results_after_a_kill_and_a_second_call_equal_those_of_one_call(start, trained, many, tmp_path):
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
            file.write(out.read_bytes().splitlines(keepends=True)[-1][:-9])  # as after a kill during a write
        whole = tmp_path / f"whole{out.suffix}"
        assert score(many, "--detector", trained.detector, "--out", out) == 1
        assert score(many, "--detector", trained.detector, "--out", whole) == 1
        assert out.read_bytes() == whole.read_bytes()
        lines = whole.read_text().splitlines()[out.suffix == ".csv" :]
        paths = [line.split(",")[0].strip('"') if out.suffix == ".csv" else json.loads(line)["path"] for line in lines]
        assert paths == sorted(str(path) for path in many.glob("*/*.png"))
