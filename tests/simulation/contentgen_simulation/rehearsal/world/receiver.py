"""Receiver of webhooks, in memory, behind the operator's own checks of addresses."""

import ipaddress
import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx

from contentgen_contract.resources.addresses import IPAddress
from contentgen_contract.resources.spec import NotificationEvent
from contentgen_operator.notifications.guarded_post import GuardedPost, NotSent, PostResponse
from contentgen_operator.notifications.values import TYPES
from contentgen_simulation.rehearsal.world import io_points

if TYPE_CHECKING:
    from contentgen_simulation.rehearsal.world.world import RehearsalWorld

_POINT = "http.hooks.POST"
_PUBLIC, _INTERNAL = "93.184.216.34", "10.0.0.7"
_EVENTS = {text: event for event, text in TYPES.items()}
_PAUSE = timedelta(seconds=60)  # Retry-After of a 429
_NEVER_SECONDS = 1e9  # real time: a frozen process takes none


@dataclass(frozen=True)
class WebhookDelivery:
    """POST that reached the receiver. `accepted`: its response was 2xx, or was lost."""

    id: str
    url: str
    uid: str
    run: int
    event: NotificationEvent
    accepted: bool

    @property
    def key(self) -> tuple[str, int, str, str]:
        """Uid, run, event and URL."""
        return self.uid, self.run, self.event.value, self.url


class WebhookReceiver:
    """Servers of all URLs. `RehearsalPlan.hooks` has the answers by the ordinal of a POST."""

    def __init__(self, world: "RehearsalWorld") -> None:
        self._world = world
        self.deliveries: list[WebhookDelivery] = []
        self.gone: set[tuple[str, str]] = set()  # uid and URL of which 410 was answered
        self._lookups = 0
        self._posts = 0

    async def resolve(self, host: str, _port: int) -> list[str]:
        """Addresses of a name."""
        self._lookups += host.startswith("rebound.")
        private = host.startswith("private.") or (host.startswith("rebound.") and self._lookups > 1)
        return [_INTERNAL if private else _PUBLIC]

    def answer(self, url: str, address: str, headers: Mapping[str, str], body: bytes) -> PostResponse:
        """Take one POST. Raises NotSent."""
        self._posts += 1
        how = str(self._world.plan.hooks.get(str(self._posts), ""))
        if not ipaddress.ip_address(address).is_global:
            self._world.oracles.sent_to_refused(url, address)
        if how == "dropped":
            raise NotSent("the connection broke before the request arrived")
        given = json.loads(body)
        data, accepted = given["data"], how in ("", "lost")
        delivery = WebhookDelivery(
            headers["webhook-id"], url, data["uid"], data["run"], _EVENTS[given["type"]], accepted
        )
        self.deliveries.append(delivery)
        self._world.tell(f"webhook {self._posts}: {delivery.event} of run {delivery.run} of {delivery.uid[:8]} {how}")
        self._world.oracles.notified(delivery)
        if how == "410":
            self.gone.add((delivery.uid, url))
        if how == "lost":
            raise NotSent("the reply was lost")
        return PostResponse(int(how or 204), _PAUSE if how == "429" else None)


class ReceivedPost(GuardedPost):
    """The operator's sender, which reaches the receiver instead of the network."""

    def __init__(self, receiver: WebhookReceiver) -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        super().__init__(tls, resolve=receiver.resolve, seconds=_NEVER_SECONDS)
        self._receiver = receiver

    async def _sent(
        self, target: httpx.URL, addresses: Sequence[IPAddress], headers: Mapping[str, str], body: bytes
    ) -> PostResponse:
        try:
            await io_points.point(_POINT, "before")
            response = self._receiver.answer(str(target), str(addresses[0]), headers, body)
            await io_points.point(_POINT, "after")
        except httpx.HTTPError as error:  # an injected one
            raise NotSent(f"no response: {type(error).__name__}") from None
        return response
