"""Rotation of mounted Secrets: used without a restart, and no operation in progress is lost."""

import asyncio
import logging
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import mongomock
import pytest
import stamina
from botocore.exceptions import NoCredentialsError
from pymongo.errors import OperationFailure, PyMongoError

from contentgen_contract.names import Kind, Phase
from contentgen_contract.records.ownership import Owner
from contentgen_gateway.settings import Settings as GatewaySettings
from contentgen_gateway.stores.files import BucketFiles
from contentgen_gateway.stores.verification import OwnedKey
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.settings import Settings
from contentgen_operator.stores.s3 import Storage
from contentgen_runtime import rotation, s3
from contentgen_runtime.mongo import RotatedDatabase, read_uri
from contentgen_runtime.rotation import Rotated, keep_fresh, read_files
from contentgen_runtime.stores import Stores, StoreSettings
from contentgen_simulation.gateway.mounted_secret import Volume
from contentgen_simulation.world import SPECS, World, Writes

KEY = ("access-key-id", "secret-access-key")
OWNER = Owner(folders=frozenset({"p/"}))


def key_files(name: str) -> dict[str, str]:
    return {KEY[0]: f"id-{name}", KEY[1]: f"secret-{name}"}


# Files


class Interrupted(tuple[str, ...]):
    """File names; a new version is written between the first and the second one, `times` times."""

    volume: Volume
    versions: list[dict[str, str]]

    def __iter__(self) -> Iterator[str]:
        for index, name in enumerate(tuple(self[:])):
            if index == 1 and self.versions:
                self.volume.write(self.versions.pop(0))
            yield name


def test_files_of_two_versions_are_never_mixed(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "s3", key_files("a"))
    names = Interrupted(KEY)
    names.volume, names.versions = volume, [key_files("b")]
    assert read_files(volume.folder, names) == ("id-b", "secret-b")


def test_a_volume_that_never_rests_is_read_another_time(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "s3", key_files("a"))
    names = Interrupted(KEY)
    names.volume, names.versions = volume, [key_files(str(number)) for number in range(3)]
    assert read_files(volume.folder, names) is None
    assert read_files(volume.folder, names) == ("id-2", "secret-2")


def test_a_folder_that_is_no_volume_is_read_as_well(tmp_path: Path) -> None:
    for name, text in key_files("a").items():
        (tmp_path / name).write_text(f" {text}\n")
    assert read_files(tmp_path, KEY) == ("id-a", "secret-a")


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe", None])
def test_a_file_that_is_missing_empty_or_no_text_is_unreadable(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "uri").write_bytes(content)
    assert read_files(tmp_path, ("uri",)) is None
    assert KeyFile(str(tmp_path / "uri")).read() is None
    with pytest.raises(ValueError, match="CONTENTGEN_MONGODB_URI_FILE"):
        read_uri("mongodb://unused", tmp_path / "uri")


def test_a_key_of_a_provider_is_the_newest(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "providers", {"fal-key": "a"})
    key = KeyFile(str(volume.folder / "fal-key"))
    assert key.read() == "a"
    volume.write({"fal-key": "b\n"})
    assert key.read() == "b"


# Values and trials


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Value:
    """Readable value, and the trials of it."""

    read: str | None = "a"
    works: set[str] = field(default_factory=set)
    tried: list[str] = field(default_factory=list)

    def use(self, value: str) -> None:
        self.tried.append(value)
        if value not in self.works:
            raise RuntimeError(f"not with {value}")


