"""One try to send a paid request.

Order: permission to buy → Lease → compare-and-set to `sending` → object of the try in the bucket → Lease → POST.
Without the object there is no POST. Whatever fails before the first byte ends the try as unsent, and the purchase is
planned again.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import stamina
from pymongo.errors import PyMongoError

from contentgen_operator.clock import utc_now
from contentgen_operator.leader.leadership import Leadership, NotLeading
from contentgen_operator.state.plan import Payment
from contentgen_operator.state.purchases import SendState
from contentgen_operator.state.sends import Send, SendEnding
from contentgen_operator.stores.ledger import Ledger, new_sent_by
from contentgen_operator.stores.sends import SendObjects
from contentgen_runtime.kube import Conflict

_LEASE_TO_WRITE_SECONDS = 2.0  # remaining time of the Lease, for the compare-and-set before a POST
_LEASE_TO_SEND_SECONDS = 1.0  # likewise, for the bytes of the request


@dataclass(kw_only=True, eq=False)
class Sending:
    """Try `number` of a payment, whose provider awaits `begin` once the connection is open."""

    payment: Payment
    number: int
    ledger: Ledger
    sends: SendObjects
    leadership: Leadership
    stopping: Callable[[], bool]  # whether the process ends
    permitted: Callable[[], Awaitable[None]]  # raises Conflict if nothing may be bought any more

    def __post_init__(self) -> None:
        self._purchase = self.payment.purchase.model_copy(update={"send_number": self.number})
        self._sent_by: str | None = None
        self._sent: Send | None = None

    async def begin(self) -> None:
        """Move the purchase to `sending`, and create the object of the try. Raises Conflict if the purchase is no
        longer planned for this resource, nothing may be bought, the process ends, or it does not lead for long enough;
        STORE_ERRORS.
        """
        key, now = self.payment.key, utc_now()
        if self.stopping():
            raise Conflict(f"the operator ends: purchase {key} stays planned")
        await self.permitted()
        self._require(_LEASE_TO_WRITE_SECONDS)
        sent_by = await self.ledger.send(key, self._purchase, now, self.payment.planned_at)
        if sent_by is None:
            raise Conflict(f"purchase {key} is sent by somebody else, or is not to be sent")
        send = self._send(sent_by, now)
        try:
            await self.sends.create(key, send)
            self._require(_LEASE_TO_SEND_SECONDS)
        except Exception:
            await self._withdraw(send)
            raise
        self._sent_by, self._sent = sent_by, send

    async def _withdraw(self, send: Send) -> None:
        """End the try, of which no byte was sent."""
        try:
            await self.ledger.withdraw(self.payment.key, send.sent_by)
        finally:
            await self.sends.take_back(self.payment.key, send)

    def _require(self, seconds: float) -> None:
        """Raises Conflict if another process may lead within `seconds`."""
        try:
            self.leadership.require(seconds)
        except NotLeading as error:
            raise Conflict(f"purchase {self.payment.key} stays planned: {error}") from error

    def _send(self, sent_by: str, now: datetime) -> Send:
        return Send.of(self._purchase, self.number, sent_by, now)

    async def ensure_begun(self) -> None:
        """Note the try, if the provider did not await `begin` although it may have sent the request. Either of ledger
        and bucket stops a second one. Raises PyMongoError, STORE_ERRORS; Conflict if the purchase was changed.
        """
        if self._sent_by is not None:
            return
        key, now, sent_by = self.payment.key, utc_now(), new_sent_by()
        send = self._send(sent_by, now)
        try:
            noted = await self._note_sent(sent_by, now)
        finally:
            await self.sends.create(key, send)
        if not noted:
            raise Conflict(f"purchase {key} was changed while its request was sent")
        self._sent_by, self._sent = sent_by, send

    @stamina.retry(on=PyMongoError, attempts=8, timeout=60)
    async def _note_sent(self, sent_by: str, now: datetime) -> bool:
        return await self.ledger.note_sent(self.payment.key, self._purchase, sent_by, now, now)

    async def end_refused(self) -> None:
        """Create the end of a try that the provider did not accept."""
        if self._sent is not None:
            await self.sends.end(self.payment.key, self._sent, SendEnding.REFUSED)

    @property
    def sent_by(self) -> str | None:
        """Name of the try; None if nothing was sent."""
        return self._sent_by

    @property
    def mine(self) -> dict[str, Any]:
        """Owner and fields that the ledger has unless another process has changed the purchase."""
        state = {"send_state": (SendState.SENDING if self._sent_by else SendState.PLANNED).value}
        return {
            "owner": self.payment.purchase.job_id,
            "expected": state | ({"sent_by": self._sent_by} if self._sent_by else {}),
        }
