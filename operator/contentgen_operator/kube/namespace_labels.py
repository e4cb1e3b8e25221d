"""Labels of a namespace, by which it has policies, read from the API server: provider account, approval, budgets."""

from datetime import datetime, timedelta
from typing import Protocol

from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.records.tenancy import Tenant
from contentgen_operator.state.observed import NamespaceLabels
from contentgen_runtime.caches import BoundedDict
from contentgen_runtime.kube import Body, Conflict, explain
from contentgen_runtime.shared_reads import SharedReads

_REMEMBERED = 10_000  # namespaces
_FRESH = timedelta(seconds=15)  # age of labels from which a wait may be decided; a payment reads them again
_FORBIDDEN = 403


class LabelReader(Protocol):
    """Access to namespaces of the API server."""

    async def get_namespace(self, name: str) -> Body | None:
        """Get a namespace; None if it does not exist."""


class NamespaceLabelReader:
    """Reader of the labels of Namespaces."""

    def __init__(self, kube: LabelReader) -> None:
        self._kube = kube
        self._namespaces = SharedReads(self._read)
        # By namespace, with the time.
        self._last: BoundedDict[str, tuple[datetime, NamespaceLabels]] = BoundedDict(_REMEMBERED)

    async def recent(self, namespace: str, tenant: Tenant, now: datetime) -> NamespaceLabels:
        """Labels of a tenant's namespace, up to 15 s old, for the plan of a run; raises as `current`. A plan that
        pays, reserves or ends the run needs `confirm`.
        """
        at, labels = self._last.get(namespace, (now, None))
        if labels is None or not tenant.uid or labels.uid != tenant.uid or not timedelta(0) <= now - at < _FRESH:
            return await self.current(namespace, tenant, now)
        return labels

    async def confirm(self, namespace: str, tenant: Tenant, now: datetime, used: NamespaceLabels) -> None:
        """Read the namespace. Raises Conflict if its labels are not those that a plan was made with (`used`), or as
        `current`.
        """
        if await self.current(namespace, tenant, now) != used:
            raise Conflict(f"the labels of namespace {namespace} were changed")

    async def current(self, namespace: str, tenant: Tenant, now: datetime) -> NamespaceLabels:
        """Labels of a tenant's namespace, read now. Raises Conflict if the namespace is gone, or one of API_ERRORS.
        A namespace that must not be read has a problem.
        """
        try:
            body = await self._namespaces(namespace)
        except ApiException as error:
            if error.status != _FORBIDDEN:
                raise
            return NamespaceLabels(problem=f"the namespace {namespace} cannot be read ({explain(error)})")
        if body is None or (tenant.uid and body["metadata"]["uid"] != tenant.uid):
            # A namespace that was created again is another tenant, and its labels are not this one's.
            self._last.pop(namespace, None)
            raise Conflict(f"namespace {namespace} was deleted")
        labels = NamespaceLabels(uid=body["metadata"]["uid"], labels=dict(body["metadata"].get("labels") or {}))
        self._last[namespace] = now, labels
        return labels

    async def _read(self, namespace: str) -> Body | None:
        return await self._kube.get_namespace(namespace)

    async def last(self, namespace: str, tenant: Tenant, now: datetime) -> NamespaceLabels:
        """Labels that were read last, for estimates."""
        _, labels = self._last.get(namespace, (now, None))
        return labels or await self.current(namespace, tenant, now)
