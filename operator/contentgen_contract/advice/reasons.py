"""Meaning and remedies of each phase, condition and reason, the source of docs/reference/reasons.md. Pure.

For each reason: what was paid, what is kept, the remedies and their costs. `remedies.py` selects those that apply to
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
    OPEN = "the request may still finish"


_AGAIN_BY = f"kubectl contentgen retry NAME, or a new value of the annotation {RERUN_ANNOTATION}"
_FETCH_BY = f"kubectl contentgen collect NAME, or the annotation {COLLECT_ANNOTATION} that the message names"
_ALLOW_BY = f"kubectl contentgen retry NAME, or the annotation {RESUBMIT_ANNOTATION} that the message names"
_TEXTS = {
    Action.NONE: "Nothing is to be done",
    Action.WAIT: "Wait; it goes on by itself",
    Action.RESUME: "Set spec.suspend to false: kubectl contentgen resume NAME; the run goes on where it stopped",
    Action.COLLECT: f"Fetch the paid result once more: {_FETCH_BY}",
    Action.ADOPT: "Look at the provider's dashboard; if the request is there, name it: kubectl contentgen adopt NAME "
    "REQUEST_ID",
    Action.EDIT: "Correct the spec; the edit starts the next run",
    Action.RERUN: f"Ask for another run: {_AGAIN_BY}",
    Action.RESUBMIT: f"If it is not there, allow another payment: {_ALLOW_BY}",
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
        for each in self.remedies:
            found.setdefault(each.sentence, []).append(each.costs)
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
    others = [each.value for each in listed if each is not Costs.ONCE]
    if Costs.ONCE in listed and others:
        return f"{'; or '.join(others)}; before the payment: {Costs.ONCE.value}"
    return "; or ".join(each.value for each in listed)


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
    Phase.PENDING: "Waiting for something before the first work: a LoRA, a store, or the operator itself.",
    Phase.SUSPENDED: "spec.suspend is true: nothing new is started and nothing is bought until it is false.",
    Phase.PREPARING: "A Job fetches the source and makes what the provider needs. Free.",
    Phase.SUBMITTING: "The paid request is written to the ledger and sent to the provider, once.",
    Phase.PROCESSING: "The provider works. No pod of yours waits for it.",
    Phase.COLLECTING: "A Job fetches the provider's result and stores the outputs. Free.",
    Phase.COMPLETED: "The outputs are stored. Final for this run.",
    Phase.FAILED: "The run ended without outputs; the reason says why. Final for this run, but a paid result can be "
    "fetched once more (contentgen.dev/collect).",
    Phase.SUBMISSION_UNKNOWN: "Nobody can tell whether the provider took the paid request. It is still looked for; a "
    "person may name it, or allow another payment.",
}

CONDITIONS: dict[Condition, str] = {
    Condition.READY: "The outputs of the current spec are stored.",
    Condition.RECONCILING: "Work is under way. kstatus reads it.",
    Condition.STALLED: "Nothing will happen until a person changes something. kstatus reads it.",
    Condition.COMPLETE: "The run succeeded: `kubectl wait --for=condition=Complete`.",
    Condition.FAILED: "The run failed: `kubectl wait --for=condition=Failed`.",
    Condition.SUSPENDED: "spec.suspend holds the run back.",
    Condition.SOURCE_READY: "The source was fetched and can be used.",
    Condition.DATASET_READY: "The training pictures and their captions are stored.",
    Condition.SUBMITTED: "The provider accepted the paid request.",
    Condition.STORED: "All outputs are in the bucket, with the sizes and checksums that the worker signed for.",
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
        "spec.suspend is true, so nothing new is started and nothing is bought.",
        Paid.NOTHING,
        Kept.RUN,
        _single(Action.RESUME, Costs.ONCE),
    ),
    Reason.WAITING_FOR_LORA: Explanation(
        "A LoraTraining named in spec.loras does not exist or is not finished.",
        Paid.NOTHING,
        Kept.RUN,
        (
            Remedy(Action.REPAIR, Costs.ONCE, "Apply that LoraTraining, or wait for it; the generation starts then"),
            Remedy(Action.EDIT, Costs.ONCE, "Name another LoRA in spec.loras"),
        ),
        "List the LoraTrainings of the same namespace: is the name right, is it Completed?",
    ),
    Reason.WAITING_FOR_LORA_NAME: Explanation(
        "An older LoraTraining of the same user and namespace has the same spec.loraName; nothing is paid meanwhile.",
        Paid.NOTHING,
        Kept.RUN,
        (
            Remedy(Action.EDIT, Costs.ONCE, "Give this one another spec.loraName"),
            Remedy(
                Action.DELETE_OTHER,
                Costs.ONCE,
                "Delete the older one, which takes its files along if its spec.deletionPolicy is Delete; this one goes "
                "on by itself then",
            ),
        ),
        "The message names the older one; both would be paid.",
    ),
    Reason.CLUSTER_NOT_CONFIRMED: Explanation(
        "The ledger belongs to another cluster (this one was rebuilt, or is a second one on the same database), "
        "another one has taken this one over, or the operator may not read namespaces. Nothing is paid or adopted.",
        Paid.BY_STAGE,
        Kept.RUN,
        _resumes_itself(Action.REPAIR, "Let an administrator run the command of the message; work goes on by itself"),
        "What each command does: docs/install.md#namespaces-and-clusters-that-were-created-again.",
    ),
    Reason.STORE_UNAVAILABLE: Explanation(
        "MongoDB or the S3 bucket does not answer, or the bucket does not exist.",
        Paid.BY_STAGE,
        Kept.RUN,
        _resumes_itself(Action.REPAIR, "Correct the store, its address or its credentials; work goes on by itself"),
        "The message names the store. From the operator's pod: its address, DNS, credentials, the "
        "bucket's name, network policies.",
    ),
    Reason.PROVIDER_UNAVAILABLE: Explanation(
        "The provider does not answer, or asks to slow down.",
        Paid.BY_STAGE,
        Kept.RUN,
        _resumes_itself(text="Wait; the provider is asked again, ever less often"),
        "The provider's status page, DNS, the proxy, and the account's limits.",
    ),
    Reason.PROVIDER_NOT_CONFIGURED: Explanation(
        "The operator has no key for the provider that this resource needs, or the provider refuses that key.",
        Paid.BY_STAGE,
        Kept.RUN,
        _resumes_itself(
            Action.REPAIR,
            "Put a valid key into the Secret that the chart's providers.existingSecret names; work goes on by itself",
        ),
        "The Secret's keys are fal-key and assemblyai-key; the message says whether the provider refuses them.",
    ),
    Reason.LOOKING_FOR_REQUEST: Explanation(
        "The reply to the paid request was lost, so the provider is asked whether it has it.",
        Paid.UNKNOWN,
        Kept.PURCHASE,
        (*_FREE_WAIT, Remedy(Action.ADOPT, Costs.FREE)),
    ),
    Reason.JOB_REFUSED: Explanation(
        "The API server refuses the Job of a stage, or the Job's pod: a quota, a LimitRange, Pod Security or another "
        "admission policy.",
        Paid.BY_STAGE,
        Kept.RUN,
        _resumes_itself(Action.REPAIR, "Make room for the Job, or allow it; work goes on by itself"),
        "The message has the API server's words: a ResourceQuota, a LimitRange, Pod Security, an "
        "admission policy or webhook. After the payment be quick, as providers delete files after a "
        "while.",
    ),
    Reason.POD_NOT_STARTED: Explanation(
        "The Job's pod has not started: its image cannot be pulled, or no node can take it.",
        Paid.BY_STAGE,
        Kept.RUN,
        _resumes_itself(
            Action.REPAIR, "Remove the cause that the message names; work goes on by itself once the pod starts"
        ),
        "The message has the cause: the image, its name and pull secrets (ErrImagePull, "
        "ImagePullBackOff), room on the nodes (Unschedulable), a queue that holds the Job.",
    ),
    Reason.RETRYING: Explanation(
        "An attempt of a stage failed; the message has the cause. The next attempt follows after a pause; after a "
        "payment until spec.collectDeadlineSeconds.",
        Paid.BY_STAGE,
        Kept.RUN,
        _WAIT,
        "The message has the cause of the attempt that failed: OOMKilled (worker.resources), Evicted (the"
        " node's disk or memory), a deleted pod or a lost node. The next attempt follows after 10 s, then"
        " 20 s; after a payment ever later, until spec.collectDeadlineSeconds. Lower that to end the run "
        "now: the paid result stays.",
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
                f"To have a further version of the same inputs: {_AGAIN_BY}",
            ),
        ),
    ),
    Reason.ADOPTED_FINISHED_RUN: Explanation(
        "The same inputs were bought before under this name, so those outputs are used and nothing was paid.",
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
    Reason.INVALID_SPEC: Explanation(
        "The spec passed the API server but cannot be worked on, by the operator or by this worker image; the message "
        "names the field.",
        Paid.BY_STAGE,
        Kept.ANSWER,
        (
            *_collect(
                f"Where the worker image cannot serve the spec: upgrade it, then fetch the paid result: {_FETCH_BY}"
            ),
            Remedy(Action.EDIT, Costs.ONCE, when=When.UNSENT),
            Remedy(Action.EDIT, Costs.PAYS, when=When.KNOWN),
            Remedy(
                Action.RERUN,
                Costs.ONCE,
                "Where the worker image cannot serve the spec: upgrade it, then ask for another run: a new value of "
                f"the annotation {RERUN_ANNOTATION}",
                When.ENDED,
            ),
        ),
        "The message names the field.",
    ),
    Reason.SUBMISSION_UNKNOWN: Explanation(
        "The provider may or may not have been paid: its reply was lost and it cannot find the request. Or it was "
        "paid, and the ledger has lost it.",
        Paid.UNKNOWN,
        Kept.PURCHASE,
        (
            Remedy(Action.WAIT, Costs.FREE, "Wait: the request is looked for until the time that the message names"),
            Remedy(
                Action.RESTORE,
                Costs.FREE,
                "Where the message says that the ledger has lost it, restore MongoDB's newest backup; it goes on by "
                "itself",
            ),
            Remedy(Action.ADOPT, Costs.FREE),
            Remedy(Action.RESUBMIT, Costs.MAY_PAY_TWICE),
        ),
        "The provider's dashboard: is there a request of that time and model? Meanwhile the operator looks for it.",
    ),
    Reason.STORES_DISAGREE: Explanation(
        "The status named a run or a paid attempt that MongoDB does not have: MongoDB was restored from an older "
        "backup, another installation, with another MongoDB, began the run, or somebody else wrote the status. Nothing "
        "is paid meanwhile; free work goes on.",
        Paid.UNKNOWN,
        Kept.RUN,
        (
            Remedy(Action.RESTORE, Costs.FREE, "Restore MongoDB's newest backup; it goes on by itself"),
            Remedy(
                Action.RESUBMIT,
                Costs.MAY_PAY_TWICE,
                "Where the provider's dashboard shows that nothing was paid since that backup, or the status was "
                f"wrong, allow payments: {_ALLOW_BY}",
            ),
        ),
        "Which installation has the resource's operator class: `kubectl get operatorclasses`. If another one had it "
        "before, with another MongoDB, give the class back to that one: a request that it has sent goes on there.",
    ),
    Reason.MODEL_NOT_ALLOWED: Explanation(
        "The model may not be bought: the operator's models.allowed does not list it, its price is not known, or it "
        "makes something else than this kind asks for.",
        Paid.NOTHING,
        Kept.VERSIONS,
        (
            *_edit("Name one of the models in the message"),
            Remedy(
                Action.RERUN,
                Costs.ONCE,
                "Let the administrator add the model to the chart's models.allowed, then ask for another run: "
                f"{_AGAIN_BY}",
            ),
        ),
        "The message has the reason, and the models that may be bought.",
    ),
    Reason.PROVIDER_REFUSED: Explanation(
        "The provider refused the request before it worked on it: an unknown model, a wrong option.",
        Paid.NOTHING,
        Kept.VERSIONS,
        _edit("Correct what the message names"),
        "The message is the provider's: an unknown model, a wrong option, content rules.",
    ),
    Reason.PROVIDER_FAILED: Explanation(
        "The provider took the request and reported that it failed.",
        Paid.BILLED,
        Kept.PURCHASE,
        (
            Remedy(Action.RERUN, Costs.PAYS),
            Remedy(Action.EDIT, Costs.PAYS, "Change what the message complains about; the edit starts the next run"),
        ),
        "The message is the provider's. spec.paidAttempts lets later runs try again by themselves, paid each time.",
    ),
    Reason.JOB_FAILED: Explanation(
        "A Job of this run failed in every attempt without saying why.",
        Paid.BY_STAGE,
        Kept.ANSWER,
        _AGAIN,
        "The message has the cause of the last attempt, and kubectl contentgen logs NAME what the worker "
        "said; the node's memory and disk; worker.resources.",
    ),
    Reason.DEADLINE_EXCEEDED: Explanation(
        "A stage or the provider took longer than it may.",
        Paid.BY_STAGE,
        Kept.ANSWER,
        (
            *_OPEN,
            *_AGAIN,
            Remedy(Action.EDIT, Costs.ONCE, "Use a shorter recording; the edit starts the next run", When.UNSENT),
        ),
        "The message says which one; spec.deadlineSeconds and spec.collectDeadlineSeconds limit the next run too.",
    ),
    Reason.LORA_FAILED: Explanation(
        "A LoraTraining named in spec.loras failed; the ImageGeneration waits for it, unpaid.",
        Paid.NOTHING,
        Kept.RUN,
        (
            Remedy(Action.REPAIR, Costs.ONCE, "Get that LoraTraining to finish; the generation goes on by itself"),
            Remedy(Action.EDIT, Costs.ONCE, "Name another LoRA in spec.loras"),
        ),
        "The message has the LoraTraining's own; kubectl contentgen why of that one says more.",
    ),
    Reason.OUTPUT_MISSING: Explanation(
        "A worker said that it stored a file, but the bucket has not got it as it said.",
        Paid.BY_STAGE,
        Kept.ANSWER,
        _AGAIN,
        "Who else deletes from the bucket: its access log, lifecycle rules, who has keys.",
    ),
    Reason.OUTPUT_CHANGED: Explanation(
        "A file in the bucket has other bytes than its worker stored: somebody else has written over it.",
        Paid.BY_STAGE,
        Kept.ANSWER,
        _AGAIN,
        "Who else writes to the bucket: its access log, who has keys.",
    ),
    Reason.OUTCOME_INVALID: Explanation(
        "A worker's report could not be understood.",
        Paid.BY_STAGE,
        Kept.ANSWER,
        _AGAIN,
        "Are the operator's and the worker's images of one release?",
    ),
    Reason.OUTPUTS_DELETED: Explanation(
        "The same inputs were bought before under this name, and their files are gone: deleted with deletionPolicy "
        "Delete; or gone from the bucket, and with them the provider's response.",
        Paid.PAID,
        Kept.RECORD,
        (
            Remedy(
                Action.RESTORE,
                Costs.FREE,
                "Where they are gone from the bucket: restore the files or the provider's answer from a backup of it, "
                f"then take them: {_FETCH_BY}",
            ),
            Remedy(Action.RERUN, Costs.PAYS),
        ),
    ),
    Reason.CANCELLED: Explanation(
        "The run was cancelled: by the contentgen.dev/cancel annotation, with the resource that asked for it, or at a "
        "deadline. The message and status.run.billed say whether the provider bills it all the same.",
        Paid.BILLED,
        Kept.PURCHASE,
        (
            *_OPEN,
            *_collect(),
            *_rerun(),
            Remedy(
                Action.RERUN,
                Costs.MAY_PAY_TWICE,
                "Where the reply was lost: look at the provider's dashboard first, then ask for another run: "
                f"{_AGAIN_BY}",
                When.LOST,
            ),
        ),
        "Somebody cancelled the run or deleted the resource that had asked for it, or its deadline "
        "passed; the message says which.",
    ),
    Reason.SOURCE_NOT_ALLOWED: Explanation(
        "The source's address is private, internal or not a web address, or its bucket is not an allowed one.",
        Paid.NOTHING,
        Kept.VERSIONS,
        (
            *_edit("Use a public URL"),
            Remedy(
                Action.RERUN,
                Costs.ONCE,
                "Let the administrator add the host or bucket to the chart's values, then ask for another run: "
                f"{_AGAIN_BY}",
            ),
        ),
        "Private and cluster-internal addresses are refused, also behind redirects. An administrator "
        "allows a host (allowedHosts), or grants a namespace a bucket or a prefix of one "
        "(storage.sources).",
    ),
    Reason.SOURCE_UNREACHABLE: Explanation(
        "The source could not be fetched; the message has the answer.",
        Paid.NOTHING,
        Kept.VERSIONS,
        (*_UNSENT_RERUN, *_edit("Correct the URL, which must need no log-in")),
        "Open the URL in a private window: does it want a log-in? Signed URLs expire.",
    ),
    Reason.SOURCE_TOO_LARGE: Explanation(
        "The source is larger or longer than a worker takes.",
        Paid.NOTHING,
        Kept.VERSIONS,
        _edit("Use a smaller or shorter file"),
        "The chart's limits say what a worker takes.",
    ),
    Reason.SOURCE_CHECKSUM_MISMATCH: Explanation(
        "The file is not the one that spec.source.sha256 describes.",
        Paid.NOTHING,
        Kept.VERSIONS,
        _edit("Correct the sha256 or the URL"),
        "Somebody may have changed the file.",
    ),
    Reason.SOURCE_EMPTY: Explanation(
        "The source has no content.",
        Paid.NOTHING,
        Kept.VERSIONS,
        _edit("Correct the URL"),
        "What is behind the URL (curl -sI URL) is often a web page.",
    ),
    Reason.UNSUPPORTED_MEDIA: Explanation(
        "The file is not a recording that can be decoded.",
        Paid.NOTHING,
        Kept.VERSIONS,
        _edit("Use a common format such as MP4, WebM, MP3 or WAV"),
        "What is behind the URL (curl -sI URL) is often a web page.",
    ),
    Reason.NO_VIDEO: Explanation(
        "The file has no picture.", Paid.NOTHING, Kept.VERSIONS, _edit("Use a recording with video")
    ),
    Reason.NO_AUDIO: Explanation(
        "The file has no sound, its track is silent throughout, or it has no track of that number.",
        Paid.NOTHING,
        Kept.VERSIONS,
        _edit("Use a recording with sound, or name another track in spec.options.audioTrack"),
    ),
    Reason.INSUFFICIENT_FRAMES: Explanation(
        "The video gave fewer usable pictures than spec.dataset.minImages.",
        Paid.NOTHING,
        Kept.VERSIONS,
        _edit("Use a longer or sharper video, raise spec.dataset.framesPerScene, or lower spec.dataset.minImages"),
        "The message counts why frames were dropped: blurred, dark, alike.",
    ),
    Reason.RESULT_UNREACHABLE: Explanation(
        "The provider has finished and was paid, but its result could not be fetched.",
        Paid.PAID,
        Kept.ANSWER,
        (*_collect(), Remedy(Action.RERUN, Costs.PAYS)),
        "Ask the provider.",
    ),
    Reason.RESULT_INVALID: Explanation(
        "The provider has finished and was paid, but its result is not what it should be.",
        Paid.PAID,
        Kept.ANSWER,
        (*_collect(), Remedy(Action.RERUN, Costs.PAYS)),
        "Ask the provider. The message says whether its answer is kept.",
    ),
}
