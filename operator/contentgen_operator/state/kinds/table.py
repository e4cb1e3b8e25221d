"""Table of the kinds for the operator, and what is asked of a kind by its spec. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from contentgen_contract.names import Kind, Stage
from contentgen_contract.resources.spec import SPECS, ImageGenerationSpec, Spec, run_hash
from contentgen_contract.resources.status import RunStatus
from contentgen_contract.worker.orders import MAX_SECONDS, AudioFacts, DatasetFacts, Facts, Limits, StoredFile
from contentgen_operator.state.canonical_request import SENT_SHA256, RequestContent, UnknownBytes
from contentgen_operator.state.kinds import image_generation, lora_training, transcription
from contentgen_operator.state.kinds.row import CallContext, CallInput, KindRow
from contentgen_operator.state.observed import LoraView
from contentgen_operator.state.provider_requests import Call, StoredObject, arguments_json, arguments_of
from contentgen_operator.state.purchases import Purchase, PurchaseKey
from contentgen_operator.state.upload_limits import FileLimit, storable

ROWS: Mapping[Kind, KindRow[Any]] = {
    Kind.LORA_TRAINING: lora_training.ROW,
    Kind.IMAGE_GENERATION: image_generation.ROW,
    Kind.TRANSCRIPTION: transcription.ROW,
}
_BY_SPEC: Mapping[type[Spec], KindRow[Any]] = {SPECS[kind]: row for kind, row in ROWS.items()}


def row_of(spec: Spec) -> KindRow[Any]:
    """Row of a spec's kind."""
    return _BY_SPEC[type(spec)]


def prepared_facts(kind: Kind, facts: Facts | None, files: Sequence[StoredFile]) -> dict[str, Any]:
    """Facts of a run after its prepare stage: the worker's, and the size and SHA-256 of what was stored."""
    sent = next((file.sha256 for file in files if file.name == ROWS[kind].sent), None)
    size = sum(file.size_bytes for file in files)
    return (facts.model_dump(mode="json", by_alias=True) if facts else {}) | {"storedBytes": size, SENT_SHA256: sent}


def duration_seconds(run: RunStatus) -> float:
    """Length of the recording in seconds, from the facts of the prepare stage; 0: unknown."""
    return _seconds(run.facts or {})


def sound_seconds(run: RunStatus) -> float:
    """Length of the audio in seconds, which is the billed quantity; 0: unknown, or the source is a video."""
    facts = run.facts or {}
    return _seconds(facts) if facts.get("type") == "audio" else 0.0


def _seconds(facts: dict[str, Any]) -> float:
    """Length in seconds; 0 if it is not a valid number, because the status may be written by a person."""
    given = facts.get("durationSeconds")
    known = isinstance(given, int | float) and 0 <= given <= MAX_SECONDS  # NaN is not
    return float(given) if known and given is not None else 0.0


def facts_problem(spec: Spec, facts: Facts | None, files: Sequence[StoredFile], longest: float) -> str:
    """Problem with a stage's facts on which the price or the provider's time depends; empty: none.

    `files` are the stored ones, `longest` is the accepted length of audio or video in seconds.
    """
    if isinstance(facts, AudioFacts | DatasetFacts) and facts.duration_seconds > longest:
        seconds = facts.duration_seconds
        return f"the recording lasts {seconds:.0f} s according to the worker, at most {longest:g} s are taken"
    return row_of(spec).facts_problem(spec, facts, files)


def shortfalls(spec: Spec, facts: dict[str, Any]) -> tuple[str, ...]:
    """Warnings about finished outputs, and the worker's remarks."""
    notes = facts.get("notes")
    texts = (note for note in notes if isinstance(note, str)) if isinstance(notes, list | tuple) else ()
    return (*row_of(spec).shortfalls(spec, facts), *texts)


def file_limits(spec: Spec, stage: Stage, limits: Limits) -> tuple[FileLimit, ...]:
    """Files that one attempt of a stage may store; the first match of a name applies."""
    return storable(row_of(spec).file_limits(spec, stage, limits))


def content_of(spec: Spec, call: Call, facts: Mapping[str, Any], loras: Iterable[LoraView]) -> RequestContent:
    """Content of a call. `facts` are those of the prepare stage, `loras` the trained LoRAs of the call."""
    try:
        return row_of(spec).content(spec, call, facts, loras)
    except UnknownBytes:
        return RequestContent()


def call_of(
    spec: Spec, job: CallContext, key: PurchaseKey, loras: tuple[LoraView, ...], speech_models: Sequence[str] = ()
) -> Call:
    """The paid call. Inputs are `StoredObject`s; `act` signs their URLs when it sends.

    `speech_models`: those of a transcript. Without them the call is for a search, which does not compare them.
    """
    return row_of(spec).call(spec, CallInput(job, key, loras, speech_models))


def sent_call(spec: Spec, key: PurchaseKey, purchase: Purchase) -> Call:
    """The call of a purchase as it was sent, perhaps for another resource, or by other names of the catalogue.

    The ledger has what was sent while the reply is lost, without the queries of URLs. So the call is made from the spec
    if that makes the same one, or if the ledger has none: requests may differ in a query only.
    """
    made = _made_again(spec, key, purchase)
    own = key.run_hash.partition(".")[0] == run_hash(key.kind, spec)
    if not purchase.sent_input or (own and arguments_json(made.arguments) == purchase.sent_input):
        return made
    return Call(
        provider=purchase.provider,
        model=purchase.model,
        arguments=arguments_of(purchase.sent_input),
        correlation_key=purchase.correlation_key,
    )


def _made_again(spec: Spec, key: PurchaseKey, purchase: Purchase) -> Call:
    """The call of a purchase by the spec and the catalogue."""
    user = purchase.user_id or key.namespace
    job = CallContext(provider=purchase.provider, user_id=user, job_id=purchase.job_id, version=1)
    loras: tuple[LoraView, ...] = ()
    if isinstance(spec, ImageGenerationSpec):
        names = [lora.lora_ref.name for lora in spec.loras if lora.lora_ref]
        loras = tuple(LoraView(name=name, model_key=at) for name, at in zip(names, purchase.loras, strict=False))
        if len(loras) < len(names):  # rebuilt from a status, which may not list them
            loras += tuple(LoraView(name=name) for name in names[len(loras) :])
    call = call_of(spec, job, key, loras).model_copy(update={"model": purchase.model})
    if not key.kind.prepares:
        return call
    archive = {
        n: StoredObject(key=purchase.correlation_key) for n, v in call.arguments.items() if isinstance(v, StoredObject)
    }
    return call.model_copy(update={"arguments": call.arguments | archive, "correlation_key": purchase.correlation_key})
