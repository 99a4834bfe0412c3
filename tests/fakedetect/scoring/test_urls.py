"""Scoring at URLs: the rows of local files, servers that fail, resuming, detectors and reports at URLs, and secrets."""

import csv
import io
import itertools
import json
import zipfile

import pytest

from fakecore import storage
from fakecore.errors import UserError
from fakecore.media.pixels import encode_png
from fakecore.retrying import Backoff
from fakedetect.models.detector import Detector
from fakedetect.models.remote import local_detector
from fakedetect.scoring import remote
from fakedetect.scoring.files import score_files
from fakedetect.scoring.inputs import Input, expand, list_inputs, walk_inputs
from fakedetect.scoring.page import write_score_page
from tests.stores import BUCKET, s3_store

S3 = f"s3://{BUCKET}"


@pytest.fixture(scope="module")
def s3():
    with s3_store() as store:
        yield store


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(storage, "BACKOFF", Backoff(first_s=0.001))


@pytest.fixture
def photos(tmp_path, pictures, write_video):
    """A folder with three photos, one of them damaged, a video and an archive."""
    root = tmp_path / "in"
    (root / "deep").mkdir(parents=True)
    for place, name in enumerate(("a.png", "deep/b [1].png")):
        (root / name).write_bytes(encode_png(pictures(1, "fake", 70 + place)[0], "fake"))
    (root / "damaged.png").write_bytes((root / "a.png").read_bytes()[:200])
    (root / "empty.mp4").write_bytes(b"")
    write_video(root / "v.mp4", [], count=4)
    with zipfile.ZipFile(root / "z.zip", "w") as archive:
        archive.write(root / "a.png", "inside/a.png")
        archive.writestr("inside/no.png", b"junk")
    return root


def rows_of(paths, detector):
    return [row for rows in score_files(expand(walk_inputs(map(str, paths))), detector) for row in rows]


def upload(s3, root, prefix):
    for path in filter(lambda one: one.is_file(), root.rglob("*")):
        storage.write_bytes(f"{S3}/{prefix}/{path.relative_to(root)}", path.read_bytes())


def without_path(row, root):
    row = {**row, "path": row["path"].removeprefix(root), "p_fake": None}
    return row | ({"archive": row["archive"].removeprefix(root)} if "archive" in row else {})


@pytest.mark.parametrize("kind", ["s3", "http", "file"])
def test_rows_at_urls_are_those_of_the_same_files_here(detector, photos, s3, web, kind, monkeypatch):
    expected = rows_of([photos], detector)
    names = ["a.png", "damaged.png", "deep/b [1].png", "empty.mp4", "v.mp4", "z.zip"]
    if kind == "s3":
        upload(s3, photos, "same")
        monkeypatch.setattr(storage, "MAX_BYTES", 1 << 30)
        root, given = f"{S3}/same", [f"{S3}/same/", f"{S3}/same/a.png", f"{S3}/same/**/*.png"]
    elif kind == "http":
        web.files = {f"/{name}": (photos / name).read_bytes() for name in names}
        root, given = web.url, [f"{web.url}/{name}" for name in names]
    else:
        root, given = str(photos), [photos.as_uri()]
    rows = rows_of(given, detector)
    assert [without_path(row, root) for row in rows] == [without_path(row, str(photos)) for row in expected]
    for row, one in zip(rows, expected, strict=True):
        assert (row["p_fake"] or 0) == pytest.approx(one["p_fake"] or 0, abs=1e-6)


def test_a_large_video_is_judged_from_a_copy(detector, photos, web, monkeypatch):
    web.files = {"/v.mp4": (photos / "v.mp4").read_bytes(), "/a.png": (photos / "a.png").read_bytes()}
    expected = rows_of([photos / "v.mp4"], detector)
    monkeypatch.setattr(remote.storage.read_bytes, "__kwdefaults__", storage.read_bytes.__kwdefaults__ | {"most": 300})
    rows = rows_of([f"{web.url}/v.mp4", f"{web.url}/a.png"], detector)
    assert without_path(rows[0], f"{web.url}/v.mp4") == without_path(expected[0], str(photos / "v.mp4"))
    assert (rows[1]["status"], rows[1]["kind"]) == ("too_large", "image") and "limit" in rows[1]["error"]


def test_a_server_that_fails_costs_one_row_each(detector, photos, web):
    web.files["/good.png"] = (photos / "a.png").read_bytes()
    names = ["good", "busy", "cut", "busy-twice", "forbidden", "gone", "circle"]
    rows = rows_of(
        [*(f"{web.url}/{name}.png" for name in names), f"{web.url}/gone.zip", f"{web.url}/folder/"], detector
    )
    assert [row["status"] == "ok" for row in rows] == [True, False, False, True, *[False] * 5]
    assert {row["status"] for row in rows} == {"ok", "unreadable"}
    assert "503" in rows[1]["error"] and "cut, 4 times" in rows[2]["error"] and rows[7]["kind"] == "archive"


