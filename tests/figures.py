"""Figures in tests are saved as an empty picture, but where a test looks at one: each takes half a second, and few tests do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

_EMPTY_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c63f80f0001010100b138f6140000000049454e44ae426082"
)


def _save_empty(_figure, file, **_options) -> None:
    if isinstance(file, (str, Path)):
        Path(file).write_bytes(_EMPTY_PNG)
    else:
        file.write(_EMPTY_PNG)


class Figures:
    """Whether matplotlib draws when it saves a figure."""

    def __init__(self):
        from matplotlib.figure import Figure

        self._empty = mock.patch.object(Figure, "savefig", _save_empty)

    @contextmanager
    def left_empty(self) -> Iterator[None]:
        """Save every figure as an empty picture."""
        self._empty.start()
        try:
            yield
        finally:
            self._empty.stop()

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Draw figures, within `left_empty`."""
        self._empty.stop()
        try:
            yield
        finally:
            self._empty.start()
