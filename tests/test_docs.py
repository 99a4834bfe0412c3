"""The documents: links lead somewhere, commands exist, runnable blocks run, and the words are plain."""

import re
import shlex
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest
import typer

from fakelab.app import app

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(<?([^)>\s]+)>?\)|<img[^>]*\ssrc=\"([^\"]+)\"|\shref=\"([^\"]+)\"")
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
RUNNABLE = re.compile(r"^<!-- runnable -->\n+```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROGRAM = re.compile(r"^(?:\S+ -m fakelab|\.venv/bin/python cli\.py|python3? cli\.py|fakelab)(?=\s|$)")
PACKAGES = ("fakelab", "fakecore", "fakegen", "fakedetect")
HOMELY = re.compile(
    r"\b(?:go|goes|going|gone) on\b|\bbegun\b(?!-)|\btold\b|\bfilms?\b|\bat hand\b|such as it is|per cents|"
    r"looked at in another way",
    re.IGNORECASE,
)


def named(documents):
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in documents]


def commands(command, path=()):
    """Yield (path, command) of every command and group, the program itself first."""
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(app)))


def shell_lines(text):
    """Command lines in fenced shell blocks: comments removed, lines that end in a backslash joined."""
    for language, body in BLOCK.findall(text):
        if language.split(" ")[0] in {"", "bash", "sh", "console"}:
            for line in body.replace("\\\n", " ").splitlines():
                yield line.strip().removeprefix("$ ")


def fault(line):
    """What is wrong with a command line, or None; lines of other programs are not checked."""
    if module := re.match(r"\S*python3? -m (benchmarks[\w.]*)", line):
        place = ROOT / module[1].replace(".", "/")
        found = place.with_suffix(".py").exists() or (place / "__main__.py").exists()
        return None if found else f"no module {module[1]}"
    match = PROGRAM.match(line)
    if not match:
        return None
    words = shlex.split(line[match.end() :], comments=True)
    path = ()
    while words and (*path, words[0]) in COMMANDS:
        path = (*path, words.pop(0))
    command = COMMANDS[path]
    if getattr(command, "commands", None) and words and not words[0].startswith("-"):
        return f"no command {words[0]!r}"
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in words if word.startswith("-") and word.split("=")[0] not in {*known, "-h", "--help"}]
    return f"unknown options {unknown}" if unknown else None


@pytest.mark.parametrize("document", named(DOCUMENTS))
def test_links_and_pictures_exist(document):
    text = BLOCK.sub("", document.read_text(encoding="utf-8"))
    for groups in LINK.findall(text):
        target = unquote(next(filter(None, groups)).split("#")[0])
        if target and not re.match(r"[a-z]+:", target):
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", named(DOCUMENTS))
def test_commands_shown_exist(document):
    faults = {line: fault(line) for line in shell_lines(document.read_text(encoding="utf-8"))}
    assert {line: what for line, what in faults.items() if what} == {}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("fakelab generate digits --epochs 3", None),
        ("python cli.py sweep detect-train RUN --over blocks=1,2 --out DIR", None),
        ("fakelab --version", None),
        ("ls --nonsense", None),
        ("fakelab generat digits", "no command 'generat'"),
        ("fakelab score photo.jpg --detektor DET", "unknown options ['--detektor']"),
        ("python -m benchmarks.nothing", "no module benchmarks.nothing"),
        ("python -m benchmarks.speed.race", None),
    ],
)
def test_a_wrong_command_is_noticed(line, expected):
    assert fault(line) == expected


def runnable():
    """The Python blocks that stand below the line `<!-- runnable -->`."""
    found = []
    for document in DOCUMENTS:
        for number, code in enumerate(RUNNABLE.findall(document.read_text(encoding="utf-8"))):
            found.append(pytest.param(code, id=f"{document.relative_to(ROOT)}-{number}"))
    return found


@pytest.mark.parametrize("code", runnable())
def test_runnable_blocks_run(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "example", "exec"), {"__name__": "example"})


@pytest.mark.parametrize("document", named(DOCUMENTS))
def test_documents_use_plain_words(document):
    assert HOMELY.findall(document.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", [pytest.param(path, id=" ".join(("fakelab", *path))) for path in COMMANDS])
def test_help_uses_plain_words(path):
    command = COMMANDS[path]
    context = command.context_class(command, info_name=" ".join(("fakelab", *path)))
    assert HOMELY.findall(" ".join(command.get_help(context).split())) == []


def test_code_uses_plain_words():
    """Names, comments, docstrings, messages and templates of the four packages."""
    sources = [
        path for name in PACKAGES for path in (ROOT / name).rglob("*.*") if path.suffix in {".py", ".pyi", ".j2"}
    ]
    words = {str(path.relative_to(ROOT)): HOMELY.findall(path.read_text(encoding="utf-8")) for path in sources}
    assert len(words) > 190 and {path: found for path, found in words.items() if found} == {}


def test_every_page_is_in_the_site():
    site = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    assert tomllib.loads(site)["project"]["nav"]
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert pages == set(re.findall(r'"([\w/-]+\.md)"', site))


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150
