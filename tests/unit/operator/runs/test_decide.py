"""Decisions as tables: a resource, its observation, and the plan."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from contentgen_contract.names import Kind, Phase, Reason, Stage, Step
from contentgen_contract.resources.prices import Price, PriceLookup, Unit
from contentgen_contract.resources.sources import SourceGrant
from contentgen_contract.resources.spec import parse_spec, run_hash
from contentgen_contract.resources.status import ResourceStatus, RunStatus, VersionStatus, dump_status
from contentgen_contract.worker.orders import DatasetFacts, Outcome, Progress
from contentgen_operator.accounts.values import AccountGrant
from contentgen_operator.decide import decision
from contentgen_operator.decide.deletion import decide_deletion
from contentgen_operator.decide.payment import COLLECT_SECONDS
from contentgen_operator.plans.status import store_unavailable_status
from contentgen_operator.providers.answers import AnswerFile
from contentgen_operator.state.decision_input import DecisionSettings, decision_input
from contentgen_operator.state.kinds import table as kinds
from contentgen_operator.state.observed import (
    BucketFile,
    JobView,
    LoraView,
    Observation,
    PodTrouble,
    Resource,
    is_finished,
)
from contentgen_operator.state.plan import Payment, Plan
from contentgen_operator.state.provider_requests import GONE, TOO_LARGE, RequestState, RequestView
from contentgen_operator.state.purchases import Purchase, PurchaseState, SendState
from contentgen_operator.state.runs import wants_new_run
from contentgen_simulation.world import resubmit_token

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
UID = "0c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a01"
SHA = "0" * 64
LORA, IMAGES, TRANSCRIPT = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION, Kind.TRANSCRIPTION
SPECS: dict[Kind, dict[str, Any]] = {
    LORA: {"loraName": "jesse", "triggerWord": "jf", "source": {"url": "https://example.com/talk.mp4"}},
    IMAGES: {"prompt": "a cat"},
    TRANSCRIPT: {"source": {"url": "https://example.com/talk.mp3"}},
}
ANOTHER: dict[Kind, dict[str, Any]] = {
    LORA: SPECS[LORA] | {"triggerWord": "xx"},
    IMAGES: SPECS[IMAGES] | {"prompt": "a dog"},
    TRANSCRIPT: SPECS[TRANSCRIPT] | {"options": {"language": "en"}},
}
PREPARED: dict[Kind, dict[str, Any] | None] = {
    LORA: {
        "type": "dataset",
        "images": 12,
        "scenes": 4,
        "durationSeconds": 60,
        "width": 1,
        "height": 1,
        "sourceBytes": 1,
    },
    IMAGES: None,
    TRANSCRIPT: {"type": "audio", "durationSeconds": 60.0, "sourceBytes": 1},
}
COLLECTED: dict[Kind, dict[str, Any]] = {
    LORA: {"type": "lora", "sizeBytes": 7},
    IMAGES: {
        "type": "images",
        "images": [
            {"name": "image_1.png", "thumbnail": "image_1_thumb.png", "width": 1024, "height": 1024, "sizeBytes": 7}
        ],
    },
    TRANSCRIPT: {"type": "transcript", "wordCount": 1, "durationSeconds": 1, "speakers": 1},
}
FILES = {
    (LORA, Stage.PREPARE): ["dataset.zip", "dataset.json", "images/0001.jpg"],
    (LORA, Stage.COLLECT): ["model.safetensors", "config.json", "preview.png"],
    (IMAGES, Stage.COLLECT): ["image_1.png", "image_1_thumb.png"],
    (TRANSCRIPT, Stage.PREPARE): ["audio.flac"],
    (TRANSCRIPT, Stage.COLLECT): ["transcript.json", "transcript.txt"],
}
STAGES = list(FILES)
SETTINGS = DecisionSettings()


def decide(subject: Resource, seen: Observation, now: datetime, settings: DecisionSettings) -> Plan:
    """Plan of a reconcile."""
    if subject.deleting:
        return decide_deletion(subject, seen, now, settings)
    try:
        case = decision_input(subject, now, settings)
    except ValidationError as error:
        return decision.invalid_spec(subject, error, now)
    return decision.decide(case.observing(seen))


def resource(kind: Kind, status: ResourceStatus | None = None, **given: Any) -> Resource:
    body: dict[str, Any] = {
        "metadata": {
            "name": "it",
            "namespace": "ns",
            "uid": given.get("uid", UID),
            "generation": given.get("generation", 1),
            "resourceVersion": "7",
            "creationTimestamp": "2026-11-21T11:00:00Z",
            "annotations": given.get("annotations", {}),
        },
        "spec": given.get("spec", SPECS[kind]),
        # Round trip as through the API server.
        "status": dump_status(status) if status is not None else {},
    }
    if given.get("deleting"):
        body["metadata"]["deletionTimestamp"] = "2026-11-21T12:00:00Z"
    return Resource.parse(kind, body)


def is_skipped(status: ResourceStatus) -> bool:
    """Whether event handlers skip a resource with this status as finished."""
    return is_finished({"metadata": {"generation": 1}, "spec": {}, "status": dump_status(status)})


def running(kind: Kind, stage: Stage | None = None, *, prepared: bool = True, **run: Any) -> ResourceStatus:
    """Status of a first run in progress."""
    job = {"name": "job", "uid": "job-uid", "stage": stage, "attempt": run.get("stage_attempt", 1)} if stage else None
    spec = run.pop("spec", SPECS[kind])
    return ResourceStatus.model_validate(
        {
            "observedGeneration": 1,
            "jobId": UID,
            "phase": run.pop("phase", Phase.PREPARING),
            "reason": run.pop("reason", Reason.PREPARING),
            "progress": run.pop("progress", 5),
            "run": {
                "number": 1,
                "version": 1,
                "runHash": run_hash(kind, parse_spec(kind, spec)),
                "generation": 1,
                "spec": spec,
                "startedAt": NOW - timedelta(minutes=5),
                "job": job,
                "facts": PREPARED[kind] if prepared else None,
            }
            | run,
        }
    )


BILLED = {"billable_units": 1, "unit_micros": 2_000_000, "unit": Unit.RUN, "billing": True, "price_source": "test"}


def purchase(kind: Kind, state: PurchaseState, **changes: Any) -> Purchase:
    given: dict[str, Any] = {
        "purchase_id": "p1",
        "state": state,
        "job_id": UID,
        "provider": "assemblyai" if kind is TRANSCRIPT else "fal",
        "model": "m",
        "correlation_key": "a/b",
        "created_at": NOW - timedelta(seconds=60),
        "changed_at": NOW - timedelta(seconds=60),
        "estimated_micros": 2_000_000,
    }
    if state not in (PurchaseState.INTENT, PurchaseState.REFUSED):
        given |= {"request_id": "r1", "submitted_at": NOW - timedelta(seconds=60)}
    if state is PurchaseState.SUCCEEDED:
        given |= {"result_key": "runs/x", "finished_at": NOW, **BILLED}
    return Purchase(**(given | changes))


def outcome(kind: Kind, stage: Stage, **changes: Any) -> Outcome:
    facts = PREPARED[kind] if stage is Stage.PREPARE else COLLECTED[kind]
    files = [{"name": n, "sizeBytes": 7, "sha256": SHA, "contentType": "a/b"} for n in FILES[kind, stage]]
    return Outcome.model_validate(
        {"jobId": UID, "stage": stage, "attempt": 1, "reason": "Completed", "facts": facts, "files": files} | changes
    )


def finished(kind: Kind, stage: Stage, done: Outcome | None = None, **changes: Any) -> Observation:
    done = done or outcome(kind, stage)
    there = {file.name: BucketFile(size_bytes=file.size_bytes, sha256=file.sha256) for file in done.files}
    stored = changes.pop("stored", there)
    return Observation(job=job(finished=True), outcome=done, stored=stored, **changes)


def job(**changes: Any) -> JobView:
    given = {"name": "job", "uid": "job-uid", "finished": False, "succeeded": False, "started_at": NOW}
    return JobView(**(given | changes))


def at(
    kind: Kind,
    stage: Stage,
    seen: Observation,
    *,
    attempt: int = 1,
    settings: DecisionSettings = SETTINGS,
    late: bool = False,
) -> Plan:
    """Decide in the middle of a stage. `late`: the deadline of the collect stage's retries is over."""
    collecting = stage is Stage.COLLECT
    status = running(kind, stage, prepared=collecting, stage_attempt=attempt)
    if collecting:
        finished_at = NOW - timedelta(minutes=2) if late else NOW
        bought = purchase(kind, PurchaseState.SUCCEEDED, finished_at=finished_at)
        seen = seen.model_copy(update={"purchase": bought})
        status = status.model_copy(update={"phase": Phase.COLLECTING, "reason": Reason.COLLECTING})
    spec = SPECS[kind] | ({"collectDeadlineSeconds": 60} if late else {})
    return decide(resource(kind, status, spec=spec), seen, NOW, settings)


def conditions(plan: Plan) -> dict[str, str]:
    return {condition.type: condition.status for condition in plan.status.conditions}


def buys(plan: Plan) -> bool:
    """Whether the plan reserves or sends a purchase."""
    return plan.reservation is not None or plan.payment is not None


def payment(kind: Kind, subject: Resource, seen: Observation = Observation(), now: datetime = NOW) -> Payment:  # noqa: B008 - frozen
    """Payment, which follows one reconcile after the reservation, when the status names the purchase."""
    first = decide(subject, seen, now, SETTINGS)
    assert first.payment is None
    assert first.reservation is not None
    planned = first.reservation.purchase.model_copy(update={"purchase_id": "p1"})
    assert first.status.run is not None
    named = first.status.model_copy(update={"run": first.status.run.model_copy(update={"purchase_id": "p1"})})
    later = subject.model_copy(update={"status": named})
    plan = decide(later, seen.model_copy(update={"purchase": planned}), now, SETTINGS)
    assert plan.reservation is None
    assert plan.payment is not None
    assert (plan.payment.key, plan.status) == (first.reservation.key, named)
    return plan.payment


def reason(plan: Plan) -> tuple[Phase | None, str | None]:
    return plan.status.phase, plan.status.reason


# First reconcile


@pytest.mark.parametrize("kind", [LORA, TRANSCRIPT])
def test_a_new_resource_gets_a_job_that_prepares(kind: Kind) -> None:
    plan = decide(resource(kind), Observation(), NOW, SETTINGS)
    assert reason(plan) == (Phase.PREPARING, Reason.PREPARING)
    assert plan.job is not None
    assert (plan.job.stage, plan.job.attempt) == (Stage.PREPARE, 1)
    assert (plan.payment, plan.moves, plan.store) == (None, (), None)
    assert plan.reservation is None
    assert plan.status.run is not None
    assert (plan.status.run.number, plan.status.run.version, plan.status.observed_generation) == (1, 1, 1)
    assert plan.status.run.spec == SPECS[kind]
    assert plan.status.job_id == UID
    assert [n.reason for n in plan.notices] == [Reason.PREPARING]


def test_pictures_need_no_preparation() -> None:
    plan = decide(resource(IMAGES), Observation(), NOW, SETTINGS)
    assert plan.job is None
    assert reason(plan) == (Phase.SUBMITTING, Reason.SUBMITTING)
    call = payment(IMAGES, resource(IMAGES)).call
    assert call.correlation_key.startswith("seed:")
    assert isinstance(call.arguments["seed"], int)


@pytest.mark.parametrize("kind", Kind)
def test_the_first_write_already_says_that_it_is_not_ready(kind: Kind) -> None:
    seen = conditions(decide(resource(kind), Observation(), NOW, SETTINGS))
    assert (seen["Ready"], seen["Reconciling"], seen["Stalled"]) == ("False", "True", "False")


