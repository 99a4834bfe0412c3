"""C2PA manifests: signed by a certificate that the test makes, then altered, cut off and imitated."""

import http.server
import io
import json
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from benchmarks.signing import new_identity, signed
from fakedetect.inspection.inspect import inspect_file
from fakedetect.inspection.manifests import findings_in_manifest

MIME = {"jpg": ("image/jpeg", "JPEG"), "png": ("image/png", "PNG"), "webp": ("image/webp", "WEBP")}


@pytest.fixture(scope="module")
def identity():
    return new_identity()


def picture(suffix="jpg"):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, MIME[suffix][1])
    return buffer.getvalue()


@pytest.fixture
def inspected(tmp_path):
    """A function that inspects bytes as a file."""

    def inspect(data, suffix="jpg", trust=None):
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(data)
        found = inspect_file(str(path), trust=trust)
        return found, [one for one in found.findings if one.where == "C2PA"]

    return inspect


@pytest.mark.parametrize("suffix", MIME)
def test_a_valid_manifest_says_who_signed_and_what(suffix, identity, inspected):
    data = signed(picture(suffix), MIME[suffix][0], identity)
    found, (source, signer) = inspected(data, suffix)
    assert found.status == "ok" and found.points_to == "generated"
    assert (source.says, source.strength) == ("IPTC digital source type trainedAlgorithmicMedia", "medium")
    for part in ("valid signature by A signer (certificate of Fakelab tests)", "not on a trust list"):
        assert part in signer.says
    assert "written by fakelab tests 1" in signer.says and "actions: created" in signer.says
    assert signer.points_to == "nothing"


def test_a_signer_is_trusted_only_by_a_root_of_the_list(identity, inspected):
    data = signed(picture(), "image/jpeg", identity, source_type="digitalCapture")
    found, (source, signer) = inspected(data, trust=identity.root.decode())
    assert found.points_to == "camera" and source.strength == "strong" and "who is on a trust list" in signer.says
    _, (source, signer) = inspected(data, trust=new_identity().root.decode())
    assert source.strength == "medium" and "not on a trust list" in signer.says


@pytest.mark.parametrize(
    ("source_type", "actions", "points_to"),
    [
        ("trainedAlgorithmicMedia", ("c2pa.created", "c2pa.edited"), ["generated", "edited"]),
        ("compositeWithTrainedAlgorithmicMedia", ("c2pa.created",), ["generated"]),
        ("digitalCapture", ("c2pa.created", "c2pa.color_adjustments"), ["edited", "camera"]),
        ("digitalCapture", ("c2pa.created", "c2pa.published"), ["camera"]),
        ("screenCapture", ("c2pa.created",), ["nothing"]),
    ],
)
def test_source_types_and_edits_point_where_they_should(source_type, actions, points_to, identity, inspected):
    data = signed(picture(), "image/jpeg", identity, source_type=source_type, actions=actions)
    assert [one.points_to for one in inspected(data)[1]] == [*points_to, "nothing"]


def test_a_generated_ingredient_counts_and_a_camera_s_does_not(identity, inspected):
    made = signed(picture(), "image/jpeg", identity)
    taken = signed(picture(), "image/jpeg", identity, source_type="digitalCapture")
    outer = {"source_type": None, "actions": ("c2pa.opened", "c2pa.cropped")}
    found, _ = inspected(signed(picture(), "image/jpeg", identity, ingredient=made, **outer))
    assert found.findings[0].says == "made from a picture of IPTC digital source type trainedAlgorithmicMedia"
    broken = altered_pixels(made)
    assert inspected(signed(picture(), "image/jpeg", identity, ingredient=broken, **outer))[0].points_to == "edited"
    found, _ = inspected(signed(picture(), "image/jpeg", identity, ingredient=taken, **outer))
    assert "camera" not in {one.points_to for one in found.findings} and found.points_to == "edited"


def altered_pixels(data):
    return data[:-60] + bytes([data[-60] ^ 1]) + data[-59:]


def altered_statement(data):
    return data.replace(b"/digitalsourcetype/", b"/digitalsourcetyps/")


def cut_manifest(data):
    """The last 300 bytes of the manifest are missing; the JPEG file around it is whole."""
    start = data.index(b"\xff\xeb")
    length = int.from_bytes(data[start + 2 : start + 4], "big")
    end = start + 2 + length
    return data[: start + 2] + (length - 300).to_bytes(2, "big") + data[start + 4 : end - 300] + data[end:]


