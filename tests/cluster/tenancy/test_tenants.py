"""Hostile tenant on the real cluster: more than two hundred attempts to reach another namespace's data or money.

The boundary is the namespace. Every attempt must be refused, no response may contain data of the victim, and the
victim's data and charges must not change. Each kind of attempt has a control that succeeds, so that no refusal is
caused by a malformed request.
"""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from contentgen_cluster import release
from contentgen_contract.names import FINALIZER, KIND_LABEL, STAGE_LABEL, UID_LABEL, Kind
from contentgen_e2e import small_jobs
from contentgen_e2e.attacker import IDLE_POD, AttackAnswer, Mallory, Victim, mallory, owner, resource
from contentgen_e2e.boundary import actions
from contentgen_e2e.gateway import Gateway, tenant
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import BUCKET, ClusterWorld

Body = dict[str, Any]
SECRET = "a very private prompt 8c1f"
SHA = "ab" * 32
PATCH = "application/merge-patch+json"


@pytest.fixture(scope="module")
def victim(world: ClusterWorld) -> Victim:
    """Completed LoRA and pictures generated with it."""
    world.sandbox.put("/media/tenants.mp4", content=small_jobs.film()).raise_for_status()
    source = {"source": {"url": f"{release.SANDBOX}/media/tenants.mp4"}, "dataset": {"minImages": 4}}
    lora = world.apply("LoraTraining", "victim", {"loraName": "victim", "triggerWord": "vv"} | source)
    drawn = {"model": "flux-lora", "prompt": SECRET, "loras": [{"loraRef": {"name": "victim"}}]}
    pictures = world.apply("ImageGeneration", "victim", drawn)
    for kind in ("LoraTraining", "ImageGeneration"):
        assert world.wait_for_end(kind, "victim")["status"]["phase"] == "Completed"
    return Victim(world, (lora, pictures), SECRET)


@pytest.fixture(scope="module")
def attacker(world: ClusterWorld) -> Iterator[Mallory]:
    secret = release.kubectl(
        ROOT, "--namespace", release.NAMESPACE, "get", "secret", "contentgen-worker-api-tls", "--output", "json"
    )
    authority = base64.b64decode(json.loads(secret)["data"]["ca.crt"]).decode()
    with mallory(world, authority) as opened:
        yield opened


@pytest.fixture(autouse=True)
def untouched(victim: Victim) -> Iterator[None]:
    """Check that no test changes the victim's data or causes a payment."""
    before = victim.state()
    assert before["objects"]
    assert before["records"]
    assert before["purchases"]
    yield
    assert victim.state() == before


@pytest.fixture(scope="module")
def running(attacker: Mallory) -> tuple[str, Body]:
    """Uid and Job of the attacker's resource, whose worker is busy for most of a minute."""
    spec = {"source": {"url": f"{release.SANDBOX}/hostile/status/503"}}
    body = {
        "apiVersion": "contentgen.dev/v1alpha1",
        "kind": "Transcription",
        "metadata": {"name": "mine", "namespace": attacker.namespace},
        "spec": spec,
    }
    where = ("--namespace", attacker.namespace)
    applied = json.loads(
        release.kubectl(ROOT, *where, "apply", "--filename", "-", "--output", "json", stdin=json.dumps(body))
    )
    uid = str(applied["metadata"]["uid"])
    deadline = time.monotonic() + 60
    while True:
        found = json.loads(
            release.kubectl(ROOT, *where, "get", "jobs", "--selector", f"{UID_LABEL}={uid}", "--output", "json")
        )
        if found["items"]:
            return uid, found["items"][0]
        assert time.monotonic() < deadline, "the attacker's own Job does not come"
        time.sleep(0.2)


def refused(answers: list[AttackAnswer], victim: Victim, at_least: int, *allowed: int) -> None:
    """Check that all responses have a refusing status."""
    codes = allowed or (401, 403, 404, 409, 422, 429)
    passed = [answer for answer in answers if answer.status not in codes]
    assert not passed, passed
    assert not [answer for answer in answers if victim.is_named_in(answer)]
    assert len(answers) >= at_least


ESCAPES = (
    "../../../../../../api/v1/namespaces/{ns}/pods/json/log",
    "../../../../../../apis/contentgen.dev/v1alpha1/namespaces/{ns}/imagegenerations/victim",
    "../../{ns}/jobs/victim",
    "..%2f..%2f{ns}%2fjobs%2fvictim",
    "victim?fieldManager=x",
    "victim#x",
    "..",
    ".",
    "a/b",
    "Victim",
    "victim\nX-Header: y",
    "victim%00",
    "{job}",
    "v" * 250,
)