@pytest.mark.parametrize(
    ("url", "namespaces", "allowed"),
    [
        ("s3://recordings/team/a.mp3", ("ns",), True),
        ("s3://recordings/team/a.mp3", ("*",), True),
        ("s3://recordings/team/a.mp3", ("other",), False),
        ("s3://recordings/a.mp3", ("ns",), False),
        ("s3://recordings2/team/a.mp3", ("ns",), False),
        ("s3://recordings", ("ns",), False),
        ("s3://recordings/", ("ns",), False),
        ("s3://assets/team/a.mp3", ("ns",), False),
        ("https://recordings/a.mp3", ("other",), True),
    ],
)
def test_only_granted_sources_are_read(url: str, namespaces: tuple[str, ...], allowed: bool) -> None:
    grants = tuple(SourceGrant(bucket=each, prefix="team/", namespaces=namespaces) for each in ("recordings", "assets"))
    settings = DecisionSettings(sources=grants, bucket="assets")
    plan = decide(resource(TRANSCRIPT, spec={"source": {"url": url}}), Observation(), NOW, settings)
    assert (plan.job is not None) is allowed
    if not allowed:
        assert reason(plan) == (Phase.FAILED, Reason.SOURCE_NOT_ALLOWED)
        assert conditions(plan)["Stalled"] == "True"


@pytest.mark.parametrize(("code", "meant"), [("pt_br", "did you mean pt?"), ("xx", "auto detects the language")])
def test_unsupported_language_ends_the_run_before_any_work(code: str, meant: str) -> None:
    """The CRD has always admitted these spellings; AssemblyAI answers 400, but after the recording was prepared."""
    spec = SPECS[TRANSCRIPT] | {"options": {"language": code}}
    plan = decide(resource(TRANSCRIPT, spec=spec), Observation(), NOW, SETTINGS)
    assert reason(plan) == (Phase.FAILED, Reason.INVALID_SPEC)
    assert (plan.job, plan.payment) == (None, None)
    message = plan.status.message or ""
    assert message.startswith(f"spec.options.language: {code} must be a language code of AssemblyAI")
    assert meant in message
    assert "nothing was paid" in message


def test_an_owner_that_the_schema_takes_is_no_trouble() -> None:
    for user in ("a..b", "A", "9", "a" * 63, "a.-_"):
        spec = SPECS[TRANSCRIPT] | {"userId": user}
        status = running(TRANSCRIPT, phase=Phase.SUBMITTING, spec=spec)
        assert (
            payment(TRANSCRIPT, resource(TRANSCRIPT, status, spec=spec)).call.correlation_key
            == f"transcripts/{user}/{UID}/audio.flac"
        )


# Stages


@pytest.mark.parametrize(("kind", "stage"), STAGES)
def test_a_running_job_is_waited_for(kind: Kind, stage: Stage) -> None:
    plan = at(kind, stage, Observation(job=job()))
    assert (plan.job, plan.payment) == (None, None)
    assert [(move.source, move.target) for move in plan.moves if move.source != move.target] == []
    assert plan.reservation is None
    assert plan.status.phase in (Phase.PREPARING, Phase.COLLECTING)
    assert plan.status.run is not None
    assert plan.status.run.job is not None
    assert plan.status.run.job.uid == "job-uid"


def test_a_workers_progress_is_shown() -> None:
    report = Progress(step=Step.EXTRACTING_FRAMES, fraction=0.5, message="frame 7", remaining_seconds=30)
    plan = at(LORA, Stage.PREPARE, Observation(job=job(), progress=report, seconds_per_unit=0.5))
    assert (plan.status.stage, plan.status.progress, plan.status.message) == (Step.EXTRACTING_FRAMES, 27, "frame 7")
    # The worker reports its own stage only; 1000 provider steps and the collect stage follow.
    assert plan.status.estimated_completion_time == NOW + timedelta(seconds=30 + 500 + COLLECT_SECONDS)


def test_before_it_is_paid_a_person_reads_what_the_sound_is() -> None:
    facts = {
        "type": "audio",
        "durationSeconds": 640.2,
        "sourceBytes": 1,
        "audibleSeconds": 412.0,
        "track": 2,
        "tracks": 3,
        "notes": ["it is almost silent"],
    }
    plan = at(
        TRANSCRIPT,
        Stage.PREPARE,
        finished(
            TRANSCRIPT, Stage.PREPARE, outcome(TRANSCRIPT, Stage.PREPARE, **(sound(640, 10_000_000) | {"facts": facts}))
        ),
    )
    assert plan.status.message == (
        "640 s of audio are ready, 412 s of them audible, from track 2 of 3; it is almost silent"
    )


def is_prepared(plan: Plan) -> bool:
    """Whether the prepare stage has ended well, and what follows is decided at once."""
    run = plan.status.run
    has_facts = run is not None and run.facts is not None
    return plan.status.phase is Phase.PREPARING and has_facts and plan.again_seconds == 0


@pytest.mark.parametrize(("kind", "stage"), STAGES)
def test_a_finished_stage_leads_on(kind: Kind, stage: Stage) -> None:
    plan = at(kind, stage, finished(kind, stage))
    assert plan.status.run is not None
    assert plan.status.run.job is None
    if stage is Stage.PREPARE:
        assert reason(plan) == (Phase.PREPARING, Reason.PREPARING), "Submitting would deny that it may wait now"
        told = outcome(kind, stage)
        assert told.facts is not None
        stored = {"storedBytes": sum(file.size_bytes for file in told.files), "sentSha256": SHA}
        assert plan.status.run.facts == told.facts.model_dump(mode="json", by_alias=True) | stored
        assert (plan.again_seconds, plan.payment) == (0, None)
        assert plan.reservation is None
    else:
        assert reason(plan) == (Phase.COMPLETED, Reason.COMPLETED)
        assert (plan.status.progress, plan.status.completion_time, plan.status.stage) == (100, NOW, Step.DONE)
        assert [file.key.rpartition("/")[2] for file in plan.status.versions[0].files] == FILES[kind, stage]
        assert [(move.source, move.target) for move in plan.moves] == [
            (PurchaseState.SUCCEEDED, PurchaseState.COLLECTED)
        ]
        seen = conditions(plan)
        assert {k for k, v in seen.items() if v == "False"} == {"Reconciling", "Stalled", "Failed", "Suspended"}
        assert plan.status.cost is not None
        assert plan.status.cost.actual == "2.00"


BAD: list[tuple[str, dict[str, Any], dict[str, BucketFile] | None, Reason]] = [
    (
        "a bad verdict",
        {"reason": "NoVideo", "message": "no picture", "files": [], "facts": None},
        None,
        Reason.NO_VIDEO,
    ),
    ("no files", {"files": []}, None, Reason.OUTPUT_MISSING),
    ("no facts", {"facts": None}, None, Reason.OUTCOME_INVALID),
    ("another's facts", {"facts": {"type": "lora", "sizeBytes": 1}}, None, Reason.OUTCOME_INVALID),
    ("nothing stored", {}, {}, Reason.OUTPUT_MISSING),
    ("one byte less stored", {}, {"audio.flac": BucketFile(size_bytes=6, sha256=SHA)}, Reason.OUTPUT_MISSING),
    ("other bytes stored", {}, {"audio.flac": BucketFile(size_bytes=7, sha256="f" * 64)}, Reason.OUTPUT_CHANGED),
    *[
        (
            f"file {name}",
            {"files": [{"name": name, "sizeBytes": 7, "sha256": SHA, "contentType": "a/b"}]},
            {name: BucketFile(size_bytes=7, sha256=SHA)},
            Reason.OUTCOME_INVALID,
        )
        for name in ("../audio.flac", "transcript.json", "audio.flac/x", "x/audio.flac", "audio.flac\n", "Audio.flac")
    ],
]


def sound(seconds: Any, size: int) -> dict[str, Any]:
    files = [{"name": "audio.flac", "sizeBytes": size, "sha256": SHA, "contentType": "audio/flac"}]
    return {"facts": {"type": "audio", "durationSeconds": seconds, "sourceBytes": 1}, "files": files}


@pytest.mark.parametrize(
    ("seconds", "size", "why"),
    [
        (43_201, 100_000_000, "lasts 43201 s according to the worker, at most 43200 s"),
        (10_000, 1000, "1000 bytes, which are 0 to 185 s of audio, and not 10000 s"),
        (10, 2_000_000_000, "2000000000 bytes, which are"),
    ],
)
def test_a_length_that_its_file_cannot_have_is_not_paid_for(seconds: float, size: int, why: str) -> None:
    done = outcome(TRANSCRIPT, Stage.PREPARE, **sound(seconds, size))
    plan = at(TRANSCRIPT, Stage.PREPARE, finished(TRANSCRIPT, Stage.PREPARE, done))
    assert reason(plan) == (Phase.FAILED, Reason.OUTCOME_INVALID)
    assert why in (plan.status.message or "")
    assert not buys(plan)


@pytest.mark.parametrize(("seconds", "size"), [(0, 42), (1, 32_000), (43_200, 1_382_400_000), (43_200, 1_728_000)])
def test_a_length_that_its_file_can_have_is_taken(seconds: float, size: int) -> None:
    done = outcome(TRANSCRIPT, Stage.PREPARE, **sound(seconds, size))
    plan = at(TRANSCRIPT, Stage.PREPARE, finished(TRANSCRIPT, Stage.PREPARE, done))
    assert is_prepared(plan)


def test_a_training_set_has_no_more_pictures_than_were_asked_for() -> None:
    facts = PREPARED[LORA] | {"images": 151}
    plan = at(LORA, Stage.PREPARE, finished(LORA, Stage.PREPARE, outcome(LORA, Stage.PREPARE, facts=facts)))
    assert reason(plan) == (Phase.FAILED, Reason.OUTCOME_INVALID)


@pytest.mark.parametrize(
    "facts",
    [
        {"type": "audio", "durationSeconds": float("nan"), "sourceBytes": 1},
        {"type": "audio", "durationSeconds": float("inf"), "sourceBytes": 1},
        {"type": "audio", "durationSeconds": -1, "sourceBytes": 1},
        {"type": "audio", "durationSeconds": 1, "sourceBytes": 10**30},
        {"type": "audio", "durationSeconds": 1, "sourceBytes": 1, "level": float("-inf")},
        {"type": "lora", "sizeBytes": -1},
        {"type": "transcript", "wordCount": 1, "durationSeconds": 1e300, "speakers": 1},
        {"type": "images", "images": [], "seed": 10**20},
    ],
)
def test_figures_of_a_worker_are_finite_and_bounded(facts: dict[str, Any]) -> None:
    words = {"jobId": UID, "stage": "prepare", "attempt": 1, "reason": "Completed", "facts": facts}
    with pytest.raises(ValidationError):
        Outcome.model_validate_json(json.dumps(words))


@pytest.mark.parametrize("field", [{"seconds": {"x": float("nan")}}, {"seconds": {str(n): 1 for n in range(65)}}])
def test_times_of_a_worker_are_finite_and_few(field: dict[str, Any]) -> None:
    words = {"jobId": UID, "stage": "prepare", "attempt": 1, "reason": "NoVideo"} | field
    with pytest.raises(ValidationError):
        Outcome.model_validate_json(json.dumps(words))


def test_progress_is_a_share() -> None:
    for fraction in (float("nan"), float("inf"), -0.1, 1.1):
        with pytest.raises(ValidationError):
            Progress.model_validate_json(json.dumps({"step": "Downloading", "fraction": fraction}))


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -5, 10**400, 1e300, "1e9", None, True, [1]])
def test_length_forged_in_the_status_affects_no_price(seconds: Any) -> None:
    run = RunStatus.model_construct(facts={"type": "audio", "durationSeconds": seconds})
    assert kinds.sound_seconds(run) in (0.0, 1.0)
    assert kinds.duration_seconds(run) in (0.0, 1.0)


