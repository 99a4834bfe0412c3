"""Tables as plain text for terminals of any width, and as CSV."""

from __future__ import annotations

import csv
import io
import shutil
import textwrap
from collections.abc import Mapping, Sequence

_GAP = "  "


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table as text: numbers aligned right, everything else left. If a line is wider than the terminal (80
    characters without one), the last column is wrapped.
    """
    cells = [[f"{cell:,}" if type(cell) is int else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    numeric = [bool(rows) and all(row[place][:1].isdigit() for row in cells) for place in range(len(columns))]
    start = sum(widths[:-1]) + len(_GAP) * (len(widths) - 1)
    lines = []
    for row in [columns, *cells]:
        *head, last = (
            cell.rjust(width) if right else cell for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        first, *more = textwrap.wrap(last, max(20, terminal_width() - start)) or [""]
        lines.append(_GAP.join([*(cell.ljust(width) for cell, width in zip(head, widths, strict=False)), first]))
        lines += [" " * start + line for line in more]
    return "\n".join(line.rstrip() for line in lines)


def paragraph(text: str, indent: int = 0) -> str:
    """Return `text` wrapped to the terminal's width, with `indent` spaces before each line."""
    return textwrap.fill(text, terminal_width(), initial_indent=" " * indent, subsequent_indent=" " * indent)


def terminal_width() -> int:
    """Return the characters per line: the terminal's, or 80 without one; at most 100, for readability."""
    return min(shutil.get_terminal_size((80, 24)).columns, 100)


def as_csv(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> bytes:
    """Return a CSV file with a header and the `columns` of the rows; None and missing names become empty fields."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(errors="surrogateescape")
