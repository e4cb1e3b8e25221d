"""Meaning and remedies of each phase, condition and reason, the source of docs/reference/reasons.md. Pure.

For each reason: what was paid, what is kept, the remedies and their costs. `guidance.py` selects those that apply to
one resource, for messages, plugin, gateway and docs. tests/unit/contract/test_advice.py executes every remedy.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from contentgen_contract.names import (
    COLLECT_ANNOTATION,
    RERUN_ANNOTATION,
    RESUBMIT_ANNOTATION,
    Condition,
    Phase,
    Reason,
)


class Paid(StrEnum):
    """Payment state of a run."""

    NOTHING = "nothing"
    PAID = "the request"
    UNKNOWN = "nobody knows; the request may have been paid"
    BY_STAGE = "the request, if status.run.requestId names it; else nothing"
    BILLED = "the request, unless status.run.billed is false; unknown where that is absent"


class Kept(StrEnum):
    """Data that is kept after the end of the run, or during a wait."""

    VERSIONS = "finished versions"
    RUN = "the run with what it has prepared, its purchase, finished versions"
    PURCHASE = "the purchase, and its result if it still comes"
    ANSWER = "the purchase and, once the provider has finished, its answer"
    OUTPUTS = "the outputs, and the provider's answer"
    RECORD = "the purchase in the ledger; neither its files nor the provider's answer"


class Costs(StrEnum):
    """Payment that a remedy causes."""

    FREE = "pays nothing"
    ONCE = "pays for the run, once"
    PAYS = "pays once more"
    MAY_PAY_TWICE = "pays once more; if the first request was taken, it is paid twice"
    AFTER_EARLIER = "pays once more; an earlier attempt of the run may have been paid"
    """Never in the table: replaces ONCE in a later attempt of a run, see `guidance.applicable_remedies`."""


class Action(StrEnum):
    """Action of a user."""

    NONE = "none"
    WAIT = "wait"
    REPAIR = "repair"  # the environment; the run continues by itself
    RESUME = "resume"
    COLLECT = "collect"
    ADOPT = "adopt"
    RESTORE = "restore"  # the newest backup of a store
    EDIT = "edit"
    APPROVE = "approve"
    RERUN = "rerun"
    RESUBMIT = "resubmit"
    DELETE_OTHER = "delete the other"


class When(StrEnum):
    """Condition under which a remedy of a reason applies."""

    ALWAYS = "always"
    UNSENT = "nothing was sent to the provider"
    ENDED = "a run has ended, and nothing was sent"
    SENT = "a request was sent"
    LOST = "a request was sent, and its id is not known"
    KNOWN = "the request's id is known"
    RESULT = "the provider's answer is stored"
    NO_RESULT = "the provider's answer is not stored"
    OPEN = "the request may still finish"
    WAITS = "the run has not ended"
    FAILED = "the run has failed"
    TOO_SLOW = "the prepare stage's worker ran, and was ended"


_AGAIN_BY = f"kubectl contentgen retry NAME, or a new value of the annotation {RERUN_ANNOTATION}"
_FETCH_BY = f"kubectl contentgen collect NAME, or the annotation {COLLECT_ANNOTATION} that the message names"
_ALLOW_BY = f"kubectl contentgen retry NAME, or the annotation {RESUBMIT_ANNOTATION} that the message names"
_TEXTS = {
    Action.NONE: "No action is needed",
    Action.WAIT: "Wait; the run continues by itself",
    Action.RESUME: "Set spec.suspend to false: kubectl contentgen resume NAME; the run continues where it stopped",
    Action.COLLECT: f"Fetch the paid result once more: {_FETCH_BY}",
    Action.ADOPT: "Check the provider's dashboard; if the request is listed, adopt it: kubectl contentgen adopt NAME "
    "REQUEST_ID",
    Action.APPROVE: "Let a user with the verb approve look at the price, and approve or reject the run: kubectl "
    "contentgen approve NAME, kubectl contentgen reject NAME",
    Action.EDIT: "Correct the spec; the edit starts the next run",
    Action.RERUN: f"Start another run: {_AGAIN_BY}",
    Action.RESUBMIT: f"If it is not listed, allow another payment: {_ALLOW_BY}",
}


@dataclass(frozen=True)
class Remedy:
    """A remedy. `text`: empty means the default text of the action."""

    action: Action
    costs: Costs
    text: str = ""
    when: When = When.ALWAYS

    @property
    def sentence(self) -> str:
        """The sentence, without a full stop."""
        return self.text or _TEXTS[self.action]


@dataclass(frozen=True)
class Explanation:
    """One reason: meaning, payment, kept data, and remedies with free ones first."""

    meaning: str
    paid: Paid
    kept: Kept
    remedies: tuple[Remedy, ...]
    where_to_look: str = ""
    """Sentence about the place of the cause."""

    @property
    def remedy_costs(self) -> tuple[tuple[str, str], ...]:
        """Text and costs of each remedy, without duplicates."""
        found: dict[str, list[Costs]] = {}
        for remedy in self.remedies:
            found.setdefault(remedy.sentence, []).append(remedy.costs)
        return tuple((text, costs_text(costs)) for text, costs in found.items())

    @property
    def advice(self) -> str:
        """All remedies with their costs, as sentences."""
        return " ".join(sentences(self.where_to_look, self.remedy_costs))


def sentences(look: str, helps: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The place to look, then a sentence for each remedy with its cost."""
    if look:
        yield look
    for text, costs in helps:
        yield f"{text} ({costs})."


