"""One purchase of each kind, like the operator's: paid once, polled to its end, found again in the history.

These tests verify the sandbox's model of the real providers; tests/integration runs this file against the sandbox.
"""

import asyncio
import io
import json
import secrets
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import mongomock
import pytest
from PIL import Image

from contentgen_contract.names import Kind
from contentgen_contract.resources.prices import SPEECH_MODELS
from contentgen_contract.resources.providers import PROVIDERS
from contentgen_operator.providers.base import Provider
from contentgen_operator.providers.fal import Fal
from contentgen_operator.state.kinds import table as kinds
from contentgen_operator.state.kinds.row import CallContext
from contentgen_operator.state.provider_requests import Call, RequestState, RequestView, Search, StoredObject
from contentgen_operator.state.purchases import LedgerTransition, Purchase, PurchaseKey, PurchaseState
from contentgen_operator.stores.ledger import Ledger
from contentgen_real.consent import LORA, PICTURE, SOUND, SOUND_SECONDS, ProviderCheck
from contentgen_real.inputs import tone, training_set
from contentgen_real.providers import BuildPlace

# The SDK of AssemblyAI uses pydantic's older names.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")

KINDS = {PICTURE.name: Kind.IMAGE_GENERATION, SOUND.name: Kind.TRANSCRIPTION, LORA.name: Kind.LORA_TRAINING}
T = TypeVar("T")
HISTORY_SECONDS = 600


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """Ledger on mongomock, whose insert looks and writes in two steps: without a lock two threads insert one id."""
    collection: Any = mongomock.MongoClient(tz_aware=True)["real"]["ledger"]
    lock, insert = threading.Lock(), collection.insert_one

    def one_at_a_time(document: dict[str, Any]) -> None:
        with lock:
            insert(document)

    monkeypatch.setattr(collection, "insert_one", one_at_a_time)
    return Ledger(collection)


def document_of(view: RequestView) -> dict[str, Any]:
    """The whole of a result."""
    assert view.result is not None
    document: dict[str, Any] = json.loads(view.result.read())
    return document


async def test_picture(place: BuildPlace, fal: Fal, ledger: Ledger) -> None:
    view = await bought_once(place, fal, ledger, PICTURE, None, seconds=600)
    place.record("fal-picture", document_of(view))
    place.record("fal-history", await place.fal_history(PICTURE.model))
    [picture] = document_of(view)["images"]
    async with httpx.AsyncClient(timeout=60) as client:
        content = (await client.get(picture["url"])).raise_for_status().content
    with Image.open(io.BytesIO(content)) as opened:
        assert opened.size == (512, 512)


async def test_sound(place: BuildPlace, ledger: Ledger, tmp_path: Path) -> None:
    url = await place.publish_sound(tone(SOUND_SECONDS))
    view = await bought_once(place, place.assemblyai(tmp_path), ledger, SOUND, url, seconds=600)
    place.record("assemblyai-transcript", document_of(view))
    place.record("assemblyai-history", await place.assemblyai_history())
    assert document_of(view)["status"] == "completed"
    assert "words" in document_of(view)


async def test_training(place: BuildPlace, fal: Fal, ledger: Ledger) -> None:
    url = await place.publish(training_set("jf"))
    view = await bought_once(place, fal, ledger, LORA, url, seconds=3600)
    place.record("fal-training", document_of(view))
    assert document_of(view)["diffusers_lora_file"]["url"].startswith("http")


async def bought_once(
    place: BuildPlace,
    provider: Provider,
    ledger: Ledger,
    check: ProviderCheck,
    input_url: str | None,
    *,
    seconds: float,
) -> RequestView:
    """Two payers at the same time; one request, which ends well, and which its marker finds."""
    key, call = purchase_of(check, input_url)
    sent_after = datetime.now(UTC)
    paid = await asyncio.gather(*(pay(provider, ledger, key, call) for _ in range(2)))
    [request_id] = [each for each in paid if each is not None]
    stored = await ledger.get(key)
    assert stored is not None
    assert (stored.state, stored.request_id) == (PurchaseState.SUBMITTED, request_id)

    async def ended() -> RequestView | None:
        view = await provider.poll(call.model, request_id)
        return view if view.state in (RequestState.SUCCEEDED, RequestState.FAILED) else None

    view = await until(ended, seconds, place.pause)
    assert view.state is RequestState.SUCCEEDED, view.message
    # Search as after a lost response: the id is unknown, and the history contains it.
    search = Search(call=unsigned(call, input_url), sent_after=sent_after, sent_before=datetime.now(UTC))

    async def found() -> str | None:
        return (await provider.find(search)).request_id

    assert await until(found, HISTORY_SECONDS, place.pause) == request_id
    search = search.model_copy(update={"taken": frozenset({request_id})})
    assert (await provider.find(search)).request_id is None, "it was sent more than once"
    return view


def purchase_of(check: ProviderCheck, input_url: str | None) -> tuple[PurchaseKey, Call]:
    """The operator's own call, unique to this run; the input's address is the only thing put in by us."""
    kind, unique = KINDS[check.name], secrets.token_hex(8)
    key = PurchaseKey(namespace="real", kind=kind, name=check.name, run_hash=unique, rerun=None, attempt=1)
    job = CallContext(provider=PROVIDERS.of_kind(kind), user_id="real", job_id=unique, version=1)
    call = kinds.call_of(check.spec, job, key, (), SPEECH_MODELS)
    if input_url is None:
        return key, call
    given = {name: input_url if isinstance(value, StoredObject) else value for name, value in call.arguments.items()}
    return key, call.model_copy(update={"arguments": given, "correlation_key": urlsplit(input_url).path.lstrip("/")})


def unsigned(call: Call, input_url: str | None) -> Call:
    """The call as a search has it: the stored input in place of its signed URL."""
    stored = StoredObject(key=call.correlation_key)
    return call.model_copy(
        update={
            "arguments": {
                name: stored if argument == input_url else argument for name, argument in call.arguments.items()
            }
        }
    )


async def at_once() -> None:
    """Before the request: the intent is written."""


async def pay(provider: Provider, ledger: Ledger, key: PurchaseKey, call: Call) -> str | None:
    """Purchase like `act`: only the writer of the intent sends the POST."""
    now = datetime.now(UTC)
    intent = Purchase(
        state=PurchaseState.INTENT, job_id=key.run_hash, provider=call.provider, model=call.model,
        correlation_key=call.correlation_key, created_at=now, changed_at=now,
    )  # fmt: skip
    if not await ledger.intend(key, intent):
        return None
    request_id = await provider.submit(call, at_once)
    changes = {"request_id": request_id, "submitted_at": datetime.now(UTC)}
    assert await ledger.move(
        LedgerTransition(key=key, source=PurchaseState.INTENT, target=PurchaseState.SUBMITTED, changes=changes)
    )
    return request_id


async def until(look: Callable[[], Awaitable[T | None]], seconds: float, pause: float) -> T:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = await look()
        if found is not None:
            return found
        await asyncio.sleep(pause)
    raise AssertionError(f"not within {seconds} s")
