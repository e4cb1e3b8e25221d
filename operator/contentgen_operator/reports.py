"""What workers have said since this operator started. Nothing here is needed to be right: losing it costs a progress
figure, or a second until the Job's end is noticed. So there may be little of it: the Jobs that were heard of last.
"""

from collections import OrderedDict

from contentgen_contract.base import Value
from contentgen_contract.orders import Progress

_JOBS = 2048


class _Report(Value):
    progress: Progress | None = None
    finished: bool = False


class Reports:
    """By the uid of the Job."""

    def __init__(self, jobs: int = _JOBS) -> None:
        self._jobs = jobs
        self._known: OrderedDict[str, _Report] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def progress(self, job_uid: str) -> Progress | None:
        """The newest progress."""
        return self._known.get(job_uid, _Report()).progress

    def finished(self, job_uid: str) -> bool:
        """Whether the worker says that it has left its outcome."""
        return self._known.get(job_uid, _Report()).finished

    def note_progress(self, job_uid: str, progress: Progress) -> None:
        """Keep the newest."""
        self._note(job_uid, progress=progress)

    def note_finished(self, job_uid: str) -> bool:
        """The outcome can be read before the pod is gone; whether this is news."""
        news = not self.finished(job_uid)
        self._note(job_uid, finished=True)
        return news

    def forget(self, job_uid: str) -> None:
        """The Job's stage is over, or the Job is gone."""
        self._known.pop(job_uid, None)

    def _note(self, job_uid: str, **news: object) -> None:
        self._known[job_uid] = self._known.pop(job_uid, _Report()).model_copy(update=news)
        if len(self._known) > self._jobs:
            self._known.popitem(last=False)
