"""Audit of the installation's provider accounts: the last report, and requests for another one.

A report concerns all tenants, so a caller needs the verb `audit` on the installation's OperatorClass. The operator
audits: the gateway has no key of a provider.
"""

import asyncio
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from pydantic import ValidationError
from pymongo import DESCENDING
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from contentgen_contract.records.audits import AuditReport, AuditRequest, request_id
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.authorization import Authorizer
from contentgen_gateway.problems import Problem
from contentgen_runtime.mongo import Document

T = TypeVar("T", AuditReport, AuditRequest)
_LONGEST_NAME = 253


@dataclass(frozen=True, slots=True)
class AuditReader:
    """The collection `audits`; it writes the one document that requests an audit."""

    authorizer: Authorizer
    audits: Collection[Document]
    operator_class: str

    async def last(self, caller: Caller) -> tuple[AuditReport | None, AuditRequest | None]:
        """Newest report, and the request that is not answered yet. Raises Problem 403."""
        await self._allow(caller)
        return await asyncio.to_thread(self._last)

    def _last(self) -> tuple[AuditReport | None, AuditRequest | None]:
        mine = {"operatorClass": self.operator_class, "finishedAt": {"$exists": True}}
        newest = self.audits.find(mine).sort("finishedAt", DESCENDING).limit(1)
        return next((_read(AuditReport, document) for document in newest), None), self._requested()

    async def request(self, caller: Caller, now: datetime) -> AuditRequest:
        """The request that is not answered yet, a new one if there is none. Raises Problem 403."""
        await self._allow(caller)
        made = AuditRequest(token=secrets.token_hex(16), requested_at=now, requested_by=caller.name[:_LONGEST_NAME])
        return await asyncio.to_thread(self._request, made)

    def _request(self, made: AuditRequest) -> AuditRequest:
        document = made.model_dump(mode="python", by_alias=True)
        try:
            self.audits.insert_one({"_id": request_id(self.operator_class), **document})
        except DuplicateKeyError:
            if (waiting := self._requested()) is not None:
                return waiting
            self.audits.replace_one(
                {"_id": request_id(self.operator_class)}, document, upsert=True
            )  # it was malformed, or answered just now
        return made

    def _requested(self) -> AuditRequest | None:
        found = self.audits.find_one({"_id": request_id(self.operator_class)})
        return _read(AuditRequest, found) if found is not None else None

    async def _allow(self, caller: Caller) -> None:
        if not await self.authorizer.may_audit(caller, self.operator_class):
            raise Problem(403, f"an audit needs the verb audit on the OperatorClass {self.operator_class!r}")


def _read(model: type[T], document: Document) -> T | None:
    try:
        return model.model_validate(document)
    except ValidationError:
        return None