def costs_text(costs: Iterable[Costs]) -> str:
    """Costs of one remedy, which differ before and after the payment."""
    listed = list(dict.fromkeys(costs))
    others = [cost.value for cost in listed if cost is not Costs.ONCE]
    if Costs.ONCE in listed and others:
        return f"{'; or '.join(others)}; before the payment: {Costs.ONCE.value}"
    return "; or ".join(cost.value for cost in listed)


def _single(action: Action, costs: Costs, text: str = "", when: When = When.ALWAYS) -> tuple[Remedy, ...]:
    return (Remedy(action, costs, text, when),)


def _resumes_itself(action: Action = Action.WAIT, text: str = "") -> tuple[Remedy, ...]:
    """Remedies of a wait: the run continues, and is paid only if it is not paid yet."""
    return (Remedy(action, Costs.FREE, text, When.SENT), Remedy(action, Costs.ONCE, text, When.UNSENT))


def _collect(text: str = "") -> tuple[Remedy, ...]:
    return _single(Action.COLLECT, Costs.FREE, text, When.RESULT)


def _rerun(text: str = "") -> tuple[Remedy, ...]:
    return (
        Remedy(Action.RERUN, Costs.ONCE, text, When.UNSENT),
        Remedy(Action.RERUN, Costs.PAYS, text, When.KNOWN),
    )


_WAIT = _resumes_itself()
_FREE_WAIT = _single(Action.WAIT, Costs.FREE)
_AGAIN = (*_collect(), *_rerun())
_OPEN = _single(Action.COLLECT, Costs.FREE, f"Once the request has finished, fetch its result: {_FETCH_BY}", When.OPEN)
_UNSENT_RERUN = _single(Action.RERUN, Costs.ONCE)


def _edit(text: str) -> tuple[Remedy, ...]:
    return _single(Action.EDIT, Costs.ONCE, f"{text}; the edit starts the next run")


PHASES: dict[Phase, str] = {
    Phase.PENDING: "The run waits before its first step: for a LoRA, a store, or the operator.",
    Phase.SUSPENDED: "spec.suspend is true: nothing is started and nothing is paid until it is false.",
    Phase.PREPARING: "A Job downloads the source and prepares the provider's input. Free.",
    Phase.AWAITING_APPROVAL: "The run waits for an approval before its payment: kubectl contentgen approve or reject.",
    Phase.SUBMITTING: "The paid request is recorded in the ledger and sent to the provider, once.",
    Phase.PROCESSING: "The provider works on the request. No pod waits for it.",
    Phase.COLLECTING: "A Job downloads the provider's result and stores the outputs. Free.",
    Phase.COMPLETED: "The outputs are stored, or after a dry run (Estimated) the price is known. Final for this run.",
    Phase.FAILED: "The run ended without outputs; see the reason. Final for this run, but a paid result can be fetched "
    "once more (contentgen.dev/collect).",
    Phase.SUBMISSION_UNKNOWN: "It is unknown whether the provider accepted the paid request. The operator still "
    "searches for it; a user may adopt it, or allow another payment.",
}

