"""Verification of a resource's status against MongoDB, before any decision on it.

A user with permissions on `*/status` in a namespace can write any number, key, job id, user and hash, and a restored
etcd has old statuses. Only the operator writes the run document, the ledger and the records, so the run of a status is
the document's. Without a document, or if the status has a later run, MongoDB lost the document alone (and the record
agrees), it was restored, or a user wrote the status.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import ValidationError

from contentgen_contract.names import Kind
from contentgen_contract.records import keys, ownership
from contentgen_contract.records.ownership import Owner, owns
from contentgen_contract.records.tenancy import UNSCOPED, Tenant
from contentgen_contract.resources.operator_class import class_of
from contentgen_contract.resources.spec import run_hash
from contentgen_contract.resources.status import ResourceStatus, RunStatus, VersionStatus
from contentgen_operator.clock import utc_now
from contentgen_operator.state.assignment import Assignment, RunOver
from contentgen_operator.state.observed import Resource
from contentgen_operator.state.purchases import Purchase, PurchaseKey, PurchaseState, Variant, most_advanced
from contentgen_operator.state.run_document import (
    FrozenRun,
    RunDocument,
    named_purchases,
    projected,
    projected_run,
    unknown_versions,
    with_bounded_numbers,
)
from contentgen_operator.state.runs import (
    admitted_user,
    asset_user,
    current_run,
    ended,
    frozen_spec,
    is_of_another_class,
    purchase_key,
)
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.stores.records import RecordStore
from contentgen_operator.stores.run_documents import RunDocuments
from contentgen_runtime.kube import Conflict
from contentgen_runtime.tenancy import Tenancy

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StatusVerifier:
    """Verifies resources against the stores. A resource that agrees with its run document costs one read."""

    ledger: Ledger
    records: RecordStore
    runs: RunDocuments
    tenancy: Tenancy

    async def verified(self, resource: Resource) -> Resource:
        """Resource with the run of its document, which is created or updated if the status is ahead of it.

        Raises PyMongoError, one of API_ERRORS; Conflict if another process changes the document, or the namespace is
        gone.
        """
        resource = await self._of_its_tenant(resource)
        document = await self.runs.get(resource.ref.uid)
        if resource.deleting:
            return await self._with_scope(await self._verify_deleting(resource, document))
        if document is None:
            document = await self._first(resource)
        elif (raised := await self._with_later_runs(resource, document)) != document:
            document = await self._stored(raised)
        document = await self._with_lost_purchases(resource, document)
        return await self._with_scope(await self._projection(resource, document))

    async def _projection(self, resource: Resource, document: RunDocument) -> Resource:
        more = await self._owned(resource, unknown_versions(document, resource.status))
        status = projected(document, resource.status, more)
        if status.run is not None and status.run.loras and ended(resource.model_copy(update={"status": status})):
            # While a run goes on, the ledger's word on the LoRAs is put into the status each time.
            purchase = await self.ledger.get(await self._key(resource, status.run))
            loras = purchase.loras if purchase else ()
            status = status.model_copy(update={"run": status.run.model_copy(update={"loras": loras})})
        repaired = status != resource.status
        if repaired:
            _log.info("the status of %s is repaired", resource.ref.name, extra=resource.ref.about)
        named = _named_purchase(resource.status) == _named_purchase(status)
        changes = {"status": status, "document": document, "repaired": repaired, "purchase_is_named": named}
        return resource.model_copy(update=changes)

    async def _verify_deleting(self, resource: Resource, document: RunDocument | None) -> Resource:
        """Verification of a resource that is being deleted: it begins no run, so its document is only read."""
        if document is not None and document.run is not None:
            return await self._projection(resource, document)
        run, versions = resource.status.run, await self._owned(resource, resource.status.versions)
        if run is not None:
            run = await self._run(resource, run)
        return _with_status(resource, resource.status.model_copy(update={"run": run, "versions": versions}))

    async def _first(self, resource: Resource) -> RunDocument:
        """Document of a resource without one: a new one, or one that MongoDB lost."""
        ref, run = resource.ref, resource.status.run
        document = RunDocument(
            uid=ref.uid,
            namespace=ref.namespace,
            kind=ref.kind,
            name=ref.name,
            version=await self.ledger.highest_version(resource.tenant, ref.namespace, ref.kind, ref.name, ref.uid),
        )
        if run is None:  # stored with its first run
            return document.model_copy(update={"predecessor": await self._expired_run(resource)})
        document = await self._of_record(resource, document, run) or await self._with_payments_held_back(
            resource, document, run
        )
        versions = await self._owned(resource, unknown_versions(document, resource.status))
        return await self._stored(document.model_copy(update={"versions": versions}))

    async def _with_later_runs(self, resource: Resource, document: RunDocument) -> RunDocument:
        """Document updated with later runs of the status."""
        run, kept = resource.status.run, document.run
        if document.has_unrecorded_end and not ended(resource):
            return document.without_run()
        if run is None:
            return document
        if with_bounded_numbers(run).number > document.number:
            return await self._of_record(resource, document, run) or await self._with_payments_held_back(
                resource, document, run
            )
        if (
            kept is not None
            and run.number == kept.number
            and with_bounded_numbers(run).paid_attempt > kept.paid_attempt
        ):
            return await self._of_later_attempt(resource, document, kept, with_bounded_numbers(run))
        return document

    async def _of_record(self, resource: Resource, document: RunDocument, run: RunStatus) -> RunDocument | None:
        """Document with the run of a status that the operator has recorded; None if it has not.

        MongoDB lost the document alone: the record is written before the status.
        """
        known = document.run is None or document.run.started_at != run.started_at
        if (
            not known
            or run != with_bounded_numbers(run)
            or await self.records.started_at(resource.ref.uid) != run.started_at
        ):
            return None
        return document.begun(await self._run(resource, run))

    async def _with_payments_held_back(self, resource: Resource, document: RunDocument, run: RunStatus) -> RunDocument:
        """Document with payments held back. A run that has ended stays; any other one is replaced by a new run with
        unused numbers.

        Payments are not held back after an ended run of another operator class: another installation did it, perhaps
        with another MongoDB, and this one has lost nothing.
        """
        over = ended(resource) and run == with_bounded_numbers(run)
        if over and is_of_another_class(resource, run):
            _log.info("%s was moved to this operator class", resource.ref.name, extra=resource.ref.about)
            return document.begun(await self._run(resource, run))
        _warn(resource, f"run {run.number} is not in MongoDB, so nothing is paid; is MongoDB of a backup? If not,")
        document = document.with_unrecorded_run(run, over=over)
        return document.begun(await self._run(resource, run)) if over else document.without_run()

    async def _of_later_attempt(
        self, resource: Resource, document: RunDocument, kept: FrozenRun, run: RunStatus
    ) -> RunDocument:
        """Document with the paid attempt of a status: MongoDB was restored, or the status is forged."""
        mine = projected_run(kept, None)
        later = mine.model_copy(update={"paid_attempt": run.paid_attempt})
        if await self.ledger.get(await self._key(resource, later)) is not None:
            return document.begun(later)
        last = await self.ledger.get(await self._key(resource, mine))
        if last is not None and (last.abandoned or last.state is PurchaseState.FAILED):
            return document
        _warn(resource, f"paid attempt {run.paid_attempt} is not in MongoDB, so nothing is paid")
        return document.with_unrecorded_run(run, over=False)

    async def _with_lost_purchases(self, resource: Resource, document: RunDocument) -> RunDocument:
        """Document with payments blocked while the ledger lacks a purchase that the status or the document names, or
        has it as unpaid: MongoDB was restored, and after an edit the same could be bought again.
        """
        run, over = resource.status.run, ended(resource)
        if run is not None and over and is_of_another_class(resource, run):
            return document
        named = named_purchases(document, resource.status, class_of({"spec": resource.spec}), over=over)
        lost = await self.ledger.lost(named.known, named.paid) if named.known else ()
        blocked = document.with_unrecorded_purchases(lost)
        if blocked == document:
            return document
        if blocked.unrecorded is not None:
            named_ids = ", ".join(blocked.unrecorded.purchases)
            _warn(resource, f"purchase {named_ids} is not in the ledger, so nothing is paid")
        return await self._stored(blocked)

    async def _stored(self, document: RunDocument) -> RunDocument:
        stored = await self.runs.put(document)
        if stored is None:
            raise Conflict(f"the run document of {document.name} was changed")
        return stored

    async def _owned(self, resource: Resource, versions: tuple[VersionStatus, ...]) -> tuple[VersionStatus, ...]:
        """Versions of a status whose files the resource, or an earlier one of its name, has made.

        After a last run by another operator class the others stay too, without files: this installation can neither
        verify nor show them, and must not buy them again.
        """
        if not versions:
            return ()
        checked = resource.model_copy(update={"status": ResourceStatus(run=resource.status.run, versions=versions)})
        jobs: Iterable[str] = ()
        if _names_other_jobs(checked):
            ref = resource.ref
            jobs = await self.ledger.job_ids(resource.tenant, ref.namespace, ref.kind, ref.name)
        run, known = resource.status.run, with_owned_versions(checked, jobs).status.versions
        if run is not None and ended(resource) and is_of_another_class(resource, run):
            return tuple(version if version in versions else _without_outputs(version) for version in known)
        return tuple(version for version in known if version in versions)

    async def assignment(self, assignment: Assignment) -> Assignment:
        """A worker's assignment with its tenant and the document's run. Raises RunOver if that is another run, and as
        `verified`.
        """
        resource = await self._of_its_tenant(assignment.resource)
        run = await self._assigned(resource, assignment.run)
        scope = (await self._key(resource, run)).scope
        return assignment.model_copy(update={"resource": resource.model_copy(update={"scope": scope}), "run": run})

    async def _assigned(self, resource: Resource, run: RunStatus) -> RunStatus:
        known = self.runs.remembered(resource.ref.uid)
        if known is not None and projected_run(known, run) == run:
            return run
        document = await self.runs.get(resource.ref.uid)
        if document is None:  # MongoDB lost it, and there was no reconcile since
            return await self._run(resource, run)
        if document.run is None or document.run.number != run.number:
            raise RunOver(f"run {run.number} is not the current one")
        return projected_run(document.run, run)

    async def _of_its_tenant(self, resource: Resource) -> Resource:
        tenant = await self.tenancy.of_resource(resource.ref.namespace, resource.ref.uid)
        return resource.model_copy(update={"tenant": tenant, "scope": tenant.scope})

    async def _with_scope(self, resource: Resource) -> Resource:
        """Resource with the document's run and the scope of that run's key."""
        try:
            run = resource.status.run if resource.deleting else current_run(resource, utc_now())
        except ValidationError:
            return resource
        if run is None:
            return resource
        return resource.model_copy(update={"scope": (await self._key(resource, run)).scope})

    async def _key(self, resource: Resource, run: RunStatus) -> PurchaseKey:
        """Key of a run: under the tenant's scope in which it was bought for this resource, else in which a purchase is
        nearest to a result; if several or none are, under the current scope.
        """
        key = purchase_key(resource, run).model_copy(update={"scope": resource.tenant.scope})
        if not _other_scopes(resource.tenant):
            return key
        identity = key.run_hash.partition(".")[2]
        bought = [variant for variant in await self.variants(resource, run) if variant.identity == identity]
        uid, here = resource.ref.uid, key.scope
        own = [entry for entry in bought if uid in (entry.purchase.job_id, *entry.purchase.former_owners)]
        own.sort(key=lambda each: each.scope == here)  # a run continues as it began, before a mapping
        chosen = own[0] if own else most_advanced(bought)
        return key if chosen is None else key.model_copy(update={"scope": chosen.scope})

    async def variants(self, resource: Resource, run: RunStatus) -> tuple[Variant, ...]:
        """Purchases of a run's inputs, with any LoRAs, under all scopes of its tenant, the current one first."""
        tenant = resource.tenant
        found = list[Variant]()
        for scope in (tenant.scope, *_other_scopes(tenant)):
            key = purchase_key(resource, run).model_copy(update={"scope": scope})
            found += [variant for variant in await self.ledger.variants(key) if _is_of(tenant, resource, variant)]
        return tuple(found)

    async def trainings(self, tenant: Tenant, namespace: str, name: str) -> tuple[Purchase, ...]:
        """Purchases in the ledger that are collected for a LoraTraining."""
        return tuple(await self.ledger.collected(tenant, namespace, Kind.LORA_TRAINING, name))

    async def _expired_run(self, resource: Resource) -> FrozenRun | None:
        """Last run of the expired resource of this name; None: there is none, or a person has deleted the last one."""
        ref = resource.ref
        owners = await self.ledger.owners(resource.tenant, ref.namespace, ref.kind, ref.name)
        last = await self.expired(ref.kind, ref.namespace, ref.name, owners)
        return last.run if last is not None else None

    async def expired(self, kind: Kind, namespace: str, name: str, uids: Iterable[str]) -> RunDocument | None:
        """Run document of the one of these resources, of this name, whose last run started last; None unless the
        operator deleted it after its ttlSecondsAfterFinished.
        """
        read = [await self.runs.get(uid) for uid in sorted(set(uids))]
        place = (kind, namespace, name)
        named = [
            resource
            for resource in read
            if resource is not None and (resource.kind, resource.namespace, resource.name) == place
        ]
        last = max(named, key=_started_at, default=None)
        return last if last is not None and last.expired_at is not None else None

    async def _run(self, resource: Resource, run: RunStatus) -> RunStatus:
        known = await self._with_known_identity(resource, _without_approval(resource, run))
        return await self._checked(resource, await self._with_known_account(resource, known))

    async def _with_known_account(self, resource: Resource, run: RunStatus) -> RunStatus:
        """Run with the provider account of its purchase. No document confirms the status's own, and with the account of
        others a person could adopt their requests.
        """
        if run.provider_account is None:
            return run
        purchase = await self.ledger.get(await self._key(resource, run))
        account = purchase.account if purchase is not None else None
        if account != run.provider_account:
            _warn(resource, "run.providerAccount is of no purchase of the resource")
        return run.model_copy(update={"provider_account": account})

    async def _with_known_identity(self, resource: Resource, run: RunStatus) -> RunStatus:
        """Run with the LoRA identity and the same request of a status, only if the resource has bought under such a
        key.
        """
        if run.lora_identity is None and run.same_as is None:
            return run
        purchase = await self.ledger.get(await self._key(resource, run))
        if purchase is not None and purchase.job_id == resource.ref.uid:
            return run
        _warn(resource, "run.loraIdentity or run.sameAs is of no purchase of the resource")
        return run.model_copy(update={"lora_identity": None, "same_as": None})

    async def _checked(self, resource: Resource, run: RunStatus) -> RunStatus:
        try:
            spec = frozen_spec(resource, run)
        except ValidationError:  # `decide` reports it on the resource, and does nothing for such a run
            return run
        user, true_hash = asset_user(resource, spec), run_hash(resource.ref.kind, spec)
        # An ended run buys nothing: its hash only determines whether a new run is requested.
        doubtful_hash = run.run_hash != true_hash and not ended(resource)
        # While a run goes on, the ledger's word on the LoRAs is put into the status each time.
        doubtful_loras = bool(run.loras) and ended(resource)
        if user == admitted_user(resource) and not doubtful_hash and not doubtful_loras:
            return run
        purchase = await self.ledger.get(await self._key(resource, run))
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
        """True if the run began for this user: a later edit of spec.userId applies to the next run."""
        uid = resource.ref.uid
        if user == admitted_user(resource):
            return True
        if purchase is not None and (purchase.job_id, purchase.user_id) == (uid, user):
            return True
        return await self.records.user(uid) == user


