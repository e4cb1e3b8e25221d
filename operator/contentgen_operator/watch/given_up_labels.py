"""Label of given-up work on resources that had failed when this process first saw them.

A run that fails under this release is labelled at its end; others failed under a release without the label. Each
resource is labelled once at most in the life of a process, so a tool that removes the label is not fought with.
"""

import asyncio
import logging
from typing import Any, Protocol

from contentgen_contract.advice.given_up import is_given_up
from contentgen_contract.advice.remedies import Facts
from contentgen_contract.names import GIVEN_UP_LABEL, Phase
from contentgen_operator.leader.leadership import Check, unchecked
from contentgen_operator.state.observed import ResourceRef
from contentgen_runtime.kube import API_ERRORS, Conflict, explain

_log = logging.getLogger(__name__)
_BATCH_SECONDS, _PAUSE_SECONDS = 1.0, 30.0
_AT_ONCE = 50  # in one batch
Body = dict[str, Any]


class LabelWriter(Protocol):
    """Access to labels of resources."""

    async def put_label(self, ref: ResourceRef, version: str, name: str, value: str | None) -> Body:
        """Raises Conflict if `version` is not the newest."""
        ...


class GivenUpLabels:
    """Collects failed resources without the label from the watches, and labels them."""

    def __init__(self, kube: LabelWriter, check: Check = unchecked) -> None:
        """`check` raises Conflict if this process does not lead."""
        self._kube, self._check = kube, check
        self._seen: set[str] = set()  # uids of failed resources
        self._waiting: dict[ResourceRef, str] = {}  # resourceVersion
        self._changed = asyncio.Event()

    def note(self, ref: ResourceRef, body: Body) -> None:
        """Note a finished resource (JSON)."""
        status = body.get("status") or {}
        if status.get("phase") != Phase.FAILED:
            self.forget(ref)
            return
        if ref.uid in self._seen and ref not in self._waiting:
            return
        self._seen.add(ref.uid)
        labelled = GIVEN_UP_LABEL in (body["metadata"].get("labels") or {})
        if labelled or not is_given_up(Facts.parse(status)):
            self._waiting.pop(ref, None)
            return
        self._waiting[ref] = str(body["metadata"].get("resourceVersion"))
        self._changed.set()

    def forget(self, ref: ResourceRef) -> None:
        """Remove a deleted resource, or one whose run goes on."""
        self._seen.discard(ref.uid)
        self._waiting.pop(ref, None)

    async def write(self) -> None:
        """Label one batch. Raises Conflict if this process does not lead, and API errors."""
        for ref, version in list(self._waiting.items())[:_AT_ONCE]:
            self._check()
            try:
                await self._kube.put_label(ref, version, GIVEN_UP_LABEL, "true")
            except Conflict:  # the watch delivers the newer one, or its deletion
                _log.info("the label of %s is written later", ref.name, extra=ref.about)
                if self._waiting.get(ref) == version:
                    self._waiting[ref] = self._waiting.pop(ref)  # behind the others
                continue
            if self._waiting.get(ref) == version:
                del self._waiting[ref]

    async def run(self) -> None:
        """Label until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            pause = _BATCH_SECONDS
            try:
                await self.write()
            except Conflict as error:
                _log.info("the next leader labels given-up work: %s", error)
                pause = _PAUSE_SECONDS
            except API_ERRORS as error:
                _log.info("given-up work cannot be labelled yet: %s", explain(error))
                pause = _PAUSE_SECONDS
            await asyncio.sleep(pause)
            if self._waiting:
                self._changed.set()
