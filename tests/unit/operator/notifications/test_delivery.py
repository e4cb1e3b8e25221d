"""Delivery over real HTTP, on simulated time: slow, refusing, redirecting and absent receivers; forbidden addresses."""

import asyncio
import base64
import json
import logging
import ssl
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import mongomock
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pymongo.errors import AutoReconnect

from contentgen_contract.names import Kind
from contentgen_contract.records.notifications import NotificationState
from contentgen_contract.resources.spec import NotificationEvent
from contentgen_operator import metrics
from contentgen_operator.leader.leadership import NotLeading
from contentgen_operator.notifications import outbox
from contentgen_operator.notifications.granted_headers import GrantedHeaders
from contentgen_operator.notifications.guarded_post import (
    AddressRefused,
    GuardedPost,
    NotSent,
    PostResponse,
    _retry_after,
)
from contentgen_operator.notifications.header_grants import HeaderGrant, headers_problem
from contentgen_operator.notifications.key_secret import KeySecret
from contentgen_operator.notifications.notifier import Notifier
from contentgen_operator.notifications.outbox import NotificationOutbox
from contentgen_operator.notifications.signing import PRIVATE, PUBLIC, KeyTerm, keys_of, rotated, signed_headers
from contentgen_operator.notifications.values import Notification
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.worker_api.certificate_authority import issue, new_authority
from contentgen_runtime.kube import Conflict

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
PAYLOAD = json.dumps({"type": "job.completed"})


class Receiver(ThreadingHTTPServer):
    """HTTP server that records requests and answers with `status`; `slow`: it never answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.status, self.headers, self.slow, self.trickles = 204, dict[str, str](), False, False
        self.release = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    @property
    def port(self) -> int:
        """Port of the server."""
        return int(self.server_address[1])

    def url(self, host: str = "hooks.example.com", path: str = "/hook") -> str:
        """URL by a public name, which the tests' resolver maps to this machine."""
        return f"http://{host}:{self.port}{path}"

    def close(self) -> None:
        """Stop the server."""
        self.release.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.requests.append((self.path, dict(self.headers), body))
        if self.server.slow:
            self.server.release.wait(600)
            return
        if self.server.trickles:
            for _ in range(60):
                self.wfile.write(b"H")
                self.server.release.wait(0.05)
            return
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815 - a followed redirect may become a GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def private() -> Iterator[Receiver]:
    """A server that must not be reached."""
    made = Receiver()
    yield made
    made.close()


async def here(_host: str, _port: int) -> Sequence[str]:
    """Resolver: every name is this machine."""
    return ["127.0.0.1"]


