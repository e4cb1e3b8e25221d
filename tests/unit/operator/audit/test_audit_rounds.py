"""Audits: what is read, with which key, when, and what is stored. Providers are the sandbox, in memory."""

import asyncio
import copy
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import mongomock
import pytest
from pymongo.errors import AutoReconnect

from contentgen_contract.records.audits import KEPT, AuditReport, AuditSubject, FindingKind, request_id
from contentgen_operator import metrics
from contentgen_operator.audit import rounds
from contentgen_operator.audit.facts import AuditLimits
from contentgen_operator.audit.metrics import gauges
from contentgen_operator.audit.rounds import AccountAudit, AuditedAccount, AuditPlan
from contentgen_operator.audit.store import AuditedLedger, Audits
from contentgen_operator.leader.leadership import NotLeading
from contentgen_operator.providers.audited import AssemblyAIAccount, FalAccount, NotReadable
from contentgen_operator.providers.base import Unavailable
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.state.purchases import Purchase, PurchaseState
from contentgen_sandbox.app import create_app
from contentgen_sandbox.jobs import SandboxJob
from contentgen_sandbox.ledger import LedgerEntry
from contentgen_sandbox.settings import SandboxSettings

NOW = datetime.now(UTC).replace(microsecond=0)  # the sandbox has no clock of its own
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MODEL = "fal-ai/flux/dev"
INPUT = {"prompt": "a cat", "seed": 7, "image_size": {"width": 1024, "height": 1024}, "num_images": 2}
R1, R2, R3 = (f"019f7096-0000-7000-8000-00000000000{number}" for number in (1, 2, 3))
SOUND = "users/u/transcripts/j/v1/prepare/audio.flac"


class SandboxAccount:
    """Both providers with given requests, as an httpx transport that notes what is sent."""

    def __init__(self, folder: Path) -> None:
        self.app = create_app(SandboxSettings(data=folder))
        self.sandbox = self.app.state.sandbox
        self.sent: list[httpx.Request] = []
        self.refused: dict[str, int] = {}  # status by the end of a path
        self._asgi = httpx.ASGITransport(self.app)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        status = next((each for end, each in self.refused.items() if request.url.path.endswith(end)), None)
        return httpx.Response(status) if status is not None else await self._asgi.handle_async_request(request)

    def add(self, request_id: str, at: datetime, *, usd: str = "0.05", provider: str = "fal", **given: Any) -> None:
        """A request that has ended and is billed."""
        fields = {"model": MODEL, "input": INPUT, "output": {"images": []}} | given
        job = SandboxJob(
            id=request_id, provider=provider, base_url="http://s", created_at=at, started_at=at, ended_at=at, **fields
        )  # type: ignore[arg-type]
        self.sandbox.jobs.add(job)
        entry = LedgerEntry(
            id=request_id, provider=provider, model=job.model, created_at=at, what="x", amount_usd=usd, marker=None,
            request_id=request_id,
        )  # type: ignore[arg-type] # fmt: skip
        self.sandbox.ledger.write(entry)


@pytest.fixture
def account(tmp_path: Path) -> Iterator[SandboxAccount]:
    made = SandboxAccount(tmp_path / "sandbox")
    yield made
    made.sandbox.runner.close()


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    folder.mkdir()
    for name in ("fal-key", "assemblyai-key"):
        (folder / name).write_text("requests")
    (folder / "fal-billing-key").write_text("billing-1")
    return folder


def readers(account: SandboxAccount, keys: Path) -> AuditedAccount:
    """Readers of an account with the keys of a folder."""
    transport, files = httpx.MockTransport(account), {key: KeyFile(str(keys / key)) for key in KEYS}
    return {
        "fal": FalAccount(
            (files["fal-audit-key"], files["fal-key"]),
            (files["fal-audit-key"], files["fal-billing-key"], files["fal-key"]),
            "http://s/fal-api", transport=transport,
        ),
        "assemblyai": AssemblyAIAccount(
            (files["assemblyai-audit-key"], files["assemblyai-key"]), "http://s/assemblyai", transport=transport
        ),
    }  # fmt: skip


