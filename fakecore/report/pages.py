"""Self-contained HTML reports: one file each, no links to other files, one style."""

from __future__ import annotations

import base64
from datetime import date
from pathlib import Path
from typing import Any

from fakecore.files import write_bytes


def write_page(path: Path, package: str, template: str, **values: Any) -> None:
    """Render `template` of `package`, which extends fakecore's page.html.j2, with `values` and `today`."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    loader = ChoiceLoader([PackageLoader(package, "."), PackageLoader("fakecore.report", ".")])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template(template).render(today=date.today().isoformat(), **values)
    write_bytes(path, page.encode("utf-8", errors="backslashreplace"))


def data_uri(file: Path | bytes, kind: str = "png") -> str:
    """Return an image file, or its bytes, as the `src` of an <img>; `kind` is "png", "jpeg" ..."""
    data = file if isinstance(file, bytes) else file.read_bytes()
    return f"data:image/{kind};base64," + base64.b64encode(data).decode()
