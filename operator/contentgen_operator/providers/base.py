"""Protocol of a paid provider, and errors that say whether money may have been spent.

ProviderError
├── NotAccepted        the provider did not accept the request: nothing is paid
│   ├── Refused        and never will as it is (bad input)
│   ├── KeyRefused     and will with another key, or an account in order (401, 402, a 403 about them)
│   ├── Busy           but may later (425, 429, never connected)
│   └── Blocked        but may later, for a cause that is neither in the request nor in the account (other 403)
│       └── InputUnread  the provider could not fetch a file of ours
├── MaybeAccepted      the reply was lost: it may be paid, so it must never be sent again
└── Unavailable        a read failed; try again
    └── AccessRefused  because of the key or its account (401, 402, 403): somebody has to act
"""

import hmac
from typing import Protocol, Self, TypeGuard

from contentgen_contract.texts import foreign_text
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.providers.sending import BeforeSend
from contentgen_operator.state.provider_requests import Call, Found, RequestView, Search, Verified, is_request_id

_LONGEST_CURSOR = 4096


class ProviderError(Exception):
    """Error of a provider; its message has no key and no signed URL."""

    retry_after: float | None = None  # seconds that the provider asks to wait

    def after(self, seconds: float | None) -> Self:
        """This error with the provider's Retry-After."""
        self.retry_after = seconds
        return self


class NotAccepted(ProviderError):
    """The provider did not accept the request; nothing is paid."""


class Refused(NotAccepted):
    """The provider never accepts this request as it is."""


class KeyRefused(NotAccepted):
    """The provider accepts no requests with this key; the message says what to do."""

    def __init__(self, provider: str, text: str, account: str | None = None) -> None:
        super().__init__(
            f"{text}; {_advice(provider, account)}; nothing was paid for this request, and it goes on by itself"
        )
        self._about = provider, text

    def of_account(self, account: str) -> "KeyRefused":
        """The same error of a named provider account."""
        return KeyRefused(*self._about, account)


class Busy(NotAccepted):
    """The provider may accept the same request later."""


class Blocked(NotAccepted):
    """The provider does not accept the request, for a cause that is neither in the request nor in the account: it is
    tried again, with pauses of up to an hour.
    """

    advice = (
        "the answer names neither the input nor the account: a proxy, a firewall or the provider may block the operator"
    )

    def __init__(self, text: str) -> None:
        super().__init__(f"{text}; {self.advice}; nothing was paid for this request, and it is tried again by itself")


class InputUnread(Blocked):
    """The provider could not fetch a file of the request that the operator has signed for it."""

    advice = "it could not fetch a file from the operator's bucket"


class MaybeAccepted(ProviderError):
    """The request may be accepted and billed: never send it again."""


class Unavailable(ProviderError):
    """A read failed and may succeed later."""


class AccessRefused(Unavailable):
    """A read failed because the provider refuses the key; paid requests go on."""

    def __init__(self, provider: str, text: str, account: str | None = None) -> None:
        super().__init__(
            f"{text}; {_advice(provider, account)}; paid requests continue there, and their results are fetched later"
        )
        self._about = provider, text

    def of_account(self, account: str) -> "AccessRefused":
        """The same error of a named provider account."""
        return AccessRefused(*self._about, account)


def _advice(provider: str, account: str | None) -> str:
    if account is None:
        return (
            f"it refuses the operator's key or its account: put a valid {provider}-key of the same account there into "
            "the providers' Secret, or pay the account's bill"
        )
    return (
        f"the request belongs to the provider account {account}, and no other account is used for it: a platform "
        f"administrator puts a valid {provider}-key of the same account there into the Secret of "
        f"providers.accounts.{account} in the chart's values, or pays the account's bill"
    )


REFUSES_KEY = (401, 402, 403)


def key_id(key: KeyFile, provider: str) -> str | None:
    """Short fingerprint of a provider's current key, by which two keys are told apart; None: there is no key."""
    if (found := key.read()) is None:
        return None
    return hmac.digest(b"contentgen key id", f"{provider} {found}".encode(errors="replace"), "sha256").hex()[:16]


def required_key(key: KeyFile, provider: str, refused: type[KeyRefused | AccessRefused]) -> str:
    """Current key of a provider. Raises `refused` if it is missing or invalid in a header; nothing is sent then."""
    if (found := key.read()) is None:
        raise refused(provider, f"there is no key for {provider}")
    if not (found.isascii() and found.isprintable()):
        raise refused(provider, f"the key for {provider} has characters other than printable ASCII")
    return found


def read_error(provider: str, text: str, code: int | None = None) -> Unavailable:
    """Error for a failed read; `code` is the HTTP status, None without an answer."""
    return AccessRefused(provider, f"{provider} answered {code}") if code in REFUSES_KEY else Unavailable(text)


def short_text(error: Exception) -> str:
    """An error's text of at most 300 characters, or its type's name, plain and with bare URLs."""
    return foreign_text(str(error) or type(error).__name__, 300)


def is_cursor(given: object) -> TypeGuard[str]:
    """True if a list's cursor can be sent back."""
    return isinstance(given, str) and given.isascii() and given.isprintable() and 0 < len(given) <= _LONGEST_CURSOR


def endpoint_failure(error: ProviderError) -> str:
    """Failure of the endpoint that an error of a paid request means; empty: only this request is refused or waits.

    It repeats no text of the provider, because runs of other tenants show it.
    """
    match error:
        case Refused():
            return ""
        case Blocked():  # counted by namespace (`PaymentQueue.note_block`)
            return ""
        case KeyRefused():
            return "the provider refuses the operator's key or account"
        case Busy() if error.retry_after is not None:
            return "the provider has asked to wait (Retry-After)"
        case Busy():
            return "the provider was busy or could not be reached"
        case _:
            return "the replies to paid requests were lost or were server errors"


class Provider(Protocol):
    """Paid provider."""

    @property
    def configured(self) -> bool:
        """True if there is a key."""
        ...

    @property
    def key_id(self) -> str | None:
        """Fingerprint of the current key; None: there is no key."""
        ...

    async def submit(self, call: Call, before_send: BeforeSend) -> str:
        """Request id of one POST on a new connection. Raises NotAccepted or MaybeAccepted.

        `before_send` is awaited once the connection is open, before the first byte of the request; its exception
        stops the request and is raised.
        """
        ...

    async def poll(self, model: str, request_id: str) -> RequestView:
        """State of a request, with its result once it has succeeded. Raises Unavailable."""
        ...

    async def cancel(self, model: str, request_id: str) -> bool:
        """Cancel a request; True if the provider says that it has ended without a result. Raises Unavailable."""
        ...

    async def find(self, search: Search) -> Found:
        """One search of the provider's history. Raises Unavailable."""
        ...

    async def verify(self, search: Search, request_id: str) -> Verified:
        """Comparison of one request, by its id, with a search's input and time. Raises Unavailable."""
        ...


def checked_request_id(given: str) -> str:
    """The id, if it is safe in a URL. Raises Unavailable, as the ledger holds an id that no provider gave."""
    if not is_request_id(given):
        raise Unavailable(f"{ascii(given)[:60]} is not a request id")
    return given
