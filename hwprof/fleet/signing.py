"""The authority of a fleet: a key that signs certificates (ECDSA on P-256, SHA-256)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True, slots=True)
class Authority:
    """Both parts of it. The key stays on the machine that made it."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls, name: str, start: datetime, end: datetime) -> Self:
        key, subject = ec.generate_private_key(ec.SECP256R1()), _name(name)
        builder = _builder(subject, subject, key.public_key(), start, end)
        limits = x509.BasicConstraints(ca=True, path_length=0)
        return cls(key, builder.add_extension(limits, critical=True).sign(key, hashes.SHA256()))

    @classmethod
    def read(cls, key: bytes, certificate: bytes) -> Self:
        """Raises ValueError for texts that are not a key and a certificate."""
        found = serialization.load_pem_private_key(key, None)
        if not isinstance(found, ec.EllipticCurvePrivateKey):
            raise ValueError("it is not a key that hwprof made")
        return cls(found, x509.load_pem_x509_certificate(certificate))

    def signed(self, name: str, start: datetime, end: datetime) -> tuple[bytes, bytes]:
        """A new key and its certificate, for both sides of a connection: each part of a fleet calls the others."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(name), self.certificate.subject, key.public_key(), start, end)
        both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        certificate = builder.add_extension(both, critical=False).sign(self.key, hashes.SHA256())
        return _private(key), certificate.public_bytes(serialization.Encoding.PEM)

    def texts(self) -> tuple[bytes, bytes]:
        """Its key and its certificate, as `read` takes them."""
        return _private(self.key), self.certificate.public_bytes(serialization.Encoding.PEM)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), start, end)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )  # fmt: skip
