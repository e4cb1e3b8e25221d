"""Fault injection: tests arm faults from a table; each fires on the next `count` occasions."""

import asyncio
import threading
from asyncio import sleep
from typing import Literal

from fastapi import Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field

Stage = Literal["refuse", "reply", "job", "result", "history", "bill", "cancel", "status", "billing"]

#: Where each fault strikes. refuse: instead of accepting a paid POST. reply: after it was accepted and billed.
#: job, result, history, bill, cancel: mark the accepted request for its whole life, one of each.
#: status: one answer to a status call. billing: one answer of fal's billing events.
STAGES: dict[str, Stage] = {
    "refuse_429": "refuse",
    "refuse_503": "refuse",
    "error_500": "refuse",
    "reply_lost": "reply",  # the connection drops without an answer
    "timeout": "reply",  # hangs `delay_s`, then drops
    "slow_accept": "reply",  # answers after `delay_s`
    "model_error": "job",  # ends with the model's own error
    "no_speech": "job",  # AssemblyAI finds no speech, of which it should detect the language
    "stuck": "job",  # never ends
    "slow_model": "job",  # takes `delay_s` longer
    "result_url_dead": "job",  # its result files answer 404
    "result_private": "job",  # its result files redirect to the cloud's metadata address
    "result_html": "job",  # its result files are HTML
    "result_truncated": "job",  # its result files have half of their length
    "result_huge": "job",  # its result files have a Content-Length of a terabyte
    "result_expired": "result",  # fal's queue answers 404, the history still has the result
    "result_deleted": "result",  # fal's queue answers 410, the history still has the result
    "result_moved": "result",  # fal's queue answers 302, the history still has the result
    "history_late": "history",  # is listed `delay_s` after it was accepted
    "history_bare": "history",  # is listed without its input and output
    "history_filled": "history",  # fal lists its input with the model's defaults
    "billed_as": "bill",  # fal bills it under the id of another application
    "billed_late": "bill",  # its row of fal's billing events comes `delay_s` after its end
    "units_zero": "bill",  # fal's header has 0 billable units, the row has the charge
    "discounted": "bill",  # fal charges a tenth less than units times price
    "cancel_ignored": "cancel",  # fal accepts its cancellation, but it completes and is billed
    "locked_account": "status",  # fal's 403 of an account without money
    "slow_status": "status",  # answers after `delay_s`
    "malformed_status": "status",  # answers 200 with something that isn't JSON
    "billing_error": "billing",  # fal's billing events answer 500
}
#: The stages whose faults an accepted request keeps.
KEPT: tuple[Stage, ...] = ("job", "result", "history", "bill", "cancel")
_ERROR_KEYS = {"fal": "detail", "assemblyai": "error"}
LOCKED = "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing."
DEFAULT_DELAY_S = {
    "timeout": 60.0,
    "slow_status": 5.0,
    "slow_accept": 5.0,
    "slow_model": 20.0,
    "history_late": 60.0,
    "billed_late": 60.0,
}


class Fault(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    fault: Literal[
        "refuse_429",
        "refuse_503",
        "error_500",
        "reply_lost",
        "timeout",
        "slow_accept",
        "model_error",
        "no_speech",
        "stuck",
        "slow_model",
        "result_url_dead",
        "result_private",
        "result_html",
        "result_truncated",
        "result_huge",
        "result_expired",
        "result_deleted",
        "result_moved",
        "history_late",
        "history_bare",
        "history_filled",
        "billed_as",
        "billed_late",
        "units_zero",
        "discounted",
        "cancel_ignored",
        "locked_account",
        "slow_status",
        "malformed_status",
        "billing_error",
    ]
    provider: Literal["fal", "assemblyai"] | None = None
    model: str | None = Field(default=None, max_length=200)
    count: int = Field(default=1, ge=1, le=1_000_000)
    delay_s: float | None = Field(default=None, ge=0, le=600)

    @property
    def delay(self) -> float:
        return DEFAULT_DELAY_S.get(self.fault, 0.0) if self.delay_s is None else self.delay_s

    def fits(self, stage: Stage, provider: str, model: str) -> bool:
        return STAGES[self.fault] == stage and self.provider in (None, provider) and self.model in (None, model)


class Faults:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[Fault] = []

    def arm(self, faults: list[Fault]) -> None:
        with self._lock:
            self._armed = list(faults)

    def armed(self) -> list[Fault]:
        with self._lock:
            return list(self._armed)

    def take(self, stage: Stage, provider: str, model: str) -> Fault | None:
        """Consume one occasion of the first matching fault."""
        with self._lock:
            for index, fault in enumerate(self._armed):
                if fault.fits(stage, provider, model):
                    rest = [fault.model_copy(update={"count": fault.count - 1})] if fault.count > 1 else []
                    self._armed[index : index + 1] = rest
                    return fault
            return None


async def refusal(fault: Fault, provider: str) -> Response:
    """Error response instead of acceptance."""
    await sleep(fault.delay)
    if fault.fault == "refuse_503":
        # fal-client retries a 503 only if the ingress sent it, which it recognizes by "nginx" in the body.
        return PlainTextResponse("<html><center>nginx</center></html>", 503, media_type="text/html")
    status, text = (429, "Too many requests") if fault.fault == "refuse_429" else (500, "Internal server error")
    return JSONResponse({_ERROR_KEYS[provider]: text}, status)


async def spoil_reply(fault: Fault, request: Request) -> None:
    """Delay the response, and drop it if the fault requires that."""
    await sleep(fault.delay)
    if fault.fault != "slow_accept":
        await drop(request)


async def drop(request: Request) -> None:
    """Close the connection without another byte, like a network failure."""
    connection(request).abort()
    while (await request.scope["contentgen.receive"]())["type"] != "http.disconnect":
        pass


def connection(request: Request) -> asyncio.Transport:
    """Transport of the request's connection; ASGI can't drop connections or violate HTTP."""
    # uvicorn's `receive` is a method of the object that owns the connection.
    transport: asyncio.Transport = request.scope["contentgen.receive"].__self__.transport
    return transport


async def status_fault(faults: Faults, provider: str, model: str) -> Response | None:
    fault = faults.take("status", provider, model)
    if fault is None:
        return None
    await sleep(fault.delay)
    if fault.fault == "locked_account":
        return JSONResponse({_ERROR_KEYS[provider]: LOCKED}, 403)
    return PlainTextResponse("<html>oops", 200) if fault.fault == "malformed_status" else None
