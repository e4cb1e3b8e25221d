"""Orphans: purchases that may be paid, are not collected, and whose resource is gone.

Each one is located (a lost reply, an unfinished request), its response is stored under the purchase id and kept for
`Retention.kept`; then it is discarded. If the resource was deleted with deletionPolicy Delete, it is discarded
immediately. A resource that is applied again adopts it: each step here is a compare-and-set of state, owner and step,
and the first one wins.

If the operator has no permission to read the resource, because its namespace has left the list, a purchase of this
installation's class is located too, but nothing else is done. Purchases of other classes are left to their
installations.

Only the response is stored, and again if the bucket has lost it. The files that it names are downloaded by a worker,
which needs a resource.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any

from botocore.exceptions import ClientError
from kubernetes.aio.client.exceptions import ApiException
from pydantic import ValidationError

from contentgen_contract.api_paths import InvalidName, equals
from contentgen_contract.base import Value
from contentgen_contract.names import LORA_WAITS
from contentgen_contract.records import keys, ownership
from contentgen_contract.records.tenancy import Tenant
from contentgen_contract.resources.prices import PRICES, Price
from contentgen_contract.resources.status import RunStatus
from contentgen_operator.clock import utc_now
from contentgen_operator.decide.request_endings import MISSING, observed_fields, request_ending
from contentgen_operator.kube.api import Kube
from contentgen_operator.kube.cache import Cache
from contentgen_operator.kube.selection import DEFAULT, Selection
from contentgen_operator.leader.leadership import Check, unchecked
from contentgen_operator.observe import find_lost
from contentgen_operator.plans import history_searches
from contentgen_operator.polling import is_stored, poll_or_stored
from contentgen_operator.providers.accounts import ProviderAccounts
from contentgen_operator.providers.base import Provider, Unavailable
from contentgen_operator.state.observed import Resource, ResourceRef
from contentgen_operator.state.plan import StoredAnswer
from contentgen_operator.state.provider_requests import Call, RequestView, arguments_of
from contentgen_operator.state.purchases import LedgerTransition, Purchase, PurchaseState, PurchaseStep, StoredKey
from contentgen_operator.state.runs import current_run, ended, purchase_key
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.stores.s3 import Storage
from contentgen_runtime.kube import Body, explain
from contentgen_runtime.store_errors import NotDeleted
from contentgen_runtime.tenancy import Followed, NamespaceGone, Tenancy

_log = logging.getLogger(__name__)
_A_ROUND = 200  # purchases per round, each with a request to the API server
_CALLS = 20  # requests to providers per round
_POST_TIME = timedelta(minutes=10)  # in which the sending process may still record the request id
_SEARCH_TIME = timedelta(days=1)  # after the provider's longest time
_CLOCKS = timedelta(minutes=2)  # difference of a provider's clock from ours
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=60), timedelta(hours=1)
_PAUSE_WITH_RESOURCE = timedelta(minutes=15)
_SEEN_EVERY, _WATCH_GAP = timedelta(days=1), timedelta(days=3)
_FORBIDDEN = 403


class Retention(Value):
    """Settings. `prices` are by model; `own_prices` are models whose price the administrator has set."""

    kept: timedelta = timedelta(days=30)
    provider_seconds: int = 86400  # after which a request is cancelled
    prices: dict[str, Price] = PRICES
    own_prices: frozenset[str] = frozenset()


class OrphanStep(Enum):
    """Next step with an orphan."""

    NOTHING = auto()
    NOTE = auto()  # record since when its resource is gone, or that it is not
    SEARCH = auto()  # search the provider's history: its reply was lost
    POLL = auto()
    SEEN = auto()  # still gone: recorded once a day
    DISCARD = auto()


class FollowState(Enum):
    """State of the resource that a purchase belongs to."""

    FOLLOWED = auto()
    ENDED = auto()  # its run has ended before the request has, or an image that waits for its LoRA may ask for it: it
    # is located, and its result is kept
    GONE = auto()
    UNSEEN = auto()  # its namespace has no Role, so its resource cannot be read. It is located, and nothing else


def next_step(purchase: Purchase, state: FollowState, now: datetime, retention: Retention) -> OrphanStep:
    """Next step with an open purchase."""
    if state is FollowState.UNSEEN:  # located for as long as the provider keeps a result
        return _locating(purchase, now, retention) if history_searches.is_open(purchase, now) else OrphanStep.NOTHING
    is_gone, was_gone = state is FollowState.GONE, purchase.orphaned_at is not None
    if was_gone and not is_gone:
        return OrphanStep.NOTE
    if state is FollowState.FOLLOWED or not may_be_orphan(purchase):
        return OrphanStep.NOTHING
    # The user has paid for another attempt: nothing to decide before its request is found.
    if is_gone and not was_gone and not purchase.abandoned:
        return OrphanStep.NOTE
    if purchase.state is PurchaseState.SUCCEEDED:
        return _keeping(purchase, now, retention) if is_gone else OrphanStep.NOTHING
    return _locating(purchase, now, retention)


def _locating(purchase: Purchase, now: datetime, retention: Retention) -> OrphanStep:
    if purchase.state is PurchaseState.SUBMITTED:
        return OrphanStep.POLL
    return OrphanStep.SEARCH if _is_searched(purchase, now, retention) else OrphanStep.NOTHING


def _keeping(purchase: Purchase, now: datetime, retention: Retention) -> OrphanStep:
    """Next step with a result without a resource. The retention starts again if the resource was not seen as gone all
    the time, such as after a restore of an old ledger or a stop of the operator.
    """
    since = purchase.orphaned_at or now
    seen = purchase.orphan_seen_at or since
    if now - seen > _WATCH_GAP:
        return OrphanStep.NOTE
    if purchase.discard_asked or now >= since + retention.kept:
        return OrphanStep.DISCARD
    return OrphanStep.SEEN if now - seen >= _SEEN_EVERY else OrphanStep.NOTHING


def may_be_orphan(purchase: Purchase) -> bool:
    """True if it may be paid and is not collected."""
    if purchase.state is PurchaseState.INTENT:
        return purchase.step is not PurchaseStep.PLANNED
    return purchase.state in (PurchaseState.SUBMITTED, PurchaseState.SUCCEEDED)


def _is_searched(purchase: Purchase, now: datetime, retention: Retention) -> bool:
    """True if the input is stored; without it, as in a purchase rebuilt from a status, only a resource applied
    again can search.
    """
    sent = purchase.sent_at or purchase.created_at
    longest = timedelta(seconds=retention.provider_seconds) + _SEARCH_TIME
    return purchase.sent_input is not None and _POST_TIME <= now - sent <= longest


def pause(purchase: Purchase, now: datetime) -> timedelta:
    """Pause until the next check: a tenth of the request's age, within bounds."""
    since = purchase.submitted_at or purchase.sent_at or purchase.created_at
    return min(max(abs(now - since) / 10, _FIRST_PAUSE), _LONGEST_PAUSE)


