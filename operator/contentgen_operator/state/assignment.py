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
    """The run that a Job was created for is not its resource's current one."""


class Assignment(Value):
    """A Job that a resource's status records as its current one."""

    resource: Resource
    run: RunStatus
    job: JobRef

    @property
    def prefix(self) -> str:
        """The only place of the bucket that the Job may write to."""
        return self._prefix(self.job.stage)

    @property
    def dataset_prefix(self) -> str:
        """Where the prepare stage of the same run has written."""
        return self._prefix(Stage.PREPARE)

    @property
    def owner(self) -> Owner:
        """What the Job's resource owns."""
        return own_files(self.resource, asset_user(self.resource, self.spec))

    @property
    def outcome_key(self) -> str:
        """Where the Job's worker leaves its outcome."""
        return keys.outcome(self.resource.ref.uid, self.run.number, self.job.stage, self.job.attempt)

    @property
    def spec(self) -> Spec:
        """The frozen spec."""
        return frozen_spec(self.resource, self.run)

    def _prefix(self, stage: Stage) -> str:
        ref = self.resource.ref
        return keys.prefix(ref.kind, stage, asset_user(self.resource, self.spec), ref.uid, self.run.version)
