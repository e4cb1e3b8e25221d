"""A third provider: a row of the table, with fakes of its clients, in the components of an operator."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from contentgen_contract.names import Kind, Phase, Reason
from contentgen_contract.records.audits import AuditSubject, Coverage
from contentgen_contract.records.purchase_costs import UsageLabel
from contentgen_contract.resources.models import TRANSCRIBER
from contentgen_contract.resources.prices import Price, PriceLookup, Unit
from contentgen_contract.resources.providers import PROVIDERS, ProviderInfo, Providers
from contentgen_operator import components, metrics
from contentgen_operator.audit.store import AuditedLedger, Audits
from contentgen_operator.background.settlement import ChargeSettlement
from contentgen_operator.background.usage import UsageMetrics, UsagePlan
from contentgen_operator.components import Foundation, Shared
from contentgen_operator.kube.cache import Cache
from contentgen_operator.leader.leadership import Leadership
from contentgen_operator.leader.role import LeaderRole
from contentgen_operator.operator_stores import OperatorStores
from contentgen_operator.providers.audited import AccountData
from contentgen_operator.providers.base import Busy
from contentgen_operator.providers.keyfile import ProviderSettings
from contentgen_operator.providers.table import SHIPPED, Access, ProviderClients, ProviderTable
from contentgen_operator.queue.circuit_breaker import FAILURES
from contentgen_operator.queue.metrics import gauges as queue_gauges
from contentgen_operator.reconcile import Reconciler
from contentgen_operator.settings import Settings
from contentgen_operator.state.provider_requests import ProviderRequest
from contentgen_operator.state.purchases import Unsettled
from contentgen_operator.stores.charges import Charges
from contentgen_operator.telemetry.instrumented import InstrumentedLedger
from contentgen_operator.watch.liveness import WatchLiveness
from contentgen_operator.watch.lora_names import LoraNames
from contentgen_operator.worker_api.reports import Reports
from contentgen_runtime.tenancy import Tenancy
from contentgen_simulation.world import SPECS, World, Writes

TALK = Kind.TRANSCRIPTION
ACME = ProviderInfo("acme", (TALK,), models=TRANSCRIBER)
ROWS = Providers((*(ProviderInfo(row.name, tuple({*row.kinds} - {TALK}), row.models) for row in PROVIDERS.rows), ACME))
PRICE = Price(micros=500_000, unit=Unit.HOUR, source="acme's list", billing=True)


class Prices:
    """Price list of acme."""

    async def price(self, model: str, account: str | None = None) -> PriceLookup:
        assert (model, account) == (TRANSCRIBER, None)
        return PriceLookup(price=PRICE)


class Bills:
    """Billing events of acme."""

    def key(self) -> str:
        return "a key"

    async def charges(self, asked: Sequence[Unsettled]) -> Mapping[str, int]:
        return {each.request_id: 7 for each in asked}


class Reader:
    """Account at acme with one request of somebody else, which is still under way."""

    subjects = (AuditSubject.REQUESTS, AuditSubject.BILLS)
    lists_open = True

    async def read(self, models: Iterable[str], _since: datetime, now: datetime) -> AccountData:
        assert TRANSCRIBER in models
        assert "fal-ai/flux-lora" not in models
        strange = ProviderRequest(
            provider="acme", model=TRANSCRIBER, request_id="strange", sent_at=now - timedelta(hours=2)
        )
        read = tuple(Coverage(provider="acme", subject=subject, complete=True, count=1) for subject in self.subjects)
        return AccountData(requests=(strange,), coverage=read)

    async def request(self, *_: str) -> ProviderRequest | None:
        return None


class Installation(World):
    """World whose operator is built by `components` from a table with acme."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.accesses = list[Access]()
        environment = {f"CONTENTGEN_MAX_CONCURRENT_{name}": str(most) for name, most in settings.items()}
        environment |= {"CONTENTGEN_ACME_AUDIT_KEY_FILE": "/keys/audit", "CONTENTGEN_ACME_URL": "https://acme.test"}
        self.settings = Settings(
            providers={name: ProviderSettings.of(name, environment) for name in ROWS.names},
            provider_deadline_seconds=10**9,  # the world has another clock
            buying_paused=False,
        )
        self.table = ProviderTable(
            ROWS,
            SHIPPED.clients
            | {
                "acme": ProviderClients(
                    urls={"url": "https://api.acme.test"},
                    paid=self.client,
                    reader=lambda _: Reader(),
                    billing=lambda _: Bills(),
                    prices=lambda _: Prices(),
                )
            },
        )
        super().__init__(monkeypatch, Writes())

    def client(self, access: Access) -> Any:
        self.accesses.append(access)
        return self.provider

    def operator(self) -> Reconciler:
        """The components of a process that leads."""
        kube: Any = self.kube
        storage: Any = self.storage
        tls: Any = SimpleNamespace(ca="", expires_at=self.now)
        role = LeaderRole(Leadership.always(), None, None)
        ledger = InstrumentedLedger(self.database["ledger"])
        tenancy = Tenancy(kube, self.database, lambda: self.now)
        self.base = Foundation(
            settings=self.settings,
            kube=kube,
            tls=tls,
            role=role,
            selection=self.selection,
            stores=OperatorStores.of(self.database, storage, ledger, tenancy, role.leadership.check),
            shared=Shared(Cache(clock=self._seconds), Reports(), LoraNames(), WatchLiveness()),
            providers=components.installed_providers(self.settings, self.table),
            features=(),
        )
        self.caches.append(self.base.shared.cache)
        self.core = components.build_reconcile_loop(self.base)
        self.background = components.build_background(self.base, self.core)
        components.register_gauges(self.base, self.core)
        return self.core.reconciler

    async def talk(self, name: str, *, reconciles: int = 12) -> Any:
        """Status of a transcription after some reconciles."""
        self.kube.apply(TALK, SPECS[TALK], uid=f"uid-{name}", name=name)
        for _ in range(reconciles):
            await self.reconcile(TALK, name)
        return self.status(TALK, name)


