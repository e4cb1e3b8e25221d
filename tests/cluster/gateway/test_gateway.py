"""Gateway on the real cluster over HTTP: the calls of the legacy API's clients, for two tenants in two namespaces.

Each documented API call of the legacy API is a test case, verbatim except for the host and an added token.
"""

import json
import re
import subprocess
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from contentgen_cluster import release
from contentgen_cluster.paths import STATE
from contentgen_e2e.gateway import Gateway, GatewayTenant, MadeJobs, eventually
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import ClusterWorld
from contentgen_simulation.gateway import legacy_clients

Body = dict[str, Any]


def commanded(line: str) -> str:
    """Line as a command; a method and a path become a curl call."""
    if line.startswith("curl"):
        return line
    method, _, path = line.partition(" ")
    return f'curl -X {method} "{legacy_clients.HOST}{path}"'


@pytest.mark.parametrize("line", legacy_clients.LINES)
def test_the_seeds_line_works(gateway: Gateway, ann: GatewayTenant, made: MadeJobs, line: str, tmp_path: Path) -> None:
    filled = legacy_clients.Ids(*made.all).filled(line)
    given = json.loads(gateway.curl(commanded(filled), ann, tmp_path))
    legacy_clients.assert_as_promised(legacy_clients.path_of(filled), given)


def test_the_seeds_pages_of_the_api_are_there(gateway: Gateway, ann: GatewayTenant, tmp_path: Path) -> None:
    assert "swagger" in gateway.curl(f"curl {legacy_clients.HOST}/api-docs", ann, tmp_path).lower()


def test_a_file_by_its_path_is_fetched(gateway: Gateway, ann: GatewayTenant, made: MadeJobs) -> None:
    """The redirect is followed like by `curl -L`; `fetch` maps the bucket's host to the forwarded port."""
    answer = ann.api.get(legacy_clients.path_of(legacy_clients.Ids(*made.all).filled(legacy_clients.FILE_LINE)))
    assert answer.status_code == 307, answer.text
    assert gateway.fetch(answer.headers["location"]).text.strip()


def test_the_seeds_example_reads_a_transcript(gateway: Gateway, ann: GatewayTenant, made: MadeJobs) -> None:
    podcast = ann.get("/api/assets/transcripts", userId="user123")["transcripts"][0]
    text = gateway.fetch(podcast["textUrl"])
    assert (text.status_code, bool(text.text.strip())) == (200, True)
    signature = parse_qs(urlsplit(podcast["textUrl"]).query)["X-Amz-Signature"][0]
    assert gateway.fetch(podcast["textUrl"].replace(signature, signature[::-1])).status_code == 403
    assert gateway.fetch(podcast["textUrl"].partition("?")[0]).status_code == 403, "the bucket is private"


def test_the_seeds_example_draws_with_a_lora(gateway: Gateway, ann: GatewayTenant, made: MadeJobs) -> None:
    """The request is sent like a browser's: a string body with a plain text type."""
    loras = ann.get("/api/assets/loras", userId="user123")["loras"]
    address = next(lora for lora in loras if lora["name"] == "jesse_avatar")["latestVersion"]["modelUrl"]
    answer = ann.api.post(
        "/api/images/generate",
        content=json.dumps(legacy_clients.generate(address)),
        headers={"Content-Type": "text/plain;charset=UTF-8"},
    )
    assert answer.status_code == 202, answer.text
    job = ann.finished(answer.json()["jobId"])
    assert job["status"] == "completed", job
    assert job["jobId"] in ann.get(f"/api/assets/{made.lora}/stats")["usedInJobs"]
    assert ann.api.delete(f"/api/jobs/{job['jobId']}").status_code == 202


@pytest.mark.parametrize("path", ["jobs", "loras", "images", "transcripts"])
def test_every_address_of_a_list_is_fetched_without_a_token(
    gateway: Gateway, ann: GatewayTenant, made: MadeJobs, path: str
) -> None:
    given = re.findall(r'"[a-zA-Z]*[uU]rl": "([^"]*X-Amz-Signature=[^"]*)"', json.dumps(ann.get(f"/api/{path}")))
    assert given
    for address in given:
        assert gateway.fetch(address).status_code == 200, address.partition("?")[0]


