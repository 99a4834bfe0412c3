"""The page of `watch` in a real browser. Needs Debian's `chromium`."""

from __future__ import annotations

import json
import shutil
import threading
import time

import pytest

from fakecore.files import read_json, write_json
from fakegen.watching.server import WatchServer

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

WAIT_MS = 20_000


@pytest.fixture
def growing(run, tmp_path):
    """A copy of the run as it was after the first epoch."""
    path = shutil.copytree(run, tmp_path / "growing")
    lines = (path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (path / "metrics.jsonl").write_text("".join(lines[: len(lines) // 2]))
    (path / "snapshots" / "epoch-0002.png").rename(tmp_path / "epoch-0002.png")
    write_json(path / "run.json", {**read_json(path / "run.json"), "status": "running", "epoch": 1, "step": 1})
    return path, lines[len(lines) // 2 :]


@pytest.fixture
def served(growing):
    server = WatchServer(growing[0])
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def open_page(browser, served):
    """A function that opens the page; errors of its script and of the content policy fail the test."""
    contexts, errors = [], []

    def opened(**options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda one: errors.append(one.text) if "Content Security Policy" in one.text else None)
        page.goto(served.address)
        page.wait_for_selector("#snapshots:not([hidden])", timeout=WAIT_MS)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


def until(page, expression: str, *, now: bool = True) -> None:
    """Wait until an expression is true; wait_for_function would need a content policy that allows eval. `now` makes the
    page ask at once, as when its tab is shown again.
    """
    if now:
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    end = time.monotonic() + WAIT_MS / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(20)


def test_the_page_follows_the_run(open_page, growing, served, tmp_path):
    path, rest = growing
    page = open_page()
    last = json.loads((path / "metrics.jsonl").read_text().splitlines()[-1])
    assert page.locator("#headline").inner_text().startswith("Training: epoch 1 of 2, about ")
    assert page.locator("#step").inner_text() == str(last["step"]) and page.locator("#epoch").inner_text() == "1"
    loss = page.locator("[data-chart=loss]")
    assert f"D: {last['loss_d']:.3g}".rstrip("0") in loss.locator(".legend").inner_text()
    assert loss.locator("polyline").count() == 2 and "Losses" in loss.locator(".chart svg").get_attribute("aria-label")
    assert page.locator("[data-chart=distance] .chart").inner_text() == "Not measured yet."
    assert page.locator("#shown").inner_text() == "epoch 1 (latest)"
    until(page, "document.querySelector('#snapshot').naturalWidth > 0")

    with (path / "metrics.jsonl").open("a") as file:
        file.writelines(rest)
    (tmp_path / "epoch-0002.png").rename(path / "snapshots" / "epoch-0002.png")
    until(page, "document.querySelector('#shown').textContent === 'epoch 2 (latest)'", now=False)
    assert (
        page.locator("#headline").inner_text()
        == "Trained to epoch 2 of 2; the last measurement, the plots and the set remain."
    )
    assert page.locator("#progress").evaluate("one => one.value") == 1

    page.locator("#which").press("ArrowLeft")  # now the snapshot is the visitor's choice
    assert page.locator("#shown").inner_text() == "epoch 1"
    shutil.copy(path / "snapshots" / "epoch-0002.png", path / "snapshots" / "epoch-0003.png")
    until(page, "document.querySelector('#which').max === '3'")
    assert page.locator("#shown").inner_text() == "epoch 1"
    page.click("#follow")
    assert page.locator("#shown").inner_text() == "epoch 3 (latest)"

    shutil.rmtree(path)
    until(page, "document.querySelector('#gone').textContent.startsWith('The run cannot be read: there is no run in ')")
    served.shutdown()
    served.server_close()
    until(page, "document.querySelector('#gone').textContent.startsWith('The server does not answer')")
    assert page.locator("#gone").is_visible() and page.locator("#step").inner_text() != "–"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 390)])
def test_axe_finds_nothing_and_the_page_fits(open_page, growing, scheme, width):
    write_json(growing[0] / "run.json", {**read_json(growing[0] / "run.json"), "status": "failed", "error": "a reason"})
    (growing[0] / "plots" / "nearest.png").write_bytes((growing[0] / "snapshots" / "epoch-0001.png").read_bytes())
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.locator("#notes .error").inner_text() == "a reason" and page.locator("#nearest").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    found = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert [(one["id"], [node["html"][:90] for node in one["nodes"]]) for one in found] == []
