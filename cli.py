"""fakelab's face: parse, call, print, exit code. Nothing heavy is imported before a command is known to need it."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cli_attributes import attribute_commands
from cli_common import RUNS, DataRoot, Device, Json, Real, Sets, fresh, newest, print_json, report_unused
from cli_detect import detector_commands
from cli_sweep import sweep_commands
from fakecore.errors import Interrupted, UserError, explain_os_error
from fakecore.interrupt import honest_interrupts
from fakecore.wording import command, counted
from fakecore.world import PeerLost, rank

BadRequest = typer.BadParameter.__mro__[2]  # ClickException, wherever this version of typer keeps it

app = typer.Typer(
    help="Makes fakes, catches fakes, and measures the race between the two.",
    epilog="Start with: demo. Then: generate, detect-train, score FOLDER.",
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(sweep_commands, name="sweep")
app.add_typer(detector_commands)
app.add_typer(attribute_commands, name="attributes")


@app.command()
def demo(
    out: Annotated[Path | None, typer.Option(help="Where to work. Default: runs/demo, or the next free name.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same result.")] = 0,
    device: Device = "auto",
) -> int:
    """The whole loop on built-in digits, in minutes on a laptop."""
    from benchmarks.demo import run_demo

    return run_demo(fresh(out, RUNS / "demo"), seed=seed, device=device)


@app.command()
def presets(
    name: Annotated[str | None, typer.Argument(help="One preset: every field with its value and reason.")] = None,
    as_json: Json = False,
) -> int:
    """Every GAN preset, or every field of one."""
    from fakegen.cli_presets import print_preset, print_presets

    if name is None:
        print_presets(as_json)
    else:
        print_preset(name, as_json)
    return 0


@app.command(short_help="Train a GAN on real images; write fakes and matched reals.")
def generate(
    preset: Annotated[str | None, typer.Argument(help="Name of a preset; see `presets`. Default: digits.")] = None,
    real: Real = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training reals.")] = None,
    count: Annotated[int | None, typer.Option(help="Fakes in the set. Default: as many as there are reals.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder. Default: runs/PRESET, or the next free name.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same result. Default: 0.")] = None,
    split: Annotated[str | None, typer.Option(help="Per cents of train, val, test. Default: 80,10,10.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    stop_on_collapse: Annotated[
        bool, typer.Option("--stop-on-collapse", help="End early if it collapses; the set is then of the best epoch.")
    ] = False,
    sets: Sets = None,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Train a GAN on real images, then write fakes and matched reals as a set for `detect-train`."""
    import fakegen
    from fakecore.settings import parse_assignments
    from fakecore.splits import DEFAULT_SPLIT, parse_split

    changes = parse_assignments(sets or [])
    if epochs is not None:
        changes["epochs"] = str(epochs)
    if stop_on_collapse:
        changes["stop_on_collapse"] = "true"
    shares = parse_split(split) if split else None
    shared = {"real": real, "changes": changes, "count": count, "device": device, "data_root": data_root}
    if resume:
        folder = out or newest(RUNS, "run.json", "run to resume", "--out RUN")
        made = fakegen.resume(folder, preset=preset, seed=seed, split=shares, **shared)
    else:
        name = preset or "digits"
        fakegen.get_preset(name, changes)  # a wrong name must not decide a folder's name
        folder = fresh(out, RUNS / name)
        made = fakegen.train(name, out=folder, seed=seed or 0, split=shares or DEFAULT_SPLIT, **shared)
    if as_json:
        facts = {"run": str(made.run), "set": str(made.set), "epochs": made.epochs, "counts": made.counts}
        print_json({**facts, "train_s": made.train_s, "unused": made.unused})
    else:
        fakes, reals = (sum(part[label] for part in made.counts.values()) for label in ("fake", "real"))
        trained = f"{counted(made.epochs, 'epoch')} in {made.train_s:,.0f} s" if made.epochs else "nothing was trained"
        print(f"{made.run}: {trained}; {counted(fakes, 'fake')} and {counted(reals, 'matched real')}")
        plots = sorted(path.name for path in (made.run / "plots").glob("*.png"))
        print(f"  look at   {made.run}/plots: {', '.join(plots)}")
        print(f"  next      {command('detect-train', made.run)}")
    return report_unused(made.unused, made.run / "unused.jsonl")


