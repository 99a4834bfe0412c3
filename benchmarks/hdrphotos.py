"""Photos of high dynamic range, written to be read again: PNG, HEIC and AVIF files whose colours are PQ or HLG."""

from __future__ import annotations

import io
import struct
import zlib

import av
import cv2
import numpy as np
import pillow_heif

_RGB, _BT2020 = 0, 9  # matrices of ITU-T H.273


def png(values: np.ndarray, primaries: int, transfer: int) -> bytes:
    """Return a PNG file of uint16 RGB (H, W, 3), with a chunk that says how it encodes colours, numbers of ITU-T H.273."""
    plain = cv2.imencode(".png", values[..., ::-1])[1].tobytes()
    return with_colours(plain, primaries, transfer)


def with_colours(plain: bytes, primaries: int, transfer: int) -> bytes:
    """Return a PNG file with this chunk (PNG 3rd edition, 11.3.2.6) after its header."""
    chunk = b"cICP" + bytes([primaries, transfer, _RGB, 1])
    return plain[:33] + struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + plain[33:]


def heic(values: np.ndarray, primaries: int, transfer: int) -> bytes:
    """Return a HEIC file of 10 bits of uint16 RGB (H, W, 3)."""
    height, width = values.shape[:2]
    photo = pillow_heif.from_bytes(mode="RGB;16", size=(width, height), data=values.tobytes())
    nclx = {"color_primaries": primaries, "transfer_characteristics": transfer, "matrix_coefficients": _BT2020}
    buffer = io.BytesIO()
    photo.save(buffer, quality=-1, chroma=444, save_nclx_profile=True, full_range_flag=1, **nclx)
    return buffer.getvalue()


def avif(values: np.ndarray, primaries: int, transfer: int) -> bytes:
    """Return an AVIF file of 10 bits, 4:2:0, of uint16 RGB (H, W, 3)."""
    height, width = values.shape[:2]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="avif") as container:
        stream = container.add_stream("libsvtav1", rate=1)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p10le"
        codec = stream.codec_context
        codec.colorspace, codec.color_trc, codec.color_primaries = _BT2020, transfer, primaries
        codec.options = {"crf": "5"}
        frame = av.VideoFrame.from_ndarray(values, format="rgb48le")
        for packet in [
            *stream.encode(frame.reformat(format="yuv420p10le", dst_colorspace=_BT2020)),
            *stream.encode(None),
        ]:
            container.mux(packet)
    return buffer.getvalue()
