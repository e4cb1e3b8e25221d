"""Hostile tenant with all rights that a user may have in one namespace, and the tools to abuse them.

`Victim` has the data that must not change: objects, records, purchases and charges of another namespace.
"""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from contentgen_cluster import release
from contentgen_contract.names import GROUP, VERSION, Kind
from contentgen_e2e.world import BUCKET, ClusterWorld
from kubernetes import client

Body = dict[str, Any]
NAME = "mallory@example.com"
WORKER_API = f"contentgen-worker-api.{release.NAMESPACE}.svc"
_TRIES = 20
_ANYTHING = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]
_SAFE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
IDLE_POD = {"containers": [{"name": "idle", "image": "unused", "imagePullPolicy": "Never", "securityContext": _SAFE}]}
"""A pod's spec that the restricted Pod Security Standard allows; it never starts."""


@dataclass(frozen=True)
class AttackAnswer:
    """Result of an attempt: HTTP status and complete response text."""

    what: str
    status: int
    text: str


@dataclass(frozen=True)
class Mallory:
    """User with all rights in one namespace except the verbs `spend`, `use` and `import`."""

    world: ClusterWorld
    namespace: str
    api: client.ApiClient  # an administrator's, who impersonates the user
    worker_api: httpx.Client

    def call(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> AttackAnswer:
        """Send a request to the API server."""
        return self._call(method, path, body, content_type)[0]

    def pod(self, name: str, owners: list[Body], **meta: Any) -> str:
        """Create a pod with these owner references; returns its uid."""
        metadata = {"name": name, "ownerReferences": owners} | meta
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": IDLE_POD}
        made = self._created(f"/api/v1/namespaces/{self.namespace}/pods", pod)
        return str(made["metadata"]["uid"])

    def _created(self, path: str, body: Body) -> Body:
        answer, made = self._call("POST", path, body, "application/json")
        assert answer.status == 201, answer
        return made

    def _call(self, method: str, path: str, body: Any, content_type: str) -> tuple[AttackAnswer, Body]:
        what = f"{method} {path} {json.dumps(body)[:200]}"
        headers = {"Accept": "application/json", "Content-Type": content_type, "Impersonate-User": NAME}
        asked = self.api.param_serialize(method, path, header_params=headers, body=body, auth_settings=["BearerToken"])
        response = self.api.call_api(*asked)
        text = response.read().decode(errors="replace")
        return AttackAnswer(what, response.status, text), json.loads(text)

    def token_of_pod(self, name: str, owners: list[Body], **meta: Any) -> str:
        """Token bound to a new pod with these owner references.

        The garbage collector deletes pods without existing owners, sometimes before the token request: it is retried.
        """
        for attempt in range(_TRIES):
            pod = f"{name}-{attempt}"
            bound = {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": self.pod(pod, owners, **meta)}
            request = {"spec": {"audiences": ["contentgen"], "boundObjectRef": bound}}
            path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/default/token"
            answer, made = self._call("POST", path, request, "application/json")
            if answer.status != 404:
                assert answer.status == 201, answer
                return str(made["status"]["token"])
        raise AssertionError(f"each of {_TRIES} pods was deleted before it had a token")

    def ask(self, token: str, method: str, path: str, body: Any = None) -> AttackAnswer:
        """Send a request to the worker API."""
        headers = {"Authorization": f"Bearer {token}"}
        reply = self.worker_api.request(
            method, path, json=body, headers=headers, extensions={"sni_hostname": WORKER_API}
        )
        return AttackAnswer(f"{method} {path} {json.dumps(body)[:200]}", reply.status_code, reply.text)


@contextmanager
def mallory(world: ClusterWorld, authority: str) -> Iterator[Mallory]:
    """Hostile tenant in her own namespace. `authority` is the worker API's CA certificate, as PEM."""
    namespace = f"{world.namespace}-mallory"
    release.make_namespace(world.root, namespace)
    core = {"apiGroups": ["", "batch"], "resources": ["*"], "verbs": _ANYTHING}
    ours = {"apiGroups": [GROUP], "resources": ["*"], "verbs": _ANYTHING}
    named = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "mallory", "namespace": namespace}}
    role = named | {"kind": "Role", "rules": [core, ours]}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "mallory"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": NAME}
    binding = named | {"kind": "RoleBinding", "roleRef": reference, "subjects": [subject]}
    listed = {"apiVersion": "v1", "kind": "List", "items": [role, binding]}
    release.kubectl(world.root, "apply", "--filename", "-", stdin=json.dumps(listed))
    context = ssl.create_default_context(cadata=authority)
    api = client.ApiClient(world.api.api_client.configuration)
    with release.port_forward(world.root, release.NAMESPACE, f"pod/{world.operator_pod()}", 8443) as port:
        worker_api = httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=context, timeout=30, trust_env=False)
        with api, worker_api:
            yield Mallory(world, namespace, api, worker_api)
    release.kubectl(world.root, "delete", "namespace", namespace, "--wait=false")


@dataclass(frozen=True)
class Victim:
    """Jobs of another namespace by uid, and a text that only they contain."""

    world: ClusterWorld
    uids: tuple[str, ...]
    secret: str

    def state(self) -> Body:
        """All stored data and charges of these jobs, with every version of every object."""
        s3, where = self.world.s3, {"jobId": {"$in": list(self.uids)}}
        pages = s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET)
        versions = [each for page in pages for key in ("Versions", "DeleteMarkers") for each in page.get(key, ())]
        objects = {(version["Key"], version["VersionId"], version.get("ETag", "deleted")) for version in versions}
        database = self.world.jobs.database
        return {
            "objects": {
                stored_object for stored_object in objects if any(f"/{uid}/" in stored_object[0] for uid in self.uids)
            },
            "records": list(self.world.jobs.find(where)),
            "purchases": list(self.world.ledger_collection.find(where)),
            "workers": list(database["worker_jobs"].find({"_id": {"$in": list(self.uids)}})),
            "billed": self.world.billed(),
        }

    def is_named_in(self, answer: AttackAnswer) -> bool:
        """Whether a response contains data of this tenant that the request did not name."""
        given = [each for each in (self.secret, *self.uids) if each in answer.text and each not in answer.what]
        return bool(given) or (self.secret in answer.text)


def owner(name: str, uid: str, kind: str = "Job", api: str = "batch/v1") -> Body:
    """Owner reference with `controller: true`."""
    return {"apiVersion": api, "kind": kind, "name": name, "uid": uid, "controller": True}


def resource(kind: Kind, name: str, uid: str) -> Body:
    """Owner reference to a resource of our kinds."""
    return owner(name, uid, kind.value, f"{GROUP}/{VERSION}")
