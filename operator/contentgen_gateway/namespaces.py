"""`contentgen namespaces list | map | confirm`: which tenant a namespace is, decided by an administrator.

The commands write to the collections `clusters` and `namespaces` by compare-and-set, as the operator does; doing one
again changes nothing. What was, and who changed it, stays in a binding's history.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from contentgen_contract.ledger import PurchaseState
from contentgen_contract.tenancy import UNSCOPED, binding_id, scoped
from contentgen_runtime.tenancy import CONFIRMED_ALL, FIRST, entry_of, rebind, under

Document = dict[str, Any]
FRESH, UNSCOPED_WORD = "fresh", "unscoped"
_UNDER_WAY = [PurchaseState.INTENT.value, PurchaseState.SUBMITTED.value, PurchaseState.SUCCEEDED.value]


class Refused(ValueError):
    """The command changes nothing; the message says why."""


class Administration:
    """The two collections, for an administrator."""

    def __init__(self, database: Database[Document], by: str) -> None:
        self._database = database
        self._clusters, self._bindings = database["clusters"], database["namespaces"]
        self._by = by

    def clusters(self) -> list[Document]:
        """Those that used the ledger, the latest first."""
        found = self._clusters.find({"_id": {"$ne": FIRST}})
        return sorted(found, key=lambda each: str(each.get("firstSeenAt")), reverse=True)

    def first(self) -> str | None:
        """The uid of the cluster that the ledger belongs to."""
        found = self._clusters.find_one({"_id": FIRST}) or {}
        return found.get("cluster")

    def bindings(self) -> Iterable[Document]:
        """Those of all clusters."""
        return self._bindings.find().sort("_id", 1)

    def cluster(self, given: str | None) -> str:
        """The uid of a cluster; the only one where none is given. Raises Refused."""
        known = [str(each["_id"]) for each in self.clusters()]
        if given is None and len(known) == 1:
            return known[0]
        if given not in known:
            raise Refused(f"--cluster must be one of: {', '.join(known) or 'none has used this database yet'}")
        return str(given)

    def confirm(self, cluster: str) -> bool:
        """Let a cluster take over all namespaces of the others by their names; False where it was confirmed before."""
        others = [each["_id"] for each in self.clusters() if each["_id"] != cluster]
        change = {"confirmed": CONFIRMED_ALL, "takesOver": others, "by": self._by, "confirmedAt": _now()}
        if cluster == self.first():
            return False
        done = self._clusters.update_one({"_id": cluster, "confirmed": ""}, {"$set": change})
        return bool(done.modified_count == 1)

    def map(self, cluster: str, namespace: str, uid: str, to: str, *, force: bool = False) -> bool:
        """Bind a namespace to a scope; False where it is bound so. Raises Refused."""
        where = binding_id(cluster, namespace)
        wanted = {"uid": uid} | self._scope(namespace, uid, to)
        known = self._bindings.find_one({"_id": where})
        if known is not None and (known["uid"], known["scope"]) == (uid, wanted["scope"]):
            return False
        if known is not None and known["uid"] == uid and not force:
            self._refuse_under_way(namespace, known["scope"])
        if not self._written(where, known, wanted):
            raise Refused("somebody else has just changed the binding: look at it again")
        if known is not None and known["scope"] == known["uid"] == uid:
            self._bring(namespace, uid, wanted["scope"])
        return True

    def _scope(self, namespace: str, uid: str, to: str) -> Document:
        if to == UNSCOPED_WORD:
            return {"scope": UNSCOPED, "since": None, "began": None}
        if to in (FRESH, uid):
            return {"scope": uid, "since": None, "began": _now()}
        for each in self._bindings.find():
            found = entry_of(each, to) if str(each["_id"]).partition("/")[2] == namespace else None
            if found is not None:
                return {name: found.get(name) for name in ("scope", "since", "began")}
        raise Refused(
            f"--to {to}: no namespace {namespace} had this uid; give {UNSCOPED_WORD} (the purchases of the first one), "
            f"{FRESH} (nothing earlier), or a uid that `contentgen namespaces list` shows"
        )

    def _refuse_under_way(self, namespace: str, scope: str) -> None:
        count = self._database["ledger"].count_documents(
            under(scoped(namespace, scope)) | {"state": {"$in": _UNDER_WAY}}
        )
        if count:
            raise Refused(
                f"{count} purchases of {namespace} are under way, and would be left without a resource: wait for them, "
                "or suspend the resources and give --force"
            )

    def _written(self, where: str, known: Document | None, wanted: Document) -> bool:
        if known is not None:
            return rebind(self._bindings, known, wanted, by=self._by, now=_now())
        fresh = {"_id": where, **wanted, "boundAt": _now(), "by": self._by, "history": [], "revision": 1}
        try:
            self._bindings.insert_one(fresh)
        except DuplicateKeyError:
            return False
        return True

    def _bring(self, namespace: str, uid: str, scope: str) -> None:
        """What the namespace has made since it was created again stays visible."""
        mine = {"namespace": namespace, "tenant": uid}
        for name in ("jobs", "ledger", "collections"):
            self._database[name].update_many(mine, {"$set": {"tenant": scope or None}})


def scope_of(database: Database[Document], namespace: str) -> str:
    """The scope of a namespace by its bindings alone. Raises Refused where clusters differ in it."""
    found = {str(each["scope"]) for each in database["namespaces"].find() if str(each["_id"]).endswith(f"/{namespace}")}
    if len(found) > 1:
        raise Refused(f"clusters have different tenants of the name {namespace}: import over the API of one of them")
    return found.pop() if found else UNSCOPED


def _now() -> datetime:
    return datetime.now(UTC)