def test_rejected_value_is_tried_later_and_at_once_on_a_change(
    caplog: pytest.LogCaptureFixture,
) -> None:
    value, clock = Value(), Clock()
    rotated = Rotated("S3", lambda: value.read, value.use, in_use="a", clock=clock)
    rotated.refresh()
    assert value.tried == []
    value.read = "s3cret"
    for clock.now in (0, 10, 29):
        rotated.refresh()
    assert value.tried == ["s3cret"]
    clock.now = 30
    rotated.refresh()
    assert value.tried == ["s3cret"] * 2
    value.read, value.works = "c", {"c"}
    rotated.refresh()
    rotated.refresh()
    assert value.tried == ["s3cret"] * 2 + ["c"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "s3cret" not in caplog.text


def test_a_value_that_is_taken_back_is_no_new_one() -> None:
    value = Value()
    rotated = Rotated("S3", lambda: value.read, value.use, in_use="a", clock=Clock())
    for value.read in ("b", "a", "b"):
        rotated.refresh()
    assert value.tried == ["b", "b"]  # the second one without a pause


def test_a_secret_that_is_gone_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    value = Value(works={"a", "b"})
    rotated = Rotated("MongoDB", lambda: value.read, value.use, in_use="a", clock=Clock())
    for value.read in (None, None, "a", None, "b"):
        rotated.refresh()
    assert value.tried == ["b"]
    assert [record.levelname for record in caplog.records if record.levelno >= logging.WARNING] == ["WARNING"] * 2


async def test_refreshing_goes_on_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "_REFRESH_SECONDS", 0)
    done, enough = list[str](), asyncio.Event()

    class Counted:
        def __init__(self, name: str) -> None:
            self.name = name

        def refresh(self) -> None:
            done.append(self.name)
            if len(done) == 4:
                loop.call_soon_threadsafe(enough.set)

    loop = asyncio.get_running_loop()
    task = asyncio.create_task(keep_fresh([Counted("MongoDB"), Counted("S3")]))
    await enough.wait()
    task.cancel()
    assert done[:4] == ["MongoDB", "S3"] * 2


# MongoDB


class MongoServer:
    """Server in memory that accepts its passwords; URI `mongodb://PASSWORD`."""

    def __init__(self, *passwords: str) -> None:
        self.passwords = set(passwords)
        self.clients: list[_Database] = []
        self.data: Any = mongomock.MongoClient(tz_aware=True)["db"]

    def connect(self, uri: str, _name: str) -> Any:
        if not uri.startswith("mongodb://"):
            raise ValueError("Invalid URI scheme")
        self.clients.append(_Database(self, uri.removeprefix("mongodb://")))
        return self.clients[-1]


class _Database:
    def __init__(self, server: MongoServer, password: str) -> None:
        self.server, self.password, self.closed = server, password, False

    @property
    def client(self) -> Any:
        return self

    def close(self) -> None:
        self.closed = True

    def require_access(self) -> None:
        if self.closed:
            raise PyMongoError("closed")
        if self.password not in self.server.passwords:
            raise OperationFailure("Authentication failed.", 18)

    def __getitem__(self, name: str) -> Any:
        return _Collection(self, name)

    def command(self, _name: str) -> dict[str, int]:
        self.require_access()
        return {"ok": 1}


class _Collection:
    def __init__(self, database: _Database, name: str) -> None:
        self.database, self._inner = database, database.server.data[name]

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            self.database.require_access()
            return getattr(self._inner, name)(*args, **options)

        return call


class Rotating:
    """Server, Secret with its URI, and the operator's database."""

    def __init__(self, tmp_path: Path) -> None:
        self.server, self.clock = MongoServer("a"), Clock()
        self.volume = Volume(tmp_path / "mongodb", {"uri": "mongodb://a\n"})
        self.rotated = RotatedDatabase(self.volume.folder / "uri", "db", self.server.connect, self.clock)
        self.database = self.rotated.database

    def write(self, uri: str) -> None:
        self.volume.write({"uri": uri})
        self.clock.now += 60
        self.rotated.refresh()


@pytest.fixture
def rotating(tmp_path: Path) -> Rotating:
    return Rotating(tmp_path)


