"""Deletion tombstone on a job's record, executed by the operator's garbage collector. Pure."""

from collections.abc import Mapping
from typing import Any

from contentgen_contract.base import Value
from contentgen_contract.names import Kind
from contentgen_contract.records import keys
from contentgen_contract.records.tenancy import scoped


class DeletionTombstone(Value):
    """Deletion of all files of a resource with their versions, and of the records of its jobs. Its purchases cannot be
    adopted afterwards. `job_ids`: its own job, and jobs that it adopted outputs of. `bought_under`: prefix of the
    ledger ids of the name's purchases; files of purchases with another owner are kept.
    """

    uid: str
    prefixes: tuple[str, ...]
    job_ids: tuple[str, ...]
    bought_under: str = ""


def purchase_id_prefix(namespace: object, kind: Kind, name: object, scope: str | None = None) -> str:
    """Prefix of the ledger's `_id` of all purchases under one name."""
    return f"{scoped(namespace, scope)}/{kind}/{name}/"


def tombstone_of(kind: Kind, record: Mapping[str, Any]) -> DeletionTombstone:
    """Tombstone of a job whose resource was deleted; outputs adopted from another job are kept."""
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
