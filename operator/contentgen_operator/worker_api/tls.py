"""TLS certificate of the worker API: its storage, and its replacement while the server runs.

It is stored in one named Secret and renewed there, so that workers started before a restart or a renewal still trust
the server; or it is issued by others (cert-manager) and mounted as a folder, whose changes are followed.
"""

import asyncio
import logging
import ssl
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from cryptography import x509
from pydantic import Field, model_validator

from contentgen_contract.base import Value
from contentgen_operator.clock import utc_now
from contentgen_operator.kube.api import Kube
from contentgen_operator.worker_api.certificate_authority import (
    CertificateAuthority,
    IssuedCertificate,
    between_of,
    issue,
    new_authority,
    vouch,
)
from contentgen_runtime.kube import API_ERRORS, Conflict, explain

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 60.0
_DAY = 86400
CA, CA_KEY, CHAIN, KEY = "ca.crt", "ca.key", "tls.crt", "tls.key"


class UnusableCertificate(Exception):
    """The certificate found cannot be served; the message says why."""


class ServingCertificate(Value):
    """Certificate to serve, and the PEM text of the CA that workers trust."""

    ca: bytes
    issued: IssuedCertificate

    @property
    def expires_at(self) -> datetime:
        """End of validity."""
        return self.issued.expires_at


class WorkerApiSettings(Value):
    """Settings of the worker API."""

    url: str = "https://contentgen-worker-api.contentgen.svc:8443"
    port: int = 8443
    service: str = Field("", description="Service whose endpoint the leader writes; empty: the Service has a selector.")
    secret: str = "contentgen-worker-api-tls"  # noqa: S105 - a Secret's name
    tls_folder: Path | None = Field(None, description="Folder with a certificate that is issued by others.")
    certificate_seconds: int = Field(90 * _DAY, gt=0, le=825 * _DAY)
    renew_before_seconds: int = Field(30 * _DAY, ge=0)

    @model_validator(mode="after")
    def _renews_in_time(self) -> "WorkerApiSettings":
        if self.renew_before_seconds >= self.certificate_seconds:
            raise ValueError("worker_api_renew_before_seconds must be less than worker_api_certificate_seconds")
        return self

    @property
    def term(self) -> "CertificateTerm":
        """Term of our own certificates."""
        return CertificateTerm(
            lifetime=timedelta(seconds=self.certificate_seconds),
            renew_before=timedelta(seconds=self.renew_before_seconds),
        )


class CertificateTerm(Value):
    """Lifetime of our own certificates, and how long before the end they are renewed."""

    lifetime: timedelta = timedelta(days=90)
    renew_before: timedelta = timedelta(days=30)


class CertificateSource(Protocol):
    """Source of the certificate."""

    async def current(self) -> tuple[ServingCertificate, datetime]:
        """Certificate to serve, and the latest time of the next check."""
        ...


class KeptSecret:
    """Our own Secret, in which a certificate is issued and renewed."""

    def __init__(self, kube: Kube, namespace: str, name: str, worker_api_url: str, term: CertificateTerm) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._host = _host(worker_api_url)
        self._term = term

    async def current(self) -> tuple[ServingCertificate, datetime]:
        """Stored certificate, or a new one if that is not usable. Concurrent operators agree on one."""
        for _ in range(5):
            version, data = await self._kube.get_secret_data(self._namespace, self._name)
            now = utc_now()
            wanted = renewed(data, self._host, now, self._term)
            try:
                if wanted != data:
                    await self._kube.patch_secret_data(self._namespace, self._name, version, wanted)
            except Conflict:
                continue
            kept = ServingCertificate(ca=wanted[CA], issued=IssuedCertificate(chain=wanted[CHAIN], key=wanted[KEY]))
            return kept, kept.expires_at - self._term.renew_before
        raise Conflict(f"Secret {self._namespace}/{self._name} keeps changing")


class MountedFolder:
    """Files that others renew: ca.crt, tls.crt, tls.key, as cert-manager names them."""

    def __init__(self, folder: Path, worker_api_url: str) -> None:
        self._folder = folder
        self._host = _host(worker_api_url)

    async def current(self) -> tuple[ServingCertificate, datetime]:
        """Certificate in the folder. Raises UnusableCertificate."""
        try:
            ca, chain, key = ((self._folder / name).read_bytes() for name in (CA, CHAIN, KEY))
            x509.load_pem_x509_certificates(ca)
            found = ServingCertificate(ca=ca, issued=IssuedCertificate(chain=chain, key=key))
            if not found.issued.is_for(self._host):
                raise UnusableCertificate(f"{self._folder / CHAIN} is not for {self._host}; add it to its dnsNames")
        except (OSError, ValueError) as error:
            text = (
                f"{self._folder}: {error}; expected {CA}, {CHAIN} and {KEY} in PEM, as of a CA issuer of cert-manager"
            )
            raise UnusableCertificate(text) from error
        return found, found.expires_at


