"""Permission of this process to work."""

import asyncio
from dataclasses import dataclass

from contentgen_operator.leader.class_holder import ClassHolder
from contentgen_operator.leader.leadership import Leadership
from contentgen_operator.leader.thread import ElectionThread


@dataclass(frozen=True)
class LeaderRole:
    """Permission of this process to work: the leader election and the ownership of the operator class."""

    leadership: Leadership
    election: ElectionThread | None  # None: the process leads without an election
    class_holder: ClassHolder | None  # None: the process serves the class without owning it

    @property
    def works(self) -> bool:
        """True if this process leads and its installation owns the operator class."""
        return self.leadership.is_leader and (self.class_holder is None or self.class_holder.held)

    @property
    def problem(self) -> str:
        """Why the operator class is not owned; empty if it is."""
        return self.class_holder.problem if self.class_holder is not None else ""

    async def acquired(self) -> None:
        """Wait until this process leads and its installation owns the operator class."""
        if self.election is not None:
            watching = asyncio.create_task(self.class_holder.watched()) if self.class_holder is not None else None
            try:
                await self.election.elected()
            finally:
                if watching is not None:
                    watching.cancel()
        if self.class_holder is not None:
            await self.class_holder.acquired()
