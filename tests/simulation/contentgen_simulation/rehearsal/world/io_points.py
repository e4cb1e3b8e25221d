"""Fault injection points before and after each I/O call of an operator process."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from contentgen_simulation.rehearsal.world.context import ACTING, IN_GATE

_READ_ONLY = ("get", "find", "count", "aggregate", "outcome", "stored", "exists", "require", "job_", "quotas")


class FaultPoints:
    """Replacement of the simulation's `Writes` with fault points."""

    async def __call__(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """Result of the call. Raises the fault's exception."""
        await point(name, "before")
        result = await call()
        await point(name, "after")
        return result


async def point(name: str, side: str) -> None:
    """Fault point in asynchronous code, where a process may be frozen. No-op outside a reconcile."""
    if IN_GATE.get():
        point_now(name, side)
    elif (acting := ACTING.get(None)) is not None:
        await acting.world.faults.strike(acting, name, side)


def point_now(name: str, side: str) -> None:
    """Fault point in synchronous code."""
    if (acting := ACTING.get(None)) is not None:
        acting.world.faults.strike_now(acting, name, side)


class Proxy:
    """Proxy whose coroutine methods are fault points, named after `store`."""

    def __init__(self, target: Any, store: str) -> None:
        self._target = target
        self._store = store

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if name.startswith("_") or not callable(value) or name in ("provider_get", "plain_url", "worker_get"):
            return value
        label = f"{self._store}.{name}"
        if inspect.isasyncgenfunction(value):

            async def each(*args: Any, **named: Any) -> Any:
                await point(label, "before")
                async for found in value(*args, **named):
                    yield found

            return each

        async def call(*args: Any, **named: Any) -> Any:
            await point(label, "before")
            result = await value(*args, **named)
            await point(label, "after")
            return result

        return call


def _nothing() -> None:
    """No-op: other collections have no listener."""


class CollectionProxy:
    """MongoDB collection whose commands are fault points."""

    _COMMANDS = frozenset(
        {
            "find_one", "find", "insert_one", "update_one", "update_many", "find_one_and_update", "replace_one",
            "delete_one", "delete_many", "aggregate", "count_documents",
        }
    )  # fmt: skip

    def __init__(self, collection: Any, changed: Callable[[], None]) -> None:
        self._collection = collection
        self._changed = changed

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._collection, name)
        if name not in self._COMMANDS:
            return value
        label = f"mongo.{self._collection.name}.{name}"

        def call(*args: Any, **named: Any) -> Any:
            point_now(label, "before")
            result = value(*args, **named)
            if not name.startswith(_READ_ONLY) or name == "find_one_and_update":
                self._changed()
            point_now(label, "after")
            return result

        return call


class DatabaseProxy:
    """MongoDB database of such collections."""

    def __init__(self, database: Any, changed: Callable[[], None]) -> None:
        self._database = database
        self._changed = changed

    def __getitem__(self, name: str) -> Any:
        return CollectionProxy(self._database[name], self._changed if name == "ledger" else _nothing)