def noted(key: StoredKey, purchase: Purchase, at: datetime | None) -> LedgerTransition:
    """Time since which its resource is gone; None: it has one."""
    return _move(key, purchase, purchase.state, orphaned_at=at, orphan_seen_at=at)


def found_again(key: StoredKey, purchase: Purchase, request_id: str, now: datetime) -> LedgerTransition:
    """Transition for the located request of a lost reply."""
    changes = {"request_id": request_id, "submitted_at": purchase.sent_at or purchase.created_at, "step": None}
    move = _move(key, purchase, PurchaseState.SUBMITTED, changed_at=now, **changes)
    return move.model_copy(update={"bound_to": purchase})


def after_poll(
    key: StoredKey, purchase: Purchase, view: RequestView, now: datetime, retention: Retention
) -> tuple[StoredAnswer | None, LedgerTransition | None]:
    """Response to store and the transition after it; None while the request is in progress, unless the answer is to be
    recorded.
    """
    end = request_ending(key.kind, purchase, view, now, _rate(purchase, view, retention))
    if end is not None:
        return end.answer, _move(key, purchase, end.target, changed_at=now, **end.changes)
    changes = observed_fields(purchase, view, now)
    return None, _move(key, purchase, purchase.state, **changes) if changes else None


def _rate(purchase: Purchase, view: RequestView, retention: Retention) -> dict[str, Any]:
    """Unit price of the model that ran, if it is not the planned one. The extras are derived from the price at which it
    was planned; None if that does not determine them.
    """
    if not view.model_used or purchase.model in retention.own_prices:
        return {}
    planned, used = (retention.prices.get(each) for each in (purchase.model, f"{purchase.provider}/{view.model_used}"))
    if planned is not None and used is not None:
        extras = {planned.micros + planned.speaker_labels_micros: used.speaker_labels_micros, planned.micros: 0.0}
        extra = extras.get(purchase.unit_micros or -1.0)
        if extra is not None:
            found = {"unit_micros": used.micros + extra, "unit": used.unit, "billing": used.billing}
            return found | {"price_source": used.source[:64]}
    return {"unit_micros": None, "unit": None, "billing": False, "price_source": ""}


