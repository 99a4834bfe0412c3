"""What `verify` prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fakegen.verify import verify

SHOWN = 20


def run_verify(place: Path, as_json: bool, **options: Any) -> int:
    """Verify a set and print what differs; the exit code, 1 when something does."""
    found = verify(place, **options)
    if as_json:
        print(json.dumps({**vars(found), "set": str(found.set), "run": str(found.run), "as_made": found.as_made}))
        return 0 if found.as_made else 1
    print(f"{found.set}: {found.checked - len(found.different)} of {found.checked} fakes made again are the same")
    lines = [f"different: {line['file_name']!r}: {line['reason']}" for line in found.different]
    lines += [f"missing: {name!r}" for name in found.missing] + [f"not listed: {name!r}" for name in found.surplus]
    for line in lines[:SHOWN]:
        print(f"  {line}")
    if len(lines) > SHOWN:
        print(f"  and {len(lines) - SHOWN:,} more: see --json")
    for note in found.notes:
        print(f"  note: {note}")
    return 0 if found.as_made else 1
