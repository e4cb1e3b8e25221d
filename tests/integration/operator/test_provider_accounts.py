"""Provider accounts against the sandbox, whose ledger and histories are separate for each account's keys."""

import asyncio
import io
import secrets
import wave
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mongomock
import pytest

from contentgen_contract.resources.prices import SPEECH_MODELS
from contentgen_operator.background.settlement import ChargeSettlement
from contentgen_operator.components import build_providers, installed_providers
from contentgen_operator.providers.accounts import ProviderAccounts
from contentgen_operator.providers.base import AccessRefused, KeyRefused, Provider
from contentgen_operator.providers.keyfile import ProviderSettings
from contentgen_operator.settings import Settings
from contentgen_operator.state.provider_requests import (
    Call,
    RequestState,
    RequestView,
    Search,
    StoredObject,
    seed_correlation_key,
)
from contentgen_operator.state.purchases import Purchase, PurchaseState
from contentgen_operator.stores.charges import Charges
from contentgen_sandbox.testing import SandboxServer

pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")
TEAMS = ("team-a", "team-b")
PICTURES = "fal-ai/flux-lora"


async def nothing() -> None:
    """No-op hook before the request."""


def generation() -> Call:
    size = {"width": 256, "height": 256}
    arguments = {"prompt": "a cat", "seed": secrets.randbelow(2**31), "num_images": 1, "image_size": size}
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
    arguments = {"audio_url": f"{url}?signature=secret", "speech_models": list(SPEECH_MODELS)}
    return Call(provider="assemblyai", model="assemblyai/universal", arguments=arguments, correlation_key=name)


def search_for(call: Call, sent_after: datetime) -> Search:
    """Search for a call, with the stored input instead of its signed URL."""
    stored = {"audio_url": StoredObject(key=call.correlation_key)} if "audio_url" in call.arguments else {}
    searched = call.model_copy(update={"arguments": call.arguments | stored})
    return Search(call=searched, sent_after=sent_after, sent_before=datetime.now(UTC))


async def ended(provider: Provider, model: str, request_id: str) -> RequestView:
    for _ in range(6000):  # two minutes or more
        view = await provider.poll(model, request_id)
        if view.state in (RequestState.SUCCEEDED, RequestState.FAILED, RequestState.GONE):
            return view
        await asyncio.sleep(0.02)
    raise AssertionError("it never ends")


async def found(provider: Provider, search: Search) -> str:
    """Request id in a history, which at fal lists only what has ended."""
    for _ in range(6000):  # two minutes or more
        request_id = (await provider.find(search)).request_id
        if request_id is not None:
            return request_id
        await asyncio.sleep(0.02)
    raise AssertionError("not in the history")


@pytest.fixture(autouse=True)
def _fresh(server: SandboxServer) -> None:
    server.reset()


@pytest.fixture
def settings(server: SandboxServer, tmp_path: Path) -> Settings:
    """Settings as the chart makes them: a folder with key files for each account."""
    folders = {"": tmp_path / "providers"} | {name: tmp_path / "accounts" / name for name in TEAMS}
    for name, folder in folders.items():
        folder.mkdir(parents=True)
        for file in ("fal-key", "assemblyai-key"):
            (folder / file).write_text(f"{name}:1" if name else "key")
        (folder / "fal-billing-key").write_text(f"{name}:billing" if name else "billing")
    environment = {
        "CONTENTGEN_FAL_KEY_FILE": str(tmp_path / "providers" / "fal-key"),
        "CONTENTGEN_FAL_BILLING_KEY_FILE": str(tmp_path / "providers" / "fal-billing-key"),
        "CONTENTGEN_ASSEMBLYAI_KEY_FILE": str(tmp_path / "providers" / "assemblyai-key"),
        "CONTENTGEN_FAL_QUEUE_URL": server.fal_queue_url,
        "CONTENTGEN_FAL_API_URL": server.fal_api_url,
        "CONTENTGEN_ASSEMBLYAI_URL": server.assemblyai_url,
    }
    return Settings(
        providers={name: ProviderSettings.of(name, environment) for name in ("fal", "assemblyai")},
        provider_accounts=TEAMS,
        provider_accounts_folder=tmp_path / "accounts",
    )


