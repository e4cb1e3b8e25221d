"""kopf handlers: kopf watches and reconnects, its handlers call the EventHandlers. No finalizers or annotations of
kopf.
"""

from typing import Any

import kopf

from contentgen_contract.names import GROUP, UID_LABEL, VERSION, Kind
from contentgen_operator.watch.event_handlers import EventHandlers
from contentgen_operator.watch.liveness import CLIENT_SECONDS, SERVER_SECONDS, WatchLiveness


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


def build_registry(handlers: EventHandlers, watches: WatchLiveness) -> kopf.OperatorRegistry:
    """Handlers for our resources and the Jobs that they own."""
    registry = kopf.OperatorRegistry()

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
        settings.watching.label_selectors["batch", "v1", "jobs"] = UID_LABEL  # only our Jobs

    @kopf.on.login(registry=registry)
    async def login(**kwargs: Any) -> Any:
        info = kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
        return watches.session(info) if info is not None else None

    for kind in Kind:
        _watch_kind(registry, kind, handlers)

    @kopf.on.event("batch", "v1", "jobs", registry=registry)
    async def on_job(event: Any, **_: Any) -> None:
        await handlers.job(event["object"], deleted=event["type"] == "DELETED")

    return registry


def _watch_kind(registry: kopf.OperatorRegistry, kind: Kind, handlers: EventHandlers) -> None:
    @kopf.on.event(GROUP, VERSION, kind.plural, id=f"wake-{kind.plural}", registry=registry)
    async def on_resource(event: Any, **_: Any) -> None:
        await handlers.resource(kind, event["object"], deleted=event["type"] == "DELETED")
