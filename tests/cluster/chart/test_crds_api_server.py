"""CRD validation by the real API server accepts and rejects the same specs as the models, and names the wrong field.

Needs a cluster: KUBECONFIG, or the one that `make cluster` started. Everything but one waiting ImageGeneration is
a server-side dry run.
"""

import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client.exceptions import ApiException

from contentgen_cluster import release
from contentgen_contract.names import API_VERSION, GROUP, VERSION, Condition, Kind, Phase, Reason, Stage, Step
from contentgen_contract.resources.spec import SPECS, parse_spec
from contentgen_contract.resources.status import (
    ConditionStatus,
    Cost,
    JobRef,
    OutputFile,
    ResourceStatus,
    RunStatus,
    VersionStatus,
    dump_status,
)
from contentgen_e2e.takeovers import until
from contentgen_simulation.crd_cases import (
    EXPECTED,
    IMAGE,
    LORA,
    OTHER_SPELLINGS,
    RIGHT,
    SPEC,
    TRANSCRIPT,
    WRONG,
    Edits,
    case_id,
    edited,
    manifest,
    refused_by_us,
    says_what_was_given,
    without_empty,
)
from kubernetes import client, config

ROOT = Path(__file__).resolve().parents[3]
NAMESPACE = f"crd-tests-{secrets.token_hex(3)}"
AS_OPERATOR = {
    "Impersonate-User": f"system:serviceaccount:{release.NAMESPACE}:contentgen",
    "Impersonate-Group": "system:masters",  # works with and without a release
}
"""Impersonation headers of an account that may write a status despite the chart's admission policies."""


def stable(version: dict[str, Any]) -> dict[str, Any]:
    """Parts of a CRD's version that we write; the API server adds defaults to others."""
    return {key: version.get(key) for key in ("schema", "additionalPrinterColumns", "selectableFields")}


@pytest.fixture(scope="module")
def api() -> Iterator[client.ApiClient]:
    path = os.environ.get("KUBECONFIG") or str(ROOT / ".cluster" / "kubeconfig")
    if not Path(path).is_file():
        pytest.fail(f"no kubeconfig at {path}; run `make cluster`, or set KUBECONFIG")
    with config.new_client_from_config(path) as connected:
        namespaces = client.CoreV1Api(connected)
        namespaces.create_namespace({"metadata": {"name": NAMESPACE}})
        yield connected
        namespaces.delete_namespace(NAMESPACE)


@pytest.fixture(scope="module")
def objects(api: client.ApiClient) -> Iterator[client.CustomObjectsApi]:
    """An API server that has our CRDs: those of an installed chart, or ours until the tests end."""
    extensions = client.ApiextensionsV1Api(api)
    crds = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    there = {crd["metadata"]["name"]: crd for crd in raw(api, "GET", CRDS)["items"]}
    made = []
    try:
        for crd in crds:
            name = crd["metadata"]["name"]
            if name not in there:
                raw(api, "POST", CRDS, crd)
                made.append(name)
            elif stable(there[name]["spec"]["versions"][0]) != stable(crd["spec"]["versions"][0]):
                pytest.fail(f"the cluster's CRD {name} is not that of crds/; upgrade the chart's release first")
        wait_until_served(api, [crd["metadata"]["name"] for crd in crds])
        yield client.CustomObjectsApi(api)
    finally:
        for name in made:  # otherwise a later helm install would find CRDs without its ownership labels
            extensions.delete_custom_resource_definition(name)
        wait_until_deleted(api, made)
        if len(made) == len(crds):
            wait_until_gone(api)


CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def raw(api: client.ApiClient, method: str, path: str, body: object = None, **headers: str) -> dict[str, Any]:
    """Request with plain JSON: the typed client drops unknown fields."""
    parameters = api.param_serialize(
        method,
        path,
        header_params={"Accept": "application/json", "Content-Type": "application/json", **headers},
        body=body,
        auth_settings=["BearerToken"],
    )
    response = api.call_api(*parameters)
    parsed = json.loads(response.read())
    if response.status >= 400:
        raise ApiException(status=response.status, reason=response.reason, body=json.dumps(parsed))
    assert isinstance(parsed, dict)
    return parsed


