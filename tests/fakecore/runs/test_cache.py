import os

from fakecore.runs.cache import cache_home, prune


def entry(part, name, size, used, suffix):
    path = cache_home() / part / f"{name}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    path.with_suffix(".json").write_text("{}")
    os.utime(path.with_suffix(".json"), (used, used))
    return path


def test_pixels_and_features_share_one_limit_and_the_oldest_is_pruned_first(monkeypatch, tmp_path):
    monkeypatch.setenv("FAKELAB_CACHE", str(tmp_path))
    oldest = entry("pixels", "a", 100, 1, ".npy")
    kept = entry("features", "b", 100, 2, ".safetensors")
    old = entry("features", "c", 100, 3, ".safetensors")
    new = entry("pixels", "d", 100, 4, ".npy")
    prune(kept, limit=250)
    assert not oldest.exists() and not oldest.with_suffix(".json").exists()
    assert kept.exists() and not old.exists() and new.exists()


def test_downloads_are_never_pruned(monkeypatch, tmp_path):
    monkeypatch.setenv("FAKELAB_CACHE", str(tmp_path))
    download = entry("data", "celeba", 1000, 1, ".npy")
    prune(entry("pixels", "a", 10, 2, ".npy"), limit=5)
    assert download.exists()
