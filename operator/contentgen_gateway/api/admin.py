"""`/api/admin`: the import of an older service's records, for callers with the verb `import`."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from contentgen_contract import patterns
from contentgen_contract.names import Kind
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.authorization import Verb
from contentgen_gateway.migration.legacy_import import LegacyImport, Outcome
from contentgen_gateway.migration.legacy_record import ImportTarget
from contentgen_gateway.problems import RESPONSES, Problem
from contentgen_gateway.schemas.bodies import Body, Name
from contentgen_gateway.services.dependencies import Calling, Dependencies, Using

router = APIRouter(prefix="/api/admin", tags=["admin"], responses=RESPONSES)
MOST = 200


class Takeover(Body):
    """Documents of an old service's collection `jobs`, as `mongoexport --jsonArray` writes them."""

    namespace: Name = Field(description="Where they go.")
    bucket: Name | None = Field(None, description="The bucket that their addresses name; the gateway's when left out.")
    jobs: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST)]


class Wrong(Body):
    """Why a document is refused."""

    field: str
    why: str


class Became(Body):
    """What became of one document."""

    document: int = Field(description="Its place among those given, from 0.")
    job_id: str | None
    outcome: Outcome
    problems: list[Wrong] = Field(description="Everything that is wrong with it; one that has any is not imported.")
    missing: list[str] = Field(description="Keys that it names and the bucket does not have.")
    note: str


class TakenOver(Body):
    """What became of all of them."""

    total: int
    outcomes: dict[Outcome, int]
    jobs: list[Became]


@router.post("/import")
async def import_jobs(caller: Calling, parts: Using, asked: Takeover) -> TakenOver:
    """Take documents over into a namespace. Doing it again is harmless.

    Needs the verb `import` on all kinds there, and for each document's userId, unless it is the namespace, the verb
    `use` on `userids`.
    """
    may = await parts.access.which(caller, Verb.IMPORT, [asked.namespace])
    if may.get(asked.namespace) != frozenset(Kind):
        kinds = ", ".join(kind.plural for kind in Kind)
        raise Problem(403, f"to import into namespace {asked.namespace!r} you need the verb import on {kinds} there")
    users = await _may_name(caller, parts, asked.namespace, (each.get("userId") for each in asked.jobs))
    # The files are not copied: over HTTP it is our own bucket that they lie in, whatever it was called.
    work = LegacyImport(
        jobs=parts.records.collection,
        ledger=parts.records.collection.database["ledger"],
        place=await place(parts, asked.namespace, asked.bucket),
        sizes=parts.files.sizes_now,
        by=caller.name,
        may_name=users.__contains__,
    )
    entries = await asyncio.to_thread(work.run, asked.jobs)
    outcomes = Counter(each.outcome for each in entries)
    jobs = [
        Became(
            document=each.document,
            job_id=each.job_id,
            outcome=each.outcome,
            problems=[Wrong(field=problem.field, why=problem.why) for problem in each.problems],
            missing=list(each.missing),
            note=each.note,
        )
        for each in entries
    ]
    return TakenOver(total=len(jobs), outcomes={outcome: outcomes[outcome] for outcome in Outcome}, jobs=jobs)


async def _may_name(caller: Caller, parts: Dependencies, namespace: str, given: Iterable[object]) -> frozenset[str]:
    """Those of the given user ids that the caller may name there; what is no user id is left out."""
    users = sorted({each for each in given if isinstance(each, str) and re.fullmatch(patterns.USER_ID, each)})
    may = await asyncio.gather(*(parts.access.may_name(caller, each, namespace) for each in users))
    return frozenset(user for user, allowed in zip(users, may, strict=True) if allowed)


async def place(parts: Dependencies, namespace: str, bucket: str | None) -> ImportTarget:
    """Where documents go."""
    files = parts.files
    return ImportTarget(
        namespace=namespace,
        bucket=bucket or files.bucket,
        key_of=files.key_of,
        address=files.address,
        tenant=(await parts.tenants.of(namespace)).scope or None,
    )
