"""What the OpenAPI document says of requests and answers that the routes read and write themselves."""

from __future__ import annotations

from typing import Any

from fakedetect.web.problems import MEDIA_TYPE

_PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}
ROW: dict[str, Any] = {
    "path": "photo.jpg",
    "status": "ok",
    "kind": "image",
    "p_fake": 0.9713,
    "verdict": "fake",
    "threshold": 0.719783,
    "real_below": 0.141186,
    "outside_domain": False,
    "error": None,
    "note": "one face",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "detector": "2eb53c10c05e",
    "judged_by": "faces",
    "subject": "face",
    "faces": [{"box": [102.0, 88.5, 301.2, 290.0], "p_fake": 0.9713, "verdict": "fake"}],
}
_ROWS = {"type": "array", "items": {"type": "object"}}
_JOB: dict[str, Any] = {
    "id": "kq3v0Zr1mB5J8dQ2n6tXwA",
    "state": "queued",
    "created": 1790000000.0,
    "finished": None,
    "detector": "default",
    "files": [
        {"place": 0, "name": "clip.mp4", "size": 2411585, "state": "queued", "result": None}
        | {"marked": None, "marked_error": None}
    ],
    "links": {
        "self": "/v1/jobs/kq3v0Zr1mB5J8dQ2n6tXwA",
        "events": "/v1/jobs/kq3v0Zr1mB5J8dQ2n6tXwA/events",
        "result": "/v1/jobs/kq3v0Zr1mB5J8dQ2n6tXwA/result",
    },
}
UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "detector": {"type": "string", "description": "A name of GET /v1/detectors."},
                        "stability": {
                            "type": "boolean",
                            "description": "Judge photos after five light re-encodings too. Default: for a single file.",
                        },
                        "whole_frame": {"type": "boolean", "description": "Judge whole frames and photos, not faces."},
                        "marked": {
                            "type": "boolean",
                            "description": "Jobs: also draw each video with its faces marked, after all results.",
                        },
                    },
                }
            }
        },
    }
}


def _problem(title: str, status: int, detail: str) -> dict[str, Any]:
    example = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return {"description": title, "content": {MEDIA_TYPE: {"schema": _PROBLEM, "example": example}}}


def _json(description: str, schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema, "example": example}}}


_REFUSED: dict[int | str, dict[str, Any]] = {
    400: _problem("Bad Request", 400, "The form is damaged or was cut off."),
    401: _problem("Unauthorized", 401, "A valid token is required: Authorization: Bearer TOKEN."),
    403: _problem("Forbidden", 403, "This token is read-only."),
    408: _problem("Request Timeout", 408, "No byte arrived for 30 s."),
    413: _problem("Content Too Large", 413, "The request is too large; the limit is 200 MiB."),
    415: _problem("Unsupported Media Type", 415, "Send the files as multipart/form-data, in the field 'files'."),
    422: _problem("Unprocessable Content", 422, "The request holds no file. Send files in the field 'files'."),
    429: _problem("Too Many Requests", 429, "Too many files wait. Try again later."),
    507: _problem("Insufficient Storage", 507, "The server's storage for jobs is full. Try again later."),
}
_RESULTS = {"type": "object", "properties": {"results": _ROWS}}
SCORED = {200: _json("The rows", _RESULTS, {"results": [ROW]}), **_REFUSED}
ACCEPTED = {202: _json("The job was accepted", {"type": "object"}, _JOB), **_REFUSED}
NOT_FOUND: dict[int | str, dict[str, Any]] = {
    401: _REFUSED[401],
    404: _problem("Not Found", 404, "There is no such job, or it was deleted."),
    422: _problem("Unprocessable Content", 422, "place cannot be used: Input should be a valid integer."),
}
NOT_DONE = {**NOT_FOUND, 409: _problem("Conflict", 409, "The job is not done yet.")}
_ROWS_SENT = _json("The rows", _RESULTS, {"results": [ROW]})
RESULT = {
    200: {**_ROWS_SENT, "content": {**_ROWS_SENT["content"], "application/jsonl": {}, "text/csv": {}}},
    **NOT_DONE,
}


def file(kind: str, problems: dict[int | str, dict[str, Any]] = NOT_FOUND) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a route that sends a file of this media type."""
    return {200: {"description": "The file", "content": {kind: {}}}, **problems}
