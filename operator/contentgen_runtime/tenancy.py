"""Collections `clusters` and `namespaces`: tenant of a namespace, by its uid and its cluster's.

`clusters`: the document `first` names the cluster that the ledger belongs to (`cluster`: null if an unnamed earlier one
used it); each other document is a cluster, `_id` = uid of its namespace kube-system, with `confirmed` (by an
administrator), `takenBy` (cluster that has taken over its namespaces) and `seenAt` (by its operator, each minute);
`command` exists while an administrator's command runs. `namespaces`: `_id` = cluster/name, with the current uid of the
name, its scope, and its earlier uids (`history`). Every change is a compare-and-set on `revision`. The scope of a uid
never changes by itself and belongs to one namespace: `takenBy` is the cluster whose namespace of that name has it
instead.
"""

import asyncio
import logging
from datetime import datetime
from typing import Any, Protocol

from kubernetes.aio.client.exceptions import ApiException
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from contentgen_contract.base import Value
from contentgen_contract.records.tenancy import UNSCOPED, NamespaceIdentity, Tenant, binding_id, scoped
from contentgen_runtime.caches import BoundedDict
from contentgen_runtime.clock import Clock, utc_now
from contentgen_runtime.kube import Body, Conflict, explain
from contentgen_runtime.mongo import Document
from contentgen_runtime.shared_reads import SharedReads

SYSTEM = "kube-system"
CONFIRMED_ALL, CONFIRMED_FRESH = "confirmed-all", "confirmed-fresh"
FIRST = "first"
COMMAND = "command"  # in `clusters` while an administrator's command runs
_TRIES = 5
_REMEMBERED = 20_000  # resources
_FORBIDDEN = 403
# Fields of a binding for a uid.
_ENTRY = ("uid", "scope", "also", "since", "began", "takenBy")
_log = logging.getLogger(__name__)


class NamespaceGone(Conflict):
    """The namespace of a resource does not exist any more, so neither does the resource."""


class Followed(Value):
    """Purchases without a resource that a cluster follows, by the cluster and namespace of the purchase."""

    clusters: frozenset[str] = frozenset()
    taken: frozenset[tuple[str | None, str]] = frozenset()  # clusters and namespaces that it has taken over
    lost: frozenset[str] = frozenset()  # its namespaces that another cluster has taken over
    elsewhere: frozenset[tuple[str | None, str]] = frozenset()  # clusters and namespaces of another cluster now

    def includes(self, cluster: str | None, namespace: str) -> bool:
        """True if purchases of a namespace of a cluster are followed."""
        if (cluster, namespace) in self.elsewhere:
            return False
        return (cluster, namespace) in self.taken or (cluster in self.clusters and namespace not in self.lost)


class NamespaceReader(Protocol):
    """Access to namespaces of the API server."""

    async def get_namespace(self, name: str) -> Body | None:
        """Get a namespace; None if it does not exist."""