class FakeSecret:
    """Our Secret in the API server."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.version, self.conflicts = 1, 0

    async def get_secret_data(self, _namespace: str, _name: str) -> tuple[str, dict[str, bytes]]:
        return str(self.version), dict(self.data)

    async def patch_secret_data(self, _namespace: str, _name: str, version: str, data: dict[str, bytes]) -> None:
        if self.conflicts:
            self.conflicts -= 1
            self.version += 1
            raise Conflict("changed")
        assert version == str(self.version)
        self.data, self.version = dict(data), self.version + 1


class Harness:
    """Notifier with its outbox, on simulated time."""

    def __init__(self, *hosts: str, seconds: float = 5.0, folder: Path = Path("/nonexistent")) -> None:
        self.now, self.added = NOW, 0
        self.database: Any = mongomock.MongoClient(tz_aware=True)["db"]
        self.outbox = NotificationOutbox(self.database["notifications"])
        self.secret = FakeSecret()
        kube: Any = self.secret
        granted = tuple(f"http://{host}" for host in hosts) or ("none:1",)
        self.grants = (HeaderGrant(secret="slack", namespaces=("ns",), hosts=granted),)
        self.post = GuardedPost(ssl.create_default_context(), hosts, here, seconds)
        self.leads = True
        self.notifier = Notifier(
            outbox=self.outbox,
            kube=kube,
            keys=KeySecret(kube, "contentgen", "keys", clock=lambda: self.now),
            headers=GrantedHeaders(folder, self.grants),
            post=self.post,
            check=self.check,
            clock=lambda: self.now,
            jitter=lambda: 0.0,
        )

    def check(self) -> None:
        if not self.leads:
            raise NotLeading("the Lease is lost")

    async def add(self, url: str, count: int = 1, namespace: str = "ns", uid: str = "u", **more: Any) -> list[str]:
        """Notifications of one resource; their ids."""
        ref = ResourceRef(kind=Kind.TRANSCRIPTION, namespace=namespace, name="talk", uid=uid)
        before, self.added = self.added, self.added + count
        made = [
            Notification(
                id=f"msg_{before + number}", ref=ref, run=1, event=NotificationEvent.COMPLETED, url=url,
                payload=PAYLOAD, **more,
            )
            for number in range(count)
        ]  # fmt: skip
        await self.outbox.plan(made, self.now)
        await self.outbox.confirm([each.id for each in made], self.now)
        return [each.id for each in made]

    async def round(self) -> None:
        """One round, with its attempts."""
        await self.notifier.round()
        await self.notifier.until_idle()

    async def until(self, end: datetime) -> None:
        """All rounds until a time."""
        while (due := await self.outbox.next_at()) is not None and due <= end:
            self.now = max(self.now, due)
            await self.round()
        self.now = end

    def log(self, identity: str = "msg_0") -> dict[str, Any]:
        """Stored notification."""
        found: dict[str, Any] = self.database["notifications"].find_one({"_id": identity})
        return found


def allowed(*receivers: Receiver) -> list[str]:
    return [f"hooks.example.com:{receiver.port}" for receiver in receivers]


async def test_a_delivery_is_signed_by_a_published_key(receiver: Receiver) -> None:
    harness = Harness(*allowed(receiver))
    await harness.add(receiver.url(path="/hook?token=s3cret"))
    await harness.round()
    ((path, headers, body),) = receiver.requests
    assert path == "/hook?token=s3cret"
    assert headers["Host"] == f"hooks.example.com:{receiver.port}"
    assert headers["Content-Type"] == "application/json"
    assert (headers["webhook-id"], body.decode()) == ("msg_0", PAYLOAD)
    assert headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    (published,) = json.loads(harness.secret.data[PUBLIC])["keys"]
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(published["x"] + "="))
    version, _, signature = headers["webhook-signature"].partition(",")
    assert version == "v1a"
    public.verify(base64.b64decode(signature), f"msg_0.{headers['webhook-timestamp']}.{PAYLOAD}".encode())
    found = harness.log()
    assert (found["state"], found["nextAt"]) == ("delivered", None)
    assert [(delivery["result"], delivery["status"]) for delivery in found["deliveries"]] == [("delivered", 204)]
    await harness.until(NOW + timedelta(days=2))
    assert len(receiver.requests) == 1


async def test_receiver_down_for_an_hour_gets_each_notification_once(receiver: Receiver) -> None:
    harness = Harness(*allowed(receiver))
    url = receiver.url()
    receiver.close()  # connections are refused
    ids = await harness.add(url, 5)
    await harness.until(NOW + timedelta(hours=1))
    assert {each["state"] for each in map(harness.log, ids)} == {"pending"}
    again = Receiver()
    harness.post._resolve = here
    try:
        harness.database["notifications"].update_many({}, {"$set": {"url": again.url()}})
        harness.post._allowed = tuple(allowed(again))
        await harness.until(NOW + timedelta(hours=4))
        assert sorted(headers["webhook-id"] for _, headers, _ in again.requests) == ids
    finally:
        again.close()
    assert {each["state"] for each in map(harness.log, ids)} == {"delivered"}
    assert all(delivery["result"] == "failed" for delivery in harness.log()["deliveries"][:-1])


async def test_server_error_is_retried_for_a_day_and_kept_in_the_log(receiver: Receiver) -> None:
    harness = Harness(*allowed(receiver))
    receiver.status = 500
    await harness.add(receiver.url())
    await harness.until(NOW + timedelta(days=2))
    found = harness.log()
    assert found["state"] == "failed"
    assert timedelta(hours=24) <= found["deliveries"][-1]["at"].replace(tzinfo=UTC) - NOW <= timedelta(hours=28)
    assert {headers["webhook-id"] for _, headers, _ in receiver.requests} == {"msg_0"}
    harness.now += timedelta(days=31)
    await harness.round()
    assert harness.log() is None  # the log is kept for 30 days


async def test_no_log_has_the_path_of_a_webhook(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """Paths and queries of webhooks are secrets."""
    harness = Harness(*allowed(receiver))
    receiver.status, receiver.headers = 302, {"Location": "http://h/s3cret"}
    with caplog.at_level(logging.DEBUG, "contentgen_operator"):
        await harness.add(receiver.url(path="/s3cret?token=s3cret"))
        await harness.add("https://[s3cret/s3cret")
        await harness.until(NOW + timedelta(days=2))
    assert "failed for a day" in caplog.text
    assert "s3cret" not in caplog.text
    assert "s3cret" not in str(
        [notification["deliveries"] for notification in harness.database["notifications"].find()]
    )


async def test_a_receiver_that_asks_for_a_pause_gets_it(receiver: Receiver) -> None:
    harness = Harness(*allowed(receiver))
    receiver.status, receiver.headers = 503, {"Retry-After": "900"}
    await harness.add(receiver.url())
    await harness.round()
    assert await harness.outbox.next_at() == NOW + timedelta(minutes=15)
    receiver.status = 500  # only 429 and 503 ask
    harness.now += timedelta(minutes=15)
    await harness.round()
    assert await harness.outbox.next_at() == harness.now + timedelta(seconds=30)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("120", 120), ("0", 0), ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("soon", None), ("", None), ("99999999999", None)],
)
def test_forms_of_retry_after(given: str, seconds: int | None) -> None:
    assert _retry_after(given) == (None if seconds is None else timedelta(seconds=seconds))


async def test_410_ends_all_notifications_of_the_resource_to_this_url(receiver: Receiver) -> None:
    harness = Harness(*allowed(receiver))
    receiver.status = 410
    await harness.add(receiver.url())
    await harness.round()
    await harness.add(receiver.url(), 2)
    receiver.status = 204
    await harness.round()
    assert len(receiver.requests) == 1
    assert [harness.log(f"msg_{number}")["state"] for number in range(3)] == ["gone"] * 3
    await harness.add(receiver.url(path="/other"))
    await harness.add(receiver.url(), uid="another")
    await harness.round()
    assert len(receiver.requests) == 3


# Forbidden addresses


async def test_a_redirect_to_a_private_address_is_not_followed(receiver: Receiver, private: Receiver) -> None:
    for status in (301, 302, 303, 307, 308):
        harness = Harness(*allowed(receiver))
        receiver.status, receiver.headers = status, {"Location": f"http://127.0.0.1:{private.port}/admin"}
        await harness.add(receiver.url())
        await harness.round()
        (found,) = harness.log()["deliveries"]
        assert (found["result"], found["status"]) == ("failed", status)
        assert "redirect" in found["detail"]
    assert private.requests == []


@pytest.mark.parametrize(
    "host",
    ["hooks.example.com", "127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "a.svc", "metadata"],
)
async def test_a_private_address_is_not_connected_to(private: Receiver, host: str) -> None:
    """By a public name that resolves to it (DNS rebinding), and in all forms of a literal."""
    harness = Harness()
    await harness.add(private.url(host))
    await harness.until(NOW + timedelta(hours=1))
    assert private.requests == []
    assert {delivery["result"] for delivery in harness.log()["deliveries"]} == {"refused"}
    assert harness.log()["state"] == "pending"


async def test_each_attempt_checks_the_address_again(private: Receiver) -> None:
    """The name is public at first (and unreachable), private later."""
    answers = iter(["192.0.2.1", "127.0.0.1", "169.254.169.254"])

    async def rebinding(_host: str, _port: int) -> Sequence[str]:
        return [next(answers)]

    harness = Harness()
    harness.post._resolve = rebinding
    await harness.add(private.url())
    for _ in range(3):
        await harness.round()
        harness.now += timedelta(hours=3)
    assert private.requests == []
    assert [delivery["result"] for delivery in harness.log()["deliveries"]] == ["refused"] * 3


async def test_private_address_among_public_ones_is_refused(private: Receiver) -> None:
    async def mixed(_host: str, _port: int) -> Sequence[str]:
        return ["93.184.215.14", "127.0.0.1"]

    with pytest.raises(AddressRefused, match="refused"):
        await GuardedPost(ssl.create_default_context(), (), mixed)(private.url(), {}, b"{}")


@pytest.mark.parametrize(
    "url", ["ftp://hooks.example.com/", "https://u:p@hooks.example.com/", "https://", "https://[x", "//h/", "file:///e"]
)
async def test_an_unusable_url_is_refused(url: str) -> None:
    with pytest.raises((AddressRefused, NotSent)):
        await GuardedPost(ssl.create_default_context(), (), here)(url, {}, b"{}")


async def test_certificate_is_verified_for_the_host_name(tmp_path: Path) -> None:
    authority = new_authority(datetime.now(UTC))
    issued = issue(authority, "hooks.example.com", datetime.now(UTC), timedelta(days=1))
    (tmp_path / "chain").write_bytes(issued.chain)
    (tmp_path / "key").write_bytes(issued.key)
    served, trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    served.load_cert_chain(tmp_path / "chain", tmp_path / "key")
    trusted.load_verify_locations(cadata=authority.certificate.decode())
    receiver = Receiver()
    receiver.socket = served.wrap_socket(receiver.socket, server_side=True)
    try:
        for host, reached in (("hooks.example.com", True), ("other.example.com", False)):
            post = GuardedPost(trusted, [f"{host}:{receiver.port}"], here)
            url = f"https://{host}:{receiver.port}/hook"
            if reached:
                assert await post(url, {}, b"{}") == PostResponse(204)
            else:
                with pytest.raises(NotSent):
                    await post(url, {}, b"{}")
    finally:
        receiver.close()
    assert len(receiver.requests) == 1


async def test_a_proxy_of_the_environment_is_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would resolve the name itself."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{receiver.port}")
    post = GuardedPost(ssl.create_default_context(), ["hooks.example.com:1"], here)
    with pytest.raises(NotSent):
        await post("http://hooks.example.com:1/", {}, b"{}")
    assert receiver.requests == []


# Slow receivers delay nobody else


async def test_slow_receivers_hold_their_own_places_only(receiver: Receiver) -> None:
    slow = Receiver()
    slow.slow = True
    harness = Harness(*allowed(receiver), *allowed(slow), seconds=600.0)
    try:
        await harness.add(slow.url(), 40, namespace="noisy", uid="noisy")
        await harness.add(receiver.url(), 2)
        await harness.notifier.round()
        async with asyncio.timeout(60):
            while len(receiver.requests) < 2:  # noqa: ASYNC110 - bounded above
                await asyncio.sleep(0.01)
        assert len(slow.requests) <= 2
        assert harness.notifier._running.namespaces["noisy"] == 2
    finally:
        slow.release.set()
        await harness.notifier.until_idle()
        slow.close()


async def test_an_attempt_ends_in_time_and_is_repeated(receiver: Receiver) -> None:
    receiver.slow = True
    harness = Harness(*allowed(receiver), seconds=0.3)
    await harness.add(receiver.url())
    await harness.round()
    (found,) = harness.log()["deliveries"]
    assert (found["result"], found["status"]) == ("failed", None)
    assert "no response within" in found["detail"]
    receiver.slow = False
    harness.now += timedelta(seconds=5)
    await harness.round()
    assert harness.log()["state"] == "delivered"


async def test_a_response_that_trickles_ends_in_time(receiver: Receiver) -> None:
    """Each byte resets the client's own timeout."""
    receiver.trickles = True
    post = GuardedPost(ssl.create_default_context(), allowed(receiver), here, seconds=0.5)
    with pytest.raises(NotSent, match="no response within"):
        await post(receiver.url(), {}, b"{}")


