"""Collect stage after a payment: retried until its deadline and by annotation, and never paid again."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from contentgen_contract.names import STAGE_LABEL, Kind, Phase, Reason, Stage
from contentgen_contract.records import keys
from contentgen_contract.resources.spec import parse_spec, run_hash
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator.state.observed import BucketFile, JobView, is_finished
from contentgen_operator.state.provider_requests import UNKNOWN, RequestView
from contentgen_operator.watch.event_handlers import owner_of
from contentgen_simulation.world import SHA, SPECS, World, Writes, outcome_of

pytestmark = pytest.mark.usefixtures("no_waiting")

LORA, IMAGES, TRANSCRIPT = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION, Kind.TRANSCRIPTION
COLLECT = "contentgen.dev/collect"
DAY = 86400
FILES = {"files": (), "facts": None}


# Failures of an attempt, caused by the worker, the Job controller or the bucket.


def _end(world: World, job: dict[str, Any], kind: str, reason: str = "") -> None:
    job["status"] = {"conditions": [{"type": kind, "status": "True", "reason": reason, "message": reason}]}
    owner = owner_of(job)
    for cache in world.caches:
        if owner is not None and owner in cache:
            cache.note_job(owner, JobView.parse(job))


def _left(world: World, kind: Kind, text: str) -> None:
    status = world.status(kind)
    assert status.run is not None
    key = keys.outcome(status.job_id or "", status.run.number, Stage.COLLECT, status.run.stage_attempt)
    world.storage.objects[key] = text


def _verdict(**said: Any) -> Callable[[World, Kind, dict[str, Any]], None]:
    def fail(world: World, kind: Kind, job: dict[str, Any]) -> None:
        body = outcome_of(kind, Stage.COLLECT, world.status(kind).job_id or "").model_dump(mode="json", by_alias=True)
        changed = type(outcome_of(kind, Stage.COLLECT, "x")).model_validate(body | {"files": [], "facts": None} | said)
        _left(world, kind, changed.model_dump_json(by_alias=True))
        _end(world, job, "Complete")

    return fail


def _died(world: World, kind: Kind, job: dict[str, Any]) -> None:
    _end(world, job, "Failed", "BackoffLimitExceeded")


def _too_slow(world: World, kind: Kind, job: dict[str, Any]) -> None:
    _end(world, job, "Failed", "DeadlineExceeded")


def _deleted(world: World, kind: Kind, job: dict[str, Any]) -> None:
    name = job["metadata"]["name"]
    del world.kube.jobs[name]
    for cache in world.caches:
        cache._jobs.clear()


def _without_files(world: World, kind: Kind, job: dict[str, Any]) -> None:
    uid = world.status(kind).job_id or ""
    _left(world, kind, outcome_of(kind, Stage.COLLECT, uid).model_dump_json(by_alias=True))
    _end(world, job, "Complete")


def _with_other_files(world: World, kind: Kind, job: dict[str, Any]) -> None:
    _without_files(world, kind, job)
    status = world.status(kind)
    assert status.run is not None
    prefix = keys.prefix(kind, Stage.COLLECT, "ns", status.job_id or "", status.run.version)
    for file in outcome_of(kind, Stage.COLLECT, "x").files:
        world.storage.objects[prefix + file.name] = BucketFile(size_bytes=7, sha256="1" * 64)


Fail = Callable[[World, Kind, dict[str, Any]], None]
UNREACHABLE = {"reason": "ResultUnreachable", "message": "HTTP 503"}
TRANSIENT: dict[str, Fail] = {
    "its pod was evicted": _died,
    "its Job ran out of time": _too_slow,
    "its Job was deleted": _deleted,
    "the file answers 503": _verdict(**UNREACHABLE, passing=True),
    "an older worker says that the file cannot be reached": _verdict(**UNREACHABLE),
    "the files are not in the bucket": _without_files,
    "the files in the bucket have other bytes": _with_other_files,
}
PERMANENT: dict[str, Fail] = {
    "the result is no picture": _verdict(reason="ResultInvalid", message="no picture"),
    "the file answers 404": _verdict(reason="ResultUnreachable", message="HTTP 404", passing=False),
    "the worker image cannot serve the spec": _verdict(reason="InvalidSpec", message="unknown field"),
}
INVALID = _verdict(reason="Cancelled", message="a foreign reason")


def collect_fails(world: World, fail: Fail, times: int = 1_000_000) -> list[str]:
    """Let the next attempts of the collect stage fail. Returns the names of their Jobs."""
    work, failed = world.work, list[str]()

    def worked() -> None:
        for job in list(world.kube.jobs.values()):
            if "status" in job or job["metadata"]["labels"][STAGE_LABEL] != Stage.COLLECT or len(failed) >= times:
                continue
            owner = owner_of(job)
            assert owner is not None
            run = world.status(owner.kind).run
            if run is None or run.job is None or run.job.uid != job["metadata"]["uid"]:
                continue
            failed.append(job["metadata"]["name"])
            fail(world, owner.kind, job)
        work()

    world.work = worked  # type: ignore[method-assign]
    return failed


def annotate(world: World, kind: Kind, value: str) -> None:
    meta = world.kube.resources[kind, "it"]["metadata"]
    meta["annotations"] = (meta.get("annotations") or {}) | {COLLECT: value}
    meta["resourceVersion"] = str(next(world.kube.server.revisions))


def is_done(world: World, kind: Kind) -> bool:
    return is_finished(world.kube.resources[kind, "it"])


def advised(status: ResourceStatus) -> str:
    found = re.search(rf"{re.escape(COLLECT)}=(\S+)", status.message or "")
    assert found, status.message
    return found[1]


def assert_complete(world: World, status: ResourceStatus) -> None:
    assert status.phase is Phase.COMPLETED, status.message
    files = status.versions[-1].files
    assert files
    assert [file.key for file in files if file.key not in world.storage.objects] == []
    assert len(world.provider.posts) == 1


def finished_at(world: World) -> Any:
    (only,) = world.database["ledger"].find()
    return only["finishedAt"]


# Transient failures


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("fail", TRANSIENT.values(), ids=TRANSIENT.keys())
async def test_a_paid_result_is_collected_after_many_failures(world: World, kind: Kind, fail: Fail) -> None:
    failed = collect_fails(world, fail, 7)
    world.kube.apply(kind, SPECS[kind])
    assert_complete(world, await world.finish(kind))
    assert len(set(failed)) == 7


@pytest.mark.parametrize("fail", [_died, TRANSIENT["the file answers 503"]], ids=["evicted", "503"])
async def test_collecting_fails_for_a_day_and_then_for_good(world: World, fail: Fail) -> None:
    failed = collect_fails(world, fail)
    world.kube.apply(IMAGES, SPECS[IMAGES])
    status = await world.finish(IMAGES)
    assert status.phase is Phase.FAILED
    late = (world.now - finished_at(world)).total_seconds() - DAY
    assert 0 <= late < 60
    assert 90 < len(failed) < 130
    assert "collectDeadlineSeconds" in (status.message or "")
    assert len(world.kube.events) < 25


async def test_pauses_grow_to_fifteen_minutes_and_are_in_the_status(world: World) -> None:
    collect_fails(world, _died)
    world.kube.apply(IMAGES, SPECS[IMAGES])
    pauses = list[float]()
    messages = list[str]()
    while len(pauses) < 10:
        await world.reconcile(IMAGES)
        status = world.status(IMAGES)
        if status.reason == "Retrying" and status.message not in messages:
            assert status.phase is Phase.COLLECTING
            assert status.run is not None
            assert status.run.retry_at is not None
            before = next(
                each_status for each_status in reversed(world.kube.statuses[:-1]) if each_status.reason != "Retrying"
            )
            assert before.phase is Phase.COLLECTING
            messages.append(status.message or "")
            pauses.append(float(re.search(r"follows in (\d+) s", messages[-1])[1]))  # type: ignore[index]
    assert pauses == [10, 20, 40, 80, 160, 320, 640, 900, 900, 900]
    for part in ("attempt 10 of the collect stage failed", "attempt 11 follows", "request-1 of fal was paid", "kept"):
        assert part in messages[-1]


async def test_the_deadline_of_a_run_that_has_begun_can_be_changed(world: World) -> None:
    collect_fails(world, _died)
    world.kube.apply(IMAGES, SPECS[IMAGES])
    for _ in range(40):
        await world.reconcile(IMAGES)
    assert world.status(IMAGES).phase is Phase.COLLECTING
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"collectDeadlineSeconds": 60})
    before = world.now
    assert (await world.finish(IMAGES)).phase is Phase.FAILED
    assert (world.now - before).total_seconds() < 60


@pytest.mark.parametrize("kind", Kind)
def test_the_deadline_does_not_decide_the_result(kind: Kind) -> None:
    plain, other = parse_spec(kind, SPECS[kind]), parse_spec(kind, SPECS[kind] | {"collectDeadlineSeconds": 60})
    assert run_hash(kind, plain) == run_hash(kind, other)


async def test_a_refused_job_waits_until_the_deadline(world: World) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await world.finish(IMAGES, Phase.PROCESSING)
    world.kube.refuses_jobs = (403, "exceeded quota: small")
    for _ in range(20):
        await world.reconcile(IMAGES)
    assert world.status(IMAGES).reason == "JobRefused"
    world.now += timedelta(days=1)
    status = await world.finish(IMAGES)
    assert (status.phase, status.reason) == (Phase.FAILED, "DeadlineExceeded")
    assert "exceeded quota: small" in (status.message or "")
    world.kube.refuses_jobs = None
    annotate(world, IMAGES, advised(status))
    await world.reconcile(IMAGES)
    assert_complete(world, await world.finish(IMAGES))


async def test_prepare_is_tried_as_often_as_before(world: World) -> None:
    work = world.work

    def worked() -> None:
        for job in world.kube.jobs.values():
            if "status" not in job:
                _died(world, TRANSCRIPT, job)
        work()

    world.work = worked  # type: ignore[method-assign]
    world.kube.apply(TRANSCRIPT, SPECS[TRANSCRIPT])
    status = await world.finish(TRANSCRIPT)
    assert (status.phase, status.reason) == (Phase.FAILED, "JobFailed")
    assert "failed 3 times" in (status.message or "")
    assert COLLECT not in (status.message or "")


async def test_late_worker_of_an_earlier_attempt_is_ignored(world: World) -> None:
    """The first worker's node was lost; its outcome is stored while the next attempt runs."""
    attempts = list[str]()

    def fail(world: World, kind: Kind, job: dict[str, Any]) -> None:
        attempts.append(job["metadata"]["name"])
        if len(attempts) == 1:
            return _died(world, kind, job)
        first = outcome_of(kind, Stage.COLLECT, "x").model_copy(
            update={"reason": Reason.RESULT_INVALID, "message": "late", "files": (), "facts": None}
        )
        uid = world.status(kind).job_id or ""
        world.storage.objects[keys.outcome(uid, 1, Stage.COLLECT, 1)] = first.model_dump_json(by_alias=True)
        return None

    collect_fails(world, fail, 2)
    world.kube.apply(IMAGES, SPECS[IMAGES])
    assert_complete(world, await world.finish(IMAGES))
    assert len(set(attempts)) == 2


