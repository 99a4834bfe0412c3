"""Errors of the API as problem details (RFC 9457): what, got, expected and remedy, and never a path of the server."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from fakecore.errors import UserError

MEDIA_TYPE = "application/problem+json"
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with "no-referrer", browsers send forms with `Origin: null`, which Guard refuses
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), microphone=(), camera=()",
    "Cache-Control": "no-store",
}
_MOST_PATH = 200  # characters of a path that are repeated
_log = logging.getLogger("fakelab.serve")


class Problem(Exception):
    """A request that is refused. `detail` is one sentence that tells the client what to change; `retry_s` says when to come
    back; `members` are further members of the answer.
    """

    def __init__(self, status: int, detail: str, *, retry_s: float | None = None, **members: Any):
        super().__init__(detail)
        self.status, self.detail, self.retry_s, self.members = status, detail, retry_s, members

    def response(self) -> JSONResponse:
        """Return the answer of the API."""
        body = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        headers = {} if self.retry_s is None else {"Retry-After": str(max(1, round(self.retry_s)))}
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse({**body, **self.members}, self.status, headers, media_type=MEDIA_TYPE)


class FieldProblem(Problem):
    """A field of a request that cannot be used."""

    def __init__(self, name: str, got: object, expected: str):
        super().__init__(422, f"{name} cannot be used: got {got}; expected {expected}.")


Page = Callable[[Request, Problem], Response]


def answer_to(request: Request, problem: Problem, page: Page | None) -> Response:
    """Return an error as problem details, or, where the request accepts HTML, as a `page`."""
    if page and "text/html" in request.headers.get("accept", ""):
        return page(request, problem)
    return problem.response()


def add_handlers(app: FastAPI, page: Page | None = None) -> None:
    """Answer every error of the app with `answer_to`."""

    def answer(request: Request, problem: Problem) -> Response:
        return answer_to(request, problem, page)

    @app.exception_handler(Problem)
    async def on_problem(request: Request, problem: Problem) -> Response:
        return answer(request, problem)

    @app.exception_handler(UserError)
    async def on_user_error(request: Request, error: UserError) -> Response:
        return answer(request, Problem(422, f"{error}."))

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        detail = str(error.detail)
        if error.status_code == HTTPStatus.NOT_FOUND:
            detail = f"There is nothing at {request.url.path[:_MOST_PATH]}; /docs lists what there is."
        elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = (error.headers or {}).get("Allow", "")
            detail = f"{request.method} is not possible here; expected {allowed or 'another method'}."
        found = answer(request, Problem(error.status_code, detail))
        found.headers.update(error.headers or {})
        return found

    @app.exception_handler(RequestValidationError)
    async def on_validation(request: Request, error: RequestValidationError) -> Response:
        wrong = [
            {"name": ".".join(str(part) for part in one["loc"][1:]), "reason": one["msg"]} for one in error.errors()
        ]
        detail = "; ".join(f"{one['name']} cannot be used: {one['reason']}" for one in wrong)
        return answer(request, Problem(422, f"{detail}.", errors=wrong))

    @app.exception_handler(Exception)
    async def on_defect(request: Request, error: Exception) -> Response:
        _log.error("error in %s %s", request.method, request.url.path, exc_info=error)
        found = answer(request, Problem(500, "The server made an error; its log has the details."))
        found.headers.update(SECURITY_HEADERS)  # this answer is made outside of all middleware
        return found
