"""Requests across the security boundary of the API server: callers, prepared objects, and responses."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from contentgen_cluster import release
from contentgen_cluster.paths import KUBECONFIG
from contentgen_contract.names import API_VERSION, GROUP, VERSION, Kind, Stage
from contentgen_documents import pages
from contentgen_e2e.world import ClusterWorld
from contentgen_operator.kube.job_manifests import JobTemplate, WorkerPod, job_manifest
from contentgen_operator.state.observed import ResourceRef
from kubernetes import client, config

Body = dict[str, Any]
OPERATOR = f"system:serviceaccount:{release.NAMESPACE}:contentgen"
GATEWAY = f"system:serviceaccount:{release.NAMESPACE}:contentgen-gateway"
CONTROLLERS = [f"system:serviceaccount:kube-system:{name}-controller" for name in ("job", "cronjob", "replicaset")]
POLICIES = f"{release.NAMESPACE}-contentgen"
POLICY_NAMES = (
    "status",
    "status-owner",
    "classes",
    "resources",
    "resources-deletions",
    "jobs",
    "workers",
    "workers-deletion",
    "spend",
    "approvals",
    "endpoints",
)
MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
PLURALS = [kind.plural for kind in Kind]
RIVAL, NOBODYS = "rival", "nobodys"
"""Classes of resources in the namespace: one that another account serves, and one that none does."""
WAITING = 3
RBAC = "rbac.authorization.k8s.io"
SPECS: dict[Kind, Body] = {
    Kind.LORA_TRAINING: {"loraName": "a", "triggerWord": "jf", "source": {"url": "https://example.com/a.mp4"}},
    Kind.IMAGE_GENERATION: {"prompt": "A house"},
    Kind.TRANSCRIPTION: {"source": {"url": "https://example.com/a.mp3"}},
}


@dataclass(frozen=True)
class BoundaryAnswer:
    """Response of the API server to an attempt."""

    code: int
    message: str

    @property
    def allowed(self) -> bool:
        return 200 <= self.code < 300


@dataclass(frozen=True)
class Attempt:
    """One request. `says` is part of the refusal's message; `dry`: a server-side dry run."""

    name: str
    method: str
    path: str
    body: Body | list[Body] | None = None
    says: str = ""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    dry: bool = True


@dataclass(frozen=True)
class BoundaryCaller:
    """Caller, by token or by an administrator's impersonation."""

    name: str
    api: client.ApiClient
    headers: tuple[tuple[str, str], ...] = ()

    def __call__(self, attempt: Attempt) -> BoundaryAnswer:
        dry = attempt.dry and attempt.method != "GET"
        path = f"{attempt.path}{'&' if '?' in attempt.path else '?'}dryRun=All" if dry else attempt.path
        headers = {"Accept": "application/json", "Content-Type": attempt.content_type}
        given = headers | dict(self.headers) | dict(attempt.headers)
        asked = self.api.param_serialize(
            attempt.method, path, header_params=given, body=attempt.body, auth_settings=["BearerToken"]
        )
        response = self.api.call_api(*asked)
        text = response.read().decode(errors="replace")
        return BoundaryAnswer(response.status, said(text) if response.status >= 300 else "")


def patch(name: str, path: str, body: Body, says: str = "", headers: tuple[tuple[str, str], ...] = ()) -> Attempt:
    """Merge patch of a resource."""
    return Attempt(name, "PATCH", path, body, says, MERGE, headers)


