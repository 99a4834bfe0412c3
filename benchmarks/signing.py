"""Sign files with C2PA manifests, by a certificate made for it: material of `benchmarks.fuzz` and of the tests.

Needs the extra `c2pa`; certificates come from the package cryptography, which that brings.
"""

from __future__ import annotations

import datetime
import io
import json
from dataclasses import dataclass
from typing import Any

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
ISSUER, SIGNER = "Fakelab tests", "A signer"


@dataclass(frozen=True)
class Identity:
    """The certificates of a signer, its own first and its root last, and its private key; all PEM."""

    chain: bytes
    key: bytes
    root: bytes


def new_identity() -> Identity:
    """Return a signer whose certificate a root of its own signed."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = _certificate("A root", root_key, root_key, ca=True)
    own = _certificate(SIGNER, key, root_key, ca=False)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Identity(own + root, secret, root)


def signed(
    data: bytes,
    mime: str,
    identity: Identity,
    *,
    source_type: str | None = "trainedAlgorithmicMedia",
    actions: tuple[str, ...] = ("c2pa.created",),
    ingredient: bytes | None = None,
    remote_url: str | None = None,
) -> bytes:
    """Return `data`, a file of the type `mime`, with a manifest.

    The manifest states `actions`, the first with the IPTC digital `source_type`. `ingredient` is a file of the same type
    that this one was made from; the first action must then be c2pa.opened, else c2pa.created. With `remote_url`, the file
    refers to a manifest there and contains none.
    """
    import c2pa

    stated: list[dict[str, Any]] = [{"action": action} for action in actions]
    if source_type:
        stated[0]["digitalSourceType"] = SOURCE_TYPE + source_type
    if ingredient:
        stated[0]["parameters"] = {"ingredientIds": ["other"]}
    manifest = {
        "claim_generator_info": [{"name": "fakelab tests", "version": "1"}],
        "format": mime,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": stated}}],
    }
    settings = {"builder": {"thumbnail": {"enabled": False}}}
    with c2pa.Context.from_dict(settings) as context, c2pa.Builder(json.dumps(manifest), context=context) as builder:
        if ingredient:
            other = json.dumps({"title": "other", "relationship": "parentOf", "label": "other"})
            builder.add_ingredient(other, mime, io.BytesIO(ingredient))
        if remote_url:
            builder.set_no_embed()
            builder.set_remote_url(remote_url)
        written = io.BytesIO()
        who = c2pa.C2paSignerInfo(b"es256", identity.chain, identity.key, None)
        builder.sign(c2pa.Signer.from_info(who), mime, io.BytesIO(data), written)
    return written.getvalue()


def _certificate(name: str, key: Any, by: Any, *, ca: bool) -> bytes:
    """Return a certificate for the public part of `key`, signed with `by`, PEM, as C2PA demands of signers."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name("A root"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
        .add_extension(_usage(ca), critical=True)
    )
    if not ca:
        purpose = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(purpose, critical=False)
    return builder.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _name(common: str) -> Any:
    from cryptography import x509

    parts = ((x509.NameOID.ORGANIZATION_NAME, ISSUER), (x509.NameOID.COMMON_NAME, common))
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])


def _usage(ca: bool) -> Any:
    from cryptography import x509

    flags = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    rest = dict.fromkeys((*flags, "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **rest)
