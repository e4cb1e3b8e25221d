"""Verification of records where they are read: addresses and keys of files that are not the job's own are left out.

A record of an operator before 0.2 may repeat a status that somebody else wrote. Whatever the gateway signs, reads or
shows comes from a record that has been here. Pure.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NewType

from contentgen_contract.names import Kind
from contentgen_contract.records import keys, ownership
from contentgen_contract.records.deletion_tombstone import purchase_id_prefix
from contentgen_contract.records.ownership import Owner, owns

Record = dict[str, Any]
KeyOf = Callable[[str], str | None]
"""The key of an address of our bucket."""
OwnedKey = NewType("OwnedKey", str)
"""A key that was found to be its job's: `owned_key` alone makes one, and `Files` signs and reads no other."""

_KINDS = {kind.record_type: kind for kind in Kind}


def other_jobs(record: Record, key_of: KeyOf) -> set[str]:
    """The ids of other jobs whose files a record names: the ledger is asked for these."""
    runs = (keys.run_of(key) for part in _parts(record) for _, key in _keys(part, key_of))
    return {run.job_id for run in runs if run is not None} - {str(record.get("jobId"))}


def purchase_prefixes(record: Record) -> list[str]:
    """Prefixes of the ledger's ids of purchases under a record's name: one for each scope of its tenant."""
    kind = _KINDS.get(str(record.get("type")))
    if kind is None or not record.get("name"):
        return []
    scopes = record.get("scopes") or [record.get("tenant")]
    return [purchase_id_prefix(record.get("namespace"), kind, record["name"], each) for each in scopes]


def verified(record: Record, key_of: KeyOf, bought: Collection[str] = ()) -> Record:
    """The record with None in the place of each file that is neither its own nor of a job in `bought`, whose purchases
    the ledger lists under the same namespace, kind and name.
    """
    if not record.get("versions"):
        return record
    owner = _owner(record, key_of, bought)
    versions = [_checked(each, owner, key_of) if isinstance(each, dict) else each for each in record["versions"]]
    return record | {"versions": versions}


def owner_of(record: Record, key_of: KeyOf) -> Owner:
    """The owner of a verified record's files: its own job, and the jobs whose files verification left in it."""
    kind, job_id = _KINDS.get(str(record.get("type"))), str(record.get("jobId"))
    if kind is None:
        return Owner()
    users = {str(record[name]) for name in ("userId", "namespace") if record.get(name)}
    return _of_imported(kind, job_id, users) | _owner(record, key_of, other_jobs(record, key_of))


def owned_key(owner: Owner, key: str) -> OwnedKey | None:
    """The key, where it is this owner's; None where it is not, as for a file that is not there."""
    return OwnedKey(key) if owns(owner, key) else None


def _owner(record: Record, key_of: KeyOf, bought: Collection[str]) -> Owner:
    kind, job_id = _KINDS.get(str(record.get("type"))), str(record.get("jobId"))
    if kind is None:
        return Owner()
    users = {str(record[name]) for name in ("userId", "namespace") if record.get(name)}
    if record.get("imported"):  # its jobId is no uid of Kubernetes: the user belongs to it
        return _of_imported(kind, job_id, users)
    runs = {run for part in _parts(record) for _, key in _keys(part, key_of) if (run := keys.run_of(key)) is not None}
    mine = [run for run in runs if run.job_id == job_id or run.job_id in bought]
    return ownership.union([ownership.job_owner(kind, run.job_id, {run.user_id}) for run in mine])


def _of_imported(kind: Kind, job_id: str, users: Collection[str]) -> Owner:
    try:
        return ownership.job_owner(kind, job_id, users)
    except ValueError:  # an id or a user of the old service that makes no key
        return Owner()


def _checked(part: Record, owner: Owner, key_of: KeyOf) -> Record:
    changed: Record = {name: None for name, key in _keys(part, key_of) if not owns(owner, key)}
    if isinstance(images := part.get("images"), list):
        changed["images"] = [_checked(each, owner, key_of) if isinstance(each, dict) else each for each in images]
    return part | changed


def _parts(record: Record) -> Iterator[Mapping[str, Any]]:
    for version in record.get("versions") or ():
        if isinstance(version, dict):
            yield version
            yield from (each for each in version.get("images") or () if isinstance(each, dict))


def _keys(part: Mapping[str, Any], key_of: KeyOf) -> Iterator[tuple[str, str]]:
    """The fields of a part that name a file in our bucket, with its key."""
    for name, value in part.items():
        if not isinstance(value, str) or not value:
            continue
        if name == "s3Key":
            yield name, value
        elif (name == "url" or name.endswith("Url")) and (key := key_of(value)) is not None:
            yield name, key
