"""`score --server URL`: the rows come from a server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from fakecore.errors import Interrupted, UserError
from fakecore.interrupt import StopRequest
from fakecore.messages import counted
from fakecore.progress import progress_bar
from fakecore.urls import is_url
from fakecore.urls import shown as shown_url
from fakedetect.commands.scorerows import RowPrinter

if TYPE_CHECKING:
    from fakedetect.scoring.sorting import Sorter

TOKEN = "FAKELAB_TOKEN"  # environment variable: on the command line, others could read it


def refuse_local(given: dict[str, object]) -> None:
    """Raise UserError if options are given that a server does not know: option -> value, None or False if not given."""
    unknown = [name for name, value in given.items() if value not in (None, False)]
    if unknown:
        raise UserError(
            f"--server cannot be combined with {', '.join(unknown)}",
            remedy="The server decides; --json prints whole rows, to be saved.",
        )


def score_on(
    server: str,
    paths: list[str],
    detector: str | None,
    *,
    stability: bool | None,
    whole_frame: bool,
    shown: RowPrinter,
    sorter: Sorter | None,
) -> int:
    """Let the server judge `paths`, and print each row; return 1 if some input could not be scored, else 0."""
    from fakedetect.scoring.inputs import list_inputs
    from fakedetect.web.client import Client

    for name in filter(is_url, paths):
        raise UserError(
            "--server takes files of this machine", got=shown_url(name), remedy="Score it without --server."
        )
    files = [path for path, _ in list_inputs(paths)]
    if not files:
        raise UserError("there is nothing to score", got=f"no files in {', '.join(paths)}")
    with (
        Client(server, os.environ.get(TOKEN)) as client,
        StopRequest() as stop,
        progress_bar("scoring", len(files), "files") as bar,
    ):

        def on_progress(path: str, analysed: int, expected: int) -> None:
            bar.note(f"{Path(path).name}: {analysed:,} of {counted(expected, 'frame')}")

        rows = client.score(
            files, detector=detector, stability=stability, whole_frame=whole_frame, on_progress=on_progress
        )
        for row in rows:
            shown.add([row])
            if sorter:
                sorter.add(row["path"], row["verdict"], None)
            bar.advance()
            if stop.asked:
                raise Interrupted("")
    return shown.finish(None, report=False)