# Permanent failures


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("fail", PERMANENT.values(), ids=PERMANENT.keys())
async def test_a_verdict_that_cannot_change_ends_the_run_at_once(world: World, kind: Kind, fail: Fail) -> None:
    failed = collect_fails(world, fail)
    world.kube.apply(kind, SPECS[kind])
    status = await world.finish(kind)
    assert status.phase is Phase.FAILED
    assert len(failed) == 1


async def test_an_unreadable_outcome_is_retried_once(world: World) -> None:
    failed = collect_fails(world, INVALID)
    world.kube.apply(IMAGES, SPECS[IMAGES])
    status = await world.finish(IMAGES)
    assert (status.phase, status.reason) == (Phase.FAILED, "OutcomeInvalid")
    assert len(failed) == 2


# Collect annotation


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(
    "fail",
    [*TRANSIENT.values(), *PERMANENT.values(), INVALID],
    ids=[*TRANSIENT, *PERMANENT, "its outcome cannot be read"],
)
async def test_the_advice_of_a_failed_collect_stage_fetches_the_result(
    world: World, kind: Kind, policy: str, fail: Fail
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "work", world.work)
        collect_fails(world, fail)
        world.kube.apply(kind, SPECS[kind] | {"deletionPolicy": policy, "collectDeadlineSeconds": 60})
        status = await world.finish(kind)
    assert status.phase is Phase.FAILED
    assert f"the annotation {COLLECT}=1 " in (status.message or "")
    assert "which pays nothing" in (status.message or "")
    annotate(world, kind, advised(status))
    await world.reconcile(kind)
    assert_complete(world, await world.finish(kind))
    assert is_done(world, kind)


