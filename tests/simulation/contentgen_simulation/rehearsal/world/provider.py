"""Simulated fal and AssemblyAI according to their documentation, behind the operator's real adapters.

The only dependencies on the adapters are the function `adapters` and their use of httpx.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import httpx

from contentgen_contract.resources.prices import PRICES, SECONDS, PriceLookup, amount
from contentgen_operator.providers.assemblyai import AssemblyAI
from contentgen_operator.providers.fal import Fal
from contentgen_operator.state.observed import ResourceRef
from contentgen_simulation.rehearsal.world import io_points
from contentgen_simulation.rehearsal.world.context import ACTING

if TYPE_CHECKING:
    from contentgen_simulation.rehearsal.world.world import RehearsalWorld

Json = dict[str, Any]
FAL_QUEUE, FAL_API, ASSEMBLYAI = "http://queue.fal.example", "http://api.fal.example", "http://assemblyai.example"
SOUND_SECONDS = 60
_TRANSCRIBER = "assemblyai/universal"
_PAGE = 100
_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


ACCOUNTS = ("team-a", "team-b")
"""Named provider accounts of the installation."""


FOREIGN = "foreign"
"""Account that is none of the installation's; for a while, its key is in their place."""


class ProviderKey:
    """Provider key that is present, of an account, or for a while of a foreign one."""

    def __init__(self, account: str) -> None:
        self._account = account

    def read(self) -> str:
        foreign = ACTING.get().world.provider.has_foreign_key
        return f"key:{FOREIGN if foreign else self._account}"


@cache
def adapters(account: str) -> dict[str, Any]:
    """Shared adapters of the operator: stateless, and loading CA certificates takes 100 ms."""
    key: Any = ProviderKey(account)
    return {"fal": Fal(key, FAL_QUEUE, FAL_API), "assemblyai": AssemblyAI(key, ASSEMBLYAI)}


def _account_of(request: httpx.Request) -> str:
    """Account of a request's key; empty: the default one."""
    return request.headers["authorization"].rpartition(":")[2]


class Adapters:
    """Dispatch to an adapter by the first argument: a model, a `Call`, or an object that contains a `Call`."""

    configured = True

    def __init__(self, account: str = "") -> None:
        self._account = account

    @property
    def key_id(self) -> str | None:
        """Fingerprint of the account's key."""
        found: str | None = adapters(self._account)["fal"].key_id
        return found

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **named: Any) -> Any:
            return await getattr(adapters(self._account)[_provider_of(args[0])], name)(*args, **named)

        return call


def _provider_of(first: Any) -> str:
    if isinstance(first, str):
        return "assemblyai" if first == _TRANSCRIBER else "fal"
    return str(getattr(first, "call", first).provider)


@dataclass
class Post:
    """POST of an operator. `maybe_paid`: no response said that it was rejected."""

    number: int
    ref: ResourceRef
    run: int
    group: tuple[str, ...]
    provider: str
    account: str
    input: Json
    at: float
    skew: float = 0.0  # seconds by which the operator's clock was off
    factor: float = 1.0  # of fal's prices
    maybe_paid: bool = True
    request_id: str | None = None


@dataclass
class Request:
    """Accepted request and its result."""

    id: str
    post: Post
    provider: str
    model: str
    input: Json
    sent_at: float
    takes: float
    fate: str = ""  # an entry of Plan.results
    cancelled_at: float | None = None

    @property
    def ended_at(self) -> float:
        return min(self.sent_at + self.takes, self.cancelled_at if self.cancelled_at is not None else math.inf)

    @property
    def cancelled(self) -> bool:
        return self.cancelled_at is not None and self.cancelled_at < self.sent_at + self.takes

    @property
    def succeeds(self) -> bool:
        return not self.cancelled and self.fate != "fails"

    @property
    def micros(self) -> int:
        """Billed amount of a successful request in millionths of a dollar."""
        return _micros(self) if self.succeeds else 0

    @property
    def units(self) -> float:
        """Billed units: megapixels of images, training steps, seconds of audio."""
        if self.provider == "assemblyai":
            return SOUND_SECONDS
        if "steps" in self.input:
            return int(self.input["steps"])
        size: dict[str, int] = self.input.get("image_size") or {}
        return self.pictures * math.ceil(size.get("width", 1024) * size.get("height", 1024) / (1024 * 1024))

    @property
    def pictures(self) -> int:
        """Number of delivered pictures."""
        asked = int(self.input.get("num_images", 1))
        return max(asked - 1, 1) if self.fate == "fewer" else asked

    def result(self) -> Json:
        """Response of the provider, which names its request."""
        file = {"url": f"http://files.fal.example/{self.id}/file", "content_type": "x/y"}
        if self.provider == "assemblyai":
            return {"id": self.id, "status": "completed", "text": "a b c", "audio_duration": SOUND_SECONDS,
                    "audio_url": self.input.get("audio_url", ""), "made_by": self.id}  # fmt: skip
        if "steps" in self.input:
            return {"diffusers_lora_file": file, "config_file": file, "made_by": self.id}
        return {"images": [file] * self.pictures, "seed": self.input.get("seed"), "made_by": self.id}


