"""Certificate authority (CA) of the worker API, pure: a CA with a lifetime of years issues certificates for weeks.

A worker gets the CA certificate when its Job is created, so a new certificate of the same CA does not affect it. The CA
is renewed too: the old one also signs the new one, and that cross-signed certificate is served with the server's, so
workers that know only the old CA trust it.
"""

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from contentgen_contract.base import Value

_AUTHORITY_LIFETIME = timedelta(days=3650)
_CLOCKS_DIFFER = timedelta(hours=1)


class CertificateAuthority(Value):
    """PEM texts: CA certificate and its key."""

    certificate: bytes
    key: bytes

    @property
    def expires_at(self) -> datetime:
        """End of validity."""
        return x509.load_pem_x509_certificate(self.certificate).not_valid_after_utc

    @property
    def is_whole(self) -> bool:
        """True if certificate and key are readable and match."""
        try:
            certificate, key = _pair(self.certificate, self.key)
        except (ValueError, TypeError):
            return False
        return certificate.public_key() == key.public_key()


class IssuedCertificate(Value):
    """PEM texts: server certificate with intermediate certificates, and its key."""

    chain: bytes
    key: bytes

    @property
    def leaf(self) -> x509.Certificate:
        """First certificate of the chain."""
        return x509.load_pem_x509_certificate(self.chain)

    @property
    def expires_at(self) -> datetime:
        """End of validity of the server certificate."""
        return self.leaf.not_valid_after_utc

    def is_for(self, host: str) -> bool:
        """True if it is valid for a host. Raises ValueError if it is not a certificate."""
        names = self.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return host in names.get_values_for_type(x509.DNSName)

    def is_of(self, authority: CertificateAuthority) -> bool:
        """True if certificate and key are readable and match, and this CA signed the certificate."""
        try:
            leaf, key = _pair(self.chain, self.key)
            leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate))
        except (ValueError, TypeError, InvalidSignature):
            return False
        return leaf.public_key() == key.public_key()


def new_authority(now: datetime) -> CertificateAuthority:
    """New self-signed CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"contentgen worker API CA {now:%Y-%m-%d}")
    certificate = _signing(name, key.public_key(), now, now + _AUTHORITY_LIFETIME, below=1)
    signed = certificate.issuer_name(name).sign(key, hashes.SHA256())
    return CertificateAuthority(certificate=_pem(signed), key=_key_pem(key))


def vouch(old: CertificateAuthority, new: CertificateAuthority, now: datetime) -> bytes:
    """Certificate of the new CA, signed by the old one."""
    issuer, key = _pair(old.certificate, old.key)
    subject = x509.load_pem_x509_certificate(new.certificate)
    public = subject.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)  # noqa: S101 - ours are
    certificate = _signing(subject.subject, public, now, issuer.not_valid_after_utc, below=0)
    certificate = certificate.issuer_name(issuer.subject).add_extension(_by(issuer), critical=False)
    return _pem(certificate.sign(key, hashes.SHA256()))


def issue(
    authority: CertificateAuthority, host: str, now: datetime, lifetime: timedelta, between: bytes = b""
) -> IssuedCertificate:
    """Certificate for a host; `between` are the intermediate certificates served with it."""
    issuer, issuer_key = _pair(authority.certificate, authority.key)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(_name("contentgen worker API"), key.public_key(), now, now + lifetime)
        .issuer_name(issuer.subject)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_by(issuer), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return IssuedCertificate(chain=_pem(certificate) + between, key=_key_pem(key))


def between_of(chain: bytes, now: datetime) -> bytes:
    """Valid intermediate certificates of a chain."""
    others = x509.load_pem_x509_certificates(chain)[1:]
    return b"".join(_pem(certificate) for certificate in others if certificate.not_valid_after_utc > now)


def _pair(certificate: bytes, key: bytes) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    private = serialization.load_pem_private_key(key, None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise TypeError("the key is not an elliptic-curve key")
    return x509.load_pem_x509_certificate(certificate), private


def _signing(
    name: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, until: datetime, *, below: int
) -> x509.CertificateBuilder:
    return (
        _builder(name, key, now, until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=below), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(until)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _by(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
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
