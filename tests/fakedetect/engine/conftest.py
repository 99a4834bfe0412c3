"""Files for jobs, one of which ends each process that judges it."""

from __future__ import annotations

import zipfile

import pytest

from fakedetect.engine.request import Request
from fakedetect.scoring.files import score_files
from fakedetect.scoring.inputs import Input, expand

POISON = b"ends the process that reads it"
# Found by each child, since its PYTHONPATH is our sys.path: it dies of the poison as of a bug in a decoder, without a word.
_DEADLY = f"""
import hashlib, os, signal
sha256 = hashlib.sha256
def deadly(data=b"", **more):
    if {POISON!r} in bytes(data):
        os.kill(os.getpid(), signal.SIGKILL)
    return sha256(data, **more)
hashlib.sha256 = deadly
"""


@pytest.fixture(scope="module")
def request_of_job(trained, detector):
    return Request(str(trained.detector), {detector.id: detector.name}, device="cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory, write_folder):
    """Paths: photos, a file that is none, an archive, one that cannot be read."""
    root = tmp_path_factory.mktemp("files")
    for number, label in enumerate(("real", "fake")):
        write_folder(root / label, 6, label, seed=number)
    (root / "broken.jpg").write_bytes(b"\xff\xd8 not a photo")
    with zipfile.ZipFile(root / "in.zip", "w") as archive:
        for path in sorted((root / "fake").iterdir()):
            archive.write(path, path.name)
    (root / "broken.zip").write_bytes(b"PK\x03\x04 not an archive")
    return sorted(str(path) for path in root.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def expected(files, detector):
    """The rows of `score` for `files`."""
    rows = score_files(expand(map(Input, files)), detector)
    return [row for batch in rows for row in batch]


@pytest.fixture
def poison(tmp_path, monkeypatch):
    """A photo that ends the process that judges it."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "sitecustomize.py").write_text(_DEADLY)
    monkeypatch.syspath_prepend(str(tmp_path / "own"))
    path = tmp_path / "poison.png"
    path.write_bytes(POISON)
    return str(path)
