"""Worker API on the real cluster: certificates renewed every ten seconds, an unavailable operator, tokens."""

import base64
import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from cryptography import x509

from contentgen_cluster import release
from contentgen_contract.names import Kind
from contentgen_demo.film import video
from contentgen_e2e.oracle import check_completed
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import BUCKET, ClusterWorld, installed, until

WORKER_API = f"contentgen-worker-api.{release.NAMESPACE}.svc"


@pytest.fixture(scope="module")
def place() -> Iterator[ClusterWorld]:
    """Release with certificates that last thirty seconds, and a new namespace."""
    with installed(ROOT, "worker-api", "workerApi.certificateSeconds=30", "workerApi.renewBeforeSeconds=20") as opened:
        yield opened


@pytest.fixture(scope="module")
def film(place: ClusterWorld) -> str:
    path = video.ensure_film().path
    with path.open("rb") as content:
        place.sandbox.put("/media/worker-api.mp4", content=content).raise_for_status()
    return f"{release.SANDBOX}/media/worker-api.mp4"


def operator(*args: str) -> str:
    """Run kubectl in the release's namespace."""
    return release.kubectl(ROOT, "--namespace", release.NAMESPACE, *args)


def kept() -> tuple[str, x509.Certificate]:
    """CA and certificate in the Secret."""
    data = json.loads(operator("get", "secret", "contentgen-worker-api-tls", "--output", "json"))["data"]
    return base64.b64decode(data["ca.crt"]).decode(), x509.load_pem_x509_certificate(base64.b64decode(data["tls.crt"]))


@contextmanager
def away(place: ClusterWorld) -> Iterator[None]:
    """Stop the operator within the context."""
    operator("scale", "deployment/contentgen", "--replicas=0")
    try:
        selector = "app.kubernetes.io/component=operator"
        operator("wait", "pods", "--selector", selector, "--for=delete", "--timeout=60s")
        yield
    finally:
        operator("scale", "deployment/contentgen", "--replicas=1")
        operator("rollout", "status", "deployment/contentgen", "--timeout=120s")
    place.wait_for_leader()


def jobs_of(place: ClusterWorld, uid: str) -> list[dict[str, Any]]:
    listed = place.kubectl("get", "jobs", "--selector", f"contentgen.dev/uid={uid}", "--output", "json")
    jobs: list[dict[str, Any]] = json.loads(listed)["items"]
    return jobs


def log_of(place: ClusterWorld, uid: str) -> str:
    """Log of the newest worker; empty if there is none."""
    try:
        return place.kubectl("logs", "--selector", f"contentgen.dev/uid={uid}", "--tail=-1")
    except release.CommandFailed:  # its container is being created
        return ""


def test_work_continues_while_the_operator_is_away(place: ClusterWorld, film: str) -> None:
    """Three workers: one stores its outcome, one waits for upload grants, one starts and waits for its order.

    The worker API's certificate expires meanwhile. The operator issues the next one by the CA that the workers trust.
    """
    authority, first = kept()
    bad = f"{release.SANDBOX}/hostile/status/503"
    leaves = place.apply("Transcription", "leaves", {"source": {"url": bad}})  # retried for most of a minute
    until(lambda: '"order"' in log_of(place, leaves), "the first worker has its order")
    spec = {"loraName": "waits", "triggerWord": "jf", "source": {"url": film}, "dataset": {"minImages": 8}}
    waits = place.apply("LoraTraining", "waits", spec)
    until(lambda: '"order"' in log_of(place, waits), "the second worker has its order")
    quota = ("create", "quota", "full", "--hard=pods=0")
    place.kubectl(*quota)
    starts = place.apply("Transcription", "starts", {"source": {"url": film}})
    place.wait("Transcription", "starts", lambda s: ((s.get("run") or {}).get("job") or {}).get("uid") is not None)
    with away(place):
        place.kubectl("delete", "quota", "full")
        until(lambda: "is the operator up?" in log_of(place, starts), "the third worker waits for the worker API")
        until(lambda: "is the operator up?" in log_of(place, waits), "the second worker waits for the worker API")
        until(lambda: bool(jobs_of(place, leaves)[0].get("status", {}).get("succeeded")), "the first worker is done")
        left = place.s3.get_object(Bucket=BUCKET, Key=f"runs/{leaves}/1/prepare-1.json")["Body"].read()
        assert json.loads(left)["reason"] == "SourceUnreachable"
        for uid in (waits, starts):
            assert [each.get("status", {}).get("failed", 0) for each in jobs_of(place, uid)] == [0]
        assert place.get("Transcription", "leaves")["status"]["phase"] == "Preparing"
        until(lambda: first.not_valid_after_utc.timestamp() < time.time(), "the certificate has ended")
    failed = place.wait_for_end("Transcription", "leaves", 60)["status"]
    assert (failed["phase"], failed["reason"]) == ("Failed", "SourceUnreachable")
    assert len(jobs_of(place, leaves)) == 1
    for kind, name, uid in ((Kind.LORA_TRAINING, "waits", waits), (Kind.TRANSCRIPTION, "starts", starts)):
        place.wait_for_end(kind, name)
        check_completed(place, kind, name)
        assert len(jobs_of(place, uid)) == 2, "a stage was tried again"
    renewed, last = kept()
    assert renewed == authority
    assert last.serial_number != first.serial_number


