"""Sharing of a job with users and namespaces, who may then see it and fetch its files, and change nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.authorization import Verb
from contentgen_gateway.problems import Problem
from contentgen_gateway.schemas.sharing import Grantees, SharedWith, ShareList, Wish
from contentgen_gateway.services.changes.editable_job import EditableJobs
from contentgen_gateway.stores.shares import MOST, MOST_NAMESPACES, MOST_OF_A_NAMESPACE, Grantee, Share, Shares
from contentgen_runtime.clock import Clock

_LONGEST_NAME = 64  # characters of a name
_MOST_NAMED = 3  # names that a refusal repeats


@dataclass(frozen=True, slots=True)
class JobSharing:
    """Shares of jobs; only callers who may change a job see or change them."""

    jobs: EditableJobs
    shares: Shares
    clock: Clock

    async def list_shares(self, caller: Caller, job_id: str) -> ShareList:
        """Shares of a job. Raises Problem."""
        await self.jobs.load(caller, job_id, Verb.PATCH)
        return await self._list(job_id)

    async def share(self, caller: Caller, job_id: str, body: Wish) -> ShareList:
        """Shares of a job, with new ones added. Raises Problem."""
        job = await self.jobs.load(caller, job_id, Verb.PATCH)
        kind, namespace, _ = job.place
        there = {each_share.to for each_share in await self.shares.of_job(job_id)}
        fresh = [grantee for grantee in body.all() if grantee not in there]
        if len(there) + len(fresh) > MOST:
            raise Problem(422, f"a job can have at most {MOST} shares; share it with a namespace, or make it public")
        await self._refuse_too_many(namespace, fresh)
        now = self.clock()
        await self.shares.add([Share(job_id, namespace, kind.record_type, to, caller.name, now) for to in fresh])
        return await self._list(job_id)

    async def _refuse_too_many(self, owner: str, fresh: Sequence[Grantee]) -> None:
        """Raises Problem 422 for more shares than the jobs of one namespace may have together.

        Simultaneous requests can exceed the limit together; lists use no more of them than it allows (`bounded`).
        """
        if len(fresh) + await self.shares.count(owner) > MOST_OF_A_NAMESPACE:
            raise _too_many(
                "users" if fresh[0].kind == "user" else "namespaces",
                fresh,
                f"the jobs of namespace {owner!r} can have {MOST_OF_A_NAMESPACE} shares in total; remove some, or "
                "share with a namespace instead of many users",
            )
        there = {grant.to for grant in await self.shares.grants(owner)}
        new = [grantee for grantee in fresh if grantee.kind == "namespace" and grantee.name not in there]
        if new and len(there) + len(new) > MOST_NAMESPACES:
            raise _too_many(
                "namespaces",
                new,
                f"the jobs of namespace {owner!r} can be shared with {MOST_NAMESPACES} namespaces in total, and are "
                f"with {len(there)}; remove some, share with users, or make the job public",
            )

    async def unshare(self, caller: Caller, job_id: str, grantees: Grantees) -> ShareList:
        """Shares of a job, with these removed; with all removed if none is named. Raises Problem."""
        await self.jobs.load(caller, job_id, Verb.PATCH)
        if named := grantees.all():
            await self.shares.revoke(job_id, named)
        else:
            await self.shares.delete_job(job_id)
        return await self._list(job_id)

    async def _list(self, job_id: str) -> ShareList:
        shares = sorted(await self.shares.of_job(job_id), key=lambda each: each.to)
        found = [
            SharedWith.model_validate(
                {share.to.kind: share.to.name, "sharedBy": share.shared_by, "sharedAt": share.shared_at}
            )
            for share in shares
        ]
        return ShareList(job_id=job_id, shares=found)


def _too_many(field: str, given: Sequence[Grantee], why: str) -> Problem:
    named = [grantee.name[:_LONGEST_NAME] for grantee in given if field.startswith(grantee.kind)][:_MOST_NAMED]
    return Problem(422, f"{field}: {named}: {why}", errors=[{"loc": ["body", field], "msg": why}])
