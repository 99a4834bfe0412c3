"""Writing that survives being killed: whole files appear at once or not at all; logs are cut back to whole lines."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from fakecore.errors import UserError


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


def read_json(path: Path, *, remedy: str = "Copy it again from where it was made, or make it anew.") -> Any:
    """Read a JSON file. Raises UserError, with the `remedy`, when it is missing or is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing", remedy=remedy) from None
    except json.JSONDecodeError as error:
        got = f"a mistake in line {error.lineno}" if error.doc.strip() else "no text"
    except (ValueError, RecursionError):
        got = "other content"
    raise UserError(f"{path} is not valid JSON", got=got, remedy=f"It was cut short or altered. {remedy}")


def read_jsonl(path: Path) -> list[dict]:
    """Every whole line of a JSON-lines file; a last line that was cut short by a kill is left out."""
    return [record for record, _ in whole_lines(path)]


def cut_jsonl(path: Path, keep: int) -> list[dict]:
    """Shorten a JSON-lines file to its first `keep` whole lines, and return those."""
    lines = list(islice(whole_lines(path), keep))
    if path.exists():
        os.truncate(path, lines[-1][1] if lines else 0)
    return [record for record, _ in lines]


def append_jsonl(path: Path, records: Iterable[dict]) -> None:
    """Append records, one line each, in one write."""
    text = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
    with path.open("ab") as file:
        file.write(text.encode())


def whole_lines(path: Path) -> Iterator[tuple[dict, int]]:
    """(record, byte offset of the line's end) for each whole line of a JSON-lines file, up to the first that is not.

    Holds one line in memory; a file that is missing has none.
    """
    if not path.exists():
        return
    end = 0
    with path.open("rb") as file:
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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