async def test_a_namespace_with_many_hosts_leaves_places_to_others() -> None:
    harness, begun = Harness(), list[str]()
    free = asyncio.Event()

    async def post(url: str, *_: object) -> PostResponse:
        begun.append(url)
        await free.wait()
        return PostResponse(204)

    harness.notifier.post = post
    for number in range(30):
        await harness.add(f"https://h{number}.example.com/", namespace="noisy", uid=f"n{number}")
    await harness.add("https://quiet.example.com/", namespace="quiet", uid="quiet")
    await harness.notifier.round()
    assert harness.notifier._running.namespaces == {"noisy": 4, "quiet": 1}
    async with asyncio.timeout(60):
        while "https://quiet.example.com/" not in begun:  # noqa: ASYNC110 - bounded above
            await asyncio.sleep(0.005)
    free.set()
    await harness.notifier.until_idle()


# Crashes, takeovers, stores that are away


async def test_a_crash_during_an_attempt_repeats_it_with_the_same_id(receiver: Receiver) -> None:
    harness = Harness(*allowed(receiver))
    await harness.add(receiver.url())
    kept = harness.outbox.put

    async def crash(entry: Any) -> Any:
        if entry.deliveries:
            raise AutoReconnect("away")
        return await kept(entry)

    harness.outbox.put = crash  # type: ignore[method-assign]
    await harness.notifier.round()
    await harness.notifier.until_idle()
    harness.outbox.put = kept  # type: ignore[method-assign]
    await harness.round()
    assert len(receiver.requests) == 1  # the reservation lasts for two minutes
    harness.now += timedelta(minutes=3)
    await harness.round()
    assert [headers["webhook-id"] for _, headers, _ in receiver.requests] == ["msg_0", "msg_0"]
    assert harness.log()["state"] == "delivered"


