"""Actions of users, stores, providers and the cluster: one method per `PlannedEvent.do`."""

# ruff: noqa: ARG002 - each is called with the index of a subject, whether it needs one or not
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from contentgen_contract.advice.guidance import Facts
from contentgen_contract.advice.permitted_actions import Does
from contentgen_contract.names import (
    ACCOUNT_LABEL,
    ADOPT_ANNOTATION,
    APPROVAL_LABEL,
    APPROVE_ANNOTATION,
    APPROVED_BY_ANNOTATION,
    CANCEL_ANNOTATION,
    COLLECT_ANNOTATION,
    QUEUE_LABEL,
    REJECT_ANNOTATION,
    RERUN_ANNOTATION,
    RESUBMIT_ANNOTATION,
    Kind,
    Phase,
    Reason,
)
from contentgen_operator.state.observed import ResourceRef
from contentgen_simulation.rehearsal.world.cluster import ref_of
from contentgen_simulation.rehearsal.world.faults import IoFault
from contentgen_simulation.rehearsal.world.line_faults import LineFault
from contentgen_simulation.rehearsal.world.plan import spec_of
from contentgen_simulation.rehearsal.world.provider import FOREIGN

if TYPE_CHECKING:
    from contentgen_simulation.rehearsal.world.world import RehearsalWorld

Body = dict[str, Any]
_OUTAGE_REASONS = {"mongo": "StoreUnavailable", "storage": "StoreUnavailable"}
_EDIT_SECONDS = 400.0  # after which an edit must be observed
_LONG_SECONDS = 300.0  # wait after which a status must have the cause of the delay


