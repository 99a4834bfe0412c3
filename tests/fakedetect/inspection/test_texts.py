"""Texts of generators and editors: what each program writes, and what merely resembles it."""

import pytest
from PIL import ExifTags, Image, PngImagePlugin

from fakedetect.inspection.inspect import inspect_file
from fakedetect.inspection.texts import findings_in_texts, findings_in_xmp, texts_in_xmp

WEB_UI = "a castle\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512"
JOB = "a fox --ar 3:2 Job ID: 01234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize(
    ("where", "text", "points_to", "strength", "says"),
    [
        ("PNG text parameters", WEB_UI, "generated", "strong", "Stable Diffusion web UI: a castle"),
        ("PNG text parameters", '{"sui_image_params": {"prompt": "a"}}', "generated", "strong", "SwarmUI"),
        ("PNG text prompt", '{"3": {"class_type": "KSampler"}}', "generated", "strong", "ComfyUI"),
        ("PNG text workflow", '{"nodes": []}', "generated", "strong", "ComfyUI"),
        ("EXIF Make", 'workflow:{"last_node_id": 9, "nodes": []}', "generated", "strong", "ComfyUI"),
        ("EXIF Model", 'prompt: {"3": {"class_type": "KSampler"}}', "generated", "strong", "ComfyUI"),
        ("PNG text invokeai_metadata", '{"seed": 5}', "generated", "strong", "InvokeAI"),
        ("PNG text invokeai_workflow", "{}", "generated", "strong", "InvokeAI"),
        ("PNG text sd-metadata", "{}", "generated", "strong", "InvokeAI"),
        ("PNG text Dream", '"a cat" -s 50', "generated", "strong", "InvokeAI"),
        ("PNG text fooocus_scheme", "fooocus", "generated", "strong", "Fooocus"),
        ("PNG text Software", "NovelAI", "generated", "strong", "NovelAI"),
        ("PNG text Comment", '{"steps": 28, "sampler": "k_euler", "uc": "bad"}', "generated", "strong", "NovelAI"),
        ("PNG text Description", JOB, "generated", "strong", "Midjourney"),
        ("EXIF Software", "AI generated;txt2img;flux", "generated", "strong", "FLUX"),
        ("EXIF Make", "Black Forest Labs", "generated", "strong", "Black Forest Labs"),
        ("EXIF Software", "DALL·E 3", "generated", "strong", "DALL·E"),
        ("XMP CreatorTool", "Adobe Firefly 2.0", "generated", "strong", "Firefly"),
        ("XMP Credit", "Made with Google AI", "generated", "strong", "Made with Google AI"),
        ("IPTC credit", "Made with Google AI", "generated", "strong", "Made with Google AI"),
        ("XMP CreatorTool", "Draw Things", "generated", "strong", "Draw Things"),
        ("EXIF ImageDescription", "the ChatGPT logo on a phone", "generated", "medium", "ChatGPT"),
        ("EXIF Software", "GIMP 2.10", "edited", "medium", "edited with GIMP"),
        ("XMP CreatorTool", "Adobe Photoshop 25.0", "edited", "medium", "edited with Adobe Photoshop"),
        ("EXIF Software", "Ver.1.02", "nothing", "weak", "Ver.1.02"),
    ],
)
def test_what_programs_write_is_recognised(where, text, points_to, strength, says):
    (found,) = findings_in_texts({where: text})
    assert (found.points_to, found.strength, found.where) == (points_to, strength, where) and says in found.says


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("EXIF ImageDescription", "Imagen de archivo de Madrid"),  # Spanish for "image"
        ("EXIF ImageDescription", "Steps of the museum"),
        ("PNG text prompt", "please answer"),
        ("EXIF Make", "Canon"),
        ("EXIF ImageDescription", "edited with Photoshop"),  # not the field of the program
        ("XMP description", "Job ID: 5"),
    ],
)
def test_other_texts_are_not(where, text):
    assert list(findings_in_texts({where: text})) == []