def test_pods_with_forged_owners_are_no_workers(attacker: Mallory, victim: Victim, running: tuple[str, Body]) -> None:
    uid, job = running
    lora, pictures = victim.uids
    recorded = victim.world.jobs.database["worker_jobs"].find_one({"_id": pictures})
    assert recorded is not None
    names = [escape.format(ns=victim.world.namespace, job=recorded["name"]) for escape in ESCAPES]
    owners = [[owner(name, claimed)] for name in names for claimed in ("forged", recorded["uid"])]
    owners += [
        [resource(Kind.IMAGE_GENERATION, "victim", pictures)],
        [resource(Kind.LORA_TRAINING, "victim", lora)],
        [resource(Kind.TRANSCRIPTION, "mine", uid)],
        [owner(job["metadata"]["name"], recorded["uid"])],
        [owner("x", job["metadata"]["uid"], kind="ReplicaSet", api="apps/v1")],
        [owner("x", job["metadata"]["uid"], api="batch/v2")],
        [owner("x", job["metadata"]["uid"]) | {"controller": False}],
        [],
    ]
    answers = []
    offer = {"files": [{"name": "image_1.png", "sizeBytes": 7, "sha256": SHA, "contentType": "text/html"}]}
    for number, forged in enumerate(owners):
        name = f"forged-{number}"
        labels = {UID_LABEL: pictures, KIND_LABEL: "ImageGeneration", STAGE_LABEL: "collect"}
        token = attacker.token_of_pod(name, forged, labels=labels)
        answers += [
            attacker.ask(token, "GET", "/v1/order"),
            attacker.ask(token, "POST", "/v1/uploads", offer),
            attacker.ask(token, "POST", "/v1/progress", {"step": "Storing", "fraction": 0.5, "deletionTimestamp": "x"}),
            attacker.ask(token, "POST", "/v1/outcome"),
        ]
    refused(answers, victim, 4 * len(owners), 401, 403, 429)
    assert len(answers) >= 100
    # Control: the recorded Job in the attacker's own namespace authenticates as its worker.
    token = attacker.token_of_pod("own", [owner("any name", job["metadata"]["uid"])])
    own = attacker.ask(token, "GET", "/v1/order")
    assert (own.status, json.loads(own.text)["jobId"]) == (200, uid)
    assert not victim.is_named_in(own)


def test_a_worker_reaches_its_own_attempt_alone(
    attacker: Mallory, victim: Victim, running: tuple[str, Body], gateway: Gateway
) -> None:
    uid, job = running
    # The owner reference needs the Job's real name: Kubernetes deletes pods with missing owners.
    token = attacker.token_of_pod("inside", [owner(job["metadata"]["name"], job["metadata"]["uid"])])
    foreign = f"../../images/{victim.world.namespace}/{victim.uids[1]}/image_1.png"
    names = ["image_1.png", "model.safetensors", "../x/audio.flac", "/audio.flac", "audio.flac/..", "audio.flac\x00"]
    names += [foreign, "audio.flac?versionId=1", "", "AUDIO.flac"]

    def offer(name: str, size: Any = 7, sha256: str = SHA) -> Body:
        return {"files": [{"name": name, "sizeBytes": size, "sha256": sha256, "contentType": "audio/flac"}]}

    bodies: list[Any] = [offer(name) for name in names]
    bodies += [offer("audio.flac", size) for size in (0, -1, 2**62, "many")]
    bodies += [offer("audio.flac", 7, sha) for sha in ("", "zz" * 32)]
    answers = [attacker.ask(token, "POST", "/v1/uploads", body) for body in bodies]
    progress: list[Any] = [{"step": "Hacking", "fraction": 0}, {"step": "Storing", "fraction": 2}, [], {"fraction": -1}]
    answers += [attacker.ask(token, "POST", "/v1/progress", each) for each in progress]
    refused(answers, victim, 20, 422)

    granted = attacker.ask(token, "POST", "/v1/uploads", offer("audio.flac"))
    assert granted.status == 200, granted
    grant = json.loads(granted.text)["grants"][0]
    url, headers = grant["url"], grant["headers"]
    assert f"/{uid}/" in urlsplit(url).path
    key = next(key for key, *_ in victim.state()["objects"] if key.endswith("image_1.png"))

    def put(address: str, changed: dict[str, str], method: str = "PUT") -> AttackAnswer:
        parts = urlsplit(address)
        local = parts._replace(netloc=f"127.0.0.1:{gateway.s3_port}").geturl()
        sent = headers | {"Host": parts.netloc} | changed
        reply = httpx.request(method, local, headers=sent, content=b"x" * 7, trust_env=False, timeout=30)
        return AttackAnswer(f"{method} {address[:200]} {changed}", reply.status_code, reply.text)

    own_path = urlsplit(url).path
    source = {"x-amz-copy-source": f"/{BUCKET}/{key}"}
    answers = [
        put(url.replace(own_path, f"/{BUCKET}/{key}"), {}),
        put(url, {"Content-Type": "text/html"}),
        put(url, {"x-amz-checksum-sha256": base64.b64encode(b"0" * 32).decode()}),
        put(url, source),
        put(url, {"x-amz-acl": "public-read"}),
        put(url, {}, "DELETE"),
        put(url, {}, "GET"),
        put(url.replace("X-Amz-Expires=", "X-Amz-Expires=9"), {}),
        put(url.partition("?")[0], {}),
        put(f"http://{urlsplit(url).netloc}/{BUCKET}/{key}", {}, "GET"),
        put(f"http://{urlsplit(url).netloc}/{BUCKET}/{key}", {}, "DELETE"),
        put(f"http://{urlsplit(url).netloc}/{BUCKET}?list-type=2", {}, "GET"),
    ]
    refused(answers, victim, 12, 400, 403, 404, 501)


