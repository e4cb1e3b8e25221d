"""`helm test` over real HTTP: each check fails on the defect that it checks, and a job leaves nothing behind."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from contentgen_contract.names import Kind
from contentgen_contract.resources.operator_class import class_of
from contentgen_contract.resources.spec import parse_spec
from contentgen_operator.selftest import TINY, SelftestChecks, SelftestFailed
from kubernetes import client

Body = dict[str, Any]
DEPLOYMENT = "/apis/apps/v1/namespaces/contentgen/deployments/contentgen"
WORKER_JOB = "/worker-job"
PICTURES = "/apis/contentgen.dev/v1alpha1/namespaces/marketing/imagegenerations"


STORES = "/stores"


class Cluster:
    """API server as far as the self-test uses it; an image goes through `statuses`, one per read."""

    def __init__(self) -> None:
        self.ready = 1
        self.unmet_requirements: list[Body] | None = []
        self.worker_job: Body | None = {"namespace": "marketing", "refusal": "", "unknown": ""}
        self.refused: str | None = None
        self.statuses: list[Body] = []
        self.created: list[tuple[str, bool]] = []
        self.specs: list[Body] = []
        self.deleted: list[str] = []
        self.looks = 0

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Body]:
        if path == DEPLOYMENT:
            return 200, {"status": {"readyReplicas": self.ready} if self.ready else {}}
        if path == STORES:
            return (200, {"unmet": self.unmet_requirements}) if self.unmet_requirements is not None else (503, {})
        if path == WORKER_JOB:
            return (200, self.worker_job) if self.worker_job is not None else (503, {})
        if method == "POST":
            assert query["fieldValidation"] == ["Strict"]
            self.created.append((body["kind"], query.get("dryRun") == ["All"]))
            self.specs.append(body["spec"])
            return (422, {"message": "no"}) if body["kind"] == self.refused else (201, body)
        if method == "DELETE":
            self.deleted.append(path)
            return 200, {}
        assert (method, path.rpartition("/")[0]) == ("GET", PICTURES)
        self.looks += 1
        return 200, {"status": self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]}


@pytest.fixture
def cluster() -> Iterator[tuple[Cluster, SelftestChecks]]:
    made = Cluster()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            at = urlsplit(self.path)
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = made.answer(self.command, at.path, parse_qs(at.query), json.loads(sent) if sent else None)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _any  # noqa: N815 - http.server names them

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    with client.ApiClient(client.Configuration(host=f"http://127.0.0.1:{server.server_port}")) as api:
        yield made, SelftestChecks(api, "marketing")
    server.shutdown()
    thread.join()
    server.server_close()


def ended(condition: str) -> Body:
    return {"phase": condition, "reason": "R", "message": "said", "conditions": [{"type": condition, "status": "True"}]}


@pytest.mark.parametrize("kind", Kind)
def test_selftest_resources_are_valid(kind: Kind) -> None:
    parse_spec(kind, TINY[kind])


def test_a_ready_operator_passes(cluster: tuple[Cluster, SelftestChecks]) -> None:
    cluster[1].operator("contentgen", "contentgen", 0)


def test_an_operator_that_is_not_ready_does_not(cluster: tuple[Cluster, SelftestChecks]) -> None:
    server, check = cluster
    server.ready = 0
    with pytest.raises(SelftestFailed, match="no pod of deployment contentgen/contentgen is ready"):
        check.operator("contentgen", "contentgen", 0)


def unmet(name: str, *, stops: bool) -> Body:
    return {"name": name, "stopsPayments": stops, "text": f"no {name}"}


def test_a_store_without_a_recommended_ability_passes(
    cluster: tuple[Cluster, SelftestChecks], caplog: pytest.LogCaptureFixture
) -> None:
    server, check = cluster
    server.unmet_requirements = [unmet("versions", stops=False)]
    check.stores(f"{check._api.configuration.host}{STORES}")
    assert "S3 does not meet versions: no versions" in caplog.text


@pytest.mark.parametrize(
    ("answered", "words"),
    [
        ([unmet("region", stops=True), unmet("versions", stops=False)], "^no region$"),
        (None, "does not say unmet"),
    ],
)
def test_a_store_with_which_nothing_is_paid_fails(
    cluster: tuple[Cluster, SelftestChecks], answered: list[Body] | None, words: str
) -> None:
    server, check = cluster
    server.unmet_requirements = answered
    with pytest.raises(SelftestFailed, match=words):
        check.stores(f"{check._api.configuration.host}{STORES}")


def test_the_kinds_are_tried_in_a_dry_run_only(cluster: tuple[Cluster, SelftestChecks]) -> None:
    server, check = cluster
    check.kinds()
    assert server.created == [(kind.value, True) for kind in Kind]


@pytest.mark.parametrize("chosen", ["default", "batch"])
def test_selftest_resources_have_the_class_of_the_release(cluster: tuple[Cluster, SelftestChecks], chosen: str) -> None:
    server, check = cluster
    SelftestChecks(check._api, "marketing", chosen).kinds()
    assert [class_of({"spec": spec}) for spec in server.specs] == [chosen] * len(Kind)
    assert ["operatorClass" in spec for spec in server.specs] == [chosen != "default"] * len(Kind)


def test_a_kind_that_is_not_taken_is_named(cluster: tuple[Cluster, SelftestChecks]) -> None:
    server, check = cluster
    server.refused = "Transcription"
    with pytest.raises(SelftestFailed, match="Transcription is refused in a dry run: 422"):
        check.kinds()


def asks(check: SelftestChecks) -> None:
    check.worker_job(f"{check._api.configuration.host}{WORKER_JOB}")


@pytest.mark.parametrize(
    ("unknown", "said"),
    [
        ("", "a worker Job in marketing is accepted"),
        ("500 timeout", "whether a worker Job is accepted is not known: 500"),
    ],
)
def test_worker_job_that_nothing_refused_passes(
    cluster: tuple[Cluster, SelftestChecks], caplog: pytest.LogCaptureFixture, unknown: str, said: str
) -> None:
    server, check = cluster
    server.worker_job = {"namespace": "marketing", "refusal": "", "unknown": unknown}
    with caplog.at_level("INFO"):
        asks(check)
    assert said in caplog.text
    assert server.created == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            {"namespace": "marketing", "refusal": "403 metadata.annotations: expected {}", "unknown": ""},
            "a worker Job in marketing is refused in a dry run: 403 metadata.annotations",
        ),
        (None, "/worker-job does not say"),
        ({"namespace": "marketing"}, "does not say"),
    ],
)
def test_refused_worker_job_fails(cluster: tuple[Cluster, SelftestChecks], answer: Body | None, said: str) -> None:
    server, check = cluster
    server.worker_job = answer
    with pytest.raises(SelftestFailed, match=said):
        asks(check)


def test_a_job_that_completes_leaves_nothing(cluster: tuple[Cluster, SelftestChecks]) -> None:
    server, check = cluster
    server.statuses = [{}, {"phase": "Processing"}, ended("Complete")]
    check.job(10)
    assert server.created == [("ImageGeneration", False)]
    assert len(server.deleted) == 1
    assert server.deleted[0].startswith(f"{PICTURES}/helm-test-")


@pytest.mark.parametrize(
    ("status", "seconds", "said"),
    [(ended("Failed"), 2, "Failed R: said"), ({"phase": "Pending"}, 0, "Pending : nothing happened")],
)
def test_a_job_that_does_not_complete_fails_and_leaves_nothing(
    cluster: tuple[Cluster, SelftestChecks], status: Body, seconds: float, said: str
) -> None:
    server, check = cluster
    server.statuses = [status]
    with pytest.raises(SelftestFailed, match=said):
        check.job(seconds)
    assert server.looks == 1
    assert len(server.deleted) == 1
