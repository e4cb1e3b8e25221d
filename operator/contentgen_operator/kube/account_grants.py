"""Provider accounts of namespaces, read from the API server."""

from collections import OrderedDict
from collections.abc import Collection
from typing import Protocol

from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.records.tenancy import Tenant
from contentgen_operator.state.policies.provider_accounts import AccountGrant, granted
from contentgen_runtime.kube import Body, Conflict, explain

_REMEMBERED = 10_000  # namespaces
_FORBIDDEN = 403


class LabelReader(Protocol):
    """Access to namespaces of the API server."""

    async def get_namespace(self, name: str) -> Body | None:
        """Get a namespace; None if it does not exist."""


class AccountGrants:
    """Reader of the label on Namespaces; `accounts` are the names of the installation's accounts."""

    def __init__(self, kube: LabelReader, accounts: Collection[str]) -> None:
        self._kube = kube
        self._accounts = accounts
        self._last: OrderedDict[str, AccountGrant] = OrderedDict()  # by namespace

    async def current(self, namespace: str, tenant: Tenant) -> AccountGrant:
        """Account of a tenant, before a payment. Raises Conflict if the namespace is gone, or one of API_ERRORS."""
        try:
            body = await self._kube.get_namespace(namespace)
        except ApiException as error:
            if error.status != _FORBIDDEN:
                raise
            return AccountGrant(
                problem=f"the namespace {namespace} cannot be read ({explain(error)}), so its provider account is "
                "unknown: this release's chart grants get on namespaces; nothing is paid until then"
            )
        if body is None or (tenant.uid and body["metadata"]["uid"] != tenant.uid):
            # A namespace that was created again is another tenant, and its label is no grant to this one.
            raise Conflict(f"namespace {namespace} was deleted")
        found = granted(body, self._accounts)
        self._last[namespace] = found
        self._last.move_to_end(namespace)
        while len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)
        return found

    async def last(self, namespace: str, tenant: Tenant) -> AccountGrant:
        """Account that was read last, for estimates."""
        return self._last.get(namespace) or await self.current(namespace, tenant)
