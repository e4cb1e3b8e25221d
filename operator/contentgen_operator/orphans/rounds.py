"""Rounds over the orphans.

Each one is located (a lost reply, an unfinished request), its response is stored under the purchase id and kept for
`Retention.kept`; then it is discarded. If the resource was deleted with deletionPolicy Delete, it is discarded
immediately. A resource that is applied again adopts it: each transition is a compare-and-set, and the first one wins.

If the operator has no permission to read the resource, because its namespace has left the list, a purchase of this
installation's class is located too, but nothing else is done. Purchases of other classes are left to their
installations.

Only the response is stored, and again if the bucket has lost it. The files that it names are downloaded by a worker,
which needs a resource.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from botocore.exceptions import ClientError
from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.api_paths import InvalidName, equals
from contentgen_contract.records import keys, ownership
from contentgen_contract.records.tenancy import Tenant
from contentgen_operator.clock import utc_now
from contentgen_operator.decide.request_endings import MISSING, request_ending
from contentgen_operator.kube.api import Kube
from contentgen_operator.kube.cache import Cache
from contentgen_operator.kube.selection import DEFAULT, Selection
from contentgen_operator.leader.leadership import Check, unchecked
from contentgen_operator.observe import find_lost
from contentgen_operator.orphans.effects import (
    OrphanEffect,
    Retention,
    is_to_be_cancelled,
    may_be_orphan,
    next_effect,
    pause,
)
from contentgen_operator.orphans.following import FollowState, follow_state
from contentgen_operator.orphans.transitions import (
    after_cancel,
    after_poll,
    deleted,
    discarded,
    found_again,
    noted,
    seen,
)
from contentgen_operator.polling import is_stored, poll_or_stored
from contentgen_operator.providers.accounts import ProviderAccounts
from contentgen_operator.providers.base import Provider, Unavailable
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.state.provider_requests import Call, arguments_of
from contentgen_operator.state.purchases import LedgerTransition, Purchase, PurchaseState, StoredKey
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.stores.s3 import Storage
from contentgen_runtime.kube import explain
from contentgen_runtime.store_errors import NotDeleted
from contentgen_runtime.tenancy import Followed, NamespaceGone, Tenancy

_log = logging.getLogger(__name__)
_A_ROUND = 200  # purchases per round, each with a request to the API server
_CALLS = 20  # requests to providers per round
_CLOCKS = timedelta(minutes=2)  # difference of a provider's clock from ours
_PAUSE_WITH_RESOURCE = timedelta(minutes=15)
_FORBIDDEN = 403


@dataclass(kw_only=True, eq=False)
class Orphans:
    """Follows orphans, a bounded number in each round; the next round continues after the last key."""

    kube: Kube
    cache: Cache
    storage: Storage
    ledger: Ledger
    providers: ProviderAccounts
    retention: Retention
    tenancy: Tenancy
    selection: Selection = DEFAULT
    check: Check = unchecked  # raises Conflict if this process does not lead

    def __post_init__(self) -> None:
        self._after = ""  # the key at which the last round stopped
        self._due: dict[str, datetime] = {}  # by key
        self._seen: set[str] = set()  # since the first key
        self._calls = 0
        self._away: set[tuple[str, str | None]] = set()  # providers and accounts that did not answer in this round
        self._followed = Followed()

    async def round(self, now: datetime | None = None) -> None:
        """Process the next purchases. Raises NotLeading, or one of STORE_ERRORS or API_ERRORS."""
        now = now or utc_now()
        self._calls, self._away = 0, set()
        self._followed = await self.tenancy.followed()
        found = await self.ledger.open_purchases(self._after, _A_ROUND)
        for key, purchase in found:
            if self._calls >= _CALLS:
                break
            self._after = key.text  # also after an error: a permanent one must not block the others
            self._seen.add(key.text)
            await self._look(key, purchase, now)
        if len(found) < _A_ROUND and self._calls < _CALLS:
            self._due = {key: due for key, due in self._due.items() if key in self._seen}
            self._after, self._seen = "", set()
        for key, purchase in await self.ledger.undeleted(_A_ROUND):
            if self._followed.includes(purchase.cluster_uid, key.namespace):
                await self._delete(key, purchase)

    async def _look(self, key: StoredKey, purchase: Purchase, now: datetime) -> None:
        if now < self._due.get(key.text, now) or not may_be_orphan(purchase):
            return  # planned ones are not paid
        if not self._followed.includes(purchase.cluster_uid, key.namespace):
            return  # another cluster's: this API server does not know its resource
        state = await self._follow_state_if_known(key, purchase, now)
        if state is None:
            return
        effect = next_effect(purchase, state, now, self.retention)
        if state is FollowState.GONE and effect in (OrphanEffect.NOTE, OrphanEffect.SEEN, OrphanEffect.DISCARD):
            await self._confirm_served(key)
        if effect in (OrphanEffect.SEARCH, OrphanEffect.POLL) and (purchase.provider, purchase.account) in self._away:
            return  # in the next round: a request that is never found must not block the others
        try:
            await self._take(effect, state, key, purchase, now)
            if state is FollowState.GONE and effect in (OrphanEffect.NOTE, OrphanEffect.SEEN):
                await self._store_again(key, purchase, now)
        except Unavailable as error:
            self._away.add((purchase.provider, purchase.account))
            _log.info("orphan %s waits: %s", key, error)
        if effect is not OrphanEffect.NOTE:
            followed = state is FollowState.FOLLOWED
            self._due[key.text] = now + (_PAUSE_WITH_RESOURCE if followed else pause(purchase, now))

    async def _follow_state_if_known(self, key: StoredKey, purchase: Purchase, now: datetime) -> FollowState | None:
        """State; None if it cannot be determined, and the purchase waits. Raises one of API_ERRORS."""
        names = self.selection.namespaces.names
        if names and key.namespace not in names:
            return FollowState.UNSEEN
        # The ledger was read before: a missing owner was deleted after the purchase.
        try:
            return await self._follow_state(key, purchase, now)
        except NamespaceGone as error:
            _log.info("orphan %s waits: %s", key, error)
            return None
        except ApiException as error:
            if error.status != _FORBIDDEN:
                raise
            # In this namespace only: its Role is missing. Purchases of other namespaces continue.
            _log.info("the resource of purchase %s cannot be read: %s", key, explain(error))
            return FollowState.UNSEEN

    async def _take(
        self, effect: OrphanEffect, state: FollowState, key: StoredKey, purchase: Purchase, now: datetime
    ) -> None:
        if effect is OrphanEffect.NOTE:
            is_gone = state is FollowState.GONE
            if await self._moved(noted(key, purchase, now if is_gone else None), now):
                message = "the resource of purchase %s (%s) is %s"
                _log.info(message, key, purchase.state, "gone" if is_gone else "there", extra=_about(purchase))
        elif effect is OrphanEffect.SEEN:
            await self._moved(seen(key, purchase, now), now)
        elif effect is OrphanEffect.DISCARD:
            if await self._moved(discarded(key, purchase, now), now):
                why = "with deletionPolicy Delete" if purchase.discard_asked else "and the retention is over"
                _log.info("orphan %s is discarded: deleted %s", key, why, extra=_about(purchase))
        elif effect in (OrphanEffect.SEARCH, OrphanEffect.POLL) and (provider := self._provider(purchase)) is not None:
            self._calls += 1
            if effect is OrphanEffect.SEARCH:
                await self._search(key, purchase, provider, now)
            else:
                await self._poll(key, purchase, provider, now, seen=state is not FollowState.UNSEEN)

    def _provider(self, purchase: Purchase) -> Provider | None:
        if not self.providers.knows(purchase.provider):
            return None
        return self.providers.provider(purchase.provider, purchase.account)

    async def _follow_state(self, key: StoredKey, purchase: Purchase, now: datetime) -> FollowState:
        """State by a read of the API server, unless the cache has the owner. Raises one of API_ERRORS."""
        ref = ResourceRef(kind=key.kind, namespace=key.namespace, name=key.name, uid=purchase.job_id)
        cached = self.cache.resource(ref)
        if cached is not None:
            return follow_state(cached, Tenant(), key, purchase, now)
        body = await self.kube.get_resource(key.kind, key.namespace, key.name)
        if body is None:
            return FollowState.GONE
        tenant = await self.tenancy.of_resource(key.namespace, body["metadata"]["uid"])
        state = follow_state(body, tenant, key, purchase, now)
        if self.selection.has_left(body):
            # The run continues when the namespace is selected again; until then no reconcile follows it.
            return FollowState.ENDED if state is FollowState.FOLLOWED else state
        if state is FollowState.GONE or self.selection.serves(body):
            return state
        # The resource has another class now. Its installation may use another account of the provider, which does not
        # know requests sent here, and may never learn of purchases of an earlier resource of this name.
        return FollowState.ENDED

    async def _confirm_served(self, key: StoredKey) -> None:
        """Raises one of API_ERRORS if the API server does not serve the kind: then no resource is found."""
        try:
            selector = equals("metadata.name", key.name)
        except InvalidName:  # no resource can have it
            return
        scope = key.namespace if self.selection.namespaces.names else ""
        async for _ in self.kube.every(key.kind, scope, {"fieldSelector": selector}):
            break

    async def _search(self, key: StoredKey, purchase: Purchase, provider: Provider, now: datetime) -> None:
        try:
            arguments = arguments_of(purchase.sent_input or "")
        except ValueError as error:
            _log.error("the stored input of purchase %s cannot be read: %s", key, error)
            return
        call = Call(
            provider=purchase.provider,
            model=purchase.model,
            arguments=arguments,
            correlation_key=purchase.correlation_key,
        )
        before = await (self._next_sent_at(key) if purchase.abandoned else self._before_next_run(purchase))
        found = await find_lost(self.ledger, provider, purchase, call, before)
        if found.request_id is None:
            return
        move = found_again(key, purchase, found.request_id, now)
        if await self._moved(move, now):
            _log.info("request %s of orphan %s is found again", found.request_id, key, extra=_about(purchase))

    async def _next_sent_at(self, key: StoredKey) -> datetime | None:
        """Time of the next attempt, whose request has the same input; None if it was not sent."""
        following = await self.ledger.get(key.next_attempt)
        return following.sent_at if following is not None else None

    async def _before_next_run(self, purchase: Purchase) -> datetime | None:
        """Time before the owner's next request with the same correlation key, less the clocks' margin, or None."""
        following = await self.ledger.next_sent_at(purchase)
        return following - _CLOCKS if following is not None else None

    async def _poll(self, key: StoredKey, purchase: Purchase, provider: Provider, now: datetime, *, seen: bool) -> None:
        """`seen`: the state of its resource is known; else nothing is cancelled or given up as lost."""
        view = await poll_or_stored(self.storage, self.ledger, provider, purchase, now)
        if view.state in MISSING and not seen:
            return
        store, move = after_poll(key, purchase, view, now, self.retention)
        if store is not None:
            self.check()
            await self.storage.put_answer(store)
        is_open = move is None or move.target is PurchaseState.SUBMITTED
        if is_open and seen and is_to_be_cancelled(purchase, now, self.retention):
            self.check()
            ended = await provider.cancel(purchase.model, purchase.request_id or "")
            move = after_cancel(key, purchase, ended, now)
        if move is not None and await self._moved(move, now) and move.target is not purchase.state:
            message = "request %s of orphan %s: %s is %s now"
            _log.info(message, purchase.request_id, key, purchase.state, move.target, extra=_about(purchase))

    async def _store_again(self, key: StoredKey, purchase: Purchase, now: datetime) -> None:
        """Store the response of a finished request if the bucket has lost it and the provider has it. Raises
        Unavailable.
        """
        if purchase.state is not PurchaseState.SUCCEEDED or purchase.result_key is None or purchase.discard_asked:
            return
        if (purchase.provider, purchase.account) in self._away or await is_stored(self.storage, purchase):
            return
        if (provider := self._provider(purchase)) is None:
            return
        self._calls += 1
        view = await provider.poll(purchase.model, purchase.request_id or "")
        end = request_ending(key.kind, purchase, view, now, {})
        if end is None or end.answer is None:
            _log.warning("the response of orphan %s is in no store, the provider is %s", key, view.state)
            return
        self.check()
        await self.storage.put_answer(end.answer)
        _log.info("the lost response of orphan %s is stored again", key, extra=_about(purchase))

    async def _delete(self, key: StoredKey, purchase: Purchase) -> None:
        """Delete one page of the files of a discarded orphan; the next round continues."""
        owner = ownership.purchase_owner(purchase.purchase_id)
        self.check()
        try:
            page = await self.storage.delete_prefix(owner, keys.purchase_prefix(purchase.purchase_id))
        except (ClientError, NotDeleted) as error:  # of this one alone
            _log.warning("the response of orphan %s waits to be deleted: %s", key, error, extra=_about(purchase))
            return
        if not page.more:
            self.check()
            await self.ledger.move(deleted(key, purchase))

    async def _moved(self, move: LedgerTransition, now: datetime) -> bool:
        """True if the compare-and-set succeeded; else another process was faster."""
        request_id, target = move.changes.get("request_id"), move.bound_to
        self.check()
        if target is not None and request_id and not await self.ledger.bind_request(target, request_id, now):
            _log.warning("request %s is another purchase's, not that of orphan %s", request_id, move.key)
            return False
        if await self.ledger.move(move) is not None:
            return True
        _log.info("orphan %s was changed before it went from %s to %s", move.key, move.source, move.target)
        return False


def _about(purchase: Purchase) -> dict[str, str]:
    return {"jobId": purchase.job_id, "purchase": purchase.purchase_id}
