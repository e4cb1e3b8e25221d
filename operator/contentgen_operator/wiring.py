"""kopf watches and reconnects; all that its handlers do is to wake the queue. No finalizer, no annotation of kopf's."""

from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import kopf

from contentgen_contract.names import GROUP, UID_LABEL, VERSION, Kind
from contentgen_operator.observed import ResourceRef

Wake = Callable[[ResourceRef], Awaitable[None]]


class Dependents:
    """Which ImageGenerations draw with which LoraTraining, by namespace and name."""

    def __init__(self) -> None:
        self._users: dict[tuple[str, str], set[ResourceRef]] = defaultdict(set)

    def note(self, ref: ResourceRef, spec: dict[str, Any]) -> None:
        """Remember what an ImageGeneration refers to."""
        for lora in spec.get("loras") or ():
            name = (lora.get("loraRef") or {}).get("name")
            if name:
                self._users[ref.namespace, name].add(ref)

    def forget(self, ref: ResourceRef) -> None:
        """The ImageGeneration is gone."""
        for users in self._users.values():
            users.discard(ref)

    def of(self, lora: ResourceRef) -> tuple[ResourceRef, ...]:
        """Whom a LoraTraining's progress concerns."""
        return tuple(self._users.get((lora.namespace, lora.name), ()))


def build_registry(wake: Wake) -> kopf.OperatorRegistry:
    """Handlers for our resources and the Jobs that they own."""
    registry = kopf.OperatorRegistry()
    dependents = Dependents()

    @kopf.on.startup(registry=registry)
    def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False  # we post our own events, at transitions
        settings.scanning.disabled = True  # the kinds are known; scanning needs rights on all CRDs
        settings.watching.server_timeout = 300
        settings.watching.client_timeout = 330  # a watch that died silently is opened anew (kopf#1276)

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> Any:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    for kind in Kind:
        _watch_kind(registry, kind, wake, dependents)

    @kopf.on.event("batch", "v1", "jobs", labels={UID_LABEL: kopf.PRESENT}, registry=registry)
    async def on_job(body: kopf.Body, **_: Any) -> None:
        ref = _owner_of(dict(body))
        if ref is not None:
            await wake(ref)

    return registry


def _watch_kind(registry: kopf.OperatorRegistry, kind: Kind, wake: Wake, dependents: Dependents) -> None:
    @kopf.on.event(GROUP, VERSION, kind.plural, id=f"wake-{kind.plural}", registry=registry)
    async def on_resource(event: Any, body: kopf.Body, **_: Any) -> None:
        meta = body["metadata"]
        ref = ResourceRef(kind=kind, namespace=meta["namespace"], name=meta["name"], uid=meta["uid"])
        if kind is Kind.IMAGE_GENERATION:
            dependents.forget(ref)
            if event.get("type") != "DELETED":
                dependents.note(ref, dict(body.get("spec") or {}))
        if kind is Kind.LORA_TRAINING:
            for user in dependents.of(ref):
                await wake(user)
        await wake(ref)


def _owner_of(job: dict[str, Any]) -> ResourceRef | None:
    """The resource that a Job works for, by its owner reference."""
    for owner in job["metadata"].get("ownerReferences") or ():
        if owner.get("controller") and owner["apiVersion"].startswith(f"{GROUP}/") and owner["kind"] in list(Kind):
            namespace = job["metadata"]["namespace"]
            return ResourceRef(kind=Kind(owner["kind"]), namespace=namespace, name=owner["name"], uid=owner["uid"])
    return None
