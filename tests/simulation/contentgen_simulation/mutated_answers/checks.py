"""One mutant through the client that reads it: what it must not do, and what a side field must not change."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import httpx

from contentgen_contract.characters import plain_text
from contentgen_contract.texts import bare_urls
from contentgen_operator.providers.answers import AnswerFile
from contentgen_operator.providers.audited import AssemblyAIAccount, FalAccount
from contentgen_operator.providers.base import (
    Blocked,
    InputUnread,
    KeyRefused,
    MaybeAccepted,
    NotAccepted,
    ProviderError,
    Refused,
    Unavailable,
)
from contentgen_operator.providers.billing import FalBilling
from contentgen_operator.providers.limits import limit_replies_async
from contentgen_operator.providers.pricing import FalPrices
from contentgen_operator.state.provider_requests import Call, Found, RequestState, RequestView, Search, StoredObject
from contentgen_operator.state.purchases import Unsettled
from contentgen_simulation.mutated_answers.mutants import MutatedAnswer, unchanged
from contentgen_simulation.mutated_answers.recorded import (
    ARGUMENTS,
    REQUEST,
    SECRET,
    SENT,
    SOUND,
    TRAINER,
    TRANSCRIBER,
    ZIP,
)
from contentgen_simulation.mutated_answers.wire import (
    TLS,
    URL,
    Key,
    ThreadedAssemblyAI,
    Wire,
    async_transport,
    fal_over,
)

_LONGEST = 2000  # characters of a message
_NAMES_OF = {
    "submit": "submit", "queued": "status", "running": "status", "completed": "status", "failed": "status",
    "unknown": "status", "images": "result", "lora": "result", "cancel": "cancel", "error": "result",
}  # fmt: skip
_BY_STATUS: dict[int, tuple[type[ProviderError], ...]] = {
    403: (Refused, KeyRefused, Blocked),
    422: (Refused, InputUnread),
    400: (Refused, KeyRefused),
}
"""Errors of a refused POST that fields of its body may choose from; other statuses have one each."""


async def _nothing() -> None:
    """Before the request."""


def _call(model: str) -> Call:
    provider = "assemblyai" if model == TRANSCRIBER else "fal"
    return Call(provider=provider, model=model, arguments=dict(ARGUMENTS[model]), correlation_key="m")


def _search(model: str) -> Search:
    inputs = {TRAINER: {"images_data_url": StoredObject(key=ZIP)}, TRANSCRIBER: {"audio_url": StoredObject(key=SOUND)}}
    call = _call(model)
    arguments = call.arguments | inputs.get(model, {})
    return Search(
        call=call.model_copy(update={"arguments": arguments}), sent_after=SENT, sent_before=SENT + timedelta(minutes=1)
    )


class _Clients:
    """Clients of one check, over one wire."""

    def __init__(self, wire: Wire) -> None:
        self.fal, self.assemblyai = fal_over(wire), ThreadedAssemblyAI(wire)
        self.accounts = FalAccount([Key()], [Key()], URL, tls=TLS, transport=async_transport(wire))
        self.transcripts = AssemblyAIAccount([Key()], URL, tls=TLS, transport=async_transport(wire))
        self.billing = FalBilling([Key()], URL, tls=TLS, transport=async_transport(wire))
        self.prices = FalPrices(Key(), URL, tls=TLS)
        self.prices._client = limit_replies_async(httpx.AsyncClient(verify=TLS, transport=async_transport(wire)))

    async def calls(self, mutant: MutatedAnswer) -> list[Awaitable[Any]]:
        """Reads and requests that meet this answer."""
        model, kind = mutant.recorded.model, mutant.name.removeprefix(mutant.recorded.provider).strip()
        client: Any = self.fal if mutant.recorded.provider == "fal" else self.assemblyai
        if "submit" in kind:
            return [client.submit(_call(model), _nothing)]
        if "history" in kind or kind == "list":
            listed = self.accounts.requests([model], SENT) if kind != "list" else self.transcripts.requests(SENT)
            return [client.find(_search(model)), client.verify(_search(model), REQUEST), listed]
        if kind == "pricing":
            return [self.prices.price(model), self.accounts.prices([model], SENT)]
        if kind == "bills":
            given = {"key": "k", "purchase_id": "p", "request_id": REQUEST, "provider": "fal", "model": model}
            asked = Unsettled(**given, created_at=SENT, ended_at=SENT)
            return [self.billing.charges([asked]), self.accounts.bills(SENT)]
        if kind == "cancel":
            return [client.cancel(model, REQUEST)]
        return [client.poll(model, REQUEST)]


def _wire(mutant: MutatedAnswer) -> Wire:
    """Wire on which the mutant is met, beside recorded answers that lead to it."""
    kind = mutant.name.removeprefix(mutant.recorded.provider).strip()
    training = mutant.recorded.model == TRAINER
    names = {
        "history": "fal training history" if training else "fal history",
        "pricing": "fal pricing",
        "bills": "fal bills",
        "list": "assemblyai list",
        "status": "fal completed",
        "result": "fal lora" if training else "fal images",
        "cancel": "fal cancel",
    }
    if mutant.recorded.provider == "assemblyai":
        names["result"] = "assemblyai completed"
    if "submit" in kind:
        names["submit"] = mutant.name
    elif kind == "failed":
        names |= {"status": mutant.name, "result": "fal result 500"}
    elif kind.startswith("result ") or (mutant.recorded.provider == "assemblyai" and kind != "list"):
        names["result"] = mutant.name
    elif kind in _NAMES_OF:
        names[_NAMES_OF[kind]] = mutant.name
    return Wire(mutant, names)


def _told(outcome: Any) -> str:
    """Text of an outcome that people see."""
    match outcome:
        case BaseException():
            return str(outcome)
        case RequestView():
            return outcome.message
        case (_, coverage):
            return str(coverage.problem)
        case _:
            return str(getattr(outcome, "text", "") or getattr(outcome, "problem", ""))


def _meaning(outcome: Any, *contents: bytes) -> Any:
    """Part of an outcome that is the same whatever a side field is."""
    match outcome:
        case ProviderError():
            return type(outcome)
        case RequestView(state=RequestState.SUCCEEDED, result=AnswerFile() as result):
            return RequestState.SUCCEEDED, result.read() in contents
        case RequestView():
            return outcome.state
        case Found():
            return outcome.request_id
        case str() | bool():
            return outcome
        case _:
            return None


async def _outcomes(mutant: MutatedAnswer, wire: Wire) -> list[Any]:
    clients = _Clients(wire)
    return await asyncio.gather(*await clients.calls(mutant), return_exceptions=True)


def _documented(mutant: MutatedAnswer, outcome: Any) -> bool:
    if not isinstance(outcome, BaseException):
        return True
    return isinstance(outcome, NotAccepted | MaybeAccepted if "submit" in mutant.name else Unavailable)


def _judged(mutant: MutatedAnswer, outcomes: list[Any], expected: list[Any], posts: int) -> list[str]:
    wrong = list[str]()
    if posts != ("submit" in mutant.name):
        wrong.append(f"{posts} POSTs")
    for outcome, plain in zip(outcomes, expected, strict=True):
        if not _documented(mutant, outcome):
            wrong.append(f"{type(outcome).__name__}: {ascii(str(outcome))[:200]}")
            continue
        text = _told(outcome)
        if text != plain_text(text) or SECRET in text or bare_urls(text) != text or len(text) > _LONGEST:
            wrong.append(f"a message: {ascii(text)[:200]}")
        if isinstance(outcome, BaseException) and len(text) < len("fal answered 500"):
            wrong.append(f"a message that names nothing: {text}")
        original = unchanged(mutant.name).content
        meaning, same = _meaning(outcome, mutant.content, original), _meaning(plain, original)
        if meaning != same and not _may_differ(mutant, outcome):
            wrong.append(f"{meaning} instead of {same}")
    return wrong


def _may_differ(mutant: MutatedAnswer, outcome: Any) -> bool:
    """True if the change may change what the answer means."""
    status = mutant.recorded.status
    if "submit" in mutant.name and status >= 300:
        return type(outcome) in _BY_STATUS.get(status, ())
    named = b",".join(value for name, value in mutant.headers if name == b"content-encoding")
    if mutant.is_whole or any(each in named for each in (b"gzip", b"br", b"zstd")):
        # A result is taken as it is, if it looks like a JSON object; else it is read again.
        unread, taken = isinstance(outcome, Unavailable | MaybeAccepted), "of it" in mutant.label
        return unread or taken or ("submit" not in mutant.name and mutant.name not in ("fal images", "fal lora"))
    return mutant.touches_needed


async def check(mutant: MutatedAnswer, expected: dict[str, list[Any]]) -> list[str]:
    """What is wrong with the client's handling; empty: nothing. `expected` keeps outcomes of unchanged answers."""
    if mutant.name not in expected:
        plain = unchanged(mutant.name)
        expected[mutant.name] = await _outcomes(plain, _wire(plain))
    wire = _wire(mutant)
    try:
        outcomes = await _outcomes(mutant, wire)
    except Exception as error:  # noqa: BLE001 - the finding
        return [f"{type(error).__name__}: {ascii(str(error))[:200]}"]
    return _judged(mutant, outcomes, expected[mutant.name], wire.posts)
