"""Background tasks of a simulated process that no reconcile waits for: the notifier and the audit of the accounts."""

import asyncio
import base64
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contentgen_contract.records.audits import AuditReport
from contentgen_operator.audit.rounds import AccountAudit, AuditedAccount, AuditPlan
from contentgen_operator.audit.store import AuditedLedger, Audits, ReadPurchases
from contentgen_operator.notifications.granted_headers import GrantedHeaders
from contentgen_operator.notifications.notifier import Notifier
from contentgen_operator.notifications.outbox import NotificationOutbox
from contentgen_operator.notifications.signing import SigningKey
from contentgen_operator.providers.audited import AssemblyAIAccount, FalAccount
from contentgen_simulation.frozen import contents, effects
from contentgen_simulation.rehearsal.world.context import ACTING, Acting
from contentgen_simulation.rehearsal.world.io_points import DatabaseProxy
from contentgen_simulation.rehearsal.world.provider import ASSEMBLYAI, FAL_API, ProviderKey
from contentgen_simulation.rehearsal.world.receiver import ReceivedPost
from contentgen_simulation.world import Crash

if TYPE_CHECKING:
    from contentgen_simulation.rehearsal.world.process import RehearsalProcess

_KEY = SigningKey(created_at=datetime(2026, 11, 1, tzinfo=UTC), private=base64.b64encode(bytes(32)).decode())


class _Keys:
    """The one signing key."""

    async def keys(self) -> tuple[SigningKey, ...]:
        return (_KEY,)


@cache
def readers(account: str) -> AuditedAccount:
    """Shared readers of an account: stateless, like the adapters."""
    keys: Any = (ProviderKey(account),)
    return {"fal": FalAccount(keys, keys, FAL_API), "assemblyai": AssemblyAIAccount(keys, ASSEMBLYAI)}


class _ReportedAudits(Audits):
    """Collection of reports, which shows each to the oracles."""

    def __init__(self, process: "RehearsalProcess", database: Any) -> None:
        super().__init__(database, process.leadership.check)
        self._process = process

    async def store(self, report: AuditReport) -> None:
        await super().store(report)
        self._process.world.oracles.audited(report)


class _ReportedLedger(AuditedLedger):
    """Ledger that says when an audit begins to read it; most rounds have none that is due."""

    def __init__(self, database: Any, begins: Callable[[], None]) -> None:
        super().__init__(database)
        self._begins = begins

    async def since(self, moment: datetime) -> ReadPurchases:
        self._begins()
        return await super().since(moment)


class BackgroundTasks:
    """Tasks of one process, which run when the world says so."""

    def __init__(self, process: "RehearsalProcess", outbox: NotificationOutbox, kube: Any) -> None:
        world, check = process.world, process.leadership.check
        self._process, self._outbox = process, outbox
        self._notifier = Notifier(
            outbox=outbox,
            kube=kube,
            keys=_Keys(),
            headers=GrantedHeaders(Path("/nonexistent"), ()),
            post=ReceivedPost(world.receiver),
            check=check,
            clock=process.now,
            jitter=lambda: 0.5,
        )
        self._before: dict[str, Any] = {}  # contents at the begin of an audit
        database: Any = DatabaseProxy(world.database, world.ledger_changed)
        accounts = {name: readers(name) for name in world.account_adapters if name not in world.removed}
        self._audit = AccountAudit(
            _ReportedAudits(process, database),
            _ReportedLedger(database, self._note_contents),
            {None: readers("")} | accounts,
            AuditPlan(),
            clock=process.now,
        )

    def has_news(self) -> bool:
        """Whether the outbox has changed since the last call."""
        changed = self._outbox.changed.is_set()
        self._outbox.changed.clear()
        return changed

    async def deliver(self) -> None:
        """One round of the notifier, and the attempts that it begins. Raises Crash."""
        ACTING.set(Acting(self._process.world, self._process, None, "notifier"))
        with suppress(Exception):  # as `LeaderLoop` does
            await self._notifier.round()
        while tasks := list(self._notifier._running.tasks.values()):
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            if any(not each.cancelled() and isinstance(each.exception(), Crash) for each in done):
                await self.end()
                raise Crash

    async def audit(self) -> None:
        """One audit if it is due, which must change nothing. Raises Crash."""
        process = self._process
        self._before.clear()
        ACTING.set(Acting(process.world, process, None, "audit"))
        holds = process.holds
        try:
            with suppress(Exception):  # as `LeaderLoop` does
                await self._audit.round()
        except BaseExceptionGroup as group:
            if group.subgroup(Crash) is None:
                raise
            raise Crash from None  # of one of the accounts, which are read together
        finally:
            if self._before and holds == process.holds:  # else other processes have worked meanwhile
                changed = effects(self._before, self._contents())
                process.world.oracles.audit_changed({text for text in changed if not text.startswith("audits ")})

    def _note_contents(self) -> None:
        self._before = self._contents()

    def _contents(self) -> dict[str, Any]:
        """Contents of the stores, and what was sent to the providers."""
        provider = self._process.world.provider
        return contents(self._process.world) | {"posts": len(provider.posts), "cancelled": provider.cancellations()}

    async def end(self) -> None:
        """Cancel the attempts in progress."""
        tasks = list(self._notifier._running.tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
