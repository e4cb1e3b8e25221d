"""Display of a settled charge: finds the resource of the purchase and wakes it."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pydantic import ValidationError

from contentgen_contract.names import Kind
from contentgen_operator.kube.api import Kube
from contentgen_operator.kube.selection import DEFAULT, Selection
from contentgen_operator.state.observed import ResourceRef, is_finished
from contentgen_operator.state.purchases import Unsettled
from contentgen_runtime.kube import API_ERRORS, explain

_log = logging.getLogger(__name__)
_KINDS = {kind.record_type: kind for kind in Kind}


@dataclass(frozen=True)
class ChargeDisplay:
    """Wakes the owner of a purchase if its run is over: a running one reads the ledger anyway.

    Best effort: the ledger has the charge, and a resource that is deleted or not watched any more must not be retried
    forever.
    """

    kube: Kube
    wake: Callable[[ResourceRef], Awaitable[None]]
    selection: Selection = DEFAULT

    async def show(self, purchase: Unsettled) -> None:
        """Wake the owner. Raises none of API_ERRORS."""
        ref = owner_of(purchase)
        if ref is None:
            return
        try:
            body = await self.kube.get_resource(ref.kind, ref.namespace, ref.name)
        except API_ERRORS as error:
            _log.info("the charge of a purchase is not displayed: %s", explain(error), extra=ref.about)
            return
        if body is None or body["metadata"]["uid"] != ref.uid or not self.selection.serves(body):
            return
        if is_finished(body):
            await self.wake(ref)


def owner_of(purchase: Unsettled) -> ResourceRef | None:
    """Resource that owns a purchase; None if the document does not identify it."""
    parts = purchase.key.split("/")
    kind = _KINDS.get(purchase.type)
    if kind is None or len(parts) < 3 or not purchase.job_id:
        return None
    try:
        return ResourceRef(kind=kind, namespace=purchase.namespace, name=parts[2], uid=purchase.job_id)
    except ValidationError:
        return None
