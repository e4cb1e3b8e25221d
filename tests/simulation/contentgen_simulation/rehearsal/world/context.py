"""Context of simulated I/O: the acting process, and the patches that apply during a rehearsal."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import httpx
import stamina

from contentgen_operator import clock
from contentgen_operator.providers.sending import ThreadGate
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.stores import ledger

if TYPE_CHECKING:
    from contentgen_simulation.rehearsal.world.process import RehearsalProcess
    from contentgen_simulation.rehearsal.world.world import RehearsalWorld

T = TypeVar("T")


class Acting(NamedTuple):
    """Operator process that performs I/O, and the resource that it reconciles, or the background task."""

    world: "RehearsalWorld"
    process: "RehearsalProcess"
    ref: ResourceRef | None
    task: str = ""  # notifier, audit


ACTING: ContextVar[Acting] = ContextVar("ACTING")
IN_GATE: ContextVar[bool] = ContextVar("IN_GATE", default=False)  # within `_started`, where nothing may wait


async def _inline(call: Callable[..., T], *args: Any, **named: Any) -> T:
    """Replacement of asyncio.to_thread: single-threaded, so that a seed always gives the same run."""
    return call(*args, **named)


async def _send_async(_: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
    acting = ACTING.get()
    request.read() if isinstance(request.stream, httpx.SyncByteStream) else await request.aread()
    return await acting.world.provider.answer(request)


def _send(_: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
    request.read()
    return ACTING.get().world.provider.answer_now(request)


def _started(gate: ThreadGate) -> "Future[None]":
    """Replacement of ThreadGate._start: with one thread, the coroutine runs here and must not wait."""
    done, waiting = Future[None](), gate._awaited()
    inside = IN_GATE.set(True)
    try:
        waiting.send(None)
    except StopIteration:
        done.set_result(None)
    except BaseException as error:  # noqa: BLE001 - as a future has it, also a crash
        done.set_exception(error)
    else:
        waiting.close()
        raise AssertionError("the code before a POST must not wait")
    finally:
        IN_GATE.reset(inside)
    return done


class _Time:
    """Replacement of the module `time` in the ledger's rate memory."""

    @staticmethod
    def monotonic() -> float:
        return ACTING.get().world.seconds


def _now() -> datetime:
    return ACTING.get().process.now()


@contextmanager
def rehearsing() -> Iterator[None]:
    """Patch time, threads and HTTP of this process with simulated ones. Retries do not sleep."""
    kept: list[tuple[Any, str, Any]] = []

    def put(target: Any, name: str, value: Any) -> None:
        kept.append((target, name, getattr(target, name)))
        setattr(target, name, value)

    put(asyncio, "to_thread", _inline)
    put(httpx.AsyncHTTPTransport, "handle_async_request", _send_async)
    put(httpx.HTTPTransport, "handle_request", _send)
    put(ThreadGate, "_start", _started)
    put(ledger, "time", _Time)
    real = clock.utc_now
    for name, module in list(sys.modules.items()):
        if name.startswith("contentgen_operator") and getattr(module, "utc_now", None) is real:
            put(module, "utc_now", _now)
    try:
        with stamina.set_testing(True, attempts=8):
            yield
    finally:
        for target, name, value in reversed(kept):
            setattr(target, name, value)
