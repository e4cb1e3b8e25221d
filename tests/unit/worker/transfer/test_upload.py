"""Uploads: parallel connections, complete files or none, and no second upload of stored files."""

import base64
import hashlib
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from contentgen_contract.worker.orders import FileOffer, UploadGrant
from contentgen_worker.errors import Retryable
from contentgen_worker.files import JPEG, Output
from contentgen_worker.retry import STORE
from contentgen_worker.upload import Uploader

pytestmark = pytest.mark.usefixtures("bounded")

OUTPUTS = [Output.from_bytes(f"images/{number:04}.jpg", JPEG, b"%d" % number * 50_000) for number in range(40)]
Handler = BaseHTTPRequestHandler


@dataclass
class Store:
    """Store that behaves like S3: a PUT is stored if complete with the right checksum. `behave` may answer instead."""

    host: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    puts: list[str] = field(default_factory=list)
    connections: int = 0
    at_once: int = 0
    most_at_once: int = 0
    behave: Callable[["Store", Handler, str], bool] = lambda *_: False
    asked: int = 0
    expires_seconds: int = 600
    removes: bool = True  # whether the worker API removes another file of an offered name
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, handler: Handler) -> None:
        name = handler.path.partition("?")[0].lstrip("/")
        with self.lock:
            self.puts.append(name)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if not self.behave(self, handler, name):
                self.keep(handler, name)
        finally:
            with self.lock:
                self.at_once -= 1

    def keep(self, handler: Handler, name: str) -> None:
        length = int(handler.headers["Content-Length"])
        body = handler.rfile.read(length)
        offered = handler.headers["x-amz-checksum-sha256"]
        if name in self.objects and handler.headers["If-None-Match"] == "*":
            self.reply(handler, 412)
            return
        right = base64.b64encode(hashlib.sha256(body).digest()).decode() == offered
        if right and len(body) == length:
            self.objects[name] = body
        self.reply(handler, 200 if right else 400)

    def reply(self, handler: Handler, code: int) -> None:
        handler.send_response(code)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def grants(self, offers: Sequence[FileOffer]) -> tuple[UploadGrant, ...]:
        """Grants as the worker API issues them, for the current objects."""
        self.asked += 1
        return tuple(self._grant(offer) for offer in offers)

    def _grant(self, offer: FileOffer) -> UploadGrant:
        checksum = base64.b64encode(bytes.fromhex(offer.sha256)).decode()
        headers = {"Content-Type": offer.content_type, "x-amz-checksum-sha256": checksum, "If-None-Match": "*"}
        url = f"http://{self.host}/{offer.name}?X-Amz-Signature=1"
        kept = hashlib.sha256(self.objects.get(offer.name, b"")).hexdigest() == offer.sha256
        if not kept and self.removes:
            self.objects.pop(offer.name, None)
        life = self.expires_seconds
        return UploadGrant(name=offer.name, url=url, headers=headers, stored=kept, expires_seconds=life)


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store()

    class Handles(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are sent one after the other

        def log_message(self, *_: object) -> None:
            """Quiet."""

        def setup(self) -> None:
            with made.lock:
                made.connections += 1
            super().setup()

        def do_PUT(self) -> None:
            made.answer(self)

    class Quiet(ThreadingHTTPServer):
        request_queue_size = 64

        def handle_error(self, *_: object) -> None:
            """A client that goes away."""

    server: socketserver.BaseServer = Quiet(("127.0.0.1", 0), Handles)
    made.host = f"127.0.0.1:{server.server_address[1]}"  # type: ignore[index]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


def stored(store: Store, clock: Callable[[], float] = time.monotonic) -> None:
    with Uploader(store.grants, STORE.scaled(0.05), clock) as uploader:
        files = uploader.store(OUTPUTS, lambda _: None)
    assert [file.name for file in files] == [output.name for output in OUTPUTS]
    assert store.objects == {output.name: output.content for output in OUTPUTS}


def test_sixteen_connections_carry_all_files(store: Store) -> None:
    together = threading.Barrier(16)

    def all_here(store: Store, *_: object) -> bool:
        if len(store.puts) <= 16:
            together.wait(60)  # broken, and the test red, unless sixteen come at once
        return False

    store.behave = all_here
    stored(store)
    assert (store.connections, store.most_at_once) == (16, 16)
    assert len(store.puts) == len(OUTPUTS)


def test_last_files_are_made_during_the_uploads(store: Store) -> None:
    made = threading.Event()

    def waits(*_: object) -> bool:
        assert made.wait(60)
        return False

    def more() -> Sequence[Output]:
        while not store.puts:
            time.sleep(0.001)
        made.set()
        return OUTPUTS[-2:]

    store.behave = waits
    with Uploader(store.grants, STORE.scaled(0.05)) as uploader:
        files = uploader.store(OUTPUTS[:-2], lambda _: None, more)
    assert [file.name for file in files] == [output.name for output in OUTPUTS]
    assert store.objects == {output.name: output.content for output in OUTPUTS}


def test_upload_cut_half_way_leaves_nothing_and_is_repeated(store: Store) -> None:
    dead: list[str] = []

    def dies(store: Store, handler: Handler, name: str) -> bool:
        if name not in dead and name.endswith("5.jpg"):
            dead.append(name)
            handler.rfile.read(1000)
            assert name not in store.objects
            handler.connection.close()
            handler.close_connection = True
            return True
        return False

    store.behave = dies
    stored(store)
    assert sorted(store.puts) == sorted([*dead, *(output.name for output in OUTPUTS)])
    assert len(dead) == 4


def test_a_worker_that_starts_again_sends_only_what_is_missing(store: Store) -> None:
    def full(store: Store, handler: Handler, name: str) -> bool:
        if len(store.objects) >= 25:
            store.reply(handler, 400)
            handler.close_connection = True
            return True
        return False

    store.behave = full
    with pytest.raises(Retryable, match="HTTP 400"):
        stored(store)
    there, store.puts, store.behave = set(store.objects), [], lambda *_: False
    assert len(there) >= 25
    stored(store)
    assert set(store.puts) == {output.name for output in OUTPUTS} - there
    store.puts.clear()
    stored(store)
    assert store.puts == []


def test_changed_file_is_sent_again(store: Store) -> None:
    stored(store)
    store.objects[OUTPUTS[3].name] = b"of another run"
    store.puts.clear()
    stored(store)
    assert store.puts == [OUTPUTS[3].name]


def test_grants_that_expire_on_the_way_are_asked_for_anew(store: Store) -> None:
    expired: list[str] = []

    def late(store: Store, handler: Handler, name: str) -> bool:
        if len(expired) < 10 and name not in expired:
            expired.append(name)
            handler.rfile.read(int(handler.headers["Content-Length"]))
            store.reply(handler, 403)
            return True
        return False

    store.behave = late
    stored(store)
    assert len(store.puts) == len(OUTPUTS) + 10


def test_expired_grants_are_renewed_while_files_get_stored(store: Store) -> None:
    """The store accepts three files per round of grants; 40 files need 14 rounds."""
    taken: dict[int, int] = {}

    def three_a_round(store: Store, handler: Handler, _name: str) -> bool:
        with store.lock:
            taken[store.asked] = taken.get(store.asked, 0) + 1
            late = taken[store.asked] > 3
        if late:
            handler.rfile.read(int(handler.headers["Content-Length"]))
            store.reply(handler, 403)
        return late

    store.behave = three_a_round
    stored(store)
    assert store.asked == 14


def test_a_grant_that_has_expired_by_the_clock_is_not_used(store: Store) -> None:
    """Ten minutes pass while the first ten files are sent."""
    now = [0.0]

    def slow(store: Store, handler: Handler, name: str) -> bool:
        with store.lock:
            if store.asked == 1 and len(store.puts) == 10:
                now[0] += 600
        return False

    store.behave = slow
    stored(store, lambda: now[0])
    assert store.asked == 2
    assert len(store.puts) == len(OUTPUTS)


def test_grants_that_have_expired_when_they_come_end_the_worker(store: Store) -> None:
    store.expires_seconds = 0
    with pytest.raises(Retryable, match=r"expired.*4 times"):
        stored(store)
    assert store.puts == []


def test_file_stored_with_a_lost_reply_counts_as_stored(store: Store) -> None:
    lost: list[str] = []

    def loses_the_reply(store: Store, handler: Handler, name: str) -> bool:
        if len(lost) < 3 and name not in lost:
            lost.append(name)
            store.objects[name] = handler.rfile.read(int(handler.headers["Content-Length"]))
            handler.connection.close()
            handler.close_connection = True
            return True
        return False

    store.behave = loses_the_reply
    stored(store)
    assert len(store.puts) == len(OUTPUTS) + 3
    assert store.asked == 2


def test_other_file_under_a_granted_name_is_replaced(store: Store) -> None:
    """By a PUT with a grant of an earlier attempt."""
    forged = OUTPUTS[7].name

    def forges(store: Store, _handler: Handler, name: str) -> bool:
        if store.asked == 1 and name == forged:
            store.objects[name] = b"of an earlier attempt"
        return False

    store.behave = forges
    stored(store)
    assert store.asked == 2


def test_a_file_that_cannot_be_replaced_ends_the_worker(store: Store) -> None:
    store.objects[OUTPUTS[7].name] = b"stays"
    store.removes = False
    with pytest.raises(Retryable, match=r"0007\.jpg.*412.*4 times"):
        stored(store)
    assert store.objects[OUTPUTS[7].name] == b"stays"


def test_a_conflict_between_two_puts_of_a_file_is_tried_again(store: Store) -> None:
    """S3 answers 409 while another conditional request for the key is under way."""
    conflicts: list[str] = []

    def conflict(store: Store, handler: Handler, name: str) -> bool:
        if len(conflicts) < 2 and name not in conflicts:
            conflicts.append(name)
            handler.rfile.read(int(handler.headers["Content-Length"]))
            store.reply(handler, 409)
            return True
        return False

    store.behave = conflict
    stored(store)
    assert store.asked == 1
