"""The folder layouts of published benchmarks, with the test protocol of each: which files are tested, and what they are.

Nothing is downloaded: each data set has its own terms. `root` is the folder that its authors' archive unpacks to.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fakecore.errors import UserError, unknown_name
from fakecore.labels import FAKE, REAL

_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_REMEDY = "Point --root at the folder that holds the data set as its authors publish it."


@dataclass(frozen=True)
class Item:
    """A test case: a video or an image at `path`, or a video given as its `frames`. `label` is real 0 / fake 1; `group` names
    the manipulation or generator: reals of group "" are compared with the fakes of every group.
    """

    label: int
    group: str
    path: Path | None = None
    frames: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        return str(self.path if self.path else self.frames[0].parent)


@dataclass(frozen=True)
class Layout:
    """A published benchmark: `list_items` takes (root, variant) and returns its test cases; `variants` are the choices after
    the colon of its name, the default first.
    """

    title: str
    protocol: str
    list_items: Callable[[Path, str], list[Item]]
    variants: tuple[str, ...] = ("",)


def open_benchmark(name: str, root: Path) -> tuple[Layout, list[Item]]:
    """Return the benchmark called `name`, such as "ff++:c40", and its test cases below `root`.

    Raises UserError, with the choices, for an unknown name, and if the folder does not have the layout.
    """
    stem, _, variant = name.partition(":")
    if stem not in LAYOUTS:
        raise unknown_name("published benchmark", name, list(LAYOUTS))
    layout = LAYOUTS[stem]
    variant = variant or layout.variants[0]
    if layout.variants != ("",) and variant not in layout.variants:
        raise unknown_name("variant", variant, layout.variants, where=f"of {stem}")
    if not root.is_dir():
        raise UserError(f"there is no folder {root}", remedy=_REMEDY)
    items = layout.list_items(root, variant)
    labels = {item.label for item in items}
    if labels != {REAL, FAKE}:
        got = f"{sum(i.label == REAL for i in items)} real and {sum(i.label == FAKE for i in items)} fake test cases"
        raise UserError(f"{root} does not have the layout of {layout.title}", got=got, expected="both", remedy=_REMEDY)
    return layout, items


_MANIPULATIONS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")


def _faceforensics(root: Path, compression: str) -> list[Item]:
    """The test split of Rössler et al. 2019 (arXiv 1901.08971): splits/test.json lists pairs (target, source)."""
    pairs = _read(
        next((p for p in (root / "splits/test.json", root / "test.json") if p.is_file()), root / "splits/test.json")
    )
    originals = root / "original_sequences/youtube" / compression / "videos"
    items = [Item(REAL, "", originals / f"{name}.mp4") for name in sorted({name for pair in pairs for name in pair})]
    for manipulation in _MANIPULATIONS:
        folder = root / "manipulated_sequences" / manipulation / compression / "videos"
        for a, b in pairs:
            items += [Item(FAKE, manipulation, folder / f"{x}_{y}.mp4") for x, y in ((a, b), (b, a))]
    return [item for item in items if item.path and item.path.is_file()]


def _celeb_df(root: Path, _: str) -> list[Item]:
    """The test list of Li et al. 2020 (arXiv 1909.12962): a line per video, "1 PATH" for real and "0 PATH" for fake."""
    items = []
    for line in _text(root / "List_of_testing_videos.txt").splitlines():
        flag, _, name = line.strip().partition(" ")
        if name:
            real = flag == "1"
            items.append(Item(REAL if real else FAKE, "" if real else "Celeb-synthesis", root / name))
    return [item for item in items if item.path and item.path.is_file()]


def _dfdc(root: Path, _: str) -> list[Item]:
    """Dolhansky et al. 2020 (arXiv 2006.07397): metadata.json beside the videos ("label" or "is_fake"), or labels.csv."""
    found: dict[Path, int] = {}
    for table in sorted(root.rglob("metadata.json")):
        for name, facts in _read(table).items():
            fake = facts.get("label") == "FAKE" or facts.get("is_fake") == 1
            found[table.parent / name] = FAKE if fake else REAL
    for table in sorted(root.rglob("labels.csv")):
        for row in csv.DictReader(_text(table).splitlines()):
            found[table.parent / row["filename"]] = FAKE if row["label"] in ("1", "FAKE") else REAL
    if not found:
        raise UserError(f"{root} has no metadata.json and no labels.csv", remedy=_REMEDY)
    return [
        Item(label, "dfdc" if label == FAKE else "", path) for path, label in sorted(found.items()) if path.is_file()
    ]


def _cnn_detection(root: Path, _: str) -> list[Item]:
    """The test set of Wang et al. 2020 (arXiv 1912.11035): GENERATOR/[CLASS/]0_real and 1_fake."""
    return _image_folders(root, {"0_real": REAL, "1_fake": FAKE}, group_of=lambda parts: parts[0])


def _genimage(root: Path, _: str) -> list[Item]:
    """The validation parts of Zhu et al. 2023 (arXiv 2306.08571): GENERATOR/.../val/nature and ai."""
    items = _image_folders(root, {"nature": REAL, "ai": FAKE}, group_of=lambda parts: parts[0])
    return [item for item in items if item.path and "val" in item.path.relative_to(root).parts]


def _deepfakebench(root: Path, compression: str) -> list[Item]:
    """The JSON lists of DeepfakeBench (Yan et al. 2023, arXiv 2307.01426): NAME.json -> group -> "test" -> (compression ->)
    video -> "frames". Paths are relative to `root`, with either slash; groups that end in "real" are real.
    """
    items = []
    for table in sorted([*root.glob("*.json"), *root.glob("dataset_json/*.json")]):
        for name, groups in _read(table).items():
            for group, splits in groups.items():
                videos = splits.get("test", {})
                videos = videos.get(compression, videos)
                real = group.lower().endswith("real")
                for facts in videos.values():
                    frames = tuple(root / str(one).replace("\\", "/") for one in facts.get("frames", ()))
                    if frames := tuple(path for path in frames if path.is_file()):
                        label = REAL if real else FAKE
                        items.append(Item(label, "" if real else f"{name}: {group}", frames=frames))
    return items


def _image_folders(root: Path, labels: dict[str, int], group_of: Callable[[tuple[str, ...]], str]) -> list[Item]:
    """Return the images below folders with these names; reals and fakes of one generator belong together."""
    items = []
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        found = [labels[part] for part in parts[:-1] if part in labels]
        if found and path.suffix.lower() in _IMAGES and path.is_file():
            items.append(Item(found[-1], group_of(parts), path))
    return items


def _read(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except ValueError:
        raise UserError(f"{path} is not valid JSON", remedy=_REMEDY) from None


def _text(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path} is missing", remedy=_REMEDY)
    return path.read_text(encoding="utf-8", errors="replace")


LAYOUTS = {
    "ff++": Layout(
        "FaceForensics++", "test split, frame and video AUROC of each manipulation", _faceforensics, ("c23", "c40", "raw")
    ),
    "celeb-df": Layout("Celeb-DF v2", "List_of_testing_videos.txt, frame and video AUROC", _celeb_df),
    "dfdc": Layout("DFDC", "labelled videos, frame and video AUROC", _dfdc),
    "cnndetection": Layout("CNNDetection", "AP, AUROC and accuracy at 0.5 of each generator", _cnn_detection),
    "genimage": Layout("GenImage", "validation part, accuracy at 0.5, AP and AUROC of each generator", _genimage),
    "deepfakebench": Layout(
        "DeepfakeBench", "test lists, frame and video AUROC of each manipulation", _deepfakebench, ("c23", "c40", "raw")
    ),
}  # fmt: skip
