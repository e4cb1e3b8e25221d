"""Deletion of temporary files after 24 hours, as the legacy service promised.

`temp/` by a lifecycle rule of the bucket where the store has such rules and we may set them, else by listing it. The
outcomes of attempts (`runs/`) and the uploads of a prepare stage that never finished, by listing in any case: a rule
cannot know which run has ended, and files that are kept lie beside them.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from botocore.exceptions import ClientError

from contentgen_contract.names import Kind, Stage
from contentgen_contract.records import keys, ownership
from contentgen_contract.records.ownership import Owner
from contentgen_operator.clock import utc_now
from contentgen_operator.leader.leadership import Check, unchecked
from contentgen_operator.stores.records import FailedJob, RecordStore
from contentgen_operator.stores.run_documents import RunDocuments
from contentgen_operator.stores.s3 import Storage

_log = logging.getLogger(__name__)
_KEPT = timedelta(hours=24)
_PAGES = 20  # of a thousand versions, of one prefix in one round; the next round continues there
_LOOKED_BACK = timedelta(days=30)  # for failed runs, after a time without an operator
_FAILED_JOBS = 1000  # per round
_START = ("", "")
Version = tuple[str, str]


class TemporaryFileDeletion(StrEnum):
    """What deletes temporary files."""

    LIFECYCLE = "lifecycle"  # a rule of the bucket where permitted, else the collector
    COLLECTOR = "collector"  # the operator alone
    NONE = "none"  # nothing; the operator removes its rules


@dataclass(kw_only=True)
class TemporaryFiles:
    """Hourly rounds. Nothing is deleted that is younger than 24 hours by the clocks of the store and of this process,
    or whose job MongoDB does not know.
    """

    storage: Storage
    records: RecordStore
    runs: RunDocuments
    deletion: TemporaryFileDeletion = TemporaryFileDeletion.LIFECYCLE
    clock: Callable[[], datetime] = utc_now
    check: Check = unchecked  # raises Conflict if this process does not lead
    _positions: dict[str, Version] = field(default_factory=dict, init=False)
    _cleared: set[tuple[str, int]] = field(default_factory=set, init=False)  # uid and run

    async def round(self) -> None:
        """One round. Raises NotLeading or one of STORE_ERRORS."""
        self.check()
        by_rule = await self._set_rules()
        if self.deletion is TemporaryFileDeletion.NONE:
            return
        before = self.clock() - _KEPT
        if not by_rule:
            await self._sweep(keys.TEMPORARY, before)
        await self._sweep(keys.OUTCOMES, before)
        for job in await self.records.failed(before - _LOOKED_BACK, before, _FAILED_JOBS):
            await self._clear_uploads(job, before)

    async def _set_rules(self) -> bool:
        """True if a rule of the bucket deletes `temp/`."""
        try:
            return await self.storage.set_temporary_rules(wanted=self.deletion is TemporaryFileDeletion.LIFECYCLE)
        except ClientError as error:
            _log.info("the bucket's lifecycle rules cannot be read yet: %s", error)
            return False

    async def _sweep(self, prefix: str, before: datetime) -> None:
        """Delete what is old under a prefix, up to a number of pages."""
        for _ in range(_PAGES):
            page = await self.storage.old_versions(prefix, before, self._positions.get(prefix, _START))
            temporary = prefix == keys.TEMPORARY
            doomed = page.versions if temporary else await self._unused(page.versions, before)
            self.check()
            if temporary:
                await self.storage.remove_temporary(doomed)
            else:
                await self.storage.remove(_owner_of(doomed), doomed)
            if doomed:
                _log.info("deleted %d temporary files under %s", len(doomed), prefix)
            if page.following is None:
                self._positions.pop(prefix, None)
                return
            self._positions[prefix] = page.following

    async def _clear_uploads(self, job: FailedJob, before: datetime) -> None:
        """Delete the uploads of a prepare stage that never finished: nothing was bought with them. Each run has a
        version, and so a prefix, of its own.
        """
        document = await self.runs.get(job.uid)
        run = document.run if document is not None and document.unrecorded is None else None
        if (
            run is None
            or (job.uid, run.number) in self._cleared
            or run.facts is not None
            or run.purchase_id is not None
        ):
            return
        try:
            prefix = keys.prefix(job.kind, Stage.PREPARE, job.user, job.uid, run.version)
        except ValueError:  # an imported record
            return
        owner, position = ownership.job_owner(job.kind, job.uid, (job.user,)), _START
        for _ in range(_PAGES):
            page = await self.storage.old_versions(prefix, before, position)
            doomed = [version for version in page.versions if _is_upload(job.kind, prefix, version[0])]
            self.check()
            if doomed:
                await self.storage.remove(owner, doomed)
                _log.info("deleted %d unused uploads", len(doomed), extra={"jobId": job.uid})
            if page.following is None:
                self._cleared.add((job.uid, run.number))
                return
            position = page.following

    async def _unused(self, versions: Sequence[Version], before: datetime) -> tuple[Version, ...]:
        """Outcomes of runs that have ended a day ago."""
        outcomes = [(version, of) for version in versions if (of := keys.outcome_of(version[0])) is not None]
        jobs = {of.job_id for _, of in outcomes}
        numbers, ended = await self.runs.numbers(jobs), await self.records.ended(jobs, before)
        return tuple(outcome for outcome, of in outcomes if _is_over(of, numbers.get(of.job_id), of.job_id in ended))


def _owner_of(outcomes: Sequence[Version]) -> Owner:
    jobs = {of.job_id for key, _ in outcomes if (of := keys.outcome_of(key)) is not None}
    return Owner(folders=frozenset(map(keys.internal_prefix, jobs)))


def _is_upload(kind: Kind, prefix: str, key: str) -> bool:
    """True for a file of the prepare stage directly under the prefix: later versions lie in folders of the first."""
    return keys.is_output(kind, Stage.PREPARE, key.removeprefix(prefix))


def _is_over(of: keys.OutcomeKey, newest: int | None, ended: bool) -> bool:
    """True for a run before the newest one, and for the newest one once it has ended. A number that the run document
    does not have was written after the backup that MongoDB was restored from.
    """
    return newest is not None and (of.run < newest or (of.run == newest and ended))
