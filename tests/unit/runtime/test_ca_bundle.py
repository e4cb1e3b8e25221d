"""CA bundle of an installation: S3 clients of operator and gateway accept a private CA besides the public ones."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import boto3
import pytest
from botocore.exceptions import ClientError, SSLError

from contentgen_gateway.settings import Settings as GatewaySettings
from contentgen_operator.settings import Settings
from contentgen_operator.worker_api.certificate_authority import issue, new_authority
from contentgen_runtime.ca_bundle import CombinedBundle, read_bundle
from contentgen_runtime.s3 import connect
from contentgen_runtime.stores import StoreSettings, s3_session

CA = new_authority(datetime.now(UTC)).certificate
OTHER = new_authority(datetime.now(UTC)).certificate


@pytest.fixture
def private_s3(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Endpoint of a server that answers 404, and its private CA."""

    class Missing(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    now = datetime.now(UTC)
    authority = new_authority(now)
    issued = issue(authority, "localhost", now, timedelta(days=1))
    (tmp_path / "authority.pem").write_bytes(authority.certificate)
    (tmp_path / "chain.pem").write_bytes(issued.chain + issued.key)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "chain.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Missing)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://localhost:{server.server_port}", tmp_path / "authority.pem"
    server.shutdown()
    server.server_close()


def accepted(path: Path) -> int:
    return len(ssl.create_default_context(cafile=str(path)).get_ca_certs())


@pytest.mark.parametrize(
    ("content", "certificates"),
    [
        (CA, 1),
        ("# Autoridad de Certificación\n".encode() + CA + b"# another\r\n" + OTHER, 2),
        (b"no certificate", None),
        (b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", None),
        (CA * 2000, None),
        (None, None),
    ],
    ids=["one", "comments", "text", "damaged", "too-large", "missing"],
)
def test_the_certificates_of_a_bundle(tmp_path: Path, content: bytes | None, certificates: int | None) -> None:
    if content is not None:
        (tmp_path / "ca.crt").write_bytes(content)
    pem = read_bundle(tmp_path / "ca.crt")
    assert (None if pem is None else pem.count("BEGIN")) == certificates


def test_a_changed_bundle_is_combined_again(tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_bytes(CA)
    bundle = CombinedBundle(file)
    before = accepted(bundle.path)
    file.write_bytes(b"half of a bund")
    bundle.refresh()
    assert accepted(bundle.path) == before
    file.write_bytes(CA + OTHER)
    bundle.refresh()
    assert accepted(bundle.path) == before + 1
    file.unlink()
    with pytest.raises(ValueError, match="CONTENTGEN_CA_FILE"):
        CombinedBundle(file)


@pytest.mark.parametrize("settings", [Settings, GatewaySettings])
def test_s3_with_a_private_ca(
    settings: type[StoreSettings], private_s3: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, ca = private_s3
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")
    with pytest.raises(SSLError):
        connect(boto3.session.Session(), "eu-central-1", endpoint).head_bucket(Bucket="assets")
    monkeypatch.setenv("CONTENTGEN_CA_FILE", str(ca))
    session, refreshed = s3_session(settings())
    with pytest.raises(ClientError, match="404"):
        connect(session, "eu-central-1", endpoint).head_bucket(Bucket="assets")
    assert len(refreshed) == 1
