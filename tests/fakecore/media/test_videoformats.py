"""Containers, codecs and colours of videos: each gives the frames that a player shows."""

import re
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition

from fakecore.media import hdr
from fakecore.media.framepixels import orientation
from fakecore.media.orientation import Orientation
from fakecore.media.pixels import ImageError, read_image
from fakecore.media.video import frames, open_video
from fakecore.media.videostream import VideoError

RED, ORANGE = (200, 40, 30), (190, 110, 30)
COLOURS = np.zeros((48, 64, 3), np.uint8)
COLOURS[:, :32], COLOURS[:, 32:] = RED, ORANGE
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


def write(path, images, codec="libx264", pixels="yuv420p", *, tags=None, cover=False, sound=False, **options):
    """Write a video of 25 frames per second; `tags` are set on the codec and its frames, `options` given to the codec or,
    as `container`, to the container; `rotate` is a tag.
    """
    movie, rotate = options.pop("container", {}), options.pop("rotate", None)
    with av.open(str(path), "w", options=movie) as container:
        if cover:  # first, as songs have it
            picture = container.add_stream("png", rate=1)
            picture.width, picture.height, picture.pix_fmt = 32, 32, "rgb24"
            picture.disposition = Disposition.attached_pic
        if images:
            stream = container.add_stream(codec, rate=25, options=options)
            stream.height, stream.width = images[0].shape[:2]
            stream.pix_fmt = pixels
            stream.metadata.update({"rotate": rotate} if rotate else {})
            for name, value in (tags or {}).items():
                setattr(stream.codec_context, name, value)
        if sound:
            heard = container.add_stream("libmp3lame" if path.suffix == ".mp3" else "aac", rate=44100, layout="mono")
        if cover:
            shown = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 255, np.uint8))
            shown.pts = 0
            container.mux([*picture.encode(shown), *picture.encode(None)])
        for number, image in enumerate(images):
            form = "rgb48le" if image.dtype == np.uint16 else "rgb24"
            matrix = {9: "bt2020", 1: "itu709"}.get((tags or {}).get("colorspace"))
            frame = av.VideoFrame.from_ndarray(image, format=form).reformat(format=pixels, dst_colorspace=matrix)
            for name, value in (tags or {}).items():
                setattr(frame, name, value)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        if images:
            container.mux(stream.encode(None))
        if sound:
            silence = np.zeros((1, 1152 if path.suffix == ".mp3" else 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            frame.rate, frame.pts = 44100, 0
            container.mux([*heard.encode(frame), *heard.encode(None)])
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "options"),
    [
        ("h264.mp4", "libx264", "yuv420p", {}),
        ("fragments.mp4", "libx264", "yuv420p", {"container": FRAGMENTS, "g": "3"}),
        ("sound.mp4", "libx264", "yuv420p", {"sound": True}),
        ("cover.mp4", "libx264", "yuv420p", {"cover": True, "sound": True}),
        ("10-bit.mp4", "libx264", "yuv420p10le", {}),
        ("hevc.mov", "libx265", "yuv420p10le", {"x265-params": "log-level=none"}),
        ("prores.mov", "prores_ks", "yuv422p10le", {}),
        ("h264.mkv", "libx264", "yuv444p", {"sound": True}),
        ("lossless.mkv", "ffv1", "yuv420p10le", {}),
        ("vp9.webm", "libvpx-vp9", "yuv420p", {}),
        ("bt709.mp4", "libx264", "yuv420p", {"tags": {"colorspace": 1, "color_trc": 1, "color_primaries": 1}}),
        ("full-range.mp4", "libx264", "yuvj420p", {}),
        ("no-matrix.mkv", "ffv1", "yuv420p", {"tags": {"colorspace": 8}}),
    ],
)
def test_every_format_gives_its_colours_and_times(tmp_path, name, codec, pixels, options):
    chosen = frames(write(tmp_path / name, [COLOURS] * 7, codec, pixels, **options))
    found = list(chosen)
    assert [frame.time_s for frame in found] == pytest.approx([number / 25 for number in range(7)], abs=1e-3)
    assert (chosen.info.width, chosen.info.height) == (64, 48) and chosen.outcome.note is None
    for frame in found:
        for column, colour in ((16, RED), (48, ORANGE)):
            assert np.abs(frame.pixels[24, column].astype(int) - colour).max() <= 6


