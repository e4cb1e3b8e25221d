"""Preparation of a rollback to release a5a1c84, which would pay for some resources again, or lose their results.

It runs while the operator is stopped. Such resources are suspended; if a change of the ledger suffices, the ledger is
changed instead. Idempotent; `undo` removes the suspensions after the next upgrade.
"""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from collections.abc import Collection as AnyOf
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import ValidationError
from pymongo.collection import Collection
from pymongo.database import Database

from contentgen_contract.names import GROUP, Kind, Phase, Reason
from contentgen_contract.records.ledger import PurchaseState, PurchaseStep, legacy_id
from contentgen_contract.resources import languages
from contentgen_contract.resources.models import model_of
from contentgen_contract.resources.operator_class import DEFAULT_CLASS, class_of
from contentgen_contract.resources.spec import Approval, parse_spec, run_hash
from contentgen_contract.resources.status import ResourceStatus, RunStatus

Body = dict[str, Any]
Document = dict[str, Any]
MarkerOf = Callable[[str], str | None]
"""Returns the purchase id in the bucket's marker of a buying key; None if there is no marker."""
Patch = Callable[[Kind, Body, Body], Awaitable[object]]
"""Merge-patches a resource. Raises if the resource has changed since it was read."""

ANNOTATION = f"{GROUP}/suspended-for-rollback"  # the run at that time: number/runHash/paidAttempt
SAVED = f"{GROUP}/spec-before-rollback"  # JSON of the fields of the spec that the CRDs of a5a1c84 drop
_DROPPED = (
    "approval", "dryRun", "priority", "queueDeadlineSeconds", "ttlSecondsAfterFinished", "notify",
    "collectDeadlineSeconds",
)  # fmt: skip
RECENT_SECONDS = 60.0
_PARKED_FIELD = "discardAfterRollback"
_SEARCH_REASONS = (Reason.LOOKING_FOR_REQUEST, Reason.SUBMISSION_UNKNOWN)
OLD_REASONS = frozenset(
    {
        "Preparing", "Submitting", "Processing", "Collecting", "Suspended", "WaitingForLora", "StoreUnavailable",
        "ProviderUnavailable", "ProviderNotConfigured", "LookingForRequest", "Completed", "AdoptedFinishedRun",
        "InvalidSpec", "SubmissionUnknown", "ProviderRefused", "ProviderFailed", "JobFailed", "DeadlineExceeded",
        "LoraFailed", "OutputMissing", "OutputChanged", "OutcomeInvalid", "OutputsDeleted", "Cancelled",
        "SourceNotAllowed", "SourceUnreachable", "SourceTooLarge", "SourceChecksumMismatch", "SourceEmpty",
        "UnsupportedMedia", "NoVideo", "NoAudio", "InsufficientFrames", "ResultUnreachable", "ResultInvalid",
    }
)  # fmt: skip
"""Reasons of a5a1c84. An unpaid resource with another reason waits for a rule that a5a1c84 does not know."""
_OPEN = (PurchaseState.INTENT, PurchaseState.SUBMITTED)
_ENDED = (PurchaseState.DISCARDED, PurchaseState.CANCELLED, PurchaseState.FAILED)
_EARLIER_SCHEME = re.compile(r"[a-z0-9]+://")
_UNMATCHED = "lost/"  # prefix of markers that match nothing in a provider's history


class FindingAction(StrEnum):
    """Action for a finding."""

    SUSPEND = "suspend"
    LEDGER = "ledger"
    PARK = "park deletion"
    RESUME = "resume"
    KEEP = "keep fields"
    WAIT = "look at it"  # no action: a person decides


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the command's table."""

    action: FindingAction
    about: str
    why: str


@dataclass(frozen=True, slots=True)
class OldRun:
    """The run that a5a1c84 would continue: the status's, or a new one of the present spec."""

    run_hash: str
    rerun: str | None
    attempt: int
    in_status: bool  # False: a new run
    identity: str | None = None  # identity of the LoRAs, part of this release's buying keys


@dataclass(frozen=True, slots=True)
class KnownPurchase:
    """The purchase that a5a1c84 would make, as found under its key in the ledger and the bucket."""

    key: str
    purchase: Document | None
    marker: str | None
    scoped: bool = False  # this release has purchases or a binding with the namespace's uid in the key
    with_identity: Document | None = None  # the purchase under the key with the LoRAs' identity

    @property
    def unpaid(self) -> bool:
        """True if either release may still send the request."""
        return self.purchase is None or self.purchase["state"] == PurchaseState.REFUSED or _is_planned(self.purchase)


