"""Attacks by receivers of notifications, and by tenants who choose them. Promises of docs/policies.md."""

import asyncio
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpcore
import mongomock
import pytest

from contentgen_contract.names import Kind
from contentgen_contract.resources.spec import NotificationEvent
from contentgen_operator.notifications import guarded_post
from contentgen_operator.notifications import notifier as module
from contentgen_operator.notifications.granted_headers import GrantedHeaders
from contentgen_operator.notifications.guarded_post import GuardedPost, NotSent, PostResponse, ThreadResolver
from contentgen_operator.notifications.header_grants import HeaderGrant
from contentgen_operator.notifications.notifier import Notifier
from contentgen_operator.notifications.outbox import NotificationOutbox
from contentgen_operator.notifications.signing import KeyTerm, SigningKey, keys_of, new_key, rotated
from contentgen_operator.notifications.values import Notification
from contentgen_operator.state.observed import ResourceRef

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class RawReceiver:
    """TCP server that sends the same bytes to each connection after its request: once, or without end."""

    def __init__(self, sent: bytes, *, endless: bool = False) -> None:
        self._sent, self._endless = sent, endless
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                connection.sendall(self._sent)
                while self._endless:
                    connection.sendall(self._sent)
            except OSError:
                return

    def url(self) -> str:
        """URL by a public name."""
        return f"http://hooks.example.com:{self.port}/"

    def close(self) -> None:
        """Stop accepting."""
        self._socket.close()


@pytest.fixture
def receivers() -> Iterator[list[RawReceiver]]:
    made: list[RawReceiver] = []
    yield made
    for each in made:
        each.close()


def post_to(receiver: RawReceiver, *addresses: str, seconds: float = 10.0) -> GuardedPost:
    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return addresses or ("127.0.0.1",)

    return GuardedPost(ssl.create_default_context(), [f"hooks.example.com:{receiver.port}"], resolve, seconds)


class FixedKeys:
    """One key."""

    def __init__(self) -> None:
        self._key = new_key(NOW)

    async def keys(self) -> tuple[SigningKey, ...]:
        return (self._key,)


def planned(identity: str, url: str, namespace: str = "ns") -> Notification:
    ref = ResourceRef(kind=Kind.TRANSCRIPTION, namespace=namespace, name="talk", uid="u")
    return Notification(id=identity, ref=ref, run=1, event=NotificationEvent.COMPLETED, url=url, payload="{}")


class Harness:
    """Notifier with its outbox, on simulated time."""

    def __init__(self, post: module.Post) -> None:
        self.now = NOW
        self.database: Any = mongomock.MongoClient(tz_aware=True)["db"]
        self.outbox = NotificationOutbox(self.database["notifications"])
        kube: Any = None
        self.notifier = Notifier(
            outbox=self.outbox,
            kube=kube,
            keys=FixedKeys(),
            headers=GrantedHeaders(Path("/nonexistent"), ()),
            post=post,
            clock=lambda: self.now,
            jitter=lambda: 0.0,
        )

    async def add(self, identity: str, url: str, namespace: str = "ns") -> None:
        """One notification, released."""
        await self.outbox.plan([planned(identity, url, namespace)], self.now)
        await self.outbox.confirm([identity], self.now)

    async def until(self, end: datetime) -> None:
        """All rounds until a time."""
        while (due := await self.outbox.next_at()) is not None and due <= end:
            self.now = max(self.now, due)
            await self.notifier.round()
            await self.notifier.until_idle()
        self.now = end

    def log(self) -> dict[str, Any]:
        """The stored notification."""
        found: dict[str, Any] = self.database["notifications"].find_one({})
        return found


# "Deliveries never delay a job."


