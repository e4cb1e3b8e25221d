"""Import of the legacy service's records, for callers with the verb `import`."""

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from contentgen_contract import patterns
from contentgen_contract.names import Kind
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.authorization import Authorizer, Verb
from contentgen_gateway.auth.tenants import Tenants
from contentgen_gateway.migration.legacy_import import ImportEntry, LegacyImport
from contentgen_gateway.migration.legacy_record import ImportTarget
from contentgen_gateway.problems import Problem
from contentgen_gateway.stores.files import BucketFiles
from contentgen_gateway.stores.records import Records


@dataclass(frozen=True, slots=True)
class LegacyImporter:
    """Import of legacy documents for a caller. Files are not copied: they are in the gateway's bucket already."""

    authorizer: Authorizer
    records: Records
    files: BucketFiles
    tenants: Tenants

    async def run(
        self, caller: Caller, namespace: str, bucket: str | None, jobs: list[dict[str, Any]]
    ) -> list[ImportEntry]:
        """Import documents into a namespace; idempotent. `bucket` is the one in their addresses, None the gateway's.

        Raises Problem 403.
        """
        may = await self.authorizer.which(caller, Verb.IMPORT, [namespace])
        if may.get(namespace) != frozenset(Kind):
            kinds = ", ".join(kind.plural for kind in Kind)
            raise Problem(403, f"to import into namespace {namespace!r} you need the verb import on {kinds} there")
        users = await self._users(caller, namespace, (job.get("userId") for job in jobs))
        work = LegacyImport(
            jobs=self.records.collection,
            ledger=self.records.collection.database["ledger"],
            target=await self._target(namespace, bucket),
            sizes=self.files.sizes_now,
            by=caller.name,
            may_name=users.__contains__,
        )
        return await asyncio.to_thread(work.run, jobs)

    async def _users(self, caller: Caller, namespace: str, given: Iterable[object]) -> frozenset[str]:
        """Valid user ids that the caller may name in the namespace."""
        users = sorted({user for user in given if isinstance(user, str) and re.fullmatch(patterns.USER_ID, user)})
        may = await asyncio.gather(*(self.authorizer.may_name(caller, user, namespace) for user in users))
        return frozenset(user for user, allowed in zip(users, may, strict=True) if allowed)

    async def _target(self, namespace: str, bucket: str | None) -> ImportTarget:
        return ImportTarget(
            namespace=namespace,
            bucket=bucket or self.files.bucket,
            key_of=self.files.key_of,
            address=self.files.address,
            tenant=(await self.tenants.of(namespace)).scope or None,
        )