class Stand:
    """Audit over a database in memory."""

    def __init__(self, account: SandboxAccount, keys: Path, **plan: Any) -> None:
        self.database: Any = mongomock.MongoClient(tz_aware=True)["t"]
        self.now = NOW
        self.leads = True
        default = readers(account, keys)
        self.accounts: dict[str | None, AuditedAccount] = {None: default}
        self.fal, self.assemblyai = default["fal"], default["assemblyai"]
        self.audits = Audits(self.database, self._check)
        self.plan = AuditPlan(**plan)
        self.restart()

    def restart(self) -> None:
        """Another process."""
        self.audit = AccountAudit(
            self.audits, AuditedLedger(self.database), self.accounts, self.plan, clock=lambda: self.now
        )

    def _check(self) -> None:
        if not self.leads:
            raise NotLeading("no Lease")

    def buy(self, name: str, **changes: Any) -> None:
        """A collected picture of 5 days ago."""
        given: dict[str, Any] = {
            "purchase_id": f"p-{name}", "state": PurchaseState.COLLECTED, "job_id": "j", "provider": "fal",
            "model": MODEL, "correlation_key": "seed:7 prompt:a cat", "created_at": NOW - 5 * DAY - HOUR,
            "changed_at": NOW - 5 * DAY, "submitted_at": NOW - 5 * DAY, "finished_at": NOW - 5 * DAY, "request_id": R1,
            "operator_class": "default", "estimated_micros": 50_000, "unit_micros": 25_000, "billing": True,
            "billable_units": 2,
        }  # fmt: skip
        document = Purchase(**(given | changes)).model_dump(mode="python", by_alias=True)
        self.database["ledger"].insert_one({"_id": f"red/ImageGeneration/{name}/h/-/1", **document})

    async def round(self, after: timedelta = timedelta(minutes=11)) -> AuditReport | None:
        """One round `after` the one before; the newest report."""
        self.now += after
        await self.audit.round()
        return await self.audits.last()

    def reports(self) -> int:
        return int(self.database["audits"].count_documents({"finishedAt": {"$exists": True}}))


KEYS = ("fal-audit-key", "fal-billing-key", "fal-key", "assemblyai-audit-key", "assemblyai-key")


def found(report: AuditReport | None) -> list[tuple[str, str]]:
    assert report is not None
    return sorted((finding.kind.value, finding.request_id) for finding in report.findings)


async def test_bought_requests_are_no_findings(account: SandboxAccount, keys: Path) -> None:
    stand = Stand(account, keys)
    account.add(R1, NOW - 5 * DAY)
    stand.buy("cat")
    report = await stand.round()
    assert found(report) == []
    assert report is not None
    assert all(covered.complete for covered in report.coverage), report.coverage
    counts = {covered.subject: covered.count for covered in report.coverage if covered.provider == "fal"}
    assert counts.pop(AuditSubject.PRICES) >= 6  # models of the table that the sandbox prices
    assert counts == {AuditSubject.REQUESTS: 1, AuditSubject.BILLS: 1}
    assert report.purchases == 1


async def test_each_difference_between_the_sandbox_and_the_ledger(account: SandboxAccount, keys: Path) -> None:
    stand = Stand(account, keys)
    account.add(R1, NOW - 5 * DAY, usd="0.09")  # billed otherwise
    account.add(R2, NOW - 4 * DAY)  # the same input again
    account.add(R3, NOW - 4 * DAY, input=INPUT | {"prompt": "a dog"})  # nobody asked for it
    account.add("old", NOW - 20 * DAY)
    account.add("t2", NOW - 3 * DAY, provider="assemblyai", model="best", input={"audio_url": f"https://s3/b/{SOUND}"})
    stand.buy("cat")
    stand.buy("gone", request_id="gone", correlation_key="other")
    talk = {"provider": "assemblyai", "model": "assemblyai/universal"}
    stand.buy("talk", request_id="t1", correlation_key=SOUND, **talk)
    assert found(await stand.round()) == sorted(
        [
            ("AmountDiffers", R1), ("BilledTwice", R2), ("UnknownRequest", R3), ("MissingRequest", "gone"),
            ("NotBilled", "gone"), ("MissingRequest", "t1"), ("BilledTwice", "t2"),
        ]
    )  # fmt: skip


async def test_a_request_of_an_old_purchase_is_known(account: SandboxAccount, keys: Path) -> None:
    stand = Stand(account, keys)
    account.add(R1, NOW - 5 * DAY)
    stand.buy("cat", created_at=NOW - 60 * DAY)
    assert found(await stand.round()) == []


