"""What a watch delivers, and whom it concerns: kept in the cache, and woken only where there may be something to do."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from contentgen_contract.names import Kind
from contentgen_contract.resources.owner_references import controllers
from contentgen_operator import metrics
from contentgen_operator.kube.api import Kube
from contentgen_operator.kube.cache import Cache
from contentgen_operator.state.observed import JobView, ResourceRef, is_settled
from contentgen_operator.state.selection import DEFAULT, Selection
from contentgen_operator.watch.lora_names import LoraNames
from contentgen_operator.watch.settled import SettledCheck
from contentgen_operator.worker_api.reports import Reports
from contentgen_runtime.kube import API_ERRORS, explain

Body = dict[str, Any]
_FIRST_LOOK_SECONDS = 10.0
_AGAIN_SECONDS = 5.0
_log = logging.getLogger(__name__)
Wake = Callable[[ResourceRef], Awaitable[None]]


class Dependents:
    """Which ImageGenerations draw with which LoraTraining, by namespace and name."""

    def __init__(self) -> None:
        self._users: dict[tuple[str, str], set[ResourceRef]] = defaultdict(set)
        self._used: dict[ResourceRef, set[tuple[str, str]]] = {}

    def note(self, ref: ResourceRef, spec: dict[str, Any]) -> None:
        """Remember what an ImageGeneration refers to now."""
        self.forget(ref)
        names = {(lora.get("loraRef") or {}).get("name") for lora in spec.get("loras") or ()}
        self._used[ref] = {(ref.namespace, name) for name in names if name}
        for lora in self._used[ref]:
            self._users[lora].add(ref)

    def forget(self, ref: ResourceRef) -> None:
        """The ImageGeneration is finished or gone."""
        for lora in self._used.pop(ref, ()):
            self._users[lora].discard(ref)
            if not self._users[lora]:
                del self._users[lora]

    def of(self, lora: ResourceRef) -> tuple[ResourceRef, ...]:
        """Whom a LoraTraining's progress concerns."""
        return tuple(self._users.get((lora.namespace, lora.name), ()))


class EventHandlers:
    """The handlers of the watches, without kopf."""

    def __init__(
        self,
        cache: Cache,
        wake: Wake,
        reports: Reports,
        names: LoraNames | None = None,
        settled: SettledCheck | None = None,
        *,
        selection: Selection = DEFAULT,
        left: Callable[[ResourceRef, Body], None] = lambda *_: None,
        gone: Wake | None = None,
    ) -> None:
        """`left` is told of each resource of our class in a namespace that is not selected; `gone` of each that was
        deleted (None: `wake` is).
        """
        self._gone = gone or wake
        self._selection = selection
        self._left = left
        self._settled = settled
        self._names = names or LoraNames()
        self._cache = cache
        self._wake = wake
        self._reports = reports
        self._dependents = Dependents()

    async def first_look(self, kube: Kube, namespaces: Iterable[str] = ("",)) -> None:
        """What is not finished, before the watches list everything: thousands of finished resources hold up nobody.

        The empty name stands for all namespaces. It only saves time. What is not found here, the watches deliver.
        """
        for namespace in namespaces:
            try:
                async with asyncio.timeout(_FIRST_LOOK_SECONDS):
                    for kind in Kind:
                        async for body in kube.unfinished(kind, namespace):
                            await self.resource(kind, body, deleted=False)
            except API_ERRORS as error:
                _log.info("the first look ended early%s: %s", f" in {namespace}" * bool(namespace), explain(error))

    async def look(self, kube: Kube, namespace: str) -> None:
        """Look at all resources of a namespace that is selected from now on, or no longer.

        An API server that is away is waited for.
        """
        while True:
            try:
                for kind in Kind:
                    async for body in kube.every(kind, namespace):
                        await self.resource(kind, body, deleted=False)
                return
            except API_ERRORS as error:
                _log.warning("the resources of %s are listed later: %s", namespace, explain(error))
            await asyncio.sleep(_AGAIN_SECONDS)

    async def resource(self, kind: Kind, body: Body, *, deleted: bool) -> None:
        """One of ours was listed, added, changed or deleted."""
        meta = body["metadata"]
        ref = ResourceRef(kind=kind, namespace=meta["namespace"], name=meta["name"], uid=meta["uid"])
        status, served = body.get("status") or {}, self._selection.serves(body)
        if deleted or not served:
            self._not_served(ref, body, deleted=deleted)
        else:
            metrics.gauges.note_resource(ref.uid, kind, status.get("phase") or "Pending", status.get("reason") or "")
        over = deleted or is_settled(body)
        # A LoRA's name, and the LoRA that an image waits for, may be those of a resource that is not served.
        if kind is Kind.LORA_TRAINING:
            for waiting in self._names.forget(ref.uid) if deleted else self._names.note(body):
                await self._wake(waiting)
        if kind is Kind.LORA_TRAINING and over:
            for user in self._dependents.of(ref):
                await self._wake(user)
        if over or not served:
            self._cache.forget(ref)
            self._dependents.forget(ref)
            if deleted:  # it may have been served before it moved: its record ends
                await self._gone(ref)
            self._compare_later(ref, status if served and not deleted else None)
            return
        self._compare_later(ref, None)
        if kind is Kind.IMAGE_GENERATION:
            self._dependents.note(ref, body.get("spec") or {})
        if self._cache.note(ref, body):
            await self._wake(ref)

    def _not_served(self, ref: ResourceRef, body: Body, *, deleted: bool) -> None:
        metrics.gauges.forget_resource(ref.uid)
        if not deleted and self._selection.has_left(body):
            self._left(ref, body)

    def _compare_later(self, ref: ResourceRef, finished: dict[str, Any] | None) -> None:
        """Have a finished status compared with its run document; None: there is none any more."""
        if self._settled is None:
            return
        if finished is None:
            self._settled.forget(ref)
        else:
            self._settled.note(ref, finished)

    async def job(self, body: Body, *, deleted: bool) -> None:
        """A Job that a resource may own. Its pods' comings and goings change nothing; its end does."""
        ref, job = owner_of(body), JobView.parse(body)
        if deleted or job.finished:
            self._reports.forget(job.uid)
        if ref is None or ref not in self._cache:
            return
        if deleted:
            self._cache.drop_job(ref, job.name)
            await self._wake(ref)
        elif self._cache.note_job(ref, job):
            await self._wake(ref)


def owner_of(job: Body) -> ResourceRef | None:
    """The resource that a Job works for, by its owner reference."""
    for owner in controllers(job):
        if (kind := owner.resource_kind) is not None:
            return ResourceRef(kind=kind, namespace=job["metadata"]["namespace"], name=owner.name, uid=owner.uid)
    return None