@pytest.mark.parametrize(("changes", "stored", "why"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_a_workers_words_are_checked(
    changes: dict[str, Any], stored: dict[str, BucketFile] | None, why: Reason
) -> None:
    done = outcome(TRANSCRIPT, Stage.PREPARE, **changes)
    seen = finished(TRANSCRIPT, Stage.PREPARE, done, **({} if stored is None else {"stored": stored}))
    plan = at(TRANSCRIPT, Stage.PREPARE, seen)
    assert reason(plan) == (Phase.FAILED, why)
    assert not buys(plan)
    assert plan.status.completion_time == NOW
    seen_conditions = conditions(plan)
    assert (seen_conditions["Failed"], seen_conditions["Stalled"], seen_conditions["Reconciling"]) == (
        "True",
        "True",
        "False",
    )


@pytest.mark.parametrize(("kind", "stage"), STAGES)
def test_each_file_that_is_needed_is_missed(kind: Kind, stage: Stage) -> None:
    names = FILES[kind, stage]
    needed = {"dataset.zip", "dataset.json", "model.safetensors", "audio.flac", "transcript.json", "transcript.txt"}
    needed |= {"image_1.png", "image_1_thumb.png"}
    for gone in names:
        files = [{"name": n, "sizeBytes": 7, "sha256": SHA, "contentType": "a/b"} for n in names if n != gone]
        plan = at(kind, stage, finished(kind, stage, outcome(kind, stage, files=files)), late=True)
        assert (plan.status.phase is Phase.FAILED) is (gone in needed)


def test_an_outcome_that_cannot_be_read_fails() -> None:
    plan = at(TRANSCRIPT, Stage.PREPARE, Observation(job=job(finished=True), outcome_problem="malformed"))
    assert reason(plan) == (Phase.FAILED, Reason.OUTCOME_INVALID)


@pytest.mark.parametrize("seen", [job(finished=True, reason="BackoffLimitExceeded", message="evicted"), None])
@pytest.mark.parametrize(("kind", "stage"), STAGES)
def test_a_job_that_died_is_replaced_so_many_times_after_a_pause(
    kind: Kind, stage: Stage, seen: JobView | None
) -> None:
    paid = purchase(kind, PurchaseState.SUCCEEDED) if stage is Stage.COLLECT else None
    for attempt, pause in ((1, 10), (2, 20)):
        died = at(kind, stage, Observation(job=seen), attempt=attempt)
        assert (died.job, died.status.reason, died.again_seconds) == (None, Reason.RETRYING, pause)
        assert "evicted" in died.status.message if seen else "deleted" in died.status.message  # type: ignore[operator]
        assert [(notice.type, notice.reason) for notice in died.notices] == [("Warning", Reason.RETRYING)]
        # The status is the only state between reconciliations.
        waits = decide(
            resource(kind, died.status), Observation(purchase=paid), NOW + timedelta(seconds=pause - 1), SETTINGS
        )
        assert (waits.job, waits.again_seconds, waits.notices) == (None, 1, ())
        assert waits.status == died.status
        plan = decide(resource(kind, died.status), Observation(purchase=paid), NOW + timedelta(seconds=pause), SETTINGS)
        assert plan.job is not None
        assert (plan.job.stage, plan.job.attempt) == (stage, attempt + 1)
        assert plan.status.run is not None
        assert plan.status.run.retry_at is None
    last = at(kind, stage, Observation(job=seen), attempt=3, late=True)
    assert reason(last) == (Phase.FAILED, Reason.JOB_FAILED)
    assert (last.job, last.payment) == (None, None)
    assert last.reservation is None


def test_a_pause_that_somebody_else_wrote_holds_nothing_up() -> None:
    status = running(LORA, prepared=False, stage_attempt=2, retry_at=NOW + timedelta(days=9))
    assert decide(resource(LORA, status), Observation(), NOW, SETTINGS).job is not None


def test_the_cause_of_an_end_is_told_and_not_only_the_jobs_word() -> None:
    seen = job(finished=True, reason="BackoffLimitExceeded", message="Job has reached the specified backoff limit")
    for attempt in (1, 3):
        plan = at(LORA, Stage.PREPARE, Observation(job=seen, cause="OOMKilled: limit 1Gi"), attempt=attempt)
        assert "OOMKilled: limit 1Gi" in (plan.status.message or "")
        assert "backoff limit" not in (plan.status.message or "")


def test_deadline_is_final_and_names_the_awaited() -> None:
    seen = job(finished=True, reason="BackoffLimitExceeded", message="backoff limit")
    status = running(LORA, Stage.PREPARE, prepared=False).model_copy(update={"message": "97 % of it"})
    late = Observation(job=seen, timed_out=True, cause="DeadlineExceeded: too slow")
    plan = decide(resource(LORA, status), late, NOW, SETTINGS)
    assert reason(plan) == (Phase.FAILED, Reason.DEADLINE_EXCEEDED)
    for words in ("the prepare stage ran out of time (DeadlineExceeded: too slow)", "last state: 97 % of it"):
        assert words in (plan.status.message or "")
    assert reason(decide(resource(LORA, status), late.model_copy(update={"timed_out": False}), NOW, SETTINGS)) == (
        Phase.PREPARING,
        Reason.RETRYING,
    ), "the message decides nothing"


def test_a_deadline_names_the_lora_that_it_waited_for() -> None:
    waits = decide(with_lora(), FAILED_LORA, NOW, SETTINGS).status
    late = resource(IMAGES, waits, spec=with_lora().spec | {"deadlineSeconds": 60})
    plan = decide(late, FAILED_LORA, NOW + timedelta(seconds=61), SETTINGS)
    assert reason(plan) == (Phase.FAILED, Reason.DEADLINE_EXCEEDED)
    assert "LoraTraining jesse has failed" in (plan.status.message or "")


def test_a_deadline_names_what_the_provider_said_last() -> None:
    slow = RequestView(state=RequestState.RUNNING, message="in the queue, position 9")
    since = purchase(IMAGES, PurchaseState.SUBMITTED, submitted_at=NOW - timedelta(days=2))
    assert bought(IMAGES, since, request=slow).cancel is not None
    asked = since.model_copy(update={"cancel_asked_at": NOW - timedelta(seconds=16)})
    plan = bought(IMAGES, asked, request=slow)
    assert (reason(plan), plan.cancel) == ((Phase.FAILED, Reason.DEADLINE_EXCEEDED), None)
    assert "in the queue, position 9" in (plan.status.message or "")


# Pods that are refused or not started


@pytest.mark.parametrize(("kind", "stage"), STAGES)
def test_a_pod_that_is_refused_is_told_and_waited_for(kind: Kind, stage: Stage) -> None:
    seen = Observation(job=job(), trouble=PodTrouble(refused=True, words='pods "x" is forbidden: exceeded quota: q'))
    plan = at(kind, stage, seen)
    assert plan.status.reason == Reason.JOB_REFUSED
    assert plan.status.phase is (Phase.COLLECTING if stage is Stage.COLLECT else Phase.PREPARING)
    message = plan.status.message or ""
    assert "exceeded quota: q" in message
    assert ("Request r1 of" in message and "was paid" in message) is (stage is Stage.COLLECT)
    assert [(notice.type, notice.reason) for notice in plan.notices] == [("Warning", Reason.JOB_REFUSED)]
    assert {condition.reason for condition in plan.status.conditions if condition.status == "False"} == {
        Reason.JOB_REFUSED
    }
    assert plan.again_seconds
    assert plan.again_seconds <= 5
    assert at(kind, stage, Observation(job=job(ready=True))).again_seconds == 60
    older = Observation(job=job(started_at=NOW - timedelta(seconds=30)), trouble=seen.trouble)
    assert at(kind, stage, older).again_seconds == 30, "ever less often"


@pytest.mark.parametrize(("attempt", "end"), [(1, "and nothing is paid"), (2, "and nothing more is paid")])
def test_a_refused_preparation_tells_only_of_its_run(attempt: int, end: str) -> None:
    """Regression: after a loss of MongoDB run 2 said that nothing was paid, though run 1's request was."""
    status = running(LORA, Stage.PREPARE, prepared=False, number=2, paid_attempt=attempt)
    seen = Observation(job=job(), trouble=PodTrouble(refused=True, words="exceeded quota: q"))
    message = decide(resource(LORA, status), seen, NOW, SETTINGS).status.message or ""
    assert message.endswith(f"{end} for this run")


@pytest.mark.parametrize(("kind", "stage"), STAGES)
@pytest.mark.parametrize("why", [Reason.JOB_REFUSED, Reason.POD_NOT_STARTED])
def test_a_job_whose_pod_never_was_is_made_anew_at_its_deadline(kind: Kind, stage: Stage, why: Reason) -> None:
    paid_for = stage is Stage.COLLECT
    phase = Phase.COLLECTING if paid_for else Phase.PREPARING
    status = running(kind, stage, prepared=paid_for, phase=phase, reason=why, stage_attempt=3)
    over = job(finished=True, reason="DeadlineExceeded", message="too slow")  # of an earlier release's Job
    paid = purchase(kind, PurchaseState.SUCCEEDED) if paid_for else None
    plan = decide(resource(kind, status), Observation(job=over, purchase=paid), NOW, SETTINGS)
    assert (plan.left_job, plan.status.reason, plan.notices) == (over, why, ())
    assert plan.status.run is not None
    assert (plan.status.run.job, plan.status.run.stage_attempt) == (None, 3)


def test_a_pod_that_has_not_started_is_told() -> None:
    words = "ImagePullBackOff: Back-off pulling image"
    plan = at(LORA, Stage.PREPARE, Observation(job=job(), trouble=PodTrouble(refused=False, words=words)))
    assert reason(plan) == (Phase.PREPARING, Reason.POD_NOT_STARTED)
    assert words in (plan.status.message or "")


def test_deleted_job_with_an_outcome_has_succeeded() -> None:
    seen = finished(TRANSCRIPT, Stage.PREPARE).model_copy(update={"job": None})
    assert is_prepared(at(TRANSCRIPT, Stage.PREPARE, seen))


def test_a_job_of_the_collect_stage_starts_at_attempt_one() -> None:
    status = running(LORA, phase=Phase.COLLECTING)
    plan = decide(resource(LORA, status), Observation(purchase=purchase(LORA, PurchaseState.SUCCEEDED)), NOW, SETTINGS)
    assert plan.job is not None
    assert (plan.job.stage, plan.job.attempt) == (Stage.COLLECT, 1)


# Gate


def with_lora(**changes: Any) -> Resource:
    spec = {"prompt": "jf", "loras": [{"loraRef": {"name": "jesse"}, "scale": "0.8"}]}
    return resource(IMAGES, spec=spec, **changes)


def test_a_missing_lora_is_named_before_one_in_training() -> None:
    loras = (LoraView(name="jesse", phase=Phase.PROCESSING, state="running, 63 %"), LoraView(name="jese"))
    plan = decide(with_lora(), Observation(loras=loras), NOW, SETTINGS)
    assert reason(plan) == (Phase.PENDING, Reason.LORA_MISSING)
    assert (plan.status.message or "").startswith("LoraTraining jese does not exist in this namespace; nothing was")
    plan = decide(with_lora(), Observation(loras=loras[:1]), NOW, SETTINGS)
    assert plan.status.message == "waiting for LoraTraining jesse, which is running, 63 %"
    assert reason(plan) == (Phase.PENDING, Reason.WAITING_FOR_LORA)


def test_an_estimated_lora_is_not_waited_for_in_silence() -> None:
    lora = LoraView(name="jesse", phase=Phase.COMPLETED, state="estimated", estimated=True)
    plan = decide(with_lora(), Observation(loras=(lora,)), NOW, SETTINGS)
    assert "remove spec.dryRun there" in (plan.status.message or "")


@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.PREPARING, Phase.PROCESSING, Phase.SUBMISSION_UNKNOWN])
def test_pictures_wait_for_their_lora(phase: Phase | None) -> None:
    plan = decide(with_lora(), Observation(loras=(LoraView(name="jesse", phase=phase),)), NOW, SETTINGS)
    assert reason(plan) == (Phase.PENDING, Reason.WAITING_FOR_LORA)
    assert not buys(plan)
    assert plan.again_seconds is not None
    assert "jesse" in (plan.status.message or "")


