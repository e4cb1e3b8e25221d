"""Invariants of the simulation. Each oracle reports violations with a detail that distinguishes defects."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from contentgen_contract.names import (
    ADOPT_ANNOTATION,
    APPROVAL_LABEL,
    APPROVE_ANNOTATION,
    APPROVED_BY_ANNOTATION,
    COLLECT_ANNOTATION,
    RESUBMIT_ANNOTATION,
    STAGE_LABEL,
    Kind,
    Phase,
    Reason,
    Stage,
)
from contentgen_contract.records.audits import AuditReport, FindingKind
from contentgen_contract.records.notifications import NotificationState
from contentgen_contract.resources.content_budget import micros_of
from contentgen_contract.resources.prices import format_dollars
from contentgen_contract.resources.spec import NotifyTarget
from contentgen_contract.resources.status import ResourceStatus, RunStatus
from contentgen_operator.audit.comparison import possible_correlation_keys
from contentgen_operator.notifications.events import events_of_change
from contentgen_operator.state.observed import BucketFile, Resource, ResourceRef
from contentgen_operator.state.runs import purchase_key
from contentgen_operator.watch.event_handlers import owner_of
from contentgen_simulation.frozen import effects
from contentgen_simulation.rehearsal.lifecycle import (
    NONE,
    PURCHASE_TRANSITIONS,
    RESTORED_TRANSITIONS,
    can_follow,
    purchase_node,
)
from contentgen_simulation.rehearsal.world.cluster import ref_of
from contentgen_simulation.rehearsal.world.plan import PRIVATE, REBOUND
from contentgen_simulation.rehearsal.world.provider import FOREIGN

if TYPE_CHECKING:
    from contentgen_simulation.rehearsal.world.provider import Post, Request
    from contentgen_simulation.rehearsal.world.receiver import WebhookDelivery
    from contentgen_simulation.rehearsal.world.world import RehearsalWorld

Body = dict[str, Any]
_TRANSITIONS = {(transition.source, transition.target) for transition in (*PURCHASE_TRANSITIONS, *RESTORED_TRANSITIONS)}
_ADOPTED = (Reason.ADOPTED_FINISHED_RUN, Reason.ADOPTED_SAME_REQUEST)  # another run has paid
_BURST = 60  # reconciles at any rate
_HISTORY_BURST, _HISTORY_SECONDS = 30, 5.0
_QUIET = (Phase.COMPLETED, Phase.FAILED, Phase.SUBMISSION_UNKNOWN, Phase.SUSPENDED, Phase.AWAITING_APPROVAL)
_SEARCH_SECONDS = 7200.0
_KEPT_SECONDS = 2 * 86400.0  # two checks of a finished resource that may be deleted
_UNKNOWN = (FindingKind.UNKNOWN_REQUEST, FindingKind.BILLED_TWICE)
_GRACE = timedelta(hours=1)  # of an audit: the ledger may not have the id of a younger request
_SHOWN_SECONDS = 400.0  # a store's failure may delay a status for so long
_ANSWERS = {Phase.SUBMISSION_UNKNOWN: (RESUBMIT_ANNOTATION, ADOPT_ANNOTATION), Phase.FAILED: (COLLECT_ANNOTATION,)}


def _is_harmless(what: str, met: Any, before: Any) -> bool:
    """Whether a former leader changed only what no other process did, or created an identical object."""
    created = before is None and what.startswith(("request_bindings ", "namespaces ", "clusters ", "object purchases/"))
    return met == before or created


@dataclass(frozen=True)
class RehearsalViolation:
    """Violated invariant: `oracle: detail` is its signature, `text` describes it."""

    oracle: str
    detail: str
    text: str
    at: float

    @property
    def signature(self) -> str:
        return f"{self.oracle}: {self.detail}"


@dataclass
class Oracles:
    """Observer of all events; collects violations, one per signature."""

    world: "RehearsalWorld"
    violations: dict[str, RehearsalViolation] = field(default_factory=dict)
    _looks: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _shared: set[str] = field(default_factory=set)  # uids reconciled by two operators, each with its own burst
    _files_of: dict[str, set[str]] = field(default_factory=dict)
    _answers: dict[tuple[str, Phase], tuple[str | None, ...]] = field(default_factory=dict)  # last used answers
    _nodes: dict[str, str] = field(default_factory=dict)  # of purchases, by key
    _restores: int = 0  # of MongoDB, at the last write
    _events: set[tuple[str, int, str]] = field(default_factory=set)  # uid, run and event of notifications to expect
    _wanted: Counter[tuple[str, int, str, str]] = field(default_factory=Counter)  # the same with URLs
    # Micro-dollars by uid, run and input.
    _approved: dict[tuple[str, int, tuple[str, ...]], int] = field(default_factory=dict)
    _rejected: set[tuple[str, int]] = field(default_factory=set)  # uid and run
    _expired: dict[str, tuple[ResourceRef, set[str], set[str]]] = field(default_factory=dict)  # files and purchases
    _went_back: dict[str, int] = field(default_factory=dict)  # restores that set a phase back, by uid

    def report(self, oracle: str, detail: str, text: str) -> None:
        """Record a violation."""
        found = RehearsalViolation(oracle, detail, text, self.world.seconds)
        if found.signature not in self.violations:
            self.violations[found.signature] = found
            self.world.tell(f"VIOLATION {found.signature}: {text}")

    # A former leader changes nothing

    def former_leader(self, met: Body, left: Body, now: Body) -> None:
        """Check a process that continued after its term, by the stores' contents before and after."""
        for what, (before, after) in effects(left, now).items():
            if not _is_harmless(what, met.get(what), before):
                text = f"{what}: {before} is now {after}"
                self.report("a former leader changes nothing", what.partition(" ")[0], text[:600])

    # One POST per purchase

    def posted(self) -> None:
        """Check for POSTs beyond those that users requested and provider failures allow."""
        provider, last = self.world.provider, self.world.provider.posts[-1]
        if last.account not in self.world.granted[last.ref.namespace]:
            text = f"POST {last.number} of {last.ref.namespace} is paid by the account {last.account or 'default'}"
            self.report("only a granted account pays", f"not {last.account or 'default'}", text)
        self._within_budget()
        self._is_approved(last)
        same = [post for post in provider.posts if post.group == last.group and post.maybe_paid]
        requests = [provider.requests[each.request_id] for each in same[:-1] if each.request_id]
        failed = sum(
            not request.succeeds and not request.cancelled and request.ended_at <= self.world.seconds
            for request in requests
        )
        if not self.world.confirmed:
            text = f"POST {last.number} in cluster {self.world.clusters[-1]} on the ledger of {self.world.clusters[0]}"
            self.report("one POST per purchase", "in a cluster that the ledger does not know", text)
        asked = len(self.world.asked[last.group])
        extra = self.world.paid_attempts(last.group) - 1
        allowed = max(asked, 1) + self.world.resubmitted[last.group] + min(failed, extra * max(asked, 1))
        if len(same) <= allowed:
            return
        earlier = same[-2]
        self.report(
            "one POST per purchase",
            self._how_forgotten(earlier),
            f"POST {last.number} buys {last.group[-1]} again for {last.ref.namespace}/{last.ref.name}, bought by POST "
            f"{earlier.number}; {allowed} were asked for",
        )

    def asked_with(self, request: "Request", account: str) -> None:
        """Report a request that was polled or cancelled with another account than it was sent with."""
        text = f"{request.id}, sent with {request.post.account or 'default'}, is asked for with {account or 'default'}"
        self.report("a request is asked for with its account", "another account", text)

    # No payment without an approval

    def annotated(self, before: Body, spec: Body, annotations: Body, group: tuple[str, ...]) -> None:
        """Note the approval of the run that the resource shows as waiting, whose input is `group`, in a request without
        an edit.
        """
        status, number = before["status"], before["status"]["run"]["number"]
        value = annotations.get(APPROVE_ANNOTATION)
        is_new = value != (before["metadata"].get("annotations") or {}).get(APPROVE_ANNOTATION)
        names_it = (
            value is not None and value.partition("-")[0] == str(number) and APPROVED_BY_ANNOTATION in annotations
        )
        if is_new and names_it and before["spec"] == spec and status.get("phase") == Phase.AWAITING_APPROVAL:
            amount = micros_of(str(value).split("-")[1])  # no price of the plans is unknown
            at = (before["metadata"]["uid"], number, group)
            self._approved[at] = max(amount, self._approved.get(at, 0))

    def _is_approved(self, last: "Post") -> None:
        """Check a POST by what people did, and not by what the operator stored."""
        options = self.world.plan.subjects[self.world.subject_of(last.ref)].options
        labels = self.world.cluster.server.namespace_labels.get(last.ref.namespace, {})
        about = f"POST {last.number} of run {last.run} of {last.ref.namespace}/{last.ref.name}"
        if options.get("dryRun"):
            self.report("no payment without an approval", "a dry run", about)
        if options.get("approval") != "Manual" and labels.get(APPROVAL_LABEL) != "Manual":
            return
        body = self.world.cluster.find(last.ref.kind, last.ref.namespace, last.ref.name)
        is_there = body is not None and body["metadata"]["uid"] == last.ref.uid  # else the number is another's
        runs = {run for uid, run, group in self._approved if (uid, group) == (last.ref.uid, last.group)}
        if not runs or (is_there and last.run not in runs):
            others = sorted(run for uid, run, _ in self._approved if uid == last.ref.uid)
            detail = "another run or input is approved" if others else "none is approved"
            self.report("no payment without an approval", detail, f"{about}; approved: {others or 'none'}")
        request = self.world.provider.requests.get(last.request_id or "")
        mine = (last.ref.uid, last.group)
        covered = [amount for (uid, _, group), amount in self._approved.items() if (uid, group) == mine]
        if request is not None and covered and request.micros > max(covered):
            self.report("no payment without an approval", "more than was approved", f"{about}: {request.micros}")
        if is_there and (last.ref.uid, last.run) in self._rejected:
            self.report("no payment without an approval", "it is rejected", about)
        paid = sum((post.ref.uid, post.run) == (last.ref.uid, last.run) for post in self.world.provider.posts)
        repeated = options.get("paidAttempts", 1) > 1 or self.world.plan.replies or self.world.rewound
        if is_there and paid > 1 and not repeated and not self.world.resubmitted[last.group]:
            self.report("no payment without an approval", "an approved run is sent twice", about)

    # An expired resource leaves everything it made

    def expired(self, ref: ResourceRef, body: Body) -> None:
        """Check a resource that the operator deletes, and note what it leaves."""
        status, seconds = ResourceStatus.model_validate(body["status"]), body["spec"].get("ttlSecondsAfterFinished")
        ended, now = status.completion_time, self.world.now() + timedelta(seconds=self.world.skew)
        if seconds is None or ended is None or now < ended + timedelta(seconds=seconds):
            text = f"{ref.name} ended at {ended}, {seconds} seconds before its end"
            self.report("an expired resource leaves everything", "it is deleted before its time", text)
        for request in self.world.provider.requests.values():
            if request.post.ref.uid == ref.uid and not request.cancelled and request.ended_at > self.world.seconds:
                self.report("an expired resource leaves everything", "a request is open", f"{ref.name}: {request.id}")
        waits = {"jobId": ref.uid, "state": "succeeded", "resultKey": {"$gt": ""}}
        if status.phase is Phase.FAILED and (found := self.world.database["ledger"].find_one(waits)) is not None:
            text = f"{ref.name}: {found['requestId']}, {status.message}"
            self.report("an expired resource leaves everything", "a paid result is not collected", text)
        self.world.tell(
            f"{ref.namespace}/{ref.name} ({ref.uid[:8]}): its ttlSecondsAfterFinished is over, it is deleted"
        )
        listed = {file.key for version in status.versions for file in version.files} & set(self.world.bucket.objects)
        bought = {purchase["_id"] for purchase in self.world.database["ledger"].find({"jobId": ref.uid})}
        self._expired[ref.uid] = (ref, listed, bought)

    def deleted(self, body: Body) -> None:
        """Note that a person deletes a resource: with `deletionPolicy: Delete` its files go, also those adopted."""
        if body["spec"].get("deletionPolicy") == "Delete":
            key = (body["metadata"]["namespace"], body["metadata"]["name"])
            self._expired = {
                uid: each for uid, each in self._expired.items() if (each[0].namespace, each[0].name) != key
            }

    def _left(self) -> None:
        """Check files, record and ledger of expired resources. A restored store lacks what is newer."""
        for ref, files, purchases in self._expired.values() if not self.world.rewound else ():
            gone = sorted(files - set(self.world.bucket.objects))
            lost = sorted(
                purchase for purchase in purchases if self.world.database["ledger"].find_one({"_id": purchase}) is None
            )
            recorded = self.world.database["jobs"].find_one({"jobId": ref.uid}) is not None
            for what, missing in (
                ("its files are gone", gone),
                ("its ledger entries are gone", lost),
                ("its record is gone", [] if recorded else [ref.uid]),
            ):
                if missing:
                    text = f"{ref.namespace}/{ref.name} of {ref.uid}: {', '.join(missing[:3])}"
                    self.report("an expired resource leaves everything", what, text)

    def _expires(self, namespace: str, body: Body) -> None:
        """Check that no finished resource stays for days after its time, if its requests have ended and its results are
        all collected. A request whose reply was lost is searched for during a month.
        """
        status, seconds = ResourceStatus.model_validate(body["status"]), body["spec"].get("ttlSecondsAfterFinished")
        if seconds is None or status.phase is not Phase.COMPLETED or status.completion_time is None:
            return
        over = status.completion_time + timedelta(seconds=seconds + _KEPT_SECONDS)
        ledger = self.world.database["ledger"]
        bought = ledger.find_one({"requestId": (status.run and status.run.request_id) or ""}) or {}
        open_states = (
            {"state": {"$in": ["submitted", "succeeded"]}},
            {"state": "intent", "sendState": {"$ne": "planned"}},
        )
        waits = ledger.find_one({"jobId": body["metadata"]["uid"], "$or": list(open_states)})
        is_done = bought.get("state") == "collected" and waits is None and self.world.confirmed
        if is_done and over < self.world.now():
            text = f"{namespace}/{body['metadata']['name']}: {status.message}"
            self.report("an expired resource is deleted", f"it stays, {status.reason}", text)

    # A budget is not exceeded

    def _within_budget(self) -> None:
        """Check the bounds of all purchases that may be paid, and the bills of settled ones, by the ledger."""
        if not self.world.cluster.budgets or "mongo" in self.world.rewound:
            return
        limit = micros_of(self.world.cluster.budgets[0]["spec"]["limits"]["day"])
        bounds: defaultdict[str, int] = defaultdict(int)
        for purchase in self.world.database["ledger"].find({"state": {"$ne": "refused"}}):
            if (purchase["state"], purchase.get("sendState")) != ("intent", "planned"):
                for window in purchase["budgets"] or ("none",):
                    bill = purchase.get("actualMicros")
                    bounds[window] += bill if bill is not None else purchase["boundMicros"] or 0
        for window, micros in bounds.items():
            if micros > limit or window == "none":
                detail = "a purchase without a claim" if window == "none" else "more than the limit"
                self.report("a budget is not exceeded", detail, f"{window}: {micros} of {limit} micro-dollars")

    def _books(self) -> None:
        """Check the totals of all windows."""
        for budget in self.world.database["budgets"].find():
            claims = sum(claim["micros"] for claim in budget["open"].values())
            if budget["held"] != budget["spent"] + claims or set(budget["keys"]) != set(budget["open"]):
                self.report("a budget is not exceeded", "its totals are wrong", f"{budget}"[:600])

    def _how_forgotten(self, earlier: "Post") -> str:
        """State of the ledger for a purchase that is repeated, and whether its resource still exists."""
        request_id, ref = earlier.request_id, earlier.ref
        known = self.world.database["ledger"].find_one({"requestId": request_id}) if request_id else None
        if known is not None:
            return f"the ledger has the first as {known['state']}"
        if not self.world.rewound:
            return "the ledger has no request id of the first"
        body = self.world.cluster.find(ref.kind, ref.namespace, ref.name)
        is_gone = body is None or body["metadata"]["uid"] != ref.uid
        restored = f"after a restore of {' and '.join(sorted(self.world.rewound))}"
        return f"{restored}, its resource is gone" if is_gone else restored

    # One owner per request

    def ledger_changed(self, purchases: list[Body]) -> None:
        """Check for transitions that lifecycle.py does not have, and for two purchases with one request id."""
        self._transitions(purchases)
        owners: dict[tuple[str, str], Body] = {}
        for each_purchase in [purchase for purchase in purchases if purchase.get("requestId") is not None]:
            key = (each_purchase["provider"], each_purchase["requestId"])
            other = owners.setdefault(key, each_purchase)
            if other is each_purchase:
                continue
            same = "one namespace" if other["namespace"] == each_purchase["namespace"] else "two namespaces"
            if (
                other["namespace"] == each_purchase["namespace"]
                and other["_id"].split("/")[2] == each_purchase["_id"].split("/")[2]
            ):
                same = "one resource"
            self.report("one owner per request", same, f"{key[1]} is in {other['_id']} and in {each_purchase['_id']}")

    # Purchases change as documented

    def _transitions(self, purchases: list[Body]) -> None:
        before, self._nodes = (
            self._nodes,
            {purchase["_id"]: purchase_node(purchase["state"], purchase.get("sendState")) for purchase in purchases},
        )
        restored, self._restores = self._restores != self.world.mongo_restores, self.world.mongo_restores
        for key in sorted({} if restored else before.keys() | self._nodes.keys()):
            edge = before.get(key, NONE), self._nodes.get(key, NONE)
            if edge[0] != edge[1] and edge not in _TRANSITIONS:
                self.report("purchases change as documented", f"{edge[0]} to {edge[1]}", key)

    # The response matches the request

    def collecting(self, purchase: Body, request: "Request") -> None:
        """Check the stored answer that a worker reads."""
        if purchase.get("requestId") != request.id:
            text = f"{purchase['_id']} has {purchase.get('requestId')}, and the answer stored for it is of {request.id}"
            self.report("the response matches the request", "another request's answer is stored", text)

    def _delivered(self, ref: ResourceRef, status: ResourceStatus) -> None:
        run = status.run
        version = next(
            (each_version for each_version in status.versions if run and each_version.version == run.version), None
        )
        if run is None or version is None:
            return
        for file in version.files:
            made_of = self.world.workers.made.get(file.sha256 or "")
            request = self.world.provider.requests.get(made_of or "")
            if request is None:
                continue
            difference = _difference(ref.kind, run.spec, request.input)
            if difference:
                text = (
                    f"{ref.namespace}/{ref.name} run {run.number} is Completed with files of {request.id}: {difference}"
                )
                how = self._how_delivered(ref, request, version.job_id)
                self.report("the response matches the request", f"{difference.partition(' ')[0]} differs, {how}", text)
                return
            whose = request.post.ref.namespace
            same_name = whose == ref.namespace
            foreign = request.post.group[0] != self.world.namespace_uid[ref.namespace]
            if foreign and (same_name or not self._cannot_be_told_apart(ref, request)):
                earlier = "an earlier namespace's" if same_name else "another namespace's"
                text = f"{ref.namespace}/{ref.name} has {request.id}, bought for {whose} ({request.post.group[0]})"
                self.report("one owner per request", earlier, text)

    def _cannot_be_told_apart(self, ref: ResourceRef, request: "Request") -> bool:
        """Whether the resource sent exactly the same input and its reply was lost too: neither provider's history says
        whose request is whose.
        """
        return any(
            post.input == request.post.input and post.maybe_paid and str(post.number) in self.world.plan.replies
            for post in self.world.provider.posts
            if (post.ref.namespace, post.ref.name) == (ref.namespace, ref.name)
        )

    def _how_delivered(self, ref: ResourceRef, request: "Request", job_id: str | None) -> str:
        if request.post.ref.namespace != ref.namespace:
            return "bought in another namespace"
        if request.post.ref.name != ref.name:
            return "bought by another resource"
        if self.world.plan.replies.get(str(request.post.number)) == "lost":
            return "adopted from the history"
        return "of another resource's time" if job_id != ref.uid else "of the resource itself"

    # Every file of a Completed resource exists

    def _complete(self, ref: ResourceRef, status: ResourceStatus) -> None:
        run = status.run
        for version in status.versions:
            if run is None or version.version != run.version:
                continue
            self._files_of[ref.uid] = {file.key for file in version.files}
            if not version.files:
                self.report("files of a Completed resource", "none are listed", f"{ref.name} {status.reason}")
            missing = [file.key for file in version.files if not self._there(file.key, file.sha256)]
            if missing:
                how = f"{status.reason}, {self._rewound()}"
                self.report(
                    "files of a Completed resource", how, f"{ref.namespace}/{ref.name} lacks {', '.join(missing[:3])}"
                )

    def _there(self, key: str, sha256: str | None) -> bool:
        found = self.world.bucket.objects.get(key)
        return isinstance(found, BucketFile) and found.sha256 == sha256

    def _rewound(self) -> str:
        return f"after a restore of {' and '.join(sorted(self.world.rewound))}" if self.world.rewound else "no restore"

    def object_lost(self, key: str, before: Any, after: Any) -> None:
        """Check a deleted or overwritten object."""
        how = "is deleted" if after is None else "is overwritten"
        for kind, namespace, body in self.world.living():
            uid, name = body["metadata"]["uid"], body["metadata"]["name"]
            if "deletionTimestamp" in body["metadata"]:
                continue
            listed = {
                file["key"] for version in body["status"].get("versions") or () for file in version.get("files") or ()
            }
            if key in listed:
                self.report(
                    "files of a Completed resource",
                    f"a listed file {how}",
                    f"{key} of {kind} {namespace}/{name}, {uid}",
                )
        if isinstance(before, dict) and "made_by" in before:
            self._answer_lost(key, before, after, how)

    def _answer_lost(self, key: str, before: Body, after: Any, how: str) -> None:
        if isinstance(after, dict) and after.get("made_by") == before["made_by"]:
            return
        request = self.world.provider.requests[before["made_by"]]
        for kind, namespace, body in self.world.living():
            run = body["status"].get("run") or {}
            if "deletionTimestamp" in body["metadata"]:
                continue
            if run.get("requestId") == request.id and body["status"].get("phase") not in ("Completed", "Failed"):
                text = f"{key} with {request.id}, which {kind} {namespace}/{body['metadata']['name']} is to collect"
                self.report("a paid result is kept", f"it {how} before it is collected", text)
                return
        if after is not None:
            self.report("a paid result is kept", f"it {how}", f"{key}: {request.id} becomes {after.get('made_by')}")

    # Cost equals the bill or is unknown

    def _cost(self, ref: ResourceRef, status: ResourceStatus) -> None:
        run, cost = status.run, status.cost
        if run is None:
            return
        provider = self.world.provider
        mine = [post for post in provider.posts if post.ref.uid == ref.uid and post.run == run.number]
        requests = [provider.requests[each.request_id or ""] for each in mine if self._is_owned(each)]
        before = run.same_as is not None and run.same_as.purchase_id == run.purchase_id  # another run has paid
        if not before:
            requests += [attempt for attempt in self._adopted_attempts(ref, run) if attempt not in requests]
        own = {found.id: found for found in requests}
        if run.request_id in provider.requests and status.reason not in _ADOPTED and not before:
            own[run.request_id or ""] = provider.requests[run.request_id or ""]
        bills = {format_dollars(sum(each.micros for each in found)) for found in (requests, own.values())}
        if cost is not None and cost.actual and cost.actual not in bills:
            forgotten = len(self.world.rewound) == 3 and not all(self.world.is_recorded(each) for each in own)
            detail = self._rewound() if forgotten else self._cost_detail(ref.kind, status, list(own.values()))
            text = f"{ref.name} run {run.number}: {cost.actual} USD, billed {' or '.join(sorted(bills))}"
            self.report("cost equals the bill", detail, text)
        if run.billed is not None and own:
            billed = any(each.micros for each in own.values())
            unfinished = any(each.ended_at > self.world.seconds for each in own.values())
            if run.billed != billed and not unfinished:
                text = f"{ref.name} run {run.number} says billed={run.billed}: {status.message}"
                self.report("cost equals the bill", f"billed is {run.billed}, {status.reason}", text)

    def _is_owned(self, post: "Post") -> bool:
        """Whether a POST was accepted, and no other resource with the same input has its request."""
        found = self.world.database["ledger"].find_one({"requestId": post.request_id})
        return post.request_id is not None and (found is None or found["jobId"] == post.ref.uid)

    def _adopted_attempts(self, ref: ResourceRef, run: RunStatus) -> list["Request"]:
        """Requests of a run's earlier attempts that another resource sent and this one adopted."""
        body = self.world.cluster.find(ref.kind, ref.namespace, ref.name)
        if body is None or body["metadata"]["uid"] != ref.uid:
            return []
        key = purchase_key(Resource.parse(ref.kind, body), run)
        earlier = [str(key.model_copy(update={"attempt": number})) for number in range(1, run.paid_attempt)]
        found = self.world.database["ledger"].find({"_id": {"$in": earlier}, "jobId": ref.uid})
        requests = [self.world.provider.requests.get(purchase.get("requestId") or "") for purchase in found]
        return [request for request in requests if request is not None]

    def _cost_detail(self, kind: Kind, status: ResourceStatus, requests: list["Request"]) -> str:
        if len(requests) > 1:
            return "several requests"
        fates = {request.fate for request in requests}
        if "fewer" in fates:
            return "fewer pictures than asked for"
        if status.reason in _ADOPTED:
            return "an adopted run"
        if kind is Kind.LORA_TRAINING and requests:
            return "a training's steps"
        return f"{kind} {status.reason}"

    # Rates

    def reconciled(self, ref: ResourceRef) -> None:
        """Check the rate: on average one reconcile per object and second, one history search per five seconds."""
        looks = self._looks[ref.uid]
        looks.append(self.world.seconds)
        age = looks[-1] - looks[0]
        if self.world.several_processes():
            self._shared.add(ref.uid)
        if len(looks) > _BURST * (2 if ref.uid in self._shared else 1) + age:
            reason = self._reason(ref)
            self.report("reconciled once a second at most", reason, f"{ref.name}: {len(looks)} times in {age:.0f} s")
            self.world.stop()
        asked = [at for at, asker in self.world.provider.history_calls if asker == ref]
        if asked and len(asked) > _HISTORY_BURST + (asked[-1] - asked[0]) / _HISTORY_SECONDS:
            text = f"{ref.name}: the history was asked {len(asked)} times in {asked[-1] - asked[0]:.0f} s"
            self.report("reconciled once a second at most", f"history, {self._reason(ref)}", text)
            self.world.stop()

    def _reason(self, ref: ResourceRef) -> str:
        body = self.world.cluster.find(ref.kind, ref.namespace, ref.name)
        reason = str(body["status"].get("reason", "no status")) if body else "gone"
        return f"{reason}, two operators" if self.world.several_processes() else reason

    # Phases move forward

    def status_written(self, ref: ResourceRef, before: Body, after: Body) -> None:
        """A status was replaced."""
        old, new = ResourceStatus.model_validate(before), ResourceStatus.model_validate(after)
        self._forward(ref, old, new)
        self._expect_notifications(ref, old, new)
        if new.reason == Reason.DEADLINE_EXCEEDED and old.reason != new.reason:
            self._timed_out(ref, old, new)
        if new.reason == Reason.REJECTED and new.run is not None:
            self._rejected.add((ref.uid, new.run.number))
        if (
            new.phase is not None
            and new.phase.terminal
            and (old.phase, old.reason, old.run) != (new.phase, new.reason, new.run)
        ):
            self._cost(ref, new)
            if new.phase is Phase.COMPLETED and old.phase is not Phase.COMPLETED:
                self._complete(ref, new)
                self._delivered(ref, new)

    def _forward(self, ref: ResourceRef, old: ResourceStatus, new: ResourceStatus) -> None:
        if old.run is None or new.run is None or old.phase is None or new.phase is None:
            return
        if (old.run.number, old.run.paid_attempt) != (new.run.number, new.run.paid_attempt):
            return
        answered = new.phase is not old.phase and self._is_answered(ref, old.phase)
        if can_follow(old.phase, new.phase) or answered or self._is_restored(ref):
            return
        detail = f"{old.phase} to {new.phase} ({new.reason})"
        self.report("phases move forward", detail, f"{ref.name} run {new.run.number}: {new.message}")

    def _is_answered(self, ref: ResourceRef, phase: Phase) -> bool:
        """Whether a user has answered since the resource last left this phase; each answer counts once."""
        body = self.world.cluster.find(ref.kind, ref.namespace, ref.name) or {"metadata": {}}
        given = body["metadata"].get("annotations") or {}
        answer = tuple(given.get(each) for each in _ANSWERS.get(phase, ()))
        before, self._answers[ref.uid, phase] = self._answers.get((ref.uid, phase), (None,) * len(answer)), answer
        return answer != before

    def _is_restored(self, ref: ResourceRef) -> bool:
        """Whether MongoDB was restored since the phase last went back."""
        before, self._went_back[ref.uid] = self._went_back.get(ref.uid, 0), self.world.mongo_restores
        return self.world.mongo_restores > before

    # No notification is lost or invented

    def _expect_notifications(self, ref: ResourceRef, old: ResourceStatus, new: ResourceStatus) -> None:
        body = self.world.cluster.find(ref.kind, ref.namespace, ref.name)
        if body is None:
            return
        wanted = {
            event for each in body["spec"].get("notify") or () for event in NotifyTarget.model_validate(each).events
        }
        run = new.run.number if new.run else 0
        begun = events_of_change(old, new)
        self._events |= {(ref.uid, run, each.value) for each in begun & wanted}
        for target in (NotifyTarget.model_validate(each) for each in body["spec"].get("notify") or ()):
            self._wanted.update((ref.uid, run, each.value, target.url) for each in begun & target.events)

    def sent_to_refused(self, url: str, address: str) -> None:
        """Report a webhook that goes to an address that is not public."""
        self.report("a webhook goes to public addresses only", "a private address", f"{url} at {address}")

    def notified(self, delivery: "WebhookDelivery") -> None:
        """Check the id of a webhook, and that its status was written. A resource that is gone had one, or may have."""
        text = f"{delivery.event} of run {delivery.run} of {delivery.uid}"
        if delivery.key not in self._wanted:
            if self._lives(delivery.uid):
                self.report("no notification is invented", delivery.event, f"{text} is sent, and was in no status")
            return
        ids = {
            each_delivery.id for each_delivery in self.world.receiver.deliveries if each_delivery.key == delivery.key
        }
        if len(ids) > self._wanted[delivery.key]:
            self.report("a webhook keeps its id", f"another id of {delivery.event}", f"{text}: {sorted(ids)}")

    def _lives(self, uid: str) -> bool:
        return any(body["metadata"]["uid"] == uid for *_, body in self.world.living())

    def _deliveries(self) -> None:
        """Check that each event has reached its receiver. Attempts of a wrong clock may have ended after a day."""
        receiver = self.world.receiver
        if "mongo" in self.world.rewound or any(event.do == "clock" for event in self.world.plan.events):
            return
        done = {delivery.key for delivery in receiver.deliveries if delivery.accepted}
        for uid, run, event, url in sorted(self._wanted.keys() - done):
            if url not in (PRIVATE, REBOUND) and (uid, url) not in receiver.gone:
                self.report("no notification is lost", f"{event} is not delivered", f"{event} of run {run} of {uid}")

    def _notifications(self) -> None:
        """Compare the outbox with the statuses that were written. A restored MongoDB has lost some."""
        stored = {
            (notification["jobId"], notification["run"], notification["event"]): notification
            for notification in self.world.database["notifications"].find()
        }
        sent = {
            delivery.key[:3] for delivery in self.world.receiver.deliveries
        }  # those of a deleted job leave the outbox
        lost = self._events - set(stored) - sent
        for uid, run, event in sorted(lost) if "mongo" not in self.world.rewound else ():
            self.report("no notification is lost", event, f"{event} of run {run} of {uid} is not in the outbox")
        for uid, run, event in sorted(set(stored) - self._events):
            if stored[uid, run, event]["state"] != NotificationState.PLANNED and self._lives(uid):
                self.report("no notification is invented", event, f"{event} of run {run} of {uid} was in no status")

    # An audit changes nothing, and knows the requests of the ledger

    def audit_changed(self, changed: set[str]) -> None:
        """Check what differs after an audit."""
        for text in sorted(changed):
            self.report("an audit changes nothing", text.partition(" ")[0], f"{text} differs after an audit")

    def audited(self, report: AuditReport) -> None:
        """Check the findings about the plan's own requests. Those of other people may be unknown."""
        self.world.tell(f"audit: {report.counts or 'no findings'}")
        for finding in report.findings:
            request = self.world.provider.requests.get(finding.request_id or "")
            if finding.kind in _UNKNOWN and request is not None and (why := self._is_known(request, report)):
                self.report(
                    "an audit knows the ledger's requests", f"{finding.kind}, {why}", f"{request.id}: {finding.text}"
                )

    def _is_known(self, request: "Request", report: AuditReport) -> str:
        """Why the finding about a request is wrong; empty if it is right, or may be."""
        if self.world.is_recorded(request.id):
            return "the ledger has it"
        if self.world.skew or any(event.do == "clock" for event in self.world.plan.events):
            return ""
        sent = self.world.start + timedelta(seconds=request.sent_at)
        if sent > report.started_at - _GRACE:
            return "it is younger than an hour"
        return "its purchase waits for it" if self._is_searched_for(request, sent) else ""

    def _is_searched_for(self, request: "Request", sent: datetime) -> bool:
        """Whether there is a purchase for each unrecorded request with the same input, which could be read."""
        history, keys = self.world.plan.history, possible_correlation_keys(request.input)
        same = [
            each_request
            for each_request in self.world.provider.requests.values()
            if not self.world.is_recorded(each_request.id) and possible_correlation_keys(each_request.input) & keys
        ]
        if history.get("lag") or history.get("missing") or history.get("without_payload"):
            return False
        lost = self.world.database["ledger"].find(
            {
                "correlationKey": {"$in": sorted(keys)},
                "model": request.model,
                "account": request.post.account or None,
                "state": "intent",
                "sendState": {"$nin": ["planned", "abandoned"]},
                "createdAt": {"$lte": sent},
            }
        )
        return len(same) <= len([purchase for purchase in lost if not purchase.get("requestId")])

    # Every stopped resource has a reason

    def check_reported(self, about: str, reasons: tuple[str, ...]) -> None:
        """Check that running resources report a refusal or outage that lasts minutes."""
        for kind, namespace, body in self.world.living():
            status = body["status"]
            if "deletionTimestamp" in body["metadata"] or not self.world.waits_for(about, body):
                continue
            if status.get("phase") not in _QUIET and status.get("reason") not in reasons:
                text = f"{kind} {namespace}/{body['metadata']['name']}: {status.get('phase')}, {status.get('message')}"
                self.report("a stopped resource has a reason", f"{about}, {status.get('reason')} is told", text)

    def check_queued(self, name: str, uid: str) -> None:
        """Check that the run of a Job that a queue has held for minutes says so."""
        job, faults = self.world.cluster.jobs.get(name), self.world.faults
        owner = owner_of(job) if job is not None and job["metadata"]["uid"] == uid else None
        if owner is None or job is None or not job["spec"].get("suspend"):
            return
        body = self.world.cluster.find(owner.kind, owner.namespace, owner.name)
        if body is None or body["metadata"]["uid"] != owner.uid or "deletionTimestamp" in body["metadata"]:
            return
        status, recently = ResourceStatus.model_validate(body["status"]), self.world.seconds - _SHOWN_SECONDS
        ends = [*faults.unavailable_until.values(), *(until for *_, until in faults.refusals)]
        waits = status.run is not None and status.run.job is not None and status.run.job.uid == uid
        if not waits or status.phase not in (Phase.PREPARING, Phase.COLLECTING) or any(end > recently for end in ends):
            return
        if status.reason != Reason.QUEUED:
            text = f"{owner.name}: {status.phase}, {status.message}"
            self.report("a stopped resource has a reason", f"its Job is queued, {status.reason} is told", text)

    def unexpected(self, ref: ResourceRef) -> None:
        """Report an unexpected exception of a reconcile."""
        body = self.world.cluster.find(ref.kind, ref.namespace, ref.name)
        if body is None or body["metadata"]["uid"] != ref.uid:
            return  # there is no status to say it in, and it is tried again
        error = self.world.last_error()
        if error.startswith("PlantedLine "):
            return
        self.report("a stopped resource has a reason", f"unexpected {error.partition(':')[0]}", f"{ref.name}: {error}")

    def at_the_end(self) -> None:
        """Check the final state, after a time of rest."""
        self.ledger_changed(list(self.world.database["ledger"].find()))
        self._books()
        self._notifications()
        self._deliveries()
        self._left()
        for request in self.world.provider.requests.values():
            over = request.succeeds and request.ended_at < self.world.seconds
            if over and request.fate in ("", "fewer") and "bucket" not in self.world.rewound:
                self._kept(request)
        for kind, namespace, body in self.world.living():
            self._stopped(kind, namespace, body)
            self._expires(namespace, body)
            self._jobs_of(ref_of(kind, body), body)

    def _kept(self, request: "Request") -> None:
        """Whether a paid result is stored, was given up by a user, or is still requested. One that a foreign account
        has paid is not found any more.
        """
        if request.post.account == FOREIGN:
            return
        objects = self.world.bucket.objects.values()
        made = self.world.workers.made
        if any(
            stored_object.get("made_by") == request.id for stored_object in objects if isinstance(stored_object, dict)
        ):
            return
        if any(
            made.get(stored_object.sha256) == request.id
            for stored_object in objects
            if isinstance(stored_object, BucketFile)
        ):
            return
        known = self.world.database["ledger"].find_one({"requestId": request.id})
        state = known["state"] if known else "without its request id"
        if known is None and (not self._is_shown(request) or self._is_given_up(request)):
            return
        body = self.world.cluster.find(request.post.ref.kind, request.post.ref.namespace, request.post.ref.name)
        status = body["status"] if body else {}
        if state in ("discarded", "cancelled") or status.get("reason") == Reason.CANCELLED:
            return
        if body and status.get("phase") not in ("Completed", "Failed"):
            return
        if self.world.lost_responses and status.get("reason") in (Reason.DEADLINE_EXCEEDED, Reason.JOB_FAILED):
            return  # the provider keeps it, and `collect` reads it again
        text = (
            f"{request.id} of {request.post.ref.name} succeeded and is billed; {status.get('message') or 'no resource'}"
        )
        detail = f"{state} in the ledger, {status.get('reason') or 'no resource'}"
        frozen = any(each.action == "freeze" and each.fired.endswith("POST") for each in self.world.faults.io)
        if known is None and request.post.skew:
            detail = f"sent by a wrong clock, {detail}"
        elif known is None and frozen and self.world.resubmitted[request.post.group]:
            detail = f"sent after a freeze and a resubmission, {detail}"
        self.report("a paid result is kept", detail, text)

    def _is_shown(self, request: "Request") -> bool:
        """Whether a search can have found the request of a lost response; searches run every two hours."""
        history, number = self.world.plan.history, request.post.number
        hidden = number in history.get("missing", ())
        hidden |= request.provider == "fal" and number in history.get("without_payload", ())
        since = request.ended_at if request.provider == "fal" else request.sent_at
        return not hidden and self.world.seconds > since + float(history.get("lag", 0)) + _SEARCH_SECONDS

    def _is_given_up(self, request: "Request") -> bool:
        """Whether the ledger was restored from before the request and a user allowed another payment."""
        return self.world.mongo_restores > 0 and self.world.resubmitted[request.post.group] > 0

    def _stopped(self, kind: Kind, namespace: str, body: Body) -> None:
        status, meta = body["status"], body["metadata"]
        phase, name = status.get("phase"), f"{kind} {namespace}/{meta['name']}"
        if "deletionTimestamp" in meta:
            self.report(
                "a stopped resource has a reason", "a deletion does not end", f"{name}: {status.get('message')}"
            )
        elif not status.get("reason") or not status.get("message"):
            self.report("a stopped resource has a reason", f"{phase} without a reason", name)
        elif phase not in _QUIET and not self.world.will_be_reconciled(meta["uid"]):
            text = f"{name}: {status['reason']}, {status['message']}"
            self.report("a stopped resource has a reason", f"{phase} and never looked at again", text)
        elif self._is_edited(body) and not self.world.will_be_reconciled(meta["uid"]):
            text = f"{name}: generation {meta['generation']}, observed {status.get('observedGeneration')}"
            self.report("an edit starts the next run", f"{phase}, {status['reason']}", text)

    def _is_edited(self, body: Body) -> bool:
        """Whether a resource was edited since the generation that its status shows."""
        observed: int = body["status"].get("observedGeneration") or 0
        generation: int = body["metadata"]["generation"]
        return observed < generation

    def check_edited(self, ref: ResourceRef) -> None:
        """Check minutes after an edit that the resource does not rest on an older generation."""
        body = self.world.cluster.find(ref.kind, ref.namespace, ref.name)
        if body is None or body["metadata"]["uid"] != ref.uid or "deletionTimestamp" in body["metadata"]:
            return
        if self._is_edited(body) and self.world.is_served() and not self.world.will_be_reconciled(ref.uid):
            status, generation = body["status"], body["metadata"]["generation"]
            text = f"{ref.name}: generation {generation}, {status.get('observedGeneration')} is observed"
            self.report("an edit starts the next run", f"{status.get('phase')}, {status.get('reason')}", text)

    # A Job ends with its run

    def _jobs_of(self, ref: ResourceRef, body: Body) -> None:
        """Check that no suspended Job is left whose work is done."""
        status = ResourceStatus.model_validate(body["status"])
        if status.phase is not Phase.COMPLETED or self.world.rewound or not self.world.confirmed:
            return
        for job in self.world.cluster.jobs.values():
            if owner_of(job) == ref and not (job.get("status") or {}).get("conditions"):
                name = job["metadata"]["name"]
                self.report("a Job ends with its run", f"{job['metadata']['labels'][STAGE_LABEL]} is left", name)

    def _timed_out(self, ref: ResourceRef, old: ResourceStatus, new: ResourceStatus) -> None:
        """Check that no wait of a preparation for a node ends its run, unless the spec limits it."""
        job = old.run.job if old.run is not None else None
        body = self.world.cluster.find(ref.kind, ref.namespace, ref.name) or {"spec": {}}
        limited, ran = "deadlineSeconds" in body["spec"], job is not None and job.uid in self.world.workers.started_jobs
        if job is not None and job.stage is Stage.PREPARE and not limited and not ran:
            self.report("a Job ends with its run", "a wait for a node ends its run", f"{ref.name}: {new.message}")


def _difference(kind: Kind, spec: Body, given: Body) -> str:
    """First field in which the purchase differs from the spec; empty if none."""
    image = spec.get("image") or {}
    wanted: dict[str, Any] = {
        Kind.LORA_TRAINING: {"steps": (spec.get("training") or {}).get("steps", 1000)},
        Kind.IMAGE_GENERATION: {
            "prompt": spec.get("prompt"),
            "num_images": image.get("count", 1),
            "seed": image.get("seed"),
        },
        Kind.TRANSCRIPTION: {"language_code": (spec.get("options") or {}).get("language")},
    }[kind]
    for name, value in wanted.items():
        if value is not None and given.get(name) != value:
            return f"{name} {given.get(name)!r} is not {value!r}"
    return ""
