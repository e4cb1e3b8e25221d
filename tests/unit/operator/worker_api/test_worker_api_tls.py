"""Certificate of the worker API: workers trust it in real handshakes, after restarts, renewals and a new CA."""

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from cryptography import x509
from fastapi import FastAPI, Request

from contentgen_contract.names import Step
from contentgen_contract.worker.orders import Progress
from contentgen_operator.clock import utc_now
from contentgen_operator.worker_api.certificate_authority import IssuedCertificate, issue, new_authority
from contentgen_operator.worker_api.tls import (
    CertificateTerm,
    KeptSecret,
    MountedFolder,
    ServingCertificate,
    UnusableCertificate,
    WorkerApiSettings,
    WorkerApiTls,
)
from contentgen_runtime.http_server.servers import tls_server
from contentgen_runtime.kube import Conflict
from contentgen_worker.worker_api import WorkerApiClient

HOST = "localhost"
URL = f"https://{HOST}:8443"
NOW = utc_now()
NAMES = {"ca.crt", "ca.key", "tls.crt", "tls.key"}


class Secret:
    """Secret with optimistic locking."""

    def __init__(self, **data: bytes) -> None:
        self.data = dict(data)
        self.version = 1
        self.writes = 0
        self.race: dict[str, bytes] = {}
        self.away = False

    async def get_secret_data(self, namespace: str, name: str) -> tuple[str, dict[str, bytes]]:
        assert (namespace, name) == ("ns", "tls")
        if self.away:
            raise aiohttp.ClientConnectionError("connection refused")
        return str(self.version), dict(self.data)

    async def patch_secret_data(self, _namespace: str, _name: str, version: str, data: dict[str, bytes]) -> None:
        if self.race:
            self.data, self.race = self.race, {}
            self.version += 1
        if version != str(self.version):
            raise Conflict("somebody else")
        self.data |= data
        self.version += 1
        self.writes += 1


def kept(secret: Secret, url: str = URL, **term: timedelta) -> KeptSecret:
    kube: Any = secret
    return KeptSecret(kube, "ns", "tls", url, CertificateTerm(**term))


async def got(secret: Secret, url: str = URL, **term: timedelta) -> ServingCertificate:
    return (await kept(secret, url, **term).current())[0]


def handshake(tmp_path: Path, issued: IssuedCertificate, ca: bytes, name: str = HOST) -> str:
    """Result of a handshake by a worker that trusts this CA."""
    chain, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    chain.write_bytes(issued.chain)
    key.write_bytes(issued.key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, key)
    client = ssl.create_default_context(cadata=ca.decode())
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    near, far = socket.socketpair()

    def serve() -> None:
        with suppress(OSError):  # the client went away
            server.wrap_socket(far, server_side=True).close()
        far.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(near, server_hostname=name):
            return "trusted"
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    finally:
        near.close()
        thread.join()


async def test_a_worker_trusts_it(tmp_path: Path) -> None:
    one, other = await got(Secret()), await got(Secret())
    assert handshake(tmp_path, one.issued, one.ca) == "trusted"
    assert handshake(tmp_path, one.issued, other.ca) != "trusted"
    assert handshake(tmp_path, one.issued, one.ca, "another.ns.svc") != "trusted"


async def test_certificate_is_kept_over_restarts() -> None:
    secret = Secret()
    first = await got(secret)
    assert await got(secret) == first
    assert (secret.writes, set(secret.data)) == (1, NAMES)


async def test_certificate_is_renewed_by_the_same_authority(tmp_path: Path) -> None:
    secret = Secret()
    first = await got(secret)
    assert await got(secret) == first
    # The passage of ninety days is simulated by requiring a longer remaining validity.
    renewed = await got(secret, lifetime=timedelta(days=120), renew_before=timedelta(days=91))
    assert renewed.issued != first.issued
    assert renewed.expires_at > first.expires_at
    assert renewed.ca == first.ca
    assert handshake(tmp_path, renewed.issued, first.ca) == "trusted"


async def test_a_shorter_lifetime_holds_at_once() -> None:
    secret = Secret()
    first = await got(secret)
    shorter = await got(secret, lifetime=timedelta(days=7), renew_before=timedelta(days=1))
    assert (shorter.expires_at < first.expires_at, shorter.ca == first.ca) == (True, True)
    assert await got(secret, lifetime=timedelta(days=7), renew_before=timedelta(days=1)) == shorter


async def test_other_host_gets_a_certificate_of_the_same_authority() -> None:
    secret = Secret()
    first = await got(secret)
    other = await got(secret, "https://other:8443")
    assert (other.issued.is_for("other"), other.issued.is_for(HOST), other.ca == first.ca) == (True, False, True)


