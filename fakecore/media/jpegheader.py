"""Read the header of a JPEG file, to decide who decodes it."""

from __future__ import annotations

from fakecore.media.colours import is_srgb

_START, _END = b"\xff\xd8\xff", b"\xff\xd9"
_SOF = (0xC0, 0xC1, 0xC2)  # baseline, extended sequential, progressive: all Huffman-coded
_SOS, _APP1, _APP2, _APP14 = 0xDA, 0xE1, 0xE2, 0xEE
_DHT, _DQT, _DRI, _APP0 = 0xC4, 0xDB, 0xDD, 0xE0


def is_plain_jpeg(data: bytes, most_pixels: int) -> bool:
    """Return whether `data` is a whole JPEG of 8-bit grey or YCbCr and of up to `most_pixels`, without EXIF data (which may
    rotate it), other pictures (MPO), colours as Adobe stores them, or another colour profile than sRGB: what libjpeg decodes
    without further care.
    """
    if not data.startswith(_START) or not data.endswith(_END):
        return False
    place, shape = 2, None
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            return False
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4])
        body = data[place + 4 : place + 10]
        if marker == _SOS:
            return shape is not None
        if (
            marker == _APP14
            or (marker == _APP1 and body.startswith(b"Exif"))
            or (marker == _APP2 and body[:3] == b"MPF")
            or (marker == _APP2 and body.startswith(b"ICC_") and not is_srgb(data[place + 4 : place + 2 + length]))
        ):
            return False
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if marker not in _SOF or shape is not None or len(body) < 6:
                return False
            bits, height, width, components = body[0], int.from_bytes(body[1:3]), int.from_bytes(body[3:5]), body[5]
            if bits != 8 or components not in (1, 3) or not 0 < height * width <= most_pixels:
                return False
            shape = (height, width)
        place += 2 + length
    return False


def bare_jpeg(data: bytes, most_pixels: int) -> tuple[bytes, bytes] | None:
    """Return how a JPEG of up to `most_pixels` is encoded if its header has no metadata at all, else None.

    That is its first quantisation table, 64 bytes in zigzag order, and three bytes for each component: number, sampling
    factors, table. Many times faster than a decoder's header, and the same for most files of a folder.
    """
    if not data.startswith(_START):
        return None
    place, table, components = 2, b"", b""
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4])
        body = data[place + 4 : place + 2 + length]
        if marker == _SOS:
            return (table, components) if table and components else None
        if marker == _DQT and not table and body[:1] == b"\0":
            table = body[1:65] if len(body) >= 65 else b""
        elif marker in _SOF and not components:
            if len(body) < 6 or body[0] != 8 or body[5] not in (1, 3) or len(body) != 6 + 3 * body[5]:
                return None
            height, width = int.from_bytes(body[1:3]), int.from_bytes(body[3:5])
            if not 0 < height * width <= most_pixels:
                return None
            components = body[6:]
        elif marker not in (_DHT, _DQT, _DRI) and not (marker == _APP0 and body.startswith(b"JFIF\0") and length == 16):
            return None
        place += 2 + length
    return None
