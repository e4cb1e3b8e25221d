"""Own finished Jobs as room in a full quota: they count in `count/jobs.batch` until their TTL, and paid results must
not wait for that.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.names import UID_LABEL
from contentgen_contract.records import keys
from contentgen_contract.records.ownership import Owner
from contentgen_operator.kube.api import Kube
from contentgen_operator.kube.pods import no_room
from contentgen_operator.leader.leadership import Check
from contentgen_operator.state.observed import JobRecord, JobView
from contentgen_operator.stores.s3 import Storage
from contentgen_operator.stores.worker_jobs import WorkerJobs
from contentgen_runtime.kube import Body, explain

_log = logging.getLogger(__name__)
_COUNTED = ("count/jobs.batch", "count/pods")


class Room(Enum):
    """Room in the quotas of Jobs and pods of a namespace."""

    FREE = auto()  # none is used up, or they cannot be read
    MADE = auto()  # finished Jobs were deleted
    NONE = auto()  # one is used up, by Jobs and pods that have to stay


@dataclass(frozen=True, kw_only=True)
class FinishedJobs:
    """Deletes finished Jobs of this installation: recorded ones, whose outcome is stored."""

    kube: Kube
    jobs: WorkerJobs
    storage: Storage
    operator_class: str
    check: Check  # raises Conflict if this process does not lead

    async def make_room(self, namespace: str) -> Room:
        """Delete the namespace's finished Jobs if a quota that counts them is used up.

        Raises errors of the stores and of the API server.
        """
        try:
            quotas = await self.kube.quotas(namespace)
        except ApiException as error:  # the Role of an older chart lacks the permission
            _log.info("the quotas of %s cannot be read: %s", namespace, explain(error))
            return Room.FREE
        if not is_full(quotas):
            return Room.NONE if no_room(quotas) else Room.FREE
        deleted = [await self._delete(body) for body in await self.kube.jobs_of_class(namespace, self.operator_class)]
        return Room.MADE if any(deleted) else Room.NONE

    async def _delete(self, body: Body) -> bool:
        job, meta = JobView.parse(body), body["metadata"]
        owner = str((meta.get("labels") or {}).get(UID_LABEL))  # any user may write it: the record decides
        record = await self._recorded(owner, job.uid) if job.finished and "deletionTimestamp" not in meta else None
        if record is None:
            return False
        key = keys.outcome(owner, record.run, record.stage, record.attempt)
        if not await self.storage.exists(Owner(keys=frozenset({key})), key):
            return False
        self.check()
        _log.info("Job %s/%s has finished and is deleted: a quota is used up", meta["namespace"], job.name)
        await self.kube.delete_job(meta["namespace"], job.name, job.uid)
        return True

    async def _recorded(self, owner: str, uid: str) -> JobRecord | None:
        newest = await self.jobs.newest(owner, uid)
        listed = () if newest is None else (newest, *newest.earlier)
        return next((resource for resource in listed if resource.uid == uid), None)


def is_full(quotas: Sequence[Body]) -> bool:
    """True if a ResourceQuota admits no further Job, or no further pod that counts after its end."""
    statuses = [quota.get("status") or {} for quota in quotas]
    return any(_is_used_up(status, counted) for status in statuses for counted in _COUNTED)


def _is_used_up(status: Body, counted: str) -> bool:
    hard, used = (str((status.get(part) or {}).get(counted, "")) for part in ("hard", "used"))
    return hard.isdecimal() and used.isdecimal() and int(used) >= int(hard)
