"""Verification of records: addresses and keys of files that do not belong to the job are replaced by None. Pure.

Besides the operator, which verifies a status before it writes the record, the gateway signs, reads and shows only
files of verified records.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NewType

from contentgen_contract.names import Kind
from contentgen_contract.records import keys, ownership
from contentgen_contract.records.deletion_tombstone import purchase_id_prefix
from contentgen_contract.records.ownership import Owner, owns

Record = dict[str, Any]
KeyOf = Callable[[str], str | None]
"""The key of an address in our bucket; None for other addresses."""
OwnedKey = NewType("OwnedKey", str)
"""A key that belongs to its job. Only `owned_key` creates one, and `BucketFiles` signs and reads no other keys."""

_KINDS = {kind.record_type: kind for kind in Kind}


def other_jobs(record: Record, key_of: KeyOf) -> set[str]:
    """Ids of other jobs whose files a record names; they are looked up in the ledger."""
    runs = (keys.run_of(key) for part in _parts(record) for _, key in _file_fields(part, key_of))
    return {run.job_id for run in runs if run is not None} - {str(record.get("jobId"))}


def purchase_prefixes(record: Record) -> list[str]:
    """Prefixes of the buying keys under a record's name, one for each scope of its tenant."""
    kind = _KINDS.get(str(record.get("type")))
    if kind is None or not record.get("name"):
        return []
    scopes = record.get("scopes") or [record.get("tenant")]
    return [purchase_id_prefix(record.get("namespace"), kind, record["name"], scope) for scope in scopes]


def verified(record: Record, key_of: KeyOf, bought: Collection[str] = ()) -> Record:
    """The record with None in place of each file that belongs neither to its job nor to one in `bought`: jobs with
    purchases under the same namespace, kind and name.
    """
    if not record.get("versions"):
        return record
    owner = _owner(record, key_of, bought)
    versions = [
        _without_foreign_files(version, owner, key_of) if isinstance(version, dict) else version
        for version in record["versions"]
    ]
    return record | {"versions": versions}


def owner_of(record: Record, key_of: KeyOf) -> Owner:
    """Owner of a verified record's files: its job, and the jobs whose files have passed verification."""
    kind, job_id = _KINDS.get(str(record.get("type"))), str(record.get("jobId"))
    if kind is None:
        return Owner()
    users = {str(record[name]) for name in ("userId", "namespace") if record.get(name)}
    return _imported_owner(kind, job_id, users) | _owner(record, key_of, other_jobs(record, key_of))


def owned_key(owner: Owner, key: str) -> OwnedKey | None:
    """The key if it belongs to the owner, else None, as for a missing file."""
    return OwnedKey(key) if owns(owner, key) else None


def _owner(record: Record, key_of: KeyOf, bought: Collection[str]) -> Owner:
    kind, job_id = _KINDS.get(str(record.get("type"))), str(record.get("jobId"))
    if kind is None:
        return Owner()
    users = {str(record[name]) for name in ("userId", "namespace") if record.get(name)}
    if record.get("imported"):  # its jobId is not a Kubernetes uid, so its files are identified by the user too
        return _imported_owner(kind, job_id, users)
    runs = {
        run for part in _parts(record) for _, key in _file_fields(part, key_of) if (run := keys.run_of(key)) is not None
    }
    mine = [run for run in runs if run.job_id == job_id or run.job_id in bought]
    return ownership.union([ownership.job_owner(kind, run.job_id, {run.user_id}) for run in mine])


def _imported_owner(kind: Kind, job_id: str, users: Collection[str]) -> Owner:
    try:
        return ownership.job_owner(kind, job_id, users)
    except ValueError:  # an id or a user of the legacy service that is not valid in a key
        return Owner()


def _without_foreign_files(part: Record, owner: Owner, key_of: KeyOf) -> Record:
    changed: Record = {name: None for name, key in _file_fields(part, key_of) if not owns(owner, key)}
    if isinstance(images := part.get("images"), list):
        changed["images"] = [
            _without_foreign_files(image, owner, key_of) if isinstance(image, dict) else image for image in images
        ]
    return part | changed


def _parts(record: Record) -> Iterator[Mapping[str, Any]]:
    for version in record.get("versions") or ():
        if isinstance(version, dict):
            yield version
            yield from (image for image in version.get("images") or () if isinstance(image, dict))


def _file_fields(part: Mapping[str, Any], key_of: KeyOf) -> Iterator[tuple[str, str]]:
    """Fields that name a file in our bucket, with the keys."""
    for name, value in part.items():
        if not isinstance(value, str) or not value:
            continue
        if name == "s3Key":
            yield name, value
        elif (name == "url" or name.endswith("Url")) and (key := key_of(value)) is not None:
            yield name, key
