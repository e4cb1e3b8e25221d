"""The seam to a paid provider, and the verdicts that decide whether money may have been spent.

ProviderError
├── NotAccepted        the provider did not take the request: nothing is paid
│   ├── Refused        and never will as it is (bad input)
│   ├── KeyRefused     and will with another key, or an account in order (401, 402, 403)
│   └── Busy           but may later (429, never connected)
├── MaybeAccepted      the reply was lost: it may be paid, so it must never be sent again
└── Unavailable        a read failed; try again
    └── AccessRefused  because of the key or its account (401, 402, 403): somebody has to act
"""

import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, TypeGuard

from pydantic import ConfigDict

from contentgen_contract.base import Value
from contentgen_operator.providers.answers import ANSWER_BYTES, Answer
from contentgen_operator.providers.keyfile import KeyFile

_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class ProviderError(Exception):
    """Something went wrong with a provider; the message is safe to show (no key, no signed URL)."""


class NotAccepted(ProviderError):
    """The provider did not take the request; nothing is paid."""


class Refused(NotAccepted):
    """The provider will never take this request as it is."""


class KeyRefused(NotAccepted):
    """The provider does not take requests with this key; the message says what to do."""

    def __init__(self, provider: str, text: str) -> None:
        super().__init__(
            f"{text}; it refuses the operator's key or its account: put a valid {provider}-key into the providers' "
            "Secret, or settle the account; nothing was paid, and this goes on by itself"
        )


class Busy(NotAccepted):
    """The provider may take the same request later."""


class MaybeAccepted(ProviderError):
    """The request may have been taken and may be billed: never send it again."""


class Unavailable(ProviderError):
    """A read failed and may succeed later."""


class AccessRefused(Unavailable):
    """A read failed because the provider refuses the key; what was bought is not lost by it."""

    def __init__(self, provider: str, text: str) -> None:
        super().__init__(
            f"{text}; it refuses the operator's key or its account: put a valid {provider}-key into the providers' "
            "Secret, or settle the account; what was bought goes on there, and is fetched then"
        )


REFUSES_KEY = (401, 402, 403)


def needed(key: KeyFile, provider: str, refused: type[KeyRefused | AccessRefused]) -> str:
    """The key as it is now. Raises `refused` where there is none: nothing is sent then."""
    if (found := key.read()) is None:
        raise refused(provider, f"there is no key for {provider}")
    return found


def unreadable(provider: str, text: str, code: int | None = None) -> Unavailable:
    """What a failed read means; `code` is the HTTP status, where there was an answer."""
    return AccessRefused(provider, f"{provider} answered {code}") if code in REFUSES_KEY else Unavailable(text)


class StoredObject(Value):
    """Stands in a call's arguments for a presigned URL of this key; signed at the last moment, never stored."""

    key: str


class Call(Value):
    """A paid call, as decided; `arguments` may hold `StoredObject`s at any depth."""

    provider: str
    model: str
    arguments: dict[str, Any]
    marker: str  # what the provider's history will show again, so that a lost request can be found


class Search(Value):
    """What is known of a request whose reply was lost."""

    call: Call  # with `StoredObject`s in place of signed URLs; the input is compared completely, URLs by their path
    sent_after: datetime
    sent_before: datetime
    claimed: frozenset[str] = frozenset()  # request ids of other purchases


class Found(Value):
    """The result of a search; `complete` is False where pages, or candidates' inputs, could not be read."""

    request_id: str | None
    complete: bool


class RequestState(StrEnum):
    """What the provider says about a request."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class RequestView(Value):
    """One look at a request. One that has succeeded has its `result`, or is too large to be stored."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    state: RequestState
    message: str = ""
    result: Answer | None = None
    too_large: bool = False


TOO_LARGE = RequestView(
    state=RequestState.SUCCEEDED, message=f"its result has more than {ANSWER_BYTES >> 20} MiB", too_large=True
)


class Provider(Protocol):
    """One paid provider."""

    @property
    def configured(self) -> bool:
        """Whether there is a key."""
        ...

    async def submit(self, call: Call, before_send: Callable[[], Awaitable[None]]) -> str:
        """One POST on a new connection; the provider's request id. `before_send` is awaited once the connection is
        open, before the first byte of the request; what it raises stops the request and is raised.
        Raises Refused, Busy or MaybeAccepted.
        """
        ...

    async def poll(self, model: str, request_id: str) -> RequestView:
        """One look at the request, with the result when it is there. Raises Unavailable."""
        ...

    async def cancel(self, model: str, request_id: str) -> bool:
        """Ask for the end of a request; whether the provider says that it has ended without a result.
        Raises Unavailable.
        """
        ...

    async def find(self, search: Search) -> Found:
        """The request in the provider's history. Raises Unavailable."""
        ...


def is_request_id(given: object) -> TypeGuard[str]:
    """Whether a provider's id can stand in a URL's path as one segment: HTTP clients resolve `..`, `?` and `#`."""
    return isinstance(given, str) and _REQUEST_ID.fullmatch(given) is not None


def checked_request_id(given: str) -> str:
    """The id. Raises Unavailable: the ledger holds something else than what a provider gave."""
    if not is_request_id(given):
        raise Unavailable(f"{ascii(given)[:60]} is no id of a request")
    return given


def names_key(url: str, key: str) -> bool:
    """Whether a URL is of this object, however it is signed: its path is the key, or a bucket's name and the key."""
    return f"/{url.split('?', 1)[0].split('://', 1)[-1].partition('/')[2]}".endswith(f"/{key}")


def seed_marker(arguments: dict[str, Any]) -> str:
    """The marker of a call without an input file: its seed and prompt."""
    return f"seed:{arguments.get('seed')} prompt:{arguments.get('prompt')}"
