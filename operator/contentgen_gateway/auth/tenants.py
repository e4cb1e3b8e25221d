"""Current tenant of each namespace: decides which records, purchases and shares of that name belong to it."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from contentgen_contract.api_paths import InvalidName
from contentgen_contract.records.tenancy import Tenant
from contentgen_gateway.problems import Problem
from contentgen_gateway.stores.queries import EVERYWHERE
from contentgen_runtime.caches import TtlCache
from contentgen_runtime.kube import Conflict
from contentgen_runtime.tenancy import NamespaceGone, Tenancy

REMEMBERED_SECONDS = 5.0
_REMEMBERED = 10_000
_AT_ONCE = 16
_A_TURN = 100  # tenants that one turn of the event loop takes from the cache


class Tenants:
    """Tenants by namespace, cached for 5 s: after that a re-created namespace no longer shows earlier data."""

    def __init__(self, tenancy: Tenancy, clock: Callable[[], float] = time.monotonic) -> None:
        self._tenancy = tenancy
        self._known = TtlCache[str, Tenant](REMEMBERED_SECONDS, _REMEMBERED, clock)
        self._asking = asyncio.Semaphore(_AT_ONCE)

    async def of(self, namespace: str) -> Tenant:
        """Tenant of a namespace; of a deleted namespace, its last one.

        Raises Problem 503, one of API_ERRORS, or PyMongoError.
        """
        if (known := self._known.get(namespace)) is not None:
            return known
        async with self._asking:
            asked_at = self._known.now()
            tenant = await self._now(namespace)
        self._known.put(namespace, tenant, asked_at)
        return tenant

    async def _now(self, namespace: str) -> Tenant:
        try:
            tenant = await self._tenancy.of(namespace)
        except (NamespaceGone, InvalidName):
            return await self._tenancy.last(namespace)
        except Conflict as error:
            raise Problem(503, str(error)) from error
        if not tenant.uid:  # the owner of its records is unknown
            raise Problem(503, tenant.block_reason)
        return tenant

    async def of_all(self, namespaces: Iterable[str]) -> dict[str, Tenant]:
        """Tenants by namespace, without EVERYWHERE."""
        names = sorted(set(namespaces) - {EVERYWHERE})
        found: dict[str, Tenant] = {}
        for start in range(0, len(names), _A_TURN):
            some = names[start : start + _A_TURN]
            found |= zip(some, await asyncio.gather(*map(self.of, some)), strict=True)
        return found

    async def authority(self, record: Mapping[str, Any]) -> str:
        """Namespace in which a caller needs the right to a record.

        It is the record's own, or all namespaces for a record of an earlier namespace of that name.
        """
        namespace = str(record.get("namespace") or "default")
        return namespace if (await self.of(namespace)).owns(record) else EVERYWHERE