async def test_a_request_that_is_sent_during_the_audit_is_known(account: SandboxAccount, keys: Path) -> None:
    stand = Stand(account, keys)
    stand.buy("before", request_id="before", correlation_key="m")
    account.add("before", NOW - 5 * DAY)
    account.add(R1, NOW - 5 * DAY)

    class Buys:
        """Buys between the first read of the providers and the next one of the ledger."""

        async def __call__(self, request: httpx.Request) -> httpx.Response:
            if stand.database["ledger"].count_documents({}) == 1:
                stand.buy("cat", correlation_key="its input is not listed")
            return await account(request)

    other = Stand(Buys(), keys)  # type: ignore[arg-type]
    other.database, other.audits = stand.database, stand.audits
    other.restart()
    await other.round()
    assert found(await other.audits.last()) == []


async def test_a_retired_model_hides_no_other_price(tmp_path: Path) -> None:
    """fal answers 404 to all of the models asked for if it lists one of them not."""

    def fal(request: httpx.Request) -> httpx.Response:
        names = request.url.params.get_list("endpoint_id")
        rows = [{"endpoint_id": name, "unit_price": 0.025, "unit": "megapixels", "currency": "USD"} for name in names]
        return httpx.Response(404 if "fal-ai/retired" in names else 200, json={"prices": rows})

    (tmp_path / "key").write_text("k")
    reader = FalAccount([KeyFile(str(tmp_path / "key"))], [], "http://fal", transport=httpx.MockTransport(fal))
    prices, coverage = await reader.prices(["fal-ai/flux/dev", "fal-ai/flux-lora", "fal-ai/retired"], NOW)
    await reader.close()
    assert (set(prices), coverage.complete) == ({"fal-ai/flux/dev", "fal-ai/flux-lora"}, True)


async def test_an_audit_writes_reports_only_and_sends_reads_only(account: SandboxAccount, keys: Path) -> None:
    stand = Stand(account, keys)
    account.add(R2, NOW - 4 * DAY)
    stand.buy("lost", state=PurchaseState.INTENT, send_state="sending", request_id=None)
    stand.buy("cat")
    stand.database["request_bindings"].insert_one({"_id": "fal/x", "purchaseId": "p-cat"})
    before = {name: copy.deepcopy(list(stand.database[name].find())) for name in ("ledger", "request_bindings")}
    await stand.round()
    assert stand.reports() == 1
    assert {name: list(stand.database[name].find()) for name in before} == before
    assert set(stand.database.list_collection_names()) == {"ledger", "request_bindings", "audits"}
    assert {request.method for request in account.sent} == {"GET"}
    assert {request.url.path for request in account.sent} == {
        "/fal-api/v1/models/requests/by-endpoint", "/fal-api/v1/models/billing-events", "/fal-api/v1/models/pricing",
        "/assemblyai/v2/transcript",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models/requests/by-endpoint"),
        ("DELETE", "/v1/models/requests/by-endpoint"),
        ("PUT", "/fal-ai/flux/requests/1/cancel"),
        ("POST", "/fal-ai/flux/dev"),
        ("GET", "/fal-ai/flux/requests/1"),
        ("POST", "/v2/transcript"),
        ("DELETE", "/v2/transcript/1"),
        ("GET", "/v2/transcript/1/../../upload"),
        ("GET", "/v1/models/requests/1/payloads"),
    ],
)
async def test_the_clients_refuse_everything_but_the_reads(
    account: SandboxAccount, keys: Path, method: str, path: str
) -> None:
    stand = Stand(account, keys)
    for reader in (stand.fal, stand.assemblyai):
        http = reader._http
        with pytest.raises(NotReadable):
            await http._client.request(method, http._url + path)
    assert account.sent == []


# Keys and what cannot be read


async def test_the_key_of_the_audit_comes_first(account: SandboxAccount, keys: Path) -> None:
    (keys / "fal-audit-key").write_text("billing-audit")
    (keys / "assemblyai-audit-key").write_text("audit")
    await Stand(account, keys).round()
    used = {(request.url.path.split("/")[1], request.headers["authorization"]) for request in account.sent}
    assert used == {("fal-api", "Key billing-audit"), ("assemblyai", "audit")}


async def test_another_key_follows_one_that_is_refused(account: SandboxAccount, keys: Path) -> None:
    (keys / "fal-audit-key").write_text("requests only")
    report = await Stand(account, keys).round()
    assert report is not None
    assert all(covered.complete for covered in report.coverage)
    bills = [
        request.headers["authorization"] for request in account.sent if request.url.path.endswith("billing-events")
    ]
    assert bills == ["Key requests only", "Key billing-1"]


