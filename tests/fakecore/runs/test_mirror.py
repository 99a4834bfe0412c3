"""Folders at URLs as sources of images: copied to the cache, completed after an interruption, renewed where they change."""

import numpy as np
import pytest

from fakecore import storage
from fakecore.errors import UserError
from fakecore.media.pixels import encode_png
from fakecore.runs import mirror
from fakecore.sets.sources import open_source
from tests.stores import BUCKET, s3_store

URL = f"s3://{BUCKET}/set"


def test_a_folder_at_a_url_is_a_source(monkeypatch, tmp_path):
    monkeypatch.setenv("FAKELAB_CACHE", str(tmp_path))
    photo = encode_png(np.random.default_rng(0).integers(0, 255, (3, 16, 16), np.uint8), "real")
    copied: list[str] = []
    interrupted: list[str] = []
    whole = storage.download

    def download(url, target, **how):
        if not interrupted and url.endswith("c.png"):
            interrupted.append(url)
            raise KeyboardInterrupt
        copied.append(url)
        return whole(url, target, **how)

    monkeypatch.setattr(mirror.storage, "download", download)
    with s3_store() as store:
        for name in ("cats/a.png", "cats/b.png", "dogs/c.png"):
            storage.write_bytes(f"{URL}/{name}", photo)
        storage.write_bytes(f"{URL}/metadata.csv", b"file_name,group\ncats/a.png,7\n")
        with pytest.raises(KeyboardInterrupt):
            open_source(f"{URL}/")
        asked: list[str] = []
        info = type(store).info
        monkeypatch.setattr(
            type(store), "info", lambda self, path, **how: asked.append(path) or info(self, path, **how)
        )
        before = set(copied)  # others are copied at the same time, and may be complete
        source = open_source(f"{URL}/")
        names = {f"{URL}/{name}" for name in ("cats/a.png", "cats/b.png", "dogs/c.png", "metadata.csv")}
        assert set(copied) == names and f"{URL}/dogs/c.png" not in before
        assert not [path for path in asked if path.endswith(".png")]  # the list has said their sizes
        copied.clear()
        assert (source.spec, source.names, source.groups[0]) == (
            f"{URL}/",
            ["cats/a.png", "cats/b.png", "dogs/c.png"],
            "7",
        )
        assert source.read(2) == photo
        storage.write_bytes(f"{URL}/cats/b.png", photo[:-1] + b"x")  # of the same size
        assert open_source(f"{URL}/").read(1)[-1:] == b"x" and copied == [f"{URL}/cats/b.png"]
        with pytest.raises(UserError, match="no files below"):
            open_source(f"s3://{BUCKET}/none/")