async def test_two_operators_send_one_attempt(receiver: Receiver) -> None:
    harness = Harness(*allowed(receiver))
    await harness.add(receiver.url())
    (entry,) = await harness.outbox.due(NOW, 10)
    keys = await harness.notifier.keys.keys()
    await asyncio.gather(*(harness.notifier._deliver(entry, keys) for _ in range(4)))
    assert len(receiver.requests) == 1


async def test_a_former_leader_sends_nothing(receiver: Receiver) -> None:
    harness = Harness(*allowed(receiver))
    await harness.add(receiver.url())
    await harness.notifier.keys.keys()
    harness.leads = False
    await harness.notifier.round()
    await harness.notifier.until_idle()
    assert receiver.requests == []


async def test_a_former_leader_sends_nothing_that_it_has_reserved(receiver: Receiver) -> None:
    """The Lease is lost between the reservation and the POST."""
    harness = Harness(*allowed(receiver))
    await harness.add(receiver.url())
    kept = harness.outbox.put

    async def lose(entry: Any) -> Any:
        claimed = await kept(entry)
        harness.leads = False
        return claimed

    harness.outbox.put = lose  # type: ignore[method-assign]
    await harness.round()
    assert receiver.requests == []
    harness.leads, harness.outbox.put = True, kept  # type: ignore[method-assign]
    harness.now += timedelta(minutes=3)
    await harness.round()
    assert len(receiver.requests) == 1


