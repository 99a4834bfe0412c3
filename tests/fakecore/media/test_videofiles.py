import io

import pytest
from PIL import Image

from fakecore.media.containers import is_whole
from fakecore.media.videofiles import HEAD_BYTES, is_video, named_video

IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8")


@pytest.mark.parametrize(
    "head",
    [
        b"\0\0\0\x20ftypisom\0\0\2\0",
        b"\0\0\0\x20ftypmp42",
        b"\0\0\0\x14ftypqt  ",
        b"\0\0\0\x1cftypM4V ",
        b"\0\0\0\x08wide\0\0\0\0mdat",
        b"RIFF\x10\0\0\0AVI LIST",
        b"\x1aE\xdf\xa3\x01\0\0\0",
        b"\0\0\1\xba\x44",
        b"FLV\x01\x05",
        b"G" + b"\0" * 187 + b"G" + b"\0" * 187 + b"G",
    ],
)
@pytest.mark.parametrize("suffix", ["", ".png", ".mp4"])
def test_first_bytes_identify_a_video_whatever_its_name(head, suffix):
    assert is_video(head, suffix, IMAGES)


@pytest.mark.parametrize(
    "head",
    [
        b"\0\0\0\x1cftypavif",
        b"\0\0\0\x18ftypheic",
        b"\0\0\0\x20ftypM4A ",
        b"RIFF\0\0\0\0WEBP",
        b"RIFF\0\0\0\0WAVE",
        b"",
        b"x",
    ],
)
def test_still_images_and_sound_in_the_same_containers_are_not_videos(head):
    assert not is_video(head, "", IMAGES)


@pytest.mark.parametrize("suffix", [".mp4", ".MOV", ".webm", ".mkv", ".avi"])
def test_the_suffix_decides_only_if_the_bytes_do_not(suffix):
    assert is_video(b"damaged beyond recognition", suffix, IMAGES)
    assert not is_video(b"\x89PNG\r\n", suffix, IMAGES)
    assert not is_video(b"", suffix, IMAGES)


@pytest.mark.parametrize(
    "image_format", ["AVIF", "BMP", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "TGA", "TIFF", "WEBP"]
)
def test_images_are_not_recognised_as_videos(image_format):
    for shade in (0, 71, 255):  # 71 is the byte that marks MPEG transport streams
        buffer = io.BytesIO()
        Image.new("RGB", (64, 64), (shade,) * 3).save(buffer, image_format)
        assert not is_video(buffer.getvalue()[:HEAD_BYTES], "", IMAGES)


def test_the_suffix_decides_for_a_file_without_bytes(tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    names = ("gone.mp4", "GONE.MKV", "gone.png", "gone", "folder.mp4")
    assert [named_video(tmp_path / name) for name in names] == [True, True, False, False, False]


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (b"\x1aE\xdf\xa3\x81x\x18S\x80g\x82xy", True),  # Matroska: a header, then the video, of one and two bytes
        (b"\x1aE\xdf\xa3\x81x\x18S\x80g\x83xy", False),
        (b"\x1aE\xdf\xa3\x81x\x18S\x80g\x01" + b"\xff" * 7, None),  # "unknown", as live recordings have it
        (b"\x1aE\xdf\xa3\x01" + b"\x7f" * 7, False),  # longer than any file
        (b"\x1aE\xdf\xa3", None),
        (b"\0\0\0\x08ftyp\0\0\0\x0amdatxy", True),
        (b"\0\0\0\x08ftyp\0\0\0\x01mdat" + b"\x7f" * 8, False),
        (b"\0\0\0\x08ftyp\0\0\0\0mdat", None),
        (b"RIFF\x04\0\0\0AVI ", True),
        (b"RIFF\xff\xff\xff\xffAVI ", False),
        (b"a text of a few words", None),
    ],
)
def test_sizes_in_a_container_show_whether_it_is_complete(tmp_path, data, whole):
    (tmp_path / "a").write_bytes(data)
    assert is_whole(tmp_path / "a") is whole