def is_to_be_cancelled(purchase: Purchase, now: datetime, retention: Retention) -> bool:
    """True if the provider is asked, once, to cancel a request: its result would be discarded, or the provider's
    deadline is over.
    """
    since = (now - (purchase.submitted_at or purchase.created_at)).total_seconds()
    late = since > retention.provider_seconds
    return purchase.cancel_asked_at is None and (purchase.discard_asked or late)


def after_cancel(key: StoredKey, purchase: Purchase, ended: bool, now: datetime) -> LedgerTransition:
    """Transition after a cancellation: cancelled, if the provider confirms it, or requested."""
    if ended:
        return _move(key, purchase, PurchaseState.CANCELLED, error="cancelled", finished_at=None, changed_at=now)
    return _move(key, purchase, PurchaseState.SUBMITTED, cancel_asked_at=now)


def discarded(key: StoredKey, purchase: Purchase, now: datetime) -> LedgerTransition:
    """Transition at the end of an orphan, after which none can adopt it. `orphaned_at` stays until its response is
    deleted.
    """
    expired = None if purchase.discard_asked else now
    return _move(key, purchase, PurchaseState.DISCARDED, outputs=None, expired_at=expired, changed_at=now)


def deleted(key: StoredKey, purchase: Purchase) -> LedgerTransition:
    """Transition after the deletion of the response of a discarded orphan."""
    return _move(key, purchase, PurchaseState.DISCARDED, orphaned_at=None, result_key=None)


def _move(key: StoredKey, purchase: Purchase, target: PurchaseState, **changes: Any) -> LedgerTransition:
    unchanged = ("step", "orphaned_at", "orphan_seen_at", "request_id", "cancel_asked_at")
    expected = {name: getattr(purchase, name) for name in unchanged}
    return LedgerTransition(
        key=key, source=purchase.state, target=target, owner=purchase.job_id, expected=expected, changes=changes
    )


def follow_state(body: Body | None, tenant: Tenant, key: StoredKey, purchase: Purchase, now: datetime) -> FollowState:
    """State by the resource that has the name now. A resource with another uid and the same inputs adopts the purchase
    itself, if its namespace is the buyer's.
    """
    if body is None:
        return FollowState.GONE
    is_owner = body["metadata"]["uid"] == purchase.job_id
    try:
        resource = Resource.parse(key.kind, body)
        if is_owner:
            return _state_of_own(resource, key, now)
        if ended(resource):
            return FollowState.GONE
        if not tenant.has_bought(key.scope, purchase.created_at):
            return FollowState.GONE
        return _state_for_another(resource, current_run(resource, now), key)
    except (ValidationError, KeyError):
        return FollowState.FOLLOWED if is_owner else FollowState.GONE


