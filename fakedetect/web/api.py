"""The API, version 1: score files at once, or as jobs that are followed and fetched."""

import asyncio
import csv
import io
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from fakedetect.scoring.columns import CSV_COLUMNS, csv_row
from fakedetect.web import examples
from fakedetect.web.access import ANYONE, Access
from fakedetect.web.jobs import Jobs, Options
from fakedetect.web.pool import Pool
from fakedetect.web.problems import FieldProblem, Problem
from fakedetect.web.process import Ticket
from fakedetect.web.settings import ServeSettings
from fakedetect.web.store import Job, StoredFile
from fakedetect.web.tasks import MARKED, PICTURE, Task
from fakedetect.web.tokens import Client
from fakedetect.web.uploads import receive

_KINDS = {PICTURE: "image/jpeg", MARKED: "video/mp4"}
_HTML = "text/html; charset=utf-8"
_REPORT = examples.file("text/html", examples.NOT_DONE)
_MOST_KEY = 200  # characters


@dataclass
class Service:
    """What the routes use."""

    settings: ServeSettings
    access: Access
    pool: Pool
    jobs: Jobs

    def options(self, values: dict[str, str | None]) -> Options:
        """Return the options of a request from its fields or query. Raises Problem."""
        names = [one["name"] for one in self.pool.detectors]
        detector = values.get("detector") or names[0]
        if detector not in names:
            raise FieldProblem("detector", repr(detector), "one of " + ", ".join(names))
        return Options(
            detector, _flag(values, "stability"), bool(_flag(values, "whole_frame")), bool(_flag(values, "marked"))
        )

    async def seen(self, client: Client, name: str) -> Job:
        """Return a job that the client may see. Raises Problem 404 otherwise, also for jobs of others."""
        job = await self.jobs.job(name)
        if job is None or not self.access.may_see(client, job.owner):
            raise Problem(404, "There is no such job, or it was deleted.")
        return job


def _flag(values: dict[str, str | None], name: str) -> bool | None:
    value = (values.get(name) or "").lower()
    known = {"": None, "true": True, "1": True, "on": True, "false": False, "0": False, "off": False}
    if value not in known:
        raise FieldProblem(name, repr(value), "true or false")
    return known[value]


def job_json(job: Job) -> dict[str, Any]:
    """Return what the API says of a job."""
    base = f"/v1/jobs/{job.id}"
    return {
        "id": job.id,
        "state": job.state,
        "created": round(job.created, 3),
        "finished": None if job.finished is None else round(job.finished, 3),
        "detector": job.options["detector"],
        "files": [
            {
                "place": one.place,
                "name": one.name,
                "size": one.size,
                "state": one.state,
                "result": one.result,
                "marked": one.marked,
                "marked_error": one.marked_error,
            }
            for one in job.files
        ],
        "links": {"self": base, "events": f"{base}/events", "result": f"{base}/result"},
    }


def file_of(job: Job, place: int) -> StoredFile:
    """Return a file of a job. Raises Problem 404."""
    if not 0 <= place < len(job.files):
        raise Problem(404, "The job has no such file.")
    return job.files[place]


def stored(results: Path, name: str) -> FileResponse:
    """Return a picture or video of a judged file. Raises Problem 404."""
    if not (results / name).is_file():
        raise Problem(404, "There is no such result; it may not be ready yet.")
    return FileResponse(results / name, media_type=_KINDS[name])


