"""What workers have said since this operator started. Nothing here is needed to be right: losing it costs a progress
figure, or a second until the Job's end is noticed.
"""

from contentgen_contract.orders import Progress


class Reports:
    """By the uid of the Job."""

    def __init__(self) -> None:
        self._progress: dict[str, Progress] = {}
        self._finished: set[str] = set()

    def progress(self, job_uid: str) -> Progress | None:
        """The newest progress."""
        return self._progress.get(job_uid)

    def finished(self, job_uid: str) -> bool:
        """Whether the worker says that it has left its outcome."""
        return job_uid in self._finished

    def note_progress(self, job_uid: str, progress: Progress) -> None:
        """Keep the newest."""
        self._progress[job_uid] = progress

    def note_finished(self, job_uid: str) -> None:
        """The outcome can be read before the pod is gone."""
        self._finished.add(job_uid)

    def forget(self, job_uid: str) -> None:
        """The Job's stage is over."""
        self._progress.pop(job_uid, None)
        self._finished.discard(job_uid)