async def test_each_value_of_the_annotation_asks_once(world: World) -> None:
    failed = collect_fails(world, PERMANENT["the file answers 404"])
    world.kube.apply(IMAGES, SPECS[IMAGES])
    first = await world.finish(IMAGES)
    for attempts, value in ((2, "1"), (3, "1-again")):
        annotate(world, IMAGES, value)
        assert not is_done(world, IMAGES)
        await world.reconcile(IMAGES)
        status = await world.finish(IMAGES)
        assert status.phase is Phase.FAILED
        assert len(failed) == attempts
        assert is_done(world, IMAGES)
        assert advised(status) not in ("1", "1-again", advised(first))
        for _ in range(5):
            await world.reconcile(IMAGES)
        assert len(failed) == attempts
    assert len(set(failed)) == 3
    assert len(world.provider.posts) == 1


@pytest.mark.parametrize("value", ["2", "0", "01", "1again", "1-", "-1", "x", "1 ", "", "1-" + "a" * 60, "\u0661"])
async def test_a_value_that_names_another_run_or_none_does_nothing(world: World, value: str) -> None:
    failed = collect_fails(world, PERMANENT["the file answers 404"])
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await world.finish(IMAGES)
    annotate(world, IMAGES, value)
    assert is_done(world, IMAGES)
    for cache in world.caches:
        cache.forget(owner_of(next(iter(world.kube.jobs.values()))))  # type: ignore[arg-type]
    await world.reconcile(IMAGES)
    assert len(failed) == 1
    assert world.status(IMAGES).phase is Phase.FAILED


