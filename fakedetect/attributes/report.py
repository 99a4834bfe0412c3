"""Write the report on an attribute classifier: metrics.json, plots, and an HTML page that contains them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fakecore.files import write_bytes, write_json
from fakecore.media.pixels import encode_png, enlarge
from fakecore.report.pages import data_uri, write_page
from fakedetect.attributes.data import AttributeImages
from fakedetect.attributes.labels import Target
from fakedetect.attributes.metrics import YES_FROM
from fakedetect.attributes.plots import histogram_plot, roc_plot
from fakedetect.evaluation.metrics import RESAMPLES
from fakedetect.evaluation.plots import history_plot

_STRIP = 12  # images in a row
_MOST_STRIPS = 6  # attributes whose images are shown
SOFTMAX = (
    "A softmax makes the probabilities of the attributes sum to 1, as if every image had exactly one of them. These do not "
    "exclude each other: of an image that has three, each can get a third at most, so that no more than one is ever said "
    "yes of; and an image that has none still shares out 1 among them. It is offered to reproduce system E's number; "
    "head=sigmoid gives each attribute an answer of its own."
)

_WORDS = {
    "training": "training",
    "validation": "Validation, mean over attributes",
    "accuracy": "accuracy at p = 0.5",
}  # of the learning curves


def write_report(folder: Path, facts: dict, images: AttributeImages, p: np.ndarray, history: list[dict]) -> Path:
    """Write metrics.json, the plots and report.html into `folder`, and return the path of report.html.

    `facts` is the content of attributes.json, `p` (N, T) the probability of yes for each image.
    """
    metrics, test = facts["test_metrics"], images.rows("test")
    labels = images.origin["labels"]
    wanted = {t.column if t.yes is None else f"{t.column} = {value}" for t in images.targets for value in (t.yes, t.no)}
    curves = [
        (target.name, images.truth[test, place], p[test, place], metrics[target.name]["auroc"])
        for place, target in enumerate(images.targets)
    ]
    figures = {
        "histogram": histogram_plot(
            images.label_counts, wanted, images.listed, f"Attributes of {images.listed:,} images in {labels}"
        ),
        "roc": roc_plot(curves),
        "history": history_plot(history, facts["best_epoch"], **_WORDS),
    }
    for name, png in figures.items():
        write_bytes(folder / f"{name}.png", png)
    write_json(
        folder / "metrics.json",
        {"version": 1, "attributes": metrics, "interval": f"95 %, bootstrap, {RESAMPLES} resamples"},
    )
    write_page(
        folder / "report.html",
        "fakedetect.attributes",
        "attributes.html.j2",
        title=f"{facts['model']}: {', '.join(metrics)}",
        headline=headline(metrics),
        cautions=cautions(facts),
        facts=facts,
        rows=[(target.words, metrics[target.name]) for target in images.targets],
        figures={name: data_uri(png) for name, png in figures.items()},
        strips=[_strips(images, p, test, place) for place in range(min(len(images.targets), _MOST_STRIPS))],
        counts=facts["training"]["counts"],
        origin=images.origin,
    )
    return folder / "report.html"


def headline(metrics: dict[str, dict]) -> str:
    """Return the main result as one sentence."""
    accuracy = np.mean([one["accuracy"] for one in metrics.values()])
    commoner = np.mean([one["accuracy_of_commoner"] for one in metrics.values()])
    n = next(iter(metrics.values()))["n"]
    if len(metrics) == 1:
        ((name, one),) = metrics.items()
        always = f"always saying “{one['commoner']}” is right on {commoner:.1%}"
        return f"It is right about {name} on {accuracy:.1%} of {n:,} images that it was not trained on; {always}."
    always = f"always saying the commoner value is right on {commoner:.1%}"
    return f"It is right on {accuracy:.1%}, over {len(metrics)} attributes of {n:,} images not trained on; {always}."


def cautions(facts: dict) -> list[str]:
    """Return the limitations of the numbers, as sentences."""
    found = [SOFTMAX] if facts["head"] == "softmax" else []
    backbone = facts.get("backbone")
    if backbone is not None and backbone["weights"] is None:
        found.append(f"Its backbone, {backbone['name']}, was trained from scratch, without its pretrained weights.")
    for name, one in facts["test_metrics"].items():
        rarer = min(one["n_yes"], one["n"] - one["n_yes"])
        if one["accuracy"] <= one["accuracy_of_commoner"]:
            found.append(f"Of {name} it is right no more often than always saying “{one['commoner']}” would be.")
        elif rarer < 50:
            found.append(f"Only {rarer} test images have the rarer value of {name}: mind the width of the intervals.")
    return found


def _strips(images: AttributeImages, p: np.ndarray, test: np.ndarray, place: int) -> dict:
    """Return rows of test images with their p: the most certain yes, the most certain no, and the worst errors."""
    truth, own = images.truth[test, place], p[test, place]
    order = np.argsort(-own, kind="stable")
    wrong = np.flatnonzero((own >= YES_FROM) != (truth == 1))
    worst = wrong[np.argsort(-np.abs(own[wrong] - truth[wrong]), kind="stable")]
    parts = {"surest yes": order[:_STRIP], "surest no": order[::-1][:_STRIP], "worst mistakes": worst[:_STRIP]}
    return {
        "words": images.targets[place].words,
        "parts": {
            name: [_shown(images, int(test[row]), float(own[row]), int(truth[row])) for row in rows]
            for name, rows in parts.items()
        },
    }


def _shown(images: AttributeImages, row: int, p: float, truth: int) -> dict:
    image = images.images[row]
    thumbnail = encode_png(enlarge(np.asarray(image), max(1, 64 // image.shape[-1])), "real")
    return {"picture": data_uri(thumbnail), "p": p, "truth": "yes" if truth else "no", "path": images.paths[row]}


def words_of(facts: dict) -> list[str]:
    """Return the targets of attributes.json as readable text."""
    return [Target(**target).words for target in facts["targets"]]
