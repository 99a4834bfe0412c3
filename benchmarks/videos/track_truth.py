"""Compare a detector's scores of videos with the truth: `python -m benchmarks.videos.track_truth FAKED.mp4 --detector DET`.

The videos are those of `benchmarks.videos.replaced_faces`, each with its truth beside it. Each track that `score` follows is
matched to the true track that it overlaps most. AUROC over tracks is 1 if every replaced track scores higher than every other.
Several videos are evaluated together; several detectors are columns of one table.
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

MIN_IOU = 0.3  # mean over a track's faces; low, since a pasted face is not found exactly where the original was
_AROUND_S = 0.02


@dataclass(frozen=True)
class MatchedTrack:
    """A scored track and its true track. `logit` is the median of the faces' logits: AUROC uses it, since `p_fake` may tie."""

    video: str
    track: int  # number of the scored track
    true_track: int
    replaced: bool
    iou: float  # mean over the scored track's faces, [0, 1]
    logit: float
    p_fake: float
    verdict: str
    lasts: bool  # long enough for a verdict


def main() -> None:
    """Judge the videos and print the table of tracks with AUROC."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--detector", required=True, action="append", type=Path, help="may be given several times")
    parser.add_argument("--fps", type=float)
    parser.add_argument("--min-face", type=float, default=60, help="pixels")
    parser.add_argument(
        "--margin", type=float, help="margin around a face, fraction of its side; default: the detector's"
    )
    parser.add_argument(
        "--every-face", action="store_true", help="judge all faces of a track, not only the sharpest ones"
    )
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    try:
        settings = VideoOptions(
            fps=options.fps, min_face=options.min_face, margin=options.margin, every_face=options.every_face
        )
        found = {str(path): judge_videos(path, options.videos, settings, options.device) for path in options.detector}
    except UserError as error:
        parser.exit(2, f"error: {error}\n")
    print(format_tracks(found))
    (matched, *_) = found.values()  # all detectors use the same face finder
    for video in options.videos:
        followed = {one.true_track for one in matched if one.video == video.name}
        for track in read_truth(video.with_suffix(".json")):
            if track.duration_s >= MIN_TRACK_S and track.number not in followed:
                truth = "replaced" if track.replaced else "original"
                print(f"{video.name}: score did not follow true track {track.number} ({truth})")


def judge_videos(
    detector: Path, videos: Sequence[Path], settings: VideoOptions, device: str = "auto"
) -> list[MatchedTrack]:
    """Score videos and match their tracks to the true ones. Raises UserError for a video without truth or without scores."""
    judge, matched = VideoJudge(Detector.load(detector, device), settings, keep=True), []
    for video in videos:
        truth = read_truth(video.with_suffix(".json"))
        row, judgement = judge.judge(str(video))
        if judgement is None:
            raise UserError(f"{video} cannot be judged", got=f"{row['status']}: {row['error']}")
        shown = judge.shown[str(video)]
        matched += match_tracks(video.name, [(track, own.p_fake, own.verdict) for track, own, _ in shown.tracks], truth)
    return matched


def match_tracks(
    video: str, scored: Sequence[tuple[TrackSeen, float, str]], truth: Sequence[TrueTrack]
) -> list[MatchedTrack]:
    """Match each scored track (with p_fake and verdict) to the true track with the highest `overlap`; tracks below MIN_IOU
    are left out. A true track may match several, where tracking was interrupted.
    """
    matched = []
    for track, p_fake, verdict in scored:
        overlaps = [overlap(track, true) for true in truth]
        best = int(np.argmax(overlaps)) if overlaps else -1
        if best < 0 or overlaps[best] < MIN_IOU:
            continue
        own, logit = truth[best], float(np.median(track.logits))
        matched.append(
            MatchedTrack(
                video, track.number, own.number, own.replaced, overlaps[best], logit, p_fake, verdict, track.lasts
            )
        )
    return matched


def overlap(track: TrackSeen, true: TrueTrack) -> float:
    """Return the mean IoU, [0, 1], of a scored track's boxes with the true ones at the same times; a missing one counts 0."""
    from torch import from_numpy
    from torchvision.ops import box_iou

    found = []
    for time_s, box in zip(track.times, track.boxes, strict=True):
        true_box = box_at(true.times, true.boxes, time_s, around_s=_AROUND_S)
        pair = None if true_box is None else [from_numpy(np.asarray(b, np.float32)[None]) for b in (box, true_box)]
        found.append(0.0 if pair is None else float(box_iou(*pair)))
    return float(np.mean(found))


def track_auroc(matched: Sequence[MatchedTrack]) -> float | None:
    """Return AUROC over the tracks long enough for a verdict (positive: replaced); None if only one class is present."""
    from sklearn.metrics import roc_auc_score

    lasting = [one for one in matched if one.lasts]
    truth = [one.replaced for one in lasting]
    return float(roc_auc_score(truth, [one.logit for one in lasting])) if len(set(truth)) == 2 else None


def format_tracks(found: dict[str, list[MatchedTrack]]) -> str:
    """Format the tracks as a table, with a column of p_fake per detector, and each detector's AUROC."""
    names = list(found)
    tracks = {(one.video, one.track): one for own in found.values() for one in own}
    rows = []
    for (video, number), one in sorted(tracks.items()):
        scores = []
        for name in names:
            own = next((other for other in found[name] if (other.video, other.track) == (video, number)), None)
            scores.append(f"{own.p_fake:.3f} {own.verdict}" if own else "-")
        truth = ("replaced" if one.replaced else "original") + ("" if one.lasts else ", short")
        rows.append([video, str(number), str(one.true_track), truth, f"{one.iou:.2f}", *scores])
    lines = [table(("video", "track", "true track", "truth", "IoU", *(Path(name).name for name in names)), rows), ""]
    for name in names:
        auroc, lasting = track_auroc(found[name]), [one for one in found[name] if one.lasts]
        replaced = sum(one.replaced for one in lasting)
        text = "undefined: only one class is present" if auroc is None else f"{auroc:.3f}"
        lines.append(f"{Path(name).name}: AUROC over tracks {text}, {replaced} replaced, {len(lasting) - replaced} not")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
