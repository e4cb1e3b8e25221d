"""The adapters against the sandbox's providers, whose own ledger says what would have been paid."""

import asyncio
import io
import json
import secrets
import wave
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mongomock
import pytest
from PIL import Image

from contentgen_contract.resources.prices import PRICES, SPEECH_MODELS, USD, amount
from contentgen_operator.background.settlement import ChargeSettlement
from contentgen_operator.providers.assemblyai import AssemblyAI
from contentgen_operator.providers.base import AccessRefused, Busy, KeyRefused, MaybeAccepted, Provider, Refused
from contentgen_operator.providers.billing import FalBilling
from contentgen_operator.providers.fal import Fal
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.providers.pricing import FalPrices
from contentgen_operator.state.costs import CostSource, cost_of
from contentgen_operator.state.provider_requests import (
    Call,
    Found,
    RequestState,
    RequestView,
    Search,
    StoredObject,
    seed_correlation_key,
)
from contentgen_operator.state.purchases import BilledAccount, Purchase, PurchaseState
from contentgen_operator.stores.charges import Charges
from contentgen_sandbox.testing import SandboxServer

# The SDK of AssemblyAI uses pydantic's older names.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")

TRAINER = "fal-ai/flux-lora-fast-training"
PICTURES = "fal-ai/flux-lora"


@pytest.fixture(autouse=True)
def _fresh(server: SandboxServer) -> None:
    server.reset()


@pytest.fixture
def key(tmp_path: Path) -> KeyFile:
    (tmp_path / "key").write_text("test")
    return KeyFile(str(tmp_path / "key"))


@pytest.fixture
async def fal(server: SandboxServer, key: KeyFile) -> Any:
    made = Fal(key, server.fal_queue_url, server.fal_api_url)
    yield made
    await made.close()


@pytest.fixture
def assemblyai(server: SandboxServer, key: KeyFile) -> AssemblyAI:
    return AssemblyAI(key, server.assemblyai_url)


def training(server: SandboxServer) -> Call:
    buffer, picture = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(picture, "PNG")
    with zipfile.ZipFile(buffer, "w") as archive:
        for index in range(4):
            archive.writestr(f"{index}.png", picture.getvalue())
            archive.writestr(f"{index}.txt", "a photo of jf")
    name = f"dataset-{secrets.token_hex(4)}.zip"  # the history outlives a test
    url = server.put_media(name, buffer.getvalue())
    arguments = {"images_data_url": f"{url}?signature=secret", "trigger_word": "jf", "steps": 500}
    return Call(provider="fal", model=TRAINER, arguments=arguments, correlation_key=name)


def generation() -> Call:
    arguments = {
        "prompt": "a cat",
        "seed": secrets.randbelow(2**31),
        "num_images": 1,
        "image_size": {"width": 256, "height": 256},
        "output_format": "png",
    }
    return Call(provider="fal", model=PICTURES, arguments=arguments, correlation_key=seed_correlation_key(arguments))


def transcription(server: SandboxServer) -> Call:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(b"\0\1" * 8000)
    name = f"audio-{secrets.token_hex(4)}.wav"
    url = server.put_media(name, buffer.getvalue())
    arguments = {"audio_url": f"{url}?signature=secret", "speaker_labels": True, "language_detection": True}
    arguments["speech_models"] = list(SPEECH_MODELS)
    return Call(provider="assemblyai", model="assemblyai/universal", arguments=arguments, correlation_key=name)


@pytest.mark.parametrize("made", [training, generation, transcription])
async def test_the_cost_by_the_provider_figures_is_the_bill(
    fal: Fal, assemblyai: AssemblyAI, server: SandboxServer, key: KeyFile, made: Any
) -> None:
    call = made() if made is generation else made(server)
    provider: Provider = fal if call.provider == "fal" else assemblyai
    view = await ended(provider, call.model, await provider.submit(call, nothing))
    prices = FalPrices(key, server.fal_api_url)
    if call.provider == "fal":
        price = (await prices.price(call.model)).price
        rate = price.micros if price is not None else 0
    else:
        price = PRICES[f"assemblyai/{view.model_used}"]
        rate = (price.micros + price.speaker_labels_micros) / 3600
    await prices.close()
    assert amount(rate, view.billable_units or 0) == round(float(server.ledger()["total_usd"]) * USD)


