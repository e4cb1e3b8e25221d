"""What a caller may see: asked of Kubernetes before a record is given. What is foreign looks like what is missing."""

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

LIVE = "_live"  # in a record that was made of a resource which is there, and is not stored
KINDS = {kind.record_type: kind for kind in Kind}


def _at_home(caller: Caller) -> set[Grantee]:
    """Whom a share must name to be for this caller, without asking Kubernetes."""
    return {Grantee("user", caller.name), *([Grantee("namespace", caller.home)] if caller.home else ())}


class Visibility:
    """Records through a caller's eyes."""

    def __init__(
        self, records: Records, access: Authorizer, creations: RecentCreations, shares: Shares, tenants: Tenants
    ) -> None:
        self._tenants = tenants
        self._records = records
        self._access = access
        self._creations = creations
        self._shares = shares

    async def job(self, caller: Caller, job_id: str, verb: Verb = Verb.GET) -> Record:
        """A job's record, or what will be its record, for one who may do this with it. Raises NotFound."""
        record = await self._records.get_with_discarded(job_id)
        if record is None:
            now = await self._creations.find(job_id)
            record = document(now) | {LIVE: True} if now is not None else None
        elif discarded(record):
            record = None
        # Kubernetes is asked in either case: how long an answer takes tells nothing.
        kind = KINDS.get(str((record or {}).get("type")), Kind.LORA_TRAINING)
        namespace = await self.authority(record or {})
        allowed = await self._access.may(caller, verb, kind, namespace)
        if not allowed and verb is Verb.GET:
            allowed = await self._shown(caller, await self._shares.of(job_id), record)
        if record is None or not allowed:
            raise NotFound("job", job_id)
        return record

    async def authority(self, record: Mapping[str, Any]) -> str:
        """The namespace in which a caller needs the right to this record."""
        if record.get(LIVE):  # of a resource that is there
            return str(record["namespace"])
        return await self._tenants.authority(record)

    async def jobs(self, caller: Caller, job_ids: Iterable[str]) -> dict[str, Record]:
        """Of these jobs, the records of those that the caller may see."""
        found = await self._records.visibility_fields(job_ids)
        mine: dict[str, Record] = {}
        others: dict[str, Record] = {}
        for job_id, record in found.items():
            kind = KINDS.get(str(record.get("type")))
            if kind is None:
                continue
            allowed = await self._access.may(caller, Verb.GET, kind, await self.authority(record))
            (mine if allowed else others)[job_id] = record
        shares = await self._shares.of_all(others, _at_home(caller)) if others else {}
        shown = {each for each, record in others.items() if await self._shown(caller, shares.get(each, ()), record)}
        return {job_id: record for job_id, record in found.items() if job_id in mine or job_id in shown}

    async def _shown(self, caller: Caller, shares: Iterable[Share], record: Record | None) -> bool:
        """Whether it is public, or shared with the caller."""
        given, at_home = list(shares), _at_home(caller)
        if await self._alive(each for each in given if each.to in at_home):
            return True
        to = sorted({each.to.name for each in given if each.to.kind == "namespace"})[:MOST_NAMESPACES]
        alive = await self._alive(each for each in given if each.to.kind == "namespace" and each.to.name in to)
        kinds = frozenset(KINDS[each.type] for each in alive)
        if await self._access.which_of(caller, Verb.GET, dict.fromkeys(sorted({e.to.name for e in alive}), kinds)):
            return True
        return ((record or {}).get("metadata") or {}).get("isPublic") is True

    async def _alive(self, shares: Iterable[Share]) -> list[Share]:
        """Shares of a namespace, and with one, end when it is created again."""
        given = list(shares)
        tenants = await self._tenants.of_all(name for each in given for name in each.places)
        return [each for each in given if all(tenants[name].existed_at(each.shared_at) for name in each.places)]

    async def scope(self, caller: Caller, namespace: str | None, user_id: str | None, *, public: bool = False) -> Scope:
        """What the caller may list: where they have the right to, and single jobs that were shared with them.

        `public`: what anybody has made public as well.
        """
        found = await self._own(caller, namespace, user_id)
        if EVERYWHERE in found.namespaces:
            return found
        shared, incomplete = await self._shared(caller, namespace)
        mine = tuple(each.job_id for each in shared)
        tenants = found.tenants if namespace is None else await self._tenants.of_all([namespace])
        return replace(
            found, jobs=mine, public=public, only=namespace, incomplete=incomplete, tenants={**found.tenants, **tenants}
        )

    async def _shared(self, caller: Caller, owner: str | None) -> tuple[list[Share], bool]:
        """A namespace's shares are for its service accounts, and for those who may see such jobs there.

        Also says whether the caller may miss some: Kubernetes was not asked about all, or there are more than `MOST`.
        """
        types, incomplete = bounded(each for each in await self._shares.grants(owner) if each.to != caller.home)
        kinds = {name: frozenset(map(KINDS.__getitem__, of)) for name, of in types.items()}
        there = await self._access.which_of(caller, Verb.LIST, kinds)
        at_home = _at_home(caller)
        found = await self._shares.given(at_home | {Grantee("namespace", each) for each in there}, owner)
        seen = [each for each in found if each.to in at_home or KINDS[each.type] in there.get(each.to.name, ())]
        return await self._alive(seen), incomplete or len(found) >= MOST

    async def _own(self, caller: Caller, namespace: str | None, user_id: str | None) -> Scope:
        """The named namespace, else those where a user has something, else a service account's own, else all."""
        found = await self._places(caller, namespace, user_id)
        return Scope(found, tenants=await self._tenants.of_all(found))

    async def _places(
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
