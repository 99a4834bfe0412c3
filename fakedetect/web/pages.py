"""The web page: upload, results, history, detectors, signing in. Works without JavaScript; with it, results come live.

Every page is rendered here from templates. The page of a job is filled in by its script, which fetches the same HTML of one
file, `/jobs/ID/files/PLACE`, that the page itself consists of.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from fakedetect.web import reference, views
from fakedetect.web.access import ANYONE
from fakedetect.web.api import Service, accept, file_of
from fakedetect.web.cards import cards, inline
from fakedetect.web.problems import Problem
from fakedetect.web.store import Job, StoredFile
from fakedetect.web.tokens import Client
from fakedetect.web.uploads import NoFile

STATIC = Path(__file__).parent / "static"
_KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_MOST_LOGIN_BYTES = 8192
_ADVICE = {
    401: "Sign in with a token that the operator of this server gave you.",
    404: "Check the address. Jobs are deleted some time after they are done, and are shown only to those who sent them.",
    408: "Check your connection, then send the files again.",
    413: "Choose fewer or smaller files.",
    421: "Use the address that the operator of this server gave you.",
    429: "Wait a little, then try again.",
    507: "Tell the operator of this server.",
}


class Pages:
    """Renders the pages of one server."""

    def __init__(self, service: Service):
        self.service = service
        self._static = {path.name: path.read_bytes() for path in STATIC.iterdir() if path.suffix in _KINDS}
        self._templates = Environment(
            loader=PackageLoader("fakedetect.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["inline"] = inline
        digest = hashlib.sha256(b"".join(self._static[name] for name in sorted(self._static)))
        self._templates.globals |= {
            "settings": service.settings,
            "asset": f"?v={digest.hexdigest()[:12]}",
            "uses_tokens": service.access.tokens is not None,
            "headings": views.HEADINGS,
            "keep": views.hours_text(service.settings.keep_h),
        }

    def static(self, name: str) -> Response:
        """Return a style sheet or script of the package. Raises Problem 404."""
        if name not in self._static:
            raise Problem(404, "There is no such file.")
        # Addresses in the pages have a digest of all files, so a browser never uses an old one.
        return Response(
            self._static[name],
            media_type=_KINDS[Path(name).suffix],
            headers={"Cache-Control": "max-age=31536000, immutable"},
        )

    def render(self, request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Return a page, or a part of one."""
        client = self._client(request)
        signed_in = client is not None and self.service.access.tokens is not None
        text = self._templates.get_template(name).render(client=client, signed_in=signed_in, **values)
        answer = HTMLResponse(text, status)
        self.service.access.name_browser(request, answer, secure=request.url.scheme == "https")
        return answer

    def _client(self, request: Request) -> Client | None:
        try:
            return self.service.access.client(request)
        except Problem:
            return None

    def problem(self, request: Request, problem: Problem) -> Response:
        """Return an error as a page; who is not signed in is sent to the page that asks for a token."""
        if problem.status == 401 and request.url.path != "/login":
            after = request.url.path if request.method == "GET" else "/"
            return _to("/login" if after == "/" else f"/login?next={quote(after)}")
        plain = problem.response()
        advice = _ADVICE.get(problem.status, "")
        page = self.render(request, "problem.html.j2", problem.status, detail=problem.detail, advice=advice)
        if retry := plain.headers.get("retry-after"):
            page.headers["Retry-After"] = retry
        return page

    def file(self, job: Job, file: StoredFile) -> views.FileView:
        """Return what the page shows of a file."""
        return views.file_view(
            job, file, self.service.jobs.results(job, file.place), self.service.pool.detectors
        )  # fmt: skip

    def job(self, job: Job) -> views.JobView:
        """Return what the page shows of a job."""
        return views.job_view(job, self.service.settings.keep_h)

    async def own_jobs(self, client: Client) -> list[Job]:
        """Return the jobs of a client; none for clients without a name, which look all the same."""
        return [] if client.owner == ANYONE else await self.service.jobs.jobs_of(client.owner)


def routes(pages: Pages) -> APIRouter:
    """Return the routes of the pages; they are no part of the API's document."""
    router = APIRouter(include_in_schema=False)
    for add in (_home_routes, _job_routes, _reading_routes, _sign_in_routes):
        add(router, pages)
    return router


