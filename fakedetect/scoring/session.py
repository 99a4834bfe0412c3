"""One call of `score`: what earlier calls judged, and the loop that judges the rest. It prints nothing, so that programs can
call it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fakedetect.faces.options import VideoOptions
from fakedetect.models.detector import Detector
from fakedetect.scoring.files import score_files
from fakedetect.scoring.results import ResultsFile, changed_since
from fakedetect.scoring.video import VideoJudge


@dataclass
class Resumed:
    """The rows of an earlier call that are still valid, by path; and how many videos were scored with other options, and how
    many files changed since: their rows were dropped.
    """

    rows: dict[str, dict] = field(default_factory=dict)
    other_options: int = 0
    changed: int = 0


class Session:
    """Judges inputs with one detector, or with a detector of faces and one `of_photos`, and appends the rows to `results`.

    `on_progress` is called with (path, frames analysed, frames expected) of each video. With `keep`, `videos.shown` has what
    reports and annotated copies need. `stability` is that of `score_files`.
    """

    def __init__(
        self,
        detector: Detector,
        of_photos: Detector | None = None,
        *,
        options: VideoOptions,
        results: ResultsFile | None = None,
        stability: bool = False,
        keep: bool = False,
        on_progress: Callable[[str, int, int], None] | None = None,
    ):
        self.detector, self.of_photos = detector, of_photos
        self.videos = VideoJudge(detector, options, on_progress=on_progress, keep=keep)
        self._results, self._stability = results, stability

    @property
    def detectors(self) -> list[Detector]:
        """The detectors that judge, that of faces first."""
        return [one for one in (self.detector, self.of_photos) if one]

    def resume(self, inputs: list[tuple[str, str | None]]) -> Resumed:
        """Return the rows that an earlier call made of these inputs. Drop those of files that changed since, and of videos that
        were scored with other options.
        """
        if self._results is None:
            return Resumed()
        before = {path: self._results.existing[path] for path, _ in inputs if path in self._results.existing}
        options = self.videos.options
        other_options = {p for p, row in before.items() if row["kind"] == "video" and not options.matches(row["note"])}
        changed = changed_since({path: row for path, row in before.items() if path not in other_options})
        stale = changed | other_options
        if stale:
            self._results.drop(stale)
        valid = {path: row for path, row in before.items() if path not in stale}
        return Resumed(valid, len(other_options), len(changed))

    def judge(self, inputs: list[tuple[str, str | None]]) -> Iterator[list[dict]]:
        """Yield the rows of `score_files`, each appended to the results before."""
        found = score_files(inputs, self.detector, self.videos, stability=self._stability, of_photos=self.of_photos)
        for rows in found:
            if self._results:
                self._results.append(rows)
            yield rows


def load_detectors(path: Path | None, device: str, *, whole_frame: bool = False) -> tuple[Detector, Detector | None]:
    """Return the detector at `path` and None; without a path, the detector of faces of the package, or with `whole_frame` that
    of photos, and the one that judges whole photos beside it. Raises UserError for what is not a detector.
    """
    detector = Detector.load(path or ("photos" if whole_frame else "faces"), device)
    return detector, None if path or whole_frame else Detector.load("photos", device)
