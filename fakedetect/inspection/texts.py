"""Texts that generators, editors and cameras leave in files: PNG text, EXIF, XMP and comments."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping

from fakecore.media.provenance import SENTENCES
from fakedetect.inspection.findings import Finding, shown

# IPTC "Digital Source Type" NewsCodes, 2024: what each term points to.
SOURCE_TYPES = {
    "trainedAlgorithmicMedia": "generated",
    "compositeWithTrainedAlgorithmicMedia": "generated",
    "algorithmicMedia": "generated",
    "compositeSynthetic": "generated",
    "virtualRecording": "generated",
    "composite": "edited",
    "compositeCapture": "edited",
    "algorithmicallyEnhanced": "edited",
    "humanEdits": "edited",
    "digitalCapture": "camera",
    "computationalCapture": "camera",
    "negativeFilm": "camera",
    "positiveFilm": "camera",
    "print": "camera",
}
_SOURCE_TYPE = re.compile(rb"digitalsourcetype/(\w+)", re.IGNORECASE)
_ELSEWHERE = re.compile(rb"dcterms:provenance(?:=[\"']|>)\s*([^\"'<>\s]+)")  # C2PA specification, "External Manifests"
# Fields of PNG text that one program alone writes.
_FIELDS = {
    "invokeai_metadata": "InvokeAI",
    "invokeai_graph": "InvokeAI",
    "invokeai_workflow": "InvokeAI",
    "sd-metadata": "InvokeAI",
    "dream": "InvokeAI",
    "fooocus_scheme": "Fooocus",
    "workflow": "ComfyUI",
}
# What one program alone writes into a text, in any field.
_RECORDS = (
    (r"Steps: \d+.*Sampler: ", "parameters of a Stable Diffusion web UI"),  # AUTOMATIC1111 and its descendants
    (
        r'^(?:prompt|workflow)\s*:\s*\{.*"(?:class_type|nodes)"',
        "a ComfyUI record",
    ),  # in EXIF Make and Model of WebP files
    (r'"sui_image_params"', "a SwarmUI record"),
    (r'"uc"\s*:.*"sampler"\s*:|"sampler"\s*:.*"uc"\s*:', "a NovelAI record"),
    (r"Job ID: [0-9a-f]{8}-[0-9a-f-]{27}", "a Midjourney job"),
    (r"^AI generated;", "a record of FLUX"),  # EXIF Software, as the program of its authors writes it
)
_PATTERNS = tuple((re.compile(pattern, re.DOTALL | re.IGNORECASE), what) for pattern, what in _RECORDS)
# Names of generators in any text, and of editors in the field Software.
_GENERATORS = (
    *(
        "Adobe Firefly",
        "DALL-E",
        "DALL·E",
        "Midjourney",
        "NovelAI",
        "Stable Diffusion",
        "InvokeAI",
        "ComfyUI",
        "SwarmUI",
    ),
    *(
        "Fooocus",
        "Draw Things",
        "DreamStudio",
        "Stability AI",
        "Black Forest Labs",
        "Made with Google AI",
        "Google Gemini",
    ),
    *("AI-Generated with Google", "Google Imagen", "Imagen 2", "Imagen 3", "Imagen 4", "Ideogram", "Leonardo.Ai"),
    *("Bing Image Creator", "Microsoft Designer", "ChatGPT", "gpt-image", "gpt-4o", "xAI Grok", "Grok Image"),
)
_EDITORS = (
    "Photoshop",
    "Lightroom",
    "GIMP",
    "Affinity",
    "Snapseed",
    "PicsArt",
    "Facetune",
    "FaceApp",
    "Canva",
    "Paint.NET",
)
_SEARCHED = 20_000  # characters of a text: patterns take quadratic time on hostile ones
# Fields that name the program or the maker, not what a picture shows.
_OF_ORIGIN = {
    "software",
    "creatortool",
    "credit",
    "make",
    "model",
    "author",
    "artist",
    "creator",
    "source",
    "generator",
}
_XMP_TEXT = re.compile(
    rb"\b(?:xmp:(CreatorTool)|photoshop:(Credit)|photoshop:(Source)|dc:(creator)|dc:(description)|exif:(UserComment))"
    rb"(?:=[\"']([^\"']{1,4000})|>\s*(?:<rdf:\w+[^>]*>\s*){0,2}([^<]{1,4000})<)"
)


def findings_in_texts(texts: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what `texts` say: {where: text}; `where` ends in the name of the field, such as "PNG text parameters"."""
    for where, text in texts.items():
        field = where.rpartition(" ")[2].lower()
        if record := next((what for pattern, what in _PATTERNS if pattern.search(text[:_SEARCHED])), None):
            yield _generated(record, where, text)
        elif field in _FIELDS or (field == "prompt" and '"class_type"' in text):
            yield _generated(f"a record of {_FIELDS.get(field, 'ComfyUI')}", where, text)
        elif any(sentence in text for sentence in SENTENCES.values()):
            made = SENTENCES["fake"] in text
            kind = "generated" if made else "nothing"
            yield Finding(f"fakelab's own label: {shown(text)}", where, kind, "strong" if made else "weak")
        elif name := _named(text, _GENERATORS):
            # A caption may mention a generator for another reason.
            yield _generated(f"the name {name}", where, text, "strong" if field in _OF_ORIGIN else "medium")
        elif field in ("software", "creatortool") and (name := _named(text, _EDITORS)):
            yield Finding(f"edited with {shown(text)}", where, "edited", "medium")
        elif field in ("software", "creatortool", "comment", "encoder"):
            yield Finding(shown(text), where, "nothing", "weak")


def findings_in_xmp(packet: bytes, where: str) -> Iterator[Finding]:
    """Yield what an XMP packet, or any bytes with one, says of its source."""
    for name in source_types(packet):
        points_to = SOURCE_TYPES.get(name, "nothing")
        # Without a signature, a file has a reason to say that it is generated, and anyone to say that it is not.
        strength = {"generated": "strong", "edited": "medium"}.get(points_to, "weak")
        yield Finding(f"IPTC digital source type {name}", where, points_to, strength)
    if elsewhere := _ELSEWHERE.search(packet):
        says = (
            f"a reference to a C2PA manifest elsewhere, not fetched: {shown(elsewhere[1].decode('utf-8', 'replace'))}"
        )
        yield Finding(says, "C2PA", "nothing", "weak")


def source_types(held: bytes) -> list[str]:
    """Return the terms of IPTC digital source types in any bytes, each once, as in ["digitalCapture"]."""
    return [term.decode("ascii", "replace") for term in dict.fromkeys(_SOURCE_TYPE.findall(held))]


def texts_in_xmp(packet: bytes) -> dict[str, str]:
    """Return the texts of an XMP packet that name programs, makers and descriptions: {"XMP CreatorTool": "..."}."""
    found = {}
    for match in _XMP_TEXT.finditer(packet):
        *names, attribute, element = match.groups()
        name = next(one for one in names if one).decode()
        found[f"XMP {name}"] = html.unescape((attribute or element).decode("utf-8", "replace"))
    return found


def _generated(what: str, where: str, text: str, strength: str = "strong") -> Finding:
    return Finding(f"{what}: {shown(text)}", where, "generated", strength)


def _named(text: str, names: tuple[str, ...]) -> str | None:
    lower = text.lower()
    return next((name for name in names if name.lower() in lower), None)
