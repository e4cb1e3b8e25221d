"""One worker run: fetch the work order, run its stage, store the outcome."""

import importlib
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from time import monotonic

from contentgen_contract.names import Kind, Reason, Stage, Step
from contentgen_contract.records.presigned_urls import strip_signatures_from_text
from contentgen_contract.worker.orders import Outcome, WorkOrder
from contentgen_worker import log
from contentgen_worker.download.address_guard import AddressGuard
from contentgen_worker.download.fetch import Fetcher
from contentgen_worker.errors import MESSAGE_LIMIT, Retryable, StageFailed
from contentgen_worker.network import WorkerNetwork
from contentgen_worker.progress import Reporter, Steps
from contentgen_worker.retry import REFUSAL_SECONDS, SOURCE, STORE, WORKER_API
from contentgen_worker.settings import Settings
from contentgen_worker.stage_context import StageContext, StageResult
from contentgen_worker.upload import Uploader
from contentgen_worker.worker_api import WorkerApiClient

# Imported on demand: loading OpenCV and the decoders takes longer than a small stage runs.
_STAGES = {
    (Kind.LORA_TRAINING, Stage.PREPARE): "prepare.lora",
    (Kind.TRANSCRIPTION, Stage.PREPARE): "prepare.transcription",
    (Kind.LORA_TRAINING, Stage.COLLECT): "collect.lora",
    (Kind.IMAGE_GENERATION, Stage.COLLECT): "collect.images",
    (Kind.TRANSCRIPTION, Stage.COLLECT): "collect.transcription",
}
_FIRST_STEPS = {Stage.PREPARE: Step.DOWNLOADING, Stage.COLLECT: Step.STORING}
_STORE_REQUEST = "a request to the object store"
_REPORT_TIMEOUT = 5.0


def run(stage: Stage, settings: Settings, clock: Callable[[], float] = monotonic) -> Outcome:
    """Run the stage and return the stored outcome. Raises Retryable if none was stored.

    `clock`: monotonic seconds, for deadlines and expiry.
    """
    with ExitStack() as stack:
        worker_api = stack.enter_context(_worker_api(settings, 30, clock))
        order = _fetch_order(worker_api, stage)
        log.bind(jobId=order.job_id, kind=order.kind, stage=order.stage)
        log.event("order", version=order.version, attempt=order.attempt)
        progress_api = stack.enter_context(_worker_api(settings, _REPORT_TIMEOUT, clock))
        reporter = stack.enter_context(Reporter(progress_api.report, first=_FIRST_STEPS[stage]))
        store = STORE.scaled(settings.patience_scale).telling(partial(reporter.tell, _STORE_REQUEST))
        network = WorkerNetwork.of_order(order)
        uploader = stack.enter_context(Uploader(worker_api.request_grants, store, clock, network))
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="contentgen-", dir=settings.scratch))
        steps = Steps(reporter.report)
        fetcher = _fetcher(order, settings, reporter, network)
        context = StageContext(order, Path(scratch), fetcher, uploader, steps, settings.vision_model)
        outcome = _run_stage(context, _stage_function(stage, order.kind))
        log.event("outcome", **_log_fields(outcome))
        outcome = outcome.model_copy(
            update={
                "log": strip_signatures_from_text(log.tail()),
                "message": strip_signatures_from_text(outcome.message),
            }
        )
        uploader.put_outcome(order.outcome_url, outcome, lambda: worker_api.fetch_order().outcome_url)
        progress_api.notify_outcome()
    return outcome


def _worker_api(settings: Settings, timeout: float, clock: Callable[[], float]) -> WorkerApiClient:
    return WorkerApiClient(
        settings.worker_api_url,
        settings.worker_api_ca,
        settings.token_file,
        retry_policy=WORKER_API.scaled(settings.patience_scale),
        refusal_seconds=REFUSAL_SECONDS * settings.patience_scale,
        timeout=timeout,
        ends_at=clock() + settings.deadline_seconds,
        clock=clock,
    )


def _fetch_order(worker_api: WorkerApiClient, stage: Stage) -> WorkOrder:
    order = worker_api.fetch_order()
    if order.stage is not stage:
        raise Retryable(f"the work order is for stage {order.stage}, this pod was started for {stage}")
    return order


def _fetcher(order: WorkOrder, settings: Settings, reporter: Reporter, network: WorkerNetwork) -> Fetcher:
    source = SOURCE.scaled(settings.patience_scale).telling(partial(reporter.tell, "a download"))
    store = STORE.scaled(settings.patience_scale).telling(partial(reporter.tell, _STORE_REQUEST))
    guard = AddressGuard(order.allowed_hosts, resolved_by_proxy=network.resolved_by_proxy)
    return Fetcher(guard, source=source, store=store, network=network)


def _stage_function(stage: Stage, kind: Kind) -> Callable[[StageContext], StageResult]:
    name = _STAGES.get((kind, stage))
    if name is None:
        raise Retryable(f"{kind} has no stage {stage}; operator and worker may differ in version")
    module = importlib.import_module(f"contentgen_worker.{name}")
    function: Callable[[StageContext], StageResult] = getattr(module, stage.value)
    return function


def _log_fields(outcome: Outcome) -> dict[str, object]:
    message = {"message": outcome.message} if outcome.message else {}
    size = sum(file.size_bytes for file in outcome.files)
    return {"reason": outcome.reason, **message, "files": len(outcome.files), "bytes": size}


def _run_stage(context: StageContext, stage_function: Callable[[StageContext], StageResult]) -> Outcome:
    order = context.order
    common = {"job_id": order.job_id, "stage": order.stage, "attempt": order.attempt, "seconds": context.steps.seconds}
    try:
        result = stage_function(context)
    except StageFailed as error:
        return Outcome.model_validate({**common, **_failure(error)})
    stored = {"files": result.files, "facts": result.facts}
    if result.unfinished:
        return Outcome.model_validate({**common, **stored, **_failure(result.unfinished)})
    return Outcome.model_validate({**common, **stored, "reason": Reason.COMPLETED})


def _failure(error: StageFailed) -> dict[str, object]:
    return {"reason": error.reason, "message": str(error)[:MESSAGE_LIMIT], "passing": error.transient}
