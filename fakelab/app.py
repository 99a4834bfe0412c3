"""The program: the packages' commands under one name, with their errors and exit codes.

Nothing heavy is imported before a command needs it, so that `--help` answers at once.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fakecore.commands.options import ExamplesLast
from fakecore.distributed import PeerLost, rank
from fakecore.errors import Interrupted, UserError, explain_os_error
from fakecore.interrupt import preserved_interrupts
from fakecore.messages import command
from fakedetect.commands import (
    adopt,
    attributes,
    audit,
    blend,
    evaluate,
    explain,
    export,
    faces,
    inspect,
    merge,
    report,
    score,
    serve,
    swap,
    train,
)
from fakegen.commands import compare, generate, measure, presets, publish, sample, similar, verify, walk, watch
from fakelab.commands import benchmark, demo, quiz, sweep

BadRequest: Any = typer.BadParameter.__mro__[2]  # ClickException; its module depends on the version of typer
PROGRAM, COMPLETION = "fakelab", "_FAKELAB_COMPLETE"
_NOT_A_NUMBER = re.compile(r"Invalid value for '([^']+)': Input should be a valid (\w+).*", re.DOTALL)
GROUPS = ("Make fakes", "Catch fakes", "Measure", "Share")


class GroupedCommands(TyperGroup):
    """List commands in `--help` under the headings of GROUPS, in the order in which they are added."""

    def list_commands(self, ctx) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx, formatter) -> None:
        """Write a section of `--help` for each heading."""
        for group in GROUPS:
            found = [
                (name, own) for name, own in self.commands.items() if getattr(own, "rich_help_panel", None) == group
            ]
            width = formatter.width - 6 - max(map(len, self.commands))
            if found:
                with formatter.section(group):
                    formatter.write_dl([(name, own.get_short_help_str(width)) for name, own in found])


app = typer.Typer(
    cls=GroupedCommands,
    help="Make fakes, catch fakes, and measure the race between the two.",
    epilog="First steps: fakelab demo.\n\nWith your own images: generate, then detect-train, then score.",
    add_completion=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"fakelab {installed_version('fakelab')}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Make fakes, catch fakes, and measure the race between the two."""


def _add(group: str, name: str, function, help_in_short: str | None = None) -> None:
    app.command(name, cls=ExamplesLast, rich_help_panel=group, short_help=help_in_short)(function)


_add("Make fakes", "demo", demo.demo, "Run the whole loop on built-in digits.")
_add("Make fakes", "presets", presets.presets)
_add("Make fakes", "generate", generate.generate)
_add("Make fakes", "watch", watch.watch)
_add("Make fakes", "sample", sample.sample)
_add("Make fakes", "walk", walk.walk)
_add("Make fakes", "verify", verify.verify)
_add("Catch fakes", "audit", audit.audit, "Check a data set for leaks.")
_add("Catch fakes", "detect-train", train.detect_train)
_add("Catch fakes", "adopt", adopt.adopt, "Make a detector of one that others trained.")
_add("Catch fakes", "score", score.score, "Score photos, videos and folders: real or fake?")
_add("Catch fakes", "report", report.report, "Summarise the results of score.")
_add("Catch fakes", "merge", merge.merge, "Merge results of score into one.")
_add("Catch fakes", "explain", explain.explain, "Show which parts of an image influence its score.")
_add("Catch fakes", "inspect", inspect.inspect, "Show what files say of their own origin.")
_add("Catch fakes", "serve", serve.serve, "Serve a web page and an API that judge photos and videos.")
_add("Catch fakes", "faces", faces.faces)
_add("Make fakes", "blend", blend.blend)
_add("Make fakes", "swap", swap.swap)
app.add_typer(attributes.commands, name="attributes", rich_help_panel="Make fakes")
_add("Measure", "evaluate", evaluate.evaluate)
_add("Measure", "measure", measure.measure)
_add("Measure", "compare", compare.compare)
_add("Measure", "similar", similar.similar)
_add("Measure", "quiz", quiz.quiz, "Test a person: which image of a pair is real?")
_add("Measure", "benchmark", benchmark.benchmark, "Test detectors against each epoch of a GAN.")
app.add_typer(sweep.commands, name="sweep", rich_help_panel="Measure")
_add("Share", "export", export.export)
_add("Share", "publish", publish.publish)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 some inputs could not be used, 2 invalid request or error, 130 interrupted.

    Of the processes started by torchrun, only the first prints results.
    """
    if rank():
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
    try:
        with preserved_interrupts():
            code = _run(sys.argv[1:] if arguments is None else arguments)
        print(end="", flush=True)
    except (UserError, BadRequest, OSError, Interrupted, KeyboardInterrupt) as error:
        code, line = _explain(error)
        with contextlib.suppress(OSError):
            print(line, end="\n" if line else "", file=sys.stderr, flush=True)
    _discard_unwritable_output()
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    """Run a command and return its exit code, like typer's main but without its handling of signals, pipes and errors."""
    parser = typer.main.get_command(app)
    parser._main_shell_completion({}, PROGRAM, COMPLETION)  # exits if a shell asks for completions
    try:
        with parser.make_context(command(), list(arguments) or ["--help"]) as context:
            return parser.invoke(context) or 0
    except typer.Exit as done:  # help has been printed
        return done.exit_code


def _explain(error: BaseException) -> tuple[int, str]:
    """Return the exit code for an error, and the one line to print."""
    if rank() and isinstance(error, (BadRequest, Interrupted, KeyboardInterrupt, PeerLost)):
        return 2, ""  # the first process prints it
    if isinstance(error, (Interrupted, KeyboardInterrupt)):
        # Without a message the command has saved nothing that could be resumed.
        return 130, f"interrupted: {str(error) or 'what was finished is kept; the same command starts again'}"
    if isinstance(error, BrokenPipeError):  # the reader of the output has closed it, as with `| head`
        return 0, ""
    if isinstance(error, BadRequest):
        context, message = (
            getattr(error, "ctx", None),
            _NOT_A_NUMBER.sub(r"\1 needs a valid \2", error.format_message()),
        )
        message = message.strip()
        ended = message if message.endswith(("?", ".")) else f"{message}."
        return 2, f"error: {ended} See: {context.command_path if context else command()} --help"
    process = f" in process {rank()}" if rank() else ""
    return 2, f"error{process}: {explain_os_error(error) if isinstance(error, OSError) else error}"


def _discard_unwritable_output() -> None:
    """Redirect closed streams to the null device; otherwise Python reports an error at exit and changes the exit code."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
