"""Chart, samples and admission policies on an API server without a node: KUBECONFIG of
`python -m contentgen_cluster api-server`, whose Kubernetes minor is in CONTENTGEN_KUBERNETES.
"""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from contentgen_cluster.paths import REPO
from contentgen_cluster.release import CommandFailed
from contentgen_e2e.api_server import NAMESPACE, STORES, kubectl, run, sets, until_crds_are_served

CHART = REPO / "charts/contentgen"
Body = dict[str, Any]
VALUES: dict[str, tuple[str, ...]] = {
    "default": (),
    "existing Secrets": (
        *STORES,
        "sentry.existingSecret=e",
        "worker.serviceAccount.name=worker",
        "worker.serviceAccount.namespaces={marketing}",
    ),
    "sandbox": ("sandbox.enabled=true",),
    "some namespaces": ("watchNamespaces={marketing}", "networkPolicy.workerNamespaces={marketing}"),
    "labelled namespaces": ("watchNamespaceSelector.matchLabels.team=a",),
    "reached from outside": (
        "gateway.ingress.enabled=true",
        "gateway.ingress.host=content.example.com",
        "gateway.ingress.tlsSecret=tls",
        "gateway.trustedProxies={10.1.0.0/16}",
        "monitoring.dashboard.enabled=true",
    ),
}


@pytest.fixture(scope="module", autouse=True)
def server() -> None:
    """The API server of the minor, with the namespaces of the values above."""
    assert "KUBECONFIG" in os.environ, "run `python -m contentgen_cluster api-server`"
    found = json.loads(kubectl("version", "--output", "json"))["serverVersion"]["gitVersion"]
    assert found.startswith(f"v{os.environ['CONTENTGEN_KUBERNETES']}."), found
    for name in (NAMESPACE, "marketing"):
        kubectl("apply", "--filename", "-", given={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    # A default, unlike --namespace, which objects of other namespaces contradict.
    kubectl("config", "set-context", "--current", "--namespace", NAMESPACE)
    # The pod of `helm test` is admitted only if its account exists, and a dry run stores none.
    kubectl("create", "serviceaccount", "contentgen-test")


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
def test_every_object_of_the_chart_is_admitted_without_a_warning(values: tuple[str, ...]) -> None:
    rendered = run("helm", "template", "contentgen", str(CHART), "--namespace", NAMESPACE, *sets(values))
    kinds = {each["kind"] for each in yaml.safe_load_all(rendered) if each}
    assert {"Deployment", "CustomResourceDefinition", "ValidatingAdmissionPolicy"} <= kinds
    how = ("--server-side", "--dry-run=server", "--validate=strict", "--warnings-as-errors")
    run("kubectl", "apply", *how, "--filename", "-", stdin=rendered)


@pytest.fixture(scope="module")
def installed() -> Iterator[None]:
    """The release without its hooks and pods: nothing runs them here."""
    kubectl("delete", "serviceaccount", "contentgen-test")  # the release has its own
    run("helm", "install", "contentgen", str(CHART), "--namespace", NAMESPACE, "--no-hooks", *sets(STORES))
    until_crds_are_served()
    yield
    run("helm", "uninstall", "contentgen", "--namespace", NAMESPACE, "--no-hooks")


@pytest.fixture(scope="module")
def editor(installed: None) -> str:
    """User who may write our resources, their status and Jobs, and has none of our own verbs."""
    rules = [
        {"apiGroups": ["contentgen.dev"], "resources": ["*"], "verbs": ["get", "create", "update", "patch"]},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "create", "patch"]},
    ]
    common = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "editor", "namespace": "marketing"}}
    kubectl("apply", "--filename", "-", given=common | {"kind": "Role", "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "editor"}
    subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "editor@example.com"}]
    binding = common | {"kind": "RoleBinding", "roleRef": reference, "subjects": subjects}
    kubectl("apply", "--filename", "-", given=binding)
    return "editor@example.com"


def picture(name: str, annotations: dict[str, str] | None = None, **more: Any) -> Body:
    spec = {"prompt": "A grey square", "model": "flux-schnell"} | more
    meta = {"name": name, "namespace": "marketing", "annotations": annotations or {}}
    return {"apiVersion": "contentgen.dev/v1alpha1", "kind": "ImageGeneration", "metadata": meta, "spec": spec}


@pytest.mark.usefixtures("installed")
def test_the_samples_are_stored() -> None:
    kubectl("--namespace", "marketing", "apply", "--validate=strict", "--filename", str(REPO / "samples"))
    listed = json.loads(kubectl("--namespace", "marketing", "get", "contentgen", "--output", "json"))["items"]
    assert {each["kind"] for each in listed} == {"ImageGeneration", "LoraTraining", "Transcription"}


