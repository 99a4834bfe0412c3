"""What files say of their own origin."""

import io
import json
import zipfile

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from fakecore.media.jpegheader import bare_jpeg
from fakecore.media.pixels import encode_jpeg, encode_png
from fakedetect.inspection.inspect import inspect_file

WEB_UI = "a castle\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512"
XMP = '<x:xmpmeta><rdf:Description Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/{}"/></x:xmpmeta>'


@pytest.fixture
def write(tmp_path):
    """A function that writes a picture with the given texts, EXIF data or XMP, and inspects it."""

    def make(suffix="png", *, texts=None, exif=None, camera_note=None, user_comment=None, name="a", **options):
        path = tmp_path / f"{name}.{suffix}"
        if texts:
            options["pnginfo"] = PngImagePlugin.PngInfo()
            for key, value in texts.items():
                options["pnginfo"].add_text(key, value)
        if exif or user_comment:
            held = Image.Exif()
            for tag, value in (exif or {}).items():
                held[tag] = value
            own = held.get_ifd(ExifTags.IFD.Exif)
            own |= {0x9286: user_comment} if user_comment else {}
            own |= {0x927C: camera_note} if camera_note else {}
            held[ExifTags.IFD.Exif] = own
            options["exif"] = held
        picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8))
        picture.save(path, **options)
        return inspect_file(str(path))

    return make


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le"])
def test_parameters_in_a_jpeg_comment_are_found(encoding, write):
    found = write("jpg", user_comment=b"UNICODE\0" + WEB_UI.encode(encoding))
    assert found.points_to == "generated" and found.findings[0].where == "EXIF UserComment"


@pytest.mark.parametrize(
    ("term", "points_to", "strength"),
    [
        ("trainedAlgorithmicMedia", "generated", "strong"),
        ("compositeCapture", "edited", "medium"),
        ("digitalCapture", "camera", "weak"),
        ("new", "nothing", "weak"),
    ],
)
def test_source_types_are_read_from_xmp(term, points_to, strength, write):
    found = write("jpg", xmp=XMP.format(term).encode())
    (finding,) = (one for one in found.findings if one.where == "XMP")
    assert term in finding.says and finding.points_to == points_to and found.points_to == points_to
    assert finding.strength == strength


@pytest.mark.parametrize(
    ("make", "note", "strength", "says"),
    [
        ("Apple", b"Apple iOS\0\0\1MM", "medium", "in the form of this maker"),
        ("Apple", b"Nikon\0\2\x10\0\0MM\0*", "weak", "do not have the form"),
        ("Canon", b"\x20\0" + bytes(30), "medium", "in the form of this maker"),
        ("Canon", b"a note of somebody", "weak", "do not have the form"),
        ("FUJIFILM", b"FUJIFILM\x0c\0\0\0", "medium", "in the form of this maker"),
        ("NIKON CORPORATION", None, "weak", "without the maker's notes, which cameras of this make write"),
        ("Acme", None, "weak", "without the maker's notes"),
        ("Acme", b"a note", "weak", "whose form is not known"),
    ],
)
def test_cameras_are_plausible_with_the_notes_of_their_maker(make, note, strength, says, write):
    tags = {ExifTags.Base.Make: make, ExifTags.Base.Model: "A1"}
    found = write("jpg", exif=tags, camera_note=note)
    (one,) = (one for one in found.findings if one.where == "EXIF camera")
    assert found.points_to == "camera" and one.strength == strength
    assert one.says.startswith(f"{make} A1, ") and says in one.says
    assert ("which cameras" in one.says) == (make == "NIKON CORPORATION")


def test_editors_encoders_and_wrong_names_are_listed(write):
    found = write("jpg", exif={ExifTags.Base.Software: "Adobe Photoshop 25.0"}, quality=83, format="JPEG")
    assert found.points_to == "edited"
    assert any("quality 83, libjpeg's tables, 4:2:0" in one.says for one in found.findings)
    assert any("a PNG file named .jpg" in one.says for one in write("jpg", format="PNG", name="b").findings)


def test_our_own_label_is_found_and_tells_fakes_from_reals(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (3, 16, 16), np.uint8)
    for label, points_to in (("fake", "generated"), ("real", "nothing")):
        for suffix, encode in ((".png", encode_png), (".jpg", encode_jpeg)):
            path = tmp_path / f"{label}{suffix}"
            path.write_bytes(encode(pixels, label))
            found = inspect_file(str(path))
            assert found.points_to == points_to and any("fakelab's own label" in one.says for one in found.findings)


