"""Signatures of messages to subscribers, with a certificate of trimtab's own that it serves at SigningCertURL.

Source: SNS developer guide, "Verifying the signatures of Amazon SNS messages": RSA PKCS #1 v1.5 over SHA1
(SignatureVersion 1) or SHA256 (2).
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trimtab.control.topics.envelopes import string_to_sign
from trimtab.files import write_whole

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

CERTIFICATE_PATH: Final = "/SimpleNotificationService-"  # and the certificate's digest, `.pem`
_YEARS: Final = 20
_REMEMBERED: Final = 64  # signatures


class Signer:
    """Signs with the key in `file`, which is made when it is first needed (some 100 ms)."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._key: RSAPrivateKey | None = None
        self._certificate = b""
        # All subscribers of a topic are sent the same: it is signed once.
        self._signature = lru_cache(_REMEMBERED)(self._signed)

    def sign(self, members: dict[str, Any], *, version: str, base_url: str) -> dict[str, Any]:
        """The message with its signature, and where its certificate is."""
        return {
            **members,
            "SignatureVersion": version,
            "Signature": self._signature(version, string_to_sign(members)),
            "SigningCertURL": base_url + self.path,
        }

    def _signed(self, version: str, text: bytes) -> str:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        algorithm = hashes.SHA256() if version == "2" else hashes.SHA1()
        return base64.b64encode(self._loaded().sign(text, padding.PKCS1v15(), algorithm)).decode("ascii")

    @property
    def path(self) -> str:
        """Of the certificate, below the server's URL."""
        self._loaded()
        return f"{CERTIFICATE_PATH}{hashlib.sha256(self._certificate).hexdigest()[:32]}.pem"

    @property
    def certificate(self) -> bytes:
        """PEM."""
        self._loaded()
        return self._certificate

    def _loaded(self) -> RSAPrivateKey:
        if self._key is None:
            if not self._file.exists():
                _make(self._file)
            self._key, self._certificate = _read(self._file)
        return self._key


def _read(file: Path) -> tuple[RSAPrivateKey, bytes]:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    text = file.read_bytes()
    key = load_pem_private_key(text, password=None)
    if not isinstance(key, RSAPrivateKey):
        raise ValueError(f"{file} holds no RSA key; remove it, and another is made.")
    return key, text[text.index(b"-----BEGIN CERTIFICATE-----") :]


def _make(file: Path) -> None:
    """A new key with its certificate, owner-readable, there whole or not at all."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "trimtab notices")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365 * _YEARS))
        .sign(key, hashes.SHA256())
    )
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
    write_whole(file, text, mode=0o600)