def _home_routes(router: APIRouter, pages: Pages) -> None:
    service = pages.service

    @router.get("/")
    async def home(request: Request, client: Annotated[Client, Depends(service.access.client)]) -> Response:
        recent = [pages.job(one) for one in (await pages.own_jobs(client))[:3]]
        return pages.render(request, "home.html.j2", detectors=service.pool.detectors, recent=recent)

    @router.post("/")
    async def upload(request: Request) -> Response:
        client = service.access.uploader(request)
        try:
            job, _ = await accept(service, request, client)
        except NoFile:
            raise Problem(422, "No file was chosen. Go back and choose one or more photos or videos.") from None
        return _to(f"/jobs/{job.id}")


def _job_routes(router: APIRouter, pages: Pages) -> None:
    service = pages.service
    Reader = Annotated[Client, Depends(service.access.client)]
    Writer = Annotated[Client, Depends(service.access.writer)]

    @router.get("/jobs")
    async def history(request: Request, client: Reader) -> Response:
        found = [pages.job(one) for one in await pages.own_jobs(client)]
        return pages.render(request, "history.html.j2", jobs=found)

    @router.post("/jobs/delete")
    async def delete_all(client: Writer) -> Response:
        while found := await pages.own_jobs(client):  # the list is limited
            for job in found:
                await service.jobs.delete(job.id)
        return _to("/jobs")

    @router.get("/jobs/{name}")
    async def show_job(
        request: Request, name: str, client: Reader, sort: Literal["sent", "p_fake", "name"] = "sent"
    ) -> Response:
        job = await service.seen(client, name)
        files = views.in_order([pages.file(job, one) for one in job.files], sort)
        return pages.render(request, "job.html.j2", job=pages.job(job), files=files, sort=sort)

    @router.get("/jobs/{name}/summary")
    async def show_summary(request: Request, name: str, client: Reader) -> Response:
        return pages.render(request, "_summary.html.j2", job=pages.job(await service.seen(client, name)))

    @router.get("/jobs/{name}/files/{place}")
    async def show_file(request: Request, name: str, place: int, client: Reader) -> Response:
        job = await service.seen(client, name)
        file = pages.file(job, file_of(job, place))
        return pages.render(request, "_file.html.j2", file=file, several=len(job.files) > 1)

    @router.post("/jobs/{name}/delete")
    async def delete_job(name: str, client: Writer) -> Response:
        await service.jobs.delete((await service.seen(client, name)).id)
        return _to("/jobs")


def _reading_routes(router: APIRouter, pages: Pages) -> None:
    service = pages.service
    known = cards(service.settings)
    Reader = Annotated[Client, Depends(service.access.client)]

    @router.get("/detectors")
    async def detectors(request: Request, client: Reader) -> Response:
        offered = service.pool.detectors
        judges = {judge["id"]: judge for choice in offered for judge in choice["judges"]}
        return pages.render(request, "detectors.html.j2", choices=offered, judges=list(judges.values()), cards=known)

    @router.get("/docs")
    async def documentation(request: Request) -> Response:
        document = request.app.openapi()
        found = reference.operations(document)
        server = str(request.base_url).rstrip("/")
        return pages.render(request, "docs.html.j2", document=document, operations=found, server=server)

    @router.get("/static/{name}")
    async def static(name: str) -> Response:
        return pages.static(name)


def _sign_in_routes(router: APIRouter, pages: Pages) -> None:
    access = pages.service.access

    @router.get("/login")
    async def ask(request: Request, next: str = "/") -> Response:  # noqa: A002
        if access.tokens is None:
            return _to("/")
        return pages.render(request, "login.html.j2", after=_inside(next), error=None)

    @router.post("/login")
    async def sign_in(request: Request) -> Response:
        form = await _form(request)
        after = _inside(form.get("next", "/"))
        answer = _to(after)
        if access.sign_in(answer, form.get("token", "").strip(), secure=request.url.scheme == "https"):
            return answer
        error = "This token is not known here. Check that it was copied whole."
        return pages.render(request, "login.html.j2", 401, after=after, error=error)

    @router.post("/logout")
    async def sign_out(request: Request) -> Response:
        answer = _to("/login")
        access.sign_out(request, answer)
        return answer


def _to(path: str) -> RedirectResponse:
    return RedirectResponse(path, 303)


def _inside(path: str) -> str:
    """Return a path of this server to continue at; "/" for anything that a browser might take for another server."""
    is_path = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and "\\" not in path
    return path if is_path else "/"


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of a short form. Raises Problem for a long one."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_LOGIN_BYTES:
            raise Problem(413, "The form is too long.")
    return {name: values[-1] for name, values in parse_qs(body.decode(errors="replace")).items()}
