"""`kubectl contentgen` against an HTTP API server on loopback: output, patches and errors."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from rich.console import Console
from rich.text import Text

from contentgen_cli import __main__, completion, printing, tables, target
from contentgen_cli.commands import retrying, watching
from contentgen_cli.commands.why import describe_pod
from contentgen_cli.errors import CliError
from contentgen_cli.item import Item, age
from contentgen_contract.advice.job_facts import JobFacts
from contentgen_contract.advice.job_state import job_state
from contentgen_contract.names import Kind, Phase

Body = dict[str, Any]
NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)
SHA = "ab" * 32
BODY_TYPES = {"PATCH": "application/merge-patch+json", "POST": "application/json"}


class Api:
    """API server: resources by kind and name, other responses by path, and recorded patches."""

    def __init__(self) -> None:
        self.resources: dict[tuple[str, str, str], Body] = {}
        user = {"status": {"userInfo": {"username": "jane@example.com"}}}
        self.extra: dict[str, tuple[int, Any]] = {"/apis/authentication.k8s.io/v1/selfsubjectreviews": (201, user)}
        self.patches: list[Body] = []
        self.tried: list[Body] = []  # with dryRun=All
        self.refuses: dict[str, str] = {}  # by name of the resource: the API server's reason to refuse a change
        self.classes = {"default"}  # that an operator serves
        self.asked: list[str] = []
        self.users: list[str | None] = []  # impersonated, by request
        self.before_get: Callable[[], None] = lambda: None

    def answer(self, method: str, url: str, body: Body | None) -> tuple[int, Any]:
        parts = urlsplit(url)
        self.asked.append(f"{method} {url}")
        if parts.path in self.extra:
            return self.extra[parts.path]
        found = re.fullmatch(r"/apis/contentgen.dev/v1alpha1(?:/namespaces/([^/]+))?/([a-z]+)(?:/([^/]+))?", parts.path)
        if found is None:
            selector = parse_qs(parts.query).get("fieldSelector", [""])[0]
            return self.extra.get(f"{parts.path}?{selector}", (200, {"items": []}))
        namespace, plural, name = found.groups()
        if plural == "operatorclasses":
            return (200, {}) if name in self.classes else (404, {"kind": "Status", "message": f"{name!r} not found"})
        self.before_get()
        if name is None:
            listed = [b for (ns, p, _), b in self.resources.items() if p == plural and namespace in (None, ns)]
            return 200, {"items": listed}
        there = self.resources.get((namespace, plural, name))
        if there is None:
            return 404, {"kind": "Status", "message": f"{plural} {name!r} not found"}
        if method == "PATCH" and body is not None:
            if body["metadata"]["resourceVersion"] != there["metadata"]["resourceVersion"]:
                return 409, {"kind": "Status", "message": "the object has been modified"}
            if name in self.refuses:
                return 422, {"kind": "Status", "message": self.refuses[name]}
            tried = parse_qs(parts.query).get("dryRun") == ["All"]
            (self.tried if tried else self.patches).append(body)
        return 200, there

    def has(self, kind: Kind, name: str, status: Body, *, namespace: str = "demo", **more: Any) -> Body:
        body: Body = {
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": f"uid-{kind.short_name}-{name}",
                "resourceVersion": "7",
                "generation": 1,
                "creationTimestamp": "2026-11-21T07:00:00Z",
                "annotations": more.pop("annotations", {}),
            },
            "spec": more.pop("spec", {}),
            "status": status,
        }
        self.resources[namespace, kind.plural, name] = body
        return body


@pytest.fixture
def api(serve: Callable[..., str], use_cluster: Callable[[str], None]) -> Api:
    made = Api()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are sent one after the other

        def log_message(self, *_: object) -> None:
            """No log output."""

        def do_GET(self) -> None:
            made.users.append(self.headers.get("Impersonate-User"))
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if sent and self.headers.get("Content-Type") != BODY_TYPES[self.command]:  # as the real API server
                status, answer = 415, {"message": "the body of the request was in an unknown format"}
            else:
                status, answer = made.answer(self.command, self.path, json.loads(sent) if sent else None)
            body = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PATCH = do_POST = do_GET  # noqa: N815 - http.server's name

    use_cluster(serve(Handler))
    return made


@pytest.fixture
def cli(api: Api, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., "Said"]:
    def run(*words: str) -> "Said":
        monkeypatch.setattr(sys, "argv", ["kubectl-contentgen", *words])
        with pytest.raises(SystemExit) as ended:
            __main__.main()
        captured = capsys.readouterr()
        return Said(int(ended.value.code or 0), captured.out, captured.err)

    return run


class Said:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def commands(self) -> list[str]:
        lines = [line.removeprefix("Next").strip() for line in self.out.splitlines()]
        return [line for line in lines if line.startswith("kubectl ")]


def status(phase: str, reason: str = "", **more: Any) -> Body:
    run = {"version": 1, "runHash": "h", "generation": 1, "spec": {}, "startedAt": "2026-11-21T07:00:00Z"}
    return {
        "observedGeneration": 1,
        "phase": phase,
        "reason": reason or phase,
        "message": more.pop("message", ""),
        "progress": 40,
        "run": run | more.pop("run", {}),
        **more,
    }


TOKEN = {"resubmitToken": "1a2b3c4d"}
COST = {"estimated": "2.00", "actual": "", "currency": "USD", "source": "built-in estimate", "display": "~$2.00"}
VERSION: Body = {
    "version": 1,
    "bucket": "assets",
    "jobId": "u",
    "runHash": "h",
    "completedAt": "2026-11-21T07:30:00Z",
    "files": [{"key": "loras/demo/u/v1/model.safetensors", "sizeBytes": 12_345_678, "sha256": SHA}],
}


def completed(**more: Any) -> Body:
    return status("Completed", versions=[VERSION], cost=COST | {"actual": "2.00"}, run={"requestId": "r"}) | more


# --- names


@pytest.mark.parametrize(
    ("words", "kind", "name"),
    [
        (["lora/a"], Kind.LORA_TRAINING, "a"),
        (["imagegen/a"], Kind.IMAGE_GENERATION, "a"),
        (["transcript/a"], Kind.TRANSCRIPTION, "a"),
        (["LoraTraining", "a"], Kind.LORA_TRAINING, "a"),
        (["loratrainings.contentgen.dev/a"], Kind.LORA_TRAINING, "a"),
        (["a"], None, "a"),
    ],
)
def test_names(words: list[str], kind: Kind | None, name: str) -> None:
    assert target.parse(words) == target.ResourceName(name, kind)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["pod/a"], "'pod' is not a kind; expected one of lora (LoraTraining)"),
        (["lora/"], "'' is not a resource name"),
        (["lora/a/b"], "'a/b' is not a resource name"),
        (["a", "b", "c"], "expected NAME, KIND/NAME or KIND NAME"),
    ],
)
def test_wrong_names(words: list[str], text: str) -> None:
    with pytest.raises(CliError, match=re.escape(text)):
        target.parse(words)


def test_a_bare_name_of_one_resource_is_enough(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.TRANSCRIPTION, "talk", completed())
    assert "Transcription demo/talk is Completed" in cli("why", "talk").out


def test_a_name_of_two_lists_the_candidates(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.TRANSCRIPTION, "avatar", completed())
    api.has(Kind.LORA_TRAINING, "avatar", completed())
    said = cli("why", "avatar")
    assert (said.code, said.out) == (1, "")
    assert "give one of: lora/avatar or transcript/avatar" in said.err


@pytest.mark.parametrize("name", ["..", "a/../b", "x?watch=true", "X", "%2e%2e", "a..b"])
def test_a_name_that_is_none_is_not_asked_for(api: Api, cli: Callable[..., Said], name: str) -> None:
    said = cli("why", f"lora/{name}")
    assert said.code == 1
    assert said.err.startswith("error: ")
    assert not [request for request in api.asked if "loratrainings/" in request]


def test_a_namespace_that_is_none_is_not_asked_for(api: Api, cli: Callable[..., Said]) -> None:
    said = cli("why", "lora/it", "-n", "../kube-system")
    assert said.code == 1
    assert "'../kube-system' is no valid namespace" in said.err
    assert api.asked == []


def test_a_name_of_none_is_told_with_its_neighbours(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "avatar", completed())
    assert "did you mean lora/avatar?" in cli("why", "avtar").err
    said = cli("why", "lora/x")
    assert (said.code, said.err) == (1, "error: LoraTraining x was not found in namespace 'demo'\n")


# --- why


@pytest.mark.parametrize(
    ("why", "words"),
    [("WaitingForLora", "Waiting for LoRA"), ("LoraMissing", "LoRA missing"), ("LoraFailed", "LoRA failed")],
)
def test_why_of_a_wait_for_a_lora(why: str, words: str, api: Api, cli: Callable[..., Said]) -> None:
    waiting = status("Pending", why, message="LoraTraining one is Processing")
    spec = {"loras": [{"loraRef": {"name": "one"}}, {"loraRef": {"name": "none"}}, {"path": "https://h/x"}]}
    api.has(Kind.IMAGE_GENERATION, "pic", waiting, spec=spec)
    api.has(Kind.LORA_TRAINING, "one", status("Processing", message="running at fal"))
    said = cli("why", "pic")
    assert f"ImageGeneration demo/pic is {words} ({why}), 40 %" in said.out
    assert "lora/one: Running, 40 %, running at fal" in said.out
    assert "lora/none: does not exist in this namespace" in said.out
    assert said.commands == ["kubectl contentgen why lora/one", "kubectl get loratrainings"]


def test_why_of_a_wait_in_the_queue_has_the_position(api: Api, cli: Callable[..., Said]) -> None:
    for minute, name in enumerate(("old", "pic", "new")):
        waiting = status("Pending", "Queued", message="waiting for a place")
        run = waiting.get("run", {"number": 1, "version": 1, "runHash": "x", "generation": 1, "spec": {}})
        waiting["run"] = run | {"startedAt": f"2026-11-21T07:0{minute}:00Z"}
        api.has(Kind.IMAGE_GENERATION, name, waiting, spec={"priority": 1} if name == "new" else {})
    assert "position 3 of 3 in this namespace's queue for fal" in cli("why", "pic").out
    assert "position 1 of 3" in cli("why", "new").out


def test_why_of_a_failure_has_the_command(api: Api, cli: Callable[..., Said]) -> None:
    logs = [{"stage": "prepare", "attempt": 1, "text": "07:00:01 order"}]
    failed = status("Failed", "NoAudio", message="source: no sound", run={"logs": logs})
    api.has(Kind.TRANSCRIPTION, "talk", failed)
    said = cli("why", "transcript", "talk", "-n", "demo")
    assert "The file has no audio track," in said.out
    assert "spec.options.audioTrack" in said.out
    assert said.commands == ["kubectl contentgen logs transcript/talk", "kubectl edit transcription talk"]


@pytest.mark.parametrize("reason", ["ProviderFailed", "JobFailed", "DeadlineExceeded", "SourceUnreachable"])
def test_why_of_a_transient_failure_offers_a_retry(api: Api, cli: Callable[..., Said], reason: str) -> None:
    api.has(Kind.LORA_TRAINING, "a", status("Failed", reason))
    assert cli("why", "a").commands == ["kubectl contentgen retry lora/a"]


def test_why_of_a_completed_run_lists_its_files(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", completed(), namespace="other")
    said = cli("why", "a", "-n", "other", "--context", "there")
    assert "s3://assets/loras/demo/u/v1/model.safetensors (12.3 MB)" in said.out
    assert "2.00 USD paid" in said.out
    assert said.commands == ["kubectl contentgen get files lora/a --context there -n other"]


def test_why_of_a_resource_without_an_operator(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", {}, namespace="other")
    said = cli("why", "a", "-n", "other")
    assert "has not been processed by the operator" in said.out
    assert "Check that an operator of the class 'default' runs and watches this namespace.\n" in said.out
    assert said.commands == ["kubectl get pods --all-namespaces --selector app.kubernetes.io/name=contentgen"]


def test_why_of_a_missing_pod(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", status("Preparing", run={"job": {"name": "j-r1-prepare-1", "stage": "prepare"}}))
    jobs = "/apis/batch/v1/namespaces/demo/jobs"
    job = {"metadata": {"name": "j-r1-prepare-1", "uid": "job", "creationTimestamp": "2026-11-21T07:00:00Z"}}
    api.extra[jobs] = (200, {"items": [job]})
    quota = {"reason": "FailedCreate", "type": "Warning", "message": "exceeded quota: tiny, requested: cpu=1"}
    events = "/api/v1/namespaces/demo/events?involvedObject.uid="
    api.extra[f"{events}job"] = (200, {"items": [quota]})
    happened = {"reason": "Preparing", "type": "Normal", "message": "being prepared",
                "lastTimestamp": "2026-11-21T07:00:00Z"}  # fmt: skip
    api.extra[f"{events}uid-lora-a"] = (200, {"items": [happened]})
    said = cli("why", "a")
    assert "j-r1-prepare-1: none: exceeded quota: tiny, requested: cpu=1" in said.out
    assert "Remove the cause of the pod's wait" in said.out
    assert "Preparing: being prepared" in said.out


def test_why_of_a_pending_pod_works_without_events(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", status("Preparing", run={"job": {"name": "j-r1-prepare-1", "stage": "prepare"}}))
    api.extra["/api/v1/namespaces/demo/pods"] = (200, {"items": [pod(UNSCHEDULABLE), pod({}, job="j-r1-prepare-0")]})
    api.extra["/api/v1/namespaces/demo/events"] = (403, {"message": "events is forbidden"})
    said = cli("why", "a")
    assert said.out.count("no node has room for it: 0/1 nodes are available: 1 Insufficient memory.") == 1
    assert said.commands == ["kubectl describe pod j-r1-prepare-1-x"]


def pod(state: Body, *, job: str = "j-r1-prepare-1") -> Body:
    labels = {"batch.kubernetes.io/job-name": job}
    meta = {"name": f"{job}-x", "labels": labels, "creationTimestamp": "2026-11-21T07:00:00Z"}
    spec = {"containers": [{"name": "worker", "resources": {"limits": {"memory": "1Gi"}}}]}
    return {"metadata": meta, "spec": spec, "status": {"phase": "Pending"} | state}


def waits(reason: str, message: str = "") -> Body:
    return {"containerStatuses": [{"state": {"waiting": {"reason": reason, "message": message}}}]}


UNSCHEDULABLE = {
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient memory.",
        }
    ]
}


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (UNSCHEDULABLE, "Pending: no node has room for it: 0/1 nodes are available: 1 Insufficient memory."),
        (waits("ImagePullBackOff", "back-off"), "Pending: its image cannot be pulled (ImagePullBackOff): back-off"),
        (waits("CreateContainerConfigError", "no secret x"),
         "Pending: its container cannot be created (CreateContainerConfigError): no secret x"),
        (waits("ContainerCreating"), "Pending: it is starting"),
        ({}, "Pending: it is starting"),
        ({"phase": "Running"}, "Running"),
        ({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"reason": "OOMKilled"}}}]},
         "Failed: it ran out of memory (limit 1Gi)"),
        ({"phase": "Failed", "reason": "Evicted", "message": "The node was low on disk"},
         "Failed: Evicted: The node was low on disk"),
        ({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"reason": "Error", "exitCode": 3}}}]},
         "Failed: Error, exit code 3"),
    ],
)  # fmt: skip
def test_a_pod_in_words(state: Body, text: str) -> None:
    assert describe_pod(pod(state)) == text


# --- logs


KEPT = [
    {"stage": "collect", "attempt": 1, "text": "07:01:00 Storing: files 4"},
    {"stage": "prepare", "attempt": 1, "text": "07:00:00 order\n07:00:01 Downloading: 3 MB"},
]
LINE = json.dumps({"time": "2026-11-21T07:05:00+00:00", "level": "info", "event": "order", "version": 1})


def test_logs_that_outlived_their_pods(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", completed(run=completed()["run"] | {"logs": KEPT}))
    said = cli("logs", "a")
    assert said.out == "07:00:00 order\n07:00:01 Downloading: 3 MB\n07:01:00 Storing: files 4\n"
    assert "prepare, attempt 1 (from the status; its pod is deleted)" in said.err
    assert cli("logs", "a", "--stage", "collect").out == "07:01:00 Storing: files 4\n"


def test_a_pods_own_log_precedes_what_is_kept(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", status("Failed", run={"logs": KEPT}))
    older = pod({"phase": "Failed"}, job="j-r0-prepare-1")
    api.extra["/api/v1/namespaces/demo/pods"] = (200, {"items": [pod({"phase": "Failed"}), older]})
    api.extra["/api/v1/namespaces/demo/pods/j-r1-prepare-1-x/log"] = (200, f"{LINE}\nKilled")
    assert cli("logs", "a").out == "07:05:00 order: version 1\nKilled\n07:01:00 Storing: files 4\n"
    assert cli("logs", "a", "--stage", "prepare", "--raw").out == f"{LINE}\nKilled\n"


@pytest.mark.parametrize("raw", [(), ("--raw",)])
def test_a_log_does_not_control_the_terminal(api: Api, cli: Callable[..., Said], raw: tuple[str, ...]) -> None:
    """Users with exec rights can write into a worker's log."""
    api.has(Kind.LORA_TRAINING, "a", status("Failed", run={"logs": KEPT[:1]}))
    api.extra["/api/v1/namespaces/demo/pods"] = (200, {"items": [pod({"phase": "Failed"})]})
    hostile = "a\x1b]0;title\x07b\x9b2Jc\x7f\td\u00e9"
    api.extra["/api/v1/namespaces/demo/pods/j-r1-prepare-1-x/log"] = (200, f"{hostile}\n")
    shown = r"a\x1b]0;title\x07b\x9b2Jc\x7f" + "\td\u00e9"
    assert cli("logs", "a", "--stage", "prepare", *raw).out == f"{shown}\n"