@pytest.mark.parametrize("kind", Kind)
def test_submitted_request_is_not_paid_again_without_the_ledger(kind: Kind) -> None:
    status = running(kind, phase=Phase.PROCESSING, reason=Reason.PROCESSING, request_id="r1", submitted_at=NOW)
    seen = Observation()
    plan = decide(resource(kind, status), seen, NOW, SETTINGS)
    assert not buys(plan)
    assert reason(plan) == (Phase.SUBMISSION_UNKNOWN, Reason.SUBMISSION_UNKNOWN)
    assert "request r1" in (plan.status.message or "")
    assert plan.again_seconds
    restored = Observation(purchase=purchase(kind, PurchaseState.SUBMITTED))
    assert decide(resource(kind, plan.status), restored, NOW, SETTINGS).status.phase is Phase.PROCESSING
    allowed = {"contentgen.dev/resubmit": resubmit_token(plan.status)}
    again = decide(resource(kind, plan.status, annotations=allowed), seen, NOW, SETTINGS)
    assert again.status.run is not None
    assert (again.status.run.paid_attempt, again.status.run.request_id) == (2, None)


FAILED_LORA = Observation(loras=(LoraView(name="jesse", phase=Phase.FAILED, message="no picture"),))
READY_LORA = Observation(
    loras=(LoraView(name="jesse", phase=Phase.COMPLETED, model_key="loras/u/j/v1/model.safetensors"),)
)


def test_images_wait_for_a_failed_lora_until_it_has_a_version() -> None:
    plan = decide(with_lora(), FAILED_LORA, NOW, SETTINGS)
    assert reason(plan) == (Phase.PENDING, Reason.LORA_FAILED)
    assert (plan.payment, plan.status.completion_time) == (None, None)
    assert plan.reservation is None
    assert "no picture" in (plan.status.message or "")
    assert plan.again_seconds is not None
    seen = conditions(plan)
    assert (seen["Failed"], seen["Stalled"], seen["Reconciling"]) == ("False", "True", "False")
    again = decide(with_lora(status=plan.status), READY_LORA, NOW, SETTINGS)
    assert buys(again)
    assert conditions(again)["Stalled"] == "False"


@pytest.mark.parametrize("seen", [FAILED_LORA, Observation(loras=(LoraView(name="jesse"),))])
def test_an_edit_replaces_a_run_that_waits_for_a_lora(seen: Observation) -> None:
    waits = decide(with_lora(), seen, NOW, SETTINGS).status
    assert waits.run is not None
    edited = resource(IMAGES, waits, spec={"prompt": "jf"}, generation=2)
    run = decide(edited, seen, NOW, SETTINGS).status.run
    assert run is not None
    assert (run.number, run.version, run.spec) == (2, 1, {"prompt": "jf"})
    wrong = resource(IMAGES, waits, spec={"prompt": ""}, generation=2)
    assert decide(wrong, seen, NOW, SETTINGS).status.run == waits.run


@pytest.mark.parametrize("late", [SETTINGS.adoption_seconds - 60, SETTINGS.adoption_seconds + 60])
def test_deadline_does_not_speed_up_the_search(late: int) -> None:
    """Regression (money 12): the history was requested every second without end."""
    spec = SPECS[IMAGES] | {"deadlineSeconds": 60}
    sent = NOW - timedelta(seconds=late)
    lost = purchase(IMAGES, PurchaseState.INTENT, send_state=SendState.SENDING, created_at=sent, sent_at=sent)
    assert bought(IMAGES, lost, spec=spec, provider_problem="503").again_seconds == 600
    assert bought(IMAGES, lost, spec=spec).again_seconds == 600


def test_clock_set_back_does_not_poll_twice_a_second() -> None:
    """Regression (money 28)."""
    made = purchase(IMAGES, PurchaseState.SUBMITTED, submitted_at=NOW + timedelta(hours=24))
    view = RequestView(state=RequestState.RUNNING, message="running")
    assert bought(IMAGES, made, request=view).again_seconds == SETTINGS.poll_seconds


def test_run_replaced_by_an_edit_withdraws_its_planned_purchase() -> None:
    """Another process may be about to send it."""
    waits = running(LORA, prepared=False, phase=Phase.PENDING, reason=Reason.WAITING_FOR_LORA_NAME, purchase_id="p1")
    planned = purchase(LORA, PurchaseState.INTENT, send_state=SendState.PLANNED)
    seen = Observation(purchase=planned, same_lora_name="first")
    edited = SPECS[LORA] | {"triggerWord": "another"}
    plan = decide(resource(LORA, waits, spec=edited, generation=2), seen, NOW, SETTINGS)
    assert plan.status.run is not None
    assert (plan.status.run.number, plan.status.run.purchase_id) == (2, None)
    (move,) = plan.moves
    assert (move.source, move.target, move.expected) == (
        PurchaseState.INTENT,
        PurchaseState.REFUSED,
        {"send_state": "planned"},
    )


def test_a_ready_lora_is_drawn_with() -> None:
    ready = LoraView(name="jesse", phase=Phase.COMPLETED, model_key="loras/u/j/v1/model.safetensors")
    made = payment(IMAGES, with_lora(), Observation(loras=(ready,)))
    (lora,) = made.call.arguments["loras"]
    assert (lora["path"].key, lora["scale"]) == ("loras/u/j/v1/model.safetensors", 0.8)
    bought = made.purchase.model_copy(update={"send_state": SendState.SENDING})
    assert (bought.loras, bought.namespace, bought.type) == ((lora["path"].key,), "ns", "image-generation")
    later = decide(with_lora(), Observation(purchase=bought), NOW, SETTINGS)
    assert later.status.run is not None
    assert later.status.run.loras == bought.loras, "the purchase says it, also when the LoRA has a newer version"


def test_lora_lost_while_the_provider_was_busy_is_awaited() -> None:
    spec = {"prompt": "jf", "loras": [{"loraRef": {"name": "jesse"}}]}
    status = running(IMAGES, spec=spec, phase=Phase.SUBMITTING, reason=Reason.PROVIDER_UNAVAILABLE)
    refused = purchase(IMAGES, PurchaseState.REFUSED)
    plan = decide(
        resource(IMAGES, status, spec=spec),
        Observation(purchase=refused, loras=(LoraView(name="jesse"),)),
        NOW,
        SETTINGS,
    )
    assert not buys(plan)
    assert reason(plan) == (Phase.SUBMITTING, Reason.LORA_MISSING), "phases only go forward"


@pytest.mark.parametrize("kind", Kind)
def test_without_a_key_nothing_is_bought(kind: Kind) -> None:
    status = running(kind, phase=Phase.SUBMITTING) if kind is not IMAGES else None
    plan = decide(resource(kind, status), Observation(facts=(AccountGrant(has_key=False),)), NOW, SETTINGS)
    assert not buys(plan)
    assert plan.status.reason == Reason.PROVIDER_NOT_CONFIGURED
    assert plan.status.phase is (Phase.PENDING if kind is IMAGES else Phase.SUBMITTING)
    assert plan.again_seconds is not None


@pytest.mark.parametrize("kind", Kind)
def test_the_purchase_is_keyed_on_what_is_bought(kind: Kind) -> None:
    status = running(kind, phase=Phase.SUBMITTING)
    one = payment(kind, resource(kind, status))
    same = payment(kind, resource(kind, status), now=NOW + timedelta(hours=1))
    assert (one.key, one.call) == (same.key, same.call)
    assert one.purchase.state is PurchaseState.INTENT


# After the intent


def bought(
    kind: Kind, made: Purchase, *, annotations: dict[str, str] | None = None, spec: Any = None, **seen: Any
) -> Plan:
    spec = spec or SPECS[kind]
    status = running(kind, phase=Phase.SUBMITTING, reason=Reason.SUBMITTING, spec=spec)
    subject = resource(kind, status, annotations=annotations or {}, spec=spec)
    return decide(subject, Observation(purchase=made, **seen), NOW, SETTINGS)


@pytest.mark.parametrize("kind", Kind)
def test_a_lost_request_is_looked_for_and_never_sent_again(kind: Kind) -> None:
    lost = purchase(kind, PurchaseState.INTENT)
    plan = bought(kind, lost)
    assert reason(plan) == (Phase.SUBMITTING, Reason.LOOKING_FOR_REQUEST)
    assert (plan.payment, plan.again_seconds) == (None, 6), "a tenth of the minute since it was sent"
    assert plan.reservation is None
    found = bought(kind, lost, found_request="r9")
    assert found.status.phase is Phase.PROCESSING
    assert [(m.source, m.target, m.changes["request_id"]) for m in found.moves] == [
        (PurchaseState.INTENT, PurchaseState.SUBMITTED, "r9")
    ]
    late = bought(kind, lost.model_copy(update={"created_at": NOW - timedelta(hours=2)}))
    assert reason(late) == (Phase.SUBMISSION_UNKNOWN, Reason.SUBMISSION_UNKNOWN)
    assert (late.payment, late.again_seconds) == (None, 600)
    assert late.reservation is None
    assert conditions(late)["Stalled"] == "True"


@pytest.mark.parametrize("told", [Reason.SUBMISSION_UNKNOWN, Reason.STORE_UNAVAILABLE])
def test_clock_set_back_keeps_submission_unknown(told: Reason) -> None:
    """A person may be acting on it. The search continues on its schedule, by the time since the POST."""
    unknown = running(IMAGES, phase=Phase.SUBMISSION_UNKNOWN, reason=told)
    lost = purchase(IMAGES, PurchaseState.INTENT, created_at=NOW + timedelta(hours=24))
    plan = decide(resource(IMAGES, unknown), Observation(purchase=lost), NOW, SETTINGS)
    assert reason(plan) == (Phase.SUBMISSION_UNKNOWN, Reason.SUBMISSION_UNKNOWN)
    assert plan.again_seconds == SETTINGS.poll_seconds


def test_unreadable_history_is_reported_and_read_indefinitely() -> None:
    lost = purchase(IMAGES, PurchaseState.INTENT)
    soon = bought(IMAGES, lost, provider_problem="fal answered 401")
    assert "cannot be read: fal answered 401" in (soon.status.message or "")
    late = lost.model_copy(update={"created_at": NOW - timedelta(hours=2)})
    plan = bought(IMAGES, late, provider_problem="fal answered 401")
    assert reason(plan) == (Phase.SUBMISSION_UNKNOWN, Reason.SUBMISSION_UNKNOWN)
    for part in ("the search goes on until", "cannot be read (fal answered 401)"):
        assert part in (plan.status.message or "")
    assert (plan.payment, plan.again_seconds) == (None, 600)
    assert plan.reservation is None
    found = bought(IMAGES, late, found_request="r9")
    assert (found.status.phase, found.payment) == (Phase.PROCESSING, None)
    assert found.reservation is None


