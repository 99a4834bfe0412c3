"""A detector's answers about videos held against the truth: `python -m benchmarks.videos.track_truth FAKED.mp4 --detector DET`.

The videos are those of `benchmarks.videos.replaced_faces`, each with its truth beside it. Each track that `score` follows is
joined to the true track that it lies on, and AUROC taken over tracks: 1 where every replaced one has the higher answer.
Several videos count together; several detectors are columns of one table.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.videos.replaced_faces import TrueTrack, read_truth
from fakecore.errors import UserError
from fakecore.report.tables import table
from fakedetect import Detector, VideoJudge, VideoOptions
from fakedetect.faces.tracks import box_at
from fakedetect.scoring.trackscores import MIN_TRACK_S, TrackSeen

LEAST_IOU = 0.3  # mean over a track's faces: a pasted face is found a little elsewhere than the one that it covers
_AROUND_S = 0.02


@dataclass(frozen=True)
class Joined:
    """A scored track on its true one. `logit` is what `p_fake` comes from, and has no ties."""

    video: str
    track: int  # as scored
    true_track: int
    replaced: bool
    iou: float  # mean over the scored track's faces, [0, 1]
    logit: float
    p_fake: float
    verdict: str
    lasts: bool  # long enough to decide


def main() -> None:
    """Judge the videos and print what the answers are worth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--detector", required=True, action="append", type=Path, help="may be given several times")
    parser.add_argument("--fps", type=float)
    parser.add_argument("--min-face", type=float, default=60, help="pixels")
    parser.add_argument(
        "--margin", type=float, help="around a face, as a share of its side; default: the detector's own"
    )
    parser.add_argument("--every-face", action="store_true", help="judge all faces of a track, not the sharpest alone")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    try:
        look = VideoOptions(
            fps=options.fps, min_face=options.min_face, margin=options.margin, every_face=options.every_face
        )
        found = {str(path): judge_videos(path, options.videos, look, options.device) for path in options.detector}
    except UserError as error:
        parser.exit(2, f"error: {error}\n")
    print(tell(found))
    (joined, *_) = found.values()  # the face finder is the same for all detectors
    for video in options.videos:
        followed = {one.true_track for one in joined if one.video == video.name}
        for track in read_truth(video.with_suffix(".json")):
            if track.lasts_s >= MIN_TRACK_S and track.number not in followed:
                truth = "replaced" if track.replaced else "as it was"
                print(f"{video.name}: no face was followed where true track {track.number} is ({truth})")


def judge_videos(detector: Path, videos: Sequence[Path], look: VideoOptions, device: str = "auto") -> list[Joined]:
    """What a detector says of each true track of videos. Raises UserError for a video without its truth, or without answer."""
    judge, joined = VideoJudge(Detector.load(detector, device), look, keep=True), []
    for video in videos:
        truth = read_truth(video.with_suffix(".json"))
        row, judgement = judge.judge(str(video))
        if judgement is None:
            raise UserError(f"{video} cannot be judged", got=f"{row['status']}: {row['error']}")
        shown = judge.shown[str(video)]
        joined += join(video.name, [(track, own.p_fake, own.verdict) for track, own, _ in shown.tracks], truth)
    return joined


def join(video: str, scored: Sequence[tuple[TrackSeen, float, str]], truth: Sequence[TrueTrack]) -> list[Joined]:
    """Each scored track (with p_fake and verdict) on the true track that it shares most of its places with; one that lies on
    none is left out. A true track may have several, where following it was interrupted.
    """
    joined = []
    for track, p_fake, verdict in scored:
        shares = [overlap(track, true) for true in truth]
        best = int(np.argmax(shares)) if shares else -1
        if best < 0 or shares[best] < LEAST_IOU:
            continue
        own, logit = truth[best], float(np.median(track.logits))
        joined.append(
            Joined(video, track.number, own.number, own.replaced, shares[best], logit, p_fake, verdict, track.lasts)
        )
    return joined


def overlap(track: TrackSeen, true: TrueTrack) -> float:
    """Mean IoU, [0, 1], of a scored track's boxes and the true ones of the same times; 0 for times without a true one."""
    from torch import from_numpy
    from torchvision.ops import box_iou

    found = []
    for time_s, box in zip(track.times, track.boxes, strict=True):
        meant = box_at(true.times, true.boxes, time_s, around_s=_AROUND_S)
        pair = None if meant is None else [from_numpy(np.asarray(one, np.float32)[None]) for one in (box, meant)]
        found.append(0.0 if pair is None else float(box_iou(*pair)))
    return float(np.mean(found))


def track_auroc(joined: Sequence[Joined]) -> float | None:
    """AUROC over tracks that last long enough to decide, fake being replaced; None unless both kinds are there."""
    from sklearn.metrics import roc_auc_score

    lasting = [one for one in joined if one.lasts]
    truth = [one.replaced for one in lasting]
    return float(roc_auc_score(truth, [one.logit for one in lasting])) if len(set(truth)) == 2 else None


def tell(found: dict[str, list[Joined]]) -> str:
    """A table of the tracks, a column of p_fake for each detector, and each one's AUROC."""
    names = list(found)
    places = {(one.video, one.track): one for own in found.values() for one in own}
    rows = []
    for (video, number), one in sorted(places.items()):
        answers = []
        for name in names:
            own = next((other for other in found[name] if (other.video, other.track) == (video, number)), None)
            answers.append(f"{own.p_fake:.3f} {own.verdict}" if own else "-")
        truth = ("replaced" if one.replaced else "as it was") + ("" if one.lasts else ", short")
        rows.append([video, str(number), str(one.true_track), truth, f"{one.iou:.2f}", *answers])
    lines = [table(("video", "track", "true track", "truth", "IoU", *(Path(name).name for name in names)), rows), ""]
    for name in names:
        auroc, lasting = track_auroc(found[name]), [one for one in found[name] if one.lasts]
        replaced = sum(one.replaced for one in lasting)
        worth = "none: only one kind is there" if auroc is None else f"{auroc:.3f}"
        lines.append(
            f"{Path(name).name}: AUROC over tracks {worth}, {replaced} replaced, {len(lasting) - replaced} not"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