def forged_statuses(victim: Victim, uid: str) -> list[Body]:
    """Forged statuses with references to the victim's data."""
    keys = sorted(key for key, *_ in victim.state()["objects"])
    files = [{"key": key, "sizeBytes": 1, "sha256": SHA} for key in keys[:4]]
    version = {"version": 1, "jobId": victim.uids[0], "bucket": BUCKET, "files": files}
    run = {"number": 1, "version": 1, "runHash": "x", "generation": 1, "spec": {}, "startedAt": "2026-11-22T00:00:00Z"}
    job = {"name": "../../x", "uid": "x", "stage": "collect", "attempt": 1}
    return [
        {"phase": "Completed", "versions": [version]},
        {"phase": "Failed", "reason": "JobFailed"},
        {"run": run | {"spec": {"userId": victim.world.namespace}}},
        {"run": run | {"job": job}},
        {"run": run | {"loras": keys[:4]}},
        {"run": run | {"requestId": "request-1", "facts": {"images": 10**9}}},
        {"jobId": victim.uids[1]},
        {"observedGeneration": 99},
    ]


def test_only_the_operator_writes_a_status(attacker: Mallory, victim: Victim, running: tuple[str, Body]) -> None:
    uid, _ = running
    answers = []
    for kind, name in ((Kind.TRANSCRIPTION, "mine"), (Kind.LORA_TRAINING, "fake"), (Kind.IMAGE_GENERATION, "fake")):
        where = f"/apis/contentgen.dev/v1alpha1/namespaces/{attacker.namespace}/{kind.plural}"
        if name == "fake":
            spec: Body = {"prompt": "x", "suspend": True}
            if kind is Kind.LORA_TRAINING:
                source = {"url": f"{release.SANDBOX}/media/tenants.mp4"}
                spec = {"loraName": "x", "triggerWord": "x", "source": source, "suspend": True}
            body = {
                "apiVersion": "contentgen.dev/v1alpha1",
                "kind": kind.value,
                "metadata": {"name": name},
                "spec": spec,
            }
            assert attacker.call("POST", where, body).status == 201
        for status in forged_statuses(victim, uid):
            answers.append(attacker.call("PATCH", f"{where}/{name}/status", {"status": status}, PATCH))
            wished = {"path": "/status", "op": "replace", "value": status}
            patch: Any = [wished]
            answers.append(attacker.call("PATCH", f"{where}/{name}/status", patch, "application/json-patch+json"))
    refused(answers, victim, 48, 403, 422)
    assert all("status" in answer.text for answer in answers)


