"""`/api/admin`: the import of an older service's records, for callers with the verb `import`."""

from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from contentgen_gateway.injection import CallerDep, LegacyImportsDep
from contentgen_gateway.migration.legacy_import import ImportEntry, Outcome
from contentgen_gateway.problems import RESPONSES
from contentgen_gateway.schemas.bodies import Body, Name

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
async def import_jobs(caller: CallerDep, imports: LegacyImportsDep, body: Takeover) -> TakenOver:
    """Take documents over into a namespace. Doing it again is harmless.

    Needs the verb `import` on all kinds there, and for each document's userId, unless it is the namespace, the verb
    `use` on `userids`.
    """
    entries = await imports.run(caller, body.namespace, body.bucket, body.jobs)
    outcomes = Counter(each.outcome for each in entries)
    return TakenOver(
        total=len(entries),
        outcomes={outcome: outcomes[outcome] for outcome in Outcome},
        jobs=[_became(each) for each in entries],
    )


def _became(entry: ImportEntry) -> Became:
    return Became(
        document=entry.document,
        job_id=entry.job_id,
        outcome=entry.outcome,
        problems=[Wrong(field=problem.field, why=problem.why) for problem in entry.problems],
        missing=list(entry.missing),
        note=entry.note,
    )
