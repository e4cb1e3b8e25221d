"""The runner: lists Jobs and pods, decides, and carries the actions out. One thread, which owns the processes."""

import logging
import shutil
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx

from contentgen_try import processes
from contentgen_try.cluster import Cluster, Refused
from contentgen_try.kubelet import actions, decide, manifests, volumes
from contentgen_try.kubelet.state import Body, Container, Observed
from contentgen_try.processes import Program

_PERIOD_SECONDS = 0.25
_RENEW_SHARE = 0.8  # of a token's lifetime, as the kubelet
_OUTPUT_BYTES = 2048
_log = logging.getLogger(__name__)


@dataclass
class _Running:
    """Process of a pod."""

    process: subprocess.Popen[bytes]
    pod: Body
    log: Path
    work: Path
    started: datetime
    ended: datetime | None = None
    renew_at: dict[str, float] = field(default_factory=dict)  # by volume: seconds since the epoch

    def observed(self) -> Container:
        """State of the process."""
        code = processes.ended(self.process)
        if code is None:
            return Container(self.started)
        self.ended = self.ended or datetime.now(UTC)
        return Container(self.started, self.ended, code, _tail(self.log))


class JobRunner:
    """Runs the Jobs of all namespaces. `worker`: command of the image contentgen-worker, without its arguments."""

    def __init__(
        self, cluster: Cluster, *, worker: Sequence[str], settings: dict[str, str], work: Path, logs: Path
    ) -> None:
        self._cluster = cluster
        self._worker = worker
        self._settings = settings
        self._work = work
        self._logs = logs
        self._running: dict[str, _Running] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs")

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Kill all processes and end the thread."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopping.wait(_PERIOD_SECONDS):
                try:
                    self.tick()
                except (httpx.TransportError, Refused) as error:
                    _log.warning("Jobs: %s", error)
        finally:
            for each in self._running.values():
                processes.kill(each.process)

    def tick(self) -> None:
        """Observe, decide and act once for each Job."""
        jobs = self._cluster.items("/apis/batch/v1/jobs")
        pods = tuple(self._cluster.items("/api/v1/pods"))
        for job in jobs:
            mine = sorted(
                (pod for pod in pods if manifests.job_of(pod) == job["metadata"]["uid"]),
                key=lambda pod: str(pod["metadata"].get("creationTimestamp")),
            )
            seen = {uid: each.observed() for uid, each in self._running.items()}
            for action in decide.decide(Observed(job, tuple(mine), seen, datetime.now(UTC))):
                self._act(job, action)
        for pod in decide.orphaned(pods, frozenset(job["metadata"]["uid"] for job in jobs)):
            self._delete_pod(pod)
        self._forget({pod["metadata"]["uid"] for pod in pods})
        self._renew()

    def _act(self, job: Body, action: actions.Action) -> None:
        match action:
            case actions.CreatePod():
                pod = manifests.pod_of(job)
                self._cluster.create(f"/api/v1/namespaces/{job['metadata']['namespace']}/pods", pod)
            case actions.StartContainer(pod):
                self._start(pod)
            case actions.StopContainer(pod):
                self._kill(pod["metadata"]["uid"])
            case actions.DeletePod(pod):
                self._delete_pod(pod)
            case actions.PatchPod(pod, status):
                self._cluster.patch_status(_pod_path(pod), status)
            case actions.PatchJob(status):
                self._cluster.patch_status(_job_path(job), status)
            case actions.DeleteJob():
                self._cluster.delete(_job_path(job), job["metadata"]["uid"])

    def _start(self, pod: Body) -> None:
        uid = pod["metadata"]["uid"]
        work = self._work / uid
        mounted = volumes.folders(pod, work)
        for folder in mounted.values():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = self._logs / pod["metadata"]["namespace"] / f"{pod['metadata']['name']}.log"
        renew = {name: self._write_token(pod, name, source, work) for name, source in volumes.tokens(pod)}
        container = pod["spec"]["containers"][0]
        program = Program(
            "worker",
            [*self._worker, *(container.get("args") or ())],
            processes.environment(self._settings | volumes.environment(pod, mounted)),
            log,
            work,
        )
        self._running[uid] = _Running(processes.start(program), pod, log, work, datetime.now(UTC), renew_at=renew)

    def _write_token(self, pod: Body, volume: str, source: Body, work: Path) -> float:
        """Write a token; returns when to renew it, in seconds since the epoch."""
        seconds = int(source.get("expirationSeconds") or 3600)
        account = str(pod["spec"].get("serviceAccountName") or "default")
        token = self._cluster.token(pod["metadata"]["namespace"], account, source["audience"], seconds, pod)
        volumes.write_token(work / volume, source["path"], token)
        return datetime.now(UTC).timestamp() + seconds * _RENEW_SHARE

    def _renew(self) -> None:
        now = datetime.now(UTC).timestamp()
        for each in self._running.values():
            for volume, source in volumes.tokens(each.pod):
                if each.ended is None and now >= each.renew_at.get(volume, now + 1):
                    each.renew_at[volume] = self._write_token(each.pod, volume, source, each.work)

    def _kill(self, uid: str) -> None:
        if (found := self._running.get(uid)) is not None:
            processes.kill(found.process)

    def _delete_pod(self, pod: Body) -> None:
        self._kill(pod["metadata"]["uid"])
        self._cluster.delete(_pod_path(pod), pod["metadata"]["uid"])

    def _forget(self, existing: set[str]) -> None:
        """Kill processes of pods that are gone, and remove the folders of ended ones."""
        for uid, each in list(self._running.items()):
            if uid not in existing:
                self._kill(uid)
                del self._running[uid]
            if processes.ended(each.process) is not None:
                shutil.rmtree(each.work, ignore_errors=True)


def _pod_path(pod: Body) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def _job_path(job: Body) -> str:
    return f"/apis/batch/v1/namespaces/{job['metadata']['namespace']}/jobs/{job['metadata']['name']}"


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _OUTPUT_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