QUERIES = {
    "lora-training": ".jobs[] | {name: .config.loraName, modelUrl: .versions[-1].modelUrl}",
    "image-generation": ".jobs[] | {model: .config.model, images: .versions[0].images}",
    "transcription": ".jobs[] | {file: .sourceVideo.filename, textUrl: .versions[0].textUrl}",
}


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("kind", QUERIES)
def test_the_seeds_queries_with_jq_work(gateway: Gateway, ann: GatewayTenant, tmp_path: Path, kind: str) -> None:
    address = f"http://localhost:5000/api/jobs?userId=user123&type={kind}&status=completed"
    found = json.loads(gateway.curl(f"curl \"{address}\" | jq '[{QUERIES[kind]}]'", ann, tmp_path))
    assert found
    assert all(all(each.values()) for each in found), found


def test_the_seeds_count_by_type_works(gateway: Gateway, ann: GatewayTenant, made: MadeJobs, tmp_path: Path) -> None:
    count = "[.jobs[] | .type] | group_by(.) | map({type: .[0], count: length})"
    line = f"curl \"http://localhost:5000/api/jobs?userId=user123\" | jq '{count}'"
    counted = {each["type"]: each["count"] for each in json.loads(gateway.curl(line, ann, tmp_path))}
    assert all(counted[kind] >= 1 for kind in ("lora-training", "image-generation", "transcription"))


def test_a_stream_tells_progress_and_the_end(made: MadeJobs) -> None:
    events = [part for part in made.stream.replace("\r\n", "\n").split("\n\n") if "event:" in part]
    names = [line.partition(":")[2].strip() for part in events for line in part.split("\n") if line.startswith("event")]
    assert names[-1] == "end"
    assert names.count("end") == 1
    data = [
        json.loads(line.partition(":")[2]) for part in events for line in part.split("\n") if line.startswith("data")
    ]
    progress = [each["progress"] for each in data if "progress" in each]
    assert progress == sorted(progress), "it only goes up"
    assert len(set(progress)) > 2
    assert data[-1]["status"] == "completed"


def test_files_are_fetched_by_the_addresses_that_are_given(
    gateway: Gateway, ann: GatewayTenant, made: MadeJobs
) -> None:
    before = ann.get(f"/api/assets/{made.pictures}/stats")["downloads"]
    told = ann.get(f"/api/assets/{made.pictures}/download")
    assert gateway.fetch(told["url"]).content[:4] == b"\x89PNG"
    text = ann.get(f"/api/assets/{made.transcript}/download", file="transcript.txt", expires=60)
    assert gateway.fetch(text["url"]).text.strip()
    model = ann.get(f"/api/assets/{made.lora}/download")
    assert len(gateway.fetch(model["url"]).content) > 1000
    spoilt = told["url"].replace("image_1.png", "image_1_thumb.png", 1)
    assert gateway.fetch(spoilt).status_code == 403, "an address is good for one file"
    stats = ann.get(f"/api/assets/{made.pictures}/stats")
    assert stats["downloads"] == before + 1
    assert made.pictures in ann.get(f"/api/assets/{made.lora}/stats")["usedInJobs"]
    pictures = ann.get("/api/assets/images", userId="user123")["images"]
    assert gateway.fetch(pictures[0]["thumbnailUrl"]).is_success


def test_the_dataset_is_shown(ann: GatewayTenant, made: MadeJobs) -> None:
    shown = ann.get(f"/api/jobs/{made.lora}/dataset")
    assert json.dumps(shown).count("thumbnailUrl") >= 8


def test_words_are_found_with_their_time(
    ann: GatewayTenant, bob: GatewayTenant, made: MadeJobs, gateway: Gateway
) -> None:
    url = ann.get(f"/api/assets/{made.transcript}/download", file="transcript.txt")["url"]
    word = max(gateway.fetch(url).text.lower().replace(".", " ").replace(",", " ").split(), key=len)
    found: list[Body] = []

    def indexed() -> bool:
        found[:] = [ann.get("/api/search/transcripts", userId="user123", q=word)]
        return made.transcript in json.dumps(found)

    assert eventually(indexed, 90), (word, found)
    assert made.transcript not in json.dumps(bob.get("/api/search/transcripts", q=word))