def test_a_new_uri_is_used_by_collections_that_were_made_before(rotating: Rotating) -> None:
    ledger = rotating.database["ledger"]
    bindings = ledger.database["request_bindings"]
    ledger.insert_one({"_id": 1})
    rotating.server.passwords.add("b")
    rotating.write("mongodb://b")
    rotating.server.passwords.discard("a")
    assert ledger.find_one({}) == {"_id": 1}
    assert bindings.find_one({}) is None
    assert rotating.database.command("ping") == {"ok": 1}


def test_an_operation_ends_with_the_client_that_it_began_with(rotating: Rotating) -> None:
    rotating.server.passwords.add("b")
    begun = rotating.database["ledger"].insert_one  # as it is handed to a thread
    first = rotating.server.clients[0]
    rotating.write("mongodb://b")
    begun({"_id": 1})
    rotating.clock.now += 599
    rotating.rotated.refresh()
    assert not first.closed
    rotating.clock.now += 1
    rotating.rotated.refresh()
    assert first.closed
    assert [client.closed for client in rotating.server.clients] == [True, False]
    rotating.database["ledger"].insert_one({"_id": 2})


@pytest.mark.parametrize("uri", ["mongodb://wrong", "no uri", " "])
def test_a_uri_that_does_not_work_replaces_nothing(uri: str, rotating: Rotating) -> None:
    rotating.write(uri)
    rotating.database["ledger"].insert_one({"_id": 1})
    assert [client.closed for client in rotating.server.clients[1:]] == [True] * (len(rotating.server.clients) - 1)


def test_password_that_the_server_learns_late_is_used(rotating: Rotating) -> None:
    rotating.write("mongodb://b")
    rotating.database["ledger"].insert_one({"_id": 1})  # still the old one
    rotating.server.passwords = {"b"}
    with pytest.raises(OperationFailure):
        rotating.database["ledger"].find_one({})
    rotating.clock.now += 60
    rotating.rotated.refresh()
    assert rotating.database["ledger"].find_one({}) == {"_id": 1}


