"""`score --out FILE.html`: one self-contained report with the tracks of each video over time and a table of photos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fakecore.errors import UserError
from fakecore.media.pixels import ImageError, decode_image, read_image
from fakecore.messages import counted
from fakecore.report.pages import data_uri, write_page
from fakedetect.evaluation.plots import timeline_plot
from fakedetect.models.detector import Detector, Judgement
from fakedetect.models.facts import expectation
from fakedetect.scoring.annotate import box_label, draw_box
from fakedetect.scoring.columns import format_short, range_text, says_generated, visible_name
from fakedetect.scoring.inputs import Input, contents_of, expand
from fakedetect.scoring.pipeline import thumbnail
from fakedetect.scoring.provenance import evidence_rank
from fakedetect.scoring.trackscores import MIN_TRACK_S, TrackSeen, VideoShown

BOXED_SIDE = 800  # pixels: the longer side of a photo with its faces marked
TRACKS_SHOWN = 12  # per video
PHOTOS_SHOWN = 200  # with thumbnails; the most likely fakes first
FACES_SHOWN = 30  # per photo
LOST_SHOWN = 200
EVIDENCE_SHOWN = 50  # files in the table of evidence
_LETTERS = 1.2  # scale of the numbers of boxes, so that a phone shows them large enough to be read
_ORDER = {"fake": 0, "unsure": 1, "real": 2}


@dataclass(frozen=True)
class Kept:
    """What is kept of a judged file for a report: what `picture` returns of a photo, or `video_section` of a video."""

    picture: bytes | None = None
    section: dict | None = None


def refuse_page(path: Path) -> None:
    """Raise UserError unless a report can be written to `path`; called before scoring starts."""
    if path.exists():
        raise UserError(f"{path} already exists; existing files are never overwritten", remedy="Choose another --out.")
    path.parent.mkdir(parents=True, exist_ok=True)


def write_score_page(
    path: Path,
    rows: list[dict],
    shown: dict[str, VideoShown],
    detector: Detector,
    of_photos: Detector | None = None,
    *,
    kept: dict[str, Kept] | None = None,
    urls: Mapping[str, str] | None = None,
) -> None:
    """Write the report of these rows; `shown` is VideoJudge.shown. `of_photos` judged whole photos. `kept` has, for each path,
    what it takes instead of the file, where the files themselves are no longer there. `urls` has the URLs of files and archives
    that stand at one; no other URL is read, whatever a file is called.
    """
    sections = {path: one.section for path, one in (kept or {}).items() if one.section}
    sections |= {row["path"]: video_section(row, shown[row["path"]]) for row in rows if row["path"] in shown}
    videos = [{**sections[row["path"]], "row": row} for row in rows if row["path"] in sections]
    photos = [row for row in rows if row["status"] == "ok" and row["path"] not in sections]
    photos.sort(key=lambda row: (_ORDER[row["verdict"]], -row["p_fake"]))
    evidence = sorted((row for row in rows if row["provenance"]), key=evidence_rank)
    lost = [row for row in rows if row["status"] != "ok"]
    pictures = _pictures(photos[:PHOTOS_SHOWN], kept or {}, urls or {})
    write_page(
        path,
        "fakedetect.scoring",
        "score.html.j2",
        title=_title(rows),
        headline=_headline(rows),
        several=len(rows) > 1,
        first=rows[0],
        verdict=rows[0]["verdict"] or "",
        videos=videos,
        evidence=[(row, row["provenance"]["findings"][0]) for row in evidence[:EVIDENCE_SHOWN]],
        more_evidence=max(0, len(evidence) - EVIDENCE_SHOWN),
        photos=[(row, pictures.get(row["path"])) for row in photos[:PHOTOS_SHOWN]],
        faces_shown=FACES_SHOWN,
        more_photos=max(0, len(photos) - PHOTOS_SHOWN),
        lost=lost[:LOST_SHOWN],
        more_lost=max(0, len(lost) - LOST_SHOWN),
        detectors=_deciding(rows, [one for one in (detector, of_photos) if one]),
        min_track_s=MIN_TRACK_S,
        format_short=format_short,
        range_text=range_text,
        says_generated=says_generated,
        visible_name=visible_name,
    )


def _deciding(rows: list[dict], detectors: list[Detector]) -> list[tuple[Detector, int, str]]:
    """Return the detectors that decided a verdict, with the number of their files and what to expect of them; all detectors
    if there is no verdict.
    """
    counts = Counter(row["detector"] for row in rows if row["status"] == "ok")
    return [(one, counts[one.id], expectation(one.facts)) for one in detectors if counts[one.id] or not counts]


def _title(rows: list[dict]) -> str:
    return (
        f"Is {visible_name(Path(rows[0]['path']).name)} fake?"
        if len(rows) == 1
        else f"Scores of {counted(len(rows), 'file')}"
    )


def _headline(rows: list[dict]) -> str:
    if len(rows) == 1:
        (row,) = rows
        if row["status"] != "ok":
            return f"Not scored: {row['error']}."
        found = range_text(row)
        return f"{row['verdict'].capitalize()}: p_fake {format_short(row['p_fake'])}{f', {found}' if found else ''}."
    counts = Counter(row["verdict"] or "not scored" for row in rows)
    return (
        ", ".join(f"{counts[name]:,} {name}" for name in ("fake", "unsure", "real", "not scored") if counts[name]) + "."
    )


def video_section(row: dict, shown: VideoShown) -> dict:
    """Return what the template shows of a video beside its row: JSON."""
    tracks = shown.tracks[:TRACKS_SHOWN]
    deciding = min(shown.deciding, len(tracks))
    lines = [(track.number, track.judged_times, p_fakes) for track, _, p_fakes in tracks[:deciding]]
    return {
        "p_fake": format_short(row["p_fake"]),
        "name": visible_name(Path(row["path"]).name),
        "lasting": shown.tracks[0][0].lasts,
        "whole": shown.whole_frame,
        "plot": data_uri(timeline_plot(lines, row["threshold"], row["real_below"])),
        "tracks": [_track(place < shown.deciding, *one) for place, one in enumerate(tracks)],
        "more": len(shown.tracks) - len(tracks),
    }


def _track(decides: bool, track: TrackSeen, judgement: Judgement, p_fakes: list[float]) -> dict:
    return {
        "number": track.number,
        "decides": decides,
        "verdict": judgement.verdict,
        "outside": judgement.outside_domain,
        "p_fake": format_short(judgement.p_fake),
        "when": f"{track.times[0]:.1f} to {track.times[-1]:.1f} s"
        if len(track.times) > 1
        else f"{track.times[0]:.1f} s",
        "frames": _counts(track),
        "thumbnails": [
            {
                "src": data_uri(data, "jpeg"),
                "time": f"{track.judged_times[place]:.1f} s",
                "p_fake": format_short(p_fakes[place]),
            }
            for place, data in _spread(track.thumbnails)
        ],
    }


def _counts(track: TrackSeen) -> str:
    """Return the number of frames of a track, and of its scored faces, in words."""
    judged, seen = len(track.logits), counted(len(track.times), "frame")
    return seen if judged == len(track.times) else f"{seen}, {judged:,} scored"


def _spread(images: list, most: int = 12) -> list:
    """Return at most `most` images, including the first and the last."""
    if len(images) <= most:
        return images
    return [images[round(place * (len(images) - 1) / (most - 1))] for place in range(most)]


def _pictures(rows: list[dict], kept: dict[str, Kept], urls: Mapping[str, str]) -> dict[str, str]:
    """Return path -> picture of each photo, as the `src` of an <img>."""
    found = {path: data_uri(one.picture, "jpeg") for path, one in kept.items() if one.picture}
    todo = [row for row in rows if row["path"] not in kept]
    packed = contents_of([(row["archive"], row["path"]) for row in todo if row.get("archive")], urls)
    by_path = {row["path"]: row for row in todo if not row.get("archive")}
    found |= {row["path"]: src for row in todo if row.get("archive") and (src := _photo(row, packed.get(row["path"])))}
    for one in expand([Input(path, url=urls.get(path)) for path in by_path]):
        if one.path in by_path and one.problem is None and (src := _photo(by_path[one.path], one.data)):
            found[one.path] = src
    return found


def _photo(row: dict, content: bytes | None) -> str | None:
    """Return the picture of a photo as the `src` of an <img>."""
    try:
        image = read_image(Path(row["path"])) if content is None else decode_image(content)
    except ImageError:  # removed since it was scored
        return None
    return data_uri(picture(image, row.get("faces")), "jpeg")


def picture(image: np.ndarray, faces: list[dict] | None) -> bytes:
    """Return a thumbnail of a photo, uint8 RGB (H, W, 3), or, if it was judged by its faces, the photo with their boxes, as a
    JPEG.
    """
    return _boxed(image, faces) if faces else thumbnail(image)


def _boxed(image: np.ndarray, faces: list[dict]) -> bytes:
    """Return a photo, uint8 RGB (H, W, 3), with the boxes of its faces, at most BOXED_SIDE pixels large, as a JPEG."""
    scale = min(1.0, BOXED_SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = np.ascontiguousarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    # The most suspicious is drawn last, on top. Several faces have the numbers that they have in the list beside the photo.
    for number, face in sorted(enumerate(faces, 1), key=lambda one: one[1]["p_fake"]):
        box = [edge * scale for edge in face["box"]]
        text = str(number) if len(faces) > 1 else box_label(face["verdict"], face["p_fake"])
        letters = min(_LETTERS if len(faces) > 1 else 0.8, min(size) / 350, (box[3] - box[1]) / 40)
        draw_box(small, box, text, face["verdict"], max(0.4, letters))
    return cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
