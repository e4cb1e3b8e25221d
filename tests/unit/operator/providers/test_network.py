"""Proxy and private CA: used by every call to a provider, and by no call inside the cluster."""

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import proxy_bypass

import pytest

from contentgen_operator.providers.assemblyai import AssemblyAI
from contentgen_operator.providers.base import Busy, Provider
from contentgen_operator.providers.fal import Fal
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.providers.network import reach_cluster_directly, trusted_cas
from contentgen_operator.providers.pricing import FalPrices
from contentgen_operator.state.provider_requests import Call, RequestState, Search, StoredObject
from contentgen_operator.worker_api.certificate_authority import issue, new_authority

# The SDK of AssemblyAI uses pydantic's older names.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")

HOST = "provider.example"  # known to the proxy alone
MODEL = "fal-ai/flux-lora"
NAMES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
NOW = datetime(2024, 11, 22, tzinfo=UTC)


@dataclass
class Company:
    """A provider with a certificate of the company's CA, behind the company's proxy."""

    ca: Path
    key: KeyFile
    connects: list[str] = field(default_factory=list)
    """What the proxy was asked to connect to."""
    requests: list[str] = field(default_factory=list)
    received: int = 0
    """Bytes that arrived inside of TLS."""
    opened: list[Fal] = field(default_factory=list)
    proxy: str = ""
    provider: str = ""

    def providers(self, ca: Path | None) -> list[tuple[Provider, Call]]:
        url, tls = f"https://{HOST}", trusted_cas(ca)
        training = Call(provider="fal", model=MODEL, arguments={"seed": 1}, correlation_key="")
        sound = Call(provider="assemblyai", model="", arguments={"audio_url": "https://s3/a.flac"}, correlation_key="")
        self.opened.append(Fal(self.key, url, url, tls=tls))
        return [(self.opened[-1], training), (AssemblyAI(self.key, url, tls=tls), sound)]

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await self._head(reader):
                self.requests.append(head.splitlines()[0].rpartition(" ")[0])
                length = next((int(x.partition(":")[2]) for x in head.lower().splitlines() if "content-length" in x), 0)
                self.received += len(await reader.readexactly(length))
                body = json.dumps(REPLY).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        except ssl.SSLError:
            pass  # the client does not trust us
        finally:
            writer.close()

    async def _head(self, reader: asyncio.StreamReader) -> str:
        head = b""
        while content := await reader.readline():
            self.received += len(content)
            head += content
            if content == b"\r\n":
                break
        return head.decode()

    async def tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.connects.append(head.splitlines()[0])
        there, to = await asyncio.open_connection("127.0.0.1", int(self.provider.rpartition(":")[2]))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(copied(reader, to), copied(there, writer))


async def copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while content := await reader.read(65536):
            writer.write(content)
    except ConnectionError:
        pass
    finally:
        writer.close()


REPLY: dict[str, Any] = {
    "request_id": "r1",
    "id": "r1",
    "status": "completed",
    "audio_url": "https://s3/a.flac",
    "items": [],
    "transcripts": [],
    "page_details": {"prev_url": None},
    "prices": [{"endpoint_id": MODEL, "unit_price": 0.5, "unit": "images", "currency": "USD"}],
}


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


@pytest.fixture
async def company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Company]:
    now = datetime.now(UTC)
    authority = new_authority(now)
    issued = issue(authority, HOST, now, timedelta(days=1))
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    (tmp_path / "chain.pem").write_bytes(issued.chain + issued.key)
    (tmp_path / "key").write_text("k3y")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "chain.pem")
    made = Company(ca=tmp_path / "ca.pem", key=KeyFile(str(tmp_path / "key")))
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    async with AsyncExitStack() as stack:
        made.provider = await stack.enter_async_context(listening(made.answer, tls))
        made.proxy = await stack.enter_async_context(listening(made.tunnel))
        monkeypatch.setenv("HTTPS_PROXY", f"http://{made.proxy}")
        yield made
        for fal in made.opened:
            await fal.close()


async def nothing() -> None:
    """Before the request."""


def search_for(call: Call) -> Search:
    stored = call.model_copy(update={"arguments": {"audio_url": StoredObject(key="a.flac")}})
    return Search(call=stored, sent_after=NOW, sent_before=NOW)


async def test_every_call_goes_through_the_proxy(company: Company) -> None:
    for provider, call in company.providers(company.ca):
        assert await provider.submit(call, nothing) == "r1"
        assert (await provider.find(search_for(call))).request_id is None
        assert (await provider.poll(call.model, "r1")).state is RequestState.SUCCEEDED
    assert company.requests == [
        f"POST /{MODEL}",
        "GET /v1/models/requests/by-endpoint?" + company.requests[1].partition("?")[2],
        "GET /v1/models/requests/by-endpoint?" + company.requests[2].partition("?")[2],
        f"GET /{MODEL}/requests/r1/status?logs=false",
        f"GET /{MODEL}/requests/r1",
        "POST /v2/transcript",
        "GET /v2/transcript?limit=200",
        "GET /v2/transcript/r1",
    ]
    assert set(company.connects) == {f"CONNECT {HOST}:443 HTTP/1.1"}