@pytest.mark.parametrize("code", [b"100 Continue", b"103 Early Hints"])
async def test_endless_interim_responses_do_not_hold_the_event_loop(
    receivers: list[RawReceiver], monkeypatch: pytest.MonkeyPatch, code: bytes
) -> None:
    """h11 parses all that was read at once: 64 KiB of them took half a second, again and again for 15 s."""
    receivers.append(RawReceiver(b"HTTP/1.1 " + code + b"\r\n\r\n", endless=True))
    parts = list[int]()
    read = guarded_post._HeadOnly.read

    async def counted(stream: guarded_post._HeadOnly, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        part = await read(stream, max_bytes, timeout)
        parts.append(len(part))
        return part

    monkeypatch.setattr(guarded_post._HeadOnly, "read", counted)
    with pytest.raises(NotSent, match="ReadError"):
        await post_to(receivers[0])(receivers[0].url(), {}, b"{}")
    assert max(parts) <= 4096
    assert sum(parts) <= 65536


async def test_names_that_do_not_resolve_leave_a_thread_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that does not answer holds a thread for longer than its attempt."""
    free = threading.Event()

    def resolved(host: str, _port: int) -> list[str]:
        if host != "quick.example.com":
            free.wait(600)
        return ["192.0.2.1"]

    monkeypatch.setattr(guarded_post, "_resolved", resolved)
    resolver = ThreadResolver()
    others = 2 * (module._AT_ONCE - 1)  # of the attempts before, and of those that run
    hung = [asyncio.create_task(resolver("hung.example.com", 443)) for _ in range(others)]
    try:
        async with asyncio.timeout(60):
            assert await resolver("quick.example.com", 443) == ["192.0.2.1"]
    finally:
        free.set()
        await asyncio.gather(*hung)


async def test_namespaces_that_are_always_busy_leave_turns_to_others() -> None:
    """Four of them hold all places, and are before the fifth by name; each attempt that ends lets another one begin."""
    begun, waiting = list[str](), dict[str, asyncio.Event]()

    async def post(url: str, _headers: Mapping[str, str], _body: bytes) -> PostResponse:
        begun.append(url)
        waiting[url] = asyncio.Event()
        await waiting[url].wait()
        return PostResponse(500)

    harness = Harness(post)
    for namespace in "abcd":
        for number in range(15):
            url = f"https://{namespace}{number}.example.com/"
            await harness.add(f"msg_{namespace}{number}", url, f"{namespace}-hostile")
    await harness.notifier.round()
    await harness.add("msg_z", "https://quiet.example.com/", "z-quiet")
    try:
        for ended in range(5):
            await harness.notifier.round()
            await eventually(lambda count=16 + ended: len(begun) >= count)
            if "https://quiet.example.com/" in begun:
                break
            url, over = next(iter(waiting.items()))
            del waiting[url]
            over.set()
            await eventually(lambda: len(harness.notifier._running.tasks) < 16)
        assert "https://quiet.example.com/" in begun
        assert len(begun) <= 18
    finally:
        for over in waiting.values():
            over.set()
        await harness.notifier.until_idle()


async def test_slow_receiver_does_not_delay_the_others() -> None:
    """More notifications are due for it than a round lists."""
    begun, free = list[str](), asyncio.Event()

    async def post(url: str, _headers: Mapping[str, str], _body: bytes) -> PostResponse:
        begun.append(url)
        await free.wait()
        return PostResponse(204)

    harness = Harness(post)
    for number in range(module._LISTED + 3):
        await harness.add(f"msg_{number}", f"https://slow.example.com/{number}")
    harness.now += timedelta(seconds=1)
    await harness.add("msg_quick", "https://quick.example.com/")
    try:
        await harness.notifier.round()
        await eventually(lambda: len(begun) == 2)
        await harness.notifier.round()
        await eventually(lambda: "https://quick.example.com/" in begun)
        assert len(begun) == 3
    finally:
        free.set()
        await harness.notifier.until_idle()


async def eventually(holds: Any) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - bounded
            await asyncio.sleep(0.005)


# "None lost", "for 24 hours after the first attempt"

DATES = [
    "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
    "Mon, 01 Jan 2024 00:00:00 +99999999999999999",
    "Mon, 01 Jan 2024 99999999999999:00:00 GMT",
]


@pytest.mark.parametrize("date", DATES)
def test_a_pause_of_any_size_is_no_error(date: str) -> None:
    assert guarded_post._retry_after(date) is None


@pytest.mark.parametrize("status", [b"200 OK", b"429 Slow"])
async def test_a_hostile_pause_neither_repeats_nor_prolongs_a_delivery(
    receivers: list[RawReceiver], status: bytes
) -> None:
    """It ended the attempt without a result, which was repeated every two minutes for ever, also after a 2xx."""
    head = b"HTTP/1.1 " + status + b"\r\nRetry-After: " + DATES[0].encode() + b"\r\nContent-Length: 0\r\n\r\n"
    receivers.append(RawReceiver(head))
    harness = Harness(post_to(receivers[0]))
    await harness.add("msg_0", receivers[0].url())
    await harness.until(NOW + 2 * DAY)
    delivered = status.startswith(b"2")
    assert harness.log()["state"] == ("delivered" if delivered else "failed")
    assert receivers[0].connections <= (1 if delivered else 20)


async def test_unexpected_error_is_logged_and_retried_for_a_day() -> None:
    async def post(_url: str, _headers: Mapping[str, str], _body: bytes) -> PostResponse:
        raise RuntimeError("https://hooks.example.com/s3cret")

    harness = Harness(post)
    await harness.add("msg_0", "https://hooks.example.com/s3cret")
    await harness.until(NOW + 2 * DAY)
    log = harness.log()
    assert log["state"] == "failed"
    assert {delivery["detail"] for delivery in log["deliveries"]} == {"no response: RuntimeError"}


@pytest.fixture
def connects(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Connections by address; those to 127.0.1.x never respond."""
    counted: Counter[str] = Counter()
    real = httpcore.AnyIOBackend.connect_tcp

    async def connect(backend: Any, host: str, port: int, timeout: float | None = None, *more: Any) -> Any:  # noqa: ASYNC109
        counted[host] += 1
        if host.startswith("127.0.1."):
            await asyncio.sleep(timeout or 3600)
            raise httpcore.ConnectTimeout("no response")
        return await real(backend, host, port, timeout, *more)

    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect)
    return counted


