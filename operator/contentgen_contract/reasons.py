"""What each phase, condition and reason means and what to do about it: docs/reference/reasons.md is made of this.

The tables are here, beside the names, so that a new reason without an explanation fails a test.
"""

from dataclasses import dataclass

from contentgen_contract.names import Condition, Phase, Reason


@dataclass(frozen=True)
class Explanation:
    """One line about what happened, one about what a person can do."""

    means: str
    do: str


_NOTHING = "Nothing."
_WAIT = "Nothing; it goes on by itself."
_AGAIN = (
    "After a payment the annotation contentgen.dev/collect that the message names fetches the result and pays nothing; "
    "before one, set the rerun annotation."
)

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
    Reason.PREPARING: Explanation("A Job prepares the source.", _WAIT),
    Reason.SUBMITTING: Explanation("The paid request is being sent.", _WAIT),
    Reason.PROCESSING: Explanation("The provider works on the request.", _WAIT),
    Reason.COLLECTING: Explanation("A Job stores the provider's result.", _WAIT),
    Reason.SUSPENDED: Explanation(
        "spec.suspend is true, so nothing new is started and nothing is bought.",
        "Set spec.suspend to false; the run goes on where it stopped.",
    ),
    Reason.WAITING_FOR_LORA: Explanation(
        "A LoraTraining named in spec.loras does not exist or is not finished.",
        "Apply it or wait for it; the generation starts by itself then.",
    ),
    Reason.WAITING_FOR_LORA_NAME: Explanation(
        "An older LoraTraining of the same user and namespace has the same spec.loraName; nothing is paid meanwhile.",
        "Give one of them another loraName, or delete the older one; the training goes on by itself then.",
    ),
    Reason.CLUSTER_NOT_CONFIRMED: Explanation(
        "The ledger belongs to another cluster (this one was rebuilt, or is a second one on the same database), "
        "another one has taken this one over, or the operator may not read namespaces. Nothing is paid or adopted.",
        "An administrator runs the command of the message "
        "(docs/install.md#namespaces-and-clusters-that-were-created-again); work goes on by itself then.",
    ),
    Reason.STORE_UNAVAILABLE: Explanation(
        "MongoDB or the S3 bucket does not answer, or the bucket does not exist.",
        "Check the store, its address and credentials; work goes on by itself once it answers.",
    ),
    Reason.PROVIDER_UNAVAILABLE: Explanation(
        "The provider does not answer, or asks to slow down.", "Nothing; it is asked again, ever less often."
    ),
    Reason.PROVIDER_NOT_CONFIGURED: Explanation(
        "The operator has no key for the provider that this resource needs, or the provider refuses that key.",
        "Put a valid key into the Secret that the chart's providers.existingSecret names; work goes on by itself.",
    ),
    Reason.LOOKING_FOR_REQUEST: Explanation(
        "The reply to the paid request was lost, so the provider is asked whether it has it. A person may name it: "
        "kubectl contentgen adopt NAME REQUEST_ID.",
        _WAIT,
    ),
    Reason.JOB_REFUSED: Explanation(
        "The API server refuses the Job of a stage, or the Job's pod: a quota, a LimitRange, Pod Security or another "
        "admission policy. Before payment nothing is paid meanwhile; after it, what was paid is kept.",
        "Read the message, which has the API server's words, and make room or allow it; work goes on by itself.",
    ),
    Reason.POD_NOT_STARTED: Explanation(
        "The Job's pod has not started: its image cannot be pulled, or no node can take it.",
        "Read the message; work goes on by itself once the pod can start.",
    ),
    Reason.RETRYING: Explanation(
        "An attempt of a stage failed; the message has the cause. The next attempt follows after a pause, unpaid; "
        "after a payment until spec.collectDeadlineSeconds.",
        "Nothing yet; where the cause is memory or disk, look at worker.resources and at the node.",
    ),
    Reason.COMPLETED: Explanation("The outputs are stored; status.versions lists them.", _NOTHING),
    Reason.ADOPTED_FINISHED_RUN: Explanation(
        "The same inputs were bought before under this name, so those outputs are used and nothing was paid.",
        "Nothing; to buy the same inputs again, give the contentgen.dev/rerun annotation a new value.",
    ),
    Reason.INVALID_SPEC: Explanation(
        "The spec passed the API server but cannot be worked on, by the operator or by this worker image; the message "
        "names the field.",
        "Correct the spec; only a changed spec or a new contentgen.dev/rerun annotation starts the next run.",
    ),
    Reason.SUBMISSION_UNKNOWN: Explanation(
        "The provider may or may not have been paid: its reply was lost and it cannot find the request. Or it was "
        "paid, and the ledger has lost it.",
        "Restore the ledger, or look at the provider's dashboard. If the request is there, name it, which pays "
        "nothing: contentgen.dev/adopt. If not, pay again: annotate the resource as its message says.",
    ),
    Reason.STORES_DISAGREE: Explanation(
        "The status named a run or a paid attempt that MongoDB does not have: MongoDB was restored from an older "
        "backup, or somebody else wrote the status. Nothing is paid meanwhile; free work goes on.",
        "Restore the newest backup of MongoDB; it goes on by itself. Where nothing was paid in between, or the status "
        "was wrong, allow payments by annotating the resource as its message says.",
    ),
    Reason.MODEL_NOT_ALLOWED: Explanation(
        "The model may not be bought: the operator's models.allowed does not list it, its price is not known, or it "
        "makes something else than this kind asks for; nothing was paid.",
        "Name one of the models in the message; or let the administrator add the model to the chart's models.allowed, "
        "then set the rerun annotation.",
    ),
    Reason.PROVIDER_REFUSED: Explanation(
        "The provider refused the request before it worked on it; nothing was paid.",
        "Read the message: an unknown model, a wrong option. Correct it and apply again.",
    ),
    Reason.PROVIDER_FAILED: Explanation(
        "The provider took the request and reported that it failed.",
        "Read the message; spec.paidAttempts allows further attempts, the rerun annotation asks for one now.",
    ),
    Reason.JOB_FAILED: Explanation(
        "A Job of this run failed in every attempt without saying why.",
        "Look at its pods' logs and at the node's memory and disk. " + _AGAIN,
    ),
    Reason.DEADLINE_EXCEEDED: Explanation(
        "A stage or the provider took longer than it may.",
        "Use a shorter recording or find what is slow. " + _AGAIN,
    ),
    Reason.LORA_FAILED: Explanation(
        "A LoraTraining named in spec.loras failed; the ImageGeneration waits for it, unpaid.",
        "Mend that LoraTraining, or name another one; the generation goes on by itself then.",
    ),
    Reason.OUTPUT_MISSING: Explanation(
        "A worker said that it stored a file, but the bucket has not got it as it said.",
        "Check who else deletes from the bucket. " + _AGAIN,
    ),
    Reason.OUTPUT_CHANGED: Explanation(
        "A file in the bucket has other bytes than its worker stored: somebody else has written over it.",
        "Check who else may write to the bucket. " + _AGAIN,
    ),
    Reason.OUTCOME_INVALID: Explanation(
        "A worker's report could not be understood.",
        "Check that the operator's and the worker's images are of one release. " + _AGAIN,
    ),
    Reason.OUTPUTS_DELETED: Explanation(
        "The same inputs were bought before under this name, and their files are gone: deleted with deletionPolicy "
        "Delete; or gone from the bucket, and with them the provider's response.",
        "Restore the bucket's files from a backup and apply the resource again, which pays nothing; or pay once more: "
        "give the contentgen.dev/rerun annotation a new value.",
    ),
    Reason.CANCELLED: Explanation(
        "The run was cancelled: by the contentgen.dev/cancel annotation, with the resource that asked for it, or at a "
        "deadline. The message and status.run.billed say whether the provider bills it all the same.",
        "To run it again, give the contentgen.dev/rerun annotation a new value.",
    ),
    Reason.SOURCE_NOT_ALLOWED: Explanation(
        "The source's address is private, internal or not a web address, or its bucket is not an allowed one.",
        "Use a public URL; or let the administrator add the host or bucket to the chart's values.",
    ),
    Reason.SOURCE_UNREACHABLE: Explanation(
        "The source could not be fetched; the message has the answer.",
        "Check the URL, and that it needs no log-in; then set the rerun annotation.",
    ),
    Reason.SOURCE_TOO_LARGE: Explanation(
        "The source is larger or longer than a worker takes.", "Use a smaller or shorter file."
    ),
    Reason.SOURCE_CHECKSUM_MISMATCH: Explanation(
        "The file is not the one that spec.source.sha256 describes.", "Correct the sha256 or the URL."
    ),
    Reason.SOURCE_EMPTY: Explanation("The source has no content.", "Check the URL."),
    Reason.UNSUPPORTED_MEDIA: Explanation(
        "The file is not a recording that can be decoded.", "Use a common format such as MP4, WebM, MP3 or WAV."
    ),
    Reason.NO_VIDEO: Explanation("The file has no picture.", "Use a recording with video."),
    Reason.NO_AUDIO: Explanation(
        "The file has no sound, its track is silent throughout, or it has no track of that number.",
        "Use a recording with sound, or name another track in spec.options.audioTrack.",
    ),
    Reason.INSUFFICIENT_FRAMES: Explanation(
        "The video gave fewer usable pictures than spec.dataset.minImages; nothing was paid.",
        "Use a longer or sharper video, raise framesPerScene, or lower minImages.",
    ),
    Reason.RESULT_UNREACHABLE: Explanation(
        "The provider has finished and was paid, but its result could not be fetched.",
        "Ask the provider. Where the message says that its answer is kept, the annotation contentgen.dev/collect that "
        "it names fetches the result once more and pays nothing.",
    ),
    Reason.RESULT_INVALID: Explanation(
        "The provider has finished and was paid, but its result is not what it should be.",
        "Ask the provider. Where the message says that its answer is kept, the annotation contentgen.dev/collect that "
        "it names fetches the result once more and pays nothing.",
    ),
}
