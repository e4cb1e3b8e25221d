"""`/api/admin`: what is done once, by somebody who may make everything in a namespace."""

import asyncio
from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from contentgen_contract.names import Kind
from contentgen_gateway.access import Verb
from contentgen_gateway.importing import Import, Outcome
from contentgen_gateway.parts import Calling, Parts, Using
from contentgen_gateway.problems import RESPONSES, Problem
from contentgen_gateway.schemas import Body, Name
from contentgen_gateway.takeover import Place

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
    """Take documents over into a namespace; needs the right to create all kinds there. Doing it again is harmless."""
    may = await parts.access.which(caller, Verb.CREATE, [asked.namespace])
    if may.get(asked.namespace) != frozenset(Kind):
        kinds = ", ".join(kind.plural for kind in Kind)
        raise Problem(403, f"to import into namespace {asked.namespace!r} you must be allowed to create {kinds} there")
    # The files are not copied: over HTTP it is our own bucket that they lie in, whatever it was called.
    work = Import(
        jobs=parts.records.collection,
        ledger=parts.records.collection.database["ledger"],
        place=place(parts, asked.namespace, asked.bucket),
        sizes=parts.files.sizes_now,
        by=caller.name,
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


def place(parts: Parts, namespace: str, bucket: str | None) -> Place:
    """Where documents go."""
    files = parts.files
    return Place(namespace=namespace, bucket=bucket or files.bucket, key_of=files.key_of, address=files.address)
