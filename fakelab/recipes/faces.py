"""The recipe `faces`: fakes for training a detector of deepfakes from real photos and videos of faces alone.

The faces of videos are cropped, a GAN is trained on all faces, and these are blended with themselves, with others, with those
of the GAN, and with versions that small autoencoders render (fakedetect.blends). Training degrades real and fake alike, also as
videos do.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from fakecore.media.videofiles import named_video
from fakecore.progress import say
from fakecore.sets.imageset import read_imageset
from fakedetect import Cut, blend, crop_faces, list_inputs
from fakedetect.training.recipes import Recipe
from fakelab.recipes.gans import train_gan

_SIZE, _MARGIN = 192, 0.08  # pixels of a training image; border around a face, share of its side
_PAIRS = 22_000  # wanted; a face has at most _MOST_COPIES of them
_MOST_COPIES = 8
_FRAMES = 80  # of each video
_VIDEO_SIZE, _VIDEO_MARGIN, _MIN_FACE = 320, 0.6, 40  # crops of videos: pixels, share of the side, pixels
_GAN, _GAN_SIDE, _GAN_STEPS, _GAN_FAKES = "modern-64", 64, 4000, 3000  # 10 minutes on two CPU cores
_GAN_PAIRS = 12_000  # of which the GAN sees the real crops
SETTINGS = {
    "model": "lite",
    "train": "finetune",
    "epochs": 6,
    "batch": 32,
    "rate": 3e-4,
    "jpeg": 0.0,  # the chains of degradations contain these
    "blur": 0.0,
    "resize": 0.0,
    "degrade": 0.6,
    "video": 0.4,
    "precision": "fp32",  # on CPUs, bf16 slows down the gradients of depthwise convolutions
}


def make_sources(
    real: str, folder: Path, *, seed: int = 0, device: str = "auto", data_root: Path | None = None
) -> list[Path]:
    """Make the set of blends from `real`, a folder of photos, videos or both, or a named source, below `folder`; return it. A
    finished one is kept. Raises UserError, or Interrupted when stopped.
    """
    made, cropped = folder / "blends", folder / "video-faces"
    if (made / "imageset.json").is_file():
        return [made]
    inputs = list_inputs([real]) if Path(real).is_dir() else []
    videos = [(path, problem) for path, problem in inputs if named_video(Path(path))]
    photos = len(inputs) > len(videos) or not inputs
    if videos and not (cropped / "imageset.json").is_file():
        say(f"recipe faces: the faces of {len(videos):,} videos")
        shutil.rmtree(cropped, ignore_errors=True)  # an unfinished set
        cut = Cut(count=_FRAMES, margin=_VIDEO_MARGIN, size=_VIDEO_SIZE)
        crop_faces(videos, cropped, cut=cut, min_face=_MIN_FACE, device=device)
    is_cropped = (cropped / "imageset.json").is_file()
    sources = [real] * photos + [str(cropped)] * is_cropped
    faces = len(inputs) - len(videos) + (len(read_imageset(cropped).records) if is_cropped else 0)
    own: dict[str, Any] = {"seed": seed, "device": device, "data_root": data_root}
    gan = _train_gan(sources, folder, _copies(_GAN_PAIRS, faces), own)
    say("recipe faces: blends")
    if made.exists():
        shutil.rmtree(made)  # an unfinished one
    copies = _copies(_PAIRS, faces)
    blend(sources, made, size=_SIZE, margin=_MARGIN, copies=copies, render=True, generated=str(gan), **own)
    return [made]


def _copies(pairs: int, faces: int) -> int:
    return max(1, min(_MOST_COPIES, round(pairs / max(1, faces))))


def _train_gan(sources: list[str], folder: Path, copies: int, own: dict[str, Any]) -> Path:
    """Train a GAN on the faces of the sources, in several views each; return its run."""
    crops = folder / "small-faces"
    if not (crops / "imageset.json").is_file():
        say("recipe faces: the faces that a GAN is trained on")
        shutil.rmtree(crops, ignore_errors=True)  # an unfinished set
        blend(sources, crops, size=_GAN_SIDE, margin=_MARGIN, copies=copies, **own)
    changes = {"steps": _GAN_STEPS, "measure_every": 0}
    return train_gan(f"recipe faces: {_GAN}", folder / "gan", _GAN, str(crops), changes, count=_GAN_FAKES, **own)


RECIPE = Recipe(make_sources, SETTINGS)