def said(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text


def resource(kind: Kind, namespace: str, name: str, **meta: Any) -> Body:
    about = {"name": name, "namespace": namespace} | meta
    return {"apiVersion": API_VERSION, "kind": kind.value, "metadata": about, "spec": SPECS[kind] | {"suspend": True}}


def operator_class(name: str, namespace: str, account: str) -> Body:
    owner = {"namespace": namespace, "serviceAccount": account, "release": "contentgen"}
    about = {"apiVersion": API_VERSION, "kind": "OperatorClass", "metadata": {"name": name}}
    return about | {"spec": {"owner": owner}}


def ours(kind: Kind, namespace: str, name: str = "") -> str:
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{kind.plural}"
    return f"{path}/{name}" if name else path


def jobs(namespace: str, name: str = "") -> str:
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    return f"{path}/{name}" if name else path


@dataclass(frozen=True)
class AttemptPlace:
    """Callers, and the objects in their namespace.

    These are a resource of each kind, named `held`, an ImageGeneration `waiting` whose run WAITING waits for an
    approval, and two suspended Jobs: `ours-…` of the operator, and `theirs`.
    """

    world: ClusterWorld
    admin: BoundaryCaller
    operator: BoundaryCaller
    gateway: BoundaryCaller
    maker: BoundaryCaller
    """Has the Role of docs/gateway.md."""
    viewer: BoundaryCaller
    editor: BoundaryCaller
    owner: BoundaryCaller
    """May do everything with contentgen.dev and with Jobs, their status among it, but has not the verb spend."""
    rival: BoundaryCaller
    """Has the verb serve on the class `default`, which it does not own, and on a class of its own, RIVAL."""
    template: JobTemplate
    uids: dict[Kind, str]

    @property
    def namespace(self) -> str:
        return self.world.namespace

    def as_user(self, name: str, *groups: str) -> BoundaryCaller:
        """User impersonated by an administrator, with all rights unless groups are given."""
        chosen = groups or ("system:masters",)
        return BoundaryCaller(name, self.admin.api, (("Impersonate-User", name), ("Impersonate-Group", chosen[0])))

    def worker_job(self) -> Body:
        """Job in the operator's form."""
        kind = Kind.IMAGE_GENERATION
        ref = ResourceRef(kind=kind, namespace=self.namespace, name="held", uid=self.uids[kind])
        return job_manifest(ref, 7, Stage.COLLECT, 1, self.template)

    @property
    def ours_job(self) -> str:
        return str(self.worker_job()["metadata"]["name"])


def template_of(world: ClusterWorld) -> JobTemplate:
    """Job template of the installed operator."""
    where = ("--namespace", release.NAMESPACE)
    found = json.loads(release.kubectl(world.root, *where, "get", "deployment/contentgen", "--output", "json"))
    container = found["spec"]["template"]["spec"]["containers"][0]
    return template_told(container["env"])


def template_told(variables: Sequence[Body]) -> JobTemplate:
    """Job template by the environment of the operator's container."""
    env = {variable["name"].removeprefix("CONTENTGEN_"): variable.get("value", "") for variable in variables}
    return JobTemplate(
        image=env["WORKER_IMAGE"],
        image_pull_policy=env["WORKER_IMAGE_PULL_POLICY"],
        service_account=env["WORKER_SERVICE_ACCOUNT"],
        resources=json.loads(env["WORKER_RESOURCES"]),
        deadline_seconds=int(env["STAGE_DEADLINE_SECONDS"]),
        worker_api_url=env["WORKER_API_URL"],
        worker_api_ca="PEM",
        pod=WorkerPod.model_validate_json(env["WORKER_POD"]),
        operator_class=env["OPERATOR_CLASS"],
    )


def documented_role(namespace: str) -> list[Body]:
    """Role of docs/gateway.md and its binding for the account `default` of a namespace."""
    found = [manifest.document for manifest in pages.manifests() if manifest.file == "docs/gateway.md"]
    roles = [each for each in found if each.get("kind") in ("Role", "RoleBinding")]
    assert [role["kind"] for role in roles] == ["Role", "RoleBinding"]
    return [json.loads(json.dumps(role).replace("marketing", namespace)) for role in roles]


def bound(namespace: str, account: str, kind: str, role: str) -> Body:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": account, "namespace": namespace},
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }


def tenants(namespace: str) -> list[Body]:
    """Accounts of tenants and their rights."""
    kinds = [
        {"apiGroups": [GROUP], "resources": [*PLURALS, *(f"{plural}/status" for plural in PLURALS)], "verbs": _VERBS}
    ]
    batch = [{"apiGroups": ["batch"], "resources": ["jobs", "jobs/status"], "verbs": _VERBS}]
    role = {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": {"name": "owner", "namespace": namespace}}
    accounts = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
        for name in ("viewer", "editor", "owner", "rival")
    ]
    classes: Body = {"apiGroups": [GROUP], "resources": ["operatorclasses"]}
    serving = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": f"{namespace}-rival"},
        "rules": [classes | {"resourceNames": ["default", RIVAL], "verbs": ["serve"]}, classes | {"verbs": ["create"]}],
    }
    bound_everywhere = bound(namespace, "rival", "ClusterRole", f"{namespace}-rival")
    bound_everywhere |= {"kind": "ClusterRoleBinding", "metadata": {"name": f"{namespace}-rival"}}
    return [
        *accounts,
        *documented_role(namespace),
        bound(namespace, "viewer", "ClusterRole", "view"),
        bound(namespace, "editor", "ClusterRole", "edit"),
        role | {"rules": kinds + batch},
        bound(namespace, "owner", "Role", "owner"),
        bound(namespace, "rival", "Role", "owner"),
        serving,
        bound_everywhere,
    ]


_VERBS = ["get", "list", "watch", "create", "update", "patch", "delete"]


@contextmanager
def connected(token: str | None = None, kubeconfig: str = str(KUBECONFIG)) -> Iterator[client.ApiClient]:
    """API client of the administrator, or of the owner of a token."""
    given = client.Configuration()
    config.load_kube_config(kubeconfig, client_configuration=given)
    given.retries = False
    if token is not None:
        given.cert_file = given.key_file = None
        given.api_key = {"BearerToken": token}
        given.api_key_prefix = {"BearerToken": "Bearer"}
        given.refresh_api_key_hook = None
    with client.ApiClient(given) as api:
        yield api


def caller(stack: ExitStack, world: ClusterWorld, namespace: str, account: str) -> BoundaryCaller:
    """Service account with a token of the API server."""
    token = release.kubectl(world.root, "--namespace", namespace, "create", "token", account).strip()
    return BoundaryCaller(account, stack.enter_context(connected(token)))


def actions(world: ClusterWorld, action: str, *names: str) -> None:
    """Set the validation action (Deny or Audit) of these policies, or of all."""
    patch = json.dumps({"spec": {"validationActions": [action]}})
    for name in names or POLICY_NAMES:
        binding = f"validatingadmissionpolicybinding/{POLICIES}-{name}"
        release.kubectl(world.root, "patch", binding, "--type=merge", "--patch", patch)


def plain_job(name: str, **meta: Any) -> Body:
    """Job of a tenant."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "localhost/any:1"}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name} | meta,
        "spec": {"suspend": True, "template": {"spec": pod}},
    }
