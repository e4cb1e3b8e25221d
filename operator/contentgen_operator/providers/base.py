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
from typing import Protocol

from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.providers.sending import BeforeSend
from contentgen_operator.state.provider_requests import Call, Found, RequestView, Search, Verified, is_request_id

_QUERY = re.compile(r"(?<=[^\s?])\?(?=[^\s'\"<>]*=)[^\s'\"<>]*")  # of a URL, also of one without its scheme


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


def required_key(key: KeyFile, provider: str, refused: type[KeyRefused | AccessRefused]) -> str:
    """The key as it is now. Raises `refused` where there is none that fits into a header: nothing is sent then."""
    if (found := key.read()) is None:
        raise refused(provider, f"there is no key for {provider}")
    if not (found.isascii() and found.isprintable()):
        raise refused(provider, f"the key for {provider} has characters other than printable ASCII")
    return found


def read_error(provider: str, text: str, code: int | None = None) -> Unavailable:
    """What a failed read means; `code` is the HTTP status, where there was an answer."""
    return AccessRefused(provider, f"{provider} answered {code}") if code in REFUSES_KEY else Unavailable(text)


def short_text(error: Exception) -> str:
    """An error's text, or its type's name; URLs are cut before their query, which may be signed."""
    return _QUERY.sub("", str(error) or type(error).__name__)[:300]


class Provider(Protocol):
    """One paid provider."""

    @property
    def configured(self) -> bool:
        """Whether there is a key."""
        ...

    async def submit(self, call: Call, before_send: BeforeSend) -> str:
        """One POST on a new connection; the provider's request id.

        `before_send` is awaited once the connection is open, before the first byte of the request; what it raises
        stops the request and is raised. Raises NotAccepted or MaybeAccepted.
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
        """Search the provider's history once. Raises Unavailable."""
        ...

    async def verify(self, search: Search, request_id: str) -> Verified:
        """Compare one request, by its id, with the input and the time of a search. Raises Unavailable."""
        ...


def checked_request_id(given: str) -> str:
    """The id. Raises Unavailable: the ledger holds something else than what a provider gave."""
    if not is_request_id(given):
        raise Unavailable(f"{ascii(given)[:60]} is no id of a request")
    return given
