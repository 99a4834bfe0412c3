"""`demo`: the whole loop on scikit-learn's digits, which need no download."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import fakedetect
import fakegen
from fakecore.messages import command, counted
from fakecore.progress import say
from fakecore.report.tables import paragraph, table
from fakecore.runs.runfolder import refuse_used
from fakelab.race.race import run_race


def run_demo(folder: Path, *, seed: int, device: str) -> int:
    """Train a GAN, train a detector on its fakes, score the test images, run a small race; print a table and where to look."""
    began = time.perf_counter()
    detector_folder = folder.with_name(f"{folder.name}-cnn")
    refuse_used(folder, made_by="a run", marker="run.json")
    refuse_used(detector_folder, made_by="a detector", marker="detector.json")
    race_folder = folder.with_name(f"{folder.name}-race")
    say(f"1/4  a GAN learns to draw digits ({folder})")
    made = fakegen.train("digits", out=folder, seed=seed, device=device)
    say(f"2/4  a detector learns to tell its fakes from the reals ({detector_folder})")
    # A mirrored digit is not a digit; 1,437 small images of each class need more passes than the default.
    trained = fakedetect.train(
        made.set, out=detector_folder, seed=seed, device=device, changes={"flip": 0, "epochs": 50}
    )
    say("3/4  the detector judges test images that neither network has seen")
    detector = fakedetect.Detector.load(trained.detector, device)
    rows = []
    for label in ("real", "fake"):
        verdicts = _verdicts(made.set / "test" / label, detector)
        shares = (f"{verdicts[v]} ({verdicts[v] / verdicts.total():.0%})" for v in ("real", "unsure", "fake"))
        rows.append([label, verdicts.total(), *shares])
    say(f"4/4  race: detectors tested at five epochs of the GAN ({race_folder})")
    raced = run_race(
        [folder],
        out=race_folder,
        detectors=["cnn", "dct", "discriminator"],
        epochs="0,10,20,40,last",
        per_epoch=1200,
        seeds=1,
        changes={"epochs": 40},
        jobs=1,  # another process takes longer to start than these trainings take
        device=device,
        resume_command=command("benchmark", folder, "--out", race_folder),
    )
    metrics = trained.metrics
    low, high = metrics["auroc_interval"]
    print("fakelab demo: results on test digits\n")
    print(table(("truth", "images", "called real", "unsure", "called fake"), rows))
    print(f"\nAUROC {metrics['auroc']:.3f}, 95 % interval [{low:.3f}, {high:.3f}]; ECE {metrics['ece']:.3f}")
    print(f"GAN {made.train_s:.0f} s for {counted(made.epochs, 'epoch')}; total {time.perf_counter() - began:.0f} s\n")
    print(paragraph(raced.headline) + "\n")
    print(f"report    {trained.report}")
    print(f"the race  {race_folder}/report.html")
    print(f"pictures  {made.run}/plots/real-vs-fake.png")
    print(f"next      {command('generate', 'dcgan-64', '--set', 'resolution=32', '--real', 'YOUR_FOLDER')}")
    print(f"a page    {command('serve', '--detector', str(trained.detector))}  (needs fakelab[serve])")
    return 0


def _verdicts(folder: Path, detector: fakedetect.Detector) -> Counter[str]:
    rows = (row for batch in fakedetect.score_files(fakedetect.list_inputs([str(folder)]), detector) for row in batch)
    return Counter(row["verdict"] for row in rows)
