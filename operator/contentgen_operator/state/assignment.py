"""A worker's assignment: the Job that its resource's run names, and where in the bucket it reads and writes. Pure."""

from contentgen_contract.base import Value
from contentgen_contract.names import Stage
from contentgen_contract.records import keys
from contentgen_contract.records.ownership import Owner
from contentgen_contract.resources.spec import Spec
from contentgen_contract.resources.status import JobRef, RunStatus
from contentgen_operator.state.observed import Resource
from contentgen_operator.state.runs import asset_user, frozen_spec, own_files


class RunOver(Exception):
    """The run for which a Job was created is no longer its resource's current run."""


class Assignment(Value):
    """Job that a resource's status names as its current one."""

    resource: Resource
    run: RunStatus
    job: JobRef  # started_at: of its pod

    @property
    def prefix(self) -> str:
        """The only prefix of the bucket that the Job may write to."""
        return self._prefix(self.job.stage)

    @property
    def dataset_prefix(self) -> str:
        """Prefix of the files of the same run's prepare stage."""
        return self._prefix(Stage.PREPARE)

    @property
    def owner(self) -> Owner:
        """Files that the Job's resource owns."""
        return own_files(self.resource, asset_user(self.resource, self.spec))

    @property
    def outcome_key(self) -> str:
        """Key of the outcome that the Job's worker stores."""
        return keys.outcome(self.resource.ref.uid, self.run.number, self.job.stage, self.job.attempt)

    @property
    def partial_outcome_key(self) -> str | None:
        """Key of the outcome of an earlier attempt that stored a part of the outputs; None if there is none."""
        attempt = self.run.collect.partial if self.run.collect and self.job.stage is Stage.COLLECT else None
        if attempt is None:
            return None
        return keys.outcome(self.resource.ref.uid, self.run.number, self.job.stage, attempt)

    @property
    def spec(self) -> Spec:
        """Frozen spec of the run."""
        return frozen_spec(self.resource, self.run)

    def _prefix(self, stage: Stage) -> str:
        ref = self.resource.ref
        return keys.prefix(ref.kind, stage, asset_user(self.resource, self.spec), ref.uid, self.run.version)
