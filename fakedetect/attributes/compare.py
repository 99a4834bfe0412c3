"""`attributes compare`: plot the learning curves of several classifiers, and list their final metrics in a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fakecore.errors import UserError
from fakecore.files import read_json, read_jsonl, write_bytes, write_json
from fakecore.messages import counted
from fakecore.report.pages import data_uri, write_page
from fakecore.runs.runfolder import refuse_used
from fakedetect.attributes.model import check_facts, require_folder
from fakedetect.attributes.report import words_of
from fakedetect.evaluation.plots import Learned, comparison_plot


@dataclass(frozen=True)
class Comparison:
    """A comparison: one row per model and attribute; `remarks` give the reasons why rows are not comparable."""

    rows: list[dict]
    remarks: list[str]
    written: Path


def compare(folders: list[Path], out: Path) -> Comparison:
    """Compare finished classifiers and write the result to `out`: a new .png file (curves only), or a new folder with
    curves.png, comparison.json and comparison.html. Raises UserError.
    """
    if len(folders) < 2:
        raise UserError("there is nothing to compare", got=f"{len(folders)} model", expected="two or more")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("a model is named twice", got=", ".join(map(str, folders)))
    as_picture = out.suffix.lower() == ".png"
    if as_picture and out.exists():
        raise UserError(f"{out} exists; it is never overwritten", remedy="Choose another --out.")
    if not as_picture:
        refuse_used(out, made_by="a comparison", marker="comparison.json")
    models = [_read(folder) for folder in folders]
    names = _short_names(folders)
    rows = [row for name, (facts, history) in zip(names, models, strict=True) for row in _rows(name, facts, history)]
    remarks = _remarks([facts for facts, _ in models])
    learned = [
        Learned(name, history, facts["best_epoch"]) for name, (facts, history) in zip(names, models, strict=True)
    ]
    png = comparison_plot(learned)
    if as_picture:
        write_bytes(out, png)
        return Comparison(rows, remarks, out)
    write_bytes(out / "curves.png", png)
    write_page(
        out / "comparison.html",
        "fakedetect.attributes",
        "attributes_compare.html.j2",
        title="Attribute classifiers compared",
        rows=rows,
        remarks=remarks,
        curves=data_uri(png),
        targets=words_of(models[0][0]),
    )
    write_json(out / "comparison.json", {"version": 1, "models": rows, "remarks": remarks})
    return Comparison(rows, remarks, out)


def _read(folder: Path) -> tuple[dict, list[dict]]:
    """Return the contents of attributes.json and history.jsonl; the history must include the best epoch."""
    require_folder(folder)
    facts = read_json(folder / "attributes.json")
    check_facts(facts, folder)
    history = read_jsonl(folder / "history.jsonl")
    if facts["best_epoch"] not in [line.get("epoch") for line in history]:
        what = f"{folder / 'history.jsonl'} does not belong to attributes.json"
        raise UserError(what, got=f"{len(history)} epochs", expected=f"epoch {facts['best_epoch']} among them")
    return facts, history


def _short_names(folders: list[Path]) -> list[str]:
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _rows(name: str, facts: dict, history: list[dict]) -> list[dict]:
    best = next(line for line in history if line["epoch"] == facts["best_epoch"])
    settings = facts["settings"]
    kind = f"cnn, {counted(settings['blocks'], 'block')}" if facts["model"] == "cnn" else facts["model"]
    return [
        {
            "model": name,
            "kind": kind + (", softmax" if facts["head"] == "softmax" else ""),
            "attribute": attribute,
            "best_epoch": facts["best_epoch"],
            "epochs": len(history),
            **best["attributes"][attribute],
            "test_accuracy": one["accuracy"],
            "accuracy_of_commoner": one["accuracy_of_commoner"],
            "test_balanced_accuracy": one["balanced_accuracy"],
            "test_auroc": one["auroc"],
            "test_auroc_interval": one["auroc_interval"],
        }
        for attribute, one in facts["test_metrics"].items()
    ]


def _remarks(models: list[dict]) -> list[str]:
    """Return the reasons why rows cannot be compared, as sentences."""
    found = []
    if len({tuple(words_of(facts)) for facts in models}) > 1:
        found.append("The models answer different questions: their rows are not comparable.")
    elif len({facts["training"]["fingerprint"] for facts in models}) > 1:
        found.append(
            "The models were trained and tested on different images, or splits: their rows are not comparable."
        )
    return found
