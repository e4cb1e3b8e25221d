"""Rotated Secrets with real servers: MongoDB's wire protocol, and signatures verified by an S3 server."""

import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from pymongo.errors import InvalidOperation

from contentgen_contract.records.ownership import Owner
from contentgen_operator.stores.s3 import Storage
from contentgen_runtime import s3
from contentgen_runtime.mongo import RotatedDatabase
from contentgen_sandbox.settings import SandboxStoreSettings
from contentgen_sandbox.stores import s3 as s3_child
from contentgen_sandbox.stores import start, stop
from contentgen_sandbox.testing import BUILT, free_port
from contentgen_simulation.gateway.mounted_secret import Volume

OWNER = Owner(folders=frozenset({"p/"}))


def other_uri(uri: str, name: str) -> str:
    """The same server under another URI."""
    return f"{uri}{'&' if '?' in uri else '/?'}appName={name}"


def test_a_cursor_ends_with_the_client_that_it_began_with(mongo_uri: str, database_name: str, tmp_path: Path) -> None:
    clock = [0.0]
    volume = Volume(tmp_path / "mongodb", {"uri": other_uri(mongo_uri, "first")})
    rotated = RotatedDatabase(volume.folder / "uri", database_name, clock=lambda: clock[0])
    first, rows = rotated.newest, rotated.database["rows"]
    try:
        rows.insert_many([{"_id": number} for number in range(50)])
        cursor = rows.find({}, batch_size=2).sort("_id", 1)
        assert next(cursor) == {"_id": 0}
        volume.write({"uri": other_uri(mongo_uri, "second")})
        rotated.refresh()
        assert rotated.newest is not first
        assert rows.count_documents({}) == 50
        assert [row["_id"] for row in cursor] == list(range(1, 50))
        clock[0] = 600
        rotated.refresh()
        with pytest.raises(InvalidOperation):
            first["rows"].find_one({})
        assert rows.find_one({"_id": 7}) == {"_id": 7}
    finally:
        rotated.newest.client.drop_database(database_name)
        rotated.newest.client.close()


def test_absent_server_or_unknown_user_replaces_no_secret(mongo_uri: str, database_name: str, tmp_path: Path) -> None:
    volume = Volume(tmp_path / "mongodb", {"uri": mongo_uri})
    rotated = RotatedDatabase(volume.folder / "uri", database_name)
    first = rotated.newest
    try:
        stranger = mongo_uri.replace("mongodb://", "mongodb://nobody:wrong@").replace("admin:admin@", "")
        for uri in (f"mongodb://127.0.0.1:{free_port()}/?serverSelectionTimeoutMS=50", stranger):
            volume.write({"uri": uri})
            rotated.refresh()
            assert rotated.newest is first
            assert rotated.database["rows"].find_one({}) is None
    finally:
        first.client.close()


@pytest.mark.skipif("S3_ENDPOINT" in os.environ, reason="changes the key of the embedded server")
async def test_access_key_is_replaced_during_reads_and_writes(tmp_path: Path) -> None:
    settings = SandboxStoreSettings(
        data=tmp_path / "data",
        host="127.0.0.1",
        s3_port=free_port(),
        mongo_port=free_port(),
        versitygw=Path(os.environ.get("VERSITYGW", BUILT / "versitygw")),
        mongo_jars=BUILT / "mongo",
        root_access_key="first",
        root_secret_key="of-the-first",
    )
    settings.data.mkdir()
    endpoint = f"http://127.0.0.1:{settings.s3_port}"
    volume = Volume(tmp_path / "storage", files("first"))
    key = s3.MountedKey(volume.folder, bucket="assets", region="us-east-1", endpoint=endpoint)
    storage = Storage(
        bucket="assets", region="us-east-1", endpoint=endpoint, public_endpoint=None, session=s3.session(key)
    )
    with served(settings):
        storage.ensure_bucket()
        storage._client.put_object(Bucket="assets", Key="p/a", Body=b"a")
        # Before the server knows it: refused, and the first one stays.
        volume.write(files("second"))
        key.refresh()
        assert await storage.exists(OWNER, "p/a")
        assert fetched(storage) == 200
    with served(settings.model_copy(update={"root_access_key": "second", "root_secret_key": "of-the-second"})):
        # No missing file, though this server answers 404.
        with pytest.raises(ClientError, match="No user exists"):
            await storage.exists(OWNER, "p/a")
        with pytest.raises(ClientError, match="No user exists"):
            await storage.stored(OWNER, "p/", ["a"])
        key._rotated._retry_at = 0  # half a minute later
        key.refresh()
        assert await storage.exists(OWNER, "p/a")
        assert fetched(storage) == 200
        await storage.put_marker("key", "0198c0de-0000-7000-8000-000000000000")


def files(name: str) -> dict[str, str]:
    return {"access-key-id": name, "secret-access-key": f"of-the-{name}"}


def fetched(storage: Storage) -> int:
    return httpx.get(storage.provider_get(OWNER, "p/a")).status_code


class served:  # noqa: N801 - read as a verb
    """Run a server within the context."""

    def __init__(self, settings: SandboxStoreSettings) -> None:
        self.settings = settings

    def __enter__(self) -> None:
        self.process: Any = start(s3_child(self.settings))
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{self.settings.s3_port}/")
            except httpx.TransportError:
                assert self.process.poll() is None
            else:
                return

    def __exit__(self, *_: object) -> None:
        stop(self.process)