async def test_without_the_permission_for_bills_the_rest_is_audited(account: SandboxAccount, keys: Path) -> None:
    (keys / "fal-billing-key").unlink()
    stand = Stand(account, keys)
    account.add(R2, NOW - 4 * DAY)
    stand.buy("cat")
    report = await stand.round()
    assert found(report) == [("BilledTwice", R2), ("MissingRequest", R1)]
    assert report is not None
    (unread,) = [covered for covered in report.coverage if not covered.complete]
    assert unread.subject is AuditSubject.BILLS
    assert "403" in unread.problem


@pytest.mark.parametrize("status", [302, 400, 429, 500, 503])
async def test_a_provider_that_cannot_be_read_is_no_finding(account: SandboxAccount, keys: Path, status: int) -> None:
    account.refused = dict.fromkeys(("by-endpoint", "billing-events", "pricing", "/transcript"), status)
    stand = Stand(account, keys)
    stand.buy("cat")
    report = await stand.round()
    assert found(report) == []
    assert report is not None
    assert [covered.complete for covered in report.coverage] == [False] * 4


async def test_without_keys_nothing_is_sent(account: SandboxAccount, keys: Path) -> None:
    for key in KEYS:
        (keys / key).unlink(missing_ok=True)
    report = await Stand(account, keys).round()
    assert account.sent == []
    assert found(report) == []


@pytest.mark.parametrize(
    "page",
    [
        b"<html>", b"[" * 100_000, b"[]", b"{}", b'{"items": 5}', b'{"items": [null], "transcripts": [null]}',
        b'{"items": [{"request_id": "../x", "endpoint_id": "a/b"}], "transcripts": [{"id": "../x"}]}',
        b'{"items": [], "billing_events": [{"request_id": "../x", "endpoint_id": "a/b", "cost_total": 1}]}',
        b'{"items": [], "billing_events": [{"request_id": "x", "endpoint_id": "a/b", "cost_total": -1}]}',
        b'{"items": [], "billing_events": [], "has_more": true, "next_cursor": "same"}',
        b" " * (5 << 20),
    ],
)  # fmt: skip
async def test_a_malformed_reply_is_incomplete(keys: Path, page: bytes) -> None:
    class Hostile:
        sent = 0

        async def __call__(self, _: httpx.Request) -> httpx.Response:
            self.sent += 1
            return httpx.Response(200, content=page)

    hostile = Hostile()
    stand = Stand(hostile, keys)  # type: ignore[arg-type]
    stand.buy("cat")
    report = await stand.round()
    assert report is not None
    bills = next(covered for covered in report.coverage if covered.subject is AuditSubject.BILLS)
    assert not bills.complete
    assert "NotBilled" not in report.counts
    assert hostile.sent < 20


async def test_hostile_names_of_models_are_not_shown(account: SandboxAccount, keys: Path) -> None:
    async def evil(_: httpx.Request) -> httpx.Response:
        row = {"request_id": "r", "endpoint_id": "\x1b[31m<script>", "cost_total": 1, "timestamp": f"{NOW - DAY}"}
        return httpx.Response(200, content=json.dumps({"items": [], "billing_events": [row], "prices": []}))

    report = await Stand(evil, keys).round()  # type: ignore[arg-type]
    assert report is not None
    assert [(finding.kind, finding.model) for finding in report.findings] == [(FindingKind.UNKNOWN_REQUEST, "")]


async def test_a_transcript_that_cannot_be_read_is_not_missing(account: SandboxAccount, keys: Path) -> None:
    account.refused = {"/t1": 500}
    stand = Stand(account, keys)
    stand.buy("talk", request_id="t1", correlation_key=SOUND, provider="assemblyai", model="assemblyai/universal")
    with pytest.raises(Unavailable):
        await stand.assemblyai.request("assemblyai/universal", "t1")
    assert found(await stand.round()) == []


# Named accounts


@pytest.fixture
def marketing(tmp_path: Path) -> Iterator[SandboxAccount]:
    """Another account at both providers."""
    made = SandboxAccount(tmp_path / "marketing")
    yield made
    made.sandbox.runner.close()


def with_marketing(stand: Stand, marketing: SandboxAccount, keys: Path) -> Stand:
    stand.accounts["marketing"] = readers(marketing, keys)
    stand.restart()
    return stand


