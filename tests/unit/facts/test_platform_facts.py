"""PublishedFacts about fal's platform, AssemblyAI, S3 and clusters, and the product compared with them."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from contentgen_contract.names import Kind
from contentgen_contract.resources.prices import SPEECH_MODELS
from contentgen_contract.resources.spec import TranscriptionSpec
from contentgen_operator.providers.assemblyai import AssemblyAI
from contentgen_operator.providers.audited import AssemblyAIAccount, FalAccount
from contentgen_operator.providers.base import ProviderError
from contentgen_operator.providers.billing import FalBilling
from contentgen_operator.providers.fal import Fal
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.providers.network import trusted_cas
from contentgen_operator.providers.pricing import FalPrices
from contentgen_operator.state.kinds.row import CallContext
from contentgen_operator.state.kinds.table import call_of
from contentgen_operator.state.provider_requests import Call, RequestState, Search
from contentgen_operator.state.purchases import PurchaseKey, Unsettled
from contentgen_simulation.facts import PublishedFacts, fact_files, load

# The SDK uses deprecated names of pydantic.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")

FAL = load("fal/platform.json")
TRANSCRIPTS = load("assemblyai/transcript.json")
OWN = [path for path in fact_files() if not path.startswith("fal/models/")]


def _schemas(value: Any) -> Iterator[Mapping[str, Any]]:
    """Schemas of requests and answers at any depth of a file."""
    if isinstance(value, dict):
        for name, member in value.items():
            if name in ("headers", "query", "body") and isinstance(member, dict) and "facts" not in member:
                yield {} if "contentType" in member else member
            yield from _schemas(member)
    elif isinstance(value, list):
        for member in value:
            yield from _schemas(member)


def _cited(value: Any) -> Iterator[str]:
    """Ids of sources that facts at any depth cite."""
    if isinstance(value, dict):
        named = [*(value.get("sources") or ()), value.get("source")]
        yield from (source for source in named if isinstance(source, str))
    within = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for member in within:
        yield from _cited(member)


@pytest.mark.parametrize("path", OWN)
def test_schemas_are_valid(path: str) -> None:
    facts = load(path)
    for schema in (*facts.definitions.values(), *_schemas(facts.document.get("endpoints", facts.document))):
        Draft202012Validator.check_schema(schema)
        list(facts.examples(schema))  # resolves each $ref


@pytest.mark.parametrize("path", OWN)
def test_sources_are_dated_and_cited(path: str) -> None:
    document = load(path).document
    sources = document["sources"]
    ids = [source["id"] for source in sources]
    assert len(ids) == len(set(ids))
    read = date.fromisoformat(document["readOn"])
    for source in sources:
        assert source.keys() == {"id", "what", "repository", "commit", "path", "url", "date"}
        assert date.fromisoformat(source["date"]) <= read
    assert set(_cited({**document, "sources": []})) <= set(ids)


@pytest.mark.parametrize("facts", [FAL, TRANSCRIPTS], ids=lambda facts: facts.path)
def test_examples_fit_their_schemas(facts: PublishedFacts) -> None:
    for definition, schema in facts.definitions.items():
        if definition == "TranscriptParams":  # a request, with rules between its parameters
            continue
        for name, example in facts.examples(schema):
            assert facts.problems(schema, example) == [], f"{definition}, {name}: {json.dumps(example)[:200]}"


class _Body(httpx.AsyncByteStream):
    """Body of an async client's response, which can be streamed."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content


