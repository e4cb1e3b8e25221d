"""Accepted requests: stored in memory and one JSON file each, processed in threads.

After a restart, unfinished requests are processed again, as at a provider: paid requests are not lost.
"""

import os
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

Provider = Literal["fal", "assemblyai"]
QUEUED_SHARE = 0.15  # share of a job's time spent in the queue, so that clients see that state


class ModelError(Exception):
    """Final error of a model: invalid input or failure. The provider returns it as the result."""

    def __init__(
        self,
        message: str,
        *,
        loc: tuple[str | int, ...] = ("body",),
        kind: str = "value_error",
        status_code: int = 422,
    ) -> None:
        super().__init__(message)
        self.detail = [{"loc": list(loc), "msg": message, "type": kind}]
        self.status_code = status_code


class Interrupted(Exception):
    """Cancellation of the current work."""


def _level(given: object) -> object:
    """Level of a log line; earlier versions of the sandbox stored WARNING, which fal does not have."""
    return "WARN" if given == "WARNING" else given


class Log(BaseModel):
    model_config = ConfigDict(frozen=True)

    timestamp: datetime
    message: str
    level: Annotated[Literal["INFO", "WARN", "ERROR"], BeforeValidator(_level)] = "INFO"
    source: str = "USER"


class Failure(BaseModel):
    model_config = ConfigDict(frozen=True)

    message: str
    kind: str
    status_code: int
    detail: Any


class SandboxJob(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: str
    provider: Provider
    model: str
    account: str = ""
    """Only keys of this account see the request."""
    input: dict[str, Any]
    base_url: str
    """The host that the client used, without a slash at the end: results are served from there."""
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    output: dict[str, Any] | None = None
    failure: Failure | None = None
    logs: tuple[Log, ...] = ()
    faults: tuple[str, ...] = ()
    extra_seconds: float = 0
    hidden_seconds: float = 0
    """For so long after it was accepted, the history does not list it."""
    unbilled_seconds: float = 0
    """For so long after its end, the billing events do not list it."""

    @property
    def phase(self) -> Literal["queued", "running", "done"]:
        if self.ended_at:
            return "done"
        return "running" if self.started_at else "queued"

    @property
    def listed(self) -> bool:
        """Whether the history lists it."""
        shown_at = self.created_at + timedelta(seconds=self.hidden_seconds)
        return "history_late" not in self.faults or shown_at <= datetime.now(UTC)

    @property
    def billed(self) -> bool:
        """Whether the billing events list it."""
        if self.ended_at is None:
            return False
        shown_at = self.ended_at + timedelta(seconds=self.unbilled_seconds)
        return "billed_late" not in self.faults or shown_at <= datetime.now(UTC)


class Jobs:
    """Requests by id. Thread-safe; `change` and `add` return after the file was written."""

    def __init__(self, folder: Path, files: Path, kept: int) -> None:
        self._folder, self._files, self._kept = folder, files, kept
        self._lock = threading.RLock()
        folder.mkdir(parents=True, exist_ok=True)
        files.mkdir(parents=True, exist_ok=True)
        read = [SandboxJob.model_validate_json(path.read_bytes()) for path in folder.glob("*.json")]
        self._jobs = {job.id: job for job in sorted(read, key=lambda job: job.created_at)}

    def add(self, job: SandboxJob) -> None:
        with self._lock:
            self._write(job)
            self._jobs[job.id] = job
            self._forget_oldest()

    def change(self, job_id: str, **fields: Any) -> SandboxJob:
        with self._lock:
            job = self._jobs[job_id].model_copy(update=fields)
            self._write(job)
            self._jobs[job_id] = job
            return job

    def get(self, job_id: str) -> SandboxJob | None:
        with self._lock:
            return self._jobs.get(job_id)

    def all(self, provider: Provider, account: str) -> list[SandboxJob]:
        """All requests of an account, oldest first."""
        with self._lock:
            return [job for job in self._jobs.values() if (job.provider, job.account) == (provider, account)]

    def unfinished(self) -> list[SandboxJob]:
        with self._lock:
            return [job for job in self._jobs.values() if job.phase != "done"]

    def position(self, job: SandboxJob) -> int:
        """Number of requests ahead in the queue."""
        with self._lock:
            ahead = (other for other in self._jobs.values() if other.provider == job.provider)
            return sum(other.phase == "queued" and other.created_at < job.created_at for other in ahead)

    def files(self, job_id: str) -> Path:
        """Folder of the result files."""
        folder = self._files / job_id
        folder.mkdir(exist_ok=True)
        return folder

    def _write(self, job: SandboxJob) -> None:
        path = self._folder / f"{job.id}.json"
        new = path.with_suffix(".new")
        with new.open("w") as file:
            file.write(job.model_dump_json())
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)

    def _forget_oldest(self) -> None:
        done = [job for job in self._jobs.values() if job.phase == "done"]
        for job in done[: max(0, len(self._jobs) - self._kept)]:
            del self._jobs[job.id]
            (self._folder / f"{job.id}.json").unlink(missing_ok=True)
            shutil.rmtree(self._files / job.id, ignore_errors=True)


