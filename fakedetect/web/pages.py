"""The web page: upload, results, history, detectors, signing in. Works without JavaScript; with it, results come live."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from fakedetect.web.api import Service

STATIC = Path(__file__).parent / "static"


def routes(service: Service) -> APIRouter:
    """Return the routes of the pages; they are no part of the API's document."""
    router = APIRouter(include_in_schema=False)
    templates = Environment(
        loader=PackageLoader("fakedetect.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip

    def page(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
        text = templates.get_template(name).render(settings=service.settings, **values)
        answer = HTMLResponse(text, status)
        service.access.name_browser(request, answer, secure=request.url.scheme == "https")
        return answer

    @router.get("/")
    async def home(request: Request) -> HTMLResponse:
        return page(request, "home.html.j2", detectors=service.pool.detectors)

    return router
