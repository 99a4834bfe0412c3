"""Files for jobs, one of which ends each process that judges it, and another stops it."""

from __future__ import annotations

import zipfile

import pytest

from fakedetect.engine.request import Request
from fakedetect.scoring.files import score_files
from fakedetect.scoring.inputs import Input, expand

POISONS = {"kills.png": ("SIGKILL", b"ends its reader"), "stops.png": ("SIGSTOP", b"stops its reader")}
# Found by each child, since its PYTHONPATH is our sys.path: it dies of a file, or hangs, as of a bug in a decoder.
_DEADLY = f"""
import hashlib, os, signal
sha256 = hashlib.sha256
def deadly(data=b"", **more):
    for name, content in {tuple(POISONS.values())!r}:
        if content in bytes(data):
            os.kill(os.getpid(), getattr(signal, name))
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
    """A folder with files that end, or stop, the process that judges them: those of POISONS."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "sitecustomize.py").write_text(_DEADLY)
    monkeypatch.syspath_prepend(str(tmp_path / "own"))
    for name, (_, content) in POISONS.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path
