"""`demo`: the whole loop on scikit-learn's digits, which need no download."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import fakedetect
import fakegen
from fakecore.progress import say


def run_demo(folder: Path, *, seed: int, device: str) -> int:
    """Train a GAN, train a detector on its fakes, score the test images; print a table and where to look."""
    from rich.console import Console
    from rich.table import Table

    began = time.perf_counter()
    say(f"1/3  a GAN learns to draw digits ({folder})")
    made = fakegen.train("digits", out=folder, seed=seed, device=device)
    say(f"2/3  a detector learns to tell its fakes from the reals ({folder}-cnn)")
    # A mirrored digit is no digit.
    trained = fakedetect.train(
        made.set, out=folder.with_name(f"{folder.name}-cnn"), seed=seed, device=device, changes={"flip": 0}
    )
    say("3/3  the detector judges test images that neither network has seen")
    detector = fakedetect.Detector.load(trained.detector, device)
    verdicts = {label: _verdicts(made.set / "test" / label, detector) for label in ("real", "fake")}

    table = Table(
        title="fakelab demo: unseen digits, judged", title_justify="left", header_style="bold", pad_edge=False
    )
    for column in ("truth", "images", "called real", "unsure", "called fake"):
        table.add_column(column, justify="left" if column == "truth" else "right")
    for label, counts in verdicts.items():
        total = sum(counts.values())
        table.add_row(
            label, str(total), *(f"{counts[v]} ({counts[v] / total:.0%})" for v in ("real", "unsure", "fake"))
        )
    metrics = trained.metrics
    low, high = metrics["auroc_interval"]
    console = Console(highlight=False)
    console.print(table)
    console.print(f"AUROC {metrics['auroc']:.3f}, 95 % interval [{low:.3f}, {high:.3f}]; ECE {metrics['ece']:.3f}")
    console.print(f"GAN {made.train_s:.0f} s for {made.epochs} epochs; all of it {time.perf_counter() - began:.0f} s\n")
    print(f"report    {trained.report}")
    print(f"pictures  {made.run}/plots/real-vs-fake.png")
    print("next      python cli.py generate dcgan-64 --set resolution=32 --real YOUR_FOLDER")
    return 0


def _verdicts(folder: Path, detector: fakedetect.Detector) -> Counter[str]:
    rows = (row for batch in fakedetect.score_files(fakedetect.list_inputs([str(folder)]), detector) for row in batch)
    return Counter(row["verdict"] for row in rows)
