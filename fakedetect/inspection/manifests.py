"""C2PA manifests: who signed a file, what they state of it, and whether the signature and the file still agree.

Verified with the package c2pa-python, without network: remote manifests, revocation lists and identities elsewhere are not
fetched. What an unverified or broken manifest states is not evidence, so it is not passed on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO

from fakedetect.inspection.findings import Finding, shown
from fakedetect.inspection.texts import SOURCE_TYPES, source_types

_MARKS = (b"c2pa", b"jumb")  # both stand in the box of a manifest (C2PA specification, JUMBF)
_REMEDY = "pip install 'fakelab[c2pa]'"
_MOST_MB = 16  # of a compressed manifest, after decompression
_OFFLINE: dict[str, Any] = {
    "verify": {"verify_after_reading": True, "verify_trust": True, "remote_manifest_fetch": False, "ocsp_fetch": False},
    "core": {
        "allowed_network_hosts": [],
        "decode_identity_assertions": False,
        "max_decompressed_manifest_size_in_mb": _MOST_MB,
    },
}
_TRUSTED, _VALID = "Trusted", "Valid"
_VALIDATED = "claimSignature.validated"
_UNTRUSTED = "signingCredential.untrusted"
# Actions that change what a picture shows (C2PA specification, "Actions"); created, opened, converted and others do not.
_EDITS = {
    *("adjustedColor", "color_adjustments", "cropped", "deleted", "drawing", "dubbed", "edited", "filtered"),
    *("placed", "redacted", "removed", "resized", "addedText"),
}
_MOST_SHOWN = 8  # actions, reasons


def has_manifest(data: bytes) -> bool:
    """Return whether `data`, a file or its ends, may contain a C2PA manifest."""
    return all(mark in data for mark in _MARKS)


def findings_in_manifest(file: BinaryIO, trust: str | None = None) -> Iterator[Finding]:
    """Yield what a manifest in `file` says once its signature and hashes are verified, else only that it is there and why it
    proves nothing. `trust`: root certificates of signers to trust, PEM.
    """
    try:
        import c2pa
    except ImportError:
        yield _no_evidence(f"a C2PA manifest, not verified: {_REMEDY}", "nothing in it counts before it is verified")
        return
    try:
        settings = {**_OFFLINE, "trust": {"user_anchors": trust}} if trust else _OFFLINE
        with c2pa.Context.from_dict(settings) as context, c2pa.Reader(None, file, context=context) as reader:
            report = json.loads(reader.json())
            yield from _of_report(report, str(reader.get_validation_state()))
    except c2pa.C2paError.NotSupported:
        yield _no_evidence("a C2PA manifest in a format of file that cannot be verified", "nothing in it counts")
    except Exception as error:  # of foreign code that reads what anyone may have written
        yield _broken([shown(str(error), 80)])


def _of_report(report: Any, state: str) -> Iterator[Finding]:
    """Yield the findings of the report that c2pa-python makes of a manifest."""
    results = _dict(_dict(report, "validation_results"), "activeManifest")
    passed = {str(one.get("code")) for one in _dicts(results.get("success"))}
    if state not in (_TRUSTED, _VALID) or _VALIDATED not in passed:
        codes = [str(one.get("code")) for one in _dicts(report.get("validation_status"))]
        yield _broken([code for code in dict.fromkeys(codes) if code != _UNTRUSTED])
        return
    manifests = _dict(report, "manifests")
    active = _dict(manifests, report.get("active_manifest"))
    trusted = state == _TRUSTED
    strength = "strong" if trusted else "medium"
    forged = (
        "only with the key of a trusted signer" if trusted else "anyone can sign with a certificate of their own making"
    )
    actions = [_short_name(one) for one in _actions(active)]
    yield Finding(_signed(active, actions, trusted), "C2PA", "nothing", strength, forged)
    for name in _types(active):
        yield Finding(f"IPTC digital source type {name}", "C2PA", SOURCE_TYPES.get(name, "nothing"), strength, forged)
    if edits := [action for action in actions if action in _EDITS]:
        yield Finding(f"edits: {_listed(edits)}", "C2PA", "edited", strength, forged)
    # Of pictures that went into this one, only that a generator made them says something of this one.
    for other in _sources(manifests, active):
        for name in _types(other):
            if SOURCE_TYPES.get(name) == "generated":
                says = f"made from a picture of IPTC digital source type {name}"
                yield Finding(says, "C2PA", "generated", "medium", forged)


def _sources(manifests: dict, active: dict) -> list[dict]:
    """Return the manifests of the pictures that a picture was made from, and of those they were made from, if each was valid
    when it was used.
    """
    found: list[dict] = []
    todo = [active]
    while todo:
        for one in _dicts(todo.pop().get("ingredients")):
            failures = _dicts(_dict(_dict(one, "validation_results"), "activeManifest").get("failure"))
            other = _dict(manifests, one.get("active_manifest"))
            valid = all(failure.get("code") == _UNTRUSTED for failure in failures)
            if other and valid and not any(other is known for known in (active, *found)):
                found.append(other)
                todo.append(other)
    return found


def _signed(manifest: dict, actions: list[str], trusted: bool) -> str:
    """Return the sentence of who signed a valid manifest."""
    signature = _dict(manifest, "signature_info")
    issuer, name = (shown(str(signature.get(key) or "unnamed"), 60) for key in ("issuer", "common_name"))
    says = f"a C2PA manifest with a valid signature by {name} (certificate of {issuer}), "
    says += "who is on a trust list" if trusted else "who is not on a trust list"
    if generators := [_generator(one) for one in _dicts(manifest.get("claim_generator_info"))]:
        says += f"; written by {_listed(generators)}"
    return says + (f"; actions: {_listed(actions)}" if actions else "")


def _actions(manifest: Any) -> list[dict]:
    """Return the actions that a manifest states."""
    found = [_dict(one, "data") for one in _assertions(manifest, "c2pa.actions")]
    return [action for data in found for action in _dicts(data.get("actions"))]


def _types(manifest: Any) -> list[str]:
    """Return the names of the digital source types of a manifest's actions and metadata."""
    stated = [str(action.get("digitalSourceType")) for action in _actions(manifest)]
    for label in ("stds.iptc", "c2pa.metadata", "cawg.metadata", "stds.exif", "stds.schema-org"):
        stated += [json.dumps(one.get("data")) for one in _assertions(manifest, label)]
    return source_types("\n".join(stated).encode())