def _named_purchase(status: ResourceStatus) -> tuple[str | None, str | None]:
    """Id and provider account of the purchase that a status names."""
    return (status.run.purchase_id, status.run.provider_account) if status.run else (None, None)


def _with_status(resource: Resource, status: ResourceStatus) -> Resource:
    return resource.model_copy(update={"status": status, "repaired": status != resource.status})


def with_owned_versions(resource: Resource, buyers: Iterable[str]) -> Resource:
    """Resource whose versions list only files of jobs among the `buyers` under its name.

    A version keeps its number, because numbers are not reused.
    """
    jobs = {resource.ref.uid, *buyers}
    versions = tuple(_owned(resource, version, jobs) for version in resource.status.versions)
    return resource.model_copy(update={"status": resource.status.model_copy(update={"versions": versions})})


def _owned(resource: Resource, version: VersionStatus, jobs: Iterable[str]) -> VersionStatus:
    owner_of_all = files_of(resource, version, jobs)
    if version.job_id in (None, *jobs) and all(owns(owner_of_all, file.key) for file in version.files):
        return version
    _warn(resource, f"version {version.version} names files or a job of others")
    return version.model_copy(update={"job_id": None, "files": ()})


def _without_outputs(version: VersionStatus) -> VersionStatus:
    return version.model_copy(update={"job_id": None, "purchase_id": None, "bucket": None, "files": (), "facts": {}})