def test_only_the_operator_creates_jobs_of_ours(attacker: Mallory, victim: Victim, running: tuple[str, Body]) -> None:
    uid, job = running
    where = f"/apis/batch/v1/namespaces/{attacker.namespace}/jobs"

    def made(name: str, **meta: Any) -> Body:
        template = {"spec": IDLE_POD | {"restartPolicy": "Never"}}
        metadata = {"name": name} | meta
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": metadata,
            "spec": {"suspend": True, "template": template},
        }

    labelled = [{UID_LABEL: uid}, {UID_LABEL: victim.uids[0]}, {KIND_LABEL: "LoraTraining"}, {STAGE_LABEL: "collect"}]
    owners = [
        [resource(Kind.TRANSCRIPTION, "mine", uid)],
        [resource(Kind.LORA_TRAINING, "victim", victim.uids[0])],
        [resource(Kind.IMAGE_GENERATION, "../victim", victim.uids[1]) | {"controller": False}],
    ]
    answers = [attacker.call("POST", where, made(f"l{i}", labels=each)) for i, each in enumerate(labelled)]
    answers += [
        attacker.call("POST", where, made(f"o{i}", ownerReferences=each_owner)) for i, each_owner in enumerate(owners)
    ]
    next_job = job["metadata"]["name"].removesuffix("1") + "2"
    answers.append(attacker.call("POST", where, made(next_job, ownerReferences=owners[0], labels=labelled[0])))
    assert attacker.call("POST", where, made("innocent")).status == 201
    answers += [attacker.call("PATCH", f"{where}/innocent", {"metadata": {"labels": each}}, PATCH) for each in labelled]
    answers += [
        attacker.call("PATCH", f"{where}/innocent", {"metadata": {"ownerReferences": each_owner}}, PATCH)
        for each_owner in owners
    ]
    refused(answers, victim, 15, 403, 422)


def test_annotations_that_spend_need_the_verb(attacker: Mallory, victim: Victim, running: tuple[str, Body]) -> None:
    where = f"/apis/contentgen.dev/v1alpha1/namespaces/{attacker.namespace}/transcriptions"
    answers = []
    for name, value in (("rerun", "1"), ("resubmit", "deadbeef"), ("adopt", "request-1")):
        annotations = {f"contentgen.dev/{name}": value}
        answers.append(attacker.call("PATCH", f"{where}/mine", {"metadata": {"annotations": annotations}}, PATCH))
        body = {
            "apiVersion": "contentgen.dev/v1alpha1",
            "kind": "Transcription",
            "metadata": {"name": f"new-{name}", "annotations": annotations},
            "spec": {"source": {"url": f"{release.SANDBOX}/hostile/status/503"}, "suspend": True},
        }
        answers.append(attacker.call("POST", where, body))
    for wrong in ("true", "0", "01", "-1"):
        cancel = {"metadata": {"annotations": {"contentgen.dev/cancel": wrong}}}
        answers.append(attacker.call("PATCH", f"{where}/mine", cancel, PATCH))
    refused(answers, victim, 10, 403, 422)
    assert attacker.call("PATCH", f"{where}/mine", {"metadata": {"annotations": {"note": "x"}}}, PATCH).status == 200


def test_the_gateway_gives_nothing_of_another_namespace(attacker: Mallory, victim: Victim, gateway: Gateway) -> None:
    answers = []
    with tenant(gateway, attacker.namespace, attacker.namespace) as person:
        paths = httpx.get(f"{gateway.url}/openapi.json", trust_env=False).json()["paths"]
        for path, methods in paths.items():
            for method in methods:
                if "{job_id}" not in path:
                    continue
                for uid in victim.uids:
                    filled = (
                        path.replace("{job_id}", uid).replace("{file}", "image_1.png").replace("{collection_id}", "x")
                    )
                    reply = person.api.request(method.upper(), filled, json={} if method in ("post", "patch") else None)
                    answers.append(AttackAnswer(f"{method} {filled}", reply.status_code, reply.text))
        refused(answers, victim, 25, 400, 404, 422)
        lists = [path for path, methods in paths.items() if "get" in methods and "{" not in path and "/api/" in path]
        for path in lists:
            for query in ({}, {"namespace": victim.world.namespace}, {"userId": victim.world.namespace}):
                reply = person.api.get(path, params={"q": "private"} | query)
                assert not victim.is_named_in(AttackAnswer(path, 200, reply.text)), (path, query)
                assert reply.status_code != 500


