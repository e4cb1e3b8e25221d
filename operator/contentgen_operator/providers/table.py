"""Clients of the providers by name: with the rows of the contract, all that the operator knows of a provider."""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from contentgen_contract.resources.providers import PROVIDERS, Providers
from contentgen_operator.providers.assemblyai import AssemblyAI
from contentgen_operator.providers.audited import AccountReader, AssemblyAIAccount, FalAccount
from contentgen_operator.providers.base import Provider
from contentgen_operator.providers.billing import Billing, FalBilling
from contentgen_operator.providers.fal import Fal
from contentgen_operator.providers.keyfile import ProviderKeys
from contentgen_operator.providers.pricing import FalPrices, PriceSource


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