async def test_account_is_read_with_its_keys_and_its_purchases(
    account: SandboxAccount, marketing: SandboxAccount, keys: Path, tmp_path: Path
) -> None:
    own = tmp_path / "marketing-keys"
    own.mkdir()
    for name in ("fal-key", "assemblyai-key", "fal-billing-key"):
        (own / name).write_text(f"billing-marketing-{name}")
    stand = with_marketing(Stand(account, keys), marketing, own)
    account.add(R1, NOW - 5 * DAY)
    marketing.add(R2, NOW - 5 * DAY)
    marketing.add(R3, NOW - 4 * DAY, input=INPUT | {"prompt": "a dog"})  # somebody else has the key
    stand.buy("cat")
    stand.buy("ad", request_id=R2, account="marketing")
    stand.buy("gone", request_id="gone", correlation_key="other", account="marketing")
    report = await stand.round()
    assert found(report) == [("MissingRequest", "gone"), ("NotBilled", "gone"), ("UnknownRequest", R3)]
    assert report is not None
    assert {finding.account for finding in report.findings} == {"marketing"}
    assert [covered.complete for covered in report.coverage] == [True] * 8
    assert {covered.account for covered in report.coverage} == {"default", "marketing"}
    assert {each.headers["authorization"].removeprefix("Key ")[:17] for each in marketing.sent} == {"billing-marketing"}
    assert not any("marketing" in request.headers["authorization"] for request in account.sent)
    assert any("request_id=gone" in str(each.url) for each in marketing.sent)  # read by its id, with its own key
    assert not any("request_id=gone" in str(request.url) for request in account.sent)


async def test_unreadable_account_keeps_the_findings_of_others(
    account: SandboxAccount, marketing: SandboxAccount, keys: Path
) -> None:
    stand = with_marketing(Stand(account, keys), marketing, keys)
    marketing.refused = dict.fromkeys(("by-endpoint", "billing-events", "pricing", "/transcript"), 503)
    stand.buy("cat")
    stand.buy("ad", request_id=R2, correlation_key="ad", account="marketing")
    report = await stand.round()
    assert found(report) == [("MissingRequest", R1), ("NotBilled", R1)]
    assert report is not None
    assert {covered.account for covered in report.coverage if not covered.complete} == {"marketing"}


