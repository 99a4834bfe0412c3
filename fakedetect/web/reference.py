"""The OpenAPI document as plain values for a page: one entry for each route."""

from __future__ import annotations

import json
from typing import Any

_METHODS = ("get", "post", "put", "patch", "delete")
_INTERNAL = "HTTPValidationError"  # FastAPI's own error, which this API never sends: it answers problem details


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the routes of an OpenAPI document, in its order."""
    return [
        _operation(path, method, methods[method])
        for path, methods in document["paths"].items()
        for method in _METHODS
        if method in methods
    ]


def _operation(path: str, method: str, described: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"{method}-{path.strip('/').replace('/', '-').replace('{', '').replace('}', '')}",
        "method": method.upper(),
        "path": path,
        "group": (described.get("tags") or ["other"])[0],
        "description": described.get("description") or described.get("summary", ""),
        "parameters": [_parameter(one) for one in described.get("parameters", [])],
        "fields": _fields(described.get("requestBody")),
        "answers": [_answer(status, one) for status, one in described.get("responses", {}).items() if _own(one)],
        "curl": _curl(path, method, described),
    }


def _parameter(parameter: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": parameter["name"],
        "place": parameter["in"],
        "required": parameter.get("required", False),
        "kind": _kind(parameter.get("schema", {})),
        "description": parameter.get("description", ""),
    }


def _fields(body: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the fields of a form."""
    form: dict[str, Any] = (body or {}).get("content", {}).get("multipart/form-data", {})
    schema = form.get("schema", {})
    return [
        {
            "name": name,
            "required": name in schema.get("required", ()),
            "kind": _kind(one),
            "description": one.get("description", ""),
        }
        for name, one in schema.get("properties", {}).items()
    ]


def _kind(schema: dict[str, Any]) -> str:
    """Return the type of a value in words."""
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"one or more: {_kind(schema.get('items', {}))}"
    if schema.get("format") == "binary":
        return "file"
    return schema.get("type", "")


def _own(answer: dict[str, Any]) -> bool:
    return _INTERNAL not in json.dumps(answer)


def _answer(status: str, answer: dict[str, Any]) -> dict[str, Any]:
    contents: dict[str, Any] = answer.get("content", {})
    kind = next(iter(contents), "")
    example = contents[kind].get("example") if kind else None
    return {
        "status": status,
        "description": answer.get("description", ""),
        "kind": kind,
        "example": None if example is None else json.dumps(example, indent=2),
    }


def _curl(path: str, method: str, described: dict[str, Any]) -> str:
    """Return an example of a call; SERVER, JOB and PLACE are to be replaced."""
    target = path.replace("{name}", "JOB").replace("{place}", "0")
    words = ["curl"]
    if described.get("requestBody"):
        words += ["-F files=@photo.jpg", "-F stability=true"] if "score" in path else ["-F files=@clip.mp4"]
    elif method != "get":
        words.append(f"-X {method.upper()}")
    if path.endswith("/events"):
        words.append("--no-buffer")
    if path.endswith((".jpg", ".mp4", ".html")):
        words.append("-O")
    return " ".join([*words, f"SERVER{target}"])