class Actions:
    """Executor of planned events."""

    def __init__(self, world: "RehearsalWorld") -> None:
        self._world = world
        self._variant: dict[int, int] = {}
        self._policy: dict[int, str] = {}
        self._suspended: set[int] = set()
        self._annotations: defaultdict[int, dict[str, str]] = defaultdict(dict)
        self._verdicts = 0  # makes a verdict that is given again another one

    # People

    def apply(self, who: int, variant: int | None = None, policy: str | None = None, approved: bool = False) -> None:
        """Create or change the resource; `approved`: a new one brings an approval of its first run."""
        subject = self._world.plan.subjects[who]
        self._variant[who] = self._variant.get(who, subject.variant) if variant is None else variant
        if policy is not None:
            self._policy[who] = policy
        if self._world.body_of(who) is None:
            self._annotations[who] = {APPROVE_ANNOTATION: "1-999", APPROVED_BY_ANNOTATION: "alice"} if approved else {}
        self._put(who)

    def edit(self, who: int, variant: int) -> None:
        """Change the spec to another variant."""
        if self._exists(who):
            self._variant[who] = variant
            self._put(who)

    def suspend(self, who: int) -> None:
        """Set spec.suspend."""
        self._suspended.add(who)
        if self._exists(who):
            self._put(who)

    def unsuspend(self, who: int) -> None:
        """Clear spec.suspend."""
        self._suspended.discard(who)
        if self._exists(who):
            self._put(who)

    def rerun(self, who: int, token: str) -> None:
        """Request another paid run."""
        self._annotate(who, RERUN_ANNOTATION, token)

    def cancel(self, who: int) -> None:
        """Cancel the current run."""
        run = ((self._world.body_of(who) or {}).get("status") or {}).get("run") or {}
        if run:
            self._annotate(who, CANCEL_ANNOTATION, str(run["number"]))

    def resubmit(self, who: int) -> None:
        """Allow another payment, as the status of SubmissionUnknown says."""
        body = self._world.body_of(who) or {}
        token = Facts.parse(body.get("status") or {}).token
        if token is None:
            return
        if self._annotations[who].get(RESUBMIT_ANNOTATION) != token:
            status = body["status"]
            groups = {self._group_of(who, status["run"]["spec"])}
            if status["reason"] == Reason.STORES_DISAGREE:  # nothing was paid since, says the person: in no spelling
                groups |= {post.group for post in self._world.provider.posts if post.ref.uid == body["metadata"]["uid"]}
            self._world.resubmitted.update(groups)
        self._annotate(who, RESUBMIT_ANNOTATION, token)

    def adopt(self, who: int) -> None:
        """Adopt the lost request from the provider's dashboard, or the newest other one if it is not listed."""
        status = (self._world.body_of(who) or {}).get("status") or {}
        if status.get("phase") != Phase.SUBMISSION_UNKNOWN or not status.get("run"):
            return
        group = self._group_of(who, status["run"]["spec"])
        requests = list(self._world.provider.requests.values())
        lost = [
            request.id
            for request in requests
            if request.post.group == group and not self._world.is_recorded(request.id)
        ]
        if requests:
            self._annotate(who, ADOPT_ANNOTATION, lost[-1] if lost else requests[-1].id)

    def collect(self, who: int) -> None:
        """Collect again, as the status of a failed collect stage permits."""
        status = (self._world.body_of(who) or {}).get("status") or {}
        for action in status.get("actions") or ():
            if action["verb"] == Does.COLLECT:
                self._annotate(who, COLLECT_ANNOTATION, action["value"])

    def require(self, who: int) -> None:
        """Label the namespace: each run in it needs an approval."""
        namespace = self._world.plan.subjects[who].namespace
        labels = self._world.cluster.server.namespace_labels
        labels[namespace] = labels.get(namespace, {}) | {APPROVAL_LABEL: "Manual"}

    def approve(self, who: int, offset: int = 0, variant: int | None = None) -> None:
        """Approve the run that the status shows, or the one `offset` later, whether it waits or not: there is no
        admission policy. `variant`: with an edit in the same request.
        """
        self._decide(who, APPROVE_ANNOTATION, REJECT_ANNOTATION, offset, variant)

    def reject(self, who: int) -> None:
        """Reject the run that the status shows."""
        self._decide(who, REJECT_ANNOTATION, APPROVE_ANNOTATION)

    def _decide(self, who: int, name: str, other: str, offset: int = 0, variant: int | None = None) -> None:
        run = ((self._world.body_of(who) or {}).get("status") or {}).get("run") or {}
        if not self._exists(who):
            return
        self._verdicts += 1
        given = self._annotations[who]
        given.pop(other, None)
        value = str(run.get("number", 1) + offset)
        if name == APPROVE_ANNOTATION:  # the amount that is shown, or any
            value += f"-{(run.get('approval') or {}).get('amount') or 999}"
        given[name] = f"{value}-{self._verdicts}" if name in given else value
        given[APPROVED_BY_ANNOTATION] = "alice"
        self._variant[who] = self._variant[who] if variant is None else variant
        self._put(who)

    def delete(self, who: int) -> None:
        """Delete the resource."""
        if self._exists(who):
            body = self._world.body_of(who) or {}
            self._world.oracles.deleted(body)
            self._world.cluster.remove(ref_of(self._world.plan.subjects[who].kind, body))

    def recreate_namespace(self, who: int) -> None:
        """Delete the namespace; a minute later create another one of the same name."""
        namespace = self._world.plan.subjects[who].namespace
        inside = [index for index, subject in enumerate(self._world.plan.subjects) if subject.namespace == namespace]
        for each in inside:
            self.delete(each)

        def again() -> None:
            if any(self._world.body_of(each) is not None for each in inside):
                self._world.later(60, again)
                return
            self._world.create_namespace(namespace)
            for each in inside:
                self.apply(each)

        self._world.later(60, again)

    def rebuild(self, who: int) -> None:
        """The cluster is lost. A minute later there is a new one with the old MongoDB and bucket, and everything is
        applied to it.
        """
        there = [index for index, _ in enumerate(self._world.plan.subjects) if self._exists(index)]
        self._world.rebuild_cluster()

        def again() -> None:
            for each in there:
                self.apply(each)

        self._world.later(60, again)

    def grant(self, who: int, account: str, only: bool = False) -> None:
        """Label the namespace with a provider account (empty: the default one); `only`: it never had another one."""
        namespace = self._world.plan.subjects[who].namespace
        self._world.cluster.server.namespace_labels[namespace] = {ACCOUNT_LABEL: account} if account else {}
        if only:
            self._world.granted[namespace].clear()
        self._world.granted[namespace].add(account)

    def remove_account(self, who: int, account: str, seconds: float) -> None:
        """Take a provider account out of the chart's values for some time."""
        self._world.removed.add(account)
        self._world.restart()

        def back() -> None:
            self._world.removed.discard(account)
            self._world.restart()

        self._world.later(seconds, back)

    def confirm(self, who: int) -> None:
        """An administrator confirms all namespaces of the cluster, if it was rebuilt."""
        self._world.confirm_cluster()

    def audit(self, who: int) -> None:
        """Ask for an audit of the providers' accounts."""
        self._world.request_audit()

    def _annotate(self, who: int, name: str, value: str) -> None:
        if self._exists(who):
            self._annotations[who][name] = value
            self._put(who)

    def _exists(self, who: int) -> bool:
        return self._world.body_of(who) is not None

    def _put(self, who: int) -> None:
        subject, body = self._world.plan.subjects[who], self._world.body_of(who)
        uid = body["metadata"]["uid"] if body else self._world.fresh_uid()
        ref = ResourceRef(kind=subject.kind, namespace=subject.namespace, name=subject.name, uid=uid)
        options = dict(subject.options)
        if who in self._policy:
            options["deletionPolicy"] = self._policy[who]
        if who in self._suspended:
            options["suspend"] = True
        self._world.asked[self._group(who)].add(self._annotations[who].get(RERUN_ANNOTATION))
        spec = spec_of(subject.kind, self._variant[who], options)
        annotations = dict(self._annotations[who])
        labels = {} if self._world.plan.queue_seconds is None else {QUEUE_LABEL: "team"}
        if body is not None and (run := body["status"].get("run")):
            self._world.oracles.annotated(body, spec, annotations, self._group_of(who, run["spec"]))
        self._world.cluster.put(ref, spec, annotations, labels)
        self._world.later(_EDIT_SECONDS, lambda: self._world.oracles.check_edited(ref))

    def _group(self, who: int) -> tuple[str, ...]:
        subject = self._world.plan.subjects[who]
        return self._group_of(who, spec_of(subject.kind, self._variant[who], subject.options))

    def _group_of(self, who: int, spec: Body) -> tuple[str, ...]:
        subject = self._world.plan.subjects[who]
        image, options = spec.get("image") or {}, spec.get("options") or {}
        given: dict[Kind, Body] = {
            Kind.LORA_TRAINING: {"steps": (spec.get("training") or {}).get("steps")},
            Kind.IMAGE_GENERATION: {"prompt": spec.get("prompt"), "num_images": image.get("count")},
            Kind.TRANSCRIPTION: {"language_code": options.get("language")},
        }
        ref = ResourceRef(kind=subject.kind, namespace=subject.namespace, name=subject.name, uid="-")
        return self._world.group_of(ref, given[subject.kind])

    # Stores and the API server

    def unavailable(self, who: int, store: str, seconds: float) -> None:
        """Make a store unavailable."""
        self._world.faults.unavailable_until[store] = self._world.seconds + seconds
        if store in _OUTAGE_REASONS and seconds > _LONG_SECONDS:
            self._world.later(
                seconds - 1,
                lambda: self._world.oracles.check_reported(f"{store} is unavailable", (_OUTAGE_REASONS[store],)),
            )

    def refuse(self, who: int, what: str, code: int, seconds: float) -> None:
        """Make the API server refuse some requests."""
        self._world.faults.refusals.append((what, code, self._world.seconds + seconds))
        if what == "jobs" and seconds > _LONG_SECONDS:
            reasons = ("JobRefused", "Retrying")
            self._world.later(seconds - 1, lambda: self._world.oracles.check_reported("refused jobs", reasons))

    def snapshot(self, who: int) -> None:
        """Take a backup."""
        self._world.snapshot()

    def rewind(self, who: int, stores: list[str]) -> None:
        """Restore the backup."""
        self._world.rewind(stores)

    def back_up(self, who: int) -> None:
        """Run `contentgen backup`."""
        self._world.back_up()

    def restore(self, who: int) -> None:
        """Run `contentgen restore` of the newest backup."""
        self._world.restore_backup()

    def lose(self, who: int, what: str) -> None:
        """Lose a marker, the object of the last try (`send`) or its end (`end`) in the bucket."""
        self._world.bucket.lose(what)

    # Processes

    def election(self, who: int) -> None:
        """Introduce leader election by a Lease."""
        self._world.elect()

    def restart(self, who: int) -> None:
        """Kill the operator with SIGKILL and restart it."""
        self._world.restart()

    def raise_budget(self, who: int, dollars: str) -> None:
        """Raise the limit of the budget."""
        for budget in self._world.cluster.budgets:
            budget["spec"]["limits"]["day"] = dollars
            budget["metadata"]["generation"] += 1

    def second(self, who: int, seconds: float) -> None:
        """Run a second operator process for some time."""
        self._world.start_process()
        extra = self._world._processes[-1]
        self._world.later(seconds, lambda: self._world._resume.append((extra, True)))

    def clock(self, who: int, hours: float, seconds: float) -> None:
        """Shift the operator's clock for some time."""
        self._world.skewed(hours * 3600)
        self._world.later(seconds, lambda: self._world.skewed(0))

    def io(self, who: int, *, anchor: str, nth: int, side: str, action: str, seconds: float = 30.0) -> None:
        """Inject a fault at one I/O operation."""
        self._world.faults.io.append(IoFault(who, anchor, nth, side, action, seconds))

    def line(self, who: int, nth: int, action: str) -> None:
        """Inject a fault at one line between the planned purchase and the stored request id."""
        self._world.lines.faults.append(LineFault(who, nth, action))

    # Providers and workers

    def provider_down(self, who: int, how: str, seconds: float) -> None:
        """Make the provider unavailable or let it refuse everything."""
        self._world.provider.down, self._world.provider.down_until = how, self._world.seconds + seconds

    def reprice(self, who: int, factor: float, seconds: float) -> None:
        """Multiply fal's prices, which can't be read for some time."""
        provider = self._world.provider
        provider.factor, provider.unpriced_until = factor, self._world.seconds + seconds

    def forget(self, who: int, seconds: float) -> None:
        """Let fal's queue answer for some time that it knows no request."""
        self._world.provider.forgets_until = self._world.seconds + seconds

    def swap_key(self, who: int, seconds: float) -> None:
        """Put the key of a foreign account into the place of all keys for some time."""
        self._world.provider.foreign_until = self._world.seconds + seconds
        for subject in self._world.plan.subjects:
            self._world.granted[subject.namespace].add(FOREIGN)

    def lose_response(self, who: int) -> None:
        """Delete the providers' responses from the bucket, as a lifecycle rule of somebody else does."""
        objects = self._world.bucket.objects
        self._world.lost_responses = True
        for key in [each_key for each_key in objects if each_key.endswith("/response.json")]:
            dict.pop(objects, key)

    def evict(self, who: int) -> None:
        """Kill the running workers."""
        self._world.workers.evict()

    def hold_jobs(self, who: int, seconds: float) -> None:
        """Suspend the running Jobs from outside, as Kueue does with those that it preempts, and resume them later."""
        self._world.workers.hold(seconds)

    def jobs_fail(self, who: int, seconds: float) -> None:
        """Kill all workers for some time."""
        self._world.workers.failing_until = self._world.seconds + seconds

    def preempt_at_outcome(self, who: int) -> None:
        """Suspend the next Job just as its outcome is stored, as a queue may."""
        self._world.workers.preempts_at_outcome = True

    def no_node(self, who: int, seconds: float) -> None:
        """Let pods wait for a node for some time."""
        self._world.workers.no_node_until = self._world.seconds + seconds

    def change_workers(self, who: int, image: str) -> None:
        """Change the settings of the workers by an upgrade of the chart, which restarts the operator."""
        self._world.template = self._world.template.model_copy(update={"image": image})
        self._world.restart()

    def zombie(self, who: int, seconds: float) -> None:
        """Let the cluster give up the next worker, which writes its files late."""
        self._world.workers.zombie_seconds = seconds
