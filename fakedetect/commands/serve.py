"""`serve`: options and output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fakecore.commands.options import Device
from fakecore.errors import UserError
from fakecore.progress import say


def serve(
    detector: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DET",
            help="Detector folder or .onnx file to offer; repeat it for several, the default first. Default: those of the "
            "package.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Others than loopback need a token file.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8000,
    data: Annotated[Path, typer.Option(metavar="DIR", help="Folder of jobs, uploads and results.")] = Path("serve"),
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Clients that may use it: lines NAME TOKEN [read-only].")
    ] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Let anyone in who reaches the address.")] = False,
    hosts: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Further host names that it answers to; repeat it.")
    ] = None,
    proxy: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="Reverse proxy whose X-Forwarded-For and -Proto are trusted; repeat it."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that judge. Default: one per core, at least 2.")
    ] = None,
    keep: Annotated[
        str, typer.Option(metavar="TIME", help="Delete finished jobs after this time: 30m, 24h, 7d.")
    ] = "24h",
    keep_uploads: Annotated[
        bool, typer.Option("--keep-uploads", help="Keep uploads as long as their job. Default: delete when judged.")
    ] = False,
    max_mb: Annotated[int, typer.Option(help="Largest request, in MiB.")] = 200,
    max_files: Annotated[int, typer.Option(help="Most files of a request.")] = 100,
    max_pixels: Annotated[int, typer.Option(help="Most pixels of a photo or frame.")] = 100_000_000,
    max_minutes: Annotated[float, typer.Option(help="Longest video, in minutes.")] = 10.0,
    max_queue: Annotated[int, typer.Option(help="Most files that wait.")] = 500,
    max_data_gb: Annotated[float, typer.Option(help="Most that the data folder may hold, in GiB.")] = 20.0,
    max_per_minute: Annotated[
        int, typer.Option(help="Most uploads, reports and heat maps of one client a minute; 0: no limit.")
    ] = 0,
    max_s: Annotated[float, typer.Option(help="Most seconds that one file may take.")] = 600.0,
    memory_mb: Annotated[int, typer.Option(help="Most memory of a worker beyond its detectors, in MiB.")] = 6000,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE.pem", help="Certificate for HTTPS, with --key.")
    ] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE.pem", help="Private key of the certificate.")] = None,
    device: Device = "auto",
    check: Annotated[bool, typer.Option("--check", help="Check the data folder, and stop.")] = False,
) -> int:
    """Serve a web page and an API that judge photos and videos.

    Anyone on this machine can then open the page in a browser; programs use the API, described at /docs. Jobs are kept in
    --data: a server that was stopped or killed resumes them.

    \b
    Examples:
      fakelab serve
      fakelab serve --detector runs/mine --port 9000
      fakelab serve --host 0.0.0.0 --token-file tokens.txt --hosts fakelab.example.org
    """
    from fakedetect.web.settings import ServeSettings

    given = {} if workers is None else {"workers": workers}
    settings = ServeSettings(
        data=data,
        detectors=tuple(detector or ()),
        host=host,
        port=port,
        token_file=token_file,
        no_auth=no_auth,
        hosts=tuple(hosts or ()),
        proxies=tuple(proxy or ()),
        device=device,
        keep_h=_hours(keep),
        keep_uploads=keep_uploads,
        max_mb=max_mb,
        max_files=max_files,
        max_pixels=max_pixels,
        max_minutes=max_minutes,
        max_queue=max_queue,
        max_data_gb=max_data_gb,
        max_per_minute=max_per_minute,
        max_s=max_s,
        memory_mb=memory_mb,
        **given,
    )
    if check:
        return _check(settings.data)
    from fakedetect.web.server import run

    run(settings, certificate, key)
    return 0


def _hours(text: str) -> float:
    """Convert 30m, 24h or 7d to hours."""
    units = {"m": 1 / 60, "h": 1.0, "d": 24.0}
    try:
        return float(text[:-1]) * units[text[-1]]
    except (ValueError, KeyError, IndexError):
        raise UserError("--keep is no time", got=repr(text), expected="a number with m, h or d, such as 24h") from None


def _check(data: Path) -> int:
    """Print whether a data folder is sound; return 1 if not."""
    from fakedetect.web.store import Store

    if not (data / "jobs.sqlite").is_file():
        raise UserError(f"{data} has no jobs", expected="the --data folder of a server")
    store = Store(data)
    try:
        wrong, jobs = store.problems(), len(store.ids())
    finally:
        store.close()
    for line in wrong:
        print(line)
    say(f"{data}: {jobs:,} jobs, " + (f"{len(wrong):,} problems" if wrong else "sound"))
    return 1 if wrong else 0
