"""Reports of workers, in memory. Correctness does not depend on them: a loss costs a progress figure, or a second until
the Job's end is noticed. So only the Jobs that reported last are kept.
"""

import asyncio
from weakref import WeakValueDictionary

from contentgen_contract.base import Value
from contentgen_contract.worker.orders import Progress
from contentgen_runtime.caches import BoundedDict

_JOBS = 2048


class _Report(Value):
    progress: Progress | None = None
    finished: bool = False
    removed: int = 0  # objects removed for the attempt
    offered_files: int = 0  # requested uploads, including repeated ones
    offered_bytes: int = 0


class Reports:
    """Reports by the uid of the Job."""

    def __init__(self, jobs: int = _JOBS) -> None:
        self._known: BoundedDict[str, _Report] = BoundedDict(jobs)
        self._ended: BoundedDict[str, None] = BoundedDict(jobs)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._known)

    def progress(self, job_uid: str) -> Progress | None:
        """Newest progress; None if there is none."""
        return self._known.get(job_uid, _Report()).progress

    def finished(self, job_uid: str) -> bool:
        """True if the worker reported that its outcome is stored."""
        return self._known.get(job_uid, _Report()).finished

    def note_progress(self, job_uid: str, progress: Progress) -> None:
        """Store the newest progress."""
        self._note(job_uid, progress=progress)

    def note_finished(self, job_uid: str) -> bool:
        """Note that the outcome is stored, before the pod ends; True on the first report."""
        news = not self.finished(job_uid)
        self._note(job_uid, finished=True)
        return news

    def ended(self, job_uid: str) -> bool:
        """True if the worker reported its outcome, or the Job has ended or was deleted."""
        return job_uid in self._ended or self.finished(job_uid)

    def note_removed(self, job_uid: str, count: int) -> int:
        """Count objects removed for an attempt; returns the total."""
        total = self._known.get(job_uid, _Report()).removed + count
        self._note(job_uid, removed=total)
        return total

    def note_offered(self, job_uid: str, files: int, size: int) -> tuple[int, int]:
        """Count requested uploads of an attempt; returns the totals of files and of bytes."""
        known = self._known.get(job_uid, _Report())
        sums = known.offered_files + files, known.offered_bytes + size
        self._note(job_uid, offered_files=sums[0], offered_bytes=sums[1])
        return sums

    def exclusive(self, job_uid: str) -> asyncio.Lock:
        """Lock of an attempt's files: uploads are granted or files are verified, never both at a time."""
        lock = self._locks.get(job_uid)
        if lock is None:
            lock = self._locks[job_uid] = asyncio.Lock()
        return lock

    def forget(self, job_uid: str) -> None:
        """Remove a Job whose stage is over or that was deleted. Its end is remembered: a uid is not reused."""
        self._known.pop(job_uid, None)
        self._ended[job_uid] = None

    def _note(self, job_uid: str, **news: object) -> None:
        self._known[job_uid] = self._known.get(job_uid, _Report()).model_copy(update=news)