async def test_silent_address_leaves_time_for_the_next_one(
    receivers: list[RawReceiver], connects: Counter[str]
) -> None:
    """Such as the IPv6 address of a host, in a cluster whose IPv6 packets are dropped."""
    receivers.append(RawReceiver(b"HTTP/1.1 204 No Content\r\n\r\n"))
    post = post_to(receivers[0], "127.0.1.1", "127.0.1.2", "127.0.0.1", seconds=3.0)
    assert await post(receivers[0].url(), {}, b"{}") == PostResponse(204)
    assert list(connects) == ["127.0.1.1", "127.0.1.2", "127.0.0.1"]


async def test_a_name_with_hundreds_of_addresses_scans_no_network(
    receivers: list[RawReceiver], connects: Counter[str]
) -> None:
    receivers.append(RawReceiver(b""))
    post = post_to(receivers[0], *(f"127.0.1.{number}" for number in range(1, 255)), seconds=1.0)
    with pytest.raises(NotSent):
        await post(receivers[0].url(), {}, b"{}")
    assert 1 <= connects.total() <= 4


# Installations that share MongoDB (docs/install.md)


async def test_another_installation_sends_no_notification_of_this_one() -> None:
    """It would sign with its own keys, send its granted headers, and reach the hosts that its chart allows."""

    async def post(_url: str, _headers: Mapping[str, str], _body: bytes) -> PostResponse:
        raise AssertionError

    harness = Harness(post)
    await harness.add("msg_0", "https://hooks.example.com/")
    await harness.outbox.plan([planned("msg_1", "https://hooks.example.com/")], NOW)
    other = NotificationOutbox(harness.database["notifications"], operator_class="other")
    later = NOW + timedelta(hours=1)
    assert (await other.due(later, 9), await other.left(later, 9), await other.next_at()) == ([], [], None)
    assert await other.pending() == (0, None)
    assert (len(await harness.outbox.due(later, 9)), len(await harness.outbox.left(later, 9))) == (1, 1)


# "With `deletionPolicy: Delete` the log is deleted with the files."


async def test_an_attempt_during_the_deletion_keeps_no_log() -> None:
    async def post(_url: str, _headers: Mapping[str, str], _body: bytes) -> PostResponse:
        if harness.log()["expiresAt"] is None:
            await harness.outbox.discard(["u"], harness.now)
        return PostResponse(204)

    harness = Harness(post)
    await harness.add("msg_0", "https://hooks.example.com/")
    await harness.until(NOW + timedelta(hours=1))
    await harness.outbox.expire(harness.now)
    assert harness.log() is None


# Signatures and header secrets


def test_keys_of_a_clock_that_was_ahead_are_not_multiplied() -> None:
    """Each signs each message: a key a minute made headers that no receiver accepts."""
    data = rotated({}, NOW + DAY, KeyTerm())
    first = keys_of(data)[0].private
    for minutes in range(30):
        data = rotated(data, NOW + timedelta(minutes=minutes), KeyTerm())
    assert [each.private for each in keys_of(data)] == [first]
    assert rotated(data, NOW + DAY, KeyTerm()) == data


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com:443/",
        "HTTP://hooks.example.com:443",
        "https://hooks.example.com.:443/",
        "https://hooks.example.com\\.evil.example/",
        "https://hooks.example.com:443:80/",
        "https://evil.example/?hooks.example.com:443",
        "https://evil.example#@hooks.example.com:443/",
        "https://evil.example\\@hooks.example.com:444/",
    ],
)
def test_a_grant_of_headers_is_for_one_host_by_https(url: str) -> None:
    grant = HeaderGrant(secret="team", namespaces=("*",), hosts=("hooks.example.com:443",))
    assert grant.covers("ns", "https://hooks.example.com/x")
    assert not grant.covers("ns", url)