def key_of(kind: Kind, meta: Body, run: OldRun, identity: str | None = None) -> str:
    """The buying key of a5a1c84; with an identity of the LoRAs, that of this release."""
    rerun = hashlib.sha256(run.rerun.encode()).hexdigest()[:16] if run.rerun is not None else "-"
    bought = f"{run.run_hash}.{identity}" if identity else run.run_hash
    return f"{meta['namespace']}/{kind}/{meta['name']}/{bought}/{rerun}/{run.attempt}"


def old_run(kind: Kind, body: Body, status: ResourceStatus) -> OldRun | None:
    """The run that a5a1c84 would continue or start, or None. Raises ValidationError for an invalid spec."""
    meta, run = body["metadata"], status.run
    rerun = (meta.get("annotations") or {}).get(f"{GROUP}/rerun")
    if run is None:
        return OldRun(run_hash(kind, parse_spec(kind, body["spec"])), rerun, 1, in_status=False)
    if status.phase is None or not status.phase.terminal:
        return OldRun(run.run_hash, run.rerun, run.paid_attempt, in_status=True, identity=run.lora_identity)
    edited = meta.get("generation", 1) != run.generation
    asked = run_hash(kind, parse_spec(kind, body["spec"])) if edited else run.run_hash
    # As in a5a1c84: a removed annotation counts as a change, and any InvalidSpec as that of an edit.
    if status.reason != Reason.INVALID_SPEC and (rerun, asked) == (run.rerun, run.run_hash):
        return None
    return OldRun(asked, rerun, 1, in_status=False)


def is_unreadable(kind: Kind, spec: Body) -> bool:
    """True if a5a1c84 refuses a spec that this release admits: capitals in a scheme, newer language codes."""
    urls = [(spec.get("source") or {}).get("url"), *((each or {}).get("path") for each in spec.get("loras") or ())]
    language = (spec.get("options") or {}).get("language") if kind is Kind.TRANSCRIPTION else None
    schemes = [url for url in urls if isinstance(url, str) and not _EARLIER_SCHEME.match(url)]
    if bool(schemes) or not isinstance(language, str):
        return bool(schemes)
    # The API server stores the default, which is no code.
    return language != languages.AUTO and not re.search(languages.ALWAYS_ADMITTED, language)


def verdict(
    kind: Kind, body: Body, status: ResourceStatus, run: OldRun, seen: KnownPurchase
) -> tuple[FindingAction, str] | None:
    """Action and reason for a resource that a5a1c84 would handle wrongly; None if it would not."""
    spec = body.get("spec") or {}
    frozen = status.run.spec if status.run is not None and run.in_status else {}
    if is_unreadable(kind, spec) or is_unreadable(kind, frozen):
        if seen.purchase is not None and not seen.unpaid:
            return (
                FindingAction.WAIT,
                "a5a1c84 cannot parse this spec, and would neither poll nor collect the paid result",
            )
        return FindingAction.SUSPEND, "a5a1c84 cannot parse this spec"
    if seen.scoped:
        return (
            FindingAction.SUSPEND,
            "the namespace was created again: a5a1c84 uses another key, and would pay again",
        )
    if seen.unpaid:
        return _unpaid_verdict(spec, status, run, seen)
    attempts = spec.get("paidAttempts", 1)
    state = seen.purchase["state"] if seen.purchase is not None else ""
    if state in _OPEN and isinstance(attempts, int) and run.attempt < attempts:
        return (
            FindingAction.SUSPEND,
            "a5a1c84 treats a missing result as a failure, and would pay for the next attempt",
        )
    return None


def _identity_verdict(seen: KnownPurchase) -> tuple[FindingAction, str]:
    """Verdict on a run with an identity of LoRAs; under its own key, a5a1c84 finds pictures of an earlier training."""
    purchase = seen.with_identity
    state = purchase["state"] if purchase is not None and not _is_planned(purchase) else ""
    if state in (*_OPEN, PurchaseState.SUCCEEDED):
        return (
            FindingAction.WAIT,
            "a5a1c84 would neither poll nor collect purchases made after the LoRA was trained again",
        )
    return (
        FindingAction.SUSPEND,
        "a5a1c84 does not detect that the LoRA was trained again, and would use earlier pictures",
    )


