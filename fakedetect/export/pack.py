"""Pack a trained detector for distribution: `python -m fakedetect.export.pack DET OUT --domain TEXT --reals DIR`.

Weights are written in half precision, and what only further training needs is left out. The list of hashes of the training
material is replaced by a count and one digest of each of its folders.
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import cdist

from fakecore.errors import UserError
from fakecore.files import read_json
from fakecore.progress import say
from fakecore.runs.checkpoint import save_checkpoint
from fakecore.sets.folders import walk_files
from fakedetect.models.detector import Detector
from fakedetect.models.domain import NEIGHBOURS, Domain

LARGEST_BYTES = 8_000_000
_POINTS = 1500  # of the domain
_DROPPED = ("host", "train_s", "seen_sha256", "audit", "test_metrics")


def pack(
    detector: Path | str,
    out: Path | str,
    *,
    domain: str,
    reals: list[Path],
    left_out: dict[str, Any] | None = None,
) -> Path:
    """Write the detector in half precision to the folder `out` and return it. `domain` describes the training images, without
    paths; of `reals`, the folders of real images, counts and digests are recorded. `left_out` replaces what detector.json
    says about sources of fakes that were left out.

    Raises UserError if the weights change in half precision, or take more than LARGEST_BYTES.
    """
    found, out = Detector.load(detector, "cpu"), Path(out)
    if isinstance(found.domain, Domain):
        found.domain = thinned(found.domain, _POINTS)
    tensors = {name: _halved(name, tensor) for name, tensor in found.tensors().items()}
    facts = {name: value for name, value in found.facts.items() if name not in (*_DROPPED, "sha256")}
    training = {name: value for name, value in facts["training"].items() if name not in ("origin", "seen_sha256")}
    facts["training"] = {
        **training,
        "domain": domain,
        "seen_sha256": None,
        "reals": [_described(folder) for folder in reals],
    }
    facts |= {} if left_out is None else {"left_out": left_out}
    save_checkpoint(out / "detector", tensors, facts)
    size = (out / "detector.safetensors").stat().st_size
    if size > LARGEST_BYTES:
        raise UserError(
            f"{out} is too large for the package", got=f"{size:,} bytes", expected=f"{LARGEST_BYTES:,} at most"
        )
    say(f"{out}: {size:,} bytes; logits change by {_change(found, Detector.load(out, 'cpu')):.4f} at most")
    return out


def thinned(domain: Domain, count: int) -> Domain:
    """Return the domain with `count` evenly chosen reference points, and the limit raised as distances to the neighbours of the
    other points grow.
    """
    points = domain.points
    if len(points) <= count:
        return domain
    kept = np.zeros(len(points), dtype=bool)
    kept[np.linspace(0, len(points) - 1, count).round().astype(int)] = True
    others = points[~kept].astype(np.float64)

    def usual(references: np.ndarray, rank: int) -> float:
        apart = np.sort(cdist(others, references.astype(np.float64)), axis=1)
        return float(np.median(apart[:, rank]))

    grown = usual(points[kept], NEIGHBOURS - 1) / usual(
        points, NEIGHBOURS
    )  # among all points, each is its own neighbour
    return replace(domain, points=points[kept], limit=grown * domain.limit)


def _halved(name: str, tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor
    halved = tensor.half()
    if not halved.isfinite().all():
        raise UserError(f"{name} does not fit half precision", got=f"up to {float(tensor.abs().max()):.3g}")
    return halved


def _described(folder: Path) -> dict[str, Any]:
    """Return count and digest of the files below a folder; the digest does not depend on their names."""
    problems: list[tuple[str, str]] = []
    digests = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in walk_files(folder, problems))
    return {
        "folder": folder.name,
        "files": len(digests),
        "sha256": hashlib.sha256("".join(digests).encode()).hexdigest(),
    }


def _change(before: Detector, after: Detector) -> float:
    """Return the largest change of a logit on images of noise of different smoothness."""
    random, side = np.random.default_rng(0), before.resolution
    images = np.stack(
        [
            np.kron(
                random.integers(0, 256, (before.channels, -(-side // cell), -(-side // cell)), np.uint8),
                np.ones((1, cell, cell), np.uint8),
            )[:, :side, :side]
            for cell in (1, 2, 4, 8, 16, 32)
        ]
    )
    return float(np.abs(before.outputs(images)[0] - after.outputs(images)[0]).max())


def main() -> None:
    """Read the command line and pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detector", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--reals", type=Path, action="append", required=True, help="folder of real images; may be repeated"
    )
    parser.add_argument("--left-out", type=Path, help="JSON file with auroc, tpr, fpr and sources, to be recorded")
    parser.add_argument("--domain", required=True, help="what the training images are, for those who read a verdict")
    options = parser.parse_args()
    left_out = options.left_out and read_json(options.left_out)
    try:
        pack(options.detector, options.out, domain=options.domain, reals=options.reals, left_out=left_out)
    except UserError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