def as_csv(rows: list[dict]) -> str:
    """Return rows as CSV, in the columns of `score --out FILE.csv`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    writer.writerows(map(csv_row, rows))
    return text.getvalue()


async def score_now(service: Service, request: Request) -> list[dict]:
    """Judge the files of a request and return their rows. Raises Problem."""
    service.access.uploader(request)
    await service.jobs.check_room()
    received = await receive(request, service.jobs.incoming, service.settings)
    tickets: list[Ticket] = []
    try:
        options = service.options({**request.query_params, **received.fields})
        async with service.jobs.room(len(received.files)) as room:
            for one in received.files:
                task = Task(
                    secrets.token_hex(8),
                    str(one.path),
                    one.name,
                    options.detector,
                    options.tested(len(received.files)),
                    options.whole_frame,
                )
                tickets.append(await service.pool.submit(task, room=room))
        return await _unless_gone(request, asyncio.gather(*(ticket.answer for ticket in tickets)))
    finally:
        for ticket in tickets:
            if not ticket.answer.done():
                await service.pool.cancel(ticket)
        received.discard()


async def _unless_gone(request: Request, rows: asyncio.Future[list[dict]]) -> list[dict]:
    """Return the rows, or raise Problem if the client goes away first: nobody would read them."""
    gone = asyncio.ensure_future(request.receive())
    both: set[asyncio.Future] = {rows, gone}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if rows.done():
            return rows.result()
        raise Problem(400, "The client went away.")
    finally:
        gone.cancel()
        rows.cancel()
        rows.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody else asks for it


def routes(service: Service) -> APIRouter:
    """Return the routes of the API."""
    router = APIRouter(prefix="/v1")
    for add in (_score_routes, _job_routes, _result_routes, _picture_routes):
        add(router, service)
    return router


def _score_routes(router: APIRouter, service: Service) -> None:
    Reader = Annotated[Client, Depends(service.access.client)]

    @router.post("/score", tags=["score"], openapi_extra=examples.UPLOAD, responses=examples.SCORED)
    async def score(request: Request) -> JSONResponse:
        """Judge photos and short videos, and wait for the rows: those of `fakelab score --json`, in the order of the files."""
        return JSONResponse({"results": await score_now(service, request)})

    @router.get("/detectors", tags=["detectors"])
    async def list_detectors(client: Reader) -> JSONResponse:
        """List the detectors: what each judges, was trained on, and is expected to detect."""
        return JSONResponse({"detectors": service.pool.detectors})


def _job_routes(router: APIRouter, service: Service) -> None:
    access, jobs = service.access, service.jobs
    Reader = Annotated[Client, Depends(access.client)]
    Writer = Annotated[Client, Depends(access.writer)]

    @router.post("/jobs", status_code=202, tags=["jobs"], openapi_extra=examples.UPLOAD, responses=examples.ACCEPTED)
    async def create_job(
        request: Request, key: Annotated[str | None, Header(alias="Idempotency-Key", max_length=_MOST_KEY)] = None
    ) -> JSONResponse:
        """Accept files to be judged in the background. What was accepted is not lost, even if the server is killed."""
        client = access.uploader(request)
        job, _ = await accept(service, request, client, key)
        return JSONResponse(job_json(job), 202, {"Location": f"/v1/jobs/{job.id}"})

    @router.get("/jobs", tags=["jobs"])
    async def list_jobs(client: Reader) -> JSONResponse:
        """List the jobs of this client, the newest first, at most 100; none for clients without token or cookie."""
        found = [] if client.owner == ANYONE else await jobs.jobs_of(client.owner)
        return JSONResponse({"jobs": [job_json(job) for job in found]})

    @router.get("/jobs/{name}", tags=["jobs"], responses=examples.NOT_FOUND)
    async def show_job(name: str, client: Reader) -> JSONResponse:
        """Show a job: its state, and the results that are known."""
        return JSONResponse(job_json(await service.seen(client, name)))

    @router.delete("/jobs/{name}", status_code=204, tags=["jobs"], responses=examples.NOT_FOUND)
    async def delete_job(name: str, client: Writer) -> Response:
        """Delete a job, its uploads and results; what is being judged of it is stopped."""
        await jobs.delete((await service.seen(client, name)).id)
        return Response(status_code=204)


def _result_routes(router: APIRouter, service: Service) -> None:
    Reader = Annotated[Client, Depends(service.access.client)]

    async def seen_job(name: str, client: Reader) -> Job:
        return await service.seen(client, name)

    @router.get("/jobs/{name}/events", tags=["jobs"], response_class=EventSourceResponse, responses=examples.NOT_FOUND)
    async def follow(job: Annotated[Job, Depends(seen_job)]) -> AsyncIterator[ServerSentEvent]:
        """Follow a job by server-sent events: `file` (place, state), `progress` (place, analysed, expected frames), and `done`
        when all results are known, or `deleted`. With marked videos, `marked` (place, state) and `drawing` (place, drawn,
        expected frames) follow.
        """
        async for event in service.jobs.events(job.id):
            if event is None:
                yield ServerSentEvent(comment="still here")
            else:
                yield ServerSentEvent(
                    event=event["event"], data={name: one for name, one in event.items() if name != "event"}
                )

    @router.get("/jobs/{name}/result", tags=["jobs"], responses=examples.RESULT)
    async def result(name: str, client: Reader, format: Literal["json", "jsonl", "csv"] = Query("json")) -> Response:  # noqa: A002
        """Return the rows of a job that is done, as `fakelab score` writes them."""
        job = await service.seen(client, name)
        if job.finished is None:
            raise Problem(409, "The job is not done yet.", state=job.state)
        rows = [one.result for one in job.files if one.result]
        if format == "csv":
            return PlainTextResponse(as_csv(rows), media_type="text/csv")
        if format == "jsonl":
            return PlainTextResponse("".join(json.dumps(row) + "\n" for row in rows), media_type="application/jsonl")
        return JSONResponse({"results": rows})

    @router.get("/jobs/{name}/report.html", tags=["jobs"], response_class=FileResponse, responses=_REPORT)
    async def show_job_report(request: Request, name: str, client: Reader) -> FileResponse:
        """Return one report page of all files of a job that is done, to be kept."""
        path = await service.jobs.report(
            await service.seen(client, name), partial(service.access.count, client, request)
        )
        return FileResponse(path, media_type=_HTML, filename="report.html")


def _picture_routes(router: APIRouter, service: Service) -> None:
    jobs = service.jobs
    Reader = Annotated[Client, Depends(service.access.client)]

    @router.get(
        "/jobs/{name}/files/{place}/picture.jpg",
        tags=["pictures"],
        response_class=FileResponse,
        responses=examples.file("image/jpeg"),
    )
    async def show_picture(name: str, place: int, client: Reader) -> FileResponse:
        """Return a thumbnail: a photo, with its faces marked, or the most suspicious face of a video."""
        return stored(jobs.results(await service.seen(client, name), place), PICTURE)

    @router.get(
        "/jobs/{name}/files/{place}/marked.mp4",
        tags=["pictures"],
        response_class=FileResponse,
        responses=examples.file("video/mp4", examples.NOT_DONE),
    )
    async def show_marked(name: str, place: int, client: Reader) -> FileResponse:
        """Return a video with a box and the verdict of each face, without sound: of jobs that were sent with `marked`."""
        job = await service.seen(client, name)
        file = file_of(job, place)
        if file.is_undrawn:
            raise Problem(409, "The marked video is not drawn yet.", state=file.marked)
        if file.marked_error:
            raise Problem(404, f"There is no marked video: {file.marked_error}.")
        if not job.options.get("marked"):
            raise Problem(404, "There is no marked video. Send the job with the field marked=true.")
        return stored(jobs.results(job, place), MARKED)

    @router.get(
        "/jobs/{name}/files/{place}/report.html", tags=["pictures"], response_class=FileResponse, responses=_REPORT
    )
    async def show_report(request: Request, name: str, place: int, client: Reader) -> FileResponse:
        """Return the report page of a file, to be kept."""
        job = await service.seen(client, name)
        path = await jobs.report(job, partial(service.access.count, client, request), file_of(job, place).place)
        return FileResponse(path, media_type=_HTML, filename=f"report-{place + 1}.html")

    @router.get(
        "/jobs/{name}/files/{place}/heat.jpg",
        tags=["pictures"],
        response_class=FileResponse,
        responses=examples.file("image/jpeg"),
    )
    async def show_heat(request: Request, name: str, place: int, client: Reader) -> FileResponse:
        """Return a heat map of the pixels that decided: where the score is most sensitive. It is attention, not proof."""
        job = await service.seen(client, name)
        path = await jobs.heat(job, file_of(job, place), partial(service.access.count, client, request))
        return FileResponse(path, media_type="image/jpeg")


async def accept(service: Service, request: Request, client: Client, key: str | None = None) -> tuple[Job, bool]:
    """Receive the files of a request as a job; pages have marked videos drawn, programs ask for them. Raises Problem."""
    await service.jobs.check_room()
    received = await receive(request, service.jobs.incoming, service.settings, lasting=True)
    # Browsers state the Origin of what a page sends, and Guard refuses those of other servers.
    defaults = {"marked": "true"} if "origin" in request.headers else {}
    try:
        options = service.options({**defaults, **request.query_params, **received.fields})
        return await service.jobs.accept(client.owner, options, received, key)
    finally:
        received.discard()