@pytest.mark.parametrize("kind", [Kind.IMAGE_GENERATION, Kind.TRANSCRIPTION])
@pytest.mark.parametrize("overlap", [True, False], ids=["both passwords for a while", "one at a time"])
async def test_a_purchase_in_flight_survives_a_rotation(
    kind: Kind, overlap: bool, rotating: Rotating, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password changes after the POST is sent and before its reply is recorded."""
    world = World(monkeypatch, Writes())
    world.database = rotating.database
    world.restart()
    submit = world.provider.submit

    async def rotate(*args: Any) -> str:
        request_id = await submit(*args)
        rotating.server.passwords = {"a", "b"} if overlap else {"b"}
        rotating.volume.write({"uri": "mongodb://b"})
        return request_id

    monkeypatch.setattr(world.provider, "submit", rotate)
    world.kube.apply(kind, SPECS[kind])
    with stamina.set_testing(True, attempts=8):  # attempts without pauses
        for _ in range(20):
            await world.reconcile(kind)
    rotating.rotated.refresh()
    rotating.server.passwords = {"b"}
    status = await world.finish(kind)
    assert status.phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1
    (purchase,) = rotating.server.data["ledger"].find()
    assert purchase["requestId"]


# S3


class S3Keys(ThreadingHTTPServer):
    """S3 with an empty bucket, which accepts known access keys."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.known = {"id-a"}
        self.asked: list[str] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: S3Keys

    def do_GET(self) -> None:
        key = re.findall(r"Credential=([^/]+)/", self.headers.get("authorization", ""))[0]
        self.server.asked.append(key)
        known = key in self.server.known
        body = b"<ListBucketResult/>" if known else b"<Error><Code>InvalidAccessKeyId</Code></Error>"
        self.send_response(200 if known else 403)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        """Refuse a conditional write: the object exists."""
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(412)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Do nothing."""


@pytest.fixture
def s3_keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Keys]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of-the-environment")
    with S3Keys() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def storage_at(server: S3Keys, session: Any) -> Storage:
    return Storage(
        bucket="b", region="us-east-1", endpoint=server.endpoint, public_endpoint="https://public", session=session
    )


def key_of(url: str) -> str:
    return re.findall(r"X-Amz-Credential=([^%]+)%2F", url)[0]


async def test_a_new_access_key_signs_every_request_and_url(s3_keys: S3Keys, tmp_path: Path) -> None:
    volume = Volume(tmp_path / "storage", key_files("a"))
    mounted = s3.MountedKey(volume.folder, bucket="b", region="us-east-1", endpoint=s3_keys.endpoint)
    session = s3.session(mounted)
    storage = storage_at(s3_keys, session)
    files = BucketFiles(
        bucket="b", region="us-east-1", endpoint=s3_keys.endpoint, public_endpoint=None, session=session
    )
    for name in ("a", "b"):
        s3_keys.known.add(f"id-{name}")
        volume.write(key_files(name))
        mounted.refresh()
        s3_keys.asked.clear()
        await storage.require_bucket()
        await files.sizes(["x/"])
        urls = [files.display_url(OwnedKey("p/a.zip")), files.url(OwnedKey("p/a.zip"))]
        urls += [storage.worker_get(OWNER, "p/a.zip", timedelta(1)), storage.provider_get(OWNER, "p/a.zip")]
        assert s3_keys.asked == [f"id-{name}"] * 2
        assert [key_of(url) for url in urls] == [f"id-{name}"] * 4


def test_an_access_key_that_is_refused_replaces_nothing(s3_keys: S3Keys, tmp_path: Path) -> None:
    volume = Volume(tmp_path / "storage", key_files("a"))
    mounted = s3.MountedKey(volume.folder, bucket="b", region="us-east-1", endpoint=s3_keys.endpoint)
    for files in (key_files("wrong"), {KEY[0]: "id-b"}, {KEY[0]: "id-b", KEY[1]: ""}):
        volume.write(files)
        mounted.refresh()
        assert mounted.get_frozen_credentials()[:2] == ("id-a", "secret-a")
    assert s3_keys.asked == ["id-wrong"]


def test_an_access_key_that_comes_after_the_start_is_taken_up(s3_keys: S3Keys, tmp_path: Path) -> None:
    volume = Volume(tmp_path / "storage", {})
    mounted = s3.MountedKey(volume.folder, bucket="b", region="us-east-1", endpoint=s3_keys.endpoint)
    storage = storage_at(s3_keys, s3.session(mounted))
    with pytest.raises(NoCredentialsError):  # not with the environment's
        storage.provider_get(OWNER, "p/a.zip")
    volume.write(key_files("a"))
    mounted.refresh()
    assert key_of(storage.provider_get(OWNER, "p/a.zip")) == "id-a"


# Settings


@pytest.mark.parametrize("settings", [Settings, GatewaySettings])
def test_files_win_over_the_environment(
    settings: type[StoreSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mongo = Volume(tmp_path / "mongodb", {"uri": "mongodb://of-the-file:1/"})
    key = Volume(tmp_path / "storage", key_files("a"))
    monkeypatch.setenv("CONTENTGEN_MONGODB_URI", "mongodb://of-the-environment:1/")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of-the-environment")
    by_environment = Stores.of(settings())
    monkeypatch.setenv("CONTENTGEN_MONGODB_URI_FILE", str(mongo.folder / "uri"))
    monkeypatch.setenv("CONTENTGEN_S3_KEY_FOLDER", str(key.folder))
    by_file = Stores.of(settings())
    try:
        assert [addresses(each) for each in (by_environment, by_file)] == [["of-the-environment"], ["of-the-file"]]
        found = [
            each.session.get_credentials().get_frozen_credentials().access_key for each in (by_environment, by_file)
        ]
        assert found == ["of-the-environment", "id-a"]
        assert (len(by_environment.refreshed), len(by_file.refreshed)) == (0, 2)
    finally:
        for each in (by_environment, by_file):
            each.database.client.close()


def addresses(stores: Stores) -> Sequence[str]:
    return [host for host, _ in stores.database.client._topology_settings.seeds]