async def test_a_retry_has_the_whole_deadline_again(world: World) -> None:
    failed = collect_fails(world, _died)
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"collectDeadlineSeconds": 600})
    status = await world.finish(IMAGES)
    first = len(failed)
    world.now += timedelta(days=3)
    asked = world.now
    annotate(world, IMAGES, advised(status))
    await world.reconcile(IMAGES)
    assert world.status(IMAGES).phase is Phase.COLLECTING
    assert (await world.finish(IMAGES)).phase is Phase.FAILED
    assert 600 <= (world.now - asked).total_seconds() < 660
    assert len(failed) - first >= first - 1  # the pauses are short again


async def test_collect_without_a_kept_response_pays_nothing(world: World) -> None:
    world.provider.fails = {1}
    world.kube.apply(IMAGES, SPECS[IMAGES])
    assert (await world.finish(IMAGES)).reason == "ProviderFailed"
    annotate(world, IMAGES, "1")
    await world.reconcile(IMAGES)
    for _ in range(5):
        await world.reconcile(IMAGES)
    status = world.status(IMAGES)
    assert (status.phase, status.reason) == (Phase.FAILED, "ProviderFailed")
    assert f"{COLLECT}=1 did nothing" in (status.message or "")
    assert is_done(world, IMAGES)
    assert len(world.provider.posts) == 1


async def unknown(model: str, request_id: str) -> RequestView:
    return UNKNOWN


@pytest.mark.parametrize("lost", ["response", "ledger"])
async def test_collect_of_a_lost_result_pays_nothing(world: World, lost: str) -> None:
    collect_fails(world, PERMANENT["the file answers 404"], 1)
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await world.finish(IMAGES)
    if lost == "ledger":
        world.database["ledger"].drop()
    else:
        for key in [each_key for each_key in world.storage.objects if each_key.endswith("response.json")]:
            del world.storage.objects[key]
        world.provider.poll = unknown  # type: ignore[method-assign]
    for value in ("1", "1-again"):
        annotate(world, IMAGES, value)
        for _ in range(5):
            await world.reconcile(IMAGES)
    status = world.status(IMAGES)
    assert (status.phase, status.reason) == (Phase.FAILED, "ResultUnreachable")
    assert (status.message or "").count("did nothing") == 1
    assert f"{COLLECT}=1-again did nothing" in (status.message or "")
    assert len(world.provider.posts) == 1