async def test_a_store_that_is_away_ends_nothing(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(*allowed(receiver))
    await harness.add(receiver.url())

    async def away(*_: object) -> None:
        raise AutoReconnect("away")

    with monkeypatch.context() as patched:
        patched.setattr(harness.outbox, "due", away)
        with pytest.raises(AutoReconnect):
            await harness.notifier.round()
    await harness.round()
    assert len(receiver.requests) == 1


# Headers from granted Secrets


@pytest.fixture
def headers_folder(tmp_path: Path) -> Path:
    (tmp_path / "slack").mkdir()
    (tmp_path / "slack" / "Authorization").write_text("Bearer s3cret\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "Authorization").write_text("Bearer other\n")
    return tmp_path


async def test_granted_headers_are_sent_to_the_granted_host(receiver: Receiver, headers_folder: Path) -> None:
    harness = Harness(*allowed(receiver), folder=headers_folder)
    await harness.add(receiver.url(), headers_secret="slack")
    await harness.round()
    assert receiver.requests[0][1]["Authorization"] == "Bearer s3cret"


@pytest.mark.parametrize(
    ("namespace", "secret", "host"),
    [
        ("another", "slack", "hooks.example.com"),  # another namespace
        ("ns", "slack", "attacker.example.com"),  # a host of the user's own
        ("ns", "other", "hooks.example.com"),  # mounted for somebody else
        ("ns", "..", "hooks.example.com"),
        ("ns", "missing", "hooks.example.com"),
    ],
)
async def test_headers_that_are_not_granted_are_not_sent(
    receiver: Receiver, headers_folder: Path, namespace: str, secret: str, host: str
) -> None:
    harness = Harness(*allowed(receiver), folder=headers_folder)
    harness.post._allowed = (*harness.post._allowed, f"attacker.example.com:{receiver.port}")
    await harness.add(receiver.url(host), namespace=namespace, headers_secret=secret)
    await harness.round()
    assert receiver.requests == []
    (found,) = harness.log()["deliveries"]
    assert found["result"] == "refused"
    assert "s3cret" not in str(harness.log()) + str(found)


@pytest.mark.parametrize(
    ("headers", "usable"),
    [
        ({"X-Api-Key": "abc", "Authorization": "Bearer x y"}, True),
        ({"Host": "h"}, False),
        ({"content-length": "1"}, False),
        ({"Webhook-Signature": "v1a,x"}, False),
        ({"a.b": "x"}, False),
        ({"X": "a\nb"}, False),
        ({"X": ""}, False),
        ({"X": "é"}, False),
        ({f"X-{number}": "a" for number in range(17)}, False),
    ],
)
def test_usable_headers(headers: dict[str, str], usable: bool) -> None:
    assert (headers_problem(headers) == "") is usable


def test_a_grant_needs_hosts_with_ports() -> None:
    for hosts in ((), ("hooks.example.com",), ("*:443",), ("https://h:1",)):
        with pytest.raises(ValueError, match="hosts"):
            HeaderGrant(secret="slack", namespaces=("ns",), hosts=hosts)
    grant = HeaderGrant(secret="slack", namespaces=("*",), hosts=("H.example:443", "http://[2001:db8::1]:80"))
    assert grant.covers("ns", "https://h.EXAMPLE/x")
    assert grant.covers("ns", "http://[2001:db8::1]/x")
    assert not grant.covers("ns", "http://h.example/x")
    assert not grant.covers("ns", "http://h.example:443/x"), "without TLS"
    assert not grant.covers("ns", "https://[2001:db8::1]:80/x")
    assert not grant.covers("ns", "https://h.example.evil/x")


# Keys


def test_keys_are_rotated_with_an_overlap() -> None:
    term = KeyTerm(replaced_after=timedelta(days=180), overlap=timedelta(days=30))
    first = rotated({}, NOW, term)
    assert rotated(first, NOW + timedelta(days=179), term) == first
    second = rotated(first, NOW + timedelta(days=180), term)
    assert len(keys_of(second)) == 2
    assert keys_of(second)[1] == keys_of(first)[0]
    signatures = signed_headers("msg_0", "{}", NOW, keys_of(second))["webhook-signature"].split()
    assert len(signatures) == 2
    assert rotated(second, NOW + timedelta(days=209), term) == second
    third = rotated(second, NOW + timedelta(days=210), term)
    assert keys_of(third) == keys_of(second)[:1]
    assert len(json.loads(third[PUBLIC])["keys"]) == 1
    assert b"private" not in third[PUBLIC]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {PRIVATE: b"nonsense"},
        {PRIVATE: b"[]"},
        {PRIVATE: b'[{"createdAt": "2026-11-23T12:00:00Z", "private": "AA=="}]'},
    ],
)
def test_unusable_keys_are_replaced(data: dict[str, bytes]) -> None:
    assert len(keys_of(rotated(data, NOW, KeyTerm()))) == 1


