"""Jobs made with a job's outputs: one answer for its statistics and for the guard of its deletion."""

from contentgen_contract.names import Kind
from contentgen_contract.records import keys
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.authorization import Verb
from contentgen_gateway.auth.visibility import KINDS
from contentgen_gateway.services.dependencies import Dependencies
from contentgen_gateway.stores import outputs
from contentgen_gateway.stores.records import Record


def adopted_from(record: Record) -> frozenset[str]:
    """The other jobs under whose ids this job's files lie: a resource that is applied again adopts a finished run."""
    made = (keys.run_of(str(each.get("s3Key"))) for each in outputs.versions_of(record))
    return frozenset(run.job_id for run in made if run is not None) - {str(record["jobId"])}


async def users_of(parts: Dependencies, record: Record) -> list[Record]:
    """The records of jobs that were made, or are being made, with the outputs of this one; 200 at most.

    A LoRA is used in its own namespace only. Keys of another namespace in a record, whoever wrote them, name no user.
    """
    job_id, namespace = str(record["jobId"]), str(record.get("namespace"))
    earlier = adopted_from(record)
    found = await parts.records.using(job_id, *sorted(earlier))
    if record.get("type") == Kind.LORA_TRAINING.record_type:
        place = (await parts.tenants.of(namespace)).filter(namespace)
        found += await parts.records.drawing(place, str(record.get("name")))
    users = {str(each["jobId"]): each for each in found}
    return [each for each in users.values() if job_id in (each.get("uses") or ()) or each.get("namespace") == namespace]


async def visible(caller: Caller, parts: Dependencies, records: list[Record]) -> list[Record]:
    """Of these records, those of jobs that the caller may get."""
    return [each for each in records if await _may_get(caller, parts, each)]


async def _may_get(caller: Caller, parts: Dependencies, record: Record) -> bool:
    kind = KINDS.get(str(record.get("type")))
    return kind is not None and await parts.access.may(caller, Verb.GET, kind, await parts.sight.authority(record))
