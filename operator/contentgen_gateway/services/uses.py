"""Jobs made with a job's outputs: for its statistics, and for the check before its deletion."""

from dataclasses import dataclass

from contentgen_contract.names import Kind
from contentgen_contract.records import keys
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.authorization import Authorizer, Verb
from contentgen_gateway.auth.tenants import Tenants
from contentgen_gateway.auth.visibility import KINDS, Visibility
from contentgen_gateway.stores import outputs
from contentgen_gateway.stores.records import Record, Records


def adopted_from(record: Record) -> frozenset[str]:
    """Ids of the other jobs that own this job's files: a resource that is applied again adopts a finished run."""
    made = (keys.run_of(str(version.get("s3Key"))) for version in outputs.versions_of(record))
    return frozenset(run.job_id for run in made if run is not None) - {str(record["jobId"])}


@dataclass(frozen=True, slots=True)
class JobUses:
    """Jobs that use the outputs of another."""

    records: Records
    tenants: Tenants
    visibility: Visibility
    authorizer: Authorizer

    async def users_of(self, record: Record) -> list[Record]:
        """Records of finished or running jobs that use the outputs of this one; at most 200.

        A LoRA can be used in its own namespace only, so keys of another namespace in a record are ignored.
        """
        job_id, namespace = str(record["jobId"]), str(record.get("namespace"))
        earlier = adopted_from(record)
        found = await self.records.dependents(job_id, *sorted(earlier))
        if record.get("type") == Kind.LORA_TRAINING.record_type:
            place = (await self.tenants.of(namespace)).filter(namespace)
            found += await self.records.unfinished_with_lora(place, str(record.get("name")))
        users = {str(each_record["jobId"]): each_record for each_record in found}
        return [
            user for user in users.values() if job_id in (user.get("uses") or ()) or user.get("namespace") == namespace
        ]

    async def visible(self, caller: Caller, records: list[Record]) -> list[Record]:
        """Records that the caller has the verb `get` for."""
        return [record for record in records if await self._may_get(caller, record)]

    async def _may_get(self, caller: Caller, record: Record) -> bool:
        kind = KINDS.get(str(record.get("type")))
        if kind is None:
            return False
        return await self.authorizer.may(caller, Verb.GET, kind, await self.visibility.authority(record))
