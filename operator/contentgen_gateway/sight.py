"""What a caller may see: asked of Kubernetes before a record is given. What is foreign looks like what is missing."""

from contentgen_contract.names import Kind
from contentgen_gateway.access import EVERYWHERE, Access, Verb
from contentgen_gateway.callers import Caller
from contentgen_gateway.live import Live
from contentgen_gateway.now import document
from contentgen_gateway.problems import NotFound
from contentgen_gateway.queries import Scope
from contentgen_gateway.records import Record, Records

KINDS = {kind.record_type: kind for kind in Kind}


class Sight:
    """Records through a caller's eyes."""

    def __init__(self, records: Records, access: Access, live: Live) -> None:
        self._records = records
        self._access = access
        self._live = live

    async def job(self, caller: Caller, job_id: str, verb: Verb = Verb.GET) -> Record:
        """A job's record, or what will be its record, for one who may do this with it. Raises NotFound."""
        record = await self._records.get(job_id)
        if record is None and (now := self._live.get(job_id)) is not None:
            record = document(now)
        # Kubernetes is asked in either case: how long an answer takes tells nothing.
        kind = KINDS.get(str((record or {}).get("type")), Kind.LORA_TRAINING)
        namespace = str((record or {}).get("namespace") or "default")
        allowed = await self._access.may(caller, verb, kind, namespace)
        if record is None or not allowed:
            raise NotFound("job", job_id)
        return record

    async def scope(self, caller: Caller, namespace: str | None, user_id: str | None) -> Scope:
        """Where the caller may list: the namespace that is named, else those where a user has something, else a
        service account's own, else all."""
        if namespace is not None:
            return Scope(await self._access.which(caller, Verb.LIST, [namespace]))
        everywhere = await self._access.which(caller, Verb.LIST, [EVERYWHERE])
        if everywhere.get(EVERYWHERE) == frozenset(Kind):
            return Scope(everywhere)
        if user_id is None and caller.home is not None:
            return Scope(await self._access.which(caller, Verb.LIST, [caller.home]))
        return Scope(await self._access.which(caller, Verb.LIST, await self._records.namespaces(user_id)))
