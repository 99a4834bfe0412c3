"""`inspect`: the findings of photos and videos. Pixels are decoded on demand, and nothing a file says changes its score."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from PIL import ExifTags, Image, IptcImagePlugin

from fakecore.media.colours import float_size
from fakecore.media.jpegheader import bare_jpeg
from fakecore.media.memoryfile import memory_file
from fakecore.media.pixels import MAX_PIXELS, ImageError, image_bytes, open_image, read_bytes
from fakecore.media.pngchunks import has_late_texts
from fakedetect.audits.containers import JPEG_SUFFIXES, bare_encoding, container_of
from fakedetect.inspection.cameras import findings_of_camera
from fakedetect.inspection.compression import findings_of_compression
from fakedetect.inspection.findings import Finding, rank, shown
from fakedetect.inspection.manifests import findings_in_manifest, has_manifest
from fakedetect.inspection.stealth import hidden_texts
from fakedetect.inspection.texts import findings_in_texts, findings_in_xmp, texts_in_xmp
from fakedetect.inspection.thumbnails import findings_in_thumbnail

_MANIFEST_BYTES = 4 << 20  # of a video, at either end
_USER_COMMENT = 0x9286
_EXIF_TEXTS = ("Software", "ImageDescription", "Artist", "Copyright", "HostComputer", "Make", "Model")
_IPTC_TEXTS = {(2, 110): "credit", (2, 115): "source", (2, 120): "caption", (2, 65): "program"}


@dataclass(frozen=True)
class Inspected:
    """What a file says, the most telling first. `status` is "ok", or why it could not be read; `error` then says more."""

    path: str
    kind: str  # image or video
    status: str = "ok"
    error: str | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def points_to(self) -> str:
        """What the most telling finding points to."""
        return self.findings[0].points_to if self.findings else "nothing"

    def to_json(self) -> dict[str, Any]:
        found = [one.to_json() for one in self.findings]
        return {
            "path": self.path,
            "kind": self.kind,
            "status": self.status,
            "error": self.error,
            "points_to": self.points_to,
            "findings": found,
        }


def inspect_file(path: str, *, deep: bool = False, trust: str | None = None, data: bytes | None = None) -> Inspected:
    """Return the findings of a photo or video.

    Reads headers only, and decodes pixels too if `deep`: the embedded thumbnail is compared with the photo, and traces of
    double compression and of hidden texts are searched. `trust`: root certificates of C2PA signers to trust, PEM. `data`:
    the content of the file, if it was read already; `path` then only names it.
    """
    try:
        content = read_bytes(Path(path)) if data is None else image_bytes(data, path)
        found = list(_of_photo(content, PurePath(path).name, trust))
        if deep:
            found += _in_pixels(content)
    except ImageError as error:
        if error.kind == "video":
            return _inspect_video(path, trust) if data is None else _inspect_held_video(path, data, trust)
        return Inspected(path, "image", error.status, str(error))
    return Inspected(path, "image", findings=sorted(found, key=rank))


def _of_photo(data: bytes, name: str, trust: str | None) -> Iterator[Finding]:
    """Yield the findings in the header of a photo. Raises ImageError."""
    if bare := bare_jpeg(data, MAX_PIXELS):  # most photos, and nothing else can be found in their headers
        yield _encoding(*bare_encoding(*bare))
        if (suffix := PurePath(name).suffix.lower()[1:]) not in JPEG_SUFFIXES:
            yield _renamed("JPEG", suffix or "none")
    elif float_size(data):  # neither Pillow nor OpenCV reads texts in them
        yield from findings_in_xmp(data, "XMP")
        return
    else:
        yield from _of_image(data, name)
    if has_manifest(data):
        yield from findings_in_manifest(io.BytesIO(data), trust)


def _of_image(data: bytes, name: str) -> Iterator[Finding]:
    """Yield what Pillow reads in the header of a photo. Raises ImageError."""
    with open_image(data) as image:
        exif = _exif(image, data)
        texts = dict(_texts(image, exif))
        packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
        camera = list(findings_of_camera(exif))
        container = container_of(image, data, name)
    packet = packet if isinstance(packet, bytes) else str(packet).encode("utf-8", "replace")
    yield from findings_in_texts(texts | texts_in_xmp(packet))
    yield from findings_in_xmp(packet, "XMP")
    yield from camera
    if container.jpeg_quality is not None:
        yield _encoding(container.jpeg_quality, container.jpeg_tables == "libjpeg", container.subsampling)
    if not container.extension_agrees:
        yield _renamed(container.format, container.extension)


def _exif(image: Image.Image, data: bytes) -> Image.Exif:
    """Return the EXIF data. For those of a PNG, Pillow decodes all of it; it is needed only if they, or texts, come last."""
    if image.format == "PNG" and not has_late_texts(data):
        return Image.Image.getexif(image)
    return image.getexif()


def _in_pixels(data: bytes) -> Iterator[Finding]:
    """Yield what takes decoding. Nothing where pixels are damaged."""
    yield from findings_in_thumbnail(data)
    yield from findings_of_compression(data)
    for where, text in hidden_texts(data):
        yield Finding(f"parameters of a generator: {shown(text)}", where, "generated", "strong")


def _encoding(quality: int, exact: bool, subsampling: str | None) -> Finding:
    tables = "libjpeg's tables" if exact else "tables of its own"
    says = f"quality {quality}, {tables}, {subsampling}"
    return Finding(says, "JPEG encoding", "nothing", "weak", "follows from the last program that saved it")


def _renamed(image_format: str, extension: str) -> Finding:
    says = f"a {image_format} file named .{extension}"
    return Finding(says, "file name", "nothing", "weak", "anyone can rename it")


def _texts(image: Image.Image, exif: Image.Exif) -> Iterator[tuple[str, str]]:
    """Yield (where, text) of all texts in an image file."""
    kind = "PNG text" if image.format == "PNG" else "text"
    for key, value in image.info.items():
        if isinstance(key, str) and isinstance(value, str) and not key.startswith("XML:"):
            yield f"{kind} {key}", value
    comment = image.info.get("comment")
    if isinstance(comment, bytes):
        yield "file comment", comment.decode("utf-8", "replace")
    for tag, value in exif.items():
        if (named := ExifTags.TAGS.get(tag)) in _EXIF_TEXTS and isinstance(value, str):
            yield f"EXIF {named}", value
    if "photoshop" in image.info:
        yield from _iptc_texts(image)
    written = exif.get_ifd(ExifTags.IFD.Exif).get(_USER_COMMENT)
    if isinstance(written, bytes):
        yield "EXIF UserComment", _user_comment(written)


def _iptc_texts(image: Any) -> Iterator[tuple[str, str]]:
    """Yield (where, text) of IPTC fields (IIM 4.2) that name programs and sources."""
    fields = {}
    with suppress(Exception):  # damaged fields raise any error, and are not needed
        fields = IptcImagePlugin.getiptcinfo(image) or {}
    for number, name in _IPTC_TEXTS.items():
        held = fields.get(number)
        if isinstance(held, bytes):
            yield f"IPTC {name}", held.decode("utf-8", "replace")


def _user_comment(value: bytes) -> str:
    """Return the text of EXIF's UserComment, which begins with the name of its encoding in eight bytes."""
    encoding, text = value[:8], value[8:]
    if encoding.startswith(b"UNICODE"):
        return text.decode("utf-16-be" if text[:1] == b"\0" else "utf-16-le", "replace")
    return text.decode("utf-8", "replace")


