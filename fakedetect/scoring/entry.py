"""One file to judge: a path of this machine, a file in an archive, or one at a URL."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Input:
    """One file to judge. `path` names it in rows; `problem`, if any, is why it cannot be judged, with its `status`."""

    path: str
    problem: str | None = None
    status: str = "unreadable"
    archive: str | None = None  # the path of the archive that the file is in, or that is itself the problem
    data: bytes | None = None  # the content of a file in an archive or at a URL, if it was read
    # Of the file, or of its archive. It may contain a password: rows and messages take `path`.
    url: str | None = field(default=None, repr=False)
    size: int | None = None  # in bytes, of a file at a URL, where a list says it
    stamp: str | None = field(
        default=None, repr=False
    )  # where a list says it: size, ETag, time, which change with the content
    is_passing: bool = False  # the problem may pass: a server did not answer

    @property
    def is_elsewhere(self) -> bool:
        """Whether no file stands at `path`: its content is in `data`, or at `url` if it is large."""
        return self.archive is not None or self.url is not None
