"""Write build/docs/cli.md and build/docs/python.md: the reference, from the command line and the docstrings."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import typer

from fakelab.app import app

OUT = Path("build/docs")
PACKAGES = ("fakegen", "fakedetect", "fakelab")


def commands(command, path: str):
    """Yield (full name, command) for every command below `command`, groups left out."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        yield from commands(child, f"{path} {name}")


def command_line() -> str:
    """The help text of every command, as Markdown."""
    parts = []
    for name, command in commands(typer.main.get_command(app), "fakelab"):
        with command.context_class(command, info_name=name, terminal_width=100, max_content_width=100) as context:
            parts.append(f"## {name.removeprefix('fakelab ')}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def signature(found) -> str:
    """The signature of a class or function, or nothing where Python cannot tell it."""
    try:
        return str(inspect.signature(found)) if callable(found) else ""
    except ValueError:
        return ""


def python() -> str:
    """Every public name of the packages with its signature and docstring, as Markdown."""
    parts = []
    for package in PACKAGES:
        module = importlib.import_module(package)
        parts.append(f"## {package}\n\n{inspect.getdoc(module) or ''}\n")
        for name in sorted(getattr(module, "__all__", [])):
            found = getattr(module, name)
            own = inspect.isclass(found) or inspect.isfunction(found)
            shown = signature(found) if own else ""
            text = (inspect.getdoc(found) or "") if own else f"A `{type(found).__name__}`."
            parts.append(f"### {package}.{name}\n\n```text\n{name}{shown}\n\n{text}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "cli.md").write_text(command_line(), encoding="utf-8")
    (OUT / "python.md").write_text(python(), encoding="utf-8")