class Tenancy:
    """Binds each namespace to a tenant at its first use; safe in several processes at once."""

    def __init__(self, kube: NamespaceReader, database: Database[Document], clock: Clock = utc_now) -> None:
        self._kube = kube
        self._clock = clock
        self._ledger, self._jobs = database["ledger"], database["jobs"]
        self._clusters, self._bindings = database["clusters"], database["namespaces"]
        self._cluster: NamespaceIdentity | None = None
        # Of the namespace, by the uid of a resource in it.
        self._uids: BoundedDict[str, str] = BoundedDict(_REMEMBERED)
        self._current: SharedReads[str, Tenant] = SharedReads(self._allowed)
        self._bound: SharedReads[tuple[str, str, str], Tenant | None] = SharedReads(self._tenant_of)
        self._warned: set[str] = set()

    async def of_resource(self, namespace: str, resource_uid: str) -> Tenant:
        """Tenant of a resource. Raises NamespaceGone, PyMongoError, or one of API_ERRORS.

        The namespace is read once, after the resource: a resource never moves to another namespace, so the namespace's
        uid stays valid.
        """
        uid = self._uids.get(resource_uid)
        if uid is not None and self._cluster is not None:
            bound = await self._bound((self._cluster.uid, namespace, uid))
            if bound is not None:
                return bound
        tenant = await self.of(namespace)
        if tenant.uid:
            self._uids[resource_uid] = tenant.uid
        return tenant

    async def of(self, namespace: str) -> Tenant:
        """Current tenant of a namespace. Concurrent callers share the next read.

        Raises NamespaceGone, PyMongoError, or one of API_ERRORS.
        """
        return await self._current(namespace)

    async def last(self, namespace: str) -> Tenant:
        """Last tenant of a deleted namespace. Raises PyMongoError, or one of API_ERRORS."""
        cluster = await self._current_cluster()
        known = await asyncio.to_thread(self._bindings.find_one, {"_id": binding_id(cluster.uid, namespace)})
        return _tenant(cluster.uid, namespace, known) if known else Tenant(cluster=cluster.uid)

    async def followed(self) -> "Followed":
        """Purchases without a resource that this cluster follows. Writes `seenAt`.

        Raises PyMongoError, Conflict, or one of API_ERRORS.
        """
        cluster = await self._current_cluster()
        return await asyncio.to_thread(self._followed, cluster)

    def _followed(self, cluster: NamespaceIdentity) -> "Followed":
        confirmed, kept = self._confirmed(cluster), self._mark_seen(cluster)
        bound = {(cluster_of(binding), name_of(binding)): binding.get("takenBy") for binding in self._bindings.find()}
        known = {each_cluster["_id"]: each_cluster.get("takenBy") for each_cluster in self._clusters.find()}
        holders = {scope: _holder(*scope, bound, known) for scope in bound}
        taken = frozenset(scope for scope, holder in holders.items() if holder == cluster.uid)
        if kept.get("takenBy"):
            return Followed(taken=taken)  # what an administrator has mapped back
        return Followed(
            clusters=self._own_clusters(cluster, confirmed),
            taken=taken,
            lost=frozenset(name for its, name in bound if its == cluster.uid and (its, name) not in taken),
            elsewhere=frozenset(scope for scope in bound if scope[0] != cluster.uid and scope not in taken),
        )

    def _own_clusters(self, cluster: NamespaceIdentity, confirmed: Document | None) -> frozenset[str]:
        if confirmed is None or confirmed.get("confirmed") == CONFIRMED_FRESH:
            return frozenset({cluster.uid})
        return frozenset({cluster.uid, *(confirmed.get("takesOver") or ())})

    def _mark_seen(self, cluster: NamespaceIdentity) -> Document:
        """Document of the cluster, with `seenAt` updated."""
        now = {"$set": {"seenAt": self._clock()}}
        found = self._clusters.find_one_and_update({"_id": cluster.uid}, now)
        return found or {}

    async def _allowed(self, namespace: str) -> Tenant:
        try:
            return await self._look(namespace)
        except ApiException as error:
            if error.status != _FORBIDDEN:
                raise
            held = (
                f"the namespaces {SYSTEM} and {namespace} cannot be read ({explain(error)}), so nothing is paid or "
                "adopted: this release's chart grants get on namespaces"
            )
            self._warn_once("rights", held)
            return Tenant(block_reason=held)

    async def _look(self, namespace: str) -> Tenant:
        cluster = await self._current_cluster()
        where = binding_id(cluster.uid, namespace)
        for _ in range(_TRIES):
            # Read before the namespace is: a compare-and-set that succeeds then writes nothing older than there was.
            known = await asyncio.to_thread(self._bindings.find_one, {"_id": where})
            body = await self._kube.get_namespace(namespace)
            if body is None:
                raise NamespaceGone(f"namespace {namespace} is gone")
            seen = NamespaceIdentity.parse(body)
            if known is not None and known["uid"] == seen.uid:
                return _tenant(cluster.uid, namespace, known)
            confirmed = await asyncio.to_thread(self._confirmed, cluster)
            if confirmed is None:
                return await asyncio.to_thread(self._unconfirmed, cluster.uid, namespace, seen)
            if await asyncio.to_thread(self._bind, cluster.uid, namespace, known, seen, confirmed):
                _log.info("namespace %s (uid %s) was bound", namespace, seen.uid)
        raise Conflict(f"the binding of namespace {namespace} changes all the time")

    async def _current_cluster(self) -> NamespaceIdentity:
        if self._cluster is None:
            body = await self._kube.get_namespace(SYSTEM)
            if body is None:
                raise Conflict(f"there is no namespace {SYSTEM}")
            self._cluster = NamespaceIdentity.parse(body)
        return self._cluster

    async def _tenant_of(self, identity: tuple[str, str, str]) -> Tenant | None:
        """Tenant of a namespace's uid by the binding of its name, even if the name has another uid now; None if
        unknown. `identity`: uid of the cluster, name, uid.
        """
        cluster, namespace, uid = identity
        known = await asyncio.to_thread(self._bindings.find_one, {"_id": binding_id(cluster, namespace)})
        entry = entry_of(known, uid) if known is not None else None
        return _tenant(cluster, namespace, entry) if entry is not None else None

    def _unconfirmed(self, cluster: str, namespace: str, seen: NamespaceIdentity) -> Tenant:
        taken_by = (self._clusters.find_one({"_id": cluster}) or {}).get("takenBy")
        why = f"cluster {taken_by} has taken over from" if taken_by else "the ledger belongs to another cluster than"
        to = _choices(bindings_elsewhere(self._bindings, self._clusters, cluster, namespace))
        command = f"contentgen namespaces map {namespace} --cluster {cluster} --uid {seen.uid} --to"
        choice = (
            "` and one of the uids that `contentgen namespaces list` shows: clusters have different tenants of the name"
        )
        mapping = f"`{command} {to[0]}`" if len(to) == 1 else f"`{command}{choice}"
        held = (
            f"{why} this one ({cluster}), so nothing is paid or adopted: an administrator confirms all namespaces with "
            f"`contentgen namespaces confirm --cluster {cluster}`, or maps this one with {mapping}"
        )
        self._warn_once(cluster, held)
        return Tenant(cluster=cluster, uid=seen.uid, scope=seen.uid, block_reason=held)

    def _warn_once(self, what: str, words: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            _log.warning("%s", words)

    def _confirmed(self, cluster: NamespaceIdentity) -> Document | None:
        """Document of the cluster; None if no administrator has confirmed it."""
        first = self._clusters.find_one({"_id": FIRST}) or self._registered(cluster)
        kept = self._clusters.find_one({"_id": cluster.uid})
        if kept is None:
            fresh = {"confirmed": "", "takesOver": [], "firstSeenAt": self._clock()}
            self._clusters.update_one({"_id": cluster.uid}, {"$setOnInsert": fresh}, upsert=True)
            kept = self._clusters.find_one({"_id": cluster.uid}) or fresh
        confirmed = kept.get("confirmed") or first["cluster"] == cluster.uid
        return kept if confirmed and not kept.get("takenBy") else None

    def _registered(self, cluster: NamespaceIdentity) -> Document:
        """Make this cluster the first one, unless older purchases exist. Of two concurrent calls one succeeds."""
        earlier = self._ledger.find_one({"createdAt": {"$lt": cluster.created_at}}, {"_id": True})
        first = {"_id": FIRST, "cluster": cluster.uid if earlier is None else None, "at": self._clock()}
        try:
            self._clusters.insert_one(first)
        except DuplicateKeyError:
            return self._clusters.find_one({"_id": FIRST}) or first
        return first

    def _bind(
        self, cluster: str, namespace: str, known: Document | None, seen: NamespaceIdentity, confirmed: Document
    ) -> bool:
        """Compare-and-set of a binding; False if another process was faster."""
        if known is not None:
            fresh = {"uid": seen.uid, "scope": seen.uid, "began": seen.created_at}
            entry = entry_of(known, seen.uid) or fresh
            bound = rebind(self._bindings, known, entry, by="", now=self._clock())
            if bound:
                made = {"_id": known["_id"], "scope": entry["scope"], "revision": known["revision"] + 1}
                self._give_way(cluster, namespace, made)
            return bound
        entry = self._first(namespace, seen, confirmed) | {"boundAt": self._clock()}
        made = {"_id": binding_id(cluster, namespace), **entry, "history": [], "revision": 1}
        try:
            self._bindings.insert_one(made)
        except DuplicateKeyError:
            return False
        # After the insertion: of two concurrent bindings at least one finds the other.
        self._give_way(cluster, namespace, made)
        return True

    def _give_way(self, cluster: str, namespace: str, made: Document) -> None:
        """Mark a binding as taken if another cluster has its scope, or has taken over its cluster."""
        kept = self._clusters.find_one({"_id": cluster}) or {}
        others = bindings_with_scope(self._bindings, self._clusters, cluster, namespace, made["scope"])
        mine = kept.get("takesOver") or ()  # whose bindings are about to be marked, but for those mapped back since
        holders = [cluster_of(binding) for binding in others if binding.get("by") or cluster_of(binding) not in mine]
        if taken_by := kept.get("takenBy") or next(iter(holders), None):
            mine = {"_id": made["_id"], "revision": made["revision"]}  # a later change by an administrator stays
            self._bindings.update_one(mine, {"$set": {"takenBy": taken_by}, "$inc": {"revision": 1}})

    def _first(self, namespace: str, seen: NamespaceIdentity, confirmed: Document) -> Document:
        """First binding of a name in this cluster; in a confirmed cluster, with the scope of the clusters before it."""
        entry: Document = {"uid": seen.uid, "scope": UNSCOPED, "also": [], "since": None, "began": None}
        fresh = entry | {"scope": seen.uid, "began": seen.created_at}
        if confirmed["confirmed"] == CONFIRMED_FRESH:
            return fresh
        for each in confirmed.get("takesOver") or ():
            if (kept := self._bindings.find_one({"_id": binding_id(each, namespace)})) is not None:
                return entry | {name: kept.get(name) for name in ("scope", "also", "since", "began")}
        if confirmed["confirmed"] != CONFIRMED_ALL and self._has_earlier_documents(namespace, seen):
            return fresh | {"since": seen.created_at}
        return entry

    def _has_earlier_documents(self, namespace: str, seen: NamespaceIdentity) -> bool:
        """True if purchases or records are older than the namespace, so of an earlier one of its name."""
        before = {"createdAt": {"$lt": seen.created_at}}
        unscoped, mine = under(namespace), under(scoped(namespace, seen.uid))
        records = {"namespace": namespace, "tenant": None, "imported": None} | before
        found = (
            self._ledger.find_one(unscoped | before, {"_id": True}),
            self._jobs.find_one(records, {"_id": True}),
            self._ledger.find_one(mine, {"_id": True}),  # its binding was lost: the database was restored from a backup
        )
        return any(document is not None for document in found)


def rebind(bindings: Any, known: Document, entry: Document, *, by: str, now: datetime) -> bool:
    """Compare-and-set of a binding to another uid or scope; the previous one is added to its history."""
    before = {name: known.get(name) for name in (*_ENTRY, "boundAt", "by")}
    change = {name: entry.get(name) for name in _ENTRY} | {"boundAt": now, "by": by}
    where = {"_id": known["_id"], "revision": known["revision"]}
    update = {"$set": change, "$push": {"history": before | {"until": now}}, "$inc": {"revision": 1}}
    return bool(bindings.update_one(where, update).modified_count == 1)


def entry_of(known: Document, uid: str) -> Document | None:
    """Latest entry of a uid in a binding or its history; None if there is none."""
    entries = [*known.get("history", ()), known]
    return next((entry for entry in reversed(entries) if entry["uid"] == uid), None)


def bindings_elsewhere(bindings: Any, clusters: Any, cluster: str, namespace: str) -> list[Document]:
    """Bindings of the name in other clusters."""
    known = {str(each_cluster["_id"]) for each_cluster in clusters.find({"_id": {"$gt": ""}}, {"_id": True})}
    others = known - {FIRST, COMMAND, cluster}
    return [*bindings.find({"_id": {"$in": [binding_id(each, namespace) for each in sorted(others)]}})]


def bindings_with_scope(bindings: Any, clusters: Any, cluster: str, namespace: str, scope: str) -> list[Document]:
    """Bindings of the name in other clusters that have a scope now."""
    found = bindings_elsewhere(bindings, clusters, cluster, namespace)
    return [binding for binding in found if binding["scope"] == scope and not binding.get("takenBy")]


def _choices(bindings: list[Document]) -> list[str]:
    """Values of `namespaces map --to` for the scopes of other clusters' namespaces of a name, without duplicates."""
    found: dict[tuple[object, ...], str] = {}
    for binding in sorted(bindings, key=lambda each: str(each["_id"])):
        has = (binding["scope"], tuple(binding.get("also") or ()), binding.get("since"))
        found.setdefault(has, str(binding["uid"]) if any(has) else "unscoped")
    return list(found.values()) or ["unscoped"]


def cluster_of(binding: Document) -> str:
    """Cluster uid of a binding."""
    return str(binding["_id"]).partition("/")[0]


def name_of(binding: Document) -> str:
    """Namespace name of a binding."""
    return str(binding["_id"]).partition("/")[2]


def _holder(cluster: str, namespace: str, bound: dict[tuple[str, str], str | None], clusters: Document) -> str:
    """Cluster that has a namespace after all takeovers, also of clusters that were taken over before."""
    for _ in range(len(clusters)):  # an interrupted command may leave a ring
        later = bound[cluster, namespace] if (cluster, namespace) in bound else clusters.get(cluster)
        if not later:
            break
        cluster = later
    return cluster


def _tenant(cluster: str, namespace: str, entry: Document) -> Tenant:
    taken_by, uid, scope = entry.get("takenBy"), entry["uid"], entry["scope"]
    back = f"contentgen namespaces map {namespace} --cluster {cluster} --uid {uid} --to {scope or 'unscoped'}"
    return Tenant(
        cluster=cluster,
        uid=uid,
        scope=scope,
        other_scopes=tuple(entry.get("also") or ()),
        since=entry.get("since"),
        began=entry.get("began"),
        block_reason=(
            f"cluster {taken_by} has taken over what this namespace has bought, so nothing is paid or adopted here; "
            f"an administrator takes it back with `{back}`"
        )
        if taken_by
        else "",
    )


def under(namespace: str) -> Document:
    """Range of `_id` in the ledger for a namespace; "0" follows "/"."""
    return {"_id": {"$gte": f"{namespace}/", "$lt": f"{namespace}0"}}