def _micros(request: Request) -> int:
    price = PRICES[request.model]
    units = max(request.units, price.minimum)
    labels = price.speaker_labels_micros if request.input.get("speaker_labels") else 0
    factor = request.post.factor if request.provider == "fal" else 1.0
    return amount(price.micros * factor + labels, units / SECONDS.get(price.unit, 1))


class _Sent(NamedTuple):
    """Request object of httpcore's trace callback."""

    method: bytes


class _Huge(bytes):
    """Content that states a size above any limit without using memory."""

    def __len__(self) -> int:
        return 1 << 31


@dataclass
class ProviderWorld:
    """Both providers. `down` is `unreachable`, `locked` (403 to everything) or an HTTP status, until `down_until`.

    Until `forgets_until`, fal's queue knows no request; until `foreign_until`, the keys are of a foreign account.
    fal's prices are those of the built-in table times `factor`; until `unpriced_until`, they can't be read.
    """

    world: "RehearsalWorld"
    posts: list[Post] = field(default_factory=list)
    requests: dict[str, Request] = field(default_factory=dict)
    history_calls: list[tuple[float, ResourceRef | None]] = field(default_factory=list)
    down: str = ""
    down_until: float = -1.0
    forgets_until: float = -1.0
    foreign_until: float = -1.0
    factor: float = 1.0
    unpriced_until: float = -1.0

    async def price(self, model: str, account: str | None = None) -> PriceLookup:  # noqa: ARG002 - the protocol's signature
        """fal's price of a model; none where it is the built-in one."""
        listed, scaled = PRICES[model], self.factor != 1
        price = listed.model_copy(update={"micros": listed.micros * self.factor}) if scaled else None
        if self.world.seconds < self.unpriced_until:
            return PriceLookup(problem="fal's prices can't be read")
        return PriceLookup(price=price)

    @property
    def has_foreign_key(self) -> bool:
        """Whether the installation's keys are those of a foreign account."""
        return self.world.seconds < self.foreign_until

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """HTTP exchange over a new connection, with httpcore's trace callbacks."""
        name = f"http.{request.url.host.split('.')[0]}.{request.method}"
        trace = request.extensions.get("trace")
        await io_points.point(f"{name}.connect", "before")
        self._connect(request)
        for event in ("connection.connect_tcp.started", "connection.connect_tcp.complete",
                     "http11.send_request_headers.started"):  # fmt: skip
            if trace is not None:
                await trace(event, {"request": _Sent(request.method.encode())})
        await io_points.point(name, "before")
        reply = self._answer(request)
        await io_points.point(name, "after")
        return reply

    def answer_now(self, request: httpx.Request) -> httpx.Response:
        """Like `answer`, in synchronous code."""
        name = f"http.{request.url.host.split('.')[0]}.{request.method}"
        io_points.point_now(f"{name}.connect", "before")
        self._connect(request)
        trace = request.extensions.get("trace")
        for event in ("connection.connect_tcp.started", "connection.connect_tcp.complete",
                     "http11.send_request_headers.started"):  # fmt: skip
            if trace is not None:
                trace(event, {"request": _Sent(request.method.encode())})
        io_points.point_now(name, "before")
        reply = self._answer(request)
        io_points.point_now(name, "after")
        return reply

    def _connect(self, request: httpx.Request) -> None:
        if self.world.seconds < self.down_until and self.down == "unreachable":
            raise httpx.ConnectError("the provider cannot be reached", request=request)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        code, content = self._reply(request)
        stream = _Stream(content if isinstance(content, bytes) else json.dumps(content).encode())
        headers = {"content-type": "application/json", "location": "http://elsewhere.example/"}
        if (found := self._of_result(request)) is not None and code == 200:
            headers["x-fal-billable-units"] = str(found.units)
        return httpx.Response(code, headers=headers, stream=stream, request=request)

    def _of_result(self, request: httpx.Request) -> Request | None:
        """Request of a result URL at fal."""
        path = urlsplit(str(request.url)).path
        known = "/requests/" in path and request.method == "GET"
        return self._request(path.rpartition("/requests/")[2], _account_of(request)) if known else None

    def _request(self, request_id: str, account: str) -> Request | None:
        """Request of an account by its id."""
        found = self.requests.get(request_id)
        if found is not None and found.post.account != account:
            if FOREIGN not in (found.post.account, account):
                self.world.oracles.asked_with(found, account)
            return None
        return found

    def _reply(self, request: httpx.Request) -> tuple[int, Json | bytes]:
        if self.world.seconds < self.down_until:
            code = 403 if self.down == "locked" else int(self.down)
            return code, {"detail": f"the plan answers {code}", "error": f"the plan answers {code}"}
        parts = urlsplit(str(request.url))
        if request.method == "POST":
            return self._post(request, parts.path)
        query, account = parse_qsl(parts.query), _account_of(request)
        if parts.path == "/v2/transcript":
            return self._listed_transcripts(dict(query), account)
        if parts.path.startswith("/v2/transcript/"):
            return self._transcript(parts.path.rpartition("/")[2], account)
        if parts.path == "/v1/models/billing-events":
            return 200, {"billing_events": list(self._bills(account)), "next_cursor": None, "has_more": False}
        if parts.path == "/v1/models/requests/by-endpoint":
            return self._listed_requests(query, account)
        if "/requests/" in parts.path:
            request_id, _, action = parts.path.partition("/requests/")[2].partition("/")
            return self._of_queue(self._request(request_id, account), action)
        return 404, {"detail": "not found"}

    def cancellations(self) -> list[str]:
        """Ids of the requests that were ended on demand."""
        return [request.id for request in self.requests.values() if request.cancelled_at is not None]

    def _bills(self, account: str) -> Iterator[Json]:
        """fal's bills: one for each request that has ended with a result."""
        for request in self.requests.values():
            is_over = self.world.seconds >= request.ended_at and request.micros > 0
            if is_over and (request.provider, request.post.account) == ("fal", account):
                yield {
                    "request_id": request.id, "endpoint_id": request.model, "timestamp": self._stamp(request.ended_at),
                    "cost_total": request.micros / 1e6, "output_units": request.units,
                }  # fmt: skip

    # POST

    def _post(self, request: httpx.Request, path: str) -> tuple[int, Json]:
        given = json.loads(request.content)
        fal = urlsplit(str(request.url)).netloc.startswith("queue.")
        post = self._noted("fal" if fal else "assemblyai", _account_of(request), given)
        try:
            return self._taken(request, post, path.strip("/") if fal else _TRANSCRIBER)
        finally:
            self.world.oracles.posted()

    def _taken(self, request: httpx.Request, post: Post, model: str) -> tuple[int, Json]:
        reply = str(self.world.plan.replies.get(str(post.number), ""))
        if reply == "unreachable":
            post.maybe_paid = False
            raise httpx.ConnectError("the provider cannot be reached", request=request)
        if reply == "dropped":
            raise httpx.ReadError("the connection broke before the request arrived", request=request)
        if reply.isdigit():
            post.maybe_paid = int(reply) >= 500
            return int(reply), {"detail": f"the plan answers {reply}", "error": f"the plan answers {reply}"}
        accepted = self._accepted(post, model)
        if reply == "lost":
            raise httpx.ReadTimeout("the reply was lost", request=request)
        if post.provider == "fal":
            return 200, {"request_id": accepted.id, "status": "IN_QUEUE", "queue_position": 0}
        return 200, {"id": accepted.id, "status": "queued", "audio_url": post.input.get("audio_url", "")}

    def _noted(self, provider: str, account: str, given: Json) -> Post:
        ref = ACTING.get().ref
        assert ref is not None, "nothing is paid outside of a reconcile"
        run, group = self.world.run_of(ref), self.world.group_of(ref, given)
        now, skew = self.world.seconds, self.world.skew
        post = Post(len(self.posts) + 1, ref, run, group, provider, account, given, now, skew, self.factor)
        self.posts.append(post)
        self.world.tell(f"POST {post.number} of {ref.namespace}/{ref.name}, run {run}: {group[-1]}")
        return post

    def _accepted(self, post: Post, model: str) -> Request:
        made = Request(
            id=f"request-{post.number}", post=post, provider=post.provider, model=model, input=post.input,
            sent_at=self.world.seconds, takes=self.world.plan.takes,
            fate=str(self.world.plan.results.get(str(post.number), "")),
        )  # fmt: skip
        self.requests[made.id] = made
        post.request_id = made.id
        return made

    # fal's queue

    def _of_queue(self, found: Request | None, action: str) -> tuple[int, Json | bytes]:
        if found is None or self.world.seconds < self.forgets_until:
            return 404, {"status": "NOT_FOUND", "detail": "Request not found"}
        ended = self.world.seconds >= found.ended_at
        match action:
            case "status" if not ended:
                return 202, {"status": "IN_PROGRESS", "logs": []}
            case "status":
                error = {"error": "it ended without a result", "error_type": "internal_error"}
                return 200, {"status": "COMPLETED", "logs": [], "metrics": {}} | ({} if found.succeeds else error)
            case "cancel":
                return self._cancel(found)
            case _:
                return self._result(found)

    def _cancel(self, found: Request) -> tuple[int, Json]:
        if self.world.seconds >= found.ended_at:
            return 400, {"status": "ALREADY_COMPLETED"}
        if self.world.plan.cancels:
            found.cancelled_at = self.world.seconds
        return 202, {"status": "CANCELLATION_REQUESTED"}

    def _result(self, found: Request) -> tuple[int, Json | bytes]:
        if not found.succeeds:
            return (499 if found.cancelled else 500), {"detail": "out of memory"}
        age = self.world.seconds - found.ended_at
        if found.fate.isdigit():
            return int(found.fate), {"detail": f"the plan answers {found.fate}"}
        if found.fate == "expired" and age > 360:
            return 404, {"detail": "the result has expired"}
        if found.fate == "partial":
            return 200, b'{"images": [{"url": "http://files'
        if found.fate == "oversized":
            return 200, _Huge(b"{}")
        return 200, found.result()

    # The histories

    def _listed_requests(self, query: list[tuple[str, str]], account: str) -> tuple[int, Json]:
        self.history_calls.append((self.world.seconds, ACTING.get().ref))
        given = dict(query)
        models = {model for name, value in query if name == "endpoint_id" for model in value.split(",")}
        now = self.world.now()
        start = _instant(given.get("start")) or now - timedelta(hours=24)
        end = _instant(given.get("end")) or now
        with_payloads = "payloads" in given.get("expand", "")
        wanted = given.get("request_id")
        if wanted:
            start, end = _LONG_AGO, now + timedelta(days=1)
        listed = [
            (sent, ended, request_id, model, known if with_payloads else None)
            for model in sorted(models)
            for sent, ended, request_id, known in self._in_history(model, account)
            if wanted in (None, request_id) and start <= self._at(sent) < end
        ]
        first, limit = int(given.get("cursor") or 0), min(int(given.get("limit") or 50), _PAGE)
        listed.sort(key=lambda each: each[1], reverse=True)
        more = first + limit < len(listed)
        items = [self._item(*each) for each in listed[first : first + limit]]
        return 200, {"items": items, "next_cursor": str(first + limit) if more else None, "has_more": more}

    def _in_history(self, model: str, account: str) -> Iterator[tuple[float, float, str, Json | None]]:
        """Seconds at which a request was sent and ended, its id, and its input; None if the history hides it."""
        history, seconds = self.world.plan.history, self.world.seconds
        for request in self.requests.values():
            known = seconds >= request.ended_at + float(history.get("lag", 0))
            if (
                (request.model, request.post.account) != (model, account)
                or not known
                or request.post.number in history.get("missing", ())
            ):
                continue
            hidden = request.post.number in history.get("without_payload", ())
            yield request.sent_at, request.ended_at, request.id, None if hidden else request.input
        for number in range(int(history.get("noise", 0))):
            at = seconds - number * 5.0
            yield at - 10, at - 1, f"other-{number}", {"prompt": f"somebody else's {number}", "seed": number}

    def _item(self, sent: float, ended: float, request_id: str, model: str, given: Json | None) -> Json:
        found = self.requests.get(request_id)
        return {
            "request_id": request_id, "endpoint_id": model, "sent_at": self._stamp(sent),
            "started_at": self._stamp(sent), "ended_at": self._stamp(ended), "duration": ended - sent,
            "status_code": 200 if found is None or found.succeeds else 500, "json_input": given,
            "json_output": found.result() if found and found.succeeds and given is not None else None,
        }  # fmt: skip

    def _listed_transcripts(self, given: Json, account: str) -> tuple[int, Json]:
        self.history_calls.append((self.world.seconds, ACTING.get().ref))
        history, limit = self.world.plan.history, min(int(given.get("limit") or 10), 200)
        items = []
        for request in self.requests.values():
            late = self.world.seconds < request.sent_at + float(history.get("lag", 0))
            mine = (request.provider, request.post.account) == ("assemblyai", account)
            if mine and not late and request.post.number not in history.get("missing", ()):
                items.append(self._listed(request.id, str(request.input.get("audio_url", "")), request.sent_at))
        items += [
            self._listed(f"other-{number}", f"http://s3.example/other/{number}", self.world.seconds - number * 5.0)
            for number in range(int(history.get("noise", 0)))
        ]  # fmt: skip
        items.sort(key=lambda item: str(item["created"]), reverse=True)
        before = given.get("before_id")
        ids = [item["id"] for item in items]
        first = ids.index(before) + 1 if before in ids else 0
        page = items[first : first + limit]
        older = f"{ASSEMBLYAI}/v2/transcript?limit={limit}&before_id={page[-1]['id']}" if page else None
        more = first + limit < len(items)
        details = {"limit": limit, "result_count": len(page), "current_url": f"{ASSEMBLYAI}/v2/transcript",
                   "prev_url": older if more else None, "next_url": None}  # fmt: skip
        return 200, {"page_details": details, "transcripts": page}

    def _listed(self, request_id: str, url: str, at: float) -> Json:
        return {"id": request_id, "resource_url": f"{ASSEMBLYAI}/v2/transcript/{request_id}", "status": "completed",
                "created": self._stamp(at).removesuffix("+00:00"), "completed": None, "audio_url": url,
                "error": None}  # fmt: skip

    def _transcript(self, request_id: str, account: str) -> tuple[int, Json | bytes]:
        found = self._request(request_id, account)
        if found is None:
            return 400, {"error": "Transcript lookup error, transcript id not found"}
        about = {"id": found.id, "audio_url": found.input.get("audio_url", "")}
        if self.world.seconds < found.ended_at:
            return 200, about | {"status": "processing"}
        if not found.succeeds:
            return 200, about | {"status": "error", "error": "Download error, unable to download"}
        if found.fate.isdigit():
            return int(found.fate), {"error": f"the plan answers {found.fate}"}
        if found.fate == "partial":
            return 200, b'{"id": "request", "status": "comp'
        if found.fate == "oversized":
            return 200, _Huge(b"{}")
        return 200, found.result()

    def _at(self, seconds: float) -> datetime:
        return self.world.start + timedelta(seconds=seconds)

    def _stamp(self, seconds: float) -> str:
        return self._at(seconds).isoformat()


class _Stream(httpx.AsyncByteStream, httpx.SyncByteStream):
    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self._content

    async def __aiter__(self) -> Any:
        yield self._content


def _instant(text: str | None) -> datetime | None:
    if not text:
        return None
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
