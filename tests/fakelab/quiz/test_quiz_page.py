"""The page of `quiz` in a real browser. Needs Debian's `chromium`."""

import json
from pathlib import Path

import pytest
from scipy.stats import binomtest

import fakelab

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

PAIRS = 12
READY = "shownAt !== null"


@pytest.fixture(scope="module")
def quiz(run, detector, tmp_path_factory):
    out = tmp_path_factory.mktemp("quiz") / "quiz.html"
    return fakelab.make_quiz(run, out, pairs=PAIRS, detectors=[detector], device="cpu")


@pytest.fixture
def open_quiz(browser, quiz):
    """A function that opens the page as a new visitor; errors of its script, and requests to anywhere, fail the test."""
    contexts, errors = [], []

    def opened(script: str | None = None, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda one: errors.append(one.url) if one.url.startswith("http") else None)
        page.on("dialog", lambda dialog: dialog.accept())
        if script:
            page.add_init_script(script)
        page.goto(Path(quiz.page).as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


def answer(page, right: bool, *, by: str = "arrow") -> None:
    """Choose the right or the wrong image of the pair that is shown."""
    page.wait_for_function(READY)
    left = page.evaluate("data.real_is_left[state.answers.length]") == right
    if by == "click":
        page.locator(".choice").nth(0 if left else 1).click()
    else:
        page.keyboard.press({"arrow": ("ArrowLeft", "ArrowRight"), "digit": ("1", "2")}[by][0 if left else 1])


def test_answers_are_counted_kept_and_compared_with_the_detector(open_quiz, quiz):
    page = open_quiz(accept_downloads=True)
    said = [True, False, True, True, True, False, True, True, True, True, False, True]
    for place, right in enumerate(said):
        assert page.locator("#place").inner_text() == f"Pair {place + 1} of {PAIRS}"
        if place == 5:  # what a crash or a new visit does
            page.reload()
            assert page.locator("#place").inner_text() == f"Pair 6 of {PAIRS}"
        answer(page, right, by=("arrow", "digit", "click")[place % 3])
    interval = binomtest(9, PAIRS).proportion_ci(method="wilson")
    low, high = (f"{100 * edge:.1f} %" for edge in interval)
    assert page.locator("#headline").inner_text() == (
        f"You chose the real image in 9 of 12 pairs: 75.0 % (95 % interval {low} to {high})."
    )
    assert "does not differ from chance" in page.locator("#words").inner_text()
    assert page.evaluate("document.activeElement.id") == "headline"
    page.reload()
    rows = [row.inner_text().split("\t") for row in page.locator("#rows tr").all()]
    assert rows[0][:4] == ["you", "9 of 12", "75.0 %", f"{low} to {high}"]
    (found,) = quiz.detectors
    edges = " to ".join(f"{100 * edge:.1f} %" for edge in found.share_interval)
    assert rows[1][:5] == [
        found.name,
        f"{found.pairs_right:g} of 12",
        f"{100 * found.share:.1f} %",
        edges,
        found.against_chance,
    ]
    assert rows[1][5].startswith(f"{found.auroc:.3f} (") and rows[1][6] == f"{found.both_verdicts_right} of 12"
    shown = page.locator("#wrong figure")
    assert [one.inner_text().split(",")[0] for one in shown.locator("figcaption").all()] == [
        "pair 2",
        "pair 6",
        "pair 11",
    ]
    assert page.evaluate(
        "[...document.querySelectorAll('#wrong figure')].every((one, k) => { const pair = [1, 5, 10][k];"
        " const real = one.querySelector('.real').previousSibling.src;"
        " return real === data.images[2 * pair + (data.real_is_left[pair] ? 0 : 1)]; })"
    )
    with page.expect_download() as download:
        page.click("#save")
    saved = json.loads(Path(download.value.path()).read_text())
    assert [one["right"] for one in saved["answers"]] == said and saved["quiz"] == quiz.id
    assert saved["interval"] == pytest.approx(list(interval)) and all(one["ms"] >= 0 for one in saved["answers"])
    page.locator("#result .again").click()
    assert page.locator("#place").inner_text() == f"Pair 1 of {PAIRS}"


def test_an_early_end_and_answers_that_are_corrected(open_quiz, quiz):
    page = open_quiz()
    assert page.locator("#stop").is_disabled() and page.locator("#said").inner_text() == ""
    page.check("#feedback")
    answer(page, False, by="click")
    left = page.evaluate("data.real_is_left[0]")
    assert page.locator("#said").inner_text() == f"Wrong: the {'left' if left else 'right'} image is real."
    assert page.locator(".choice span").all_inner_texts() == (["real", "fake"] if left else ["fake", "real"])
    assert page.locator("#stop").inner_text() == "Result after 9 more"
    page.keyboard.press("ArrowLeft")  # not a second answer
    page.keyboard.press("Enter")  # "Next pair" has the focus
    assert page.locator("#place").inner_text() == f"Pair 2 of {PAIRS}"
    page.uncheck("#feedback")
    for _ in range(9):
        answer(page, True)
    page.click("#stop")
    assert "9 of 10 pairs: 90.0 %" in page.locator("#headline").inner_text()
    assert "better than chance" in page.locator("#words").inner_text()
    assert "After 1 of the 10 answers" in page.locator("#about").inner_text()
    page.reload()  # still ended
    rights = page.evaluate("data.detectors[0].rights.slice(0, 10).reduce((a, b) => a + b)")
    assert page.locator("#rows tr").nth(1).inner_text().split("\t")[1] == f"{rights:g} of 10"
    page.click("#more")
    assert page.locator("#place").inner_text() == f"Pair 11 of {PAIRS}"


def test_nothing_on_the_screen_tells_which_is_real(open_quiz):
    page = open_quiz()
    page.wait_for_function(READY)
    visible = page.locator("#ask").inner_text() + " ".join(
        page.locator("#ask img").evaluate_all("all => all.map(i => i.alt)")
    )
    assert "fake" not in visible and visible.count("real") == 1  # the question
    kinds = page.locator(".choice").evaluate_all("all => all.map(one => [one.className, one.title, one.offsetWidth])")
    assert kinds[0] == kinds[1]


def test_it_works_where_the_browser_keeps_nothing(open_quiz):
    refused = (
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError'); } });"
    )
    page = open_quiz(refused)
    for _ in range(PAIRS):
        answer(page, True)
    assert "12 of 12" in page.locator("#headline").inner_text()
    assert "does not keep the answers" in page.locator("#kept").inner_text()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing(open_quiz, scheme, width):
    page = open_quiz(color_scheme=scheme, viewport={"width": width, "height": 844})
    for ended in (False, True):
        if ended:
            for place in range(PAIRS):
                answer(page, place > 2)
        found = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        assert [(one["id"], [node["target"] for node in one["nodes"]]) for one in found] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if not ended:
            first, second = (page.locator(".choice").nth(side).bounding_box() for side in (0, 1))
            assert first["y"] == second["y"] and first["x"] + first["width"] < second["x"]  # side by side