def test_a_person_may_ask_for_that_very_purchase_again() -> None:
    lost = purchase(IMAGES, PurchaseState.INTENT, created_at=NOW - timedelta(hours=2))
    token = resubmit_token(bought(IMAGES, lost).status)
    plan = bought(IMAGES, lost, annotations={"contentgen.dev/resubmit": token})
    assert plan.status.run is not None
    assert plan.status.run.paid_attempt == 2
    assert not buys(plan), "the next look pays, under the next attempt's key"
    for wrong in ("1", "true", "", token.upper() + "x"):
        assert (
            bought(IMAGES, lost, annotations={"contentgen.dev/resubmit": wrong}).status.phase
            is Phase.SUBMISSION_UNKNOWN
        )
    # The next attempt has another name, so the remaining annotation permits no further payment.
    status = running(IMAGES, phase=Phase.SUBMITTING, paid_attempt=2)
    again = decide(
        resource(IMAGES, status, annotations={"contentgen.dev/resubmit": token}),
        Observation(purchase=lost),
        NOW,
        SETTINGS,
    )
    assert again.status.phase is Phase.SUBMISSION_UNKNOWN


@pytest.mark.parametrize("kind", [LORA, TRANSCRIPT])
@pytest.mark.parametrize("prepared", [True, False])
def test_next_attempt_without_source_facts_prepares_again(kind: Kind, prepared: bool) -> None:
    """The lost purchase was adopted: its former owner prepared the source under the former owner's prefix."""
    lost = purchase(kind, PurchaseState.INTENT, created_at=NOW - timedelta(hours=2))
    unknown = running(kind, prepared=prepared, phase=Phase.SUBMISSION_UNKNOWN, reason=Reason.SUBMISSION_UNKNOWN)
    seen = Observation(purchase=lost)
    token = resubmit_token(decide(resource(kind, unknown), seen, NOW, SETTINGS).status)
    asked = {"contentgen.dev/resubmit": token}
    plan = decide(resource(kind, unknown, annotations=asked), seen, NOW, SETTINGS)
    expected = (Phase.SUBMITTING, Reason.SUBMITTING) if prepared else (Phase.PREPARING, Reason.PREPARING)
    assert reason(plan) == expected
    following = decide(resource(kind, plan.status, annotations=asked), Observation(), NOW, SETTINGS)
    assert (following.status.phase, following.job is None) == (expected[0], prepared)


def test_refused_for_good_fails_and_busy_is_asked_less_and_less() -> None:
    refused = purchase(IMAGES, PurchaseState.REFUSED, permanent=True, error="no credit")
    assert reason(bought(IMAGES, refused)) == (Phase.FAILED, Reason.PROVIDER_REFUSED)
    pauses = []
    for tries in (1, 2, 3, 4, 5, 2000):
        busy = purchase(IMAGES, PurchaseState.REFUSED, tries=tries, changed_at=NOW, error="slow down")
        plan = bought(IMAGES, busy)
        assert reason(plan) == (Phase.SUBMITTING, Reason.PROVIDER_UNAVAILABLE)
        assert not buys(plan)
        pauses.append(plan.again_seconds)
    assert pauses == [10, 20, 40, 60, 60, 60]
    assert buys(bought(IMAGES, purchase(IMAGES, PurchaseState.REFUSED)))


def test_a_refusal_of_a_gone_resource_is_not_the_new_ones() -> None:
    refused = purchase(IMAGES, PurchaseState.REFUSED, permanent=True, job_id="gone")
    assert buys(bought(IMAGES, refused))
    unprepared = decide(
        resource(LORA), Observation(purchase=purchase(LORA, PurchaseState.REFUSED, job_id="gone")), NOW, SETTINGS
    )
    assert not buys(unprepared)
    assert unprepared.job is not None
    assert unprepared.job.stage is Stage.PREPARE


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("state", [RequestState.QUEUED, RequestState.RUNNING])
def test_the_provider_is_asked_again_while_it_works(kind: Kind, state: RequestState) -> None:
    plan = bought(
        kind,
        purchase(kind, PurchaseState.SUBMITTED),
        request=RequestView(state=state, message="m"),
        seconds_per_unit=120 / {LORA: 1000, IMAGES: 1, TRANSCRIPT: 60.0}[kind],
    )
    assert reason(plan) == (Phase.PROCESSING, Reason.PROCESSING)
    assert (plan.again_seconds, plan.moves, plan.payment) == (SETTINGS.poll_seconds, (), None)
    assert plan.reservation is None
    assert plan.finalizer
    assert 5 <= plan.status.progress < 85
    assert plan.status.estimated_completion_time == NOW + timedelta(seconds=60 + COLLECT_SECONDS)
    assert plan.status.run is not None
    assert plan.status.run.request_id == "r1"
    assert conditions(plan)["Submitted"] == "True"


@pytest.mark.parametrize("kind", Kind)
def test_a_provider_that_does_not_answer_is_no_failure(kind: Kind) -> None:
    plan = bought(kind, purchase(kind, PurchaseState.SUBMITTED), provider_problem="503")
    assert reason(plan) == (Phase.PROCESSING, Reason.PROVIDER_UNAVAILABLE)
    assert (plan.moves, plan.payment, plan.again_seconds) == ((), None, SETTINGS.poll_seconds)
    assert plan.reservation is None
    refused = bought(kind, purchase(kind, PurchaseState.SUBMITTED), provider_problem="401", access_refused=True)
    assert reason(refused) == (Phase.PROCESSING, Reason.PROVIDER_NOT_CONFIGURED), "somebody has to act"
    assert (refused.moves, refused.payment, refused.again_seconds) == ((), None, SETTINGS.poll_seconds)
    assert refused.reservation is None


@pytest.mark.parametrize("kind", Kind)
def test_an_answer_is_stored_before_the_ledger_says_so(kind: Kind) -> None:
    view = RequestView(state=RequestState.SUCCEEDED, result=AnswerFile.of({"a": 1}))
    plan = bought(kind, purchase(kind, PurchaseState.SUBMITTED), request=view)
    assert plan.status.phase is Phase.COLLECTING
    assert plan.store is not None
    assert plan.store.answer is view.result
    (move,) = plan.moves
    assert (move.target, move.changes["result_key"]) == (PurchaseState.SUCCEEDED, plan.store.key)


@pytest.mark.parametrize("kind", Kind)
def test_oversized_result_ends_the_run_without_a_loss(kind: Kind) -> None:
    spec = SPECS[kind] | {"paidAttempts": 3}
    before = purchase(kind, PurchaseState.SUBMITTED)
    plan = bought(kind, before, request=TOO_LARGE, spec=spec)
    assert reason(plan) == (Phase.FAILED, Reason.RESULT_INVALID)
    assert f"request {before.request_id} of {before.provider} was paid" in (plan.status.message or "")
    assert "more than 64 MiB" in (plan.status.message or "")
    (move,) = plan.moves
    assert (move.target, move.changes["error"]) == (PurchaseState.SUCCEEDED, TOO_LARGE.message)
    assert "result_key" not in move.changes
    assert (move.changes["actual_micros"], move.changes["cost_source"]) == (None, "estimate")
    assert plan.status.cost is not None
    assert (plan.status.cost.actual, plan.status.cost.display) == ("", "~$2.00")
    assert (plan.store, plan.payment, plan.again_seconds, plan.job) == (None, None, None, None)
    assert plan.reservation is None
    # After a crash between the ledger and the status, and for the same resource applied again:
    kept = purchase(kind, PurchaseState.SUCCEEDED, error=TOO_LARGE.message, result_key=None)
    again = bought(kind, kept, spec=spec)
    assert (reason(again), again.status.message) == (reason(plan), plan.status.message)
    assert (again.moves, again.payment, again.job) == ((), None, None)
    assert again.reservation is None


EARLY_ENDS: dict[str, Any] = {
    "refused": (TRANSCRIPT, SPECS[TRANSCRIPT] | {"source": {"url": "s3://elsewhere/talk.mp3"}}),
    "estimated": (IMAGES, SPECS[IMAGES] | {"dryRun": "Estimate"}),
    "cancelled": (IMAGES, SPECS[IMAGES]),
}


@pytest.mark.parametrize("end", EARLY_ENDS)
def test_a_run_that_ends_after_an_edit_is_reconciled_again(end: str) -> None:
    """The edit's event came during the run, and the operator's own write wakes nobody."""
    kind, spec = EARLY_ENDS[end]
    status = running(kind, prepared=False, phase=Phase.PENDING, reason=Reason.WAITING_FOR_LORA, spec=spec)
    annotations = {"contentgen.dev/cancel": "1"} if end == "cancelled" else {}
    for edited in (True, False):
        given = ANOTHER[kind] | ({"dryRun": "Estimate"} if end == "estimated" else {}) if edited else spec
        subject = resource(kind, status, spec=given, generation=1 + edited, annotations=annotations)
        plan = decide(subject, Observation(), NOW, SETTINGS)
        assert plan.status.phase in (Phase.FAILED, Phase.COMPLETED)
        assert (plan.status.observed_generation, plan.again_seconds) == (1, 0 if edited else None)


@pytest.mark.parametrize("kind", Kind)
def test_a_result_that_is_gone_is_never_paid_again(kind: Kind) -> None:
    """It is given up after several answers over a day; the limits of a request do not end the wait before."""
    spec = SPECS[kind] | {"paidAttempts": 3, "deadlineSeconds": 60}
    long_ago = NOW - timedelta(days=3)
    early = purchase(kind, PurchaseState.SUBMITTED, submitted_at=long_ago)
    plan = bought(kind, early, request=GONE, spec=spec)
    assert reason(plan) == (Phase.PROCESSING, Reason.PROVIDER_UNAVAILABLE)
    assert [(each_move.target, each_move.changes) for each_move in plan.moves] == [
        (PurchaseState.SUBMITTED, {"missing_since": NOW, "missed": 1, "missed_at": NOW})
    ]
    assert (plan.again_seconds, plan.cancel) == (60, None)
    missing = {"missing_since": long_ago, "missed": 3, "missed_at": NOW - timedelta(hours=8)}
    before = early.model_copy(update=missing)
    plan = bought(kind, before, request=GONE, spec=spec)
    assert reason(plan) == (Phase.FAILED, Reason.RESULT_INVALID)
    assert "was paid, but its result is no longer kept there" in (plan.status.message or "")
    (move,) = plan.moves
    assert (move.target, move.changes["error"]) == (PurchaseState.SUCCEEDED, GONE.message)
    kept = purchase(kind, PurchaseState.SUCCEEDED, error=GONE.message, result_key=None)
    again = bought(kind, kept, spec=spec)
    assert (reason(again), again.payment, again.moves) == (reason(plan), None, ())


@pytest.mark.parametrize(("allowed", "end"), [(1, Phase.FAILED), (2, Phase.SUBMITTING)])
def test_paid_attempts(allowed: int, end: Phase) -> None:
    view = RequestView(state=RequestState.FAILED, message="out of memory")
    spec = SPECS[IMAGES] | {"paidAttempts": allowed}
    first = bought(IMAGES, purchase(IMAGES, PurchaseState.SUBMITTED), request=view, spec=spec)
    assert [m.target for m in first.moves] == [PurchaseState.FAILED]
    plan = bought(IMAGES, purchase(IMAGES, PurchaseState.FAILED, error="out of memory"), spec=spec)
    assert plan.status.phase is end
    assert not buys(plan)
    assert "out of memory" in (plan.status.message or "")
    assert plan.status.run is not None
    assert plan.status.run.paid_attempt == (2 if end is Phase.SUBMITTING else 1)


# Warnings about finished pictures


def a_picture(name: str = "image_1.png", **marks: Any) -> dict[str, Any]:
    thumbnail = name.replace(".", "_thumb.")
    return {"name": name, "thumbnail": thumbnail, "width": 1024, "height": 1024, "sizeBytes": 7} | marks


