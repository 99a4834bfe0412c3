"""Writing that survives being killed: whole files appear at once or not at all; logs are cut back to whole lines."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fakecore.errors import UserError

COPY_AGAIN = "Copy it again from where it is whole."
Kind = type | tuple[type, ...]
_KINDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`; what was written under it becomes `path` when the block ends without error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".tmp-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files that only their owner may read
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, indented, with NaN refused (it is not JSON)."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises UserError when it is missing or is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except json.JSONDecodeError as error:
        place = f"from line {error.lineno}, column {error.colno} on" if error.doc.strip() else "but empty"
        raise UserError(
            f"{path} is not valid JSON {place}", remedy=f"It was cut short or altered. {COPY_AGAIN}"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not valid JSON but bytes that are no text", remedy=COPY_AGAIN) from None


def read_object(path: Path, needed: Mapping[str, Kind], version: int | None = None) -> dict:
    """Read a JSON object of a `version`, which has the `needed` keys, each of its kind; "a.b" is the key b of the object
    a. Raises UserError that names the file and what is missing or wrong in it.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged", got=_KINDS[type(value)], expected="an object", remedy=COPY_AGAIN)
    if version is not None:
        require(value, {"version": int}, path)
        if value["version"] != version:
            raise UserError(f"{path} is of another version", got=value["version"], expected=version)
    require(value, needed, path)
    return value


def require(value: dict, needed: Mapping[str, Kind], path: Path) -> None:
    """Raise UserError when the object read from `path` lacks a key, or has it of another kind; see `read_object`."""
    for name, kind in needed.items():
        found = value
        for depth, key in enumerate(name.split("."), 1):
            if not isinstance(found, dict) or key not in found:
                raise UserError(f"{path} has no {'.'.join(name.split('.')[:depth])!r}", remedy=COPY_AGAIN)
            found = found[key]
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if type(found) not in kinds:
            expected = " or ".join(_KINDS[one] for one in kinds)
            raise UserError(
                f"{path} has a wrong {name!r}", got=_KINDS[type(found)], expected=expected, remedy=COPY_AGAIN
            )


def read_jsonl(path: Path) -> list[dict]:
    """Every whole line of a JSON-lines file; a last line that was cut short by a kill is left out."""
    return [record for record, _ in _whole_lines(path)]


def cut_jsonl(path: Path, keep: int) -> list[dict]:
    """Shorten a JSON-lines file to its first `keep` whole lines, and return those."""
    lines = _whole_lines(path)[:keep]
    if path.exists():
        os.truncate(path, lines[-1][1] if lines else 0)
    return [record for record, _ in lines]


def append_jsonl(path: Path, records: Iterable[dict]) -> None:
    """Append records, one line each, in one write."""
    text = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
    with path.open("ab") as file:
        file.write(text.encode())


def _whole_lines(path: Path) -> list[tuple[dict, int]]:
    """(record, byte offset of the line's end) for each whole line, up to the first that is not."""
    if not path.exists():
        return []
    lines, end = [], 0
    with path.open("rb") as file:
        for line in file:
            end += len(line)
            if not line.endswith(b"\n"):
                break
            try:
                record = json.loads(line)
            except ValueError:
                break
            if not isinstance(record, dict):
                break
            lines.append((record, end))
    return lines


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
