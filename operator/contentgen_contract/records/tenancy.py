"""The tenant: a namespace of a cluster with its uid, and the scope of its purchases and records. Pure.

The scope is a part of buying keys and a field of records. It is empty for the first namespace of a name, whose keys are
those of older releases, and the uid of a namespace that was deleted and created again.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from contentgen_contract.base import Value

UNSCOPED = ""


class NamespaceIdentity(Value):
    """A namespace as the API server gives it."""

    uid: str
    created_at: datetime

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Self:
        """From the JSON object."""
        meta = body["metadata"]
        return cls(uid=meta["uid"], created_at=meta["creationTimestamp"])


class Tenant(Value):
    """A namespace with its uid in a cluster, and the scopes of its purchases and records."""

    cluster: str = ""  # the uid of its namespace kube-system
    uid: str = ""  # the namespace's
    scope: str = UNSCOPED
    also: tuple[str, ...] = ()  # scopes whose documents are this tenant's as well: its own from before a mapping
    since: datetime | None = None  # documents without a scope, made from then on, are this tenant's as well
    began: datetime | None = None  # when a namespace without a predecessor's documents was created
    held: str = ""  # why nothing may be paid or adopted; empty: it may

    @property
    def scopes(self) -> tuple[str, ...]:
        """All of its scopes; it buys under the first."""
        return self.scope, *self.also

    @property
    def bought_scopes(self) -> frozenset[str]:
        """The scopes of all purchases that are this tenant's."""
        return frozenset(self.scopes if self.since is None else (*self.scopes, UNSCOPED))

    def filter(self, namespace: str) -> dict[str, Any]:
        """The MongoDB filter of this tenant's documents: records, purchases, passages, collections."""
        stored = [each or None for each in self.scopes]
        mine = {"namespace": namespace, "tenant": {"$in": stored} if self.also else stored[0]}
        if self.since is None or None in stored:
            return mine
        unscoped = {"namespace": namespace, "tenant": None}
        return {"$or": [mine, unscoped | {"createdAt": {"$gte": self.since}}]}

    def has_bought(self, scope: str, created_at: datetime) -> bool:
        """Whether a purchase of the namespace's name is this tenant's, by the scope of its key and its time."""
        return scope in self.scopes or (not scope and self.since is not None and created_at >= self.since)

    def holds(self, document: Mapping[str, Any]) -> bool:
        """Whether a document of the namespace's name is this tenant's."""
        scope = document.get("tenant") or UNSCOPED
        made = document.get("createdAt")
        return scope in self.scopes or (isinstance(made, datetime) and self.has_bought(scope, made))

    def began_before(self, time: datetime) -> bool:
        """Whether something granted to the namespace's name at this time was granted to this tenant."""
        return self.began is None or time >= self.began


def scoped(namespace: object, scope: str | None) -> str:
    """The namespace's part of a buying key; "@" cannot be in the name of a namespace."""
    return f"{namespace}@{scope}" if scope else str(namespace)


def unscoped(place: str) -> tuple[str, str]:
    """The namespace and the scope of the first part of a buying key."""
    namespace, _, scope = place.partition("@")
    return namespace, scope


def binding_id(cluster: str, namespace: str) -> str:
    """The id of a document of the collection `namespaces`."""
    return f"{cluster}/{namespace}"