@pytest.mark.parametrize(
    ("packet", "texts"),
    [
        (b'<rdf:Description xmp:CreatorTool="Adobe &amp; Co"/>', {"XMP CreatorTool": "Adobe & Co"}),
        (b"<xmp:CreatorTool> Draw Things</xmp:CreatorTool>", {"XMP CreatorTool": "Draw Things"}),
        (b"<photoshop:Credit>Made with Google AI</photoshop:Credit>", {"XMP Credit": "Made with Google AI"}),
        (b"<dc:creator><rdf:Seq><rdf:li>A. Name</rdf:li></rdf:Seq></dc:creator>", {"XMP creator": "A. Name"}),
        (b'<dc:description>\n<rdf:Alt>\n<rdf:li xml:lang="x-default">a fox</rdf:li>', {"XMP description": "a fox"}),
        (b"<dc:title>a</dc:title>", {}),
    ],
)
def test_texts_are_read_from_xmp(packet, texts):
    assert texts_in_xmp(packet) == texts


def test_a_hostile_text_does_not_take_long():
    for part in ("Steps: 1 ", '"uc":', "xmp:CreatorTool>", "<rdf:li>"):
        list(
            findings_in_texts({"PNG text a": part * 40_000})
        )  # a test may take 300 s at most; this takes less than one
        texts_in_xmp(part.encode() * 40_000)


def test_texts_cannot_control_the_terminal():
    (found,) = findings_in_texts({"EXIF Software": "GIMP\x1b[2J\r\n\x07" + "a" * 500})
    assert found.says.isprintable() and len(found.says) < 200


def test_a_manifest_elsewhere_is_a_finding_of_xmp():
    (found,) = findings_in_xmp(b'<a dcterms:provenance="https://example.org/a.c2pa">', "XMP")
    assert "https://example.org/a.c2pa" in found.says and found.points_to == "nothing"


def test_the_fields_are_read_from_files(tmp_path):
    texts = PngImagePlugin.PngInfo()
    texts.add_text("parameters", WEB_UI)
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png", pnginfo=texts)
    assert inspect_file(str(tmp_path / "a.png")).findings[0].where == "PNG text parameters"
    whole = (tmp_path / "a.png").read_bytes()  # signature and header are 33 bytes; the text comes next
    size = 12 + int.from_bytes(whole[33:37], "big")
    (tmp_path / "b.png").write_bytes(whole[:33] + whole[33 + size : -12] + whole[33 : 33 + size] + whole[-12:])
    assert inspect_file(str(tmp_path / "b.png")).findings[0].where == "PNG text parameters"
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = 'workflow:{"nodes": []}'
    Image.new("RGB", (16, 16)).save(tmp_path / "a.webp", exif=exif)
    assert inspect_file(str(tmp_path / "a.webp")).findings[0].where == "EXIF Make"
    packet = b'<x:xmpmeta><rdf:Description photoshop:Credit="Made with Google AI"/></x:xmpmeta>'
    Image.new("RGB", (16, 16)).save(tmp_path / "a.jpg", xmp=packet)
    assert inspect_file(str(tmp_path / "a.jpg")).findings[0].where == "XMP Credit"


def test_iptc_fields_are_read_from_a_jpeg(tmp_path):
    credit = b"Made with Google AI"
    field = b"\x1c\x02\x6e" + len(credit).to_bytes(2, "big") + credit
    resource = b"8BIM\x04\x04\0\0" + len(field).to_bytes(4, "big") + field
    segment = b"Photoshop 3.0\0" + resource
    Image.new("RGB", (16, 16)).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(
        data[:20] + b"\xff\xed" + (len(segment) + 2).to_bytes(2, "big") + segment + data[20:]
    )
    found = inspect_file(str(tmp_path / "a.jpg"))
    assert found.status == "ok" and found.findings[0].where == "IPTC credit" and found.points_to == "generated"
