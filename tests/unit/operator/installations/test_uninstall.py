"""Uninstall hook over real HTTP on loopback: the operator is stopped, every resource is released, and the hook ends."""

import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from contentgen_contract.names import FINALIZER
from contentgen_contract.resources.namespaces import LabelSelector
from contentgen_contract.resources.operator_class import ClassOwner
from contentgen_operator import narrowing
from contentgen_operator.kube.selection import Selection
from contentgen_operator.narrowing import release_the_rest
from contentgen_operator.uninstall import InstalledRelease, StillHeld, namespaces_of, uninstall
from kubernetes import client

Body = dict[str, Any]
GROUP = "/apis/contentgen.dev/v1alpha1"
DEPLOYMENT = "/apis/apps/v1/namespaces/contentgen/deployments/contentgen/scale"
PODS = "/api/v1/namespaces/contentgen/pods"
PAGE = 2


class Cluster:
    """API server as far as the hook uses it."""

    def __init__(self) -> None:
        self.resources: dict[str, Body] = {}
        self.served = {"loratrainings", "imagegenerations", "transcriptions"}
        self.replicas = 1
        self.deployed = True
        self.labelled: list[str] = []
        self.rounds_to_end = 1  # of its pods, after it was scaled to zero
        self.puts_back = False  # finalizers, with the last that its pod does
        self.locked = False  # every change conflicts
        self.deleted_pods: list[str] = []
        self.classes: dict[str, Body] = {}
        self.freed: list[tuple[str, str]] = []  # OperatorClasses: name, and the uid that the deletion names

    def add(self, plural: str, name: str, *finalizers: str, **meta: Any) -> Body:
        namespace, spec = meta.pop("namespace", "marketing"), meta.pop("spec", {})
        body = {"metadata": {"name": name, "namespace": namespace, "finalizers": list(finalizers)} | meta, "spec": spec}
        self.resources[f"{GROUP}/namespaces/{namespace}/{plural}/{name}"] = body
        return body

    def answer(self, method: str, path: str, query: dict[str, list[str]], kind: str, body: Any) -> tuple[int, Body]:
        if (method, path) == ("PATCH", DEPLOYMENT):
            assert kind == "application/merge-patch+json"
            self.replicas = body["spec"]["replicas"]
            return 200, {}
        if (method, path) == ("GET", PODS):
            assert query["labelSelector"] == ["app=operator"]
            return 200, {"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": self._pods()}
        if path.startswith(f"{GROUP}/operatorclasses/"):
            return self._operator_class(method, path.rpartition("/")[2], body)
        if (method, path) == ("DELETE", DEPLOYMENT.removesuffix("/scale")):
            assert body == {"propagationPolicy": "Background"}
            code = 200 if self.deployed else 404
            self.deployed, self.replicas = False, 0
            return code, {}
        if (method, path) == ("GET", "/api/v1/namespaces"):
            assert query["labelSelector"] == ["team=1"]
            start = int(query.get("continue", ["0"])[0])
            more = {"continue": str(start + PAGE)} if len(self.labelled) > start + PAGE else {}
            items = [{"metadata": {"name": name}} for name in self.labelled[start : start + PAGE]]
            return 200, {"metadata": more, "items": items}
        if method == "DELETE":
            self.deleted_pods.append(path)
            return 404, {}
        if method == "PATCH":
            assert kind == "application/json-patch+json"
            return self._patch(path, body)
        assert method == "GET", (method, path)
        return self._list(path, query)

    def _operator_class(self, method: str, name: str, body: Any) -> tuple[int, Body]:
        if name not in self.classes:
            return 404, {}
        if method == "DELETE":
            self.freed.append((name, body["preconditions"]["uid"]))
            del self.classes[name]
        return 200, self.classes.get(name, {})

    def _pods(self) -> list[Body]:
        if self.replicas == 0:
            self.rounds_to_end -= 1
            if self.puts_back and self.rounds_to_end == 0:
                for body in self.resources.values():
                    body["metadata"]["finalizers"].append(FINALIZER)
        return [{"metadata": {"name": "pod"}}] if self.rounds_to_end >= 0 else []

    def _patch(self, path: str, operations: list[Body]) -> tuple[int, Body]:
        finalizers = self.resources[path]["metadata"]["finalizers"]
        test, remove = operations
        assert (test["op"], remove["op"], test["path"]) == ("test", "remove", remove["path"])
        index = int(test["path"].rpartition("/")[2])
        if self.locked or finalizers[index] != test["value"]:
            return 422, {}
        del finalizers[index]
        return 200, self.resources[path]

    def _list(self, path: str, query: dict[str, list[str]]) -> tuple[int, Body]:
        plural = path.rpartition("/")[2]
        if plural not in self.served:
            return 404, {}
        prefix = path if "/namespaces/" in path else GROUP
        found = [b for at, b in sorted(self.resources.items()) if at.startswith(prefix) and f"/{plural}/" in at]
        start = int(query.get("continue", ["0"])[0])
        more = {"continue": str(start + PAGE)} if len(found) > start + PAGE else {}
        return 200, {"metadata": more, "items": found[start : start + PAGE]}


