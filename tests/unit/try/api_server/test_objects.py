"""Writes: names, versions, generations, patches, finalizers, garbage collection and namespaces."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from contentgen_contract.names import API_VERSION
from contentgen_simulation.crd_cases import IMAGE, SPEC, manifest
from contentgen_try.api_server.storage.patches import APPLY, JSON, MERGE, STRATEGIC, apply_patch

GENERATIONS = f"/apis/{API_VERSION}/namespaces/default/imagegenerations"
CORE = "/api/v1/namespaces/default"
JOBS = "/apis/batch/v1/namespaces/default/jobs"
AS_MERGE, AS_JSON = {"Content-Type": MERGE}, {"Content-Type": JSON}
Body = dict[str, Any]


async def created(api: httpx.AsyncClient, path: str, body: Body, name: str, **metadata: Any) -> Body:
    answer = await api.post(path, json={**body, "metadata": {"name": name, **metadata}})
    assert answer.status_code == 201, answer.text
    made: Body = answer.json()
    return made


def job() -> Body:
    return {"spec": {"template": {"spec": {"containers": [{"name": "worker"}]}}}}


def pod(**spec: Any) -> Body:
    return {"spec": {"containers": [{"name": "worker"}], **spec}}


def owned_by(owner: Body, kind: str, api_version: str, **more: Any) -> list[Body]:
    meta = owner["metadata"]
    return [{"apiVersion": api_version, "kind": kind, "name": meta["name"], "uid": meta["uid"], **more}]


async def names(api: httpx.AsyncClient, path: str, **query: Any) -> list[str]:
    answer = await api.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return [resource["metadata"]["name"] for resource in answer.json()["items"]]


async def test_a_new_object_gets_what_the_server_sets(api: httpx.AsyncClient) -> None:
    body = manifest(IMAGE, SPEC[IMAGE])
    body["metadata"] |= {"uid": "mine", "creationTimestamp": "2000-01-01T00:00:00Z", "generation": 9}
    made = (await api.post(GENERATIONS, json=body)).json()
    assert made["metadata"]["uid"] != "mine"
    assert made["metadata"]["creationTimestamp"] != "2000-01-01T00:00:00Z"
    assert (made["metadata"]["generation"], made["metadata"]["namespace"]) == (1, "default")
    assert (await api.get(f"{GENERATIONS}/crd-test")).json() == made
    again = await api.post(GENERATIONS, json=body)
    assert (again.status_code, again.json()["reason"]) == (409, "AlreadyExists")
    elsewhere = await api.post(GENERATIONS.replace("default", "nowhere"), json=manifest(IMAGE, SPEC[IMAGE]))
    assert elsewhere.status_code == 404


async def test_generated_names_are_different(api: httpx.AsyncClient) -> None:
    body = {"metadata": {"generateName": "a-"}, "involvedObject": {}}
    made = {(await api.post(f"{CORE}/events", json=body)).json()["metadata"]["name"] for _ in range(20)}
    assert len(made) == 20
    assert all(name.startswith("a-") and len(name) == 7 for name in made)


async def test_a_dry_run_changes_nothing(api: httpx.AsyncClient) -> None:
    for query in ("?dryRun=All", "?dryRun=All&fieldManager=x"):
        assert (await api.post(f"{GENERATIONS}{query}", json=manifest(IMAGE, SPEC[IMAGE]))).status_code == 201
    assert await names(api, GENERATIONS) == []
    before = await created(api, GENERATIONS, {"spec": SPEC[IMAGE]}, "a")
    edit = {"spec": {"prompt": "b"}}
    assert (await api.patch(f"{GENERATIONS}/a?dryRun=All", json=edit, headers=AS_MERGE)).json()["spec"]["prompt"] == "b"
    assert (await api.delete(f"{GENERATIONS}/a?dryRun=All")).status_code == 200
    assert (await api.request("DELETE", f"{GENERATIONS}/a", json={"dryRun": ["All"]})).status_code == 200
    assert (await api.get(f"{GENERATIONS}/a")).json() == before
    assert (await api.post(f"{GENERATIONS}?dryRun=some", json=manifest(IMAGE, SPEC[IMAGE]))).status_code == 422


async def test_a_deletions_query_is_ignored_where_it_has_a_body(api: httpx.AsyncClient) -> None:
    """As in Kubernetes: the options are those of the body."""
    await created(api, GENERATIONS, {"spec": SPEC[IMAGE]}, "a")
    await api.request("DELETE", f"{GENERATIONS}/a?dryRun=All", json={"propagationPolicy": "Background"})
    assert await names(api, GENERATIONS) == []


async def test_writes_of_another_version_or_uid_are_conflicts(api: httpx.AsyncClient) -> None:
    first = await created(api, GENERATIONS, {"spec": SPEC[IMAGE]}, "a")
    path, old = f"{GENERATIONS}/a", first["metadata"]["resourceVersion"]
    newest = await api.patch(path, json={"metadata": {"labels": {"x": "y"}}}, headers=AS_MERGE)
    assert newest.json()["metadata"]["resourceVersion"] != old
    for method, at in (("PUT", path), ("PUT", f"{path}/status"), ("PATCH", path)):
        answer = await api.request(method, at, json=first, headers=AS_MERGE)
        assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")
    other = await api.patch(path, json={"metadata": {"uid": "other"}}, headers=AS_MERGE)
    assert other.status_code == 409
    for wrong in ({"uid": "other"}, {"resourceVersion": old}):
        answer = await api.request("DELETE", path, json={"preconditions": wrong})
        assert answer.status_code == 409
    without = {**newest.json(), "metadata": {"name": "a"}}
    assert (await api.put(path, json=without)).status_code == 422  # a custom resource's version must be named
    assert (await api.put(path, json=newest.json())).status_code == 200


async def test_a_write_that_changes_nothing_makes_no_version(api: httpx.AsyncClient) -> None:
    made = await created(api, GENERATIONS, {"spec": SPEC[IMAGE]}, "a")
    for path in (f"{GENERATIONS}/a", f"{GENERATIONS}/a/status"):
        assert (await api.put(path, json=made)).json() == made
    assert (await api.patch(f"{GENERATIONS}/a", json={}, headers=AS_MERGE)).json() == made


async def test_json_patches(api: httpx.AsyncClient) -> None:
    await created(api, GENERATIONS, {"spec": SPEC[IMAGE]}, "a")
    good = [
        {"op": "test", "path": "/spec/prompt", "value": "A house"},
        {"op": "add", "path": "/spec/suspend", "value": True},
    ]
    assert (await api.patch(f"{GENERATIONS}/a", json=good, headers=AS_JSON)).json()["spec"]["suspend"] is True
    refused: list[tuple[Any, int]] = [
        ([{"op": "test", "path": "/spec/prompt", "value": "other"}], 422),
        ([{"op": "remove", "path": "/spec/nothing"}], 422),
        ([{"op": "what"}], 422),
        ([{"op": "replace", "path": "", "value": 3}], 422),
        ({"spec": {}}, 400),
        (["x"], 422),
    ]
    for bad, code in refused:
        answer = await api.patch(f"{GENERATIONS}/a", json=bad, headers=AS_JSON)
        assert answer.status_code == code, answer.text
    for kind in ("text/plain", "application/vnd.kubernetes.protobuf"):
        assert (await api.patch(f"{GENERATIONS}/a", content="{}", headers={"Content-Type": kind})).status_code == 415


async def test_protobuf_of_other_kinds_is_refused_with_advice(api: httpx.AsyncClient) -> None:
    """kubectl sends it for `create job` and others."""
    kind = {"Content-Type": "application/vnd.kubernetes.protobuf"}
    answer = await api.post(JOBS, content=b"k8s\x00\n\x05\x12\x03Job", headers=kind)
    assert (answer.status_code, "kubectl apply -f" in answer.json()["message"]) == (415, True)


def test_strategic_patches_merge_lists_by_their_keys() -> None:
    body: Body = {
        "spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b"}]},
        "metadata": {"finalizers": ["x"]},
    }
    patch = {
        "metadata": {"finalizers": ["y"], "$setElementOrder/finalizers": ["x", "y"]},
        "spec": {"containers": [{"name": "a", "image": "2"}, {"$patch": "delete", "name": "b"}, {"name": "c"}]},
    }
    patched = apply_patch(body, patch, STRATEGIC, built_in=True)
    assert patched == {
        "spec": {"containers": [{"name": "a", "image": "2"}, {"name": "c"}]},
        "metadata": {"finalizers": ["x", "y"]},
    }
    assert body["spec"]["containers"][0]["image"] == "1"


async def test_server_side_apply_creates_and_merges(api: httpx.AsyncClient) -> None:
    how = {"Content-Type": "application/apply-patch+yaml"}
    body = {"apiVersion": API_VERSION, "kind": "ImageGeneration", "metadata": {"name": "a"}, "spec": SPEC[IMAGE]}
    first = await api.patch(f"{GENERATIONS}/a?fieldManager=x", json=body, headers=how)
    assert first.status_code == 201
    body["spec"] = SPEC[IMAGE] | {"suspend": True}
    second = await api.patch(f"{GENERATIONS}/a?fieldManager=x", json=body, headers=how)
    assert (second.status_code, second.json()["spec"]["suspend"]) == (200, True)


async def test_finalizers_delay_a_deletion(api: httpx.AsyncClient) -> None:
    made = await created(api, GENERATIONS, {"spec": SPEC[IMAGE]}, "a", finalizers=["contentgen.dev/x"])
    path = f"{GENERATIONS}/a"
    marked = (await api.delete(path)).json()
    assert marked["metadata"]["deletionTimestamp"]
    assert marked["metadata"]["generation"] == made["metadata"]["generation"] + 1
    assert (await api.delete(path)).json() == marked
    added = {"metadata": {"finalizers": ["contentgen.dev/x", "contentgen.dev/y"]}}
    assert (await api.patch(path, json=added, headers=AS_MERGE)).status_code == 422
    status = await api.patch(f"{path}/status", json={"status": {"phase": "Failed"}}, headers=AS_MERGE)
    assert status.status_code == 200
    gone = await api.patch(path, json={"metadata": {"finalizers": []}}, headers=AS_MERGE)
    assert gone.status_code == 200
    assert (await api.get(path)).status_code == 404


async def test_dependents_go_with_their_last_owner(api: httpx.AsyncClient) -> None:
    owner = await created(api, GENERATIONS, {"spec": SPEC[IMAGE]}, "a")
    other = await created(api, GENERATIONS, {"spec": SPEC[IMAGE]}, "b")
    both = owned_by(owner, "ImageGeneration", API_VERSION) + owned_by(other, "ImageGeneration", API_VERSION)
    made = await created(api, JOBS, job(), "j", ownerReferences=both)
    await created(api, f"{CORE}/pods", pod(), "p", ownerReferences=owned_by(made, "Job", "batch/v1"))
    await api.delete(f"{GENERATIONS}/a")
    assert await names(api, JOBS) == ["j"]
    await api.delete(f"{GENERATIONS}/b")
    assert (await names(api, JOBS), await names(api, f"{CORE}/pods")) == ([], [])
    late = {**job(), "metadata": {"name": "late", "ownerReferences": both}}
    assert (await api.post(JOBS, json=late)).status_code == 201
    assert await names(api, JOBS) == []  # its owners were gone
    unknown = [{"apiVersion": "example.com/v1", "kind": "Unknown", "name": "a", "uid": "u"}]
    await created(api, JOBS, job(), "kept", ownerReferences=unknown)
    assert await names(api, JOBS) == ["kept"]


async def test_an_orphaning_deletion_keeps_dependents(api: httpx.AsyncClient) -> None:
    owner = await created(api, JOBS, job(), "j")
    await created(api, f"{CORE}/pods", pod(), "p", ownerReferences=owned_by(owner, "Job", "batch/v1"))
    await api.delete(f"{JOBS}/j?propagationPolicy=Orphan")
    assert (await names(api, JOBS), await names(api, f"{CORE}/pods")) == ([], ["p"])
    assert not (await api.get(f"{CORE}/pods/p")).json()["metadata"].get("ownerReferences")


async def test_a_foreground_deletion_waits_for_dependents(api: httpx.AsyncClient) -> None:
    owner = await created(api, JOBS, job(), "j")
    reference = owned_by(owner, "Job", "batch/v1", blockOwnerDeletion=True)
    await created(api, f"{CORE}/pods", pod(nodeName="n"), "p", ownerReferences=reference)
    kept = await api.request("DELETE", f"{JOBS}/j", json={"propagationPolicy": "Foreground"})
    assert kept.json()["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert (await api.get(f"{CORE}/pods/p")).json()["metadata"]["deletionGracePeriodSeconds"] == 30
    await api.delete(f"{CORE}/pods/p?gracePeriodSeconds=0")
    assert (await names(api, JOBS), await names(api, f"{CORE}/pods")) == ([], [])


async def test_a_running_pod_is_deleted_by_its_node(api: httpx.AsyncClient) -> None:
    path = f"{CORE}/pods/p"
    await created(api, f"{CORE}/pods", pod(nodeName="n", terminationGracePeriodSeconds=7), "p")
    marked = (await api.delete(path)).json()["metadata"]
    assert marked["deletionGracePeriodSeconds"] == 7
    assert await names(api, f"{CORE}/pods") == ["p"]
    await api.patch(f"{path}/status", json={"status": {"phase": "Running"}}, headers=AS_MERGE)
    assert (await api.request("DELETE", path, json={"gracePeriodSeconds": 0})).json()["status"] == "Success"
    assert await names(api, f"{CORE}/pods") == []
    await created(api, f"{CORE}/pods", pod(nodeName="n"), "p")
    await api.patch(f"{path}/status", json={"status": {"phase": "Succeeded"}}, headers=AS_MERGE)
    await api.delete(path)
    assert await names(api, f"{CORE}/pods") == []


async def test_a_job_gets_the_labels_of_its_pods(api: httpx.AsyncClient) -> None:
    made = await created(api, JOBS, job(), "j")
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert labels["batch.kubernetes.io/job-name"] == "j"
    assert labels["batch.kubernetes.io/controller-uid"] == made["metadata"]["uid"]
    assert made["spec"]["backoffLimit"] == 6
    incomplete: list[Body] = [{}, {"spec": None}, {"spec": {"template": {"spec": {"containers": []}}}}]
    for wrong in incomplete:
        answer = await api.post(JOBS, json={"metadata": {"name": "k"}, **wrong})
        assert (answer.status_code, "containers: Required" in answer.json()["message"]) == (422, True)


async def test_a_namespace_goes_with_its_content(api: httpx.AsyncClient) -> None:
    await created(api, "/api/v1/namespaces", {}, "team")
    path = GENERATIONS.replace("default", "team")
    await created(api, path, {"spec": SPEC[IMAGE]}, "a", finalizers=["contentgen.dev/x"])
    await created(api, "/api/v1/namespaces/team/configmaps", {}, "c")
    terminating = (await api.delete("/api/v1/namespaces/team")).json()
    assert terminating["status"]["phase"] == "Terminating"
    assert await names(api, "/api/v1/namespaces/team/configmaps") == []
    refused = await api.post("/api/v1/namespaces/team/configmaps", json={"metadata": {"name": "c"}})
    assert refused.status_code == 403
    await api.patch(f"{path}/a", json={"metadata": {"finalizers": None}}, headers=AS_MERGE)
    assert (await api.get("/api/v1/namespaces/team")).status_code == 404


async def test_lists_are_selected_and_paged(api: httpx.AsyncClient) -> None:
    for name, user in (("a", "one"), ("b", "two"), ("c", "one")):
        spec = SPEC[IMAGE] | {"userId": user}
        await created(api, GENERATIONS, {"spec": spec}, name, labels={"user": user, name: ""})
    assert await names(api, GENERATIONS, fieldSelector="spec.userId=one") == ["a", "c"]
    assert await names(api, GENERATIONS, fieldSelector="spec.userId!=one,metadata.name==b") == ["b"]
    assert await names(api, GENERATIONS, fieldSelector="status.phase!=Completed,status.phase!=Failed") == [
        "a",
        "b",
        "c",
    ]
    for labels, expected in (
        ("user=one", ["a", "c"]),
        ("user in (one, two),a", ["a"]),
        ("user notin (one)", ["b"]),
        ("!a,user!=two", ["c"]),
        ("user==two", ["b"]),
    ):
        assert await names(api, GENERATIONS, labelSelector=labels) == expected
    for wrong in ({"fieldSelector": "spec.prompt=x"}, {"labelSelector": "a b"}, {"limit": "x"}, {"continue": "x"}):
        assert (await api.get(GENERATIONS, params=wrong)).status_code == 400
    first = (await api.get(GENERATIONS, params={"limit": 2})).json()
    assert first["metadata"]["remainingItemCount"] == 1
    await api.delete(f"{GENERATIONS}/a")
    rest = (await api.get(GENERATIONS, params={"limit": 2, "continue": first["metadata"]["continue"]})).json()
    assert [resource["metadata"]["name"] for resource in rest["items"]] == ["c"]
    assert rest["metadata"] == {"resourceVersion": first["metadata"]["resourceVersion"]}  # a watch begins there
    everywhere = f"/apis/{API_VERSION}/imagegenerations"
    assert await names(api, everywhere) == ["b", "c"]


async def test_a_collection_is_deleted_by_its_selector(api: httpx.AsyncClient) -> None:
    for name in ("a", "b"):
        await created(api, f"{CORE}/configmaps", {}, name, labels={"name": name})
    assert (await api.delete(f"{CORE}/configmaps?labelSelector=name=a")).status_code == 200
    assert await names(api, f"{CORE}/configmaps") == ["b"]


async def test_tables(api: httpx.AsyncClient) -> None:
    await created(api, GENERATIONS, {"spec": SPEC[IMAGE]}, "a")
    await api.patch(f"{GENERATIONS}/a/status", json={"status": {"phase": "Pending", "progress": 3}}, headers=AS_MERGE)
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
    for path in (GENERATIONS, f"{GENERATIONS}/a"):
        table = (await api.get(path, headers=accept)).json()
        assert [definition["name"] for definition in table["columnDefinitions"]][:4] == [
            "Name",
            "Phase",
            "Progress",
            "Stage",
        ]
        (row,) = table["rows"]
        assert row["cells"][:4] == ["a", "Pending", 3, ""]
        assert row["object"]["kind"] == "PartialObjectMetadata"
    bare = (await api.get(f"{GENERATIONS}?includeObject=None", headers=accept)).json()
    assert "object" not in bare["rows"][0]


NAUGHTY: list[Any] = [None, 3, "x", ["x"], {"a": {"b": None}}, "\ud800"]


@pytest.mark.parametrize("path", [GENERATIONS, JOBS, f"{CORE}/pods"])
async def test_no_body_breaks_the_server(api: httpx.AsyncClient, path: str) -> None:
    good: Body = {
        "metadata": {"name": "good"},
        "spec": {"template": {"metadata": {}, "spec": {"containers": [{}]}}, "containers": [{}], **SPEC[IMAGE]},
        "status": {},
    }
    places = [(), ("metadata",), ("spec",), ("status",), ("spec", "template"), ("spec", "template", "metadata"),
              ("spec", "template", "spec"), ("spec", "containers"), ("spec", "prompt"), ("spec", "loras"),
              *(("metadata", word) for word in ("name", "generateName", "namespace", "labels", "annotations",
                                               "finalizers", "ownerReferences", "uid", "resourceVersion"))]  # fmt: skip
    await api.post(path, json=good)
    for place in places:
        for value in NAUGHTY:
            content = json.dumps(replaced(good, place, value)).encode()
            requests = [("POST", path, ""), ("PUT", f"{path}/good", ""), ("DELETE", f"{path}/other", "")]
            requests += [("PATCH", f"{path}/good", how) for how in (MERGE, STRATEGIC, APPLY[0])]
            for method, at, how in requests:
                answer = await api.request(method, at, content=content, headers={"Content-Type": how})
                assert answer.status_code < 500, (place, value, method, how)
    for content in (b"", b"{", b"\xff", b"[" * 100_000, b'{"a": NaN}', b"null", b" ", b'"\\ud800"'):
        assert (await api.post(path, content=content)).status_code < 500
    assert (await api.post(path, content=b"x" * (3 * 2**20 + 1))).status_code == 413


def replaced(body: Any, place: tuple[str, ...], value: Any) -> Any:
    if not place:
        return value
    return {**body, place[0]: replaced(body.get(place[0], {}), place[1:], value)}


async def test_generations_follow_each_other_under_concurrent_writers(api: httpx.AsyncClient) -> None:
    await created(api, GENERATIONS, {"spec": SPEC[IMAGE]}, "a")

    async def write(number: int) -> None:
        while True:
            body = (await api.get(f"{GENERATIONS}/a")).json()
            body["spec"]["image"] = {"seed": body["spec"]["image"].get("seed", 0) + 1}
            if (await api.put(f"{GENERATIONS}/a", json=body)).status_code == 200:
                return

    await asyncio.gather(*(write(number) for number in range(20)))
    last = (await api.get(f"{GENERATIONS}/a")).json()
    assert (last["spec"]["image"]["seed"], last["metadata"]["generation"]) == (20, 21)


async def test_the_texts_of_a_secret_become_data(api: httpx.AsyncClient) -> None:
    made = await created(api, f"{CORE}/secrets", {"stringData": {"a": "b"}, "data": {"c": "ZA=="}}, "s")
    assert (made["data"], made["type"], "stringData" in made) == ({"a": "Yg==", "c": "ZA=="}, "Opaque", False)
    edit = {"stringData": {"a": "x"}}
    patched = (await api.patch(f"{CORE}/secrets/s", json=edit, headers=AS_MERGE)).json()
    assert (patched["data"], "stringData" in patched) == ({"a": "eA==", "c": "ZA=="}, False)
    for path, wrong in (("secrets", {"data": {"a": "b"}}), ("secrets", {"stringData": {"a": 1}}),
                        ("secrets", {"data": "a"}), ("configmaps", {"data": {"a": 1}})):  # fmt: skip
        answer = await api.post(f"{CORE}/{path}", json={"metadata": {"name": "wrong"}, **wrong})
        assert answer.status_code == 422
