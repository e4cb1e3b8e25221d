"""`contentgen namespaces list | map | confirm`: assignment of namespaces to tenants by an administrator.

The commands write to the collections `clusters` and `namespaces` by compare-and-set, as the operator does, and are
idempotent. A binding's history has its former values and who changed them. The document `command` of `clusters` is a
lock: one command runs at a time.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from contentgen_contract.records.ledger import PurchaseState
from contentgen_contract.records.tenancy import UNSCOPED, binding_id, scoped
from contentgen_runtime.clock import Clock, utc_now
from contentgen_runtime.mongo import Document
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

FRESH, UNSCOPED_WORD = "fresh", "unscoped"
_SCOPES = ("scope", "also", "since", "began")
_ALIVE = timedelta(minutes=10)  # since the operator's last round; it has one per minute
_LOCK_LIFETIME = timedelta(minutes=10)  # then the lock of an interrupted command may be taken over
_CONFIRMED_AS = {True: "with purchases of its own", False: "with those of earlier clusters"}
_UNFINISHED = [PurchaseState.INTENT.value, PurchaseState.SUBMITTED.value, PurchaseState.SUCCEEDED.value]


class CommandRefused(ValueError):
    """The command changes nothing; the message says why."""


class TenantAdministration:
    """Changes of clusters and bindings; `by` names the administrator in the history."""

    def __init__(self, database: Database[Document], by: str, clock: Clock = utc_now) -> None:
        self._clock = clock
        self._database = database
        self._clusters, self._bindings = database["clusters"], database["namespaces"]
        self._by = by

    def clusters(self) -> list[Document]:
        """Clusters that have used the ledger, latest first."""
        found = self._clusters.find({"_id": {"$nin": [FIRST, COMMAND]}})
        return sorted(found, key=lambda each: str(each.get("firstSeenAt")), reverse=True)

    def first(self) -> str | None:
        """uid of the cluster that the ledger belongs to; None if it is new."""
        found = self._clusters.find_one({"_id": FIRST}) or {}
        return found.get("cluster")

    def bindings(self) -> Iterable[Document]:
        """Bindings of all clusters."""
        return self._bindings.find().sort("_id", 1)

    def cluster(self, given: str | None) -> str:
        """`given` if it is a known cluster; if None, the only known one. Raises CommandRefused."""
        known = [str(each_cluster["_id"]) for each_cluster in self.clusters()]
        if given is None and len(known) == 1:
            return known[0]
        if given not in known:
            raise CommandRefused(
                f"--cluster must be one of: {', '.join(known) or 'no cluster has used this database yet'}"
            )
        return str(given)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock for the duration of the context. Raises CommandRefused if another command holds it."""
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
            f"another administrator's command is under way{since}: wait for it; the lock of an interrupted one expires "
            f"after {_LOCK_LIFETIME.seconds // 60} minutes"
        )

    def confirm(self, cluster: str, *, earlier: Iterable[str] = (), fresh: bool = False, force: bool = False) -> bool:
        """Let a cluster take over all namespaces of `earlier` clusters (empty: all others), which pay nothing any more.

        `fresh`: the cluster works beside them, with separate purchases and records. False if it is confirmed already.

        Raises CommandRefused if an operator of those clusters was active lately, unless `force`, and if another command
        is under way. Idempotent: the next call completes an interrupted one.
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
        others = [self.cluster(uid) for uid in earlier]
        others = others or [
            str(each_cluster["_id"]) for each_cluster in self.clusters() if each_cluster["_id"] != cluster
        ]
        if not force:
            instead = "--from takes over from others alone, and --fresh lets this cluster work beside them"
            self._refuse_if_alive(others, instead)
        for uid in others:
            self._take_over(uid, cluster)
        others = self._with_taken_over(cluster, others)
        self._reclaim(cluster, others)
        return self._confirm(cluster, {"confirmed": CONFIRMED_ALL, "takesOver": others})

    def _with_taken_over(self, cluster: str, others: list[str]) -> list[str]:
        """The clusters to take over, with those that they have taken over themselves and still have."""
        known, found = self.clusters(), [cluster, *others]
        for each in found:  # grows while iterating
            found += [str(its["_id"]) for its in known if its.get("takenBy") == each and its["_id"] not in found]
        return found[1:]

    def _confirm(self, cluster: str, change: Document) -> bool:
        confirmation = {"by": self._by, "confirmedAt": self._clock(), "takenBy": None}
        return bool(self._clusters.update_one({"_id": cluster}, {"$set": change | confirmation}).modified_count == 1)

    def _refuse_if_bound(self, cluster: str) -> None:
        """Raises CommandRefused for a cluster with bindings, which cannot start with separate purchases."""
        bound = next((binding["_id"] for binding in self._bindings.find() if cluster_of(binding) == cluster), None)
        if bound is not None:
            raise CommandRefused(f"cluster {cluster} has bound {bound} already: map its namespaces one by one")

    def _refuse_if_alive(self, clusters: Iterable[str], instead: str) -> None:
        since = self._clock() - _ALIVE
        for cluster in self._clusters.find(
            {"_id": {"$in": list(clusters)}, "takenBy": None, "seenAt": {"$gte": since}}
        ):
            raise CommandRefused(
                f"the operator of cluster {cluster['_id']} used the database at {cluster['seenAt']:%H:%M:%S} UTC, and "
                f"would no longer pay or adopt anything for them: stop it and wait {_ALIVE.seconds // 60} minutes, or "
                f"give --force; {instead}"
            )

    def _take_over(self, cluster: str, by: str) -> None:
        """Mark the cluster first, then its bindings: a binding created meanwhile sees the takeover."""
        self._clusters.update_one({"_id": cluster}, {"$set": {"takenBy": by}})
        for binding in self._bindings.find({"takenBy": None}):
            if cluster_of(binding) == cluster:
                self._mark(binding, by)

    def _mark(self, binding: Document, taken_by: str) -> None:
        """Mark a binding as taken over, if its scope has not changed."""
        same = {"_id": binding["_id"], "scope": binding["scope"]}
        self._bindings.update_one(same, {"$set": {"takenBy": taken_by}, "$inc": {"revision": 1}})

    def _reclaim(self, cluster: str, others: Iterable[str]) -> None:
        """Rebind namespaces that the others have taken from this cluster, with their present scopes there."""
        for known in list(self._bindings.find({"takenBy": {"$in": list(others)}})):
            if cluster_of(known) != cluster:
                continue
            later = self._latest(cluster, known)
            entry = known | {name: later.get(name) for name in _SCOPES} | {"takenBy": None}
            if not rebind(self._bindings, known, entry, by=self._by, now=self._clock()):
                raise CommandRefused("a binding was changed at the same time: repeat the command")

    def _latest(self, cluster: str, binding: Document) -> Document:
        """The binding of the same name in the cluster that has it after all takeovers."""
        for _ in self.clusters():
            if binding["takenBy"] in (None, cluster):
                break
            binding = self._bindings.find_one({"_id": binding_id(binding["takenBy"], name_of(binding))}) or binding
        return binding

    def map(self, cluster: str, namespace: str, uid: str, to: str, *, force: bool = False) -> bool:
        """Bind a namespace to a scope, which namespaces of its name in other clusters lose. False if bound already.

        Raises CommandRefused if unfinished purchases would lose their resource, unless `force`, and if another command
        is under way.
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
            self._refuse_if_alive(map(cluster_of, holders), f"--to {FRESH} starts with separate purchases")
            if known is not None and known["uid"] == uid and not same:
                self._refuse_if_unfinished(namespace, known["scope"])
        for holder in holders:
            self._mark(holder, cluster)
        if not self._write(where, known, wanted):
            raise CommandRefused("the binding was changed at the same time: check it, and repeat the command")
        return True

    def _scope(self, namespace: str, uid: str, to: str, known: Document | None) -> Document:
        """Scopes of the new binding; it keeps the purchases under the uid's own scope. Raises CommandRefused."""
        own = _own_scope(known, uid) if known is not None else None
        mine = {uid} if own is not None else set[str]()
        if to == uid and own is not None:
            return {name: own.get(name) for name in _SCOPES} | {"also": []}
        if to in (FRESH, uid):
            return {"scope": uid, "also": [], "since": None, "began": self._clock()}
        if to == UNSCOPED_WORD:
            return {"scope": UNSCOPED, "also": sorted(mine), "since": None, "began": None}
        for binding in self._bindings.find():
            found = entry_of(binding, to) if name_of(binding) == namespace else None
            if found is not None:
                since = [binding for binding in (found.get("since"), (own or {}).get("since")) if binding is not None]
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
                f"{count} purchases of {namespace} are unfinished: wait for them, or give --force; they continue under "
                "their present scope"
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
    """The latest entry of a binding or its history in which the uid has its own scope; None if there is none."""
    entries = [*known.get("history", ()), known]
    return next((entry for entry in reversed(entries) if entry["uid"] == entry["scope"] == uid), None)


def scope_of(database: Database[Document], namespace: str) -> str:
    """The scope of a namespace according to its bindings. Raises CommandRefused if clusters have different ones."""
    found = {
        str(each_namespace["scope"])
        for each_namespace in database["namespaces"].find()
        if name_of(each_namespace) == namespace
    }
    if len(found) > 1:
        raise CommandRefused(
            f"the namespace {namespace} is another tenant in each cluster: import through the API of one of them"
        )
    return found.pop() if found else UNSCOPED
