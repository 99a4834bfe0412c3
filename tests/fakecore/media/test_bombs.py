"""Small files that announce huge pictures are refused by the announced size, before memory is taken for them."""

import io
import resource
import struct
import zlib
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from fakecore.media.gifheader import gif_canvas
from fakecore.media.pixels import ImageError, decode_image
from fakecore.media.timeline import Timeline
from fakecore.media.video import frames, open_video
from fakecore.media.videostream import VideoError

RGB = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))


def saved(image_format, **options):
    buffer = io.BytesIO()
    RGB.copy().save(buffer, image_format, **options)
    return bytearray(buffer.getvalue())


def patched(data, place, layout, *values):
    struct.pack_into(layout, data, place, *values)
    return bytes(data)


def png(side):
    """A PNG file that announces a square of `side` pixels."""
    data = saved("PNG")
    struct.pack_into(">II", data, 16, side, side)
    return patched(data, 29, ">I", zlib.crc32(data[12:29]))


def ico():
    """An icon, 32x32 in its list, whose picture is larger."""
    data = png(20_000)
    return struct.pack("<3HBBBBHHII", 0, 1, 1, 32, 32, 0, 0, 1, 32, len(data), 22) + data


def gif_frame():
    """An animation of 64x48, whose second frame stands far outside."""
    data = saved("GIF", save_all=True, append_images=[Image.new("RGB", (64, 48), "red")])
    place = data.rindex(b",\0\0\0\0")
    return patched(data, place + 1, "<4H", 60_000, 60_000, 64, 48)


def tiff(tag, value):
    """A TIFF file with another value of a tag."""
    data = saved("TIFF")
    place = data.index(struct.pack("<HH", tag, 4)) if struct.pack("<HH", tag, 4) in data else -1
    if place < 0:  # a short: make it a long
        place = data.index(struct.pack("<HHI", tag, 3, 1))
        struct.pack_into("<HHI", data, place, tag, 4, 1)
    return patched(data, place + 8, "<I", value)


def hdr(side):
    data = cv2.imencode(".hdr", np.ones((8, 8, 3), np.float32))[1].tobytes()
    return data.replace(b"-Y 8 +X 8", f"-Y {side} +X {side}".encode())


def webp():
    data = saved("WEBP")  # lossy: the size stands after the start code, 14 bits each
    place = data.index(b"\x9d\x01\x2a") + 3
    return patched(data, place, "<HH", 16_383, 16_383)


BOMBS = {
    "png": lambda: png(20_000),
    "icon": ico,
    "gif canvas": lambda: patched(saved("GIF"), 6, "<HH", 60_000, 60_000),
    "gif frame": gif_frame,
    "tiff": lambda: tiff(257, 1_000_000_000),
    "bmp": lambda: patched(saved("BMP"), 18, "<ii", 30_000, 30_000),
    "jpeg": lambda: patched(d := saved("JPEG"), d.index(b"\xff\xc0") + 5, ">HH", 65_000, 65_000),
    "ppm": lambda: bytes(saved("PPM")).replace(b"64 48", b"60000 60000"),
    "tga": lambda: patched(saved("TGA"), 12, "<HH", 60_000, 60_000),
    "sgi": lambda: patched(saved("SGI"), 6, ">HH", 60_000, 60_000),
    "pcx": lambda: patched(saved("PCX"), 8, "<HH", 60_000, 60_000),
    "jp2": lambda: patched(d := saved("JPEG2000"), d.index(b"ihdr") + 4, ">II", 60_000, 60_000),
    "radiance": lambda: hdr(7_000),  # 49 megapixels of three floating-point colours
    "webp": webp,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_huge_size_is_refused_before_memory_is_taken(name):
    data = BOMBS[name]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match="megapixels") as caught:
        decode_image(data)
    assert caught.value.status == "too_large"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_large_frames_of_an_animation_are_refused(tmp_path):
    moving = {"save_all": True, "append_images": [Image.new("RGB", (64, 48), "red")]}
    data = saved("GIF", **moving)
    (tmp_path / "a.gif").write_bytes(patched(data, 6, "<HH", 6_000, 6_000))  # less than the limit of photos
    with pytest.raises(VideoError, match="6000x6000 pixels; the limit is 24 megapixels per frame") as caught:
        open_video(tmp_path / "a.gif")
    assert caught.value.status == "too_large"


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"GIF89a\x40\0\x30\0\xf7", bytes(saved("GIF"))[:-400]])
def test_the_canvas_of_a_damaged_gif_is_read_as_far_as_it_goes(data):
    width, height = gif_canvas(data)
    assert (width, height) in {(0, 0), (64, 48)}


def test_frames_that_claim_to_last_for_years_are_chosen_at_once():
    years = Timeline([0, 1, 2, 3], 30e6)  # seconds: as a damaged header says
    assert years.choose(None, 5.0, None, 0.0, None) == [0, 1, 2, 3]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "I;16", "CMYK", "L"])
def test_large_photos_are_converted_in_bands_without_a_seam(mode, monkeypatch):
    image = RGB.convert("L").convert("I").convert("I;16") if mode == "I;16" else RGB.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF", tiffinfo={274: 6})
    whole = decode_image(buffer.getvalue())
    monkeypatch.setattr("fakecore.media.colours._BAND", 500)
    assert whole.shape == (64, 48, 3) and np.array_equal(decode_image(buffer.getvalue()), whole)


def test_frames_that_grow_midway_are_not_decoded(tmp_path, monkeypatch):
    stream = b""
    for width, height, count in ((64, 48, 8), (128, 96, 2)):
        coder = av.CodecContext.create("libx264", "w")
        coder.options = {"preset": "ultrafast"}  # no frame waits for a later one
        coder.width, coder.height, coder.pix_fmt, coder.time_base = width, height, "yuv420p", Fraction(1, 25)
        picture = av.VideoFrame.from_ndarray(np.full((height, width, 3), 99, np.uint8)).reformat(format="yuv420p")
        for number in range(count):
            picture.pts = number
            stream += b"".join(bytes(packet) for packet in coder.encode(picture))
        stream += b"".join(bytes(packet) for packet in coder.encode(None))
    (tmp_path / "a.h264").write_bytes(stream)
    with av.open(str(tmp_path / "a.h264")) as raw, av.open(str(tmp_path / "a.mkv"), "w") as container:
        copy = container.add_stream_from_template(raw.streams.video[0])
        for number, packet in enumerate(packet for packet in raw.demux() if packet.size):
            packet.pts = packet.dts = number
            packet.time_base, packet.stream = Fraction(1, 25), copy
            container.mux(packet)
    monkeypatch.setattr("fakecore.media.videostream.MAX_FRAME_PIXELS", 5_000)
    chosen = frames(tmp_path / "a.mkv")
    assert [frame.pixels.shape for frame in chosen] == [(48, 64, 3)] * 8
    assert chosen.outcome.damaged >= 1
