"""Threads shared by namespaces: one namespace cannot occupy all of them."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from contentgen_contract.records.ownership import Owner
from contentgen_contract.worker.orders import FileOffer
from contentgen_operator.fairness.fair_pool import FairPool
from contentgen_operator.state.observed import BucketFile
from contentgen_operator.stores.s3 import Storage, _Left
from contentgen_simulation.object_storage import unreached_storage

OWNER = Owner(folders=frozenset({"crowd/", "single/"}))
STORED = BucketFile(size_bytes=7, sha256="ab" * 32)
SHARE = 8


class Held:
    """Store requests that block for the namespace "crowd" until they are released."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.keys: list[str] = []

    def _wait(self, key: str) -> None:
        self.keys.append(key)
        if key.startswith("crowd/"):
            self.go_on.wait(60)

    def stored(self, key: str) -> BucketFile | None:
        self._wait(key)
        return STORED

    def versions(self, wanted: set[str]) -> _Left:
        self._wait(min(wanted))
        return _Left([], {})


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    made = Held()
    monkeypatch.setattr(Storage, "_stored", made.stored)
    monkeypatch.setattr(Storage, "_left", made.versions)
    yield made
    made.go_on.set()


def bucket() -> Storage:
    return unreached_storage()


async def looks(storage: Storage, namespace: str, count: int = 1) -> dict[str, BucketFile]:
    return await storage.stored(OWNER, f"{namespace}/", [f"{n:04}.jpg" for n in range(count)], namespace)


async def offers(storage: Storage, namespace: str, _count: int = 1) -> Any:
    offer = FileOffer(name="0000.jpg", size_bytes=7, sha256="ab" * 32, content_type="image/jpeg")
    return await storage.leftovers(OWNER, f"{namespace}/", [offer], namespace)


@pytest.mark.parametrize("crowd", [looks, offers], ids=["outcomes", "uploads"])
@pytest.mark.parametrize("other", [looks, offers], ids=["outcome", "upload"])
async def test_requests_of_one_namespace_leave_threads_to_others(held: Held, crowd: Any, other: Any) -> None:
    storage = bucket()
    asking = [asyncio.create_task(crowd(storage, "crowd", 1000)) for _ in range(20)]
    for _ in range(100):
        await asyncio.sleep(0)
    async with asyncio.timeout(60):  # only a failure takes that long
        await other(storage, "single")
    assert len([key for key in held.keys if key.startswith("crowd/")]) <= SHARE
    held.go_on.set()
    await asyncio.gather(*asking)


async def test_resources_of_one_namespace_progress_side_by_side(held: Held) -> None:
    storage = bucket()
    large = asyncio.create_task(looks(storage, "crowd", 1000))
    for _ in range(100):
        await asyncio.sleep(0)
    small = asyncio.create_task(storage.stored(OWNER, "crowd/", ["small"], "crowd"))
    for _ in range(100):
        await asyncio.sleep(0)
    held.go_on.set()
    assert await small == {"small": STORED}
    assert held.keys.index("crowd/small") <= 3 * SHARE, "not after all of the other's"
    assert len(await large) == 1000


async def test_an_error_ends_the_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fail(_: Storage, key: str) -> None:
        asked.append(key)
        raise ClientError({"Error": {"Code": "SlowDown"}}, "HeadObject")

    monkeypatch.setattr(Storage, "_stored", fail)
    with pytest.raises(ClientError):
        await looks(bucket(), "single", 1000)
    assert len(asked) <= 2 * SHARE


async def test_a_call_keeps_its_place_until_its_thread_is_free() -> None:
    pool, go_on = FairPool(2, 1, "test"), threading.Event()
    first = asyncio.create_task(pool.run("ns", go_on.wait, 60))
    for _ in range(10):
        await asyncio.sleep(0)
    first.cancel()
    second = asyncio.create_task(pool.run("ns", str, 1))
    for _ in range(10):
        await asyncio.sleep(0)
    assert first.cancelled()
    assert pool._turns["ns"].locked()
    assert not second.done()
    go_on.set()
    assert await second == "1"


async def test_idle_groups_are_forgotten() -> None:
    pool = FairPool(2, 1, "test")
    for number in range(100):
        assert await pool.map(f"ns-{number}", str, [1, 2]) == ["1", "2"]
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(pool._turns) <= 1
