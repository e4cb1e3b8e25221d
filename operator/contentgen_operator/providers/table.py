"""Clients of the providers by name: with the rows of the contract, all that the operator knows of a provider."""

import ssl
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from contentgen_contract.resources.providers import PROVIDERS, Providers
from contentgen_operator.providers.accounts import ProviderAccounts
from contentgen_operator.providers.assemblyai import AssemblyAI
from contentgen_operator.providers.audited import AccountReader, AssemblyAIAccount, FalAccount
from contentgen_operator.providers.base import Provider
from contentgen_operator.providers.billing import Billing, FalBilling
from contentgen_operator.providers.fal import Fal
from contentgen_operator.providers.keyfile import ProviderKeys, ProviderSettings
from contentgen_operator.providers.pricing import FalPrices, PriceSource
from contentgen_operator.state.purchases import BilledAccount


@dataclass(frozen=True)
class Access:
    """Access to a provider with one account: keys, base URLs by the names of their settings, and the CAs."""

    keys: ProviderKeys
    urls: Mapping[str, str]
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True)
class ProviderClients:
    """Constructors of a provider's clients. None: the provider has no such API."""

    urls: Mapping[str, str]  # its own base URLs by setting, which replaces them
    paid: Callable[[Access], Provider]
    reader: Callable[[Access], AccountReader]
    billing: Callable[[Access], Billing] | None = None
    prices: Callable[[Mapping[str | None, Access]], PriceSource] | None = None  # of all accounts; None: the default one


@dataclass(frozen=True)
class ProviderTable:
    """The providers of an installation; `clients` has each name of `rows`."""

    rows: Providers
    clients: Mapping[str, ProviderClients]


@dataclass(frozen=True)
class InstalledProviders:
    """The providers with this installation's access to each account."""

    table: ProviderTable
    accesses: Mapping[BilledAccount, Access]

    @classmethod
    def of(
        cls,
        table: ProviderTable,
        settings: Mapping[str, ProviderSettings],
        folders: Mapping[str, Path],
        tls: ssl.SSLContext | None,
    ) -> "InstalledProviders":
        """`folders`: key files by the names of the accounts other than the default one."""
        accesses = dict[BilledAccount, Access]()
        for name in table.rows.names:
            urls = {**table.clients[name].urls, **settings[name].urls}
            accesses[BilledAccount(name)] = Access(settings[name].keys, urls, tls)
            for account, folder in folders.items():
                accesses[BilledAccount(name, account)] = Access(ProviderKeys.in_folder(folder, name), urls, tls)
        return cls(table, accesses)

    def paid(self, wrapped: Callable[[str, Provider, str | None], Provider]) -> ProviderAccounts:
        """Clients of all accounts; `wrapped` makes each from a provider's name, its client and the account's name."""
        clients: dict[str | None, dict[str, Provider]] = defaultdict(dict)
        for (name, account), access in self.accesses.items():
            clients[account][name] = wrapped(name, self.table.clients[name].paid(access), account)
        named = {account: of for account, of in clients.items() if account is not None}
        return ProviderAccounts(clients[None], named, self.table.rows)

    def prices(self) -> dict[str, PriceSource]:
        """Readers of the prices of the providers that publish some."""
        accesses: dict[str, dict[str | None, Access]] = defaultdict(dict)
        for (name, account), access in self.accesses.items():
            accesses[name][account] = access
        clients = self.table.clients
        return {name: make(of) for name, of in accesses.items() if (make := clients[name].prices) is not None}

    def billing(self) -> dict[BilledAccount, Billing]:
        """Readers of the charges of all accounts whose provider bills by request."""
        return {
            account: make(access)
            for account, access in self.accesses.items()
            if (make := self.table.clients[account.provider].billing) is not None
        }

    def readers(self) -> dict[str | None, dict[str, AccountReader]]:
        """Readers for the audit, by account and provider."""
        readers: dict[str | None, dict[str, AccountReader]] = defaultdict(dict)
        for (name, account), access in self.accesses.items():
            readers[account][name] = self.table.clients[name].reader(access)
        return readers


def _fal_prices(accounts: Mapping[str | None, Access]) -> FalPrices:
    named = {name: access.keys.paid for name, access in accounts.items() if name is not None}
    default = accounts[None]
    return FalPrices(default.keys.paid, default.urls["api_url"], tls=default.tls, accounts=named)


def _fal_reader(access: Access) -> FalAccount:
    audit, billing, paid = access.keys.audit, access.keys.billing, access.keys.paid
    return FalAccount((audit, paid), (audit, billing, paid), access.urls["api_url"], tls=access.tls)


SHIPPED = ProviderTable(
    PROVIDERS,
    {
        "fal": ProviderClients(
            urls={"queue_url": "https://queue.fal.run", "api_url": "https://api.fal.ai"},
            paid=lambda access: Fal(access.keys.paid, access.urls["queue_url"], access.urls["api_url"], tls=access.tls),
            reader=_fal_reader,
            billing=lambda access: FalBilling(
                (access.keys.billing, access.keys.paid), access.urls["api_url"], tls=access.tls
            ),
            prices=_fal_prices,
        ),
        "assemblyai": ProviderClients(
            urls={"url": "https://api.assemblyai.com"},
            paid=lambda access: AssemblyAI(access.keys.paid, access.urls["url"], tls=access.tls),
            reader=lambda access: AssemblyAIAccount(
                (access.keys.audit, access.keys.paid), access.urls["url"], tls=access.tls
            ),
        ),
    },
)
"""The table of the release; `components` builds all clients from it or from another one."""