@pytest.mark.parametrize(
    ("count", "images", "told"),
    [
        (1, [a_picture()], "version 1 is stored"),
        (2, [a_picture()], "version 1 is stored; 2 asked, 1 stored"),
        (1, [a_picture(), a_picture("image_2.png")], "version 1 is stored; 1 asked, 2 stored"),
        (
            2,
            [a_picture(unsafe=True, black=True), a_picture("image_2.png", black=True)],
            (
                "version 1 is stored; image_1.png: unsafe by the provider's safety checker; "
                "image_1.png, image_2.png: all black, as a safety checker leaves a picture"
            ),
        ),
        (1, [a_picture(width=512)], "version 1 is stored; image_1.png: of another size than 1024x1024"),
        (1, [a_picture(unsafe=None)], "version 1 is stored"),
    ],
)
def test_fewer_unsafe_and_black_pictures_are_told(count: int, images: list[dict[str, Any]], told: str) -> None:
    """Regression (money 22): a run of two requested pictures with one stored is Completed."""
    names = [image[name] for image in images for name in ("name", "thumbnail")]
    files = [{"name": n, "sizeBytes": 7, "sha256": SHA, "contentType": "a/b"} for n in names]
    spec = SPECS[IMAGES] | {"image": {"count": count}}
    done = outcome(IMAGES, Stage.COLLECT, facts={"type": "images", "images": images}, files=files)
    status = running(IMAGES, Stage.COLLECT, phase=Phase.COLLECTING, spec=spec)
    seen = finished(IMAGES, Stage.COLLECT, done, purchase=purchase(IMAGES, PurchaseState.SUCCEEDED))
    plan = decide(resource(IMAGES, status, spec=spec), seen, NOW, SETTINGS)
    assert (reason(plan), plan.status.message) == ((Phase.COMPLETED, Reason.COMPLETED), told)
    # After a crash between the ledger and the status:
    made = purchase(IMAGES, PurchaseState.COLLECTED, outputs=plan.moves[0].changes["outputs"])
    again = decide(resource(IMAGES, status, spec=spec), Observation(purchase=made, outputs_stored=True), NOW, SETTINGS)
    assert again.status.message == told


# Cost


BY_UNITS = "billable units × unit price"


def spent(plan: Plan) -> tuple[str, str, str, bool | None]:
    """Actual amount, its source, the COST column, and whether the run is billed (None: unknown)."""
    assert plan.status.cost is not None
    assert plan.status.run is not None
    cost = plan.status.cost
    return cost.actual, cost.actual_source, cost.display, plan.status.run.billed


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (BILLED, ("2.00", BY_UNITS, "$2.00", True)),
        (BILLED | {"billable_units": 3}, ("6.00", BY_UNITS, "$6.00", True)),
        ({}, ("", "estimate", "~$2.00", True)),
        ({"estimated_micros": None}, ("", "unknown", "unknown", True)),
    ],
)
def test_cost_of_a_finished_run_is_the_providers(changes: dict[str, Any], expected: tuple[str, str, str, bool]) -> None:
    outputs = STORED.model_dump(mode="json", by_alias=True)
    made = purchase(IMAGES, PurchaseState.COLLECTED, outputs=outputs, **changes)
    plan = decide(resource(IMAGES, running(IMAGES, phase=Phase.COLLECTING)), Observation(purchase=made), NOW, SETTINGS)
    assert spent(plan) == expected


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        (None, ("", "unknown", "unknown", None)),
        (0, ("0.00", "not billed", "$0.00", False)),
        (1, ("2.00", BY_UNITS, "$2.00", True)),
    ],
)
@pytest.mark.parametrize("state", [PurchaseState.FAILED, PurchaseState.CANCELLED])
def test_a_request_without_a_result_costs_what_the_provider_says(
    state: PurchaseState, units: float | None, expected: tuple[str, str, str, bool | None]
) -> None:
    made = purchase(IMAGES, state, **(BILLED | {"billable_units": units}))
    assert spent(bought(IMAGES, made)) == expected


def test_a_failed_request_is_stored_with_what_the_provider_bills() -> None:
    view = RequestView(state=RequestState.FAILED, message="oom", billable_units=0)
    (move,) = bought(IMAGES, purchase(IMAGES, PurchaseState.SUBMITTED), request=view).moves
    named = ("billable_units", "actual_micros", "cost_source")
    assert [move.changes[each] for each in named] == [0, 0, "not billed"]


def test_all_paid_attempts_and_runs_are_in_the_cost() -> None:
    """Regression (money 22): the cost of three POSTs was that of one."""
    failed = purchase(IMAGES, PurchaseState.FAILED, **BILLED)
    made = purchase(IMAGES, PurchaseState.COLLECTED, outputs=STORED.model_dump(mode="json", by_alias=True), **BILLED)
    status = running(IMAGES, phase=Phase.COLLECTING, number=2, paid_attempt=3)
    seen = Observation(purchase=made, outputs_stored=True, earlier=(failed, failed), other_runs=(made, failed))
    plan = decide(resource(IMAGES, status), seen, NOW, SETTINGS)
    assert spent(plan) == ("6.00", BY_UNITS, "$6.00", True)
    assert plan.status.cost is not None
    assert (plan.status.cost.total, plan.status.cost.unknown) == ("10.00", 0)
    lost = purchase(IMAGES, PurchaseState.CANCELLED)
    plan = decide(resource(IMAGES, status), seen.model_copy(update={"earlier": (lost,)}), NOW, SETTINGS)
    assert spent(plan) == ("", f"unknown, {BY_UNITS}", "$2.00 + unknown", True)
    assert plan.status.cost is not None
    assert (plan.status.cost.total, plan.status.cost.unknown) == ("6.00", 1)


def test_failed_attempt_stays_in_the_cost() -> None:
    failed = purchase(IMAGES, PurchaseState.FAILED, error="oom", **BILLED)
    plan = bought(IMAGES, failed, spec=SPECS[IMAGES] | {"paidAttempts": 2})
    assert plan.status.cost is not None
    assert (plan.status.cost.actual, plan.status.cost.total) == ("", "2.00")
    assert plan.status.cost.display == "~$2.04"


def test_attempts_of_another_resource_are_not_in_the_cost() -> None:
    """The purchase follows a failed attempt of a deleted resource."""
    failed = purchase(
        IMAGES, PurchaseState.FAILED, billable_units=1, unit_micros=2_000_000, unit=Unit.RUN, billing=True
    )
    for job_id, shown in ((UID, "$4.00"), ("gone", "$2.00")):
        made = purchase(IMAGES, PurchaseState.SUCCEEDED, error="gone", result_key=None, **BILLED)
        earlier = failed.model_copy(update={"job_id": job_id})
        status = running(IMAGES, paid_attempt=2)
        plan = decide(resource(IMAGES, status), Observation(purchase=made, earlier=(earlier,)), NOW, SETTINGS)
        assert plan.status.cost is not None
        assert plan.status.cost.display == shown


@pytest.mark.parametrize("state", [PurchaseState.FAILED, PurchaseState.CANCELLED])
def test_end_paid_by_another_resource_is_not_billed(state: PurchaseState) -> None:
    """Regression (money 23): a resource that is applied again has the failed request of the previous one."""
    theirs = purchase(IMAGES, state, **(BILLED | {"billable_units": 1})).model_copy(update={"job_id": "gone"})
    assert spent(bought(IMAGES, theirs)) == ("0.00", "not billed", "$0.00", False)


def test_request_lost_by_the_ledger_has_an_unknown_cost() -> None:
    plan = decide(resource(IMAGES, running(IMAGES, purchase_id="p1")), Observation(), NOW, SETTINGS)
    assert reason(plan) == (Phase.SUBMISSION_UNKNOWN, Reason.SUBMISSION_UNKNOWN)
    assert plan.status.cost is not None
    assert (plan.status.cost.actual, plan.status.cost.display) == ("", "unknown")


def test_a_model_without_a_price_costs_an_unknown_amount() -> None:
    plan = decide(resource(IMAGES), Observation(), NOW, DecisionSettings(prices={}))
    assert plan.reservation is not None
    assert plan.reservation.purchase.estimated_micros is None
    assert plan.status.cost is not None
    assert (plan.status.cost.estimated, plan.status.cost.actual, plan.status.cost.display) == ("", "", "unknown")


FAL_PRICE = Price(micros=10_000, unit=Unit.MEGAPIXEL, source="fal's pricing endpoint on 2026-11-22", billing=True)


@pytest.mark.parametrize(
    ("settings", "price", "micros"),
    [
        (DecisionSettings(), None, 35_000),
        (DecisionSettings(), FAL_PRICE, 10_000),
        (
            DecisionSettings(prices={"fal-ai/flux-lora": Price(micros=1, unit=Unit.IMAGE, source="contract")}),
            FAL_PRICE,
            10_000,
        ),
        (
            DecisionSettings(
                prices={"fal-ai/flux-lora": Price(micros=1, unit=Unit.IMAGE, source="contract")},
                own_prices=frozenset({"fal-ai/flux-lora"}),
            ),
            FAL_PRICE,
            1,
        ),
        # Unit that cannot be counted: the table gives the estimate, the provider's price the charge.
        (DecisionSettings(), FAL_PRICE.model_copy(update={"unit": Unit.OTHER}), 35_000),
    ],
)
def test_price_order_is_administrator_provider_built_in(
    settings: DecisionSettings, price: Price | None, micros: int
) -> None:
    plan = decide(resource(IMAGES), Observation(price=PriceLookup(price=price)), NOW, settings)
    assert plan.reservation is not None
    assert plan.reservation.purchase.estimated_micros == micros
    assert plan.reservation.purchase.bound_micros == micros
    assert plan.reservation.purchase.billing is (not settings.own_prices), (
        "the unit of a contract may be another than the bill's"
    )
    assert plan.reservation.purchase.price_source


def test_transcript_is_billed_at_the_rate_of_its_model() -> None:
    asked = purchase(TRANSCRIPT, PurchaseState.SUBMITTED, model="assemblyai/universal", billing=True)
    for used, micros, source in (
        ("universal-2", 170_000, "seconds × rate"),
        ("universal-3-5-pro", 230_000, "seconds × rate"),
        ("universal-9", None, "estimate"),
    ):
        view = RequestView(
            state=RequestState.SUCCEEDED, result=AnswerFile.of({"a": 1}), billable_units=3600, model_used=used
        )
        (move,) = bought(TRANSCRIPT, asked, request=view).moves
        assert (move.changes["actual_micros"], move.changes["cost_source"]) == (micros, source)


# Adoption


STORED = VersionStatus(version=1, job_id=UID, completed_at=NOW, files=(), facts={"type": "lora"})


@pytest.mark.parametrize("kind", Kind)
def test_earlier_purchase_is_adopted(kind: Kind) -> None:
    outputs = STORED.model_copy(update={"job_id": "gone"}).model_dump(mode="json", by_alias=True)
    made = purchase(kind, PurchaseState.COLLECTED, job_id="gone", outputs=outputs, actual_micros=2_000_000)
    plan = decide(resource(kind), Observation(purchase=made, outputs_stored=True), NOW, SETTINGS)
    assert plan.adoption is not None
    assert (plan.adoption.purchase.job_id, plan.adoption.job_id) == ("gone", UID)
    assert reason(plan) == (Phase.COMPLETED, Reason.ADOPTED_FINISHED_RUN)
    assert (plan.payment, plan.job, plan.moves) == (None, None, ())
    assert plan.reservation is None
    assert plan.status.versions[0].job_id == "gone"
    assert plan.status.cost is not None
    assert plan.status.cost.actual == "0.00"


