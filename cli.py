"""fakelab's face: parse, call, print, exit code. Nothing heavy is imported before a command is known to need it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from fakecore.errors import Interrupted, UserError, explain_os_error
from fakecore.interrupt import honest_interrupts
from fakecore.wording import command, counted
from fakecore.world import PeerLost, rank

RUNS = Path("runs")
UNUSED_SHOWN = 10
BadRequest = typer.BadParameter.__mro__[2]  # ClickException, wherever this version of typer keeps it

app = typer.Typer(
    help="Makes fakes, catches fakes, and measures the race between the two.",
    epilog="Start with: demo. Then: generate, detect-train, score FOLDER.",
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
sweeps = typer.Typer(help="Many runs, one table.", no_args_is_help=True)
app.add_typer(sweeps, name="sweep")

Real = Annotated[
    str | None, typer.Option(help="Real images: a folder[:class], digits[:3], mnist[:3], cifar10[:dog] ...")
]
Fake = Annotated[str | None, typer.Option(help="A folder of fakes.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="field=value; any field, any number of times.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse where the audit finds a leak.")]
DataRoot = Annotated[Path | None, typer.Option(help="Where data sets are downloaded to (also: FAKELAB_DATA).")]


@app.command()
def demo(
    out: Annotated[Path | None, typer.Option(help="Where to work. Default: runs/demo, or the next free name.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same result.")] = 0,
    device: Device = "auto",
) -> int:
    """The whole loop on built-in digits, in minutes on a laptop."""
    from benchmarks.demo import run_demo

    return run_demo(_fresh(out, RUNS / "demo"), seed=seed, device=device)


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
        folder = out or _newest(RUNS, "run.json", "run to resume", "--out RUN")
        made = fakegen.resume(folder, preset=preset, seed=seed, split=shares, **shared)
    else:
        name = preset or "digits"
        fakegen.get_preset(name, changes)  # a wrong name must not decide a folder's name
        folder = _fresh(out, RUNS / name)
        made = fakegen.train(name, out=folder, seed=seed or 0, split=shares or DEFAULT_SPLIT, **shared)
    if as_json:
        facts = {"run": str(made.run), "set": str(made.set), "epochs": made.epochs, "counts": made.counts}
        _print_json({**facts, "train_s": made.train_s, "unused": made.unused})
    else:
        fakes, reals = (sum(part[label] for part in made.counts.values()) for label in ("fake", "real"))
        trained = f"{counted(made.epochs, 'epoch')} in {made.train_s:,.0f} s" if made.epochs else "nothing was trained"
        print(f"{made.run}: {trained}; {counted(fakes, 'fake')} and {counted(reals, 'matched real')}")
        plots = sorted(path.name for path in (made.run / "plots").glob("*.png"))
        print(f"  look at   {made.run}/plots: {', '.join(plots)}")
        print(f"  next      {command('detect-train', made.run)}")
    return _report_unused(made.unused, made.run / "unused.jsonl")


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
        _print_json({"set": str(out), **facts})
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


@sweeps.command("generate")
def sweep_generate(
    presets: Annotated[str, typer.Argument(metavar="PRESET[,PRESET...]", help="One preset or several; see `presets`.")],
    out: Annotated[Path, typer.Option(help="The sweep's folder; the same command goes on with a stopped one.")],
    over: Annotated[
        list[str] | None, typer.Option(help="field=value,value...; several make a grid of every combination.")
    ] = None,
    real: Real = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training reals, for every run.")] = None,
    count: Annotated[int, typer.Option(help="Fakes in each run's own set.")] = 64,
    jobs: Annotated[int, typer.Option(help="Runs at a time, sharing the cores.")] = 1,
    seed: Annotated[int, typer.Option(help="Same seed, same result.")] = 0,
    sets: Sets = None,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Train a GAN for every combination of settings, or for every preset, and compare them on one page."""
    from fakegen.cli_sweep import run_sweep

    changes = sets if epochs is None else [*(sets or []), f"epochs={epochs}"]
    shared = {"out": out, "real": real, "count": count, "jobs": jobs, "seed": seed}
    return run_sweep(presets, over or [], changes or [], as_json, device=device, data_root=data_root, **shared)


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