@app.command()
def sample(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    count: Annotated[int, typer.Option(help="How many fakes.")],
    out: Annotated[Path, typer.Option(help="The folder of the new set.")],
    epoch: Annotated[int | None, typer.Option(help="Which checkpoint. Default: the last.")] = None,
    only: Annotated[
        str | None,
        typer.Option("--class", help="Which class, of a conditional run. Default: all, as often as the reals."),
    ] = None,
    image_format: Annotated[str, typer.Option("--format", help="png, jpeg or webdataset.")] = "png",
    seed: Annotated[int | None, typer.Option(help="Seed of the latents. Default: the run's own plus 1.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a set that was stopped.")] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """More fakes from any checkpoint of a run; needs no data set."""
    import fakegen

    facts = fakegen.sample(
        run,
        out,
        count=count,
        epoch=epoch,
        only=only,
        image_format=image_format,
        seed=seed,
        resume=resume,
        device=device,
    )
    if as_json:
        print_json({"set": str(out), **facts})
    else:
        fakes, origin = sum(part["fake"] for part in facts["counts"].values()), facts["origin"]
        print(f"{out}: {counted(fakes, 'fake')} of epoch {origin['epoch']}, latent seed {origin['latent_seed']}")
    return 0


@app.command()
def measure(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    epochs: Annotated[str, typer.Option(help="all, or checkpoints such as 0,5,last.")] = "all",
    count: Annotated[int, typer.Option(help="Fakes per epoch; the same latents for each.")] = 1000,
    features: Annotated[str, typer.Option(help="Feature space: auto, inception, classes or random.")] = "auto",
    weights: Annotated[Path | None, typer.Option(help="Weights of inception: .safetensors or .pth.")] = None,
    classes_from: Annotated[
        str | None, typer.Option(help="Features learn the classes of these reals, where the run has one class alone.")
    ] = None,
    real: Annotated[str | None, typer.Option(help="Where the run's real images stand now, if they moved.")] = None,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Is it getting better? Distances of a run's checkpoints to held-out reals, the best epoch, and a plot."""
    from fakegen.cli_measure import run_measure

    where = {"classes_from": classes_from, "real": real, "device": device, "data_root": data_root}
    return run_measure(run, as_json, epochs=epochs, count=count, features=features, weights=weights, **where)


@app.command(short_help="The race: how well detectors do while a GAN learns, epoch by epoch.")
def benchmark(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs; several are crossed too.")],
    detectors: Annotated[
        str | None,
        typer.Option(help="Models, discriminator, and folders of detectors. Default: cnn,dct,spectrum,discriminator."),
    ] = None,
    epochs: Annotated[str | None, typer.Option(help="Such as 0,5,last, or all. Default: six, spread wide.")] = None,
    per_epoch: Annotated[int, typer.Option(help="Fakes of each epoch, and as many reals; 30 % are to test on.")] = 2000,
    seeds: Annotated[int, typer.Option(help="How often everything is repeated, with other draws and weights.")] = 3,
    real: Annotated[
        list[str] | None,
        typer.Option(help="Where the runs' real images stand now, if they moved; once for each place."),
    ] = None,
    degrade: Annotated[str | None, typer.Option(help="Tests on degraded images too: jpeg75, blur1 ...")] = None,
    jobs: Annotated[int | None, typer.Option(help="Trainings at a time. Default: one a core.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The race's folder; one that was begun is gone on with. Default: runs/RUN-race.")
    ] = None,
    sets: Sets = None,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """The race: detectors trained on the fakes of every epoch of a GAN, and tested on those of every other."""
    from benchmarks.cli_benchmark import run_benchmark

    folder = out or RUNS / f"{'-'.join(run.absolute().name for run in runs)}-race"
    asked = {"epochs": epochs, "per_epoch": per_epoch, "seeds": seeds, "degrade": degrade, "jobs": jobs}
    shared = {"sets": sets or [], "device": device, "data_root": data_root, "real": real or ()}
    again = command(*sys.argv[1:])
    made = run_benchmark(runs, as_json, detectors=detectors, out=folder, go_on=again, **asked, **shared)
    return report_unused(made.problems)


@app.command()
def verify(
    place: Annotated[Path, typer.Argument(metavar="SET|RUN", help="A set with fakes, or a run.")],
    count: Annotated[int, typer.Option(help="How many fakes to make again.")] = 100,
    seed: Annotated[int, typer.Option(help="Which ones: same seed, same sample.")] = 0,
    run: Annotated[Path | None, typer.Option(help="The run that made them. Default: found near the set.")] = None,
    device: Annotated[str, typer.Option(help="auto (the kind that made the set), cpu, cuda or cuda:N.")] = "auto",
    as_json: Json = False,
) -> int:
    """Make some fakes of a set again from its manifest alone, and compare them with what is on disk."""
    from fakegen.cli_verify import run_verify

    return run_verify(place, as_json, count=count, seed=seed, run=run, device=device)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exits 0 done, 1 some inputs could not be used, 2 wrong request, 130 interrupted.

    Of several processes that torchrun started, the first alone prints results.
    """
    if rank():
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
    try:
        with honest_interrupts():
            code = _run(sys.argv[1:] if arguments is None else arguments)
        print(end="", flush=True)
    except (UserError, BadRequest, OSError, Interrupted, KeyboardInterrupt) as error:
        code, line = _explain(error)
        with contextlib.suppress(OSError):
            print(line, end="\n" if line else "", file=sys.stderr, flush=True)
    _let_go_of_output()
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    """What typer's own main does, less its handling of signals, closed pipes and errors, of which it says nothing."""
    parser = typer.main.get_command(app)
    try:
        with parser.make_context(command(), list(arguments) or ["--help"]) as context:
            return parser.invoke(context) or 0
    except typer.Exit as done:  # help has been printed
        return done.exit_code


def _explain(error: BaseException) -> tuple[int, str]:
    """The exit code for an error, and the one line to print."""
    if rank() and isinstance(error, (BadRequest, Interrupted, KeyboardInterrupt, PeerLost)):
        return 2, ""  # the first process says it
    if isinstance(error, (Interrupted, KeyboardInterrupt)):
        # Where a command says nothing it had begun nothing that could be gone on with.
        return 130, f"interrupted: {str(error) or 'what was finished is kept; the same command starts again'}"
    if isinstance(error, BrokenPipeError):  # the reader of our output went away, as with `| head`
        return 0, ""
    if isinstance(error, BadRequest):
        context, message = getattr(error, "ctx", None), error.format_message().strip().rstrip(".")
        return 2, f"error: {message}. See: {context.command_path if context else command()} --help"
    speaker = f" in process {rank()}" if rank() else ""
    return 2, f"error{speaker}: {explain_os_error(error) if isinstance(error, OSError) else error}"


def _let_go_of_output() -> None:
    """Send what can no longer be written nowhere: Python would complain of it at exit, and change the exit code."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    main()
