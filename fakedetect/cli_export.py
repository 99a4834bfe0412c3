"""What `export` prints."""

from __future__ import annotations

import json
from pathlib import Path

from fakecore.progress import say
from fakecore.tables import paragraph
from fakecore.wording import command
from fakedetect.onnxexport import IN_WORDS, OUT_WORDS, export_onnx


def run_export(detector: Path, onnx: Path, as_json: bool, *, check: Path | None) -> int:
    """Export a detector and say what was made of it, and how it was checked; 0."""
    say(f"tracing {detector} and checking the graph; this takes a while")
    made = export_onnx(detector, onnx, check)
    if as_json:
        print(json.dumps({**vars(made), "onnx": str(made.onnx), "input": IN_WORDS, "outputs": OUT_WORDS}))
        return 0
    print(f"{made.onnx}: {made.bytes / 1e6:,.1f} MB, ONNX opset {made.opset}")
    print(paragraph(f"checked: p_fake differs by at most {made.max_dp:.1g} on {made.checked_on}", indent=2))
    print(paragraph(IN_WORDS, indent=2))
    print(paragraph(OUT_WORDS, indent=2))
    print(f"  next      {command('score', 'FOLDER', '--detector', made.onnx)}")
    return 0