async def test_deleted_key_is_replaced_and_operators_agree_on_it() -> None:
    secret: Any = FakeSecret()
    now = [NOW]
    one, other = (KeySecret(secret, "contentgen", "keys", clock=lambda: now[0]) for _ in range(2))
    secret.conflicts = 2
    keys = await one.keys()
    assert keys == await other.keys()
    secret.data = {}
    now[0] += timedelta(minutes=2)
    assert await one.keys() != keys
    assert await one.keys() == await other.keys()


async def test_the_key_is_created_and_replaced_without_a_notification() -> None:
    """Regression: the published keys were 404 until the first notification, which preceded its key."""
    harness = Harness()
    await harness.notifier.round()
    created = keys_of(harness.secret.data)
    assert len(created) == 1
    harness.secret.data = {}
    harness.now += timedelta(minutes=1)
    await harness.notifier.round()
    assert len(keys_of(harness.secret.data)) == 1
    assert keys_of(harness.secret.data) != created


async def test_the_key_does_not_depend_on_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness()

    async def fails(_: datetime) -> None:
        raise AutoReconnect("down")

    monkeypatch.setattr(harness.outbox, "expire", fails)
    with pytest.raises(AutoReconnect):
        await harness.notifier.round()
    assert len(keys_of(harness.secret.data)) == 1


