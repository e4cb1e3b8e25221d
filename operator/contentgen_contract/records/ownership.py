"""Owners of S3 objects, and the check before a key is signed, read, written or deleted. Pure.

A key may come from a status, a worker's outcome or a record, which others can write. `require_owned` accepts only the
prefixes of the owner's own job, by its Kubernetes UID, and keys that the ledger lists as stored for it.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from contentgen_contract.base import Value
from contentgen_contract.names import Kind
from contentgen_contract.records import keys

# Each segment begins with a letter or a digit: no `..`, no empty segment, no leading slash.
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*/?")


class NotOwned(Exception):
    """The key belongs to another owner; nothing was signed, read, written or deleted."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the key {key[:200]!r} is neither under the owner's prefix nor listed as stored for it")


class Owner(Value):
    """Prefixes (`folders`, each with a trailing slash) and single keys that belong to one job."""

    folders: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()

    def __or__(self, other: "Owner") -> "Owner":
        """Union of two owners."""
        return Owner(folders=self.folders | other.folders, keys=self.keys | other.keys)


def require_owned(owner: Owner, key: str) -> str:
    """The key, or a prefix with a trailing slash, if it belongs to the owner. Raises NotOwned."""
    if not owns(owner, key):
        raise NotOwned(key)
    return key


def owns(owner: Owner, key: str) -> bool:
    """True if a key, or a prefix with a trailing slash, belongs to the owner."""
    if _KEY.fullmatch(key) is None:
        return False
    return key in owner.keys or any(key.startswith(folder) for folder in owner.folders)


def job_owner(kind: Kind, job_id: str, users: Iterable[str]) -> Owner:
    """Prefixes of one job: its files under each of these users, and its outcomes."""
    folders = {folder for user in users for folder in keys.job_prefixes(kind, user, job_id)}
    return Owner(folders=frozenset(folders | {keys.internal_prefix(job_id)}))


def purchase_owner(purchase_id: str) -> Owner:
    """Prefix of one purchase, without its marker, which is never deleted."""
    return Owner(folders=frozenset({keys.purchase_prefix(purchase_id)}))


def outputs_owner(kind: Kind, outputs: Iterable[Mapping[str, Any]]) -> Owner:
    """Prefixes of the jobs whose files the ledger lists in `outputs` (finished versions)."""
    files = (str(file.get("key")) for output in outputs for file in output.get("files") or ())
    runs = {run for key in files if (run := keys.run_of(key)) is not None}
    return union(job_owner(kind, run.job_id, (run.user_id,)) for run in runs)


def jobs_owner(job_ids: Iterable[str], prefixes: Iterable[str]) -> Owner:
    """Owner of the prefixes that are the whole prefix of one of these jobs; other prefixes are dropped."""
    known = set(job_ids)
    internal = {keys.internal_prefix(job_id) for job_id in known}
    return Owner(folders=frozenset(prefix for prefix in prefixes if prefix in internal or _job_of(prefix) in known))


def _job_of(prefix: str) -> str | None:
    try:
        return prefix.split("/")[2] if keys.job_prefix_of(prefix) == prefix else None
    except ValueError:
        return None


def union(owners: Iterable[Owner]) -> Owner:
    """Union of any number of owners."""
    result = Owner()
    for owner in owners:
        result |= owner
    return result