def test_no_file_at_a_url_comes_twice_and_what_is_shown_alike_gets_a_number(s3, photos):
    upload(s3, photos, "once")
    words = [f"{S3}/once/a.png", f"{S3}/once", f"{S3}/once/v.mp4", f"{S3}/once/*.png", f"{S3}/once/a.png"]
    words += ["http://h/a.png?key=1", "http://h/a.png?key=2", "http://h/a.png?key=1", "http://h/a.png?id=7"]
    found = [one.path.removeprefix(f"{S3}/once/") for one in walk_inputs(words)]
    inside = ["damaged.png", "deep/b [1].png", "empty.mp4", "v.mp4", "z.zip"]
    assert found == ["a.png", *inside, "http://h/a.png", "http://h/a.png#2", "http://h/a.png?id=7"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nothing/", "no files below"),
        ("*.nothing", "no file matches"),
        ("none", "no such file"),
        ("n.png", "no such file"),
    ],
)
def test_a_url_that_names_nothing_is_a_row(s3, detector, name, says):
    (row,) = rows_of([f"{S3}/{name}"], detector)
    assert row["status"] == "unreadable" and says in row["error"] and row["path"] == f"{S3}/{name}"


def test_rows_are_resumed_and_a_server_that_is_gone_changes_none(
    photos, s3, web, trained, fakelab, tmp_path, monkeypatch
):
    monkeypatch.setenv("FAKELAB_CACHE", str(tmp_path / "cache"))
    fetched: list[str] = []
    whole = storage.read_bytes
    out = tmp_path / "rows.csv"
    upload(s3, photos, "again")
    web.files["/a.png"] = web.files["/good.png"] = (photos / "a.png").read_bytes()
    words = ("score", f"{S3}/again/", f"{web.url}/a.png", f"{web.url}/busy-twice.png", "--detector", trained.detector)
    web.requests["/busy-twice.png"] = -9  # it fails in the first call
    first = fakelab(*words, "--out", out)
    rows = list(csv.DictReader(out.open()))
    assert len(rows) == 9 and rows[-1]["status"] == "unreadable" and "9 files" in first.stderr
    storage.write_bytes(f"{S3}/again/deep/b [1].png", (photos / "a.png").read_bytes())
    web.requests["/busy-twice.png"] = 0
    monkeypatch.setattr(storage, "read_bytes", lambda url, **how: fetched.append(url) or whole(url, **how))
    second = fakelab(*words, "--out", out)
    # Of those that a list names with their ETags, only the file that changed; an archive is copied by another function.
    assert [url for url in fetched if url.startswith(S3)] == [f"{S3}/again/deep/b [1].png"]
    assert "7 of 9 were already" in second.stderr and "2 of them changed" in second.stderr
    after = {row["path"]: row for row in csv.DictReader(out.open())}
    assert after[f"{web.url}/busy-twice.png"]["status"] == "ok" and len(after) == 9
    web.is_gone = True
    third = fakelab(*words, "--out", out)
    assert "2 files could not be read again: the earlier rows are kept" in third.stderr
    assert {row["path"]: row for row in csv.DictReader(out.open())} == after


def test_secrets_are_shown_nowhere(photos, s3, web, trained, fakelab, tmp_path, capfd):
    web.files["/a.png"] = (photos / "a.png").read_bytes()
    web.files["/z.zip"] = (photos / "z.zip").read_bytes()
    place = f"http://me:PASS@{web.place}"
    names = ["a.png", "z.zip", "gone.png", "cut.png", "circle.png", "forbidden.zip"]
    urls = [f"{place}/{name}?X-Amz-Signature=PASS&token=PASS" for name in names]
    (tmp_path / "list").write_text("\n".join(urls))
    words = ("score", "--files-from", tmp_path / "list", "--detector", trained.detector)
    page, rows = tmp_path / "page.html", tmp_path / "rows.jsonl"
    said = [fakelab(*words, "--out", page), fakelab(*words, "--out", rows), fakelab(*words, "--json")]
    said += [
        fakelab("score", url, "--detector", url)
        for url in (urls[2], f"s3://me:PASS@{BUCKET}/a.png", f"gs://PASS@x/{place}")
    ]
    said += [fakelab("score", urls[0], "--server", "http://127.0.0.1:9"), fakelab("explain", urls[0])]
    said += [fakelab("score", photos, "--out", f"{place}/r.csv?token=PASS"), fakelab("inspect", *urls)]
    text = (
        page.read_text()
        + rows.read_text()
        + "".join(one.stdout + one.stderr for one in said)
        + "".join(capfd.readouterr())
    )
    assert "PASS" not in text and "s3cr3t" not in text
    assert any("PASS" in one for one in web.signed)  # but the server was sent them
    assert f"{web.url}/a.png" in text and page.read_text().count("data:image/jpeg") == 2  # also that in the archive