def test_worker_api_serves_new_certificates_and_authorities(place: ClusterWorld) -> None:
    pod = place.operator_pod()
    with release.port_forward(ROOT, release.NAMESPACE, f"pod/{place.operator_pod()}", 8443) as port:
        authority, _ = kept()
        seen: set[int] = set()

        def three() -> bool:
            seen.add(served(port, authority))
            return len(seen) == 3

        until(three, "three certificates were served", 60)
        # An invalid CA key makes the operator create a new CA, which the next Job gets.
        broken = json.dumps({"data": {"ca.key": ""}})
        operator("patch", "secret", "contentgen-worker-api-tls", "--patch", broken)
        until(lambda: kept()[0] != authority, "there is a new authority", 60)
        until(lambda: trusted(port, kept()[0]), "it is served", 60)
    spec = {"model": "flux-dev", "prompt": "a new authority", "image": {"size": {"width": 512, "height": 384}}}
    uid = place.apply("ImageGeneration", "told", spec)
    place.wait_for_end("ImageGeneration", "told")
    check_completed(place, Kind.IMAGE_GENERATION, "told")
    (job,) = jobs_of(place, uid)
    environment = {each["name"]: each.get("value") for each in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert environment["CONTENTGEN_WORKER_API_CA"] == kept()[0]
    assert place.operator_pod() == pod, "the operator was restarted"


def served(port: int, authority: str) -> int:
    """Serial number of the served certificate, verified like by a worker."""
    context = ssl.create_default_context(cadata=authority)
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname=WORKER_API) as tls,
    ):
        shown = tls.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown).serial_number


def trusted(port: int, authority: str) -> bool:
    try:
        return served(port, authority) > 0
    except ssl.SSLCertVerificationError:
        return False


def idle_pod(place: ClusterWorld, name: str) -> dict[str, Any]:
    """Metadata of a foreign pod, which never starts because its image does not exist."""
    safe = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "idle", "image": "unused", "imagePullPolicy": "Never", "securityContext": safe}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}}
    place.kubectl("create", "-f", "-", stdin=json.dumps(pod))
    metadata: dict[str, Any] = json.loads(place.kubectl("get", "pod", name, "-o", "json"))["metadata"]
    return metadata


def test_only_a_running_workers_own_token_opens_the_worker_api(place: ClusterWorld, film: str) -> None:
    spec = {"loraName": "tokens", "triggerWord": "jf", "source": {"url": film}, "dataset": {"minImages": 8}}
    uid = place.apply("LoraTraining", "tokens", spec)
    until(lambda: '"order"' in log_of(place, uid), "the worker has its order")
    (worker,) = (each_pod["metadata"] for each_pod in place.worker_pods(uid))
    (ended,) = (
        each_pod["metadata"] for each_pod in place.worker_pods(place.get("Transcription", "leaves")["metadata"]["uid"])
    )
    stranger, deleted = (idle_pod(place, name) for name in ("stranger", "deleted"))

    def token(pod: dict[str, Any] | None, audience: str = "contentgen") -> str:
        bound = (f"--bound-object-name={pod['name']}", f"--bound-object-uid={pod['uid']}") if pod else ()
        kind = ("--bound-object-kind=Pod",) if pod else ()
        return place.kubectl("create", "token", "default", f"--audience={audience}", *kind, *bound).strip()

    tokens = {
        "the worker's": (token(worker), 200),
        "of another audience": (token(worker, "https://kubernetes.default.svc"), 401),
        "not bound to a pod": (token(None), 401),
        "of a pod that is no worker": (token(stranger), 403),
        "of a pod that is gone": (token(deleted), 401),
        "of a worker whose Job has ended": (token(ended), 403),
        "forged": (token(worker)[:-4] + "AAAA", 401),
        "none": ("", 401),
    }
    place.kubectl("delete", "pod", "deleted", "--grace-period=0", "--force")
    with release.port_forward(ROOT, release.NAMESPACE, f"pod/{place.operator_pod()}", 8443) as port:
        context = ssl.create_default_context(cadata=kept()[0])
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=context, timeout=30) as client:

            def ask(bearer: str) -> httpx.Response:
                headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
                return client.get("/v1/order", headers=headers, extensions={"sni_hostname": WORKER_API})

            answers = {name: ask(bearer) for name, (bearer, _) in tokens.items()}
    assert {name: answer.status_code for name, answer in answers.items()} == {
        n: code for n, (_, code) in tokens.items()
    }
    assert answers["the worker's"].json()["jobId"] == uid
    assert all("X-Amz" not in answer.text for name, answer in answers.items() if name != "the worker's")
