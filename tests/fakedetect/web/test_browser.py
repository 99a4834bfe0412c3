"""The web page in a real browser, with a real server. Needs Debian's `chromium`."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fakecore.media.pixels import encode_png

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

ROOT = Path(__file__).parents[3]
HEADINGS = {"Looks fake", "Not sure", "Looks real"}
START_S, JUDGED_MS = 60, 30_000


class Server:
    """A server of its own, to be killed and started again at the same address."""

    def __init__(self, folder: Path, detector: Path):
        self._folder, self._detector = folder, detector
        self.address = ""
        self.start()

    def start(self) -> None:
        """Start it and wait until it is ready."""
        port = self.address.rpartition(":")[2] or 0
        words = ["serve", "--data", self._folder / "data", "--port", port, "--workers", 1, "--device", "cpu"]
        command = [sys.executable, ROOT / "cli.py", *words, "--max-files", 5, "--detector", self._detector]
        log = self._folder / "log"
        with log.open("w") as errors:
            self.process = subprocess.Popen(list(map(str, command)), stderr=errors, cwd=ROOT)
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            if found := re.search(r"serving at (\S+)", log.read_text()):
                self.address = found[1]
                return
            time.sleep(0.1)
        raise AssertionError(f"the server did not start: {log.read_text()}")


@pytest.fixture(scope="module")
def server(trained, tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("served"), trained.detector)
    yield server
    server.process.terminate()
    server.process.wait(20)


@pytest.fixture(scope="module")
def address(server):
    """The address of the server."""
    return server.address


@pytest.fixture
def open_page(browser, address):
    """A function that opens a page of a new visitor; errors of its scripts and of the content policy fail the test."""
    contexts, errors = [], []

    def opened(path: str = "/", **options):
        context = browser.new_context(base_url=address, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda one: errors.append(one.text) if "Content Security Policy" in one.text else None)
        page.goto(path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture(scope="module")
def photo(pictures) -> bytes:
    return encode_png(pictures(1, "fake", 7, side=64)[0], "fake")


@pytest.fixture(scope="module")
def video(tmp_path_factory, write_video) -> Path:
    def person(number):
        return 160 + number % 20, 120, 110

    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", [person], count=50)


def png(name: str, data: bytes) -> dict:
    return {"name": name, "mimeType": "image/png", "buffer": data}


def until(page, expression: str) -> None:
    """Wait until an expression is true; wait_for_function would need a content policy that allows eval."""
    end = time.monotonic() + JUDGED_MS / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(20)


def send(page, files) -> None:
    page.set_input_files("#pick", files)
    page.click(".send button")
    page.wait_for_url("**/jobs/*")


def wait_until_done(page) -> None:
    page.wait_for_selector("#job[data-done=yes]", timeout=JUDGED_MS)


def rows(page) -> list[dict]:
    """The rows of the job that is shown, from the link that the page offers."""
    return page.request.get(page.locator("#downloads a").first.get_attribute("href")).json()["results"]


def test_several_files_are_picked_and_judged(open_page, photo):
    page = open_page()
    page.set_input_files("#pick", [png('<img src="x">.png', photo), png("gone.png", photo)])
    page.set_input_files("#pick", [{"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no image"}])
    page.click("[aria-label='Remove gone.png']")
    assert page.locator(".send button").inner_text() == "Check 2 files"
    assert page.locator(".chosen .tile").all_inner_texts() == ["TXT"]
    page.click(".send button")
    page.wait_for_url("**/jobs/*")
    wait_until_done(page)
    judged, failed = page.locator("article").all()
    assert judged.locator("h2").inner_text() == '<img src="x">.png'
    assert page.title().startswith('<img src="x">.png and 1 other file')
    assert judged.locator(".verdict b").inner_text() in HEADINGS
    assert judged.locator("a img").evaluate("one => one.complete && one.naturalWidth > 0")
    assert failed.locator(".verdict b").inner_text() == "Not judged"
    assert "not an image of a known format" in failed.inner_text().lower()
    assert re.match("All 2 files are done: .*1 not judged", page.locator("#summary").inner_text())
    page.click("text=by name")
    assert page.locator("article h2").all_inner_texts() == ['<img src="x">.png', "notes.txt"]
    assert page.locator("#order [aria-current]").inner_text() == "by name"
    first, second = rows(page)
    heading = {"fake": "Looks fake", "unsure": "Not sure", "real": "Looks real"}[first["verdict"]]
    assert judged.locator(".verdict b").inner_text() == heading and second["status"] == "unsupported"


def test_an_image_is_pasted_and_another_dropped(open_page, photo):
    page = open_page()
    page.evaluate(
        """(bytes) => {
            for (const [name, kind] of [["pasted.png", "paste"], ["dropped.png", "drop"]]) {
                const held = new DataTransfer();
                held.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
                const event = kind === "paste"
                    ? new ClipboardEvent("paste", { clipboardData: held, bubbles: true })
                    : new DragEvent("drop", { dataTransfer: held, bubbles: true, cancelable: true });
                document.getElementById("drop").dispatchEvent(event);
            }
        }""",
        list(photo),
    )
    page.locator(".send button").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*")
    wait_until_done(page)
    assert page.locator("article h2").all_inner_texts() == ["pasted.png", "dropped.png"]
    assert {one["status"] for one in rows(page)} == {"ok"}


def test_too_many_files_are_refused_before_they_are_sent(open_page, photo):
    page = open_page()
    page.set_input_files("#pick", [png(f"{number}.png", photo) for number in range(6)])
    page.click(".send button")
    assert "at most 5 can be sent" in page.locator("#message").inner_text()
    page.click("[aria-label='Remove 0.png']")
    assert page.locator("#message").inner_text() == ""


def test_a_single_photo_has_its_range_and_a_heat_map(open_page, photo):
    page = open_page()
    send(page, png("one.png", photo))
    wait_until_done(page)
    (row,) = rows(page)
    low, high = row["p_fake_range"]
    assert low <= high and page.locator("dl.facts dt").first.inner_text() == "p_fake after light re-encoding"
    button = page.locator("article button", has_text="Heat map")
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".heat img")
    assert "attention, not proof" in page.locator(".heat").inner_text()
    until(page, "document.querySelector('.heat img').naturalWidth > 0")
    page.keyboard.press("Enter")
    assert page.locator(".heat").is_hidden() and button.get_attribute("aria-expanded") == "false"


def test_a_video_shows_its_progress_also_after_a_reload(open_page, video):
    page = open_page()
    send(page, video)
    until(page, "document.querySelector('progress.frames').value > 0")
    assert re.fullmatch(r"\d+ of 25 frames", page.locator(".counted").inner_text())
    page.reload()
    assert page.locator("article").get_attribute("data-state") in ("running", "done")
    wait_until_done(page)
    (row,) = rows(page)
    line = page.locator("svg .line").get_attribute("points").split()
    assert len(line) == len(row["timeline"]) > 1
    assert page.locator("article tbody th[scope=row]").count() == len(row["tracks"]) >= 1
    end = time.monotonic() + JUDGED_MS / 1000
    while page.locator("video").count() == 0 and time.monotonic() < end:  # it is drawn after the verdict is shown
        page.reload()
    until(page, "document.querySelector('video').duration > 4")
    plot = page.locator(".timeline svg").bounding_box()
    page.mouse.click(plot["x"] + plot["width"] / 2, plot["y"] + 50)
    until(page, "Math.abs(document.querySelector('video').currentTime - 2.5) < 0.2")
    page.reload()
    assert page.locator(".verdict b").inner_text() in HEADINGS and page.locator("video").count() == 1


def test_a_server_that_is_killed_and_started_again_finishes_what_the_page_shows(open_page, server, video):
    page = open_page()
    send(page, video)
    server.process.kill()
    server.process.wait()
    page.wait_for_selector("text=The connection to the server was lost")
    assert page.locator("article").get_attribute("data-state") != "done"
    server.start()
    wait_until_done(page)
    assert page.locator(".verdict b").inner_text() in HEADINGS and page.locator("#message").inner_text() == ""
    assert [one["path"] for one in rows(page)] == ["clip.mp4"]


def test_what_the_browser_cannot_show_has_a_tile(open_page, photo):
    page = open_page()
    page.set_input_files("#pick", [{"name": "old.pcx", "mimeType": "image/x-pcx", "buffer": b"?"}, png("a.png", photo)])
    until(page, "document.querySelectorAll('.chosen .tile').length === 1")
    assert page.locator(".chosen .tile").inner_text() == "PCX" and page.locator(".chosen img").count() == 1
    page.click("[aria-label='Remove old.pcx']")
    assert page.locator(".send button").inner_text() == "Check 1 file"


def test_a_job_that_was_deleted_in_another_tab_says_so(open_page, video):
    page = open_page()
    send(page, video)
    page.request.post(f"{page.url}/delete")
    page.wait_for_selector("h1:text('Deleted')")
    assert page.locator("article, progress, form").count() == 0 and "were deleted" in page.locator("#job").inner_text()
    page.reload()
    assert "was deleted" in page.locator("main").inner_text()


def test_everything_works_without_scripts(open_page, photo, video):
    page = open_page(java_script_enabled=False)
    assert page.locator(".with-js").is_hidden()
    page.set_input_files("#pick", [png("plain.png", photo)])
    page.click("button[type=submit]")
    page.wait_for_selector("article[data-state=done]", timeout=JUDGED_MS)
    assert page.locator(".verdict b").inner_text() in HEADINGS
    heat = page.request.get(page.locator("a[data-heat]").get_attribute("href"))
    assert heat.headers["content-type"] == "image/jpeg"
    page.goto("/")
    page.set_input_files("#pick", video)
    page.click("button[type=submit]")
    page.wait_for_selector("meta[http-equiv=refresh]", state="attached")
    page.wait_for_selector("article[data-state=done]", timeout=JUDGED_MS)  # the page reloads by itself
    page.click("text=Delete these results")
    page.wait_for_url("**/jobs")
    assert page.locator(".jobs a").all_inner_texts() == ["plain.png"]
    page.click(".jobs button")
    assert "There are no results yet" in page.locator("main").inner_text()


def test_an_upload_without_a_file_is_answered_with_a_page(open_page):
    page = open_page(java_script_enabled=False)
    page.click("button[type=submit]")
    assert "No file was chosen" in page.locator("main").inner_text() and page.locator("nav").count() == 1


def test_history_is_of_this_browser_and_can_be_deleted(open_page, photo):
    page, other = open_page(), open_page()
    for name in ("first.png", "second.png", "third.png"):
        given = {"files": {"name": name, "mimeType": "image/png", "buffer": photo}}
        job = page.request.post("/", multipart=given).url
    assert page.goto(job).status == 200
    assert other.goto(job).status == 404
    assert other.goto(f"{job}/files/0").status == 404
    other.goto("/jobs")
    assert other.locator(".jobs li").count() == 0
    page.goto("/jobs")
    assert page.locator(".jobs a").all_inner_texts() == ["third.png", "second.png", "first.png"]
    page.click(".jobs li:first-child button")
    until(page, "document.querySelectorAll('.jobs li').length === 2")
    assert page.goto(job).status == 404
    page.goto("/jobs")
    page.click(".danger summary")
    page.click("text=Delete all results")
    page.wait_for_selector("text=There are no results yet")


@pytest.fixture(scope="module")
def visited(browser, address, photo, write_video, tmp_path_factory):
    """A visitor with results: a function that opens its pages, and their addresses."""
    short = write_video(tmp_path_factory.mktemp("short") / "clip.mp4", [lambda number: (160, 120, 110)], count=10)
    context = browser.new_context(base_url=address)
    page = context.new_page()
    page.goto("/")
    page.set_input_files("#pick", [png("an unusually-long_name" * 6 + ".png", photo)])
    clip = {"name": "clip.mp4", "mimeType": "video/mp4", "buffer": short.read_bytes()}
    send(page, [clip, {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no image"}])
    wait_until_done(page)
    job = page.url
    page.goto("/")
    send(page, png("  ", photo))
    wait_until_done(page)
    blank, state = page.url, context.storage_state()
    context.close()
    return state, ("/", job, blank, "/jobs", "/detectors", "/docs", "/jobs/none")


def test_pages_fit_a_phone(open_page, visited):
    state, paths = visited
    page = open_page(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, storage_state=state)
    assert page.locator("text=Take a photo").is_visible()
    for path in paths:
        page.goto(path)
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        small = page.evaluate(
            """[...document.querySelectorAll("button, summary, select, nav a, .pick label")]
                .map((one) => [one.textContent.trim(), one.getBoundingClientRect()])
                .filter(([, box]) => box.height && (box.height < 24 || box.width < 24)).map(([text]) => text)"""
        )
        assert small == [], path
        broken = "[...document.querySelectorAll('button')].filter((one) => one.offsetHeight > 60).length"
        assert page.evaluate(broken) == 0, path


def violations(page) -> list:
    """What axe finds, with every part of the page opened."""
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    found = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [(one["id"], [node["target"] for node in one["nodes"]]) for one in found]


SCREENS = [("light", 1280), ("dark", 390)]


@pytest.mark.parametrize(("scheme", "width"), SCREENS)
def test_axe_finds_nothing(open_page, visited, scheme, width):
    state, paths = visited
    page = open_page(color_scheme=scheme, storage_state=state, viewport={"width": width, "height": 800})
    for path in paths:
        page.goto(path)
        assert violations(page) == [], path


@pytest.mark.parametrize(("scheme", "width"), SCREENS)
def test_axe_finds_nothing_in_reports(open_page, visited, tmp_path, scheme, width):
    state, (_, job, blank, *_) = visited
    page = open_page(color_scheme=scheme, storage_state=state, viewport={"width": width, "height": 800})
    for number, path in enumerate((job, blank)):
        report = tmp_path / f"{number}.html"
        report.write_bytes(page.request.get(f"{path.replace('/jobs/', '/v1/jobs/')}/report.html").body())
        page.goto(report.as_uri())
        assert violations(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(244, 246, 249)" if scheme == "light" else "rgb(18, 23, 29)")
