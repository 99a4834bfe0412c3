"""`quiz`: options and output."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fakecore.commands.options import RUNS, Device, Json, print_json
from fakecore.report.tables import paragraph, table

if TYPE_CHECKING:
    from fakelab.quiz.quiz import Quiz


def quiz(
    place: Annotated[Path, typer.Argument(metavar="RUN|SET", help="A run of `generate`, or a set of reals and fakes.")],
    out: Annotated[Path, typer.Option(help="The page to write, .html.")] = Path("quiz.html"),
    pairs: Annotated[int, typer.Option(help="Number of pairs, 10 to 500: one real image and one fake each.")] = 40,
    seed: Annotated[int, typer.Option(help="Random seed: same seed, same pairs.")] = 0,
    epoch: Annotated[
        int | None, typer.Option(help="Epoch of the run. Default: the best measured, else the last.")
    ] = None,
    detector: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DET",
            help="Detector for the same pairs; repeat it for several. Default: the newest that `detect-train RUN` wrote.",
        ),
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """Test a person: a page with pairs of a real image and a fake.

    The person chooses the real image of each pair. The page shows the share of right answers, which equals the AUROC, beside
    that of detectors on the same pairs. The real images are held-out ones. Answers stay in the person's browser.

    \b
    Examples:
      fakelab quiz runs/digits
      fakelab quiz runs/digits --pairs 100 --detector runs/digits-cnn --detector runs/digits-dct
    """
    from fakecore.progress import say
    from fakelab.quiz.quiz import find_detector, make_quiz

    detectors = detector or []
    if not detectors and (found := find_detector(place, RUNS, place.absolute().parent)):
        say(f"using {found}")
        detectors = [found]
    made = make_quiz(place, out, pairs=pairs, seed=seed, epoch=epoch, detectors=detectors, device=device)
    if as_json:
        print_json(made.to_json())
    else:
        _print(made)
    return 0


def _print(made: Quiz) -> None:
    splits = ", ".join(f"{count} of {split}" for split, count in made.real_splits.items())
    print(f"{made.pairs} pairs: held-out reals ({splits}) and fakes from {made.fakes_from}")
    if made.detectors:
        lines = [
            [
                one.name,
                f"{one.pairs_right:g} of {made.pairs}",
                _interval(one.share, one.share_interval),
                _interval(one.auroc, one.auroc_interval),
                f"{one.both_verdicts_right} of {made.pairs}",
            ]
            for one in made.detectors
        ]
        print(table(("detector", "pairs right", "share (95 %)", "AUROC, all images", "both verdicts right"), lines))
    if made.caution:
        print(paragraph(made.caution))
    print(f"  page      {made.page}")


def _interval(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"
