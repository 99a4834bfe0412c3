"""Markdown as HTML: model cards of the offered detectors, and descriptions with code in them."""

from __future__ import annotations

from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from fakedetect.detectors import packaged
from fakedetect.web.choices import choices
from fakedetect.web.settings import ServeSettings

CARD = "card.md"
_DEEPER = 2  # levels that headings of a card move down: on the page they stand below that of the detector


def cards(settings: ServeSettings) -> dict[str, Markup]:
    """Return the model cards of the offered detectors as HTML, by the detector's name; some have none."""
    offered = {path for one in choices(settings) for path in (one.detector, one.of_photos) if path}
    found = {}
    for path in offered:
        own = Path(path) if Path(path).exists() else packaged(path)
        if own and (own / CARD).is_file():
            found[own.resolve().name] = as_html((own / CARD).read_text("utf-8"))
    return found


def as_html(markdown: str) -> Markup:
    """Return a model card as HTML, without its title. HTML in it is shown as text."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = _without_title(parser.parse(markdown))
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + _DEEPER)}"
    html = parser.renderer.render(tokens, parser.options, {})
    # Wide tables and code scroll by themselves; what scrolls must be in reach of the keyboard.
    html = html.replace("<table>", '<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>')
    return Markup(html.replace("</table>", "</table></div>").replace("<pre>", '<pre tabindex="0">'))


def inline(markdown: str) -> Markup:
    """Return a paragraph as HTML, without the paragraph itself."""
    return Markup(MarkdownIt("commonmark", {"html": False}).renderInline(markdown))


def _without_title(tokens: list[Token]) -> list[Token]:
    is_titled = len(tokens) >= 3 and tokens[0].type == "heading_open" and tokens[0].tag == "h1"
    return tokens[3:] if is_titled else tokens