def test_tenants_see_nothing_of_each_other(ann: GatewayTenant, bob: GatewayTenant, made: MadeJobs) -> None:
    missing = "00000000-0000-4000-8000-000000000000"
    for path in ("/api/jobs/{}", "/api/assets/{}/download", "/api/assets/{}/stats", "/api/stream/job/{}"):
        for job_id in made.all:
            foreign, none = bob.api.get(path.format(job_id)), bob.api.get(path.format(missing))
            assert foreign.status_code == none.status_code == 404
            assert foreign.text.replace(job_id, "X") == none.text.replace(missing, "X")
    for path in ("/api/jobs", "/api/assets/loras", "/api/assets/images", "/api/assets/transcripts"):
        for query in ({}, {"userId": "user123"}, {"namespace": ann.namespace}):
            assert not set(made.all) & set(json.dumps(bob.get(path, **query)).split('"'))
    for method, path in (("DELETE", "/api/jobs/{}"), ("POST", "/api/jobs/{}/retry"), ("POST", "/api/jobs/{}/cancel")):
        assert bob.api.request(method, path.format(made.lora)).status_code == 404
    assert ann.finished(made.lora)["status"] == "completed"


def test_naming_a_user_needs_the_right(ann: GatewayTenant, bob: GatewayTenant) -> None:
    order = {"model": "flux-schnell", "inputs": {"prompt": "x"}, "userId": "user123"}
    refused = bob.api.post("/api/images/generate", json=order)
    assert refused.status_code == 403
    assert "user123" in refused.json()["detail"]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic YTpi"}])
def test_requests_without_a_token_are_refused(gateway: Gateway, headers: dict[str, str]) -> None:
    answer = httpx.get(f"{gateway.url}/api/jobs", headers=headers, trust_env=False)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_token_for_somebody_else_is_worth_nothing(gateway: Gateway, ann: GatewayTenant) -> None:
    """Tokens with the audience of the worker API or of the API server are rejected."""
    for audience in ("contentgen", "https://kubernetes.default.svc"):
        token = release.kubectl(
            ROOT, "--namespace", ann.namespace, "create", "token", "person", "--audience", audience
        ).strip()
        answer = httpx.get(f"{gateway.url}/api/jobs", headers={"Authorization": f"Bearer {token}"}, trust_env=False)
        assert answer.status_code == 401


def test_shared_job_is_visible_until_the_share_ends(ann: GatewayTenant, bob: GatewayTenant, made: MadeJobs) -> None:
    ann.ask(f"/api/assets/{made.pictures}/share", {"namespaces": [bob.namespace]}, code=200)
    assert bob.get(f"/api/jobs/{made.pictures}")["jobId"] == made.pictures
    assert bob.api.delete(f"/api/jobs/{made.pictures}").status_code in (403, 404)
    assert ann.api.delete(f"/api/assets/{made.pictures}/share").is_success
    assert bob.api.get(f"/api/jobs/{made.pictures}").status_code == 404


def test_tags_descriptions_and_collections(ann: GatewayTenant, made: MadeJobs) -> None:
    edited = ann.api.patch(f"/api/assets/{made.pictures}", json={"tags": ["suit"], "description": "for the workshop"})
    assert edited.is_success, edited.text
    assert eventually(lambda: ann.get("/api/assets/search", tags="suit")["total"] == 1)
    ann.ask("/api/collections", legacy_clients.collection(made.lora, made.pictures), code=201)
    assert "SEO Workshop Campaign" in json.dumps(ann.get("/api/collections", userId="user123"))


def test_usage_says_what_was_paid(ann: GatewayTenant, made: MadeJobs) -> None:
    for by in ("user", "kind", "model", "day"):
        usage = ann.get("/api/usage", by=by)
        assert float(usage["total"]["paid"]) > 0


def test_a_run_is_cancelled_and_a_job_deleted(ann: GatewayTenant, world: ClusterWorld, made: MadeJobs) -> None:
    missing = f"{release.SANDBOX}/media/none.mp3"
    failed = ann.ask("/api/transcribe", {"audioUrl": missing})["jobId"]
    assert ann.finished(failed)["status"] == "failed"
    assert ann.ask(f"/api/jobs/{failed}/retry")["jobId"] == failed
    used = ann.api.delete(f"/api/jobs/{made.lora}")
    assert used.status_code == 409, used.text
    assert made.pictures in used.text
    assert ann.api.delete(f"/api/jobs/{failed}").status_code == 202
    assert ann.api.get(f"/api/jobs/{failed}").status_code == 404
    assert ann.api.delete(f"/api/jobs/{made.pictures}").status_code == 202
    assert eventually(lambda: not world.objects(made.pictures)), world.objects(made.pictures)
    assert ann.api.get(f"/api/jobs/{made.pictures}").status_code == 404


