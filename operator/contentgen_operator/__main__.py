"""The operator's process: starts the components and runs them in one event loop until a signal."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from contentgen_operator import components, metrics
from contentgen_operator.components import Foundation, ReconcileLoop
from contentgen_operator.kube.api import Kube
from contentgen_operator.leader.loop import LeaderLoop
from contentgen_operator.leader.tasks import LeaderTasks
from contentgen_operator.providers.network import reach_cluster_directly
from contentgen_operator.settings import Settings
from contentgen_operator.stores.preparation import Indexed, prepare_stores
from contentgen_operator.stores.requirements import Requirement
from contentgen_operator.telemetry.health import OperatorHealth, health_app
from contentgen_operator.telemetry.instrumented import Exposition, counted_worker_api
from contentgen_operator.telemetry.worker_job_check import add_worker_job
from contentgen_operator.watch.kopf_handlers import build_registry, watch
from contentgen_operator.watch.lists import ResourceLists
from contentgen_operator.worker_api.server import create_app
from contentgen_operator.worker_api.tls import WorkerApiTls
from contentgen_runtime import logs
from contentgen_runtime.http_server.servers import plain_server, tls_server
from contentgen_runtime.kube import API_ERRORS, explain
from contentgen_runtime.rotation import keep_fresh
from contentgen_runtime.stores import Stores

_log = logging.getLogger(__name__)
_THREADS = 48
_START_SECONDS = 2.0  # between two attempts to reach the API server
_GOODBYE_SECONDS = 1  # for the tasks to end


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    settings = Settings()
    reach_cluster_directly()
    logs.configure(settings.log_format, settings.log_level)
    if settings.sentry_dsn:
        from contentgen_operator.telemetry import sentry  # noqa: PLC0415 - the SDK takes memory, and few have a DSN

        sentry.start(settings.sentry_dsn, settings.sentry_environment)
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    # More threads than calls of the queue's workers and the worker API: a store that hangs does not block the others.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="store"))
    stop = asyncio.Event()
    _on_signals(stop)
    async with Kube() as kube:
        tls = WorkerApiTls.of(settings.worker_api, kube, settings.namespace)
        refresh_in = await first_certificate(tls, stop)
        if refresh_in is not None:
            await _serve(settings, kube, tls, refresh_in, stop)


async def first_certificate(tls: WorkerApiTls, stop: asyncio.Event) -> float | None:
    """Load the certificate; returns the seconds until the next check, or None if the process is stopped before.

    Waits for an unavailable API server: the kubelet's back-off between restarts would take longer. Raises its 4xx
    errors.
    """
    while not stop.is_set():
        try:
            return await tls.refresh()
        except API_ERRORS as error:
            if (getattr(error, "status", None) or 500) < 500:
                raise
            _log.warning("waiting for the API server: %s", explain(error))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_SECONDS):
                await stop.wait()
    return None


def _on_signals(stop: asyncio.Event) -> None:
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)


async def _serve(settings: Settings, kube: Kube, tls: WorkerApiTls, refresh_in: float, stop: asyncio.Event) -> None:
    connected = Stores.of(settings, settings.s3_session_seconds)
    base = components.build_foundation(settings, kube, tls, connected)
    core = components.build_reconcile_loop(base)
    background = components.build_background(base, core)
    components.register_gauges(base, core)
    health = components.build_health(base, core)
    app = counted_worker_api(create_app(components.build_worker_api(base, core)))
    host = settings.listen_address
    worker_server = tls_server(app, settings.worker_api.port, tls.context, host)
    asked = add_worker_job(health_app(health, Exposition(base.stores.ledger)), components.build_worker_job_check(base))
    health_server = plain_server(asked, settings.health_port, host)
    leader_tasks = LeaderTasks(base.role.acquired, core.reconciler.queue, base.shared.cache.refs)
    handlers = components.build_event_handlers(base, background, leader_tasks)
    lists = ResourceLists(kube, base.selection.namespaces, base.shared.watches, handlers)
    missed = LeaderLoop("deletions that watches missed", 30, lists.notice_deletions, base.shared.watches.has_missed)
    loops = components.leader_loops(base, core, background, lambda: worker_server.started)
    begun = (
        health_server.serve(),
        _together(_prepare(base, health), tls.keep_fresh(refresh_in), keep_fresh(connected.refreshed)),
        leader_tasks.run(worker_server, loops),
        _watch(lists),
        missed.run(),  # also on a standby
        *([base.role.election.lost()] if base.role.election is not None else ()),
    )
    tasks = [asyncio.create_task(work) for work in begun]
    ended = await _until(stop, tasks)
    asyncio.get_running_loop().set_exception_handler(_while_ending)
    await _drain(base, core, leader_tasks)
    health_server.should_exit = True
    leader_tasks.stop()
    await asyncio.wait([*tasks, *leader_tasks.tasks], timeout=_GOODBYE_SECONDS)
    if base.role.election is not None:
        await base.role.election.release()
    for task in ended:
        task.result()


async def _drain(base: Foundation, core: ReconcileLoop, leader_tasks: LeaderTasks) -> None:
    """Start no more payments and wait for the work in progress."""
    core.actor.stop_paying()
    if base.role.leadership.over:
        leader_tasks.stop_others()  # the next leader runs them
    await core.reconciler.queue.drain(base.settings.drain_seconds)


async def _together(*works: Coroutine[Any, Any, None]) -> None:
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(work)


async def _prepare(base: Foundation, health: OperatorHealth) -> None:
    stores = base.stores
    indexed: list[Indexed] = [
        stores.ledger,
        stores.records,
        stores.jobs,
        stores.notifications,
        *base.features,
    ]
    await prepare_stores(stores.storage, indexed)
    health.unmet_requirements = stores.storage.unmet_requirements
    unmet_names = {unmet.requirement for unmet in health.unmet_requirements}
    metrics.gauges.store_requirements = {name.value: name not in unmet_names for name in Requirement}
    health.stores_ready = True


async def _watch(lists: ResourceLists) -> None:
    await lists.begin()
    await watch(build_registry(lists), lists.namespaces.names)


async def _until(stop: asyncio.Event, tasks: list[asyncio.Task[None]]) -> set[asyncio.Task[Any]]:
    """Tasks that have ended: at a signal, or because a task failed that should run forever and the pod restarts."""
    ended, _ = await asyncio.wait({asyncio.create_task(stop.wait()), *tasks}, return_when=asyncio.FIRST_COMPLETED)
    return ended


def _while_ending(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # kopf does not close a watch that is cancelled between two events, and its generator cannot be closed later.
    if "asyncgen" in context:
        _log.info("%s", context["message"])
    else:
        loop.default_exception_handler(context)


if __name__ == "__main__":
    main()
