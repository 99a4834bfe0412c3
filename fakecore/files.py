"""Write files safely: a file appears complete or not at all; logs are truncated to complete lines."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from fakecore.errors import UserError

# Files that describe a folder of images; never themselves images to be judged or learned from.
SIDECARS = {
    "metadata.jsonl",
    "metadata.csv",
    "imageset.json",
    "attributes.csv",
    "selection.csv",
    "Thumbs.db",
    "desktop.ini",
}


def is_left_out(name: str) -> bool:
    """Return whether lists of a folder pass over what has this name in it: hidden files and folders, and SIDECARS."""
    return name.startswith(".") or name in SIDECARS


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, and rename it to `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Named before it is made, so that Ctrl-C at any moment leaves no file.
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex[:16]}{path.suffix}")
    try:
        temporary.touch(exist_ok=False)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
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


def read_json(path: Path, *, remedy: str = "Copy it again from the original, or create it again.") -> Any:
    """Read a JSON file. Raises UserError, with the `remedy`, when it is missing or is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing", remedy=remedy) from None
    except json.JSONDecodeError as error:
        got = f"a syntax error in line {error.lineno}" if error.doc.strip() else "an empty file"
    except (ValueError, RecursionError):
        got = "content that is not text"
    raise UserError(f"{path} is not valid JSON", got=got, remedy=f"The file is truncated or was changed. {remedy}")


def read_jsonl(path: Path) -> list[dict]:
    """Return all complete lines of a JSON-lines file; an incomplete last line is left out."""
    return [record for record, _ in whole_lines(path)]


def cut_jsonl(path: Path, keep: int) -> list[dict]:
    """Truncate a JSON-lines file to its first `keep` complete lines, and return them."""
    lines = list(islice(whole_lines(path), keep))
    if path.exists():
        os.truncate(path, lines[-1][1] if lines else 0)
    return [record for record, _ in lines]


def append_jsonl(path: Path, records: Iterable[dict]) -> None:
    """Append records, one line each, in one write."""
    text = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
    with path.open("ab") as file:
        file.write(text.encode())


def whole_lines(path: Path, start: int = 0) -> Iterator[tuple[dict, int]]:
    """Yield (record, byte offset of the line's end) for each complete line of a JSON-lines file, up to the first bad one.

    `start` is the byte offset of the first line to read. Holds one line in memory; a missing file yields nothing.
    """
    if not path.exists():
        return
    end = start
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            end += len(line)
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
            except ValueError:
                return
            if not isinstance(record, dict):
                return
            yield record, end
