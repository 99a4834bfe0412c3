"""`score --out FILE.html`: films with their tracks over time, and photos as a table, on one page that carries its pictures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from fakecore.errors import UserError
from fakecore.media.pixels import ImageError, read_image
from fakecore.messages import counted
from fakecore.report.pages import picture, write_page
from fakedetect.evaluation.plots import timeline_plot
from fakedetect.models.detector import Detector, Judgement
from fakedetect.scoring.pipeline import thumbnail
from fakedetect.scoring.trackscores import MIN_TRACK_S, FilmShown, TrackSeen

TRACKS_SHOWN = 12  # of a film
PHOTOS_SHOWN = 200  # with their pictures; of more, those likeliest to be fake
LOST_SHOWN = 200
_ORDER = {"fake": 0, "unsure": 1, "real": 2}


def refuse_page(path: Path) -> None:
    """Raise UserError unless a page can be made at `path`: before the work, not after it."""
    if path.exists():
        raise UserError(f"{path} already exists; a page is never overwritten", remedy="Choose another --out.")
    path.parent.mkdir(parents=True, exist_ok=True)


def write_score_page(path: Path, rows: list[dict], shown: dict[str, FilmShown], detector: Detector) -> None:
    """The page of these rows; `shown` is FilmJudge's."""
    films = [_film(row, shown[row["path"]], detector) for row in rows if row["path"] in shown]
    photos = [row for row in rows if row["status"] == "ok" and row["path"] not in shown]
    photos.sort(key=lambda row: (_ORDER[row["verdict"]], -row["p_fake"]))
    lost = [row for row in rows if row["status"] != "ok"]
    write_page(
        path,
        "fakedetect.scoring",
        "score.html.j2",
        title=_title(rows),
        headline=_headline(rows),
        several=len(rows) > 1,
        verdict=rows[0]["verdict"] or "",
        films=films,
        photos=[(row, told(row["p_fake"]), _photo(row["path"])) for row in photos[:PHOTOS_SHOWN]],
        more_photos=max(0, len(photos) - PHOTOS_SHOWN),
        lost=lost[:LOST_SHOWN],
        more_lost=max(0, len(lost) - LOST_SHOWN),
        detector=detector.facts,
        detector_id=detector.id,
        thresholds=detector.thresholds,
        min_track_s=MIN_TRACK_S,
    )


def told(p_fake: float) -> str:
    """To two decimals, but never as a certainty, which no detector has."""
    return "<0.01" if p_fake < 0.01 else ">0.99" if p_fake > 0.99 else f"{p_fake:.2f}"


def _title(rows: list[dict]) -> str:
    return f"Is {Path(rows[0]['path']).name} fake?" if len(rows) == 1 else f"Scores of {counted(len(rows), 'file')}"


def _headline(rows: list[dict]) -> str:
    if len(rows) == 1:
        (row,) = rows
        if row["status"] != "ok":
            return f"No answer: {row['error']}."
        return f"{row['verdict'].capitalize()}: p_fake {told(row['p_fake'])}."
    counts = Counter(row["verdict"] or "not judged" for row in rows)
    return (
        ", ".join(f"{counts[name]:,} {name}" for name in ("fake", "unsure", "real", "not judged") if counts[name]) + "."
    )


def _film(row: dict, shown: FilmShown, detector: Detector) -> dict:
    """What the template says of a film."""
    tracks = shown.tracks[:TRACKS_SHOWN]
    deciding = min(shown.deciding, len(tracks))
    lines = [(track.number, track.judged_times, p_fakes) for track, _, p_fakes in tracks[:deciding]]
    return {
        "row": row,
        "told": told(row["p_fake"]),
        "name": Path(row["path"]).name,
        "lasting": shown.tracks[0][0].lasts,
        "whole": shown.whole_frame,
        "plot": picture(timeline_plot(lines, row["threshold"], row["real_below"])),
        "tracks": [_track(place < shown.deciding, *one) for place, one in enumerate(tracks)],
        "more": len(shown.tracks) - len(tracks),
    }


def _track(decides: bool, track: TrackSeen, judgement: Judgement, p_fakes: list[float]) -> dict:
    return {
        "number": track.number,
        "decides": decides,
        "verdict": judgement.verdict,
        "outside": judgement.outside_domain,
        "told": told(judgement.p_fake),
        "when": f"{track.times[0]:.1f} to {track.times[-1]:.1f} s"
        if len(track.times) > 1
        else f"{track.times[0]:.1f} s",
        "frames": _counts(track),
        "pictures": [
            {"src": picture(data, "jpeg"), "time": f"{track.judged_times[place]:.1f} s", "told": told(p_fakes[place])}
            for place, data in _spread(track.pictures)
        ],
    }


def _counts(track: TrackSeen) -> str:
    """How many frames show it, and how many of its faces were judged."""
    judged, seen = len(track.logits), counted(len(track.times), "frame")
    return seen if judged == len(track.times) else f"{seen}, {judged:,} judged"


def _spread(pictures: list, most: int = 12) -> list:
    """At most `most` of them, the first and the last among them."""
    if len(pictures) <= most:
        return pictures
    return [pictures[round(place * (len(pictures) - 1) / (most - 1))] for place in range(most)]


def _photo(path: str) -> str | None:
    try:
        return picture(thumbnail(read_image(Path(path))), "jpeg")
    except ImageError:  # it was there when it was judged
        return None