async def test_notifications_need_a_key(receiver: Receiver) -> None:
    harness = Harness(*allowed(receiver))
    harness.secret.conflicts = 99
    await harness.add(receiver.url())
    await harness.round()
    assert receiver.requests == []
    assert harness.log()["state"] == NotificationState.PENDING
    harness.secret.conflicts = 0
    await harness.round()
    assert receiver.requests == []  # the Secret is read once a minute
    harness.now += timedelta(minutes=1)
    await harness.round()
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("ended", "left", "undelivered"),
    [((), [2, 3, 4, 5, 6], 2), ((3, 4), [0, 1, 2, 5, 6], 0), ((4,), [1, 2, 3, 5, 6], 1)],
    ids=["the oldest", "ended ones first", "ended ones do not suffice"],
)
async def test_a_namespace_has_a_bounded_number_of_notifications(
    monkeypatch: pytest.MonkeyPatch, ended: tuple[int, ...], left: list[int], undelivered: int
) -> None:
    """Dry runs are free, and each message to a receiver that takes none is kept for a month."""
    monkeypatch.setattr(outbox, "MOST_OF_A_NAMESPACE", 5)
    harness, failed = Harness(), "contentgen_notifications_failed_total"
    other = NotificationOutbox(harness.database["notifications"], operator_class="another-installation")
    (foreign,) = await harness.add("http://hooks.example.com/", namespace="other")
    elsewhere = Notification(
        id="elsewhere", ref=ResourceRef(kind=Kind.TRANSCRIPTION, namespace="ns", name="talk", uid="u"), run=1,
        event=NotificationEvent.COMPLETED, url="http://hooks.example.com/", payload=PAYLOAD,
    )  # fmt: skip
    await other.plan([elsewhere], harness.now)
    before = metrics.REGISTRY.get_sample_value(failed) or 0.0
    made: list[str] = []
    for number in range(7):
        harness.now += timedelta(seconds=1)
        if number == 5:
            these = {"_id": {"$in": [made[each] for each in ended]}}
            harness.database["notifications"].update_many(these, {"$set": {"state": "delivered"}})
        made += await harness.add("http://hooks.example.com/")
    stored = set(harness.database["notifications"].distinct("_id"))
    assert stored == {foreign, "elsewhere", *(made[each] for each in left)}
    assert (metrics.REGISTRY.get_sample_value(failed) or 0.0) - before == undelivered
