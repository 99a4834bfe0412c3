"""`attributes train`, `attributes select` and `attributes compare`: options and output."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from fakecore.commands.options import RUNS, DataRoot, Device, ExamplesLast, Json, Sets, fresh, report_unused
from fakecore.messages import command, counted
from fakecore.report.tables import table
from fakecore.settings import parse_assignments

commands = typer.Typer(help="Select real images by attribute, to train a GAN on.")


@commands.command("train", cls=ExamplesLast)
def attributes_train(
    data: Annotated[str, typer.Option(help="Real images: a folder or a named source such as celeba.")],
    labels: Annotated[
        Path,
        typer.Option(metavar="FILE", help="CSV file with a column of image names, or CelebA's list_attr_celeba.txt."),
    ],
    targets: Annotated[
        str,
        typer.Option(
            help="Attributes to learn: Smiling,Male or emotion=happiness or emotion=happiness:neutral (one against the other)."
        ),
    ],
    model: Annotated[str | None, typer.Option(help="Model: cnn (default), resnet50 or timm:NAME.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Classifier folder to write. Default: runs/attributes-MODEL, or the next free name."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Percentages of train, val, test. Default: 60,20,20.")] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of groups; images of one group share a split. Default: identity."),
    ] = None,
    sets: Sets = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Train a classifier of attributes on labelled images.

    Saves the classifier in its own folder and writes a report.

    \b
    Examples:
      fakelab attributes train --data celeba --labels list_attr_celeba.txt --targets Smiling
      fakelab attributes train --data faces/ --labels labels.csv --targets emotion=happiness:neutral
    """

    how: dict[str, Any] = {"model": model, "group": group, "seed": seed, "device": device, "data_root": data_root}
    folder = fresh(out, RUNS / f"attributes-{(model or 'cnn').replace(':', '-')}")
    return run_train(data, labels, targets, folder, sets or [], as_json, report_unused, split=split, **how)


@commands.command("select", cls=ExamplesLast)
def attributes_select(
    source: Annotated[str, typer.Argument(metavar="SRC", help="Real images: a folder or a named source.")],
    model: Annotated[Path, typer.Option(help="Classifier folder.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    attribute: Annotated[
        str | None, typer.Option(help="Attribute to select by, if the classifier has several.")
    ] = None,
    min_p: Annotated[float, typer.Option(help="Minimum probability of --value for an image to be selected.")] = 0.8,
    value: Annotated[str, typer.Option(help="yes: images with the attribute; no: images without it.")] = "yes",
    device: Device = "auto",
    data_root: DataRoot = None,
    as_json: Json = False,
) -> int:
    """Copy the images that have an attribute to a new folder.

    The folder is ready for `generate --real`.

    \b
    Examples:
      fakelab attributes select celeba --model runs/attributes-cnn --attribute Smiling --out smiling/
      fakelab attributes select faces/ --model runs/attributes-cnn --value no --out others/
    """

    how: dict[str, Any] = {"min_p": min_p, "value": value, "device": device, "data_root": data_root}
    return run_select(model, attribute, source, out, as_json, report_unused, **how)


@commands.command("compare", cls=ExamplesLast)
def attributes_compare(
    models: Annotated[list[Path], typer.Argument(metavar="DIR", help="Classifier folders.")],
    out: Annotated[
        Path, typer.Option(metavar="FILE.png|DIR", help="Plot to write, or a folder for the plot and a report.")
    ],
    as_json: Json = False,
) -> int:
    """Compare the learning curves of several classifiers.

    Draws them in one plot and prints a table of their best epochs.

    \b
    Examples:
      fakelab attributes compare runs/attributes-cnn runs/attributes-resnet50 --out curves.png
      fakelab attributes compare runs/attributes-cnn runs/attributes-resnet50 --out comparison/
    """

    return run_compare(models, out, as_json)


def run_train(
    data: str,
    labels: Path,
    targets: str,
    out: Path,
    sets: list[str],
    as_json: bool,
    report_unused: Callable[..., int],
    *,
    model: str | None,
    split: str | None,
    **options: Any,
) -> int:
    """Train a classifier, print its test metrics, and return the exit code."""
    from fakecore.sets.splits import parse_split
    from fakedetect.attributes.data import SPLIT
    from fakedetect.attributes.report import cautions, headline
    from fakedetect.attributes.train import train

    changes = parse_assignments(sets) | ({} if model is None else {"model": model})
    shares = parse_split(split) if split else SPLIT
    made = train(data, labels, targets, out=out, changes=changes, shares=shares, **options)
    if as_json:
        facts = {"model": str(made.model), "report": str(made.report), "attributes": made.metrics}
        print(json.dumps({**facts, "unused": made.unused}, allow_nan=False))
    else:
        print(headline(made.metrics))
        for caution in cautions(json.loads((made.model / "attributes.json").read_text())):
            print(f"  caution   {caution}")
        columns = ("attribute", "images", "yes", "accuracy", "majority class", "AUROC", "95 % interval")
        print(table(columns, [_row(name, one) for name, one in made.metrics.items()]))
        print(f"  report    {made.report}")
        which = ("--model", made.model, "--attribute", next(iter(made.metrics)), "--min-p", 0.8)
        print(f"  next      {command('attributes', 'select', *which, 'DIR', '--out', 'NEW')}")
    return report_unused(made.unused, made.model / "unused.jsonl")


def run_select(
    model: Path,
    attribute: str | None,
    source: str,
    out: Path,
    as_json: bool,
    report_unused: Callable[..., int],
    **options: Any,
) -> int:
    """Copy the selected images, print their number, and return the exit code."""
    from fakedetect.attributes.select import select

    made = select(model, attribute, source, out, **options)
    if as_json:
        facts = {"folder": str(made.folder), "attribute": made.attribute, "chosen": made.chosen}
        print(json.dumps({**facts, "judged": made.judged, "unused": made.unused}))
    else:
        of_all = f"{made.chosen:,} of {counted(made.judged, 'image')} ({made.chosen / made.judged:.1%})"
        what = f"{options['value']} for {made.attribute}, with probability {options['min_p']:g} or more"
        print(f"{made.folder}: {of_all} are selected: {what}")
        print(f"  next      {command('generate', '--real', made.folder)}")
    return report_unused(made.unused, made.folder / "selection.csv")


def run_compare(folders: list[Path], out: Path, as_json: bool) -> int:
    """Draw learning curves of several classifiers, print a table, and return the exit code."""
    from fakedetect.attributes.compare import compare

    made = compare(folders, out)
    if as_json:
        print(json.dumps({"models": made.rows, "remarks": made.remarks, "written": str(made.written)}))
        return 0
    columns = ("model", "attribute", "epoch", "val accuracy", "test accuracy", "majority class", "test AUROC")
    rows = [
        [row["model"], row["attribute"], row["best_epoch"]]
        + [f"{row[name]:.4f}" for name in ("val_accuracy", "test_accuracy", "accuracy_of_commoner", "test_auroc")]
        for row in made.rows
    ]
    print(table(columns, rows))
    for remark in made.remarks:
        print(f"  caution   {remark}")
    print(f"  written   {made.written if made.written.suffix else made.written / 'comparison.html'}")
    return 0


def _row(name: str, one: dict) -> list[object]:
    low, high = one["auroc_interval"]
    shares = (f"{one[key]:.1%}" for key in ("base_rate", "accuracy", "accuracy_of_commoner"))
    return [name, one["n"], *shares, f"{one['auroc']:.3f}", f"[{low:.3f}, {high:.3f}]"]