def test_detectors_at_urls_are_copied_and_copied_again_when_they_change(trained, s3, web):
    upload(s3, trained.detector, "det")
    assert Detector.load(local_detector(f"{S3}/det/"), "cpu").id == Detector.load(trained.detector, "cpu").id
    web.files["/tiny.onnx"] = b"no detector"
    copy = local_detector(f"{web.url}/tiny.onnx?token=1")
    web.requests.clear()
    assert local_detector(f"{web.url}/tiny.onnx?token=2") == copy and web.requests["/tiny.onnx"] == 1  # its facts only
    assert copy.read_bytes() == b"no detector"
    with pytest.raises(UserError, match="tiny"):
        Detector.load(copy, "cpu")
    storage.write_bytes(f"{S3}/det/detector.safetensors", b"damaged")
    with pytest.raises(UserError, match=r"detector\.safetensors"):
        Detector.load(local_detector(f"{S3}/det"), "cpu")
    with pytest.raises(UserError, match="no such file"):
        local_detector(f"{S3}/none/")


def test_results_at_urls(photos, s3, web, trained, fakelab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("score", photos / "a.png", "--detector", trained.detector, "--out")
    assert f"report: {S3}/out/report.html" in fakelab(*words, f"{S3}/out/report.html").stderr
    assert b"a.png" in storage.read_bytes(f"{S3}/out/report.html")
    assert "already exists" in fakelab(*words, f"{S3}/out/report.html").stderr
    refused = fakelab(*words, f"{S3}/out/rows.csv")
    assert refused.returncode == 2 and f"--engine ray --out {S3}/out/" in refused.stderr
    assert "cannot be written" in fakelab(*words, f"{web.url}/r.html").stderr
    lost = fakelab(*words, "s3://no-such-bucket/report.html")
    assert lost.returncode == 2 and "kept at report.html" in lost.stderr and (tmp_path / "report.html").exists()
    for option in ("--copy-to", "--annotate"):
        assert "path of this machine" in fakelab("score", photos / "v.mp4", option, f"{S3}/x.mp4").stderr
    fakelab("score", f"{S3}/out/report.html", photos / "a.png", "--detector", trained.detector, "--copy-to", "sorted")
    assert (tmp_path / "sorted" / "not-judged" / "report.html").exists()


def test_what_is_fetched_ahead_is_limited(web, monkeypatch):
    monkeypatch.setattr(remote, "_HELD_BYTES", 3000)
    most = 0
    whole = remote._Room.take

    def take(room, number, size):
        nonlocal most
        whole(room, number, size)
        most = max(most, sum(room._held.values()))

    monkeypatch.setattr(remote._Room, "take", take)
    web.files = {f"/{number}.png": bytes([number]) * 1000 for number in range(40)}
    found = list(remote.fetched(Input(f"{number}", url=f"{web.url}/{number}.png") for number in range(40)))
    assert [one.data[0] for one in found] == list(range(40))
    assert 2000 <= most <= 4000
    endless = (Input(f"{number}", url=f"{web.url}/{number % 40}.png") for number in itertools.count())
    assert next(remote.fetched(endless)).path == "0" and next(endless).path == str(remote._AHEAD)


def test_names_alone_fetch_nothing(detector, photos, web, tmp_path):
    """What a client calls a file, in a form or an archive, must not make a server fetch it."""
    web.files["/a.png"] = data = (photos / "a.png").read_bytes()
    url = f"{web.url}/a.png"
    given = [Input(url), Input(f"{url}.zip/a.png", archive=f"{url}.zip", data=data)]
    found = [row["status"] for rows in score_files(expand(given), detector) for row in rows]
    assert found == ["unreadable", "ok"]
    row = next(iter(score_files([Input("a.png", data=data, archive="x.zip")], detector)))[0]
    rows = [row | {"path": url, "archive": None}, row | {"path": f"{url}.zip/a.png", "archive": f"{url}.zip"}]
    write_score_page(tmp_path / "page.html", rows, {}, detector)
    with pytest.raises(UserError, match="URLs are not read here"):
        list_inputs([url])
    assert not web.requests


def test_lists_of_urls_may_stand_at_urls(photos, s3, trained, fakelab):
    upload(s3, photos, "listed")
    storage.write_bytes(f"{S3}/list.txt", f"{S3}/listed/a.png\n{photos}/a.png\n".encode())
    done = fakelab("score", "--files-from", f"{S3}/list.txt", "--detector", trained.detector, "--json")
    rows = [json.loads(line) for line in io.StringIO(done.stdout)]
    assert [row["path"] for row in rows] == [f"{S3}/listed/a.png", f"{photos}/a.png"]
    assert rows[0] | {"path": ""} == rows[1] | {"path": ""}
