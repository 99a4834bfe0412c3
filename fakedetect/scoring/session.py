"""One call of `score`: which inputs earlier calls judged, and the loop that judges the rest. It prints nothing, so that
programs can call it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from fakecore.cpus import usable_cpus
from fakecore.storage import StorageError, local_copy
from fakedetect.faces.options import VideoOptions
from fakedetect.models.detector import Detector
from fakedetect.scoring.files import batches, score_files
from fakedetect.scoring.inputs import Input, expand
from fakedetect.scoring.results import Known, ResultsFile, digest_of, file_digest
from fakedetect.scoring.stamps import Stamps
from fakedetect.scoring.video import VideoJudge

_COMPARED = 256  # files of an earlier call whose content is compared at a time,
_COMPARED_BYTES = 64 << 20  # and their size together


class Session:
    """Judges inputs with one detector, or with a detector of faces and one `of_photos`, and appends the rows to `results`.

    `on_progress` is called with (path, frames analysed, frames expected) of each video, `on_known` with each input that has a
    valid row in `results`, and that row; either may raise, to stop. With `keep`, `videos.shown` has what reports and annotated
    copies need. Files at URLs that did not change are not fetched for `on_known`, unless it `needs_contents`. `stability` is
    that of `score_files`.
    """

    def __init__(
        self,
        detector: Detector,
        of_photos: Detector | None = None,
        *,
        options: VideoOptions | None = None,
        results: ResultsFile | None = None,
        stability: bool = False,
        keep: bool = False,
        needs_contents: bool = False,
        on_progress: Callable[[str, int, int], None] | None = None,
        on_known: Callable[[Input, Known], None] | None = None,
    ):
        self.detector, self.of_photos = detector, of_photos
        self.videos = VideoJudge(detector, options, on_progress=on_progress, keep=keep)
        self._results, self._stability, self._on_known = results, stability, on_known
        self._needs_contents = needs_contents
        self.contents: dict[str, bytes] = {}  # path -> content of the files in archives and at URLs among the last rows
        self.urls: dict[str, str] | None = {} if keep else None  # path of a file or archive at a URL -> the URL
        self._pending: dict[str, bytes] = {}  # the same, of files without a row yet
        self._stamps = Stamps()
        self._stamped: dict[str, tuple[str, str]] = {}  # path -> (URL, stamp) of files at URLs without a row yet
        self.other_options = 0  # videos that are scored again, since they were scored with other options
        self.changed = 0  # files that are scored again, since they changed
        self.unread = 0  # files whose earlier rows are kept, since their server does not answer

    def judge(self, inputs: Iterable[Input]) -> Iterator[list[dict]]:
        """Yield the rows of `score_files`, each appended to the results before, for the inputs that these do not have. Inputs
        are taken when they are needed.
        """
        if self._results and not self._needs_contents:
            inputs = self._changed(inputs)
        items = expand(inputs)
        todo = self._held(self._unknown(items) if self._results else items)
        try:
            for rows in score_files(
                todo, self.detector, self.videos, stability=self._stability, of_photos=self.of_photos
            ):
                if self._results:
                    self._results.append(rows)
                    self._remember(rows)
                self.contents = {
                    row["path"]: self._pending.pop(row["path"]) for row in rows if row["path"] in self._pending
                }
                yield rows
        finally:
            if self._results:
                self._results.close()
            self._stamps.close()

    def _changed(self, inputs: Iterable[Input]) -> Iterator[Input]:
        """Yield the inputs but for files at URLs with a valid row, whose stamp is the one that they had then."""
        assert self._results, "there are results to compare with"
        for one in inputs:
            row = self._results.existing.get(one.path)
            stamped = _stamped(one)
            digest = self._stamps.digest_of(*stamped) if row and stamped else None
            if row is None or digest is None or digest != row.sha256 or self._has_other_options(row):
                yield one
            elif self._on_known:
                self._on_known(one, row)

    def _remember(self, rows: list[dict]) -> None:
        """Keep the SHA-256 of files at URLs with their stamps."""
        for row in rows:
            one = self._stamped.pop(row["path"], None)
            if one and row["sha256"]:
                self._stamps.add(*one, bytes.fromhex(row["sha256"]))

    def _has_other_options(self, row: Known) -> bool:
        return row.kind == "video" and not self.videos.options.matches(row.note)

    def _held(self, inputs: Iterable[Input]) -> Iterator[Input]:
        for one in inputs:
            if one.data is not None:
                self._pending[one.path] = one.data
            if stamped := _stamped(one):
                self._stamped[one.path] = stamped
            if one.url is not None and self.urls is not None:
                self.urls[one.archive or one.path] = one.url
            yield one

    def _unknown(self, inputs: Iterator[Input]) -> Iterator[Input]:
        """Yield the inputs without a valid row in the results: new ones, files that changed, and videos that were scored with
        other options.
        """
        assert self._results, "there are results to compare with"
        with ThreadPoolExecutor(usable_cpus()) as pool:
            for batch in batches(inputs, _COMPARED, _COMPARED_BYTES):
                rows = [self._results.existing.get(one.path) for one in batch]
                for one, row, same in zip(batch, rows, pool.map(_same_file, batch, rows), strict=True):
                    if row is None:
                        yield one
                        continue
                    if one.is_passing and row.sha256 is not None:  # a row is worth more than the error of a busy server
                        self.unread += 1
                        if self._on_known:
                            self._on_known(one, row)
                        continue
                    other_options = self._has_other_options(row)
                    if same and not other_options:
                        if (stamped := _stamped(one)) and row.sha256:
                            self._stamps.add(*stamped, row.sha256)
                        if self._on_known:
                            self._on_known(one, row)
                        continue
                    self.other_options += other_options
                    self.changed += not same
                    self._results.replace(one.path)
                    yield one


def _stamped(one: Input) -> tuple[str, str] | None:
    """Return (URL, stamp) of a file of which a list says what changes with its content; None for others, and in archives."""
    return None if one.url is None or one.stamp is None or one.archive is not None else (one.url, one.stamp)


def _same_file(one: Input, row: Known | None) -> bool:
    """Return whether a file is the one of the row that an earlier call made."""
    if row is None:
        return False
    if one.url is not None and one.data is None and one.problem is None:
        with suppress(StorageError, OSError), local_copy(one.url) as content:
            return bytes.fromhex(file_digest(content)) == row.sha256
        return False
    if one.is_elsewhere:
        if one.data is None:
            return row.sha256 is None and row.status == one.status
        return hashlib.sha256(one.data).digest() == row.sha256
    return digest_of(one.path) == row.sha256


def load_detectors(path: Path | None, device: str, *, whole_frame: bool = False) -> tuple[Detector, Detector | None]:
    """Return the detector at `path` and None; without a path, the detector of faces of the package, or with `whole_frame` that
    of photos, and the one that judges whole photos beside it. Raises UserError for what is not a detector.
    """
    detector = Detector.load(path or ("photos" if whole_frame else "faces"), device)
    return detector, None if path or whole_frame else Detector.load("photos", device)