@app.command(short_help="What, other than fakery, tells reals and fakes apart?")
def audit(
    place: Annotated[Path | None, typer.Argument(metavar="[SET|RUN]", help="A set or a run.")] = None,
    real: Real = None,
    fake: Fake = None,
    out: Annotated[Path | None, typer.Option(help="A page to write: FILE.html, with the offending pictures.")] = None,
    strict: Strict = False,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """What, other than fakery, tells reals and fakes apart: formats, sizes, compression, copies, groups on two sides."""
    from fakedetect.cli_audit import run_audit

    shared = {"real": real, "fake": fake, "out": out, "strict": strict, "data_root": data_root}
    return run_audit(place, as_json, _report_unused, **shared)


@app.command("detect-train", short_help="Train a detector on a set, a run, or two folders.")
def detect_train(
    place: Annotated[
        Path | None, typer.Argument(metavar="[SET|RUN]", help="A set or a run. Default: the newest run.")
    ] = None,
    real: Real = None,
    fake: Fake = None,
    model: Annotated[str | None, typer.Option(help="Which detector: cnn, the default.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The detector's folder. Default: RUN-MODEL, or the next free name.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same result. Default: 0.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was stopped.")] = False,
    equalise: Annotated[bool, typer.Option("--equalise", help="Compress both sides alike, also to score.")] = False,
    strict: Strict = False,
    sets: Sets = None,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Train a detector on a set, a run, or two folders, and write its report."""
    import fakedetect
    from fakecore.settings import parse_assignments
    from fakedetect.cli_train import print_made

    changes = parse_assignments(sets or [])
    if model is not None:
        changes["model"] = model
    if equalise:
        changes["equalise"] = "true"
    if resume:
        folder = out or _newest(RUNS, "training.json", "training to resume", "--out DET")
    else:
        if place is None and real is None and fake is None:
            place = _newest(RUNS, "set/imageset.json", "finished run", "SET or --real DIR --fake DIR").parent
        folder = _fresh(out, RUNS / f"{place.name if place else 'detector'}-{changes.get('model', 'cnn')}")
    shared = {"device": device, "resume": resume, "data_root": data_root, "strict": strict}
    made = fakedetect.train(place, out=folder, real=real, fake=fake, changes=changes, seed=seed, **shared)
    print_made(made, "test_metrics", as_json)
    if not as_json:
        print(f"  next      {command('score', 'FOLDER', '--detector', made.detector)}")
    return _report_unused(made.unused_by_option)


@app.command(short_help="Test a detector on images that it was not trained on.")
def evaluate(
    detector: Annotated[Path, typer.Argument(help="The folder of a detector.")],
    place: Annotated[
        Path | None, typer.Argument(metavar="[SET|RUN]", help="A set or a run: its test split is used.")
    ] = None,
    real: Real = None,
    fake: Fake = None,
    out: Annotated[Path | None, typer.Option(help="Where the report goes. Default: DETECTOR/evaluations/NAME.")] = None,
    strict: Strict = False,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Test a detector on images that it was not trained on, with a report."""
    import fakedetect
    from fakedetect.cli_train import print_made

    shared = {"out": out, "device": device, "data_root": data_root, "strict": strict}
    made = fakedetect.evaluate(detector, place, real=real, fake=fake, **shared)
    print_made(made, "metrics", as_json)
    return _report_unused(made.unused_by_option)


@app.command()
def score(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Images and folders, mixed.")],
    detector: Annotated[
        Path | None, typer.Option(help="The folder of a detector. Default: the newest in runs/.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A .csv or .jsonl file; one that was begun is gone on with.")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """Say of every photo how likely it is fake. One line each, as they come."""
    from fakedetect.cli_score import print_scores

    folder = detector or _newest(RUNS, "detector.json", "detector", "--detector DET")
    return print_scores(paths, folder, out=out, device=device, as_json=as_json)


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


def _fresh(out: Path | None, default: Path) -> Path:
    from fakecore.runfolder import free_name

    return out if out is not None else free_name(default)


def _newest(root: Path, marker: str, what: str, remedy: str) -> Path:
    from fakecore.progress import say
    from fakecore.runfolder import newest

    found = newest(root, marker)
    if found is None:
        raise UserError(f"there is no {what} in {root}/", remedy=f"Give {remedy}.")
    say(f"using {found}")
    return found


def _print_json(value: object) -> None:
    print(json.dumps(value, allow_nan=False))


def _report_unused(unused: list[dict], listed_in: Path | None = None) -> int:
    """Exit code 1, and a line each on stderr for the first, when inputs could not be used; `listed_in` has them all."""
    lines = list(dict.fromkeys(f"not used: {line['path']!r}: {line['status']}: {line['error']}" for line in unused))
    if len(lines) > UNUSED_SHOWN:
        where = f" (all are in {listed_in})" if listed_in else ""
        lines[UNUSED_SHOWN:] = [f"not used: {len(lines) - UNUSED_SHOWN:,} more{where}"]
    for line in lines:
        print(line, file=sys.stderr)
    return 1 if unused else 0


if __name__ == "__main__":
    main()