def _unpaid_verdict(
    spec: Body, status: ResourceStatus, run: OldRun, seen: KnownPurchase
) -> tuple[FindingAction, str] | None:
    if run.in_status and status.run is not None and _is_rewound(status, status.run, seen.purchase):
        return FindingAction.LEDGER, "the status has a payment that the ledger has lost; written as possibly sent"
    if seen.marker is not None and (seen.purchase is None or _id_of(seen.purchase) != seen.marker):
        return FindingAction.LEDGER, "the bucket has a purchase that the ledger has lost; written as possibly sent"
    if spec.get("dryRun") is not None or spec.get("approval") not in (None, Approval.AUTOMATIC):
        return FindingAction.SUSPEND, "a5a1c84 knows neither approvals nor dry runs, and would pay"
    if status.reason is not None and status.reason not in OLD_REASONS:
        return FindingAction.SUSPEND, f"a5a1c84 does not know the rule of {status.reason}, and would pay"
    if status.run is not None and not run.in_status:
        return FindingAction.SUSPEND, "a5a1c84 would start and pay for another run"
    return None


def _is_rewound(status: ResourceStatus, run: RunStatus, purchase: Document | None) -> bool:
    """True if the ledger is older than the status; same rule as the operator's `was_rewound`."""
    if run.request_id is not None or status.reason in _SEARCH_REASONS:
        return True
    if purchase is None:
        return run.purchase_id is not None
    if run.purchase_id not in (None, _id_of(purchase)):
        return True
    sent_at = purchase.get("sentAt")
    return run.sent_at is not None and (sent_at is None or _aware(sent_at) < run.sent_at)


def lost_purchase(kind: Kind, body: Body, run: RunStatus | None, seen: KnownPurchase, now: datetime) -> Document:
    """Ledger document of a lost purchase whose request may have been sent.

    `run` is None if the purchase is not for the status's run.
    """
    meta = body["metadata"]
    named = seen.marker or (run.purchase_id if run is not None else None) or legacy_id(seen.key)
    spec = run.spec if run is not None else body["spec"]
    return {
        "_id": seen.key,
        "purchaseId": named,
        "state": PurchaseState.INTENT.value,
        "step": None,
        "jobId": meta["uid"],
        "namespace": meta["namespace"],
        "type": kind.record_type,
        "userId": spec.get("userId") or meta["namespace"],
        "provider": "assemblyai" if kind is Kind.TRANSCRIPTION else "fal",
        "model": model_of(parse_spec(kind, spec)),
        "marker": _UNMATCHED + named,
        "createdAt": run.started_at if run is not None else now,
        "sentAt": (run.sent_at or run.started_at) if run is not None else now,
        "changedAt": now,
        "error": "the ledger had lost it; written by contentgen prepare-rollback",
    }