def wait_until_served(api: client.ApiClient, names: list[str]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        # The API server first returns `conditions: null`.
        found = [raw(api, "GET", f"{CRDS}/{name}")["status"].get("conditions") or [] for name in names]
        if all({"Established": "True"}.items() <= {c["type"]: c["status"] for c in each}.items() for each in found):
            time.sleep(1)  # the endpoint follows the condition
            return
        time.sleep(0.3)
    pytest.fail(f"the API server does not serve {names}")


def wait_until_deleted(api: client.ApiClient, names: list[str]) -> None:
    """Poll until the CRDs are gone: they stay, without Helm's ownership labels, while their instances are counted.

    A change wakes a cleanup that the API server has forgotten, as in `until_crds_end`.
    """
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        left = {crd["metadata"]["name"] for crd in raw(api, "GET", CRDS)["items"]} & set(names)
        if not left:
            return
        time.sleep(0.3)
        for name in left:
            change = {"metadata": {"annotations": {"contentgen.dev/retry": str(time.monotonic())}}}
            with suppress(ApiException):  # it is gone meanwhile
                raw(api, "PATCH", f"{CRDS}/{name}", change, **MERGE)
    pytest.fail(f"the API server still has {names}")


def wait_until_gone(api: client.ApiClient) -> None:
    """Poll until discovery no longer lists the API group: for seconds after the CRDs it lists what the API server does
    not serve, and Helm's `lookup` fails then.
    """
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if GROUP not in {group["name"] for group in raw(api, "GET", "/apis")["groups"]}:
            return
        time.sleep(0.3)
    pytest.fail(f"discovery still lists {GROUP}")


def dry_run(objects: client.CustomObjectsApi, kind: Kind, body: dict[str, Any]) -> dict[str, Any]:
    answer = objects.create_namespaced_custom_object(
        GROUP, VERSION, NAMESPACE, kind.plural, body, dry_run="All", field_validation="Strict"
    )
    assert isinstance(answer, dict)
    return answer


def refusal(objects: client.CustomObjectsApi, kind: Kind, body: dict[str, Any]) -> str:
    with pytest.raises(ApiException) as caught:
        dry_run(objects, kind, body)
    assert caught.value.status in (400, 422)
    return str(json.loads(caught.value.body)["message"])


def test_the_tables_are_as_large_as_they_should_be() -> None:
    assert len(WRONG) >= 60
    assert len(RIGHT) >= 30


@pytest.mark.parametrize(("kind", "edits", "named"), WRONG, ids=case_id)
def test_wrong(objects: client.CustomObjectsApi, kind: Kind, edits: Edits, named: str) -> None:
    spec = edited(SPEC[kind], edits)
    message = refusal(objects, kind, manifest(kind, spec))
    assert named in message
    assert says_what_was_given(edits, message), message
    assert any(word in message for word in EXPECTED), message
    assert "should match" not in message, "a pattern is told in words"
    assert refused_by_us(kind, spec)


@pytest.mark.parametrize(("kind", "edits"), RIGHT, ids=case_id)
def test_right_with_the_models_defaults(objects: client.CustomObjectsApi, kind: Kind, edits: Edits) -> None:
    spec = edited(SPEC[kind], edits)
    stored = dry_run(objects, kind, manifest(kind, spec))
    model = SPECS[kind].model_validate_json(json.dumps(spec), strict=True)
    assert parse_spec(kind, stored["spec"]) == model
    set_by_the_server = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert without_empty(stored["spec"]) == without_empty(set_by_the_server)


@pytest.mark.parametrize(
    ("kind", "written", "canonical"),
    OTHER_SPELLINGS,
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else None,
)
def test_another_spelling_is_admitted(
    objects: client.CustomObjectsApi, kind: Kind, written: Edits, canonical: Edits
) -> None:
    """The API server stores the written form; the operator parses it to the canonical form."""
    stored = dry_run(objects, kind, manifest(kind, edited(SPEC[kind], written)))["spec"]
    asked = edited(SPEC[kind], written)
    assert all(stored[name] == asked[name] for name in asked.keys() - {"options", "loras"})
    assert parse_spec(kind, stored) == parse_spec(kind, edited(SPEC[kind], canonical))


@pytest.mark.parametrize("path", sorted((ROOT / "samples").glob("*.yaml")), ids=lambda path: path.stem)
def test_samples(objects: client.CustomObjectsApi, path: Path) -> None:
    body = yaml.safe_load(path.read_text())
    assert dry_run(objects, Kind(body["kind"]), body)["spec"]


def test_a_resource_needs_a_spec(objects: client.CustomObjectsApi) -> None:
    body = manifest(TRANSCRIPT, {})
    del body["spec"]
    assert "spec: Required value" in refusal(objects, TRANSCRIPT, body)


def test_name_too_long_for_a_job_is_refused(objects: client.CustomObjectsApi) -> None:
    dry_run(objects, TRANSCRIPT, manifest(TRANSCRIPT, SPEC[TRANSCRIPT], "a" * 52))
    message = refusal(objects, TRANSCRIPT, manifest(TRANSCRIPT, SPEC[TRANSCRIPT], "a" * 53))
    assert "metadata.name must have at most 52 characters" in message


@pytest.fixture
def waiting(objects: client.CustomObjectsApi) -> Iterator[str]:
    """ImageGeneration that waits for a missing LoRA, so that an operator starts and pays nothing."""
    name = "crd-test-waits"
    spec = SPEC[IMAGE] | {"loras": [{"loraRef": {"name": "crd-test-does-not-exist"}}]}
    objects.create_namespaced_custom_object(GROUP, VERSION, NAMESPACE, IMAGE.plural, manifest(IMAGE, spec, name))
    yield name
    objects.delete_namespaced_custom_object(GROUP, VERSION, NAMESPACE, IMAGE.plural, name)


def full_status() -> ResourceStatus:
    now = "2026-01-02T03:04:05Z"
    return ResourceStatus.model_validate(
        {
            "observedGeneration": 1,
            "jobId": "0b1c",
            "phase": Phase.PROCESSING,
            "progress": 61,
            "stage": Step.TRAINING,
            "reason": Reason.PROCESSING,
            "message": "Step 10 of 1000",
            "estimatedCompletionTime": now,
            "startTime": now,
            "completionTime": now,
            "cost": Cost(estimated="2.00", actual="1.90", currency="USD", source="2026-01", display="~$2.00"),
            "conditions": [
                ConditionStatus(type=condition, status="False", reason="Processing", last_transition_time=now)
                for condition in Condition
            ],
            "run": RunStatus(
                version=2,
                run_hash="00ff",
                rerun="again",
                generation=1,
                spec=SPEC[LORA] | {"nested": {"anything": [1, None]}},
                started_at=now,
                job=JobRef(name="j", uid="u", stage=Stage.PREPARE, attempt=2, started_at=now),
                facts={"images": 12, "rejected": {"blurred": 3}},
                request_id="r",
                submitted_at=now,
            ),
            "versions": [
                VersionStatus(
                    version=number,
                    run_hash="00fe",
                    rerun="once",
                    job_id="0b1c",
                    completed_at=now,
                    files=tuple(OutputFile(key=f"k{i}", size_bytes=i, sha256="0" * 64) for i in range(64)),
                    facts={"sizeBytes": 9},
                )
                for number in range(1, 51)
            ],
        }
    )


def test_a_new_resource_does_not_count_as_reconciled(objects: client.CustomObjectsApi, waiting: str) -> None:
    """kstatus regards a resource without conditions and observedGeneration as reconciled."""
    found = objects.get_namespaced_custom_object(GROUP, VERSION, NAMESPACE, IMAGE.plural, waiting)
    conditions = {condition["type"]: condition["status"] for condition in found["status"].get("conditions", [])}
    assert found["status"]["observedGeneration"] == -1 or conditions["Ready"] == "False"


def test_the_largest_status_is_stored_whole(
    objects: client.CustomObjectsApi, waiting: str, api: client.ApiClient
) -> None:
    status = dump_status(full_status())
    # Replacement of the whole status, like the operator's: a merge would keep fields of a running operator.
    whole = [{"op": "add", "path": "/status", "value": status}]
    path = f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/{IMAGE.plural}/{waiting}/status?dryRun=All"
    stored = raw(api, "PATCH", path, whole, **AS_OPERATOR, **{"Content-Type": "application/json-patch+json"})
    assert stored["status"] == status
    assert ResourceStatus.model_validate(stored["status"]) == full_status()


def test_a_wrong_status_is_refused(objects: client.CustomObjectsApi, waiting: str, api: client.ApiClient) -> None:
    path = f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/{IMAGE.plural}/{waiting}/status?dryRun=All"
    for status, named in (({"phase": "Sleeping"}, "status.phase"), ({"progress": 101}, "status.progress")):
        with pytest.raises(ApiException) as caught:
            raw(
                api,
                "PATCH",
                path,
                {"status": status},
                **AS_OPERATOR,
                **{"Content-Type": "application/merge-patch+json"},
            )
        assert named in str(caught.value.body)


def test_fields_can_be_selected(objects: client.CustomObjectsApi, waiting: str) -> None:
    def names(selector: str) -> list[str]:
        listed = objects.list_namespaced_custom_object(
            GROUP, VERSION, NAMESPACE, IMAGE.plural, field_selector=f"{selector},metadata.name={waiting}"
        )
        return [item["metadata"]["name"] for item in listed["items"]]

    assert names("spec.userId!=nobody") == [waiting]
    assert names("spec.userId=nobody") == []
    assert names("status.phase=Completed") == []


MERGE = {"Content-Type": "application/merge-patch+json"}
NO_RUN: dict[str, Any] = {"phase": "Pending"}


def a_run(phase: str, **more: Any) -> dict[str, Any]:
    return {"phase": phase, "run": {"number": 1, "startedAt": "2026-11-21T00:00:00Z"} | more}


AS_SERVER = {"Impersonate-User": "crd-tests"}
"""Impersonation header of an account with the verb serve on the class crd-tests-a."""


def may_patch_status(api: client.ApiClient) -> bool:
    """Whether the account of AS_SERVER may patch the status of pictures, by a SubjectAccessReview."""
    patch = {"verb": "patch", "group": GROUP, "resource": IMAGE.plural, "subresource": "status", "namespace": NAMESPACE}
    review = {"spec": {"user": AS_SERVER["Impersonate-User"], "resourceAttributes": patch}}
    reply = raw(api, "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(reply["status"]["allowed"])


@pytest.fixture(scope="module")
def server(api: client.ApiClient) -> Iterator[None]:
    """The ClusterRole of AS_SERVER, once the API server's authorizer knows it."""
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    rules = [
        {"apiGroups": [GROUP], "resources": ["operatorclasses"], "resourceNames": ["crd-tests-a"], "verbs": ["serve"]},
        {"apiGroups": [GROUP], "resources": ["imagegenerations/status"], "verbs": ["patch"]},
    ]
    role = {"metadata": {"name": NAMESPACE}, "rules": rules}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAMESPACE}
    bound = {"roleRef": reference, "subjects": [{"kind": "User", "name": "crd-tests"}]}
    raw(api, "POST", f"{rbac}/clusterroles", role)
    raw(api, "POST", f"{rbac}/clusterrolebindings", {"metadata": {"name": NAMESPACE}} | bound)
    until("the authorizer knows the role", lambda: may_patch_status(api), 30)
    yield
    raw(api, "DELETE", f"{rbac}/clusterrolebindings/{NAMESPACE}")
    raw(api, "DELETE", f"{rbac}/clusterroles/{NAMESPACE}")


@pytest.fixture
def unserved(objects: client.CustomObjectsApi, server: None) -> Iterator[str]:
    """Resource of a class that no installation serves."""
    name = "crd-test-unserved"
    body = manifest(IMAGE, SPEC[IMAGE] | {"operatorClass": "crd-tests-a"}, name)
    objects.create_namespaced_custom_object(GROUP, VERSION, NAMESPACE, IMAGE.plural, body)
    yield name
    objects.delete_namespaced_custom_object(GROUP, VERSION, NAMESPACE, IMAGE.plural, name)


@pytest.mark.parametrize(
    ("status", "moves"),
    [
        (None, True),
        (NO_RUN, True),
        (a_run("Pending"), False),
        (a_run("Processing"), False),
        (a_run("SubmissionUnknown"), False),
        (a_run("Suspended"), False),
        ({"run": {"number": 1, "startedAt": "2026-11-21T00:00:00Z"}}, False),  # without a phase
        (a_run("Completed"), True),
        (a_run("Failed"), True),
        (a_run("Completed", requestOpen=False), True),
        (a_run("Completed", requestOpen=True), False),
        (a_run("Failed", requestOpen=True), False),
    ],
    ids=str,
)
def test_the_class_does_not_change_during_a_run(
    api: client.ApiClient, unserved: str, status: dict[str, Any] | None, moves: bool
) -> None:
    path = f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/{IMAGE.plural}/{unserved}"
    if status is not None:
        raw(api, "PATCH", f"{path}/status", {"status": status}, **AS_SERVER, **MERGE)
    for wanted in ("crd-tests-b", None):  # None: the class default
        edit = {"spec": {"operatorClass": wanted}}
        if moves:
            moved = raw(api, "PATCH", f"{path}?dryRun=All", edit, **MERGE)
            assert moved["spec"].get("operatorClass") == wanted
        else:
            with pytest.raises(ApiException) as caught:
                raw(api, "PATCH", f"{path}?dryRun=All", edit, **MERGE)
            assert "spec.operatorClass must not change during a run" in str(caught.value.body)
    edit = {"spec": {"prompt": "another", "operatorClass": "crd-tests-a"}}
    assert raw(api, "PATCH", f"{path}?dryRun=All", edit, **MERGE)["spec"]["prompt"] == "another"


def test_the_owner_of_a_class_does_not_change(objects: client.CustomObjectsApi, api: client.ApiClient) -> None:
    """CEL makes the owner immutable; the admission policy decides who may create a class."""
    owner = {"namespace": "crd-tests", "serviceAccount": "crd-tests", "release": "crd-tests"}
    name = f"crd-tests-{secrets.token_hex(3)}"
    path = f"/apis/{API_VERSION}/operatorclasses"
    body = {"apiVersion": API_VERSION, "kind": "OperatorClass", "metadata": {"name": name}, "spec": {"owner": owner}}
    for wrong_owner in ({}, owner | {"namespace": "A"}, owner | {"serviceAccount": ""}, {"namespace": "a"}):
        with pytest.raises(ApiException) as caught:
            raw(api, "POST", f"{path}?dryRun=All", body | {"spec": {"owner": wrong_owner}}, **OWNER)
        assert "spec.owner" in str(caught.value.body)
    raw(api, "POST", path, body, **OWNER)
    try:
        for edit in ({"namespace": "another"}, {"serviceAccount": "another"}, {"release": "another"}):
            with pytest.raises(ApiException) as caught:
                raw(api, "PATCH", f"{path}/{name}", {"spec": {"owner": edit}}, **OWNER, **MERGE)
            assert "spec.owner must not change" in str(caught.value.body)
        raw(api, "PATCH", f"{path}/{name}", {"metadata": {"labels": {"a": "b"}}}, **OWNER, **MERGE)
    finally:
        raw(api, "DELETE", f"{path}/{name}")


OWNER = {"Impersonate-User": "system:serviceaccount:crd-tests:crd-tests", "Impersonate-Group": "system:masters"}
"""Impersonation headers of the account that admission policies permit to take a class for this owner."""
