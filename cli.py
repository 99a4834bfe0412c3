"""fakelab's face: parse, call, print, exit code. Nothing heavy is imported before a command is known to need it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fakecore.errors import Interrupted, UserError, explain_os_error

RUNS = Path("runs")
BadRequest = typer.BadParameter.__mro__[2]  # ClickException, wherever this version of typer keeps it

app = typer.Typer(
    help="Makes fakes, catches fakes, and measures the race between the two.",
    epilog="Start with: demo. Then: generate, detect-train, score FOLDER.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Real = Annotated[
    str | None, typer.Option(help="Real images: a folder[:class], digits[:3], mnist[:3], cifar10[:dog] ...")
]
Fake = Annotated[str | None, typer.Option(help="A folder of fakes.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="field=value; any field, any number of times.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
DataRoot = Annotated[Path | None, typer.Option(help="Where data sets are downloaded to (also: FAKELAB_DATA).")]


@app.command()
def demo(
    out: Annotated[Path | None, typer.Option(help="Where to work. Default: runs/demo, or the next free name.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same result.")] = 0,
    device: Device = "auto",
) -> int:
    """The whole loop on the built-in digits, in minutes on a laptop CPU."""
    from benchmarks.demo import run_demo

    return run_demo(_fresh(out, RUNS / "demo"), seed=seed, device=device)


@app.command()
def presets(as_json: Json = False) -> int:
    """Every GAN preset: source, resolution, parameters of G and D."""
    from fakegen.catalogue import catalogue

    rows = catalogue()
    if as_json:
        _print_json(rows)
        return 0
    columns = ("name", "real", "resolution", "params_g", "params_d", "batch", "epochs", "summary")
    _print_table(columns, [[row[name] for name in columns] for row in rows])
    return 0


@app.command()
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
        print(f"{made.run}: {made.epochs} epochs in {made.train_s:,.0f} s; {fakes:,} fakes and {reals:,} matched reals")
        print(f"  look at   {made.run}/plots/real-vs-fake.png, losses.png, d-outputs.png, accuracy.png")
        print(f"  next      {_me()} detect-train {made.run}")
    return _report_unused(made.unused)


@app.command()
def sample(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    count: Annotated[int, typer.Option(help="How many fakes.")],
    out: Annotated[Path, typer.Option(help="The folder of the new set.")],
    epoch: Annotated[int | None, typer.Option(help="Which checkpoint. Default: the last.")] = None,
    image_format: Annotated[str, typer.Option("--format", help="png or jpeg.")] = "png",
    seed: Annotated[int | None, typer.Option(help="Seed of the latents. Default: the run's own plus 1.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a set that was stopped.")] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """More fakes from any checkpoint of a run; needs no data set."""
    import fakegen

    facts = fakegen.sample(
        run, out, count=count, epoch=epoch, image_format=image_format, seed=seed, resume=resume, device=device
    )
    if as_json:
        _print_json({"set": str(out), **facts})
    else:
        fakes = sum(part["fake"] for part in facts["counts"].values())
        print(
            f"{out}: {fakes:,} fakes of epoch {facts['origin']['epoch']}, latent seed {facts['origin']['latent_seed']}"
        )
    return 0


@app.command()
def measure(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    epochs: Annotated[str, typer.Option(help="all, or checkpoints such as 0,5,last.")] = "all",
    count: Annotated[int, typer.Option(help="Fakes per epoch; the same latents for each.")] = 1000,
    features: Annotated[str, typer.Option(help="Feature space: auto, inception, classes or random.")] = "auto",
    weights: Annotated[Path | None, typer.Option(help="Weights of inception: .safetensors or .pth.")] = None,
    real: Annotated[str | None, typer.Option(help="Where the run's real images stand now, if they moved.")] = None,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Is it getting better? Distances of a run's checkpoints to held-out reals, the best epoch, and a plot."""
    import fakegen

    found = fakegen.measure(
        run,
        epochs=epochs,
        count=count,
        features=features,
        weights=weights,
        real=real,
        device=device,
        data_root=data_root,
    )
    if as_json:
        facts = {"run": str(found.run), "epochs": [asdict(row) for row in found.rows], "best": asdict(found.best)}
        _print_json({**facts, "collapse": found.collapse, "remarks": found.remarks, "fresh": found.fresh})
    else:
        _print_quality(found)
    return 0