class WorkerApiTls:
    """Certificate in use. One SSL context lives as long as the server: a change affects later handshakes, and no open
    connection.
    """

    def __init__(self, source: CertificateSource) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._source = source
        self._served: ServingCertificate | None = None

    @classmethod
    def of(cls, settings: WorkerApiSettings, kube: Kube, namespace: str) -> "WorkerApiTls":
        """Certificate of the mounted folder, or of the operator's own CA."""
        if settings.tls_folder is not None:
            return cls(MountedFolder(settings.tls_folder, settings.url))
        return cls(KeptSecret(kube, namespace, settings.secret, settings.url, settings.term))

    @property
    def ca(self) -> str:
        """PEM of the CA that newly started workers must trust."""
        return self._known.ca.decode()

    @property
    def expires_at(self) -> datetime:
        """End of validity of the certificate in use."""
        return self._known.expires_at

    @property
    def _known(self) -> ServingCertificate:
        assert self._served is not None, "refresh() comes first"  # noqa: S101 - an order of calls, not a state
        return self._served

    async def refresh(self) -> float:
        """Serve the current certificate of the source; returns the seconds until the next check."""
        found, due = await self._source.current()
        if found != self._served:
            _load(
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), found.issued
            )  # a mismatched pair would make the context unusable
            _load(self.context, found.issued)
            self._served = found
            _log.info("the worker API's certificate is valid until %s", found.expires_at.isoformat())
        return min(max((due - utc_now()).total_seconds(), 0.5), _LOOK_SECONDS)

    async def keep_fresh(self, seconds: float) -> None:
        """Refresh until cancelled. After an error the certificate in use stays."""
        while True:
            await asyncio.sleep(seconds)
            try:
                seconds = await self.refresh()
            except (UnusableCertificate, ssl.SSLError, Conflict, *API_ERRORS) as error:
                seconds = _LOOK_SECONDS
                _log.warning(
                    "the worker API's certificate, valid until %s, cannot be renewed: %s",
                    self.expires_at,
                    explain(error),
                )


def renewed(data: dict[str, bytes], host: str, now: datetime, term: CertificateTerm) -> dict[str, bytes]:
    """Data that the Secret should have: unchanged while its certificate is usable."""
    authority = CertificateAuthority(certificate=data.get(CA, b""), key=data.get(CA_KEY, b""))
    issued = IssuedCertificate(chain=data.get(CHAIN, b""), key=data.get(KEY, b""))
    if not authority.is_whole:
        return _kept(new_authority(now), host, now, term)
    known = issued.is_of(authority)
    # One with a longer validity was issued before the setting was changed.
    if known and issued.is_for(host) and now + term.renew_before < issued.expires_at <= now + term.lifetime:
        return data
    between = between_of(issued.chain, now) if known else b""
    if authority.expires_at > now + 2 * term.lifetime:
        return _kept(authority, host, now, term, between)
    younger = new_authority(now)
    return _kept(younger, host, now, term, vouch(authority, younger, now) + between)


def _kept(
    authority: CertificateAuthority, host: str, now: datetime, term: CertificateTerm, between: bytes = b""
) -> dict[str, bytes]:
    made = issue(authority, host, now, term.lifetime, between)
    return {CA: authority.certificate, CA_KEY: authority.key, CHAIN: made.chain, KEY: made.key}


def _load(context: ssl.SSLContext, issued: IssuedCertificate) -> None:
    """Load a certificate into a context through temporary files: Python's ssl reads files only."""
    with tempfile.TemporaryDirectory() as folder:
        chain, key = Path(folder, CHAIN), Path(folder, KEY)
        chain.write_bytes(issued.chain)
        key.touch(mode=0o600)
        key.write_bytes(issued.key)
        context.load_cert_chain(chain, key)


def _host(worker_api_url: str) -> str:
    return urlsplit(worker_api_url).hostname or "localhost"