@pytest.fixture(autouse=True)
def gauges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics are the process's: those that components set are put back."""
    for name, value in vars(metrics.gauges).items():
        monkeypatch.setattr(metrics.gauges, name, value)
    for name in ("queue", "providers"):
        monkeypatch.setattr(queue_gauges, name, getattr(queue_gauges, name))


def sample(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, {"provider": "acme", **labels}) or 0.0


async def test_a_run_is_bought_at_the_provider_of_its_row_and_metered(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"account": "default", "call": "submit", "verdict": "ok"}
    money = {"account": "default", "model": TRANSCRIBER}
    before = sample("contentgen_provider_calls_total", **calls), sample("contentgen_estimated_dollars_total", **money)
    world = Installation(monkeypatch)
    (access,) = world.accesses
    assert access.urls == {"url": "https://acme.test"}
    status = await world.talk("it")
    assert status.phase is Phase.COMPLETED
    (bought,) = world.database["ledger"].find()
    assert (bought["provider"], bought["unitMicros"], bought["priceSource"]) == ("acme", 500_000, "acme's list")
    assert [call.provider for call in world.provider.posts] == ["acme"]
    assert sample("contentgen_provider_calls_total", **calls) == before[0] + 1
    assert sample("contentgen_estimated_dollars_total", **money) > before[1]


async def test_limit_of_a_third_provider_holds_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Installation(monkeypatch, ACME=1)
    world.provider.running = {1}
    await world.talk("one", reconciles=6)
    status = await world.talk("two", reconciles=6)
    assert status.reason == Reason.QUEUED
    assert "all 1 places of acme are in use (queues.maxConcurrent.acme)" in (status.message or "")
    assert len(world.provider.posts) == 1
    assert sample("contentgen_concurrent_requests") == 1
    assert sample("contentgen_queued_runs") == 1


async def test_circuit_of_a_third_provider_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Installation(monkeypatch)
    world.provider.refuses = Busy("429")
    for number in range(FAILURES):
        await world.talk(f"n{number}", reconciles=4)
    assert sample("contentgen_circuit_open", account="default", model=TRANSCRIBER) == 1
    assert "to assemblyai/universal of acme" in ((await world.talk("late", reconciles=4)).message or "")


async def test_charges_of_a_third_provider_are_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Installation(monkeypatch)
    await world.talk("it")
    charges, billing = Charges(world.database["ledger"]), world.base.providers.billing()
    assert {each.provider for each in billing} == {"fal", "acme"}
    await ChargeSettlement(charges, billing, clock=lambda: world.now + timedelta(hours=1)).round()
    (bought,) = world.database["ledger"].find()
    assert (bought["billedMicros"], bought["costSource"]) == (7, "billing events")
    await UsageMetrics(charges, UsagePlan([UsageLabel.PROVIDER], 100, "default", ROWS.names), lambda: world.now).round()
    (used,) = [each for each in metrics.gauges.usage if each.window == "day"]
    assert ("acme" in used.labels, used.purchases) == (True, 1)


async def test_account_of_a_third_provider_is_audited(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Installation(monkeypatch)
    await world.talk("it")
    later = world.now + timedelta(days=5)
    database = world.database
    audit = components.build_audit(world.settings, world.base.providers, Audits(database), AuditedLedger(database))
    report = await audit.audit(later, None, None)
    own = [covered for covered in report.coverage if covered.provider == "acme"]
    assert [(each.subject, each.complete) for each in own] == [
        (AuditSubject.REQUESTS, True),
        (AuditSubject.BILLS, True),
    ]
    assert {(finding.kind.value, finding.request_id) for finding in report.findings if finding.provider == "acme"} == {
        ("UnknownRequest", "strange"),
        ("MissingRequest", "request-1"),
        ("NotBilled", "request-1"),
    }


def test_each_kind_has_one_provider_with_clients() -> None:
    assert sorted(kind for row in PROVIDERS.rows for kind in row.kinds) == sorted(Kind)
    assert SHIPPED.clients.keys() == set(PROVIDERS.names)
    sold = {model: PROVIDERS.of_model(model) for model in ("fal-ai/flux/dev", "x/y", TRANSCRIBER)}
    assert sold == {"fal-ai/flux/dev": "fal", "x/y": "fal", TRANSCRIBER: "assemblyai"}