def test_a_truncated_fragmented_video_gives_its_whole_fragments(tmp_path):
    path = write(tmp_path / "a.mp4", [COLOURS] * 30, container=FRAGMENTS, g="5")
    data = path.read_bytes()
    path.write_bytes(data[: [found.end() for found in re.finditer(b"mdat", data)][3] + 6])
    chosen = frames(path)
    assert len(list(chosen)) == 15 and chosen.outcome.truncated


@pytest.mark.parametrize("name", ["a.mp3", "a.m4a", "song.mp4", "cover.mp3", "cover.mp4"])
def test_sound_is_refused_by_name_whether_it_has_a_cover_or_not(tmp_path, name):
    path = write(tmp_path / name, [], sound=True, cover=name.startswith("cover"))
    with pytest.raises(VideoError, match="no pictures, only sound") as caught:
        open_video(path)
    assert caught.value.status == "unsupported"
    if path.suffix != ".mp4":
        with pytest.raises(ImageError, match="no pictures, only sound") as caught:
            read_image(path)
        assert (caught.value.status, caught.value.kind) == ("unsupported", "image")


@pytest.mark.parametrize(
    "head", [b"RIFF\0\0\0\0WAVEfmt ", b'fLaC\0\0\0"', b"OggS\0\2" + bytes(20), b"FORM\0\0\0\0AIFF"]
)
def test_sound_of_other_formats_is_named(tmp_path, head):
    (tmp_path / "a").write_bytes(head + bytes(100))
    with pytest.raises(ImageError, match="no pictures, only sound"):
        read_image(tmp_path / "a")


# What a display matrix, the numbers a, b, c and d, does to a picture: ISO/IEC 14496-12, 6.2.2.
MATRICES = {
    (1, 0, 0, 1): (0, lambda image: image),
    (0, 1, -1, 0): (90, lambda image: np.rot90(image, -1)),
    (-1, 0, 0, -1): (180, lambda image: np.rot90(image, 2)),
    (0, -1, 1, 0): (270, lambda image: np.rot90(image)),
    (-1, 0, 0, 1): (0, lambda image: image[:, ::-1]),
    (1, 0, 0, -1): (0, lambda image: image[::-1]),
    (0, 1, 1, 0): (90, lambda image: image.swapaxes(0, 1)),
}
CORNER = np.full((48, 64, 3), 30, np.uint8)
CORNER[:20, :30] = (220, 60, 60)


@pytest.mark.parametrize("matrix", MATRICES)
def test_a_display_matrix_turns_and_mirrors(tmp_path, matrix):
    path = write(tmp_path / "a.mov", [CORNER] * 3)
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40  # of version 0: the matrix, 16.16 fixed-point numbers and three of 2.30
    a, b, c, d = (value * 65536 for value in matrix)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    rotation, shown = MATRICES[matrix]
    info, (frame,) = open_video(path), frames(path, count=1)
    expected = shown(CORNER)
    assert (info.height, info.width, info.rotation) == (*expected.shape[:2], rotation)
    assert np.abs(frame.pixels.astype(int) - expected).mean() < 4


