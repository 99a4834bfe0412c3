"""The command `watch`: options and output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fakecore.commands.options import Json, print_json


def watch(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, made by `generate`.")],
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    as_json: Json = False,
) -> int:
    """Show a live page of a run: progress, time left, losses, distances and snapshots.

    The page is only for this machine, and follows the run while it trains. The run's folder is only read: the training
    is neither paused nor changed. Ctrl-C stops the page, not the run. --json prints the state once, without a page.

    \b
    Examples:
      fakelab watch runs/mine --open
      fakelab watch runs/mine --json
    """
    if as_json:
        from fakegen.watching.state import watch_state

        print_json(watch_state(run))
        return 0
    from fakegen.watching.server import serve

    serve(run, port, open_browser=open_browser)
    return 0
