"""Notifications of a job: their log, another delivery, and the public keys of their signatures."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.authorization import Verb
from contentgen_gateway.problems import NotFound, Problem
from contentgen_gateway.schemas.notifications import JobNotification, NotificationList, PublicKeys
from contentgen_gateway.services.changes.editable_job import EditableJobs
from contentgen_gateway.stores.notifications import Notifications
from contentgen_runtime.clock import Clock


@dataclass(frozen=True, slots=True)
class JobNotifications:
    """Notifications of jobs: callers who may read the resource see them, those who may change it resend them.

    A share of the job is not enough: receivers are not part of what is shared.
    """

    jobs: EditableJobs
    notifications: Notifications
    clock: Clock
    keys_file: Path | None  # mounted from the Secret that the operator writes; None: there is none

    async def of_job(self, caller: Caller, job_id: str) -> NotificationList:
        """Notifications of a job. Raises Problem."""
        await self.jobs.load(caller, job_id, Verb.GET)
        found = await self.notifications.of_job(job_id)
        return NotificationList(job_id=job_id, notifications=[JobNotification.of(document) for document in found])

    async def resend(self, caller: Caller, job_id: str, identity: str) -> JobNotification:
        """Deliver a notification again, with the same id and text. Raises Problem."""
        await self.jobs.load(caller, job_id, Verb.PATCH)
        found = await self.notifications.resend(job_id, identity, caller.name, self.clock())
        if found is None:
            raise NotFound("notification", identity)
        return JobNotification.of(found)

    async def public_keys(self) -> PublicKeys:
        """Public keys. Raises Problem 404 while the operator has not made them."""
        if self.keys_file is not None:
            try:
                return PublicKeys.model_validate(json.loads(await asyncio.to_thread(self.keys_file.read_bytes)))
            except (OSError, ValueError, ValidationError):
                pass
        raise Problem(404, "the operator has not published the keys of its notifications yet; try again in 2 minutes")
