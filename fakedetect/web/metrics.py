"""Counters of a server in the format of Prometheus, and the answers to health checks."""

from __future__ import annotations

import time
from collections.abc import Iterator

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fakedetect.web.access import Access
from fakedetect.web.pool import Pool

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Metrics:
    """The counters of one server."""

    def __init__(self, pool: Pool):
        self.registry = CollectorRegistry()
        self.registry.register(_OfPool(pool))
        names = ("method", "route", "status")
        self.requests = Counter("fakelab_requests", "Requests answered", names, registry=self.registry)
        self.seconds = Histogram(
            "fakelab_request_seconds",
            "Time until an answer began",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )


class _OfPool:
    """Reads the counters of the pool when they are asked for."""

    def __init__(self, pool: Pool):
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        pool = self._pool
        yield GaugeMetricFamily("fakelab_files_waiting", "Files that wait", pool.queue_length)
        yield GaugeMetricFamily("fakelab_files_running", "Files that are judged now", len(pool.running))
        for name, text in (
            ("judged", "Files judged"),
            ("batches", "Batches of files"),
            ("restarts", "Workers that ended and were started again"),
            ("timeouts", "Batches that took too long"),
        ):
            yield CounterMetricFamily(f"fakelab_{name}", text, pool.counts[name])


class Counted:
    """ASGI middleware: counts requests by route and status."""

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = time.monotonic()

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "none")  # not the path: it holds ids
                self._metrics.requests.labels(scope["method"], route, message["status"]).inc()
                self._metrics.seconds.labels(route).observe(time.monotonic() - begin)
            await send(message)

        await self._app(scope, receive, send_counted)


def routes(access: Access, pool: Pool, metrics: Metrics) -> APIRouter:
    """Return the routes of health checks and metrics."""
    router = APIRouter(tags=["operation"])

    @router.get("/healthz")
    async def healthz() -> JSONResponse:
        """Say that the server answers."""
        return JSONResponse({"status": "ok"})

    @router.get("/readyz", responses={503: {"description": "No worker is ready", "content": {"application/json": {}}}})
    async def readyz() -> JSONResponse:
        """Say whether files can be judged now; 503 if not."""
        ready = pool.is_ready
        return JSONResponse({"status": "ready" if ready else "starting"}, 200 if ready else 503)

    @router.get("/metrics", dependencies=[Depends(access.client)], response_class=PlainTextResponse)
    async def show_metrics(request: Request) -> Response:
        """Return counters for Prometheus."""
        return Response(generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router


def add_to(app: FastAPI, metrics: Metrics) -> None:
    """Count the requests of an app."""
    app.add_middleware(Counted, metrics=metrics)
