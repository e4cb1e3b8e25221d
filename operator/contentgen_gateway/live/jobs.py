"""What is known right now of jobs that are under way, as the API server tells it: before the operator has written a
record, and as often as something moves.

It may be behind, and it forgets what is finished: the record has that. Nothing here says who may see it (`Sight` does).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager

from contentgen_contract.api_paths import UNFINISHED, resource_of
from contentgen_contract.names import Kind
from contentgen_gateway.live.job_snapshot import JobSnapshot
from contentgen_runtime.kube import Body, KubeApi
from contentgen_runtime.watching import ListComplete, ObjectChanged, ObjectDeleted, Seen, follow

MOST = 20_000
"""Jobs under way that are known at a time, some kilobytes each at most; of more, the quietest are left out."""

_log = logging.getLogger(__name__)


class JobFollower:
    """One who follows a job, at their own pace: what is newest is what they get, and nobody waits for them."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._newest: JobSnapshot | None = None

    def tell(self, now: JobSnapshot | None) -> None:
        """What there is to know; None where it can't be known here any more: it was deleted, or the end was missed."""
        self._newest = now
        self._news.set()

    async def next(self, seconds: float) -> JobSnapshot | None:
        """What is new, as soon as something is. Raises TimeoutError after so many seconds."""
        async with asyncio.timeout(seconds):
            await self._news.wait()
        self._news.clear()
        return self._newest


class LiveJobs:
    """Jobs under way by their ids (the resources' uids), and who follows them."""

    def __init__(
        self,
        most: int = MOST,
        over: Callable[[Kind, str], None] = lambda *_: None,
        serves: Callable[[Body], bool] = lambda _: True,
    ) -> None:
        """`over` is told of each run that has ended, and of each resource that is gone; `serves` tells whether a
        resource is of our operator class: one of another class is as one that is not there.
        """
        self._most = most
        self._serves = serves
        self._over = over
        self._known: dict[str, JobSnapshot] = {}
        self._readers: dict[str, set[JobFollower]] = {}

    def get(self, job_id: str) -> JobSnapshot | None:
        """What is known of a job under way."""
        return self._known.get(job_id)

    def note(self, kind: Kind, body: Body) -> JobSnapshot:
        """A resource that was just made or read: known from now on, without waiting for the watch.

        The later one of it and what the watch knows: the watch may be behind.
        """
        now = JobSnapshot.parse(kind, body)
        known = self._known.get(now.job_id)
        if known is not None and not now.later_than(known.version):
            return known
        if not now.ended:
            self._known[now.job_id] = now
        return now

    @contextmanager
    def reader(self, job_id: str) -> Iterator[JobFollower]:
        """Follow a job."""
        reader = JobFollower()
        self._readers.setdefault(job_id, set()).add(reader)
        try:
            yield reader
        finally:
            left = self._readers[job_id]
            left.discard(reader)
            if not left:
                del self._readers[job_id]

    async def run(self, kube: KubeApi, namespaces: Iterable[str]) -> None:
        """Follow all kinds in these namespaces, or (the empty name) in all, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for namespace in namespaces:
                for kind in Kind:
                    tasks.create_task(self._follow(kube, kind, namespace))

    async def _follow(self, kube: KubeApi, kind: Kind, namespace: str) -> None:
        # The watch itself selects nothing: one that did would tell of an end as of a deletion.
        async with aclosing(follow(kube, resource_of(kind), namespace or None, selector=UNFINISHED)) as seen:
            async for each in seen:
                try:
                    self.see(kind, each, namespace)
                except (ValueError, KeyError, TypeError) as error:  # one odd resource is not to hide the others
                    _log.warning("a %s can't be read: %s", kind.value, error)

    def see(self, kind: Kind, seen: Seen, namespace: str = "") -> None:
        """Something of this kind has happened, in one namespace or (empty) in any."""
        match seen:
            case ObjectChanged(body) if not self._serves(body):
                self._leave(body["metadata"]["uid"])
            case ObjectChanged(body):
                self._change(JobSnapshot.parse(kind, body))
            case ObjectDeleted(body):
                self._lose(kind, body["metadata"]["uid"])
            case ListComplete(uids):
                listed = [each for each in self._known.values() if each.kind is kind]
                for each in listed:
                    if each.job_id not in uids and namespace in ("", each.meta.namespace):
                        self._lose(kind, each.job_id)

    def _change(self, now: JobSnapshot) -> None:
        self._known.pop(now.job_id, None)
        if not now.ended:
            self._known[now.job_id] = now  # the newest last
            if len(self._known) > self._most:
                self._known.pop(next(iter(self._known)))
        else:
            self._over(now.kind, now.job_id)
        self._tell(now.job_id, now)

    def _lose(self, kind: Kind, job_id: str) -> None:
        self._known.pop(job_id, None)
        self._over(kind, job_id)
        self._tell(job_id, None)

    def _leave(self, job_id: str) -> None:
        """It is of another operator class; its end, and its transcript, are told to another gateway."""
        if self._known.pop(job_id, None) is not None:
            self._tell(job_id, None)

    def _tell(self, job_id: str, now: JobSnapshot | None) -> None:
        for reader in self._readers.get(job_id, ()):
            reader.tell(now)