def files_of(resource: Resource, version: VersionStatus, jobs: Iterable[str]) -> Owner:
    """Owner of the files of these jobs, for the users in a version's keys: no other user's key has a job's uid."""
    users = {run.user_id for file in version.files if (run := keys.run_of(file.key)) is not None}
    return ownership.union(ownership.job_owner(resource.ref.kind, job, users) for job in jobs)


def _names_other_jobs(resource: Resource) -> bool:
    uid = resource.ref.uid
    return any(
        version.job_id not in (None, uid)
        or not all(owns(files_of(resource, version, (uid,)), file.key) for file in version.files)
        for version in resource.status.versions
    )


def _started_at(document: RunDocument) -> str:
    """Sort key: start of the last run, then the uid."""
    at = document.run.started_at.isoformat() if document.run is not None else ""
    return f"{at} {document.uid}"


def _without_approval(resource: Resource, run: RunStatus) -> RunStatus:
    """Run without an approval that only a status names: it waits for another one. An ended run keeps it."""
    if run.approval is None or ended(resource):
        return run
    _warn(resource, "run.approval is in no run document")
    return run.model_copy(update={"approval": None})


def _warn(resource: Resource, what: str) -> None:
    _log.warning(
        "the status of %s was not written by the operator: %s", resource.ref.name, what, extra=resource.ref.about
    )


def _other_scopes(tenant: Tenant) -> tuple[str, ...]:
    """Scopes, except the current one, under which purchases of a tenant may exist."""
    return tuple(sorted({*tenant.other_scopes, *((UNSCOPED,) if tenant.scope else ())} - {tenant.scope}))


def _is_of(tenant: Tenant, resource: Resource, variant: Variant) -> bool:
    purchase = variant.purchase
    if variant.scope == tenant.scope or resource.ref.uid in (purchase.job_id, *purchase.former_owners):
        return True
    mine = bool(tenant.uid) and purchase.namespace_uid == tenant.uid
    return mine or tenant.has_bought(variant.scope, purchase.created_at)