CONDITIONS: dict[Condition, str] = {
    Condition.READY: "The outputs of the current spec are stored.",
    Condition.RECONCILING: "Work is in progress. Read by kstatus.",
    Condition.STALLED: "Nothing happens until a user changes something. Read by kstatus.",
    Condition.COMPLETE: "The run succeeded: `kubectl wait --for=condition=Complete`.",
    Condition.FAILED: "The run failed: `kubectl wait --for=condition=Failed`.",
    Condition.SUSPENDED: "spec.suspend pauses the run.",
    Condition.SOURCE_READY: "The source was downloaded and is usable.",
    Condition.DATASET_READY: "The training pictures and their captions are stored.",
    Condition.SUBMITTED: "The provider accepted the paid request.",
    Condition.STORED: "All outputs are in the bucket, with the sizes and checksums that the worker reported.",
}

REASONS: dict[Reason, Explanation] = {
    Reason.PREPARING: Explanation(
        "A Job prepares the source.", Paid.NOTHING, Kept.RUN, _single(Action.WAIT, Costs.ONCE)
    ),
    Reason.SUBMITTING: Explanation(
        "The paid request is being sent.", Paid.BY_STAGE, Kept.RUN, _single(Action.WAIT, Costs.ONCE)
    ),
    Reason.PROCESSING: Explanation("The provider works on the request.", Paid.PAID, Kept.RUN, _FREE_WAIT),
    Reason.COLLECTING: Explanation("A Job stores the provider's result.", Paid.PAID, Kept.ANSWER, _FREE_WAIT),
    Reason.SUSPENDED: Explanation(
        "spec.suspend is true, so nothing is started and nothing is paid.",
        Paid.NOTHING,
        Kept.RUN,
        _single(Action.RESUME, Costs.ONCE),
    ),
    Reason.AWAITING_APPROVAL: Explanation(
        "The free stages are done and the run waits for an approval: spec.approval is Manual, or the namespace or the "
        "installation requires it. Its deadline (spec.deadlineSeconds) goes on.",
        Paid.NOTHING,
        Kept.RUN,
        (
            *_single(Action.APPROVE, Costs.ONCE),
            *_single(Action.EDIT, Costs.ONCE, "Edit the spec: another run replaces this one and waits in its place"),
        ),
        "The message has the price and the number of the run; a training set is shown by the gateway.",
    ),
    Reason.WAITING_FOR_LORA: Explanation(
        "A LoraTraining named in spec.loras is not finished.",
        Paid.NOTHING,
        Kept.RUN,
        (
            Remedy(Action.WAIT, Costs.ONCE, "Wait for that LoraTraining; the generation starts then"),
            Remedy(Action.EDIT, Costs.ONCE, "Name another LoRA in spec.loras"),
        ),
        "The message has the state of the LoraTraining; kubectl contentgen why of that one shows more.",
    ),
    Reason.LORA_MISSING: Explanation(
        "A LoraTraining named in spec.loras does not exist in the namespace.",
        Paid.NOTHING,
        Kept.RUN,
        (
            Remedy(Action.REPAIR, Costs.ONCE, "Apply that LoraTraining; the generation starts once it is finished"),
            Remedy(Action.EDIT, Costs.ONCE, "Correct the name in spec.loras"),
        ),
        "List the LoraTrainings of the namespace and compare the names: kubectl get loratrainings.",
    ),
    Reason.WAITING_FOR_LORA_NAME: Explanation(
        "An older LoraTraining of the same user and namespace has the same spec.loraName. Nothing is paid while "
        "it waits.",
        Paid.NOTHING,
        Kept.RUN,
        (
            Remedy(Action.EDIT, Costs.ONCE, "Change spec.loraName of this resource"),
            Remedy(
                Action.DELETE_OTHER,
                Costs.ONCE,
                "Wait until the older one has ended, then delete it; this one continues by itself. A deletion before "
                "that cancels its request, which was paid. It deletes its files if its spec.deletionPolicy is Delete",
            ),
        ),
        "The message names the older LoraTraining. Without the wait both would be paid.",
    ),
    Reason.CLUSTER_NOT_CONFIRMED: Explanation(
        "The ledger belongs to another cluster (this cluster was rebuilt, or is a second one on the same database), "
        "another cluster took over this one, or the operator may not read namespaces. Nothing is paid or adopted.",
        Paid.BY_STAGE,
        Kept.RUN,
        _resumes_itself(Action.REPAIR, "Let an administrator run the command in the message; work continues by itself"),
        "Description of each command: docs/install.md#namespaces-and-clusters-that-were-created-again.",
    ),
    Reason.STORE_UNAVAILABLE: Explanation(
        "MongoDB or the S3 bucket does not answer, or the bucket does not exist.",
        Paid.BY_STAGE,
        Kept.RUN,
        _resumes_itself(
            Action.REPAIR, "Repair the store, or correct its address or credentials; work continues by itself"
        ),
        "The message names the store. Check from the operator's pod: address, DNS, credentials, bucket name, "
        "network policies.",
    ),
    Reason.PROVIDER_UNAVAILABLE: Explanation(
        "The provider does not respond, limits the request rate, or for a while does not know a request that it has "
        "accepted, or has no result of it.",
        Paid.BY_STAGE,
        Kept.RUN,
        _resumes_itself(text="Wait; the operator retries at growing intervals"),
        "Check the provider's status page, DNS, the proxy, and the limits of the account. A 403 that names neither the "
        "input nor the account comes from a proxy, a firewall or a block of the operator's address. A request that the "
        "provider does not know is asked for during 30 days: nothing is given up after single answers.",
    ),
    Reason.PROVIDER_NOT_CONFIGURED: Explanation(
        "The operator has no key for the required provider, the provider rejects the key, or the key does not know a "
        "request that was sent with another one.",
        Paid.BY_STAGE,
        Kept.RUN,
        _resumes_itself(
            Action.REPAIR,
            "Put a valid key of the same account at the provider into the Secret of the chart's "
            "providers.existingSecret, or of providers.accounts if the message names an account; work continues by "
            "itself",
        ),
        "The keys of the Secret are fal-key and assemblyai-key; the message states whether the provider rejects them, "
        "and names the namespace's provider account if it is not the default one. Another account at the provider does "
        "not know the requests that were sent: their paid results are fetched once a key of their account is back.",
    ),
    Reason.BUDGET_EXCEEDED: Explanation(
        "A ContentBudget of the platform refuses the run: it may cost more than the budget has left, or allows a run.",
        Paid.NOTHING,
        Kept.RUN,
        (
            Remedy(
                Action.WAIT,
                Costs.ONCE,
                "A run that waits continues by itself once the budget has room: after the reset, or a higher limit",
                When.WAITS,
            ),
            Remedy(Action.EDIT, Costs.ONCE, "Make the run cheaper, such as by fewer pictures; the edit replaces it"),
            Remedy(
                Action.RERUN,
                Costs.ONCE,
                f"If the budget has ended the run: wait until it has room, then start another run: {_AGAIN_BY}",
                When.FAILED,
            ),
        ),
        "The message names the budget, its limit and the time of the reset. A price above the limit never fits.",
    ),
    Reason.LOOKING_FOR_REQUEST: Explanation(
        "The reply to the paid request was lost; the operator searches the provider's history for the request.",
        Paid.UNKNOWN,
        Kept.PURCHASE,
        (*_FREE_WAIT, Remedy(Action.ADOPT, Costs.FREE)),
    ),
    Reason.JOB_REFUSED: Explanation(
        "The API server rejects the Job of a stage, or its pod: a quota, a LimitRange, Pod Security or another "
        "admission policy.",
        Paid.BY_STAGE,
        Kept.RUN,
        _resumes_itself(Action.REPAIR, "Make room in the quota, or allow the Job; work continues by itself"),
        "The message contains the API server's error: a ResourceQuota, a LimitRange, Pod Security, an admission "
        "policy or a webhook. Where finished Jobs of the operator fill a quota, it deletes those whose outcome is "
        "stored. Changed worker.* values of the chart replace the Job. After the payment act soon: providers delete "
        "files after a while.",
    ),
    Reason.POD_NOT_STARTED: Explanation(
        "The pod of the Job has not started: its image cannot be pulled, or no node has room for it.",
        Paid.BY_STAGE,
        Kept.RUN,
        _resumes_itself(Action.REPAIR, "Remove the cause in the message; work continues by itself when the pod starts"),
        "The message contains the cause: the image name or pull secrets (ErrImagePull, ImagePullBackOff), room on the "
        "nodes (Unschedulable), or a queue that has suspended the Job. The wait has no limit but spec.deadlineSeconds. "
        "Changed worker.* values of the chart replace a Job whose pod has not started.",
    ),
    Reason.RETRYING: Explanation(
        "An attempt of a stage failed; the message contains the cause. The next attempt starts after a pause; after a "
        "payment until spec.collectDeadlineSeconds.",
        Paid.BY_STAGE,
        Kept.RUN,
        _WAIT,
        "The message contains the cause of the failed attempt: OOMKilled (worker.resources), Evicted (disk or memory "
        "of the node), a deleted pod or a lost node. The next attempt starts after 10 s, then 20 s; after a payment "
        "at growing intervals, until spec.collectDeadlineSeconds. Lower that field to end the run now: the paid "
        "result is kept.",
    ),
    Reason.QUEUED: Explanation(
        "The run waits for its turn: in the operator's queue before the prepare stage or the payment, or because a "
        "queue such as Kueue has suspended its Job.",
        Paid.BY_STAGE,
        Kept.RUN,
        _resumes_itself(text="Wait; the run continues when it has a place"),
        "The message names the limit that the run waits for (queues.maxConcurrent or queues.maxPrepareJobs in the "
        "chart's values), or the Job that is suspended. `kubectl contentgen why NAME` has the position in the "
        "namespace; spec.priority changes it.",
    ),
    Reason.CIRCUIT_OPEN: Explanation(
        "Paid requests to the model's endpoint failed several times in a row, or the provider asked to wait, so none "
        "is sent for a while. Paid requests under way go on.",
        Paid.NOTHING,
        Kept.RUN,
        _single(Action.WAIT, Costs.ONCE, "Wait; one request is tried after each pause, and the run continues then"),
        "Check the provider's status page and the limits and balance of the account. The metric "
        "contentgen_circuit_open names the endpoint.",
    ),
    Reason.COLLECT_BACKLOG: Explanation(
        "Many paid results of the namespace, or of several namespaces, could not be stored for a while. Nothing more "
        "is bought until they are, then one run at a time until the result of one is stored. Requests under way go "
        "on, and results are collected.",
        Paid.NOTHING,
        Kept.RUN,
        _single(
            Action.REPAIR,
            Costs.ONCE,
            "Remove the cause for which results are not stored; they are stored, and this run continues, by themselves",
        ),
        "The resources in the phase Collecting name the cause: a refused Job, a pod that does not start, a store, an "
        "unreachable result. Do not delete them: their results are paid. buying.collectBacklog in the chart's values "
        "is the limit.",
    ),
    Reason.BUYING_PAUSED: Explanation(
        "An administrator has paused buying in this installation. Requests under way go on, and results are collected.",
        Paid.NOTHING,
        Kept.RUN,
        _single(
            Action.REPAIR,
            Costs.ONCE,
            "Let an administrator set buying.paused to false in the chart's values; the run continues by itself",
        ),
        "Ask the administrator for the cause.",
    ),
    Reason.COMPLETED: Explanation(
        "The outputs are stored; status.versions lists them.",
        Paid.PAID,
        Kept.OUTPUTS,
        (
            Remedy(Action.NONE, Costs.FREE),
            Remedy(
                Action.RERUN,
                Costs.PAYS,
                f"To make another version of the same inputs: {_AGAIN_BY}",
            ),
        ),
    ),
    Reason.ADOPTED_FINISHED_RUN: Explanation(
        "The same inputs were bought before under this name: those outputs are used, and nothing was paid.",
        Paid.NOTHING,
        Kept.OUTPUTS,
        (
            Remedy(Action.NONE, Costs.FREE),
            Remedy(
                Action.RERUN,
                Costs.PAYS,
                f"To buy the same inputs again: {_AGAIN_BY}",
            ),
        ),
    ),
    Reason.ADOPTED_SAME_REQUEST: Explanation(
        "The spec differs, but its request to the provider was bought before under this name: that result is used, and "
        "nothing was paid. A file behind spec.loras[].path is not read: if it changed, a new result must be bought.",
        Paid.NOTHING,
        Kept.OUTPUTS,
        (
            Remedy(Action.NONE, Costs.FREE),
            Remedy(
                Action.RERUN,
                Costs.PAYS,
                f"To buy the same request again: {_AGAIN_BY}",
            ),
        ),
    ),
    Reason.ESTIMATED: Explanation(
        "spec.dryRun is Estimate: the run executed its free stages and ended; status.cost.estimated has the price.",
        Paid.NOTHING,
        Kept.RUN,
        _single(
            Action.EDIT,
            Costs.ONCE,
            "Remove spec.dryRun: kubectl contentgen retry NAME --paid; the edit starts a run that is paid",
        ),
    ),
    Reason.REJECTED: Explanation(
        "A user rejected the run, which waited for an approval.",
        Paid.NOTHING,
        Kept.VERSIONS,
        (*_edit("Change the spec as the user wishes"), *_UNSENT_RERUN),
        "The message and status.run.approval name the user.",
    ),
    Reason.INVALID_SPEC: Explanation(
        "The API server accepted the spec, but the operator or the worker image cannot process it; the message names "
        "the field.",
        Paid.BY_STAGE,
        Kept.ANSWER,
        (
            *_collect(
                f"If the worker image does not support the spec: upgrade it, then fetch the paid result: {_FETCH_BY}"
            ),
            Remedy(Action.EDIT, Costs.ONCE, when=When.UNSENT),
            Remedy(Action.EDIT, Costs.PAYS, when=When.KNOWN),
            Remedy(
                Action.RERUN,
                Costs.ONCE,
                "If the worker image does not support the spec: upgrade it, then start another run: a new value of "
                f"the annotation {RERUN_ANNOTATION}",
                When.ENDED,
            ),
        ),
        "The message names the field.",
    ),
    Reason.SUBMISSION_UNKNOWN: Explanation(
        "The provider may have been paid: its reply was lost, and its history does not show the request. Or it was "
        "paid, and the ledger has lost the purchase.",
        Paid.UNKNOWN,
        Kept.PURCHASE,
        (
            Remedy(
                Action.WAIT, Costs.FREE, "Wait: the operator searches for the request until the time in the message"
            ),
            Remedy(
                Action.RESTORE,
                Costs.FREE,
                "If the message says that the ledger has lost it, restore MongoDB's newest backup; the run continues "
                "by itself",
            ),
            Remedy(Action.ADOPT, Costs.FREE),
            Remedy(Action.RESUBMIT, Costs.MAY_PAY_TWICE),
        ),
        "Check the provider's dashboard for a request of that time and model. The operator searches for it too.",
    ),
    Reason.STORES_DISAGREE: Explanation(
        "The status names a run or a paid attempt that is not in MongoDB: MongoDB was restored from an older backup, "
        "another installation with another MongoDB started the run, or another user wrote the status. Nothing is paid "
        "until this is resolved; free work continues.",
        Paid.UNKNOWN,
        Kept.RUN,
        (
            Remedy(Action.RESTORE, Costs.FREE, "Restore MongoDB's newest backup; the run continues by itself"),
            Remedy(
                Action.RESUBMIT,
                Costs.MAY_PAY_TWICE,
                "If the provider's dashboard shows no payment since that backup, or the status was wrong, allow "
                f"payments: {_ALLOW_BY}",
            ),
        ),
        "Check which installation serves the operator class: `kubectl get operatorclasses`. If another one with "
        "another MongoDB served it before, return the class to that one: it continues the requests that it has sent.",
    ),
    Reason.MODEL_NOT_ALLOWED: Explanation(
        "The model is not allowed: it is not in the catalogue, or the operator's models.allowed does not list it, or "
        "it does not generate the outputs of this kind.",
        Paid.NOTHING,
        Kept.VERSIONS,
        (
            *_edit("Use one of the models in the message"),
            Remedy(
                Action.RERUN,
                Costs.ONCE,
                "If the model is in the catalogue, let the administrator add it to the chart's models.allowed, then "
                "start another run: "
                f"{_AGAIN_BY}",
            ),
        ),
        "The message contains the cause and the allowed models.",
    ),
    Reason.PROVIDER_REFUSED: Explanation(
        "The provider rejected the request before working on it: an unknown model or an invalid option.",
        Paid.NOTHING,
        Kept.VERSIONS,
        _edit("Correct what the message names"),
        "The message is the provider's: an unknown model, an invalid option, or its content policy.",
    ),
    Reason.PROVIDER_FAILED: Explanation(
        "The provider accepted the request and reported that it failed.",
        Paid.BILLED,
        Kept.PURCHASE,
        (
            Remedy(Action.RERUN, Costs.PAYS),
            Remedy(Action.EDIT, Costs.PAYS, "Correct the cause in the message; the edit starts the next run"),
        ),
        "The message is the provider's. spec.paidAttempts makes later runs retry by themselves, with a payment each, "
        "unless the provider refused the input.",
    ),
    Reason.JOB_FAILED: Explanation(
        "A Job of the run failed in every attempt without reporting a cause.",
        Paid.BY_STAGE,
        Kept.ANSWER,
        _AGAIN,
        "See the cause of the last attempt in the message, and the worker's log: kubectl contentgen logs NAME. Check "
        "memory and disk of the node, and worker.resources.",
    ),
    Reason.DEADLINE_EXCEEDED: Explanation(
        "A stage or the provider exceeded its time limit.",
        Paid.BY_STAGE,
        Kept.ANSWER,
        (
            *_OPEN,
            *_AGAIN,
            Remedy(Action.EDIT, Costs.ONCE, "Use a shorter recording; the edit starts the next run", When.TOO_SLOW),
        ),
        "The message names the limit; spec.deadlineSeconds and spec.collectDeadlineSeconds apply to the next run too.",
    ),
    Reason.LORA_FAILED: Explanation(
        "A LoraTraining named in spec.loras failed; the ImageGeneration waits for it and is not paid.",
        Paid.NOTHING,
        Kept.RUN,
        (
            Remedy(Action.REPAIR, Costs.ONCE, "Make that LoraTraining succeed; the generation continues by itself"),
            Remedy(Action.EDIT, Costs.ONCE, "Name another LoRA in spec.loras"),
        ),
        "The message contains that of the LoraTraining; kubectl contentgen why of that one shows more.",
    ),
    Reason.OUTPUT_MISSING: Explanation(
        "A worker reported a stored file that is missing from the bucket or differs from the report.",
        Paid.BY_STAGE,
        Kept.ANSWER,
        _AGAIN,
        "Find out who else deletes from the bucket: access log, lifecycle rules, holders of credentials.",
    ),
    Reason.OUTPUT_CHANGED: Explanation(
        "The content of a file in the bucket differs from what its worker stored: it was overwritten.",
        Paid.BY_STAGE,
        Kept.ANSWER,
        _AGAIN,
        "Find out who else writes to the bucket: access log, holders of credentials.",
    ),
    Reason.OUTCOME_INVALID: Explanation(
        "The outcome of a worker is invalid.",
        Paid.BY_STAGE,
        Kept.ANSWER,
        _AGAIN,
        "Check that the images of operator and worker are of the same release.",
    ),
    Reason.OUTPUTS_DELETED: Explanation(
        "The same inputs were bought before under this name, and their files are gone: deleted with deletionPolicy "
        "Delete, or missing from the bucket together with the provider's response, which the provider does not have "
        "any more.",
        Paid.PAID,
        Kept.RECORD,
        (
            Remedy(
                Action.RESTORE,
                Costs.FREE,
                "If they are missing from the bucket: restore the files or the provider's response from its backup, "
                "then "
                f"fetch them: {_FETCH_BY}",
            ),
            Remedy(Action.RERUN, Costs.PAYS),
        ),
    ),
    Reason.CANCELLED: Explanation(
        "The run was cancelled: by the contentgen.dev/cancel annotation, by the deletion of its resource, or at a "
        "deadline. The message and status.run.billed state whether the provider bills it nevertheless.",
        Paid.BILLED,
        Kept.PURCHASE,
        (
            *_OPEN,
            *_collect(),
            *_rerun(),
            Remedy(
                Action.RERUN,
                Costs.MAY_PAY_TWICE,
                f"If the reply was lost: check the provider's dashboard first, then start another run: {_AGAIN_BY}",
                When.LOST,
            ),
        ),
        "The message states the cause: a cancellation, the deletion of the resource that requested the run, or a "
        "deadline.",
    ),
    Reason.SOURCE_NOT_ALLOWED: Explanation(
        "The address of the source is private, internal or not a web address, or its bucket is not allowed.",
        Paid.NOTHING,
        Kept.VERSIONS,
        (
            *_edit("Use a public URL"),
            Remedy(
                Action.RERUN,
                Costs.ONCE,
                "Let the administrator add the host or bucket to the chart's values, then start another run: "
                f"{_AGAIN_BY}",
            ),
        ),
        "Private and cluster-internal addresses are refused, also after redirects. An administrator can allow a host "
        "(allowedHosts), or grant a namespace a bucket or a prefix (storage.sources).",
    ),
    Reason.SOURCE_UNREACHABLE: Explanation(
        "The source could not be downloaded; the message contains the response.",
        Paid.NOTHING,
        Kept.VERSIONS,
        (*_UNSENT_RERUN, *_edit("Correct the URL, which must not require a login")),
        "Open the URL in a private window: it may require a login. Signed URLs expire.",
    ),
    Reason.SOURCE_TOO_LARGE: Explanation(
        "The source exceeds the worker's limits of size or duration.",
        Paid.NOTHING,
        Kept.VERSIONS,
        _edit("Use a smaller or shorter file"),
        "The limits are in the chart's values (limits).",
    ),
    Reason.SOURCE_CHECKSUM_MISMATCH: Explanation(
        "The checksum of the file differs from spec.source.sha256.",
        Paid.NOTHING,
        Kept.VERSIONS,
        _edit("Correct the sha256 or the URL"),
        "The file may have been changed.",
    ),
    Reason.SOURCE_EMPTY: Explanation(
        "The source has no content.",
        Paid.NOTHING,
        Kept.VERSIONS,
        _edit("Correct the URL"),
        "Check the URL (curl -sI URL): it is often a web page.",
    ),
    Reason.UNSUPPORTED_MEDIA: Explanation(
        "The file is not a decodable recording.",
        Paid.NOTHING,
        Kept.VERSIONS,
        _edit("Use a common format such as MP4, WebM, MP3 or WAV"),
        "Check the URL (curl -sI URL): it is often a web page.",
    ),
    Reason.NO_VIDEO: Explanation(
        "The file has no video track.", Paid.NOTHING, Kept.VERSIONS, _edit("Use a recording with video")
    ),
    Reason.NO_AUDIO: Explanation(
        "The file has no audio track, its track is silent, or it has no track of that number.",
        Paid.NOTHING,
        Kept.VERSIONS,
        _edit("Use a recording with sound, or set another track in spec.options.audioTrack"),
    ),
    Reason.INSUFFICIENT_FRAMES: Explanation(
        "The video has fewer usable frames than spec.dataset.minImages.",
        Paid.NOTHING,
        Kept.VERSIONS,
        _edit("Use a longer or sharper video, raise spec.dataset.framesPerScene, or lower spec.dataset.minImages"),
        "The message contains the number of rejected frames by cause: blurred, dark, duplicate.",
    ),
    Reason.RESULT_UNREACHABLE: Explanation(
        "The provider has finished and was paid, but its result could not be downloaded.",
        Paid.PAID,
        Kept.ANSWER,
        (*_collect(), Remedy(Action.RERUN, Costs.PAYS)),
        "Ask the provider's support.",
    ),
    Reason.RESULT_INVALID: Explanation(
        "The provider has finished and was paid, but its result is invalid, or was given up: the provider had none in "
        "several answers over a day.",
        Paid.PAID,
        Kept.ANSWER,
        (
            *_collect(),
            Remedy(
                Action.COLLECT,
                Costs.FREE,
                f"Ask the provider once more, and fetch the result if it has one: {_FETCH_BY}",
                When.NO_RESULT,
            ),
            Remedy(
                Action.RERUN,
                Costs.PAYS,
                f"If the response is kept, and fetching it once more does not help, start another run: {_AGAIN_BY}",
                When.RESULT,
            ),
            Remedy(
                Action.RERUN,
                Costs.PAYS,
                "If the response is not kept: check first that the operator's key is of the account that the request "
                "was sent with, and look there for the request by its id, since its result was paid; only then start "
                f"another run: {_AGAIN_BY}",
                When.NO_RESULT,
            ),
        ),
        "Ask the provider. The message states whether its response is kept. status.run.providerAccount names the "
        "account of the request; absent: the default one.",
    ),
}
