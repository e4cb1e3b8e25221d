"""Position of a job in the operator's queue before its payment, from the watched resources of its namespace."""

from dataclasses import dataclass

from contentgen_contract.resources.queue_position import QueuePosition, position_of
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.visibility import Visibility
from contentgen_gateway.live.jobs import LiveJobs
from contentgen_gateway.schemas.bodies import JobQueue


@dataclass(frozen=True, slots=True)
class QueueReader:
    """Positions of jobs that a caller may see."""

    visibility: Visibility
    live: LiveJobs

    async def show(self, caller: Caller, job_id: str) -> JobQueue:
        """Queue of one job. Raises NotFound."""
        await self.visibility.job(caller, job_id)
        found, snapshot = self.position(job_id), self.live.get(job_id)
        if found is None or snapshot is None:
            return JobQueue(queued=False)
        status = snapshot.status
        return JobQueue(
            queued=True,
            position=found.position,
            waiting=found.waiting,
            provider=found.provider,
            reason=status.reason,
            message=status.message,
        )

    def position(self, job_id: str) -> QueuePosition | None:
        """Position of a job that the caller may see; None if it does not wait."""
        snapshot = self.live.get(job_id)
        if snapshot is None or snapshot.queue is None:
            return None
        return position_of(job_id, self.live.queue(snapshot.meta.namespace))
