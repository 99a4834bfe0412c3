"""`--model auto`: choose the model of a new detector by what the images are."""

from __future__ import annotations

from typing import Any

from fakecore.progress import say
from fakecore.sets.imageset import ImageSet
from fakecore.sets.pixelcache import are_photographs, source_channels
from fakecore.settings import override
from fakedetect.data.joining import Place, split_places
from fakedetect.data.loading import open_labelled
from fakedetect.models.settings import DetectorSettings

AUTO = "auto"
_FOLDER_SIDE = 64  # pixels: plain folders hold photographs


def choose_model(images: dict[str, Place], changes: dict[str, Any]) -> str:
    """Return "lite" for photographs (colour images, or grey ones of 64 pixels and more) and "cnn" for smaller grey images such
    as digits, and print the choice. `images` are place, real, fake and data_root of `train`. Raises UserError as it does.
    The setting `blocks` among `changes` asks for cnn, the only model that has it.
    """
    if "blocks" in changes:
        return "cnn"
    stream = override(DetectorSettings(), {"stream": changes.get("stream")}).stream
    found = open_labelled(**split_places(images)[0], stream=stream)
    if isinstance(found, ImageSet):
        channels, side = found.info["channels"], found.info["resolution"]
    else:
        reals, fakes = found
        channels = source_channels([*reals.paths, *fakes.paths], lambda i: _read(reals, fakes, i))
        side = _FOLDER_SIDE
    photographs = are_photographs(channels, side)
    model = "lite" if photographs else "cnn"
    why = "colour images" if channels == 3 else "grey photographs" if photographs else "small grey images"
    say(f"model: {model} ({why}; --model chooses another)")
    return model


def _read(reals, fakes, index: int):
    return reals.read(index) if index < len(reals) else fakes.read(index - len(reals))