def test_a_pod_without_a_log(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", status("Preparing"))
    pods, log = "/api/v1/namespaces/demo/pods", "/api/v1/namespaces/demo/pods/j-r1-prepare-1-x/log"
    api.extra[pods] = (200, {"items": [pod(UNSCHEDULABLE)]})
    api.extra[log] = (200, "")  # what a real API server says of a pod that no node has
    assert "(no log yet; the pod is Pending: no node has room for it" in cli("logs", "a").out
    api.extra[pods] = (200, {"items": [pod({"phase": "Running"})]})
    api.extra[log] = (400, {"message": 'container "worker" in pod "p" is waiting to start: ContainerCreating'})
    assert "(no log yet; the pod is Running)" in cli("logs", "a").out
    api.extra[log] = (404, {"message": "pods not found"})
    assert cli("logs", "a").out == ""


@pytest.mark.parametrize("phase", ["Pending", "Running"])
def test_the_log_of_an_ended_attempt_whose_pod_status_lags(api: Api, cli: Callable[..., Said], phase: str) -> None:
    api.has(Kind.LORA_TRAINING, "a", status("Failed", run={"logs": KEPT[1:]}))
    pods = "/api/v1/namespaces/demo/pods"
    api.extra[pods] = (200, {"items": [pod({"phase": phase})]})
    api.extra[f"{pods}/j-r1-prepare-1-x/log"] = (400, {"message": "container is waiting to start: ContainerCreating"})
    for follow in ((), ("-f",)):
        assert cli("logs", "a", *follow).out == "07:00:00 order\n07:00:01 Downloading: 3 MB\n"


def test_no_log_at_all(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", {})
    said = cli("logs", "a", "--stage", "prepare")
    assert (said.code, said.out) == (1, "")
    assert "lora/a has no log of prepare: it is not started. See the cause: kubectl contentgen why lora/a" in said.err


def test_logs_are_followed_to_the_end_of_the_run(
    api: Api, cli: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contentgen_cli.commands.logs._PAUSE", 0.01)
    api.has(Kind.LORA_TRAINING, "a", status("Preparing"))
    pods = "/api/v1/namespaces/demo/pods"
    api.extra[pods] = (200, {"items": [pod({})]})
    api.extra[f"{pods}/j-r1-prepare-1-x/log"] = (200, f"{LINE}\n")
    gets = iter(range(1, 100))

    def go_on() -> None:
        match next(gets):
            case 4:
                api.extra[pods] = (200, {"items": [pod({"phase": "Running"})]})
            case 6:
                api.has(Kind.LORA_TRAINING, "a", completed(run=completed()["run"] | {"logs": KEPT[:1]}))

    api.before_get = go_on
    said = cli("logs", "lora/a", "-f")
    assert said.out == "07:05:00 order: version 1\n07:01:00 Storing: files 4\n"


# --- files


def test_files_for_scripts(api: Api, cli: Callable[..., Said]) -> None:
    second = VERSION | {"version": 2, "files": [VERSION["files"][0] | {"key": "v2/model.safetensors"}]}
    api.has(Kind.LORA_TRAINING, "a", completed(versions=[second, VERSION]))
    assert json.loads(cli("get", "files", "a", "-o", "json", "--version", "1").out) == {
        "kind": "LoraTraining",
        "namespace": "demo",
        "name": "a",
        "versions": [
            {
                "version": 1,
                "completedAt": "2026-11-21T07:30:00Z",
                "jobId": "u",
                "runHash": "h",
                "bucket": "assets",
                "files": [
                    {
                        "url": "s3://assets/loras/demo/u/v1/model.safetensors",
                        "key": "loras/demo/u/v1/model.safetensors",
                        "sizeBytes": 12_345_678,
                        "sha256": SHA,
                    }
                ],
            }
        ],
    }
    urls = cli("get", "files", "a", "-o", "urls").out
    assert urls == "s3://assets/loras/demo/u/v1/model.safetensors\ns3://assets/v2/model.safetensors\n"
    assert "has no version 3; existing versions: 1, 2" in cli("get", "files", "a", "--version", "3").err


@pytest.fixture
def two(api: Api) -> None:
    """A LoRA and a transcript with one file each."""
    talk = VERSION | {"files": [{"key": "t/talk.txt", "sizeBytes": 5}]}
    api.has(Kind.LORA_TRAINING, "a", completed())
    api.has(Kind.TRANSCRIPTION, "b", completed(versions=[talk]))


LORA_FILE, TALK_FILE = "s3://assets/loras/demo/u/v1/model.safetensors", "s3://assets/t/talk.txt"


@pytest.mark.usefixtures("two")
def test_files_of_several(cli: Callable[..., Said]) -> None:
    assert cli("get", "files", "a", "transcript/b", "-o", "urls").out == f"{LORA_FILE}\n{TALK_FILE}\n"
    head, *rows = [line.split() for line in cli("get", "files", "lora/a", "b").out.splitlines()]
    assert head[0] == "NAME", "as kubectl, which names the resources where there are several"
    assert [(row[0], row[-1]) for row in rows] == [("lora/a", LORA_FILE), ("transcript/b", TALK_FILE)]
    listed = json.loads(cli("get", "files", "a", "b", "-o", "json").out)["items"]
    assert [(each["kind"], each["name"], len(each["versions"])) for each in listed] == [
        ("LoraTraining", "a", 1),
        ("Transcription", "b", 1),
    ]


@pytest.mark.usefixtures("two")
def test_files_of_several_of_one_kind(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "c", completed(versions=[VERSION | {"files": [{"key": "c", "sizeBytes": 5}]}]))
    assert cli("get", "files", "lora", "a", "c", "-o", "urls").out == f"{LORA_FILE}\ns3://assets/c\n"
    assert json.loads(cli("get", "files", "lora", "a", "-o", "json").out)["name"] == "a", "one is no list"


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("missing", ["none", "lora/none", "waits"])
def test_missing_resource_among_several_does_not_hide_the_others(
    api: Api, cli: Callable[..., Said], missing: str
) -> None:
    api.has(Kind.IMAGE_GENERATION, "waits", status("Processing"))
    said = cli("get", "files", missing, "a", "b", "-o", "urls")
    assert (said.code, said.out) == (1, f"{LORA_FILE}\n{TALK_FILE}\n")
    assert said.err.startswith("error: ")
    assert missing.removeprefix("lora/") in said.err
    listed = json.loads(cli("get", "files", "a", missing, "-o", "json").out)["items"]
    assert [each["name"] for each in listed] == ["a"], "a script that asked for two gets a list"


def test_unreachable_cluster_is_asked_once_for_several_names(
    cli: Callable[..., Said], write_kubeconfig: Callable[[Path, str], Path], tmp_path: Path
) -> None:
    write_kubeconfig(tmp_path / "gone", "http://127.0.0.1:1")
    said = cli("get", "files", "lora/a", "lora/b", "--kubeconfig", str(tmp_path / "gone"))
    assert (said.code, said.err.count("does not respond")) == (1, 1)


@pytest.mark.parametrize(
    ("words", "targets"),
    [
        (["a"], ["a"]),
        (["a", "b", "c"], ["a", "b", "c"]),
        (["lora/a", "b"], ["lora/a", "b"]),
        (["transcript", "a", "b"], ["transcript/a", "transcript/b"]),
        (["lora", "lora"], ["lora/lora"]),
        (["lora"], ["lora"]),
    ],
)
def test_several_names(words: list[str], targets: list[str]) -> None:
    assert target.parse_all(words) == [target.parse([each_target]) for each_target in targets]


@pytest.mark.parametrize("words", [["lora", "lora/a"], ["a", "pod/b"], ["a", ""], ["lora", "a", "transcript/b"]])
def test_several_wrong_names(words: list[str]) -> None:
    with pytest.raises(CliError):
        target.parse_all(words)


def test_files_as_a_table_are_never_cut(api: Api, cli: Callable[..., Said]) -> None:
    key = "loras/" + "n" * 300 + "/model.safetensors"
    api.has(Kind.LORA_TRAINING, "a", completed(versions=[VERSION | {"files": [{"key": key, "sizeBytes": 5}]}]))
    out = cli("get", "files", "a").out
    assert out.splitlines()[1].endswith(f"   s3://assets/{key}")
    assert "\x1b" not in out


def test_no_files_yet(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", status("Processing"))
    said = cli("get", "files", "a")
    assert (said.code, "no files yet: it is Running." in said.err) == (1, True)


# --- watch


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ("Completed", "Completed"),
        ("Failed", "Failed"),
        ("SubmissionUnknown", "Payment unknown"),
        ("Suspended", "Paused"),
    ],
)
def test_watch_ends_with_the_verdict(
    api: Api, cli: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, ends: str, words: str
) -> None:
    monkeypatch.setattr("contentgen_cli.commands.watching.time.sleep", lambda _: None)
    api.has(Kind.LORA_TRAINING, "done", completed())
    api.has(Kind.TRANSCRIPTION, "talk", status("Processing", stage="Transcribing"))
    reads = iter(range(1, 100))

    def go_on() -> None:
        if next(reads) > 20:
            api.has(Kind.TRANSCRIPTION, "talk", status(ends, progress=100), spec={"suspend": ends == "Suspended"})

    api.before_get = go_on
    said = cli("watch")
    assert said.code == int(ends != "Completed"), said.err
    assert [line.split(" ", 1)[1] for line in said.out.splitlines()] == [
        "lora/done Completed 40 %",
        "transcript/talk Running 40 % Transcribing",
        f"transcript/talk {words} 100 %",
    ]


def test_watch_of_an_edit_that_was_not_taken_up_goes_on(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", completed())["metadata"]["generation"] = 2
    said = cli("watch", "a", "--timeout", "0")
    assert (said.code, "not all runs are over after 0 s" in said.err) == (1, True)
    api.has(Kind.LORA_TRAINING, "a", completed(), annotations={"contentgen.dev/rerun": "x"})
    assert cli("watch", "a", "--timeout", "0").code == 1
    api.has(Kind.LORA_TRAINING, "a", completed())
    assert cli("watch", "a", "--timeout", "0").code == 0


def test_a_terminal_of_80_columns_holds_a_long_name_on_one_line(api: Api) -> None:
    name = "portrait-of-jesse-2026"
    failed = status("Failed", "SourceUnreachable", cost=COST)
    item = Item.parse(Kind.IMAGE_GENERATION, api.has(Kind.IMAGE_GENERATION, name, failed))
    for width, priced in ((80, False), (100, True)):
        written = io.StringIO()
        out = Console(file=written, width=width, force_terminal=True, no_color=True, legacy_windows=False)
        watching.watch(out, lambda: [item], namespaces=False, timeout=5)
        shown = written.getvalue()
        assert f"imagegen/{name} " in shown
        assert ("$2.00" in shown) is priced


def test_watch_of_nothing(api: Api, cli: Callable[..., Said]) -> None:
    assert "there is no content in namespace 'demo'" in cli("watch").err
    assert "there is no content in any namespace" in cli("watch", "-A").err


# --- retry


def test_unpaid_run_is_retried_without_a_question(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", status("Failed", "SourceUnreachable", cost=COST))
    said = cli("retry", "a")
    assert said.code == 0, said.err
    assert "Nothing was paid for the run that failed.\nThe estimated cost is 2.00 USD, by the built-in" in said.out
    [patch] = api.patches
    assert set(patch["metadata"]["annotations"]) == {"contentgen.dev/rerun"}
    assert patch["metadata"]["annotations"]["contentgen.dev/rerun"]


def test_paid_run_is_not_retried_without_consent(api: Api, cli: Callable[..., Said]) -> None:
    for paid in (status("Failed", "ProviderFailed", run={"requestId": "r"}, cost=COST), completed()):
        api.has(Kind.LORA_TRAINING, "a", paid)
        said = cli("retry", "a")
        assert (said.code, api.patches) == (1, [])
        assert "2.00 USD" in said.out
        assert "this pays, and standard input is not a terminal for the confirmation: give --yes" in said.err
    assert cli("retry", "a", "--yes").code == 0
    assert len(api.patches) == 1


ESTIMATED: Body = status("Completed", "Estimated", cost=COST)
DRY: Body = {"spec": {"dryRun": "Estimate"}}


def test_an_estimate_leads_to_the_paid_run_and_has_no_files(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", ESTIMATED, **DRY)
    said = cli("why", "a")
    assert "LoraTraining demo/a is Estimated\n" in said.out
    assert "The price of a run is about 2.00 USD; nothing was paid, and nothing was made." in said.out
    assert said.commands == ["kubectl contentgen retry lora/a --paid"]
    assert "no files yet: it is Estimated" in cli("get", "files", "a").err


def test_retry_of_a_dry_run_pays_nothing_and_does_not_ask(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", ESTIMATED, **DRY)
    said = cli("retry", "a")
    assert (said.code, len(api.patches)) == (0, 1), said.err
    assert "another run pays nothing and ends with an estimate" in said.out
    assert "contentgen.dev/rerun" in api.patches[0]["metadata"]["annotations"]


def test_the_paid_run_after_an_estimate_is_confirmed(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", ESTIMATED, **DRY)
    said = cli("retry", "a", "--paid")
    assert (said.code, api.patches) == (1, [])
    assert "The estimated cost is 2.00 USD" in said.out
    assert cli("retry", "a", "--paid", "--yes").code == 0
    assert (api.patches[0]["spec"], "annotations" in api.patches[0]["metadata"]) == ({"dryRun": None}, False)
    api.has(Kind.LORA_TRAINING, "a", ESTIMATED)  # the operator has not read the edit yet
    assert "is under way (Running again (version 2)" in cli("retry", "a", "--yes").err
    api.has(Kind.LORA_TRAINING, "b", completed())
    assert "lora/b is no dry run that has ended with an estimate: it is Completed" in cli("retry", "b", "--paid").err


def test_a_requested_run_is_shown(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", completed(), annotations={"contentgen.dev/rerun": "x"})
    said = cli("why", "a")
    assert "LoraTraining demo/a is Running again (version 2)" in said.out
    assert "Another run is requested and begins soon." in said.out
    assert "is under way" in cli("retry", "a", "--yes").err


def test_a_removed_annotation_requests_nothing(api: Api, cli: Callable[..., Said]) -> None:
    done = completed()
    api.has(Kind.LORA_TRAINING, "a", done | {"run": done["run"] | {"rerun": "x"}})
    assert cli("watch", "a", "--timeout", "0").code == 0


@pytest.mark.parametrize(
    ("earlier", "text"),
    [
        ({"billed": True}, "An earlier attempt of this run was paid."),
        ({}, "An earlier attempt of this run may have been paid"),
        ({"requestOpen": True}, "An earlier attempt of this run may have been paid, and its request may still finish"),
    ],
)
def test_run_with_a_paid_earlier_attempt_needs_consent(
    api: Api, cli: Callable[..., Said], earlier: Body, text: str
) -> None:
    api.has(Kind.LORA_TRAINING, "a", status("Failed", "BudgetExceeded", run={"paidAttempt": 2} | earlier, cost=COST))
    said = cli("retry", "a")
    assert (said.code, api.patches) == (1, [])
    assert text in said.out
    assert "Nothing was paid" not in said.out
    assert "nothing was paid" not in cli("collect", "a").err
    assert "pays for the run, once" not in cli("why", "a").out


def test_run_with_an_unbilled_earlier_attempt_is_retried(api: Api, cli: Callable[..., Said]) -> None:
    run = {"paidAttempt": 2, "billed": False}
    api.has(Kind.LORA_TRAINING, "a", status("Failed", "BudgetExceeded", run=run, cost=COST))
    said = cli("retry", "a")
    assert (said.code, len(api.patches)) == (0, 1), said.err
    assert "Nothing was paid for the run that failed." in said.out


@pytest.mark.parametrize(
    ("state", "more", "text"),
    [
        (status("Processing"), {}, "is under way (Running, 40 %)"),
        ({}, {}, "is under way (Queued, 0 %)"),
        (status("Suspended"), {}, "is suspended. Resume it: kubectl contentgen resume lora/a"),
        (status("Failed"), {"spec": {"suspend": True}}, "is suspended"),
        (status("Failed", "InvalidSpec", message="spec.x: wrong"), {}, "would fail again: spec.x: wrong. Correct it"),
        (status("Failed"), {"annotations": {"contentgen.dev/rerun": "just now"}}, "is under way"),
    ],
)
def test_states_that_refuse_a_retry(api: Api, cli: Callable[..., Said], state: Body, more: Body, text: str) -> None:
    api.has(Kind.LORA_TRAINING, "a", state, **more)
    said = cli("retry", "a", "--yes")
    assert (said.code, api.patches) == (1, [])
    assert text in said.err


def test_unknown_submission_is_explained_with_its_token(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", status("SubmissionUnknown", run=TOKEN, cost=COST))
    assert cli("why", "a").commands == ["kubectl contentgen adopt lora/a REQUEST_ID", "kubectl contentgen retry lora/a"]
    said = cli("retry", "a")
    assert (said.code, api.patches) == (1, [])
    assert "if the first request was taken, it is paid twice" in " ".join(said.out.split())
    assert cli("retry", "a", "--yes").code == 0
    assert api.patches[0]["metadata"]["annotations"] == {"contentgen.dev/resubmit": "1a2b3c4d"}


def test_restored_mongodb_advises_its_newest_backup(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", status("SubmissionUnknown", "StoresDisagree", run=TOKEN, cost=COST))
    assert cli("why", "a").commands == ["kubectl contentgen retry lora/a"]
    said = cli("retry", "a")
    assert (said.code, api.patches) == (1, [])
    assert "Restore MongoDB's newest backup" in said.out
    assert "adopt" not in said.out


def test_free_collect_is_offered_before_a_paid_retry(api: Api, cli: Callable[..., Said]) -> None:
    failed = status("Failed", "JobFailed", stage="Storing", run={"requestId": "r"}, cost=COST)
    api.has(Kind.LORA_TRAINING, "a", failed)
    said = cli("retry", "a")
    assert (said.code, api.patches) == (1, [])
    assert "Fetch the paid result once more: kubectl contentgen collect lora/a" in said.out


def test_a_retry_of_what_has_changed_meanwhile_is_refused(api: Api, cli: Callable[..., Said]) -> None:
    there = api.has(Kind.LORA_TRAINING, "a", status("Failed", "SourceUnreachable"))
    read = iter(range(100))

    def somebody_writes() -> None:
        if next(read) == 1:
            there["metadata"]["resourceVersion"] = "8"

    api.before_get = somebody_writes
    said = cli("retry", "lora/a", "--yes")
    assert (said.code, api.patches) == (1, [])
    assert "lora/a was changed concurrently" in said.err


def test_each_retry_is_another() -> None:
    item = Item.parse(Kind.LORA_TRAINING, Api().has(Kind.LORA_TRAINING, "a", status("Failed")))
    values = {str(retrying.retry(item, NOW + timedelta(microseconds=at)).change) for at in range(3)}
    assert len(values) == 3


# --- annotations that name nothing


@pytest.mark.parametrize(
    ("annotation", "value", "state", "told"),
    [
        ("cancel", "true", status("Processing", run={"number": 2}), "names no run; the run under way is 2"),
        ("cancel", "02", status("Processing", run={"number": 2}), "names no run; the run under way is 2"),
        ("cancel", "4", status("Processing", run={"number": 2}), "names no run; the run under way is 2"),
        ("cancel", "", status("Completed", run={"number": 2}), "names no run; none is under way"),
        ("cancel", "1", status("Processing", run={"number": 2}), None),
        ("cancel", "2", status("Processing", run={"number": 2}), None),
        ("collect", "3", status("Failed", run={"number": 2}), "names no run; the last one is 2"),
        ("collect", "yes", status("Failed", run={"number": 2}), "names no run; the last one is 2"),
        ("collect", "2-x", status("Failed", run={"number": 2}), None),
        ("resubmit", "true", status("SubmissionUnknown", run=TOKEN),
         "names no purchase; the one that waits for another payment is 1a2b3c4d"),
        ("resubmit", "1a2b3c4d", status("SubmissionUnknown", run=TOKEN), None),
        ("resubmit", "1a2b3c4d", status("Completed"), None),
    ],
)  # fmt: skip
def test_annotation_without_a_match_gets_the_expected_value(  # noqa: PLR0917 - a case has so many parts
    api: Api, cli: Callable[..., Said], annotation: str, value: str, state: Body, told: str | None
) -> None:
    api.has(Kind.LORA_TRAINING, "a", state, annotations={f"contentgen.dev/{annotation}": value})
    said = cli("why", "a")
    assert said.code == 0, said.err
    shown = " ".join(said.out.split())
    if told is None:
        assert "names no" not in shown
    else:
        assert f"contentgen.dev/{annotation}={value!r} is ignored: it {told}" in shown


# --- cancel


@pytest.mark.parametrize(
    ("state", "number", "text"),
    [
        ({}, "1", "Nothing was paid for this run."),
        (status("Preparing", run={"number": 3}), "3", "Nothing was paid for this run."),
        (status("Suspended", run={"number": 3}), "3", "Nothing was paid for this run."),
        (status("Suspended", run={"number": 3, "paidAttempt": 2}), "3", "An earlier attempt of this run may have"),
        (status("Submitting", run={"number": 1}), "1", "The provider may have the request"),
        (status("SubmissionUnknown", run={"number": 1}), "1", "The provider may have the request"),
        (status("Processing", run={"number": 2, "requestId": "r"}), "2", "It may still bill it"),
    ],
)
def test_a_run_is_cancelled_by_its_number(
    api: Api, cli: Callable[..., Said], state: Body, number: str, text: str
) -> None:
    api.has(Kind.LORA_TRAINING, "a", state)
    said = cli("cancel", "a")
    assert said.code == 0, said.err
    assert text in said.out
    assert "lora/a is being cancelled. See the result: kubectl contentgen why lora/a" in said.out
    assert [patch["metadata"]["annotations"] for patch in api.patches] == [{"contentgen.dev/cancel": number}]


def test_a_run_that_was_asked_for_and_has_not_begun_is_cancelled(api: Api, cli: Callable[..., Said]) -> None:
    done = status("Completed", run={"number": 2, "requestId": "r"})
    api.has(Kind.LORA_TRAINING, "a", done, annotations={"contentgen.dev/rerun": "just now"})
    assert "Nothing was paid for this run." in cli("cancel", "a").out
    assert [patch["metadata"]["annotations"] for patch in api.patches] == [{"contentgen.dev/cancel": "3"}]


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (completed(), "lora/a: there is nothing to cancel: it is Completed"),
        (status("Failed", "Cancelled"), "lora/a: there is nothing to cancel: it is Failed (Cancelled)"),
        (
            status("Collecting", run={"number": 1, "requestId": "r"}),
            "lora/a: it is too late to cancel: the provider has finished and was paid",
        ),
    ],
)
def test_states_that_refuse_a_cancellation(api: Api, cli: Callable[..., Said], state: Body, text: str) -> None:
    api.has(Kind.LORA_TRAINING, "a", state)
    said = cli("cancel", "a")
    assert (said.code, api.patches) == (1, [])
    assert text in said.err


# --- approve, reject


def waiting(**more: Any) -> Body:
    cost = {"estimated": "2.00", "currency": "USD", "source": "built-in prices"}
    facts = {"type": "dataset", "images": 12, "scenes": 4, "rejected": {"Blurred": 7, "Dark": 1}}
    approval = {"run": 3, "since": "2026-11-21T07:00:00Z", "bound": "2.10", "amount": "4.20"}
    run = {"number": 3, "facts": facts, "approval": approval}
    return status("AwaitingApproval", "AwaitingApproval", run=run, cost=cost) | more


@pytest.mark.parametrize(("command", "other"), [("approve", "reject"), ("reject", "approve")])
def test_waiting_run_is_approved_or_rejected_by_number_and_user(
    api: Api, cli: Callable[..., Said], command: str, other: str
) -> None:
    api.has(Kind.LORA_TRAINING, "a", waiting())
    said = cli(command, "a", *(["--yes"] if command == "approve" else []))
    assert said.code == 0, said.err
    by = "contentgen.dev/approved-by"
    value = "3-4.20" if command == "approve" else "3"
    change = {f"contentgen.dev/{command}": value, f"contentgen.dev/{other}": None, by: "jane@example.com"}
    assert [patch["metadata"]["annotations"] for patch in api.patches] == [change]
    if command == "approve":
        assert "Run 3 of lora/a waits for an approval." in said.out
        assert "The estimated cost is 2.00 USD" in said.out
        assert "You approve at most 4.20 USD, for all attempts that the run has left." in said.out
        assert "12 pictures of 4 scenes" in said.out
        assert "Rejected frames: 7 Blurred, 1 Dark." in said.out


def test_an_approval_is_confirmed(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", waiting())
    said = cli("approve", "a")
    assert (said.code, api.patches) == (1, [])
    assert "give --yes" in said.err


@pytest.mark.parametrize("state", [completed(), status("Preparing"), status("Suspended")])
def test_only_a_run_that_waits_is_approved(api: Api, cli: Callable[..., Said], state: Body) -> None:
    api.has(Kind.LORA_TRAINING, "a", state)
    said = cli("approve", "a", "--yes")
    assert (said.code, api.patches) == (1, [])
    assert "lora/a: no run waits for an approval" in said.err


def test_a_value_that_is_there_already_is_not_written_again(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", waiting(), annotations={"contentgen.dev/approve": "3-4.20"})
    assert cli("approve", "a", "--yes").code == 0
    (given,) = [patch["metadata"]["annotations"] for patch in api.patches]
    assert given["contentgen.dev/approve"].startswith("3-4.20-")


# --- words of others

HOSTILE = "\x1b[1A\x1b[2K\r\x07\x9b\n\u202e"  # moves the cursor, clears the line, turns the text
ESCAPED = r"\x1b[1A\x1b[2K\r\x07\x9b\n\u202e"


def hostile_resource(api: Api) -> None:
    """A run whose status, events, logs and annotations hold terminal sequences."""
    cost = {"estimated": "2.00", "currency": HOSTILE[:8], "source": HOSTILE, "display": HOSTILE}
    log = {"stage": "prepare", "attempt": 1, "text": f"a {HOSTILE.replace(chr(10), '')} line"}
    facts = {"type": "dataset", "images": 12, "scenes": 4, "rejected": {HOSTILE: 1}}
    approval = {"run": 3, "since": "2026-11-21T07:00:00Z", "bound": "2.10", "amount": "4.20"}
    run = {"number": 3, "facts": facts, "approval": approval, "logs": [log]}
    state = status("AwaitingApproval", HOSTILE, run=run, cost=cost, message=HOSTILE, versions=[VERSION])
    annotations = {"contentgen.dev/approve": HOSTILE, "contentgen.dev/cancel": HOSTILE}
    body = api.has(Kind.LORA_TRAINING, "a", state, annotations=annotations)
    event = {"type": "Warning", "reason": HOSTILE, "message": HOSTILE, "lastTimestamp": "2026-11-21T07:00:00Z"}
    path = f"/api/v1/namespaces/demo/events?involvedObject.uid={body['metadata']['uid']}"
    api.extra[path] = (200, {"items": [event]})


@pytest.mark.parametrize(
    "words",
    [
        ("why", "a"),
        ("approve", "a", "--yes"),
        ("reject", "a"),
        ("watch", "a"),
        ("logs", "a"),
        ("cancel", "a"),
        ("retry", "a"),
        ("collect", "a"),
        ("get", "files", "a"),
        ("get", "files", "a", "-o", "json"),
        ("cost",),
        ("cost", "-o", "json"),
        ("suspend", "a"),
    ],
)
def test_no_command_prints_a_control_character(api: Api, cli: Callable[..., Said], words: tuple[str, ...]) -> None:
    hostile_resource(api)
    said = cli(*words)
    printed = said.out + said.err
    assert printed.strip()
    assert not [each for each in printed if each != "\n" and not each.isprintable()], ascii(printed)
    if words[0] == "approve":
        assert f"Rejected frames: 1 {ESCAPED}. The gateway" in said.out
        assert said.out.splitlines()[1].startswith("The estimated cost is 2.00 ")


def test_a_live_table_has_no_control_characters_of_others() -> None:
    written = io.StringIO()
    out = printing.console(file=written, force_terminal=True, no_color=True, width=100, legacy_windows=False)
    out.print(Text(HOSTILE))
    assert written.getvalue().strip() == r"\x1b[1A\x1b[2K\x9b" + "\n" + r"\u202e"  # rich has removed some


def test_only_one_module_prints() -> None:
    """Ruff's T20 forbids `print`; the other ways are looked for here."""
    folder = Path(printing.__file__).parent
    ways = re.compile(r"(?<![.\w])print\(|\bConsole\(|typer\.(echo|secho)|\.write\(|writelines")
    found = {path.name for path in folder.rglob("*.py") if ways.search(path.read_text())}
    assert found == {"printing.py"}


# --- adopt


@pytest.mark.parametrize("state", [status("SubmissionUnknown"), status("Submitting", "LookingForRequest")])
def test_the_request_of_a_lost_reply_is_named(api: Api, cli: Callable[..., Said], state: Body) -> None:
    api.has(Kind.LORA_TRAINING, "a", state)
    said = cli("adopt", "lora", "a", "019f7096-aa.b_c")
    assert said.code == 0, said.err
    assert "Nothing is paid." in said.out
    assert "kubectl contentgen why lora/a" in said.out
    assert [patch["metadata"]["annotations"] for patch in api.patches] == [{"contentgen.dev/adopt": "019f7096-aa.b_c"}]


@pytest.mark.parametrize(
    ("state", "given", "text"),
    [
        (status("SubmissionUnknown"), "../x", "is not a valid request ID"),
        (status("SubmissionUnknown"), "r" * 129, "is not a valid request ID"),
        (status("Processing", run={"number": 1, "requestId": "r"}), "r1", "has no missing request"),
        (status("Failed", "Cancelled"), "r1", "has no missing request: it is Failed (Cancelled)"),
    ],
)
def test_states_that_refuse_an_adoption(api: Api, cli: Callable[..., Said], state: Body, given: str, text: str) -> None:
    api.has(Kind.LORA_TRAINING, "a", state)
    said = cli("adopt", "a", given)
    assert (said.code, api.patches) == (1, [])
    assert text in " ".join(said.err.split())


# --- collect


PAID: Body = {"number": 2, "requestId": "r", "stageAttempt": 4}


@pytest.mark.parametrize(
    ("run", "annotations", "written"),
    [
        ({}, {}, ["2"]),
        ({"collect": {"asked": "1"}}, {"contentgen.dev/collect": "1"}, ["2"]),
        ({"collect": {"asked": "2"}}, {"contentgen.dev/collect": "2"}, ["2-2"]),
        ({"collect": {"asked": "2-2"}}, {"contentgen.dev/collect": "2-2"}, ["2-3"]),
        ({"collect": {"asked": "2-again"}}, {"contentgen.dev/collect": "2-again"}, ["2-2"]),
        ({}, {"contentgen.dev/collect": "2-x"}, []),
    ],
)
def test_a_paid_result_is_fetched_again_by_its_run(
    api: Api, cli: Callable[..., Said], run: Body, annotations: dict[str, str], written: list[str]
) -> None:
    state = status("Failed", "ResultUnreachable", run=PAID | run)
    api.has(Kind.LORA_TRAINING, "a", state, annotations=annotations)
    said = cli("collect", "a")
    assert said.code == 0, said.err
    assert "which pays nothing" in said.out
    assert [patch["metadata"]["annotations"] for patch in api.patches] == [
        {"contentgen.dev/collect": value} for value in written
    ]


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (completed(), "lora/a: it is Completed: only the result of a failed run is fetched again"),
        (status("Collecting", run=PAID), "lora/a: it is Collecting: only the result of a failed run is fetched again"),
        (status("Failed", "NoVideo", run={"number": 1}), "lora/a: nothing was paid for the run that has failed"),
    ],
)
def test_run_without_a_paid_result_collects_nothing(api: Api, cli: Callable[..., Said], state: Body, text: str) -> None:
    api.has(Kind.LORA_TRAINING, "a", state)
    said = cli("collect", "a")
    assert (said.code, api.patches) == (1, [])
    assert text in said.err


def test_why_of_a_failed_paid_run_offers_collect(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", status("Failed", "ResultUnreachable", run=PAID))
    assert cli("why", "a").commands == ["kubectl contentgen collect lora/a"]


# --- cost, suspend, version


def test_costs_are_exact_decimals(api: Api, cli: Callable[..., Said]) -> None:
    for number in range(10):
        api.has(
            Kind.TRANSCRIPTION, f"t{number}", status("Completed", cost=COST | {"estimated": "0.1", "actual": "0.1"})
        )
    api.has(Kind.LORA_TRAINING, "a", status("Completed", cost=COST | {"actual": "0.0045"}), namespace="other")
    api.has(Kind.LORA_TRAINING, "free", status("Failed"))
    said = cli("cost", "-A")
    rows = [line.split() for line in said.out.splitlines()]
    assert rows[1:] == [
        ["demo", "Transcription", "10", "1.0", "USD", "1.0", "USD"],
        ["other", "LoraTraining", "1", "2.00", "USD", "0.0045", "USD"],
        ["SUM", "11", "3.00", "USD", "1.0045", "USD"],
    ]
    assert "other" not in cli("cost").out
    exact = tables.costs([Item.parse(Kind.LORA_TRAINING, body) for body in api.resources.values()])[-1]
    assert (exact.estimated, exact.actual) == (Decimal("3.00"), Decimal("1.0045"))


def test_a_cost_that_is_not_known_is_not_0(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "known", status("Completed", cost=COST | {"actual": "2.00"}))
    api.has(Kind.LORA_TRAINING, "lost", status("Failed", "Cancelled", cost=COST | {"display": "unknown"}))
    unpriced = COST | {"estimated": "", "display": "unknown"}
    api.has(Kind.IMAGE_GENERATION, "unpriced", status("Completed", cost=unpriced))
    rows = cli("cost").out.splitlines()
    assert ["1 unknown" in row for row in rows[1:]] == [True, True, True]
    assert rows[1].split() == ["demo", "ImageGeneration", "1", "1", "unknown", "1", "unknown"]
    assert rows[2].split()[3:] == ["4.00", "USD", "2.00", "USD", "+", "1", "unknown"]


@pytest.mark.parametrize(
    ("state", "estimated", "actual"),
    [
        (status("Completed", "Estimated", cost=COST, run={"billed": False}), "0 USD", "0 USD"),
        (status("Failed", "SourceUnreachable", cost=COST | {"estimated": ""}, run={"billed": False}), "0 USD", "0 USD"),
        (status("AwaitingApproval", cost=COST), "2.00 USD", "0 USD"),
        (status("Processing", cost=COST), "2.00 USD", "0 USD"),
        (status("SubmissionUnknown", cost=COST), "2.00 USD", "1 unknown"),
        (status("Failed", "Cancelled", cost=COST), "2.00 USD", "1 unknown"),
        (status("Failed", "Cancelled", cost=COST, run={"billed": True}), "2.00 USD", "1 unknown"),
    ],
)
def test_only_an_ended_run_that_may_be_paid_has_an_unknown_cost(
    api: Api, cli: Callable[..., Said], state: Body, estimated: str, actual: str
) -> None:
    api.has(Kind.LORA_TRAINING, "a", state)
    assert cli("cost").out.splitlines()[1].split()[3:] == [*estimated.split(), *actual.split()]


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        ({"actual": "2.00", "actualSource": "seconds × rate", "display": "$2.00"}, "2.00 USD paid (seconds × rate)"),
        ({"actualSource": "unknown", "display": "unknown"}, "unknown: the provider has not reported the cost"),
        ({"actualSource": "estimate"}, "~$2.00: the provider has not reported the cost"),
        ({}, "about 2.00 USD"),
        ({"estimated": "", "display": "unknown"}, "unknown"),
    ],
)
def test_why_has_the_accuracy_of_the_cost(api: Api, cli: Callable[..., Said], cost: dict[str, str], words: str) -> None:
    """Money 22: for a cancelled run that was not billed, `why` reported "about 2.00 USD"."""
    api.has(Kind.LORA_TRAINING, "a", status("Failed", "Cancelled", cost=COST | cost))
    assert words in cli("why", "a").out


def test_costs_since(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "old", status("Completed", cost=COST, startTime="2020-01-01T00:00:00Z"))
    assert "LoraTraining" not in cli("cost", "--since", "30d").out
    assert "LoraTraining" in cli("cost", "--since", "9999w").out
    assert "expected a number and m, h, d or w" in cli("cost", "--since", "yesterday").err


def test_costs_for_scripts(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", status("Completed", cost=COST | {"actual": "0.0045"}))
    row = {"namespace": "demo", "kind": "LoraTraining", "currency": "USD", "runs": 1}
    amounts = {"estimated": "2.00", "actual": "0.0045", "unestimated": 0, "unknown": 0}
    total = row | {"namespace": "", "kind": None}
    assert json.loads(cli("cost", "-o", "json").out) == {"costs": [row | amounts, total | amounts]}
    api.resources.clear()
    assert json.loads(cli("cost", "-o", "json").out) == {"costs": []}


@pytest.mark.parametrize("words", [("why", "a"), ("cost",), ("suspend", "a"), ("get", "files", "a"), ("logs", "a")])
def test_another_user_is_impersonated(api: Api, cli: Callable[..., Said], words: tuple[str, ...]) -> None:
    api.has(Kind.LORA_TRAINING, "a", completed())
    cli(*words)
    assert set(api.users) == {None}
    api.users.clear()
    said = cli(*words, "--as", "ann")
    assert set(api.users) == {"ann"}
    assert all("--as ann" in command for command in said.commands)


def test_suspend_and_resume(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", status("Pending"))
    assert cli("suspend", "a").out == "lora/a is suspended\n"
    assert cli("resume", "a").out == "lora/a is not suspended\n"
    api.has(Kind.LORA_TRAINING, "a", status("Suspended"), spec={"suspend": True})
    assert cli("resume", "a").out == "lora/a is resumed\n"
    assert [patch["spec"] for patch in api.patches] == [{"suspend": True}, {"suspend": False}]


def test_version(cli: Callable[..., Said]) -> None:
    assert re.fullmatch(r"kubectl-contentgen \d+\.\d+\.\d+ \(contentgen.dev/v1alpha1\)\n", cli("version").out)


# --- what goes wrong outside


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((404, "404 page not found\n"), "the CRDs of contentgen are not installed"),
        ((401, {"message": "Unauthorized"}), "rejects your credentials"),
        ((403, {"message": "loratrainings is forbidden"}), "permission denied: loratrainings is forbidden"),
        ((500, {"message": "etcd is away"}), "the API server returned 500 etcd is away"),
    ],
)
def test_the_api_servers_refusals(api: Api, cli: Callable[..., Said], answer: tuple[int, Any], text: str) -> None:
    api.extra["/apis/contentgen.dev/v1alpha1/namespaces/demo/loratrainings/a"] = answer
    said = cli("why", "lora/a")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("error: ")
    assert text in said.err
    assert "Traceback" not in said.err


def test_no_cluster(cli: Callable[..., Said], write_kubeconfig: Callable[[Path, str], Path], tmp_path: Path) -> None:
    assert "no usable kubeconfig" in cli("why", "a", "--kubeconfig", str(tmp_path / "none")).err
    assert "no usable kubeconfig" in cli("why", "a", "--context", "nowhere").err
    write_kubeconfig(tmp_path / "dead", "http://127.0.0.1:9")
    said = cli("why", "a", "--kubeconfig", str(tmp_path / "dead"))
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert "the cluster at http://127.0.0.1:9 does not respond: " in said.err


def test_a_status_of_another_release(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", {"progress": "much"})
    assert "lora/a: status.progress cannot be read" in cli("why", "a").err


# --- the program


def test_help_is_quick_because_it_imports_little() -> None:
    code = (
        "import sys; sys.argv = ['x', '--help']\n"
        "from contentgen_cli.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'kubernetes', 'pydantic', 'rich', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "kubectl contentgen" in done.stdout


@pytest.mark.parametrize(
    ("words", "candidates"),
    [
        (["w"], ["watch", "why"]),
        (["get", ""], ["files"]),
        (["-n", "demo", "re"], ["reject", "resume", "retry"]),
        (["-n", ""], []),
        (["why", "l"], ["lora/a"]),
        (["get", "files", ""], ["lora/a", "transcript/b"]),
        (["-n", "other", "why", ""], ["imagegen/c"]),
        (["version", ""], []),
    ],
)
def test_completion(api: Api, words: list[str], candidates: list[str]) -> None:
    api.has(Kind.LORA_TRAINING, "a", {})
    api.has(Kind.TRANSCRIPTION, "b", {})
    api.has(Kind.IMAGE_GENERATION, "c", {}, namespace="other")
    assert completion.candidates(words) == candidates


def test_completion_speaks_cobras_protocol(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "contentgen_cli.completion", "why", ""]
    environment = os.environ | {"KUBECONFIG": str(tmp_path / "none")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (":4\n", "")


@pytest.mark.parametrize(("seconds", "text"), [(-5, "0s"), (59, "59s"), (119, "119s"), (600, "10m"), (90000, "1d")])
def test_ages(seconds: int, text: str) -> None:
    assert age(NOW - timedelta(seconds=seconds), NOW) == text


def test_a_state_has_the_colour_of_its_tone() -> None:
    from contentgen_cli.commands import show  # noqa: PLC0415 - rich, for this test only

    shown = [show.badge(job_state(JobFacts(phase=phase, ended=phase.terminal))) for phase in Phase]
    assert {(each.plain, each.style) for each in shown} >= {
        ("Completed", "green"), ("Failed", "red"), ("Paused", "yellow"), ("Running", "cyan"), ("Queued", "")
    }  # fmt: skip


# --- operator classes


RUN: Body = status("Completed")["run"]


def to_class(name: str | None) -> Body:
    return {"spec": {"operatorClass": name}, "metadata": {"resourceVersion": "7"}}


def three(api: Api) -> None:
    """One resource of each kind: Completed, Failed, not begun."""
    api.has(Kind.LORA_TRAINING, "a", completed(), annotations={})
    api.has(Kind.IMAGE_GENERATION, "b", status("Failed", "ProviderFailed"))
    api.has(Kind.TRANSCRIPTION, "c", {})


def test_idle_resources_move_after_all_were_tried(api: Api, cli: Callable[..., Said]) -> None:
    three(api)
    api.classes.add("batch")
    said = cli("move", "lora/a", "b", "transcript/c", "--to", "batch")
    assert said.code == 0, said.err
    assert api.patches == [to_class("batch")] * 3
    writes = [request for request in api.asked if request.startswith("PATCH")]
    assert ["dryRun=All" in write for write in writes] == [True] * 3 + [False] * 3
    assert "Nothing is paid again" in said.out
    assert "Runs that have not begun begin there, and are paid: transcript/c." in said.out
    assert "they are not processed" not in said.out
    assert "lora/a moved from the class 'default' to 'batch'" in said.out


@pytest.mark.parametrize(("words", "moved"), [(("--all",), "abc"), (("--all", "--kind", "lora"), "a")])
def test_an_idle_namespace_moves(api: Api, cli: Callable[..., Said], words: tuple[str, ...], moved: str) -> None:
    three(api)
    api.has(Kind.LORA_TRAINING, "z", completed(), namespace="other")
    assert cli("move", *words, "--to", "batch").code == 0
    changed = [request for request in api.asked if request.startswith("PATCH") and "dryRun" not in request]
    assert "".join(each[-1] for each in changed) == moved
    assert all("/namespaces/demo/" in each for each in changed)


@pytest.mark.parametrize("phase", ["Pending", "Preparing", "Submitting", "SubmissionUnknown", "Suspended"])
def test_class_move_is_refused_while_a_resource_runs(api: Api, cli: Callable[..., Said], phase: str) -> None:
    three(api)
    api.has(Kind.LORA_TRAINING, "d", status(phase))
    api.has(Kind.LORA_TRAINING, "e", completed())["metadata"]["deletionTimestamp"] = "2026-11-21T07:00:00Z"
    api.has(Kind.LORA_TRAINING, "f", completed(run={"number": 1, "requestOpen": True} | RUN))
    said = cli("move", "--all", "--to", "batch")
    assert (said.code, api.patches, api.tried) == (1, [], [])
    assert "nothing was moved" in said.err
    assert f"lora/d: its run 1 is under way ({phase}, 40 %)" in said.err
    assert "lora/e: it is being deleted" in said.err
    assert "lora/f: a request of its run 1 is open" in said.err
    assert "lora/a" not in said.err


def test_class_move_is_refused_where_the_api_server_refuses(api: Api, cli: Callable[..., Said]) -> None:
    """A run may have begun after the list was read, or the user may lack the permission for one."""
    three(api)
    api.refuses["c"] = "spec.operatorClass must not change during a run"
    said = cli("move", "--all", "--to", "batch")
    assert (said.code, api.patches, len(api.tried)) == (1, [], 2)
    assert "transcript/c" in said.err
    assert "must not change during a run" in said.err
    assert "imagegen/b" not in said.err


def test_back_to_the_default_class_the_field_is_removed(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", completed(), spec={"operatorClass": "batch"})
    api.has(Kind.LORA_TRAINING, "b", completed())
    said = cli("move", "lora", "a", "b", "--to", "default")
    assert (said.code, api.patches) == (0, [to_class(None)])
    assert "lora/b is already of the class 'default'" in said.out


def test_class_move_names_the_conflict_and_moves_the_others(api: Api, cli: Callable[..., Said]) -> None:
    three(api)
    moves = api.answer

    def answer(method: str, url: str, body: Body | None) -> tuple[int, Any]:
        answered = moves(method, url, body)
        if method == "PATCH" and "dryRun" in url and url.endswith("transcriptions/c?dryRun=All"):
            api.resources["demo", "loratrainings", "a"]["metadata"]["resourceVersion"] = "8"
        return answered

    api.answer = answer  # type: ignore[method-assign]
    said = cli("move", "--all", "--to", "batch")
    assert (said.code, len(api.patches)) == (1, 2)
    assert "lora/a was not moved" in said.err
    assert "imagegen/b moved" in said.out


@pytest.mark.parametrize(
    ("forbidden", "text"),
    [(False, "No operator serves the class 'batch' now"), (True, "Check that there is one")],
)
def test_a_class_that_nobody_serves_is_told_at_the_move(
    api: Api, cli: Callable[..., Said], forbidden: bool, text: str
) -> None:
    three(api)
    if forbidden:
        api.extra["/apis/contentgen.dev/v1alpha1/operatorclasses/batch"] = (403, {"message": "forbidden"})
    said = cli("move", "lora/a", "--to", "batch")
    assert (said.code, len(api.patches)) == (0, 1)
    assert text in said.out
    assert "kubectl get operatorclass batch" in said.out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--to", "batch"), "--all"),
        (("a", "--all", "--to", "batch"), "--all"),
        (("a", "--kind", "lora", "--to", "batch"), "--kind requires --all"),
        (("a", "--to", "No/Class"), "expected up to 63 lower-case letters"),
    ],
)
def test_moves_that_make_no_sense(api: Api, cli: Callable[..., Said], words: tuple[str, ...], text: str) -> None:
    three(api)
    said = cli("move", *words)
    assert (said.code, api.patches) == (1, [])
    assert text in said.err


def test_why_of_a_class_that_no_operator_serves(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", {}, spec={"operatorClass": "batch"})
    api.has(Kind.LORA_TRAINING, "b", completed(), spec={"operatorClass": "batch"})
    said = cli("why", "a")
    assert "batch: no operator serves it, so this resource is not processed." in said.out
    assert said.commands == ["kubectl get operatorclasses", "kubectl contentgen move lora/a --to CLASS"]
    api.has(Kind.LORA_TRAINING, "c", completed(), spec={"operatorClass": "batch"})["metadata"] |= {
        "deletionTimestamp": "2026-11-21T07:00:00Z"
    }
    waits = cli("why", "c")
    assert "batch: no operator serves it, so its deletion waits." in waits.out
    assert waits.commands == ["kubectl get operatorclasses"]
    done = cli("why", "b")
    assert "no operator serves it" in done.out
    assert done.commands == ["kubectl contentgen get files lora/b"], "it lacks nothing"


def test_why_tells_how_to_see_an_unreadable_class(api: Api, cli: Callable[..., Said]) -> None:
    api.has(Kind.LORA_TRAINING, "a", {}, spec={"operatorClass": "batch"})
    api.extra["/apis/contentgen.dev/v1alpha1/operatorclasses/batch"] = (403, {"message": "forbidden"})
    said = cli("why", "a")
    assert "Check that an operator of the class 'batch' runs" in said.out
    assert said.commands == ["kubectl get operatorclass batch"]


def test_the_class_is_shown_where_it_is_not_the_default_one(api: Api, cli: Callable[..., Said]) -> None:
    api.classes.add("batch")
    api.has(Kind.LORA_TRAINING, "a", completed(), spec={"operatorClass": "batch"})
    api.has(Kind.LORA_TRAINING, "b", completed())
    told = cli("watch").out
    assert "lora/a (class batch) Completed" in told
    assert "lora/b Completed" in told
    assert "Class" in cli("why", "a").out
    assert "Class" not in cli("why", "b").out
    items = [Item.parse(Kind.LORA_TRAINING, api.resources["demo", "loratrainings", letter]) for letter in "ab"]
    for chosen, shown in ((items, True), (items[1:], False)):
        out = Console(file=io.StringIO(), width=100)
        out.print(watching._table(chosen, NOW, namespaces=False, wide=False))
        assert ("CLASS" in str(out.file.getvalue())) is shown  # type: ignore[attr-defined]