def _inspect_video(path: str, trust: str | None) -> Inspected:
    import av

    from fakecore.media.videostream import VideoError, open_stream

    try:
        with open_stream(Path(path)) as (container, stream):
            texts = {
                f"{av_place} {key}": str(value)
                for av_place, held in _tags(container, stream)
                for key, value in held.items()
            }
        with Path(path).open("rb") as file:
            head = file.read(_MANIFEST_BYTES)
            file.seek(max(0, Path(path).stat().st_size - _MANIFEST_BYTES))
            ends = head + file.read(_MANIFEST_BYTES)
            file.seek(0)
            signed = list(findings_in_manifest(file, trust)) if has_manifest(ends) else []
    except VideoError as error:
        return Inspected(path, "video", error.status, str(error))
    except (av.error.FFmpegError, OSError) as error:
        return Inspected(path, "video", "unreadable", str(error))
    found = [*findings_in_texts(texts), *signed, *_of_recorder(texts)]
    found += [one for text in texts.items() for one in findings_in_xmp(text[1].encode(), text[0])]
    return Inspected(path, "video", findings=sorted(dict.fromkeys(found), key=rank))


def _inspect_held_video(path: str, data: bytes, trust: str | None) -> Inspected:
    """Return the findings of a video from its content, which no file of its own has: one in an archive."""
    try:
        with memory_file(data) as held:
            return replace(_inspect_video(str(held), trust), path=path)
    except OSError:
        return Inspected(
            path, "video", "unsupported", "a video in an archive, which this system cannot read: unpack it"
        )


def _tags(container: Any, stream: Any) -> list[tuple[str, Mapping[str, str]]]:
    return [("container tag", container.metadata), ("stream tag", stream.metadata)]


def _of_recorder(texts: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the make and model of the phone or camera that recorded a video."""
    named = {where.rpartition(" ")[2].rpartition(".")[2].lower(): text for where, text in texts.items()}
    if "model" in named or "make" in named:
        says = " ".join(named[key] for key in ("make", "model") if key in named)
        yield Finding(says, "container tag", "camera", "weak")
