"""The recipe `faces`: fakes for training a detector of deepfakes from real photos and videos of faces alone.

The faces of videos are cropped, and those of photos and videos blended with themselves, with others, and with versions that
small autoencoders render (fakedetect.blends). Training degrades real and fake alike, also as videos do.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from fakecore.media.videofiles import named_video
from fakecore.progress import say
from fakedetect import Cut, blend, crop_faces, list_inputs
from fakedetect.training.recipes import Recipe

_SIZE, _MARGIN = 160, 0.08  # pixels of a training image; border around a face, share of its side
_PAIRS = 16_000  # wanted; a face has at most _MOST_COPIES of them
_MOST_COPIES = 8
_FRAMES = 80  # of each video
_VIDEO_SIZE, _VIDEO_MARGIN, _MIN_FACE = 320, 0.6, 40  # crops of videos: pixels, share of the side, pixels
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
    sources = [real] * photos + [str(cropped)] * (cropped / "imageset.json").is_file()
    say("recipe faces: blends")
    if made.exists():
        shutil.rmtree(made)  # an unfinished one
    faces = len(inputs) - len(videos) + _FRAMES * len(videos)
    copies = max(1, min(_MOST_COPIES, round(_PAIRS / max(1, faces))))
    blend(
        sources,
        made,
        size=_SIZE,
        margin=_MARGIN,
        copies=copies,
        seed=seed,
        render=True,
        device=device,
        data_root=data_root,
    )
    return [made]


RECIPE = Recipe(make_sources, SETTINGS)
