"""Resources in namespaces that are not selected any more: released, so that they can be deleted without this operator.

The leader takes its finalizer off and changes nothing else. What was paid stays in the ledger; a request under way is
followed there (`orphans.py`), and the run goes on when the namespace is selected again.
"""

import asyncio
import logging
from typing import Any

from contentgen_contract.names import FINALIZER
from contentgen_operator.kube.api import Kube
from contentgen_operator.leader.leadership import Check, unchecked
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.state.selection import Selection
from contentgen_runtime.kube import API_ERRORS, Conflict, explain

Body = dict[str, Any]
_AGAIN_SECONDS = 5.0
_log = logging.getLogger(__name__)


class NamespaceReleases:
    """Collects them as the watches deliver them, on the standby as well."""

    def __init__(self, kube: Kube, selection: Selection, check: Check = unchecked) -> None:
        """`check` raises Conflict where this process does not lead."""
        self._kube = kube
        self._selection = selection
        self._check = check
        self._waiting: dict[ResourceRef, None] = {}
        self._news = asyncio.Event()

    def note(self, ref: ResourceRef, body: Body) -> None:
        """A resource of our class in a namespace that is not selected."""
        if _has_finalizer(body):
            self._waiting[ref] = None
            self._news.set()

    async def run(self) -> None:
        """Release until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self.release()
            if self._waiting:
                await asyncio.sleep(_AGAIN_SECONDS)
                self._news.set()

    async def release(self) -> None:
        """One try for each that waits."""
        for ref in list(self._waiting):
            try:
                await self._release(ref)
            except Conflict:  # read again the next time
                continue
            except API_ERRORS as error:
                _log.warning("its finalizer stays for now: %s", explain(error), extra=ref.about)
                continue
            self._waiting.pop(ref, None)

    async def _release(self, ref: ResourceRef) -> None:
        """By what the API server has now: the namespace may be selected again, or the resource another one."""
        body = await self._kube.get_resource(ref.kind, ref.namespace, ref.name)
        if body is None or body["metadata"]["uid"] != ref.uid or not _has_finalizer(body):
            return
        if not self._selection.has_left(body):
            return
        meta = body["metadata"]
        others = [each for each in meta["finalizers"] if each != FINALIZER]
        self._check()  # the labels that a former leader knows may be old, although the resource was read now
        await self._kube.put_finalizers(ref.kind, ref.namespace, ref.name, meta["resourceVersion"], others)
        _log.info("%s left the selection: released %s %s", ref.namespace, ref.kind.value, ref.name, extra=ref.about)


def _has_finalizer(body: Body) -> bool:
    return FINALIZER in (body["metadata"].get("finalizers") or ())