def test_videos_say_what_their_tags_say(tmp_path, write_video, fakelab):
    people = [lambda n: (100 + 4 * n, 120, 100)]
    one, two = (write_video(tmp_path / name, people, count=6) for name in ("one.mp4", "two.mp4"))
    assert fakelab("swap", one, two, "--out", tmp_path / "swapped.mp4").returncode == 0
    found = inspect_file(str(tmp_path / "swapped.mp4"))
    assert (found.kind, found.points_to) == ("video", "generated")
    assert any("compositeSynthetic" in finding.says for finding in found.findings)
    assert inspect_file(str(one)).points_to == "nothing"
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as archive:
        archive.write(tmp_path / "swapped.mp4", "swapped.mp4")
        archive.write(one, "one.mp4")
    done = fakelab("inspect", tmp_path / "both.zip", "--json")
    first, second = map(json.loads, done.stdout.splitlines())
    assert first == found.to_json() | {"path": str(tmp_path / "both.zip/swapped.mp4")} and second["kind"] == "video"


def test_the_command_lists_evidence_first_and_names_what_it_cannot_read(write, tmp_path, fakelab):
    write(name="a-plain")
    write(texts={"parameters": WEB_UI}, name="b-made")
    (tmp_path / "c-text.png").write_text("no image")
    (tmp_path / "d-link.png").symlink_to("nowhere")
    (tmp_path / "e.zip").write_bytes(b"PK")
    done = fakelab("inspect", tmp_path)
    lines = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert done.returncode == 1 and lines[0].endswith("b-made.png: generated") and "unsupported" in lines[2]
    assert "e.zip: unreadable" in lines[3] and "d-link.png: unreadable" in lines[4]
    rows = [json.loads(line) for line in fakelab("inspect", tmp_path, "--json").stdout.splitlines()]
    assert [row["points_to"] for row in rows] == ["nothing", "generated", "nothing", "nothing", "nothing"]
    assert set(rows[1]["findings"][0]) == {"says", "where", "points_to", "strength", "forged"}


@pytest.mark.parametrize("suffix", [".hdr", ".tiff"])
def test_floating_point_photos_are_inspected(tmp_path, suffix):
    data = cv2.imencode(suffix, np.ones((8, 8, 3), np.float32))[1].tobytes()
    (tmp_path / f"a{suffix}").write_bytes(data + XMP.format("trainedAlgorithmicMedia").encode())
    found = inspect_file(str(tmp_path / f"a{suffix}"))
    assert (found.status, found.points_to) == ("ok", "generated")


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "options", [{"quality": 83}, {"quality": 30, "subsampling": 0}, {"qtables": [[9] * 63 + [12]]}]
)
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", ""])
def test_a_jpeg_without_metadata_is_inspected_as_pillow_does(mode, options, progressive, suffix, tmp_path, monkeypatch):
    name = f"a.{suffix}" if suffix else "a"
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(tmp_path / name, "JPEG", progressive=progressive, **options)
    quick = inspect_file(str(tmp_path / name))
    assert quick.findings and inspect_file(str(tmp_path / name), data=(tmp_path / name).read_bytes()) == quick
    assert bare_jpeg((tmp_path / name).read_bytes(), 32 * 24) and not bare_jpeg((tmp_path / name).read_bytes(), 32 * 23)
    monkeypatch.setattr("fakedetect.inspection.inspect.bare_jpeg", lambda *_: None)
    assert inspect_file(str(tmp_path / name)) == quick


@pytest.mark.parametrize(
    "extra", [{"comment": b"a"}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}, {"icc_profile": b"a"}, {"xmp": b"a"}]
)
def test_a_jpeg_with_metadata_is_not_bare(extra):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    assert bare_jpeg(buffer.getvalue(), 64)
    Image.new("RGB", (8, 8)).save(buffer := io.BytesIO(), "JPEG", **extra)
    assert bare_jpeg(buffer.getvalue(), 64) is None


def test_any_start_of_a_jpeg_file_is_read_without_an_error():
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    data = buffer.getvalue()
    assert {inspect_file("a.jpg", data=data[:end]).status for end in range(len(data))} == {
        "ok",
        "unreadable",
        "unsupported",
    }
