"""`contentgen namespaces list | map | confirm`: which tenant a namespace is, decided by an administrator.

The commands write to the collections `clusters` and `namespaces` by compare-and-set, as the operator does; doing one
again changes nothing. What was, and who changed it, stays in a binding's history. One command changes something at a
time: the document `command` of `clusters` is its lock.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from contentgen_contract.records.ledger import PurchaseState
from contentgen_contract.records.tenancy import UNSCOPED, binding_id, scoped
from contentgen_runtime.clock import Clock, utc_now
from contentgen_runtime.tenancy import (
    COMMAND,
    CONFIRMED_ALL,
    CONFIRMED_FRESH,
    FIRST,
    bindings_with_scope,
    cluster_of,
    entry_of,
    name_of,
    rebind,
    under,
)

Document = dict[str, Any]
FRESH, UNSCOPED_WORD = "fresh", "unscoped"
_SCOPES = ("scope", "also", "since", "began")
_ALIVE = timedelta(minutes=10)  # since the operator's last round, of which there is one a minute
_LOCK_LIFETIME = timedelta(minutes=10)  # after which the lock of a command that was interrupted is taken over
_CONFIRMED_AS = {True: "with purchases of its own", False: "with those of the clusters before it"}
_UNFINISHED = [PurchaseState.INTENT.value, PurchaseState.SUBMITTED.value, PurchaseState.SUCCEEDED.value]


class CommandRefused(ValueError):
    """The command changes nothing; the message says why."""


class TenantAdministration:
    """The two collections, for an administrator."""

    def __init__(self, database: Database[Document], by: str, clock: Clock = utc_now) -> None:
        self._clock = clock
        self._database = database
        self._clusters, self._bindings = database["clusters"], database["namespaces"]
        self._by = by

    def clusters(self) -> list[Document]:
        """Clusters that used the ledger, the latest first."""
        found = self._clusters.find({"_id": {"$nin": [FIRST, COMMAND]}})
        return sorted(found, key=lambda each: str(each.get("firstSeenAt")), reverse=True)

    def first(self) -> str | None:
        """The uid of the cluster that the ledger belongs to."""
        found = self._clusters.find_one({"_id": FIRST}) or {}
        return found.get("cluster")

    def bindings(self) -> Iterable[Document]:
        """Bindings of all clusters."""
        return self._bindings.find().sort("_id", 1)

    def cluster(self, given: str | None) -> str:
        """The uid of a cluster; the only one where none is given. Raises CommandRefused."""
        known = [str(each["_id"]) for each in self.clusters()]
        if given is None and len(known) == 1:
            return known[0]
        if given not in known:
            raise CommandRefused(f"--cluster must be one of: {', '.join(known) or 'none has used this database yet'}")
        return str(given)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Exclude other commands meanwhile. Raises CommandRefused where one is under way."""
        lock: Document = {"token": uuid4().hex, "at": self._clock(), "by": self._by}
        abandoned = {"_id": COMMAND, "at": {"$lt": lock["at"] - _LOCK_LIFETIME}}
        try:
            self._clusters.insert_one({"_id": COMMAND, **lock})
        except DuplicateKeyError:
            if self._clusters.update_one(abandoned, {"$set": lock}).modified_count != 1:
                raise CommandRefused(self._under_way()) from None
        try:
            yield
        finally:
            self._clusters.delete_one({"_id": COMMAND, "token": lock["token"]})

    def _under_way(self) -> str:
        other = self._clusters.find_one({"_id": COMMAND})
        since = f" since {other['at']:%H:%M:%S} UTC ({other['by']})" if other else ""
        return (
            f"another administrator's command is under way{since}: wait for it; one that was interrupted gives way "
            f"after {_LOCK_LIFETIME.seconds // 60} minutes"
        )

    def confirm(self, cluster: str, *, earlier: Iterable[str] = (), fresh: bool = False, force: bool = False) -> bool:
        """Let a cluster take over all namespaces of `earlier` ones (empty: all others) by their names, which pay
        nothing any more; `fresh`: let it begin with purchases and records of its own, beside them. False where it was
        confirmed so before.

        Raises CommandRefused if another cluster's operator was active a short while ago, unless `force`, and while
        another command runs. Idempotent: the next call completes an interrupted one.
        """
        with self._locked():
            return self._confirm_locked(cluster, list(earlier), fresh=fresh, force=force)

    def _confirm_locked(self, cluster: str, earlier: list[str], *, fresh: bool, force: bool) -> bool:
        kept, first = self._clusters.find_one({"_id": cluster}) or {}, self.first()
        confirmed = kept.get("confirmed") or (CONFIRMED_ALL if cluster == first else "")
        if confirmed and not kept.get("takenBy"):
            if fresh is not (confirmed == CONFIRMED_FRESH):
                raise CommandRefused(
                    f"cluster {cluster} is confirmed, {_CONFIRMED_AS[not fresh]}: map its namespaces one by one"
                )
            return False
        if fresh:
            self._refuse_if_bound(cluster)
            return self._confirm(cluster, {"confirmed": CONFIRMED_FRESH, "takesOver": []})
        others = [self.cluster(each) for each in earlier]
        others = others or [str(each["_id"]) for each in self.clusters() if each["_id"] != cluster]
        if not force:
            instead = "--from takes over from others alone, and --fresh lets this cluster work beside them"
            self._refuse_if_alive(others, instead)
        for each in others:
            self._take_over(each, cluster)
        others = self._with_taken_over(cluster, others)
        self._reclaim(cluster, others)
        return self._confirm(cluster, {"confirmed": CONFIRMED_ALL, "takesOver": others})

    def _with_taken_over(self, cluster: str, others: list[str]) -> list[str]:
        """Clusters that were taken over, with those that they have taken over themselves and have still."""
        known, found = self.clusters(), [cluster, *others]
        for each in found:  # which grows
            found += [str(its["_id"]) for its in known if its.get("takenBy") == each and its["_id"] not in found]
        return found[1:]

    def _confirm(self, cluster: str, change: Document) -> bool:
        confirmation = {"by": self._by, "confirmedAt": self._clock(), "takenBy": None}
        return bool(self._clusters.update_one({"_id": cluster}, {"$set": change | confirmation}).modified_count == 1)

    def _refuse_if_bound(self, cluster: str) -> None:
        """A cluster that was taken over, or some of whose namespaces were mapped, does not begin anew."""
        bound = next((each["_id"] for each in self._bindings.find() if cluster_of(each) == cluster), None)
        if bound is not None:
            raise CommandRefused(f"cluster {cluster} has bound {bound} already: map its namespaces one by one")

    def _refuse_if_alive(self, clusters: Iterable[str], instead: str) -> None:
        since = self._clock() - _ALIVE
        for each in self._clusters.find({"_id": {"$in": list(clusters)}, "takenBy": None, "seenAt": {"$gte": since}}):
            raise CommandRefused(
                f"the operator of cluster {each['_id']} used the database at {each['seenAt']:%H:%M:%S} UTC, and would "
                f"pay and adopt nothing for them any more: stop it and wait {_ALIVE.seconds // 60} minutes, or give "
                f"--force; {instead}"
            )

    def _take_over(self, cluster: str, by: str) -> None:
        """First the cluster and then its bindings: one that is made meanwhile sees that it was taken over."""
        self._clusters.update_one({"_id": cluster}, {"$set": {"takenBy": by}})
        for each in self._bindings.find({"takenBy": None}):
            if cluster_of(each) == cluster:
                self._mark(each, by)

    def _mark(self, binding: Document, taken_by: str) -> None:
        """Mark a binding as taken over, if it still has the scope."""
        same = {"_id": binding["_id"], "scope": binding["scope"]}
        self._bindings.update_one(same, {"$set": {"takenBy": taken_by}, "$inc": {"revision": 1}})

    def _reclaim(self, cluster: str, others: Iterable[str]) -> None:
        """Rebind the namespaces that others have taken from this cluster, with the scopes that they have there now."""
        for known in list(self._bindings.find({"takenBy": {"$in": list(others)}})):
            if cluster_of(known) != cluster:
                continue
            later = self._latest(cluster, known)
            entry = known | {name: later.get(name) for name in _SCOPES} | {"takenBy": None}
            if not rebind(self._bindings, known, entry, by=self._by, now=self._clock()):
                raise CommandRefused("somebody else has just changed a binding: give the command again")

    def _latest(self, cluster: str, binding: Document) -> Document:
        """The binding of the name in the cluster that has it after all takeovers."""
        for _ in self.clusters():
            if binding["takenBy"] in (None, cluster):
                break
            binding = self._bindings.find_one({"_id": binding_id(binding["takenBy"], name_of(binding))}) or binding
        return binding

    def map(self, cluster: str, namespace: str, uid: str, to: str, *, force: bool = False) -> bool:
        """Bind a namespace to a scope, which those of its name in other clusters lose; False where it is bound so.

        Raises CommandRefused if a resource would lose its purchases, unless `force`, and while another command runs.
        """
        with self._locked():
            return self._map_locked(cluster, namespace, uid, to, force=force)

    def _map_locked(self, cluster: str, namespace: str, uid: str, to: str, *, force: bool) -> bool:
        where = binding_id(cluster, namespace)
        known = self._bindings.find_one({"_id": where})
        wanted: Document = {"uid": uid, "takenBy": None} | self._scope(namespace, uid, to, known)
        same = known is not None and (known["uid"], known["scope"]) == (uid, wanted["scope"])
        if same and not (known or {}).get("takenBy"):
            return False
        holders = bindings_with_scope(self._bindings, self._clusters, cluster, namespace, wanted["scope"])
        if not force:
            self._refuse_if_alive(map(cluster_of, holders), f"--to {FRESH} begins with purchases of its own")
            if known is not None and known["uid"] == uid and not same:
                self._refuse_if_unfinished(namespace, known["scope"])
        for each in holders:
            self._mark(each, cluster)
        if not self._write(where, known, wanted):
            raise CommandRefused("somebody else has just changed the binding: look at it again")
        return True

    def _scope(self, namespace: str, uid: str, to: str, known: Document | None) -> Document:
        """Scopes of the new binding. Purchases of the uid under its own scope remain its own. Raises CommandRefused."""
        own = _own_scope(known, uid) if known is not None else None
        mine = {uid} if own is not None else set[str]()
        if to == uid and own is not None:
            return {name: own.get(name) for name in _SCOPES} | {"also": []}
        if to in (FRESH, uid):
            return {"scope": uid, "also": [], "since": None, "began": self._clock()}
        if to == UNSCOPED_WORD:
            return {"scope": UNSCOPED, "also": sorted(mine), "since": None, "began": None}
        for each in self._bindings.find():
            found = entry_of(each, to) if name_of(each) == namespace else None
            if found is not None:
                since = [each for each in (found.get("since"), (own or {}).get("since")) if each is not None]
                also = sorted(mine.union(found.get("also") or ()) - {found["scope"]})
                entry = {name: found.get(name) for name in _SCOPES}
                return entry | {"also": also, "since": min(since, default=None)}
        raise CommandRefused(
            f"--to {to}: no namespace {namespace} had this uid; give {UNSCOPED_WORD} (the purchases of the first one), "
            f"{FRESH} (nothing earlier), or a uid that `contentgen namespaces list` shows"
        )

    def _refuse_if_unfinished(self, namespace: str, scope: str) -> None:
        count = self._database["ledger"].count_documents(
            under(scoped(namespace, scope)) | {"state": {"$in": _UNFINISHED}}
        )
        if count:
            raise CommandRefused(
                f"{count} purchases of {namespace} are under way: wait for them, or give --force; they go on as they "
                "were begun"
            )

    def _write(self, where: str, known: Document | None, wanted: Document) -> bool:
        if known is not None:
            return rebind(self._bindings, known, wanted, by=self._by, now=self._clock())
        fresh = {"_id": where, **wanted, "boundAt": self._clock(), "by": self._by, "history": [], "revision": 1}
        try:
            self._bindings.insert_one(fresh)
        except DuplicateKeyError:
            return False
        return True


def _own_scope(known: Document, uid: str) -> Document | None:
    """The latest entry of a binding, or of its history, in which a uid has its own scope."""
    entries = [*known.get("history", ()), known]
    return next((each for each in reversed(entries) if each["uid"] == each["scope"] == uid), None)


def scope_of(database: Database[Document], namespace: str) -> str:
    """The scope of a namespace by its bindings alone. Raises CommandRefused where clusters differ in it."""
    found = {str(each["scope"]) for each in database["namespaces"].find() if name_of(each) == namespace}
    if len(found) > 1:
        raise CommandRefused(
            f"clusters have different tenants of the name {namespace}: import over the API of one of them"
        )
    return found.pop() if found else UNSCOPED
