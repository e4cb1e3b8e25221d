"""The desk's certificate: made at the first start, and kept in one named Secret, so that workers which were started
before a restart of the operator still trust the desk after it.
"""

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from contentgen_contract.base import Value
from contentgen_operator.kube import Conflict, Kube

_LIFETIME = timedelta(days=365)
_RENEW_BEFORE = timedelta(days=30)


class DeskCertificate(Value):
    """PEM texts; `ca` is what workers are given."""

    ca: bytes
    certificate: bytes
    key: bytes

    def serves(self, host: str, now: datetime) -> bool:
        """Whether it is made for this host and good for a while."""
        certificate = x509.load_pem_x509_certificate(self.certificate)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return host in names.get_values_for_type(x509.DNSName) and certificate.not_valid_after_utc - _RENEW_BEFORE > now


async def desk_certificate(kube: Kube, namespace: str, secret: str, desk_url: str) -> DeskCertificate:
    """The kept certificate, or a new one where there is none that serves."""
    host = urlsplit(desk_url).hostname or "localhost"
    for _ in range(5):
        version, data = await kube.get_secret_data(namespace, secret)
        if {"ca.crt", "tls.crt", "tls.key"} <= data.keys():
            kept = DeskCertificate(ca=data["ca.crt"], certificate=data["tls.crt"], key=data["tls.key"])
            if kept.serves(host, datetime.now(UTC)):
                return kept
        made = make_certificate(host, datetime.now(UTC))
        try:
            filled = {"ca.crt": made.ca, "tls.crt": made.certificate, "tls.key": made.key}
            await kube.patch_secret_data(namespace, secret, version, filled)
        except Conflict:
            continue
        return made
    raise Conflict(f"Secret {namespace}/{secret} keeps changing")


def make_certificate(host: str, now: datetime) -> DeskCertificate:
    """A CA of its own, whose key is thrown away, and one certificate."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "contentgen desk CA")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "contentgen desk")])
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    certificate = (
        _builder(name, ca_name, key.public_key(), now)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return DeskCertificate(
        ca=ca.public_bytes(serialization.Encoding.PEM),
        certificate=certificate.public_bytes(serialization.Encoding.PEM),
        key=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks of nodes differ
        .not_valid_after(now + _LIFETIME)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