def test_crash_after_the_last_ledger_write_is_no_adoption() -> None:
    outputs = STORED.model_dump(mode="json", by_alias=True)
    made = purchase(LORA, PurchaseState.COLLECTED, outputs=outputs, **BILLED)
    seen = Observation(purchase=made, outputs_stored=True)
    plan = decide(resource(LORA, running(LORA, phase=Phase.COLLECTING)), seen, NOW, SETTINGS)
    assert (reason(plan), plan.adoption) == ((Phase.COMPLETED, Reason.COMPLETED), None)
    assert plan.status.cost is not None
    assert plan.status.cost.actual == "2.00"


# Runs


def done(kind: Kind, phase: Phase = Phase.COMPLETED, **changes: Any) -> ResourceStatus:
    plan = at(kind, Stage.COLLECT, finished(kind, Stage.COLLECT))
    if phase is Phase.FAILED:
        plan = at(kind, Stage.COLLECT, Observation(job=job(finished=True)), attempt=3, late=True)
    return plan.status.model_copy(update=changes)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("phase", [Phase.COMPLETED, Phase.FAILED])
def test_the_end_is_final_and_quiet(kind: Kind, phase: Phase) -> None:
    status = done(kind, phase)
    plan = decide(resource(kind, status), Observation(), NOW + timedelta(days=1), SETTINGS)
    assert plan == Plan(status=status)


def test_a_rename_of_a_lora_trains_nothing() -> None:
    for status in (done(LORA), done(LORA, Phase.FAILED)):
        renamed = resource(LORA, status, spec=SPECS[LORA] | {"loraName": "jesse_2"}, generation=2)
        plan = decide(renamed, Observation(), NOW, SETTINGS)
        assert (plan.status.run, plan.job, plan.payment) == (status.run, None, None)
        assert plan.reservation is None
        assert plan.status.observed_generation == 2
        both = SPECS[LORA] | {"loraName": "jesse_2", "triggerWord": "x"}
        run = decide(resource(LORA, status, spec=both, generation=3), Observation(), NOW, SETTINGS).status.run
        assert run is not None
        assert run.run_hash == run_hash(LORA, parse_spec(LORA, both)), "the hash of a run holds its name, as before"


@pytest.mark.parametrize("kind", Kind)
def test_an_edit_of_what_decides_nothing_starts_nothing(kind: Kind) -> None:
    status = done(kind)
    spec = SPECS[kind] | {"metadata": {"tags": ["a"], "isPublic": True}, "paidAttempts": 3, "userId": "me"}
    plan = decide(resource(kind, status, spec=spec, generation=2), Observation(), NOW, SETTINGS)
    assert (plan.payment, plan.job, plan.notices) == (None, None, ())
    assert plan.reservation is None
    assert plan.status.observed_generation == 2
    assert {condition.observed_generation for condition in plan.status.conditions} == {2}
    assert plan.status.phase is Phase.COMPLETED
    again = decide(resource(kind, plan.status, spec=spec, generation=2), Observation(), NOW, SETTINGS)
    assert again == Plan(status=plan.status)


@pytest.mark.parametrize("kind", Kind)
def test_an_edit_of_inputs_is_the_next_run_and_a_rerun_too(kind: Kind) -> None:
    edited = resource(kind, done(kind), spec=ANOTHER[kind], generation=2)
    rerun = resource(kind, done(kind), annotations={"contentgen.dev/rerun": "x"})
    for subject in (edited, rerun):
        plan = decide(subject, Observation(), NOW, SETTINGS)
        assert plan.status.run is not None
        assert (plan.status.run.number, plan.status.run.version) == (2, 2)
        assert plan.status.progress <= 10
        assert plan.status.completion_time is None
        assert [v.version for v in plan.status.versions] == [1]
        assert conditions(plan)["Ready"] == "False"
        assert plan.job is not None or buys(plan)
    failed = resource(kind, done(kind, Phase.FAILED, versions=()), annotations={"contentgen.dev/rerun": "x"})
    run = decide(failed, Observation(), NOW, SETTINGS).status.run
    assert run is not None
    assert (run.number, run.version) == (2, 2), "each run has a version number of its own"


@pytest.mark.parametrize("kind", Kind)
def test_a_run_is_frozen(kind: Kind) -> None:
    status = running(kind, Stage.PREPARE if kind is not IMAGES else None, prepared=False)
    subject = resource(
        kind,
        status,
        spec=SPECS[kind] | {"metadata": {"description": "new"}, "paidAttempts": 3},
        generation=5,
        annotations={"contentgen.dev/rerun": "x"},
    )
    plan = decide(subject, Observation(job=job()), NOW, SETTINGS)
    assert plan.status.run is not None
    assert plan.status.run.spec == SPECS[kind]
    assert (plan.status.run.number, plan.status.run.rerun, plan.status.observed_generation) == (1, None, 5)


def test_progress_never_goes_back_in_a_run() -> None:
    status = running(LORA, Stage.PREPARE, prepared=False, progress=48)
    report = Progress(step=Step.DOWNLOADING, fraction=0.1)
    plan = decide(resource(LORA, status), Observation(job=job(), progress=report), NOW, SETTINGS)
    assert plan.status.progress == 48


def test_a_resource_that_is_deleted_is_left_alone() -> None:
    for kind in Kind:
        status = running(kind)
        assert decide(resource(kind, status, deleting=True), Observation(), NOW, SETTINGS) == Plan(status=status)


# Conditions, events, messages


def test_the_time_of_a_condition_moves_with_its_status_alone() -> None:
    first = decide(resource(LORA), Observation(), NOW, SETTINGS).status
    later = NOW + timedelta(minutes=5)
    second = decide(
        resource(LORA, first), Observation(job=job(finished=True, message="evicted")), later, SETTINGS
    ).status
    assert {condition.last_transition_time for condition in second.conditions} == {NOW}
    failed = decide(
        resource(LORA, second), Observation(job=job(finished=True, reason="DeadlineExceeded")), later, SETTINGS
    ).status
    moved = {condition.type for condition in failed.conditions if condition.last_transition_time == later}
    assert moved == {"Reconciling", "Stalled", "Failed"}


def test_events_are_posted_at_transitions_only() -> None:
    subject = resource(IMAGES)
    waiting = Observation(facts=(AccountGrant(has_key=False),))
    first = decide(subject, waiting, NOW, SETTINGS)
    assert [(n.type, n.reason) for n in first.notices] == [("Normal", Reason.PROVIDER_NOT_CONFIGURED)]
    again = decide(resource(IMAGES, first.status), waiting, NOW, SETTINGS)
    assert again.notices == ()
    assert again.status == first.status
    refused = Observation(purchase=purchase(IMAGES, PurchaseState.REFUSED, permanent=True, error="no"))
    end = decide(resource(IMAGES, first.status), refused, NOW, SETTINGS)
    assert [(n.type, n.reason) for n in end.notices] == [("Warning", Reason.PROVIDER_REFUSED)]


@pytest.mark.parametrize("kind", Kind)
def test_deciding_twice_about_the_same_changes_nothing(kind: Kind) -> None:
    first = bought(
        kind,
        purchase(kind, PurchaseState.SUBMITTED),
        request=RequestView(state=RequestState.RUNNING, message="m"),
    ).status
    seen = Observation(
        purchase=purchase(kind, PurchaseState.SUBMITTED), request=RequestView(state=RequestState.RUNNING, message="m")
    )
    second = decide(resource(kind, first), seen, NOW, SETTINGS)
    assert second.status == first
    assert second.notices == ()


def test_no_signature_is_shown() -> None:
    told = "cannot load https://s3/b/k.zip?X-Amz-Signature=secret&x=1 and http://h/p?token=secret, sorry"
    for made in (
        purchase(IMAGES, PurchaseState.REFUSED, permanent=True, error=told),
        purchase(IMAGES, PurchaseState.FAILED, error=told),
    ):
        plan = bought(IMAGES, made)
        shown = str(dump_status(plan.status)) + str(plan.notices)
        assert "https://s3/b/k.zip" in shown
        assert "secret" not in shown
    verdict = outcome(TRANSCRIPT, Stage.PREPARE, reason="SourceUnreachable", message=told, files=[], facts=None)
    assert "secret" not in str(at(TRANSCRIPT, Stage.PREPARE, finished(TRANSCRIPT, Stage.PREPARE, verdict)))


@pytest.mark.parametrize(("kind", "price"), [(LORA, "2.00"), (TRANSCRIPT, None)])
def test_run_failed_before_payment_names_the_next_price(kind: Kind, price: str | None) -> None:
    """The page and the plugin ask for it before another run; that of a recording of unknown length is unknown."""
    verdict = outcome(kind, Stage.PREPARE, reason="SourceUnreachable", message="404", files=[], facts=None)
    ended = at(kind, Stage.PREPARE, finished(kind, Stage.PREPARE, verdict)).status
    assert (ended.phase, ended.reason) == (Phase.FAILED, "SourceUnreachable")
    cost = ended.cost and (ended.cost.estimated, ended.cost.actual, ended.cost.actual_source, ended.cost.display)
    assert cost == (price and (price, "0.00", "not billed", "$0.00"))


def test_a_long_message_is_cut() -> None:
    plan = bought(IMAGES, purchase(IMAGES, PurchaseState.REFUSED, permanent=True, error="x" * 5000))
    assert len(plan.status.message or "") == 1024
    assert {len(condition.message) for condition in plan.status.conditions} == {1024}


# Invalid specs, outcomes and annotations


@pytest.mark.parametrize(("kind", "stage"), STAGES)
def test_an_invalid_spec_of_a_worker_ends_the_run(kind: Kind, stage: Stage) -> None:
    verdict = outcome(kind, stage, reason="InvalidSpec", message="no Vision here", files=[], facts=None)
    ended = at(kind, stage, finished(kind, stage, verdict)).status
    assert (ended.phase, ended.reason) == (Phase.FAILED, Reason.INVALID_SPEC)
    assert is_skipped(ended)
    for generation, spec in ((1, SPECS[kind]), (2, SPECS[kind] | {"metadata": {"tags": ["a"]}})):
        plan = decide(resource(kind, ended, generation=generation, spec=spec), Observation(), NOW, SETTINGS)
        assert (plan.status.run, plan.job, plan.payment) == (ended.run, None, None)
        assert plan.reservation is None
    for edit in ({"generation": 2, "spec": ANOTHER[kind]}, {"annotations": {"contentgen.dev/rerun": "1"}}):
        run = decide(resource(kind, ended, **edit), Observation(), NOW, SETTINGS).status.run
        assert run is not None
        assert run.number == 2


@pytest.mark.parametrize("said", ["LoraFailed", "Suspended", "Cancelled", "SubmissionUnknown", "JobFailed"])
def test_a_worker_may_give_verdicts_only(said: str) -> None:
    verdict = outcome(TRANSCRIPT, Stage.PREPARE, reason=said, files=[], facts=None)
    plan = at(TRANSCRIPT, Stage.PREPARE, finished(TRANSCRIPT, Stage.PREPARE, verdict))
    assert reason(plan) == (Phase.FAILED, Reason.OUTCOME_INVALID)


def test_a_training_set_below_the_least_size_is_not_paid() -> None:
    found = finished(Kind.LORA_TRAINING, Stage.PREPARE)
    assert found.outcome is not None
    assert isinstance(found.outcome.facts, DatasetFacts)
    facts = found.outcome.facts.model_copy(update={"images": 1})
    plan = at(
        Kind.LORA_TRAINING,
        Stage.PREPARE,
        found.model_copy(update={"outcome": found.outcome.model_copy(update={"facts": facts})}),
    )
    assert (plan.payment, plan.status.reason) == (None, "OutcomeInvalid")
    assert plan.reservation is None
    assert "at least" in (plan.status.message or "")


