"""Permission of this process to work."""

import asyncio
from dataclasses import dataclass

from contentgen_operator.leader.class_claim import ClassClaim
from contentgen_operator.leader.leadership import Leadership
from contentgen_operator.leader.thread import ElectionThread


@dataclass(frozen=True)
class LeaderRole:
    """Permission of this process to work: the leader election and the claim of the operator class."""

    leadership: Leadership
    election: ElectionThread | None  # None: the process leads without an election
    claim: ClassClaim | None  # None: the process serves the class without a claim

    @property
    def works(self) -> bool:
        """True if this process leads and its installation owns the operator class."""
        return self.leadership.is_leader and (self.claim is None or self.claim.held)

    @property
    def problem(self) -> str:
        """Why the operator class is not claimed; empty if it is."""
        return self.claim.problem if self.claim is not None else ""

    async def acquired(self) -> None:
        """Wait until this process leads and its installation owns the operator class."""
        if self.election is not None:
            watching = asyncio.create_task(self.claim.watched()) if self.claim is not None else None
            try:
                await self.election.elected()
            finally:
                if watching is not None:
                    watching.cancel()
        if self.claim is not None:
            await self.claim.acquired()
