import io

import numpy as np
import pytest
from PIL import Image

from benchmarks.hdrphotos import avif, heic, png, with_colours
from fakecore.media import hdr
from fakecore.media.pixels import ImageError, decode_image


def bands():
    """Six columns of colours, uint16 (64, 192, 3)."""
    greys = [(n, n, n) for n in (3000, 20000, 38000, 60000)]
    return np.repeat(
        np.repeat(np.array([[*greys, (45000, 20000, 20000), (20000, 20000, 45000)]], np.uint16), 64, 0), 32, 1
    )


@pytest.mark.parametrize("transfer", [hdr.PQ, hdr.HLG])
@pytest.mark.parametrize("encode", [png, heic, avif])
def test_a_photo_of_high_dynamic_range_is_tone_mapped(encode, transfer):
    values = bands()
    shown, expected = (
        decode_image(encode(values, 9, transfer)).astype(int),
        hdr.to_srgb(values, transfer, 9).astype(int),
    )
    middles = slice(12, None, 32)
    assert np.abs(shown[32, middles] - expected[32, middles]).max() <= (0 if encode is png else 6)
    plain = decode_image(encode(values, 1, 1)).astype(int)
    assert np.abs(plain - expected).max() > 30


@pytest.mark.parametrize("encode", [png, heic, avif])
def test_a_truncated_one_is_unreadable(encode):
    data = encode(bands(), 9, hdr.PQ)
    for share in (0.5, 0.9):
        with pytest.raises(ImageError):
            decode_image(data[: int(len(data) * share)])


def test_one_with_transparency_is_shown_as_it_was():
    buffer = io.BytesIO()
    Image.new("RGBA", (32, 32), (200, 0, 0, 255)).save(buffer, "PNG")
    data = with_colours(buffer.getvalue(), 9, hdr.PQ)
    assert decode_image(data)[5, 5].tolist() == [200, 0, 0]
