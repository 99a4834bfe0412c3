import errno
import json
import os
import stat
from pathlib import Path

import pytest

from fakecore.errors import UserError, explain_os_error
from fakecore.files import append_jsonl, atomic_path, cut_jsonl, read_json, read_jsonl, write_bytes, write_json


def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "kept.bin"
    write_bytes(path, b"old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_bytes(b"half of the n")
        raise RuntimeError("killed")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept.bin"]


def test_a_file_appears_under_its_name_only_when_complete(tmp_path):
    with atomic_path(tmp_path / "deep" / "new.png") as temporary:
        temporary.write_bytes(b"x")
        assert not (tmp_path / "deep" / "new.png").exists()
        assert temporary.parent == tmp_path / "deep"
        assert temporary.suffix == ".png"
    assert [entry.name for entry in (tmp_path / "deep").iterdir()] == ["new.png"]


def test_written_files_have_the_usual_permissions(tmp_path):
    before = os.umask(0o022)
    try:
        write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


def test_a_full_disk_keeps_the_old_file_and_is_explained_in_one_line(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    write_json(path, {"epoch": 1})
    write = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", lambda self, data: write(Path("/dev/full"), data))
    with pytest.raises(OSError) as caught:
        write_json(path, {"epoch": 2})
    monkeypatch.undo()
    assert caught.value.errno == errno.ENOSPC
    assert read_json(path) == {"epoch": 1}
    assert len(list(tmp_path.iterdir())) == 1
    text = str(explain_os_error(caught.value))
    assert "the disk is full" in text
    assert "\n" not in text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"deep": [float("-inf")]}])
def test_invalid_json_is_never_written(tmp_path, value):
    write_json(tmp_path / "a.json", {"fine": 0.5})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", value)
    with pytest.raises(ValueError, match="JSON"):
        append_jsonl(tmp_path / "a.jsonl", [{"fine": 1}, {"loss": value}])
    assert read_json(tmp_path / "a.json") == {"fine": 0.5}
    assert read_jsonl(tmp_path / "a.jsonl") == []


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe\x00", b"PK\x03\x04", b"[" * 100_000, b"9" * 5000])
def test_garbage_is_not_json(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.json is not valid JSON") as caught:
        read_json(tmp_path / "a.json", remedy="Copy it.")
    assert str(caught.value).endswith("The file is truncated or was changed. Copy it.")
    assert "codec" not in str(caught.value) and "char " not in str(caught.value)  # no raw words of a library


def test_a_missing_json_is_named(tmp_path):
    with pytest.raises(UserError, match=r"run\.json is missing"):
        read_json(tmp_path / "run.json")


def test_json_round_trip_keeps_odd_names(tmp_path):
    value = {"name": "é\n猫 \udce9.png", "none": None, "number": 0.1}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value


@pytest.mark.parametrize("tail", [b'{"step": 3, "lo', b'{"step": 3}', b"not json\n", b"[3]\n", b"\xff\n", b"\n"])
def test_a_damaged_last_line_is_removed_and_writing_continues(tmp_path, tail):
    path = tmp_path / "metrics.jsonl"
    append_jsonl(path, [{"step": 1}, {"step": 2}])
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    assert read_jsonl(path) == [{"step": 1}, {"step": 2}]
    assert cut_jsonl(path, keep=10) == [{"step": 1}, {"step": 2}]
    assert path.read_bytes() == whole
    append_jsonl(path, [{"step": 3}])
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_cutting_keeps_the_first_lines(tmp_path, keep):
    path = tmp_path / "metrics.jsonl"
    append_jsonl(path, [{"step": i} for i in range(2)])
    assert cut_jsonl(path, keep) == read_jsonl(path) == [{"step": i} for i in range(keep)]


def test_a_missing_log_is_an_empty_log(tmp_path):
    assert read_jsonl(tmp_path / "none.jsonl") == cut_jsonl(tmp_path / "none.jsonl", 5) == []
    assert not (tmp_path / "none.jsonl").exists()