@pytest.mark.parametrize("kind", Kind)
def test_an_outcome_that_lists_a_file_twice_is_invalid(kind: Kind) -> None:
    """A version keeps 64 files: duplicates before the real one would push it out."""
    found = finished(kind, Stage.COLLECT)
    assert found.outcome is not None
    files = (*found.outcome.files[:1] * 64, *found.outcome.files)
    plan = at(
        kind,
        Stage.COLLECT,
        found.model_copy(update={"outcome": found.outcome.model_copy(update={"files": files})}),
        late=True,
    )
    assert (plan.moves, plan.status.reason) == ((), "OutcomeInvalid")


@pytest.mark.parametrize("kind", Kind)
def test_a_rerun_annotation_that_is_taken_off_starts_nothing(kind: Kind) -> None:
    """Users without the permission to spend may remove it."""
    status = done(kind)
    assert status.run is not None
    run = status.run.model_copy(update={"rerun": "a"})
    given = resource(kind, status.model_copy(update={"run": run}))
    assert not wants_new_run(given, run)
    assert wants_new_run(given.model_copy(update={"rerun": "b"}), run)


def test_a_rerun_annotation_that_is_too_long_is_named() -> None:
    long = {"contentgen.dev/rerun": "x" * 257}
    plan = decide(resource(IMAGES, annotations=long), Observation(), NOW, SETTINGS)
    assert reason(plan) == (Phase.FAILED, Reason.INVALID_SPEC)
    assert (plan.status.message or "").startswith("metadata.annotations[contentgen.dev/rerun]: ")


# Status written by another client


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("phase", [Phase.COMPLETED, Phase.FAILED])
def test_an_end_that_somebody_else_wrote_is_mended(kind: Kind, phase: Phase) -> None:
    under_way = at(kind, Stage.COLLECT, Observation(job=job())).status
    foreign = under_way.model_copy(update={"phase": phase, "completion_time": NOW, "reason": "Whatever"})
    assert not is_skipped(foreign)
    paid = purchase(kind, PurchaseState.SUCCEEDED)
    plan = decide(resource(kind, foreign), Observation(purchase=paid, job=job()), NOW, SETTINGS)
    assert (reason(plan), plan.payment) == ((Phase.COLLECTING, Reason.COLLECTING), None)
    assert plan.reservation is None
    assert plan.status.run is not None
    assert plan.status.run.number == 1
    alone = ResourceStatus(phase=phase, observed_generation=1, completion_time=NOW)
    assert not is_skipped(alone)
    assert decide(resource(kind, alone), Observation(purchase=paid, job=job()), NOW, SETTINGS).status.run is not None


def test_an_invalid_spec_is_said_once_and_mended() -> None:
    wrong = {"prompt": "jf", "model": "flux-dev", "loras": [{"path": "https://h/l.safetensors"}]}
    plan = decide(resource(IMAGES, spec=wrong), Observation(), NOW, SETTINGS)
    assert reason(plan) == (Phase.FAILED, Reason.INVALID_SPEC)
    assert (len(plan.notices), plan.payment) == (1, None)
    assert plan.reservation is None
    assert conditions(plan)["Stalled"] == "True"
    again = decide(resource(IMAGES, plan.status, spec=wrong), Observation(), NOW, SETTINGS)
    assert again == Plan(status=plan.status)
    mended = decide(resource(IMAGES, plan.status, generation=2), Observation(), NOW, SETTINGS)
    assert buys(mended)


def test_a_finished_run_survives_an_invalid_edit() -> None:
    status = done(IMAGES)
    wrong = decide(resource(IMAGES, status, spec={"prompt": ""}, generation=2), Observation(), NOW, SETTINGS).status
    assert (wrong.phase, wrong.reason, wrong.versions) == (Phase.FAILED, Reason.INVALID_SPEC, status.versions)
    outputs = status.versions[0].model_dump(mode="json", by_alias=True)
    seen = Observation(
        purchase=purchase(IMAGES, PurchaseState.COLLECTED, outputs=outputs, actual_micros=1), outputs_stored=True
    )
    back = decide(resource(IMAGES, wrong, generation=3), seen, NOW, SETTINGS)
    assert (back.status.phase, back.payment) == (Phase.COMPLETED, None)
    assert back.reservation is None
    # A run in progress is not affected.
    frozen = decide(
        resource(LORA, running(LORA, Stage.PREPARE, prepared=False), spec={}, generation=2),
        Observation(job=job()),
        NOW,
        SETTINGS,
    )
    assert frozen.status.phase is Phase.PREPARING


def test_a_store_that_is_away_is_said_and_nothing_else_changes() -> None:
    for kind in Kind:
        status = running(kind)
        away = store_unavailable_status(resource(kind, status), "pymongo: no", NOW)
        assert (away.phase, away.reason, away.run) == (status.phase, Reason.STORE_UNAVAILABLE, status.run)
        assert status.run is not None
        waits = status.model_copy(update={"run": status.run.model_copy(update={"resubmit_token": "0a1b2c3d"})})
        away = store_unavailable_status(resource(kind, waits), "pymongo: no", NOW)
        assert away.run == status.run, "nobody can tell now whether the purchase still waits"
        fresh = store_unavailable_status(resource(kind), "pymongo: no", NOW)
        seen = {condition.type: condition.status for condition in fresh.conditions}
        assert (fresh.phase, seen["Ready"], seen["Reconciling"]) == (Phase.PENDING, "False", "True")
        ended = done(kind)
        assert store_unavailable_status(resource(kind, ended), "pymongo: no", NOW) == ended


@pytest.mark.parametrize("kind", Kind)
def test_a_status_survives_the_api_server(kind: Kind) -> None:
    for status in (decide(resource(kind), Observation(), NOW, SETTINGS).status, done(kind)):
        assert ResourceStatus.model_validate(dump_status(status)) == status


def test_a_refused_key_is_waited_for() -> None:
    refused = purchase(IMAGES, PurchaseState.REFUSED, changed_at=NOW, key_refused=True, error="401: put a valid key")
    plan = bought(IMAGES, refused)
    assert reason(plan) == (Phase.SUBMITTING, Reason.PROVIDER_NOT_CONFIGURED)
    assert not buys(plan)
    assert plan.again_seconds
    later = bought(IMAGES, refused.model_copy(update={"changed_at": NOW - timedelta(minutes=2)}))
    assert buys(later)


@pytest.mark.parametrize(
    "path",
    [
        "http://169.254.169.254/x",
        "http://127.1/x",
        "http://2130706433/",
        "http://[::ffff:10.0.0.1]/",
        "http://worker-api/",
    ],
)
def test_unfetchable_lora_is_refused_before_the_payment(path: str) -> None:
    spec = {"prompt": "a cat", "loras": [{"path": "https://example.com/a"}, {"path": path + "?X-Amz-Signature=1"}]}
    plan = decide(resource(IMAGES, spec=spec), Observation(), NOW, SETTINGS)
    assert reason(plan) == (Phase.FAILED, Reason.SOURCE_NOT_ALLOWED)
    assert not buys(plan)
    assert f"spec.loras[1].path: {path}: " in (plan.status.message or "")
    assert "Signature" not in (plan.status.message or "")
    host = path.split("/")[2]
    allowed = DecisionSettings(allowed_hosts=(f"{host}:80",))
    assert buys(decide(resource(IMAGES, spec=spec), Observation(), NOW, allowed))


@pytest.mark.parametrize("path", ["https://huggingface.co/me/lora", "https://h.example/a.ckpt"])
def test_page_or_pickle_as_a_lora_is_refused_before_the_payment(path: str) -> None:
    spec = {"prompt": "a cat", "loras": [{"path": path + "?token=secret"}]}
    plan = decide(resource(IMAGES, spec=spec), Observation(), NOW, SETTINGS)
    assert reason(plan) == (Phase.FAILED, Reason.INVALID_SPEC)
    assert not buys(plan)
    assert (plan.status.message or "").startswith(f"spec.loras[0].path: {path}: a p")
    assert "secret" not in (plan.status.message or "")


@pytest.mark.parametrize("kind", list(Kind))
def test_a_result_that_cannot_be_had_says_that_it_was_paid(kind: Kind) -> None:
    lost = outcome(
        kind, Stage.COLLECT, reason="ResultUnreachable", message="HTTP 404", files=[], facts=None, passing=False
    )
    status = running(kind, Stage.COLLECT, phase=Phase.COLLECTING)
    seen = finished(kind, Stage.COLLECT, lost, purchase=purchase(kind, PurchaseState.SUCCEEDED))
    plan = decide(resource(kind, status), seen, NOW, SETTINGS)
    assert reason(plan) == (Phase.FAILED, Reason.RESULT_UNREACHABLE)
    for part in ("HTTP 404", "r1", "was paid", "contentgen.dev/collect=1 ", "contentgen.dev/rerun"):
        assert part in (plan.status.message or "")
    again = decide(
        resource(kind, uid="later"), Observation(purchase=purchase(kind, PurchaseState.SUCCEEDED)), NOW, SETTINGS
    )
    assert not buys(again)
    assert again.job is not None
    assert again.job.stage is Stage.COLLECT


def _failed_outcomes(kind: Kind, stage: Stage) -> list[tuple[str, Observation, int]]:
    """Failures with which a stage can end a run: name, observation, attempt."""
    told = finished(kind, stage)
    dead = {"finished": True, "reason": "BackoffLimitExceeded", "message": "evicted"}
    return [
        ("unreadable", Observation(outcome_problem="not JSON"), 1),
        ("died in every attempt", Observation(job=job(**dead)), 3),
        ("too slow", Observation(job=job(finished=True, reason="DeadlineExceeded", message="too slow")), 1),
        ("a foreign reason", finished(kind, stage, outcome(kind, stage, reason="Cancelled", files=[], facts=None)), 1),
        ("files missing", told.model_copy(update={"stored": {}}), 1),
        ("no facts", finished(kind, stage, outcome(kind, stage, facts=None)), 1),
    ]


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
@pytest.mark.parametrize(("kind", "stage"), STAGES)
def test_failures_after_a_payment_tell_how_to_collect(kind: Kind, stage: Stage, policy: str) -> None:
    for name, seen, attempt in _failed_outcomes(kind, stage):
        collecting = stage is Stage.COLLECT
        phase = {"phase": Phase.COLLECTING} if collecting else {}
        status = running(kind, stage, prepared=collecting, stage_attempt=attempt, **phase)
        long_ago = {"finished_at": NOW - timedelta(minutes=2)}
        paid = purchase(kind, PurchaseState.SUCCEEDED, **long_ago) if collecting else None
        spec = SPECS[kind] | {"deletionPolicy": policy, "collectDeadlineSeconds": 60}
        plan = decide(resource(kind, status, spec=spec), seen.model_copy(update={"purchase": paid}), NOW, SETTINGS)
        assert plan.status.phase is Phase.FAILED, name
        message = plan.status.message or ""
        said = "the annotation contentgen.dev/collect=1 fetches the result once more, which pays nothing"
        assert (said in message) is collecting, name


def test_a_source_that_fails_says_nothing_of_payment() -> None:
    bad = outcome(TRANSCRIPT, Stage.PREPARE, reason="NoAudio", message="no sound", files=[], facts=None)
    status = running(TRANSCRIPT, Stage.PREPARE, prepared=False)
    plan = decide(resource(TRANSCRIPT, status), finished(TRANSCRIPT, Stage.PREPARE, bad), NOW, SETTINGS)
    assert (plan.status.reason, plan.status.message) == (Reason.NO_AUDIO, "no sound")