async def test_the_annotation_on_a_completed_run_does_nothing(world: World) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES])
    assert_complete(world, await world.finish(IMAGES))
    before = len(world.kube.statuses)
    annotate(world, IMAGES, "1")
    assert is_done(world, IMAGES)
    world.restart()
    await world.reconcile(IMAGES)
    assert len(world.kube.statuses) == before


async def test_a_crash_at_any_write_of_the_retry_pays_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = World(monkeypatch, Writes())
    writes = await _retried(reference)
    for at in range(2 * writes[0] + 1, 2 * writes[1] + 1):
        world = World(monkeypatch, Writes((at,)))
        await _retried(world)


async def _retried(world: World) -> tuple[int, int]:
    collect_fails(world, PERMANENT["the file answers 404"], 1)
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await world.finish(IMAGES)
    before = len(world.writes.done)
    annotate(world, IMAGES, "1")
    await world.reconcile(IMAGES)
    for _ in range(60):
        await world.reconcile(IMAGES)
        if world.status(IMAGES).phase is Phase.COMPLETED:
            break
    assert_complete(world, world.status(IMAGES))
    return before, len(world.writes.done)


async def test_crds_that_cannot_keep_the_retries_are_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `run.collect` in the status, each reconciliation would process the annotation again."""
    put = world.kube.put_status

    async def pruned(kind: Kind, namespace: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        body["status"]["run"].pop("collect", None)
        return await put(kind, namespace, name, body)

    monkeypatch.setattr(world.kube, "put_status", pruned)
    collect_fails(world, _died)
    world.kube.apply(IMAGES, SPECS[IMAGES])
    with pytest.raises(RuntimeError, match="the CRDs are not those of this operator"):
        await world.finish(IMAGES)


# Partial results


def _picture(number: int) -> dict[str, Any]:
    name = f"image_{number}"
    return {"name": f"{name}.png", "thumbnail": f"{name}_thumb.png", "width": 1024, "height": 1024, "sizeBytes": 7}


def _partial(stored: tuple[int, ...], missing: tuple[int, ...], *, passing: bool = True, there: bool = True) -> Fail:
    """An attempt that stored some pictures; `there`: its files are in the bucket."""

    def fail(world: World, kind: Kind, job: dict[str, Any]) -> None:
        status = world.status(kind)
        assert status.run is not None
        facts = {
            "type": "images",
            "images": [_picture(number) for number in stored],
            "missing": [{"number": number, "cause": "HTTP 503"} for number in missing],
        }
        names = [f"image_{number}{end}" for number in stored for end in (".png", "_thumb.png")]
        files = [{"name": each_name, "sizeBytes": 7, "sha256": SHA, "contentType": "image/png"} for each_name in names]
        end = UNREACHABLE | {"passing": True} if passing else {"reason": "Completed"}
        prefix = keys.prefix(kind, Stage.COLLECT, "ns", status.job_id or "", status.run.version)
        for name in names if there else []:
            world.storage.objects[prefix + name] = BucketFile(size_bytes=7, sha256=SHA)
        _verdict(**end, facts=facts, files=files)(world, kind, job)

    return fail


def first_then(*fails: Fail) -> Fail:
    """The first failure once, then the next one, and the last one from then on."""
    left = list(fails)

    def fail(world: World, kind: Kind, job: dict[str, Any]) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(world, kind, job)

    return fail


@pytest.mark.parametrize(
    "fail",
    [
        _partial((1,), (2,)),
        first_then(_partial((1,), (2,)), _died),
        first_then(_partial((1,), (2,)), _deleted),
        first_then(_partial((1,), (2,)), _too_slow),
        first_then(_partial((1,), (2,)), PERMANENT["the file answers 404"]),
        first_then(_partial((1,), (2,)), PERMANENT["the result is no picture"]),
        first_then(_died, _partial((1,), (2,)), TRANSIENT["the file answers 503"]),
        _partial((1,), (2,), passing=False),
    ],
    ids=["503", "died", "deleted", "slow", "404 later", "no picture later", "503 for all later", "404"],
)
async def test_good_files_are_kept(world: World, fail: Fail) -> None:
    collect_fails(world, fail)
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"paidAttempts": 3})
    status = await world.finish(IMAGES)
    assert_complete(world, status)
    assert status.reason == Reason.COMPLETED
    told = (
        "version 1 is stored; 2 asked, 1 stored: picture 2: HTTP 503; the annotation contentgen.dev/collect=1 fetches"
    )
    assert (status.message or "").startswith(told)
    (record,) = world.database["jobs"].find()
    assert record["versions"][0]["warnings"] == ["2 asked, 1 stored: picture 2: HTTP 503"]
    await world.recover(IMAGES)


async def test_passing_faults_are_retried_until_the_deadline(world: World) -> None:
    failed = collect_fails(world, _partial((1,), (2,)))
    world.kube.apply(IMAGES, SPECS[IMAGES])
    assert_complete(world, await world.finish(IMAGES))
    assert 90 < len(failed) < 130
    assert 0 <= (world.now - finished_at(world)).total_seconds() - DAY < 60


async def test_a_later_attempt_completes_a_part(world: World) -> None:
    collect_fails(world, first_then(_partial((1,), (2,)), _partial((1, 2), (), passing=False)))
    world.kube.apply(IMAGES, SPECS[IMAGES])
    status = await world.finish(IMAGES)
    assert_complete(world, status)
    assert status.message == "version 1 is stored"
    assert len(status.versions[0].files) == 4


async def test_a_part_whose_files_are_gone_is_collected_again(world: World) -> None:
    lost, whole = _partial((1,), (2,), there=False), _partial((1, 2), (), passing=False)
    collect_fails(world, first_then(lost, whole))
    world.kube.apply(IMAGES, SPECS[IMAGES])
    assert_complete(world, await world.finish(IMAGES))


async def test_a_later_attempt_does_not_add_to_files_that_are_gone(world: World) -> None:
    def lose(world: World, kind: Kind, job: dict[str, Any]) -> None:
        _partial((1, 2), (), passing=False)(world, kind, job)
        for key in [each_key for each_key in world.storage.objects if each_key.endswith("image_1.png")]:
            del world.storage.objects[key]

    collect_fails(world, first_then(_partial((1,), (2,)), lose, _died))
    world.kube.apply(IMAGES, SPECS[IMAGES])
    seen = list[int | None]()
    while len(seen) < 4:
        await world.reconcile(IMAGES)
        run = world.status(IMAGES).run
        partial = run.collect.partial if run and run.collect else None
        seen += [partial] if [partial] != seen[-1:] else []
        seen += [0] if run is not None and run.stage_attempt > 3 else []
    assert seen == [None, 1, None, 0]


@pytest.mark.parametrize("again", [_partial((1, 2), (), passing=False), PERMANENT["the file answers 404"], _died])
async def test_the_annotation_adds_to_a_completed_run(world: World, again: Fail) -> None:
    collect_fails(world, first_then(_partial((1,), (2,), passing=False), again))
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await world.finish(IMAGES)
    assert is_done(world, IMAGES)
    annotate(world, IMAGES, advised(world.status(IMAGES)))
    assert not is_done(world, IMAGES)
    await world.reconcile(IMAGES)
    status = world.status(IMAGES)
    assert status.phase is Phase.COLLECTING
    assert status.run is not None
    assert status.run.collect is not None
    assert (status.run.collect.partial, status.run.stage_attempt) == (1, 2)
    status = await world.finish(IMAGES)
    assert_complete(world, status)
    assert len(status.versions) == 1
    assert len(status.versions[0].files) == (2 if "HTTP" in (status.message or "") else 4)
    assert is_done(world, IMAGES)


async def test_the_annotation_on_a_part_needs_the_response(world: World) -> None:
    collect_fails(world, _partial((1,), (2,), passing=False))
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await world.finish(IMAGES)
    (only,) = world.database["ledger"].find()
    del world.storage.objects[only["resultKey"]]
    annotate(world, IMAGES, "1")
    await world.reconcile(IMAGES)
    status = world.status(IMAGES)
    assert_complete(world, status)
    assert "did nothing and paid nothing: the provider's answer is not in the bucket" in (status.message or "")