def test_metrics_count_by_route_and_name_nobody(gateway: Gateway, ann: GatewayTenant, made: MadeJobs) -> None:
    assert httpx.get(f"{gateway.url}/metrics", trust_env=False).status_code == 404
    service = f"/api/v1/namespaces/{release.NAMESPACE}/services/contentgen-gateway-metrics:metrics/proxy"
    text = release.kubectl(ROOT, "get", "--raw", f"{service}/metrics")
    assert 'contentgen_gateway_requests_total{code="200",method="GET",route="/api/jobs/{job_id}"}' in text
    for private in (*made.all, ann.namespace, "user123", "person"):
        assert private not in text


def test_no_secret_and_no_traceback_is_in_the_log(
    gateway: Gateway, ann: GatewayTenant, bob: GatewayTenant, made: MadeJobs
) -> None:
    log = gateway.log()
    assert f"system:serviceaccount:{ann.namespace}:person" in log
    assert "Traceback" not in log
    for secret in (ann.token, bob.token, "X-Amz-Signature", "contentgen-sandbox-secret"):
        assert secret not in log


def test_service_account_needs_no_secret_and_is_refused_nothing(gateway: Gateway, made: MadeJobs) -> None:
    """Audit log of all API requests of the gateway so far. Only the bare cluster has one."""
    logs = sorted((STATE / "logs").glob("audit*.log"))
    if not logs:
        pytest.skip("no audit log")
    account = f'system:serviceaccount:{release.NAMESPACE}:contentgen-gateway"'
    lines = [line for log in logs for line in log.read_text(errors="replace").splitlines() if account in line]
    # Requests by the gateway's pods only: test_boundary.py uses tokens of the same account without a pod.
    pod = "authentication.kubernetes.io/pod-name"
    named = [event for event in map(json.loads, lines) if event["user"]["username"] == account[:-1]]
    events = [event for event in named if pod in (event["user"].get("extra") or {})]
    asked = {(event.get("objectRef") or {}).get("resource") for event in events}
    assert {"tokenreviews", "subjectaccessreviews", "loratrainings"} <= asked
    assert "secrets" not in asked
    assert [event for event in events if (event.get("responseStatus") or {}).get("code") == 403] == []


def test_a_rollout_is_not_noticed(gateway: Gateway, ann: GatewayTenant) -> None:
    """Requests inside the cluster, through the Service, succeed: a new replica is ready before the old one stops."""
    ask = (
        "import time,urllib.request as u\n"
        "end=time.time()+25\nn=0\n"
        "while time.time()<end:\n"
        f"  u.urlopen('http://contentgen-gateway.{release.NAMESPACE}.svc/health',timeout=10).read(); n+=1\n"
        "print('asked',n)"
    )
    kubectl = [str(ROOT / ".cluster/bin/kubectl"), "--kubeconfig", str(ROOT / ".cluster/kubeconfig")]
    where = ("--namespace", release.NAMESPACE)
    asking = subprocess.Popen(
        [*kubectl, *where, "exec", "deployment/contentgen", "--", "python3", "-c", ask],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    threading.Event().wait(1)
    release.kubectl(ROOT, *where, "rollout", "restart", "deployment/contentgen-gateway")
    release.kubectl(ROOT, *where, "rollout", "status", "deployment/contentgen-gateway", "--timeout=60s")
    said, _ = asking.communicate(timeout=90)
    assert said.startswith("asked "), said
    assert int(said.split()[1]) > 50


def test_frequent_caller_has_to_wait(gateway: Gateway, ann: GatewayTenant, bob: GatewayTenant) -> None:
    """Last test: it exhausts the caller's rate limit."""
    assert eventually(gateway.answers)
    # Until a token is validated, its requests count for the client's address.
    ann.get("/api/jobs"), bob.get("/api/jobs")
    deadline = time.monotonic() + 60
    codes: list[int] = []

    def hammer() -> None:
        with httpx.Client(base_url=gateway.url, headers=ann.api.headers, trust_env=False, timeout=40) as client:
            while 429 not in codes and time.monotonic() < deadline:
                codes.append(client.get("/nothing").status_code)

    threads = [threading.Thread(target=hammer) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 429 in codes
    assert bob.api.get("/api/jobs").status_code == 200
