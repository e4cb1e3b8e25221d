"""`/api/assets/{jobId}/share`: let others see a job and fetch its files, and take that back. They change nothing."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field, StringConstraints, model_validator

from contentgen_gateway.auth.authorization import Verb
from contentgen_gateway.problems import RESPONSES, Problem
from contentgen_gateway.schemas.bodies import Body as Shape
from contentgen_gateway.schemas.bodies import Name
from contentgen_gateway.schemas.refusals import PRINTABLE
from contentgen_gateway.services.dependencies import Calling, Dependencies, Using
from contentgen_gateway.services.editable_job import held
from contentgen_gateway.stores.shares import MOST, MOST_NAMESPACES, MOST_OF_A_NAMESPACE, Grantee, Share

router = APIRouter(prefix="/api/assets", tags=["sharing"], responses=RESPONSES)
UserName = Annotated[str, StringConstraints(pattern=PRINTABLE, max_length=253)]
"""As Kubernetes knows somebody: ann, ann@example.com, system:serviceaccount:blue:robot."""


class Grantees(Shape):
    """Whom it is for."""

    model_config = ConfigDict(extra="forbid")

    users: list[UserName] = Field(default_factory=list, max_length=100, description="By their exact Kubernetes names.")
    namespaces: list[Name] = Field(
        default_factory=list, max_length=100, description="Their service accounts, and who may see such jobs there."
    )

    def all(self) -> tuple[Grantee, ...]:
        """As values, each once."""
        users = {Grantee("user", each) for each in self.users}
        return tuple(sorted(users | {Grantee("namespace", each) for each in self.namespaces}))


class Wish(Grantees):
    """Whom it is shared with."""

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.users and not self.namespaces:
            raise ValueError("at least one of users, namespaces must be given")
        for name in self.users:
            _require_possible_user(name)
        for name in self.namespaces:
            if not _LABEL.fullmatch(name):
                raise ValueError(f"namespaces: no namespace can have this name: {name[:_SHOWN]!r}")
        return self


_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_ACCOUNT = re.compile(rf"system:serviceaccount:{_LABEL.pattern}:[a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?")
_GROUP = re.compile(r"system:(authenticated|unauthenticated|masters|nodes|serviceaccounts(:.*)?)")
_SHOWN = 64  # characters of a name
_NAMED = 3  # names that a refusal repeats


def _require_possible_user(name: str) -> None:
    """Raises ValueError for a name that no user can have. Kubernetes keeps no list of those that there are."""
    if name.startswith("system:serviceaccount:") and not _ACCOUNT.fullmatch(name):
        raise ValueError(f"users: {name[:_SHOWN]!r} must be system:serviceaccount:NAMESPACE:NAME")
    if _GROUP.fullmatch(name):
        raise ValueError(f"users: {name[:_SHOWN]!r} is a group; share it with the namespace, or make it public")


class SharedWith(Shape):
    """One of those whom a job is shared with."""

    user: str | None = None
    namespace: str | None = None
    shared_by: str
    shared_at: datetime


class ShareList(Shape):
    """Whom a job is shared with."""

    job_id: str
    shares: list[SharedWith]


@router.get("/{job_id}/share")
async def list_shares(caller: Calling, parts: Using, job_id: Name) -> ShareList:
    """Whom it is shared with; for those who may change it."""
    await held(caller, parts, job_id, Verb.PATCH)
    return await _told(parts, job_id)


@router.post("/{job_id}/share")
async def share(caller: Calling, parts: Using, job_id: Name, wish: Wish) -> ShareList:
    """Share it with these as well."""
    job = await held(caller, parts, job_id, Verb.PATCH)
    kind, namespace, _ = job.place
    there = {each.to for each in await parts.shares.of(job_id)}
    fresh = [each for each in wish.all() if each not in there]
    if len(there) + len(fresh) > MOST:
        raise Problem(422, f"a job can be shared with {MOST} at most; share it with a namespace, or make it public")
    await _refuse_too_many(parts, namespace, fresh)
    now = parts.clock()
    made = [Share(job_id, namespace, kind.record_type, to, caller.name, now) for to in fresh]
    await parts.shares.add(made)
    return await _told(parts, job_id)


async def _refuse_too_many(parts: Dependencies, owner: str, fresh: Sequence[Grantee]) -> None:
    """Raises Problem 422 for more shares than the jobs of one namespace may have together.

    Requests at the same time can exceed a limit together; lists take no more into account than it allows (`bounded`).
    """
    if len(fresh) + await parts.shares.count(owner) > MOST_OF_A_NAMESPACE:
        raise _too_many(
            "users" if fresh[0].kind == "user" else "namespaces",
            fresh,
            f"the jobs of namespace {owner!r} can have {MOST_OF_A_NAMESPACE} shares together; take some back, or share "
            "with a namespace instead of with many users",
        )
    there = {each.to for each in await parts.shares.grants(owner)}
    new = [each for each in fresh if each.kind == "namespace" and each.name not in there]
    if new and len(there) + len(new) > MOST_NAMESPACES:
        raise _too_many(
            "namespaces",
            new,
            f"the jobs of namespace {owner!r} can be shared with {MOST_NAMESPACES} namespaces together, and are with "
            f"{len(there)}; take some back, share with users, or make the job public",
        )


def _too_many(field: str, given: Sequence[Grantee], why: str) -> Problem:
    named = [each.name[:_SHOWN] for each in given if field.startswith(each.kind)][:_NAMED]
    return Problem(422, f"{field}: {named}: {why}", errors=[{"loc": ["body", field], "msg": why}])


@router.delete("/{job_id}/share")
async def unshare(caller: Calling, parts: Using, job_id: Name, whom: Annotated[Grantees, Query()]) -> ShareList:
    """Share it no longer with these; with nobody where none is named."""
    await held(caller, parts, job_id, Verb.PATCH)
    if named := whom.all():
        await parts.shares.revoke(job_id, named)
    else:
        await parts.shares.forget(job_id)
    return await _told(parts, job_id)


async def _told(parts: Dependencies, job_id: str) -> ShareList:
    shares = sorted(await parts.shares.of(job_id), key=lambda each: each.to)
    told = [
        SharedWith.model_validate({each.to.kind: each.to.name, "sharedBy": each.shared_by, "sharedAt": each.shared_at})
        for each in shares
    ]
    return ShareList(job_id=job_id, shares=told)
