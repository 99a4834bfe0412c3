"""Texts that generators, editors and cameras leave in files: PNG text, EXIF, XMP and comments."""

from __future__ import annotations

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
    "sd-metadata": "InvokeAI",
    "dream": "InvokeAI",
    "fooocus_scheme": "Fooocus",
    "workflow": "ComfyUI",
}
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
        "Fooocus",
    ),
    *("Made with Google AI", "Imagen", "Ideogram", "Leonardo.Ai", "Bing Image Creator", "Grok", "ChatGPT", "gpt-image"),
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
_WEB_UI = re.compile(
    r"Steps: \d+.*Sampler: ", re.DOTALL
)  # as AUTOMATIC1111's web UI and its descendants write parameters
_MIDJOURNEY = re.compile(r"Job ID: [0-9a-f-]{36}")


def findings_in_texts(texts: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what `texts` say: {where: text}; `where` ends in the name of the field, such as "PNG text parameters"."""
    for where, text in texts.items():
        field = where.rpartition(" ")[2].lower()
        if _WEB_UI.search(text):
            yield _generated("parameters of a Stable Diffusion web UI", where, text)
        elif field in _FIELDS or (field == "prompt" and '"class_type"' in text):
            yield _generated(f"a {_FIELDS.get(field, 'ComfyUI')} record", where, text)
        elif _MIDJOURNEY.search(text):
            yield _generated("a Midjourney job", where, text)
        elif any(sentence in text for sentence in SENTENCES.values()):
            made = SENTENCES["fake"] in text
            kind = "generated" if made else "nothing"
            yield Finding(f"fakelab's own label: {shown(text)}", where, kind, "strong" if made else "weak")
        elif name := _named(text, _GENERATORS):
            yield _generated(f"the name {name}", where, text)
        elif field in ("software", "creatortool") and (name := _named(text, _EDITORS)):
            yield Finding(f"edited with {shown(text)}", where, "edited", "medium")
        elif field in ("software", "creatortool", "comment", "encoder"):
            yield Finding(shown(text), where, "nothing", "weak")


def findings_in_xmp(packet: bytes, where: str) -> Iterator[Finding]:
    """Yield what an XMP packet, or any bytes with one, says of its source."""
    for name in source_types(packet):
        points_to = SOURCE_TYPES.get(name, "nothing")
        yield Finding(
            f"IPTC digital source type {name}", where, points_to, "strong" if points_to != "nothing" else "weak"
        )
    if elsewhere := _ELSEWHERE.search(packet):
        says = (
            f"a reference to a C2PA manifest elsewhere, not fetched: {shown(elsewhere[1].decode('utf-8', 'replace'))}"
        )
        yield Finding(says, "C2PA", "nothing", "weak")


def source_types(held: bytes) -> list[str]:
    """Return the terms of IPTC digital source types in any bytes, each once, as in ["digitalCapture"]."""
    return [term.decode("ascii", "replace") for term in dict.fromkeys(_SOURCE_TYPE.findall(held))]


def _generated(what: str, where: str, text: str) -> Finding:
    return Finding(f"{what}: {shown(text)}", where, "generated", "strong")


def _named(text: str, names: tuple[str, ...]) -> str | None:
    lower = text.lower()
    return next((name for name in names if name.lower() in lower), None)