@pytest.mark.parametrize(
    ("tag", "degrees"), [("90", 90), ("180", 180), ("270", 270), ("-90", 270), ("0", 0), ("left", 0), ("inf", 0)]
)
def test_a_tag_rotates_where_there_is_no_matrix(tmp_path, tag, degrees):
    path = write(tmp_path / "a.mkv", [CORNER] * 2, rotate=tag)
    info, (frame,) = open_video(path), frames(path, count=1)
    expected = np.rot90(CORNER, -degrees // 90)
    assert (info.height, info.width, info.rotation) == (*expected.shape[:2], degrees)
    assert np.abs(frame.pixels.astype(int) - expected).mean() < 4


def test_a_matrix_counts_before_a_tag(tmp_path):
    path = write(tmp_path / "a.mp4", [CORNER] * 2)
    data = path.read_bytes()
    place = data.index(b"tkhd") + 4 + 40
    path.write_bytes(data[:place] + struct.pack(">5i", 0, 65536, 0, -65536, 0) + data[place + 20 :])
    with av.open(str(path)) as container:
        found = orientation(next(container.decode(video=0)), {"rotate": "180"})
    assert found == Orientation(swapped=True, mirror_x=True)


def pq(nits):
    """The encoded value, [0, 1], of light: SMPTE ST 2084, equation 5.2."""
    power = (nits / 10_000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


# Encoded values of grey, [0, 1], and about what sRGB shows of them; 203 nits is diffuse white, which HLG encodes as 0.75.
GREYS = {
    hdr.PQ: [(0.0, 0), (pq(0.15 * 203), 108), (pq(0.5 * 203), 188), (pq(203), 225), (pq(1000), 255), (1.0, 255)],
    hdr.HLG: [(0.0, 0), (0.75, 225), (1.0, 255)],
}


@pytest.mark.parametrize("transfer", GREYS)
def test_high_dynamic_range_is_tone_mapped(tmp_path, transfer):
    tags = {"colorspace": 9, "color_trc": transfer, "color_primaries": 9}
    for encoded, expected in GREYS[transfer]:
        grey = np.full((48, 64, 3), round(encoded * 65535), np.uint16)
        path = write(tmp_path / f"{encoded}.mkv", [grey] * 2, "ffv1", "yuv420p10le", tags=tags)
        chosen = frames(path)
        (frame, _) = chosen
        assert np.abs(frame.pixels.astype(int) - expected).max() <= 4, (encoded, frame.pixels[0, 0])
        assert chosen.outcome.note == "HDR: tone-mapped to sRGB"


@pytest.mark.parametrize("transfer", GREYS)
def test_high_dynamic_range_keeps_hues_and_order(transfer):
    slope = np.linspace(0, 65535, 500).astype(np.uint16)
    grey = hdr.to_srgb(np.repeat(slope[None, :, None], 3, axis=2), transfer, 9).astype(int)
    assert (np.diff(grey[0, :, 1]) >= 0).all() and (np.ptp(grey[0], axis=1) <= 1).all()
    tall = hdr.to_srgb(np.repeat(np.repeat(slope[:, None, None], 3, axis=2), 400, axis=1), transfer, 9)
    assert np.array_equal(tall[:, 7], grey[0])  # as large as two parts that are converted one after the other
    red = np.array([[(45000, 20000, 20000)]], np.uint16)
    r, g, b = hdr.to_srgb(red, transfer, 9)[0, 0].astype(int)
    assert r > g + 60 and abs(g - b) < 40
    wide = np.ptp(hdr.to_srgb(red, transfer, 9)[0, 0].astype(int))
    assert wide >= np.ptp(hdr.to_srgb(red, transfer, 1)[0, 0].astype(int))  # wider primaries: more saturated in sRGB


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [("a.mp4", "libx264", {"x264-params": "interlaced=1:tff=1"}), ("a.mpg", "mpeg2video", {"flags": "+ildct+ilme"})],
)
def test_fields_of_interlaced_frames_are_not_woven_together(tmp_path, name, codec, options):
    images = []
    for number in range(8):  # a bar that moves between the two fields of a frame
        image = np.full((48, 64, 3), 20, np.uint8)
        for field in (0, 1):
            left = 6 * number + 3 * field
            image[field::2, left : left + 9] = 230
        images.append(image)
    chosen = frames(write(tmp_path / name, images, codec, **options))
    for frame in chosen:
        grey = frame.pixels[..., 1].astype(int)
        assert np.abs(np.diff(grey, axis=0)).mean() < 3 and np.abs(np.diff(grey, axis=1)).mean() > 4
    assert chosen.outcome.frames == 8 and chosen.outcome.note.startswith("interlaced")
