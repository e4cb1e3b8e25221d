"""Fault schedule: unavailable stores, refusals, and single I/O operations."""

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
from botocore.exceptions import EndpointConnectionError
from kubernetes.aio.client.exceptions import ApiException
from pymongo.errors import AutoReconnect

from contentgen_simulation.rehearsal.world.context import Acting
from contentgen_simulation.world import Crash

if TYPE_CHECKING:
    from contentgen_simulation.rehearsal.world.world import RehearsalWorld

_NAMES = {"POST": re.compile(r".*\.POST$"), "ledger": re.compile(r"mongo\.ledger\.")}  # of operations, by anchor
_REFUSED = {"jobs": ("create_job", "check_job"), "status": ("put_status",), "all": ("",)}
_PAYMENT_OVER = ("submitted", "succeeded", "collected", "failed", "refused", "cancelled", "discarded")


@dataclass
class IoFault:
    """One strike at the `nth` point (from 0): of the whole plan (`any`), of the subject's POSTs (`POST`), after the
    ledger's first insert for a subject (`paying`), the first verdict on it (`deciding`) or its first status with a
    reason (`reason:<reason>`) until its purchase has a request id, after the time of a finished resource is over
    (`expiring`), of the notifier from its first reservation on (`delivering`), of the audits (`auditing`), or of the
    ledger for a subject (`ledger`).
    """

    who: int
    anchor: str
    nth: int
    side: str
    action: str  # crash, error, freeze, sigterm, or meanwhile: another process works on the resource
    seconds: float = 30.0
    seen: int = -1
    fired: str = ""


@dataclass
class FaultInjector:
    """Faults of a world."""

    world: "RehearsalWorld"
    unavailable_until: dict[str, float] = field(default_factory=dict)  # store -> until
    refusals: list[tuple[str, int, float]] = field(default_factory=list)  # what, code, until
    io: list[IoFault] = field(default_factory=list)
    points: int = 0

    def is_unavailable(self, store: str) -> bool:
        """Whether a store is unavailable now."""
        return self.unavailable_until.get(store, -1.0) > self.world.seconds

    async def strike(self, acting: Acting, name: str, side: str) -> None:
        """Raise, or freeze the process, if a fault is due at this point. Tasks of a frozen process wait here."""
        await acting.process.until_resumed()
        if (due := self._strike(acting, name, side)) is not None:
            await acting.process.hold(due)

    def strike_now(self, acting: Acting, name: str, side: str) -> None:
        """Like `strike` in synchronous code, which cannot be frozen: a freeze waits for the next point."""
        if (due := self._strike(acting, name, side)) is not None:
            due.fired, due.nth = "", due.seen + 1

    def _strike(self, acting: Acting, name: str, side: str) -> IoFault | None:
        self.points += 1
        store = name.partition(".")[0]
        if side == "before":
            if self.is_unavailable(store):
                raise error_of(store)
            self._refuse(name)
        for fault in self.io:
            if fault.fired or not self._counts(fault, acting, name):
                continue
            fault.seen += 1
            if fault.seen >= fault.nth and side == fault.side:
                return self._fire(fault, name, side)
        return None

    def _counts(self, fault: IoFault, acting: Acting, name: str) -> bool:
        if fault.anchor == "any":
            return True
        if fault.anchor == "auditing":
            return acting.task == "audit"
        if fault.anchor == "delivering":
            is_reservation = name.startswith("mongo.notifications.update_one")
            return acting.task == "notifier" and (fault.seen >= 0 or is_reservation)
        if acting.ref is None or self.world.subject_of(acting.ref) != fault.who:
            return False
        if fault.anchor in _NAMES:
            return _NAMES[fault.anchor].match(name) is not None
        if fault.anchor == "expiring":
            return fault.seen >= 0 or self.world.is_expired(fault.who)
        if fault.seen < 0 and fault.anchor == "deciding":
            return self.world.has_verdict(fault.who)
        if fault.seen < 0 and fault.anchor.startswith("reason:"):
            return self.world.reason_of(fault.who) == fault.anchor.removeprefix("reason:")
        if fault.seen < 0:
            return name.startswith("mongo.ledger.insert")
        return self.world.state_of(fault.who) not in _PAYMENT_OVER

    def _fire(self, fault: IoFault, name: str, side: str) -> IoFault | None:
        fault.fired = f"{fault.action} {side} {name}"
        self.world.tell(f"fault: {fault.fired}")
        if fault.action == "crash":
            raise Crash
        if fault.action == "error":
            raise error_of(name.partition(".")[0])
        if fault.action == "meanwhile":
            self.world.meanwhile(self.world.plan.subjects[fault.who])
            return None
        return fault

    def _refuse(self, name: str) -> None:
        store, _, method = name.partition(".")
        if store != "kube":
            return
        for what, code, until in self.refusals:
            if until > self.world.seconds and method.startswith(_REFUSED[what]):
                error = ApiException(status=code)
                error.body = json.dumps({"message": f"refused with {code} by the plan"})
                raise error


def error_of(store: str) -> Exception:
    """Exception that a client raises if its server does not answer."""
    errors: dict[str, Any] = {
        "kube": lambda: aiohttp.ClientConnectionError("the API server does not answer"),
        "storage": lambda: EndpointConnectionError(endpoint_url="http://s3"),
        "http": lambda: httpx.ReadError("the connection broke"),
    }
    made: Exception = errors.get(store, lambda: AutoReconnect("MongoDB does not answer"))()
    return made
