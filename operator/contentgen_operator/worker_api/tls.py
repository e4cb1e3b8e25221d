"""The desk's certificate while it is in use: where it is kept, and how a running desk changes over to a newer one.

It is kept in one named Secret and renewed there, so workers that were started before a restart or a renewal still
trust the desk after it; or it is somebody else's (cert-manager's), mounted as a folder, and its changes are followed.
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
CA, CA_KEY, CHAIN, KEY = "ca.crt", "ca.key", "tls.crt", "tls.key"


class UnusableCertificate(Exception):
    """What was found can't be served; the message says what is wrong."""


class ServingCertificate(Value):
    """What is served, and the PEM text of the authority that workers are given."""

    ca: bytes
    issued: IssuedCertificate

    @property
    def expires_at(self) -> datetime:
        """When it ends."""
        return self.issued.expires_at


class CertificateTerm(Value):
    """How long a certificate of ours is good, and how long before its end the next one is made."""

    lifetime: timedelta = timedelta(days=90)
    renew_before: timedelta = timedelta(days=30)


class CertificateSource(Protocol):
    """Where the certificate comes from."""

    async def current(self) -> tuple[ServingCertificate, datetime]:
        """The one to serve, and when the next one is due at the latest."""
        ...


class KeptSecret:
    """A Secret of our own, in which a certificate is made and renewed."""

    def __init__(self, kube: Kube, namespace: str, name: str, desk_url: str, term: CertificateTerm) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._host = _host(desk_url)
        self._term = term

    async def current(self) -> tuple[ServingCertificate, datetime]:
        """The kept certificate, or a new one where there is none that serves. Two operators agree on one."""
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
    """Files that somebody else renews: ca.crt, tls.crt, tls.key, as cert-manager names them."""

    def __init__(self, folder: Path, desk_url: str) -> None:
        self._folder = folder
        self._host = _host(desk_url)

    async def current(self) -> tuple[ServingCertificate, datetime]:
        """What is there now. Raises UnusableCertificate."""
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
    """The certificate that is served now. One SSL context lives as long as the desk: a change concerns the
    handshakes after it, and no connection.
    """

    def __init__(self, source: CertificateSource) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._source = source
        self._served: ServingCertificate | None = None

    @property
    def ca(self) -> str:
        """What workers that are started now have to trust."""
        return self._known.ca.decode()

    @property
    def expires_at(self) -> datetime:
        """When the served certificate ends."""
        return self._known.expires_at

    @property
    def _known(self) -> ServingCertificate:
        assert self._served is not None, "refresh() comes first"  # noqa: S101 - an order of calls, not a state
        return self._served

    async def refresh(self) -> float:
        """Serve what the source has now; in how many seconds to look again."""
        found, due = await self._source.current()
        if found != self._served:
            _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), found.issued)  # a pair that does not fit spoils a context
            _load(self.context, found.issued)
            self._served = found
            _log.info("the desk's certificate is good until %s", found.expires_at.isoformat())
        return min(max((due - utc_now()).total_seconds(), 0.5), _LOOK_SECONDS)

    async def keep_fresh(self, seconds: float) -> None:
        """Refresh until cancelled. The served one stays where there is trouble with the next."""
        while True:
            await asyncio.sleep(seconds)
            try:
                seconds = await self.refresh()
            except (UnusableCertificate, ssl.SSLError, Conflict, *API_ERRORS) as error:
                seconds = _LOOK_SECONDS
                _log.warning(
                    "the desk's certificate, good until %s, can't be renewed: %s", self.expires_at, explain(error)
                )


def renewed(data: dict[str, bytes], host: str, now: datetime, term: CertificateTerm) -> dict[str, bytes]:
    """What the Secret should hold: itself, as long as its certificate serves."""
    authority = CertificateAuthority(certificate=data.get(CA, b""), key=data.get(CA_KEY, b""))
    issued = IssuedCertificate(chain=data.get(CHAIN, b""), key=data.get(KEY, b""))
    if not authority.is_whole:
        return _kept(new_authority(now), host, now, term)
    known = issued.is_of(authority)
    # One that is good for longer was made before the setting was changed.
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
    """Python's ssl reads certificates from files only, so they exist for a moment."""
    with tempfile.TemporaryDirectory() as folder:
        chain, key = Path(folder, CHAIN), Path(folder, KEY)
        chain.write_bytes(issued.chain)
        key.touch(mode=0o600)
        key.write_bytes(issued.key)
        context.load_cert_chain(chain, key)


def _host(desk_url: str) -> str:
    return urlsplit(desk_url).hostname or "localhost"
