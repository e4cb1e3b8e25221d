"""kopf lists and watches, and its handlers call the EventHandlers. It does nothing else here
([decision 0052](../../../docs/decisions/0052-kopf-watches.md)).
"""

import asyncio
from collections.abc import Collection
from functools import partial
from typing import Any, Protocol

import kopf

from contentgen_contract.names import GROUP, UID_LABEL, VERSION, Kind
from contentgen_operator.watch.event_handlers import Body
from contentgen_operator.watch.lists import ResourceLists
from contentgen_operator.watch.liveness import CLIENT_SECONDS, SERVER_SECONDS

_JOBS = ("batch", "v1", "jobs")
_NAMESPACES = ("", "v1", "namespaces")


class Handle(Protocol):
    """Handler of the events of one kind."""

    async def __call__(self, body: Body, *, deleted: bool) -> None:
        """Handle an object that was listed, added, changed or deleted."""


class NoMemory(kopf.DiffBaseStorage):
    """Storage of last-seen states, disabled: kopf copies every object for a diff that no handler uses."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Return an empty essence."""
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        """Return an empty essence."""
        return kopf.BodyEssence()

    def store(self, **_: Any) -> None:
        """Do nothing."""


async def watch(
    registry: kopf.OperatorRegistry, names: Collection[str], settings: kopf.OperatorSettings | None = None
) -> None:
    """Watch the namespaces of a list (empty: all) until SIGTERM or SIGINT, which kopf handles from then on.

    Raises the error that ended a task of kopf. `kopf.operator` would also take each task that the process begins later
    for its own, and cancel it 5 s after the end: a paid request in progress would lose its reply.
    """
    where: dict[str, Any] = {"namespaces": names} if names else {"clusterwide": True}
    tasks = await kopf.spawn_tasks(registry=registry, settings=settings, standalone=True, **where)
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        for task in tasks:
            task.cancel()


def build_registry(lists: ResourceLists) -> kopf.OperatorRegistry:
    """Handlers for our resources, the Jobs that they own, and the namespaces with the labels of the selector."""
    registry, selector = kopf.OperatorRegistry(), lists.namespaces.selector

    @kopf.on.startup(registry=registry)
    def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False  # the operator creates its own events, at transitions
        settings.scanning.disabled = True  # the kinds are known; scanning needs rights on all CRDs
        settings.persistence.diffbase_storage = NoMemory()
        # kopf keeps a task with the body of each object until this timeout: for a list of 2,000, all at once.
        settings.queueing.idle_timeout = 0.1
        settings.watching.server_timeout = SERVER_SECONDS
        settings.watching.client_timeout = CLIENT_SECONDS  # a dead watch is reopened (kopf#1276)
        settings.watching.chunk_size = 50  # each may have 256 KiB of annotations
        settings.watching.label_selectors[_JOBS] = UID_LABEL  # only our Jobs
        settings.watching.label_selectors[_NAMESPACES] = str(selector)

    @kopf.on.login(registry=registry)
    async def login(**kwargs: Any) -> Any:
        info = kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
        return lists.watches.session(info) if info is not None else None

    for kind in Kind:
        _on_event(registry, (GROUP, VERSION, kind.plural), partial(lists.handlers.resource, kind))
    _on_event(registry, _JOBS, lists.handlers.job)
    if selector is not None:
        _on_event(registry, _NAMESPACES, lists.namespace)
    return registry


def _on_event(registry: kopf.OperatorRegistry, resource: tuple[str, str, str], handle: Handle) -> None:
    @kopf.on.event(*resource, id=resource[-1], registry=registry)
    async def on_event(event: Any, **_: Any) -> None:
        await handle(event["object"], deleted=event["type"] == "DELETED")
