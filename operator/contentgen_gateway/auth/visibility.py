"""Visibility of jobs: by rights in Kubernetes, shares, or public. Unauthorized and missing jobs both return 404."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from contentgen_contract.names import Kind
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.authorization import Authorizer, Verb
from contentgen_gateway.auth.tenants import Tenants
from contentgen_gateway.live.job_snapshot import document
from contentgen_gateway.live.recent_creations import RecentCreations
from contentgen_gateway.problems import NotFound
from contentgen_gateway.stores.queries import EVERYWHERE, Scope
from contentgen_gateway.stores.records import Record, Records, discarded
from contentgen_gateway.stores.shares import MOST, MOST_NAMESPACES, Grantee, Share, Shares, bounded

LIVE = "_live"  # marks a record made from an existing resource, before the operator has stored one
KINDS = {kind.record_type: kind for kind in Kind}


def _direct_grantees(caller: Caller) -> set[Grantee]:
    """Grantees whose shares are for this caller without a check in Kubernetes."""
    return {Grantee("user", caller.name), *([Grantee("namespace", caller.home)] if caller.home else ())}


class Visibility:
    """Records that a caller may see."""

    def __init__(
        self, records: Records, access: Authorizer, creations: RecentCreations, shares: Shares, tenants: Tenants
    ) -> None:
        self._tenants = tenants
        self._records = records
        self._access = access
        self._creations = creations
        self._shares = shares

    async def job(self, caller: Caller, job_id: str, verb: Verb = Verb.GET) -> Record:
        """Record of a job for which the caller has the verb; made from a resource without one. Raises NotFound."""
        record = await self._records.get_with_discarded(job_id)
        if record is None:
            now = await self._creations.find(job_id)
            record = document(now) | {LIVE: True} if now is not None else None
        elif discarded(record):
            record = None
        # Kubernetes is asked also about a missing job, so that response times do not reveal which jobs exist.
        kind = KINDS.get(str((record or {}).get("type")), Kind.LORA_TRAINING)
        namespace = await self.authority(record or {})
        allowed = await self._access.may(caller, verb, kind, namespace)
        if not allowed and verb is Verb.GET:
            allowed = await self._is_shared(caller, await self._shares.of_job(job_id), record)
        if record is None or not allowed:
            raise NotFound("job", job_id)
        return record

    async def authority(self, record: Mapping[str, Any]) -> str:
        """Namespace in which a caller needs the right to this record."""
        if record.get(LIVE):  # from an existing resource
            return str(record["namespace"])
        return await self._tenants.authority(record)

    async def jobs(self, caller: Caller, job_ids: Iterable[str]) -> dict[str, Record]:
        """Records of those jobs that the caller may see."""
        found = await self._records.visibility_fields(job_ids)
        mine: dict[str, Record] = {}
        others: dict[str, Record] = {}
        for job_id, record in found.items():
            kind = KINDS.get(str(record.get("type")))
            if kind is None:
                continue
            allowed = await self._access.may(caller, Verb.GET, kind, await self.authority(record))
            (mine if allowed else others)[job_id] = record
        shares = await self._shares.of_jobs(others, _direct_grantees(caller)) if others else {}
        shared = {
            each for each, record in others.items() if await self._is_shared(caller, shares.get(each, ()), record)
        }
        return {job_id: record for job_id, record in found.items() if job_id in mine or job_id in shared}

    async def _is_shared(self, caller: Caller, shares: Iterable[Share], record: Record | None) -> bool:
        """True if the job is public, or shared with the caller."""
        given, direct = list(shares), _direct_grantees(caller)
        if await self._valid(each for each in given if each.to in direct):
            return True
        to = sorted({each.to.name for each in given if each.to.kind == "namespace"})[:MOST_NAMESPACES]
        alive = await self._valid(each for each in given if each.to.kind == "namespace" and each.to.name in to)
        kinds = frozenset(KINDS[each.type] for each in alive)
        if await self._access.which_of(caller, Verb.GET, dict.fromkeys(sorted({e.to.name for e in alive}), kinds)):
            return True
        return ((record or {}).get("metadata") or {}).get("isPublic") is True

    async def _valid(self, shares: Iterable[Share]) -> list[Share]:
        """Valid shares: those of or with a namespace end when it is created again."""
        given = list(shares)
        tenants = await self._tenants.of_all(name for each in given for name in each.places)
        return [each for each in given if all(tenants[name].existed_at(each.shared_at) for name in each.places)]

    async def scope(self, caller: Caller, namespace: str | None, user_id: str | None, *, public: bool = False) -> Scope:
        """Records that the caller may list: by namespace and kind, and single jobs shared with them.

        `public` adds all public jobs.
        """
        found = await self._scope_by_rights(caller, namespace, user_id)
        if EVERYWHERE in found.namespaces:
            return found
        shared, incomplete = await self._shared(caller, namespace)
        mine = tuple(each.job_id for each in shared)
        tenants = found.tenants if namespace is None else await self._tenants.of_all([namespace])
        return replace(
            found, jobs=mine, public=public, only=namespace, incomplete=incomplete, tenants={**found.tenants, **tenants}
        )

    async def _shared(self, caller: Caller, owner: str | None) -> tuple[list[Share], bool]:
        """Shares with the caller, and True if some may be missing.

        Shares with a namespace are for its service accounts, and for callers who may see such jobs there. Some may be
        missing if there are too many namespaces to check, or more than `MOST` shares.
        """
        types, incomplete = bounded(each for each in await self._shares.grants(owner) if each.to != caller.home)
        kinds = {name: frozenset(map(KINDS.__getitem__, of)) for name, of in types.items()}
        there = await self._access.which_of(caller, Verb.LIST, kinds)
        direct = _direct_grantees(caller)
        found = await self._shares.with_grantees(direct | {Grantee("namespace", each) for each in there}, owner)
        seen = [each for each in found if each.to in direct or KINDS[each.type] in there.get(each.to.name, ())]
        return await self._valid(seen), incomplete or len(found) >= MOST

    async def _scope_by_rights(self, caller: Caller, namespace: str | None, user_id: str | None) -> Scope:
        """Scope in the given namespace, else in those of a user's records, else a service account's own, else all."""
        found = await self._namespaces(caller, namespace, user_id)
        return Scope(found, tenants=await self._tenants.of_all(found))

    async def _namespaces(
        self, caller: Caller, namespace: str | None, user_id: str | None
    ) -> Mapping[str, frozenset[Kind]]:
        if namespace is not None:
            return await self._access.which(caller, Verb.LIST, [namespace])
        everywhere = await self._access.which(caller, Verb.LIST, [EVERYWHERE])
        if everywhere.get(EVERYWHERE) == frozenset(Kind):
            return everywhere
        if user_id is None and caller.home is not None:
            return await self._access.which(caller, Verb.LIST, [caller.home])
        return await self._access.which(caller, Verb.LIST, await self._records.namespaces(user_id))