@dataclass
class Published:
    """HTTP transport's handler that answers as the facts say and records the differences of each request from them.

    `stream`: type of the bodies, for a client of its kind. `answers`: JSON body by endpoint, or status and body; the
    example with all fields where there is none.
    """

    facts: PublishedFacts
    stream: Callable[[bytes], httpx.AsyncByteStream | httpx.SyncByteStream] = _Body
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        name = self.facts.endpoint(request.method, f"{request.url.copy_with(query=None)}")
        self.asked.append(name)
        self.bodies += [json.loads(request.content)] if request.content else []
        self.problems += [f"{name}: {problem}" for problem in self.facts.request_problems(request)]
        status, body = self._answer(name)
        if "next_cursor" in body:  # facts: no more pages without a cursor
            cursor = None if "cursor" in request.url.params else body["next_cursor"]
            body = body | {"next_cursor": cursor, "has_more": cursor is not None}
        return httpx.Response(status, stream=self.stream(json.dumps(body).encode()))

    def _answer(self, name: str) -> tuple[int, Any]:
        given = self.answers.get(name)
        if given is None:
            body = self.facts.document["endpoints"][name]["responses"]["200"]["body"]
            return 200, {"images": []} if "facts" in body else dict(self.facts.examples(body))["all fields"]
        return given if isinstance(given, tuple) else (200, given)


MODEL, ID = "fal-ai/flux/dev", "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
CALL = Call(
    provider="fal", model=MODEL, arguments={"prompt": "x", "seed": 1}, correlation_key="seed:1", purchase_id="p"
)
SOUND = "https://files.example/one"
SENT = datetime(2026, 11, 20, 10, tzinfo=UTC)
TLS = trusted_cas()
QUEUE, PLATFORM, SPEECH = "https://queue.fal.run", "https://api.fal.ai", "https://api.assemblyai.com"


SEARCH = {"sent_after": SENT - timedelta(seconds=10), "sent_before": SENT + timedelta(minutes=1)}
ITEM = {"request_id": ID, "endpoint_id": MODEL, "sent_at": "2026-11-20T10:00:00Z", "json_input": CALL.arguments}
KEY = PurchaseKey(namespace="n", kind=Kind.TRANSCRIPTION, name="t", run_hash="h", rerun=None, attempt=1)
JOB = CallContext(provider="assemblyai", user_id="u", job_id="j", version=1)


async def sent() -> None:
    """Hook before a payment."""


def spoken(**options: Any) -> Call:
    """Call of a transcription as the operator makes it, of the recording at SOUND."""
    spec = TranscriptionSpec.model_validate({"source": {"url": SOUND}, "options": options})
    call = call_of(spec, JOB, KEY, (), SPEECH_MODELS)
    return call.model_copy(update={"arguments": call.arguments | {"audio_url": SOUND}})


@dataclass
class Product:
    """The product's clients of both providers on published answers."""

    key: KeyFile
    fal_server: Published = field(default_factory=lambda: Published(FAL))
    speech_server: Published = field(default_factory=lambda: Published(TRANSCRIPTS, httpx.ByteStream))
    list_server: Published = field(default_factory=lambda: Published(TRANSCRIPTS))

    def __post_init__(self) -> None:
        transport, keys = httpx.MockTransport(self.fal_server), (self.key,)
        self.fal = Fal(self.key, QUEUE, PLATFORM, tls=TLS, transport=transport)
        self.prices = FalPrices(self.key, PLATFORM, tls=TLS, transport=transport)
        self.billing = FalBilling(keys, PLATFORM, tls=TLS, transport=transport)
        self.fal_account = FalAccount(keys, keys, PLATFORM, tls=TLS, transport=transport)
        speech, lists = httpx.MockTransport(self.speech_server), httpx.MockTransport(self.list_server)
        self.assemblyai = AssemblyAI(self.key, SPEECH, tls=TLS, transport=speech)
        self.speech_account = AssemblyAIAccount(keys, SPEECH, tls=TLS, transport=lists)

    def answer(self, name: str, body: Any) -> None:
        """Set the answer of an endpoint of either provider."""
        for server in self.servers:
            server.answers[name] = body

    @property
    def servers(self) -> tuple[Published, ...]:
        """Servers of the providers, one for each kind of client."""
        return self.fal_server, self.speech_server, self.list_server

    @property
    def problems(self) -> list[str]:
        """Differences of the requests so far from the facts."""
        return [problem for server in self.servers for problem in server.problems]

    @property
    def asked(self) -> list[str]:
        """Endpoints of the requests so far."""
        return [name for server in self.servers for name in server.asked]

    async def close(self) -> None:
        for client in (self.fal, self.prices, self.billing, self.fal_account, self.speech_account):
            await client.close()