class Clock:
    """Clock that advances by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def cluster() -> Iterator[tuple[Cluster, client.ApiClient]]:
    made = Cluster()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            at = urlsplit(self.path)
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kind = self.headers.get("Content-Type", "")
            status, answer = made.answer(
                self.command, at.path, parse_qs(at.query), kind, json.loads(sent) if sent else None
            )
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PATCH = do_DELETE = _any  # noqa: N815 - http.server names them

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    with client.ApiClient(client.Configuration(host=f"http://127.0.0.1:{server.server_port}")) as api:
        yield made, api
    server.shutdown()
    thread.join()
    server.server_close()


MINE = ClassOwner(namespace="contentgen", service_account="contentgen", release="contentgen")
THEIRS = ClassOwner(namespace="other", service_account="contentgen", release="contentgen")


def class_of(owner: ClassOwner) -> Body:
    return {"metadata": {"uid": f"of-{owner.namespace}"}, "spec": {"owner": owner.model_dump(mode="json")}}


def run(
    api: client.ApiClient, watched: Sequence[str] | None = None, seconds: float = 60, served: str = "default"
) -> Clock:
    clock = Clock()
    selection = Selection(operator_class=served)
    release = InstalledRelease(
        api, "contentgen", "contentgen", "app=operator", watched, selection=selection, owner=MINE
    )
    uninstall(release, seconds, clock, clock.sleep)
    return clock


def test_every_resource_is_released_and_only_of_our_finalizer(cluster: tuple[Cluster, client.ApiClient]) -> None:
    server, api = cluster
    for index in range(5):
        server.add("transcriptions", f"t{index}", FINALIZER)
    lora = server.add("loratrainings", "kept", "somebody.else/needs-it", FINALIZER, namespace="research")
    free = server.add("imagegenerations", "free", "somebody.else/needs-it")
    run(api)
    assert server.replicas == 0
    assert lora["metadata"]["finalizers"] == free["metadata"]["finalizers"] == ["somebody.else/needs-it"]
    left = [
        body["metadata"]["name"] for body in server.resources.values() if FINALIZER in body["metadata"]["finalizers"]
    ]
    assert left == []
    assert server.deleted_pods == [f"{PODS}/contentgen-test"]


def test_finalizer_restored_by_an_ending_operator_is_released(cluster: tuple[Cluster, client.ApiClient]) -> None:
    server, api = cluster
    server.puts_back, server.rounds_to_end = True, 4
    body = server.add("transcriptions", "it", FINALIZER)
    run(api)
    assert server.rounds_to_end < 0, "it did not leave before the operator's pod did"
    assert body["metadata"]["finalizers"] == []


def test_uninstall_ends_although_the_operators_pod_stays(cluster: tuple[Cluster, client.ApiClient]) -> None:
    server, api = cluster
    server.rounds_to_end = 10**6
    body = server.add("transcriptions", "it", FINALIZER)
    assert run(api, seconds=30).now <= 32
    assert body["metadata"]["finalizers"] == []


def test_resources_that_keep_their_finalizer_are_named(cluster: tuple[Cluster, client.ApiClient]) -> None:
    server, api = cluster
    server.locked = True
    server.add("transcriptions", "it", FINALIZER)
    with pytest.raises(StillHeld, match="Transcription marketing/it"):
        run(api, seconds=10)


def test_a_well_operator_may_first_finish_what_is_being_deleted(cluster: tuple[Cluster, client.ApiClient]) -> None:
    server, api = cluster
    server.add("transcriptions", "it", FINALIZER, deletionTimestamp="2026-11-21T00:00:00Z")
    clock = Clock()
    seen: list[int] = []

    def operator_finishes(seconds: float) -> None:
        seen.append(server.replicas)
        clock.sleep(seconds)
        if clock.now == 5:
            server.resources.clear()

    uninstall(InstalledRelease(api, "contentgen", "contentgen", "app=operator", None), 60, clock, operator_finishes)
    assert seen[:5] == [1] * 5, "not stopped while it had something to finish"
    assert server.replicas == 0


def test_uninstall_waits_briefly_for_a_stuck_operator(cluster: tuple[Cluster, client.ApiClient]) -> None:
    server, api = cluster
    body = server.add("transcriptions", "it", FINALIZER, deletionTimestamp="2026-11-21T00:00:00Z")
    assert run(api).now < 20
    assert body["metadata"]["finalizers"] == []


def test_uninstall_does_not_wait_for_a_dead_operator(cluster: tuple[Cluster, client.ApiClient]) -> None:
    server, api = cluster
    server.rounds_to_end = -1
    server.add("transcriptions", "it", FINALIZER, deletionTimestamp="2026-11-21T00:00:00Z")
    assert run(api).now <= 1


def test_another_namespace_is_not_touched(cluster: tuple[Cluster, client.ApiClient]) -> None:
    server, api = cluster
    ours = server.add("transcriptions", "it", FINALIZER)
    theirs = server.add("transcriptions", "it", FINALIZER, namespace="research")
    other = server.add("transcriptions", "it", FINALIZER, namespace="other")
    run(api, watched=("other", "marketing"))
    assert (ours["metadata"]["finalizers"], theirs["metadata"]["finalizers"]) == ([], [FINALIZER])
    assert other["metadata"]["finalizers"] == []


def test_without_a_namespace_that_exists_nothing_is_touched(cluster: tuple[Cluster, client.ApiClient]) -> None:
    server, api = cluster
    theirs = server.add("transcriptions", "it", FINALIZER)
    run(api, watched=namespaces_of(""))
    assert (theirs["metadata"]["finalizers"], server.replicas) == ([FINALIZER], 0)


def test_namespaces_of_a_command_line() -> None:
    assert [namespaces_of(word) for word in ("*", "", "a", "a,b")] == [None, (), ("a",), ("a", "b")]


# Before an upgrade to fewer namespaces


def narrow(api: client.ApiClient, *selected: str, seconds: float = 60, served: str = "default") -> Clock:
    clock = Clock()
    selection = Selection(operator_class=served)
    release = InstalledRelease(api, "contentgen", "contentgen", "app=operator", None, selection=selection, owner=MINE)
    release_the_rest(release, selected, seconds, clock, clock.sleep)
    return clock


def test_resource_leaving_the_selection_is_released_afterwards(
    cluster: tuple[Cluster, client.ApiClient], caplog: pytest.LogCaptureFixture
) -> None:
    server, api = cluster
    server.puts_back, server.rounds_to_end = True, 4
    stays = server.add("transcriptions", "it", FINALIZER)
    leaves = server.add("loratrainings", "it", "somebody.else/needs-it", FINALIZER, namespace="research")
    leaves["status"] = {"phase": "Submitted", "run": {"requestId": "request-1"}}
    other = server.add("transcriptions", "other", FINALIZER, namespace="research")
    other["spec"] = {"operatorClass": "team-a"}
    with caplog.at_level("INFO"):
        narrow(api, "marketing")
    assert (server.deployed, server.replicas) == (False, 0)
    assert leaves["metadata"]["finalizers"] == ["somebody.else/needs-it"]
    assert FINALIZER in stays["metadata"]["finalizers"]
    assert FINALIZER in other["metadata"]["finalizers"], "another installation's"
    assert "LoraTraining research/it leaves the selection with request 'request-1' under way" in caplog.text


def test_an_operator_that_holds_nothing_outside_is_left_alone(cluster: tuple[Cluster, client.ApiClient]) -> None:
    server, api = cluster
    stays = server.add("transcriptions", "it", FINALIZER)
    server.add("transcriptions", "free", "somebody.else/needs-it", namespace="research")
    assert narrow(api, "marketing").now == 0
    assert (server.deployed, server.replicas, stays["metadata"]["finalizers"]) == (True, 1, [FINALIZER])


def test_other_class_is_narrowed_by_the_release_that_owns_it(
    cluster: tuple[Cluster, client.ApiClient],
) -> None:
    server, api = cluster
    leaves = server.add("transcriptions", "other", FINALIZER, namespace="research")
    leaves["spec"] = {"operatorClass": "team-a"}
    server.classes = {"team-a": class_of(THEIRS)}
    narrow(api, "marketing", served="team-a")
    assert (server.deployed, leaves["metadata"]["finalizers"]) == (True, [FINALIZER])
    server.classes = {"team-a": class_of(MINE)}
    narrow(api, "marketing", served="team-a")
    assert (server.deployed, leaves["metadata"]["finalizers"]) == (False, [])


def test_a_second_try_releases_what_the_first_could_not(cluster: tuple[Cluster, client.ApiClient]) -> None:
    server, api = cluster
    server.locked = True
    leaves = server.add("transcriptions", "it", FINALIZER)
    with pytest.raises(StillHeld, match="Transcription marketing/it"):
        narrow(api, "research", seconds=10)
    server.locked = False
    narrow(api, "research")
    assert leaves["metadata"]["finalizers"] == []


def test_namespaces_are_selected_by_the_api_server(cluster: tuple[Cluster, client.ApiClient]) -> None:
    server, api = cluster
    server.labelled = ["a", "b", "c", "d", "e"]
    release = InstalledRelease(api, "contentgen", "contentgen", "app=operator", None)
    assert release.labelled(LabelSelector(match_labels={"team": "1"})) == set("abcde")


@pytest.mark.parametrize("given", [[], ["--namespaces=a", "--namespace-selector={}"], ["--namespaces="]])
def test_a_hook_that_knows_no_namespaces_releases_nothing(given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """All resources would be outside the selection."""
    where = ["--namespace=contentgen", "--deployment=contentgen", "--selector=a=b", "--seconds=1"]
    monkeypatch.setattr("sys.argv", ["narrowing", *where, *given])
    with pytest.raises(SystemExit):
        narrowing.main()


def test_kinds_that_are_not_served_any_more_hold_nothing(cluster: tuple[Cluster, client.ApiClient]) -> None:
    server, api = cluster
    server.served = set()
    run(api)
    assert server.replicas == 0


def test_resources_of_other_classes_keep_their_finalizers(cluster: tuple[Cluster, client.ApiClient]) -> None:
    server, api = cluster
    plain = server.add("transcriptions", "plain", FINALIZER)
    named = server.add("transcriptions", "named", FINALIZER, spec={"operatorClass": "team-a"})
    server.classes = {"default": class_of(THEIRS), "team-a": class_of(MINE)}
    clock = run(api, served="team-a")
    assert (plain["metadata"]["finalizers"], named["metadata"]["finalizers"]) == ([FINALIZER], [])
    assert (server.freed, list(server.classes)) == ([("team-a", "of-contentgen")], ["default"])
    assert clock.now <= 3


def test_a_release_that_waits_for_its_class_releases_nothing(cluster: tuple[Cluster, client.ApiClient]) -> None:
    """Such as a second one of the class, created by Argo CD: the first one works on these resources."""
    server, api = cluster
    theirs = server.add("transcriptions", "it", FINALIZER, deletionTimestamp="2026-11-21T00:00:00Z")
    server.classes = {"default": class_of(THEIRS)}
    clock = run(api)
    assert (theirs["metadata"]["finalizers"], server.freed, server.replicas) == ([FINALIZER], [], 0)
    assert clock.now <= 3


def test_a_class_that_cannot_be_read_is_another_installations(cluster: tuple[Cluster, client.ApiClient]) -> None:
    server, api = cluster
    theirs = server.add("transcriptions", "it", FINALIZER)
    server.classes = {"default": {"metadata": {"uid": "u"}, "spec": {"owner": "a later release's"}}}
    run(api)
    assert (theirs["metadata"]["finalizers"], server.freed) == ([FINALIZER], [])


def test_a_class_is_freed_after_the_resources(cluster: tuple[Cluster, client.ApiClient]) -> None:
    """Otherwise a waiting installation could begin while the old operator still runs."""
    server, api = cluster
    server.classes = {"default": class_of(MINE)}
    server.add("transcriptions", "it", FINALIZER)
    server.locked = True
    with pytest.raises(StillHeld):
        run(api)
    assert (server.freed, list(server.classes)) == ([], ["default"])