async def test_new_authority_is_trusted_by_workers_with_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = Secret()
    first = await got(secret)
    later = NOW + timedelta(days=3650 - 100)
    monkeypatch.setattr("contentgen_operator.worker_api.tls.utc_now", lambda: later)
    second = await got(secret)
    assert second.ca != first.ca
    again = later + timedelta(days=80)
    monkeypatch.setattr("contentgen_operator.worker_api.tls.utc_now", lambda: again)
    third = await got(secret)
    assert (third.ca, third.issued != second.issued) == (second.ca, True)

    def trusts(issued: IssuedCertificate, ca: bytes, when: Any) -> bool:
        leaf, *between = x509.load_pem_x509_certificates(issued.chain)
        store = x509.verification.Store(x509.load_pem_x509_certificates(ca))
        verifier = x509.verification.PolicyBuilder().store(store).time(when)
        try:
            verifier.build_server_verifier(x509.DNSName(HOST)).verify(leaf, between)
        except x509.verification.VerificationError:
            return False
        return True

    for issued, when in ((second.issued, later), (third.issued, again)):
        assert trusts(issued, first.ca, when), "a worker of the old authority is cut off"
        assert trusts(issued, second.ca, when)
    assert not trusts(second.issued, new_authority(NOW).certificate, later)
    # OpenSSL, which workers use, checks against the real time, at which both CAs are valid.
    monkeypatch.setattr("contentgen_operator.worker_api.certificate_authority._AUTHORITY_LIFETIME", timedelta(days=100))
    monkeypatch.setattr("contentgen_operator.worker_api.tls.utc_now", utc_now)
    secret = Secret()
    first = await got(secret, lifetime=timedelta(days=40), renew_before=timedelta(days=10))
    second = await got(secret, lifetime=timedelta(days=60), renew_before=timedelta(days=50))
    assert second.ca != first.ca
    assert handshake(tmp_path, second.issued, first.ca) == "trusted"
    assert handshake(tmp_path, second.issued, second.ca) == "trusted"


