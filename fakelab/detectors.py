"""Train and pack the detectors of the package: `python -m fakelab.detectors --faces DIR --photos DIR`; hours on two cores.

DIR of faces has `training/`, photos and videos of people, and `held-out/`, three videos or more of other people. Among these,
faces are swapped, a manipulation that is not in the training, at several bit rates: what the detector says of these videos and
of the untouched ones is recorded as its expectation. DIR of photos has small real photographs of many kinds.
"""

from __future__ import annotations

import argparse
import os
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from fakecore.errors import UserError
from fakecore.files import write_json
from fakecore.media.videofiles import named_video
from fakecore.progress import say
from fakedetect import Detector, VideoJudge, train
from fakedetect.blends.videoswap import swap_video
from fakedetect.export.pack import pack
from fakelab.recipes import faces, photos

OUT = Path("fakedetect/detectors")
_EPOCHS = 10
_CRFS = (20, 24, 28, 32, 36)  # of H.264, one after another
_MOST_SWAPS, _SECONDS = 12, 4.0
_PHOTO_SIDE = 96  # pixels: small images are enlarged to it, large ones reduced
_OF_PEOPLE = ("transposed",)  # of the recipe's GANs: at 64 pixels, the others take too long
_FACES_DOMAIN = (
    "Real: faces in colour and grey photos and in videos. Fake: blends, swaps, animations and renderings made of them, and "
    "faces of small GANs. "
    "Both turned, recoloured, reduced and compressed alike, also as H.264 and H.265 videos."
)
_PHOTOS_DOMAIN = (
    "Real: photos of 32x32 pixels of ten classes, and faces. Fake: five small GANs that were trained on them."
)


def build_faces(folder: Path, work: Path, out: Path, device: str = "auto") -> Path:
    """Train, measure and pack the detector `faces`; return its folder. Finished parts in `work` are kept."""
    training, held_out = folder / "training", folder / "held-out"
    trained = work / "faces"
    sources = faces.RECIPE.make_sources(str(training), work / "faces-sources", device=device)
    changes = {**faces.RECIPE.settings, "epochs": _EPOCHS}
    _train(sources, trained, changes, device)
    expected = measure_on_swaps(trained, _videos(held_out), work / "swaps", device)
    write_json(work / "faces-left-out.json", expected)
    return pack(trained, out / "faces", domain=_FACES_DOMAIN, reals=[training], left_out=expected)


def build_photos(folder: Path, people: Path, work: Path, out: Path, device: str = "auto") -> Path:
    """Train and pack the detector `photos`, on photographs and on photos of people; return its folder."""
    trained = work / "photos"
    sources = [
        *photos.make_sources(str(folder), work / "photos-sources", device=device),
        *photos.make_sources(str(people), work / "people-sources", device=device, names=_OF_PEOPLE),
    ]
    _train(sources, trained, {"model": "lite", "resolution": _PHOTO_SIDE, "leave_one_out": True}, device)
    return pack(trained, out / "photos", domain=_PHOTOS_DOMAIN, reals=[folder, people])


def measure_on_swaps(detector: Path, videos: list[Path], work: Path, device: str = "auto") -> dict[str, Any]:
    """Swap faces among `videos`, judge swapped and untouched ones, and return the expectation for detector.json: AUROC over
    videos, and the shares of swapped and of untouched videos with the verdict fake. Raises UserError for fewer than three.
    """
    if len(videos) < 3:
        raise UserError("too few videos are held out", got=len(videos), expected="three or more, of different people")
    work.mkdir(parents=True, exist_ok=True)
    made: list[tuple[Path, bool]] = []
    pairs = sorted(
        permutations(videos, 2), key=lambda pair: (videos.index(pair[1]) - videos.index(pair[0])) % len(videos)
    )
    for number, (target, donor) in enumerate(pairs[:_MOST_SWAPS]):
        for swapped in (True, False):
            path = work / f"{target.stem}-{donor.stem if swapped else 'untouched'}-{number}.mp4"
            if not path.exists():
                crf = _CRFS[number % len(_CRFS)]
                swap_video(target, donor, path, end_s=_SECONDS, crf=crf, seed=number, swap=swapped, device=device)
            made.append((path, swapped))
    judge = VideoJudge(Detector.load(detector, device))
    verdicts = [(judge.judge(str(path))[1], swapped) for path, swapped in made]
    judged = [(one, swapped) for one, swapped in verdicts if one is not None]
    is_fake = np.array([swapped for _, swapped in judged])
    called = np.array([one.verdict == "fake" for one, _ in judged])
    rates = {
        "auroc": float(roc_auc_score(is_fake, [one.p_fake for one, _ in judged])),
        "tpr": float(called[is_fake].mean()),
        "fpr": float(called[~is_fake].mean()),
    }
    counts = {"n_fake": int(is_fake.sum()), "n_real": int((~is_fake).sum())}
    return {**rates, "sources": {"face swaps in videos of other people": {**rates, **counts}}}


def _train(sources: list[Path], out: Path, changes: dict[str, Any], device: str) -> None:
    if (out / "detector.json").is_file():
        say(f"{out} is finished: it is kept")
    elif (out / "training.json").is_file():
        train(out=out, resume=True, device=device)
    else:
        train(sources, out=out, changes=changes, seed=0, device=device)


def _videos(folder: Path) -> list[Path]:
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in found if named_video(path))


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True, help="folder with training/ and held-out/")
    parser.add_argument("--photos", type=Path, required=True, help="folder of small photographs")
    parser.add_argument(
        "--work", type=Path, default=Path("build/detectors"), help="for runs, sets and videos on the way"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the packed detectors")
    options = parser.parse_args()
    os.nice(10)  # it takes hours
    try:
        build_faces(options.faces, options.work, options.out)
        build_photos(options.photos, options.faces / "training", options.work, options.out)
    except UserError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
