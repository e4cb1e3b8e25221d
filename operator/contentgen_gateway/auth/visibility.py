"""Visibility of jobs: by rights in Kubernetes, shares, or public. Unauthorized and missing jobs both return 404."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
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
_AT_A_TIME = 100  # jobs that are decided in one turn of the event loop; a collection list may have 10,000


def _direct_grantees(caller: Caller) -> set[Grantee]:
    """Grantees whose shares are for this caller without a check in Kubernetes."""
    return {Grantee("user", caller.name), *([Grantee("namespace", caller.home)] if caller.home else ())}


def _considered(shares: list[Share], direct: set[Grantee]) -> list[Share]:
    """Shares of one job that may be for the caller: direct ones, and those of the first `MOST_NAMESPACES` by name."""
    names = set(sorted({share.to.name for share in shares if share.to.kind == "namespace"})[:MOST_NAMESPACES])
    return [
        share for share in shares if share.to in direct or (share.to.kind == "namespace" and share.to.name in names)
    ]


@dataclass(frozen=True)
class Visibility:
    """Records that a caller may see."""

    records: Records
    access: Authorizer
    creations: RecentCreations
    shares: Shares
    tenants: Tenants

    async def job(self, caller: Caller, job_id: str, verb: Verb = Verb.GET) -> Record:
        """Record of a job for which the caller has the verb; made from a resource without one. Raises NotFound."""
        record = await self.records.get_with_discarded(job_id)
        if record is None:
            now = await self.creations.find(job_id)
            record = document(now) | {LIVE: True} if now is not None else None
        elif discarded(record):
            record = None
        # Kubernetes is asked also about a missing job, so that response times do not reveal which jobs exist.
        kind = KINDS.get(str((record or {}).get("type")), Kind.LORA_TRAINING)
        namespace = await self.authority(record or {})
        allowed = await self.access.may(caller, verb, kind, namespace)
        if not allowed and verb is Verb.GET:
            shares = await self.shares.of_job(job_id)
            allowed = bool(await self._shared_of(caller, {job_id: record or {}}, shares))
        if record is None or not allowed:
            raise NotFound("job", job_id)
        return record

    async def authority(self, record: Mapping[str, Any]) -> str:
        """Namespace in which a caller needs the right to this record."""
        if record.get(LIVE):  # from an existing resource
            return str(record["namespace"])
        return await self.tenants.authority(record)

    async def jobs(self, caller: Caller, job_ids: Iterable[str]) -> dict[str, Record]:
        """Records of those jobs that the caller may see. Other requests have a turn after each `_AT_A_TIME` jobs."""
        found = await self.records.visibility_fields(job_ids)
        ids = list(found)
        seen = set[str]()
        for start in range(0, len(ids), _AT_A_TIME):
            seen |= await self._seen(
                caller, {identifier: found[identifier] for identifier in ids[start : start + _AT_A_TIME]}
            )
            await asyncio.sleep(0)  # caches may have had all answers
        return {job_id: record for job_id, record in found.items() if job_id in seen}

    async def _seen(self, caller: Caller, records: Mapping[str, Record]) -> set[str]:
        """Ids of those of these jobs that the caller may see."""
        places: dict[str, tuple[str, Kind]] = {}
        wanted: dict[str, set[Kind]] = {}
        for job_id, record in records.items():
            if (kind := KINDS.get(str(record.get("type")))) is not None:
                places[job_id] = (await self.authority(record), kind)
                wanted.setdefault(places[job_id][0], set()).add(kind)
        allowed = await self.access.which_of(
            caller, Verb.GET, {each_namespace: frozenset(wanted[each_namespace]) for each_namespace in wanted}
        )
        mine = {place for place, (namespace, kind) in places.items() if kind in allowed.get(namespace, ())}
        others = {place: records[place] for place in places if place not in mine}
        shares = await self.shares.of_jobs(others, _direct_grantees(caller)) if others else ()
        return mine | await self._shared_of(caller, others, shares)

    async def _shared_of(self, caller: Caller, records: Mapping[str, Record], shares: Iterable[Share]) -> set[str]:
        """Ids of those of these jobs that are public, or shared with the caller. `shares` are those of the jobs."""
        direct = _direct_grantees(caller)
        by_job = groupby(sorted(shares, key=attrgetter("job_id")), attrgetter("job_id"))
        valid = await self._valid(each for _, given in by_job for each in _considered(list(given), direct))
        seen = {job_id for job_id, record in records.items() if (record.get("metadata") or {}).get("isPublic") is True}
        seen |= {share.job_id for share in valid if share.to in direct}
        left = [share for share in valid if share.job_id not in seen]
        kinds: dict[str, set[Kind]] = {}
        for share in left:
            kinds.setdefault(share.to.name, set()).add(KINDS[share.type])
        there = await self.access.which_of(caller, Verb.GET, {kind: frozenset(kinds[kind]) for kind in sorted(kinds)})
        return seen | {share.job_id for share in left if KINDS[share.type] in there.get(share.to.name, ())}

    async def _valid(self, shares: Iterable[Share]) -> list[Share]:
        """Valid shares: those of or with a namespace end when it is created again."""
        given = list(shares)
        tenants = await self.tenants.of_all(name for share in given for name in share.places)
        return [share for share in given if all(tenants[name].existed_at(share.shared_at) for name in share.places)]

    async def scope(self, caller: Caller, namespace: str | None, user_id: str | None, *, public: bool = False) -> Scope:
        """Records that the caller may list: by namespace and kind, and single jobs shared with them.

        `public` adds all public jobs.
        """
        found = await self._scope_by_rights(caller, namespace, user_id)
        if EVERYWHERE in found.namespaces:
            return found
        shared, incomplete = await self._shared(caller, namespace)
        mine = tuple(share.job_id for share in shared)
        tenants = found.tenants if namespace is None else await self.tenants.of_all([namespace])
        return replace(
            found, jobs=mine, public=public, only=namespace, incomplete=incomplete, tenants={**found.tenants, **tenants}
        )

    async def _shared(self, caller: Caller, owner: str | None) -> tuple[list[Share], bool]:
        """Shares with the caller, and True if some may be missing.

        Shares with a namespace are for its service accounts, and for callers who may see such jobs there. Some may be
        missing if there are too many namespaces to check, or more than `MOST` shares.
        """
        grants = await self.shares.grants(owner)
        # In a thread: there may be 60 grants for each namespace of the installation.
        types, incomplete = await asyncio.to_thread(
            lambda: bounded(grant for grant in grants if grant.to != caller.home)
        )
        kinds = {name: frozenset(map(KINDS.__getitem__, of)) for name, of in types.items()}
        there = await self.access.which_of(caller, Verb.LIST, kinds)
        direct = _direct_grantees(caller)
        found = await self.shares.with_grantees(
            direct | {Grantee("namespace", namespace) for namespace in there}, owner
        )
        seen = [share for share in found if share.to in direct or KINDS[share.type] in there.get(share.to.name, ())]
        return await self._valid(seen), incomplete or len(found) >= MOST

    async def _scope_by_rights(self, caller: Caller, namespace: str | None, user_id: str | None) -> Scope:
        """Scope in the given namespace, else in those of a user's records, else a service account's own, else all."""
        found = await self._namespaces(caller, namespace, user_id)
        return Scope(found, tenants=await self.tenants.of_all(found))

    async def _namespaces(
        self, caller: Caller, namespace: str | None, user_id: str | None
    ) -> Mapping[str, frozenset[Kind]]:
        if namespace is not None:
            return await self.access.which(caller, Verb.LIST, [namespace])
        everywhere = await self.access.which(caller, Verb.LIST, [EVERYWHERE])
        if everywhere.get(EVERYWHERE) == frozenset(Kind):
            return everywhere
        if user_id is None and caller.home is not None:
            return await self.access.which(caller, Verb.LIST, [caller.home])
        return await self.access.which(caller, Verb.LIST, await self.records.namespaces(user_id))