def test_without_policies_a_forged_status_leads_nowhere(attacker: Mallory, victim: Victim, gateway: Gateway) -> None:
    """On clusters that forbid admission policies the code alone prevents foreign access and payment."""
    base = f"/apis/contentgen.dev/v1alpha1/namespaces/{attacker.namespace}"
    source = {"url": f"{release.SANDBOX}/media/tenants.mp4"}
    specs: dict[Kind, Body] = {
        Kind.LORA_TRAINING: {"loraName": "forged", "triggerWord": "x", "source": source, "deletionPolicy": "Delete"},
        Kind.IMAGE_GENERATION: {"prompt": "forged", "deletionPolicy": "Delete"},
        Kind.TRANSCRIPTION: {"source": source, "deletionPolicy": "Delete"},
    }
    uids = {}
    for kind, spec in specs.items():
        meta = {"name": "forged", "finalizers": [FINALIZER]}
        body = {"apiVersion": "contentgen.dev/v1alpha1", "kind": kind.value, "metadata": meta}
        answer = attacker.call("POST", f"{base}/{kind.plural}", body | {"spec": spec | {"suspend": True}})
        assert answer.status == 201, answer
        uids[kind] = json.loads(answer.text)["metadata"]["uid"]
    actions(victim.world, "Audit", "status", "status-owner")
    try:
        probe = f"{base}/{Kind.LORA_TRAINING.plural}/forged/status"
        deadline = time.monotonic() + 30
        while attacker.call("PATCH", probe, {"status": {"message": "x"}}, PATCH).status != 200:
            assert time.monotonic() < deadline, "the policy still refuses"
            time.sleep(0.2)
        written = 0
        for kind in specs:
            for status in forged_statuses(victim, uids[kind]):
                answer = attacker.call("PATCH", f"{base}/{kind.plural}/forged/status", {"status": status}, PATCH)
                written += answer.status == 200
        assert written >= 12, "most of what is forged is a valid status"
        # Uses of the forged statuses: generation with the LoRA, reads by the gateway, deletion of "its" files.
        drawn = {"model": "flux-lora", "prompt": "x", "loras": [{"loraRef": {"name": "forged"}}]}
        body = {"apiVersion": "contentgen.dev/v1alpha1", "kind": "ImageGeneration", "metadata": {"name": "draws"}}
        answer = attacker.call("POST", f"{base}/{Kind.IMAGE_GENERATION.plural}", body | {"spec": drawn})
        assert answer.status == 201, answer
        with tenant(gateway, attacker.namespace, attacker.namespace) as person:
            for uid in uids.values():
                for path in (f"/api/jobs/{uid}", f"/api/assets/{uid}/download", f"/api/jobs/{uid}/dataset"):
                    answer = AttackAnswer(path, 0, person.api.get(path).text)
                    assert not [each_uid for each_uid in victim.uids if f"/{each_uid}/" in answer.text], answer
        reason = ""
        while reason != "WaitingForLora":
            assert time.monotonic() < deadline + 60, f"the picture is {reason}"
            found = attacker.call("GET", f"{base}/{Kind.IMAGE_GENERATION.plural}/draws")
            reason = (json.loads(found.text).get("status") or {}).get("reason", "")
            time.sleep(0.2)
        for kind in specs:
            assert attacker.call("DELETE", f"{base}/{kind.plural}/forged").status == 200
        while any(attacker.call("GET", f"{base}/{kind.plural}/forged").status != 404 for kind in specs):
            assert time.monotonic() < deadline + 120, "a forged resource does not go"
            time.sleep(0.5)
    finally:
        actions(victim.world, "Deny", "status", "status-owner")


def test_the_oracle_sees_a_change(victim: Victim) -> None:
    """Controls of the checks: a replaced object, a changed record, and a secret in a response are detected."""
    world, before = victim.world, victim.state()
    key = next(key for key, *_ in before["objects"] if key.endswith("image_1.png"))
    planted = world.s3.put_object(Bucket=BUCKET, Key=key, Body=b"swapped")
    try:
        assert victim.state() != before
    finally:
        world.s3.delete_object(Bucket=BUCKET, Key=key, VersionId=planted["VersionId"])
    where = {"jobId": victim.uids[1]}
    record = world.jobs.find_one(where)
    assert record is not None
    world.jobs.update_one(where, {"$set": {"planted": True}})
    assert victim.state() != before
    world.jobs.replace_one(where, record)
    assert victim.state() == before
    assert victim.is_named_in(AttackAnswer("GET /x", 200, f"... {SECRET} ..."))