def _assertions(manifest: Any, label: str) -> list[dict]:
    held = _dicts(manifest.get("assertions")) if isinstance(manifest, dict) else []
    return [one for one in held if str(one.get("label")).startswith(label)]


def _generator(info: dict) -> str:
    return " ".join(shown(str(info[key]), 60) for key in ("name", "version") if info.get(key))


def _short_name(action: dict) -> str:
    return shown(str(action.get("action")).removeprefix("c2pa."), 40)


def _listed(names: list[str]) -> str:
    names = list(dict.fromkeys(names))
    return ", ".join(names[:_MOST_SHOWN]) + (f" and {len(names) - _MOST_SHOWN} more" * (len(names) > _MOST_SHOWN))


def _broken(reasons: list[str]) -> Finding:
    why = f" ({_listed([shown(one, 80) for one in reasons])})" if reasons else ""
    says = f"a broken C2PA manifest: its signature, or the file since it was signed, is damaged or altered{why}"
    return _no_evidence(says, "nothing in it counts: anyone can copy or damage a manifest")


def _no_evidence(says: str, forged: str) -> Finding:
    return Finding(says, "C2PA", "nothing", "weak", forged)


def _dict(held: Any, key: Any) -> dict:
    with suppress(TypeError, AttributeError):
        found = held.get(key)
        return found if isinstance(found, dict) else {}
    return {}


def _dicts(held: Any) -> list[dict]:
    return [one for one in held if isinstance(one, dict)] if isinstance(held, list) else []
