"""Release of resources in namespaces that are no longer selected, so that they can be deleted without this operator.

The leader removes its finalizer and changes nothing else. Payments stay in the ledger; a request in progress is
followed there (`orphans/`), and the run continues when the namespace is selected again.
"""

import asyncio
import logging

from contentgen_contract.names import FINALIZER
from contentgen_operator.kube.api import Kube
from contentgen_operator.kube.selection import Selection
from contentgen_operator.leader.leadership import Check, unchecked
from contentgen_operator.state.observed import ResourceRef
from contentgen_runtime.kube import API_ERRORS, Body, Conflict, explain

_log = logging.getLogger(__name__)


class NamespaceReleases:
    """Collects such resources from the watches, also on a standby."""

    def __init__(self, kube: Kube, selection: Selection, check: Check = unchecked) -> None:
        """`check` raises Conflict if this process does not lead."""
        self._kube = kube
        self._selection = selection
        self._check = check
        self._waiting: dict[ResourceRef, None] = {}
        self.changed = asyncio.Event()

    def note(self, ref: ResourceRef, body: Body) -> None:
        """Note a resource of our class in a namespace that is not selected."""
        if _has_finalizer(body):
            self._waiting[ref] = None
            self.changed.set()

    async def release(self) -> None:
        """Try once to release each noted resource."""
        for ref in list(self._waiting):
            try:
                await self._release(ref)
            except Conflict:  # read again at the next attempt
                continue
            except API_ERRORS as error:
                _log.warning("the finalizer cannot be removed yet: %s", explain(error), extra=ref.about)
                continue
            self._waiting.pop(ref, None)

    async def _release(self, ref: ResourceRef) -> None:
        """Decide on a fresh read: the namespace may be selected again, or the name may have another resource."""
        body = await self._kube.get_resource(ref.kind, ref.namespace, ref.name)
        if body is None or body["metadata"]["uid"] != ref.uid or not _has_finalizer(body):
            return
        if not self._selection.has_left(body):
            return
        meta = body["metadata"]
        others = [finalizer for finalizer in meta["finalizers"] if finalizer != FINALIZER]
        self._check()  # a former leader's labels may be old, although the resource was just read
        await self._kube.put_finalizers(ref.kind, ref.namespace, ref.name, meta["resourceVersion"], others)
        _log.info("%s left the selection: released %s %s", ref.namespace, ref.kind.value, ref.name, extra=ref.about)


def _has_finalizer(body: Body) -> bool:
    return FINALIZER in (body["metadata"].get("finalizers") or ())
