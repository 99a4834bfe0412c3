"""`inspect`: options and output."""

from __future__ import annotations

import json
import ssl
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from fakecore.commands.options import Json
from fakecore.errors import UserError
from fakecore.progress import say
from fakecore.report.tables import paragraph


def inspect(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Photos, videos, folders, archives and quoted patterns.")
    ],
    trust: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="C2PA: root certificates of the signers to trust, in one PEM file."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Show what files say of their own origin, as evidence apart from their pixels.

    Lists labels and parameters of generators, IPTC source types, C2PA manifests, cameras, editors, encoders, thumbnails that
    show something else and traces of double compression, with where each stands and how it could be forged. Files with
    evidence come first. Signatures of C2PA manifests are verified with `pip install 'fakelab[c2pa]'`, without network access.

    \b
    Examples:
      fakelab inspect photo.png
      fakelab inspect inbox/ --json
      fakelab inspect photo.jpg --trust roots.pem
    """
    from fakedetect.inspection.findings import POINTS_TO
    from fakedetect.inspection.inspect import Inspected, inspect_file
    from fakedetect.scoring.inputs import expand, walk_inputs

    roots = _certificates(trust) if trust else None
    found = []
    for given in expand(walk_inputs(paths)):
        if given.problem is None:
            one = inspect_file(given.path, deep=True, trust=roots, data=given.data)
        else:
            one = Inspected(given.path, "image", given.status, given.problem)
        found.append(one)
        if as_json:
            print(json.dumps(one.to_json()))
    if not found:
        raise UserError("there is nothing to inspect", got=", ".join(paths), expected="photos or videos")
    if not as_json:
        for one in sorted(found, key=lambda each: POINTS_TO.index(each.points_to)):
            print(f"{one.path}: {one.points_to if one.status == 'ok' else f'{one.status}, {one.error}'}")
            for finding in one.findings:
                print(paragraph(f"{finding.points_to}, {finding.strength}: {finding.says}", 2))
                print(paragraph(f"{finding.where}; {finding.forged}", 4))
    counts = Counter(one.points_to if one.status == "ok" else one.status for one in found)
    say(f"{len(found):,} inspected: " + ", ".join(f"{n:,} {name}" for name, n in counts.items()))
    return 1 if any(one.status != "ok" for one in found) else 0


def _certificates(path: Path) -> str:
    """Return the text of a PEM file of certificates. Raises UserError."""
    try:
        text = path.read_text(encoding="ascii")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)  # it checks each certificate
    except (OSError, ValueError) as error:
        what = "the root certificates cannot be read"
        raise UserError(what, got=f"--trust {path}", expected="certificates in a PEM file") from error
    return text
