"""Simulated workers and Job controller: outcome and files of a Job, and the Job's status."""

import hashlib
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from contentgen_contract.names import KIND_LABEL, STAGE_LABEL, Kind, Reason, Stage
from contentgen_contract.records import keys
from contentgen_contract.records.tenancy import UNSCOPED, binding_id
from contentgen_contract.worker.orders import Outcome
from contentgen_operator.state.observed import BucketFile, JobView, Resource
from contentgen_operator.state.runs import purchase_key
from contentgen_operator.watch.event_handlers import owner_of
from contentgen_simulation.world import outcome_of, source_sha

if TYPE_CHECKING:
    from contentgen_simulation.rehearsal.world.world import RehearsalWorld

Body = dict[str, Any]
_WORK_SECONDS = 6.0
_AGAIN_SECONDS = 10.0
_SIZE = 7
_TOLD_SECONDS = 299.0  # after which a held Job is told in the status


def sha_of(request_id: str, name: str) -> str:
    """Checksum of a file derived from a request's result or a source."""
    return hashlib.sha256(f"{request_id} {name}".encode()).hexdigest()


def is_over(job: Body) -> bool:
    """Whether a Job has ended."""
    return bool((job.get("status") or {}).get("conditions"))


class _ResponseMissingError(Exception):
    """The bucket has no response of the purchase."""