async def test_prices_are_asked_through_the_proxy(company: Company) -> None:
    prices = FalPrices(company.key, f"https://{HOST}", timeout=60, tls=trusted_cas(company.ca))
    found = await prices.price(MODEL)
    await prices.close()
    assert (found.problem, found.price and found.price.micros) == ("", 500_000)
    assert company.connects == [f"CONNECT {HOST}:443 HTTP/1.1"]


@pytest.mark.parametrize("payer", [0, 1], ids=["fal", "assemblyai"])
async def test_payment_behind_a_proxy_can_stop_before_the_first_byte(company: Company, payer: int) -> None:
    """The CONNECT is a request as well, and comes before TLS: it is not the one that is paid."""

    async def stop() -> None:
        assert len(company.connects) == 1
        raise RuntimeError("taken")

    provider, call = company.providers(company.ca)[payer]
    with pytest.raises(RuntimeError, match="taken"):
        await provider.submit(call, stop)
    assert (company.received, company.requests) == (0, [])
    begun = []

    async def note() -> None:
        begun.append(company.received)

    await provider.submit(call, note)
    assert begun == [0]
    assert len(company.requests) == 1


@pytest.mark.parametrize("payer", [0, 1], ids=["fal", "assemblyai"])
async def test_missing_certificate_or_proxy_refusal_sends_nothing(
    company: Company, payer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise AssertionError("not connected")

    provider, call = company.providers(None)[payer]
    with pytest.raises(Busy, match="could not be reached"):
        await provider.submit(call, fail)
    assert company.received == 0

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with listening(refuse) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@{proxy}")
        provider, call = company.providers(company.ca)[payer]
        with pytest.raises(Busy, match="407") as caught:
            await provider.submit(call, fail)
    assert "secret" not in str(caught.value)


async def test_an_exempted_host_is_reached_directly(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", HOST)
    for provider, call in company.providers(company.ca):
        with pytest.raises(Busy):
            await provider.submit(call, nothing)  # this machine does not know it
    assert company.connects == []


async def test_the_bundle_of_the_environment_is_trusted(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(company.ca))
    for provider, call in company.providers(None):
        assert await provider.submit(call, nothing) == "r1"


def test_cas_of_a_file_are_added_to_the_public_ones(company: Company) -> None:
    assert len(trusted_cas(company.ca).get_ca_certs()) == len(trusted_cas().get_ca_certs()) + 1
    with pytest.raises(OSError, match="No such file"):
        trusted_cas(company.ca.with_name("none"))


@pytest.mark.parametrize("payer", [0, 1], ids=["fal", "assemblyai"])
async def test_another_ca_is_trusted_without_a_restart(
    company: Company, payer: int, caplog: pytest.LogCaptureFixture
) -> None:
    ours, other = company.ca.read_bytes(), new_authority(datetime.now(UTC)).certificate
    company.ca.write_bytes(other)
    provider, call = company.providers(company.ca)[payer]
    for content, trusted in (
        (other, False),
        (ours, True),
        (b"no certificate", True),
        (other + ours, True),
        (other, False),
    ):
        company.ca.write_bytes(content)
        if trusted:
            assert await provider.submit(call, nothing) == "r1"
        else:
            with pytest.raises(Busy):
                await provider.submit(call, nothing)
    company.ca.write_bytes(ours)
    assert await provider.submit(call, nothing) == "r1"
    company.ca.unlink()
    assert await provider.submit(call, nothing) == "r1"
    assert all("the CAs read before stay in use" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("given", ["", "mine.example, 10.2.3.4"])
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY"])
def test_the_cluster_is_reached_directly(name: str, given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {name: "http://proxy:3128", "NO_PROXY": given, "KUBERNETES_SERVICE_HOST": "10.96.0.1"}
    reach_cluster_directly(environ)
    assert environ["no_proxy"] == environ["NO_PROXY"]
    for each in (*NAMES, *(each_name.lower() for each_name in NAMES)):
        monkeypatch.delenv(each, raising=False)
    for each, value in environ.items():
        monkeypatch.setenv(each, value)
    for host in ("10.96.0.1", "contentgen-sandbox.contentgen.svc", "s3.tools.svc.cluster.local", *given.split(", ")):
        assert not host or proxy_bypass(host), host
    assert not proxy_bypass("queue.fal.run")


def test_without_a_proxy_the_environment_stays() -> None:
    environ = {"NO_PROXY": "a", "KUBERNETES_SERVICE_HOST": "10.96.0.1"}
    reach_cluster_directly(environ)
    assert environ == {"NO_PROXY": "a", "KUBERNETES_SERVICE_HOST": "10.96.0.1"}
    assert os.environ.get("NO_PROXY") != "a"
