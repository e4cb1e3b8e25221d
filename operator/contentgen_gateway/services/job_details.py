"""Resource of a job as its page shows it: status, ignored annotations, events."""

from dataclasses import dataclass
from typing import Any

from contentgen_gateway.auth.visibility import KINDS
from contentgen_gateway.live.resources import JobResources, Unreadable
from contentgen_gateway.problems import Problem
from contentgen_gateway.services.run_state import ignored_annotations
from contentgen_gateway.stores.records import Record
from contentgen_runtime.kube import Body


@dataclass(frozen=True, slots=True)
class ResourceDetails:
    """Resource of a job, None if it is gone or of another operator class; notes in sentences; events, newest first."""

    resource: Body | None
    notes: tuple[str, ...]
    events: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ResourceReader:
    """Resources of jobs, with their events."""

    resources: JobResources

    async def details(self, record: Record) -> ResourceDetails:
        """Resource and events of a job whose record the caller may see."""
        found = await self._resource(record)
        if found is None or not self.resources.serves(found):
            return ResourceDetails(None, self._class_note(found), [])
        meta = found["metadata"]
        events = await self.resources.events(meta["namespace"], meta["uid"])
        return ResourceDetails(found, ignored_annotations(found), events)

    async def current(self, record: Record) -> Body | None:
        """Resource of a job whose record the caller may see; None if it is gone or of another operator class."""
        found = await self._resource(record)
        return found if found is not None and self.resources.serves(found) else None

    async def _resource(self, record: Record) -> Body | None:
        """None also for a later resource of the same name."""
        kind, namespace, name = KINDS.get(str(record.get("type"))), record.get("namespace"), record.get("name")
        if kind is None or not isinstance(namespace, str) or not isinstance(name, str):
            return None
        try:
            found = await self.resources.get(kind, namespace, name)
        except Unreadable:  # the page shows the record alone
            return None
        return found if found and (found.get("metadata") or {}).get("uid") == record["jobId"] else None

    def _class_note(self, found: Body | None) -> tuple[str, ...]:
        try:
            if found is not None:
                self.resources.require_class(found)
        except Problem as problem:
            return (problem.detail,)
        return ()
