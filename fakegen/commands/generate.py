"""The command `generate`: options and output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fakecore.commands.options import RUNS, DataRoot, Device, Json, Real, Sets, fresh, newest, print_json, report_unused
from fakecore.messages import command, counted


def generate(
    preset: Annotated[
        str | None,
        typer.Argument(
            metavar="PRESET", help="Preset name; `presets` lists them. Default: digits; dcgan-64 for other real images."
        ),
    ] = None,
    real: Real = None,
    epochs: Annotated[int | None, typer.Option(help="Number of passes over the real training images.")] = None,
    count: Annotated[
        int | None, typer.Option(help="Number of fakes to write. Default: the number of real images.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder. Default: runs/PRESET, or the next free name.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Random seed: same seed, machine and threads, same result. Default: 0.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Percentages of train, val and test. Default: 80,10,10.")] = None,
    image_format: Annotated[
        str | None, typer.Option("--format", help="Format of the set: png, jpeg or webdataset. Default: png.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a run that was stopped.")] = False,
    stop_on_collapse: Annotated[
        bool,
        typer.Option("--stop-on-collapse", help="Stop if the GAN collapses, and write the set from the best epoch."),
    ] = False,
    sets: Sets = None,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Train a GAN, then write fakes and matched real images.

    The run folder holds the checkpoints, plots and snapshots. Its folder set/ is a data set for `detect-train`.

    \b
    Examples:
      fakelab generate digits
      fakelab generate dcgan-64 --real photos/ --epochs 15
      fakelab generate --resume --out runs/digits
    """
    import fakegen
    from fakecore.sets.splits import DEFAULT_SPLIT, parse_split
    from fakecore.settings import parse_assignments
    from fakegen.presets.table import default_preset

    changes = parse_assignments(sets or [])
    if epochs is not None:
        changes["epochs"] = str(epochs)
    if stop_on_collapse:
        changes["stop_on_collapse"] = "true"
    shares = parse_split(split) if split else None
    shared: dict[str, Any] = {
        "real": real,
        "changes": changes,
        "count": count,
        "device": device,
        "data_root": data_root,
    }
    if resume:
        folder = out or newest(RUNS, "run.json", "run to resume", "--out RUN")
        made = fakegen.resume(folder, preset=preset, seed=seed, split=shares, image_format=image_format, **shared)
    else:
        name = preset or default_preset(real)
        fakegen.get_preset(name, changes)  # check the name before a folder is named after it
        folder = fresh(out, RUNS / name)
        chosen: dict[str, Any] = {"split": shares or DEFAULT_SPLIT, "image_format": image_format or "png"}
        made = fakegen.train(name, out=folder, seed=seed or 0, **chosen, **shared)
    if as_json:
        facts = {"run": str(made.run), "set": str(made.set), "epochs": made.epochs, "counts": made.counts}
        print_json({**facts, "train_s": made.train_s, "unused": made.unused})
    else:
        fakes, reals = (sum(part[label] for part in made.counts.values()) for label in ("fake", "real"))
        trained = (
            f"{counted(made.epochs, 'epoch')} in {made.train_s:,.0f} s" if made.epochs else "not trained (0 epochs)"
        )
        print(f"{made.run}: {trained}; {counted(fakes, 'fake')} and {counted(reals, 'matched real')}")
        plots = sorted(path.name for path in (made.run / "plots").glob("*.png"))
        print(f"  plots     {made.run}/plots: {', '.join(plots)}")
        print(f"  next      {command('detect-train', made.run)}")
    return report_unused(made.unused, made.run / "unused.jsonl")