@pytest.mark.parametrize("named", ["billing-1", "plain"])
async def test_the_billing_events_are_the_bill_where_the_key_permits(
    fal: Fal, server: SandboxServer, tmp_path: Path, named: str
) -> None:
    """Through the ledger's compare-and-set; without the permission the cost by units stays."""
    request_id = await fal.submit(generation(), nothing)
    view = await ended(fal, PICTURES, request_id)
    now = datetime.now(UTC)
    stored = Purchase(
        state=PurchaseState.COLLECTED, purchase_id="p", job_id="j", provider="fal", model=PICTURES, correlation_key="m",
        created_at=now, changed_at=now - timedelta(minutes=16), request_id=request_id, unit_micros=1,
        billable_units=view.billable_units, billing=True,
    )  # fmt: skip
    collection: Any = mongomock.MongoClient()["db"]["ledger"]
    collection.insert_one({"_id": "it", **stored.model_dump(mode="python", by_alias=True)})
    (tmp_path / "fal-billing-key").write_text(named)
    billing = FalBilling((KeyFile(str(tmp_path / "fal-billing-key")),), server.fal_api_url)
    settler = ChargeSettlement(Charges(collection), {BilledAccount("fal"): billing})
    server.arm({"fault": "billing_error"})
    await settler.round()
    assert collection.find_one()["billedMicros"] is None
    collection.update_one({}, {"$set": {"billingDueAt": None}})
    await settler.round()
    await billing.close()
    cost = cost_of(Purchase.model_validate(collection.find_one() | {"createdAt": now, "changedAt": now}))
    bill = round(float(server.ledger()["total_usd"]) * USD)
    if named == "plain":
        assert cost.source is CostSource.UNITS
    else:
        assert (cost.source, cost.micros, cost.billed) == (CostSource.BILLING_EVENTS, bill, True)


def paid(server: SandboxServer) -> int:
    return len(server.ledger()["entries"])


async def ended(provider: Provider, model: str, request_id: str) -> RequestView:
    for _ in range(6000):  # two minutes or more
        view = await provider.poll(model, request_id)
        if view.state in (RequestState.SUCCEEDED, RequestState.FAILED, RequestState.GONE):
            return view
        await asyncio.sleep(0.02)
    raise AssertionError("never ends")


async def nothing() -> None:
    """No-op hook before the request."""


def search_for(call: Call, sent_after: datetime, *taken: str) -> Search:
    """Search for a call, with the stored input instead of its signed URL."""
    stored = {
        name: StoredObject(key=call.correlation_key)
        for name in ("images_data_url", "audio_url")
        if name in call.arguments
    }
    return Search(
        call=call.model_copy(update={"arguments": call.arguments | stored}),
        sent_after=sent_after,
        sent_before=datetime.now(UTC),
        taken=frozenset(taken),
    )


async def found(provider: Provider, search: Search) -> str:
    """fal's history lists what has ended."""
    for _ in range(6000):  # two minutes or more
        request_id = (await provider.find(search)).request_id
        if request_id is not None:
            return request_id
        await asyncio.sleep(0.02)
    raise AssertionError("not in the history")


def calls(server: SandboxServer, fal: Fal, assemblyai: AssemblyAI) -> list[tuple[Provider, Call]]:
    return [(fal, training(server)), (fal, generation()), (assemblyai, transcription(server))]


async def test_each_call_is_taken_and_answered(server: SandboxServer, fal: Fal, assemblyai: AssemblyAI) -> None:
    for index, (provider, call) in enumerate(calls(server, fal, assemblyai)):
        view = await ended(provider, call.model, await provider.submit(call, nothing))
        assert view.state is RequestState.SUCCEEDED, view
        assert view.result
        assert paid(server) == index + 1


async def test_a_lost_reply_is_paid_once_and_found(server: SandboxServer, fal: Fal, assemblyai: AssemblyAI) -> None:
    for index, (provider, call) in enumerate(calls(server, fal, assemblyai)):
        server.arm({"fault": "reply_lost", "provider": call.provider})
        sent_after = datetime.now(UTC)
        with pytest.raises(MaybeAccepted):
            await provider.submit(call, nothing)
        assert paid(server) == index + 1
        request_id = await found(provider, search_for(call, sent_after))
        assert (await ended(provider, call.model, request_id)).state is RequestState.SUCCEEDED
        assert (await provider.find(search_for(call, sent_after, request_id))).request_id is None
        assert paid(server) == index + 1


async def test_result_expired_in_the_queue_comes_from_the_history(server: SandboxServer, fal: Fal) -> None:
    for fault in ("result_expired", "result_deleted", "result_moved"):
        server.arm({"fault": fault})
        call = generation()
        view = await ended(fal, call.model, await fal.submit(call, nothing))
        assert view.state is RequestState.SUCCEEDED
        assert view.result
        assert json.loads(view.result.read())["seed"] == call.arguments["seed"]
    server.arm({"fault": "result_expired"}, {"fault": "history_bare"})
    view = await ended(fal, call.model, await fal.submit(call, nothing))
    assert (view.state, view.result) == (RequestState.GONE, None)
    assert paid(server) == 4


