"""The desk's certificate: workers trust it over a real handshake, and it survives a restart."""

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from contentgen_operator.desk_tls import DeskCertificate, desk_certificate, make_certificate
from contentgen_operator.kube import Conflict

HOST = "contentgen-desk.ns.svc"
NOW = datetime.now(UTC)


class Secret:
    """The one Secret, with optimistic locking."""

    def __init__(self, **data: bytes) -> None:
        self.data = dict(data)
        self.version = 1
        self.writes = 0
        self.race: DeskCertificate | None = None

    async def get_secret_data(self, namespace: str, name: str) -> tuple[str, dict[str, bytes]]:
        assert (namespace, name) == ("ns", "tls")
        return str(self.version), dict(self.data)

    async def patch_secret_data(self, _namespace: str, _name: str, version: str, data: dict[str, bytes]) -> None:
        if self.race is not None:
            other, self.race = self.race, None
            self.data = {"ca.crt": other.ca, "tls.crt": other.certificate, "tls.key": other.key}
            self.version += 1
        if version != str(self.version):
            raise Conflict("somebody else")
        self.data |= data
        self.version += 1
        self.writes += 1


async def got(secret: Secret, url: str = f"https://{HOST}:8443") -> DeskCertificate:
    kube: Any = secret
    return await desk_certificate(kube, "ns", "tls", url)


def handshake(tmp_path: Path, certificate: DeskCertificate, ca: bytes, name: str) -> str:
    chain, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    chain.write_bytes(certificate.certificate)
    key.write_bytes(certificate.key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, key)
    client = ssl.create_default_context(cadata=ca.decode())
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    near, far = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(far, server_side=True).close()
        except OSError:  # the client went away
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


def test_a_worker_trusts_it(tmp_path: Path) -> None:
    one, other = make_certificate(HOST, NOW), make_certificate(HOST, NOW)
    assert handshake(tmp_path, one, one.ca, HOST) == "trusted"
    assert handshake(tmp_path, one, other.ca, HOST) != "trusted"
    assert handshake(tmp_path, one, one.ca, "another.ns.svc") != "trusted"


async def test_it_is_kept_over_restarts() -> None:
    secret = Secret()
    first = await got(secret)
    assert await got(secret) == first
    assert secret.writes == 1


async def test_it_is_made_anew_for_another_host_and_before_its_end() -> None:
    secret = Secret()
    first = await got(secret)
    assert await got(secret, "https://other:8443") != first
    old = make_certificate(HOST, NOW - timedelta(days=340))
    assert not old.serves(HOST, NOW)
    aged = Secret(**{"ca.crt": old.ca, "tls.crt": old.certificate, "tls.key": old.key})
    assert await got(aged) != old


async def test_two_operators_at_once_agree() -> None:
    secret = Secret()
    secret.race = make_certificate(HOST, NOW)
    winner = secret.race
    assert await got(secret) == winner
    assert secret.writes == 0


async def test_a_secret_that_keeps_changing_is_given_up() -> None:
    class Restless(Secret):
        async def patch_secret_data(self, *_: Any) -> None:
            raise Conflict("again")

    with pytest.raises(Conflict):
        await got(Restless())
