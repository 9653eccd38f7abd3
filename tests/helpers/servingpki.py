"""A CA, servers and clients of TLS for tests: certificates of today, on the spot, as files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


class Pair(NamedTuple):
    certificate: Path
    key: Path


class ServingCa:
    """A CA that lives for an hour."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        basic = x509.BasicConstraints(ca=True, path_length=None)
        self.pem = self._signed(self._name, self._key.public_key(), (basic, True))

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *extensions: tuple[x509.ExtensionType, bool]
    ) -> bytes:
        now, hour = datetime.now(UTC), timedelta(hours=1)
        builder = x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number(), now - hour, now + hour)
        own, issuer = x509.SubjectKeyIdentifier.from_public_key(key), self._key.public_key()
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer)
        for extension, critical in (*extensions, (own, False), (authority, False)):
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def pair(self, folder: Path, name: str, *sans: x509.GeneralName, client: bool = False) -> Pair:
        """Certificate and key of `name` as files; a server's is for 127.0.0.1 as well."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        names = (*sans, *(() if client else (x509.IPAddress(ip_address("127.0.0.1")),)))
        extensions: list[tuple[x509.ExtensionType, bool]] = [(x509.ExtendedKeyUsage([usage]), False)]
        if names:
            extensions.append((x509.SubjectAlternativeName(names), False))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        found = Pair(folder / f"{name}.crt", folder / f"{name}.key")
        found.certificate.write_bytes(self._signed(subject, key.public_key(), *extensions))
        found.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return found