async def test_request_shown_late_or_without_input_is_not_found(
    server: SandboxServer, fal: Fal, assemblyai: AssemblyAI
) -> None:
    for provider, call in calls(server, fal, assemblyai):
        sent_after = datetime.now(UTC)
        server.arm({"fault": "history_late", "delay_s": 600})
        late = await provider.submit(call, nothing)
        await ended(provider, call.model, late)
        assert (await provider.find(search_for(call, sent_after))).request_id is None
        server.heal(late)
        assert (await provider.find(search_for(call, sent_after))).request_id == late
    sent_after, call = datetime.now(UTC), generation()
    server.arm({"fault": "history_bare"})
    await ended(fal, call.model, await fal.submit(call, nothing))
    assert await fal.find(search_for(call, sent_after)) == Found(request_id=None, complete=False)


async def test_two_lost_requests_of_equal_input_match_one_each(server: SandboxServer, fal: Fal) -> None:
    call, taken, begun = generation(), list[str](), list[datetime]()
    for _ in range(2):
        begun.append(datetime.now(UTC))
        server.arm({"fault": "reply_lost"})
        with pytest.raises(MaybeAccepted):
            await fal.submit(call, nothing)
    for sent_after in begun:
        taken.append(await found(fal, search_for(call, sent_after, *taken)))
    assert sorted(taken) == sorted(entry["request_id"] for entry in server.ledger()["entries"])


async def test_a_request_is_found_in_a_long_history(fal: Fal, server: SandboxServer) -> None:
    call, sent_after = generation(), datetime.now(UTC)
    mine = await fal.submit(call, nothing)
    small = {"prompt": "x", "image_size": {"width": 64, "height": 64}}
    others = [call.model_copy(update={"arguments": small | {"seed": n}}) for n in range(120)]
    ids = [await fal.submit(other, nothing) for other in others]
    for request_id in (mine, *ids):
        await ended(fal, call.model, request_id)
    assert await fal.find(search_for(call, sent_after)) == Found(request_id=mine, complete=True)


async def test_while_the_account_is_locked_nothing_is_lost(server: SandboxServer, fal: Fal) -> None:
    call = generation()
    request_id = await fal.submit(call, nothing)
    await ended(fal, call.model, request_id)
    server.arm({"fault": "locked_account"})
    with pytest.raises(AccessRefused):
        await fal.poll(call.model, request_id)
    assert (await fal.poll(call.model, request_id)).state is RequestState.SUCCEEDED


async def test_refused_request_is_unpaid(server: SandboxServer, fal: Fal, assemblyai: AssemblyAI) -> None:
    for provider, call in calls(server, fal, assemblyai):
        server.arm({"fault": "refuse_429", "provider": call.provider})
        with pytest.raises(Busy):
            await provider.submit(call, nothing)
        for fault in ("error_500", "refuse_503"):  # responses that leave the acceptance unknown
            server.arm({"fault": fault, "provider": call.provider})
            with pytest.raises(MaybeAccepted):
                await provider.submit(call, nothing)
        assert paid(server) == 0


async def test_a_models_error_is_told(server: SandboxServer, fal: Fal, assemblyai: AssemblyAI) -> None:
    for provider, call in calls(server, fal, assemblyai):
        server.arm({"fault": "model_error", "provider": call.provider})
        view = await ended(provider, call.model, await provider.submit(call, nothing))
        assert (view.state, bool(view.message)) == (RequestState.FAILED, True)


async def test_a_wrong_call_is_refused(server: SandboxServer, fal: Fal, tmp_path: Path) -> None:
    call = generation()
    with pytest.raises(Refused, match="not found"):
        await fal.submit(call.model_copy(update={"model": "fal-ai/no-such-model"}), nothing)
    (tmp_path / "key").write_text("wrong")
    with pytest.raises(KeyRefused, match=r"401.*fal-key.*nothing was paid"):
        await fal.submit(call, nothing)
    assert paid(server) == 0


async def test_cancelled_request_ends_unless_it_cannot_be_cancelled(
    server: SandboxServer, fal: Fal, assemblyai: AssemblyAI
) -> None:
    server.arm({"fault": "stuck", "count": 2})
    stuck = await fal.submit(generation(), nothing)
    assert (await fal.poll(generation().model, stuck)).state is RequestState.RUNNING
    assert await fal.cancel(generation().model, stuck)
    assert (await fal.poll(generation().model, stuck)).state is RequestState.FAILED
    call = transcription(server)
    assert not await assemblyai.cancel(call.model, await assemblyai.submit(call, nothing))
    done = await fal.submit(generation(), nothing)
    await ended(fal, generation().model, done)
    assert not await fal.cancel(generation().model, done), "its result is there"
