"""Small files of every format that fakelab reads: what `benchmarks.fuzz` damages."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from PIL import Image, PngImagePlugin, features

from benchmarks.hdrphotos import avif, heic, png
from benchmarks.signing import new_identity, signed

_WIDTH, _HEIGHT, _FRAMES = 64, 48, 12
_BT2020, _PQ = 9, 16  # primaries and transfer of ITU-T H.273


def seeds(folder: Path) -> dict[str, bytes]:
    """Return the bytes of one file of each format: {name: bytes}; a name ends in the suffix of its files, as in
    "animated.webp". `folder` is for videos while they are written.
    """
    found = {name: write() for name, write in _photos().items()} | _signed()
    for name, words in _VIDEOS.items():
        path = folder / name
        _write_video(path, **words)
        found[name] = path.read_bytes()
        path.unlink()
    return found


def _picture(shift: int = 0) -> np.ndarray:
    """Return a picture with edges, slopes and noise, uint8 RGB (H, W, 3)."""
    random = np.random.default_rng(0)
    image = random.integers(0, 40, (_HEIGHT, _WIDTH, 3), np.uint8)
    image[..., 0] += np.linspace(0, 200, _WIDTH, dtype=np.uint8)
    cv2.circle(image, (20 + shift, 24), 12, (30, 160, 220), -1)
    return image


def _photos() -> dict[str, Callable[[], bytes]]:
    rgb, several = Image.fromarray(_picture()), [Image.fromarray(_picture(shift)) for shift in (0, 4, 8)]
    grey16 = Image.fromarray(_picture()[..., 0].astype(np.uint16) * 257)
    light = (_picture()[..., ::-1] / 64).astype(np.float32)
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010F: "Maker", 0x0110: "Model", 0x0131: "Software"})
    exif.get_ifd(0x8769).update({0x9286: b"ASCII\0\0\0a comment", 0x927C: b"notes"})
    texts = PngImagePlugin.PngInfo()
    texts.add_text("parameters", "a face\nSteps: 20, Sampler: Euler a, CFG scale: 7", zip=True)
    texts.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta>digitalsourcetype/trainedAlgorithmicMedia</x:xmpmeta>")
    moving: dict[str, Any] = {"save_all": True, "append_images": several[1:], "duration": 100}
    made: dict[str, Callable[[], bytes]] = {
        "baseline.jpg": lambda: _saved(rgb, "JPEG", quality=80),
        "progressive.jpg": lambda: _saved(rgb, "JPEG", quality=80, progressive=True),
        "cmyk.jpg": lambda: _saved(rgb.convert("CMYK"), "JPEG"),
        "exif.jpg": lambda: _saved(rgb, "JPEG", exif=exif, comment=b"a comment"),
        "several.jpg": lambda: _saved(rgb, "MPO", save_all=True, append_images=several[1:]),
        "rgb.png": lambda: _saved(rgb, "PNG"),
        "16-bit.png": lambda: _saved(grey16, "PNG"),
        "palette.png": lambda: _saved(rgb.quantize(32), "PNG", transparency=3),
        "texts.png": lambda: _saved(rgb, "PNG", pnginfo=texts, exif=exif),
        "animated.png": lambda: _saved(rgb, "PNG", **moving),
        "lossy.webp": lambda: _saved(rgb, "WEBP", quality=70, exif=exif),
        "lossless.webp": lambda: _saved(rgb, "WEBP", lossless=True),
        "animated.webp": lambda: _saved(rgb, "WEBP", **moving),
        "still.gif": lambda: _saved(rgb, "GIF", comment=b"a comment"),
        "animated.gif": lambda: _saved(rgb, "GIF", **moving),
        "pages.tiff": lambda: _saved(rgb, "TIFF", save_all=True, append_images=several[1:], compression="tiff_lzw"),
        "16-bit.tiff": lambda: _saved(grey16, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tiff": lambda: _saved(rgb, "TIFF", compression="jpeg"),
        "float.tiff": lambda: cv2.imencode(".tiff", light)[1].tobytes(),
        "radiance.hdr": lambda: cv2.imencode(".hdr", light)[1].tobytes(),
        "rgb.bmp": lambda: _saved(rgb, "BMP"),
        "palette.bmp": lambda: _saved(rgb.quantize(16), "BMP"),
        "rgb.ppm": lambda: _saved(rgb, "PPM"),
        "lossless.jp2": lambda: _saved(rgb, "JPEG2000"),
        "icon.ico": lambda: _saved(rgb.resize((32, 32)), "ICO", sizes=[(32, 32)]),
        "rgb.pcx": lambda: _saved(rgb, "PCX"),
        "rgb.sgi": lambda: _saved(rgb, "SGI"),
        "rgb.tga": lambda: _saved(rgb, "TGA", compression="tga_rle"),
    }
    bits16 = _picture().astype(np.uint16) * 257
    for write in (png, heic, avif):
        made[f"hdr.{write.__name__}"] = lambda write=write: write(bits16, _BT2020, _PQ)
    made["thumbnail.jpg"] = lambda: _saved(rgb, "JPEG", exif=_exif_with(_saved(rgb, "JPEG", quality=50)))
    made["hidden.png"] = lambda: _saved(_with_hidden_text(rgb), "PNG")
    if features.check("avif"):
        made["still.avif"] = lambda: _saved(rgb, "AVIF", speed=9)
        made["animated.avif"] = lambda: _saved(rgb, "AVIF", speed=9, **moving)
    for name, image_format, package in (("photo.heic", "HEIF", "pillow_heif"), ("still.jxl", "JXL", "pillow_jxl")):
        if _plugin(package):
            made[name] = lambda image_format=image_format: _saved(rgb, image_format)
    return made


def _signed() -> dict[str, bytes]:
    """Return files with C2PA manifests, none without the extra."""
    try:
        import c2pa  # noqa: F401  only whether it is installed
    except ImportError:
        return {}
    identity, rgb = new_identity(), Image.fromarray(_picture())
    return {
        "signed.jpg": signed(_saved(rgb, "JPEG"), "image/jpeg", identity),
        "signed.png": signed(_saved(rgb, "PNG"), "image/png", identity),
        "signed.webp": signed(_saved(rgb, "WEBP"), "image/webp", identity),
    }


def _exif_with(thumbnail: bytes) -> bytes:
    """Return EXIF data whose second directory is a JPEG thumbnail."""
    entries = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, 44, 0x0202, 4, 1, len(thumbnail), 0)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HI", 0, 14) + entries + thumbnail


def _with_hidden_text(image: Image.Image) -> Image.Image:
    """Return an image with a compressed text in the lowest bits of its alpha channel, as NovelAI writes it."""
    text = gzip.compress(b"a face")
    bits = np.unpackbits(np.frombuffer(b"stealth_pngcomp" + (8 * len(text)).to_bytes(4) + text, np.uint8))
    alpha = np.full(image.width * image.height, 254, np.uint8)
    alpha[: len(bits)] |= bits
    with_alpha = image.convert("RGBA")
    with_alpha.putalpha(Image.fromarray(alpha.reshape(image.width, image.height).T.copy()))
    return with_alpha


def _plugin(package: str) -> bool:
    """Make Pillow write a format with one of its plugins; return whether that is installed."""
    try:
        if package == "pillow_heif":
            import pillow_heif

            pillow_heif.register_heif_opener()
        else:
            import pillow_jxl  # noqa: F401  registers itself
    except ImportError:
        return False
    return True


def _saved(image: Image.Image, image_format: str, append_images: Sequence[Image.Image] = (), **options: Any) -> bytes:
    if append_images:
        options["append_images"] = [other.copy() for other in append_images]
    buffer = io.BytesIO()
    image.copy().save(buffer, image_format, **options)  # Pillow leaves settings of one format on an image
    return buffer.getvalue()


_VIDEOS: dict[str, dict] = {
    "h264.mp4": {"codec": "libx264", "sound": True},
    "fragmented.mp4": {"codec": "libx264", "options": {"movflags": "frag_keyframe+empty_moov+default_base_moof"}},
    "10-bit.mp4": {"codec": "libx264", "pixels": "yuv420p10le"},
    "h264.mkv": {"codec": "libx264", "sound": True},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "prores.mov": {"codec": "prores_ks", "pixels": "yuv422p10le"},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "mpeg2.mpg": {"codec": "mpeg2video"},
    "h264.m2ts": {"codec": "libx264"},
    "h264.flv": {"codec": "libx264"},
    "wmv2.wmv": {"codec": "wmv2"},
    # 100 frames per second: `score` reads every 20th, and seeks them.
    "fast.mp4": {"codec": "libx264", "rate": 100, "count": 60},
    "fast.mkv": {"codec": "libx264", "rate": 100, "count": 60},
    "fast.m2ts": {"codec": "mpeg2video", "rate": 100, "count": 60},
    "interlaced.mkv": {"codec": "libx264", "coding": {"x264-params": "interlaced=1:tff=1"}},
    "hdr.mkv": {"codec": "libx264", "pixels": "yuv420p10le", "transfer": 16},
}


def _write_video(
    path: Path,
    codec: str,
    *,
    pixels: str = "yuv420p",
    sound: bool = False,
    rate: int = 25,
    count: int = _FRAMES,
    transfer: int = 2,
    coding: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
) -> None:
    with av.open(str(path), "w", options=options or {}) as container:
        container.metadata["comment"] = "a comment"
        stream = container.add_stream(codec, rate=rate, options={"g": "6", "threads": "1", **(coding or {})})
        stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, pixels
        stream.codec_context.color_trc = transfer
        audio = container.add_stream("aac", rate=8000, layout="mono") if sound else None
        for number, frame in enumerate(_frames(count)):
            frame.pts, frame.time_base, frame.color_trc = number, Fraction(1, rate), transfer
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            silence.rate, silence.pts = 8000, 0
            container.mux(audio.encode(silence))
            container.mux(audio.encode(None))


def _frames(count: int) -> Iterator[av.VideoFrame]:
    for number in range(count):
        yield av.VideoFrame.from_ndarray(np.ascontiguousarray(_picture(2 * number)), format="rgb24")
