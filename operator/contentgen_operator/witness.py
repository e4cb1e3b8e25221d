"""Verification of a resource's status against the ledger and the records, before anything is decided on it.

Whoever has rights on `*/status` in a namespace can write any key, job id, user and hash into it. The ledger and the
records are written by the operator alone.
"""

import logging
from collections.abc import Iterable

from pydantic import ValidationError

from contentgen_contract import keys, ownership
from contentgen_contract.names import Kind
from contentgen_contract.ownership import Owner, owns
from contentgen_contract.spec import run_hash
from contentgen_contract.status import RunStatus, VersionStatus
from contentgen_contract.tenancy import UNSCOPED, Tenant
from contentgen_operator.clock import utc_now
from contentgen_operator.ledger import Ledger
from contentgen_operator.observed import Resource
from contentgen_operator.orders import Assignment
from contentgen_operator.purchases import Purchase
from contentgen_operator.records import Records
from contentgen_operator.runs import admitted_user, current_run, ended, frozen_spec, owner, purchase_key
from contentgen_runtime.tenancy import Tenancy

_log = logging.getLogger(__name__)


class Witness:
    """What the stores say about resources. A resource that agrees with itself costs no read."""

    def __init__(self, *, ledger: Ledger, records: Records, tenancy: Tenancy | None = None) -> None:
        self._tenancy = tenancy
        self._ledger = ledger
        self._records = records

    async def verified(self, resource: Resource) -> Resource:
        """The resource with its tenant, and only what its own uid, the ledger and the records bear out.

        Raises PyMongoError, one of API_ERRORS, or Conflict where its namespace is gone.
        """
        resource = await self._placed(resource)
        run = resource.status.run
        if run is not None:
            run = await self._run(resource, run)
            resource = resource.model_copy(update={"status": resource.status.model_copy(update={"run": run})})
        if not _names_other_jobs(resource):
            return resource
        ref = resource.ref
        buyers = await self._ledger.job_ids(resource.tenant, ref.namespace, ref.kind, ref.name)
        return with_owned_versions(resource, buyers)

    async def assignment(self, assignment: Assignment) -> Assignment:
        """A worker's assignment with its run verified."""
        resource = await self._placed(assignment.resource)
        run = await self._run(resource, assignment.run)
        return assignment.model_copy(update={"resource": resource, "run": run})

    async def _placed(self, resource: Resource) -> Resource:
        """The resource with its tenant and the scope of its run's key."""
        ref = resource.ref
        tenant = await self._tenancy.of_resource(ref.namespace, ref.uid) if self._tenancy else resource.tenant
        placed = resource.model_copy(update={"tenant": tenant, "scope": tenant.scope})
        if tenant.since is None or not await self._began_unscoped(resource, tenant):
            return placed
        return placed.model_copy(update={"scope": UNSCOPED})

    async def _began_unscoped(self, resource: Resource, tenant: Tenant) -> bool:
        """Whether the run was bought for this tenant by an older release, whose keys had no scope."""
        try:
            run = resource.status.run if resource.deleting else current_run(resource, utc_now())
        except ValidationError:
            return False
        if run is None:
            return False
        first = await self._ledger.get(purchase_key(resource, run).model_copy(update={"attempt": 1}))
        if first is None:
            return False
        mine = resource.ref.uid in (first.job_id, *first.former_owners)
        return mine or (tenant.since is not None and first.created_at >= tenant.since)

    async def models(self, tenant: Tenant, namespace: str, name: str) -> Owner:
        """The files that the ledger lists as collected for a LoraTraining of the tenant."""
        bought = await self._ledger.collected(tenant, namespace, Kind.LORA_TRAINING, name)
        outputs = [each.outputs for each in bought if each.outputs]
        return Owner(keys=frozenset(str(file.get("key")) for each in outputs for file in each.get("files") or ()))

    async def _run(self, resource: Resource, run: RunStatus) -> RunStatus:
        try:
            spec = frozen_spec(resource, run)
        except ValidationError:  # decide says so on the resource, and nothing is done for such a run
            return run
        user, true_hash = owner(resource, spec), run_hash(resource.ref.kind, spec)
        # A run that has ended buys nothing: its hash only says whether another one is asked for.
        doubtful_hash = run.run_hash != true_hash and not ended(resource)
        # While a run goes on, the ledger's word on the LoRAs is put into the status each time.
        doubtful_loras = bool(run.loras) and ended(resource)
        if user == admitted_user(resource) and not doubtful_hash and not doubtful_loras:
            return run
        purchase = await self._ledger.get(purchase_key(resource, run))
        if doubtful_loras:
            run = run.model_copy(update={"loras": purchase.loras if purchase else ()})
        if doubtful_hash and purchase is None:
            _warn(resource, "run.runHash is not the hash of run.spec")
            run = run.model_copy(update={"run_hash": true_hash})
        if not await self._user_is_known(resource, user, purchase):
            _warn(resource, "run.spec.userId was not asked for")
            run = run.model_copy(update={"spec": run.spec | {"userId": admitted_user(resource)}})
        return run

    async def _user_is_known(self, resource: Resource, user: str, purchase: Purchase | None) -> bool:
        """Whether the run began for this user: a later edit of spec.userId is the next run's."""
        uid = resource.ref.uid
        if user == admitted_user(resource):
            return True
        if purchase is not None and (purchase.job_id, purchase.user_id) == (uid, user):
            return True
        return await self._records.user(uid) == user


def with_owned_versions(resource: Resource, buyers: Iterable[str]) -> Resource:
    """The resource without the files, in its versions, of jobs that are not among the `buyers` under its name.

    A version keeps its number, for numbers are not used again.
    """
    jobs = {resource.ref.uid, *buyers}
    versions = tuple(_owned(resource, each, jobs) for each in resource.status.versions)
    return resource.model_copy(update={"status": resource.status.model_copy(update={"versions": versions})})


def _owned(resource: Resource, version: VersionStatus, jobs: Iterable[str]) -> VersionStatus:
    owner_of_all = files_of(resource, version, jobs)
    if version.job_id in (None, *jobs) and all(owns(owner_of_all, each.key) for each in version.files):
        return version
    _warn(resource, f"version {version.version} names files or a job of others")
    return version.model_copy(update={"job_id": None, "files": ()})


def files_of(resource: Resource, version: VersionStatus, jobs: Iterable[str]) -> Owner:
    """What these jobs own under the users that a version's keys have: a job's uid is in no other user's key."""
    users = {run.user_id for file in version.files if (run := keys.run_of(file.key)) is not None}
    return ownership.union(ownership.of_job(resource.ref.kind, job, users) for job in jobs)


def _names_other_jobs(resource: Resource) -> bool:
    uid = resource.ref.uid
    return any(
        version.job_id not in (None, uid)
        or not all(owns(files_of(resource, version, (uid,)), file.key) for file in version.files)
        for version in resource.status.versions
    )


def _warn(resource: Resource, what: str) -> None:
    _log.warning("the status of %s was written by somebody else: %s", resource.ref.name, what, extra=resource.ref.about)
