"""State of a job with the actions that one viewer may take."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from contentgen_contract.advice.job_state import JobState, state_of_record, state_of_resource
from contentgen_contract.advice.permitted_actions import PermittedAction, Right
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.authorization import Authorizer, Verb
from contentgen_gateway.auth.visibility import KINDS, Visibility
from contentgen_gateway.schemas.changes import JobActionsBody, ViewedAction
from contentgen_gateway.services.job_details import ResourceReader
from contentgen_gateway.services.jobs import JobReader
from contentgen_gateway.services.queue import QueueReader
from contentgen_gateway.stores.records import Record
from contentgen_runtime.kube import Body

_ON_THE_RESOURCE = (Right.SPEND, Right.APPROVE)  # a Role may name single resources; the others are for the namespace


@dataclass(frozen=True, slots=True)
class ViewedStates:
    """States of jobs, as far as their viewers may act on them."""

    jobs: JobReader
    visibility: Visibility
    authorizer: Authorizer
    queue: QueueReader
    resources: ResourceReader

    async def show(self, caller: Caller, job_id: str) -> JobActionsBody:
        """State and permitted actions of one job. Raises NotFound."""
        record = await self.jobs.record(caller, job_id)
        now = await self.of_job(caller, record, await self.resources.current(record))
        return JobActionsBody(
            job_id=job_id,
            state=now.state,
            badge=now.badge,
            sentence=now.sentence,
            needs_person=now.needs_person,
            actions=[ViewedAction.of(action) for action in now.actions],
        )

    async def of_job(self, caller: Caller, record: Record, resource: Body | None) -> JobState:
        """State of a job that the caller may see. `resource` None: it is gone, or of another operator class."""
        if resource is None:
            now = state_of_record(record)
        else:
            now = state_of_resource(resource, self.queue.position(str(record["jobId"])))
        return replace(now, actions=await self._permitted(caller, record, now.actions))

    async def _permitted(
        self, caller: Caller, record: Record, actions: Iterable[PermittedAction]
    ) -> tuple[PermittedAction, ...]:
        given = tuple(actions)
        needed = {right for action in given for right in action.rights}
        rights = {right for right in sorted(needed) if await self._may(caller, record, right)}
        return tuple(action for action in given if rights.issuperset(action.rights))

    async def _may(self, caller: Caller, record: Record, right: Right) -> bool:
        kind = KINDS[str(record["type"])]
        if right in _ON_THE_RESOURCE:
            namespace, name = str(record.get("namespace")), str(record.get("name"))
        else:
            namespace, name = await self.visibility.authority(record), ""
        return await self.authorizer.may(caller, Verb(right.value), kind, namespace, name)
