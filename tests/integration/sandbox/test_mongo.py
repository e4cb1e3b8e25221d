"""Embedded MongoDB: durability of acknowledged writes, and exclusion of a second writer."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, PyMongoError

from contentgen_sandbox.settings import SandboxStoreSettings
from contentgen_sandbox.stores import mongo, start
from contentgen_sandbox.testing import BUILT, PATIENCE_S, free_port, mongo_server

THREADS = 16


def everyone(work: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(THREADS) as pool:
        return [future.result() for future in [pool.submit(work) for _ in range(THREADS)]]


def test_increments_are_never_lost(database: Database[dict[str, Any]]) -> None:
    counters = database["counters"]
    counters.insert_one({"_id": 1, "n": 0})
    everyone(lambda: [counters.update_one({"_id": 1}, {"$inc": {"n": 1}}) for _ in range(25)])
    assert (counters.find_one({"_id": 1}) or {})["n"] == THREADS * 25


def test_each_job_is_claimed_once(database: Database[dict[str, Any]]) -> None:
    jobs = database["jobs"]
    jobs.insert_many([{"_id": index, "state": "new"} for index in range(100)])

    def claim() -> list[int]:
        claimed = []
        while job := jobs.find_one_and_update({"state": "new"}, {"$set": {"state": "taken"}}):
            claimed.append(job["_id"])
        return claimed

    assert sorted(index for claimed in everyone(claim) for index in claimed) == list(range(100))


def test_a_unique_index_lets_one_in(database: Database[dict[str, Any]]) -> None:
    unique = database["unique"]
    unique.create_index("key", unique=True)

    def insert() -> bool:
        try:
            unique.insert_one({"key": "one"})
        except DuplicateKeyError:
            return False
        return True

    assert sum(everyone(insert)) == 1


def test_upserts_make_one_document(database: Database[dict[str, Any]]) -> None:
    upserts = database["upserts"]
    everyone(lambda: upserts.update_one({"_id": "a"}, {"$inc": {"n": 1}, "$setOnInsert": {"first": True}}, upsert=True))
    assert list(upserts.find()) == [{"_id": "a", "n": THREADS, "first": True}]


@pytest.mark.skipif("MONGODB_URI" in os.environ, reason="kills the embedded server only")
def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    for number in range(2):
        before = len(acknowledged)
        _write_and_kill(tmp_path, number, acknowledged)
        assert len(acknowledged) > before
    with mongo_server(in_memory=False, data=tmp_path) as uri, MongoClient[dict[str, Any]](uri) as client:
        found = {row["_id"] for row in client["kill"]["rows"].find()}
    assert set(acknowledged) - found == set()


def _write_and_kill(data: Path, number: int, acknowledged: list[str]) -> None:
    settings = SandboxStoreSettings(
        data=data,
        host="127.0.0.1",
        mongo_port=free_port(),
        mongo_jars=Path(os.environ.get("MONGO_JARS", BUILT / "mongo")),
        root_access_key="unused",
        root_secret_key="unused-here",
    )
    process = start(mongo(settings))
    enough = threading.Event()

    def write(thread: int) -> None:
        with MongoClient[dict[str, Any]]("127.0.0.1", settings.mongo_port) as client:
            for index in range(10_000):
                name = f"{number}-{thread}-{index}"
                try:
                    client["kill"]["rows"].insert_one({"_id": name})
                except PyMongoError:
                    return
                acknowledged.append(name)
                if index == 20:
                    enough.set()

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(4)]
    try:
        for thread in threads:
            thread.start()
        assert enough.wait(PATIENCE_S)
    finally:
        process.kill()
        process.wait()
        for thread in threads:
            thread.join(PATIENCE_S)