class Workers:
    """Runs Jobs. `failing_until`: until then every worker is killed before it stores an outcome."""

    def __init__(self, world: "RehearsalWorld") -> None:
        self._world = world
        self.failing_until = -1.0
        self.zombie_seconds: float | None = None  # the next worker is lost by its node, and writes so much later
        self.no_node_until = -1.0  # until then the pods wait for a node
        self.preempts_at_outcome = False  # the next Job is suspended for ever just as its outcome is stored
        self.started_jobs: set[str] = set()  # uids of Jobs of which a pod ran
        self._pods: dict[str, Body] = {}  # by the Job's uid
        self.made: dict[str, str] = {}  # SHA-256 of a file -> what it was made of
        self._starts: Counter[str] = Counter()  # pods of a Job, and suspensions, by the Job's uid

    def started(self, job: Body) -> None:
        """Start a worker for a new Job; one that is suspended is resumed after the queue's time, as by Kueue."""
        if job["spec"].get("suspend"):
            name, uid = job["metadata"]["name"], job["metadata"]["uid"]
            self._resume_later(name, uid, self._world.plan.queue_seconds or 0.0)
        else:
            self._begin(job)

    def pods_of(self, name: str) -> list[Body]:
        """Pods of the Job of this name."""
        job = self._world.cluster.jobs.get(name)
        pod = self._pods.get(job["metadata"]["uid"]) if job is not None else None
        return [pod] if pod is not None else []

    def hold(self, seconds: float) -> None:
        """Suspend all Jobs that run, which ends their pods, and resume them later."""
        for job in [each_job for each_job in self._world.cluster.jobs.values() if not is_over(each_job)]:
            name, uid = job["metadata"]["name"], job["metadata"]["uid"]
            if not job["spec"].get("suspend"):
                self._suspend(job)
                self._resume_later(name, uid, seconds)

    def _suspend(self, job: Body) -> None:
        job["spec"]["suspend"] = True
        job.pop("status", None)  # the start time goes with the pod
        self._pods.pop(job["metadata"]["uid"], None)
        self._starts[job["metadata"]["uid"]] += 1
        self._changed(job)

    def _resume_later(self, name: str, uid: str, seconds: float) -> None:
        self._world.later(seconds, lambda: self._resume(name, uid))
        if seconds > _TOLD_SECONDS:
            self._world.later(_TOLD_SECONDS, lambda: self._world.oracles.check_queued(name, uid))

    def _resume(self, name: str, uid: str) -> None:
        job = self._world.cluster.jobs.get(name)
        if job is None or job["metadata"]["uid"] != uid or not job["spec"].get("suspend"):
            return
        job["spec"]["suspend"] = False
        job["status"] = {"startTime": self._world.now().strftime("%Y-%m-%dT%H:%M:%SZ")}
        self._changed(job)
        self._begin(job)

    def _begin(self, job: Body) -> None:
        """Create the pod, which waits for a node or starts."""
        uid = job["metadata"]["uid"]
        self._starts[uid] += 1
        owner = {"apiVersion": "batch/v1", "kind": "Job", "uid": uid, "controller": True}
        meta = {"name": f"pod-{uid}", "ownerReferences": [owner]}
        self._pods[uid] = {"metadata": meta, "spec": job["spec"]["template"]["spec"], "status": {"phase": "Pending"}}
        self._schedule(job["metadata"]["name"], uid, self._starts[uid])

    def _schedule(self, name: str, uid: str, start: int) -> None:
        """Start the pod on a node; later if there is none."""
        job = self._present(name, uid, start)
        if job is None:
            return
        limit = job["spec"].get("activeDeadlineSeconds")  # of the Job: its controller counts the wait, too
        since = (job.get("status") or {}).get("startTime") or job["metadata"]["creationTimestamp"]
        if limit is not None and self._world.now() >= self._world.instant(since) + timedelta(seconds=limit):
            self._end(job, "Failed", "DeadlineExceeded")
            return
        if self._world.seconds < self.no_node_until:
            said = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
            self._pods[uid]["status"] = {"phase": "Pending", "conditions": [said]}
            self._world.later(_AGAIN_SECONDS, lambda: self._schedule(name, uid, start))
            return
        self.started_jobs.add(uid)
        container = {"name": "worker", "containerID": "containerd://1", "state": {"running": {}}}
        started = self._world.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        self._pods[uid]["status"] = {"phase": "Running", "startTime": started, "containerStatuses": [container]}
        self._world.later(_WORK_SECONDS, lambda: self._work(name, uid, start))

    def _present(self, name: str, uid: str, start: int) -> Body | None:
        """The Job, if it goes on with the pod of this start."""
        job = self._world.cluster.jobs.get(name)
        there = job is not None and job["metadata"]["uid"] == uid and not is_over(job) and self._starts[uid] == start
        return job if there else None

    def _work(self, name: str, uid: str, start: int) -> None:
        job = self._present(name, uid, start)
        if job is None:
            return
        pod = self._pods[uid]
        # As the kubelet counts.
        since = self._world.instant(pod["status"]["startTime"])
        deadline = since + timedelta(seconds=pod["spec"]["activeDeadlineSeconds"])
        if self._world.now() >= deadline:
            pod["status"] |= {"phase": "Failed", "reason": "DeadlineExceeded", "message": "Pod was active for long"}
            self._end(job, "Failed", "BackoffLimitExceeded")
        elif self._world.seconds < self.failing_until:
            self._end(job, "Failed", "BackoffLimitExceeded")
        else:
            self._finish(job, start)

    def _finish(self, job: Body, start: int) -> None:
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        try:
            outcome = None if self._world.faults.is_unavailable("storage") else self._outcome(job)
        except _ResponseMissingError:  # as the worker's OwnFileMissing
            self._end(job, "Failed", "BackoffLimitExceeded")
            return
        if outcome is None:
            self._world.later(_AGAIN_SECONDS, lambda: self._work(name, uid, start))
        elif self.zombie_seconds is not None:
            write, self.zombie_seconds = self.zombie_seconds, None
            self._end(job, "Failed", "BackoffLimitExceeded")
            self._world.later(write, lambda: self._write(*outcome))
        elif self.preempts_at_outcome:
            self.preempts_at_outcome = False
            self._write(*outcome)
            self._world.outcome_reported(owner_of(job), uid)
            self._suspend(job)
        else:
            self._write(*outcome)
            self._end(job, "Complete", "")

    def evict(self) -> None:
        """Kill all running pods."""
        jobs = [each_job for each_job in self._world.cluster.jobs.values() if not is_over(each_job)]
        for job in [each_job for each_job in jobs if not each_job["spec"].get("suspend")]:
            self._end(job, "Failed", "BackoffLimitExceeded")

    def _end(self, job: Body, kind: str, reason: str) -> None:
        pod = self._pods.get(job["metadata"]["uid"])
        if pod is not None and pod["status"]["phase"] != "Failed":
            pod["status"] |= {"phase": "Succeeded" if kind == "Complete" else "Failed"}
        job["status"] = {"conditions": [{"type": kind, "status": "True", "reason": reason, "message": reason}]}
        self._changed(job)

    def _changed(self, job: Body) -> None:
        owner = owner_of(job)
        if owner is not None:
            self._world.job_changed(owner, JobView.parse(job))

    def _outcome(self, job: Body) -> tuple[str, str, Outcome] | None:
        """Outcome key, file prefix and outcome; None while the worker API has no order."""
        recorded = self._world.database["worker_jobs"].find_one({"uid": job["metadata"]["uid"]})
        owner = owner_of(job)
        body = self._world.cluster.find(owner.kind, owner.namespace, owner.name) if owner else None
        if recorded is None or owner is None or body is None or body["metadata"]["uid"] != owner.uid:
            return None
        resource = Resource.parse(owner.kind, body)
        run = resource.status.run
        if run is None or run.number != recorded["run"]:
            return None
        kind, stage = Kind(job["metadata"]["labels"][KIND_LABEL]), Stage(job["metadata"]["labels"][STAGE_LABEL])
        prefix = keys.prefix(kind, stage, owner.namespace, owner.uid, run.version)
        key = keys.outcome(owner.uid, run.number, stage, recorded["attempt"])
        if stage is Stage.PREPARE:
            made_of = f"source {source_sha(run.spec)}"
            return key, prefix, self._stored(kind, stage, owner.uid, made_of, run.spec)
        asked = [
            purchase_key(resource, run).model_copy(update={"scope": scope}) for scope in self._scopes(owner.namespace)
        ]
        purchase = self._world.database["ledger"].find_one({"_id": {"$in": list(map(str, asked))}, "jobId": owner.uid})
        return key, prefix, self._collected(kind, owner.uid, purchase or {}, run.spec)

    def _scopes(self, namespace: str) -> set[str]:
        """Scopes of a namespace's keys."""
        bound = self._world.database["namespaces"].find_one({"_id": binding_id(self._world.clusters[-1], namespace)})
        return {UNSCOPED, str((bound or {}).get("scope") or UNSCOPED)}

    def _collected(self, kind: Kind, uid: str, purchase: Body, spec: Body) -> Outcome:
        answer = self._world.bucket.objects.get(purchase.get("resultKey") or "")
        request_id = answer.get("made_by") if isinstance(answer, dict) else None
        request = self._world.provider.requests.get(request_id or "")
        if request is None:
            raise _ResponseMissingError
        self._world.oracles.collecting(purchase, request)
        gone = request.provider == "fal" and (
            request.fate == "files-gone"
            or (request.fate == "files-expire" and self._world.seconds > request.ended_at + 3600)
        )
        if gone:
            return self._failed(uid, Reason.RESULT_UNREACHABLE, "the file answered 404")
        return self._stored(kind, Stage.COLLECT, uid, request.id, spec, pictures=request.pictures)

    def _failed(self, uid: str, reason: Reason, message: str) -> Outcome:
        return Outcome(job_id=uid, stage=Stage.COLLECT, attempt=1, reason=reason, message=message, passing=False)

    def _stored(self, kind: Kind, stage: Stage, uid: str, made_of: str, spec: Body, *, pictures: int = 1) -> Outcome:
        outcome = outcome_of(kind, stage, uid, spec)
        body = outcome.model_dump(mode="json", by_alias=True)
        if body["facts"]["type"] == "images":
            names = [(f"image_{n}.png", f"image_{n}_thumb.png") for n in range(1, pictures + 1)]
            body["facts"]["images"] = [
                {"name": name, "thumbnail": thumbnail, "width": 8, "height": 8, "sizeBytes": _SIZE}
                for name, thumbnail in names
            ]
            like = body["files"][0]
            body["files"] = [like | {"name": each} for both in names for each in both]
        for file in body["files"]:
            file["sha256"] = sha_of(made_of, file["name"])
            self.made[file["sha256"]] = made_of
        return Outcome.model_validate(body)

    def _write(self, key: str, prefix: str, outcome: Outcome) -> None:
        for file in outcome.files:
            self._world.bucket.objects[prefix + file.name] = BucketFile(size_bytes=file.size_bytes, sha256=file.sha256)
        self._world.bucket.objects[key] = outcome.model_dump_json(by_alias=True)
