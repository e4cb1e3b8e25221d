"""What is to be deleted of a job, as it stands on the job's record until it is done: the operator's janitor does it."""

from collections.abc import Mapping
from typing import Any

from contentgen_contract.base import Value
from contentgen_contract.names import Kind
from contentgen_contract.records import keys
from contentgen_contract.records.tenancy import scoped


class DeletionTombstone(Value):
    """Delete all files of a resource with their versions, and the records of the jobs that they are of; what was bought
    cannot be adopted again. `job_ids`: the resource's own, and those that it took something over from.
    `bought_under`: what the ids of the name's purchases begin with; files of those with another owner stay.
    """

    uid: str
    prefixes: tuple[str, ...]
    job_ids: tuple[str, ...]
    bought_under: str = ""


def purchase_id_prefix(namespace: object, kind: Kind, name: object, scope: str | None = None) -> str:
    """Prefix of the ledger's `_id`s of all purchases under one name."""
    return f"{scoped(namespace, scope)}/{kind}/{name}/"


def tombstone_of(kind: Kind, record: Mapping[str, Any]) -> DeletionTombstone:
    """Everything of a job whose resource is gone; what it took over from another job is that one's, and stays."""
    job_id = str(record["jobId"])
    owners = {str(record[name]) for name in ("userId", "namespace") if record.get(name)}
    prefixes = {prefix for owner in owners for prefix in keys.job_prefixes(kind, owner, job_id)}
    prefixes.add(keys.internal_prefix(job_id))
    place = (
        purchase_id_prefix(record["namespace"], kind, record["name"], record.get("tenant"))
        if record.get("name")
        else ""
    )
    return DeletionTombstone(uid=job_id, prefixes=tuple(sorted(prefixes)), job_ids=(job_id,), bought_under=place)
