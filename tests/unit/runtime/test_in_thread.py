"""Blocking calls of asynchronous code."""

import asyncio
import threading
from contextvars import ContextVar

import pytest

from contentgen_runtime.stores import in_thread

CALLER: ContextVar[str] = ContextVar("CALLER")


class Store:
    """Store with one blocking method."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.release = threading.Event()
        self.ended = threading.Event()

    @in_thread
    def put(self, key: str, *, fails: bool = False) -> str:
        """Waits for `release`."""
        self.calls.append((threading.current_thread().name, CALLER.get()))
        self.release.wait(60)
        self.ended.set()
        if fails:
            raise KeyError(key)
        return key


async def test_a_blocking_method_runs_in_a_thread_with_context() -> None:
    CALLER.set("ann")
    store = Store()
    store.release.set()
    assert await store.put("a") == "a"
    ((thread, caller),) = store.calls
    assert (thread != threading.current_thread().name, caller) == (True, "ann")
    with pytest.raises(KeyError, match="b"):
        await store.put("b", fails=True)


async def test_a_cancelled_call_ends_in_its_thread() -> None:
    CALLER.set("ann")
    store = Store()
    call = asyncio.create_task(store.put("a"))
    while not store.calls:  # noqa: ASYNC110 - the thread has no event of the loop
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    store.release.set()
    assert store.ended.wait(60)
