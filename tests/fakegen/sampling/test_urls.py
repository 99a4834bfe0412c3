"""Sets of fakes at URLs: the files of a set on this machine, whatever was killed when."""

import hashlib
import time

import pytest

import fakegen

pytest.importorskip("s3fs")
pytest.importorskip("moto")


@pytest.fixture
def store():
    from tests.stores import s3_store

    with s3_store() as store:
        yield store


@pytest.mark.parametrize("image_format", ["png", "webdataset"])
def test_a_killed_set_resumes_to_the_files_of_one_on_this_machine(
    image_format, run, store, tmp_path, start_fakelab, fakelab, monkeypatch
):
    local, place = tmp_path / "local", "photos/set"
    fakegen.sample(run, local, count=3_000, image_format=image_format, device="cpu")
    words = ("sample", run, "--count", 3_000, "--format", image_format, "--device", "cpu", "--out", f"s3://{place}")
    process = start_fakelab(*words)
    end = time.monotonic() + 60
    while not store.find(place, refresh=True) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert store.find(place, refresh=True) and not store.exists(f"{place}/imageset.json"), "it was not killed midway"
    refused = fakelab(*words)
    assert refused.returncode == 2 and f"s3://{place} already holds files" in refused.stderr
    with monkeypatch.context() as other:
        other.setenv("FAKELAB_CACHE", str(tmp_path / "other"))
        elsewhere = fakelab(*words, "--resume")
    assert elsewhere.returncode == 2 and "this machine did not start the set" in elsewhere.stderr
    done = fakelab(*words, "--resume")
    assert done.returncode == 0 and done.stdout.startswith(f"s3://{place}: 3,000 fakes"), done.stderr
    here = {str(path.relative_to(local)): path for path in local.rglob("*") if path.is_file() and path.name != ".lock"}
    there = store.find(place, refresh=True)
    assert {name.removeprefix(f"{place}/") for name in there} == set(here)
    for name, path in here.items():
        digests = [hashlib.sha256(data).digest() for data in (path.read_bytes(), store.cat_file(f"{place}/{name}"))]
        assert digests[0] == digests[1], name
