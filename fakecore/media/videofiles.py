"""Decide whether a file is a video, from its first bytes or else its name. Nothing is decoded."""

from __future__ import annotations

import os
from pathlib import Path

HEAD_BYTES = 400  # the part of a file that `is_video` reads
SUFFIXES = {".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv"}
SUFFIXES |= {".webm", ".wmv"}

# ISO media files state their type in `ftyp` (ISO/IEC 14496-12): these brands are still images, camera raws and sound.
_NO_VIDEO_BRANDS = {b"avif", b"avis", b"crx ", b"heic", b"heim", b"heis", b"heix", b"hevc", b"hevx", b"jp2 ", b"jpx "}
_NO_VIDEO_BRANDS |= {b"M4A ", b"M4B ", b"M4P ", b"mif1", b"msf1"}
_QUICKTIME_BOXES = (b"moov", b"mdat", b"wide", b"pnot")  # QuickTime videos may lack `ftyp`
_SIGNATURES = (
    b"\x1aE\xdf\xa3",  # Matroska and WebM
    b"FLV\x01",
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG video
    b"0&\xb2u\x8ef\xcf\x11",  # ASF: WMV
)
# Songs and recordings: MP3 with and without tags, AAC, FLAC, Ogg, AMR. A cover picture in them is not read.
_SOUND_SIGNATURES = (
    *(b"ID3", b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2", b"\xff\xf1", b"\xff\xf9"),
    *(b"fLaC", b"OggS", b"#!AMR"),
)
ONLY_SOUND = "no pictures, only sound"


def named_video(path: Path) -> bool:
    """Return whether the name is that of a video, for files that cannot be read. False for folders."""
    return path.suffix.lower() in SUFFIXES and not os.path.isdir(path)  # noqa: PTH112  Path's own may raise


def is_video(head: bytes, suffix: str, image_signatures: tuple[bytes, ...]) -> bool:
    """Return whether a file with the first HEAD_BYTES `head` and the name suffix `suffix`, with its dot, is a video.

    The suffix counts only if the first bytes are neither those of a video nor those of an image.
    """
    if head[4:8] == b"ftyp":
        return head[8:12] not in _NO_VIDEO_BRANDS
    if head.startswith(b"RIFF") and head[8:12] in (b"AVI ", b"AVIX"):
        return True
    if head.startswith(_SIGNATURES) or head[4:8] in _QUICKTIME_BOXES:
        return True
    if head.startswith(b"OggS") and b"theora" in head:
        return True
    if head.startswith(b"G") and head[188:189] == b"G" and head[376:377] == b"G":  # MPEG transport stream
        return True
    return bool(head) and suffix.lower() in SUFFIXES and not head.startswith(image_signatures)


def is_sound(head: bytes) -> bool:
    """Return whether a file that is neither an image nor a video is a song or recording, from its first HEAD_BYTES."""
    if head[4:8] == b"ftyp":
        return head[8:12] in (b"M4A ", b"M4B ", b"M4P ")
    forms = {b"RIFF": (b"WAVE",), b"FORM": (b"AIFF", b"AIFC")}
    return head[8:12] in forms.get(head[:4], ()) or head.startswith(_SOUND_SIGNATURES)