def _state_for_another(resource: Resource, run: RunStatus, key: StoredKey) -> FollowState:
    """State if the resource is not the owner: it may request the same purchase."""
    if _buys(resource, run, key) and not _waits_for_lora(resource):
        return FollowState.FOLLOWED
    is_undecided = run.purchase_id is None or _waits_for_lora(resource)
    return FollowState.ENDED if is_undecided and _buys_a_variant(resource, run, key) else FollowState.GONE


def _waits_for_lora(resource: Resource) -> bool:
    """True if the trainings of its LoRAs, which determine the purchase, are not known yet."""
    return resource.status.reason in LORA_WAITS


def _state_of_own(resource: Resource, key: StoredKey, now: datetime) -> FollowState:
    """State if the resource is the owner: the reconciler follows purchases of its last run only."""
    run, over = resource.status.run, ended(resource)
    if run is None or not over:
        run = current_run(resource, now)
    is_followed = _buys(resource, run, key) and (not _waits_for_lora(resource) if not over else run.request_open)
    return FollowState.FOLLOWED if is_followed else FollowState.ENDED


def _buys(resource: Resource, run: RunStatus, key: StoredKey) -> bool:
    """True if a purchase is one of a run's attempts."""
    asked = str(purchase_key(resource.model_copy(update={"scope": key.scope}), run))
    return asked.rpartition("/")[0] == key.text.rpartition("/")[0]


def _buys_a_variant(resource: Resource, run: RunStatus, key: StoredKey) -> bool:
    """True if a purchase has the run's inputs, with any trainings of its LoRAs."""
    identity = key.text.split("/")[3].partition(".")[2] or None
    return _buys(resource, run.model_copy(update={"lora_identity": identity}), key)


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
        step = next_step(purchase, state, now, self.retention)
        if state is FollowState.GONE and step in (OrphanStep.NOTE, OrphanStep.SEEN, OrphanStep.DISCARD):
            await self._confirm_served(key)
        if step in (OrphanStep.SEARCH, OrphanStep.POLL) and (purchase.provider, purchase.account) in self._away:
            return  # in the next round: a request that is never found must not block the others
        try:
            await self._take(step, state, key, purchase, now)
            if state is FollowState.GONE and step in (OrphanStep.NOTE, OrphanStep.SEEN):
                await self._store_again(key, purchase, now)
        except Unavailable as error:
            self._away.add((purchase.provider, purchase.account))
            _log.info("orphan %s waits: %s", key, error)
        if step is not OrphanStep.NOTE:
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
        self, step: OrphanStep, state: FollowState, key: StoredKey, purchase: Purchase, now: datetime
    ) -> None:
        if step is OrphanStep.NOTE:
            is_gone = state is FollowState.GONE
            if await self._moved(noted(key, purchase, now if is_gone else None), now):
                message = "the resource of purchase %s (%s) is %s"
                _log.info(message, key, purchase.state, "gone" if is_gone else "there", extra=_about(purchase))
        elif step is OrphanStep.SEEN:
            await self._moved(_move(key, purchase, purchase.state, orphan_seen_at=now), now)
        elif step is OrphanStep.DISCARD:
            if await self._moved(discarded(key, purchase, now), now):
                why = "with deletionPolicy Delete" if purchase.discard_asked else "and the retention is over"
                _log.info("orphan %s is discarded: deleted %s", key, why, extra=_about(purchase))
        elif step in (OrphanStep.SEARCH, OrphanStep.POLL) and (provider := self._provider(purchase)) is not None:
            self._calls += 1
            if step is OrphanStep.SEARCH:
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
            provider=purchase.provider, model=purchase.model, arguments=arguments, correlation_key=purchase.marker
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
        """Time before the owner's next request with the same marker, less the margin of the clocks; None if there is
        none.
        """
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