async def test_an_account_that_hangs_is_reported_as_not_read(
    account: SandboxAccount, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hangs:
        async def __call__(self, _: httpx.Request) -> httpx.Response:
            return await asyncio.Future[httpx.Response]()

    monkeypatch.setattr(rounds, "_ACCOUNT_SECONDS", 1.0)
    stand = with_marketing(Stand(account, keys), Hangs(), keys)  # type: ignore[arg-type]
    stand.buy("ad", request_id=R2, correlation_key="ad", account="marketing")
    report = await stand.round()
    assert found(report) == []
    assert report is not None
    unread = [covered for covered in report.coverage if covered.account == "marketing"]
    assert [error.complete for error in unread] == [False] * 4
    assert "could not be read within" in unread[0].problem


async def test_purchases_without_keys_are_named_and_no_findings(account: SandboxAccount, keys: Path) -> None:
    stand = Stand(account, keys)
    account.add(R1, NOW - 5 * DAY)
    stand.buy("cat")
    stand.buy("ad", request_id=R2, correlation_key="ad", account="gone")
    stand.buy("other", request_id=R3, correlation_key="o", account="theirs", operator_class="other")
    report = await stand.round()
    assert found(report) == []
    assert report is not None
    unread = [covered for covered in report.coverage if not covered.complete]
    assert [(error.account, error.provider) for error in unread] == [("gone", "fal")] * 3
    assert "providers.accounts" in unread[0].problem


# When


async def test_audits_are_daily_also_after_a_restart(account: SandboxAccount, keys: Path) -> None:
    stand = Stand(account, keys)
    assert await stand.round(timedelta(minutes=9)) is None
    await stand.round(timedelta(minutes=1))
    await stand.round(DAY - timedelta(minutes=1))
    stand.restart()
    await stand.round(timedelta(seconds=30))
    assert stand.reports() == 1
    await stand.round(timedelta(minutes=11))
    assert stand.reports() == 2
    stand.now -= 2 * DAY  # the clock is set back
    stand.restart()
    await stand.round()
    assert stand.reports() == 3


async def test_without_daily_audits_a_request_is_answered(account: SandboxAccount, keys: Path) -> None:
    stand = Stand(account, keys, daily=False)
    assert await stand.round(3 * DAY) is None
    stand.database["audits"].insert_one(
        {"_id": request_id("default"), "token": "t1", "requestedAt": NOW, "requestedBy": "ann"}
    )
    report = await stand.round(timedelta(seconds=10))
    assert report is not None
    assert report.request == "t1"
    assert stand.database["audits"].find_one({"_id": request_id("default")}) is None
    stand.database["audits"].insert_one({"_id": request_id("default"), "token": "t2", "requestedAt": NOW})
    assert (await stand.round(timedelta(seconds=59)) or report).request == "t1"  # a minute between two
    assert (await stand.round(timedelta(seconds=1)) or report).request == "t2"


async def test_other_installation_leaves_an_audit_alone(account: SandboxAccount, keys: Path) -> None:
    stand = Stand(account, keys, daily=False)
    stand.database["audits"].insert_one(
        {"_id": request_id("default"), "token": "t1", "requestedAt": NOW, "requestedBy": "ann"}
    )
    report = await stand.round()
    assert report is not None
    other = Audits(stand.database, operator_class="other")
    assert (await other.last(), await other.request()) == (None, None)
    for number in range(KEPT + 1):
        await other.store(report.model_copy(update={"report_id": f"o{number}"}))
    assert stand.reports() == KEPT + 1


async def test_a_malformed_request_is_ignored(account: SandboxAccount, keys: Path) -> None:
    stand = Stand(account, keys, daily=False)
    stand.database["audits"].insert_one({"_id": request_id("default"), "token": ["x"]})
    assert await stand.round() is None


async def test_a_process_that_does_not_lead_stores_nothing(account: SandboxAccount, keys: Path) -> None:
    stand = Stand(account, keys)
    stand.leads = False
    with pytest.raises(NotLeading):
        await stand.round()
    assert stand.reports() == 0


async def test_an_error_of_mongodb_delays_the_audit(account: SandboxAccount, keys: Path) -> None:
    stand = Stand(account, keys)
    stand.audits.request = _away  # type: ignore[method-assign]
    with pytest.raises(AutoReconnect):
        await stand.round()
    assert stand.reports() == 0


async def _away() -> Any:
    raise AutoReconnect("away")


async def test_the_history_of_reports_is_bounded(account: SandboxAccount, keys: Path) -> None:
    stand = Stand(account, keys)
    for _ in range(KEPT + 3):
        stand.now += DAY
        await stand.audits.store(await stand.audit.audit(stand.now, None, None))
    assert stand.reports() == KEPT
    newest = await stand.audits.last()
    assert newest is not None
    assert newest.started_at == stand.now


# Reports, metrics, log


async def test_a_finding_is_new_once(account: SandboxAccount, keys: Path, caplog: pytest.LogCaptureFixture) -> None:
    stand = Stand(account, keys)
    account.add(R3, NOW - 4 * DAY, input=INPUT | {"prompt": "a dog"})
    with caplog.at_level(logging.INFO):
        first = await stand.round()
        warned = [
            log_record
            for log_record in caplog.records
            if log_record.levelno == logging.WARNING and R3 in log_record.getMessage()
        ]
        caplog.clear()
        stand.restart()
        second = await stand.round(DAY)
    assert first is not None
    assert second is not None
    assert (first.new, second.new) == (1, 0)
    assert second.findings[0].first_seen_at == first.started_at
    assert len(warned) == 1
    assert "a dog" not in warned[0].getMessage()
    assert not [log_record for log_record in caplog.records if R3 in log_record.getMessage()]


async def test_the_gauges_show_the_last_audit(
    account: SandboxAccount, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics.gauges, "features", [gauges])
    stand = Stand(account, keys)
    account.add(R3, NOW - 4 * DAY, input=INPUT | {"prompt": "a dog"})
    await stand.round()
    gauges.findings, gauges.audited_at = {}, None
    stand.restart()
    await stand.round(timedelta(seconds=1))  # reads the report of the process before
    text = metrics.exposition().decode()
    assert 'contentgen_audit_findings{kind="UnknownRequest"} 1.0' in text
    assert 'contentgen_audit_findings{kind="BilledTwice"} 0.0' in text
    assert "contentgen_audit_timestamp_seconds 1" in text


async def test_the_requests_of_a_shared_account_are_another_kind(account: SandboxAccount, keys: Path) -> None:
    stand = Stand(account, keys, limits=AuditLimits(shared_account=True))
    account.add(R3, NOW - 4 * DAY, input=INPUT | {"prompt": "a dog"})
    assert found(await stand.round()) == [("OtherUsersRequest", R3)]
