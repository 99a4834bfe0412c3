"""The web application: joins database, workers, API and pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from fakedetect.web import api, metrics, pages
from fakedetect.web.access import Access, Guard
from fakedetect.web.choices import choices
from fakedetect.web.jobs import Jobs
from fakedetect.web.pool import Pool
from fakedetect.web.problems import add_handlers
from fakedetect.web.settings import ServeSettings
from fakedetect.web.store import Store

_ABOUT = """Judges photos and videos: how likely is each one fake? Rows are those of `fakelab score --json`.

`p_fake` is the calibrated probability of fake, and a verdict is a reason to check further, not proof. `GET /v1/detectors` says
what each detector was trained on and what share of fakes it detects."""


def create_app(settings: ServeSettings) -> FastAPI:
    """Return the application; its workers start, and its jobs are resumed, with its lifespan. Raises UserError for tokens,
    detectors and data that cannot be used.
    """
    pool = Pool(settings, choices(settings))
    store = Store(settings.data)
    service = api.Service(settings, Access(settings), pool, Jobs(settings, store, pool))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            await pool.start()
            await service.jobs.start()
            yield
        finally:
            await service.jobs.stop()
            await pool.stop()
            store.close()

    app = FastAPI(
        title="fakelab",
        version=version("fakelab"),
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    counted, site = metrics.Metrics(pool), pages.Pages(service)
    for router in (api.routes(service), metrics.routes(service.access, pool, counted), pages.routes(site)):
        app.include_router(router)
    add_handlers(app, site.problem)
    metrics.add_to(app, counted)
    app.add_middleware(Guard, settings=settings, page=site.problem)
    return app
