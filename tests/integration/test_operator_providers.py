"""The adapters against the sandbox's providers, whose own ledger says what would have been paid."""

import asyncio
import io
import secrets
import wave
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from contentgen_contract.prices import PRICES, USD, amount
from contentgen_operator.providers.assemblyai import AssemblyAI
from contentgen_operator.providers.base import (
    Busy,
    Call,
    KeyRefused,
    MaybeAccepted,
    Provider,
    Refused,
    RequestState,
    RequestView,
)
from contentgen_operator.providers.fal import Fal, seed_marker
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.providers.pricing import FalPrices
from contentgen_sandbox.testing import SandboxServer, sandbox_server

# The SDK of AssemblyAI uses pydantic's older names.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")

TRAINER = "fal-ai/flux-lora-fast-training"
PICTURES = "fal-ai/flux-lora"


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with sandbox_server() as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh(server: SandboxServer) -> None:
    httpx.delete(f"{server.url}/sandbox/ledger").raise_for_status()
    server.arm()


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
    return Call(provider="fal", model=TRAINER, arguments=arguments, marker=name)


def generation() -> Call:
    arguments = {
        "prompt": "a cat",
        "seed": secrets.randbelow(2**31),
        "num_images": 1,
        "image_size": {"width": 256, "height": 256},
        "output_format": "png",
    }
    return Call(provider="fal", model=PICTURES, arguments=arguments, marker=seed_marker(arguments))


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
    return Call(provider="assemblyai", model="assemblyai/universal", arguments=arguments, marker=name)


@pytest.mark.parametrize("made", [training, generation, transcription])
async def test_the_cost_by_the_provider_figures_is_the_bill(
    fal: Fal, assemblyai: AssemblyAI, server: SandboxServer, key: KeyFile, made: Any
) -> None:
    call = made() if made is generation else made(server)
    provider: Provider = fal if call.provider == "fal" else assemblyai
    view = await ended(provider, call.model, await provider.submit(call))
    prices = FalPrices(key, server.fal_api_url)
    if call.provider == "fal":
        price = (await prices.price(call.model)).price
        rate = price.micros if price is not None else 0
    else:
        price = PRICES[f"assemblyai/{view.model_used}"]
        rate = (price.micros + price.speaker_labels_micros) / 3600
    await prices.close()
    assert amount(rate, view.billable_units or 0) == round(float(server.ledger()["total_usd"]) * USD)


def paid(server: SandboxServer) -> int:
    return len(server.ledger()["entries"])


async def ended(provider: Provider, model: str, request_id: str) -> RequestView:
    for _ in range(400):
        view = await provider.poll(model, request_id)
        if view.state in (RequestState.SUCCEEDED, RequestState.FAILED):
            return view
        await asyncio.sleep(0.02)
    raise AssertionError("never ends")


async def found(provider: Provider, call: Call, known: frozenset[str] = frozenset()) -> str:
    """fal's history lists what has ended."""
    for _ in range(400):
        request_id = await provider.find(call.model, call.marker, known)
        if request_id is not None:
            return request_id
        await asyncio.sleep(0.02)
    raise AssertionError("not in the history")


def calls(server: SandboxServer, fal: Fal, assemblyai: AssemblyAI) -> list[tuple[Provider, Call]]:
    return [(fal, training(server)), (fal, generation()), (assemblyai, transcription(server))]


async def test_each_call_is_taken_and_answered(server: SandboxServer, fal: Fal, assemblyai: AssemblyAI) -> None:
    for index, (provider, call) in enumerate(calls(server, fal, assemblyai)):
        view = await ended(provider, call.model, await provider.submit(call))
        assert view.state is RequestState.SUCCEEDED, view
        assert view.result
        assert paid(server) == index + 1


async def test_a_lost_reply_is_paid_once_and_found(server: SandboxServer, fal: Fal, assemblyai: AssemblyAI) -> None:
    for index, (provider, call) in enumerate(calls(server, fal, assemblyai)):
        server.arm({"fault": "reply_lost", "provider": call.provider})
        with pytest.raises(MaybeAccepted):
            await provider.submit(call)
        assert paid(server) == index + 1
        request_id = await found(provider, call)
        assert (await ended(provider, call.model, request_id)).state is RequestState.SUCCEEDED
        assert await provider.find(call.model, call.marker, frozenset({request_id})) is None
        assert paid(server) == index + 1


async def test_what_was_not_taken_was_not_paid(server: SandboxServer, fal: Fal, assemblyai: AssemblyAI) -> None:
    for provider, call in calls(server, fal, assemblyai):
        server.arm({"fault": "refuse_429", "provider": call.provider})
        with pytest.raises(Busy):
            await provider.submit(call)
        for fault in ("error_500", "refuse_503"):  # who knows
            server.arm({"fault": fault, "provider": call.provider})
            with pytest.raises(MaybeAccepted):
                await provider.submit(call)
        assert paid(server) == 0


async def test_a_models_error_is_told(server: SandboxServer, fal: Fal, assemblyai: AssemblyAI) -> None:
    for provider, call in calls(server, fal, assemblyai):
        server.arm({"fault": "model_error", "provider": call.provider})
        view = await ended(provider, call.model, await provider.submit(call))
        assert (view.state, bool(view.message)) == (RequestState.FAILED, True)


async def test_a_wrong_call_is_refused(server: SandboxServer, fal: Fal, tmp_path: Path) -> None:
    call = generation()
    with pytest.raises(Refused, match="not found"):
        await fal.submit(call.model_copy(update={"model": "fal-ai/no-such-model"}))
    (tmp_path / "key").write_text("wrong")
    with pytest.raises(KeyRefused, match=r"401.*fal-key.*nothing was paid"):
        await fal.submit(call)
    assert paid(server) == 0


async def test_a_cancelled_request_has_ended_and_one_that_cannot_be_cancelled_has_not(
    server: SandboxServer, fal: Fal, assemblyai: AssemblyAI
) -> None:
    server.arm({"fault": "stuck", "count": 2})
    stuck = await fal.submit(generation())
    assert (await fal.poll(generation().model, stuck)).state is RequestState.RUNNING
    assert await fal.cancel(generation().model, stuck)
    assert (await fal.poll(generation().model, stuck)).state is RequestState.FAILED
    call = transcription(server)
    assert not await assemblyai.cancel(call.model, await assemblyai.submit(call))
    done = await fal.submit(generation())
    await ended(fal, generation().model, done)
    assert not await fal.cancel(generation().model, done), "its result is there"