def test_the_policies_refuse(editor: str) -> None:
    as_editor = (f"--as={editor}", "--filename", "-")
    kubectl("apply", *as_editor, given=picture("plain"))
    with pytest.raises(CommandFailed, match=r'spec.userId is "user-9", and must be the namespace'):
        kubectl("apply", *as_editor, given=picture("foreign", userId="user-9"))
    with pytest.raises(CommandFailed, match="has not the verb spend"):
        kubectl("apply", *as_editor, given=picture("plain", {"contentgen.dev/rerun": "1"}))
    with pytest.raises(CommandFailed, match=r"ValidatingAdmissionPolicy 'contentgen[-a-z]*status"):
        kubectl(
            "--namespace", "marketing", "patch", f"--as={editor}", "imagegeneration", "plain", "--subresource=status",
            "--type=merge", "--patch", '{"status": {"phase": "Completed"}}',
        )  # fmt: skip
    container = {"name": "worker", "image": "example.com/worker"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    meta = {"name": "theirs", "namespace": "marketing", "labels": {"contentgen.dev/uid": "1"}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"template": template}}
    with pytest.raises(CommandFailed, match=r"ValidatingAdmissionPolicy 'contentgen[-a-z]*jobs"):
        kubectl("create", *as_editor, given=job)


@pytest.fixture
def tenant() -> Iterator[str]:
    """User who may do everything with our resources in one namespace, and a ContentBudget in the cluster."""
    user = "tenant@example.com"
    common = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "tenant", "namespace": "marketing"}}
    rules = [{"apiGroups": ["contentgen.dev"], "resources": ["*"], "verbs": ["*"]}]
    kubectl("apply", "--filename", "-", given=common | {"kind": "Role", "rules": rules})
    kubectl("--namespace", "marketing", "create", "rolebinding", "tenant", "--role=tenant", f"--user={user}")
    budget = {"apiVersion": "contentgen.dev/v1alpha1", "kind": "ContentBudget", "metadata": {"name": "company"}}
    kubectl("apply", "--filename", "-", given=budget | {"spec": {"limits": {"month": "100"}}})
    yield user
    kubectl("delete", "contentbudget", "company")
    kubectl("--namespace", "marketing", "delete", "rolebinding,role", "tenant")


def as_tenant(user: str, *arguments: str, given: Body | None = None) -> str:
    """kubectl as a user with the group of all signed-in users."""
    return kubectl(f"--as={user}", "--as-group=system:authenticated", *arguments, given=given)


@pytest.mark.usefixtures("installed")
def test_tenants_read_no_budget_by_default(tenant: str) -> None:
    for words in (("get", "contentbudget", "company"), ("get", "contentbudgets")):
        with pytest.raises(CommandFailed, match=r"cannot (get|list) resource .*contentbudgets"):
            as_tenant(tenant, *words)


@pytest.mark.usefixtures("installed")
def test_budget_is_readable_for_the_groups_of_the_chart_only(tenant: str) -> None:
    """Each write is refused by the API server for the missing verb."""
    readers = (*STORES, "roles.budgetReaders={system:authenticated}")
    where = ("--namespace", NAMESPACE, "--no-hooks")
    run("helm", "upgrade", "contentgen", str(CHART), *where, *sets(readers))
    try:
        seen = json.loads(as_tenant(tenant, "get", "contentbudget", "company", "--output", "json"))
        assert seen["spec"]["limits"] == {"month": "100"}
        assert "company" in as_tenant(tenant, "get", "contentbudgets", "--output", "name")
        other = {"apiVersion": "contentgen.dev/v1alpha1", "kind": "ContentBudget", "metadata": {"name": "mine"}}
        raised = ("--type=merge", "--patch", '{"spec": {"limits": {"month": "100000"}}}')
        status = "/apis/contentgen.dev/v1alpha1/contentbudgets/company/status"
        for refused, words, given in (
            ('create resource "contentbudgets"', ("create", "--filename", "-"), other | {"spec": seen["spec"]}),
            ('patch resource "contentbudgets"', ("patch", "contentbudget", "company", *raised), None),
            ('update resource "contentbudgets"', ("replace", "--filename", "-"), seen | {"spec": {"limits": {}}}),
            ('update resource "contentbudgets/status"', ("replace", "--raw", status, "--filename", "-"), seen),
            ('delete resource "contentbudgets"', ("delete", "contentbudget", "company"), None),
        ):
            with pytest.raises(CommandFailed, match=f'User "{tenant}" cannot {refused} in API group "contentgen.dev"'):
                as_tenant(tenant, *words, given=given)
        left = json.loads(kubectl("get", "contentbudget", "company", "--output", "json"))
        assert left["spec"] == seen["spec"]
        assert left["metadata"]["resourceVersion"] == seen["metadata"]["resourceVersion"]
    finally:
        run("helm", "upgrade", "contentgen", str(CHART), *where, "--reset-values", *sets(STORES))
