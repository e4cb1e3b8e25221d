"""Progress reports, sent from a thread at most once a second. Lost reports do no harm."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic

from contentgen_contract.names import Step
from contentgen_contract.worker.log import redact_secrets
from contentgen_contract.worker.orders import MAX_CAUSE, Progress
from contentgen_worker.errors import WorkerError
from contentgen_worker.log import event

Send = Callable[[Progress], None]
Fraction = Callable[[float], None]
_PATH = re.compile(r"(https?://[^/\s]+)/[^\s,;]*[^\s,;:]")  # of a URL, which is longer than the cause
_FIRST_ETA = 0.05  # below this share done, the remaining time can't be estimated


class Reporter:
    """Thread that sends the newest Progress. Use as a context manager; `send` may fail or block.

    `first`: step of a report before the first one, None: none is sent.
    """

    def __init__(self, send: Send, interval: float = 1.0, first: Step | None = None) -> None:
        self._send = send
        self._interval = interval
        self._last = None if first is None else Progress(step=first, fraction=0)
        self._changed = threading.Condition()
        self._newest: Progress | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> "Reporter":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout=0.5)  # the thread is a daemon, so a blocked request does not delay the exit

    def report(self, progress: Progress) -> None:
        """Replace the next report. Never blocks."""
        with self._changed:
            self._newest = self._last = progress
            self._changed.notify()

    def tell(self, what: str, error: Exception | None) -> None:
        """Report why `what` is tried again; None: it has succeeded. The step stays. Never blocks."""
        with self._changed:
            if self._last is not None:
                self._newest = self._last.model_copy(update={"message": _cause(what, error) if error else ""})
                self._changed.notify()

    def _run(self) -> None:
        while (progress := self._wait_for_newest()) is not None:
            with suppress(WorkerError):  # the worker API is unavailable; the next report replaces this one
                self._send(progress)
            with self._changed:
                self._changed.wait_for(lambda: self._closed, timeout=self._interval)

    def _wait_for_newest(self) -> Progress | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._newest is not None)
            newest, self._newest = self._newest, None
            return None if self._closed else newest


class Steps:
    """Timing, progress and logging of a stage's steps."""

    def __init__(self, report: Callable[[Progress], None], clock: Callable[[], float] = monotonic) -> None:
        self._report = report
        self._clock = clock
        self.seconds: dict[str, float] = {}
        self._figures: dict[str, object] = {}

    def note(self, **figures: object) -> None:
        """Add figures to the log line of the current step."""
        self._figures |= figures

    @contextmanager
    def __call__(self, step: Step) -> Iterator[Fraction]:
        """Context manager of one step; yields a callback for the share done (0-1)."""
        started = self._clock()

        def fraction(done: float) -> None:
            self._report(_progress(step, done, self._clock() - started))

        fraction(0)
        try:
            yield fraction
        finally:
            seconds = round(self._clock() - started, 3)
            self.seconds[step] = round(self.seconds.get(step, 0) + seconds, 3)
            figures, self._figures = self._figures, {}
            event("step", step=step, **figures, seconds=seconds)


def _cause(what: str, error: Exception) -> str:
    text = _PATH.sub(r"\1/...", redact_secrets(str(error)))
    return f"{what} failed and is tried again: {text}"[:MAX_CAUSE]


def _progress(step: Step, done: float, elapsed: float) -> Progress:
    done = min(max(done, 0.0), 1.0)
    remaining = None if done < _FIRST_ETA else min(int(elapsed / done * (1 - done)), 7 * 86400)
    return Progress(step=step, fraction=done, message="", remaining_seconds=remaining)
