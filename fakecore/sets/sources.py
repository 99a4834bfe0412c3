"""Sources of real images, named by one grammar: `digits[:3]`, `mnist[:3]`, `celeba[:Male,Smiling]`, `folder[:class]`.

A source lists its images without decoding them; `read(i)` returns the bytes of a file or the pixels of an array.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from fakecore.errors import UserError, unknown_name
from fakecore.labels import Label
from fakecore.runs.mirror import mirror_folder
from fakecore.sets.folders import Source, open_folder
from fakecore.sets.imageset import is_imageset, read_imageset
from fakecore.sets.torchvision_sources import LOADERS, open_torchvision
from fakecore.urls import is_url, shown


def open_source(spec: str, data_root: Path | None = None, *, label: Label = "real") -> Source:
    """Open a source by its `spec`. `data_root` is the folder of downloads (default: FAKELAB_DATA, else ~/.cache/fakelab/data).

    A URL of a folder or set is copied to the cache first. From a set or run that fakelab wrote, only the images of `label` are
    used. Write ./digits for a folder with the name of a
    data set. Raises UserError if the source, class or attribute does not exist, contains no image, or cannot be downloaded.
    """
    if not spec.strip():
        raise UserError(
            "the name of the image source is empty", got="''", expected="a folder, . for the current one, or a name"
        )
    if is_url(spec):
        copy = mirror_folder(spec)
        return replace(open_source(str(copy), data_root, label=label), spec=shown(spec))
    name, _, selection = spec.partition(":")
    if name == "digits":
        source = _digits(selection or None, spec)
    elif name in LOADERS:
        source = open_torchvision(name, selection or None, spec, data_root or default_data_root())
    elif is_imageset(Path(spec)) or is_imageset(Path(spec) / "set"):
        source = _open_set(Path(spec) if is_imageset(Path(spec)) else Path(spec) / "set", label, spec)
    elif Path(spec).is_dir():
        source = open_folder(Path(spec), None, spec)
    else:
        folder, _, chosen = spec.rpartition(":")
        if not folder or not Path(folder).is_dir():
            if Path(spec).is_file():
                raise UserError(f"{spec} is a file", expected="a folder of images, or the name of a data set")
            if os.sep in spec or "." in spec:
                raise UserError(f"there is no folder {spec!r}", remedy="Check the path.")
            raise unknown_name("source of images", spec, ["digits", *LOADERS, "a folder"])
        source = open_folder(Path(folder), chosen, spec)
    if not len(source):
        raise UserError(
            f"{spec} contains no images", expected="a folder of images, flat or with one sub-folder per class"
        )
    return source


def is_named(spec: str) -> bool:
    """Return True for a named data set, such as `digits` or `mnist:3`, and for a URL; False for a folder of this machine."""
    return is_url(spec) or spec.partition(":")[0] in ("digits", *LOADERS)


def default_data_root() -> Path:
    """Return the folder of downloaded data sets: the environment variable FAKELAB_DATA, else below the user's cache."""
    return Path(os.environ.get("FAKELAB_DATA") or Path.home() / ".cache" / "fakelab" / "data")


def _open_set(root: Path, label: Label, spec: str) -> Source:
    """Return the images of one label in a set that fakelab wrote, with the classes and groups of its manifest."""
    found = read_imageset(root)
    records = [record for record in found.records if record.label == label]
    names = [record.file_name for record in records]
    classes, groups = [record.class_ for record in records], [record.group for record in records]
    cut = found.info["origin"].get("faces")
    stamp = found.stamp(records)
    return Source(
        spec, names, classes, groups, lambda i: found.read(records[i]), stamp, folder=root, faces=_face_cut(cut)
    )


def _face_cut(cut: object) -> dict | None:
    """Return the part of origin.faces that locates the faces in the images; None if unknown."""
    return {name: cut[name] for name in ("margin", "align") if name in cut} or None if isinstance(cut, dict) else None


def _digits(chosen: str | None, spec: str) -> Source:
    """scikit-learn's 1,797 handwritten digits, 8x8, 17 grey levels (Alpaydin and Kaynak, 1998; UCI repository)."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = np.round(data.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8)
    classes = [str(target) for target in data.target]
    keep = [i for i, name in enumerate(classes) if chosen in (None, name)]
    if chosen is not None and not keep:
        raise unknown_name("class", chosen, sorted(set(classes)), where="in digits")
    names = [f"digits/{i:04d}" for i in keep]
    return Source(
        spec, names, [classes[i] for i in keep], [None] * len(keep), lambda i: pixels[keep[i]], f"digits-1797-{chosen}"
    )
