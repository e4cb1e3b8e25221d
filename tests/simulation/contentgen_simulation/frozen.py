"""Simulation of an operator process frozen before an I/O operation while another process leads.

A frozen process is a call that does not return: the other process meanwhile runs in a thread with its own event loop.
The former leader's `Leadership` has expired when it continues, as measured by CLOCK_BOOTTIME.
"""

import asyncio
import copy
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from contentgen_operator.leader.election import LeaderTerm
from contentgen_operator.leader.leadership import Leadership
from contentgen_simulation.world import INLINE, World

Meanwhile = Callable[[], Awaitable[None]]
_COMMANDS = frozenset(
    {
        "find_one", "find", "insert_one", "update_one", "update_many", "find_one_and_update", "replace_one",
        "delete_one", "delete_many", "aggregate", "count_documents",
    }
)  # fmt: skip
_NO_IO = ("provider_get", "plain_url", "worker_get", "configured")
# Time at which a cluster's operator was last seen; it belongs to no resource.
_TIMES = ("seenAt",)


class Freezer:
    """Freezes a process before its I/O operation number `at` (from 0). `done`: names of the operations so far."""

    def __init__(self, at: int, meanwhile: Meanwhile, world: World) -> None:
        self.done: list[str] = []
        self.met: dict[str, Any] = {}  # contents of the stores before the other process
        self.left: dict[str, Any] | None = None  # contents of the stores after it
        self._at = at
        self._meanwhile = meanwhile
        self._world = world
        self.leadership = Leadership()
        self.leadership.grant(LeaderTerm(float("-inf"), float("inf")))

    @property
    def frozen(self) -> bool:
        """Whether the process was frozen."""
        return len(self.done) > self._at

    def point(self, name: str) -> None:
        """Count an operation, and freeze before the chosen one."""
        self.done.append(name)
        if len(self.done) == self._at + 1:
            self.leadership.revoke("the Lease is another's")
            self.met = contents(self._world)
            with ThreadPoolExecutor(1) as thread:
                thread.submit(lambda: asyncio.run(self._other())).result()
            self.left = contents(self._world)

    async def _other(self) -> None:
        asyncio.get_running_loop().set_default_executor(INLINE)
        await self._meanwhile()


class _Calls:
    """Proxy that counts coroutine methods as operations, named after `store`."""

    def __init__(self, target: Any, store: str, freezer: Freezer) -> None:
        self._target = target
        self._store = store
        self._freezer = freezer

    def __getattr__(self, name: str) -> Any:
        value, label = getattr(self._target, name), f"{self._store}.{name}"
        if inspect.isasyncgenfunction(value):

            async def each(*args: Any, **named: Any) -> AsyncIterator[Any]:
                self._freezer.point(label)
                async for found in value(*args, **named):
                    yield found

            return each
        if not inspect.iscoroutinefunction(value) or name in _NO_IO:
            return value

        async def call(*args: Any, **named: Any) -> Any:
            self._freezer.point(label)
            return await value(*args, **named)

        return call


class _Collection:
    def __init__(self, collection: Any, point: Callable[[str], None]) -> None:
        self._collection = collection
        self._point = point

    @property
    def database(self) -> "_Database":
        return _Database(self._collection.database, self._point)

    def __getattr__(self, name: str) -> Any:
        value, label = getattr(self._collection, name), f"mongo.{self._collection.name}.{name}"
        if name not in _COMMANDS:
            return value

        def call(*args: Any, **named: Any) -> Any:
            self._point(label)
            return value(*args, **named)

        return call


class _Database:
    def __init__(self, database: Any, point: Callable[[str], None]) -> None:
        self._database = database
        self._point = point

    def __getitem__(self, name: str) -> Any:
        return _Collection(self._database[name], self._point)


def traced_collection(collection: Any, point: Callable[[str], None]) -> Any:
    """A collection that calls `point` with the name of each command before it."""
    return _Collection(collection, point)


class FormerLeader(World):
    """Operator process in a world, stopped by `freezer`, on the world's time."""

    def __init__(self, world: World, freezer: Freezer) -> None:
        self.__dict__.update({name: value for name, value in world.__dict__.items() if name != "now"})
        self._world = world
        self.kube: Any = _Calls(world.kube, "kube", freezer)
        self.storage: Any = _Calls(world.storage, "storage", freezer)
        self.provider: Any = _Calls(world.provider, "provider", freezer)
        self.database = _Database(world.database, freezer.point)
        self.leadership = freezer.leadership
        self.restart()

    @property
    def now(self) -> datetime:  # type: ignore[override]  # overrides World
        return self._world.now


def contents(world: Any) -> dict[str, Any]:
    """Contents of Kubernetes, MongoDB and the bucket, by name. Events are excluded, because they may be late."""
    found: dict[str, Any] = {}
    for collection in world.database.list_collection_names():
        for document in world.database[collection].find():
            found[f"{collection} {document['_id']}"] = {key: document[key] for key in document if key not in _TIMES}
    cluster, bucket = getattr(world, "cluster", None) or world.kube, getattr(world, "bucket", None) or world.storage
    found |= {f"resource {key}": value for key, value in cluster.resources.items()}
    found |= {f"job {key}": value for key, value in cluster.jobs.items()}
    found |= {f"object {key}": value for key, value in bucket.objects.items()}
    if isinstance(world, World):
        found |= {"posts": len(world.provider.posts), "cancelled": list(world.provider.cancelled)}
    return copy.deepcopy(found)


def effects(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Differences as (before, after); None for a missing object."""
    return {
        name: (before.get(name), after.get(name))
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name)
    }
