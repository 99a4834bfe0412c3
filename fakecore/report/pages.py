"""HTML pages of one style: self-contained reports, one file each without links to other files, and pages that are served."""

from __future__ import annotations

import base64
from datetime import date
from pathlib import Path
from typing import Any

from fakecore.files import write_bytes


def render_page(package: str, template: str, **values: Any) -> bytes:
    """Return the page, UTF-8: `template` of `package`, which extends fakecore's page.html.j2, with `values` and `today`.

    A page with the value `nonce` has it in its <style>, for a Content-Security-Policy.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    loader = ChoiceLoader([PackageLoader(package, "."), PackageLoader("fakecore.report", ".")])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template(template).render(today=date.today().isoformat(), **values)
    return page.encode("utf-8", errors="backslashreplace")


def write_page(path: Path, package: str, template: str, **values: Any) -> None:
    """Write the page that `render_page` returns."""
    write_bytes(path, render_page(package, template, **values))


def data_uri(file: Path | bytes, kind: str = "png") -> str:
    """Return an image file, or its bytes, as the `src` of an <img>; `kind` is "png", "jpeg" ..."""
    data = file if isinstance(file, bytes) else file.read_bytes()
    return f"data:image/{kind};base64," + base64.b64encode(data).decode()