class Rollback:
    """Checks and changes of resources and stores; `dry` changes nothing."""

    def __init__(
        self,
        database: Database[Document],
        marker_of: MarkerOf,
        patch: Patch,
        *,
        dry: bool = False,
        operator_class: str = DEFAULT_CLASS,
        accounts: Mapping[str, str] | None = None,
        approvals: AnyOf[str] = (),
    ) -> None:
        """`operator_class` is that of the operator to be rolled back; `accounts` are the provider accounts that labels
        grant, by namespace; `approvals` are the namespaces in which the platform requires an approval of each run.
        """
        self._class = operator_class
        self._accounts = accounts or {}
        self._approvals = approvals
        self._budgets: Collection[Document] = database["budgets"]
        self._kept: set[str] = set()  # uids whose fields the suspension has saved
        self._ledger: Collection[Document] = database["ledger"]
        self._jobs: Collection[Document] = database["jobs"]
        self._bindings: Collection[Document] = database["namespaces"]
        self._marker_of = marker_of
        self._patch = patch
        self._dry = dry

    async def prepare(self, resources: Iterable[tuple[Kind, Body]], now: datetime) -> list[Finding]:
        """Suspend and write what a5a1c84 needs. Returns all findings, including those of earlier calls."""
        findings = []
        for kind, body in resources:
            if (found := await self._check_resource(kind, body, now)) is not None:
                findings.append(found)
            if (found := await self._keep(kind, body)) is not None:
                findings.append(found)
        changes = [*self._withdraw_planned(now), *self._fill_markers(), *self._park_deletions()]
        return [*findings, *changes, *self._open_of_accounts(), *self._without_budgets(now)]

    async def undo(self, resources: Iterable[tuple[Kind, Body]]) -> list[Finding]:
        """Remove suspensions and restore parked deletions; a resource with a newer run stays suspended."""
        findings = []
        for kind, body in resources:
            label = (body["metadata"].get("annotations") or {}).get(ANNOTATION)
            if label is not None:
                findings.append(await self._resume(kind, body, label))
            elif fields := _saved(kind, body):
                await self._write(kind, body, {"spec": fields, "metadata": {"annotations": {SAVED: None}}})
                findings.append(Finding(FindingAction.KEEP, _describe(kind, body), f"restored: {', '.join(fields)}"))
        if not self._dry:
            self._jobs.update_many({f"{_PARKED_FIELD}.uid": {"$gt": ""}}, {"$rename": {_PARKED_FIELD: "discard"}})
        return findings

    async def _resume(self, kind: Kind, body: Body, label: str) -> Finding:
        about, now = _describe(kind, body), _run_label(ResourceStatus.model_validate(body.get("status") or {}))
        if label not in (now, "-") or (label == "-" and not now.startswith(("-", "1/"))):
            why = f"it was in run {label} and is in {now}: resuming it may pay for that run; set spec.suspend yourself"
            if fields := _saved(kind, body):
                await self._write(kind, body, {"spec": fields, "metadata": {"annotations": {SAVED: None}}})
            return Finding(FindingAction.WAIT, about, why)
        # In one write, so that nothing is paid without the approval or the dry run that the spec had.
        annotations = {ANNOTATION: None} | ({SAVED: None} if SAVED in _annotations(body) else {})
        spec = {**_saved(kind, body), "suspend": None}
        await self._write(kind, body, {"spec": spec, "metadata": {"annotations": annotations}})
        return Finding(FindingAction.RESUME, about, "no newer run")

    async def _check_resource(self, kind: Kind, body: Body, now: datetime) -> Finding | None:
        meta = body["metadata"]
        if meta.get("deletionTimestamp"):
            return None  # a5a1c84 finishes the deletion and pays nothing
        try:
            status = ResourceStatus.model_validate(body.get("status") or {})
            run = old_run(kind, body, status)
        except ValidationError:
            return None  # a5a1c84 reports InvalidSpec as well
        if run is None:
            return await self._check_estimate(kind, body, status)
        if class_of(body) != self._class:
            await self._suspend(kind, body, status)
            why = "a5a1c84 has no operator classes: it would run this too, and pay as another installation does"
            return Finding(FindingAction.WAIT, _describe(kind, body), f"{why} (class {class_of(body)})")
        seen = self._known_purchase(kind, meta, run)
        found = _identity_verdict(seen) if run.identity else verdict(kind, body, status, run, seen)
        if found is None and seen.unpaid:
            found = self._namespace_verdict(meta["namespace"])
        if found is None:
            return None
        action, why = found
        if action is FindingAction.LEDGER:
            self._write_purchase(lost_purchase(kind, body, status.run if run.in_status else None, seen, now), seen)
        if action in (FindingAction.SUSPEND, FindingAction.WAIT):
            await self._suspend(kind, body, status)
        return Finding(action, _describe(kind, body), why)

    def _known_purchase(self, kind: Kind, meta: Body, run: OldRun) -> KnownPurchase:
        key = key_of(kind, meta, run)
        purchase = self._ledger.find_one({"_id": key})
        # "A" follows "@".
        within = {"_id": {"$gte": f"{meta['namespace']}@", "$lt": f"{meta['namespace']}A"}}
        bound = {"_id": re.compile(f"/{re.escape(meta['namespace'])}$"), "scope": {"$gt": ""}}
        scoped = self._ledger.find_one(within, {"_id": 1}) or self._bindings.find_one(bound, {"_id": 1})
        with_identity = self._ledger.find_one({"_id": key_of(kind, meta, run, run.identity)}) if run.identity else None
        return KnownPurchase(key, purchase, self._marker_of(key), scoped is not None, with_identity)

    def _write_purchase(self, document: Document, seen: KnownPurchase) -> None:
        if self._dry:
            return
        if seen.purchase is None:
            self._ledger.insert_one(document)
            return
        same = {name: seen.purchase.get(name) for name in ("_id", "state", "step", "jobId")}
        names = ("state", "step", "purchaseId", "sentAt", "changedAt", "error")
        self._ledger.update_one(same, {"$set": {name: document[name] for name in names}})

    async def _check_estimate(self, kind: Kind, body: Body, status: ResourceStatus) -> Finding | None:
        """A resource for which a5a1c84 has nothing to do."""
        if class_of(body) != self._class or (status.phase, status.reason) != (Phase.COMPLETED, Reason.ESTIMATED):
            return None
        await self._suspend(kind, body, status)
        why = "the CRDs of a5a1c84 drop dryRun, and the next upgrade would start a run that is paid"
        return Finding(FindingAction.SUSPEND, _describe(kind, body), why)

    def _namespace_verdict(self, namespace: str) -> tuple[FindingAction, str] | None:
        """Verdict on what is unpaid, by the labels of its namespace."""
        if (account := self._accounts.get(namespace)) is not None:
            why = f"a5a1c84 has no provider account {account}, and would pay with the default account"
            return FindingAction.SUSPEND, why
        if namespace in self._approvals:
            return FindingAction.SUSPEND, "the platform requires an approval, and a5a1c84 would pay without one"
        return None

    async def _suspend(self, kind: Kind, body: Body, status: ResourceStatus) -> None:
        if (body.get("spec") or {}).get("suspend") is True:
            return  # by a person, who resumes it, or by an earlier call
        annotations = {ANNOTATION: _run_label(status)} | _to_save(body)
        self._kept.add(body["metadata"]["uid"])
        await self._write(kind, body, {"spec": {"suspend": True}, "metadata": {"annotations": annotations}})

    async def _keep(self, kind: Kind, body: Body) -> Finding | None:
        """Save the fields that the CRDs of a5a1c84 drop in an annotation, which `undo` restores."""
        if body["metadata"].get("deletionTimestamp") or class_of(body) != self._class:
            return None
        if not (saved := _to_save(body)):
            return None
        if body["metadata"]["uid"] not in self._kept and _annotations(body).get(SAVED) != saved[SAVED]:
            await self._write(kind, body, {"metadata": {"annotations": saved}})
        names = ", ".join(json.loads(saved[SAVED]))
        return Finding(FindingAction.KEEP, _describe(kind, body), f"a5a1c84 ignores and its CRDs drop {names}")

    async def _write(self, kind: Kind, body: Body, patch: Body) -> None:
        if not self._dry:
            version = body["metadata"]["resourceVersion"]
            await self._patch(kind, body, patch | {"metadata": patch["metadata"] | {"resourceVersion": version}})

    def _withdraw_planned(self, now: datetime) -> Iterator[Finding]:
        """Turn planned purchases into refused ones, because a5a1c84 treats each intent as possibly sent."""
        planned = {"state": PurchaseState.INTENT.value, "step": PurchaseStep.PLANNED.value}
        refused = {
            "state": PurchaseState.REFUSED.value,
            "step": None,
            "permanent": False,
            "changedAt": now,
            "error": "withdrawn before it was sent, for a rollback",
        }
        for each in list(self._ledger.find(planned, {"jobId": 1})):
            if not self._dry:
                self._ledger.update_one(each | planned, {"$set": refused})
            yield Finding(FindingAction.LEDGER, f"purchase {each['_id']}", "not sent: a5a1c84 may send it once")
        # a5a1c84 keeps `step` when it sends a refused purchase, and this release would read it as not sent.
        if not self._dry:
            steps = {"state": PurchaseState.REFUSED.value, "step": {"$ne": None}}
            self._ledger.update_many(steps, {"$set": {"step": None}})

    def _open_of_accounts(self) -> Iterator[Finding]:
        """Requests of provider accounts, which a5a1c84 would poll with the default key."""
        mine = {"operatorClass": self._class, "account": {"$ne": None}}
        for each in list(self._ledger.find(mine | {"state": {"$in": [each.value for each in _OPEN]}})):
            why = (
                f"a5a1c84 would ask with the default key instead of that of the provider account {each['account']}, "
                "and take the missing request as failed: start the operator again and let it finish first"
            )
            if not _is_planned(each):
                yield Finding(FindingAction.WAIT, f"purchase {each['_id']}", why)

    def _without_budgets(self, now: datetime) -> Iterator[Finding]:
        """Budgets with a present window."""
        present = {"$or": [{"resetsAt": None}, {"resetsAt": {"$gt": now}}]}
        for name in sorted(map(str, self._budgets.distinct("budget", present))):
            why = (
                "a5a1c84 has no budgets: resources that do not wait for one now, and new ones, are paid without a limit"
            )
            yield Finding(FindingAction.WAIT, f"ContentBudget {name}", why)

    def _fill_markers(self) -> Iterator[Finding]:
        """Set a marker on intents without one: a5a1c84 would match them with any request without a seed."""
        for each in list(self._ledger.find({"state": PurchaseState.INTENT.value, "marker": ""})):
            if not self._dry:
                self._ledger.update_one({"_id": each["_id"]}, {"$set": {"marker": _UNMATCHED + _id_of(each)}})
            yield Finding(
                FindingAction.LEDGER, f"purchase {each['_id']}", "without a marker, a5a1c84 matches any request"
            )

    def _park_deletions(self) -> Iterator[Finding]:
        """Park tombstones with which a5a1c84 would delete files of a purchase with another owner."""
        for each in list(self._jobs.find({"discard.uid": {"$gt": ""}})):
            if not self._covers_other_purchases(each["discard"]):
                continue
            if not self._dry:
                self._jobs.update_one({"_id": each["_id"]}, {"$rename": {"discard": _PARKED_FIELD}})
            yield Finding(FindingAction.PARK, f"job {each['jobId']}", "a5a1c84 would delete files of another resource")

    def _covers_other_purchases(self, discard: Document) -> bool:
        place = discard.get("boughtUnder") or discard.get("bought_under") or ""
        if not place:
            return True
        mine = discard.get("jobIds") or discard.get("job_ids") or []
        within = {"_id": {"$gte": place, "$lt": f"{place[:-1]}0"}, "jobId": {"$nin": mine}}
        others = self._ledger.find(within | {"state": {"$nin": [each.value for each in _ENDED]}})
        prefixes = tuple(discard.get("prefixes") or ())
        return any(key.startswith(prefixes) for each in others for key in _file_keys(each))