@pytest.fixture
async def product(tmp_path: Path) -> AsyncIterator[Product]:
    (tmp_path / "key").write_text("secret")
    made = Product(KeyFile(str(tmp_path / "key")))
    yield made
    await made.close()


def history(**more: Any) -> dict[str, Any]:
    """Page of fal's history with the request that CALL made."""
    page = dict(FAL.examples(FAL.document["endpoints"]["history"]["responses"]["200"]["body"]))["all fields"]
    return {**page, "items": [page["items"][0] | ITEM | more]}


def unsettled() -> Unsettled:
    return Unsettled(
        key="k", purchase_id="p", request_id="text", provider="fal", model="text", created_at=SENT, ended_at=SENT
    )


Action = Callable[[Product], Awaitable[Any]]
REQUESTS: dict[str, tuple[Action, list[str], dict[str, Any]]] = {
    "submit": (lambda product: product.fal.submit(CALL, sent), ["submit"], {}),
    "poll of a finished request": (lambda product: product.fal.poll(MODEL, ID), ["status", "result"], {}),
    "poll of a forgotten request": (
        lambda product: product.fal.poll(MODEL, ID),
        ["status", "history"],
        {"status": (404, {"status": "NOT_FOUND"})},
    ),
    "cancel": (lambda product: product.fal.cancel(MODEL, ID), ["cancel", "status", "result"], {}),
    "search": (
        lambda product: product.fal.find(Search(call=CALL, **SEARCH)),
        ["history"] * 2,
        {"history": history()},
    ),
    "search with later reads": (
        lambda product: product.fal.find(Search(call=CALL, **SEARCH)),
        ["history"] * 6,
        {"history": history(json_input=None)},
    ),
    "verification": (
        lambda product: product.fal.verify(Search(call=CALL, **SEARCH), ID),
        ["history"],
        {"history": history()},
    ),
    "price": (lambda product: product.prices.price(MODEL), ["pricing"], {}),
    "charges": (lambda product: product.billing.charges([unsettled()] * 2), ["billingEvents"] * 2, {}),
    "audit": (
        lambda product: product.fal_account.read([MODEL, "fal-ai/flux-lora"], SENT, SENT),
        ["history", "history", "billingEvents", "billingEvents", "pricing"],
        {},
    ),
    "audit of one request": (lambda product: product.fal_account.request(MODEL, ID), ["history"], {}),
    "transcription": (lambda product: product.assemblyai.submit(spoken(), sent), ["create"], {}),
    "transcription in one language": (
        lambda product: product.assemblyai.submit(spoken(language="en-US"), sent),
        ["create"],
        {},
    ),
    "transcription without speakers": (
        lambda product: product.assemblyai.submit(spoken(speakerLabels=False, language="hu"), sent),
        ["create"],
        {},
    ),
    "poll of a transcript": (lambda product: product.assemblyai.poll("", ID), ["get"], {}),
    "cancel of a transcript": (lambda product: product.assemblyai.cancel("", ID), [], {}),
    "search of a transcript": (
        lambda product: product.assemblyai.find(Search(call=spoken(), **SEARCH)),
        ["list", "get"],
        {},
    ),
    "verification of a transcript": (
        lambda product: product.assemblyai.verify(Search(call=spoken(), **SEARCH), ID),
        ["list", "get"],
        {},
    ),
    "audit of transcripts": (lambda product: product.speech_account.read((), SENT, SENT), ["list"], {}),
    "audit of one transcript": (lambda product: product.speech_account.request("", ID), ["get"], {}),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_requests_have_documented_parameters(product: Product, name: str) -> None:
    act, endpoints, answers = REQUESTS[name]
    for endpoint, answer in answers.items():
        product.answer(endpoint, answer)
    await act(product)
    assert product.problems == []
    assert product.asked == endpoints


@pytest.mark.parametrize("options", [{}, {"language": "hu"}, {"speakerLabels": False}])
async def test_each_argument_of_a_transcript_is_sent(product: Product, options: dict[str, Any]) -> None:
    """The SDK drops names that it does not know."""
    call = spoken(**options)
    await product.assemblyai.submit(call, sent)
    assert product.speech_server.bodies == [call.arguments]


def listed(body: dict[str, Any]) -> dict[str, Any]:
    """Page of fal's history, whose items are of CALL where they are not null."""
    items = [
        item | {name: value for name, value in ITEM.items() if item.get(name) is not None} for item in body["items"]
    ]
    return body | {"items": [item | {"json_output": {"images": []}, "status_code": 200} for item in items]}


def priced(body: dict[str, Any]) -> dict[str, Any]:
    return body | {"prices": [price | {"endpoint_id": MODEL, "currency": "USD"} for price in body["prices"]]}


def of_status(status: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda body: body | {"status": status}


@dataclass(frozen=True)
class Parser:
    """Reading of one answer: `act` on the product, and `expected` of its result and the answer's body."""

    endpoint: str
    schema: Mapping[str, Any]
    act: Action
    expected: Callable[[Any, Any], bool]
    status: int = 200
    fitted: Callable[[Any], Any] = lambda body: body


def ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


def state(expected: RequestState) -> Callable[[Any, Any], bool]:
    return lambda view, _: view.state is expected


def poll(product: Product) -> Awaitable[Any]:
    return product.fal.poll(MODEL, ID)


def transcript(product: Product) -> Awaitable[Any]:
    return product.assemblyai.poll("", ID)


def success(facts: PublishedFacts, endpoint: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = facts.document["endpoints"][endpoint]["responses"]["200"]["body"]
    return found


PAGE = success(FAL, "history")
PARSERS = {
    "submit": Parser(
        "submit", ref("submitted"), lambda p: p.fal.submit(CALL, sent), lambda found, body: found == body["request_id"]
    ),
    "queued": Parser("status", ref("inQueue"), poll, state(RequestState.QUEUED), 202),
    "running": Parser("status", ref("inProgress"), poll, state(RequestState.RUNNING), 202),
    "completed": Parser("status", ref("completed"), poll, state(RequestState.SUCCEEDED)),
    "search": Parser(
        "history",
        PAGE,
        lambda p: p.fal.find(Search(call=CALL, **SEARCH)),
        lambda found, body: found.complete and found.request_id == (ID if body["items"] else None),
        fitted=listed,
    ),
    "verification": Parser(
        "history",
        PAGE,
        lambda p: p.fal.verify(Search(call=CALL, **SEARCH), ID),
        lambda found, body: found.same is (True if body["items"] else None),
        fitted=listed,
    ),
    "audit": Parser(
        "history",
        PAGE,
        lambda p: p.fal_account.requests([MODEL], SENT),
        lambda found, _: found[1].complete,
        fitted=listed,
    ),
    "audit of one request": Parser(
        "history",
        PAGE,
        lambda p: p.fal_account.request(MODEL, ID),
        lambda found, body: (found is not None) == bool(body["items"]),
        fitted=listed,
    ),
    "price": Parser(
        "pricing",
        success(FAL, "pricing"),
        lambda p: p.prices.price(MODEL),
        lambda found, body: not found.problem and (found.price is not None) == bool(body["prices"]),
        fitted=priced,
    ),
    "prices of the audit": Parser(
        "pricing",
        success(FAL, "pricing"),
        lambda p: p.fal_account.prices([MODEL], SENT),
        lambda found, body: found[1].complete and len(found[0]) == len(body["prices"]),
        fitted=priced,
    ),
    "charges": Parser(
        "billingEvents",
        success(FAL, "billingEvents"),
        lambda p: p.billing.charges([unsettled()]),
        lambda found, body: bool(found) == bool(body["billing_events"]),
    ),
    "bills of the audit": Parser(
        "billingEvents",
        success(FAL, "billingEvents"),
        lambda p: p.fal_account.bills(SENT),
        lambda found, body: found[1].complete and bool(found[0]) == bool(body["billing_events"]),
    ),
    "transcription": Parser(
        "create",
        ref("Transcript"),
        lambda p: p.assemblyai.submit(spoken(), sent),
        lambda found, body: found == body["id"],
    ),
    "queued transcript": Parser(
        "get", ref("Transcript"), transcript, state(RequestState.QUEUED), fitted=of_status("queued")
    ),
    "transcript in progress": Parser(
        "get", ref("Transcript"), transcript, state(RequestState.RUNNING), fitted=of_status("processing")
    ),
    "completed transcript": Parser(
        "get", ref("Transcript"), transcript, state(RequestState.SUCCEEDED), fitted=of_status("completed")
    ),
    "failed transcript": Parser(
        "get", ref("Transcript"), transcript, state(RequestState.FAILED), fitted=of_status("error")
    ),
    "search of a transcript": Parser(
        "list",
        ref("TranscriptList"),
        lambda p: p.assemblyai.find(Search(call=spoken(), **SEARCH)),
        lambda found, body: found.complete and found.request_id == (ID if body["transcripts"] else None),
    ),
    "options of a transcript": Parser(
        "get",
        ref("Transcript"),
        lambda p: p.assemblyai.verify(Search(call=spoken(), **SEARCH), ID),
        lambda found, _: found.same is True,
    ),
    "audit of transcripts": Parser(
        "list", ref("TranscriptList"), lambda p: p.speech_account.requests(SENT), lambda found, _: found[1].complete
    ),
}


def _of_parsers() -> Iterator[Any]:
    for name, parser in PARSERS.items():
        facts = FAL if parser.endpoint in FAL.document["endpoints"] else TRANSCRIPTS
        for variant, body in facts.examples(parser.schema):
            yield pytest.param(parser, parser.fitted(body), id=f"{name}, {variant}")


@pytest.mark.parametrize(("parser", "body"), list(_of_parsers()))
async def test_parsers_accept_published_answers(product: Product, parser: Parser, body: Any) -> None:
    product.answer(parser.endpoint, (parser.status, body))
    result = await parser.act(product)
    assert parser.expected(result, body), result


async def price_problem(product: Product) -> None:
    lookup = await product.prices.price(MODEL)
    if lookup.problem:
        raise ProviderError(lookup.problem)


ERRORS: dict[str, Action] = {
    "submit": lambda product: product.fal.submit(CALL, sent),
    "status": poll,
    "result": poll,
    "cancel": lambda product: product.fal.cancel(MODEL, ID),
    "history": lambda product: product.fal.find(Search(call=CALL, **SEARCH)),
    "pricing": price_problem,
    "billingEvents": lambda product: product.billing.charges([unsettled()]),
    "create": lambda product: product.assemblyai.submit(spoken(), sent),
    "list": lambda product: product.assemblyai.find(Search(call=spoken(), **SEARCH)),
    "get": transcript,
}
TOLD = {"result": (400, 404, 422), "cancel": (400, 404), "status": (404,), "pricing": (404,), "get": (400,)}
"""Errors that are an answer about the request and no exception."""


def _of_errors() -> Iterator[Any]:
    for name, act in ERRORS.items():
        facts = FAL if name in FAL.document["endpoints"] else TRANSCRIPTS
        for status, answer in facts.document["endpoints"][name]["responses"].items():
            if int(status) < 400 or not answer:
                continue
            for variant, body in facts.examples(answer["body"]):
                yield pytest.param(name, act, int(status), body, id=f"{name} {status}, {variant}")


@pytest.mark.parametrize(("name", "act", "status", "body"), list(_of_errors()))
async def test_published_errors_are_understood(
    product: Product, name: str, act: Action, status: int, body: Any
) -> None:
    product.answer(name, (status, body))
    if status in TOLD.get(name, ()) or (name == "result" and status >= 499):
        await act(product)
        return
    with pytest.raises(ProviderError):
        await act(product)