@pytest.fixture
async def accounts(settings: Settings) -> AsyncIterator[ProviderAccounts]:
    made = build_providers(settings, installed_providers(settings))
    yield made
    clients: list[Any] = [made.provider("fal", name) for name in (None, *TEAMS)]
    for client in clients:
        await getattr(client, "_client", client)._provider.close()


def bills(server: SandboxServer) -> list[tuple[str, str]]:
    return [(entry["provider"], entry["account"]) for entry in server.ledger()["entries"]]


@pytest.mark.parametrize("provider", ["fal", "assemblyai"])
async def test_a_request_is_billed_known_and_found_in_its_account_only(
    accounts: ProviderAccounts, server: SandboxServer, provider: str
) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    call = generation() if provider == "fal" else transcription(server)
    mine = accounts.provider(provider, "team-a")
    request_id = await mine.submit(call, nothing)
    assert bills(server) == [(provider, "team-a")]
    assert (await ended(mine, call.model, request_id)).state is RequestState.SUCCEEDED
    assert await found(mine, search_for(call, before)) == request_id
    for other in (None, "team-b"):
        stranger = accounts.provider(provider, other)
        assert (await stranger.find(search_for(call, before))).request_id is None
        assert (await stranger.verify(search_for(call, before), request_id)).same is not True
    assert (await mine.verify(search_for(call, before), request_id)).same is True


async def test_a_lost_reply_is_found_in_its_account_only(accounts: ProviderAccounts, server: SandboxServer) -> None:
    before, call = datetime.now(UTC) - timedelta(seconds=1), generation()
    for name in ("team-a", "team-b"):  # the same input in both
        await accounts.provider("fal", name).submit(call, nothing)
    first, second = [await found(accounts.provider("fal", name), search_for(call, before)) for name in TEAMS]
    by_account = {entry["account"]: entry["request_id"] for entry in server.ledger()["entries"]}
    assert by_account == {"team-a": first, "team-b": second}


async def test_a_rotated_key_of_an_account_is_used_and_the_others_stay(
    accounts: ProviderAccounts, settings: Settings, server: SandboxServer
) -> None:
    (settings.provider_accounts_folder / "team-a" / "fal-key").write_text("team-a:wrong")
    with pytest.raises(KeyRefused, match=r"providers\.accounts\.team-a"):
        await accounts.provider("fal", "team-a").submit(generation(), nothing)
    await accounts.provider("fal", "team-b").submit(generation(), nothing)
    (settings.provider_accounts_folder / "team-a" / "fal-key").write_text("team-a:2")
    await accounts.provider("fal", "team-a").submit(generation(), nothing)
    assert bills(server) == [("fal", "team-b"), ("fal", "team-a")]


async def test_missing_key_file_of_an_account_is_not_substituted(
    accounts: ProviderAccounts, settings: Settings, server: SandboxServer
) -> None:
    (settings.provider_accounts_folder / "team-a" / "fal-key").unlink()
    mine = accounts.provider("fal", "team-a")
    assert not mine.configured
    with pytest.raises(KeyRefused, match="team-a"):
        await mine.submit(generation(), nothing)
    with pytest.raises(AccessRefused, match="team-a"):
        await mine.poll(PICTURES, "00000000-0000-0000-0000-000000000000")
    assert bills(server) == []


async def test_charges_are_read_with_the_key_of_each_account(
    accounts: ProviderAccounts, settings: Settings, server: SandboxServer
) -> None:
    collection: Any = mongomock.MongoClient()["db"]["ledger"]
    now = datetime.now(UTC)
    for name in (None, *TEAMS):
        client = accounts.provider("fal", name)
        request_id = await client.submit(generation(), nothing)
        await ended(client, PICTURES, request_id)
        stored = Purchase(
            state=PurchaseState.COLLECTED, purchase_id=f"p-{name}", job_id="j", provider="fal", account=name,
            model=PICTURES, correlation_key="m", created_at=now, changed_at=now - timedelta(minutes=16),
            request_id=request_id,
        )  # fmt: skip
        collection.insert_one({"_id": str(name), **stored.model_dump(mode="python", by_alias=True)})
    (settings.provider_accounts_folder / "team-b" / "fal-billing-key").write_text("team-b:plain")  # no permission
    billing = installed_providers(settings).billing()
    await ChargeSettlement(Charges(collection), billing).round()
    billed = {document["_id"]: document["billedMicros"] is not None for document in collection.find()}
    assert billed == {"None": True, "team-a": True, "team-b": False}
    for each in billing.values():
        await each.close()
