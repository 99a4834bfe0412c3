import io
import struct

import numpy as np
import pytest
from PIL import Image

from fakecore.media.pixels import decode_image, encode_jpeg, encode_png
from fakecore.media.provenance import DIGITAL_SOURCE_TYPE, SENTENCES, is_provenance, xmp_packet

ENCODERS = [pytest.param(encode_png, id="png"), pytest.param(encode_jpeg, id="jpeg")]


def pixels(channels=3):
    return np.random.default_rng(3).integers(0, 256, (channels, 20, 24), dtype=np.uint8)


def written(data):
    """(sentence, XMP) as Pillow reads them."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        sentence = image.info.get("Description") or image.info.get("comment", b"").decode()
        xmp = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp", b"")
        return sentence.strip(), xmp if isinstance(xmp, str) else xmp.decode()


def png_layout(data):
    place, layout = 8, []
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        layout.append((kind, length))
        place += 12 + length
    return layout


def jpeg_layout(data):
    place, layout = 2, []
    while data[place + 1] != 0xDA:
        length = struct.unpack(">H", data[place + 2 : place + 4])[0]
        layout.append((data[place + 1], length))
        place += 2 + length
    return layout


@pytest.mark.parametrize("encode", ENCODERS)
def test_metadata_of_a_fake_mark_it_as_synthetic(encode):
    sentence, xmp = written(encode(pixels(), "fake"))
    assert sentence == SENTENCES["fake"]
    assert "SYNTHETIC" in sentence
    assert f'DigitalSourceType="{DIGITAL_SOURCE_TYPE}"' in xmp
    assert DIGITAL_SOURCE_TYPE.endswith("/trainedAlgorithmicMedia")


@pytest.mark.parametrize("encode", ENCODERS)
def test_a_real_is_never_called_synthetic(encode):
    sentence, xmp = written(encode(pixels(), "real"))
    assert sentence == SENTENCES["real"]
    assert xmp
    assert "DigitalSourceType" not in xmp
    assert "Algorithmic" not in xmp


@pytest.mark.parametrize("origin", ["real", "fake"])
@pytest.mark.parametrize("encode", ENCODERS)
def test_the_xmp_is_well_formed(encode, origin):
    from xml.etree import ElementTree

    _, xmp = written(encode(pixels(), origin))
    packet = xmp[xmp.index("<x:xmpmeta") : xmp.index("</x:xmpmeta>") + len("</x:xmpmeta>")]
    assert ElementTree.fromstring(packet).tag == "{adobe:ns:meta/}xmpmeta"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("encode", "layout"), [(encode_png, png_layout), (encode_jpeg, jpeg_layout)])
def test_real_and_fake_files_differ_only_in_the_statement(encode, layout, channels):
    real, fake = encode(pixels(channels), "real"), encode(pixels(channels), "fake")
    assert real != fake
    assert len(real) == len(fake)
    assert layout(real) == layout(fake)
    assert len(layout(real)) > 3
    assert np.array_equal(decode_image(real), decode_image(fake))


def test_png_checksums_are_right():
    import zlib

    data = encode_png(pixels(), "fake")
    place = 8
    for kind, length in png_layout(data):
        content = data[place + 4 : place + 8 + length]
        assert struct.unpack(">I", data[place + 8 + length : place + 12 + length])[0] == zlib.crc32(content), kind
        place += 12 + length


def test_inserted_metadata_are_recognised_for_either_origin():
    for origin in SENTENCES:
        assert is_provenance(xmp_packet(origin)) and is_provenance(
            b"Description\0" + SENTENCES[origin].encode().ljust(64)
        )
    assert not is_provenance(b"Description\0a cat") and not is_provenance(b"")
