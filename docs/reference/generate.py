"""Write build/docs/cli.md and build/docs/python.md: the reference, from the command line and the docstrings."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from pathlib import Path

import typer

from fakelab.app import GROUPS, app

OUT = Path("build/docs")
PACKAGES = ("fakegen", "fakedetect", "fakelab")
LINE = 88  # a signature longer than this has one parameter per line
COLUMNS = re.compile(r"\S {2,}\S|^ {2,}\S", re.MULTILINE)  # text laid out in columns, which Markdown would join


def commands(command, path: str):
    """Yield (full name, command) for every command below `command`, groups left out."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        yield from commands(child, f"{path} {name}")


def command_line() -> str:
    """Return the help text of the program and of every command, in the order of its headings, as Markdown."""
    program = typer.main.get_command(app)
    parts = [f"```text\n{help_text(program, 'fakelab')}\n```\n"]
    for group in GROUPS:
        parts.append(f"## {group}\n")
        for name, command in program.commands.items():
            if getattr(command, "rich_help_panel", None) == group:
                parts += [
                    f"### {full.removeprefix('fakelab ')}\n\n```text\n{help_text(one, full)}\n```\n"
                    for full, one in commands(command, f"fakelab {name}")
                ]
    return "\n".join(parts)


def help_text(command, name: str) -> str:
    """Return what `name --help` prints."""
    settings = {**app.info.context_settings, "terminal_width": 88, "max_content_width": 88}
    with command.context_class(command, info_name=name, **settings) as context:
        return command.get_help(context)


def parameter_text(parameter: inspect.Parameter) -> str:
    """Return one parameter as source code: its annotation without quotes, `...` for a default that has no literal."""
    text = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "") + parameter.name
    if parameter.annotation is not parameter.empty:
        text += f": {annotation_text(parameter.annotation)}"
    if parameter.default is not parameter.empty:
        default = repr(parameter.default)
        text += f" = {'...' if default.startswith('<') else default}"
    return text


def annotation_text(annotation) -> str:
    """Return an annotation as it stands in the source; `from __future__ import annotations` makes it a string."""
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def signature_text(name: str, found) -> str:
    """Return the signature of a class or function as source code; the bare name where Python has no signature."""
    try:
        signature = inspect.signature(found)
    except ValueError:
        return name
    parts: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not any(part.startswith("*") for part in parts):
            parts.append("*")
        parts.append(parameter_text(parameter))
    returns = signature.return_annotation
    arrow = "" if inspect.isclass(found) or returns is signature.empty else f" -> {annotation_text(returns)}"
    line = f"{name}({', '.join(parts)}){arrow}"
    return line if len(line) <= LINE else "\n".join([f"{name}(", *(f"    {part}," for part in parts), f"){arrow}"])


def docstring_text(docstring: str) -> str:
    """Return a docstring as Markdown; a paragraph laid out in columns becomes a text block."""
    paragraphs = docstring.split("\n\n")
    return "\n\n".join(f"```text\n{part}\n```" if COLUMNS.search(part) else part for part in paragraphs)


def fields_table(found) -> str:
    """Return the fields of a class of settings with their defaults and descriptions, as a Markdown table."""
    rows = [
        f"| `{own.name}` | `{own.default}` | {own.metadata['why'].replace('|', '/')} |"
        for own in dataclasses.fields(found)
        if "why" in own.metadata
    ]
    return "\n".join(["| field | default | meaning |", "|---|---|---|", *rows, ""])


def python() -> str:
    """Return every public name of the packages with its signature and docstring, as Markdown."""
    parts = []
    for package in PACKAGES:
        module = importlib.import_module(package)
        parts.append(f"## {package}\n\n{inspect.getdoc(module) or ''}\n")
        for name in sorted(getattr(module, "__all__", [])):
            found = getattr(module, name)
            if inspect.isclass(found) or inspect.isfunction(found):
                body = f"```python\n{signature_text(name, found)}\n```\n\n{docstring_text(inspect.getdoc(found) or '')}"
            else:
                body = f"A `{type(found).__name__}`."
            parts.append(f"### {package}.{name}\n\n{body}\n")
            if dataclasses.is_dataclass(found) and any("why" in own.metadata for own in dataclasses.fields(found)):
                parts.append(fields_table(found))
    return "\n".join(parts)


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "cli.md").write_text(command_line(), encoding="utf-8")
    (OUT / "python.md").write_text(python(), encoding="utf-8")