@app.command("detect-train")
def detect_train(
    place: Annotated[
        Path | None, typer.Argument(metavar="[SET|RUN]", help="A set or a run. Default: the newest run.")
    ] = None,
    real: Real = None,
    fake: Fake = None,
    model: Annotated[str, typer.Option(help="Which detector: cnn.")] = "cnn",
    out: Annotated[
        Path | None, typer.Option(help="The detector's folder. Default: RUN-MODEL, or the next free name.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same result.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was stopped.")] = False,
    sets: Sets = None,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Train a detector on a set, a run, or two folders, and write its report."""
    import fakedetect
    from fakecore.settings import parse_assignments

    changes = {**parse_assignments(sets or []), "model": model}
    if place is None and real is None and fake is None:
        place = _newest(RUNS, "set/imageset.json", "finished run", "SET or --real DIR --fake DIR").parent
    folder = _fresh(out, RUNS / f"{place.name if place else 'detector'}-{model}") if not resume else out
    if folder is None:
        raise UserError("--resume needs to know what to resume", expected="--out DET")
    made = fakedetect.train(
        place,
        out=folder,
        real=real,
        fake=fake,
        changes=changes,
        seed=seed,
        device=device,
        resume=resume,
        data_root=data_root,
    )
    if as_json:
        _print_json({"detector": str(made.detector), "report": str(made.report), "test_metrics": made.metrics})
    else:
        _print_metrics(made)
        print(f"  next      {_me()} score FOLDER --detector {made.detector}")
    return _report_unused(made.unused)


@app.command()
def evaluate(
    detector: Annotated[Path, typer.Argument(help="The folder of a detector.")],
    place: Annotated[
        Path | None, typer.Argument(metavar="[SET|RUN]", help="A set or a run: its test split is used.")
    ] = None,
    real: Real = None,
    fake: Fake = None,
    out: Annotated[Path | None, typer.Option(help="Where the report goes. Default: DETECTOR/evaluations/NAME.")] = None,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Test a detector on images that it was not trained on, with a report."""
    import fakedetect

    made = fakedetect.evaluate(detector, place, real=real, fake=fake, out=out, device=device, data_root=data_root)
    if as_json:
        _print_json({"detector": str(made.detector), "report": str(made.report), "metrics": made.metrics})
    else:
        _print_metrics(made)
    return _report_unused(made.unused)


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
    """Run the command line; exits 0 done, 1 some inputs could not be used, 2 wrong request, 130 interrupted."""
    try:
        sys.exit(app(arguments, standalone_mode=False) or 0)
    except (UserError, BadRequest, OSError, Interrupted, typer.Abort, KeyboardInterrupt) as error:
        sys.exit(_explain(error))


def _explain(error: BaseException) -> int:
    if isinstance(error, BrokenPipeError):  # the reader of our output went away, as with `| head`
        sys.stderr.close()
        return 0
    if isinstance(error, (Interrupted, KeyboardInterrupt, typer.Abort)):
        print(f"interrupted: {error}" if str(error) else "interrupted", file=sys.stderr)
        return 130
    if isinstance(error, BadRequest):
        message = error.format_message().strip()
        if not message:  # no command at all: help has been printed
            return 0
        context = getattr(error, "ctx", None)
        print(
            f"error: {message.rstrip('.')}. See: {context.command_path if context else _me()} --help", file=sys.stderr
        )
        return 2
    line = explain_os_error(error) if isinstance(error, OSError) else error
    print(f"error: {line}", file=sys.stderr)
    return 2


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


def _me() -> str:
    return "python cli.py" if Path(sys.argv[0]).name == "cli.py" else "fakelab"


def _print_json(value: object) -> None:
    print(json.dumps(value, allow_nan=False))


def _print_table(columns: tuple[str, ...], rows: list[list]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row))
    Console(highlight=False).print(table)


def _print_quality(found) -> None:
    rows = [
        [
            f"{row.epoch}{' *' if row.epoch == found.best.epoch else ''}",
            f"{row.frechet:.4g}",
            f"{row.kernel:.4g} ± {row.kernel_se:.2g}",
            *(f"{share:.1%}" for share in (row.precision, row.recall, row.diversity, row.near_copies)),
        ]
        for row in found.rows
    ]
    best = found.best
    print(f"{best.n_fake:,} fakes against {best.n_real:,} held-out reals, in the space {best.features} ({best.dims:,})")
    _print_table(("epoch", "frechet", "kernel", "precision", "recall", "diversity", "near_copies"), rows)
    print(f"  * best: epoch {best.epoch}, {best.frechet:.4g}; as many training reals get {best.floor:.4g}")
    print("  near copies: up to 1 % is chance")
    for line in (*found.remarks, *filter(None, [found.collapse])):
        print(f"  {line}")
    print(f"  look at   {found.run}/plots/quality.png, nearest.png")


def _print_metrics(made) -> None:
    from fakedetect.report import ROWS, headline

    print(headline(made.metrics))
    rows = []
    for name, label, _ in ROWS:
        low, high = made.metrics.get(f"{name}_interval", (None, None))
        rows.append([label, f"{made.metrics[name]:.3f}", "" if low is None else f"[{low:.3f}, {high:.3f}]"])
    _print_table(("metric", "value", "95 % interval"), rows)
    print(f"  report    {made.report}")


def _report_unused(unused: list[dict]) -> int:
    """Exit code 1, and a line each on stderr, when inputs could not be used."""
    for line in unused[:20]:
        print(f"not used: {line['path']!r}: {line['status']}: {line['error']}", file=sys.stderr)
    if len(unused) > 20:
        print(f"not used: {len(unused) - 20} more", file=sys.stderr)
    return 1 if unused else 0


if __name__ == "__main__":
    main()
