"""Create-only objects of the tries to send a purchase (`state/sends.py`), beside its marker in the bucket.

They say after a restore of MongoDB whether a purchase that the ledger calls unsent was sent since. None is deleted: a
delayed deletion could hit the object of a later try.
"""

import logging

from pydantic import ValidationError

from contentgen_contract.base import Value
from contentgen_contract.records import keys
from contentgen_operator.state.purchases import PurchaseKey, StoredKey
from contentgen_operator.state.sends import LastSend, Send, SendEnd, SendEnding, last_send
from contentgen_operator.stores.s3 import Storage
from contentgen_runtime.kube import Conflict
from contentgen_runtime.store_errors import STORE_ERRORS

_log = logging.getLogger(__name__)
Key = PurchaseKey | StoredKey


class SendObjects:
    """Objects of the tries of all purchases. Raises STORE_ERRORS."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def last(self, key: Key, known: int) -> LastSend:
        """Highest try from number `known` on; a higher one in the bucket is unknown to the ledger."""
        after = keys.sends_prefix(str(key), known)
        return last_send(await self._storage.evidence_keys(keys.sends_prefix(str(key)), after))

    async def read(self, key: Key, number: int) -> Send | None:
        """Object of a try; None if it is missing or malformed."""
        found = await self._storage.evidence(keys.send_object(str(key), number))
        try:
            return Send.model_validate_json(found) if found is not None else None
        except ValidationError as error:
            _log.error("the object of try %s of %s is malformed: %s", number, key, error.errors()[0]["msg"])
            return None

    async def create(self, key: Key, send: Send) -> None:
        """Create the object without which the try is not sent. Raises Conflict if another process has created it.

        After an error the object is read: a store may have written it although its reply was lost.
        """
        try:
            created = await self._put(keys.send_object(str(key), send.number), send)
        except STORE_ERRORS:
            if await self.read(key, send.number) != send:
                raise
            return
        if not created and await self.read(key, send.number) != send:
            raise Conflict(f"try {send.number} of purchase {key} is another process's, or is closed")

    async def end(self, key: Key, send: Send, ending: SendEnding) -> None:
        """Create the end of a try whose object exists. An error is only logged: the ledger knows the end too."""
        try:
            await self._put(keys.send_end(str(key), send.number), SendEnd(sent_by=send.sent_by, ending=ending))
        except STORE_ERRORS as error:
            _log.warning("the end of try %s (%s) is not in the bucket: %s", send.number, ending, error)

    async def take_back(self, key: Key, send: Send) -> None:
        """End an unsent try, whose object may not exist: then it is closed. Errors as in `end`."""
        try:
            if not await self.close(key, send) and await self.read(key, send.number) == send:
                await self.end(key, send, SendEnding.UNSENT)
        except STORE_ERRORS as error:
            _log.warning("try %s, which was not sent, is not closed in the bucket: %s", send.number, error)

    async def close(self, key: Key, send: Send) -> bool:
        """Create a try's object in the place of its sender, which never sends it then. False if it exists."""
        closed = send.model_copy(update={"closed": True})
        return await self._put(keys.send_object(str(key), send.number), closed)

    async def _put(self, at: str, content: Value) -> bool:
        return await self._storage.put_evidence(at, content.model_dump_json(by_alias=True).encode())