@pytest.mark.parametrize("spoilt", sorted(NAMES))
@pytest.mark.parametrize(
    "content", [None, b"", b"no PEM", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
async def test_a_spoilt_secret_is_made_anew(tmp_path: Path, spoilt: str, content: bytes | None) -> None:
    secret = Secret()
    await got(secret)
    secret.data.pop(spoilt)
    if content is not None:
        secret.data[spoilt] = content
    found = await got(secret)
    assert handshake(tmp_path, found.issued, found.ca) == "trusted"
    assert await got(secret) == found


async def test_two_operators_at_once_agree() -> None:
    secret, other = Secret(), Secret()
    winner = await got(other)
    secret.race = dict(other.data)
    assert await got(secret) == winner
    assert secret.writes == 0


def test_a_renewal_that_would_never_end_is_refused() -> None:
    with pytest.raises(
        ValueError, match="worker_api_renew_before_seconds must be less than worker_api_certificate_seconds"
    ):
        WorkerApiSettings(certificate_seconds=100, renew_before_seconds=100)
    assert WorkerApiSettings(certificate_seconds=100, renew_before_seconds=99)


async def test_a_secret_that_keeps_changing_is_given_up() -> None:
    class Restless(Secret):
        async def patch_secret_data(self, *_: Any) -> None:
            raise Conflict("again")

    with pytest.raises(Conflict):
        await got(Restless())


# In a running server


@asynccontextmanager
async def served(tls: WorkerApiTls) -> AsyncIterator[int]:
    """Port of a server with this certificate."""
    app = FastAPI()

    @app.post("/v1/progress", status_code=204)
    async def progress(_: Request) -> None:
        return

    server = tls_server(app, 0, tls.context)
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(60):
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await asyncio.wait({task}, timeout=3)
        server.force_exit = True
        await task


async def serial_at(port: int, ca: str) -> int:
    """Serial number of the certificate that a new connection gets."""
    context = ssl.create_default_context(cadata=ca)
    _, writer = await asyncio.open_connection("localhost", port, ssl=context)
    found = x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
    writer.close()
    await writer.wait_closed()
    return found.serial_number


PROGRESS = Progress(step=Step.DOWNLOADING, fraction=0.5)


async def test_renewal_in_a_running_server_cuts_off_no_worker(tmp_path: Path) -> None:
    secret = Secret()
    tls = WorkerApiTls(kept(secret, lifetime=timedelta(seconds=3), renew_before=timedelta(seconds=2)))
    refresh_in = await tls.refresh()
    token = tmp_path / "token"
    token.write_text("x")
    serials: set[int] = set()
    async with served(tls) as port:
        ca = tls.ca  # CA of the pod since its start
        old = WorkerApiClient(f"https://localhost:{port}", ca, token)
        keeping = asyncio.create_task(tls.keep_fresh(refresh_in))
        with old:
            await asyncio.to_thread(old.report, PROGRESS)  # it stays connected
            first_ends, deadline = tls.expires_at, utc_now() + timedelta(seconds=60)
            while (len(serials) < 4 or utc_now() <= first_ends) and utc_now() < deadline:
                serials.add(await serial_at(port, ca))
                with WorkerApiClient(f"https://localhost:{port}", ca, token) as new:
                    await asyncio.to_thread(new.report, PROGRESS)
                await asyncio.to_thread(old.report, PROGRESS)
                assert tls.expires_at > utc_now()
                await asyncio.sleep(0.2)
        keeping.cancel()
        assert utc_now() > first_ends, "the first certificate has ended meanwhile"
    assert len(serials) >= 4
    assert tls.ca == ca


async def test_trouble_with_the_next_keeps_the_one_that_is_served(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contentgen_operator.worker_api.tls._LOOK_SECONDS", 0.2)
    secret = Secret()
    tls = WorkerApiTls(
        kept(secret, lifetime=timedelta(seconds=30), renew_before=timedelta(seconds=29, milliseconds=500))
    )
    refresh_in = await tls.refresh()
    first = tls.expires_at
    secret.away = True
    with caplog.at_level(logging.WARNING):
        keeping = asyncio.create_task(tls.keep_fresh(refresh_in))
        await asyncio.sleep(1.2)
        assert (tls.expires_at, keeping.done()) == (first, False)
        secret.away = False
        await asyncio.sleep(0.5)
        keeping.cancel()
    assert tls.expires_at > first
    assert "cannot be renewed: connection refused" in caplog.text


@pytest.mark.parametrize(("version", "fine"), [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")  # that it is deprecated is the point
async def test_older_tls_is_refused(version: ssl.TLSVersion, *, fine: bool) -> None:
    tls = WorkerApiTls(kept(Secret()))
    await tls.refresh()
    context = ssl.create_default_context(cadata=tls.ca)
    context.set_ciphers("ALL:@SECLEVEL=0")  # or OpenSSL would not even offer it
    context.minimum_version = context.maximum_version = version
    async with served(tls) as port:
        with nullcontext() if fine else pytest.raises((ssl.SSLError, ConnectionResetError)):  # an alert, or no more
            _, writer = await asyncio.open_connection("localhost", port, ssl=context)
            writer.close()


# Issued by others


def mount(folder: Path, ca: bytes, issued: IssuedCertificate) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in (("ca.crt", ca), ("tls.crt", issued.chain), ("tls.key", issued.key)):
        (folder / name).write_bytes(content)


async def test_a_mounted_certificate_is_followed(tmp_path: Path) -> None:
    authority = new_authority(NOW)
    one, two = (issue(authority, HOST, NOW, timedelta(days=n)) for n in (1, 2))
    mount(tmp_path / "tls", authority.certificate, one)
    tls = WorkerApiTls(MountedFolder(tmp_path / "tls", URL))
    assert await tls.refresh() <= 60
    async with served(tls) as port:
        assert await serial_at(port, tls.ca) == one.leaf.serial_number
        # Half of a change: the pair does not match, and the previous one stays in use.
        (tmp_path / "tls" / "tls.crt").write_bytes(two.chain)
        with pytest.raises(ssl.SSLError):
            await tls.refresh()
        assert await serial_at(port, tls.ca) == one.leaf.serial_number
        mount(tmp_path / "tls", authority.certificate, two)
        await tls.refresh()
        assert await serial_at(port, tls.ca) == two.leaf.serial_number
    assert tls.expires_at == two.expires_at


async def test_a_mounted_certificate_that_is_wrong_is_named(tmp_path: Path) -> None:
    authority = new_authority(NOW)
    folder = MountedFolder(tmp_path / "tls", URL)
    with pytest.raises(UnusableCertificate, match=r"ca.crt.*expected ca.crt, tls.crt and tls.key in PEM"):
        await folder.current()
    mount(tmp_path / "tls", authority.certificate, issue(authority, "another", NOW, timedelta(days=1)))
    with pytest.raises(UnusableCertificate, match="is not for localhost; add it to its dnsNames"):
        await folder.current()
    mount(tmp_path / "tls", b"", issue(authority, HOST, NOW, timedelta(days=1)))
    with pytest.raises(UnusableCertificate, match=r"expected ca\.crt"):
        await folder.current()


async def test_a_worker_of_another_authority_is_told(tmp_path: Path) -> None:
    """Control of the tests above: an untrusted certificate is refused."""
    tls = WorkerApiTls(kept(Secret()))
    await tls.refresh()
    context = ssl.create_default_context(cadata=new_authority(NOW).certificate.decode())
    async with served(tls) as port, httpx.AsyncClient(verify=context) as client:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.post(f"https://localhost:{port}/v1/progress")
    assert not (tmp_path / "token").exists()
