"""Purchases like the operator's: two payers at once, one request, polled to its end; and the search after a lost reply.

The request is the product's own call; the address of an input is the only thing that is put in here.
"""

import asyncio
import secrets
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import mongomock

from contentgen_contract.names import Kind
from contentgen_contract.resources.prices import SPEECH_MODELS
from contentgen_contract.resources.providers import PROVIDERS
from contentgen_contract.resources.spec import Spec
from contentgen_operator.providers.base import Provider
from contentgen_operator.state.kinds import table as kinds
from contentgen_operator.state.kinds.row import CallContext
from contentgen_operator.state.provider_requests import (
    Call,
    RequestState,
    RequestView,
    Search,
    StoredObject,
    arguments_json,
    arguments_of,
)
from contentgen_operator.state.purchases import LedgerTransition, Purchase, PurchaseKey, PurchaseState
from contentgen_operator.stores.ledger import Ledger
from contentgen_real.context import StepContext, StepFailed
from contentgen_real.journal import RecordedRequest

POLL_SECONDS, HISTORY_SECONDS = 600.0, 600.0
_ENDED = (RequestState.SUCCEEDED, RequestState.FAILED, RequestState.GONE)


@dataclass(frozen=True)
class Bought:
    """A request of ours that the provider has accepted."""

    call: Call
    request_id: str
    record: RecordedRequest


def call_of(kind: Kind, spec: Spec, input_url: str | None = None) -> tuple[PurchaseKey, Call]:
    """The operator's own call with a unique key. `input_url` replaces its stored input."""
    unique = secrets.token_hex(8)
    key = PurchaseKey(namespace="real", kind=kind, name="real", run_hash=unique, rerun=None, attempt=1)
    job = CallContext(provider=PROVIDERS.of_kind(kind), user_id="real", job_id=unique, version=1)
    call = kinds.call_of(spec, job, key, (), SPEECH_MODELS).model_copy(update={"purchase_id": unique})  # sent as a tag
    if input_url is None:
        return key, call
    given = {name: input_url if isinstance(value, StoredObject) else value for name, value in call.arguments.items()}
    return key, call.model_copy(update={"arguments": given, "correlation_key": urlsplit(input_url).path.lstrip("/")})


async def buy(context: StepContext, step: str, provider: Provider, key: PurchaseKey, call: Call) -> Bought:
    """Two payers at the same time, of whom one sends the POST. Raises ProviderError, StepFailed."""
    ledger, sent_after = _ledger(), datetime.now(UTC)
    arguments = arguments_json(searched(call).arguments)

    async def pay() -> RecordedRequest | None:
        request_id = await _pay(provider, ledger, key, call)
        if request_id is None:
            return None
        record = RecordedRequest(step, call.provider, call.model, request_id, arguments, sent_after, datetime.now(UTC))
        context.journal.add(record)
        return record

    records = [record for record in await asyncio.gather(pay(), pay()) if record is not None]
    if len(records) != 1:
        raise StepFailed(f"two payers sent {len(records)} requests")
    return Bought(call, records[0].request_id, records[0])


async def ended(context: StepContext, provider: Provider, bought: Bought, seconds: float = POLL_SECONDS) -> RequestView:
    """The end of a request, which must be good. Raises ProviderError, StepFailed."""

    async def look() -> RequestView | None:
        view = await provider.poll(bought.call.model, bought.request_id)
        return view if view.state in _ENDED else None

    view = await context.until(f"the end of a request to {bought.call.model}", look, seconds)
    if view.state is not RequestState.SUCCEEDED:
        raise StepFailed(f"{bought.call.model} {view.state.value}: {view.message}")
    return view


async def found_again(context: StepContext, provider: Provider, record: RecordedRequest) -> None:
    """The search after a lost reply finds the request, once. Raises ProviderError, StepFailed."""
    call = Call(
        provider=record.provider,
        model=record.model,
        arguments=arguments_of(record.arguments),
        correlation_key="",
    )
    search = Search(call=call, sent_after=record.sent_after, sent_before=record.sent_before)

    async def look() -> str | None:
        return (await provider.find(search)).request_id

    found = await context.until(f"the {record.provider} request in the history", look, HISTORY_SECONDS)
    context.expect(f"{record.provider} search after a lost reply", "request", "the same", _same(found, record))
    again = search.model_copy(update={"taken": frozenset({record.request_id})})
    second = (await provider.find(again)).request_id
    context.expect(f"{record.provider} search after a lost reply", "number", "1", "1" if second is None else "2")


def searched(call: Call) -> Call:
    """The call as a search has it: the stored inputs in place of their signed URLs."""
    stored = StoredObject(key=call.correlation_key)
    return call.model_copy(
        update={
            "arguments": {
                name: stored if _is_input(argument, call) else argument for name, argument in call.arguments.items()
            }
        }
    )


def _is_input(argument: Any, call: Call) -> bool:
    return isinstance(argument, str) and bool(call.correlation_key) and argument.startswith("http") and (
        urlsplit(argument).path.lstrip("/") == call.correlation_key
    )  # fmt: skip


def _same(found: str, record: RecordedRequest) -> str:
    return "the same" if found == record.request_id else "another"


async def _at_once() -> None:
    """Before the request: the intent is written."""


async def _pay(provider: Provider, ledger: Ledger, key: PurchaseKey, call: Call) -> str | None:
    """Purchase like `act`: only the writer of the intent sends the POST."""
    now = datetime.now(UTC)
    intent = Purchase(
        state=PurchaseState.INTENT, job_id=key.run_hash, provider=call.provider, model=call.model,
        correlation_key=call.correlation_key, created_at=now, changed_at=now,
    )  # fmt: skip
    if not await ledger.intend(key, intent):
        return None
    request_id = await provider.submit(call, _at_once)
    changes = {"request_id": request_id, "submitted_at": datetime.now(UTC)}
    transition = LedgerTransition(key=key, source=PurchaseState.INTENT, target=PurchaseState.SUBMITTED, changes=changes)
    if not await ledger.move(transition):
        raise StepFailed("the ledger has another state")
    return request_id


class _OneInsert:
    """mongomock's collection, whose insert looks and writes in two steps: without a lock two threads insert one id."""

    def __init__(self, collection: Any) -> None:
        self._collection = collection
        self._lock = threading.Lock()

    def insert_one(self, document: dict[str, Any], *args: Any, **options: Any) -> Any:
        with self._lock:
            return self._collection.insert_one(document, *args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)


def _ledger() -> Ledger:
    collection: Any = _OneInsert(mongomock.MongoClient(tz_aware=True)["real"]["ledger"])
    return Ledger(collection)
