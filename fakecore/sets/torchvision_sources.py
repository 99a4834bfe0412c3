"""Named data sets, through torchvision's loaders: mnist, cifar10, svhn, lfw, celeba. Downloaded on first use.

The official train and test parts are joined; fakelab makes its own splits, which keep duplicates and persons together.
torchvision stores CIFAR-10 as pickles; it reads them only after comparing each checksum with the published one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from fakecore.errors import UserError, explain_os_error, unknown_name
from fakecore.media.pixels import read_bytes
from fakecore.sets.folders import Source

BY_HAND = {
    "mnist": "Put the four *-ubyte files of MNIST into {root}/MNIST/raw.",
    "cifar10": "Unpack cifar-10-python.tar.gz into {root}, so that {root}/cifar-10-batches-py exists.",
    "svhn": "Put train_32x32.mat and test_32x32.mat of SVHN into {root}.",
    "lfw": "Put lfw-funneled.tgz, also unpacked, into {root}/lfw-py, with peopleDevTrain.txt, peopleDevTest.txt "
    "and lfw-names.txt beside it; the original server is offline, so it cannot be downloaded.",
    "celeba": "Put img_align_celeba/ (unpacked) and the list_*.txt and identity_CelebA.txt files into {root}/celeba.",
}


def open_torchvision(name: str, selection: str | None, spec: str, root: Path) -> Source:
    """Open a named data set below `root`; download it if it is missing.

    Raises UserError if it is missing and cannot be downloaded (with instructions), or if the class or attribute does not
    exist.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        return LOADERS[name](selection, spec, root)
    except (OSError, RuntimeError, EOFError, ValueError, AssertionError) as error:
        # torchvision raises these for a missing network, bad checksums and truncated files.
        raise UserError(
            f"the data set {name} is missing or damaged, and could not be downloaded",
            got=_why(error),
            expected=f"its files below {root}",
            remedy=BY_HAND[name].format(root=root) + " Use --data-root or FAKELAB_DATA to set another folder.",
        ) from None


def _why(error: Exception) -> str | None:
    """Return the cause if the user can fix it; torchvision's own advice would mislead."""
    if "urlopen" in str(error) or isinstance(error, (ConnectionError, TimeoutError)):
        return "no connection to its server"
    return explain_os_error(error).what if isinstance(error, OSError) and error.errno else None


def _mnist(selection: str | None, spec: str, root: Path) -> Source:
    from torchvision.datasets import MNIST

    parts = [MNIST(root, train=train, download=True) for train in (True, False)]
    pixels = np.concatenate([part.data.numpy() for part in parts])  # (70000, 28, 28) grey
    labels = np.concatenate([part.targets.numpy() for part in parts])
    return _from_arrays("mnist", pixels, [str(label) for label in labels], selection, spec)


def _cifar10(selection: str | None, spec: str, root: Path) -> Source:
    from torchvision.datasets import CIFAR10

    parts = [CIFAR10(root, train=train, download=True) for train in (True, False)]
    pixels = np.concatenate([part.data for part in parts])  # (60000, 32, 32, 3) RGB
    labels = [parts[0].classes[target] for part in parts for target in part.targets]
    return _from_arrays("cifar10", pixels, labels, selection, spec)


def _svhn(selection: str | None, spec: str, root: Path) -> Source:
    from torchvision.datasets import SVHN

    parts = [SVHN(root, split=split, download=True) for split in ("train", "test")]
    pixels = np.concatenate([part.data for part in parts]).transpose(0, 2, 3, 1)  # (99289, 32, 32, 3) RGB
    labels = [str(label) for part in parts for label in part.labels]
    return _from_arrays("svhn", pixels, labels, selection, spec)


def _lfw(selection: str | None, spec: str, root: Path) -> Source:
    from torchvision.datasets import LFWPeople

    parts = [LFWPeople(root, split=split) for split in ("train", "test")]
    files = [Path(path) for part in parts for path in part.data]
    people = [path.parent.name for path in files]
    keep = _chosen("lfw", people, selection)
    people = [people[i] for i in keep]
    return _from_files("lfw", [files[i] for i in keep], people, people, spec)


def _celeba(selection: str | None, spec: str, root: Path) -> Source:
    from torchvision.datasets import CelebA

    data = CelebA(root, split="all", target_type=["attr", "identity"], download=True)
    keep = np.arange(len(data.filename))
    attributes = [name for name in data.attr_names if name]
    for attribute in (selection or "").split(","):
        if not attribute:
            continue
        if attribute not in attributes:
            raise unknown_name("attribute", attribute, attributes, where="in celeba")
        keep = keep[data.attr[keep, attributes.index(attribute)].numpy() == 1]
    if not len(keep):
        raise UserError(f"no image in celeba has all attributes of {selection}", remedy="Name fewer attributes.")
    files = [Path(data.root) / data.base_folder / "img_align_celeba" / data.filename[i] for i in keep]
    groups = [str(int(data.identity[i])) for i in keep]
    return _from_files("celeba", files, [None] * len(keep), groups, spec)


LOADERS: dict[str, Callable[[str | None, str, Path], Source]] = {
    "mnist": _mnist,
    "cifar10": _cifar10,
    "svhn": _svhn,
    "lfw": _lfw,
    "celeba": _celeba,
}


def _chosen(name: str, classes: list[str], selection: str | None) -> list[int]:
    keep = [index for index, label in enumerate(classes) if selection in (None, label)]
    if not keep:
        raise unknown_name("class", selection or "", sorted(set(classes)), where=f"in {name}")
    return keep


def _from_arrays(name: str, pixels: np.ndarray, labels: list[str], selection: str | None, spec: str) -> Source:
    keep = _chosen(name, labels, selection)
    names = [f"{name}/{i:06d}" for i in keep]
    stamp = f"{name}-{len(pixels)}-{selection}"
    return Source(spec, names, [labels[i] for i in keep], [None] * len(keep), lambda i: pixels[keep[i]], stamp)


def _from_files(name: str, files: list[Path], classes: list, groups: list, spec: str) -> Source:
    names = [f"{name}/{path.name}" for path in files]
    stamp = f"{name}-{files[0].parent}-{spec}-{len(files)}"
    return Source(spec, names, classes, groups, lambda i: read_bytes(files[i]), stamp)
