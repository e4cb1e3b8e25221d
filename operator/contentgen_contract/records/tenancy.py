"""Tenants: a namespace of a cluster with its UID, and the scope of its purchases and records. Pure.

The scope is part of buying keys and a field of records. It is empty for the first namespace of a name, and the UID
for a namespace that was deleted and created again.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from contentgen_contract.base import Value

UNSCOPED = ""


class NamespaceIdentity(Value):
    """UID and creation time of a namespace."""

    uid: str
    created_at: datetime

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Self:
        """From the API server's JSON object."""
        meta = body["metadata"]
        return cls(uid=meta["uid"], created_at=meta["creationTimestamp"])


class Tenant(Value):
    """A namespace with its UID, and the scopes of its purchases and records."""

    cluster: str = ""  # the UID of its namespace kube-system
    uid: str = ""  # the namespace's
    scope: str = UNSCOPED
    other_scopes: tuple[str, ...] = ()  # further scopes of this tenant's documents: its own from before a mapping
    since: datetime | None = None  # documents without a scope created from then on are this tenant's too
    began: datetime | None = None  # creation time of a namespace without access to a predecessor's documents
    block_reason: str = ""  # why payments and adoptions are blocked; empty: allowed

    @property
    def scopes(self) -> tuple[str, ...]:
        """All scopes; new purchases get the first."""
        return self.scope, *self.other_scopes

    @property
    def bought_scopes(self) -> frozenset[str]:
        """Scopes of all purchases of this tenant."""
        return frozenset(self.scopes if self.since is None else (*self.scopes, UNSCOPED))

    def filter(self, namespace: str) -> dict[str, Any]:
        """MongoDB filter of this tenant's documents: records, purchases, passages, collections."""
        stored = [scope or None for scope in self.scopes]
        mine = {"namespace": namespace, "tenant": {"$in": stored} if self.other_scopes else stored[0]}
        if self.since is None or None in stored:
            return mine
        unscoped = {"namespace": namespace, "tenant": None}
        return {"$or": [mine, unscoped | {"createdAt": {"$gte": self.since}}]}

    def has_bought(self, scope: str, created_at: datetime) -> bool:
        """True if a purchase under the namespace's name belongs to this tenant, by its scope and creation time."""
        return scope in self.scopes or (not scope and self.since is not None and created_at >= self.since)

    def owns(self, document: Mapping[str, Any]) -> bool:
        """True if a document under the namespace's name belongs to this tenant."""
        scope = document.get("tenant") or UNSCOPED
        made = document.get("createdAt")
        return scope in self.scopes or (isinstance(made, datetime) and self.has_bought(scope, made))

    def existed_at(self, time: datetime) -> bool:
        """True if a grant to the namespace's name at this time was made to this tenant."""
        return self.began is None or time >= self.began


def scoped(namespace: object, scope: str | None) -> str:
    """Namespace part of a buying key; namespace names contain no "@"."""
    return f"{namespace}@{scope}" if scope else str(namespace)


def unscoped(place: str) -> tuple[str, str]:
    """Namespace and scope from the first part of a buying key."""
    namespace, _, scope = place.partition("@")
    return namespace, scope


def binding_id(cluster: str, namespace: str) -> str:
    """`_id` of a document in the collection `namespaces`."""
    return f"{cluster}/{namespace}"