class JobProgress:
    """Progress reporting and cancellation checks for running work."""

    def __init__(self, jobs: Jobs, job_id: str, stop: threading.Event) -> None:
        self._jobs, self._job_id, self._stop = jobs, job_id, stop

    def log(self, message: str, level: Literal["INFO", "WARN", "ERROR"] = "INFO") -> None:
        job = self._jobs.get(self._job_id)
        logs = job.logs if job else ()
        entry = Log(timestamp=datetime.now(UTC), message=message, level=level)
        self._jobs.change(self._job_id, logs=(*logs, entry))

    def wait(self, seconds: float) -> None:
        """Wait some seconds. Raises Interrupted as soon as the work must stop."""
        if self._stop.wait(seconds):
            raise Interrupted


#: Does the work of one job and returns its output. Raises: ModelError, Interrupted.
Work = Callable[[SandboxJob, JobProgress], dict[str, Any]]
#: How long a job takes, in seconds.
Duration = Callable[[SandboxJob], float]


class Runner:
    def __init__(self, jobs: Jobs, work: Work, duration: Duration, parallel: Mapping[Provider, int]) -> None:
        """`parallel`: requests of an account at the same time; the others wait in the queue."""
        self._jobs, self._work, self._duration = jobs, work, duration
        self._parallel = parallel
        self._pools: dict[tuple[Provider, str], ThreadPoolExecutor] = {}
        self._stops: dict[str, threading.Event] = {}
        self._guard = threading.Lock()

    def resume(self) -> None:
        for job in self._jobs.unfinished():
            self.start(job)

    def start(self, job: SandboxJob) -> None:
        if "stuck" in job.faults:
            self._jobs.change(job.id, started_at=datetime.now(UTC))
            return
        self._stops[job.id] = threading.Event()
        self._pool(job.provider, job.account).submit(self._run, job, self._stops[job.id])

    def _pool(self, provider: Provider, account: str) -> ThreadPoolExecutor:
        with self._guard:
            if (provider, account) not in self._pools:
                pool = ThreadPoolExecutor(self._parallel[provider], thread_name_prefix="sandbox")
                self._pools[provider, account] = pool
            return self._pools[provider, account]

    def cancel(self, job_id: str) -> None:
        """End a request without a result; one with the fault `cancel_ignored` goes on."""
        job = self._jobs.get(job_id)
        if job is not None and "cancel_ignored" in job.faults:
            return
        failure = Failure(
            message="Request was cancelled", kind="client_cancelled", status_code=499, detail="Request was cancelled"
        )
        self._jobs.change(job_id, ended_at=datetime.now(UTC), failure=failure)
        if stop := self._stops.get(job_id):
            stop.set()

    def close(self) -> None:
        for stop in list(self._stops.values()):
            stop.set()
        with self._guard:
            for pool in self._pools.values():
                pool.shutdown(cancel_futures=True)

    def _run(self, job: SandboxJob, stop: threading.Event) -> None:
        progress = JobProgress(self._jobs, job.id, stop)
        try:
            progress.wait(self._duration(job) * QUEUED_SHARE)
            self._jobs.change(job.id, started_at=datetime.now(UTC))
            if "model_error" in job.faults:
                raise ModelError("The model failed on this input (a fault of the sandbox)")
            progress.wait(job.extra_seconds)
            output = self._work(job, progress)
            progress.wait(0)
            self._jobs.change(job.id, ended_at=datetime.now(UTC), output=output)
        except Interrupted:
            return  # cancelled: already written; the process ends: begun again at the next start
        except ModelError as error:
            kind = "invalid_request" if error.status_code == 422 else str(error.detail[0]["type"])
            failure = Failure(message=str(error), kind=kind, status_code=error.status_code, detail=error.detail)
            self._fail(job.id, failure)
        except Exception as error:  # noqa: BLE001 - whatever it was, the request must not hang for ever
            self._fail(job.id, Failure(message=repr(error), kind="internal_error", status_code=500, detail=repr(error)))
        finally:
            self._stops.pop(job.id, None)

    def _fail(self, job_id: str, failure: Failure) -> None:
        self._jobs.change(job_id, ended_at=datetime.now(UTC), failure=failure)