def recent_status_write(resources: Iterable[tuple[Kind, Body]], now: datetime) -> str:
    """A resource whose status was written in the last minute, with the age; empty if there is none.

    An idle operator writes no status, and is not detected.
    """
    for kind, body in resources:
        for each in body["metadata"].get("managedFields") or ():
            if each.get("subresource") == "status" and each.get("time"):
                age = now - datetime.fromisoformat(each["time"])
                if age < timedelta(seconds=RECENT_SECONDS):
                    return f"{_describe(kind, body)} {age.total_seconds():.0f} s ago"
    return ""


def _annotations(body: Body) -> Mapping[str, Any]:
    return body["metadata"].get("annotations") or {}


def _to_save(body: Body) -> dict[str, str]:
    """The annotation with the fields that are dropped; empty: the spec has none."""
    spec = body.get("spec") or {}
    fields = {name: spec[name] for name in _DROPPED if spec.get(name) is not None}
    return {SAVED: json.dumps(fields, sort_keys=True)} if fields else {}


def _saved(kind: Kind, body: Body) -> Body:
    """Fields of the annotation that the spec lacks; none that the next release has set or that are not ours. A user may
    have written it: malformed values would have the API server refuse the write, and end the command.
    """
    try:
        given = json.loads(_annotations(body).get(SAVED) or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(given, dict):
        return {}
    spec = body.get("spec") or {}
    fields = {name: given[name] for name in _DROPPED if name in given and spec.get(name) is None}
    try:
        parse_spec(kind, spec | fields)
    except ValidationError as error:
        malformed = {each["loc"][0] for each in error.errors() if each["loc"]}
        return {name: value for name, value in fields.items() if name not in malformed}
    return fields


def _run_label(status: ResourceStatus) -> str:
    run = status.run
    return f"{run.number}/{run.run_hash}/{run.paid_attempt}" if run is not None else "-"


def _describe(kind: Kind, body: Body) -> str:
    return f"{kind} {body['metadata']['namespace']}/{body['metadata']['name']}"


def _is_planned(purchase: Document) -> bool:
    return (purchase["state"], purchase.get("step")) == (PurchaseState.INTENT, PurchaseStep.PLANNED)


def _id_of(purchase: Document) -> str:
    return str(purchase.get("purchaseId") or legacy_id(str(purchase["_id"])))


def _file_keys(purchase: Document) -> list[str]:
    files = (purchase.get("outputs") or {}).get("files") or ()
    return [*(str(each.get("key")) for each in files), str(purchase.get("resultKey")), str(purchase.get("marker"))]


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
