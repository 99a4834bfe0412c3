import os
import subprocess
import sys

import pytest

from fakecore.errors import UserError
from fakecore.runs.runfolder import free_name, host, locked, newest, refuse_used, versions

HINT = "Go on with `fakelab generate --resume --out RUN`"


def fresh(path, hint=HINT):
    return refuse_used(path, made_by="a GAN run", marker="run.json", resume_hint=hint)


def test_checking_creates_nothing_and_locking_creates_the_folder(tmp_path):
    fresh(tmp_path / "runs" / "a")
    assert not (tmp_path / "runs").exists()
    with locked(tmp_path / "runs" / "a"):
        assert (tmp_path / "runs" / "a").is_dir()


def test_an_empty_folder_is_accepted_even_with_a_lock_in_it(tmp_path):
    (tmp_path / ".lock").touch()
    fresh(tmp_path)


def test_a_used_folder_is_refused_and_says_how_to_resume(tmp_path):
    (tmp_path / "run.json").write_text("precious")
    with pytest.raises(UserError) as caught:
        fresh(tmp_path)
    assert "already holds a GAN run" in str(caught.value)
    assert HINT in str(caught.value)
    assert "choose another --out" in str(caught.value)
    assert (tmp_path / "run.json").read_text() == "precious"


def test_a_used_folder_without_resume_still_has_a_remedy(tmp_path):
    (tmp_path / "run.json").touch()
    with pytest.raises(UserError, match="Choose another --out"):
        fresh(tmp_path, hint=None)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(UserError, match="is not empty"):
        fresh(tmp_path)


def test_a_file_instead_of_a_folder_is_refused(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(UserError, match="is a file"):
        fresh(tmp_path / "a")


def test_free_name_counts_up_from_two(tmp_path):
    wanted = tmp_path / "mnist.v1"
    assert free_name(wanted) == wanted
    wanted.mkdir()
    assert free_name(wanted) == tmp_path / "mnist.v1-2"
    (tmp_path / "mnist.v1-2").touch()
    assert free_name(wanted) == tmp_path / "mnist.v1-3"


def test_the_newest_is_by_time_not_by_name(tmp_path):
    for age, folder in enumerate(["b", "deep/a", "z", "far/too/deep"]):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "run.json").touch()
        os.utime(tmp_path / folder / "run.json", (1000 - age, 1000 - age))
    os.utime(tmp_path / "deep/a/run.json", (2000, 2000))
    os.utime(tmp_path / "far/too/deep/run.json", (9000, 9000))
    assert newest(tmp_path, "run.json") == tmp_path / "deep/a"
    assert newest(tmp_path, "detector.json") is None
    assert newest(tmp_path / "absent", "run.json") is None


LOCK = """
import sys, pathlib
from fakecore.errors import UserError
from fakecore.runs.runfolder import locked
try:
    with locked(pathlib.Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
except UserError as error:
    print(error)
"""


def test_a_second_process_is_refused_until_the_first_ends(tmp_path):
    command = [sys.executable, "-c", LOCK, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another process is using"), locked(tmp_path):
            pass
        first.kill()
    with locked(tmp_path):
        second = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
        assert "another process is using" in second.stdout


def test_a_lock_ends_with_its_block_even_by_an_error(tmp_path):
    with pytest.raises(RuntimeError), locked(tmp_path):
        raise RuntimeError
    with locked(tmp_path):
        pass


def test_versions_and_host_name_no_person():
    assert versions()["python"].startswith("3.")
    assert {"torch", "numpy"} <= set(versions())
    assert set(host()) == {"system", "machine", "cpus"}
