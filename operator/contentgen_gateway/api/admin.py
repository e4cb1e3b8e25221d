"""`/api/admin`: import of the legacy service's records, for callers with the verb `import`, and the audit, for callers
with the verb `audit`.
"""

from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from contentgen_contract.records.audits import AuditReport, AuditRequest
from contentgen_gateway.injection import CallerDep, NowDep, ServicesDep
from contentgen_gateway.migration.legacy_import import ImportEntry, Outcome
from contentgen_gateway.problems import RESPONSES
from contentgen_gateway.schemas.bodies import Body, Name

router = APIRouter(prefix="/api/admin", tags=["admin"], responses=RESPONSES)
MOST = 200


class Takeover(Body):
    """Documents of the legacy service's collection `jobs`, as `mongoexport --jsonArray` writes them."""

    namespace: Name = Field(description="Target namespace.")
    bucket: Name | None = Field(None, description="Bucket in their addresses; the gateway's if left out.")
    jobs: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST)]


class Wrong(Body):
    """Invalid field of a document."""

    field: str
    why: str


class Became(Body):
    """Outcome of one document."""

    document: int = Field(description="Index in the request, from 0.")
    job_id: str | None
    outcome: Outcome
    problems: list[Wrong] = Field(description="Invalid fields; a document with any is not imported.")
    missing: list[str] = Field(description="Keys in the document that are not in the bucket.")
    note: str


class TakenOver(Body):
    """Outcome of an import."""

    total: int
    outcomes: dict[Outcome, int]
    jobs: list[Became]


class AuditState(Body):
    """Last audit of the installation's provider accounts."""

    report: AuditReport | None = Field(description="Newest report; null if there is none.")
    request: AuditRequest | None = Field(description="Request that no report answers yet; null if there is none.")


@router.get("/audit")
async def last_audit(caller: CallerDep, services: ServicesDep) -> AuditState:
    """Newest report of all tenants' requests and bills.

    Needs the verb `audit` on the installation's OperatorClass.
    """
    report, request = await services.audits.last(caller)
    return AuditState(report=report, request=request)


@router.post("/audit", status_code=202)
async def request_audit(caller: CallerDep, services: ServicesDep, now: NowDep) -> AuditRequest:
    """Request an audit; the operator begins within seconds. The report that answers it has its token as `request`.

    Needs the verb `audit` on the installation's OperatorClass. Nothing is paid.
    """
    return await services.audits.request(caller, now)


@router.post("/import")
async def import_jobs(caller: CallerDep, services: ServicesDep, body: Takeover) -> TakenOver:
    """Import documents into a namespace. Idempotent.

    Needs the verb `import` on all kinds there, and the verb `use` on `userids` for each userId that is not the
    namespace.
    """
    entries = await services.legacy_imports.run(caller, body.namespace, body.bucket, body.jobs)
    outcomes = Counter(entry.outcome for entry in entries)
    return TakenOver(
        total=len(entries),
        outcomes={outcome: outcomes[outcome] for outcome in Outcome},
        jobs=[_became(entry) for entry in entries],
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
