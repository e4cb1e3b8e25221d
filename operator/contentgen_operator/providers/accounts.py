"""Provider accounts of the installation: each has keys, clients, prices and bills of its own.

A request is sent, polled, searched and cancelled with one account, which the ledger names. No call falls back to
another account: that one does not know the request, and its owner would pay.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import NoReturn, TypeVar

from contentgen_contract.resources.providers import PROVIDERS, Providers
from contentgen_operator.providers.base import AccessRefused, KeyRefused, Provider
from contentgen_operator.providers.sending import BeforeSend
from contentgen_operator.state.provider_requests import Call, Found, RequestView, Search, Verified
from contentgen_operator.state.purchases import account_name

T = TypeVar("T")


class ProviderAccounts:
    """Clients by account and provider."""

    def __init__(
        self,
        default: Mapping[str, Provider],
        others: Mapping[str, Mapping[str, Provider]] | None = None,
        table: Providers = PROVIDERS,
    ) -> None:
        """`default` are the default account's clients by provider; `others` those of the named accounts."""
        self.table = table
        self._default = default
        self._others = {
            name: {provider: _OfAccount(name, client) for provider, client in clients.items()}
            for name, clients in (others or {}).items()
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the accounts other than the default one."""
        return tuple(self._others)

    def provider(self, provider: str, account: str | None) -> Provider:
        """Client of a provider for an account; one that refuses each call if the account is not configured. Raises
        KeyError for an unknown provider.
        """
        if account is None:
            return self._default[provider]
        if (clients := self._others.get(account)) is not None:
            return clients[provider]
        return _Missing(provider, account)

    def knows(self, provider: str) -> bool:
        """True if there are clients of this provider."""
        return provider in self._default


class _OfAccount:
    """Client of a named account, whose errors name the account and its Secret."""

    def __init__(self, account: str, client: Provider) -> None:
        self._account = account
        self._client = client

    @property
    def configured(self) -> bool:
        """True if the account has a key."""
        return self._client.configured

    @property
    def key_id(self) -> str | None:
        """See Provider."""
        return self._client.key_id

    async def submit(self, call: Call, before_send: BeforeSend) -> str:
        """See Provider."""
        return await self._named(lambda: self._client.submit(call, before_send))

    async def poll(self, model: str, request_id: str) -> RequestView:
        """See Provider."""
        return await self._named(lambda: self._client.poll(model, request_id))

    async def cancel(self, model: str, request_id: str) -> bool:
        """See Provider."""
        return await self._named(lambda: self._client.cancel(model, request_id))

    async def find(self, search: Search) -> Found:
        """See Provider."""
        return await self._named(lambda: self._client.find(search))

    async def verify(self, search: Search, request_id: str) -> Verified:
        """See Provider."""
        return await self._named(lambda: self._client.verify(search, request_id))

    async def _named(self, request: Callable[[], Awaitable[T]]) -> T:
        try:
            return await request()
        except (KeyRefused, AccessRefused) as error:
            raise error.of_account(self._account) from error


class _Missing:
    """Client of an account that is not configured: nothing is sent or read."""

    configured = False
    key_id = None

    def __init__(self, provider: str, account: str) -> None:
        self._provider = provider
        self._account = account

    async def submit(self, call: Call, before_send: BeforeSend) -> str:  # noqa: ARG002 - the protocol's signature
        """Raises KeyRefused."""
        raise KeyRefused(self._provider, self._text, self._account)

    async def poll(self, model: str, request_id: str) -> RequestView:  # noqa: ARG002 - the protocol's signature
        """Raises AccessRefused."""
        self._refuse()

    async def cancel(self, model: str, request_id: str) -> bool:  # noqa: ARG002 - the protocol's signature
        """Raises AccessRefused."""
        self._refuse()

    async def find(self, search: Search) -> Found:  # noqa: ARG002 - the protocol's signature
        """Raises AccessRefused."""
        self._refuse()

    async def verify(self, search: Search, request_id: str) -> Verified:  # noqa: ARG002 - the protocol's signature
        """Raises AccessRefused."""
        self._refuse()

    @property
    def _text(self) -> str:
        return f"the provider account {account_name(self._account)} is not among providers.accounts"

    def _refuse(self) -> NoReturn:
        raise AccessRefused(self._provider, self._text, self._account)