def another_picture(data):
    """The manifest of one picture in another, as a forger would move it."""
    other = signed(b"".join((picture()[:-2], b"\xff\xd9")), "image/jpeg", new_identity())
    start, end = data.index(b"\xff\xeb"), data.index(b"\xff\xdb")
    return other[: other.index(b"\xff\xeb")] + data[start:end] + altered_pixels(other)[other.index(b"\xff\xdb") :]


@pytest.mark.parametrize("alter", [altered_pixels, altered_statement, cut_manifest, another_picture])
@pytest.mark.parametrize("source_type", ["trainedAlgorithmicMedia", "digitalCapture"])
def test_a_broken_manifest_is_no_evidence(alter, source_type, identity, inspected):
    data = signed(picture(), "image/jpeg", identity, source_type=source_type)
    assert inspected(data, trust=identity.root.decode())[0].points_to != "nothing"
    damaged = alter(data)
    assert damaged != data
    found, (finding,) = inspected(damaged, trust=identity.root.decode())
    assert found.points_to == "nothing" and finding.strength == "weak"
    assert finding.says.startswith("a broken C2PA manifest")


def test_a_file_that_ends_within_its_manifest_is_broken(identity):
    data = signed(picture(), "image/jpeg", identity)
    (finding,) = findings_in_manifest(io.BytesIO(data[: data.index(b"jumb") + 1000]))
    assert finding.points_to == "nothing" and "broken" in finding.says


def test_an_imitation_is_broken(inspected):
    box = b"\0\0\0\x30jumb\0\0\0\x20jumdc2pa digitalsourcetype/trainedAlgorithmicMedia"
    data = picture()
    found, (finding,) = inspected(data[:2] + b"\xff\xeb" + (len(box) + 2).to_bytes(2, "big") + box + data[2:])
    assert found.points_to == "nothing" and "broken" in finding.says


def test_without_the_package_nothing_in_a_manifest_counts(identity, inspected, monkeypatch):
    data = signed(picture(), "image/jpeg", identity)
    monkeypatch.setitem(sys.modules, "c2pa", None)
    found, (finding,) = inspected(data)
    assert found.points_to == "nothing"
    assert finding.says == "a C2PA manifest, not verified: pip install 'fakelab[c2pa]'"


def test_a_video_is_verified(identity, write_video, tmp_path):
    path = write_video(tmp_path / "a.mp4", [lambda n: (100, 120, 100)], count=4)
    data = signed(path.read_bytes(), "video/mp4", identity)
    path.write_bytes(data)
    found = inspect_file(str(path))
    assert (found.kind, found.points_to, found.findings[0].where) == ("video", "generated", "C2PA")
    path.write_bytes(altered_pixels(data))
    found = inspect_file(str(path))
    assert found.points_to == "nothing" and any("broken" in one.says for one in found.findings)


class Counting(http.server.BaseHTTPRequestHandler):
    asked = 0

    def do_GET(self):
        Counting.asked += 1
        self.send_error(404)

    def log_message(self, *_):
        pass


def test_a_manifest_elsewhere_is_named_and_not_fetched(identity, inspected):
    import c2pa

    with http.server.HTTPServer(("127.0.0.1", 0), Counting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/a.c2pa"
        data = signed(picture(), "image/jpeg", identity, remote_url=url)
        found, (finding,) = inspected(data)
        assert Counting.asked == 0 and found.points_to == "nothing" and url in finding.says
        with pytest.raises(c2pa.C2paError):  # as the package does by itself: the server works
            c2pa.Reader("image/jpeg", io.BytesIO(data))
        assert Counting.asked > 0
        server.shutdown()


def test_the_command_trusts_the_roots_it_is_given(identity, fakelab, tmp_path):
    (tmp_path / "a.jpg").write_bytes(signed(picture(), "image/jpeg", identity))
    (tmp_path / "roots.pem").write_bytes(identity.root)
    (tmp_path / "bad.pem").write_text("-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n")
    done = fakelab("inspect", tmp_path / "a.jpg", "--trust", tmp_path / "roots.pem", "--json")
    assert json.loads(done.stdout)["findings"][0]["strength"] == "strong"
    for wrong in ("bad.pem", "missing.pem", "a.jpg"):
        done = fakelab("inspect", tmp_path / "a.jpg", "--trust", tmp_path / wrong)
        assert done.returncode == 2 and wrong in done.stderr and "PEM" in done.stderr
