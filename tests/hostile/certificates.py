"""Certificates, good and bad, by one authority that nobody but a test trusts; and what listens with them."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Signs certificates.

    Args:
        folder: Where they are written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self._own = self._signed(self._name, self._key.public_key(), x509.BasicConstraints(True, None), days=2)

    def trusted(self) -> ssl.SSLContext:
        """What a sender trusts that knows this authority alone."""
        text = self._own.public_bytes(serialization.Encoding.PEM).decode()
        return ssl.create_default_context(cadata=text)

    def server(self, host: str, *, days: int = 2, trusted: bool = True) -> ssl.SSLContext:
        """A server whose certificate for ``host`` ends in ``days``; without ``trusted`` it has signed that itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        issued = self._signed(subject, key.public_key(), names, days=days, own=None if trusted else key)
        file = self._folder / f"{host}{days}{trusted}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(private + issued.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _signed(
        self,
        subject: x509.Name,
        public: ec.EllipticCurvePublicKey,
        extension: x509.ExtensionType,
        *,
        days: int,
        own: ec.EllipticCurvePrivateKey | None = None,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        certificate = x509.CertificateBuilder(
            issuer_name=subject if own else self._name, subject_name=subject, public_key=public,
            serial_number=x509.random_serial_number(), not_valid_before=now - timedelta(days=9),
            not_valid_after=now + timedelta(days=days),
        )  # fmt: skip
        return certificate.add_extension(extension, critical=False).sign(own or self._key, hashes.SHA256())
